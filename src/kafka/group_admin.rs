//! Consumer groups as an administrator sees them: ListGroups, DescribeGroups, DeleteGroups,
//! OffsetDelete.

use std::collections::HashSet;

use bytes::Bytes;

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::{Wire, message};
use super::schema::Version;
use super::wire::{Reader, Str};
use crate::broker::{DeleteGroupError, GroupDescription, GroupState};
use crate::types::{GroupId, TopicPartition};

message! {
    /// Asks for the groups that there are.
    pub struct ListGroupsRequest {
        /// Names of states; none for all.
        states_filter: Vec<Str> [4..],
        /// "classic", "consumer", "share"; none for all.
        types_filter: Vec<Str> [5..],
    }

    /// The groups.
    pub struct ListGroupsResponse {
        throttle_time_ms: i32 [1.., ignorable],
        error_code: ErrorCode,
        groups: Vec<ListedGroup>,
    }

    /// One of them.
    pub struct ListedGroup {
        group_id: Str,
        protocol_type: Str,
        group_state: Str [4.., ignorable],
        group_type: Str [5.., ignorable],
    }
}

message! {
    /// Asks for groups with their members.
    pub struct DescribeGroupsRequest {
        groups: Vec<Str>,
        include_authorized_operations: bool [3..],
    }

    /// The groups.
    pub struct DescribeGroupsResponse {
        throttle_time_ms: i32 [1.., ignorable],
        groups: Vec<DescribedGroup>,
    }

    /// One group.
    pub struct DescribedGroup {
        error_code: ErrorCode,
        error_message: Option<Str> [6.., nullable],
        group_id: Str,
        group_state: Str,
        protocol_type: Str,
        /// The chosen protocol of a stable group.
        protocol_data: Str,
        members: Vec<DescribedGroupMember>,
        authorized_operations: i32 [3.., default -2147483648],
    }

    /// One member.
    pub struct DescribedGroupMember {
        member_id: Str,
        group_instance_id: Option<Str> [4.., nullable, ignorable],
        client_id: Str,
        client_host: Str,
        member_metadata: Bytes,
        member_assignment: Bytes,
    }
}

message! {
    /// Groups to remove.
    pub struct DeleteGroupsRequest {
        groups_names: Vec<Str>,
    }

    /// What became of each.
    pub struct DeleteGroupsResponse {
        throttle_time_ms: i32,
        results: Vec<DeletableGroupResult>,
    }

    /// What became of one.
    pub struct DeletableGroupResult {
        group_id: Str,
        error_code: ErrorCode,
    }

    /// Committed offsets to remove.
    pub struct OffsetDeleteRequest {
        group_id: Str,
        topics: Vec<OffsetDeleteRequestTopic>,
    }

    /// Those of one topic.
    pub struct OffsetDeleteRequestTopic {
        name: Str,
        partitions: Vec<OffsetDeleteRequestPartition>,
    }

    /// That of one partition.
    pub struct OffsetDeleteRequestPartition {
        partition_index: i32,
    }

    /// What became of each.
    pub struct OffsetDeleteResponse {
        error_code: ErrorCode,
        throttle_time_ms: i32 [0.., ignorable],
        topics: Vec<OffsetDeleteResponseTopic>,
    }

    /// What became of one topic's.
    pub struct OffsetDeleteResponseTopic {
        name: Str,
        partitions: Vec<OffsetDeleteResponsePartition>,
    }

    /// What became of one.
    pub struct OffsetDeleteResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }
}

/// The kind of all groups that there are.
const CLASSIC: &str = "classic";
/// What consumers call their kind of group.
const CONSUMER: &str = "consumer";
/// What may be done to a group, as bits by their number in Kafka's `AclOperation`: read, delete,
/// describe, describe and alter its settings. Everybody may everything.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;
/// From this version of DescribeGroups on, a group that is not there is an error (KIP-1043).
const FIRST_WITH_NOT_FOUND: i16 = 6;

fn state_name(state: GroupState) -> &'static str {
    match state {
        GroupState::Empty => "Empty",
        GroupState::PreparingRebalance => "PreparingRebalance",
        GroupState::CompletingRebalance => "CompletingRebalance",
        GroupState::Stable => "Stable",
        GroupState::Dead => "Dead",
    }
}

/// Whether a filter lets `name` through. Case does not count.
fn passes(filter: &[Str], name: &str) -> bool {
    filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
}

pub(super) async fn list(caller: Caller<'_>, request: ListGroupsRequest) -> ListGroupsResponse {
    if !passes(&request.types_filter, CLASSIC) {
        return ListGroupsResponse::default();
    }
    let mut groups = caller.context.broker.list_groups();
    groups.retain(|listing| passes(&request.states_filter, state_name(listing.state)));
    let groups = groups.into_iter().map(|listing| ListedGroup {
        group_id: Str::from(listing.group.as_str()),
        protocol_type: Str::from(listing.protocol_type),
        group_state: Str::from(state_name(listing.state)),
        group_type: Str::from(CLASSIC),
    });
    ListGroupsResponse { groups: groups.collect(), ..Default::default() }
}

pub(super) async fn describe(
    caller: Caller<'_>,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let operations =
        if request.include_authorized_operations { GROUP_OPERATIONS } else { i32::MIN };
    // Named twice, described once: an answer takes far more memory than the name.
    let mut seen = HashSet::new();
    let names = request.groups.into_iter().filter(|group_id| seen.insert(group_id.clone()));
    let groups = names.map(|group_id| {
        let group = GroupId::new(&group_id).ok();
        match group.and_then(|group| caller.context.broker.describe_group(&group)) {
            Some(found) => described(group_id, found, operations),
            None => not_found(group_id, caller.version, operations),
        }
    });
    DescribeGroupsResponse { groups: groups.collect(), ..Default::default() }
}

fn described(group_id: Str, found: GroupDescription, authorized_operations: i32) -> DescribedGroup {
    let stable = found.state == GroupState::Stable;
    let members = found.members.into_iter().map(|member| DescribedGroupMember {
        member_id: Str::from(member.member_id),
        group_instance_id: member.instance_id.map(Str::from),
        client_id: Str::from(member.client_id),
        client_host: Str::from(member.client_host),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    });
    DescribedGroup {
        group_id,
        group_state: Str::from(state_name(found.state)),
        protocol_type: Str::from(found.protocol_type),
        protocol_data: if stable { Str::from(found.protocol_name) } else { Str::default() },
        members: members.collect(),
        authorized_operations,
        ..Default::default()
    }
}

fn not_found(group_id: Str, version: i16, authorized_operations: i32) -> DescribedGroup {
    let group_state = Str::from(state_name(GroupState::Dead));
    if version < FIRST_WITH_NOT_FOUND {
        return DescribedGroup {
            group_id,
            group_state,
            // The field came with version 3.
            authorized_operations: if version < 3 { i32::MIN } else { authorized_operations },
            ..Default::default()
        };
    }
    DescribedGroup {
        error_code: ErrorCode::GroupIdNotFound,
        error_message: Some(Str::from(format!("Group {group_id} not found."))),
        group_id,
        group_state,
        ..Default::default()
    }
}

pub(super) async fn delete(
    caller: Caller<'_>,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut seen = HashSet::new();
    let mut results = Vec::new();
    for group_id in request.groups_names {
        if !seen.insert(group_id.clone()) {
            continue;
        }
        let deleted = match GroupId::new(&group_id) {
            Ok(group) => caller.context.broker.delete_group(&group).await,
            Err(_) => Err(DeleteGroupError::Unknown),
        };
        let error_code = deleted.map_or_else(|error| ErrorCode::from(&error), |()| ErrorCode::None);
        results.push(DeletableGroupResult { group_id, error_code });
    }
    DeleteGroupsResponse { results, ..Default::default() }
}

pub(super) async fn delete_offsets(
    caller: Caller<'_>,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let refuse = |error_code| OffsetDeleteResponse { error_code, ..Default::default() };
    let broker = &caller.context.broker;
    let group = GroupId::new(&request.group_id).ok().filter(|_| !request.group_id.is_empty());
    let Some(group) = group else {
        return refuse(ErrorCode::InvalidGroupId);
    };
    let Some(found) = broker.describe_group(&group) else {
        return refuse(ErrorCode::GroupIdNotFound);
    };
    if found.state != GroupState::Empty && found.protocol_type != CONSUMER {
        return refuse(ErrorCode::NonEmptyGroup);
    }
    let subscribed = Subscribed::of(&found);
    let mut unwanted = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for OffsetDeleteRequestTopic { name, partitions } in request.topics {
        let topic = broker.topic(&name);
        let partitions =
            partitions.into_iter().map(|OffsetDeleteRequestPartition { partition_index }| {
                let known = topic.as_ref().filter(|t| t.partition(partition_index).is_some());
                let error_code = match known {
                    None => ErrorCode::UnknownTopicOrPartition,
                    Some(_) if subscribed.contains(&name) => ErrorCode::GroupSubscribedToTopic,
                    Some(topic) => {
                        unwanted
                            .push(TopicPartition { topic: topic.id(), partition: partition_index });
                        ErrorCode::None
                    }
                };
                OffsetDeleteResponsePartition { partition_index, error_code }
            });
        let partitions = partitions.collect();
        topics.push(OffsetDeleteResponseTopic { name, partitions });
    }
    if !unwanted.is_empty()
        && let Err(error) = broker.delete_offsets(&group, &unwanted).await
    {
        return refuse(ErrorCode::from(&DeleteGroupError::Commit(error)));
    }
    OffsetDeleteResponse { topics, ..Default::default() }
}

/// The topics that a group's consumers read.
enum Subscribed {
    To(HashSet<Str>),
    /// Not known between two generations, or because a consumer speaks a protocol of its own.
    Unknown,
}

impl Subscribed {
    fn of(group: &GroupDescription) -> Self {
        if group.members.is_empty() {
            return Self::To(HashSet::new());
        }
        let mut topics = HashSet::new();
        for member in &group.members {
            let Some(of_member) = subscription(&member.metadata) else { return Self::Unknown };
            topics.extend(of_member);
        }
        Self::To(topics)
    }

    fn contains(&self, topic: &Str) -> bool {
        match self {
            Self::To(topics) => topics.contains(topic),
            Self::Unknown => true,
        }
    }
}

/// The topics in a consumer's metadata: they stand first, after the version, in every version.
fn subscription(metadata: &Bytes) -> Option<Vec<Str>> {
    let mut reader = Reader::new(metadata.clone());
    let number = reader.i16().ok()?;
    Vec::read(&mut reader, Version { number, flexible: false }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::MemberDescription;

    fn group(metadata: &[&'static [u8]]) -> GroupDescription {
        let member = |metadata: &&'static [u8]| MemberDescription {
            member_id: String::new(),
            instance_id: None,
            client_id: String::new(),
            client_host: String::new(),
            metadata: Bytes::from_static(metadata),
            assignment: Bytes::new(),
        };
        GroupDescription {
            state: GroupState::Stable,
            generation: 1,
            protocol_type: CONSUMER.to_owned(),
            protocol_name: String::new(),
            leader: None,
            members: metadata.iter().map(member).collect(),
        }
    }

    #[test]
    fn subscriptions_are_read_as_consumers_write_them() {
        let a = b"\0\x01\0\0\0\x01\0\x01aand more";
        let b = b"\0\0\0\0\0\x02\0\x01b\0\x02bb";
        let both = Subscribed::of(&group(&[a, b]));
        for (topic, subscribed) in [("a", true), ("b", true), ("bb", true), ("c", false)] {
            assert_eq!(both.contains(&Str::from(topic)), subscribed, "{topic}");
        }
        assert!(!Subscribed::of(&group(&[])).contains(&Str::from("a")));
        for rubbish in [&b""[..], b"\0", b"\0\0\xff", b"\0\0\x7f\xff\xff\xff"] {
            let unknown = Subscribed::of(&group(&[a, rubbish]));
            assert!(unknown.contains(&Str::from("c")), "{rubbish:?}");
        }
    }

    #[test]
    fn filters_do_not_look_at_case() {
        let filter = [Str::from("stable"), Str::from(" EMPTY")];
        assert!(passes(&filter, "Stable") && passes(&filter, "Empty"));
        assert!(!passes(&filter, "Dead"));
        assert!(passes(&[], "Dead"));
    }
}
