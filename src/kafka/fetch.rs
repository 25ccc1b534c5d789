//! Fetch: reads record batches, waiting for them if there are none yet.

use std::time::Duration;

use uuid::Uuid;

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::metadata::{LeaderIdAndEpoch, NodeEndpoint};
use super::wire::{Records, Str};
use crate::broker::{self, Broker, LEADER_EPOCH, PartitionRead, ReadError};
use crate::limits::FETCH_BYTES;
use crate::types::{TopicId, TopicPartition};

message! {
    /// Asks for record batches from given offsets on.
    pub struct FetchRequest {
        cluster_id: Option<Str> [12.., nullable, tag 0, ignorable],
        /// -1 for a consumer.
        replica_id: i32 [0..=14, default -1],
        replica_state: ReplicaState [15.., tag 1],
        max_wait_ms: i32,
        min_bytes: i32,
        max_bytes: i32 [3.., ignorable, default 0x7fffffff],
        /// 0: read uncommitted; 1: read committed.
        isolation_level: i8 [4.., ignorable, default 0],
        session_id: i32 [7.., ignorable, default 0],
        session_epoch: i32 [7.., ignorable, default -1],
        topics: Vec<FetchTopic>,
        forgotten_topics_data: Vec<ForgottenTopic> [7..],
        rack_id: Str [11.., ignorable],
    }

    /// A replica that fetches (KIP-903).
    pub struct ReplicaState {
        replica_id: i32 [0.., default -1],
        replica_epoch: i64 [0.., default -1],
    }

    /// A topic, which has a name before version 13 and an id since (KIP-516).
    pub struct FetchTopic {
        topic: Str [0..=12, ignorable],
        topic_id: Uuid [13.., ignorable],
        partitions: Vec<FetchPartition>,
    }

    /// From where to read.
    pub struct FetchPartition {
        partition: i32,
        current_leader_epoch: i32 [9.., ignorable, default -1],
        fetch_offset: i64,
        last_fetched_epoch: i32 [12.., default -1],
        /// The fetching replica's; -1 for a consumer.
        log_start_offset: i64 [5.., ignorable, default -1],
        partition_max_bytes: i32,
        replica_directory_id: Uuid [17.., tag 0, ignorable],
        /// The fetching replica's (KIP-1166).
        high_watermark: i64 [18.., tag 1, ignorable, default 9223372036854775807],
    }

    /// What a fetch session is to drop (KIP-227).
    pub struct ForgottenTopic {
        topic: Str [7..=12, ignorable],
        topic_id: Uuid [13.., ignorable],
        partitions: Vec<i32>,
    }

    /// Record batches by topic and partition.
    pub struct FetchResponse {
        throttle_time_ms: i32 [1.., ignorable],
        error_code: ErrorCode [7.., ignorable],
        /// 0 for no session.
        session_id: i32 [7.., default 0],
        responses: Vec<FetchableTopicResponse>,
        node_endpoints: Vec<NodeEndpoint> [16.., tag 0],
    }

    /// Record batches of one topic.
    pub struct FetchableTopicResponse {
        topic: Str [0..=12, ignorable],
        topic_id: Uuid [13.., ignorable],
        partitions: Vec<PartitionData>,
    }

    /// Record batches of one partition.
    pub struct PartitionData {
        partition_index: i32,
        error_code: ErrorCode,
        high_watermark: i64,
        last_stable_offset: i64 [4.., ignorable, default -1],
        log_start_offset: i64 [5.., ignorable, default -1],
        diverging_epoch: EpochEndOffset [12.., tag 0],
        current_leader: LeaderIdAndEpoch [12.., tag 1],
        snapshot_id: SnapshotId [12.., tag 2],
        /// Null for a reader of uncommitted records.
        aborted_transactions: Option<Vec<AbortedTransaction>> [4.., nullable, ignorable],
        preferred_read_replica: i32 [11.., default -1],
        /// Whole batches; empty rather than null, which librdkafka takes for an error.
        records: Option<Records> [nullable],
    }

    /// Where the fetcher's log leaves the leader's.
    pub struct EpochEndOffset {
        epoch: i32 [0.., default -1],
        end_offset: i64 [0.., default -1],
    }

    /// A snapshot to fetch instead.
    pub struct SnapshotId {
        end_offset: i64 [0.., default -1],
        epoch: i32 [0.., default -1],
    }

    /// A transaction whose records the reader is to drop.
    pub struct AbortedTransaction {
        producer_id: i64,
        first_offset: i64,
    }
}

/// Answers without fetch sessions: session id 0 tells the client to name all partitions each time
/// (KIP-227).
pub(super) async fn answer(caller: Caller<'_>, request: FetchRequest) -> FetchResponse {
    if request.session_id != 0 && request.session_epoch > 0 {
        return FetchResponse {
            error_code: ErrorCode::FetchSessionIdNotFound,
            ..Default::default()
        };
    }
    let broker = &caller.context.broker;
    let resolved = resolve(broker, caller.version, &request.topics);
    let partitions: Vec<_> = resolved.iter().flatten().flatten().copied().collect();
    let all_known = resolved.iter().flatten().all(Result::is_ok);
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let reads = broker.fetch(broker::FetchRequest {
        partitions,
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(request.max_bytes).unwrap_or(0).min(FETCH_BYTES),
        // An error is answered at once.
        max_wait: if all_known { wait } else { Duration::ZERO },
    });
    let mut reads = reads.await.into_iter();
    let responses = request.topics.into_iter().zip(resolved).map(|(topic, resolved)| {
        let answers =
            topic.partitions.iter().zip(resolved).map(|(asked, resolved)| match resolved {
                Ok(_) => partition_data(asked.partition, reads.next()),
                Err(code) => error_data(asked.partition, code),
            });
        let partitions = answers.collect();
        FetchableTopicResponse { topic: topic.topic, topic_id: topic.topic_id, partitions }
    });
    FetchResponse { responses: responses.collect(), ..Default::default() }
}

/// For each partition asked for, by topic: what to read, or why it cannot be.
fn resolve(
    broker: &Broker,
    version: i16,
    topics: &[FetchTopic],
) -> Vec<Vec<Result<broker::FetchPartition, ErrorCode>>> {
    let mut resolved = Vec::with_capacity(topics.len());
    for topic in topics {
        let (found, unknown) = match version {
            ..=12 => (broker.topic(&topic.topic), ErrorCode::UnknownTopicOrPartition),
            _ => {
                let id = TopicId::from_bytes(topic.topic_id.into_bytes());
                (broker.topic_by_id(id), ErrorCode::UnknownTopicId)
            }
        };
        let partition = |asked: &FetchPartition| {
            let topic = found.as_ref().ok_or(unknown)?;
            check_leader_epoch(asked.current_leader_epoch)?;
            Ok(broker::FetchPartition {
                partition: TopicPartition { topic: topic.id(), partition: asked.partition },
                offset: asked.fetch_offset,
                max_bytes: usize::try_from(asked.partition_max_bytes).unwrap_or(0),
            })
        };
        resolved.push(topic.partitions.iter().map(partition).collect());
    }
    resolved
}

/// KIP-320: a client that knows of another leader epoch is to look again. -1: it knows none.
pub(super) fn check_leader_epoch(current: i32) -> Result<(), ErrorCode> {
    match current {
        -1 | LEADER_EPOCH => Ok(()),
        ..LEADER_EPOCH => Err(ErrorCode::FencedLeaderEpoch),
        _ => Err(ErrorCode::UnknownLeaderEpoch),
    }
}

fn partition_data(
    partition_index: i32,
    read: Option<Result<PartitionRead, ReadError>>,
) -> PartitionData {
    match read {
        Some(Ok(read)) => PartitionData {
            partition_index,
            high_watermark: read.high_watermark,
            last_stable_offset: read.high_watermark,
            log_start_offset: read.log_start_offset,
            records: Some(Records::from(read.batches)),
            ..Default::default()
        },
        Some(Err(error)) => {
            // Unreadable records the broker itself reports.
            if let ReadError::Storage(_) = error {
                tracing::error!(%error, "a fetch failed");
            }
            error_data(partition_index, ErrorCode::from(&error))
        }
        None => error_data(partition_index, ErrorCode::UnknownServerError),
    }
}

fn error_data(partition_index: i32, error_code: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index,
        error_code,
        high_watermark: -1,
        records: Some(Records::default()),
        ..Default::default()
    }
}
