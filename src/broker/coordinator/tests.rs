//! Requests, time and dropped requests against a coordinator, without a runtime but for one test.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::limits::{GROUP_INITIAL_REBALANCE_DELAY_MS, MEMBER_METADATA_BYTES};

const DELAY: Duration = Duration::from_millis(GROUP_INITIAL_REBALANCE_DELAY_MS);
const SESSION: Duration = Duration::from_secs(10);

fn manual() -> (Arc<ManualClock>, Coordinator) {
    let clock = Arc::new(ManualClock::new(0));
    (clock.clone(), Coordinator::new(clock))
}

fn pass(clock: &ManualClock, coordinator: &Coordinator, by: Duration) {
    clock.advance(by);
    coordinator.expire(clock.monotonic());
}

fn id(name: &str) -> GroupId {
    GroupId::new(name).unwrap()
}

fn request(member_id: &str) -> JoinRequest {
    JoinRequest {
        member_id: member_id.to_owned(),
        instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from_static(b"topics"))],
        require_known_member_id: false,
        supports_skip_assignment: false,
    }
}

fn states(coordinator: &Coordinator) -> Vec<GroupState> {
    coordinator.list().into_iter().map(|listing| listing.state).collect()
}

fn leader_sync(joined: &JoinResponse) -> SyncRequest {
    SyncRequest {
        member_id: joined.member_id.clone(),
        instance_id: None,
        generation: joined.generation,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![(joined.member_id.clone(), Bytes::from_static(b"all"))],
    }
}

fn poll<T>(pending: &mut Pending<T>) -> Option<Result<T, GroupError>> {
    match Pin::new(pending).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn stable(clock: &ManualClock, coordinator: &Coordinator, group: &GroupId) -> JoinResponse {
    let mut join = coordinator.join(group, request(""));
    pass(clock, coordinator, DELAY);
    let joined = poll(&mut join).unwrap().unwrap();
    let mut sync = coordinator.sync(group, leader_sync(&joined));
    assert_eq!(poll(&mut sync).unwrap().unwrap().assignment, "all");
    joined
}

#[test]
fn a_group_lives_from_its_first_member_to_its_last() {
    let (clock, coordinator) = manual();
    let group = id("g");
    let mut join = coordinator.join(&group, request(""));
    assert!(poll(&mut join).is_none());
    assert_eq!(coordinator.next_deadline(), Some(DELAY));
    pass(&clock, &coordinator, DELAY);
    let joined = poll(&mut join).unwrap().unwrap();
    assert!(joined.member_id.starts_with("client-"));
    let mut sync = coordinator.sync(&group, leader_sync(&joined));
    assert!(poll(&mut sync).unwrap().is_ok());
    assert_eq!(coordinator.heartbeat(&group, &joined.member_id, None, 1), Ok(()));
    assert_eq!(coordinator.check_commit(&group, &joined.member_id, None, 1), Ok(()));
    let listed = GroupListing {
        group: group.clone(),
        state: GroupState::Stable,
        protocol_type: "consumer".to_owned(),
    };
    assert_eq!(coordinator.list(), [listed]);
    assert_eq!(coordinator.describe(&group).unwrap().members[0].assignment, "all");

    let leaving = LeavingMember { member_id: joined.member_id, instance_id: None };
    assert_eq!(coordinator.remove(&group), Err(GroupError::NonEmpty));
    assert!(!coordinator.forget(&group));
    assert_eq!(coordinator.empty_for(), HashMap::from([(group.clone(), None)]));
    assert_eq!(coordinator.leave(&group, &[leaving]), Ok(vec![Ok(())]));
    assert_eq!(states(&coordinator), [GroupState::Empty]);
    assert_eq!(coordinator.describe(&group).unwrap().generation, 2);
    pass(&clock, &coordinator, SESSION);
    assert_eq!(coordinator.empty_for(), HashMap::from([(group.clone(), Some(SESSION))]));
    assert_eq!(coordinator.remove(&group), Ok(true));
    assert_eq!(coordinator.remove(&group), Ok(false));
    assert_eq!(coordinator.describe(&group), None);
    assert_eq!(coordinator.next_deadline(), None);
    assert_eq!(coordinator.0.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn an_empty_group_is_forgotten_unless_it_expects_somebody() {
    let (clock, coordinator) = manual();
    let group = id("g");
    let mut join =
        coordinator.join(&group, JoinRequest { require_known_member_id: true, ..request("") });
    assert!(poll(&mut join).unwrap().is_err());
    assert!(!coordinator.forget(&group));
    pass(&clock, &coordinator, SESSION);
    assert_eq!(coordinator.list(), [], "it never had a member");
    let joined = stable(&clock, &coordinator, &group);
    pass(&clock, &coordinator, SESSION);
    assert_eq!(states(&coordinator), [GroupState::Empty]);
    assert_eq!(
        coordinator.heartbeat(&group, &joined.member_id, None, 1),
        Err(unknown(&joined.member_id))
    );
    assert!(coordinator.forget(&group));
    assert!(!coordinator.forget(&group));
    assert_eq!(coordinator.0.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn an_empty_group_gives_way_to_a_new_one() {
    let (clock, coordinator) = manual();
    let names: Vec<_> = (0..GROUPS).map(|i| id(&format!("g{i}"))).collect();
    let joins: Vec<_> = names.iter().map(|name| coordinator.join(name, request(""))).collect();
    pass(&clock, &coordinator, DELAY);
    drop(joins);
    pass(&clock, &coordinator, SESSION + SESSION);
    assert_eq!(coordinator.list().len(), GROUPS);
    assert!(poll(&mut coordinator.join(&id("more"), request(""))).is_none());
    assert_eq!(coordinator.list(), [], "all were empty, and nobody waits for the new one");
    assert_eq!(coordinator.0.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_group_that_is_not_there_knows_nobody() {
    let (_, coordinator) = manual();
    let group = id("g");
    let unknown = unknown("m");
    assert_eq!(poll(&mut coordinator.join(&group, request("m"))), Some(Err(unknown.clone())));
    assert_eq!(coordinator.heartbeat(&group, "m", None, 1), Err(unknown.clone()));
    let leaving = LeavingMember { member_id: "m".to_owned(), instance_id: None };
    assert_eq!(coordinator.leave(&group, &[leaving]), Ok(vec![Err(unknown)]));
    assert_eq!(coordinator.check_commit(&group, "", None, -1), Ok(()));
    let stale = GroupError::IllegalGeneration { given: 3, current: -1 };
    assert_eq!(coordinator.check_commit(&group, "m", None, 3), Err(stale));
    assert_eq!(coordinator.list(), [], "asking makes no group");
}

#[test]
fn heartbeats_keep_a_member_beyond_its_first_deadline() {
    let (clock, coordinator) = manual();
    let group = id("g");
    let joined = stable(&clock, &coordinator, &group);
    for _ in 0..5 {
        pass(&clock, &coordinator, SESSION / 2);
        assert_eq!(coordinator.heartbeat(&group, &joined.member_id, None, 1), Ok(()));
    }
    let last_beat = clock.monotonic();
    while let Some(at) = coordinator.next_deadline() {
        pass(&clock, &coordinator, at.saturating_sub(clock.monotonic()));
    }
    assert_eq!(clock.monotonic(), last_beat + SESSION);
    assert_eq!(states(&coordinator), [GroupState::Empty]);
}

#[test]
fn a_dropped_join_leaves_nothing_behind() {
    let (clock, coordinator) = manual();
    let group = id("g");
    drop(coordinator.join(&group, request("")));
    assert_eq!((coordinator.list(), coordinator.next_deadline()), (vec![], None));

    let joined = stable(&clock, &coordinator, &group);
    drop(coordinator.join(&group, request("")));
    let mut rejoin = coordinator.join(&group, request(&joined.member_id));
    let rejoined = poll(&mut rejoin).unwrap().unwrap();
    assert_eq!(rejoined.members.len(), 1, "nobody waits for the one that is gone");
    let slot = Arc::clone(&lock(&coordinator.0.registry).groups[&group]);
    assert!(lock(&slot).waiters.is_empty());
}

#[test]
fn groups_come_and_go_under_many_threads() {
    let (clock, coordinator) = manual();
    let group = id("g");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let mut join = coordinator.join(&group, request(""));
                    coordinator.expire(clock.monotonic());
                    assert!(poll(&mut join).is_none_or(|answer| answer.is_ok()));
                }
            });
        }
    });
    assert_eq!((coordinator.list(), coordinator.next_deadline()), (vec![], None));
    assert_eq!(coordinator.0.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_refused_join_leaves_no_group_behind() {
    let (_, coordinator) = manual();
    let refused = JoinRequest { session_timeout_ms: 1, ..request("") };
    assert!(matches!(poll(&mut coordinator.join(&id("g"), refused)), Some(Err(_))));
    assert_eq!(coordinator.list(), []);
}

#[test]
fn groups_and_their_memory_are_bounded() {
    let (_, coordinator) = manual();
    let pending: Vec<_> =
        (0..GROUPS).map(|i| coordinator.join(&id(&format!("g{i}")), request(""))).collect();
    let mut more = coordinator.join(&id("more"), request(""));
    assert_eq!(poll(&mut more), Some(Err(GroupError::TooManyGroups { max: GROUPS })));
    drop(pending);
    assert_eq!(coordinator.list(), []);

    let large = Bytes::from(vec![0; MEMBER_METADATA_BYTES / 2]);
    let large = |i| JoinRequest {
        protocols: vec![("range".to_owned(), large.clone())],
        client_id: format!("client{i}"),
        ..request("")
    };
    let mut pending: Vec<_> = (0..GROUPS_BYTES / MEMBER_METADATA_BYTES * 2)
        .map(|i| coordinator.join(&id("large"), large(i)))
        .collect();
    let refused = pending.iter_mut().filter_map(poll).collect::<Vec<_>>();
    assert_eq!(refused, [Err(GroupError::OutOfMemory { max: GROUPS_BYTES })]);
    drop(pending);
    assert_eq!(coordinator.0.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn member_ids_fit_the_wire() {
    let name = "ä".repeat(20_000);
    let member_id = make_member_id(&JoinRequest { client_id: name, ..request("") });
    assert_eq!(member_id.len(), MEMBER_ID_PREFIX_BYTES + 37);
    let fixed = JoinRequest { instance_id: Some("i7".to_owned()), ..request("") };
    assert!(make_member_id(&fixed).starts_with("i7-"));
}

#[tokio::test]
async fn the_timer_answers_and_the_end_answers_the_rest() {
    let coordinator = Coordinator::new(Arc::new(SystemClock::new()));
    let (stop, stopped) = oneshot::channel::<()>();
    let runner = coordinator.clone();
    let running = tokio::spawn(async move {
        runner.run(async { drop(stopped.await) }).await;
    });
    let joined = coordinator.join(&id("g"), request("")).await.unwrap();
    assert_eq!(joined.generation, 1);
    let waiting = coordinator.join(&id("h"), request(""));
    drop(stop);
    assert_eq!(waiting.await, Err(GroupError::Stopped));
    running.await.unwrap();
    let late = coordinator.join(&id("g"), request("")).await;
    assert_eq!(late, Err(GroupError::Stopped));
    assert_eq!(coordinator.heartbeat(&id("g"), "m", None, 1), Err(GroupError::Stopped));
}
