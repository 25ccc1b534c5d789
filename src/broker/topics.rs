//! Topics and partitions as everybody sees them: what is durable, nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::alteration::Alteration;
use super::configs::TopicDefaults;
use super::settings::{SettingError, check_settings};
use super::standing::{Moved, SlotId};
use super::tail::Tail;
use super::topic_config::TopicConfig;
use crate::limits::{DEFAULT_PARTITIONS, PARTITIONS, TOPICS};
use crate::storage::TopicRow;
use crate::types::{Offset, PartitionIndex, TimestampMs, TopicId, TopicName};

/// A topic as it was when it was looked up. A change of its settings or a growth makes a new one,
/// which shares the partitions; so look it up again for each piece of work.
#[derive(Debug)]
pub struct Topic {
    row: TopicRow,
    config: TopicConfig,
    defaults: Arc<TopicDefaults>,
    partitions: Box<[Arc<Partition>]>,
}

/// A partition of a topic.
#[derive(Debug)]
pub struct Partition {
    progress: watch::Sender<Progress>,
    /// Standing fetches that read here, each under its own name for the partition.
    followers: Mutex<Vec<(Arc<Moved>, SlotId)>>,
    pub(super) tail: Tail,
}

/// How far a partition is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub(super) log_start_offset: Offset,
    pub(super) high_watermark: Offset,
    pub(super) deleted: bool,
}

impl Topic {
    /// `ends` gives the log start offset and the log end offset of a partition.
    pub(super) fn new(row: TopicRow, ends: impl Fn(PartitionIndex) -> (Offset, Offset)) -> Self {
        let partition = |index| Arc::new(Partition::new(ends(index)));
        let partitions = (0..row.partitions).map(partition).collect();
        let defaults = Arc::<TopicDefaults>::default();
        Self { config: TopicConfig::new(&row.config, &defaults), row, defaults, partitions }
    }

    /// The same topic among other defaults.
    pub(super) fn with_defaults(&self, defaults: &Arc<TopicDefaults>) -> Self {
        let row = self.row.clone();
        let defaults = Arc::clone(defaults);
        let partitions = self.partitions.clone();
        Self { config: TopicConfig::new(&row.config, &defaults), row, defaults, partitions }
    }

    /// The same topic after a change: with its partitions, and empty ones behind them if there
    /// are to be more.
    pub(super) fn changed(&self, row: TopicRow) -> Self {
        let more = (self.partitions()..row.partitions).map(|_| Arc::new(Partition::new((0, 0))));
        let partitions = self.partitions.iter().cloned().chain(more).collect();
        let defaults = Arc::clone(&self.defaults);
        Self { config: TopicConfig::new(&row.config, &defaults), row, defaults, partitions }
    }

    /// Its name.
    pub fn name(&self) -> &TopicName {
        &self.row.name
    }

    /// Its identity.
    pub fn id(&self) -> TopicId {
        self.row.id
    }

    /// How many partitions it has.
    pub fn partitions(&self) -> PartitionIndex {
        self.row.partitions
    }

    /// The settings that are set, by Kafka's names.
    pub fn settings(&self) -> &BTreeMap<String, String> {
        &self.row.config
    }

    /// What the settings amount to, defaults included.
    pub fn config(&self) -> &TopicConfig {
        &self.config
    }

    /// When it was made.
    pub fn created_ms(&self) -> TimestampMs {
        self.row.created_ms
    }

    /// One of its partitions.
    pub fn partition(&self, index: PartitionIndex) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    pub(super) fn row(&self) -> &TopicRow {
        &self.row
    }

    /// Tells everybody who waits that there will be nothing more.
    pub(super) fn mark_deleted(&self) {
        for partition in &self.partitions {
            partition.change(|progress| progress.deleted = true);
        }
    }
}

impl Partition {
    fn new((log_start_offset, high_watermark): (Offset, Offset)) -> Self {
        let progress = Progress { log_start_offset, high_watermark, deleted: false };
        Self {
            progress: watch::Sender::new(progress),
            followers: Mutex::default(),
            tail: Tail::default(),
        }
    }

    /// Offset of the first record that there is.
    pub fn log_start_offset(&self) -> Offset {
        self.progress.borrow().log_start_offset
    }

    /// Offset after the last durable record.
    pub fn high_watermark(&self) -> Offset {
        self.progress.borrow().high_watermark
    }

    pub(super) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(super) fn move_start(&self, log_start_offset: Offset) {
        self.change(|progress| progress.log_start_offset = log_start_offset);
    }

    pub(super) fn advance(&self, high_watermark: Offset) {
        self.change(|progress| progress.high_watermark = high_watermark);
    }

    pub(super) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Lets `moved` know, under the name of `slot`, of every change from now on.
    pub(super) fn follow(&self, moved: &Arc<Moved>, slot: SlotId) {
        self.followers().push((Arc::clone(moved), slot));
    }

    /// Ends what [`Partition::follow`] began.
    pub(super) fn unfollow(&self, moved: &Arc<Moved>, slot: SlotId) {
        let mut followers = self.followers();
        let ours = |(theirs, at): &(Arc<Moved>, SlotId)| Arc::ptr_eq(theirs, moved) && *at == slot;
        if let Some(at) = followers.iter().position(ours) {
            followers.swap_remove(at);
        }
        if followers.is_empty() {
            *followers = Vec::new();
        }
    }

    #[cfg(test)]
    pub(super) fn follower_count(&self) -> usize {
        self.followers().len()
    }

    /// Changes how far the partition is, and tells everybody.
    fn change(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(change);
        for (moved, slot) in self.followers().iter() {
            moved.tell(*slot);
        }
    }

    fn followers(&self) -> MutexGuard<'_, Vec<(Arc<Moved>, SlotId)>> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A topic to be made.
#[derive(Debug, Clone)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// How many partitions; [`DEFAULT_PARTITIONS`] if not said.
    pub partitions: Option<PartitionIndex>,
    /// Settings by Kafka's names.
    pub config: BTreeMap<String, String>,
}

/// Why a topic was not made, changed or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// There is one of that name.
    #[error("topic {0} already exists")]
    Exists(TopicName),
    /// There is none.
    #[error("unknown topic {0}")]
    Unknown(TopicId),
    /// Metric names cannot tell the two apart.
    #[error("topic {name} collides with {existing}: '.' and '_' count as the same")]
    Collides {
        /// The new one.
        name: TopicName,
        /// The one that is there.
        existing: TopicName,
    },
    /// Not a number of partitions.
    #[error("{partitions} partitions asked for, allowed are 1 to {PARTITIONS}")]
    Partitions {
        /// What was asked for.
        partitions: PartitionIndex,
    },
    /// A topic that was to grow has as many partitions already, or more.
    #[error("the topic has {partitions} partitions, which {asked} are not more than")]
    NotMorePartitions {
        /// What it has.
        partitions: PartitionIndex,
        /// What was asked for.
        asked: PartitionIndex,
    },
    /// The broker is full.
    #[error("there are {TOPICS} topics already")]
    TooMany,
    /// A setting that cannot be.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The disk failed.
    #[error("storage failed: {0}")]
    Storage(String),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopped,
}

/// All topics.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: BTreeMap<TopicName, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
    defaults: Arc<TopicDefaults>,
}

impl Topics {
    pub(super) fn all(&self) -> Vec<Arc<Topic>> {
        self.by_name.values().cloned().collect()
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    pub(super) fn by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// Has topics fall back to these where they say nothing themselves.
    pub(super) fn set_defaults(&mut self, defaults: &Arc<TopicDefaults>) {
        self.defaults = Arc::clone(defaults);
        for topic in self.all() {
            self.insert(Arc::new(topic.with_defaults(defaults)));
        }
    }

    /// What topics fall back to.
    pub(super) fn defaults(&self) -> &Arc<TopicDefaults> {
        &self.defaults
    }

    pub(super) fn insert(&mut self, topic: Arc<Topic>) {
        self.by_name.insert(topic.name().clone(), Arc::clone(&topic));
        self.by_id.insert(topic.id(), topic);
    }

    pub(super) fn remove(&mut self, id: TopicId) -> Option<Arc<Topic>> {
        let topic = self.by_id.remove(&id)?;
        self.by_name.remove(topic.name());
        Some(topic)
    }

    /// Checks a new topic against the limits and the topics that there are.
    pub(super) fn check(&self, new: &NewTopic) -> Result<(), TopicError> {
        if self.by_name.contains_key(&new.name) {
            return Err(TopicError::Exists(new.name.clone()));
        }
        let folded = |name: &TopicName| name.as_str().replace('.', "_");
        let name = folded(&new.name);
        if let Some(existing) = self.by_name.keys().find(|existing| folded(existing) == name) {
            let (name, existing) = (new.name.clone(), existing.clone());
            return Err(TopicError::Collides { name, existing });
        }
        check_partitions(new.partitions.unwrap_or(DEFAULT_PARTITIONS))?;
        if self.by_name.len() >= TOPICS {
            return Err(TopicError::TooMany);
        }
        Ok(check_settings(&new.config)?)
    }

    /// The row of a topic as a change of its settings would leave it.
    pub(super) fn altered(
        &self,
        id: TopicId,
        alteration: &Alteration,
    ) -> Result<TopicRow, TopicError> {
        let topic = self.by_id(id).ok_or(TopicError::Unknown(id))?;
        let config = alteration.apply(topic.settings())?;
        Ok(TopicRow { config, ..topic.row().clone() })
    }

    /// The row of a topic with more partitions.
    pub(super) fn grown(&self, id: TopicId, total: PartitionIndex) -> Result<TopicRow, TopicError> {
        let topic = self.by_id(id).ok_or(TopicError::Unknown(id))?;
        let partitions = topic.partitions();
        if total <= partitions {
            return Err(TopicError::NotMorePartitions { partitions, asked: total });
        }
        check_partitions(total)?;
        Ok(TopicRow { partitions: total, ..topic.row().clone() })
    }
}

fn check_partitions(partitions: PartitionIndex) -> Result<(), TopicError> {
    if (1..=PARTITIONS).contains(&partitions) {
        return Ok(());
    }
    Err(TopicError::Partitions { partitions })
}

#[cfg(test)]
mod tests {
    use super::super::{Append, Broker, Commit, Committer, SettingChange, StoreOptions};
    use super::*;
    use crate::clock::ManualClock;
    use crate::record::{BatchBuilder, Compression};
    use crate::storage::MemoryFiles;
    use crate::types::TopicPartition;

    fn open(files: &MemoryFiles) -> (Broker, Committer) {
        let clock = Arc::new(ManualClock::new(1));
        Broker::open_stepped(Arc::new(files.clone()), &StoreOptions::default(), clock).unwrap()
    }

    fn new(name: &str) -> NewTopic {
        let name = TopicName::new(name).unwrap();
        NewTopic { name, partitions: None, config: BTreeMap::new() }
    }

    fn append(topic: &Topic, partition: PartitionIndex) -> Commit {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(1, None, Some(b"value"), &[]).unwrap();
        let partition = TopicPartition { topic: topic.id(), partition };
        let append = Append { partition, batch: batch.build().unwrap() };
        Commit { appends: vec![append], ..Commit::default() }
    }

    #[test]
    fn settings_change_for_who_looks_again_and_survive() {
        let files = MemoryFiles::default();
        let (broker, mut committer) = open(&files);
        let old = committer.create_topic(new("t")).unwrap();
        assert!(committer.commit_group(vec![append(&old, 0)])[0].is_ok());
        let set = SettingChange::Set("5000".to_owned());
        let set = Alteration::Change(vec![("retention.ms".to_owned(), set)]);
        broker.check_alteration(old.id(), &set).unwrap();
        assert_eq!(broker.topic("t").unwrap().config(), old.config());
        committer.alter_topic(old.id(), &set).unwrap();
        let wrong = SettingChange::Set("soon".to_owned());
        let wrong = Alteration::Change(vec![("retention.ms".to_owned(), wrong)]);
        assert!(committer.alter_topic(old.id(), &wrong).is_err());
        let altered = broker.topic("t").unwrap();
        assert_eq!(altered.config().retention_ms, Some(5_000));
        assert_eq!(old.config().retention_ms, Some(604_800_000));
        assert!(committer.commit_group(vec![append(&altered, 0)])[0].is_ok());
        let ends = |topic: &Topic| topic.partition(0).unwrap().high_watermark();
        assert_eq!((ends(&old), ends(&altered)), (2, 2));
        drop((broker, committer));
        let (broker, _committer) = open(&files);
        let topic = broker.topic("t").unwrap();
        assert_eq!(topic.config().retention_ms, Some(5_000));
        assert_eq!(ends(&topic), 2);
    }

    #[test]
    fn a_topic_grows_with_its_records_and_never_shrinks() {
        let files = MemoryFiles::default();
        let (broker, mut committer) = open(&files);
        let old = committer.create_topic(new("t")).unwrap();
        assert!(committer.commit_group(vec![append(&old, 0)])[0].is_ok());
        let id = old.id();
        committer.create_partitions(id, 3).unwrap();
        let refused = TopicError::NotMorePartitions { partitions: 3, asked: 3 };
        assert_eq!(committer.create_partitions(id, 3).unwrap_err(), refused);
        assert_eq!(broker.check_partitions(id, 3), Err(refused));
        let refused = TopicError::Partitions { partitions: PARTITIONS + 1 };
        assert_eq!(broker.check_partitions(id, PARTITIONS + 1), Err(refused));
        let grown = broker.topic("t").unwrap();
        assert!(committer.commit_group(vec![append(&grown, 2), append(&grown, 0)])[0].is_ok());
        drop((broker, committer));
        let (broker, _committer) = open(&files);
        let topic = broker.topic("t").unwrap();
        let end = |index| topic.partition(index).unwrap().high_watermark();
        assert_eq!([0, 1, 2].map(end), [2, 0, 1]);
    }

    #[test]
    fn a_topic_that_is_there_is_not_made_again() {
        let (_broker, mut committer) = open(&MemoryFiles::default());
        let first = committer.topic_or_create(new("t")).unwrap();
        assert_eq!(committer.topic_or_create(new("t")).unwrap().id(), first.id());
    }
}
