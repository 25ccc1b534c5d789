//! A group on its way to disk and back: what a restart must not undo, so that its members go on
//! as if nothing had happened.

use std::time::Duration;

use super::member::{Member, Roster};
use super::state::{Group, Phase};
use crate::storage::GroupRow;
use crate::types::TimestampMs;

impl Group {
    /// Grows with every change that is to be saved.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The group as it is to be saved; `None` while it has nothing to go back to: between two
    /// generations the one before is.
    pub(crate) fn save(&self, now: Duration, now_ms: TimestampMs) -> Option<GroupRow> {
        match self.phase {
            Phase::Empty if self.generation > 0 => {}
            Phase::Stable => {}
            _ => return None,
        }
        let empty_for = self.empty_for(now).map(|empty_for| {
            let ms = TimestampMs::try_from(empty_for.as_millis()).unwrap_or(TimestampMs::MAX);
            now_ms.saturating_sub(ms)
        });
        Some(GroupRow {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            generation: self.generation,
            leader: self.leader.clone(),
            members: self.members.iter().map(Member::save).collect(),
            empty_since_ms: empty_for,
        })
    }

    /// A group that was saved. Its members have a session's time to be heard of.
    pub(crate) fn restore(
        row: GroupRow,
        now: Duration,
        now_ms: TimestampMs,
        initial_delay: Duration,
    ) -> Self {
        let mut group = Self::new(now, initial_delay);
        group.protocol_type = row.protocol_type;
        group.generation = row.generation;
        let empty_ms = row.empty_since_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms));
        group.empty_before = Duration::from_millis(u64::try_from(empty_ms).unwrap_or(0));
        let mut members = Roster::default();
        for member in row.members {
            members.push(Member::restore(member, now));
        }
        let leader = row.leader.filter(|leader| members.get(leader).is_some());
        if leader.is_some() {
            group.phase = Phase::Stable;
            group.protocol_name = row.protocol_name;
            group.leader = leader;
            group.members = members;
        }
        group
    }
}
