//! A group under test, a clock, and short ways to say what members do.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use super::state::{Group, Reply, Token};
use super::types::{
    GroupError, GroupState, JoinRequest, JoinResponse, LeavingMember, SyncRequest, SyncResponse,
};
use crate::limits::GROUP_INITIAL_REBALANCE_DELAY_MS;

pub(super) const DELAY_MS: u64 = GROUP_INITIAL_REBALANCE_DELAY_MS;
pub(super) const SESSION_MS: u64 = 10_000;
pub(super) const REBALANCE_MS: u64 = 60_000;

/// A group, a clock, and the answers given so far.
pub(super) struct Bench {
    pub(super) group: Group,
    pub(super) now: Duration,
    next: Token,
    pub(super) answers: HashMap<Token, Reply>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            group: Group::new(Duration::ZERO),
            now: Duration::ZERO,
            next: 0,
            answers: HashMap::new(),
        }
    }

    /// A stable group of dynamic members m0, m1, …; m0 leads; the assignment of each is its id.
    pub(super) fn stable(members: usize) -> Self {
        let mut bench = Self::new();
        let joins: Vec<_> =
            (0..members).map(|i| bench.join_as(&format!("m{i}"), old(""))).collect();
        bench.finish_rebalance(&joins);
        bench
    }

    /// Lets the initial delay pass and brings the group of these joins to Stable.
    pub(super) fn finish_rebalance(&mut self, joins: &[Token]) {
        self.pass(2 * DELAY_MS);
        let joined: Vec<_> = joins.iter().map(|token| self.joined(*token)).collect();
        let assignments = joined.iter().map(|one| assignment(&one.member_id)).collect();
        self.sync(&joined[0], assignments);
        for follower in &joined[1..] {
            self.sync(follower, Vec::new());
        }
        assert_eq!(self.group.state(), GroupState::Stable);
        self.answers.clear();
    }

    pub(super) fn join(&mut self, request: JoinRequest) -> Token {
        let id = format!("fresh{}", self.next);
        self.join_as(&id, request)
    }

    pub(super) fn join_as(&mut self, fresh_id: &str, request: JoinRequest) -> Token {
        self.next += 1;
        let replies = self.group.join(self.next, request, fresh_id.to_owned(), self.now);
        self.keep(replies);
        self.next
    }

    pub(super) fn sync(
        &mut self,
        joined: &JoinResponse,
        assignments: Vec<(String, Bytes)>,
    ) -> Token {
        let request = sync_request(&joined.member_id, joined.generation);
        self.send_sync(SyncRequest { assignments, ..request })
    }

    pub(super) fn send_sync(&mut self, request: SyncRequest) -> Token {
        self.next += 1;
        let replies = self.group.sync(self.next, request, self.now);
        self.keep(replies);
        self.next
    }

    pub(super) fn leave(
        &mut self,
        leaving: &[(&str, Option<&str>)],
    ) -> Vec<Result<(), GroupError>> {
        let entry = |(id, instance): &(&str, Option<&str>)| LeavingMember {
            member_id: (*id).to_owned(),
            instance_id: instance.map(str::to_owned),
        };
        let leaving: Vec<_> = leaving.iter().map(entry).collect();
        let (results, replies) = self.group.leave(&leaving, self.now);
        self.keep(replies);
        results
    }

    pub(super) fn beat(&mut self, id: &str, generation: i32) -> Result<(), GroupError> {
        self.group.heartbeat(id, None, generation, self.now)
    }

    pub(super) fn cancel(&mut self, token: Token) {
        let replies = self.group.cancel(token, self.now);
        self.keep(replies);
    }

    pub(super) fn pass(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while let Some(at) = self.group.next_deadline().filter(|at| *at <= until) {
            self.now = at;
            let replies = self.group.expire(at);
            self.keep(replies);
        }
        self.now = until;
    }

    /// Time passes while these members send heartbeats.
    pub(super) fn pass_alive(&mut self, ms: u64, alive: &[&str]) {
        for _ in 0..ms / 1_000 {
            self.pass(1_000);
            for id in alive {
                let _ = self.beat(id, self.group.generation);
            }
        }
    }

    pub(super) fn keep(&mut self, replies: Vec<Reply>) {
        for reply in replies {
            let (Reply::Join(token, _) | Reply::Sync(token, _)) = &reply;
            assert!(self.answers.insert(*token, reply).is_none(), "answered twice");
        }
    }

    pub(super) fn waits(&self, token: Token) -> bool {
        !self.answers.contains_key(&token)
    }

    pub(super) fn join_answer(&self, token: Token) -> Result<JoinResponse, GroupError> {
        match self.answers.get(&token) {
            Some(Reply::Join(_, answer)) => answer.clone(),
            other => panic!("join {token} has {other:?}"),
        }
    }

    pub(super) fn joined(&self, token: Token) -> JoinResponse {
        self.join_answer(token).unwrap()
    }

    pub(super) fn sync_answer(&self, token: Token) -> Result<SyncResponse, GroupError> {
        match self.answers.get(&token) {
            Some(Reply::Sync(_, answer)) => answer.clone(),
            other => panic!("sync {token} has {other:?}"),
        }
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.group.describe().members.into_iter().map(|member| member.member_id).collect()
    }
}

/// A join of a client that is given its id only with the answer, as before version 4.
pub(super) fn old(member_id: &str) -> JoinRequest {
    JoinRequest {
        member_id: member_id.to_owned(),
        instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: SESSION_MS as i32,
        rebalance_timeout_ms: REBALANCE_MS as i32,
        protocol_type: "consumer".to_owned(),
        protocols: protocols(&["range"], "topics"),
        require_known_member_id: false,
        supports_skip_assignment: false,
    }
}

pub(super) fn recent(member_id: &str) -> JoinRequest {
    JoinRequest { require_known_member_id: true, ..old(member_id) }
}

pub(super) fn fixed(member_id: &str, instance_id: &str) -> JoinRequest {
    JoinRequest { instance_id: Some(instance_id.to_owned()), ..recent(member_id) }
}

pub(super) fn with_protocols(
    member_id: &str,
    names: &[&str],
    metadata: &'static str,
) -> JoinRequest {
    JoinRequest { protocols: protocols(names, metadata), ..old(member_id) }
}

pub(super) fn protocols(names: &[&str], metadata: &'static str) -> Vec<(String, Bytes)> {
    names.iter().map(|name| ((*name).to_owned(), Bytes::from(metadata))).collect()
}

pub(super) fn sync_request(member_id: &str, generation: i32) -> SyncRequest {
    SyncRequest {
        member_id: member_id.to_owned(),
        instance_id: None,
        generation,
        protocol_type: None,
        protocol_name: None,
        assignments: Vec::new(),
    }
}

pub(super) fn assignment(id: &str) -> (String, Bytes) {
    (id.to_owned(), Bytes::from(id.to_owned()))
}

pub(super) fn unknown(id: &str) -> GroupError {
    GroupError::UnknownMember { member_id: id.to_owned() }
}

pub(super) fn fenced(instance_id: &str, member_id: &str) -> GroupError {
    GroupError::FencedInstance {
        instance_id: instance_id.to_owned(),
        member_id: member_id.to_owned(),
    }
}

pub(super) fn rebalancing(generation: i32) -> GroupError {
    GroupError::RebalanceInProgress { generation }
}
