//! Groups: FindCoordinator, the classic protocol, offsets.

use bytes::Bytes;
use millstream::kafka::messages::{
    ApiKey, DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest,
    JoinGroupRequest, JoinGroupRequestProtocol, LeaveGroupRequest, ListGroupsRequest,
    MemberIdentity, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    SyncGroupRequest, SyncGroupRequestAssignment,
};

use super::side::{Outcome, Side};
use super::{Table, s, some};

pub(super) fn requests(table: &mut Table) {
    coordinators(table);
    join_badly(table);
    for version in ApiKey::JoinGroup.versions() {
        life(table, version);
    }
    simple_offsets(table);
    fetch_offsets(table);
    administration(table);
}

fn coordinators(table: &mut Table) {
    for key_type in [0, 9, -1] {
        table.each_version(&format!("of type {key_type}"), move |_, version| {
            let key = s("some-group");
            match version {
                ..=3 => FindCoordinatorRequest { key, key_type, ..Default::default() },
                _ => FindCoordinatorRequest {
                    coordinator_keys: vec![key, s("")],
                    key_type,
                    ..Default::default()
                },
            }
        });
    }
    table.each_version("no key", |_, _| FindCoordinatorRequest::default());
}

fn join(group: &str, member_id: &str) -> JoinGroupRequest {
    let protocol = |name: &str| JoinGroupRequestProtocol {
        name: s(name),
        metadata: Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0"),
    };
    JoinGroupRequest {
        group_id: s(group),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        member_id: s(member_id),
        protocol_type: s("consumer"),
        protocols: vec![protocol("range"), protocol("roundrobin")],
        ..Default::default()
    }
}

/// Joins in a version that has no rebalance timeout and no member id from the broker as well.
fn join_in(version: i16, group: &str, member_id: &str) -> JoinGroupRequest {
    let rebalance_timeout_ms = if version == 0 { -1 } else { 10_000 };
    JoinGroupRequest { rebalance_timeout_ms, ..join(group, member_id) }
}

fn join_badly(table: &mut Table) {
    table.each_version("no group id", |_, version| join_in(version, "", ""));
    table.each_version("a member that is unknown", |_, version| join_in(version, "g", "m"));
    for session_timeout_ms in [0, 5_999, 1_800_001] {
        table.each_version(&format!("a session of {session_timeout_ms} ms"), move |_, version| {
            JoinGroupRequest { session_timeout_ms, ..join_in(version, "g", "") }
        });
    }
    table.each_version("no protocol", |_, version| JoinGroupRequest {
        protocols: Vec::new(),
        ..join_in(version, "g", "")
    });
    table.each_version("no protocol type", |_, version| JoinGroupRequest {
        protocol_type: s(""),
        ..join_in(version, "g", "")
    });
    table.each("sync of a group that is not there", |_| SyncGroupRequest {
        group_id: s("nobody"),
        generation_id: 1,
        member_id: s("m"),
        protocol_type: some("consumer"),
        protocol_name: some("range"),
        ..Default::default()
    });
    table.each("sync without group id", |_| SyncGroupRequest {
        member_id: s("m"),
        protocol_type: some("consumer"),
        protocol_name: some("range"),
        ..Default::default()
    });
    for group in ["nobody", ""] {
        table.each(&format!("heartbeat of {group:?}"), move |_| HeartbeatRequest {
            group_id: s(group),
            generation_id: 1,
            member_id: s("m"),
            ..Default::default()
        });
        table.each_version(&format!("leave {group:?}"), move |_, v| leave(v, group, &["m"]));
    }
}

fn leave(version: i16, group: &str, members: &[&str]) -> LeaveGroupRequest {
    let group_id = s(group);
    if version <= 2 {
        let member_id = s(members[0]);
        return LeaveGroupRequest { group_id, member_id, ..Default::default() };
    }
    let member = |id: &&str| MemberIdentity { member_id: s(id), ..Default::default() };
    let members = members.iter().map(member).collect();
    LeaveGroupRequest { group_id, members, ..Default::default() }
}

/// A group of one member from join to leave, with the other APIs' versions beside that of
/// JoinGroup as far as they go.
fn life(table: &mut Table, version: i16) {
    let group: &'static str = format!("group-{version}").leak();
    let at = move |api: ApiKey| version.clamp(*api.versions().start(), *api.versions().end());
    table.step(ApiKey::JoinGroup, "joins", version, move |side| {
        let outcome = side.exchange(&join_in(version, group, ""), version);
        remember_member(side, group, outcome)
    });
    if version >= 4 {
        table.step(ApiKey::JoinGroup, "joins with its id", version, move |side| {
            let request = join_in(version, group, &member(side, group));
            let outcome = side.exchange(&request, version);
            remember_member(side, group, outcome)
        });
    }
    table.step(ApiKey::DescribeGroups, "of one member", 5, move |side| {
        let request = DescribeGroupsRequest { groups: vec![s(group)], ..Default::default() };
        side.exchange(&request, 5)
    });
    table.step(ApiKey::DeleteGroups, "of one member", 2, move |side| {
        let request = DeleteGroupsRequest { groups_names: vec![s(group)] };
        side.exchange(&request, 2)
    });
    work(table, version, group);
    table.step(ApiKey::DescribeGroups, "stable", 6, move |side| {
        let request = DescribeGroupsRequest { groups: vec![s(group)], ..Default::default() };
        side.exchange(&request, 6)
    });
    table.step(ApiKey::OffsetCommit, "nobody, while there is a member", 8, move |side| {
        side.exchange(&commit(side, group), 8)
    });
    let api = ApiKey::LeaveGroup;
    for name in ["the member", "the member again"] {
        table.step(api, name, at(api), move |side| {
            let request = leave(at(api), group, &[&member(side, group)]);
            side.exchange(&request, at(api))
        });
    }
}

/// What members do, good ones and bad ones.
fn work(table: &mut Table, version: i16, group: &'static str) {
    let at = move |api: ApiKey| version.clamp(*api.versions().start(), *api.versions().end());
    for (name, generation, id) in
        [("another generation", 7, None), ("a stranger", 1, Some("m")), ("the member", 1, None)]
    {
        let id = move |side: &Side| id.map_or_else(|| member(side, group), ToOwned::to_owned);
        let api = ApiKey::SyncGroup;
        table.step(api, name, at(api), move |side| {
            let assignment = SyncGroupRequestAssignment {
                member_id: s(&member(side, group)),
                assignment: Bytes::from_static(b"assignment"),
            };
            let request = SyncGroupRequest {
                group_id: s(group),
                generation_id: generation,
                member_id: s(&id(side)),
                protocol_type: some("consumer"),
                protocol_name: some("range"),
                assignments: vec![assignment],
                ..Default::default()
            };
            side.exchange(&request, at(api))
        });
        let api = ApiKey::Heartbeat;
        table.step(api, name, at(api), move |side| {
            let request = HeartbeatRequest {
                group_id: s(group),
                generation_id: generation,
                member_id: s(&id(side)),
                ..Default::default()
            };
            side.exchange(&request, at(api))
        });
        let api = ApiKey::OffsetCommit;
        table.step(api, name, at(api), move |side| {
            let request = OffsetCommitRequest {
                generation_id_or_member_epoch: generation,
                member_id: s(&id(side)),
                ..commit(side, group)
            };
            side.exchange(&request, at(api))
        });
    }
}

fn member(side: &Side, group: &str) -> String {
    side.memory[group].clone()
}

/// Keeps the member's id and takes it out of the answer: each broker makes its own.
fn remember_member(side: &mut Side, group: &str, outcome: Outcome) -> Outcome {
    let Outcome::Answer(mut answer) = outcome else { return outcome };
    let id = answer["member_id"].as_str().unwrap_or_default().to_owned();
    side.memory.insert(group.to_owned(), id.clone());
    side.name(id.clone(), "<member>");
    if answer["leader"] == id.as_str() {
        answer["leader"] = "<member>".into();
    }
    answer["member_id"] = "<member>".into();
    for member in answer["members"].as_array_mut().into_iter().flatten() {
        if member["member_id"] == id.as_str() {
            member["member_id"] = "<member>".into();
        }
    }
    Outcome::Answer(answer)
}

fn commit(side: &Side, group: &str) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: s(group),
        topics: vec![
            OffsetCommitRequestTopic {
                name: s("records"),
                topic_id: side.topic_id("records"),
                partitions: [0, 9]
                    .map(|partition_index| OffsetCommitRequestPartition {
                        partition_index,
                        committed_offset: 3,
                        committed_metadata: some("note"),
                        ..Default::default()
                    })
                    .to_vec(),
            },
            OffsetCommitRequestTopic {
                name: s("nowhere"),
                topic_id: uuid::Uuid::from_u128(5),
                partitions: vec![OffsetCommitRequestPartition {
                    committed_metadata: some(""),
                    ..Default::default()
                }],
            },
        ],
        ..Default::default()
    }
}

fn simple_offsets(table: &mut Table) {
    table.each("no topic", |_| OffsetCommitRequest { group_id: s("simple"), ..Default::default() });
    table.each("simple", |side| commit(side, "simple"));
    table.each("no group id", |side| commit(side, ""));
    table.each("metadata too long", |side| {
        let mut request = commit(side, "simple");
        request.topics[0].partitions[0].committed_metadata = some(&"m".repeat(4_097));
        request
    });
    table.each("no metadata", |side| {
        let mut request = commit(side, "simple");
        request.topics[0].partitions[0].committed_metadata = None;
        request
    });
    table.each("a negative offset", |side| {
        let mut request = commit(side, "simple");
        request.topics[0].partitions[0].committed_offset = -5;
        request
    });
    table.each("a member of no group", |side| OffsetCommitRequest {
        generation_id_or_member_epoch: 3,
        member_id: s("m"),
        ..commit(side, "nobody")
    });
}

/// Asks for all topics (`None`) or two, in the form of the version.
fn ask(side: &Side, version: i16, group: &str, all: bool) -> OffsetFetchRequest {
    let indexes = vec![0, 1, 9];
    if version <= 7 {
        let topic = |name: &str| OffsetFetchRequestTopic {
            name: s(name),
            partition_indexes: indexes.clone(),
        };
        let topics = (!all).then(|| vec![topic("records"), topic("nowhere")]);
        return OffsetFetchRequest { group_id: s(group), topics, ..Default::default() };
    }
    let topic = |name: &str, topic_id| OffsetFetchRequestTopics {
        name: s(name),
        topic_id,
        partition_indexes: indexes.clone(),
    };
    let topics = || {
        vec![topic("records", side.topic_id("records")), topic("nowhere", uuid::Uuid::from_u128(5))]
    };
    let group = OffsetFetchRequestGroup {
        group_id: s(group),
        topics: (!all).then(topics),
        ..Default::default()
    };
    OffsetFetchRequest { groups: vec![group], ..Default::default() }
}

fn fetch_offsets(table: &mut Table) {
    for group in ["simple", "nobody", ""] {
        table.each_version(&format!("some of {group:?}"), move |side, version| {
            ask(side, version, group, false)
        });
        table.each_version(&format!("all of {group:?}"), move |side, version| {
            ask(side, version, group, true)
        });
    }
    table.each_version("stable ones", |side, version| OffsetFetchRequest {
        require_stable: true,
        ..ask(side, version, "simple", false)
    });
}

fn administration(table: &mut Table) {
    table.each("all groups", |_| ListGroupsRequest::default());
    let of = |states: &'static [&'static str], types: &'static [&'static str]| {
        let texts = |texts: &[&str]| texts.iter().map(|text| s(text)).collect();
        move |_: &mut Side| ListGroupsRequest {
            states_filter: texts(states),
            types_filter: texts(types),
        }
    };
    table.each("empty ones", of(&["Empty"], &[]));
    table.each("stable ones", of(&["sTable", "Dead"], &[]));
    table.each("a state that cannot be", of(&["Happy"], &[]));
    table.each("classic ones", of(&[], &["classic"]));
    table.each("those of the new protocol", of(&[], &["consumer"]));
    table.each("a type that cannot be", of(&[], &["new"]));
    let named = |names: &'static [&'static str], operations| {
        move |_: &mut Side| DescribeGroupsRequest {
            groups: names.iter().map(|name| s(name)).collect(),
            include_authorized_operations: operations,
        }
    };
    table.each("none", named(&[], false));
    table.each("an empty one, one that is not there, one without name", {
        named(&["simple", "group-5", "nobody", ""], false)
    });
    table.each("authorized operations", named(&["simple"], true));
    table.each("one twice", named(&["simple", "simple"], false));
    offset_deletes(table);
    let names = |names: &'static [&'static str]| {
        move |_: &mut Side| DeleteGroupsRequest {
            groups_names: names.iter().map(|name| s(name)).collect(),
        }
    };
    table.each("none", names(&[]));
    table.each("groups that are not there", names(&["nobody", ""]));
    table.each_version("an empty one", |_, version| DeleteGroupsRequest {
        groups_names: vec![s(&format!("group-{version}"))],
    });
    table.each("one twice", names(&["group-4", "group-4"]));
}

fn offset_deletes(table: &mut Table) {
    let delete = |group: &'static str, topics: &'static [(&'static str, &'static [i32])]| {
        move |_: &mut Side| {
            let partition =
                |&partition_index: &i32| OffsetDeleteRequestPartition { partition_index };
            let topic = |(name, indexes): &(&str, &[i32])| OffsetDeleteRequestTopic {
                name: s(name),
                partitions: indexes.iter().map(partition).collect(),
            };
            let topics = topics.iter().map(topic).collect();
            OffsetDeleteRequest { group_id: s(group), topics }
        }
    };
    table.each("nothing", delete("simple", &[]));
    table.each("of a group that is not there", delete("nobody", &[("records", &[0])]));
    table.each("of no group", delete("", &[("records", &[0])]));
    table.each(
        "what is there and what is not",
        delete("simple", &[("records", &[0, 1, 9]), ("nowhere", &[0])]),
    );
}
