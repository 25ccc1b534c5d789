//! Produce: appends record batches.

use uuid::Uuid;

use super::errors::ErrorCode;
use super::message::message;
use super::metadata::{LeaderIdAndEpoch, NodeEndpoint};
use super::wire::{Records, Str};

message! {
    /// Record batches to append, by topic and partition.
    pub struct ProduceRequest {
        transactional_id: Option<Str> [3.., nullable],
        /// -1: answer when durable; 1: as -1; 0: no answer at all.
        acks: i16,
        timeout_ms: i32,
        topic_data: Vec<TopicProduceData>,
    }

    /// What goes to one topic, which has a name before version 13 and an id since (KIP-516).
    pub struct TopicProduceData {
        name: Str [0..=12, ignorable],
        topic_id: Uuid [13.., ignorable],
        partition_data: Vec<PartitionProduceData>,
    }

    /// What goes to one partition.
    pub struct PartitionProduceData {
        index: i32,
        records: Option<Records> [nullable],
    }

    /// What became of each partition's batch.
    pub struct ProduceResponse {
        responses: Vec<TopicProduceResponse>,
        throttle_time_ms: i32 [1.., ignorable],
        node_endpoints: Vec<NodeEndpoint> [10.., tag 0],
    }

    /// What became of one topic's batches.
    pub struct TopicProduceResponse {
        name: Str [0..=12, ignorable],
        topic_id: Uuid [13.., ignorable],
        partition_responses: Vec<PartitionProduceResponse>,
    }

    /// What became of one batch.
    pub struct PartitionProduceResponse {
        index: i32,
        error_code: ErrorCode,
        /// Offset of the first record; -1 with an error.
        base_offset: i64,
        /// -1 where the producer's timestamps are kept.
        log_append_time_ms: i64 [2.., ignorable, default -1],
        log_start_offset: i64 [5.., ignorable, default -1],
        record_errors: Vec<BatchIndexAndErrorMessage> [8.., ignorable],
        error_message: Option<Str> [8.., nullable, ignorable],
        current_leader: LeaderIdAndEpoch [10.., tag 0],
    }

    /// A record for which the batch was refused (KIP-467).
    pub struct BatchIndexAndErrorMessage {
        batch_index: i32,
        batch_index_error_message: Option<Str> [nullable],
    }
}
