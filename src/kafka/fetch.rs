//! Fetch: reads record batches, waiting for them if there are none yet.

use uuid::Uuid;

use super::errors::ErrorCode;
use super::message::message;
use super::metadata::{LeaderIdAndEpoch, NodeEndpoint};
use super::wire::{Records, Str};

message! {
    /// Asks for record batches from given offsets on.
    pub struct FetchRequest {
        cluster_id: Option<Str> [12.., nullable, tag 0, ignorable],
        /// -1 for a consumer.
        replica_id: i32 [0..=14, default -1],
        replica_state: ReplicaState [15.., tag 1],
        max_wait_ms: i32,
        min_bytes: i32,
        max_bytes: i32 [3.., ignorable, default 0x7fffffff],
        /// 0: read uncommitted; 1: read committed.
        isolation_level: i8 [4.., ignorable, default 0],
        session_id: i32 [7.., ignorable, default 0],
        session_epoch: i32 [7.., ignorable, default -1],
        topics: Vec<FetchTopic>,
        forgotten_topics_data: Vec<ForgottenTopic> [7..],
        rack_id: Str [11.., ignorable],
    }

    /// A replica that fetches (KIP-903).
    pub struct ReplicaState {
        replica_id: i32 [0.., default -1],
        replica_epoch: i64 [0.., default -1],
    }

    /// A topic, which has a name before version 13 and an id since (KIP-516).
    pub struct FetchTopic {
        topic: Str [0..=12, ignorable],
        topic_id: Uuid [13.., ignorable],
        partitions: Vec<FetchPartition>,
    }

    /// From where to read.
    pub struct FetchPartition {
        partition: i32,
        current_leader_epoch: i32 [9.., ignorable, default -1],
        fetch_offset: i64,
        last_fetched_epoch: i32 [12.., default -1],
        /// The fetching replica's; -1 for a consumer.
        log_start_offset: i64 [5.., ignorable, default -1],
        partition_max_bytes: i32,
        replica_directory_id: Uuid [17.., tag 0, ignorable],
        /// The fetching replica's (KIP-1166).
        high_watermark: i64 [18.., tag 1, ignorable, default 9223372036854775807],
    }

    /// What a fetch session is to drop (KIP-227).
    pub struct ForgottenTopic {
        topic: Str [7..=12, ignorable],
        topic_id: Uuid [13.., ignorable],
        partitions: Vec<i32>,
    }

    /// Record batches by topic and partition.
    pub struct FetchResponse {
        throttle_time_ms: i32 [1.., ignorable],
        error_code: ErrorCode [7.., ignorable],
        /// 0 for no session.
        session_id: i32 [7.., default 0],
        responses: Vec<FetchableTopicResponse>,
        node_endpoints: Vec<NodeEndpoint> [16.., tag 0],
    }

    /// Record batches of one topic.
    pub struct FetchableTopicResponse {
        topic: Str [0..=12, ignorable],
        topic_id: Uuid [13.., ignorable],
        partitions: Vec<PartitionData>,
    }

    /// Record batches of one partition.
    pub struct PartitionData {
        partition_index: i32,
        error_code: ErrorCode,
        high_watermark: i64,
        last_stable_offset: i64 [4.., ignorable, default -1],
        log_start_offset: i64 [5.., ignorable, default -1],
        diverging_epoch: EpochEndOffset [12.., tag 0],
        current_leader: LeaderIdAndEpoch [12.., tag 1],
        snapshot_id: SnapshotId [12.., tag 2],
        /// Null for a reader of uncommitted records.
        aborted_transactions: Option<Vec<AbortedTransaction>> [4.., nullable, ignorable],
        preferred_read_replica: i32 [11.., default -1],
        /// Whole batches; empty rather than null, which librdkafka takes for an error.
        records: Option<Records> [nullable],
    }

    /// Where the fetcher's log leaves the leader's.
    pub struct EpochEndOffset {
        epoch: i32 [0.., default -1],
        end_offset: i64 [0.., default -1],
    }

    /// A snapshot to fetch instead.
    pub struct SnapshotId {
        end_offset: i64 [0.., default -1],
        epoch: i32 [0.., default -1],
    }

    /// A transaction whose records the reader is to drop.
    pub struct AbortedTransaction {
        producer_id: i64,
        first_offset: i64,
    }
}
