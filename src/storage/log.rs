//! The log: a sequence of segments, of which the last is active. Appends go to the active one;
//! when it is full it is sealed and the next begins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use redb::{Builder, Database, DatabaseError, ReadOnlyDatabase};

use super::chunk::{Chunk, page_run_bytes};
use super::files::{Backend, Files, OpenMode, Place};
use super::journal::Extent;
use super::meta::Meta;
use super::segment::{self, ReadRange, Writable};
use super::{StorageError, at};
use crate::limits::{OPEN_SEGMENTS, ROOM_GROUP_BYTES};
use crate::record::RecordBatch;
use crate::types::{Offset, TimestampMs, TopicPartition};

/// Cache of a sealed segment, bytes: readers go through it in order, once.
const SEALED_CACHE_BYTES: usize = 1 << 20;
/// What a transaction takes of a segment beside its chunks, bytes: the journal entry and the
/// B-tree pages above it.
const COMMIT_OVERHEAD_BYTES: u64 = 4096;

/// What one segment holds of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) segment: u64,
    pub(super) extent: Extent,
}

pub(super) struct Log {
    files: Arc<dyn Files>,
    segment_bytes: u64,
    active: RwLock<Active>,
    /// Apart from the lock that readers hold while they read.
    written: Mutex<Written>,
    /// Sealed segments that are open, the last used at the end.
    sealed: Mutex<Vec<(u64, Arc<ReadOnlyDatabase>)>>,
    /// Where each partition is, in order of offsets.
    runs: RwLock<HashMap<TopicPartition, Vec<Run>>>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("active", &self.active().number).finish_non_exhaustive()
    }
}

/// The segment that is written.
struct Active {
    number: u64,
    /// `None` only after a failure to begin the next segment.
    open: Option<Writable>,
}

/// How much was written.
#[derive(Default)]
struct Written {
    /// Bytes of the active segment.
    bytes: u64,
    /// Bytes of the last group.
    group_bytes: u64,
    /// First sequence number of the active segment.
    first_sequence: Option<u64>,
    last_sequence: u64,
}

impl Log {
    /// Opens the log and brings `meta` up to its last journal entry.
    pub(super) fn open(
        files: Arc<dyn Files>,
        segment_bytes: u64,
        meta: &Meta,
    ) -> Result<Self, StorageError> {
        let sealed = meta.sealed()?;
        let last_sequence = sealed.segments.values().map(|&(_, last)| last).max().unwrap_or(0);
        let present = segment::list(&*files)?;
        if let Some(missing) = sealed.segments.keys().find(|number| !present.contains(number)) {
            return Err(StorageError::SegmentMissing { file: segment::file_name(*missing) });
        }
        let mut runs: HashMap<TopicPartition, Vec<Run>> = HashMap::new();
        for (partition, run) in sealed.runs {
            runs.entry(partition).or_default().push(run);
        }
        let unsealed: Vec<u64> =
            present.iter().copied().filter(|n| !sealed.segments.contains_key(n)).collect();
        let (active, written) = match unsealed[..] {
            [] => {
                let number = sealed.segments.keys().max().map_or(1, |last| last + 1);
                let open = Some(segment::create(&*files, number)?);
                (Active { number, open }, Written { last_sequence, ..Written::default() })
            }
            [number] => recover_active(&*files, number, last_sequence, &mut runs, meta)?,
            [first, second, ..] => {
                return Err(StorageError::SegmentUnexpected {
                    file: segment::file_name(first),
                    active: segment::file_name(second),
                });
            }
        };
        let last_sequence = written.last_sequence;
        if meta.applied() > last_sequence {
            return Err(StorageError::JournalBehind { applied: meta.applied(), last_sequence });
        }
        let (active, written) = (RwLock::new(active), Mutex::new(written));
        let (sealed, runs) = (Mutex::default(), RwLock::new(runs));
        Ok(Self { files, segment_bytes, active, written, sealed, runs })
    }

    /// Sequence number of the last group that was appended.
    pub(super) fn last_sequence(&self) -> u64 {
        self.written().last_sequence
    }

    /// Writes a group. Durable when it returns, and only then found by reads.
    pub(super) fn append(
        &self,
        sequence: u64,
        chunks: &[Chunk],
        journal_entry: &[u8],
    ) -> Result<(), StorageError> {
        let number = {
            let active = self.active();
            let Some(open) = &active.open else { return Err(StorageError::Failed) };
            segment::append(&open.database, active.number, sequence, chunks, journal_entry)?;
            active.number
        };
        let mut written = self.written();
        written.first_sequence.get_or_insert(sequence);
        written.last_sequence = sequence;
        written.group_bytes = COMMIT_OVERHEAD_BYTES + journal_entry.len() as u64;
        written.group_bytes += chunks.iter().map(Chunk::page_bytes).sum::<u64>();
        written.bytes += written.group_bytes;
        drop(written);
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        for chunk in chunks {
            extend_runs(&mut runs, number, chunk.extent);
        }
        Ok(())
    }

    /// Seals the active segment and begins the next if it is full.
    ///
    /// The order makes every crash harmless: closed, recorded as sealed, next one made. A segment
    /// that is closed and not recorded is opened as the active one again; one that is recorded
    /// without a successor gets it at the next start.
    pub(super) fn roll_if_full(&self, meta: &Meta) -> Result<(), StorageError> {
        let mut written = self.written();
        if written.bytes < self.segment_bytes {
            return Ok(());
        }
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        let (Some(open), Some(first_sequence)) = (active.open.take(), written.first_sequence)
        else {
            return Err(StorageError::Failed);
        };
        let number = active.number;
        open.database.close().map_err(at(&segment::file_name(number)))?;
        let runs: Vec<(TopicPartition, Run)> = {
            let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
            let last = runs.iter().filter_map(|(p, runs)| Some((*p, *runs.last()?)));
            last.filter(|(_, run)| run.segment == number).collect()
        };
        meta.seal(number, (first_sequence, written.last_sequence), &runs)?;
        let next = segment::create(&*self.files, number + 1)?;
        tracing::info!(sealed = number, active = number + 1, "began a new segment");
        *active = Active { number: number + 1, open: Some(next) };
        written.bytes = 0;
        written.first_sequence = None;
        Ok(())
    }

    /// Makes room in the active segment for small groups to come.
    pub(super) fn make_room(&self) -> Result<(), StorageError> {
        if self.written().group_bytes > ROOM_GROUP_BYTES {
            return Ok(());
        }
        let active = self.active();
        let Some(open) = &active.open else { return Err(StorageError::Failed) };
        open.file.make_room().map_err(at(&segment::file_name(active.number)))
    }

    /// Forgets the partitions that are no more; their bytes go with their segments.
    pub(super) fn retain(&self, mut lives: impl FnMut(TopicPartition) -> bool) {
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|partition, _| lives(*partition));
    }

    /// Bytes of a partition's record batches.
    pub(super) fn bytes(&self, partition: TopicPartition) -> u64 {
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
        runs.get(&partition).map_or(0, |runs| runs.iter().map(|run| run.extent.bytes).sum())
    }

    /// Where the files are.
    pub(super) fn place(&self) -> Place {
        self.files.place()
    }

    /// Reads batches from the one that contains `range.from`, or begins after it. May end early,
    /// at the end of a segment.
    pub(super) fn read(&self, range: ReadRange) -> Result<Vec<Bytes>, StorageError> {
        let Some(run) = self.run_of(range.partition, |run| run.extent.end_offset > range.from)
        else {
            return Ok(Vec::new());
        };
        let number = run.segment;
        let stretches = self.with_segment(number, |database| match database {
            Open::Active(open) => segment::read(open, number, range),
            Open::Sealed(open) => segment::read(open, number, range),
        })?;
        if stretches.is_empty() && range.from < run.extent.end_offset.min(range.until) {
            let reason = "nothing is there".to_owned();
            let ReadRange { partition, from: offset, .. } = range;
            return Err(StorageError::Corrupt { segment: number, partition, offset, reason });
        }
        Ok(stretches)
    }

    /// The first batch, from `from` on and before `until`, that has a record at or after a time.
    pub(super) fn find_timestamp(
        &self,
        partition: TopicPartition,
        timestamp: TimestampMs,
        from: Offset,
        until: Offset,
    ) -> Result<Option<RecordBatch>, StorageError> {
        let mut from = from;
        loop {
            let Some(run) = self.run_of(partition, |run| {
                run.extent.end_offset > from && run.extent.max_timestamp >= timestamp
            }) else {
                return Ok(None);
            };
            let from_here = from.max(run.extent.first_offset);
            let range = ReadRange { partition, from: from_here, until, max_bytes: usize::MAX };
            let number = run.segment;
            let found = self.with_segment(number, |database| match database {
                Open::Active(open) => segment::find_timestamp(open, number, range, timestamp),
                Open::Sealed(open) => segment::find_timestamp(open, number, range, timestamp),
            })?;
            if found.is_some() || run.extent.end_offset >= until {
                return Ok(found);
            }
            from = run.extent.end_offset;
        }
    }

    /// The greatest timestamp of a partition's records.
    pub(super) fn max_timestamp(&self, partition: TopicPartition) -> Option<TimestampMs> {
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
        runs.get(&partition)?.iter().map(|run| run.extent.max_timestamp).max()
    }

    /// Closes the active segment, so that the next open has nothing to repair.
    pub(super) fn close(&self) -> Result<(), StorageError> {
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        match active.open.take() {
            Some(open) => open.database.close().map_err(at(&segment::file_name(active.number))),
            None => Ok(()),
        }
    }

    fn active(&self) -> RwLockReadGuard<'_, Active> {
        self.active.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_of(&self, partition: TopicPartition, wanted: impl Fn(&Run) -> bool) -> Option<Run> {
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
        runs.get(&partition)?.iter().copied().find(wanted)
    }

    fn with_segment<T>(
        &self,
        number: u64,
        read: impl FnOnce(Open<'_>) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        {
            let active = self.active();
            if active.number == number {
                let Some(open) = &active.open else { return Err(StorageError::Failed) };
                return read(Open::Active(&open.database));
            }
        }
        read(Open::Sealed(&*self.sealed(number)?))
    }

    fn sealed(&self, number: u64) -> Result<Arc<ReadOnlyDatabase>, StorageError> {
        let mut open = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|(open, _)| *open == number) {
            let entry = open.remove(at);
            let database = Arc::clone(&entry.1);
            open.push(entry);
            return Ok(database);
        }
        let database = Arc::new(self.open_sealed(number)?);
        if open.len() >= OPEN_SEGMENTS {
            open.remove(0);
        }
        open.push((number, Arc::clone(&database)));
        Ok(database)
    }

    fn open_sealed(&self, number: u64) -> Result<ReadOnlyDatabase, StorageError> {
        let name = segment::file_name(number);
        let open = || {
            let backend = self.files.open(&name, OpenMode::Existing).map_err(at(&name))?;
            Ok(Builder::new()
                .set_cache_size(SEALED_CACHE_BYTES)
                .open_read_only_with_backend(Backend(backend)))
        };
        match open()? {
            Err(DatabaseError::RepairAborted) => {
                // Closed by us, yet not found closed: repair it once.
                let repaired = segment::open_database(&*self.files, &name)?;
                repaired.database.close().map_err(at(&name))?;
                open()?.map_err(at(&name))
            }
            opened => opened.map_err(at(&name)),
        }
    }
}

/// A segment to read from.
enum Open<'a> {
    Active(&'a Database),
    Sealed(&'a ReadOnlyDatabase),
}

fn extend_runs(runs: &mut HashMap<TopicPartition, Vec<Run>>, segment: u64, extent: Extent) {
    let runs = runs.entry(extent.partition).or_default();
    match runs.last_mut() {
        Some(run) if run.segment == segment => run.extent.extend(&extent),
        _ => runs.push(Run { segment, extent }),
    }
}

/// Opens the segment that was active, learns from its journal what it holds, and replays the
/// entries that `meta` has not applied.
fn recover_active(
    files: &dyn Files,
    number: u64,
    sealed_last_sequence: u64,
    runs: &mut HashMap<TopicPartition, Vec<Run>>,
    meta: &Meta,
) -> Result<(Active, Written), StorageError> {
    let open = segment::open_database(files, &segment::file_name(number))?;
    let mut first_sequence = None;
    let mut last_sequence = sealed_last_sequence;
    let (mut bytes, mut replayed) = (0, 0_u64);
    let applied = meta.applied();
    segment::journal(&open.database, number, |sequence, effects| {
        if sequence != last_sequence + 1 {
            return Err(StorageError::JournalGap { segment: number, last_sequence, sequence });
        }
        last_sequence = sequence;
        first_sequence.get_or_insert(sequence);
        bytes += COMMIT_OVERHEAD_BYTES;
        for extent in &effects.extents {
            bytes += page_run_bytes(extent.bytes);
            extend_runs(runs, number, *extent);
        }
        if sequence > applied {
            replayed += 1;
            meta.apply(sequence, effects, 0);
        }
        Ok(())
    })?;
    if replayed > 0 {
        tracing::info!(segment = number, entries = replayed, "replayed the journal");
    }
    let active = Active { number, open: Some(open) };
    Ok((active, Written { bytes, group_bytes: 0, first_sequence, last_sequence }))
}
