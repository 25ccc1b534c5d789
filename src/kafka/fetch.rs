//! Fetch: reads record batches, waiting for them if there are none yet.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::fetch_session::FetchSession;
use super::message::message;
use super::metadata::{LeaderIdAndEpoch, NodeEndpoint};
use super::service::Context;
use super::sessions::{Lease, Naming};
use super::wire::{Records, Str};
use crate::broker::{self, Broker, LEADER_EPOCH, PartitionRead, ReadError, Round, Topic};
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

/// In place of an epoch: a full fetch without a session.
const NO_SESSION: i32 = -1;
/// In place of an epoch: a full fetch that begins a session.
const NEW_SESSION: i32 = 0;
/// The isolation level of who reads committed records only.
const READ_COMMITTED: i8 = 1;

/// Answers a fetch of all partitions that it names, or one that goes on with a session (KIP-227).
pub(super) async fn answer(caller: Caller<'_>, request: FetchRequest) -> FetchResponse {
    let is_committed_only = request.isolation_level == READ_COMMITTED;
    let mut response = answer_any(caller, request).await;
    if is_committed_only {
        // No transaction was ever aborted.
        for data in response.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if data.error_code == ErrorCode::None {
                data.aborted_transactions = Some(Vec::new());
            }
        }
    }
    response
}

async fn answer_any(caller: Caller<'_>, request: FetchRequest) -> FetchResponse {
    let Context { broker, fetch_sessions, .. } = caller.context;
    let naming = naming(caller.version);
    let now = broker.clock().monotonic();
    if let NO_SESSION | NEW_SESSION = request.session_epoch {
        // Who begins anew gives up what it had.
        fetch_sessions.close(request.session_id);
        let partitions = request.topics.iter().map(|topic| topic.partitions.len()).sum();
        let begin = || FetchSession::new(broker, naming);
        let lease = match request.session_epoch {
            NEW_SESSION => fetch_sessions.open(naming, partitions, now, begin),
            _ => None,
        };
        return match lease {
            Some(lease) => answer_session(lease, request).await,
            None => answer_once(broker, naming, request).await,
        };
    }
    match fetch_sessions.take(request.session_id, request.session_epoch, naming, now) {
        Ok(lease) => answer_session(lease, request).await,
        Err(error_code) => FetchResponse { error_code, ..Default::default() },
    }
}

async fn answer_session(mut lease: Lease<FetchSession>, request: FetchRequest) -> FetchResponse {
    let round = round(&request);
    let refuse = |error_code| FetchResponse { error_code, ..Default::default() };
    let Some(session) = lease.session() else { return refuse(ErrorCode::FetchSessionIdNotFound) };
    session.forget(&request.forgotten_topics_data);
    session.want(&request.topics);
    // What was named is a slice of the frame, which nobody needs while this waits.
    let is_new = request.session_epoch == NEW_SESSION;
    drop(request);
    let partitions = session.partitions();
    if partitions == 0 && !is_new {
        // Nothing is left of it: dropping the lease closes it.
        return FetchResponse::default();
    }
    if !lease.resize(partitions) {
        return refuse(ErrorCode::FetchSessionIdNotFound);
    }
    let Some(session) = lease.session() else { return refuse(ErrorCode::FetchSessionIdNotFound) };
    let responses = session.fetch(round).await;
    let session_id = lease.id();
    lease.put_back();
    FetchResponse { session_id, responses, ..Default::default() }
}

/// Without a session: session id 0 tells the client to name all partitions each time.
async fn answer_once(broker: &Broker, naming: Naming, request: FetchRequest) -> FetchResponse {
    let resolved = resolve(broker, naming, &request.topics);
    let partitions: Vec<_> = resolved.iter().flatten().flatten().copied().collect();
    let all_known = resolved.iter().flatten().all(Result::is_ok);
    let Round { min_bytes, max_bytes, max_wait } = round(&request);
    let reads = broker.fetch(broker::FetchRequest {
        partitions,
        min_bytes,
        max_bytes,
        // An error is answered at once.
        max_wait: if all_known { max_wait } else { Duration::ZERO },
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

fn naming(version: i16) -> Naming {
    match version {
        ..=12 => Naming::Names,
        _ => Naming::Ids,
    }
}

fn round(request: &FetchRequest) -> Round {
    Round {
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(request.max_bytes).unwrap_or(0).min(FETCH_BYTES),
        max_wait: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
    }
}

/// A topic by its name or by its id.
pub(super) fn find_topic(
    broker: &Broker,
    naming: Naming,
    name: &str,
    id: Uuid,
) -> Result<Arc<Topic>, ErrorCode> {
    match naming {
        Naming::Names => broker.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition),
        Naming::Ids => {
            let id = TopicId::from_bytes(id.into_bytes());
            broker.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId)
        }
    }
}

/// For each partition asked for, by topic: what to read, or why it cannot be.
fn resolve(
    broker: &Broker,
    naming: Naming,
    topics: &[FetchTopic],
) -> Vec<Vec<Result<broker::FetchPartition, ErrorCode>>> {
    let mut resolved = Vec::with_capacity(topics.len());
    for topic in topics {
        let found = find_topic(broker, naming, &topic.topic, topic.topic_id);
        let partition = |asked: &FetchPartition| {
            let topic = found.as_ref().map_err(|code| *code)?;
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

pub(super) fn partition_data(
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

pub(super) fn error_data(partition_index: i32, error_code: ErrorCode) -> PartitionData {
    // An empty list or none: as Kafka.
    let is_unknown =
        matches!(error_code, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId);
    PartitionData {
        partition_index,
        error_code,
        high_watermark: -1,
        aborted_transactions: is_unknown.then(Vec::new),
        records: Some(Records::default()),
        ..Default::default()
    }
}
