//! Topics and partitions as everybody sees them: what is durable, nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::watch;

use super::settings::{SettingError, check_settings};
use super::tail::Tail;
use crate::limits::{DEFAULT_PARTITIONS, PARTITIONS, TOPICS};
use crate::storage::TopicRow;
use crate::types::{Offset, PartitionIndex, TimestampMs, TopicId, TopicName};

/// A topic.
#[derive(Debug)]
pub struct Topic {
    row: TopicRow,
    partitions: Box<[Partition]>,
}

/// A partition of a topic.
#[derive(Debug)]
pub struct Partition {
    progress: watch::Sender<Progress>,
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
        let partition = |index| {
            let (log_start_offset, high_watermark) = ends(index);
            let progress = Progress { log_start_offset, high_watermark, deleted: false };
            Partition { progress: watch::Sender::new(progress), tail: Tail::default() }
        };
        let partitions = (0..row.partitions).map(partition).collect();
        Self { row, partitions }
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

    /// The settings that differ from the defaults.
    pub fn config(&self) -> &BTreeMap<String, String> {
        &self.row.config
    }

    /// When it was made.
    pub fn created_ms(&self) -> TimestampMs {
        self.row.created_ms
    }

    /// One of its partitions.
    pub fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    pub(super) fn row(&self) -> &TopicRow {
        &self.row
    }

    /// Tells everybody who waits that there will be nothing more.
    pub(super) fn mark_deleted(&self) {
        for partition in &self.partitions {
            partition.progress.send_modify(|progress| progress.deleted = true);
        }
    }
}

impl Partition {
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

    pub(super) fn advance(&self, high_watermark: Offset) {
        self.progress.send_modify(|progress| progress.high_watermark = high_watermark);
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

/// Why a topic was not made or removed.
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
        let partitions = new.partitions.unwrap_or(DEFAULT_PARTITIONS);
        if !(1..=PARTITIONS).contains(&partitions) {
            return Err(TopicError::Partitions { partitions });
        }
        if self.by_name.len() >= TOPICS {
            return Err(TopicError::TooMany);
        }
        Ok(check_settings(&new.config)?)
    }
}
