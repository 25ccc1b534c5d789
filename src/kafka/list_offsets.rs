//! ListOffsets: the offset that belongs to a time, to the log's start or to its end.

use std::collections::HashSet;

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::fetch::check_leader_epoch;
use super::message::message;
use super::topics::times;
use super::wire::Str;
use crate::broker::{Broker, LEADER_EPOCH};
use crate::types::{Offset, TimestampMs, TopicPartition};

message! {
    /// Asks for offsets by time.
    pub struct ListOffsetsRequest {
        /// -1 for a consumer.
        replica_id: i32,
        /// 0: read uncommitted; 1: read committed.
        isolation_level: i8 [2..],
        topics: Vec<ListOffsetsTopic>,
        timeout_ms: i32 [10.., ignorable],
    }

    /// A topic of the question.
    pub struct ListOffsetsTopic {
        name: Str,
        partitions: Vec<ListOffsetsPartition>,
    }

    /// A partition of the question.
    pub struct ListOffsetsPartition {
        partition_index: i32,
        current_leader_epoch: i32 [4.., ignorable, default -1],
        /// Milliseconds since the Unix epoch, or what is meant: -1 latest, -2 earliest, -3 the
        /// largest timestamp (KIP-734), -4 earliest local, -5 latest tiered, -6 earliest pending
        /// upload.
        timestamp: i64,
    }

    /// Offsets by topic and partition.
    pub struct ListOffsetsResponse {
        throttle_time_ms: i32 [2.., ignorable],
        topics: Vec<ListOffsetsTopicResponse>,
    }

    /// Offsets of one topic.
    pub struct ListOffsetsTopicResponse {
        name: Str,
        partitions: Vec<ListOffsetsPartitionResponse>,
    }

    /// The offset in one partition; -1 if there is none.
    pub struct ListOffsetsPartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        timestamp: i64 [1.., default -1],
        offset: i64 [1.., default -1],
        leader_epoch: i32 [4.., default -1],
    }
}

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

pub(super) async fn answer(caller: Caller<'_>, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for ListOffsetsTopic { name, partitions: asked } in request.topics {
        let mut partitions = Vec::with_capacity(asked.len());
        let times = times(asked.iter().map(|asked| asked.partition_index));
        let mut seen = HashSet::new();
        for asked in asked {
            let partition_index = asked.partition_index;
            if !seen.insert(partition_index) {
                continue;
            }
            let found = if times.get(&partition_index) == Some(&1) {
                look_up(&caller.context.broker, caller.version, &name, asked).await
            } else {
                Err(ErrorCode::InvalidRequest)
            };
            let mut answer = ListOffsetsPartitionResponse { partition_index, ..Default::default() };
            match found {
                Ok(Some((offset, timestamp))) => {
                    answer.offset = offset;
                    answer.timestamp = timestamp;
                    // The field came with version 4.
                    answer.leader_epoch = if caller.version >= 4 { LEADER_EPOCH } else { -1 };
                }
                Ok(None) => {}
                Err(code) => answer.error_code = code,
            }
            partitions.push(answer);
        }
        topics.push(ListOffsetsTopicResponse { name, partitions });
    }
    ListOffsetsResponse { topics, ..Default::default() }
}

/// Offset and timestamp of what was asked for; the timestamp is -1 for the log's ends.
async fn look_up(
    broker: &Broker,
    version: i16,
    name: &str,
    asked: ListOffsetsPartition,
) -> Result<Option<(Offset, TimestampMs)>, ErrorCode> {
    let topic = broker.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition =
        topic.partition(asked.partition_index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_leader_epoch(asked.current_leader_epoch)?;
    let id = TopicPartition { topic: topic.id(), partition: asked.partition_index };
    let found = match asked.timestamp {
        LATEST => return Ok(Some((partition.high_watermark(), -1))),
        // Nothing is tiered: all that there is is local.
        EARLIEST => return Ok(Some((partition.log_start_offset(), -1))),
        EARLIEST_LOCAL if version >= 8 => return Ok(Some((partition.log_start_offset(), -1))),
        LATEST_TIERED if version >= 9 => return Ok(None),
        EARLIEST_PENDING_UPLOAD if version >= 11 => return Ok(None),
        MAX_TIMESTAMP if version >= 7 => broker.offset_of_max_timestamp(id).await,
        timestamp if timestamp >= 0 => broker.offset_for_timestamp(id, timestamp).await,
        _ => return Err(ErrorCode::UnsupportedVersion),
    };
    found.map_err(|error| ErrorCode::from(&error))
}
