//! Room on the disk that records must leave free. With none left nothing could be written that
//! makes room: neither the deletion of a topic nor what retention decides, nor the move of what
//! lives out of a segment that is mostly dead. So records are refused before the disk is full,
//! and everything else goes on.

use super::Shared;

/// A shortage is over when there is this share more than what is kept free: it is not to come and
/// go with every group.
const MARGIN: u64 = 8;

impl Shared {
    /// Looks how much of the disk is free. Says why no records are taken, if there is too little.
    pub(super) fn look_at_room(&self) -> Option<String> {
        let kept = self.config.min_free_bytes;
        let was_short = self.shortage().is_some();
        let enough = if was_short { kept.saturating_add(kept / MARGIN) } else { kept };
        let free = self.store.room().map_or(u64::MAX, |(_, free)| free);
        if free >= enough {
            if was_short {
                tracing::info!(free, "there is room on the disk again");
                self.shortage.send_replace(None);
            }
            return None;
        }
        let reason = format!(
            "{free} bytes of the disk are free, {enough} are needed; delete a topic or make room"
        );
        if !was_short {
            tracing::error!(free, kept, "the disk is nearly full, no records are taken");
        }
        self.shortage.send_replace(Some(reason.clone()));
        Some(reason)
    }

    /// Why no records were taken when it was last looked.
    pub(super) fn shortage(&self) -> Option<String> {
        self.shortage.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::commit::{Commit, OffsetChange};
    use super::super::world::World;
    use super::super::{CommitError, NewTopic};
    use crate::limits::MIN_FREE_BYTES;
    use crate::record::{BatchBuilder, Compression, RecordBatch};
    use crate::storage::CommittedOffset;
    use crate::types::{GroupId, OffsetOwner, TopicName};

    fn batch() -> RecordBatch {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(0, None, Some(b"value"), &[]).unwrap();
        builder.build().unwrap()
    }

    #[test]
    fn records_leave_room_for_all_else() {
        let mut world = World::new(1);
        world.files.say_free(MIN_FREE_BYTES);
        world.append(0, batch()).unwrap();
        world.files.say_free(MIN_FREE_BYTES - 1);
        let refused = world.append(0, batch()).unwrap_err();
        assert!(matches!(&refused, CommitError::Storage(why) if why.contains("free")), "{refused}");
        assert!(world.broker.outage().is_some());

        let committed = CommittedOffset {
            offset: 1,
            leader_epoch: 0,
            metadata: String::new(),
            commit_time_ms: 0,
        };
        let owner = OffsetOwner::Group(GroupId::new("g").unwrap());
        let partition = world.at(0);
        let change = OffsetChange { owner, partition, expected: None, committed: Some(committed) };
        let commit = Commit { offsets: vec![change], ..Commit::default() };
        world.committer.commit_group(vec![commit]).remove(0).unwrap();
        world.committer.delete_topic(world.topic.id()).unwrap();

        world.files.say_free(MIN_FREE_BYTES);
        let name = TopicName::new("u").unwrap();
        let new = NewTopic { name, partitions: Some(1), config: BTreeMap::new() };
        world.topic = world.committer.create_topic(new).unwrap();
        world.append(0, batch()).unwrap_err();
        world.files.say_free(2 * MIN_FREE_BYTES);
        world.append(0, batch()).unwrap();
        assert_eq!(world.broker.outage(), None);
    }
}
