//! A group's committed offsets: OffsetCommit, OffsetFetch.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::wire::Str;
use crate::broker::{
    Broker, Commit, CommitError, CommittedOffset, GroupError, OffsetChange, Topic,
};
use crate::limits::OFFSET_METADATA_BYTES;
use crate::types::{GroupId, OffsetOwner, TopicId, TopicPartition};

message! {
    /// Offsets to commit for a group.
    pub struct OffsetCommitRequest {
        group_id: Str,
        /// -1 for a commit from outside the group's membership.
        generation_id_or_member_epoch: i32 [1.., ignorable, default -1],
        member_id: Str [1.., ignorable],
        group_instance_id: Option<Str> [7.., nullable],
        retention_time_ms: i64 [2..=4, ignorable, default -1],
        topics: Vec<OffsetCommitRequestTopic>,
    }

    /// A topic, which has a name before version 10 and an id since (KIP-848).
    pub struct OffsetCommitRequestTopic {
        name: Str [0..=9, ignorable],
        topic_id: Uuid [10.., ignorable],
        partitions: Vec<OffsetCommitRequestPartition>,
    }

    /// The offset to commit: of the next record to read.
    pub struct OffsetCommitRequestPartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [6.., ignorable, default -1],
        committed_metadata: Option<Str> [nullable],
    }

    /// What became of each commit.
    pub struct OffsetCommitResponse {
        throttle_time_ms: i32 [3.., ignorable],
        topics: Vec<OffsetCommitResponseTopic>,
    }

    /// What became of one topic's commits.
    pub struct OffsetCommitResponseTopic {
        name: Str [0..=9, ignorable],
        topic_id: Uuid [10.., ignorable],
        partitions: Vec<OffsetCommitResponsePartition>,
    }

    /// What became of one commit.
    pub struct OffsetCommitResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }
}

message! {
    /// Asks for committed offsets; before version 8 of one group, since then of any number
    /// (KIP-709). Null topics are all.
    pub struct OffsetFetchRequest {
        group_id: Str [0..=7],
        topics: Option<Vec<OffsetFetchRequestTopic>> [0..=7, nullable 2..=7],
        groups: Vec<OffsetFetchRequestGroup> [8..],
        require_stable: bool [7.., default false],
    }

    /// A topic of the only group, before version 8.
    pub struct OffsetFetchRequestTopic {
        name: Str,
        partition_indexes: Vec<i32>,
    }

    /// A group, since version 8.
    pub struct OffsetFetchRequestGroup {
        group_id: Str,
        member_id: Option<Str> [9.., nullable, ignorable],
        member_epoch: i32 [9.., ignorable, default -1],
        topics: Option<Vec<OffsetFetchRequestTopics>> [nullable],
    }

    /// A topic, which has a name before version 10 and an id since.
    pub struct OffsetFetchRequestTopics {
        name: Str [8..=9, ignorable],
        topic_id: Uuid [10.., ignorable],
        partition_indexes: Vec<i32>,
    }

    /// Committed offsets; before version 8 of one group, since then by group.
    pub struct OffsetFetchResponse {
        throttle_time_ms: i32 [3.., ignorable],
        topics: Vec<OffsetFetchResponseTopic> [0..=7],
        error_code: ErrorCode [2..=7, ignorable],
        groups: Vec<OffsetFetchResponseGroup> [8..],
    }

    /// A topic of the only group, before version 8.
    pub struct OffsetFetchResponseTopic {
        name: Str,
        partitions: Vec<OffsetFetchResponsePartition>,
    }

    /// A committed offset before version 8; -1 if there is none.
    pub struct OffsetFetchResponsePartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [5..=7, ignorable, default -1],
        metadata: Option<Str> [nullable],
        error_code: ErrorCode,
    }

    /// One group's offsets, since version 8.
    pub struct OffsetFetchResponseGroup {
        group_id: Str,
        topics: Vec<OffsetFetchResponseTopics>,
        error_code: ErrorCode,
    }

    /// One topic's offsets, since version 8.
    pub struct OffsetFetchResponseTopics {
        name: Str [8..=9, ignorable],
        topic_id: Uuid [10.., ignorable],
        partitions: Vec<OffsetFetchResponsePartitions>,
    }

    /// A committed offset since version 8; -1 if there is none.
    pub struct OffsetFetchResponsePartitions {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [8.., ignorable, default -1],
        metadata: Option<Str> [nullable],
        error_code: ErrorCode,
    }
}

/// Topics have names in the earlier versions of both APIs and ids since this one (KIP-848).
const FIRST_WITH_IDS: i16 = 10;
/// From this version of OffsetCommit on, a group that is not there is an error of its own.
const FIRST_WITH_NOT_FOUND: i16 = 9;

fn find(broker: &Broker, version: i16, name: &Str, id: Uuid) -> Result<Arc<Topic>, ErrorCode> {
    if version < FIRST_WITH_IDS {
        return broker.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition);
    }
    broker.topic_by_id(TopicId::from_bytes(id.into_bytes())).ok_or(ErrorCode::UnknownTopicId)
}

/// Commits what can be committed in one durable change, and answers for each partition.
pub(super) async fn commit(
    caller: Caller<'_>,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let broker = &caller.context.broker;
    let group = GroupId::new(&request.group_id).map_err(|_| ErrorCode::InvalidGroupId);
    let allowed = group.as_ref().map_err(|code| *code).and_then(|group| {
        let instance_id = request.group_instance_id.as_deref();
        let generation = request.generation_id_or_member_epoch;
        broker.groups().check_commit(group, &request.member_id, instance_id, generation).map_err(
            |error| match error {
                GroupError::IllegalGeneration { current: -1, .. } => {
                    unknown_group(broker, group, caller.version)
                }
                error => ErrorCode::from(&error),
            },
        )
    });
    let owner = group.ok().map(OffsetOwner::Group);
    let mut commit = Commit::default();
    let mut topics = Vec::with_capacity(request.topics.len());
    for OffsetCommitRequestTopic { name, topic_id, partitions } in request.topics {
        let topic = find(broker, caller.version, &name, topic_id);
        let partitions = partitions.into_iter().map(|asked| {
            let partition_index = asked.partition_index;
            let change = match (&owner, &topic) {
                (None, _) => Err(ErrorCode::InvalidGroupId),
                (Some(_), Err(code)) => Err(*code),
                (Some(owner), Ok(topic)) => {
                    offset_change(broker, owner.clone(), topic, allowed, asked)
                }
            };
            let error_code = match change {
                Ok(change) => {
                    commit.offsets.push(change);
                    ErrorCode::None
                }
                Err(code) => code,
            };
            OffsetCommitResponsePartition { partition_index, error_code }
        });
        let partitions = partitions.collect();
        topics.push(OffsetCommitResponseTopic { name, topic_id, partitions });
    }
    if !commit.offsets.is_empty()
        && let Err(error) = broker.commit(commit).await
    {
        // As Kafka: what fails on the way to the log is the coordinator's to clients.
        let code = match error {
            CommitError::Storage(_) | CommitError::Stopped => ErrorCode::NotCoordinator,
            error => ErrorCode::from(&error),
        };
        for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if partition.error_code == ErrorCode::None {
                partition.error_code = code;
            }
        }
    }
    OffsetCommitResponse { topics, ..Default::default() }
}

/// What a member is told of whose group there are at most offsets.
fn unknown_group(broker: &Broker, group: &GroupId, version: i16) -> ErrorCode {
    match broker.describe_group(group) {
        Some(_) => ErrorCode::UnknownMemberId,
        None if version >= FIRST_WITH_NOT_FOUND => ErrorCode::GroupIdNotFound,
        None => ErrorCode::IllegalGeneration,
    }
}

fn offset_change(
    broker: &Broker,
    owner: OffsetOwner,
    topic: &Topic,
    allowed: Result<(), ErrorCode>,
    asked: OffsetCommitRequestPartition,
) -> Result<OffsetChange, ErrorCode> {
    if topic.partition(asked.partition_index).is_none() {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    allowed?;
    let metadata = asked.committed_metadata.unwrap_or_default();
    if metadata.len() > OFFSET_METADATA_BYTES {
        return Err(ErrorCode::OffsetMetadataTooLarge);
    }
    Ok(OffsetChange {
        owner,
        partition: TopicPartition { topic: topic.id(), partition: asked.partition_index },
        expected: None,
        committed: Some(CommittedOffset {
            offset: asked.committed_offset,
            leader_epoch: asked.committed_leader_epoch,
            metadata: metadata.to_string(),
            commit_time_ms: broker.clock().now_ms(),
        }),
    })
}

pub(super) async fn fetch(caller: Caller<'_>, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let broker = &caller.context.broker;
    if caller.version >= 8 {
        let mut seen = HashSet::new();
        let groups = request.groups.into_iter().filter(|group| seen.insert(group.group_id.clone()));
        let groups = groups.map(|group| fetch_group(broker, caller.version, group)).collect();
        return OffsetFetchResponse { groups, ..Default::default() };
    }
    // One group: the same as one of the later versions, in the older words.
    let topics = request.topics.map(|topics| {
        let topic = |topic: OffsetFetchRequestTopic| OffsetFetchRequestTopics {
            name: topic.name,
            partition_indexes: topic.partition_indexes,
            ..Default::default()
        };
        topics.into_iter().map(topic).collect()
    });
    let asked =
        OffsetFetchRequestGroup { group_id: request.group_id, topics, ..Default::default() };
    let group = fetch_group(broker, caller.version, asked);
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| OffsetFetchResponsePartition {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                committed_leader_epoch: partition.committed_leader_epoch,
                metadata: partition.metadata,
                error_code: partition.error_code,
            })
            .collect(),
    });
    OffsetFetchResponse {
        topics: topics.collect(),
        error_code: group.error_code,
        ..Default::default()
    }
}

fn fetch_group(
    broker: &Broker,
    version: i16,
    asked: OffsetFetchRequestGroup,
) -> OffsetFetchResponseGroup {
    let OffsetFetchRequestGroup { group_id, topics, .. } = asked;
    let Ok(group) = GroupId::new(&group_id) else {
        let error_code = ErrorCode::InvalidGroupId;
        return OffsetFetchResponseGroup { group_id, error_code, ..Default::default() };
    };
    let committed = broker.committed(&OffsetOwner::Group(group));
    let topics = match topics {
        Some(topics) => topics
            .into_iter()
            .map(|asked| fetch_topic(broker, version, &committed, asked))
            .collect(),
        None => all_topics(broker, &committed),
    };
    OffsetFetchResponseGroup { group_id, topics, ..Default::default() }
}

fn fetch_topic(
    broker: &Broker,
    version: i16,
    committed: &BTreeMap<TopicPartition, CommittedOffset>,
    asked: OffsetFetchRequestTopics,
) -> OffsetFetchResponseTopics {
    let OffsetFetchRequestTopics { name, topic_id, partition_indexes } = asked;
    let topic = find(broker, version, &name, topic_id);
    // Before there were ids, a topic that is not there was one without commits.
    let error_code = match &topic {
        Err(code) if version >= FIRST_WITH_IDS => *code,
        _ => ErrorCode::None,
    };
    let partition = |partition| {
        let id = topic.as_ref().ok().map(|topic| TopicPartition { topic: topic.id(), partition });
        let committed = id.and_then(|id| committed.get(&id));
        OffsetFetchResponsePartitions { error_code, ..committed_partition(partition, committed) }
    };
    let partitions = partition_indexes.into_iter().map(partition).collect();
    OffsetFetchResponseTopics { name, topic_id, partitions }
}

fn all_topics(
    broker: &Broker,
    committed: &BTreeMap<TopicPartition, CommittedOffset>,
) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    for (id, committed) in committed {
        let Some(topic) = broker.topic_by_id(id.topic) else { continue };
        let topic_id = Uuid::from_bytes(id.topic.to_bytes());
        let partition = committed_partition(id.partition, Some(committed));
        match topics.last_mut().filter(|last| last.topic_id == topic_id) {
            Some(last) => last.partitions.push(partition),
            None => topics.push(OffsetFetchResponseTopics {
                name: Str::from(topic.name().as_str()),
                topic_id,
                partitions: vec![partition],
            }),
        }
    }
    topics
}

fn committed_partition(
    partition_index: i32,
    committed: Option<&CommittedOffset>,
) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: committed.map_or(-1, |committed| committed.offset),
        committed_leader_epoch: committed.map_or(-1, |committed| committed.leader_epoch),
        metadata: Some(committed.map_or_else(Str::default, |c| Str::from(c.metadata.as_str()))),
        error_code: ErrorCode::None,
    }
}
