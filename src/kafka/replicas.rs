//! ElectLeaders, AlterPartitionReassignments and ListPartitionReassignments, as a cluster of one
//! node answers: each partition's leader and only replica is here, and stays.

use std::sync::Arc;

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::service::{Context, NODE_ID};
use super::wire::Str;
use crate::broker::Topic;

message! {
    /// Partitions, null for all, whose preferred (type 0) or any (type 1) replica is to lead.
    pub struct ElectLeadersRequest {
        election_type: i8 [1..],
        topic_partitions: Option<Vec<TopicPartitions>> [nullable],
        timeout_ms: i32 [0.., default 60000],
    }

    /// Partitions of one topic.
    pub struct TopicPartitions {
        topic: Str,
        partitions: Vec<i32>,
    }

    /// What became of each election.
    pub struct ElectLeadersResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode [1..],
        replica_election_results: Vec<ReplicaElectionResult>,
    }

    /// Elections of one topic.
    pub struct ReplicaElectionResult {
        topic: Str,
        partition_result: Vec<PartitionResult>,
    }

    /// What became of one election.
    pub struct PartitionResult {
        partition_id: i32,
        error_code: ErrorCode,
        error_message: Option<Str> [nullable],
    }
}

message! {
    /// Partitions and where their replicas are to be.
    pub struct AlterPartitionReassignmentsRequest {
        timeout_ms: i32 [0.., default 60000],
        allow_replication_factor_change: bool [1.., default true],
        topics: Vec<ReassignableTopic>,
    }

    /// Partitions of one topic.
    pub struct ReassignableTopic {
        name: Str,
        partitions: Vec<ReassignablePartition>,
    }

    /// A partition and its replicas; null ends a reassignment.
    pub struct ReassignablePartition {
        partition_index: i32,
        replicas: Option<Vec<i32>> [0.., nullable],
    }

    /// What became of each reassignment.
    pub struct AlterPartitionReassignmentsResponse {
        throttle_time_ms: i32,
        allow_replication_factor_change: bool [1.., ignorable, default true],
        error_code: ErrorCode,
        error_message: Option<Str> [nullable],
        responses: Vec<ReassignableTopicResponse>,
    }

    /// Reassignments of one topic.
    pub struct ReassignableTopicResponse {
        name: Str,
        partitions: Vec<ReassignablePartitionResponse>,
    }

    /// What became of one reassignment.
    pub struct ReassignablePartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        error_message: Option<Str> [nullable],
    }
}

message! {
    /// Asks for the reassignments under way; null topics are all.
    pub struct ListPartitionReassignmentsRequest {
        timeout_ms: i32 [0.., default 60000],
        topics: Option<Vec<ListPartitionReassignmentsTopics>> [0.., nullable],
    }

    /// Partitions of one topic.
    pub struct ListPartitionReassignmentsTopics {
        name: Str,
        partition_indexes: Vec<i32>,
    }

    /// The reassignments under way.
    pub struct ListPartitionReassignmentsResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<Str> [nullable],
        topics: Vec<OngoingTopicReassignment>,
    }

    /// Reassignments of one topic.
    pub struct OngoingTopicReassignment {
        name: Str,
        partitions: Vec<OngoingPartitionReassignment>,
    }

    /// A reassignment.
    pub struct OngoingPartitionReassignment {
        partition_index: i32,
        replicas: Vec<i32>,
        adding_replicas: Vec<i32>,
        removing_replicas: Vec<i32>,
    }
}

type Refused = (ErrorCode, &'static str);

const UNKNOWN: Refused =
    (ErrorCode::UnknownTopicOrPartition, "there is no such topic or partition");

pub(super) async fn elect(
    caller: Caller<'_>,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    const ODD: Refused = (ErrorCode::InvalidRequest, "there is no such election");
    let is_odd = !matches!(request.election_type, 0 | 1);
    let error_code = if is_odd { ErrorCode::InvalidRequest } else { ErrorCode::None };
    // Of all partitions there are told those that have another leader now: none.
    let asked = request.topic_partitions.unwrap_or_else(|| {
        let all = caller.context.broker.topics().into_iter().filter(|_| !is_odd);
        let none = |topic: Arc<Topic>| TopicPartitions {
            topic: Str::from(topic.name().as_str()),
            partitions: Vec::new(),
        };
        all.map(none).collect()
    });
    let results = asked.into_iter().map(|TopicPartitions { topic, partitions }| {
        let elect = |partition_id| {
            let (error_code, message) = if is_odd {
                ODD
            } else if exists(caller.context, &topic, partition_id) {
                (ErrorCode::ElectionNotNeeded, "the one replica leads")
            } else {
                UNKNOWN
            };
            let error_message = Some(Str::from_static(message));
            PartitionResult { partition_id, error_code, error_message }
        };
        let partition_result = partitions.into_iter().map(elect).collect();
        ReplicaElectionResult { topic, partition_result }
    });
    let replica_election_results = results.collect();
    ElectLeadersResponse { error_code, replica_election_results, ..Default::default() }
}

pub(super) async fn reassign(
    caller: Caller<'_>,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let responses = request.topics.into_iter().map(|ReassignableTopic { name, partitions }| {
        let judge = |ReassignablePartition { partition_index, replicas }| {
            let refused = if exists(caller.context, &name, partition_index) {
                check_replicas(replicas.as_deref())
            } else {
                Err(UNKNOWN)
            };
            let (error_code, message) = match refused {
                Ok(()) => (ErrorCode::None, None),
                Err((code, message)) => (code, Some(Str::from_static(message))),
            };
            ReassignablePartitionResponse { partition_index, error_code, error_message: message }
        };
        let partitions = partitions.into_iter().map(judge).collect();
        ReassignableTopicResponse { name, partitions }
    });
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        responses: responses.collect(),
        ..Default::default()
    }
}

/// A partition can be put where it is already.
fn check_replicas(replicas: Option<&[i32]>) -> Result<(), Refused> {
    match replicas {
        None => Err((ErrorCode::NoReassignmentInProgress, "this partition is not being moved")),
        Some([NODE_ID]) => Ok(()),
        Some(_) => {
            Err((ErrorCode::InvalidReplicaAssignment, "the one broker must be the one replica"))
        }
    }
}

pub(super) async fn list_reassignments(
    _: Caller<'_>,
    _: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}

fn exists(context: &Context, topic: &str, partition: i32) -> bool {
    context.broker.topic(topic).is_some_and(|topic| topic.partition(partition).is_some())
}
