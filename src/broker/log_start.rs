//! The log start offset: what is before it is deleted, at once for readers, from the disk later.

use super::committer::Committer;
use super::{Broker, StorageError};
use crate::storage::{Effects, Group};
use crate::types::{Offset, TopicPartition};

/// Why records were not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteRecordsError {
    /// No such partition.
    #[error("unknown partition {0:?}")]
    UnknownPartition(TopicPartition),
    /// There are no records up to that offset.
    #[error("offset {offset} is beyond the last record, {high_watermark} is the next one's")]
    OffsetOutOfRange {
        /// What was asked for.
        offset: Offset,
        /// Offset after the last durable record.
        high_watermark: Offset,
    },
    /// The topic keeps the last record of each key and deletes nothing else.
    #[error("the topic's cleanup.policy does not allow it")]
    Policy,
    /// The disk failed.
    #[error("storage failed: {0}")]
    Storage(String),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopped,
}

impl Broker {
    /// Deletes the records before an offset, -1 standing for the end, in each of the partitions.
    /// Durable when it returns; returns each one's log start offset.
    pub async fn delete_records(
        &self,
        before: Vec<(TopicPartition, Offset)>,
    ) -> Vec<Result<Offset, DeleteRecordsError>> {
        let count = before.len();
        let deleted = self.admin(move |committer| committer.delete_records(&before)).await;
        deleted.unwrap_or_else(|| vec![Err(DeleteRecordsError::Stopped); count])
    }
}

impl Committer {
    /// [`Broker::delete_records`] on the committer's thread.
    pub fn delete_records(
        &mut self,
        before: &[(TopicPartition, Offset)],
    ) -> Vec<Result<Offset, DeleteRecordsError>> {
        let checked: Vec<_> = before
            .iter()
            .map(|&(partition, offset)| Ok((partition, self.check_delete(partition, offset)?)))
            .collect();
        let starts = checked.iter().flatten().copied().collect();
        if let Err(error) = self.move_starts(starts) {
            return vec![Err(DeleteRecordsError::Storage(error)); before.len()];
        }
        let start = |(partition, offset): (TopicPartition, Offset)| {
            let topic = self.shared.partition(partition);
            let partition = topic.as_ref().and_then(|topic| topic.partition(partition.partition));
            partition.map_or(offset, |partition| partition.log_start_offset())
        };
        checked.into_iter().map(|checked| checked.map(start)).collect()
    }

    fn check_delete(
        &self,
        partition: TopicPartition,
        offset: Offset,
    ) -> Result<Offset, DeleteRecordsError> {
        let unknown = DeleteRecordsError::UnknownPartition(partition);
        let topic = self.shared.partition(partition).ok_or(unknown.clone())?;
        let high_watermark = topic.partition(partition.partition).ok_or(unknown)?.high_watermark();
        if !topic.config().cleanup_policy.delete {
            return Err(DeleteRecordsError::Policy);
        }
        match offset {
            -1 => Ok(high_watermark),
            offset if (0..=high_watermark).contains(&offset) => Ok(offset),
            offset => Err(DeleteRecordsError::OffsetOutOfRange { offset, high_watermark }),
        }
    }

    /// Moves log start offsets up; those that are there already, or whose partition is gone, stay.
    /// Durable, then visible, when it returns.
    pub(super) fn move_starts(
        &mut self,
        mut starts: Vec<(TopicPartition, Offset)>,
    ) -> Result<(), String> {
        let shared = std::sync::Arc::clone(&self.shared);
        let here = |partition: TopicPartition| shared.partition(partition);
        starts.retain(|(partition, start)| {
            here(*partition).is_some_and(|topic| {
                let partition = topic.partition(partition.partition);
                partition.is_some_and(|p| p.log_start_offset() < *start)
            })
        });
        if starts.is_empty() {
            return Ok(());
        }
        let effects = Effects { starts: starts.clone(), ..Effects::default() };
        self.admin(|store| -> Result<(), StorageError> {
            store.commit(Group { effects, ..Group::default() })
        })?;
        for (partition, start) in starts {
            let Some(topic) = here(partition) else { continue };
            if let Some(partition) = topic.partition(partition.partition) {
                partition.move_start(start);
                self.tails.trim(&partition.tail, start);
            }
        }
        Ok(())
    }
}
