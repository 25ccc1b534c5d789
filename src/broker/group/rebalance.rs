//! From one generation to the next: when a rebalance begins, whom it waits for, when it ends, and
//! which protocol and leader come out of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::state::{Group, Initial, Phase, Preparing, Reply, unknown};
use super::types::JoinedMember;

impl Group {
    /// Begins a rebalance, or ends the one that runs if nobody is missing any more.
    pub(super) fn rebalance(&mut self, now: Duration) {
        match self.phase {
            Phase::Empty | Phase::Completing | Phase::Stable => self.prepare(now),
            Phase::Preparing(_) => {}
            Phase::Dead => return,
        }
        self.complete_if_all_joined(now);
    }

    /// Members or, if not `members_lost`, only pending ones are gone.
    pub(super) fn after_removal(&mut self, members_lost: bool, now: Duration) {
        if self.members.is_empty() {
            // Without members there is nothing to rebalance.
            if !matches!(self.phase, Phase::Empty | Phase::Dead) {
                self.become_empty(now);
            }
        } else if members_lost {
            self.rebalance(now);
        } else {
            self.complete_if_all_joined(now);
        }
    }

    /// Takes a member out and tells who waits in its name. The caller rebalances.
    pub(super) fn remove(&mut self, id: &str) {
        let Some(member) = self.members.remove(id) else { return };
        self.replies.extend(member.joining.map(|at| Reply::Join(at, Err(unknown(id)))));
        self.replies.extend(member.syncing.map(|at| Reply::Sync(at, Err(unknown(id)))));
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.iter().next().map(|member| member.id.clone());
        }
    }

    /// The time for joining is up, perhaps.
    pub(super) fn expire_preparing(&mut self, now: Duration) {
        let Phase::Preparing(preparing) = &mut self.phase else { return };
        if preparing.deadline > now {
            return;
        }
        if let Some(initial) = &mut preparing.initial
            && initial.newcomer
            && !initial.remaining.is_zero()
        {
            let delay = initial.remaining.min(self.initial_delay);
            initial.remaining -= delay;
            initial.newcomer = false;
            preparing.deadline = now + delay;
            return;
        }
        self.complete(now);
    }

    /// The protocol that most members like best among those that all support; the leader's order
    /// decides between equals.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let leader = self.leader.as_deref().and_then(|id| self.members.get(id))?;
        let shared = |name: &&str| self.members.iter().all(|member| member.supports(name));
        let mut votes = BTreeMap::<&str, usize>::new();
        for choice in self.members.iter().filter_map(|member| member.protocol_names().find(shared))
        {
            *votes.entry(choice).or_default() += 1;
        }
        let most = votes.values().max()?;
        let winner = leader.protocol_names().find(|name| votes.get(name) == Some(most));
        winner.map(str::to_owned)
    }

    /// The leader's view of the group.
    pub(super) fn joined_members(&self) -> Vec<JoinedMember> {
        let view = self.members.iter().map(|member| JoinedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(&self.protocol_name),
        });
        view.collect()
    }

    fn prepare(&mut self, now: Duration) {
        let ended = self.rebalancing();
        for member in self.members.iter_mut() {
            if let Some(token) = member.syncing.take() {
                member.touch(now);
                self.replies.push(Reply::Sync(token, Err(ended.clone())));
            }
        }
        self.unsynced.clear();
        self.sync_deadline = None;
        let timeout = self.rebalance_timeout();
        let delay = self.initial_delay;
        let initial = (matches!(self.phase, Phase::Empty) && !delay.is_zero())
            .then(|| Initial { remaining: timeout.saturating_sub(delay), newcomer: false });
        let wait = if initial.is_some() { delay } else { timeout };
        self.phase = Phase::Preparing(Preparing { deadline: now + wait, initial });
    }

    fn complete_if_all_joined(&mut self, now: Duration) {
        let Phase::Preparing(preparing) = &self.phase else { return };
        let all_joined = self.members.iter().all(|member| member.joining.is_some());
        if preparing.initial.is_none() && all_joined && self.pending.is_empty() {
            self.complete(now);
        }
    }

    /// Ends the joining with those that are there. A static member that has not come back keeps
    /// its place until its session ends: that is what it is static for.
    fn complete(&mut self, now: Duration) {
        for id in self.members.ids(|member| member.joining.is_none() && !member.is_static()) {
            self.remove(&id);
        }
        if self.members.is_empty() {
            self.become_empty(now);
            return;
        }
        if !self.elect_leader() {
            // Nobody has come who could assign.
            let deadline = now + self.rebalance_timeout();
            self.phase = Phase::Preparing(Preparing { deadline, initial: None });
            return;
        }
        self.generation = self.generation.saturating_add(1);
        self.protocol_name = self.select_protocol().unwrap_or_default();
        self.phase = Phase::Completing;
        self.sync_deadline = Some(now + self.rebalance_timeout());
        for id in self.members.ids(|_| true) {
            self.answer_join(&id, now);
            self.unsynced.insert(id);
        }
    }

    /// Keeps the leader if it has joined, otherwise takes the oldest member that has.
    fn elect_leader(&mut self) -> bool {
        let stays = self
            .members
            .iter()
            .any(|member| member.joining.is_some() && self.leader.as_ref() == Some(&member.id));
        if stays {
            return true;
        }
        let joined = self.members.iter().find(|member| member.joining.is_some());
        let joined = joined.map(|member| member.id.clone());
        let elected = joined.is_some();
        self.leader = joined.or(self.leader.take());
        elected
    }

    /// A generation without members. Members that left before the first one leave no trace.
    fn become_empty(&mut self, now: Duration) {
        if self.generation > 0 {
            self.generation = self.generation.saturating_add(1);
        }
        self.empty_since = now;
        self.empty_before = Duration::ZERO;
        self.version += 1;
        self.protocol_name.clear();
        self.leader = None;
        self.unsynced.clear();
        self.sync_deadline = None;
        self.phase = Phase::Empty;
    }

    /// The group waits for the slowest member.
    fn rebalance_timeout(&self) -> Duration {
        self.members.iter().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }
}
