//! DescribeTopicPartitions: topics with their partitions, a page at a time (KIP-966).

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::service::NODE_ID;
use super::topics::TOPIC_OPERATIONS;
use super::wire::Str;
use crate::broker::{LEADER_EPOCH, Topic};
use crate::limits::DESCRIBED_PARTITIONS;
use crate::types::TopicName;

message! {
    /// Asks for topics, none for all, from the cursor on.
    pub struct DescribeTopicPartitionsRequest {
        topics: Vec<TopicRequest>,
        response_partition_limit: i32 [0.., default 2000],
        cursor: Option<Cursor> [0.., nullable],
    }

    /// A topic.
    pub struct TopicRequest {
        name: Str,
    }

    /// The first partition that an answer had no room for.
    pub struct Cursor {
        topic_name: Str,
        partition_index: i32,
    }

    /// Topics in order of their names.
    pub struct DescribeTopicPartitionsResponse {
        throttle_time_ms: i32 [0.., ignorable],
        topics: Vec<DescribeTopicPartitionsResponseTopic>,
        next_cursor: Option<Cursor> [0.., nullable],
    }

    /// A topic, or why there is none.
    pub struct DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode,
        name: Option<Str> [nullable],
        topic_id: Uuid [0.., ignorable],
        is_internal: bool [0.., ignorable, default false],
        partitions: Vec<DescribeTopicPartitionsResponsePartition>,
        topic_authorized_operations: i32 [0.., default -2147483648],
    }

    /// A partition and its replicas.
    pub struct DescribeTopicPartitionsResponsePartition {
        error_code: ErrorCode,
        partition_index: i32,
        leader_id: i32,
        leader_epoch: i32 [0.., ignorable, default -1],
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        eligible_leader_replicas: Option<Vec<i32>> [0.., nullable],
        last_known_elr: Option<Vec<i32>> [0.., nullable],
        offline_replicas: Vec<i32> [0.., ignorable],
    }
}

pub(super) async fn describe(
    caller: Caller<'_>,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let broker = &caller.context.broker;
    let all = request.topics.is_empty();
    let names: BTreeSet<Str> = if all {
        broker.topics().iter().map(|topic| Str::from(topic.name().as_str())).collect()
    } else {
        request.topics.into_iter().map(|topic| topic.name).collect()
    };
    if let Some(Cursor { topic_name, partition_index }) = &request.cursor
        && (*partition_index < 0 || (!all && !names.contains(topic_name)))
    {
        let refused = |name| DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::InvalidRequest,
            name: Some(name),
            ..Default::default()
        };
        let topics = if all { Vec::new() } else { names.into_iter().map(refused).collect() };
        return DescribeTopicPartitionsResponse { topics, ..Default::default() };
    }
    let limit = request.response_partition_limit.clamp(1, DESCRIBED_PARTITIONS);
    let found = |name: Str| {
        let topic = broker.topic(&name);
        (name, topic)
    };
    page(names.into_iter().map(found), request.cursor, limit)
}

fn page(
    topics: impl Iterator<Item = (Str, Option<Arc<Topic>>)>,
    from: Option<Cursor>,
    limit: i32,
) -> DescribeTopicPartitionsResponse {
    let from = from.unwrap_or_default();
    let mut response = DescribeTopicPartitionsResponse::default();
    let mut left = limit;
    for (name, topic) in topics.skip_while(|(name, _)| *name < from.topic_name) {
        let Some(topic) = topic else {
            response.topics.push(unknown(name));
            continue;
        };
        let first = if name == from.topic_name { from.partition_index.max(0) } else { 0 };
        if left == 0 {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: first });
            break;
        }
        let end = topic.partitions().min(first.saturating_add(left));
        response.topics.push(describe_topic(&topic, first..end));
        left -= (end - first).max(0);
        if end < topic.partitions() {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: end });
            break;
        }
    }
    response
}

fn unknown(name: Str) -> DescribeTopicPartitionsResponseTopic {
    let error_code = match TopicName::new(&name) {
        Ok(_) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code,
        name: Some(name),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}

fn describe_topic(
    topic: &Topic,
    partitions: std::ops::Range<i32>,
) -> DescribeTopicPartitionsResponseTopic {
    let partition = |partition_index| DescribeTopicPartitionsResponsePartition {
        partition_index,
        leader_id: NODE_ID,
        leader_epoch: LEADER_EPOCH,
        replica_nodes: vec![NODE_ID],
        isr_nodes: vec![NODE_ID],
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        ..Default::default()
    };
    DescribeTopicPartitionsResponseTopic {
        name: Some(Str::from(topic.name().as_str())),
        topic_id: Uuid::from_bytes(topic.id().to_bytes()),
        partitions: partitions.map(partition).collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}
