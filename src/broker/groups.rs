//! Consumer groups as administrators see them: members, which the coordinator knows, and committed
//! offsets, which outlive them. A group is there as long as it has either.

use std::collections::BTreeMap;

use super::{
    Broker, Commit, CommitError, GroupDescription, GroupError, GroupListing, GroupState,
    OffsetChange,
};
use crate::types::{GroupId, OffsetOwner, TopicPartition};

/// Why a group was not removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteGroupError {
    /// There is none of that id.
    #[error("unknown group")]
    Unknown,
    /// It has members, or the coordinator has stopped.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Its offsets could not be removed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Broker {
    /// All groups, by id.
    pub fn list_groups(&self) -> Vec<GroupListing> {
        let with_offsets = self.groups_with_offsets().into_iter().map(|group| {
            let (state, protocol_type) = (GroupState::Empty, String::new());
            (group.clone(), GroupListing { group, state, protocol_type })
        });
        let mut groups: BTreeMap<_, _> = with_offsets.collect();
        let listed = self.groups().list().into_iter();
        groups.extend(listed.map(|listing| (listing.group.clone(), listing)));
        groups.into_values().collect()
    }

    /// One group in full.
    pub fn describe_group(&self, group: &GroupId) -> Option<GroupDescription> {
        let without_members = || GroupDescription {
            state: GroupState::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol_name: String::new(),
            leader: None,
            members: Vec::new(),
        };
        let described = self.groups().describe(group);
        described.or_else(|| self.has_offsets(group).then(without_members))
    }

    /// Removes a group that has no members, with its offsets. Durable when it returns.
    pub async fn delete_group(&self, group: &GroupId) -> Result<(), DeleteGroupError> {
        let saving = self.groups().saving(group);
        // Nobody saves it again behind this.
        let _turn = match &saving {
            Some(saving) => Some(saving.lock().await),
            None => None,
        };
        let was_known = self.groups().remove(group)?;
        let committed = self.committed(&OffsetOwner::Group(group.clone()));
        if committed.is_empty() && !was_known {
            return Err(DeleteGroupError::Unknown);
        }
        let offsets = committed.into_keys().map(|partition| removal(group, partition)).collect();
        let groups = vec![(group.clone(), None)];
        self.commit(Commit { offsets, groups, ..Commit::default() }).await?;
        Ok(())
    }

    /// Makes what a rebalance has changed of a group durable; returns at once if nothing has
    /// changed since. Who is answered only then finds the group unchanged after a crash.
    pub async fn save_group(&self, group: &GroupId) -> Result<(), CommitError> {
        let Some(saving) = self.groups().saving(group) else { return Ok(()) };
        let _turn = saving.lock().await;
        let Some((version, row)) = self.groups().unsaved(group) else { return Ok(()) };
        let groups = vec![(group.clone(), Some(row))];
        self.commit(Commit { groups, ..Commit::default() }).await?;
        self.groups().saved(group, version);
        Ok(())
    }

    /// Removes committed offsets of a group, those that there are. Durable when it returns.
    pub async fn delete_offsets(
        &self,
        group: &GroupId,
        partitions: &[TopicPartition],
    ) -> Result<(), CommitError> {
        let offsets = partitions.iter().map(|partition| removal(group, *partition)).collect();
        self.commit(Commit { offsets, ..Commit::default() }).await.map(|_| ())
    }

    fn has_offsets(&self, group: &GroupId) -> bool {
        self.shared.offsets().get(&OffsetOwner::Group(group.clone())).is_some()
    }

    pub(super) fn groups_with_offsets(&self) -> Vec<GroupId> {
        let offsets = self.shared.offsets();
        let group = |(owner, _): (&OffsetOwner, _)| match owner {
            OffsetOwner::Group(group) => Some(group.clone()),
            OffsetOwner::Pipeline(_) => None,
        };
        offsets.iter().filter_map(group).collect()
    }
}

fn removal(group: &GroupId, partition: TopicPartition) -> OffsetChange {
    let owner = OffsetOwner::Group(group.clone());
    OffsetChange { owner, partition, expected: None, committed: None }
}
