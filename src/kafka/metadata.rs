//! Metadata: brokers, topics, partitions and who leads them.

use uuid::Uuid;

use super::errors::ErrorCode;
use super::message::message;
use super::wire::Str;

message! {
    /// Asks for topics and for the brokers. Null topics are all; in version 0 an empty list is.
    pub struct MetadataRequest {
        topics: Option<Vec<MetadataRequestTopic>> [nullable 1..],
        allow_auto_topic_creation: bool [4.., default true],
        include_cluster_authorized_operations: bool [8..=10],
        include_topic_authorized_operations: bool [8..],
    }

    /// A topic by id, or by name if the id is nil.
    pub struct MetadataRequestTopic {
        topic_id: Uuid [10.., ignorable],
        name: Option<Str> [nullable 10..],
    }

    /// Brokers and topics.
    pub struct MetadataResponse {
        throttle_time_ms: i32 [3.., ignorable],
        brokers: Vec<MetadataResponseBroker>,
        cluster_id: Option<Str> [2.., nullable, ignorable],
        controller_id: i32 [1.., ignorable, default -1],
        topics: Vec<MetadataResponseTopic>,
        cluster_authorized_operations: i32 [8..=10, default -2147483648],
        error_code: ErrorCode [13.., ignorable],
    }

    /// Where a broker is reached.
    pub struct MetadataResponseBroker {
        node_id: i32,
        host: Str,
        port: i32,
        rack: Option<Str> [1.., nullable, ignorable],
    }

    /// A topic, or why there is none.
    pub struct MetadataResponseTopic {
        error_code: ErrorCode,
        name: Option<Str> [nullable 12..],
        topic_id: Uuid [10.., ignorable],
        is_internal: bool [1.., ignorable, default false],
        partitions: Vec<MetadataResponsePartition>,
        /// A bit for each operation; the default says that none were asked for.
        topic_authorized_operations: i32 [8.., default -2147483648],
    }

    /// A partition and its replicas.
    pub struct MetadataResponsePartition {
        error_code: ErrorCode,
        partition_index: i32,
        leader_id: i32,
        leader_epoch: i32 [7.., ignorable, default -1],
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        offline_replicas: Vec<i32> [5.., ignorable],
    }

    /// Who leads a partition; in answers to Produce and Fetch (KIP-951).
    pub struct LeaderIdAndEpoch {
        leader_id: i32 [0.., default -1],
        leader_epoch: i32 [0.., default -1],
    }

    /// Where a leader is reached; in answers to Produce and Fetch (KIP-951).
    pub struct NodeEndpoint {
        node_id: i32,
        host: Str,
        port: i32,
        rack: Option<Str> [nullable],
    }
}
