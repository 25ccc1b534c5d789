//! A fetch that stands: its partitions are named once and then read again and again. Each round
//! looks only at partitions that have moved, that were read from elsewhere, or that have more to
//! give, so that partitions where nothing happens cost nothing.

use std::collections::{HashSet, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::topics::Topic;
use super::{Broker, PartitionRead, ReadError};
use crate::limits::{FETCH_BYTES, FETCH_REST_BYTES, FETCH_WAIT_MS};
use crate::types::{Offset, PartitionIndex, TopicPartition};

/// Names a partition within one [`StandingFetch`]; used again once it was removed.
pub type SlotId = u32;

/// Where partitions say that they have moved, and who waits for that.
#[derive(Debug, Default)]
pub(super) struct Moved {
    slots: Mutex<HashSet<SlotId>>,
    notify: Notify,
}

impl Moved {
    pub(super) fn tell(&self, slot: SlotId) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).insert(slot);
        self.notify.notify_one();
    }

    fn take(&self) -> HashSet<SlotId> {
        mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What one round is to bring, at most and at least.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Answer once there are so many bytes.
    pub min_bytes: usize,
    /// Stop reading at so many bytes; at least one batch is returned whatever its size.
    pub max_bytes: usize,
    /// Answer with what there is after this time.
    pub max_wait: Duration,
}

/// A standing fetch. Dropping it ends it.
#[derive(Debug)]
pub struct StandingFetch {
    broker: Broker,
    moved: Arc<Moved>,
    slots: Vec<Option<Slot>>,
    free: Vec<SlotId>,
    /// Slots to look at, in order of preference: each once, and only such as are `active`.
    active: VecDeque<SlotId>,
}

#[derive(Debug)]
struct Slot {
    topic: Arc<Topic>,
    partition: PartitionIndex,
    offset: Offset,
    max_bytes: usize,
    active: bool,
    /// High watermark and log start offset as they were last reported.
    reported: Option<(Offset, Offset)>,
}

impl Slot {
    /// Whether `read` says something that was not reported yet.
    fn is_news(&self, read: &PartitionRead) -> bool {
        !read.batches.is_empty()
            || self.reported != Some((read.high_watermark, read.log_start_offset))
    }
}

impl StandingFetch {
    /// One without partitions.
    pub fn new(broker: Broker) -> Self {
        Self {
            broker,
            moved: Arc::default(),
            slots: Vec::new(),
            free: Vec::new(),
            active: VecDeque::new(),
        }
    }

    /// Adds a partition to be read from `offset` on, at most so many bytes a round. It is reported
    /// in the next round, whatever it holds. `None`: there is no such partition.
    pub fn add(
        &mut self,
        partition: TopicPartition,
        offset: Offset,
        max_bytes: usize,
    ) -> Option<SlotId> {
        let topic = self.broker.shared.partition(partition)?;
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                let id = SlotId::try_from(self.slots.len()).ok()?;
                self.slots.push(None);
                id
            }
        };
        let partition = partition.partition;
        topic.partition(partition)?.follow(&self.moved, id);
        let slot = Slot { topic, partition, offset, max_bytes, active: true, reported: None };
        if let Some(place) = self.slots.get_mut(index(id)) {
            *place = Some(slot);
        }
        self.active.push_back(id);
        Some(id)
    }

    /// Lets a partition be read from another offset on.
    pub fn seek(&mut self, id: SlotId, offset: Offset, max_bytes: usize) {
        if let Some(slot) = self.slot_mut(id) {
            slot.offset = offset;
            slot.max_bytes = max_bytes;
            self.activate(id);
        }
    }

    /// Takes a partition out.
    pub fn remove(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get_mut(index(id)).and_then(Option::take) else { return };
        self.unfollow(id, &slot);
        if slot.active {
            self.active.retain(|active| *active != id);
        }
        self.free.push(id);
    }

    /// How many partitions it has.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether it has no partitions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads; waits until there is enough, something is wrong, or time is up. Reported are
    /// partitions with records, with an error, or with another high watermark or log start offset
    /// than last time.
    pub async fn fetch(&mut self, round: Round) -> Vec<(SlotId, Result<PartitionRead, ReadError>)> {
        let max_wait = round.max_wait.min(Duration::from_millis(FETCH_WAIT_MS));
        let deadline = tokio::time::Instant::now() + max_wait;
        let min_bytes = round.min_bytes.min(round.max_bytes).min(FETCH_BYTES);
        loop {
            for id in self.moved.take() {
                self.activate(id);
            }
            let reads = self.read(round.max_bytes.min(FETCH_BYTES)).await;
            let bytes: usize =
                reads.iter().filter_map(|(_, read)| read.as_ref().ok()).map(|r| r.bytes()).sum();
            let failed = reads.iter().any(|(_, read)| read.is_err());
            let done = bytes >= min_bytes || failed || self.is_empty();
            if done || tokio::time::Instant::now() >= deadline {
                return self.report(reads);
            }
            // Not kept while waiting: it is read again, and by then from memory.
            drop(reads);
            // Time being up is seen at the loop's head.
            let _ = tokio::time::timeout_at(deadline, self.moved.notify.notified()).await;
        }
    }

    /// Reads the active partitions, in order.
    async fn read(&self, mut budget: usize) -> Vec<(SlotId, Result<PartitionRead, ReadError>)> {
        let mut empty = true;
        let mut reads = Vec::with_capacity(self.active.len());
        for &id in &self.active {
            let Some(slot) = self.slot(id) else { continue };
            let Slot { topic, partition, offset, .. } = slot;
            let max_bytes = slot.max_bytes.min(budget);
            // With less left than a usual batch, the rest is for the next round.
            let read = if empty || budget >= FETCH_REST_BYTES {
                self.broker.read_in(topic, *partition, *offset, max_bytes).await
            } else {
                topic.readable(*partition, *offset)
            };
            let read = read.map(|mut read| {
                // Only the first batch of a response may exceed the limits.
                if !empty && read.bytes() > max_bytes {
                    read.batches.clear();
                }
                budget = budget.saturating_sub(read.bytes());
                empty &= read.batches.is_empty();
                read
            });
            reads.push((id, read));
        }
        reads
    }

    /// Keeps what is news. Partitions at their end are not looked at again before they move; those
    /// that gave something let the others go first.
    fn report(
        &mut self,
        mut reads: Vec<(SlotId, Result<PartitionRead, ReadError>)>,
    ) -> Vec<(SlotId, Result<PartitionRead, ReadError>)> {
        let mut served = Vec::new();
        self.active.clear();
        reads.retain(|(id, read)| {
            let Some(slot) = self.slots.get_mut(index(*id)).and_then(Option::as_mut) else {
                return false;
            };
            let Ok(read) = read else {
                slot.reported = None;
                served.push(*id);
                return true;
            };
            let news = slot.is_news(read);
            slot.reported = Some((read.high_watermark, read.log_start_offset));
            if !read.batches.is_empty() {
                served.push(*id);
            } else if slot.offset < read.high_watermark {
                self.active.push_back(*id);
            } else {
                slot.active = false;
            }
            news
        });
        self.active.extend(served);
        reads
    }

    fn activate(&mut self, id: SlotId) {
        if let Some(slot) = self.slot_mut(id)
            && !mem::replace(&mut slot.active, true)
        {
            self.active.push_back(id);
        }
    }

    fn slot(&self, id: SlotId) -> Option<&Slot> {
        self.slots.get(index(id))?.as_ref()
    }

    fn slot_mut(&mut self, id: SlotId) -> Option<&mut Slot> {
        self.slots.get_mut(index(id))?.as_mut()
    }

    fn unfollow(&self, id: SlotId, slot: &Slot) {
        if let Some(partition) = slot.topic.partition(slot.partition) {
            partition.unfollow(&self.moved, id);
        }
    }
}

impl Drop for StandingFetch {
    fn drop(&mut self) {
        for (id, slot) in (0..).zip(mem::take(&mut self.slots)) {
            if let Some(slot) = slot {
                self.unfollow(id, &slot);
            }
        }
    }
}

fn index(id: SlotId) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::world::World;
    use super::*;
    use crate::record::{BatchBuilder, Compression, RecordBatch};

    const NOW: Round = Round { min_bytes: 1, max_bytes: 1 << 20, max_wait: Duration::ZERO };
    /// Far longer than a test may take.
    const PATIENT: Round = Round { max_wait: Duration::from_secs(250), ..NOW };
    const MANY: usize = 1 << 20;

    fn batch() -> RecordBatch {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(1, None, Some(b"value"), &[]).unwrap();
        batch.build().unwrap()
    }

    /// A fetch of all partitions from their beginning, once reported.
    async fn standing(world: &World) -> (StandingFetch, Vec<SlotId>) {
        let mut fetch = StandingFetch::new(world.broker.clone());
        let slots: Vec<_> = (0..world.topic.partitions())
            .map(|partition| fetch.add(world.at(partition), 0, MANY).unwrap())
            .collect();
        let reported = fetch.fetch(NOW).await;
        assert_eq!(names(&reported), slots, "each is reported once, whatever it holds");
        (fetch, slots)
    }

    fn names(reads: &[(SlotId, Result<PartitionRead, ReadError>)]) -> Vec<SlotId> {
        reads.iter().map(|(id, _)| *id).collect()
    }

    #[tokio::test]
    async fn only_what_moved_is_looked_at() {
        let mut world = World::new(100);
        let (mut fetch, slots) = standing(&world).await;
        assert!(fetch.active.is_empty(), "nothing is left to look at");
        assert!(fetch.fetch(NOW).await.is_empty());
        world.append(7, batch()).unwrap();
        for _ in 0..2 {
            let reads = fetch.fetch(NOW).await;
            assert_eq!(names(&reads), [slots[7]], "again, as long as it is not read on");
            assert_eq!(reads[0].1.as_ref().unwrap().high_watermark, 1);
            assert_eq!(fetch.active.len(), 1);
        }
        fetch.seek(slots[7], 1, MANY);
        assert!(fetch.fetch(NOW).await.is_empty());
        assert!(fetch.active.is_empty());
        world.topic.partition(7).unwrap().move_start(1);
        let reads = fetch.fetch(NOW).await;
        assert_eq!(names(&reads), [slots[7]], "records were deleted");
        assert!(fetch.active.is_empty());
    }

    #[tokio::test]
    async fn who_was_served_lets_the_others_go_first() {
        let mut world = World::new(3);
        let (mut fetch, slots) = standing(&world).await;
        for partition in 0..3 {
            world.append(partition, batch()).unwrap();
        }
        let small = Round { max_bytes: 1, ..NOW };
        let mut served = Vec::new();
        for _ in 0..6 {
            let reads = fetch.fetch(small).await;
            let with_records =
                reads.iter().filter(|(_, read)| !read.as_ref().unwrap().batches.is_empty());
            served.extend(with_records.map(|(id, _)| *id));
        }
        let first = served[..3].to_vec();
        assert_eq!(served[3..], first);
        assert_eq!(first.iter().copied().collect::<HashSet<_>>(), slots.into_iter().collect());
    }

    #[tokio::test]
    async fn a_record_an_error_and_the_end_of_a_topic_end_the_wait() {
        let mut world = World::new(2);
        let (mut fetch, slots) = standing(&world).await;
        let waiting = tokio::spawn(async move {
            let reads = fetch.fetch(PATIENT).await;
            (fetch, reads)
        });
        tokio::task::yield_now().await;
        world.append(1, batch()).unwrap();
        let (mut fetch, reads) = waiting.await.unwrap();
        assert_eq!(names(&reads), [slots[1]]);
        fetch.seek(slots[1], 9, MANY);
        for _ in 0..2 {
            let reads = fetch.fetch(PATIENT).await;
            assert!(matches!(reads[0].1, Err(ReadError::OffsetOutOfRange { offset: 9, .. })));
        }
        fetch.seek(slots[1], 1, MANY);
        let reads = fetch.fetch(NOW).await;
        assert_eq!(names(&reads), [slots[1]], "that the error is over is news");
        let waiting = tokio::spawn(async move { fetch.fetch(PATIENT).await });
        tokio::task::yield_now().await;
        world.committer.delete_topic(world.topic.id()).unwrap();
        let reads = waiting.await.unwrap();
        assert!(matches!(reads[0].1, Err(ReadError::UnknownPartition(_))));
    }

    #[tokio::test]
    async fn nothing_follows_a_partition_that_was_taken_out() {
        let mut world = World::new(2);
        let (mut fetch, slots) = standing(&world).await;
        world.append(0, batch()).unwrap();
        fetch.remove(slots[0]);
        fetch.remove(slots[0]);
        assert_eq!(fetch.len(), 1);
        assert!(fetch.fetch(NOW).await.is_empty());
        assert_eq!(fetch.add(world.at(9), 0, MANY), None);
        // The name is given again, and means the new one.
        assert_eq!(fetch.add(world.at(0), 1, MANY), Some(slots[0]));
        assert_eq!(names(&fetch.fetch(NOW).await), [slots[0]]);
        let followers = |world: &World| {
            (0..2).map(|at| world.topic.partition(at).unwrap().follower_count()).sum::<usize>()
        };
        assert_eq!(followers(&world), 2);
        drop(fetch);
        assert_eq!(followers(&world), 0);
    }
}
