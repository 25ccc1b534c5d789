//! A group's committed offsets: OffsetCommit, OffsetFetch.

use uuid::Uuid;

use super::errors::ErrorCode;
use super::message::message;
use super::wire::Str;

message! {
    /// Offsets to commit for a group.
    pub struct OffsetCommitRequest {
        group_id: Str,
        /// -1 for a commit from outside the group's membership.
        generation_id_or_member_epoch: i32 [1.., ignorable, default -1],
        member_id: Str [1.., ignorable],
        group_instance_id: Option<Str> [7.., nullable],
        retention_time_ms: i64 [2..=4, ignorable, default -1],
        topics: Vec<OffsetCommitRequestTopic>,
    }

    /// A topic, which has a name before version 10 and an id since (KIP-848).
    pub struct OffsetCommitRequestTopic {
        name: Str [0..=9, ignorable],
        topic_id: Uuid [10.., ignorable],
        partitions: Vec<OffsetCommitRequestPartition>,
    }

    /// The offset to commit: of the next record to read.
    pub struct OffsetCommitRequestPartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [6.., ignorable, default -1],
        committed_metadata: Option<Str> [nullable],
    }

    /// What became of each commit.
    pub struct OffsetCommitResponse {
        throttle_time_ms: i32 [3.., ignorable],
        topics: Vec<OffsetCommitResponseTopic>,
    }

    /// What became of one topic's commits.
    pub struct OffsetCommitResponseTopic {
        name: Str [0..=9, ignorable],
        topic_id: Uuid [10.., ignorable],
        partitions: Vec<OffsetCommitResponsePartition>,
    }

    /// What became of one commit.
    pub struct OffsetCommitResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }
}

message! {
    /// Asks for committed offsets; before version 8 of one group, since then of any number
    /// (KIP-709). Null topics are all.
    pub struct OffsetFetchRequest {
        group_id: Str [0..=7],
        topics: Option<Vec<OffsetFetchRequestTopic>> [0..=7, nullable 2..=7],
        groups: Vec<OffsetFetchRequestGroup> [8..],
        require_stable: bool [7.., default false],
    }

    /// A topic of the only group, before version 8.
    pub struct OffsetFetchRequestTopic {
        name: Str,
        partition_indexes: Vec<i32>,
    }

    /// A group, since version 8.
    pub struct OffsetFetchRequestGroup {
        group_id: Str,
        member_id: Option<Str> [9.., nullable, ignorable],
        member_epoch: i32 [9.., ignorable, default -1],
        topics: Option<Vec<OffsetFetchRequestTopics>> [nullable],
    }

    /// A topic, which has a name before version 10 and an id since.
    pub struct OffsetFetchRequestTopics {
        name: Str [8..=9, ignorable],
        topic_id: Uuid [10.., ignorable],
        partition_indexes: Vec<i32>,
    }

    /// Committed offsets; before version 8 of one group, since then by group.
    pub struct OffsetFetchResponse {
        throttle_time_ms: i32 [3.., ignorable],
        topics: Vec<OffsetFetchResponseTopic> [0..=7],
        error_code: ErrorCode [2..=7, ignorable],
        groups: Vec<OffsetFetchResponseGroup> [8..],
    }

    /// A topic of the only group, before version 8.
    pub struct OffsetFetchResponseTopic {
        name: Str,
        partitions: Vec<OffsetFetchResponsePartition>,
    }

    /// A committed offset before version 8; -1 if there is none.
    pub struct OffsetFetchResponsePartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [5..=7, ignorable, default -1],
        metadata: Option<Str> [nullable],
        error_code: ErrorCode,
    }

    /// One group's offsets, since version 8.
    pub struct OffsetFetchResponseGroup {
        group_id: Str,
        topics: Vec<OffsetFetchResponseTopics>,
        error_code: ErrorCode,
    }

    /// One topic's offsets, since version 8.
    pub struct OffsetFetchResponseTopics {
        name: Str [8..=9, ignorable],
        topic_id: Uuid [10.., ignorable],
        partitions: Vec<OffsetFetchResponsePartitions>,
    }

    /// A committed offset since version 8; -1 if there is none.
    pub struct OffsetFetchResponsePartitions {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [8.., ignorable, default -1],
        metadata: Option<Str> [nullable],
        error_code: ErrorCode,
    }
}
