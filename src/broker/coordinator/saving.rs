//! What of the groups is to be on disk. Reading and writing are the broker's.

use std::sync::{Arc, Mutex};

use super::{Coordinator, Slot, lock};
use crate::broker::group::Group;
use crate::storage::GroupRow;
use crate::types::GroupId;

impl Coordinator {
    /// Puts a group back that was saved before a restart.
    pub(in crate::broker) fn restore(&self, id: GroupId, row: GroupRow) {
        let clock = &self.0.clock;
        let delay = self.initial_delay();
        let group = Group::restore(row, clock.monotonic(), clock.now_ms(), delay);
        let mut slot = Slot::new(group);
        // Nobody waits for an answer yet.
        self.settle(&id, &mut slot, Vec::new());
        lock(&self.0.registry).groups.insert(id, Arc::new(Mutex::new(slot)));
    }

    /// The turn to save this group or to forget it.
    pub(in crate::broker) fn saving(&self, id: &GroupId) -> Option<Arc<tokio::sync::Mutex<()>>> {
        let slot = lock(&self.0.registry).groups.get(id).cloned()?;
        let slot = lock(&slot);
        Some(Arc::clone(&slot.saving))
    }

    /// The group as it is to be saved, with its version, unless that is on disk already.
    pub(in crate::broker) fn unsaved(&self, id: &GroupId) -> Option<(u64, GroupRow)> {
        let slot = lock(&self.0.registry).groups.get(id).cloned()?;
        let slot = lock(&slot);
        let version = slot.group.version();
        if version <= slot.saved {
            return None;
        }
        let clock = &self.0.clock;
        Some((version, slot.group.save(clock.monotonic(), clock.now_ms())?))
    }

    /// This version of the group is on disk.
    pub(in crate::broker) fn saved(&self, id: &GroupId, version: u64) {
        let slot = lock(&self.0.registry).groups.get(id).cloned();
        if let Some(slot) = slot {
            let mut slot = lock(&slot);
            slot.saved = slot.saved.max(version);
        }
    }

    /// Groups that have changed since they were saved.
    pub(in crate::broker) fn all_unsaved(&self) -> Vec<GroupId> {
        let slots = self.slots().into_iter();
        let unsaved = |(id, slot): (GroupId, Arc<Mutex<Slot>>)| {
            let slot = lock(&slot);
            (slot.group.version() > slot.saved).then_some(id)
        };
        slots.filter_map(unsaved).collect()
    }

    /// Saved groups that had to give way; nobody else forgets them.
    pub(in crate::broker) fn take_evicted(&self) -> Vec<GroupId> {
        std::mem::take(&mut lock(&self.0.registry).evicted).into_iter().collect()
    }
}
