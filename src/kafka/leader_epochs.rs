//! OffsetForLeaderEpoch: where a leader's epoch ends, by which consumers see that a log was cut
//! off (KIP-101, KIP-320). One node leads for ever: its epoch ends where the log does.

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::fetch::check_leader_epoch;
use super::message::message;
use super::wire::Str;
use crate::broker::{Broker, LEADER_EPOCH};
use crate::types::Offset;

message! {
    /// Asks for the ends of epochs.
    pub struct OffsetForLeaderEpochRequest {
        /// -1 for a consumer.
        replica_id: i32 [3.., ignorable, default -2],
        topics: Vec<OffsetForLeaderTopic>,
    }

    /// A topic of the question.
    pub struct OffsetForLeaderTopic {
        topic: Str,
        partitions: Vec<OffsetForLeaderPartition>,
    }

    /// A partition of the question.
    pub struct OffsetForLeaderPartition {
        partition: i32,
        current_leader_epoch: i32 [2.., ignorable, default -1],
        leader_epoch: i32,
    }

    /// Ends of epochs by topic and partition.
    pub struct OffsetForLeaderEpochResponse {
        throttle_time_ms: i32 [2.., ignorable],
        topics: Vec<OffsetForLeaderTopicResult>,
    }

    /// Ends of epochs in one topic.
    pub struct OffsetForLeaderTopicResult {
        topic: Str,
        partitions: Vec<EpochEndOffset>,
    }

    /// The greatest epoch up to the one asked for, and where it ends; -1 if there is none.
    pub struct EpochEndOffset {
        error_code: ErrorCode,
        partition: i32,
        leader_epoch: i32 [1.., ignorable, default -1],
        end_offset: i64 [0.., default -1],
    }
}

pub(super) async fn answer(
    caller: Caller<'_>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|OffsetForLeaderTopic { topic, partitions }| {
        let partitions = partitions.into_iter().map(|asked| {
            let partition = asked.partition;
            match end_of(&caller.context.broker, &topic, &asked) {
                // An epoch that has not begun has no end.
                Ok(_) if asked.leader_epoch != LEADER_EPOCH => {
                    EpochEndOffset { partition, ..Default::default() }
                }
                Ok(end_offset) => EpochEndOffset {
                    partition,
                    leader_epoch: LEADER_EPOCH,
                    end_offset,
                    ..Default::default()
                },
                Err(error_code) => EpochEndOffset { error_code, partition, ..Default::default() },
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult { topic, partitions }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
}

fn end_of(
    broker: &Broker,
    topic: &Str,
    asked: &OffsetForLeaderPartition,
) -> Result<Offset, ErrorCode> {
    let topic = broker.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = topic.partition(asked.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_leader_epoch(asked.current_leader_epoch)?;
    Ok(partition.high_watermark())
}
