//! Idempotent producers: InitProducerId gives a producer its id, with which its batches are told
//! apart (KIP-98); DescribeProducers tells which producers a partition knows.

use std::collections::HashSet;

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::wire::Str;
use crate::broker::ActiveProducer;
use crate::types::TopicPartition;

message! {
    /// Asks for a producer id, or for the next epoch of one (KIP-360).
    pub struct InitProducerIdRequest {
        /// Null for a producer that is idempotent only.
        transactional_id: Option<Str> [nullable],
        transaction_timeout_ms: i32,
        producer_id: i64 [3.., default -1],
        producer_epoch: i16 [3.., default -1],
    }

    /// The producer's id and epoch.
    pub struct InitProducerIdResponse {
        throttle_time_ms: i32 [0.., ignorable],
        error_code: ErrorCode,
        producer_id: i64 [0.., default -1],
        producer_epoch: i16,
    }
}

message! {
    /// Asks which producers are known in partitions.
    pub struct DescribeProducersRequest {
        topics: Vec<TopicRequest>,
    }

    /// Some partitions of a topic.
    pub struct TopicRequest {
        name: Str,
        partition_indexes: Vec<i32>,
    }

    /// The producers by topic and partition.
    pub struct DescribeProducersResponse {
        throttle_time_ms: i32,
        topics: Vec<TopicResponse>,
    }

    /// Those of a topic.
    pub struct TopicResponse {
        name: Str,
        partitions: Vec<PartitionResponse>,
    }

    /// Those of a partition.
    pub struct PartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        error_message: Option<Str> [nullable],
        active_producers: Vec<ProducerState>,
    }

    /// A producer in a partition.
    pub struct ProducerState {
        producer_id: i64,
        producer_epoch: i32,
        last_sequence: i32 [0.., default -1],
        last_timestamp: i64 [0.., default -1],
        coordinator_epoch: i32,
        /// -1: there is no transaction.
        current_txn_start_offset: i64 [0.., default -1],
    }
}

const NO_SUCH_TOPIC: &str = "This server does not host this topic-partition.";

pub(super) async fn init(
    caller: Caller<'_>,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let refuse = |error_code| InitProducerIdResponse {
        error_code,
        producer_epoch: -1,
        ..Default::default()
    };
    match request.transactional_id.as_deref() {
        None => {}
        Some("") => return refuse(ErrorCode::InvalidRequest),
        // Transactions are not served yet; this is the one answer that clients take as final.
        Some(_) => return refuse(ErrorCode::TransactionalIdAuthorizationFailed),
    }
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return refuse(ErrorCode::InvalidRequest);
    }
    // As in Kafka, a producer without transactions that starts over gets a new id, not an epoch,
    // whichever it had before.
    match caller.context.broker.init_producer_id().await {
        Ok(producer) => InitProducerIdResponse {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            ..Default::default()
        },
        // To be tried again, and then against the broker that comes after.
        Err(_) => refuse(ErrorCode::CoordinatorNotAvailable),
    }
}

pub(super) async fn describe(
    caller: Caller<'_>,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let broker = &caller.context.broker;
    // Named twice, described once: an answer takes far more memory than the name.
    let mut seen = HashSet::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for TopicRequest { name, partition_indexes } in request.topics {
        let topic = broker.topic(&name);
        let mut partitions = Vec::with_capacity(partition_indexes.len());
        for partition_index in partition_indexes {
            if !seen.insert((name.clone(), partition_index)) {
                continue;
            }
            let known = topic.as_ref().filter(|topic| topic.partition(partition_index).is_some());
            let active = match known {
                None => Err(ErrorCode::UnknownTopicOrPartition),
                Some(topic) => {
                    let partition =
                        TopicPartition { topic: topic.id(), partition: partition_index };
                    let active = broker.active_producers(partition).await;
                    active.map_err(|error| ErrorCode::from(&error))
                }
            };
            let mut answer = PartitionResponse { partition_index, ..Default::default() };
            match active {
                Ok(active) => {
                    answer.active_producers = active.into_iter().map(state).collect();
                }
                Err(code) => {
                    answer.error_code = code;
                    // As Kafka: not for the unknown partition of a known topic.
                    answer.error_message = topic.is_none().then(|| Str::from_static(NO_SUCH_TOPIC));
                }
            }
            partitions.push(answer);
        }
        topics.push(TopicResponse { name, partitions });
    }
    DescribeProducersResponse { topics, ..Default::default() }
}

fn state(active: ActiveProducer) -> ProducerState {
    ProducerState {
        producer_id: active.producer.id,
        producer_epoch: i32::from(active.producer.epoch),
        last_sequence: active.last_sequence,
        last_timestamp: active.last_append_ms,
        coordinator_epoch: -1,
        ..Default::default()
    }
}
