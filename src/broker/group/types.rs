//! What goes into a group and what comes out: requests, responses, refusals, descriptions. Plain
//! data, no wire format.

use std::time::Duration;

use bytes::Bytes;

use crate::limits::{GROUP_REBALANCE_TIMEOUT_MIN_MS, MEMBER_METADATA_BYTES, SESSION_TIMEOUT_MS};
use crate::types::GroupId;

/// What one protocol of a member costs in memory beside its name and metadata, bytes, so that
/// empty names are not free.
const PROTOCOL_OVERHEAD_BYTES: usize = 64;

/// Why a group refused a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The member is to join again with this id (KIP-394).
    #[error("join again as member {member_id:?}")]
    MemberIdRequired {
        /// The id made for it.
        member_id: String,
    },
    /// Never a member, or no longer one.
    #[error("unknown member {member_id:?}")]
    UnknownMember {
        /// The id given.
        member_id: String,
    },
    /// Another process took over this instance id.
    #[error("instance {instance_id:?} is no longer member {member_id:?}")]
    FencedInstance {
        /// The instance id given.
        instance_id: String,
        /// The member id given.
        member_id: String,
    },
    /// The request belongs to another generation.
    #[error("generation {given} is not the present one, {current}")]
    IllegalGeneration {
        /// The generation given.
        given: i32,
        /// The group's; -1 when there is no such group.
        current: i32,
    },
    /// The member is to join again.
    #[error("the group rebalances after generation {generation}")]
    RebalanceInProgress {
        /// The generation that ends.
        generation: i32,
    },
    /// Nothing in common with the other members.
    #[error("protocol type {protocol_type:?} or its protocols do not fit the group's")]
    InconsistentProtocol {
        /// The type given.
        protocol_type: String,
    },
    /// Outside [`SESSION_TIMEOUT_MS`].
    #[error("session timeout {given} ms is not within {min} to {max} ms")]
    InvalidSessionTimeout {
        /// The timeout given.
        given: i32,
        /// Least allowed.
        min: i32,
        /// Most allowed.
        max: i32,
    },
    /// No room for a further member.
    #[error("the group has its most members, {max}")]
    GroupFull {
        /// Members allowed.
        max: usize,
    },
    /// No room for a further group.
    #[error("the broker has its most groups, {max}")]
    TooManyGroups {
        /// Groups allowed.
        max: usize,
    },
    /// Subscriptions or an assignment beyond the cap.
    #[error("{bytes} bytes of member metadata, at most {max} are allowed")]
    MetadataTooLarge {
        /// Bytes given.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// All groups together hold their most memory.
    #[error("the groups hold their most memory, {max} bytes")]
    OutOfMemory {
        /// Bytes allowed.
        max: usize,
    },
    /// Only a group without members can be removed.
    #[error("the group has members")]
    NonEmpty,
    /// The broker is stopping.
    #[error("the group coordinator has stopped")]
    Stopped,
}

/// Where a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// No members; there may be pending ones.
    Empty,
    /// Members are joining.
    PreparingRebalance,
    /// All have joined; the leader has yet to assign.
    CompletingRebalance,
    /// The assignment is out.
    Stable,
    /// Given up; another group may have its id.
    Dead,
}

/// A member comes, or comes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// Empty for a member that has no id yet.
    pub member_id: String,
    /// `group.instance.id` of a static member (KIP-345).
    pub instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where the request came from, for descriptions.
    pub client_host: String,
    /// Silence after which the member counts as dead, milliseconds.
    pub session_timeout_ms: i32,
    /// How long the others wait for this member to join or sync, milliseconds. Requests without
    /// it (version 0) have the session timeout here.
    pub rebalance_timeout_ms: i32,
    /// The kind of group, "consumer" for consumers.
    pub protocol_type: String,
    /// Protocols (assignors) with the member's metadata for each, the preferred one first.
    pub protocols: Vec<(String, Bytes)>,
    /// Whether a member without an id is sent back to join with one (versions 4 and later).
    pub require_known_member_id: bool,
    /// Whether the member understands `skip_assignment` (versions 9 and later, KIP-814).
    pub supports_skip_assignment: bool,
}

impl JoinRequest {
    /// What keeping this member costs, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.client_id.len()
            + self.client_host.len()
            + self.instance_id.as_ref().map_or(0, String::len)
            + protocol_bytes(&self.protocols)
    }

    pub(super) fn check(&self) -> Result<(), GroupError> {
        if !SESSION_TIMEOUT_MS.contains(&self.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout {
                given: self.session_timeout_ms,
                min: *SESSION_TIMEOUT_MS.start(),
                max: *SESSION_TIMEOUT_MS.end(),
            });
        }
        check_metadata_bytes(self.bytes())
    }

    pub(super) fn session_timeout(&self) -> Duration {
        millis(self.session_timeout_ms)
    }

    /// Raised to the least allowed: a group whose members are all given no time would rebalance
    /// without a pause.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        millis(self.rebalance_timeout_ms).max(Duration::from_millis(GROUP_REBALANCE_TIMEOUT_MIN_MS))
    }
}

pub(super) fn protocol_bytes(protocols: &[(String, Bytes)]) -> usize {
    protocols.iter().map(|(name, data)| name.len() + data.len() + PROTOCOL_OVERHEAD_BYTES).sum()
}

pub(super) fn check_metadata_bytes(bytes: usize) -> Result<(), GroupError> {
    if bytes > MEMBER_METADATA_BYTES {
        return Err(GroupError::MetadataTooLarge { bytes, max: MEMBER_METADATA_BYTES });
    }
    Ok(())
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// The member takes part in this generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinResponse {
    /// The member's id, perhaps a new one.
    pub member_id: String,
    /// The generation, from 1.
    pub generation: i32,
    /// The group's kind.
    pub protocol_type: String,
    /// The chosen protocol.
    pub protocol_name: String,
    /// The member that assigns. A static leader that came back without understanding
    /// `skip_assignment` is told its former id, so that it does not assign.
    pub leader: String,
    /// True for a leader that must not assign, since the present assignment stays.
    pub skip_assignment: bool,
    /// All members, for the leader; empty for the others.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// Its instance id, if static.
    pub instance_id: Option<String>,
    /// Its metadata for the chosen protocol.
    pub metadata: Bytes,
}

/// A member asks for its assignment; the leader brings those of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRequest {
    /// The member.
    pub member_id: String,
    /// Its instance id, if static.
    pub instance_id: Option<String>,
    /// The generation it joined.
    pub generation: i32,
    /// Checked against the group's if given (versions 5 and later, KIP-559).
    pub protocol_type: Option<String>,
    /// Checked against the group's if given.
    pub protocol_name: Option<String>,
    /// Member id and assignment; ignored from any but the leader.
    pub assignments: Vec<(String, Bytes)>,
}

impl SyncRequest {
    /// What keeping these assignments costs, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.assignments.iter().map(|(_, assignment)| assignment.len()).sum()
    }
}

/// The member's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncResponse {
    /// The group's kind.
    pub protocol_type: String,
    /// The chosen protocol.
    pub protocol_name: String,
    /// As the leader wrote it; empty if it left this member out.
    pub assignment: Bytes,
}

/// One entry of a LeaveGroup batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeavingMember {
    /// The member; empty to name a static member by its instance alone.
    pub member_id: String,
    /// Its instance id, if static.
    pub instance_id: Option<String>,
}

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// The group.
    pub group: GroupId,
    /// Where it stands.
    pub state: GroupState,
    /// Its kind; empty before the first member.
    pub protocol_type: String,
}

/// A group in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Where it stands.
    pub state: GroupState,
    /// The present generation; 0 before the first.
    pub generation: i32,
    /// Its kind; empty before the first member.
    pub protocol_type: String,
    /// The chosen protocol; empty before the first generation and without members.
    pub protocol_name: String,
    /// The member that assigns.
    pub leader: Option<String>,
    /// In the order in which they came.
    pub members: Vec<MemberDescription>,
}

/// A member in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: String,
    /// Its instance id, if static.
    pub instance_id: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it came from.
    pub client_host: String,
    /// Its metadata for the chosen protocol; empty outside a stable group.
    pub metadata: Bytes,
    /// Its assignment; empty outside a stable group.
    pub assignment: Bytes,
}
