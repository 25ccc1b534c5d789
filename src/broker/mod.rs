//! The broker: topics, groups, producers, and the committer, through which every durable change
//! goes. It moves records; it parses no wire format and runs no plugin.
//!
//! What is durable when: a call that changes something returns when the change has survived an
//! fsync. What is visible when: right after that, to everybody at once; never before.

mod acceptance;
mod alteration;
mod backup;
mod broker_settings;
mod cleaner;
mod commit;
mod committer;
mod compaction;
mod config;
mod configs;
mod coordinator;
mod counters;
mod expiry;
mod fetch;
mod group;
mod groups;
mod log_start;
mod offsets;
mod outage;
mod producers;
mod read_memory;
mod retention;
mod room;
mod settings;
mod settler;
mod standing;
mod tail;
mod topic_config;
mod topics;
#[cfg(test)]
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot, watch};

pub use self::alteration::{Alteration, SettingChange};
pub use self::backup::{FolderError, check_folder, repair_folder, restore_folder};
pub use self::broker_settings::{
    BROKER_SETTINGS, BrokerSetting, GROUP_SETTINGS, TOPIC_SETTING_NOTES, TopicSettingNote,
    ValueType,
};
pub use self::cleaner::Cleaner;
pub use self::commit::{
    Append, Appended, Commit, CommitError, Committed, OffsetChange, PendingCommit, StateChange,
};
pub use self::committer::Committer;
use self::committer::{QueuePermit, QueuedCommit, Request};
pub use self::config::{BrokerConfig, DefaultRetention};
pub use self::configs::{ConfigScope, Configs};
pub use self::coordinator::{Coordinator, Pending};
pub use self::counters::{Counter, Counters, UnreadablePlace};
pub use self::expiry::Expiry;
pub use self::fetch::{FetchPartition, FetchRequest, PartitionRead, ReadError};
pub use self::group::{
    GroupDescription, GroupError, GroupListing, GroupState, JoinRequest, JoinResponse,
    JoinedMember, LeavingMember, MemberDescription, SyncRequest, SyncResponse,
};
pub use self::groups::DeleteGroupError;
pub use self::log_start::DeleteRecordsError;
use self::offsets::Offsets;
pub use self::producers::ActiveProducer;
pub use self::read_memory::AnswerMemory;
use self::read_memory::ReadMemory;
pub use self::settings::{Setting, SettingError, SettingKind, TOPIC_SETTINGS, check_setting};
use self::settler::Settler;
pub use self::standing::{Round, SlotId, StandingFetch};
pub use self::topic_config::{CleanupPolicy, TopicConfig};
use self::topics::Topics;
pub use self::topics::{NewTopic, Partition, Topic, TopicError};
use crate::clock::Clock;
use crate::limits::{COMMIT_QUEUE, COMMIT_QUEUE_BYTES, FETCH_WATCHED_PARTITIONS, LOOKUPS};
pub use crate::storage::{
    Checked, CheckedPartition, CommittedOffset, Copied, DiskFiles, Files, LEADER_EPOCH, Place,
    Recovered, Repaired, StateKey, StorageError, StoreOptions,
};
use crate::storage::{OffsetKey, Store, StoreReader};
use crate::types::{OffsetOwner, PartitionIndex, ProducerId, TopicId, TopicPartition};

/// Producer ids reserved on disk at a time.
const PRODUCER_ID_BLOCK: u64 = 1_000;

/// A handle on the broker; clones share it.
#[derive(Debug, Clone)]
pub struct Broker {
    shared: Arc<Shared>,
    queue: Sender<Request>,
    queue_count: Arc<Semaphore>,
    queue_bytes: Arc<Semaphore>,
    producer_ids: Arc<tokio::sync::Mutex<Range<i64>>>,
    threads: Arc<Mutex<Option<Threads>>>,
}

/// The threads of a broker, and what ends the cleaner's when it goes.
#[derive(Debug)]
struct Threads {
    stop_cleaner: Sender<()>,
    cleaner: std::thread::JoinHandle<()>,
    committer: std::thread::JoinHandle<()>,
}

/// What readers see. Written by the committer after its fsync.
#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    cluster_id: String,
    store: StoreReader,
    topics: RwLock<Topics>,
    configs: RwLock<Arc<Configs>>,
    offsets: RwLock<Offsets>,
    groups: Coordinator,
    counters: Counters,
    config: BrokerConfig,
    read_memory: ReadMemory,
    lookups: Semaphore,
    checks: Semaphore,
    watching: Semaphore,
    /// Why no records are taken at the moment, for want of room on the disk.
    shortage: watch::Sender<Option<String>>,
    /// Why the storage takes no writes at the moment.
    outage: watch::Sender<Option<String>>,
    /// Why it never will again.
    loss: watch::Sender<Option<String>>,
}

impl Broker {
    /// Opens the store in `files` and starts the threads of the committer and the cleaner.
    pub fn open(
        files: Arc<dyn Files>,
        options: &StoreOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StorageError> {
        Self::open_with(files, options, BrokerConfig::default(), clock)
    }

    /// [`Broker::open`] with other settings than the defaults.
    pub fn open_with(
        files: Arc<dyn Files>,
        options: &StoreOptions,
        config: BrokerConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StorageError> {
        let (broker, mut committer, cleaner, queue) =
            Self::assemble(files, options, config, clock)?;
        let no_thread = |error: std::io::Error| StorageError::File {
            file: ".".to_owned(),
            source: error.into(),
        };
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(no_thread)
        };
        committer.settler = Some(Settler::spawn(broker.shared.store.clone()).map_err(no_thread)?);
        let committer = spawn("committer", Box::new(move || committer.run(&queue)))?;
        let (stop_cleaner, stop) = channel();
        let queue = broker.queue.clone();
        let cleaner = spawn("cleaner", Box::new(move || cleaner.run(&queue, &stop)))?;
        let threads = Threads { stop_cleaner, cleaner, committer };
        *broker.threads.lock().unwrap_or_else(PoisonError::into_inner) = Some(threads);
        Ok(broker)
    }

    /// Opens the store without a thread: the caller steps the committer. What goes through the
    /// queue ([`Broker::submit`] and all that is asynchronous) is not served.
    pub fn open_stepped(
        files: Arc<dyn Files>,
        options: &StoreOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Committer), StorageError> {
        let config = BrokerConfig::default();
        let (broker, committer, ..) = Self::assemble(files, options, config, clock)?;
        Ok((broker, committer))
    }

    /// [`Broker::open_stepped`] with the cleaner, which the caller steps as well.
    pub fn open_stepped_with_cleaner(
        files: Arc<dyn Files>,
        options: &StoreOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Committer, Cleaner), StorageError> {
        let config = BrokerConfig::default();
        let (broker, committer, cleaner, _) = Self::assemble(files, options, config, clock)?;
        Ok((broker, committer, cleaner))
    }

    fn assemble(
        files: Arc<dyn Files>,
        options: &StoreOptions,
        config: BrokerConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Committer, Cleaner, Receiver<Request>), StorageError> {
        let (store, recovered) = Store::open(files, options, Arc::clone(&clock))?;
        let Recovered {
            cluster_id,
            topics: rows,
            partitions,
            compacted,
            producers,
            offsets,
            settings,
            groups: saved_groups,
        } = recovered;
        let mut topics = Topics::default();
        for row in rows {
            let id = row.id;
            let ends = |partition| {
                let partition = TopicPartition { topic: id, partition };
                partitions.get(&partition).copied().unwrap_or_default()
            };
            topics.insert(Arc::new(Topic::new(row, ends)));
        }
        let configs = Configs::from_rows(settings);
        topics.set_defaults(&Arc::new(configs.topic_defaults(config.retention)));
        let groups = Coordinator::new(Arc::clone(&clock));
        for (group, row) in saved_groups {
            groups.restore(group, row);
        }
        let shared = Arc::new(Shared {
            clock,
            cluster_id,
            store: store.reader(),
            topics: RwLock::new(topics),
            configs: RwLock::new(Arc::new(configs)),
            offsets: RwLock::default(),
            groups,
            counters: Counters::default(),
            read_memory: ReadMemory::new(config.response_bytes),
            lookups: Semaphore::new(LOOKUPS),
            checks: Semaphore::new(processors()),
            watching: Semaphore::new(FETCH_WATCHED_PARTITIONS),
            config,
            shortage: watch::Sender::new(None),
            outage: watch::Sender::new(None),
            loss: watch::Sender::new(None),
        });
        shared.publish_offsets(offsets.into_iter().map(|(key, value)| (key, Some(value))));
        let committer = Committer::new(store, Arc::clone(&shared), producers);
        let cleaner = Cleaner::new(Arc::clone(&shared), compacted.into_iter().collect());
        let (sender, receiver) = channel();
        let broker = Self {
            shared,
            queue: sender,
            queue_count: Arc::new(Semaphore::new(COMMIT_QUEUE)),
            queue_bytes: Arc::new(Semaphore::new(COMMIT_QUEUE_BYTES)),
            producer_ids: Arc::default(),
            threads: Arc::default(),
        };
        Ok((broker, committer, cleaner, receiver))
    }

    /// Submits a commit: waits for a place in the queue, not for the outcome. Commits are made in
    /// the order in which they were submitted.
    pub async fn submit(&self, commit: Commit) -> PendingCommit {
        let (reply, outcome) = oneshot::channel();
        let bytes = commit.bytes().clamp(1, COMMIT_QUEUE_BYTES);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // Neither semaphore is ever closed; if one were, the reply is dropped and says so.
        if let Ok(_count) = Arc::clone(&self.queue_count).acquire_owned().await
            && let Ok(_bytes) = Arc::clone(&self.queue_bytes).acquire_many_owned(bytes).await
        {
            let permit = QueuePermit { _count, _bytes };
            // A committer that has ended drops the request, and the reply says so.
            let _ = self.queue.send(Request::Commit(QueuedCommit { commit, reply, permit }));
        }
        PendingCommit(outcome)
    }

    /// Submits a commit and waits until it is durable or refused.
    pub async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        self.submit(commit).await.await
    }

    /// The clock that everything here goes by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// The id that clients see, made with the data folder.
    pub fn cluster_id(&self) -> &str {
        &self.shared.cluster_id
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.shared.topics().all()
    }

    /// A topic by its name.
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.shared.topics().by_name(name).cloned()
    }

    /// A topic by its id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.shared.topics().by_id(id).cloned()
    }

    /// Partitions of a topic that is made without a word of how many.
    pub fn default_partitions(&self) -> PartitionIndex {
        self.shared.config.default_partitions
    }

    /// Says whether a topic could be made, and makes none.
    pub fn check_topic(&self, new: &NewTopic) -> Result<(), TopicError> {
        self.shared.topics().check(new)
    }

    /// Makes a topic. Durable when it returns.
    pub async fn create_topic(&self, new: NewTopic) -> Result<Arc<Topic>, TopicError> {
        self.admin(|committer| committer.create_topic(new))
            .await
            .unwrap_or(Err(TopicError::Stopped))
    }

    /// The topic of that name, made if there is none; whoever else makes it at the same time.
    /// Durable when it returns.
    pub async fn topic_or_create(&self, new: NewTopic) -> Result<Arc<Topic>, TopicError> {
        if let Some(topic) = self.topic(new.name.as_str()) {
            return Ok(topic);
        }
        self.admin(|committer| committer.topic_or_create(new))
            .await
            .unwrap_or(Err(TopicError::Stopped))
    }

    /// Says whether a topic's settings could be changed, and changes nothing.
    pub fn check_alteration(&self, id: TopicId, alteration: &Alteration) -> Result<(), TopicError> {
        self.shared.topics().altered(id, alteration).map(drop)
    }

    /// Changes a topic's settings, whole or not at all. Durable when it returns; from then on
    /// [`Broker::topic`] gives the topic with its new settings.
    pub async fn alter_topic(
        &self,
        id: TopicId,
        alteration: Alteration,
    ) -> Result<Arc<Topic>, TopicError> {
        self.admin(move |committer| committer.alter_topic(id, &alteration))
            .await
            .unwrap_or(Err(TopicError::Stopped))
    }

    /// Says whether a topic could have so many partitions, and makes none.
    pub fn check_partitions(&self, id: TopicId, total: PartitionIndex) -> Result<(), TopicError> {
        self.shared.topics().grown(id, total).map(drop)
    }

    /// Gives a topic more partitions; `total` is what it has then. Durable when it returns.
    pub async fn create_partitions(
        &self,
        id: TopicId,
        total: PartitionIndex,
    ) -> Result<Arc<Topic>, TopicError> {
        self.admin(move |committer| committer.create_partitions(id, total))
            .await
            .unwrap_or(Err(TopicError::Stopped))
    }

    /// Removes a topic, its records, offsets and state. Durable when it returns.
    pub async fn delete_topic(&self, id: TopicId) -> Result<(), TopicError> {
        self.admin(move |committer| committer.delete_topic(id))
            .await
            .unwrap_or(Err(TopicError::Stopped))
    }

    /// A producer id that was never handed out before, with epoch 0.
    pub async fn init_producer_id(&self) -> Result<ProducerId, CommitError> {
        let mut ids = self.producer_ids.lock().await;
        if ids.is_empty() {
            let reserve = |committer: &mut Committer| {
                committer.admin(|store| store.reserve_producer_ids(PRODUCER_ID_BLOCK))
            };
            let first = self.admin(reserve).await.ok_or(CommitError::Stopped)?;
            let first = first.map_err(CommitError::Storage)?;
            *ids = first..first.saturating_add_unsigned(PRODUCER_ID_BLOCK);
        }
        let id = ids.next().ok_or(CommitError::Stopped)?;
        Ok(ProducerId { id, epoch: 0 })
    }

    /// The producers that are known in a partition, by id.
    pub async fn active_producers(
        &self,
        partition: TopicPartition,
    ) -> Result<Vec<ActiveProducer>, CommitError> {
        let active = self.admin(move |committer| committer.active_producers(partition)).await;
        active.ok_or(CommitError::Stopped)
    }

    /// The committed offsets of a group, or the checkpoints of a pipeline.
    pub fn committed(&self, owner: &OffsetOwner) -> BTreeMap<TopicPartition, CommittedOffset> {
        self.shared.offsets().get(owner).cloned().unwrap_or_default()
    }

    /// Bytes of a partition's record batches.
    pub fn partition_bytes(&self, partition: TopicPartition) -> u64 {
        self.shared.store.bytes(partition)
    }

    /// Where the broker keeps its data.
    pub async fn place(&self) -> Place {
        self.blocking(|shared| shared.store.place()).await
    }

    /// A piece of pipeline state.
    pub fn state(&self, key: &StateKey) -> Result<Option<Bytes>, StorageError> {
        self.shared.store.state(key)
    }

    /// What it was set to.
    pub fn config(&self) -> &BrokerConfig {
        &self.shared.config
    }

    /// What has been counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// The consumer groups.
    pub fn groups(&self) -> &Coordinator {
        &self.shared.groups
    }

    /// Writes a deployment and the components that it names. Durable when it returns.
    pub async fn save_deployment(
        &self,
        name: String,
        deployment: Bytes,
        components: Vec<([u8; 32], Bytes)>,
    ) -> Result<(), CommitError> {
        let put = move |committer: &mut Committer| {
            committer.admin(|store| store.put_deployment(&name, &deployment, &components))
        };
        self.admin(put).await.ok_or(CommitError::Stopped)?.map_err(CommitError::Storage)
    }

    /// Removes a deployment. Durable when it returns.
    pub async fn remove_deployment(&self, name: String) -> Result<(), CommitError> {
        let remove = move |committer: &mut Committer| {
            committer.admin(|store| store.remove_deployment(&name))
        };
        self.admin(remove).await.ok_or(CommitError::Stopped)?.map_err(CommitError::Storage)
    }

    /// All deployments by name.
    pub async fn deployments(&self) -> Result<Vec<(String, Bytes)>, StorageError> {
        self.blocking(|shared| shared.store.deployments()).await
    }

    /// A component by its SHA-256.
    pub async fn component(&self, digest: [u8; 32]) -> Result<Option<Bytes>, StorageError> {
        self.blocking(move |shared| shared.store.component(&digest)).await
    }

    /// Why the storage takes nothing at the moment, if it does not: a write has failed, and until
    /// it is opened again nothing is acknowledged; or there is too little room on the disk, and no
    /// records are taken. What is durable can be read.
    pub fn outage(&self) -> Option<String> {
        self.shared.outage().or_else(|| self.shared.shortage())
    }

    /// Resolves when the storage is lost for good, with the reason.
    pub async fn lost(&self) -> String {
        let mut loss = self.shared.loss.subscribe();
        let reason = loss.wait_for(Option::is_some).await.map(|reason| reason.clone());
        match reason {
            Ok(reason) => reason.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Finishes what has queued up, then closes the store.
    pub async fn close(&self) -> Result<(), StorageError> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads = threads.map(|threads| {
            // It ends after its step, for which the committer is still there.
            drop(threads.stop_cleaner);
            (threads.cleaner, threads.committer)
        });
        let (cleaner, committer) = threads.unzip();
        let cleaned = join(cleaner);
        let (reply, closed) = oneshot::channel();
        // A committer that has ended has closed the store or failed.
        let _ = self.queue.send(Request::Stop(reply));
        let result = closed.await.unwrap_or(Err(StorageError::Failed));
        if !join(committer) || !cleaned {
            return Err(StorageError::Failed);
        }
        result
    }

    /// Runs a change on the committer's thread, in its turn. `None`: the broker has stopped.
    async fn admin<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Committer) -> T + Send + 'static,
    ) -> Option<T> {
        ask(&self.queue, change)?.await.ok()
    }

    /// Runs something that waits for the disk off the runtime's threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> T {
        let shared = Arc::clone(&self.shared);
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down and drops this future next.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Has the committer make a change in its turn; the outcome comes by the channel, unless the broker
/// has stopped.
fn ask<T: Send + 'static>(
    queue: &Sender<Request>,
    change: impl FnOnce(&mut Committer) -> T + Send + 'static,
) -> Option<oneshot::Receiver<T>> {
    let (reply, outcome) = oneshot::channel();
    let change = move |committer: &mut Committer| {
        // Who asked may be gone; the change is made all the same.
        let _ = reply.send(change(committer));
    };
    queue.send(Request::Admin(Box::new(change))).ok()?;
    Some(outcome)
}

/// Waits for a thread, if there is one; says whether it ended well.
fn join(thread: Option<std::thread::JoinHandle<()>>) -> bool {
    thread.is_none_or(|thread| thread.join().is_ok())
}

impl Shared {
    fn topics(&self) -> RwLockReadGuard<'_, Topics> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn topics_mut(&self) -> RwLockWriteGuard<'_, Topics> {
        self.topics.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn offsets(&self) -> RwLockReadGuard<'_, Offsets> {
        self.offsets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn offsets_mut(&self) -> RwLockWriteGuard<'_, Offsets> {
        self.offsets.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topic of a partition that there is.
    fn partition(&self, partition: TopicPartition) -> Option<Arc<Topic>> {
        let topics = self.topics();
        let topic = topics.by_id(partition.topic)?;
        topic.partition(partition.partition)?;
        Some(Arc::clone(topic))
    }

    fn publish_offsets(
        &self,
        changes: impl IntoIterator<Item = (OffsetKey, Option<CommittedOffset>)>,
    ) {
        let mut offsets = self.offsets_mut();
        for (key, committed) in changes {
            offsets.apply(key, committed);
        }
    }

    /// Says that the storage takes no writes any more.
    fn lose(&self, reason: &str) {
        tracing::error!(reason, "the storage is lost, nothing more is acknowledged");
        self.outage.send_replace(Some(reason.to_owned()));
        self.loss.send_replace(Some(reason.to_owned()));
    }

    fn outage(&self) -> Option<String> {
        self.outage.borrow().clone()
    }
}
