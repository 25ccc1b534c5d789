//! ListOffsets: the offset that belongs to a time, to the log's start or to its end.

use super::errors::ErrorCode;
use super::message::message;
use super::wire::Str;

message! {
    /// Asks for offsets by time.
    pub struct ListOffsetsRequest {
        /// -1 for a consumer.
        replica_id: i32,
        /// 0: read uncommitted; 1: read committed.
        isolation_level: i8 [2..],
        topics: Vec<ListOffsetsTopic>,
        timeout_ms: i32 [10.., ignorable],
    }

    /// A topic of the question.
    pub struct ListOffsetsTopic {
        name: Str,
        partitions: Vec<ListOffsetsPartition>,
    }

    /// A partition of the question.
    pub struct ListOffsetsPartition {
        partition_index: i32,
        current_leader_epoch: i32 [4.., ignorable, default -1],
        /// Milliseconds since the Unix epoch, or what is meant: -1 latest, -2 earliest, -3 the
        /// largest timestamp (KIP-734), -4 earliest local, -5 latest tiered, -6 earliest pending
        /// upload.
        timestamp: i64,
    }

    /// Offsets by topic and partition.
    pub struct ListOffsetsResponse {
        throttle_time_ms: i32 [2.., ignorable],
        topics: Vec<ListOffsetsTopicResponse>,
    }

    /// Offsets of one topic.
    pub struct ListOffsetsTopicResponse {
        name: Str,
        partitions: Vec<ListOffsetsPartitionResponse>,
    }

    /// The offset in one partition; -1 if there is none.
    pub struct ListOffsetsPartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        timestamp: i64 [1.., default -1],
        offset: i64 [1.., default -1],
        leader_epoch: i32 [4.., default -1],
    }
}
