//! Consumer groups from the outside: what an administrator sees of them and may do to them.

use bytes::Bytes;
use millstream::kafka::messages::{
    ApiKey, DeleteGroupsRequest, DescribeGroupsRequest, DescribedGroup, ErrorCode,
    HeartbeatRequest, JoinGroupRequest, JoinGroupRequestProtocol, LeaveGroupRequest,
    ListGroupsRequest, MemberIdentity, OffsetCommitRequest, OffsetCommitRequestPartition,
    OffsetCommitRequestTopic, OffsetDeleteRequest, OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic, OffsetFetchRequest, OffsetFetchRequestGroup, Str, SyncGroupRequest,
    SyncGroupRequestAssignment,
};

use crate::client::Client;
use crate::util::{Broker, succeeded};

/// What a consumer that reads "t" sends: version, topics, user data.
const SUBSCRIPTION: &[u8] = b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff";

fn commit(client: &mut Client, group: &str, member: &str, generation: i32) -> ErrorCode {
    commit_in(client, group, member, generation, 9)
}

pub(crate) fn commit_in(
    client: &mut Client,
    group: &str,
    member: &str,
    generation: i32,
    version: i16,
) -> ErrorCode {
    let request = OffsetCommitRequest {
        group_id: Str::from(group),
        generation_id_or_member_epoch: generation,
        member_id: Str::from(member),
        topics: vec![OffsetCommitRequestTopic {
            name: Str::from("t"),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: 7,
                committed_metadata: Some(Str::from("note")),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    client.call(&request, version).unwrap().topics[0].partitions[0].error_code
}

/// The group's committed offsets, all of them.
fn committed(client: &mut Client, group: &str) -> Vec<(i32, i64, String)> {
    let group = OffsetFetchRequestGroup { group_id: Str::from(group), ..Default::default() };
    let request =
        OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() };
    let response = client.call(&request, 9).unwrap();
    assert_eq!(response.groups[0].error_code, ErrorCode::None);
    let partitions = response.groups[0].topics.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|p| (p.partition_index, p.committed_offset, p.metadata.as_ref().unwrap().to_string()))
        .collect()
}

fn describe(client: &mut Client, group: &str, version: i16) -> DescribedGroup {
    let request = DescribeGroupsRequest {
        groups: vec![Str::from(group)],
        include_authorized_operations: version >= 3,
    };
    client.call(&request, version).unwrap().groups.remove(0)
}

fn delete(client: &mut Client, group: &str, version: i16) -> ErrorCode {
    let request = DeleteGroupsRequest { groups_names: vec![Str::from(group), Str::from(group)] };
    let response = client.call(&request, version).unwrap();
    assert_eq!(response.results.len(), 1, "named twice, removed once");
    response.results[0].error_code
}

fn delete_offset(client: &mut Client, group: &str, topic: &str) -> (ErrorCode, Option<ErrorCode>) {
    let request = OffsetDeleteRequest {
        group_id: Str::from(group),
        topics: vec![OffsetDeleteRequestTopic {
            name: Str::from(topic),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    };
    let response = client.call(&request, 0).unwrap();
    let first = response.topics.first().map(|topic| topic.partitions[0].error_code);
    (response.error_code, first)
}

fn listed(client: &mut Client, version: i16, states: &[&str], types: &[&str]) -> Vec<String> {
    let strs = |texts: &[&str]| texts.iter().map(|text| Str::from(*text)).collect();
    let request = ListGroupsRequest { states_filter: strs(states), types_filter: strs(types) };
    let response = client.call(&request, version).unwrap();
    assert_eq!(response.error_code, ErrorCode::None);
    response.groups.iter().map(|g| format!("{} {}", g.group_id, g.protocol_type)).collect()
}

/// Joins as the only member and assigns.
pub(crate) fn join(client: &mut Client, group: &str) -> Str {
    let protocol = JoinGroupRequestProtocol {
        name: Str::from("range"),
        metadata: Bytes::from_static(SUBSCRIPTION),
    };
    let request = JoinGroupRequest {
        group_id: Str::from(group),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: Str::from("consumer"),
        protocols: vec![protocol],
        ..Default::default()
    };
    let joined = client.call(&request, 3).unwrap();
    assert_eq!(joined.error_code, ErrorCode::None);
    let sync = SyncGroupRequest {
        group_id: Str::from(group),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: joined.member_id.clone(),
            assignment: Bytes::from_static(b"all"),
        }],
        ..Default::default()
    };
    assert_eq!(client.call(&sync, 5).unwrap().error_code, ErrorCode::None);
    joined.member_id
}

fn leave(client: &mut Client, group: &str, member: Str) {
    let request = LeaveGroupRequest {
        group_id: Str::from(group),
        members: vec![MemberIdentity { member_id: member, ..Default::default() }],
        ..Default::default()
    };
    assert_eq!(client.call(&request, 5).unwrap().members[0].error_code, ErrorCode::None);
}

#[test]
fn a_group_that_only_commits_is_listed_described_and_deleted_in_every_version() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    for version in ApiKey::DeleteGroups.versions() {
        assert_eq!(commit(&mut client, "g", "", -1), ErrorCode::None);
        for version in ApiKey::ListGroups.versions() {
            assert_eq!(listed(&mut client, version, &[], &[]), ["g "], "version {version}");
        }
        for version in ApiKey::DescribeGroups.versions() {
            let group = describe(&mut client, "g", version);
            assert_eq!((group.error_code, &group.group_state[..]), (ErrorCode::None, "Empty"));
            let operations = if version >= 3 { 3_400 } else { i32::MIN };
            assert_eq!(group.authorized_operations, operations, "version {version}");
        }
        assert_eq!(delete(&mut client, "g", version), ErrorCode::None);
        assert_eq!(delete(&mut client, "g", version), ErrorCode::GroupIdNotFound);
        assert_eq!(committed(&mut client, "g"), []);
        assert_eq!(listed(&mut client, 5, &[], &[]), [""; 0]);
    }
    for version in ApiKey::DescribeGroups.versions() {
        let group = describe(&mut client, "g", version);
        let code = if version >= 6 { ErrorCode::GroupIdNotFound } else { ErrorCode::None };
        assert_eq!((group.error_code, &group.group_state[..]), (code, "Dead"));
    }
}

#[test]
fn a_group_with_members_is_described_and_kept() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    client.auto_create("other").unwrap();
    let member = join(&mut client, "g");
    assert_eq!(commit(&mut client, "g", &member, 1), ErrorCode::None);
    // Not of this generation, not a member, not a member at all.
    assert_eq!(commit(&mut client, "g", &member, 2), ErrorCode::IllegalGeneration);
    assert_eq!(commit(&mut client, "g", "stranger", 1), ErrorCode::UnknownMemberId);
    assert_eq!(commit(&mut client, "g", "", -1), ErrorCode::UnknownMemberId);

    let group = describe(&mut client, "g", 6);
    assert_eq!((&group.group_state[..], &group.protocol_data[..]), ("Stable", "range"));
    let described = &group.members[0];
    assert_eq!((&described.member_id, &described.client_id[..]), (&member, "test"));
    assert_eq!(&described.client_host[..], "/127.0.0.1");
    assert_eq!(
        (&described.member_metadata[..], &described.member_assignment[..]),
        (SUBSCRIPTION, &b"all"[..])
    );

    assert_eq!(listed(&mut client, 5, &["STABLE"], &["Classic"]), ["g consumer"]);
    assert_eq!(listed(&mut client, 5, &["Empty", "Dead"], &[]), [""; 0]);
    assert_eq!(listed(&mut client, 5, &[], &["consumer"]), [""; 0]);
    assert_eq!(delete(&mut client, "g", 2), ErrorCode::NonEmptyGroup);
    let none = ErrorCode::None;
    let subscribed = (none, Some(ErrorCode::GroupSubscribedToTopic));
    assert_eq!(delete_offset(&mut client, "g", "t"), subscribed);
    assert_eq!(delete_offset(&mut client, "g", "other"), (none, Some(none)));
    let unknown = (none, Some(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(delete_offset(&mut client, "g", "nowhere"), unknown);
    assert_eq!(committed(&mut client, "g"), [(0, 7, "note".to_owned())]);

    let shown = succeeded(&broker.run(&["groups"]));
    let words: Vec<_> = shown.split_whitespace().collect();
    assert_eq!(words[6..], ["g", "stable", "1", "t/0", "7", "0"], "{shown}");

    leave(&mut client, "g", member);
    assert_eq!(listed(&mut client, 5, &["empty"], &[]), ["g consumer"]);
    // Generations go on where they were.
    let member = join(&mut client, "g");
    assert_eq!(commit(&mut client, "g", &member, 3), ErrorCode::None);
    leave(&mut client, "g", member);
    assert_eq!(delete_offset(&mut client, "g", "t"), (none, Some(none)));
    assert_eq!(committed(&mut client, "g"), []);
    assert_eq!(delete(&mut client, "g", 2), none);
}

#[test]
fn a_deleted_group_stays_deleted_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start_in(folder.path(), &[]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    for group in ["gone", "stays"] {
        assert_eq!(commit(&mut client, group, "", -1), ErrorCode::None);
    }
    assert_eq!(delete(&mut client, "gone", 2), ErrorCode::None);
    broker.kill();
    let broker = Broker::start_in(folder.path(), &[]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    assert_eq!(listed(&mut client, 5, &[], &[]), ["stays "]);
    assert_eq!(committed(&mut client, "gone"), []);
    assert_eq!(committed(&mut client, "stays"), [(0, 7, "note".to_owned())]);
}

#[test]
fn the_members_of_a_group_do_not_notice_that_the_broker_crashed() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start_in(folder.path(), &[]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    let member = join(&mut client, "g");
    broker.kill();
    let mut broker = Broker::start_in(folder.path(), &[]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    let heartbeat = HeartbeatRequest {
        group_id: Str::from("g"),
        generation_id: 1,
        member_id: member.clone(),
        ..Default::default()
    };
    assert_eq!(client.call(&heartbeat, 4).unwrap().error_code, ErrorCode::None);
    assert_eq!(commit(&mut client, "g", &member, 1), ErrorCode::None);
    let group = describe(&mut client, "g", 6);
    assert_eq!((&group.group_state[..], &group.protocol_data[..]), ("Stable", "range"));
    assert_eq!(group.members[0].member_assignment, "all");
    leave(&mut client, "g", member.clone());
    broker.kill();
    let broker = Broker::start_in(folder.path(), &[]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    assert_eq!(client.call(&heartbeat, 4).unwrap().error_code, ErrorCode::UnknownMemberId);
    assert_eq!(listed(&mut client, 5, &["empty"], &[]), ["g consumer"]);
    let member = join(&mut client, "g");
    assert_eq!(commit(&mut client, "g", &member, 3), ErrorCode::None);
}

#[test]
fn who_commits_to_a_group_that_is_not_there_is_told_so() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    assert_eq!(commit_in(&mut client, "g", "m", 1, 8), ErrorCode::IllegalGeneration);
    assert_eq!(commit_in(&mut client, "g", "m", 1, 9), ErrorCode::GroupIdNotFound);
    assert_eq!(delete_offset(&mut client, "g", "t"), (ErrorCode::GroupIdNotFound, None));
    assert_eq!(delete_offset(&mut client, "", "t"), (ErrorCode::InvalidGroupId, None));
    // A group without a name can hold offsets, as in Kafka.
    assert_eq!(commit(&mut client, "", "", -1), ErrorCode::None);
    assert_eq!(committed(&mut client, ""), [(0, 7, "note".to_owned())]);
    assert_eq!(delete(&mut client, "", 2), ErrorCode::None);
    assert_eq!(commit(&mut client, "g", "whoever", -1), ErrorCode::None);
    assert_eq!(commit_in(&mut client, "g", "m", 1, 9), ErrorCode::UnknownMemberId);
}
