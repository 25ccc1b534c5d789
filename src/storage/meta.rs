//! `meta.redb`: what all journals amount to, and the rare admin changes.
//!
//! Effects of commits are durable in the journal. Here they wait in memory ([`pending::Pending`])
//! and are written about once a second in one durable transaction, with the sequence number up to
//! which they are applied; a crash replays the journal from there. The alternative, a redb
//! transaction without durability for each group, would cost a B-tree update a group and show
//! readers nothing that memory does not.

mod pending;
pub(super) mod rebuild;
mod recovered;
pub(super) mod rows;
mod salvage;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};

use self::pending::Waiting;
pub use self::recovered::Recovered;
use self::rows::{counter, decode, encode, ends_row, sealed, set_counter, unsealed};
use super::files::{Backend, Files, OpenMode};
use super::journal::{Effects, Extent, Gaps, Moved};
use super::runs::{Placed, Run};
use super::segment::{self, create_database, open_database};
use super::tables::{
    COMPACTED, COMPONENTS, COUNTERS, DEPLOYMENTS, GROUPS, IDENTITY, OFFSETS, PARTITIONS, PRODUCERS,
    RUNS, SEGMENTS, SETTINGS, STATE, SettingsKey, SettingsRow, StateKey, TOPICS, TopicRow,
    UNLINKED,
};
use super::unwind::guarded;
use super::{StorageError, at};
use crate::clock::Clock;
use crate::limits::{META_FLUSH_MS, META_PENDING_BYTES};
use crate::types::{GroupId, TopicId, TopicPartition};

pub(super) const FILE: &str = "meta.redb";
const APPLIED: &str = "applied";
const SEALED: &str = "sealed";
const NEXT_PRODUCER_ID: &str = "next-producer-id";
const CLUSTER_ID: &str = "cluster-id";

#[derive(Debug)]
pub(super) struct Meta {
    /// `None` only after a failure to open it again.
    database: RwLock<Option<Database>>,
    waiting: RwLock<Waiting>,
    /// Held by who writes.
    writing: Mutex<()>,
    /// When the last write began, in the clock's monotonic time.
    flushed: Mutex<Duration>,
    clock: Arc<dyn Clock>,
    /// An earlier write failed, here or in the log.
    halted: AtomicBool,
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
    pub(super) fn open(
        files: &dyn Files,
        new_cluster_id: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StorageError> {
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
                make_tables(transaction, new_cluster_id)
            })?
        };
        let flushed = Mutex::new(clock.monotonic());
        let (database, waiting) = (RwLock::new(Some(database)), RwLock::default());
        let (writing, halted) = (Mutex::default(), AtomicBool::new(false));
        let meta = Self { database, waiting, writing, flushed, clock, halted };
        meta.waiting_mut().newer.applied =
            meta.read(|transaction| counter(&transaction.open_table(COUNTERS)?, APPLIED))?;
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

    /// After a write that failed, here or in the log: nothing is written until [`Meta::go_on`].
    pub(super) fn halt(&self) {
        self.halted.store(true, Ordering::SeqCst);
    }

    pub(super) fn go_on(&self) {
        self.halted.store(false, Ordering::SeqCst);
    }

    pub(super) fn may_write(&self) -> Result<(), StorageError> {
        if self.halted.load(Ordering::SeqCst) { Err(StorageError::Failed) } else { Ok(()) }
    }

    /// Sequence number of the last journal entry that is applied here, in the file or pending.
    pub(super) fn applied(&self) -> u64 {
        self.waiting().newer.applied
    }

    /// Bytes of effects that wait in memory.
    pub(super) fn pending_bytes(&self) -> usize {
        self.waiting().newer.bytes
    }

    /// Takes in the effects of a journal entry that is durable.
    pub(super) fn apply(&self, sequence: u64, effects: Effects, bytes: usize) {
        let newer = &mut self.waiting_mut().newer;
        newer.bytes += bytes;
        newer.take(sequence, effects);
    }

    /// When what waits should be flushed, in the clock's monotonic time; `None`: nothing waits.
    pub(super) fn next_flush(&self) -> Option<Duration> {
        match self.pending_bytes() {
            0 => None,
            META_PENDING_BYTES.. => Some(Duration::ZERO),
            _ => Some(*self.flushed() + Duration::from_millis(META_FLUSH_MS)),
        }
    }

    /// Whether it should be flushed now.
    pub(super) fn is_to_flush(&self) -> bool {
        self.next_flush().is_some_and(|at| at <= self.clock.monotonic())
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
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        *self.flushed() = self.clock.monotonic();
        let database = self.database();
        let database = database.as_ref().ok_or(StorageError::Failed)?;
        // Looked at here: this may have waited until the file was opened anew.
        self.may_write()?;
        let waiting = self.waiting_mut().begin();
        let write = || -> Result<T, redb::Error> {
            let mut transaction = database.begin_write()?;
            // Rare enough to pay the second fsync for an open in milliseconds after a crash.
            transaction.set_quick_repair(true);
            waiting.write(&transaction)?;
            let value = change(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        let written = guarded(FILE, || write().map_err(at(FILE)));
        self.waiting_mut().end(written.is_ok());
        written
    }

    /// Writes a topic's row, and those of its partitions from `first_new` on.
    pub(super) fn put_topic(&self, topic: &TopicRow, first_new: i32) -> Result<(), StorageError> {
        let row = encode("a topic", topic)?;
        self.write(|transaction| {
            let name = topic.name.as_str();
            transaction.open_table(TOPICS)?.insert(name, &sealed(TOPICS, &name, &row)[..])?;
            let mut partitions = transaction.open_table(PARTITIONS)?;
            for partition in first_new..topic.partitions {
                let place = TopicPartition { topic: topic.id, partition };
                partitions.insert((&topic.id.to_bytes(), partition), ends_row(place, (0, 0)))?;
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
                table.insert(key, &sealed(SETTINGS, &key, &row)[..])?;
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
                let settings = unsealed(SETTINGS, &(kind, group), settings.value())?;
                rows.push((kind, group.to_owned(), settings.to_vec()));
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
            let next = counter(&counters, NEXT_PRODUCER_ID)?;
            set_counter(&mut counters, NEXT_PRODUCER_ID, next + count)?;
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
            set_counter(&mut transaction.open_table(COUNTERS)?, SEALED, last_sequence)?;
            write_sealed(transaction, number, (first_sequence, last_sequence, disk_bytes), runs)
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
        self.waiting_mut().newer.removed.extend(numbers);
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
                table.insert(digest, &sealed(COMPONENTS, &digest, component)[..])?;
            }
            let row = sealed(DEPLOYMENTS, &name, deployment);
            transaction.open_table(DEPLOYMENTS)?.insert(name, &row[..])?;
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
                let bytes = unsealed(DEPLOYMENTS, &name.value(), bytes.value())?;
                let bytes = Bytes::copy_from_slice(bytes);
                deployments.push((name.value().to_owned(), bytes));
            }
            Ok(deployments)
        })
    }

    pub(super) fn component(&self, digest: &[u8; 32]) -> Result<Option<Bytes>, StorageError> {
        self.read(|transaction| {
            let table = transaction.open_table(COMPONENTS)?;
            let Some(row) = table.get(digest)? else { return Ok(None) };
            Ok(Some(Bytes::copy_from_slice(unsealed(COMPONENTS, &digest, row.value())?)))
        })
    }

    /// A piece of state as the last durable commit left it.
    pub(super) fn state(&self, key: &StateKey) -> Result<Option<Bytes>, StorageError> {
        if let Some(value) = self.waiting().state(key) {
            return Ok(value);
        }
        let StateKey { pipeline, step, source, key } = key;
        let source_topic = source.topic.to_bytes();
        self.read(|transaction| {
            let table = transaction.open_table(STATE)?;
            let row = (pipeline.as_str(), *step, &source_topic, source.partition, &key[..]);
            let Some(value) = table.get(row)? else { return Ok(None) };
            Ok(Some(Bytes::copy_from_slice(unsealed(STATE, &row, value.value())?)))
        })
    }

    /// The sealed part of the log.
    pub(super) fn sealed(&self) -> Result<SealedSegments, StorageError> {
        self.read(|transaction| {
            let mut sealed = SealedSegments::default();
            let counters = transaction.open_table(COUNTERS)?;
            sealed.last_sequence = counter(&counters, SEALED)?;
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
                let (end_offset, bytes, disk_bytes, max_timestamp, gaps, horizon_ms) = row.value();
                let extent = Extent { partition, first_offset, end_offset, bytes, max_timestamp };
                let gaps = gaps_of(gaps)?;
                sealed.runs.push(Placed { segment, extent, disk_bytes, gaps, horizon_ms });
            }
            Ok(sealed)
        })
    }

    /// All topics.
    pub(super) fn topics(&self) -> Result<Vec<TopicRow>, StorageError> {
        let rows = self.read(|transaction| {
            let mut rows = Vec::new();
            for row in transaction.open_table(TOPICS)?.iter()? {
                let (name, row) = row?;
                rows.push(unsealed(TOPICS, &name.value(), row.value())?.to_vec());
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

    fn flushed(&self) -> MutexGuard<'_, Duration> {
        self.flushed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> RwLockReadGuard<'_, Waiting> {
        self.waiting.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting_mut(&self) -> RwLockWriteGuard<'_, Waiting> {
        self.waiting.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the rows of a sealed segment.
fn write_sealed(
    transaction: &WriteTransaction,
    number: u64,
    row: (u64, u64, u64),
    runs: &[(TopicPartition, Run)],
) -> Result<(), redb::Error> {
    transaction.open_table(SEGMENTS)?.insert(number, row)?;
    let mut table = transaction.open_table(RUNS)?;
    for (TopicPartition { topic, partition }, run) in runs {
        let key = (number, &topic.to_bytes(), *partition, run.first_offset);
        let (bytes, disk_bytes) = (run.bytes, run.disk_bytes);
        let (max_timestamp, horizon_ms) = (run.max_timestamp, run.horizon_ms);
        let row = (run.end_offset, bytes, disk_bytes, max_timestamp, run.gaps as u8, horizon_ms);
        table.insert(key, row)?;
    }
    Ok(())
}

/// Gives the file its tables.
fn make_tables(transaction: &WriteTransaction, cluster_id: &str) -> Result<(), redb::Error> {
    set_counter(&mut transaction.open_table(COUNTERS)?, APPLIED, 0)?;
    transaction.open_table(IDENTITY)?.insert(CLUSTER_ID, cluster_id)?;
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

/// What `meta.redb` knows of a segment that is to be repaired.
pub(super) enum Standing {
    /// It was sealed, with these runs.
    Sealed(Vec<Moved>),
    /// It was not: the last journal entries that were sealed and that are applied here.
    Active { sealed: u64, applied: u64 },
}

/// Whether a segment is recorded as sealed.
pub(super) fn is_sealed(database: &Database, number: u64) -> Result<bool, StorageError> {
    let read = || -> Result<bool, redb::Error> {
        Ok(database.begin_read()?.open_table(SEGMENTS)?.get(number)?.is_some())
    };
    guarded(FILE, || read().map_err(at(FILE)))
}

/// Takes note that records may be missing in a segment, if it was sealed.
pub(super) fn loosen_runs(database: &Database, number: u64) -> Result<Standing, StorageError> {
    let loosen = || -> Result<Standing, redb::Error> {
        let transaction = database.begin_write()?;
        if transaction.open_table(SEGMENTS)?.get(number)?.is_none() {
            let counters = transaction.open_table(COUNTERS)?;
            let sealed = counter(&counters, SEALED)?;
            return Ok(Standing::Active { sealed, applied: counter(&counters, APPLIED)? });
        }
        let mut runs = Vec::new();
        {
            let mut table = transaction.open_table(RUNS)?;
            let first = (number, &[0; 16], i32::MIN, i64::MIN);
            let next = (number + 1, &[0; 16], i32::MIN, i64::MIN);
            for row in table.range(first..next)? {
                let (key, row) = row?;
                let (_, topic, partition, first_offset) = key.value();
                let (end_offset, bytes, disk_bytes, max_timestamp, _, horizon_ms) = row.value();
                let partition = TopicPartition { topic: TopicId::from_bytes(*topic), partition };
                let extent = Extent { partition, first_offset, end_offset, bytes, max_timestamp };
                runs.push(Moved { extent, disk_bytes, gaps: Gaps::Chunks, horizon_ms });
            }
            for Moved { extent, disk_bytes, gaps, horizon_ms } in &runs {
                let Extent { partition, first_offset, end_offset, bytes, max_timestamp } = *extent;
                let topic = partition.topic.to_bytes();
                let key = (number, &topic, partition.partition, first_offset);
                let row = (end_offset, bytes, *disk_bytes, max_timestamp, *gaps as u8, *horizon_ms);
                table.insert(key, row)?;
            }
        }
        transaction.commit()?;
        Ok(Standing::Sealed(runs))
    };
    guarded(FILE, || loosen().map_err(at(FILE)))
}

fn gaps_of(number: u8) -> Result<Gaps, redb::Error> {
    let known = [Gaps::None, Gaps::Records, Gaps::Chunks];
    let gaps = known.into_iter().find(|gaps| *gaps as u8 == number);
    gaps.ok_or_else(|| redb::Error::Corrupted(format!("a run has gaps of kind {number}")))
}
