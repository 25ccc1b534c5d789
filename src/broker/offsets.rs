//! The committed offsets of groups and the checkpoints of pipelines, as everybody sees them.

use std::collections::{BTreeMap, HashMap};

use crate::limits::OFFSETS_BYTES;
use crate::storage::{CommittedOffset, OffsetKey};
use crate::types::{Offset, OffsetOwner, TopicId, TopicPartition};

/// What an offset takes in memory beside its metadata and a share of its owner's name, bytes.
const OFFSET_BYTES: usize = 128;

pub(super) type OwnersOffsets = BTreeMap<TopicPartition, CommittedOffset>;

#[derive(Debug, Default)]
pub(super) struct Offsets {
    by_owner: HashMap<OffsetOwner, OwnersOffsets>,
    /// What those of groups take, about.
    bytes: usize,
}

impl Offsets {
    pub(super) fn get(&self, owner: &OffsetOwner) -> Option<&OwnersOffsets> {
        self.by_owner.get(owner)
    }

    pub(super) fn offset(&self, owner: &OffsetOwner, at: TopicPartition) -> Option<Offset> {
        self.get(owner)?.get(&at).map(|committed| committed.offset)
    }

    /// All that there are, by owner; none without offsets.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&OffsetOwner, &OwnersOffsets)> {
        self.by_owner.iter()
    }

    /// Whether there is memory for a new offset. Who gives back as much as it takes always has.
    pub(super) fn has_room(
        &self,
        owner: &OffsetOwner,
        at: TopicPartition,
        new: &CommittedOffset,
    ) -> bool {
        let freed = self.get(owner).and_then(|offsets| offsets.get(&at));
        let freed = freed.map_or(0, |old| bytes(owner, old));
        let taken = bytes(owner, new);
        taken <= freed || self.bytes - freed + taken <= OFFSETS_BYTES
    }

    pub(super) fn apply(
        &mut self,
        OffsetKey { owner, partition }: OffsetKey,
        new: Option<CommittedOffset>,
    ) {
        self.bytes += new.as_ref().map_or(0, |new| bytes(&owner, new));
        let Some(new) = new else {
            if let Some(offsets) = self.by_owner.get_mut(&owner) {
                let old = offsets.remove(&partition);
                self.bytes -= old.map_or(0, |old| bytes(&owner, &old));
                if offsets.is_empty() {
                    self.by_owner.remove(&owner);
                }
            }
            return;
        };
        match self.by_owner.get_mut(&owner) {
            Some(offsets) => {
                let old = offsets.insert(partition, new);
                self.bytes -= old.map_or(0, |old| bytes(&owner, &old));
            }
            None => {
                self.by_owner.insert(owner, BTreeMap::from([(partition, new)]));
            }
        }
    }

    /// Drops those of a topic.
    pub(super) fn forget(&mut self, topic: TopicId) {
        let total = &mut self.bytes;
        self.by_owner.retain(|owner, offsets| {
            offsets.retain(|partition, old| {
                let stays = partition.topic != topic;
                if !stays {
                    *total -= bytes(owner, old);
                }
                stays
            });
            !offsets.is_empty()
        });
    }
}

/// Pipelines are bounded by themselves.
fn bytes(owner: &OffsetOwner, committed: &CommittedOffset) -> usize {
    match owner {
        OffsetOwner::Group(group) => OFFSET_BYTES + group.as_str().len() + committed.metadata.len(),
        OffsetOwner::Pipeline(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{GroupId, PipelineName};

    fn group(name: &str) -> OffsetOwner {
        OffsetOwner::Group(GroupId::new(name).unwrap())
    }

    fn committed(metadata: usize) -> CommittedOffset {
        let metadata = "m".repeat(metadata);
        CommittedOffset { offset: 1, leader_epoch: 0, metadata, commit_time_ms: 0 }
    }

    #[test]
    fn memory_is_counted_and_given_back() {
        let (one, two) = (TopicId::random(), TopicId::random());
        let at = |topic, partition| TopicPartition { topic, partition };
        let key = |owner: &OffsetOwner, partition| OffsetKey { owner: owner.clone(), partition };
        let mut offsets = Offsets::default();
        let (g, h) = (group("g"), group("h"));
        offsets.apply(key(&g, at(one, 0)), Some(committed(10)));
        offsets.apply(key(&g, at(one, 0)), Some(committed(20)));
        offsets.apply(key(&g, at(two, 0)), Some(committed(0)));
        offsets.apply(key(&h, at(one, 0)), Some(committed(0)));
        let pipeline = OffsetOwner::Pipeline(PipelineName::new("p").unwrap());
        offsets.apply(key(&pipeline, at(one, 0)), Some(committed(5)));
        assert_eq!(offsets.bytes, 3 * (OFFSET_BYTES + 1) + 20);
        offsets.apply(key(&h, at(two, 9)), None);
        offsets.forget(one);
        assert_eq!(offsets.bytes, OFFSET_BYTES + 1);
        assert_eq!(offsets.get(&h), None);
        offsets.apply(key(&g, at(two, 0)), None);
        assert_eq!((offsets.bytes, offsets.iter().count()), (0, 0));
    }

    #[test]
    fn a_full_store_of_offsets_takes_what_gives_as_much_back() {
        let at = TopicPartition { topic: TopicId::random(), partition: 0 };
        let mut offsets = Offsets::default();
        let owner = group("g");
        offsets.apply(OffsetKey { owner: owner.clone(), partition: at }, Some(committed(100)));
        offsets.bytes = OFFSETS_BYTES;
        assert!(offsets.has_room(&owner, at, &committed(100)));
        assert!(!offsets.has_room(&owner, at, &committed(101)));
        assert!(!offsets.has_room(&group("h"), at, &committed(0)));
        let pipeline = OffsetOwner::Pipeline(PipelineName::new("p").unwrap());
        assert!(offsets.has_room(&pipeline, at, &committed(100)));
    }
}
