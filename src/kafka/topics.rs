//! CreateTopics and DeleteTopics.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use uuid::Uuid;

use super::config_values::{Configured, topic_values};
use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::service::{Context, NODE_ID};
use super::wire::Str;
use crate::broker::{Broker, NewTopic, Topic};
use crate::types::{TopicId, TopicName};

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

/// What may be done to a topic, as bits by their number in Kafka's `AclOperation`: read, write,
/// create, delete, alter, describe, describe and alter its settings. Everybody may everything.
pub(super) const TOPIC_OPERATIONS: i32 =
    1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

/// "The broker's own" partition count or replication factor (KIP-464).
const BROKER_DEFAULT: i32 = -1;

pub(super) async fn create(
    caller: Caller<'_>,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let asked = request.topics;
    let mut topics = Vec::with_capacity(asked.len());
    let times = times(asked.iter().map(|topic| &topic.name));
    let mut seen = HashSet::new();
    for topic in asked.iter().filter(|topic| seen.insert(&topic.name)) {
        let made = if times.get(&topic.name) != Some(&1) {
            Err((ErrorCode::InvalidRequest, "the request names this topic twice".to_owned()))
        } else {
            create_one(caller.context, topic, request.validate_only).await
        };
        topics.push(match made {
            Ok(result) => result,
            Err((error_code, message)) => CreatableTopicResult {
                name: topic.name.clone(),
                error_code,
                error_message: Some(Str::from(message)),
                configs: Some(Vec::new()),
                ..Default::default()
            },
        });
    }
    CreateTopicsResponse { topics, ..Default::default() }
}

/// How often each is there.
pub(super) fn times<T: Eq + Hash>(all: impl Iterator<Item = T>) -> HashMap<T, usize> {
    let mut times = HashMap::new();
    for one in all {
        *times.entry(one).or_default() += 1;
    }
    times
}

type Refused = (ErrorCode, String);

async fn create_one(
    context: &Context,
    asked: &CreatableTopic,
    validate_only: bool,
) -> Result<CreatableTopicResult, Refused> {
    let broker = &context.broker;
    let name = TopicName::new(&asked.name)
        .map_err(|error| (ErrorCode::InvalidTopicException, error.to_string()))?;
    let partitions = partition_count(asked)?;
    let mut config = BTreeMap::new();
    for CreatableTopicConfig { name, value } in &asked.configs {
        let Some(value) = value else {
            return Err((ErrorCode::InvalidConfig, format!("setting {name} has no value")));
        };
        config.insert(name.to_string(), value.trim().to_owned());
    }
    let new = NewTopic { name, partitions, config };
    let refused = |error: crate::broker::TopicError| (ErrorCode::from(&error), error.to_string());
    let (id, partitions, config) = if validate_only {
        broker.check_topic(&new).map_err(refused)?;
        let partitions = new.partitions.unwrap_or_else(|| broker.config().default_partitions);
        (Uuid::nil(), partitions, new.config)
    } else {
        let topic = broker.create_topic(new).await.map_err(refused)?;
        let id = Uuid::from_bytes(topic.id().to_bytes());
        (id, topic.partitions(), topic.settings().clone())
    };
    let value = |configured: Configured| {
        let said = configured.values.into_iter().next();
        let (value, config_source) = said.map_or((None, -1), |said| (said.value, said.source));
        CreatableTopicConfigs {
            name: Str::from(configured.name),
            value: value.map(Str::from),
            config_source,
            ..Default::default()
        }
    };
    let configs = topic_values(context, &config);
    Ok(CreatableTopicResult {
        name: asked.name.clone(),
        topic_id: id,
        num_partitions: partitions,
        replication_factor: 1,
        configs: Some(configs.into_iter().map(value).collect()),
        ..Default::default()
    })
}

/// The number of partitions asked for; `None` for the default. One node holds one replica.
fn partition_count(asked: &CreatableTopic) -> Result<Option<i32>, Refused> {
    if !asked.assignments.is_empty() {
        if asked.num_partitions != BROKER_DEFAULT || asked.replication_factor != -1 {
            let message = "a replica assignment and a number of partitions or replicas";
            return Err((ErrorCode::InvalidRequest, message.to_owned()));
        }
        let mut indexes: Vec<i32> = asked.assignments.iter().map(|a| a.partition_index).collect();
        indexes.sort_unstable();
        let gapless = (0..).zip(&indexes).all(|(expected, index)| expected == *index);
        let here = asked.assignments.iter().all(|a| a.broker_ids == [NODE_ID]);
        if !gapless || !here {
            let message = format!("partitions must be 0 and up, each on broker {NODE_ID} alone");
            return Err((ErrorCode::InvalidReplicaAssignment, message));
        }
        return Ok(i32::try_from(indexes.len()).ok());
    }
    if !matches!(asked.replication_factor, -1 | 1) {
        let message = format!("replication factor {} on one broker", asked.replication_factor);
        return Err((ErrorCode::InvalidReplicationFactor, message));
    }
    Ok((asked.num_partitions != BROKER_DEFAULT).then_some(asked.num_partitions))
}

pub(super) async fn delete(
    caller: Caller<'_>,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let broker = &caller.context.broker;
    let asked = match caller.version {
        ..=5 => {
            let by_name = |name| DeleteTopicState { name: Some(name), ..Default::default() };
            request.topic_names.into_iter().map(by_name).collect()
        }
        _ => request.topics,
    };
    let times = times(asked.iter().map(|topic| (topic.name.clone(), topic.topic_id)));
    let mut seen = HashSet::new();
    let mut responses = Vec::with_capacity(asked.len());
    for DeleteTopicState { name, topic_id } in asked {
        let key = (name.clone(), topic_id);
        let twice = times.get(&key) != Some(&1);
        if !seen.insert(key) {
            continue;
        }
        let found = match (name.as_ref(), topic_id.is_nil()) {
            // Twice, or both or neither of name and id.
            _ if twice => Err(ErrorCode::InvalidRequest),
            (Some(_), false) | (None, true) => Err(ErrorCode::InvalidRequest),
            (name, _) => find(broker, name, topic_id),
        };
        let error_code = match &found {
            Err(code) => *code,
            Ok(topic) => match broker.delete_topic(topic.id()).await {
                Ok(()) => ErrorCode::None,
                Err(error) => ErrorCode::from(&error),
            },
        };
        let found = found.ok();
        let name = name.or_else(|| found.as_ref().map(|topic| Str::from(topic.name().as_str())));
        let topic_id = found.map_or(topic_id, |topic| Uuid::from_bytes(topic.id().to_bytes()));
        responses.push(DeletableTopicResult { name, topic_id, error_code, error_message: None });
    }
    DeleteTopicsResponse { responses, ..Default::default() }
}

fn find(broker: &Broker, name: Option<&Str>, id: Uuid) -> Result<Arc<Topic>, ErrorCode> {
    match name {
        Some(name) => broker.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition),
        None => {
            let id = TopicId::from_bytes(id.into_bytes());
            broker.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId)
        }
    }
}
