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
        let was_known = self.groups().remove(group)?;
        let partitions: Vec<_> =
            self.committed(&OffsetOwner::Group(group.clone())).into_keys().collect();
        if partitions.is_empty() {
            return if was_known { Ok(()) } else { Err(DeleteGroupError::Unknown) };
        }
        Ok(self.delete_offsets(group, &partitions).await?)
    }

    /// Removes committed offsets of a group, those that there are. Durable when it returns.
    pub async fn delete_offsets(
        &self,
        group: &GroupId,
        partitions: &[TopicPartition],
    ) -> Result<(), CommitError> {
        let change = |partition: &TopicPartition| OffsetChange {
            owner: OffsetOwner::Group(group.clone()),
            partition: *partition,
            expected: None,
            committed: None,
        };
        let offsets = partitions.iter().map(change).collect();
        self.commit(Commit { offsets, ..Commit::default() }).await.map(|_| ())
    }

    fn has_offsets(&self, group: &GroupId) -> bool {
        self.shared.offsets().contains_key(&OffsetOwner::Group(group.clone()))
    }

    pub(super) fn groups_with_offsets(&self) -> Vec<GroupId> {
        let offsets = self.shared.offsets();
        let group = |owner: &OffsetOwner| match owner {
            OffsetOwner::Group(group) => Some(group.clone()),
            OffsetOwner::Pipeline(_) => None,
        };
        offsets.keys().filter_map(group).collect()
    }
}
