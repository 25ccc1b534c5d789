//! The committer: the one writer. It takes what has queued up, judges each commit against what is
//! durable and what is before it in the group, assigns offsets, writes the group in one
//! transaction, publishes it, answers.
//!
//! [`Committer::commit_group`] is the whole of it, synchronous and without a thread of its own, so
//! that a simulation can step it; [`Committer::run`] is the thread around it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Shared;
use super::alteration::Alteration;
use super::commit::{Append, Appended, Commit, CommitError, Committed, OffsetChange};
use super::configs::Configs;
use super::outage::Outage;
use super::producers::{ActiveProducer, Sequenced, Verdict, appended, judge};
use super::settler::Settler;
use super::tail::TailBudget;
use super::topics::{NewTopic, Topic, TopicError};
use crate::limits::{GROUP_BYTES, PRODUCERS};
#[cfg(test)]
use crate::planted;
use crate::record::TimestampType;
#[cfg(test)]
use crate::storage::Effects;
use crate::storage::{
    Changes, Chunk, ChunkBuilder, CommittedOffset, Group, GroupRow, OffsetKey, ProducerKey,
    ProducerState, StorageError, Store, TopicRow,
};
use crate::types::{GroupId, Offset, PartitionIndex, ProducerId, TopicId, TopicPartition};

/// What the committer is asked for, in the order of the queue.
pub(super) enum Request {
    Commit(QueuedCommit),
    Admin(AdminChange),
    Stop(oneshot::Sender<Result<(), StorageError>>),
}

/// A rare change, made alone between two groups.
pub(super) type AdminChange = Box<dyn FnOnce(&mut Committer) + Send>;

pub(super) struct QueuedCommit {
    pub(super) commit: Commit,
    pub(super) reply: oneshot::Sender<Result<Committed, CommitError>>,
    /// Its place in the queue, given back when it is done.
    pub(super) permit: QueuePermit,
}

pub(super) struct QueuePermit {
    pub(super) _count: OwnedSemaphorePermit,
    pub(super) _bytes: OwnedSemaphorePermit,
}

/// The writer's side of a broker.
pub struct Committer {
    pub(super) store: Store,
    pub(super) shared: Arc<Shared>,
    pub(super) tails: TailBudget,
    pub(super) producers: HashMap<TopicPartition, HashMap<i64, ProducerState>>,
    pub(super) outage: Outage,
    /// `None`: the committer does its work.
    pub(super) settler: Option<Settler>,
}

/// A group that is being put together.
#[derive(Default)]
struct GroupBuilder {
    chunks: BTreeMap<TopicPartition, (Arc<Topic>, ChunkBuilder)>,
    producers: BTreeMap<ProducerKey, ProducerState>,
    offsets: BTreeMap<OffsetKey, Option<CommittedOffset>>,
    state: Vec<super::commit::StateChange>,
    groups: Vec<(GroupId, Option<GroupRow>)>,
}

impl GroupBuilder {
    fn is_empty(&self) -> bool {
        self.chunks.is_empty()
            && self.offsets.is_empty()
            && self.state.is_empty()
            && self.groups.is_empty()
    }
}

/// Makes a panic of the committer's thread the broker's failure: nobody is left to answer.
struct PanicGuard(Arc<Shared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lose("the committer's thread panicked");
        }
    }
}

/// Chunks of a partition, and its end behind them.
type Published = (Arc<Topic>, TopicPartition, Offset, Vec<Chunk>);

/// An append that passed its checks.
enum Admitted {
    Append { topic: Arc<Topic>, append: Append, sequenced: Option<Sequenced> },
    Duplicate(Appended),
}

impl Committer {
    pub(super) fn new(
        store: Store,
        shared: Arc<Shared>,
        producers: Vec<(ProducerKey, ProducerState)>,
    ) -> Self {
        let mut by_partition: HashMap<TopicPartition, HashMap<i64, ProducerState>> = HashMap::new();
        for (ProducerKey { partition, producer_id }, state) in producers {
            by_partition.entry(partition).or_default().insert(producer_id, state);
        }
        let (tails, outage) = (TailBudget::new(shared.config.tail_bytes), Outage::default());
        Self { store, shared, tails, producers: by_partition, outage, settler: None }
    }

    /// Serves the queue until it is told to stop, its senders are gone, or the storage is lost.
    pub(super) fn run(mut self, queue: &Receiver<Request>) {
        let _guard = PanicGuard(Arc::clone(&self.shared));
        let mut next = None;
        loop {
            let request = match next.take() {
                Some(request) => request,
                None => match self.wait(queue) {
                    Some(request) => request,
                    None => break,
                },
            };
            match request {
                Request::Commit(first) => next = self.serve_group(first, queue),
                Request::Admin(change) => change(&mut self),
                Request::Stop(reply) => {
                    // The one who asked may have given up waiting.
                    let _ = reply.send(self.store.close());
                    return;
                }
            }
            if self.outage.is_for_good() {
                return;
            }
        }
        if let Err(error) = self.store.close() {
            tracing::error!(%error, "closing the store failed");
        }
    }

    /// The next request; runs what is due while there is none. `None` when there will be none.
    fn wait(&mut self, queue: &Receiver<Request>) -> Option<Request> {
        loop {
            let due = self.outage.retry_at().or_else(|| self.store.next_flush());
            let Some(due) = due else { return queue.recv().ok() };
            let wait = due.saturating_sub(self.shared.clock.monotonic());
            match queue.recv_timeout(wait.max(Duration::from_millis(1))) {
                Ok(request) => return Some(request),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    self.maintain();
                    if self.outage.is_for_good() {
                        return None;
                    }
                }
            }
        }
    }

    /// Serves `first` and all commits that have queued up behind it as one group. Returns the
    /// request that ended the group, if it is not a commit.
    fn serve_group(&mut self, first: QueuedCommit, queue: &Receiver<Request>) -> Option<Request> {
        let mut bytes = first.commit.bytes();
        let mut queued = vec![first];
        let mut next = None;
        while bytes < GROUP_BYTES
            && let Ok(request) = queue.try_recv()
        {
            let Request::Commit(commit) = request else {
                next = Some(request);
                break;
            };
            bytes += commit.commit.bytes();
            queued.push(commit);
        }
        let mut commits = Vec::with_capacity(queued.len());
        let mut waiting = Vec::with_capacity(queued.len());
        for QueuedCommit { commit, reply, permit } in queued {
            commits.push(commit);
            waiting.push((reply, permit));
        }
        let outcomes = self.commit_group(commits);
        // The last one first: who waits for several does so from the first on, and then finds all
        // of them.
        for ((reply, _permit), outcome) in waiting.into_iter().zip(outcomes).rev() {
            // Who asked may be gone; the commit is made all the same.
            let _ = reply.send(outcome);
        }
        self.maintain();
        next
    }

    /// Makes a group of commits durable, in order, and publishes it. One outcome a commit; a
    /// refused one leaves no trace.
    pub fn commit_group(&mut self, commits: Vec<Commit>) -> Vec<Result<Committed, CommitError>> {
        if let Some(reason) = self.still_out() {
            let refused = || Err(CommitError::Storage(reason.clone()));
            return commits.iter().map(|_| refused()).collect();
        }
        let brings_records = |commit: &Commit| !commit.appends.is_empty();
        let has_records = commits.iter().any(brings_records);
        let shortage = if has_records { self.shared.look_at_room() } else { None };
        let mut group = GroupBuilder::default();
        let admit = |commit| match &shortage {
            Some(reason) if brings_records(&commit) => Err(CommitError::Storage(reason.clone())),
            _ => self.admit(&mut group, commit),
        };
        let outcomes: Vec<_> = commits.into_iter().map(admit).collect();
        if group.is_empty() {
            return outcomes;
        }
        match self.write(group) {
            Ok(()) => {
                self.outage.end();
                outcomes
            }
            Err(error) => {
                let failed = CommitError::Storage(error.to_string());
                self.begin_outage(&error);
                #[cfg(test)]
                if planted::is(planted::Bug::AcknowledgeBeforeCommit) {
                    return outcomes;
                }
                outcomes.into_iter().map(|outcome| outcome.and(Err(failed.clone()))).collect()
            }
        }
    }

    /// Has done what is due, or ends an outage that may be over. `false` when the storage does not
    /// take writes.
    pub fn maintain(&mut self) -> bool {
        if self.still_out().is_some() {
            return false;
        }
        let result = self.catch_up().and_then(|()| self.store.maintain());
        if let Err(error) = &result {
            self.begin_outage(error);
        }
        result.is_ok()
    }

    /// Judges a commit; takes it into the group whole or not at all.
    fn admit(&self, group: &mut GroupBuilder, commit: Commit) -> Result<Committed, CommitError> {
        for change in &commit.offsets {
            self.check_offset(group, change)?;
        }
        let mut admitted = Vec::with_capacity(commit.appends.len());
        for append in commit.appends {
            admitted.push(self.judge(group, append)?);
        }
        let now_ms = self.shared.clock.now_ms();
        let appended = admitted.into_iter().map(|admitted| match admitted {
            Admitted::Duplicate(appended) => appended,
            Admitted::Append { topic, append, sequenced } => {
                self.take(group, &topic, append, sequenced, now_ms)
            }
        });
        let appended = appended.collect();
        for OffsetChange { owner, partition, committed, .. } in commit.offsets {
            group.offsets.insert(OffsetKey { owner, partition }, committed);
        }
        group.state.extend(commit.state);
        group.groups.extend(commit.groups);
        Ok(Committed { appended })
    }

    fn check_offset(&self, group: &GroupBuilder, change: &OffsetChange) -> Result<(), CommitError> {
        let OffsetChange { owner, partition, expected, .. } = change;
        // What goes may belong to a topic that has gone.
        if change.committed.is_some() && self.shared.partition(*partition).is_none() {
            return Err(CommitError::UnknownPartition(*partition));
        }
        if let Some(committed) = &change.committed
            && !self.shared.offsets().has_room(owner, *partition, committed)
        {
            return Err(CommitError::OffsetsFull);
        }
        let Some(expected) = *expected else { return Ok(()) };
        let key = OffsetKey { owner: owner.clone(), partition: *partition };
        let current = match group.offsets.get(&key) {
            Some(staged) => staged.as_ref().map(|committed| committed.offset),
            None => self.shared.offsets().offset(owner, *partition),
        };
        let current = current.unwrap_or(-1);
        if current == expected {
            return Ok(());
        }
        let (owner, partition) = (owner.clone(), *partition);
        Err(CommitError::OffsetFenced { owner, partition, expected, current })
    }

    /// A commit has at most one batch of a producer for a partition, so that judging all its
    /// batches before taking any is judging them in order.
    fn judge(&self, group: &GroupBuilder, append: Append) -> Result<Admitted, CommitError> {
        let Append { partition, batch } = &append;
        let partition = *partition;
        let Some(topic) = self.shared.partition(partition) else {
            return Err(CommitError::UnknownPartition(partition));
        };
        let producer = batch.producer();
        if producer.id < 0 {
            return Ok(Admitted::Append { topic, append, sequenced: None });
        }
        let (base_sequence, last_sequence) = (batch.base_sequence(), batch.last_sequence());
        let sequenced = Sequenced { producer, base_sequence, last_sequence };
        let key = ProducerKey { partition, producer_id: producer.id };
        match judge(self.producer(group, key), sequenced) {
            Verdict::Append => Ok(Admitted::Append { topic, append, sequenced: Some(sequenced) }),
            Verdict::Duplicate { base_offset, timestamp_ms } => Ok(Admitted::Duplicate(Appended {
                base_offset,
                log_append_time_ms: Some(timestamp_ms),
                log_start_offset: log_start_offset(&topic, partition),
                duplicate: true,
            })),
            Verdict::OutOfOrder { expected } => Err(CommitError::OutOfOrderSequence {
                partition,
                producer_id: producer.id,
                expected,
                found: base_sequence,
            }),
            Verdict::StaleEpoch { current } => Err(CommitError::InvalidProducerEpoch {
                partition,
                producer_id: producer.id,
                current,
                found: producer.epoch,
            }),
        }
    }

    fn take(
        &self,
        group: &mut GroupBuilder,
        topic: &Arc<Topic>,
        append: Append,
        sequenced: Option<Sequenced>,
        now_ms: i64,
    ) -> Appended {
        let Append { partition, batch } = append;
        let end_offset = end_offset(group, topic, partition);
        let new = || (Arc::clone(topic), ChunkBuilder::new(partition, end_offset));
        let (_, builder) = group.chunks.entry(partition).or_insert_with(new);
        let log_append_time_ms = match topic.config().timestamp_type {
            TimestampType::CreateTime => None,
            TimestampType::LogAppendTime => Some(now_ms),
        };
        let timestamp_ms = log_append_time_ms.unwrap_or(batch.max_timestamp());
        let base_offset = builder.push(batch, log_append_time_ms);
        if let Some(sequenced) = sequenced {
            let key = ProducerKey { partition, producer_id: sequenced.producer.id };
            let state = self.producer(group, key).cloned();
            let state = appended(state, sequenced, (base_offset, timestamp_ms), now_ms);
            group.producers.insert(key, state);
        }
        let log_start_offset = log_start_offset(topic, partition);
        Appended { base_offset, log_start_offset, log_append_time_ms, duplicate: false }
    }

    fn producer<'a>(
        &'a self,
        group: &'a GroupBuilder,
        key: ProducerKey,
    ) -> Option<&'a ProducerState> {
        let durable = || self.producers.get(&key.partition)?.get(&key.producer_id);
        group.producers.get(&key).or_else(durable)
    }

    /// Writes a group, then publishes it: in this order, so that nothing is seen that a crash
    /// could take back.
    fn write(&mut self, builder: GroupBuilder) -> Result<(), StorageError> {
        let mut group = Group::default();
        let mut published = Vec::with_capacity(builder.chunks.len());
        for (partition, (topic, chunks)) in builder.chunks {
            let end_offset = chunks.next_offset();
            let chunks = chunks.build();
            group.chunks.extend(chunks.iter().cloned());
            published.push((topic, partition, end_offset, chunks));
        }
        let effects = &mut group.effects;
        effects.producers = self.forgotten(&builder.producers);
        for (key, state) in builder.producers {
            effects.producers.push((key, Some(state)));
        }
        let producers = effects.producers.clone();
        effects.offsets = builder.offsets.into_iter().collect();
        effects.state = builder.state.into_iter().map(|s| (s.key, s.value)).collect();
        effects.groups = builder.groups;
        let offsets = effects.offsets.clone();
        #[cfg(test)]
        if planted::is(planted::Bug::VisibleBeforeDurable) {
            self.publish(std::mem::take(&mut published));
        }
        #[cfg(test)]
        if planted::is(planted::Bug::CheckpointApart) {
            let effects = Effects {
                offsets: std::mem::take(&mut group.effects.offsets),
                ..Effects::default()
            };
            self.store.commit(std::mem::take(&mut group))?;
            group.effects = effects;
        }
        self.store.commit(group)?;
        self.publish(published);
        for (key, state) in producers {
            self.remember(key, state);
        }
        // Last: who sees a checkpoint sees the outputs before it.
        self.shared.publish_offsets(offsets);
        Ok(())
    }

    /// Shows readers what was written.
    fn publish(&mut self, published: Vec<Published>) {
        for (topic, partition, end_offset, chunks) in published {
            for chunk in chunks {
                self.tails.push(&topic, chunk);
            }
            if let Some(partition) = topic.partition(partition.partition) {
                partition.advance(end_offset);
            }
        }
    }

    fn remember(&mut self, key: ProducerKey, state: Option<ProducerState>) {
        let producers = self.producers.entry(key.partition).or_default();
        match state {
            Some(state) => producers.insert(key.producer_id, state),
            None => producers.remove(&key.producer_id),
        };
    }

    /// The producers that are forgotten when these are remembered: the longest silent ones of
    /// partitions that would have too many.
    fn forgotten(
        &self,
        new: &BTreeMap<ProducerKey, ProducerState>,
    ) -> Changes<ProducerKey, ProducerState> {
        let mut counts: BTreeMap<TopicPartition, usize> = BTreeMap::new();
        new.keys().for_each(|key| *counts.entry(key.partition).or_default() += 1);
        let mut forgotten = Vec::new();
        for (partition, count) in counts {
            let Some(known) = self.producers.get(&partition) else { continue };
            if known.len() + count <= PRODUCERS {
                continue;
            }
            let key = |producer_id| ProducerKey { partition, producer_id };
            let again = known.keys().filter(|id| new.contains_key(&key(**id))).count();
            let excess = (known.len() + count - again).saturating_sub(PRODUCERS);
            let mut silent: Vec<_> =
                known.iter().filter(|(id, _)| !new.contains_key(&key(**id))).collect();
            silent.sort_unstable_by_key(|(_, state)| state.last_append_ms);
            forgotten.extend(silent.into_iter().take(excess).map(|(id, _)| (key(*id), None)));
        }
        forgotten
    }

    /// Closes the store, as at a stop.
    #[cfg(test)]
    pub(crate) fn close(self) -> Result<(), StorageError> {
        self.store.close()
    }

    /// The producers that are known in a partition, by id.
    pub(super) fn active_producers(&self, partition: TopicPartition) -> Vec<ActiveProducer> {
        let producers = self.producers.get(&partition).into_iter().flatten();
        let active = producers.map(|(id, state)| ActiveProducer {
            producer: ProducerId { id: *id, epoch: state.epoch },
            last_sequence: state.batches.last().map_or(-1, |batch| batch.last_sequence),
            last_append_ms: state.last_append_ms,
        });
        let mut active: Vec<_> = active.collect();
        active.sort_unstable_by_key(|active| active.producer.id);
        active
    }

    /// Makes a topic. Durable and visible when it returns.
    pub fn create_topic(&mut self, new: NewTopic) -> Result<Arc<Topic>, TopicError> {
        self.shared.topics().check(&new)?;
        let row = TopicRow {
            name: new.name,
            id: TopicId::random(),
            partitions: new.partitions.unwrap_or(self.shared.config.default_partitions),
            config: new.config,
            created_ms: self.shared.clock.now_ms(),
        };
        self.admin(|store| store.create_topic(&row)).map_err(TopicError::Storage)?;
        let mut topics = self.shared.topics_mut();
        let topic = Arc::new(Topic::new(row, |_| (0, 0)).with_defaults(topics.defaults()));
        topics.insert(Arc::clone(&topic));
        Ok(topic)
    }

    /// The topic of that name, made if there is none.
    pub fn topic_or_create(&mut self, new: NewTopic) -> Result<Arc<Topic>, TopicError> {
        let existing = self.shared.topics().by_name(new.name.as_str()).cloned();
        existing.map_or_else(|| self.create_topic(new), Ok)
    }

    /// Changes a topic's settings. Durable and visible when it returns.
    pub fn alter_topic(
        &mut self,
        id: TopicId,
        alteration: &Alteration,
    ) -> Result<Arc<Topic>, TopicError> {
        let row = self.shared.topics().altered(id, alteration)?;
        self.update_topic(row)
    }

    /// Gives a topic more partitions. Durable and visible when it returns.
    pub fn create_partitions(
        &mut self,
        id: TopicId,
        total: PartitionIndex,
    ) -> Result<Arc<Topic>, TopicError> {
        let row = self.shared.topics().grown(id, total)?;
        self.update_topic(row)
    }

    fn update_topic(&mut self, row: TopicRow) -> Result<Arc<Topic>, TopicError> {
        let before = self.shared.topics().by_id(row.id).cloned();
        let before = before.ok_or(TopicError::Unknown(row.id))?;
        let had = before.partitions();
        self.admin(|store| store.update_topic(&row, had)).map_err(TopicError::Storage)?;
        let topic = Arc::new(before.changed(row));
        self.shared.topics_mut().insert(Arc::clone(&topic));
        Ok(topic)
    }

    /// Removes a topic with all that belongs to it. Durable and visible when it returns.
    pub fn delete_topic(&mut self, id: TopicId) -> Result<(), TopicError> {
        let Some(topic) = self.shared.topics().by_id(id).cloned() else {
            return Err(TopicError::Unknown(id));
        };
        self.admin(|store| store.delete_topic(topic.row())).map_err(TopicError::Storage)?;
        self.forget_topic(&topic);
        Ok(())
    }

    pub(super) fn forget_topic(&mut self, topic: &Topic) {
        let id = topic.id();
        self.shared.topics_mut().remove(id);
        self.shared.offsets_mut().forget(id);
        self.producers.retain(|partition, _| partition.topic != id);
        topic.mark_deleted();
    }

    /// Makes the settings on disk those that everybody sees.
    pub(super) fn reconcile_settings(&mut self) -> Result<(), StorageError> {
        let on_disk = Configs::from_rows(self.store.settings()?);
        for (key, settings) in self.shared.configs().changes_since(&on_disk) {
            self.store.put_settings(&key, &settings)?;
        }
        Ok(())
    }

    /// Makes a rare change of the store; its error begins an outage.
    pub(crate) fn admin<T>(
        &mut self,
        change: impl FnOnce(&mut Store) -> Result<T, StorageError>,
    ) -> Result<T, String> {
        if let Some(reason) = self.still_out() {
            return Err(reason);
        }
        change(&mut self.store).map_err(|error| {
            self.begin_outage(&error);
            error.to_string()
        })
    }
}

fn log_start_offset(topic: &Topic, partition: TopicPartition) -> Offset {
    topic.partition(partition.partition).map_or(0, |partition| partition.log_start_offset())
}

/// Where the partition ends once the group is written as it stands.
fn end_offset(group: &GroupBuilder, topic: &Topic, partition: TopicPartition) -> Offset {
    match group.chunks.get(&partition) {
        Some((_, chunks)) => chunks.next_offset(),
        None => topic.partition(partition.partition).map_or(0, |p| p.high_watermark()),
    }
}
