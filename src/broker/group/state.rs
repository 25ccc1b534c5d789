//! The group's state and every event but the join: sync, heartbeat, leave, commit check, a request
//! given up, time.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use bytes::Bytes;

use super::member::Roster;
use super::types::{
    GroupDescription, GroupError, GroupState, JoinResponse, LeavingMember, MemberDescription,
    SyncRequest, SyncResponse, check_metadata_bytes,
};

/// Names a request that waits for its answer. The caller makes it and must not use it twice.
pub(crate) type Token = u64;

/// The answer to a request, perhaps to an earlier one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Answers a JoinGroup.
    Join(Token, Result<JoinResponse, GroupError>),
    /// Answers a SyncGroup.
    Sync(Token, Result<SyncResponse, GroupError>),
}

/// Where the group stands, with what only matters there.
#[derive(Debug)]
pub(super) enum Phase {
    Empty,
    Preparing(Preparing),
    Completing,
    Stable,
    Dead,
}

/// Members are joining.
#[derive(Debug)]
pub(super) struct Preparing {
    /// When those that have not joined are given up.
    pub(super) deadline: Duration,
    /// Set while a group that was empty waits for further members (KIP-134).
    pub(super) initial: Option<Initial>,
}

/// The wait of a group that was empty.
#[derive(Debug)]
pub(super) struct Initial {
    /// How much longer it may wait after the present deadline.
    pub(super) remaining: Duration,
    /// Somebody came since the present wait began.
    pub(super) newcomer: bool,
}

/// One consumer group. Every event returns the replies that it causes; afterwards
/// [`Group::next_deadline`] says when [`Group::expire`] is due.
#[derive(Debug)]
pub(crate) struct Group {
    pub(super) phase: Phase,
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) protocol_name: String,
    pub(super) leader: Option<String>,
    pub(super) members: Roster,
    /// Ids handed out with `MemberIdRequired`, and until when they are waited for.
    pub(super) pending: BTreeMap<String, Duration>,
    /// Members of this generation that have not synced.
    pub(super) unsynced: BTreeSet<String>,
    /// When members that have not synced are given up.
    pub(super) sync_deadline: Option<Duration>,
    /// Since when it has been without members, if it is.
    pub(super) empty_since: Duration,
    /// How long it was without members before it was restored, on top of that.
    pub(super) empty_before: Duration,
    /// Grows with every change that a restart should not undo.
    pub(super) version: u64,
    /// How long it waits for further members when it was empty (KIP-134).
    pub(super) initial_delay: Duration,
    /// Replies of the event at hand.
    pub(super) replies: Vec<Reply>,
}

impl Group {
    /// An empty group.
    pub(crate) fn new(now: Duration, initial_delay: Duration) -> Self {
        Self {
            phase: Phase::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol_name: String::new(),
            leader: None,
            members: Roster::default(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            sync_deadline: None,
            empty_since: now,
            empty_before: Duration::ZERO,
            version: 0,
            initial_delay,
            replies: Vec::new(),
        }
    }

    /// A member asks for its assignment, or the leader brings all of them.
    pub(crate) fn sync(&mut self, token: Token, request: SyncRequest, now: Duration) -> Vec<Reply> {
        if let Err(error) = self.try_sync(token, request, now) {
            self.replies.push(Reply::Sync(token, Err(error)));
        }
        mem::take(&mut self.replies)
    }

    /// A member says that it is alive.
    pub(crate) fn heartbeat(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        now: Duration,
    ) -> Result<(), GroupError> {
        self.check_member(member_id, instance_id)?;
        self.check_generation(generation)?;
        if let Some(member) = self.members.get_mut(member_id) {
            member.touch(now);
        }
        match self.phase {
            Phase::Preparing(_) => Err(self.rebalancing()),
            _ => Ok(()),
        }
    }

    /// Members leave, or are removed by an administrator. One result for each, in order.
    pub(crate) fn leave(
        &mut self,
        leaving: &[LeavingMember],
        now: Duration,
    ) -> (Vec<Result<(), GroupError>>, Vec<Reply>) {
        let before = self.members.len();
        let results: Vec<_> = leaving.iter().map(|one| self.leave_one(one)).collect();
        if results.iter().any(Result::is_ok) {
            self.after_removal(self.members.len() < before, now);
        }
        (results, mem::take(&mut self.replies))
    }

    /// Whether this member may commit offsets. A commit of generation -1 comes from a consumer
    /// that assigns its partitions itself, and is welcome as long as the group has no members.
    pub(crate) fn check_commit(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        now: Duration,
    ) -> Result<(), GroupError> {
        if generation < 0 && matches!(self.phase, Phase::Empty) {
            return Ok(());
        }
        self.check_member(member_id, instance_id)?;
        self.check_generation(generation)?;
        // While the others still join, a commit is taken: it is the last one of the partitions
        // that this member gives up. Later it would overtake the new owner.
        if matches!(self.phase, Phase::Completing) {
            return Err(self.rebalancing());
        }
        if let Some(member) = self.members.get_mut(member_id) {
            member.touch(now);
        }
        Ok(())
    }

    /// Nobody waits for the answer to this request any more.
    pub(crate) fn cancel(&mut self, token: Token, now: Duration) -> Vec<Reply> {
        let mut unreachable = None;
        for member in self.members.iter_mut() {
            if member.joining == Some(token) {
                member.joining = None;
                member.touch(now);
                if !member.knows_id && !member.is_static() {
                    unreachable = Some(member.id.clone());
                }
            } else if member.syncing == Some(token) {
                member.syncing = None;
                member.touch(now);
            }
        }
        if let Some(id) = unreachable {
            self.remove(&id);
            self.after_removal(true, now);
        }
        mem::take(&mut self.replies)
    }

    /// Gives up whom the time has come for. Harmless before [`Group::next_deadline`].
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<Reply> {
        let pending = self.pending.len();
        self.pending.retain(|_, deadline| *deadline > now);
        let mut late = self.members.ids(|one| one.deadline().is_some_and(|at| at <= now));
        if self.sync_deadline.is_some_and(|at| at <= now) {
            late.extend(mem::take(&mut self.unsynced));
        }
        for id in &late {
            self.remove(id);
        }
        if !late.is_empty() || self.pending.len() < pending {
            self.after_removal(!late.is_empty(), now);
        }
        self.expire_preparing(now);
        mem::take(&mut self.replies)
    }

    /// When [`Group::expire`] has something to do next. It may turn out to be nothing; never is
    /// anything due earlier.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let preparing = match &self.phase {
            Phase::Preparing(preparing) => Some(preparing.deadline),
            _ => None,
        };
        let members = self.members.iter().filter_map(|member| member.deadline());
        let pending = self.pending.values().copied();
        members.chain(pending).chain(preparing).chain(self.sync_deadline).min()
    }

    /// Ends the group: who waits is told, later events are refused.
    pub(crate) fn kill(&mut self) -> Vec<Reply> {
        let waiting = mem::take(&mut self.members);
        *self = Self::new(self.empty_since, self.initial_delay);
        self.phase = Phase::Dead;
        for member in waiting.iter() {
            self.replies.extend(member.joining.map(|at| Reply::Join(at, Err(GroupError::Stopped))));
            self.replies.extend(member.syncing.map(|at| Reply::Sync(at, Err(GroupError::Stopped))));
        }
        mem::take(&mut self.replies)
    }

    /// Where the group stands.
    pub(crate) fn state(&self) -> GroupState {
        match self.phase {
            Phase::Empty => GroupState::Empty,
            Phase::Preparing(_) => GroupState::PreparingRebalance,
            Phase::Completing => GroupState::CompletingRebalance,
            Phase::Stable => GroupState::Stable,
            Phase::Dead => GroupState::Dead,
        }
    }

    /// Whether nobody would miss it: it has no members and expects none.
    pub(crate) fn is_disposable(&self) -> bool {
        matches!(self.phase, Phase::Empty) && self.pending.is_empty()
    }

    /// Whether it is disposable and never was anything else.
    pub(crate) fn is_blank(&self) -> bool {
        self.generation == 0 && self.is_disposable()
    }

    /// How long it has been without members.
    pub(crate) fn empty_for(&self, now: Duration) -> Option<Duration> {
        let empty_for = || now.saturating_sub(self.empty_since) + self.empty_before;
        matches!(self.phase, Phase::Empty).then(empty_for)
    }

    /// What it holds in memory, about, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.members.bytes() + self.pending.keys().map(String::len).sum::<usize>()
    }

    /// The group's kind; empty before the first member.
    pub(crate) fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    /// The group in full, for administrators.
    pub(crate) fn describe(&self) -> GroupDescription {
        let stable = matches!(self.phase, Phase::Stable);
        let members = self.members.iter().map(|member| MemberDescription {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: match stable {
                true => member.metadata(&self.protocol_name),
                false => Bytes::new(),
            },
            assignment: if stable { member.assignment.clone() } else { Bytes::new() },
        });
        GroupDescription {
            state: self.state(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone(),
            members: members.collect(),
        }
    }

    fn try_sync(
        &mut self,
        token: Token,
        request: SyncRequest,
        now: Duration,
    ) -> Result<(), GroupError> {
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        self.check_generation(request.generation)?;
        self.check_sync_protocol(&request)?;
        if matches!(self.phase, Phase::Preparing(_)) {
            return Err(self.rebalancing());
        }
        let completing = matches!(self.phase, Phase::Completing);
        let leads = self.leader.as_deref() == Some(&request.member_id);
        if completing && leads {
            for (_, assignment) in &request.assignments {
                check_metadata_bytes(assignment.len())?;
            }
        }
        self.synced(&request.member_id);
        let superseded = self.rebalancing();
        let Some(member) = self.members.get_mut(&request.member_id) else { return Ok(()) };
        member.touch(now);
        if let Some(earlier) = member.syncing.replace(token) {
            self.replies.push(Reply::Sync(earlier, Err(superseded)));
        }
        if completing && leads {
            self.assign(&request.assignments);
            self.phase = Phase::Stable;
            self.version += 1;
        }
        if matches!(self.phase, Phase::Stable) {
            self.answer_syncs(now);
        }
        Ok(())
    }

    fn check_sync_protocol(&self, request: &SyncRequest) -> Result<(), GroupError> {
        let differs =
            |given: &Option<String>, ours: &str| given.as_deref().is_some_and(|g| g != ours);
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol_name)
        {
            let protocol_type = request.protocol_type.clone().unwrap_or_default();
            return Err(GroupError::InconsistentProtocol { protocol_type });
        }
        Ok(())
    }

    fn synced(&mut self, member_id: &str) {
        self.unsynced.remove(member_id);
        if self.unsynced.is_empty() {
            self.sync_deadline = None;
        }
    }

    /// Keeps the leader's assignments; copied for the same reason as the metadata.
    fn assign(&mut self, assignments: &[(String, Bytes)]) {
        let by_member: BTreeMap<&str, &Bytes> =
            assignments.iter().map(|(id, assignment)| (id.as_str(), assignment)).collect();
        for member in self.members.iter_mut() {
            let found = by_member.get(member.id.as_str());
            member.assignment = found.map(|a| Bytes::copy_from_slice(a)).unwrap_or_default();
        }
    }

    fn answer_syncs(&mut self, now: Duration) {
        for member in self.members.iter_mut() {
            let Some(token) = member.syncing.take() else { continue };
            member.touch(now);
            let response = SyncResponse {
                protocol_type: self.protocol_type.clone(),
                protocol_name: self.protocol_name.clone(),
                assignment: member.assignment.clone(),
            };
            self.replies.push(Reply::Sync(token, Ok(response)));
        }
    }

    fn leave_one(&mut self, leaving: &LeavingMember) -> Result<(), GroupError> {
        let instance_id = leaving.instance_id.as_deref();
        if leaving.member_id.is_empty() {
            let id = instance_id.and_then(|instance| self.members.by_instance(instance));
            let id = id.map(|member| member.id.clone()).ok_or_else(|| unknown(""))?;
            self.remove(&id);
            return Ok(());
        }
        if self.pending.remove(&leaving.member_id).is_some() {
            return Ok(());
        }
        self.check_member(&leaving.member_id, instance_id)?;
        self.remove(&leaving.member_id);
        Ok(())
    }

    /// That `member_id` is a member and, if it names an instance, still the one that stands for it.
    pub(super) fn check_member(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), GroupError> {
        if matches!(self.phase, Phase::Dead) {
            return Err(GroupError::Stopped);
        }
        if let Some(instance_id) = instance_id {
            let present =
                self.members.by_instance(instance_id).ok_or_else(|| unknown(member_id))?;
            if present.id != member_id {
                return Err(GroupError::FencedInstance {
                    instance_id: instance_id.to_owned(),
                    member_id: member_id.to_owned(),
                });
            }
        }
        self.members.get(member_id).map(|_| ()).ok_or_else(|| unknown(member_id))
    }

    fn check_generation(&self, given: i32) -> Result<(), GroupError> {
        if given != self.generation {
            return Err(GroupError::IllegalGeneration { given, current: self.generation });
        }
        Ok(())
    }

    pub(super) fn rebalancing(&self) -> GroupError {
        GroupError::RebalanceInProgress { generation: self.generation }
    }
}

pub(super) fn unknown(member_id: &str) -> GroupError {
    GroupError::UnknownMember { member_id: member_id.to_owned() }
}
