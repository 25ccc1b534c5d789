//! One consumer group of the classic protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup) as a
//! pure state machine: an event and the time go in, replies and the next deadline come out.
//!
//! It has no clock, does no I/O, knows no wire format and no error code, stores no offset. It
//! treats subscriptions and assignments as bytes: the clients assign the partitions.
//!
//! ```text
//!         join               all joined, or time is up         leader's sync
//!   Empty ----> Preparing ----------------------------> Completing ----> Stable
//!     ^          |  ^  ^                                     |            |
//!     +----------+  |  +-------------------------------------+            |
//!     nobody left   +-----------------------------------------------------+
//!                         a member comes, changes, leaves or dies
//! ```
//!
//! Sources: KIP-62 (rebalance timeout), KIP-134 (initial delay), KIP-345 (static members),
//! KIP-394 (member id required), KIP-559 (protocol in SyncGroup), KIP-814 (skip assignment).

mod join;
mod member;
mod rebalance;
mod saved;
mod state;
mod types;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub(super) use state::{Group, Reply, Token};
pub use types::{
    GroupDescription, GroupError, GroupListing, GroupState, JoinRequest, JoinResponse,
    JoinedMember, LeavingMember, MemberDescription, SyncRequest, SyncResponse,
};
