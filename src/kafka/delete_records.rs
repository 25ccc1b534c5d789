//! DeleteRecords: moves log start offsets up.

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::wire::Str;
use crate::types::{Offset, TopicPartition};

message! {
    /// Records to delete.
    pub struct DeleteRecordsRequest {
        topics: Vec<DeleteRecordsTopic>,
        timeout_ms: i32,
    }

    /// Records of one topic.
    pub struct DeleteRecordsTopic {
        name: Str,
        partitions: Vec<DeleteRecordsPartition>,
    }

    /// Records of one partition: those before an offset, -1 for its end.
    pub struct DeleteRecordsPartition {
        partition_index: i32,
        offset: i64,
    }

    /// What became of each partition.
    pub struct DeleteRecordsResponse {
        throttle_time_ms: i32,
        topics: Vec<DeleteRecordsTopicResult>,
    }

    /// What became of the partitions of one topic.
    pub struct DeleteRecordsTopicResult {
        name: Str,
        partitions: Vec<DeleteRecordsPartitionResult>,
    }

    /// The log start offset of one partition; -1 if there was an error.
    pub struct DeleteRecordsPartitionResult {
        partition_index: i32,
        low_watermark: i64,
        error_code: ErrorCode,
    }
}

pub(super) async fn answer(
    caller: Caller<'_>,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let broker = &caller.context.broker;
    let mut before: Vec<(TopicPartition, Offset)> = Vec::new();
    let mut resolved = Vec::with_capacity(request.topics.len());
    for DeleteRecordsTopic { name, partitions } in &request.topics {
        let topic = broker.topic(name);
        let known = partitions.iter().map(|asked| {
            let topic = topic.as_ref()?;
            topic.partition(asked.partition_index)?;
            let partition = asked.partition_index;
            before.push((TopicPartition { topic: topic.id(), partition }, asked.offset));
            Some(before.len() - 1)
        });
        resolved.push(known.collect::<Vec<Option<usize>>>());
    }
    let deleted = if before.is_empty() { Vec::new() } else { broker.delete_records(before).await };
    let topics = request.topics.into_iter().zip(resolved).map(|(topic, resolved)| {
        let partitions = topic.partitions.iter().zip(resolved).map(|(asked, index)| {
            let outcome = match index.and_then(|index| deleted.get(index)) {
                Some(Ok(start)) => Ok(*start),
                Some(Err(error)) => Err(ErrorCode::from(error)),
                None => Err(ErrorCode::UnknownTopicOrPartition),
            };
            DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark: outcome.unwrap_or(-1),
                error_code: outcome.err().unwrap_or_default(),
            }
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult { name: topic.name, partitions }
    });
    DeleteRecordsResponse { topics: topics.collect(), ..Default::default() }
}
