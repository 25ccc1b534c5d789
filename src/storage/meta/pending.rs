//! Effects that are in the journal and not yet in the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use redb::{ReadableTable, WriteTransaction};
use serde::Serialize;

use super::APPLIED;
use super::rows::{ends, ends_row, owner_parts, sealed, set_counter};
use crate::storage::journal::{Effects, Extent};
use crate::storage::tables::{
    COMPACTED, COUNTERS, CommittedOffset, GROUPS, GroupRow, OFFSETS, OffsetKey, PARTITIONS,
    PRODUCERS, ProducerKey, ProducerState, STATE, StateKey, UNLINKED,
};
use crate::types::{GroupId, Offset, TopicPartition};

/// New values by key; `None` removes.
#[derive(Debug, Default, Clone)]
pub(in crate::storage) struct Pending {
    pub(in crate::storage) applied: u64,
    pub(in crate::storage) bytes: usize,
    pub(in crate::storage) ends: BTreeMap<TopicPartition, Offset>,
    pub(in crate::storage) starts: BTreeMap<TopicPartition, Offset>,
    pub(in crate::storage) compacted: BTreeMap<TopicPartition, Offset>,
    pub(in crate::storage) producers: BTreeMap<ProducerKey, Option<ProducerState>>,
    pub(in crate::storage) offsets: BTreeMap<OffsetKey, Option<CommittedOffset>>,
    pub(in crate::storage) state: BTreeMap<StateKey, Option<Bytes>>,
    pub(in crate::storage) groups: BTreeMap<GroupId, Option<GroupRow>>,
    /// Segments whose files are gone for good.
    pub(in crate::storage) removed: Vec<u64>,
}

/// What waits, and what of it is being written at the moment.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) newer: Pending,
    writing: Option<Arc<Pending>>,
}

impl Waiting {
    /// What is to be written now.
    pub(super) fn begin(&mut self) -> Arc<Pending> {
        let rest = Pending { applied: self.newer.applied, ..Pending::default() };
        let writing = Arc::new(std::mem::replace(&mut self.newer, rest));
        Arc::clone(self.writing.insert(writing))
    }

    /// It is in the file, or waits again.
    pub(super) fn end(&mut self, written: bool) {
        if let Some(older) = self.writing.take()
            && !written
        {
            let newer = std::mem::take(&mut self.newer);
            self.newer = Arc::unwrap_or_clone(older);
            self.newer.extend(newer);
        }
    }

    /// The new value of a piece of state, if it has one.
    pub(super) fn state(&self, key: &StateKey) -> Option<Option<Bytes>> {
        let writing = || self.writing.as_ref()?.state.get(key);
        self.newer.state.get(key).or_else(writing).cloned()
    }
}

impl Pending {
    /// Adds what came later.
    fn extend(&mut self, newer: Self) {
        self.applied = newer.applied;
        self.bytes += newer.bytes;
        self.ends.extend(newer.ends);
        self.starts.extend(newer.starts);
        self.compacted.extend(newer.compacted);
        self.producers.extend(newer.producers);
        self.offsets.extend(newer.offsets);
        self.state.extend(newer.state);
        self.groups.extend(newer.groups);
        self.removed.extend(newer.removed);
    }

    /// Takes in the effects of the next journal entry.
    pub(in crate::storage) fn take(&mut self, sequence: u64, effects: Effects) {
        self.applied = sequence;
        for Extent { partition, end_offset, .. } in effects.extents {
            self.ends.insert(partition, end_offset);
        }
        self.starts.extend(effects.starts);
        self.compacted.extend(effects.compacted);
        self.producers.extend(effects.producers);
        self.offsets.extend(effects.offsets);
        self.state.extend(effects.state);
        self.groups.extend(effects.groups);
    }

    /// Adds all of it to a transaction.
    pub(in crate::storage) fn write(
        &self,
        transaction: &WriteTransaction,
    ) -> Result<(), redb::Error> {
        set_counter(&mut transaction.open_table(COUNTERS)?, APPLIED, self.applied)?;
        self.write_partitions(transaction)?;
        let mut producers = transaction.open_table(PRODUCERS)?;
        for (ProducerKey { partition, producer_id }, state) in &self.producers {
            let topic = partition.topic.to_bytes();
            let key = (&topic, partition.partition, *producer_id);
            match state {
                Some(state) => producers.insert(key, &sealed(PRODUCERS, &key, &row(state)?)[..])?,
                None => producers.remove(key)?,
            };
        }
        let mut offsets = transaction.open_table(OFFSETS)?;
        for (OffsetKey { owner, partition }, committed) in &self.offsets {
            let (kind, name) = owner_parts(owner);
            let topic = partition.topic.to_bytes();
            let key = (kind, name, &topic, partition.partition);
            match committed {
                Some(committed) => {
                    offsets.insert(key, &sealed(OFFSETS, &key, &row(committed)?)[..])?
                }
                None => offsets.remove(key)?,
            };
        }
        let mut groups = transaction.open_table(GROUPS)?;
        for (group, change) in &self.groups {
            let key = group.as_str();
            match change {
                Some(change) => groups.insert(key, &sealed(GROUPS, &key, &row(change)?)[..])?,
                None => groups.remove(key)?,
            };
        }
        let mut table = transaction.open_table(STATE)?;
        for (StateKey { pipeline, step, source, key }, value) in &self.state {
            let topic = source.topic.to_bytes();
            let key = (pipeline.as_str(), *step, &topic, source.partition, &key[..]);
            match value {
                Some(value) => table.insert(key, &sealed(STATE, &key, value)[..])?,
                None => table.remove(key)?,
            };
        }
        Ok(())
    }

    fn write_partitions(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut partitions = transaction.open_table(PARTITIONS)?;
        for (place, end) in &self.ends {
            let key = (&place.topic.to_bytes(), place.partition);
            let row = partitions.get(key)?.map(|row| ends(*place, row.value())).transpose()?;
            let start = row.map_or(0, |(start, _)| start);
            partitions.insert(key, ends_row(*place, (start, *end)))?;
        }
        for (place, start) in &self.starts {
            let key = (&place.topic.to_bytes(), place.partition);
            let row = partitions.get(key)?.map(|row| ends(*place, row.value())).transpose()?;
            let end = row.map_or(*start, |(_, end)| end);
            partitions.insert(key, ends_row(*place, (*start, end)))?;
        }
        let mut compacted = transaction.open_table(COMPACTED)?;
        for (TopicPartition { topic, partition }, offset) in &self.compacted {
            compacted.insert((&topic.to_bytes(), *partition), *offset)?;
        }
        let mut unlinked = transaction.open_table(UNLINKED)?;
        for number in &self.removed {
            unlinked.remove(number)?;
        }
        Ok(())
    }
}

/// A row inside a redb transaction, whose error type it must have.
fn row<T: Serialize>(value: &T) -> Result<Vec<u8>, redb::Error> {
    postcard::to_stdvec(value).map_err(|error| redb::Error::Corrupted(error.to_string()))
}
