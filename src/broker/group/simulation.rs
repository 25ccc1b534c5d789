//! Thousands of interleavings from seeds: clients that follow the protocol, clients that break it,
//! requests given up, and time. Each run checks the group's promises after every event.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use super::state::{Group, Phase, Reply, Token};
use super::types::{
    GroupError, JoinRequest, JoinResponse, JoinedMember, LeavingMember, SyncRequest, SyncResponse,
};
use crate::limits::GROUP_INITIAL_REBALANCE_DELAY_MS;
use crate::storage::GroupRow;

const PARTITIONS: u8 = 8;
const SEEDS: u64 = 3_000;
const STEPS: usize = 150;
/// The longest rebalance timeout that any client of a run gives.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Nothing,
    Joining(Token),
    Joined,
    Syncing(Token),
    Consuming,
}

#[derive(Debug)]
struct Client {
    name: String,
    instance_id: Option<String>,
    rogue: bool,
    doing: Doing,
    member_id: String,
    generation: i32,
    /// The leader's view; empty for followers.
    view: Vec<JoinedMember>,
    assigned: Vec<u8>,
    metadata: u8,
    session_timeout_ms: i32,
    rebalance_timeout_ms: i32,
}

struct World {
    rng: Rng,
    group: Group,
    now: Duration,
    next: u64,
    clients: Vec<Client>,
    waiting: HashMap<Token, (usize, Duration)>,
    generation: i32,
    /// Who was given a partition, by generation.
    owners: BTreeMap<(i32, u8), String>,
    /// What is on disk, and its version.
    saved: (u64, Option<GroupRow>),
}

/// Says which seed a failing run had.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failing seed: {}", self.0);
        }
    }
}

#[test]
fn a_group_keeps_its_promises_whatever_its_members_do() {
    let mut settled = 0;
    for seed in 0..SEEDS {
        let named = Seed(seed);
        let mut world = World::new(named.0);
        for _ in 0..STEPS {
            world.step();
        }
        if world.rng.bool() {
            world.settle();
            settled += 1;
        }
        world.die_out();
    }
    assert!(settled > SEEDS / 3, "only {settled} runs were let settle");
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut clients = Vec::new();
        for index in 0..rng.usize(2..7) {
            let instance_id = (rng.u8(0..3) == 0).then(|| format!("instance{index}"));
            clients.push(Client::new(index, instance_id, false, &mut rng));
        }
        for index in 0..rng.usize(0..3) {
            // Some of these stand for the same instance as an honest client.
            let instance_id = clients[0].instance_id.clone().filter(|_| rng.bool());
            clients.push(Client::new(100 + index, instance_id, true, &mut rng));
        }
        let delay = Duration::from_millis(rng.u64(0..3) * GROUP_INITIAL_REBALANCE_DELAY_MS);
        Self {
            rng,
            group: Group::new(Duration::ZERO, delay),
            now: Duration::ZERO,
            next: 0,
            clients,
            waiting: HashMap::new(),
            generation: 0,
            owners: BTreeMap::new(),
            saved: (0, None),
        }
    }

    fn step(&mut self) {
        if self.rng.u8(0..4) == 0 {
            let most = if self.rng.u8(0..10) == 0 { 30_000 } else { 1_500 };
            let ms = self.rng.u64(0..most);
            self.advance(ms);
            return;
        }
        if self.rng.u8(0..60) == 0 {
            self.restart();
        }
        let index = self.rng.usize(0..self.clients.len());
        if self.clients[index].rogue && self.rng.bool() {
            self.misbehave(index);
        } else if self.rng.u8(0..12) == 0 {
            self.surprise(index);
        } else {
            self.follow(index);
        }
    }

    /// The broker crashes and comes back with what is on disk. Requests are lost.
    fn restart(&mut self) {
        let delay = self.group.initial_delay;
        let (_, saved) = &self.saved;
        self.group = match saved.clone() {
            Some(row) => Group::restore(row, self.now, 0, delay),
            None => Group::new(self.now, delay),
        };
        self.saved.0 = 0;
        assert_eq!(self.group.version(), 0);
        self.waiting.clear();
        for client in &mut self.clients {
            if let Doing::Joining(_) | Doing::Syncing(_) = client.doing {
                client.doing = Doing::Nothing;
            }
        }
        // What was not saved nobody was told.
        self.generation = self.group.generation;
        self.check();
    }

    /// Before anybody is told of a change it is on disk; others may be lost.
    fn save(&mut self, replies: &[Reply]) {
        let told = |reply: &Reply| matches!(reply, Reply::Join(_, Ok(_)) | Reply::Sync(_, Ok(_)));
        if self.group.version() > self.saved.0
            && (replies.iter().any(told) || self.rng.bool())
            && let Some(row) = self.group.save(self.now, 0)
        {
            self.saved = (self.group.version(), Some(row));
        }
    }

    /// Honest clients alone, long enough for everything else to be forgotten: all of them must end
    /// in one generation and share all partitions.
    fn settle(&mut self) {
        for _ in 0..600 {
            self.advance(500);
            for index in 0..self.clients.len() {
                if !self.clients[index].rogue {
                    self.follow(index);
                }
            }
        }
        let honest: Vec<&Client> = self.clients.iter().filter(|one| !one.rogue).collect();
        let mut owned = Vec::new();
        for client in &honest {
            assert_eq!(client.doing, Doing::Consuming, "{client:?} is stuck");
            assert_eq!(client.generation, self.group.generation, "{client:?}");
            owned.extend(client.assigned.iter().copied());
        }
        owned.sort_unstable();
        assert_eq!(owned, (0..PARTITIONS).collect::<Vec<_>>());
        assert_eq!(self.group.members.len(), honest.len());
    }

    /// Nobody says anything any more: all are given up and no request is left without an answer.
    fn die_out(&mut self) {
        self.advance(400_000);
        assert!(self.waiting.is_empty(), "never answered: {:?}", self.waiting);
        assert!(self.group.is_disposable(), "{:?}", self.group);
        assert_eq!(self.group.next_deadline(), None);
    }

    fn advance(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while let Some(at) = self.group.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            let replies = self.group.expire(self.now);
            self.take(replies);
            let next = self.group.next_deadline();
            assert!(next.is_none_or(|next| next > self.now), "a deadline that stays: {next:?}");
        }
        self.now = until;
        for (token, (_, since)) in &self.waiting {
            assert!(self.now - *since <= LONGEST_WAIT, "request {token} waits for ever");
        }
    }

    /// What the protocol asks of the client now.
    fn follow(&mut self, index: usize) {
        match self.clients[index].doing {
            Doing::Nothing => self.join(index),
            Doing::Joined => self.sync(index),
            Doing::Joining(_) | Doing::Syncing(_) => {}
            Doing::Consuming if self.rng.bool() => self.commit(index),
            Doing::Consuming => self.heartbeat(index),
        }
    }

    /// What the protocol allows but nobody expects.
    fn surprise(&mut self, index: usize) {
        match (self.rng.u8(0..6), self.clients[index].doing) {
            // The connection breaks.
            (0, Doing::Joining(token) | Doing::Syncing(token)) => {
                assert!(self.waiting.remove(&token).is_some());
                let replies = self.group.cancel(token, self.now);
                self.clients[index].doing = Doing::Nothing;
                self.take(replies);
            }
            // It breaks, and the broker does not notice.
            (1, Doing::Joining(_)) => self.join(index),
            (1, Doing::Syncing(_)) => self.sync(index),
            (2, _) => {
                self.clients[index].metadata = self.rng.u8(0..3);
                self.join(index);
            }
            (3, _) => {
                let instance_id = self.clients[index].instance_id.clone();
                // An administrator names a static member by its instance alone.
                let by_instance = instance_id.is_some() && self.rng.bool();
                let member_id = match by_instance {
                    true => String::new(),
                    false => self.clients[index].member_id.clone(),
                };
                let leaving = LeavingMember { member_id, instance_id };
                let (results, replies) = self.group.leave(&[leaving], self.now);
                assert_eq!(results.len(), 1);
                self.take(replies);
                self.clients[index].restart();
            }
            // It dies and comes back without its id.
            (4, _) => self.clients[index].restart(),
            _ => self.advance(300),
        }
    }

    fn misbehave(&mut self, index: usize) {
        let victim = self.rng.usize(0..self.clients.len());
        let victim_id = self.clients[victim].member_id.clone();
        let generation = self.generation + self.rng.i32(-2..3);
        match self.rng.u8(0..6) {
            0 => drop(self.group.heartbeat(&victim_id, None, generation, self.now)),
            1 => {
                let checked =
                    self.group.check_commit(&victim_id, Some("nobody"), generation, self.now);
                let may = generation < 0 && self.group.members.is_empty();
                assert_eq!(checked.is_ok(), may, "a commit of nobody");
            }
            2 => {
                let leaving = LeavingMember { member_id: victim_id, instance_id: None };
                let (_, replies) = self.group.leave(&[leaving.clone(), leaving], self.now);
                self.take(replies);
            }
            3 => {
                // Assigns everything to itself without being asked.
                let own = self.clients[index].member_id.clone();
                let all = Bytes::from((0..PARTITIONS).collect::<Vec<_>>());
                if self.group.leader.as_ref() != Some(&own) {
                    self.send_sync(index, generation, vec![(own, all.clone()), (victim_id, all)]);
                }
            }
            4 => {
                let mut request = self.clients[index].join_request();
                if self.rng.bool() {
                    let wrong = [i32::MIN, 0, 5_999, 1_800_001, i32::MAX];
                    request.session_timeout_ms = wrong[self.rng.usize(0..wrong.len())];
                }
                request.rebalance_timeout_ms = self.rng.i32(-5..50);
                request.protocols.truncate(self.rng.usize(0..3));
                self.send_join(index, request);
            }
            _ => {
                let mut request = self.clients[index].join_request();
                request.member_id = format!("guess{}", self.rng.u8(..));
                self.send_join(index, request);
            }
        }
        self.check();
    }

    fn join(&mut self, index: usize) {
        let request = self.clients[index].join_request();
        self.send_join(index, request);
    }

    fn send_join(&mut self, index: usize, request: JoinRequest) {
        let token = self.token();
        self.waiting.insert(token, (index, self.now));
        self.clients[index].doing = Doing::Joining(token);
        let replies = self.group.join(token, request, format!("member{token}"), self.now);
        self.take(replies);
    }

    fn sync(&mut self, index: usize) {
        let client = &self.clients[index];
        let mut shares = vec![Vec::new(); client.view.len()];
        for partition in 0..PARTITIONS {
            if !shares.is_empty() {
                let at = usize::from(partition) % shares.len();
                shares[at].push(partition);
            }
        }
        let ids = client.view.iter().map(|member| member.member_id.clone());
        let assignments = ids.zip(shares.into_iter().map(Bytes::from)).collect();
        self.send_sync(index, client.generation, assignments);
    }

    fn send_sync(&mut self, index: usize, generation: i32, assignments: Vec<(String, Bytes)>) {
        let token = self.token();
        self.waiting.insert(token, (index, self.now));
        let client = &mut self.clients[index];
        client.doing = Doing::Syncing(token);
        client.generation = generation;
        let request = SyncRequest {
            member_id: client.member_id.clone(),
            instance_id: client.instance_id.clone(),
            generation,
            protocol_type: None,
            protocol_name: None,
            assignments,
        };
        let replies = self.group.sync(token, request, self.now);
        self.take(replies);
    }

    fn heartbeat(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let instance_id = client.instance_id.as_deref();
        let beaten =
            self.group.heartbeat(&client.member_id, instance_id, client.generation, self.now);
        if let Err(error) = beaten {
            client.refused(&error);
        }
        self.check();
    }

    /// What a client commits counts only as long as nobody else can have its partitions.
    fn commit(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let instance_id = client.instance_id.as_deref();
        let checked =
            self.group.check_commit(&client.member_id, instance_id, client.generation, self.now);
        match checked {
            Ok(()) => {
                assert_eq!(client.generation, self.group.generation);
                assert!(self.group.members.get(&client.member_id).is_some());
                assert!(!matches!(self.group.phase, Phase::Completing));
                for partition in &client.assigned {
                    let owner = &self.owners[&(client.generation, *partition)];
                    assert_eq!(owner, &client.name, "a commit of somebody else's partition");
                }
            }
            Err(error) => client.refused(&error),
        }
        self.check();
    }

    fn take(&mut self, replies: Vec<Reply>) {
        self.save(&replies);
        for reply in replies {
            let (Reply::Join(token, _) | Reply::Sync(token, _)) = &reply;
            let (index, _) = self.waiting.remove(token).expect("an answer nobody waits for");
            let current = match (&reply, self.clients[index].doing) {
                (Reply::Join(token, _), Doing::Joining(own)) => *token == own,
                (Reply::Sync(token, _), Doing::Syncing(own)) => *token == own,
                _ => false,
            };
            match reply {
                Reply::Join(_, Ok(response)) => self.joined(index, response, current),
                Reply::Sync(_, Ok(response)) if current => self.synced(index, response),
                Reply::Join(_, Err(error)) | Reply::Sync(_, Err(error)) if current => {
                    self.clients[index].refused(&error);
                }
                _ => {}
            }
        }
        self.check();
    }

    fn joined(&mut self, index: usize, response: JoinResponse, current: bool) {
        assert!(response.generation >= self.generation, "{} went back", response.generation);
        let leads = response.leader == response.member_id;
        assert_eq!(leads, !response.members.is_empty());
        if !current {
            return;
        }
        let client = &mut self.clients[index];
        client.doing = Doing::Joined;
        client.member_id = response.member_id;
        client.generation = response.generation;
        client.view = if response.skip_assignment { Vec::new() } else { response.members };
    }

    fn synced(&mut self, index: usize, response: SyncResponse) {
        let client = &mut self.clients[index];
        client.doing = Doing::Consuming;
        client.assigned = response.assignment.to_vec();
        for partition in &client.assigned {
            let owner = self.owners.entry((client.generation, *partition));
            let owner = owner.or_insert_with(|| client.name.clone());
            assert_eq!(owner, &client.name, "{partition} twice in {}", client.generation);
        }
    }

    fn token(&mut self) -> Token {
        self.next += 1;
        self.next
    }

    /// What must hold between any two events.
    fn check(&mut self) {
        let group = &self.group;
        assert!(group.generation >= self.generation, "the generation went back");
        self.generation = group.generation;
        assert!(group.replies.is_empty(), "a reply left behind");
        let ids: BTreeSet<&str> = group.members.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids.len(), group.members.len(), "two members of one id");
        let instances: Vec<_> =
            group.members.iter().filter_map(|one| one.instance_id.as_ref()).collect();
        let distinct: BTreeSet<_> = instances.iter().collect();
        assert_eq!(distinct.len(), instances.len(), "two members of one instance");
        assert!(group.pending.keys().all(|id| !ids.contains(id.as_str())));
        assert!(group.unsynced.iter().all(|id| ids.contains(id.as_str())));
        assert_eq!(group.sync_deadline.is_some(), !group.unsynced.is_empty());
        assert_eq!(matches!(group.phase, Phase::Empty), ids.is_empty());
        match &group.leader {
            Some(leader) => assert!(ids.contains(leader.as_str()), "the leader is gone"),
            None => assert!(ids.is_empty(), "members without a leader"),
        }
        let preparing = matches!(group.phase, Phase::Preparing(_));
        let completing = matches!(group.phase, Phase::Completing);
        for member in group.members.iter() {
            assert!(member.joining.is_none() || preparing, "{member:?} waits for no rebalance");
            assert!(member.syncing.is_none() || completing, "{member:?} waits for no leader");
        }
        assert!(group.is_disposable() || group.next_deadline().is_some(), "nothing would end");
    }
}

impl Client {
    fn new(index: usize, instance_id: Option<String>, rogue: bool, rng: &mut Rng) -> Self {
        Self {
            // Two processes of one instance are one owner.
            name: instance_id.clone().unwrap_or_else(|| format!("client{index}")),
            instance_id,
            rogue,
            doing: Doing::Nothing,
            member_id: String::new(),
            generation: -1,
            view: Vec::new(),
            assigned: Vec::new(),
            metadata: 0,
            session_timeout_ms: rng.i32(6_000..30_000),
            rebalance_timeout_ms: rng.i32(5_000..=20_000),
        }
    }

    fn join_request(&self) -> JoinRequest {
        let metadata = Bytes::copy_from_slice(&[self.metadata]);
        let named = |name: &str| (name.to_owned(), metadata.clone());
        // All know "range"; which they like best changes with the metadata.
        let protocols = match self.metadata {
            0 => vec![named("range")],
            1 => vec![named("range"), named("sticky")],
            _ => vec![named("sticky"), named("range")],
        };
        JoinRequest {
            member_id: self.member_id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.name.clone(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            protocol_type: "consumer".to_owned(),
            protocols,
            require_known_member_id: self.session_timeout_ms % 2 == 0,
            supports_skip_assignment: self.rebalance_timeout_ms % 2 == 0,
        }
    }

    fn refused(&mut self, error: &GroupError) {
        match error {
            GroupError::MemberIdRequired { member_id } => self.member_id.clone_from(member_id),
            GroupError::UnknownMember { .. } | GroupError::FencedInstance { .. } => {
                self.member_id.clear();
            }
            _ => {}
        }
        self.doing = Doing::Nothing;
    }

    fn restart(&mut self) {
        self.doing = Doing::Nothing;
        self.member_id.clear();
        self.generation = -1;
    }
}
