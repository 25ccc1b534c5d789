//! The event with the most cases: a member joins. Who it is, whether it may, and whether the
//! group must rebalance for it.

use std::mem;
use std::time::Duration;

use super::member::Member;
use super::state::{Group, Phase, Reply, Token, unknown};
use super::types::{GroupError, JoinRequest, JoinResponse};
use crate::limits::GROUP_MEMBERS;

impl Group {
    /// A member comes or comes again. `fresh_id` becomes its id if it needs one; it must never
    /// have been used before.
    pub(crate) fn join(
        &mut self,
        token: Token,
        request: JoinRequest,
        fresh_id: String,
        now: Duration,
    ) -> Vec<Reply> {
        if let Err(error) = self.try_join(token, request, fresh_id, now) {
            self.replies.push(Reply::Join(token, Err(error)));
        }
        mem::take(&mut self.replies)
    }

    fn try_join(
        &mut self,
        token: Token,
        request: JoinRequest,
        fresh_id: String,
        now: Duration,
    ) -> Result<(), GroupError> {
        if matches!(self.phase, Phase::Dead) {
            return Err(GroupError::Stopped);
        }
        request.check()?;
        self.check_protocols(&request)?;
        if request.member_id.is_empty() {
            self.join_without_id(token, request, fresh_id, now)
        } else {
            self.join_with_id(token, request, now)
        }
    }

    /// That at least one protocol would be common to all. What the sender itself supported before
    /// does not count, so that a lone member may change its mind.
    fn check_protocols(&self, request: &JoinRequest) -> Result<(), GroupError> {
        let others = || self.members.iter().filter(|member| !member.sent(request));
        let shared = |name: &str| others().all(|member| member.supports(name));
        let type_fits = match self.members.is_empty() {
            true => !request.protocol_type.is_empty(),
            false => self.protocol_type == request.protocol_type,
        };
        if type_fits && request.protocols.iter().any(|(name, _)| shared(name)) {
            return Ok(());
        }
        Err(GroupError::InconsistentProtocol { protocol_type: request.protocol_type.clone() })
    }

    fn join_without_id(
        &mut self,
        token: Token,
        request: JoinRequest,
        fresh_id: String,
        now: Duration,
    ) -> Result<(), GroupError> {
        let former = request.instance_id.as_deref().and_then(|id| self.members.by_instance(id));
        if let Some(former) = former {
            let former = former.id.clone();
            self.replace_static(token, request, &former, fresh_id, now);
            return Ok(());
        }
        self.check_room()?;
        if !request.require_known_member_id || request.instance_id.is_some() {
            self.add(token, request, fresh_id, false, now);
            return Ok(());
        }
        if self.pending.len() >= GROUP_MEMBERS {
            return Err(GroupError::GroupFull { max: GROUP_MEMBERS });
        }
        self.pending.insert(fresh_id.clone(), now + request.session_timeout());
        Err(GroupError::MemberIdRequired { member_id: fresh_id })
    }

    fn join_with_id(
        &mut self,
        token: Token,
        request: JoinRequest,
        now: Duration,
    ) -> Result<(), GroupError> {
        let id = request.member_id.clone();
        if request.instance_id.is_none() && self.pending.contains_key(&id) {
            self.check_room()?;
            self.pending.remove(&id);
            self.add(token, request, id, true, now);
            return Ok(());
        }
        self.check_member(&id, request.instance_id.as_deref())?;
        let member = self.members.get_mut(&id).ok_or_else(|| unknown(&id))?;
        let changed = !member.has_protocols(&request.protocols);
        let leads = self.leader.as_ref() == Some(&id);
        member.update(request, now);
        // A leader joins again to say that something outside the group changed, such as the
        // number of partitions. A member that merely missed its answer is given it once more.
        let rebalance = match self.phase {
            Phase::Completing => changed,
            Phase::Stable => changed || leads,
            Phase::Empty | Phase::Preparing(_) | Phase::Dead => true,
        };
        self.wait_for_join(&id, token);
        if rebalance {
            self.rebalance(now);
        } else {
            self.answer_join(&id, now);
        }
        Ok(())
    }

    /// A static member came back without its id: it takes the place of its former self, which is
    /// fenced (KIP-345).
    fn replace_static(
        &mut self,
        token: Token,
        request: JoinRequest,
        former: &str,
        fresh_id: String,
        now: Duration,
    ) {
        let understands_skip = request.supports_skip_assignment;
        let Some(member) = self.members.get_mut(former) else { return };
        let fenced = GroupError::FencedInstance {
            instance_id: member.instance_id.clone().unwrap_or_default(),
            member_id: former.to_owned(),
        };
        let joining = member.joining.replace(token);
        let syncing = member.syncing.take();
        member.id.clone_from(&fresh_id);
        member.knows_id = false;
        member.update(request, now);
        self.replies.extend(joining.map(|at| Reply::Join(at, Err(fenced.clone()))));
        self.replies.extend(syncing.map(|at| Reply::Sync(at, Err(fenced.clone()))));
        if self.unsynced.remove(former) {
            self.unsynced.insert(fresh_id.clone());
        }
        let led = self.leader.as_deref() == Some(former);
        if led {
            self.leader = Some(fresh_id.clone());
        }
        // In Completing the leader may already assign to the former id, so start over. In Stable
        // the former self's assignment is good as long as the protocol stays. The metadata is not
        // compared: consumers put what they owned into it, which differs after every restart.
        let keep = matches!(self.phase, Phase::Stable)
            && self.select_protocol().as_deref() == Some(self.protocol_name.as_str());
        if !keep {
            self.rebalance(now);
            return;
        }
        self.version += 1;
        let Some(mut response) = self.join_response(&fresh_id) else { return };
        if led && understands_skip {
            response.skip_assignment = true;
        } else if led {
            response.leader = former.to_owned();
            response.members.clear();
        }
        self.send_join(&fresh_id, response, now);
    }

    fn add(
        &mut self,
        token: Token,
        request: JoinRequest,
        id: String,
        knows_id: bool,
        now: Duration,
    ) {
        if self.members.is_empty() {
            self.protocol_type.clone_from(&request.protocol_type);
        }
        if let Phase::Preparing(preparing) = &mut self.phase
            && let Some(initial) = &mut preparing.initial
        {
            initial.newcomer = true;
        }
        let mut member = Member::new(id, knows_id, request, now);
        member.joining = Some(token);
        self.leader.get_or_insert_with(|| member.id.clone());
        self.members.push(member);
        self.rebalance(now);
    }

    fn check_room(&self) -> Result<(), GroupError> {
        if self.members.len() >= GROUP_MEMBERS {
            return Err(GroupError::GroupFull { max: GROUP_MEMBERS });
        }
        Ok(())
    }

    /// The member's join waits; an earlier one of it, given up by its client, does no longer.
    fn wait_for_join(&mut self, id: &str, token: Token) {
        let superseded = self.rebalancing();
        let Some(member) = self.members.get_mut(id) else { return };
        if let Some(earlier) = member.joining.replace(token) {
            self.replies.push(Reply::Join(earlier, Err(superseded)));
        }
    }

    /// Answers the member's waiting join, if there is one, with the present generation.
    pub(super) fn answer_join(&mut self, id: &str, now: Duration) {
        if let Some(response) = self.join_response(id) {
            self.send_join(id, response, now);
        }
    }

    fn send_join(&mut self, id: &str, response: JoinResponse, now: Duration) {
        let Some(member) = self.members.get_mut(id) else { return };
        let Some(token) = member.joining.take() else { return };
        member.is_new = false;
        member.knows_id = true;
        member.touch(now);
        self.replies.push(Reply::Join(token, Ok(response)));
    }

    fn join_response(&self, id: &str) -> Option<JoinResponse> {
        let leader = self.leader.clone()?;
        let members = if leader == id { self.joined_members() } else { Vec::new() };
        Some(JoinResponse {
            member_id: id.to_owned(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader,
            skip_assignment: false,
            members,
        })
    }
}
