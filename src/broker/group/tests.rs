//! The rules one by one.

use bytes::Bytes;

use super::bench::{
    Bench, DELAY_MS, REBALANCE_MS, SESSION_MS, assignment, fenced, fixed, old, protocols,
    rebalancing, recent, sync_request, unknown, with_protocols,
};
use super::types::{GroupError, GroupState, JoinRequest, SyncRequest};
use crate::limits::{GROUP_MEMBERS, MEMBER_METADATA_BYTES};

#[test]
fn a_member_without_an_id_is_given_one_first() {
    let mut bench = Bench::new();
    let first = bench.join_as("c-1", recent(""));
    let required = GroupError::MemberIdRequired { member_id: "c-1".to_owned() };
    assert_eq!(bench.join_answer(first), Err(required));
    assert!(!bench.group.is_disposable(), "the member is expected");
    let second = bench.join(recent("c-1"));
    bench.pass(DELAY_MS);
    let joined = bench.joined(second);
    assert_eq!((joined.member_id.as_str(), joined.generation), ("c-1", 1));
}

#[test]
fn an_unknown_id_begins_nothing() {
    let mut bench = Bench::new();
    let token = bench.join(recent("stranger"));
    assert_eq!(bench.join_answer(token), Err(unknown("stranger")));
    assert!(bench.group.is_disposable());
}

#[test]
fn a_rebalance_waits_for_who_was_given_an_id_until_the_session_ends() {
    let mut bench = Bench::stable(1);
    bench.join_as("late", recent(""));
    let token = bench.join(old("m0"));
    bench.pass(SESSION_MS - 1);
    assert!(bench.waits(token));
    bench.pass(1);
    assert_eq!(bench.joined(token).generation, 2);
    let token = bench.join(recent("late"));
    assert_eq!(bench.join_answer(token), Err(unknown("late")));
}

#[test]
fn the_first_rebalance_waits_for_more_members_but_not_for_ever() {
    let mut bench = Bench::new();
    let request = || JoinRequest { rebalance_timeout_ms: 1_000, ..old("") };
    let first = bench.join(request());
    bench.pass(DELAY_MS - 1);
    assert!(bench.waits(first));
    bench.pass(1);
    assert_eq!(bench.joined(first).generation, 1);

    let mut bench = Bench::new();
    let first = bench.join(request());
    for _ in 0..1_000 / DELAY_MS - 1 {
        bench.pass(DELAY_MS - 1);
        bench.join(request());
        bench.pass(1);
        assert!(bench.waits(first), "somebody came, so the group waits on");
    }
    bench.join(request());
    bench.pass(DELAY_MS);
    assert!(!bench.waits(first), "the rebalance timeout is over");
}

#[test]
fn only_the_leader_sees_the_members() {
    let mut bench = Bench::new();
    let leader = bench.join_as("a", with_protocols("", &["range"], "of a"));
    let follower = bench.join_as("b", with_protocols("", &["range"], "of b"));
    bench.pass(2 * DELAY_MS);
    let (leader, follower) = (bench.joined(leader), bench.joined(follower));
    let seen: Vec<_> = leader.members.iter().map(|m| (&m.member_id[..], &m.metadata[..])).collect();
    assert_eq!(seen, [("a", &b"of a"[..]), ("b", &b"of b"[..])]);
    assert!(follower.members.is_empty());
    assert_eq!((leader.leader.as_str(), follower.leader.as_str()), ("a", "a"));
    assert_eq!(follower.generation, leader.generation);
}

#[test]
fn the_protocol_with_most_votes_among_the_shared_ones_wins() {
    let table: [(&[&[&str]], &str); 5] = [
        (&[&["range", "sticky"], &["range", "sticky"]], "range"),
        (&[&["range", "sticky"], &["sticky"]], "sticky"),
        (&[&["a", "b"], &["b", "a"], &["b", "a"]], "b"),
        (&[&["x", "a", "b"], &["y", "b", "a"], &["b", "a"]], "b"),
        (&[&["a", "b"], &["b", "a"]], "a"),
    ];
    for (members, winner) in table {
        let mut bench = Bench::new();
        let joins: Vec<_> =
            members.iter().map(|names| bench.join(with_protocols("", names, "t"))).collect();
        bench.pass(2 * DELAY_MS);
        for token in joins {
            assert_eq!(bench.joined(token).protocol_name, winner, "{members:?}");
        }
    }
}

#[test]
fn members_without_a_common_protocol_are_refused() {
    let other_type = JoinRequest { protocol_type: "connect".to_owned(), ..old("") };
    let no_type = JoinRequest { protocol_type: String::new(), ..old("") };
    let table = [
        (1, with_protocols("", &["sticky"], "t"), false),
        (1, with_protocols("", &[], "t"), false),
        (1, other_type.clone(), false),
        (1, with_protocols("", &["sticky", "range"], "t"), true),
        (0, other_type, true),
        (0, no_type, false),
        (0, with_protocols("", &[], "t"), false),
        // The lone member may change its mind, one of two may not.
        (1, with_protocols("m0", &["sticky"], "t"), true),
        (2, with_protocols("m0", &["sticky"], "t"), false),
    ];
    for (members, request, accepted) in table {
        let mut bench = if members == 0 { Bench::new() } else { Bench::stable(members) };
        let protocol_type = request.protocol_type.clone();
        let token = bench.join(request.clone());
        let refused = GroupError::InconsistentProtocol { protocol_type };
        let expected = (!accepted).then_some(Err(refused));
        let answer = bench.answers.contains_key(&token).then(|| bench.join_answer(token));
        assert_eq!(answer.filter(Result::is_err), expected, "{members} members, {request:?}");
    }
}

#[test]
fn assignments_reach_all_when_the_leader_syncs() {
    let mut bench = Bench::new();
    let joins: Vec<_> = ["a", "b", "c"].map(|id| bench.join_as(id, old(""))).into();
    bench.pass(2 * DELAY_MS);
    let joined: Vec<_> = joins.iter().map(|token| bench.joined(*token)).collect();
    let early = bench.sync(&joined[1], vec![assignment("b")]);
    assert!(bench.waits(early), "only the leader assigns");
    let strangers = vec![assignment("a"), assignment("b"), assignment("nobody")];
    let leader = bench.sync(&joined[0], strangers);
    let late = bench.sync(&joined[2], Vec::new());
    for (token, expected) in [(leader, "a"), (early, "b"), (late, "")] {
        let answer = bench.sync_answer(token).unwrap();
        assert_eq!(answer.assignment, expected);
        assert_eq!((&answer.protocol_type[..], &answer.protocol_name[..]), ("consumer", "range"));
    }
}

#[test]
fn a_sync_must_fit_the_generation_and_the_protocol() {
    let inconsistent =
        |given: &str| GroupError::InconsistentProtocol { protocol_type: given.to_owned() };
    let request = sync_request("m0", 1);
    let typed = |kind: &str, name: &str| SyncRequest {
        protocol_type: Some(kind.to_owned()),
        protocol_name: Some(name.to_owned()),
        ..request.clone()
    };
    let stale = GroupError::IllegalGeneration { given: 0, current: 1 };
    let table = [
        (request.clone(), None),
        (typed("consumer", "range"), None),
        (typed("connect", "range"), Some(inconsistent("connect"))),
        (typed("consumer", "sticky"), Some(inconsistent("consumer"))),
        (sync_request("nobody", 1), Some(unknown("nobody"))),
        (sync_request("m0", 0), Some(stale)),
        (SyncRequest { instance_id: Some("i".to_owned()), ..request.clone() }, Some(unknown("m0"))),
    ];
    for (request, refusal) in table {
        let mut bench = Bench::stable(1);
        let token = bench.send_sync(request.clone());
        assert_eq!(bench.sync_answer(token).err(), refusal, "{request:?}");
    }
    let mut bench = Bench::stable(2);
    bench.join(old("m0"));
    let token = bench.send_sync(sync_request("m1", 1));
    assert_eq!(bench.sync_answer(token), Err(rebalancing(1)));
}

#[test]
fn heartbeats_tell_where_the_group_stands() {
    let mut bench = Bench::stable(2);
    assert_eq!(bench.beat("m1", 1), Ok(()));
    assert_eq!(bench.beat("nobody", 1), Err(unknown("nobody")));
    let stale = GroupError::IllegalGeneration { given: 0, current: 1 };
    assert_eq!(bench.beat("m1", 0), Err(stale));
    let leader = bench.join(old("m0"));
    assert_eq!(bench.beat("m1", 1), Err(rebalancing(1)));
    let follower = bench.join(old("m1"));
    assert_eq!((bench.joined(leader).generation, bench.joined(follower).generation), (2, 2));
    assert_eq!(bench.group.state(), GroupState::CompletingRebalance);
    assert_eq!(bench.beat("m1", 2), Ok(()), "the leader assigns meanwhile");
}

#[test]
fn what_a_member_that_joins_again_causes() {
    // (completing, member, metadata, whether the group rebalances)
    let table = [
        (false, "m0", "topics", true),
        (false, "m1", "topics", false),
        (false, "m1", "others", true),
        (true, "m0", "topics", false),
        (true, "m1", "topics", false),
        (true, "m1", "others", true),
    ];
    for (completing, member, metadata, rebalances) in table {
        let mut bench = Bench::stable(2);
        let mut generation = 1;
        if completing {
            bench.join(old("m0"));
            bench.join(old("m1"));
            generation = 2;
        }
        let token = bench.join(with_protocols(member, &["range"], metadata));
        let case = (completing, member, metadata);
        assert_eq!(bench.waits(token), rebalances, "{case:?}");
        if rebalances {
            assert_eq!(bench.group.state(), GroupState::PreparingRebalance, "{case:?}");
        } else {
            let joined = bench.joined(token);
            assert_eq!(joined.generation, generation, "{case:?}");
            assert_eq!(joined.members.len(), if member == "m0" { 2 } else { 0 }, "{case:?}");
        }
    }
}

#[test]
fn who_waits_for_the_leader_is_told_when_another_rebalance_begins() {
    let mut bench = Bench::stable(2);
    bench.join(old("m0"));
    bench.join(old("m1"));
    let sync = bench.send_sync(sync_request("m1", 2));
    assert!(bench.waits(sync));
    bench.join(old(""));
    assert_eq!(bench.sync_answer(sync), Err(rebalancing(2)));
}

#[test]
fn members_that_do_not_rejoin_in_time_are_dropped() {
    let mut bench = Bench::stable(2);
    let token = bench.join(old("m0"));
    bench.pass_alive(REBALANCE_MS - 1_000, &["m1"]);
    assert!(bench.waits(token));
    bench.pass(1_000);
    let joined = bench.joined(token);
    assert_eq!((joined.generation, joined.members.len()), (2, 1));
    assert_eq!(bench.beat("m1", 2), Err(unknown("m1")));
}

#[test]
fn silence_ends_a_session_and_heartbeats_and_commits_keep_it() {
    let mut bench = Bench::stable(3);
    bench.pass(SESSION_MS - 1);
    assert_eq!(bench.beat("m1", 1), Ok(()));
    assert_eq!(bench.group.check_commit("m2", None, 1, bench.now), Ok(()));
    bench.pass(1);
    assert_eq!(bench.ids(), ["m1", "m2"]);
    assert_eq!(bench.beat("m1", 1), Err(rebalancing(1)));
    assert_eq!(bench.group.describe().leader.as_deref(), Some("m1"));
}

#[test]
fn a_leader_that_never_syncs_is_dropped() {
    let mut bench = Bench::stable(2);
    bench.join(old("m0"));
    bench.join(old("m1"));
    let sync = bench.send_sync(sync_request("m1", 2));
    bench.pass_alive(REBALANCE_MS - 1_000, &["m0"]);
    assert!(bench.waits(sync));
    bench.pass_alive(1_000, &["m0"]);
    assert_eq!(bench.sync_answer(sync), Err(rebalancing(2)));
    assert_eq!(bench.ids(), ["m1"]);
    let token = bench.join(old("m1"));
    assert_eq!(bench.joined(token).leader, "m1");
}

#[test]
fn a_leader_that_does_not_rejoin_is_replaced() {
    let mut bench = Bench::new();
    let joins = [bench.join_as("a", fixed("", "ia")), bench.join_as("b", fixed("", "ib"))];
    bench.finish_rebalance(&joins);
    let token =
        bench.join(JoinRequest { protocols: protocols(&["range"], "others"), ..fixed("b", "ib") });
    bench.pass_alive(REBALANCE_MS, &["a"]);
    let joined = bench.joined(token);
    assert_eq!(joined.leader, "b");
    assert_eq!(joined.members.len(), 2, "a static member keeps its place");
}

#[test]
fn a_rebalance_that_nobody_joins_waits_on_for_static_members() {
    let mut bench = Bench::new();
    let patient = |id: &str| JoinRequest { session_timeout_ms: 1_000_000, ..fixed(id, "ib") };
    let joins = [bench.join_as("a", old("")), bench.join_as("b", patient(""))];
    bench.finish_rebalance(&joins);
    assert_eq!(bench.leave(&[("a", None)]), [Ok(())]);
    bench.pass(5 * REBALANCE_MS);
    assert_eq!(bench.group.state(), GroupState::PreparingRebalance);
    assert_eq!(bench.beat("b", 1), Err(rebalancing(1)));
    let token = bench.join(patient("b"));
    let joined = bench.joined(token);
    assert_eq!((joined.generation, joined.leader.as_str()), (2, "b"));
}

#[test]
fn a_static_member_takes_its_place_again_without_a_rebalance() {
    // (instance, understands skip, told leader, members seen, skips)
    let table = [
        ("ib", false, "a", 0, false),
        ("ib", true, "a", 0, false),
        ("ia", false, "a", 0, false),
        ("ia", true, "new", 2, true),
    ];
    for (instance, supports_skip_assignment, leader, members, skips) in table {
        let mut bench = Bench::new();
        let joins = [bench.join_as("a", fixed("", "ia")), bench.join_as("b", fixed("", "ib"))];
        bench.finish_rebalance(&joins);
        let request = JoinRequest { supports_skip_assignment, ..fixed("", instance) };
        let token = bench.join_as("new", request);
        let joined = bench.joined(token);
        let told = (joined.leader.as_str(), joined.members.len(), joined.skip_assignment);
        assert_eq!(told, (leader, members, skips), "{instance}");
        assert_eq!((joined.member_id.as_str(), joined.generation), ("new", 1));
        let token = bench.send_sync(sync_request("new", 1));
        let former = if instance == "ia" { "a" } else { "b" };
        assert_eq!(bench.sync_answer(token).unwrap().assignment, former);

        let now = bench.now;
        let beat = bench.group.heartbeat(former, Some(instance), 1, now);
        assert_eq!(beat, Err(fenced(instance, former)));
        let commit = bench.group.check_commit(former, Some(instance), 1, now);
        assert_eq!(commit, Err(fenced(instance, former)));
        assert_eq!(bench.leave(&[(former, Some(instance))]), [Err(fenced(instance, former))]);
        let token = bench.join(fixed(former, instance));
        assert_eq!(bench.join_answer(token), Err(fenced(instance, former)));
        assert_eq!(bench.beat(former, 1), Err(unknown(former)));
    }
}

#[test]
fn a_static_member_that_changes_the_protocol_causes_a_rebalance() {
    let mut bench = Bench::new();
    let both = |instance: &str, names: &[&str]| JoinRequest {
        protocols: protocols(names, "t"),
        ..fixed("", instance)
    };
    let joins = [
        bench.join_as("a", both("ia", &["range", "sticky"])),
        bench.join_as("b", both("ib", &["range", "sticky"])),
    ];
    bench.finish_rebalance(&joins);
    let token = bench.join(both("ib", &["sticky"]));
    assert!(bench.waits(token));
    assert_eq!(bench.beat("a", 1), Err(rebalancing(1)));
}

#[test]
fn a_static_member_replaced_while_others_wait_fences_its_former_requests() {
    let mut bench = Bench::new();
    let joins = [bench.join_as("a", fixed("", "ia")), bench.join_as("b", fixed("", "ib"))];
    let twin = bench.join_as("c", fixed("", "ib"));
    assert_eq!(bench.join_answer(joins[1]), Err(fenced("ib", "b")));
    bench.pass(2 * DELAY_MS);
    let (leader, twin) = (bench.joined(joins[0]), bench.joined(twin));
    assert_eq!(leader.members[1].member_id, "c");
    let sync = bench.sync(&twin, Vec::new());
    // The leader may be assigning to the former id: all start over.
    let third = bench.join_as("d", fixed("", "ib"));
    assert_eq!(bench.sync_answer(sync), Err(fenced("ib", "c")));
    assert!(bench.waits(third));
    assert_eq!(bench.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn leaving_is_answered_one_by_one() {
    let mut bench = Bench::stable(3);
    bench.join_as("pending", recent(""));
    let results = bench.leave(&[
        ("m1", None),
        ("m1", None),
        ("pending", None),
        ("", Some("nobody")),
        ("m2", Some("nobody")),
    ]);
    assert_eq!(results, [Ok(()), Err(unknown("m1")), Ok(()), Err(unknown("")), Err(unknown("m2"))]);
    assert_eq!(bench.beat("m0", 1), Err(rebalancing(1)));
    let joins = [bench.join(old("m0")), bench.join(old("m2"))];
    assert_eq!(bench.joined(joins[1]).generation, 2, "nobody waits for the pending one");
    assert_eq!(bench.leave(&[("m0", None), ("m2", None)]), [Ok(()), Ok(())]);
    assert!(bench.group.is_disposable());
}

#[test]
fn a_static_member_can_be_removed_by_its_instance_alone() {
    let mut bench = Bench::new();
    bench.join_as("a", fixed("", "ia"));
    assert_eq!(bench.leave(&[("", Some("ia"))]), [Ok(())]);
    assert!(bench.group.is_disposable());
}

#[test]
fn a_pending_member_that_leaves_disturbs_nobody() {
    let mut bench = Bench::stable(1);
    bench.join_as("pending", recent(""));
    assert_eq!(bench.leave(&[("pending", None)]), [Ok(())]);
    assert_eq!(bench.beat("m0", 1), Ok(()));
}

#[test]
fn a_full_group_takes_no_more() {
    let mut bench = Bench::stable(GROUP_MEMBERS);
    let full = GroupError::GroupFull { max: GROUP_MEMBERS };
    for request in [old(""), recent(""), fixed("", "i")] {
        let token = bench.join(request);
        assert_eq!(bench.join_answer(token), Err(full.clone()));
    }
    let token = bench.join(old("m7"));
    assert_eq!(bench.joined(token).generation, 1, "a member may join again");

    let mut bench = Bench::new();
    for _ in 0..GROUP_MEMBERS {
        bench.join(recent(""));
    }
    let token = bench.join(recent(""));
    assert_eq!(bench.join_answer(token), Err(full), "pending members are bounded as well");
}

#[test]
fn who_may_commit_when() {
    let stale = |given, current| GroupError::IllegalGeneration { given, current };
    // (member id, generation, refusals when empty, stable in 1, preparing 2, completing 2)
    let table = [
        ("", -1, [None, Some(unknown("")), Some(unknown("")), Some(unknown(""))]),
        ("m1", -1, [None, Some(stale(-1, 1)), Some(stale(-1, 1)), Some(stale(-1, 2))]),
        ("m1", 0, [Some(unknown("m1")), Some(stale(0, 1)), Some(stale(0, 1)), Some(stale(0, 2))]),
        ("m1", 1, [Some(unknown("m1")), None, None, Some(stale(1, 2))]),
        (
            "m1",
            2,
            [Some(unknown("m1")), Some(stale(2, 1)), Some(stale(2, 1)), Some(rebalancing(2))],
        ),
        (
            "no",
            1,
            [Some(unknown("no")), Some(unknown("no")), Some(unknown("no")), Some(unknown("no"))],
        ),
    ];
    for (id, generation, refusals) in table {
        let check = |bench: &mut Bench| {
            let now = bench.now;
            bench.group.check_commit(id, None, generation, now).err()
        };
        let empty = check(&mut Bench::new());
        let mut bench = Bench::stable(2);
        let stable = check(&mut bench);
        bench.join(old("m0"));
        let preparing = check(&mut bench);
        bench.join(old("m1"));
        let completing = check(&mut bench);
        assert_eq!([empty, stable, preparing, completing], refusals, "{id:?} in {generation}");
    }
}

#[test]
fn a_join_given_up_does_not_hold_the_others() {
    // One that was never told its id is gone at once.
    let mut bench = Bench::stable(1);
    let lost = bench.join(old(""));
    bench.cancel(lost);
    assert_eq!(bench.ids(), ["m0"]);
    let token = bench.join(old("m0"));
    assert_eq!(bench.joined(token).members.len(), 1);

    // One that knows its id may come back until its session ends.
    let mut bench = Bench::stable(2);
    let lost = bench.join(with_protocols("m1", &["range"], "others"));
    bench.cancel(lost);
    let token = bench.join(old("m0"));
    bench.pass(SESSION_MS - 1);
    assert!(bench.waits(token) && bench.waits(lost));
    bench.pass(1);
    assert_eq!(bench.joined(token).members.len(), 1);
    assert!(bench.waits(lost), "nobody is answered who does not wait");
}

#[test]
fn a_sync_given_up_can_be_made_again() {
    let mut bench = Bench::stable(2);
    bench.join(old("m0"));
    bench.join(old("m1"));
    let lost = bench.send_sync(sync_request("m1", 2));
    bench.cancel(lost);
    let leader = SyncRequest { assignments: vec![assignment("m1")], ..sync_request("m0", 2) };
    bench.send_sync(leader);
    let again = bench.send_sync(sync_request("m1", 2));
    assert_eq!(bench.sync_answer(again).unwrap().assignment, "m1");
    assert!(bench.waits(lost));
}

#[test]
fn a_repeated_request_takes_the_place_of_the_first() {
    let mut bench = Bench::stable(2);
    let joins = [bench.join(old("m0")), bench.join(old("m0"))];
    assert_eq!(bench.join_answer(joins[0]), Err(rebalancing(1)));
    assert!(bench.waits(joins[1]));
    bench.join(old("m1"));
    assert_eq!(bench.joined(joins[1]).generation, 2);
    let syncs = [(); 2].map(|()| bench.send_sync(sync_request("m1", 2)));
    assert_eq!(bench.sync_answer(syncs[0]), Err(rebalancing(2)));
    assert!(bench.waits(syncs[1]));
}

#[test]
fn timeouts_and_sizes_have_bounds() {
    for given in [-1, 0, 5_999, 1_800_001] {
        let mut bench = Bench::new();
        let token = bench.join(JoinRequest { session_timeout_ms: given, ..old("") });
        let refused = GroupError::InvalidSessionTimeout { given, min: 6_000, max: 1_800_000 };
        assert_eq!(bench.join_answer(token), Err(refused));
        assert!(bench.group.is_disposable());
    }
    let huge = Bytes::from(vec![0; MEMBER_METADATA_BYTES + 1]);
    let mut bench = Bench::stable(1);
    let request = JoinRequest { protocols: vec![("range".to_owned(), huge.clone())], ..old("m0") };
    let token = bench.join(request);
    assert!(matches!(bench.join_answer(token), Err(GroupError::MetadataTooLarge { .. })));
    bench.join(old("m0"));
    let assignments = vec![("m0".to_owned(), huge)];
    let token = bench.send_sync(SyncRequest { assignments, ..sync_request("m0", 2) });
    assert!(matches!(bench.sync_answer(token), Err(GroupError::MetadataTooLarge { .. })));
}

#[test]
fn what_is_kept_does_not_hold_the_frame_it_came_in() {
    let frame = Bytes::from(vec![7; 1 << 20]);
    let mut bench = Bench::new();
    let slice = frame.slice(10..20);
    let request = JoinRequest { protocols: vec![("range".to_owned(), slice)], ..old("") };
    let token = bench.join_as("a", request);
    bench.pass(DELAY_MS);
    let joined = bench.joined(token);
    assert_eq!(joined.members[0].metadata, frame.slice(10..20));
    bench.sync(&joined, vec![("a".to_owned(), frame.slice(30..40))]);
    assert_eq!(bench.group.describe().members[0].assignment, frame.slice(30..40));
    assert!(frame.is_unique(), "a slice of the frame is still held");
}

#[test]
fn a_dead_group_answers_all_and_refuses_the_rest() {
    let mut bench = Bench::stable(2);
    let join = bench.join(old("m0"));
    let replies = bench.group.kill();
    bench.keep(replies);
    assert_eq!(bench.join_answer(join), Err(GroupError::Stopped));
    let token = bench.join(old(""));
    assert_eq!(bench.join_answer(token), Err(GroupError::Stopped));
    assert_eq!(bench.beat("m0", 1), Err(GroupError::Stopped));
    assert_eq!(bench.group.next_deadline(), None);
}
