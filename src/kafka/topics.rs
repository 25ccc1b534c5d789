//! CreateTopics and DeleteTopics.

use uuid::Uuid;

use super::errors::ErrorCode;
use super::message::message;
use super::wire::Str;

message! {
    /// Topics to make.
    pub struct CreateTopicsRequest {
        topics: Vec<CreatableTopic>,
        timeout_ms: i32 [0.., default 60000],
        validate_only: bool [1.., default false],
    }

    /// A topic to make. -1 for the broker's own partition count or replication factor (KIP-464).
    pub struct CreatableTopic {
        name: Str,
        num_partitions: i32,
        replication_factor: i16,
        assignments: Vec<CreatableReplicaAssignment>,
        configs: Vec<CreatableTopicConfig>,
    }

    /// Brokers for one partition.
    pub struct CreatableReplicaAssignment {
        partition_index: i32,
        broker_ids: Vec<i32>,
    }

    /// A configuration of the topic.
    pub struct CreatableTopicConfig {
        name: Str,
        value: Option<Str> [nullable],
    }

    /// What became of each topic.
    pub struct CreateTopicsResponse {
        throttle_time_ms: i32 [2.., ignorable],
        topics: Vec<CreatableTopicResult>,
    }

    /// What became of one topic.
    pub struct CreatableTopicResult {
        name: Str,
        topic_id: Uuid [7.., ignorable],
        error_code: ErrorCode,
        error_message: Option<Str> [1.., nullable, ignorable],
        topic_config_error_code: ErrorCode [5.., tag 0, ignorable],
        num_partitions: i32 [5.., ignorable, default -1],
        replication_factor: i16 [5.., ignorable, default -1],
        configs: Option<Vec<CreatableTopicConfigs>> [5.., nullable, ignorable],
    }

    /// A configuration that the topic has now (KIP-525).
    pub struct CreatableTopicConfigs {
        name: Str,
        value: Option<Str> [nullable],
        read_only: bool,
        config_source: i8 [5.., ignorable, default -1],
        is_sensitive: bool,
    }
}

message! {
    /// Topics to delete; before version 6 by name, since then by name or id (KIP-516).
    pub struct DeleteTopicsRequest {
        topics: Vec<DeleteTopicState> [6..],
        topic_names: Vec<Str> [0..=5, ignorable],
        timeout_ms: i32,
    }

    /// A topic by name, or by id if the name is null.
    pub struct DeleteTopicState {
        name: Option<Str> [nullable],
        topic_id: Uuid,
    }

    /// What became of each topic.
    pub struct DeleteTopicsResponse {
        throttle_time_ms: i32 [1.., ignorable],
        responses: Vec<DeletableTopicResult>,
    }

    /// What became of one topic.
    pub struct DeletableTopicResult {
        name: Option<Str> [nullable 6..],
        topic_id: Uuid [6.., ignorable],
        error_code: ErrorCode,
        error_message: Option<Str> [5.., nullable, ignorable],
    }
}
