//! The journal entry of a group of commits: every effect beside the chunks, in one value written
//! in the same transaction.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::StorageError;
use super::tables::{CommittedOffset, GroupRow, OffsetKey, ProducerKey, ProducerState, StateKey};
use crate::types::{GroupId, Offset, TimestampMs, TopicPartition};

/// New values by key; `None` removes. The last of several for one key counts.
pub type Changes<K, V> = Vec<(K, Option<V>)>;

/// All effects of a group beside its chunks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effects {
    /// What was appended, by partition.
    pub extents: Vec<Extent>,
    /// Producers' new states.
    pub producers: Changes<ProducerKey, ProducerState>,
    /// Committed offsets of groups and checkpoints of pipelines.
    pub offsets: Changes<OffsetKey, CommittedOffset>,
    /// State of pipelines and plugins.
    pub state: Changes<StateKey, Bytes>,
    /// New log start offsets: what is before them is deleted.
    pub starts: Vec<(TopicPartition, Offset)>,
    /// Offsets up to which partitions are compacted.
    pub compacted: Vec<(TopicPartition, Offset)>,
    /// Stretches written again, which are now in the segment of this entry and nowhere else.
    /// Filled in by the store.
    pub moved: Vec<Moved>,
    /// Consumer groups after a rebalance.
    pub groups: Changes<GroupId, GroupRow>,
}

/// A stretch of a partition that was written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// What it covers. Its bytes may be none.
    pub extent: Extent,
    /// What they take on disk, about.
    pub disk_bytes: u64,
    /// Where records may be missing between its offsets.
    pub gaps: Gaps,
    /// When its tombstones may go; [`TimestampMs::MAX`] if it is not known to have any.
    pub horizon_ms: TimestampMs,
}

/// Where records may be missing within a stretch. What is missing elsewhere is damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Gaps {
    /// Nowhere.
    None,
    /// Within its chunks, each of which follows the one before: compaction has dropped them.
    Records,
    /// Anywhere: it was put together from what a repair had found.
    Chunks,
}

/// A stretch of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The partition.
    pub partition: TopicPartition,
    /// Offset of its first record.
    pub first_offset: Offset,
    /// Offset after its last record.
    pub end_offset: Offset,
    /// Bytes of its record batches.
    pub bytes: u64,
    /// Greatest timestamp of its records.
    pub max_timestamp: TimestampMs,
}

impl Extent {
    /// Takes in the stretch that follows.
    pub(super) fn extend(&mut self, next: &Extent) {
        self.end_offset = next.end_offset;
        self.bytes += next.bytes;
        self.max_timestamp = self.max_timestamp.max(next.max_timestamp);
    }
}

impl Effects {
    pub(super) fn encode(&self) -> Result<Vec<u8>, StorageError> {
        postcard::to_stdvec(self)
            .map_err(|error| StorageError::Encode { what: "a journal entry", error })
    }

    pub(super) fn decode(segment: u64, sequence: u64, bytes: &[u8]) -> Result<Self, StorageError> {
        postcard::from_bytes(bytes).map_err(|error| StorageError::JournalEntry {
            segment,
            sequence,
            error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{OffsetOwner, PipelineName, TopicId};

    #[test]
    fn an_entry_survives_its_encoding() {
        let partition = TopicPartition { topic: TopicId::random(), partition: 3 };
        let effects = Effects {
            extents: vec![Extent {
                partition,
                first_offset: 7,
                end_offset: 9,
                bytes: 100,
                max_timestamp: -1,
            }],
            producers: vec![(ProducerKey { partition, producer_id: 5 }, None)],
            offsets: vec![(
                OffsetKey { owner: OffsetOwner::Group(GroupId::new("g").unwrap()), partition },
                Some(CommittedOffset {
                    offset: 9,
                    leader_epoch: 0,
                    metadata: "m".into(),
                    commit_time_ms: 1,
                }),
            )],
            state: vec![(
                StateKey {
                    pipeline: PipelineName::new("p").unwrap(),
                    step: 0,
                    source: partition,
                    key: Bytes::from_static(b"k"),
                },
                Some(Bytes::from_static(b"v")),
            )],
            starts: vec![(partition, 7)],
            compacted: vec![(partition, 8)],
            moved: Vec::new(),
            groups: vec![(GroupId::new("g").unwrap(), None)],
        };
        let bytes = effects.encode().unwrap();
        assert_eq!(Effects::decode(1, 1, &bytes).unwrap(), effects);
        for cut in 0..bytes.len() {
            assert!(Effects::decode(1, 1, &bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
