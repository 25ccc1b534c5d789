//! `meta.redb`: what all journals amount to, and the rare admin changes.
//!
//! Effects of commits are durable in the journal. Here they wait in memory ([`Pending`]) and are
//! written about once a second in one durable transaction, with the sequence number up to which
//! they are applied; a crash replays the journal from there. The alternative, a redb transaction
//! without durability for each group, would cost a B-tree update a group and show readers
//! nothing that memory does not.

mod recovered;

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::recovered::Recovered;
use super::files::{Backend, Files, OpenMode};
use super::journal::{Effects, Extent};
use super::runs::{Placed, Run};
use super::segment::{self, create_database, open_database};
use super::tables::{
    COMPACTED, COMPONENTS, COUNTERS, CommittedOffset, DEPLOYMENTS, GROUPS, GroupRow, IDENTITY,
    OFFSETS, OffsetKey, PARTITIONS, PRODUCERS, ProducerKey, ProducerState, RUNS, SEGMENTS,
    SETTINGS, STATE, SettingsKey, SettingsRow, StateKey, TOPICS, TopicRow, UNLINKED,
};
use super::unwind::guarded;
use super::{StorageError, at};
use crate::types::{GroupId, Offset, OffsetOwner, PipelineName, TopicId, TopicPartition};

pub(super) const FILE: &str = "meta.redb";
const APPLIED: &str = "applied";
const SEALED: &str = "sealed";
const NEXT_PRODUCER_ID: &str = "next-producer-id";
const CLUSTER_ID: &str = "cluster-id";

/// Effects that are in the journal and not yet in the file.
#[derive(Debug, Default)]
struct Pending {
    applied: u64,
    bytes: usize,
    ends: BTreeMap<TopicPartition, Offset>,
    starts: BTreeMap<TopicPartition, Offset>,
    compacted: BTreeMap<TopicPartition, Offset>,
    producers: BTreeMap<ProducerKey, Option<ProducerState>>,
    offsets: BTreeMap<OffsetKey, Option<CommittedOffset>>,
    state: BTreeMap<StateKey, Option<Bytes>>,
    groups: BTreeMap<GroupId, Option<GroupRow>>,
    /// Segments whose files are gone for good.
    removed: Vec<u64>,
}

#[derive(Debug)]
pub(super) struct Meta {
    /// `None` only after a failure to open it again.
    database: RwLock<Option<Database>>,
    pending: RwLock<Pending>,
}

impl Drop for Meta {
    fn drop(&mut self) {
        let database = self.database.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // Closing writes, and may meet what is damaged.
        let _ = guarded(FILE, || {
            drop(database);
            Ok(())
        });
    }
}

impl Meta {
    pub(super) fn open(files: &dyn Files, new_cluster_id: &str) -> Result<Self, StorageError> {
        let names = files.list("").map_err(at("."))?;
        let new = format!("{FILE}.new");
        if names.contains(&new) {
            files.remove(&new).map_err(at(&new))?;
        }
        let database = if names.iter().any(|name| name == FILE) {
            open(files, true)?
        } else if !segment::list(files)?.is_empty() {
            // The segments alone do not say whose records they hold.
            return Err(StorageError::MetaMissing);
        } else {
            create_database(files, FILE, "", |transaction| {
                transaction.open_table(COUNTERS)?.insert(APPLIED, 0)?;
                transaction.open_table(IDENTITY)?.insert(CLUSTER_ID, new_cluster_id)?;
                transaction.open_table(TOPICS)?;
                transaction.open_table(PARTITIONS)?;
                transaction.open_table(SEGMENTS)?;
                transaction.open_table(RUNS)?;
                transaction.open_table(UNLINKED)?;
                transaction.open_table(COMPACTED)?;
                transaction.open_table(PRODUCERS)?;
                transaction.open_table(OFFSETS)?;
                transaction.open_table(GROUPS)?;
                transaction.open_table(STATE)?;
                transaction.open_table(DEPLOYMENTS)?;
                transaction.open_table(COMPONENTS)?;
                Ok(())
            })?
        };
        let meta = Self { database: RwLock::new(Some(database)), pending: RwLock::default() };
        meta.pending_mut().applied = meta.read(|transaction| {
            Ok(transaction.open_table(COUNTERS)?.get(APPLIED)?.map_or(0, |count| count.value()))
        })?;
        Ok(meta)
    }

    /// Opens the file again after a failed write; `renewed`: written anew, so that nothing that
    /// the failure left behind is trusted. What waits in memory stays.
    pub(super) fn reopen(&self, files: &dyn Files, renewed: bool) -> Result<(), StorageError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *database = None;
        if renewed {
            segment::renew(files, FILE)?;
        }
        *database = Some(open(files, false)?);
        Ok(())
    }

    /// Sequence number of the last journal entry that is applied here, in the file or pending.
    pub(super) fn applied(&self) -> u64 {
        self.pending().applied
    }

    /// Bytes of effects that wait in memory.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending().bytes
    }

    /// Takes in the effects of a journal entry that is durable.
    pub(super) fn apply(&self, sequence: u64, effects: Effects, bytes: usize) {
        let mut pending = self.pending_mut();
        pending.applied = sequence;
        pending.bytes += bytes;
        for Extent { partition, end_offset, .. } in effects.extents {
            pending.ends.insert(partition, end_offset);
        }
        pending.starts.extend(effects.starts);
        pending.compacted.extend(effects.compacted);
        pending.producers.extend(effects.producers);
        pending.offsets.extend(effects.offsets);
        pending.state.extend(effects.state);
        pending.groups.extend(effects.groups);
    }

    /// Makes the pending effects durable here.
    pub(super) fn flush(&self) -> Result<(), StorageError> {
        self.write(|_| Ok(()))
    }

    /// Makes an admin change durable, together with all pending effects: those that came before
    /// it must not be replayed after it.
    fn write<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StorageError> {
        let write = |database: &Database| -> Result<T, redb::Error> {
            let mut transaction = database.begin_write()?;
            // Rare enough to pay the second fsync for an open in milliseconds after a crash.
            transaction.set_quick_repair(true);
            write_pending(&transaction, &self.pending())?;
            let value = change(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        let value = {
            let database = self.database();
            let database = database.as_ref().ok_or(StorageError::Failed)?;
            guarded(FILE, || write(database).map_err(at(FILE)))?
        };
        // The caller is the one writer, so nothing came in between.
        let mut pending = self.pending_mut();
        *pending = Pending { applied: pending.applied, ..Pending::default() };
        Ok(value)
    }

    /// Writes a topic's row, and those of its partitions from `first_new` on.
    pub(super) fn put_topic(&self, topic: &TopicRow, first_new: i32) -> Result<(), StorageError> {
        let row = encode("a topic", topic)?;
        self.write(|transaction| {
            transaction.open_table(TOPICS)?.insert(topic.name.as_str(), &row[..])?;
            let mut partitions = transaction.open_table(PARTITIONS)?;
            for partition in first_new..topic.partitions {
                partitions.insert((&topic.id.to_bytes(), partition), (0, 0))?;
            }
            Ok(())
        })
    }

    pub(super) fn put_settings(
        &self,
        key: &SettingsKey,
        settings: &BTreeMap<String, String>,
    ) -> Result<(), StorageError> {
        let row = encode("settings", settings)?;
        let key = match key {
            SettingsKey::EveryBroker => (0, ""),
            SettingsKey::ThisBroker => (1, ""),
            SettingsKey::Group(group) => (2, group.as_str()),
        };
        self.write(|transaction| {
            let mut table = transaction.open_table(SETTINGS)?;
            if settings.is_empty() {
                table.remove(key)?;
            } else {
                table.insert(key, &row[..])?;
            }
            Ok(())
        })
    }

    /// What is set beyond topics, as it is on disk.
    pub(super) fn settings(&self) -> Result<Vec<SettingsRow>, StorageError> {
        let rows = self.read(|transaction| {
            let mut rows = Vec::new();
            let table = match transaction.open_table(SETTINGS) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(rows),
                table => table?,
            };
            for row in table.iter()? {
                let (key, settings) = row?;
                let (kind, group) = key.value();
                rows.push((kind, group.to_owned(), settings.value().to_vec()));
            }
            Ok(rows)
        })?;
        let decoded = rows.into_iter().map(|(kind, group, row)| {
            let bad = |reason: String| StorageError::Row { what: "settings", reason };
            let key = match kind {
                0 => SettingsKey::EveryBroker,
                1 => SettingsKey::ThisBroker,
                2 => SettingsKey::Group(GroupId::new(&group).map_err(|e| bad(e.to_string()))?),
                kind => return Err(bad(format!("they are of kind {kind}"))),
            };
            Ok((key, decode("settings", &row)?))
        });
        decoded.collect()
    }

    pub(super) fn delete_topic(&self, topic: &TopicRow) -> Result<(), StorageError> {
        let id = topic.id.to_bytes();
        self.write(|transaction| {
            transaction.open_table(TOPICS)?.remove(topic.name.as_str())?;
            transaction.open_table(PARTITIONS)?.retain(|key, _| *key.0 != id)?;
            transaction.open_table(COMPACTED)?.retain(|key, _| *key.0 != id)?;
            transaction.open_table(RUNS)?.retain(|key, _| *key.1 != id)?;
            transaction.open_table(PRODUCERS)?.retain(|key, _| *key.0 != id)?;
            transaction.open_table(OFFSETS)?.retain(|key, _| *key.2 != id)?;
            transaction.open_table(STATE)?.retain(|key, _| *key.2 != id)?;
            Ok(())
        })
    }

    /// Reserves producer ids and returns the first.
    pub(super) fn reserve_producer_ids(&self, count: u64) -> Result<i64, StorageError> {
        self.write(|transaction| {
            let mut counters = transaction.open_table(COUNTERS)?;
            let next = counters.get(NEXT_PRODUCER_ID)?.map_or(0, |next| next.value());
            counters.insert(NEXT_PRODUCER_ID, next + count)?;
            Ok(i64::try_from(next).unwrap_or(i64::MAX))
        })
    }

    /// Records a segment as sealed, with what lives in it.
    pub(super) fn seal(
        &self,
        number: u64,
        (first_sequence, last_sequence): (u64, u64),
        disk_bytes: u64,
        runs: &[(TopicPartition, Run)],
    ) -> Result<(), StorageError> {
        self.write(|transaction| {
            let row = (first_sequence, last_sequence, disk_bytes);
            transaction.open_table(SEGMENTS)?.insert(number, row)?;
            transaction.open_table(COUNTERS)?.insert(SEALED, last_sequence)?;
            let mut table = transaction.open_table(RUNS)?;
            for (TopicPartition { topic, partition }, run) in runs {
                let key = (number, &topic.to_bytes(), *partition, run.first_offset);
                let (bytes, disk_bytes) = (run.bytes, run.disk_bytes);
                let (max_timestamp, horizon_ms) = (run.max_timestamp, run.horizon_ms);
                let end_offset = run.end_offset;
                let row = (end_offset, bytes, disk_bytes, max_timestamp, run.sparse, horizon_ms);
                table.insert(key, row)?;
            }
            Ok(())
        })
    }

    /// Forgets a sealed segment, but for the fact that its file is to be removed.
    pub(super) fn unlink(&self, number: u64) -> Result<(), StorageError> {
        self.write(|transaction| {
            transaction.open_table(SEGMENTS)?.remove(number)?;
            transaction.open_table(UNLINKED)?.insert(number, ())?;
            let first = (number, &[0; 16], i32::MIN, i64::MIN);
            let next = (number + 1, &[0; 16], i32::MIN, i64::MIN);
            transaction.open_table(RUNS)?.retain_in(first..next, |_, _| false)?;
            Ok(())
        })
    }

    /// Takes note that the files of unlinked segments are gone for good.
    pub(super) fn removed(&self, numbers: &[u64]) {
        self.pending_mut().removed.extend(numbers);
    }

    pub(super) fn put_deployment(
        &self,
        name: &str,
        deployment: &[u8],
        components: &[([u8; 32], Bytes)],
    ) -> Result<(), StorageError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(COMPONENTS)?;
            for (digest, component) in components {
                table.insert(digest, &component[..])?;
            }
            transaction.open_table(DEPLOYMENTS)?.insert(name, deployment)?;
            Ok(())
        })
    }

    pub(super) fn remove_deployment(&self, name: &str) -> Result<(), StorageError> {
        self.write(|transaction| {
            transaction.open_table(DEPLOYMENTS)?.remove(name)?;
            Ok(())
        })
    }

    pub(super) fn deployments(&self) -> Result<Vec<(String, Bytes)>, StorageError> {
        self.read(|transaction| {
            let mut deployments = Vec::new();
            for row in transaction.open_table(DEPLOYMENTS)?.iter()? {
                let (name, bytes) = row?;
                let bytes = Bytes::copy_from_slice(bytes.value());
                deployments.push((name.value().to_owned(), bytes));
            }
            Ok(deployments)
        })
    }

    pub(super) fn component(&self, digest: &[u8; 32]) -> Result<Option<Bytes>, StorageError> {
        self.read(|transaction| {
            let table = transaction.open_table(COMPONENTS)?;
            Ok(table.get(digest)?.map(|bytes| Bytes::copy_from_slice(bytes.value())))
        })
    }

    /// A piece of state as the last durable commit left it.
    pub(super) fn state(&self, key: &StateKey) -> Result<Option<Bytes>, StorageError> {
        if let Some(value) = self.pending().state.get(key) {
            return Ok(value.clone());
        }
        let StateKey { pipeline, step, source, key } = key;
        let source_topic = source.topic.to_bytes();
        self.read(|transaction| {
            let table = transaction.open_table(STATE)?;
            let row = (pipeline.as_str(), *step, &source_topic, source.partition, &key[..]);
            Ok(table.get(row)?.map(|value| Bytes::copy_from_slice(value.value())))
        })
    }

    /// The sealed part of the log.
    pub(super) fn sealed(&self) -> Result<SealedSegments, StorageError> {
        self.read(|transaction| {
            let mut sealed = SealedSegments::default();
            let counters = transaction.open_table(COUNTERS)?;
            sealed.last_sequence = counters.get(SEALED)?.map_or(0, |sequence| sequence.value());
            for row in transaction.open_table(SEGMENTS)?.iter()? {
                let (number, row) = row?;
                sealed.disk_bytes.insert(number.value(), row.value().2);
            }
            for row in transaction.open_table(UNLINKED)?.iter()? {
                sealed.unlinked.push(row?.0.value());
            }
            for row in transaction.open_table(RUNS)?.iter()? {
                let (key, row) = row?;
                let (segment, topic, partition, first_offset) = key.value();
                let partition = TopicPartition { topic: TopicId::from_bytes(*topic), partition };
                let (end_offset, bytes, disk_bytes, max_timestamp, sparse, horizon_ms) =
                    row.value();
                let extent = Extent { partition, first_offset, end_offset, bytes, max_timestamp };
                sealed.runs.push(Placed { segment, extent, disk_bytes, sparse, horizon_ms });
            }
            Ok(sealed)
        })
    }

    /// All topics.
    pub(super) fn topics(&self) -> Result<Vec<TopicRow>, StorageError> {
        let rows = self.read(|transaction| {
            let mut rows = Vec::new();
            for row in transaction.open_table(TOPICS)?.iter()? {
                rows.push(row?.1.value().to_vec());
            }
            Ok(rows)
        })?;
        rows.iter().map(|row| decode("a topic", row)).collect()
    }

    /// The file as the last durable commit left it, for as long as this lives.
    pub(super) fn begin_read(&self) -> Result<redb::ReadTransaction, StorageError> {
        let database = self.database();
        database.as_ref().ok_or(StorageError::Failed)?.begin_read().map_err(at(FILE))
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StorageError> {
        let database = self.database();
        let database = database.as_ref().ok_or(StorageError::Failed)?;
        guarded(FILE, || {
            let transaction = database.begin_read().map_err(at(FILE))?;
            read(&transaction).map_err(at(FILE))
        })
    }

    fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> RwLockReadGuard<'_, Pending> {
        self.pending.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending_mut(&self) -> RwLockWriteGuard<'_, Pending> {
        self.pending.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(files: &dyn Files, checked: bool) -> Result<Database, StorageError> {
    let backend = files.open(FILE, OpenMode::Existing).map_err(at(FILE))?;
    open_database(Backend(backend), FILE, checked)
}

/// The sealed part of the log.
#[derive(Debug, Default)]
pub(super) struct SealedSegments {
    /// Sequence number of the last journal entry in a sealed segment, gone or not.
    pub(super) last_sequence: u64,
    /// By segment.
    pub(super) disk_bytes: BTreeMap<u64, u64>,
    /// By segment, ascending.
    pub(super) runs: Vec<Placed>,
    /// Segments whose files may still be there.
    pub(super) unlinked: Vec<u64>,
}

/// Takes note that records may be missing in a segment that was sealed. For one that was not:
/// returns the last journal entries that were sealed and that are applied here.
pub(super) fn loosen_runs(
    database: &Database,
    number: u64,
) -> Result<Option<(u64, u64)>, StorageError> {
    let loosen = || -> Result<Option<(u64, u64)>, redb::Error> {
        let transaction = database.begin_write()?;
        let is_sealed = transaction.open_table(SEGMENTS)?.get(number)?.is_some();
        let last = {
            let counters = transaction.open_table(COUNTERS)?;
            let count = |name| -> Result<u64, redb::Error> {
                Ok(counters.get(name)?.map_or(0, |count| count.value()))
            };
            (count(SEALED)?, count(APPLIED)?)
        };
        {
            let mut table = transaction.open_table(RUNS)?;
            let first = (number, &[0; 16], i32::MIN, i64::MIN);
            let next = (number + 1, &[0; 16], i32::MIN, i64::MIN);
            let mut rows = Vec::new();
            for row in table.range(first..next)? {
                let (key, row) = row?;
                let (_, topic, partition, first_offset) = key.value();
                rows.push((*topic, partition, first_offset, row.value()));
            }
            for (topic, partition, first_offset, mut row) in rows {
                row.4 = true;
                table.insert((number, &topic, partition, first_offset), row)?;
            }
        }
        transaction.commit()?;
        Ok((!is_sealed).then_some(last))
    };
    guarded(FILE, || loosen().map_err(at(FILE)))
}

fn write_pending(transaction: &WriteTransaction, pending: &Pending) -> Result<(), redb::Error> {
    transaction.open_table(COUNTERS)?.insert(APPLIED, pending.applied)?;
    let mut partitions = transaction.open_table(PARTITIONS)?;
    for (TopicPartition { topic, partition }, end) in &pending.ends {
        let key = (&topic.to_bytes(), *partition);
        let start = partitions.get(key)?.map_or(0, |row| row.value().0);
        partitions.insert(key, (start, *end))?;
    }
    for (TopicPartition { topic, partition }, start) in &pending.starts {
        let key = (&topic.to_bytes(), *partition);
        let end = partitions.get(key)?.map_or(*start, |row| row.value().1);
        partitions.insert(key, (*start, end))?;
    }
    let mut compacted = transaction.open_table(COMPACTED)?;
    for (TopicPartition { topic, partition }, offset) in &pending.compacted {
        compacted.insert((&topic.to_bytes(), *partition), *offset)?;
    }
    let mut unlinked = transaction.open_table(UNLINKED)?;
    for number in &pending.removed {
        unlinked.remove(number)?;
    }
    let mut producers = transaction.open_table(PRODUCERS)?;
    for (ProducerKey { partition, producer_id }, state) in &pending.producers {
        let topic = partition.topic.to_bytes();
        let key = (&topic, partition.partition, *producer_id);
        match state {
            Some(state) => producers.insert(key, &row(state)?[..])?,
            None => producers.remove(key)?,
        };
    }
    let mut offsets = transaction.open_table(OFFSETS)?;
    for (OffsetKey { owner, partition }, committed) in &pending.offsets {
        let (kind, name) = owner_parts(owner);
        let topic = partition.topic.to_bytes();
        let key = (kind, name, &topic, partition.partition);
        match committed {
            Some(committed) => offsets.insert(key, &row(committed)?[..])?,
            None => offsets.remove(key)?,
        };
    }
    let mut groups = transaction.open_table(GROUPS)?;
    for (group, change) in &pending.groups {
        match change {
            Some(change) => groups.insert(group.as_str(), &row(change)?[..])?,
            None => groups.remove(group.as_str())?,
        };
    }
    let mut table = transaction.open_table(STATE)?;
    for (StateKey { pipeline, step, source, key }, value) in &pending.state {
        let topic = source.topic.to_bytes();
        let key = (pipeline.as_str(), *step, &topic, source.partition, &key[..]);
        match value {
            Some(value) => table.insert(key, &value[..])?,
            None => table.remove(key)?,
        };
    }
    Ok(())
}

fn owner_parts(owner: &OffsetOwner) -> (u8, &str) {
    match owner {
        OffsetOwner::Group(group) => (0, group.as_str()),
        OffsetOwner::Pipeline(pipeline) => (1, pipeline.as_str()),
    }
}

fn owner_from_parts(kind: u8, name: &str) -> Result<OffsetOwner, StorageError> {
    let owner = match kind {
        0 => GroupId::new(name).map(OffsetOwner::Group).ok(),
        1 => PipelineName::new(name).map(OffsetOwner::Pipeline).ok(),
        _ => None,
    };
    owner.ok_or_else(|| StorageError::Row { what: "the owner of an offset", reason: name.into() })
}

/// A row inside a redb transaction, whose error type it must have.
fn row<T: Serialize>(value: &T) -> Result<Vec<u8>, redb::Error> {
    postcard::to_stdvec(value).map_err(|error| redb::Error::Corrupted(error.to_string()))
}

fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, StorageError> {
    postcard::to_stdvec(value).map_err(|error| StorageError::Encode { what, error })
}

fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, StorageError> {
    postcard::from_bytes(bytes)
        .map_err(|error| StorageError::Row { what, reason: error.to_string() })
}
