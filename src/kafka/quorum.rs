//! DescribeQuorum: who keeps the cluster's metadata. A cluster of one node has one voter, which
//! leads. Request and response name their structures alike, so each has a module of its own.

use self::answered::{DescribeQuorumResponse, Listener, Node, ReplicaState};
use self::asked::DescribeQuorumRequest;
use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::service::NODE_ID;
use super::wire::Str;
use crate::broker::LEADER_EPOCH;

/// The request.
pub(super) mod asked {
    use super::{Str, message};

    message! {
        /// Asks for the quorum of partitions; there is one such partition.
        pub struct DescribeQuorumRequest {
            topics: Vec<TopicData>,
        }

        /// Partitions of one topic.
        pub struct TopicData {
            topic_name: Str,
            partitions: Vec<PartitionData>,
        }

        /// A partition.
        pub struct PartitionData {
            partition_index: i32,
        }
    }
}

/// The response.
pub(super) mod answered {
    use uuid::Uuid;

    use super::{ErrorCode, Str, message};

    message! {
        /// The quorums.
        pub struct DescribeQuorumResponse {
            error_code: ErrorCode,
            error_message: Option<Str> [2.., nullable 2.., ignorable],
            topics: Vec<TopicData>,
            nodes: Vec<Node> [2..],
        }

        /// Partitions of one topic.
        pub struct TopicData {
            topic_name: Str,
            partitions: Vec<PartitionData>,
        }

        /// A partition's quorum.
        pub struct PartitionData {
            partition_index: i32,
            error_code: ErrorCode,
            error_message: Option<Str> [2.., nullable 2.., ignorable],
            leader_id: i32,
            leader_epoch: i32,
            high_watermark: i64,
            current_voters: Vec<ReplicaState>,
            observers: Vec<ReplicaState>,
        }

        /// A replica and how far it is.
        pub struct ReplicaState {
            replica_id: i32,
            replica_directory_id: Uuid [2..],
            log_end_offset: i64,
            last_fetch_timestamp: i64 [1.., ignorable, default -1],
            last_caught_up_timestamp: i64 [1.., ignorable, default -1],
        }

        /// A node of the quorum.
        pub struct Node {
            node_id: i32 [2..],
            listeners: Vec<Listener> [2..],
        }

        /// Where a node is reached.
        pub struct Listener {
            name: Str [2..],
            host: Str [2..],
            port: u16 [2..],
        }
    }
}

/// The topic in which Kafka keeps its metadata, in partition 0.
const METADATA_TOPIC: &str = "__cluster_metadata";

pub(super) async fn describe(
    caller: Caller<'_>,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let [asked::TopicData { topic_name, partitions }] = &request.topics[..] else {
        return unknown(request);
    };
    let [asked::PartitionData { partition_index: 0 }] = partitions[..] else {
        return unknown(request);
    };
    if topic_name.as_str() != METADATA_TOPIC {
        return unknown(request);
    }
    let voter = ReplicaState { replica_id: NODE_ID, ..Default::default() };
    let partition = answered::PartitionData {
        leader_id: NODE_ID,
        leader_epoch: LEADER_EPOCH,
        current_voters: vec![voter],
        ..Default::default()
    };
    let topic_name = topic_name.clone();
    let topic = answered::TopicData { topic_name, partitions: vec![partition] };
    let nodes = if caller.version < 2 { Vec::new() } else { vec![node(&caller)] };
    DescribeQuorumResponse { topics: vec![topic], nodes, ..Default::default() }
}

fn node(caller: &Caller<'_>) -> Node {
    let listener = Listener {
        name: Str::from_static("CONTROLLER"),
        host: caller.context.host.clone(),
        port: u16::try_from(caller.context.port).unwrap_or_default(),
    };
    Node { node_id: NODE_ID, listeners: vec![listener] }
}

fn unknown(request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let topics = request.topics.into_iter().map(|asked::TopicData { topic_name, partitions }| {
        let refuse = |asked::PartitionData { partition_index }| answered::PartitionData {
            partition_index,
            error_code: ErrorCode::UnknownTopicOrPartition,
            ..Default::default()
        };
        let partitions = partitions.into_iter().map(refuse).collect();
        answered::TopicData { topic_name, partitions }
    });
    DescribeQuorumResponse { topics: topics.collect(), ..Default::default() }
}
