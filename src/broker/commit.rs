//! The one kind of durable change: a [`Commit`] and its outcome.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::limits::OFFSETS_BYTES;
use crate::record::RecordBatch;
use crate::storage::{CommittedOffset, GroupRow, MemberRow, StateKey};
use crate::types::{GroupId, Offset, OffsetOwner, TimestampMs, TopicPartition};

/// Changes that become durable together or not at all.
///
/// A Produce request is one with appends only, an OffsetCommit one with offsets only; a pipeline's
/// batch has its output records, its checkpoint and its state in one.
#[derive(Debug, Default)]
pub struct Commit {
    /// Batches to append, each accepted by its topic.
    pub appends: Vec<Append>,
    /// Offsets to commit.
    pub offsets: Vec<OffsetChange>,
    /// State to change.
    pub state: Vec<StateChange>,
    /// Consumer groups to keep; `None` forgets one.
    pub groups: Vec<(GroupId, Option<GroupRow>)>,
}

/// One record batch for one partition.
#[derive(Debug)]
pub struct Append {
    /// Where it goes.
    pub partition: TopicPartition,
    /// What goes there.
    pub batch: RecordBatch,
}

/// A new committed offset or checkpoint.
#[derive(Debug)]
pub struct OffsetChange {
    /// Whose.
    pub owner: OffsetOwner,
    /// In which partition.
    pub partition: TopicPartition,
    /// `Some`: the whole commit is refused unless this is the present offset, -1 standing for
    /// none. Fences a runner that does not know that it was replaced.
    pub expected: Option<Offset>,
    /// The new one; `None` removes it.
    pub committed: Option<CommittedOffset>,
}

/// A new value of a piece of pipeline state.
#[derive(Debug)]
pub struct StateChange {
    /// Which.
    pub key: StateKey,
    /// The new value; `None` removes it.
    pub value: Option<Bytes>,
}

impl Commit {
    /// Bytes that it holds in the queue.
    pub(super) fn bytes(&self) -> usize {
        let appends: usize = self.appends.iter().map(|append| append.batch.len()).sum();
        let offset = |change: &OffsetChange| {
            let metadata =
                change.committed.as_ref().map_or(0, |committed| committed.metadata.len());
            size_of::<OffsetChange>() + metadata
        };
        let state = |change: &StateChange| {
            let value = change.value.as_ref().map_or(0, Bytes::len);
            size_of::<StateChange>() + change.key.key.len() + value
        };
        let offsets: usize = self.offsets.iter().map(offset).sum();
        let groups: usize = self.groups.iter().map(|(_, row)| group_bytes(row.as_ref())).sum();
        appends + offsets + self.state.iter().map(state).sum::<usize>() + groups
    }
}

fn group_bytes(row: Option<&GroupRow>) -> usize {
    let member = |member: &MemberRow| {
        let protocols: usize = member.protocols.iter().map(|(name, d)| name.len() + d.len()).sum();
        size_of::<MemberRow>() + protocols + member.assignment.len()
    };
    size_of::<GroupRow>() + row.map_or(0, |row| row.members.iter().map(member).sum())
}

/// A commit that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Where the batches went, in the order of [`Commit::appends`].
    pub appended: Vec<Appended>,
}

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Log start offset of its partition.
    pub log_start_offset: Offset,
    /// The broker's time, if its records were given it; with a duplicate the greatest timestamp of
    /// the batch as it was appended, whose ever that was.
    pub log_append_time_ms: Option<TimestampMs>,
    /// It had been appended before and was not appended again.
    pub duplicate: bool,
}

/// Why a commit was refused. Nothing of it was or will be done, except after
/// [`CommitError::Storage`] and [`CommitError::Stopped`]: then only a restart shows whether it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// No such partition.
    #[error("unknown partition {0:?}")]
    UnknownPartition(TopicPartition),
    /// Records of this producer are missing before the batch.
    #[error("{partition:?}: producer {producer_id} sent sequence {found}, expected {expected}")]
    OutOfOrderSequence {
        /// The partition.
        partition: TopicPartition,
        /// The producer.
        producer_id: i64,
        /// The sequence number that comes next.
        expected: i32,
        /// The sequence number of the batch.
        found: i32,
    },
    /// The batch belongs to an earlier life of its producer.
    #[error("{partition:?}: producer {producer_id} has epoch {current}, the batch {found}")]
    InvalidProducerEpoch {
        /// The partition.
        partition: TopicPartition,
        /// The producer.
        producer_id: i64,
        /// Its epoch.
        current: i16,
        /// The batch's epoch.
        found: i16,
    },
    /// Somebody else has moved the offset.
    #[error("{owner:?} {partition:?}: the offset is {current}, not {expected}")]
    OffsetFenced {
        /// Whose offset.
        owner: OffsetOwner,
        /// In which partition.
        partition: TopicPartition,
        /// What the commit expected.
        expected: Offset,
        /// What it is.
        current: Offset,
    },
    /// Committed offsets take all the memory that they may.
    #[error("the committed offsets of all groups take {OFFSETS_BYTES} bytes already")]
    OffsetsFull,
    /// The disk failed.
    #[error("storage failed: {0}")]
    Storage(String),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopped,
}

/// The outcome of a submitted commit, once it is durable or refused.
#[derive(Debug)]
pub struct PendingCommit(pub(super) oneshot::Receiver<Result<Committed, CommitError>>);

impl Future for PendingCommit {
    type Output = Result<Committed, CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|outcome| outcome.unwrap_or(Err(CommitError::Stopped)))
    }
}
