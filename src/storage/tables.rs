//! The whole data model: every table of every file, its key, its value, who writes and who deletes.
//!
//! Two kinds of file that are redb databases:
//!
//! - `segments/<number>.redb`, the log. One is active, the others are sealed and never change.
//!   The committer writes; a segment is deleted whole.
//! - `meta.redb`, what the log amounts to: the materialised view of all journals, and the rare
//!   admin changes, which are written here alone.
//!
//! And `redo`, which is none: the last small groups, which the active segment may lack. What it
//! holds is void once the segment has it. See `redo.rs`.
//!
//! Names, key and value types on disk never change their meaning; a change makes a new
//! [`FORMAT_VERSION`]. Values said to be "postcard" follow the postcard 1.0 specification.

#![expect(clippy::type_complexity, reason = "a table's key and value are read where it stands")]

use redb::TableDefinition;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::types::{
    GroupId, Offset, OffsetOwner, PartitionIndex, PipelineName, TimestampMs, TopicId, TopicName,
    TopicPartition,
};

/// Version of everything below. A folder of a newer one is refused.
pub(super) const FORMAT_VERSION: u64 = 4;

/// In every file. Key "version": [`FORMAT_VERSION`] of who made it. Written once.
pub(super) const FORMAT: TableDefinition<&str, u64> = TableDefinition::new("format");

// Segments.

/// Topic id, partition, first offset -> record batches as the producer sent them (base offset and
/// leader epoch assigned), one after the other; compaction writes batches anew. Behind them their
/// seals (`seal.rs`), which say at which offset the next chunk begins. The chunks of a run cover it
/// without a gap, those of a compacted run too: one of which nothing is left has no batches.
/// What no run of the partition covers is dead and goes with the segment.
pub(super) const CHUNKS: TableDefinition<(&[u8; 16], i32, i64), &[u8]> =
    TableDefinition::new("chunks");

/// Commit sequence number -> [`super::Effects`], postcard: all that the group of commits did
/// beside its chunks; behind it the CRC-32C of the number and of that. Gapless over all segments.
pub(super) const JOURNAL: TableDefinition<u64, &[u8]> = TableDefinition::new("journal");

// meta.redb. Behind every value of bytes stands its CRC-32C, as the last number of others: see
// `meta/rows.rs`. Those that have none can be made anew from the journals.

/// "applied": sequence number of the last journal entry that this file contains.
/// "sealed": sequence number of the last journal entry in a segment that was sealed.
/// "next-producer-id": the least id never handed out.
pub(super) const COUNTERS: TableDefinition<&str, (u64, u32)> = TableDefinition::new("counters");

/// "cluster-id": the id that clients see, made with the folder. Written once.
pub(super) const IDENTITY: TableDefinition<&str, &str> = TableDefinition::new("identity");

/// Topic name -> [`TopicRow`], postcard. Written, changed and deleted by topic administration.
pub(super) const TOPICS: TableDefinition<&str, &[u8]> = TableDefinition::new("topics");

/// Topic id, partition -> log start offset, log end offset. A row a partition, made with the
/// topic, updated from the journal (appends; retention and deletion of records), deleted with the
/// topic.
pub(super) const PARTITIONS: TableDefinition<(&[u8; 16], i32), (i64, i64, u32)> =
    TableDefinition::new("partitions");

/// Segment number -> first and last sequence number, bytes on disk. A row a sealed segment,
/// written when it is sealed, deleted before the file is: when nothing in it is live.
pub(super) const SEGMENTS: TableDefinition<u64, (u64, u64, u64)> = TableDefinition::new("segments");

/// Segment number, topic id, partition, first offset -> end offset, bytes, bytes on disk, greatest
/// timestamp, where records may be missing ([`super::Gaps`], by number), when its tombstones may
/// go: a stretch of a partition in a sealed segment. Written when the segment is sealed, never
/// changed, deleted with the segment's row or the topic. Where two overlap, that of the greater
/// segment number counts: it was made from the other. What is before the log start offset does not
/// count.
pub(super) const RUNS: TableDefinition<(u64, &[u8; 16], i32, i64), (i64, u64, u64, i64, u8, i64)> =
    TableDefinition::new("runs");

/// Numbers of segments whose files are to be removed. Written when the segment's row is deleted;
/// deleted once the file is gone for good.
pub(super) const UNLINKED: TableDefinition<u64, ()> = TableDefinition::new("unlinked");

/// Topic id, partition -> offset up to which the partition is compacted. From the journal; deleted
/// with the topic.
pub(super) const COMPACTED: TableDefinition<(&[u8; 16], i32), i64> =
    TableDefinition::new("compacted");

/// Topic id, partition, producer id -> [`ProducerState`], postcard. From the journal; deleted
/// with the topic or when the producer is forgotten.
pub(super) const PRODUCERS: TableDefinition<(&[u8; 16], i32, i64), &[u8]> =
    TableDefinition::new("producers");

/// Owner's kind (0 group, 1 pipeline), owner's name, topic id, partition -> [`CommittedOffset`],
/// postcard. From the journal; deleted with the topic or by the owner.
pub(super) const OFFSETS: TableDefinition<(u8, &str, &[u8; 16], i32), &[u8]> =
    TableDefinition::new("offsets");

/// Group id -> [`GroupRow`], postcard. From the journal; deleted with the group.
pub(super) const GROUPS: TableDefinition<&str, &[u8]> = TableDefinition::new("groups");

/// Pipeline, step, source topic id, source partition, key -> value: plugin state, and counters
/// under the step [`StateKey::PIPELINE`]. From the journal; deleted by a change without a value
/// or with the source topic.
pub(super) const STATE: TableDefinition<(&str, u32, &[u8; 16], i32, &[u8]), &[u8]> =
    TableDefinition::new("state");

/// Scope's kind (0 every broker, 1 this broker, 2 group), group or "" -> settings by Kafka's names,
/// postcard. Written by administration; deleted when nothing is set any more. Made with its first
/// row.
pub(super) const SETTINGS: TableDefinition<(u8, &str), &[u8]> = TableDefinition::new("settings");

/// Deployment name -> bytes of the pipeline layer. Written and deleted by deploying.
pub(super) const DEPLOYMENTS: TableDefinition<&str, &[u8]> = TableDefinition::new("deployments");

/// SHA-256 -> component. Written with the first deployment that names it.
pub(super) const COMPONENTS: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("components");

/// A topic as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRow {
    /// Name, unique.
    pub name: TopicName,
    /// Identity.
    pub id: TopicId,
    /// Number of partitions; only grows.
    pub partitions: PartitionIndex,
    /// Settings that differ from the defaults, by Kafka's names.
    pub config: BTreeMap<String, String>,
    /// When it was made.
    pub created_ms: TimestampMs,
}

/// A position that a group or a pipeline has committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedOffset {
    /// The next record to be read.
    pub offset: Offset,
    /// Leader epoch of the record before it; -1 for unknown.
    pub leader_epoch: i32,
    /// The client's own text.
    pub metadata: String,
    /// When it was committed.
    pub commit_time_ms: TimestampMs,
}

/// Whom settings beyond those of topics are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsKey {
    /// Every broker of the cluster.
    EveryBroker,
    /// This broker.
    ThisBroker,
    /// A consumer group.
    Group(GroupId),
}

/// What is set for one scope, by Kafka's names.
pub type SettingsRow = (SettingsKey, BTreeMap<String, String>);

/// A consumer group as its last finished rebalance left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Its kind.
    pub protocol_type: String,
    /// The chosen protocol.
    pub protocol_name: String,
    /// How often it has assigned.
    pub generation: i32,
    /// The member that assigns.
    pub leader: Option<String>,
    /// In the order in which they came.
    pub members: Vec<MemberRow>,
    /// Since when it has been without members, if it is.
    pub empty_since_ms: Option<TimestampMs>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow {
    /// Its id.
    pub id: String,
    /// Its instance id, if static.
    pub instance_id: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it came from.
    pub client_host: String,
    /// Silence after which it counts as dead.
    pub session_timeout: Duration,
    /// How long the others wait for it.
    pub rebalance_timeout: Duration,
    /// Its protocols with its metadata for each.
    pub protocols: Vec<(String, Bytes)>,
    /// Its assignment.
    pub assignment: Bytes,
}

/// Whose offset, and in which partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OffsetKey {
    /// Group or pipeline.
    pub owner: OffsetOwner,
    /// Partition.
    pub partition: TopicPartition,
}

/// A producer in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProducerKey {
    /// Partition.
    pub partition: TopicPartition,
    /// Producer id.
    pub producer_id: i64,
}

/// What is remembered of a producer in a partition (KIP-98).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerState {
    /// Its epoch.
    pub epoch: i16,
    /// When it last appended.
    pub last_append_ms: TimestampMs,
    /// Its last batches, oldest first, at most [`crate::limits::PRODUCER_BATCHES`].
    pub batches: Vec<ProducedBatch>,
}

/// A batch that a producer has appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducedBatch {
    /// Sequence number of its first record.
    pub base_sequence: i32,
    /// Sequence number of its last record.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Its greatest timestamp.
    pub timestamp_ms: TimestampMs,
}

/// Name of a piece of pipeline state: private to one step and one source partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StateKey {
    /// Pipeline.
    pub pipeline: PipelineName,
    /// Index of the step, or [`StateKey::PIPELINE`].
    pub step: u32,
    /// The source partition it belongs to.
    pub source: TopicPartition,
    /// The key within.
    pub key: Bytes,
}

impl StateKey {
    /// In place of a step's index: the pipeline's own.
    pub const PIPELINE: u32 = u32::MAX;
}
