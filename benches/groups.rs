//! What the coordinator costs: a heartbeat in groups of several sizes, and a whole rebalance, from
//! the first join to the last assignment.
//!
//! `cargo bench --bench groups [-- FILTER]`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::FutureExt;
use millstream::broker::{Coordinator, JoinRequest, JoinResponse, SyncRequest};
use millstream::clock::{Clock, ManualClock};
use millstream::types::GroupId;

/// Longer than any group waits for further members.
const WAIT: Duration = Duration::from_secs(5);

struct Bench {
    clock: Arc<ManualClock>,
    coordinator: Coordinator,
    group: GroupId,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(0));
        let coordinator = Coordinator::new(clock.clone());
        Self { clock, coordinator, group: GroupId::new("group").expect("a good name") }
    }

    /// Members come, the group's delay passes, the leader hands out the assignments.
    fn rebalance(&self, members: usize) -> Vec<JoinResponse> {
        let joins: Vec<_> =
            (0..members).map(|_| self.coordinator.join(&self.group, join())).collect();
        self.clock.advance(WAIT);
        self.coordinator.expire(self.clock.monotonic());
        let joined: Vec<JoinResponse> = joins
            .into_iter()
            .map(|join| join.now_or_never().expect("an answer").expect("a member"))
            .collect();
        let of = |one: &JoinResponse| (one.member_id.clone(), Bytes::from_static(b"assignment"));
        let mut assignments: Vec<_> = joined.iter().map(of).collect();
        let leader = joined.iter().position(|one| one.leader == one.member_id).unwrap_or(0);
        for index in (leader..members).chain(0..leader) {
            let request = SyncRequest {
                member_id: joined[index].member_id.clone(),
                instance_id: None,
                generation: joined[index].generation,
                protocol_type: None,
                protocol_name: None,
                assignments: std::mem::take(&mut assignments),
            };
            let synced = self.coordinator.sync(&self.group, request);
            synced.now_or_never().expect("an answer").expect("an assignment");
        }
        joined
    }
}

fn join() -> JoinRequest {
    JoinRequest {
        member_id: String::new(),
        instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: 1_800_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from_static(b"subscription"))],
        require_known_member_id: false,
        supports_skip_assignment: false,
    }
}

fn groups(criterion: &mut Criterion) {
    for members in [1, 10, 100, 1_000] {
        let mut group = criterion.benchmark_group(format!("{members} members"));
        let bench = Bench::new();
        let joined = bench.rebalance(members);
        let mut turn = joined.iter().cycle();
        group.bench_function("heartbeat", |b| {
            b.iter(|| {
                let Some(one) = turn.next() else { return };
                let beat = bench.coordinator.heartbeat(
                    &bench.group,
                    black_box(&one.member_id),
                    None,
                    one.generation,
                );
                beat.expect("a stable group");
            });
        });
        group.throughput(Throughput::Elements(members as u64));
        group.bench_function("rebalance", |b| {
            b.iter_batched(
                Bench::new,
                |bench| (bench.rebalance(members), bench),
                BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = groups
}
criterion_main!(benches);
