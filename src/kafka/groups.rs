//! Consumer groups on the classic protocol: FindCoordinator, JoinGroup, SyncGroup, Heartbeat,
//! LeaveGroup.

use bytes::Bytes;

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::service::NODE_ID;
use super::wire::Str;
use crate::broker::{CommitError, GroupError, JoinRequest, LeavingMember, SyncRequest};
use crate::types::GroupId;

message! {
    /// Asks which broker coordinates a group or a transaction.
    pub struct FindCoordinatorRequest {
        key: Str [0..=3],
        /// 0: group; 1: transaction; 2: share group.
        key_type: i8 [1.., default 0],
        coordinator_keys: Vec<Str> [4..],
    }

    /// The coordinator; before version 4 for one key, since then for each (KIP-699).
    pub struct FindCoordinatorResponse {
        throttle_time_ms: i32 [1.., ignorable],
        error_code: ErrorCode [0..=3],
        error_message: Option<Str> [1..=3, nullable 1..=3, ignorable],
        node_id: i32 [0..=3],
        host: Str [0..=3],
        port: i32 [0..=3],
        coordinators: Vec<Coordinator> [4..],
    }

    /// The coordinator of one key.
    pub struct Coordinator {
        key: Str,
        node_id: i32,
        host: Str,
        port: i32,
        error_code: ErrorCode,
        error_message: Option<Str> [nullable, ignorable],
    }
}

message! {
    /// Joins a group, or joins again.
    pub struct JoinGroupRequest {
        group_id: Str,
        session_timeout_ms: i32,
        /// -1 before version 1: the session timeout holds.
        rebalance_timeout_ms: i32 [1.., ignorable, default -1],
        /// Empty for a new member.
        member_id: Str,
        group_instance_id: Option<Str> [5.., nullable],
        protocol_type: Str,
        protocols: Vec<JoinGroupRequestProtocol>,
        reason: Option<Str> [8.., nullable, ignorable],
    }

    /// A protocol that the member speaks, in order of preference.
    pub struct JoinGroupRequestProtocol {
        name: Str,
        metadata: Bytes,
    }

    /// The generation that the member is in now.
    pub struct JoinGroupResponse {
        throttle_time_ms: i32 [2.., ignorable],
        error_code: ErrorCode,
        generation_id: i32 [0.., default -1],
        protocol_type: Option<Str> [7.., nullable, ignorable],
        protocol_name: Option<Str> [nullable 7..],
        leader: Str,
        skip_assignment: bool [9.., default false],
        member_id: Str,
        /// All members, for the leader only.
        members: Vec<JoinGroupResponseMember>,
    }

    /// A member, for the leader.
    pub struct JoinGroupResponseMember {
        member_id: Str,
        group_instance_id: Option<Str> [5.., nullable, ignorable],
        metadata: Bytes,
    }
}

message! {
    /// Brings the leader's assignments and asks for one's own.
    pub struct SyncGroupRequest {
        group_id: Str,
        generation_id: i32,
        member_id: Str,
        group_instance_id: Option<Str> [3.., nullable],
        protocol_type: Option<Str> [5.., nullable, ignorable],
        protocol_name: Option<Str> [5.., nullable, ignorable],
        assignments: Vec<SyncGroupRequestAssignment>,
    }

    /// What the leader gives to one member.
    pub struct SyncGroupRequestAssignment {
        member_id: Str,
        assignment: Bytes,
    }

    /// The member's assignment.
    pub struct SyncGroupResponse {
        throttle_time_ms: i32 [1.., ignorable],
        error_code: ErrorCode,
        protocol_type: Option<Str> [5.., nullable, ignorable],
        protocol_name: Option<Str> [5.., nullable, ignorable],
        assignment: Bytes,
    }

    /// Says that the member lives.
    pub struct HeartbeatRequest {
        group_id: Str,
        generation_id: i32,
        member_id: Str,
        group_instance_id: Option<Str> [3.., nullable],
    }

    /// Whether the member is still in.
    pub struct HeartbeatResponse {
        throttle_time_ms: i32 [1.., ignorable],
        error_code: ErrorCode,
    }

    /// Leaves a group; before version 3 one member, since then any number (KIP-345).
    pub struct LeaveGroupRequest {
        group_id: Str,
        member_id: Str [0..=2],
        members: Vec<MemberIdentity> [3..],
    }

    /// A member that leaves.
    pub struct MemberIdentity {
        member_id: Str,
        group_instance_id: Option<Str> [nullable],
        reason: Option<Str> [5.., nullable, ignorable],
    }

    /// Which members have left.
    pub struct LeaveGroupResponse {
        throttle_time_ms: i32 [1.., ignorable],
        error_code: ErrorCode,
        members: Vec<MemberResponse> [3..],
    }

    /// Whether one member has left.
    pub struct MemberResponse {
        member_id: Str,
        group_instance_id: Option<Str> [nullable],
        error_code: ErrorCode,
    }
}

const GROUP_KEY: i8 = 0;
const TRANSACTION_KEY: i8 = 1;

fn text(value: &Option<Str>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}

/// The id of a group that can have members.
fn group_id(id: &Str) -> Result<GroupId, ErrorCode> {
    let group = GroupId::new(id).ok().filter(|_| !id.is_empty());
    group.ok_or(ErrorCode::InvalidGroupId)
}

/// Makes durable what the request has changed. As with commits, what fails on the way to the log
/// is the coordinator's to clients.
async fn save(caller: &Caller<'_>, group: &GroupId) -> Result<(), CommitError> {
    caller.context.broker.save_group(group).await
}

pub(super) async fn find_coordinator(
    caller: Caller<'_>,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let locate = |key: Str| {
        let refusal = match request.key_type {
            GROUP_KEY => None,
            // Transactions are not served yet; this is the one answer that clients take as final.
            TRANSACTION_KEY => Some(ErrorCode::TransactionalIdAuthorizationFailed),
            _ => Some(ErrorCode::InvalidRequest),
        };
        match refusal {
            None => Coordinator {
                key,
                node_id: NODE_ID,
                host: caller.context.host.clone(),
                port: caller.context.port,
                ..Default::default()
            },
            Some(error_code) => {
                Coordinator { key, node_id: -1, port: -1, error_code, ..Default::default() }
            }
        }
    };
    if caller.version >= 4 {
        let coordinators = request.coordinator_keys.into_iter().map(locate).collect();
        return FindCoordinatorResponse { coordinators, ..Default::default() };
    }
    let Coordinator { node_id, host, port, error_code, .. } = locate(request.key);
    FindCoordinatorResponse { node_id, host, port, error_code, ..Default::default() }
}

pub(super) async fn join(caller: Caller<'_>, request: JoinGroupRequest) -> JoinGroupResponse {
    let version = caller.version;
    let member_id = request.member_id.clone();
    let refuse = |error_code, member_id| JoinGroupResponse {
        error_code,
        member_id,
        // Null is allowed only since version 7.
        protocol_name: (version < 7).then(Str::default),
        ..Default::default()
    };
    let group = match group_id(&request.group_id) {
        Ok(group) => group,
        Err(code) => return refuse(code, member_id),
    };
    let rebalance_timeout_ms = match version {
        0 => request.session_timeout_ms,
        _ => request.rebalance_timeout_ms,
    };
    let protocols = request.protocols.into_iter().map(|p| (p.name.to_string(), p.metadata));
    let instance_id = text(&request.group_instance_id);
    let joining = caller.context.broker.groups().join(
        &group,
        JoinRequest {
            member_id: member_id.to_string(),
            // Static members are known by their instance already (KIP-394).
            require_known_member_id: version >= 4 && instance_id.is_none(),
            instance_id,
            client_id: caller.client_id.to_owned(),
            client_host: caller.context.client_host.clone(),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms,
            protocol_type: request.protocol_type.to_string(),
            protocols: protocols.collect(),
            supports_skip_assignment: version >= 9,
        },
    );
    let joined = match joining.await {
        Ok(joined) => joined,
        Err(GroupError::MemberIdRequired { member_id }) => {
            return refuse(ErrorCode::MemberIdRequired, Str::from(member_id));
        }
        Err(error) => return refuse(ErrorCode::from(&error), member_id),
    };
    if save(&caller, &group).await.is_err() {
        return refuse(ErrorCode::NotCoordinator, member_id);
    }
    let members = joined.members.into_iter().map(|member| JoinGroupResponseMember {
        member_id: Str::from(member.member_id),
        group_instance_id: member.instance_id.map(Str::from),
        metadata: member.metadata,
    });
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: Some(Str::from(joined.protocol_type)),
        protocol_name: Some(Str::from(joined.protocol_name)),
        leader: Str::from(joined.leader),
        skip_assignment: joined.skip_assignment,
        member_id: Str::from(joined.member_id),
        members: members.collect(),
        ..Default::default()
    }
}

pub(super) async fn sync(caller: Caller<'_>, request: SyncGroupRequest) -> SyncGroupResponse {
    let refuse = |error_code| SyncGroupResponse { error_code, ..Default::default() };
    let group = match group_id(&request.group_id) {
        Ok(group) => group,
        Err(code) => return refuse(code),
    };
    let assignments = request.assignments.into_iter();
    let syncing = caller.context.broker.groups().sync(
        &group,
        SyncRequest {
            member_id: request.member_id.to_string(),
            instance_id: text(&request.group_instance_id),
            generation: request.generation_id,
            protocol_type: text(&request.protocol_type),
            protocol_name: text(&request.protocol_name),
            assignments: assignments.map(|a| (a.member_id.to_string(), a.assignment)).collect(),
        },
    );
    let synced = syncing.await;
    if synced.is_ok() && save(&caller, &group).await.is_err() {
        return refuse(ErrorCode::NotCoordinator);
    }
    match synced {
        Ok(synced) => SyncGroupResponse {
            protocol_type: Some(Str::from(synced.protocol_type)),
            protocol_name: Some(Str::from(synced.protocol_name)),
            assignment: synced.assignment,
            ..Default::default()
        },
        Err(error) => refuse(ErrorCode::from(&error)),
    }
}

pub(super) async fn heartbeat(caller: Caller<'_>, request: HeartbeatRequest) -> HeartbeatResponse {
    let beaten = group_id(&request.group_id).and_then(|group| {
        let (member_id, generation) = (&request.member_id, request.generation_id);
        let instance_id = request.group_instance_id.as_deref();
        let groups = caller.context.broker.groups();
        groups
            .heartbeat(&group, member_id, instance_id, generation)
            .map_err(|error| ErrorCode::from(&error))
    });
    HeartbeatResponse { error_code: beaten.err().unwrap_or_default(), ..Default::default() }
}

pub(super) async fn leave(caller: Caller<'_>, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let refuse = |error_code| LeaveGroupResponse { error_code, ..Default::default() };
    let group = match group_id(&request.group_id) {
        Ok(group) => group,
        Err(code) => return refuse(code),
    };
    let identities = match caller.version {
        ..=2 => vec![MemberIdentity { member_id: request.member_id, ..Default::default() }],
        _ => request.members,
    };
    let leaving: Vec<LeavingMember> = identities
        .iter()
        .map(|member| LeavingMember {
            member_id: member.member_id.to_string(),
            instance_id: text(&member.group_instance_id),
        })
        .collect();
    let left = match caller.context.broker.groups().leave(&group, &leaving) {
        Ok(left) => left,
        Err(error) => return refuse(ErrorCode::from(&error)),
    };
    if save(&caller, &group).await.is_err() {
        return refuse(ErrorCode::NotCoordinator);
    }
    let code = |left: Result<(), GroupError>| {
        left.map_or_else(|e| ErrorCode::from(&e), |()| ErrorCode::None)
    };
    let mut codes = left.into_iter().map(code);
    if caller.version <= 2 {
        return refuse(codes.next().unwrap_or_default());
    }
    let members = identities.into_iter().zip(codes).map(|(member, error_code)| MemberResponse {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        error_code,
    });
    LeaveGroupResponse { members: members.collect(), ..Default::default() }
}
