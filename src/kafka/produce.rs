//! Produce: appends record batches.

use bytes::Bytes;
use uuid::Uuid;

use super::api::Message;
use super::connection::{ConnectionError, PendingResponse};
use super::errors::ErrorCode;
use super::header::{RequestHeader, encode_response};
use super::message::message;
use super::metadata::{LeaderIdAndEpoch, NodeEndpoint};
use super::service::Context;
use super::wire::{Records, Str};
use crate::broker::{Append, Broker, Commit, Partition, PendingCommit, Topic};
use crate::record::{BatchError, Compression, RecordBatch, RefusedRecord};
use crate::types::{TopicId, TopicPartition};

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
        /// -1 where the producer's timestamps are kept, unless the batch is a duplicate.
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

/// Takes up a Produce request: its batches are in the committer's queue when this returns. The
/// future that it returns gives the response when they are durable.
///
/// Each batch is a commit of its own: one that is refused does not touch the others.
pub(super) async fn submit(
    context: &Context,
    header: RequestHeader,
    body: Bytes,
) -> Result<PendingResponse, ConnectionError> {
    let RequestHeader { api_version: version, correlation_id, .. } = header;
    let request = ProduceRequest::decode(body, version)?;
    let acks = request.acks;
    let refused = match acks {
        -1..=1 => None,
        _ => Some(ErrorCode::InvalidRequiredAcks),
    };
    let sender = Sender { version, transactional: request.transactional_id.is_some() };
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let found = find_topic(&context.broker, version, &topic);
        let unknown = match version {
            ..=12 => ErrorCode::UnknownTopicOrPartition,
            _ => ErrorCode::UnknownTopicId,
        };
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for PartitionProduceData { index, records } in topic.partition_data {
            let submitted = match (refused, &found) {
                (Some(code), _) => Err(Refusal::from(code)),
                (None, None) => Err(Refusal::from(unknown)),
                (None, Some(topic)) => append(context, sender, topic, index, records).await,
            };
            if submitted.is_err() {
                context.broker.counters().refused_batches.add();
            }
            partitions.push((index, submitted));
        }
        topics.push((topic.name, topic.topic_id, partitions));
    }
    Ok(Box::pin(async move {
        let response = respond(topics).await;
        if acks == 0 {
            return match first_error(&response) {
                None => Ok(None),
                Some(error) => Err(ConnectionError::Unacknowledged(error)),
            };
        }
        Ok(Some(encode_response(&response, version, correlation_id)?))
    }))
}

fn find_topic(
    broker: &Broker,
    version: i16,
    topic: &TopicProduceData,
) -> Option<std::sync::Arc<Topic>> {
    match version {
        ..=12 => broker.topic(&topic.name),
        _ => broker.topic_by_id(TopicId::from_bytes(topic.topic_id.into_bytes())),
    }
}

/// What a request says of all its batches.
#[derive(Debug, Clone, Copy)]
struct Sender {
    version: i16,
    /// It has a transactional id.
    transactional: bool,
}

/// Why a batch was refused.
struct Refusal {
    code: ErrorCode,
    message: Option<String>,
    /// The records to blame, by their index in the batch.
    records: Vec<(i32, String)>,
    /// -1 if the batch did not come as far as the log.
    log_start_offset: i64,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, records: Vec::new(), log_start_offset: -1 }
    }
}

impl From<BatchError> for Refusal {
    fn from(error: BatchError) -> Self {
        let records = match &error {
            BatchError::Record { index, problem } => vec![(*index, problem.to_string())],
            BatchError::Refused { records, .. } => {
                let named = |record: &RefusedRecord| (record.index, record.problem.to_string());
                records.iter().map(named).collect()
            }
            _ => Vec::new(),
        };
        let message = Some(error.to_string());
        Self { message, records, ..Self::from(ErrorCode::from(&error)) }
    }
}

impl Refusal {
    fn by_log_of(self, partition: &Partition) -> Self {
        Self { log_start_offset: partition.log_start_offset(), ..self }
    }
}

async fn append(
    context: &Context,
    sender: Sender,
    topic: &Topic,
    index: i32,
    records: Option<Records>,
) -> Result<PendingCommit, Refusal> {
    let Some(partition) = topic.partition(index) else {
        return Err(Refusal::from(ErrorCode::UnknownTopicOrPartition));
    };
    let terms = topic.terms(context.broker.clock().now_ms());
    let bytes = records.unwrap_or_default().into_bytes();
    let batch = RecordBatch::produced(bytes, terms.max_bytes)?;
    // Consumers of versions that know no zstd are not to be surprised by it (KIP-110).
    if sender.version < 7 && batch.compression() == Compression::Zstd {
        return Err(Refusal::from(ErrorCode::UnsupportedCompressionType));
    }
    match (batch.is_transactional(), sender.transactional) {
        (false, _) => {}
        (true, false) => {
            return Err(Refusal::from(ErrorCode::TransactionalIdAuthorizationFailed));
        }
        // Transactions are still to come.
        (true, true) => return Err(Refusal::from(ErrorCode::InvalidTxnState)),
    }
    let accepted = context.broker.accept(batch, &terms).await;
    let batch = accepted.map_err(|error| Refusal::from(error).by_log_of(partition))?;
    let partition = TopicPartition { topic: topic.id(), partition: index };
    let appends = vec![Append { partition, batch }];
    Ok(context.broker.submit(Commit { appends, ..Commit::default() }).await)
}

type SubmittedTopic = (Str, Uuid, Vec<(i32, Result<PendingCommit, Refusal>)>);

async fn respond(topics: Vec<SubmittedTopic>) -> ProduceResponse {
    let mut responses = Vec::with_capacity(topics.len());
    for (name, topic_id, partitions) in topics {
        let mut partition_responses = Vec::with_capacity(partitions.len());
        for (index, submitted) in partitions {
            let outcome = match submitted {
                Ok(pending) => pending.await.map_err(|error| Refusal {
                    message: Some(error.to_string()),
                    ..Refusal::from(ErrorCode::from(&error))
                }),
                Err(refusal) => Err(refusal),
            };
            let appended = outcome.map(|committed| committed.appended.first().copied());
            partition_responses.push(match appended {
                Ok(Some(appended)) => PartitionProduceResponse {
                    index,
                    base_offset: appended.base_offset,
                    log_append_time_ms: appended.log_append_time_ms.unwrap_or(-1),
                    log_start_offset: appended.log_start_offset,
                    ..Default::default()
                },
                Ok(None) => refusal_response(index, ErrorCode::UnknownServerError.into()),
                Err(refusal) => refusal_response(index, refusal),
            });
        }
        responses.push(TopicProduceResponse { name, topic_id, partition_responses });
    }
    ProduceResponse { responses, ..Default::default() }
}

fn refusal_response(index: i32, refusal: Refusal) -> PartitionProduceResponse {
    let Refusal { code, message, records, log_start_offset } = refusal;
    let record_error = |(batch_index, message)| BatchIndexAndErrorMessage {
        batch_index,
        batch_index_error_message: Some(Str::from(message)),
    };
    PartitionProduceResponse {
        index,
        error_code: code,
        base_offset: -1,
        log_start_offset,
        record_errors: records.into_iter().map(record_error).collect(),
        error_message: message.map(Str::from),
        ..Default::default()
    }
}

fn first_error(response: &ProduceResponse) -> Option<String> {
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    let failed = partitions.find(|partition| partition.error_code != ErrorCode::None)?;
    let message = failed.error_message.as_deref().unwrap_or_default();
    Some(format!("{:?} {message}", failed.error_code))
}
