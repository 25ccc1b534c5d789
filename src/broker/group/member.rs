//! The members of one group, in the order in which they came. No rules of the protocol here but
//! one: when silence means death.

use std::time::Duration;

use bytes::Bytes;

use super::state::Token;
use super::types::{JoinRequest, protocol_bytes};
use crate::limits::GROUP_NEW_MEMBER_JOIN_MS;
use crate::storage::MemberRow;

/// One member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    protocols: Vec<(String, Bytes)>,
    pub(super) assignment: Bytes,
    /// The JoinGroup that waits for an answer.
    pub(super) joining: Option<Token>,
    /// The SyncGroup that waits for an answer.
    pub(super) syncing: Option<Token>,
    /// Not yet in any generation.
    pub(super) is_new: bool,
    /// False while the client has not been told its id, so that it cannot come back under it.
    pub(super) knows_id: bool,
    last_seen: Duration,
}

impl Member {
    pub(super) fn new(id: String, knows_id: bool, request: JoinRequest, now: Duration) -> Self {
        let mut member = Self {
            id,
            instance_id: request.instance_id.clone(),
            client_id: String::new(),
            client_host: String::new(),
            session_timeout: Duration::ZERO,
            rebalance_timeout: Duration::ZERO,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            is_new: true,
            knows_id,
            last_seen: now,
        };
        member.update(request, now);
        member
    }

    /// Takes over what a join says. The metadata is copied: the request's bytes are slices of a
    /// frame, which would stay in memory as long as the member.
    pub(super) fn update(&mut self, request: JoinRequest, now: Duration) {
        self.session_timeout = request.session_timeout();
        self.rebalance_timeout = request.rebalance_timeout();
        self.client_id = request.client_id;
        self.client_host = request.client_host;
        let copied = |(name, data): (String, Bytes)| (name, Bytes::copy_from_slice(&data));
        self.protocols = request.protocols.into_iter().map(copied).collect();
        self.touch(now);
    }

    pub(super) fn save(&self) -> MemberRow {
        MemberRow {
            id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            session_timeout: self.session_timeout,
            rebalance_timeout: self.rebalance_timeout,
            protocols: self.protocols.clone(),
            assignment: self.assignment.clone(),
        }
    }

    pub(super) fn restore(row: MemberRow, now: Duration) -> Self {
        Self {
            id: row.id,
            instance_id: row.instance_id,
            client_id: row.client_id,
            client_host: row.client_host,
            session_timeout: row.session_timeout,
            rebalance_timeout: row.rebalance_timeout,
            protocols: row.protocols,
            assignment: row.assignment,
            joining: None,
            syncing: None,
            is_new: false,
            knows_id: true,
            last_seen: now,
        }
    }

    pub(super) fn touch(&mut self, now: Duration) {
        self.last_seen = now;
    }

    /// When the member counts as dead. One that waits for the group's answer cannot be expected
    /// to send heartbeats, except that a new one is not believed in for ever: nothing tells that
    /// its client is still there.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let patience = if self.joining.is_some() && self.is_new {
            Duration::from_millis(GROUP_NEW_MEMBER_JOIN_MS)
        } else if self.joining.is_some() || self.syncing.is_some() {
            return None;
        } else {
            self.session_timeout
        };
        Some(self.last_seen + patience)
    }

    pub(super) fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    /// Whether `request` comes from this member, by id or by instance.
    pub(super) fn sent(&self, request: &JoinRequest) -> bool {
        self.id == request.member_id
            || (self.is_static() && self.instance_id == request.instance_id)
    }

    pub(super) fn has_protocols(&self, protocols: &[(String, Bytes)]) -> bool {
        self.protocols == protocols
    }

    /// The protocols' names, the preferred one first.
    pub(super) fn protocol_names(&self) -> impl Iterator<Item = &str> {
        self.protocols.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocol_names().any(|name| name == protocol)
    }

    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, data)| data.clone()).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.id.len()
            + self.instance_id.as_ref().map_or(0, String::len)
            + self.client_id.len()
            + self.client_host.len()
            + protocol_bytes(&self.protocols)
            + self.assignment.len()
    }
}

/// The members. A list in order of arrival and not a map: the leader's view and the choice of a
/// new leader then do not depend on random ids, and a group is small.
#[derive(Debug, Default)]
pub(super) struct Roster(Vec<Member>);

impl Roster {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Member> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Member> {
        self.0.iter_mut()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Member> {
        self.0.iter().find(|member| member.id == id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.0.iter_mut().find(|member| member.id == id)
    }

    pub(super) fn by_instance(&self, instance_id: &str) -> Option<&Member> {
        self.0.iter().find(|member| member.instance_id.as_deref() == Some(instance_id))
    }

    pub(super) fn push(&mut self, member: Member) {
        self.0.push(member);
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        let at = self.0.iter().position(|member| member.id == id)?;
        Some(self.0.remove(at))
    }

    /// Ids of the members for which `choose` holds.
    pub(super) fn ids(&self, choose: impl Fn(&Member) -> bool) -> Vec<String> {
        self.0.iter().filter(|member| choose(member)).map(|member| member.id.clone()).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(Member::bytes).sum()
    }
}
