//! Metadata: brokers, topics, partitions and who leads them.

use std::collections::HashSet;

use uuid::Uuid;

use super::cluster::{CLUSTER_OPERATIONS, NO_OPERATIONS};
use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::service::{Context, NODE_ID};
use super::topics::TOPIC_OPERATIONS;
use super::wire::Str;
use crate::broker::{LEADER_EPOCH, NewTopic, Topic};
use crate::types::{TopicId, TopicName};

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

/// The first version in which a topic that is not there need have no name.
const FIRST_WITHOUT_NAME: i16 = 12;

pub(super) async fn answer(caller: Caller<'_>, request: MetadataRequest) -> MetadataResponse {
    let Caller { context, version, .. } = caller;
    let operations = |asked: bool, all: i32| if asked { all } else { NO_OPERATIONS };
    let create = context.auto_create_topics && (version < 4 || request.allow_auto_topic_creation);
    let mut topics: Vec<MetadataResponseTopic> = match request.topics {
        Some(topics) if version > 0 || !topics.is_empty() => {
            let mut answers = Vec::new();
            let mut seen = HashSet::new();
            for topic in topics {
                // Once each, as Kafka: an answer is far larger than its question.
                if seen.insert((topic.topic_id, topic.name.clone())) {
                    answers.push(look_up(context, topic, create).await);
                }
            }
            answers
        }
        _ => context.broker.topics().iter().map(|topic| describe(topic)).collect(),
    };
    for topic in &mut topics {
        let asked = request.include_topic_authorized_operations;
        topic.topic_authorized_operations = operations(asked, TOPIC_OPERATIONS);
        if version < FIRST_WITHOUT_NAME {
            topic.name.get_or_insert_default();
        }
    }
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: NODE_ID,
            host: context.host.clone(),
            port: context.port,
            rack: None,
        }],
        cluster_id: Some(Str::from(context.broker.cluster_id())),
        controller_id: NODE_ID,
        topics,
        cluster_authorized_operations: operations(
            request.include_cluster_authorized_operations,
            CLUSTER_OPERATIONS,
        ),
        ..Default::default()
    }
}

async fn look_up(
    context: &Context,
    asked: MetadataRequestTopic,
    create: bool,
) -> MetadataResponseTopic {
    let MetadataRequestTopic { topic_id, name } = asked;
    if !topic_id.is_nil() {
        let id = TopicId::from_bytes(topic_id.into_bytes());
        return match context.broker.topic_by_id(id) {
            Some(topic) => describe(&topic),
            None => MetadataResponseTopic {
                error_code: ErrorCode::UnknownTopicId,
                topic_id,
                ..Default::default()
            },
        };
    }
    let error =
        |error_code| MetadataResponseTopic { error_code, name: name.clone(), ..Default::default() };
    let Ok(valid) = TopicName::new(name.as_deref().unwrap_or_default()) else {
        return error(ErrorCode::InvalidTopicException);
    };
    if let Some(topic) = context.broker.topic(valid.as_str()) {
        return describe(&topic);
    }
    if !create {
        return error(ErrorCode::UnknownTopicOrPartition);
    }
    let new = NewTopic { name: valid, partitions: None, config: Default::default() };
    // As Kafka, which has the client ask again. Programs that look whether a topic is there, or is
    // gone, are told that it was not.
    match context.broker.topic_or_create(new).await {
        Ok(_) => error(ErrorCode::UnknownTopicOrPartition),
        Err(failure) => error(ErrorCode::from(&failure)),
    }
}

fn describe(topic: &Topic) -> MetadataResponseTopic {
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: NODE_ID,
        leader_epoch: LEADER_EPOCH,
        replica_nodes: vec![NODE_ID],
        isr_nodes: vec![NODE_ID],
        ..Default::default()
    };
    MetadataResponseTopic {
        name: Some(Str::from(topic.name().as_str())),
        topic_id: Uuid::from_bytes(topic.id().to_bytes()),
        partitions: (0..topic.partitions()).map(partition).collect(),
        ..Default::default()
    }
}
