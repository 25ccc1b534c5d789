//! CreatePartitions: a topic grows.

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::service::NODE_ID;
use super::wire::Str;
use crate::broker::Broker;

message! {
    /// Topics that are to have more partitions.
    pub struct CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic>,
        timeout_ms: i32,
        validate_only: bool,
    }

    /// A topic and how many partitions it is to have altogether.
    pub struct CreatePartitionsTopic {
        name: Str,
        count: i32,
        assignments: Option<Vec<CreatePartitionsAssignment>> [nullable],
    }

    /// Brokers for one of the new partitions.
    pub struct CreatePartitionsAssignment {
        broker_ids: Vec<i32>,
    }

    /// What became of each topic.
    pub struct CreatePartitionsResponse {
        throttle_time_ms: i32,
        results: Vec<CreatePartitionsTopicResult>,
    }

    /// What became of one topic.
    pub struct CreatePartitionsTopicResult {
        name: Str,
        error_code: ErrorCode,
        error_message: Option<Str> [0.., nullable],
    }
}

pub(super) async fn create(
    caller: Caller<'_>,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let asked = request.topics;
    let mut results = Vec::with_capacity(asked.len());
    for (index, topic) in asked.iter().enumerate() {
        let same = |other: &CreatePartitionsTopic| other.name == topic.name;
        if asked[..index].iter().any(same) {
            continue;
        }
        let grown = if asked[index + 1..].iter().any(same) {
            Err((ErrorCode::InvalidRequest, "the request names this topic twice".to_owned()))
        } else {
            create_one(&caller.context.broker, topic, request.validate_only).await
        };
        let mut result =
            CreatePartitionsTopicResult { name: topic.name.clone(), ..Default::default() };
        if let Err((error_code, message)) = grown {
            result.error_code = error_code;
            result.error_message = Some(Str::from(message));
        }
        results.push(result);
    }
    CreatePartitionsResponse { results, ..Default::default() }
}

async fn create_one(
    broker: &Broker,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), (ErrorCode, String)> {
    let Some(topic) = broker.topic(&asked.name) else {
        let message = "this topic does not exist".to_owned();
        return Err((ErrorCode::UnknownTopicOrPartition, message));
    };
    let refused = |error: crate::broker::TopicError| (ErrorCode::from(&error), error.to_string());
    broker.check_partitions(topic.id(), asked.count).map_err(refused)?;
    if let Some(assignments) = &asked.assignments {
        let more = asked.count - topic.partitions();
        if i32::try_from(assignments.len()) != Ok(more) {
            let message = format!("{more} new partitions, but {} assignments", assignments.len());
            return Err((ErrorCode::InvalidReplicaAssignment, message));
        }
        if !assignments.iter().all(|assignment| assignment.broker_ids == [NODE_ID]) {
            let message = format!("each partition must be on broker {NODE_ID} alone");
            return Err((ErrorCode::InvalidReplicaAssignment, message));
        }
    }
    if !validate_only {
        broker.create_partitions(topic.id(), asked.count).await.map_err(refused)?;
    }
    Ok(())
}
