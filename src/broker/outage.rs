//! Outages of the storage. A write that fails is never tried again: the committer takes the store
//! back to what was durable before it, so that readers are served, refuses every change for a
//! while, and then lets the next one in. What was reported as failed has not been done.

use std::time::Duration;

use super::Committer;
use super::settler::Settler;
use crate::limits::{OUTAGE_MS, OUTAGE_MS_MAX};
use crate::storage::StorageError;

/// Where the committer is in an outage.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// When to try again, in the clock's monotonic time; `None`: there is no outage.
    retry_at: Option<Duration>,
    /// How long the last one was to last; zero once a write has succeeded since.
    wait: Duration,
    for_good: bool,
}

impl Outage {
    pub(super) fn retry_at(&self) -> Option<Duration> {
        self.retry_at
    }

    /// Whether there is nothing to be done any more.
    pub(super) fn is_for_good(&self) -> bool {
        self.for_good
    }

    /// Takes note of a write that succeeded.
    pub(super) fn end(&mut self) {
        self.wait = Duration::ZERO;
    }

    fn prolong(&mut self, now: Duration) {
        let least = Duration::from_millis(OUTAGE_MS);
        self.wait = (self.wait * 2).clamp(least, Duration::from_millis(OUTAGE_MS_MAX));
        self.retry_at = Some(now + self.wait);
    }
}

impl Committer {
    /// Takes note of a write that failed, and opens the store again for its readers.
    pub(super) fn begin_outage(&mut self, error: &StorageError) {
        // It may have been refused for what the settler has met.
        let cause = match error {
            StorageError::Failed => self.settler.as_ref().and_then(Settler::take_failure),
            _ => None,
        };
        let error = cause.as_ref().unwrap_or(error);
        tracing::error!(%error, "a write failed, nothing is acknowledged until the disk is well");
        self.shared.outage.send_replace(Some(error.to_string()));
        self.outage.prolong(self.shared.clock.monotonic());
        // Twice: readers need not wait for the next time if the disk fails once more.
        if let Err(error) = self.store.reopen().or_else(|_| self.store.reopen()) {
            self.note(&error);
        }
    }

    /// Why no write is taken, if there is an outage; ends one whose time has come.
    pub(super) fn still_out(&mut self) -> Option<String> {
        let retry_at = self.outage.retry_at?;
        let now = self.shared.clock.monotonic();
        if !self.outage.for_good && retry_at <= now {
            match self.store.resume().and_then(|()| self.reconcile()) {
                Ok(()) => {
                    // What the settler met meanwhile was of this outage.
                    let _ = self.settler.as_ref().and_then(Settler::take_failure);
                    self.outage.retry_at = None;
                    self.shared.outage.send_replace(None);
                    tracing::info!("the store is open again");
                    return None;
                }
                Err(error) => {
                    self.outage.prolong(now);
                    self.note(&error);
                }
            }
        }
        Some(self.shared.outage().unwrap_or_default())
    }

    fn note(&mut self, error: &StorageError) {
        if let StorageError::Diverged { .. } = error {
            self.outage.for_good = true;
            self.shared.lose(&error.to_string());
        } else {
            tracing::warn!(%error, "the store cannot be opened again yet");
        }
    }

    /// Makes the topics and settings on disk those that everybody sees: a change that was reported
    /// as failed may have reached the disk. Only a deletion is then completed.
    fn reconcile(&mut self) -> Result<(), StorageError> {
        let on_disk = self.store.topics()?;
        let topics = self.shared.topics().all();
        for topic in topics {
            if !on_disk.iter().any(|row| row.id == topic.id()) {
                self.store.delete_topic(topic.row())?;
                self.forget_topic(&topic);
            }
        }
        for row in &on_disk {
            let topic = self.shared.topics().by_id(row.id).cloned();
            match topic {
                None => self.store.delete_topic(row)?,
                Some(topic) if topic.row() != row => {
                    self.store.update_topic(topic.row(), topic.partitions())?;
                }
                Some(_) => {}
            }
        }
        self.reconcile_settings()
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::World;
    use super::super::{CommitError, NewTopic, TopicError};
    use super::*;
    use crate::clock::Clock;
    use crate::record::{BatchBuilder, Compression, RecordBatch};
    use crate::types::{ProducerId, TopicName};

    fn batch(sequence: i32) -> RecordBatch {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.producer(ProducerId { id: 7, epoch: 0 }, sequence);
        builder.push(0, None, Some(b"value"), &[]).unwrap();
        builder.build().unwrap()
    }

    fn new_topic() -> NewTopic {
        let name = TopicName::new("u").unwrap();
        NewTopic { name, partitions: Some(2), config: Default::default() }
    }

    /// Ends the outage that there is.
    fn recover(world: &mut World) {
        assert!(!world.committer.maintain(), "not before its time");
        world.pass(Duration::from_millis(OUTAGE_MS));
        assert!(world.committer.maintain());
        assert_eq!(world.broker.outage(), None);
    }

    #[test]
    fn what_failed_was_not_done_and_is_done_once_when_it_is_tried_again() {
        let mut world = World::new(1);
        world.append(0, batch(0)).unwrap();
        world.files.fail_at(world.files.operations());
        let failed = world.append(0, batch(1)).unwrap_err();
        assert!(matches!(failed, CommitError::Storage(_)), "{failed}");
        assert!(world.broker.outage().is_some());
        let refused = world.append(0, batch(1)).unwrap_err();
        assert!(matches!(refused, CommitError::Storage(_)), "{refused}");
        let read = world.broker.read_blocking(world.at(0), 0, 1 << 20).unwrap();
        assert_eq!((read.high_watermark, read.batches.len()), (1, 1));

        recover(&mut world);
        let appended = world.append(0, batch(1)).unwrap();
        assert_eq!((appended.base_offset, appended.duplicate), (1, false));
        assert!(world.append(0, batch(1)).unwrap().duplicate);
        world.reopen();
        assert!(world.append(0, batch(1)).unwrap().duplicate, "from disk");
    }

    #[test]
    fn an_outage_that_goes_on_is_tried_more_seldom() {
        let mut world = World::new(1);
        world.files.fail_at(world.files.operations());
        world.append(0, batch(0)).unwrap_err();
        world.files.fill_up(true);
        let mut waits = Vec::new();
        for _ in 0..5 {
            let now = world.clock.monotonic();
            let wait = world.committer.outage.retry_at().unwrap() - now;
            waits.push(wait.as_millis());
            world.pass(wait);
            assert!(!world.committer.maintain());
        }
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 10_000]);
    }

    #[test]
    fn a_topic_whose_making_failed_is_not_there() {
        for operation in 0.. {
            let mut world = World::new(1);
            world.files.fail_at(world.files.operations() + operation);
            match world.committer.create_topic(new_topic()) {
                Ok(_) => break,
                Err(error) => assert!(matches!(error, TopicError::Storage(_)), "{error}"),
            }
            recover(&mut world);
            assert!(world.broker.topic("u").is_none(), "operation {operation}");
            world.reopen();
            assert!(world.broker.topic("u").is_none(), "operation {operation}, from disk");
            world.committer.create_topic(new_topic()).unwrap();
        }
    }

    #[test]
    fn a_topic_whose_deletion_failed_is_there_or_gone_for_all() {
        for operation in 0.. {
            let mut world = World::new(1);
            world.append(0, batch(0)).unwrap();
            world.files.fail_at(world.files.operations() + operation);
            if world.committer.delete_topic(world.topic.id()).is_ok() {
                assert!(operation > 0);
                break;
            }
            recover(&mut world);
            let seen = world.broker.topic("t").is_some();
            if seen {
                world.append(0, batch(1)).unwrap();
            }
            world.files = world.files.crash_image(|_| 0);
            let disk = world.open_again();
            assert_eq!(disk.topic("t").is_some(), seen, "operation {operation}");
        }
    }
}
