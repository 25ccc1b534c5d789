//! Consumer groups on the classic protocol: FindCoordinator, JoinGroup, SyncGroup, Heartbeat,
//! LeaveGroup.

use bytes::Bytes;

use super::errors::ErrorCode;
use super::message::message;
use super::wire::Str;

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
