//! The log: a sequence of segments, of which the last is active. Appends go to the active one;
//! when it is full it is sealed and the next begins.

mod read;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{Database, Durability, ReadOnlyDatabase};

use super::chunk::{Chunk, page_run_bytes};
use super::files::{Files, Place};
use super::journal::{Extent, Moved};
use super::meta::Meta;
use super::redo::{self, RedoLog};
use super::runs::{Placed, Runs};
use super::segment::{self, ActiveSegment, LoggedGroup};
use super::segment_file::SegmentFile;
use super::unwind::guarded;
use super::{StorageError, at};
use crate::limits::{PENDING_GROUPS, REDO_GROUP_BYTES};
#[cfg(test)]
use crate::planted;
use crate::types::{Offset, TimestampMs, TopicPartition};

/// What a transaction takes of a segment beside its chunks, bytes: the journal entry and the
/// B-tree pages above it.
const COMMIT_OVERHEAD_BYTES: u64 = 4096;

/// How a segment is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentUse {
    /// Its number.
    pub segment: u64,
    /// Bytes on disk, about.
    pub disk_bytes: u64,
    /// Those of them that are not deleted; `None` if nothing at all is left in it.
    pub live_bytes: Option<u64>,
    /// Whether it is the one that is written.
    pub active: bool,
}

pub(super) struct Log {
    files: Arc<dyn Files>,
    redo: RedoLog,
    segment_bytes: u64,
    active: RwLock<Active>,
    /// Apart from the lock that readers hold while they read.
    written: Mutex<Written>,
    /// Sealed segments that are open, the last used at the end.
    sealed: Mutex<Vec<(u64, Arc<ReadOnlyDatabase>)>>,
    /// Bytes on disk of the sealed segments.
    disk_bytes: Mutex<BTreeMap<u64, u64>>,
    /// Where each partition is.
    runs: RwLock<Runs>,
    /// Copies that are being made: no segment is unlinked meanwhile.
    holds: AtomicUsize,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("active", &self.active().number).finish_non_exhaustive()
    }
}

/// The segment that is written.
struct Active {
    number: u64,
    file: SegmentFile,
    /// `None` only after a failed write.
    database: Option<Database>,
    /// Groups that are durable in the redo file and not in the database yet: at most what that
    /// file holds.
    pending: Mutex<Vec<LoggedGroup>>,
}

impl Active {
    fn new(number: u64, open: ActiveSegment, pending: Vec<LoggedGroup>) -> Self {
        let ActiveSegment { database, file } = open;
        Self { number, file, database: Some(database), pending: Mutex::new(pending) }
    }

    fn database(&self) -> Result<&Database, StorageError> {
        self.database.as_ref().ok_or(StorageError::Failed)
    }

    fn pending(&self) -> MutexGuard<'_, Vec<LoggedGroup>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is pending to the database. Who reads finds it in memory until then, and need
    /// not wait meanwhile: only the writer calls this.
    fn settle(&self) -> Result<(), StorageError> {
        let groups = self.pending().clone();
        if !groups.is_empty() {
            segment::append(self.database()?, self.number, groups.iter(), Durability::None)?;
            self.pending().clear();
        }
        Ok(())
    }

    /// Writes what is pending and one more group. All is durable in the segment when it returns.
    fn sync(&self, group: Option<&LoggedGroup>) -> Result<(), StorageError> {
        let pending = self.pending().clone();
        let groups = pending.iter().chain(group);
        segment::append(self.database()?, self.number, groups, Durability::Immediate)?;
        self.pending().clear();
        Ok(())
    }

    /// Closes it, so that nothing must be repaired or replayed when it is opened.
    fn close(&mut self) -> Result<(), StorageError> {
        self.sync(None)?;
        let database = self.database.take().ok_or(StorageError::Failed)?;
        let name = segment::file_name(self.number);
        guarded(&name, || database.close().map_err(at(&name)))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let database = self.database.take();
        // Closing writes, and may meet what is damaged.
        let _ = guarded(&segment::file_name(self.number), || {
            drop(database);
            Ok(())
        });
    }
}

/// How much was written.
#[derive(Default)]
struct Written {
    /// Bytes of the active segment.
    bytes: u64,
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
        let mut present = segment::list(&*files)?;
        for number in sealed.unlinked {
            remove_file(&*files, number, present.contains(&number))?;
            meta.removed(number);
            present.retain(|present| *present != number);
        }
        let is_missing = |number: &&u64| !present.contains(number);
        if let Some(missing) = sealed.disk_bytes.keys().find(is_missing) {
            return Err(StorageError::SegmentMissing { file: segment::file_name(*missing) });
        }
        let mut runs = Runs::default();
        for placed in &sealed.runs {
            runs.place(placed);
        }
        let last_sequence = sealed.last_sequence;
        let unsealed: Vec<u64> =
            present.iter().copied().filter(|n| !sealed.disk_bytes.contains_key(n)).collect();
        let redo = RedoLog::open(&*files, segment_bytes, present.is_empty());
        let redo = redo.map_err(at(redo::FILE))?;
        let (active, written) = match unsealed[..] {
            [] => {
                let number = sealed.disk_bytes.keys().max().map_or(1, |last| last + 1);
                let active = Active::new(number, segment::create(&*files, number)?, Vec::new());
                (active, Written { last_sequence, ..Written::default() })
            }
            [number] => {
                let open = segment::open_active(&*files, number)?;
                let pending = unsettled(&redo, &open.database, number, last_sequence)?;
                recover_active((open, pending), number, last_sequence, &mut runs, meta)?
            }
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
        Ok(Self {
            files,
            redo,
            segment_bytes,
            active: RwLock::new(active),
            written: Mutex::new(written),
            sealed: Mutex::default(),
            disk_bytes: Mutex::new(sealed.disk_bytes),
            runs: RwLock::new(runs),
            holds: AtomicUsize::new(0),
        })
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
        journal_entry: Vec<u8>,
    ) -> Result<(), StorageError> {
        let segment = self.write(sequence, chunks, journal_entry)?;
        let mut runs = self.runs_mut();
        for chunk in chunks {
            let (extent, disk_bytes) = (chunk.extent, chunk.page_bytes());
            runs.append(&appended(segment, extent, disk_bytes));
        }
        Ok(())
    }

    /// Writes stretches of partitions that take the place of what has their offsets. Durable when
    /// it returns, and only then found by reads.
    pub(super) fn replace(
        &self,
        sequence: u64,
        chunks: &[Chunk],
        moved: &[Moved],
        journal_entry: Vec<u8>,
    ) -> Result<(), StorageError> {
        let segment = self.write(sequence, chunks, journal_entry)?;
        let mut runs = self.runs_mut();
        for moved in moved {
            runs.place(&placed(segment, moved));
        }
        Ok(())
    }

    /// Writes chunks and a journal entry and returns the segment.
    fn write(
        &self,
        sequence: u64,
        chunks: &[Chunk],
        journal_entry: Vec<u8>,
    ) -> Result<u64, StorageError> {
        let entry_bytes = journal_entry.len() as u64;
        let group = LoggedGroup::new(sequence, journal_entry, chunks);
        let active = self.active();
        if group.bytes() <= REDO_GROUP_BYTES && self.redo.append(&group).map_err(at(redo::FILE))? {
            active.pending().push(group);
        } else {
            active.sync(Some(&group))?;
            self.redo.begin_anew();
        }
        let mut written = self.written();
        written.first_sequence.get_or_insert(sequence);
        written.last_sequence = sequence;
        written.bytes += COMMIT_OVERHEAD_BYTES + entry_bytes;
        written.bytes += chunks.iter().map(Chunk::page_bytes).sum::<u64>();
        Ok(active.number)
    }

    /// Forgets what lies before a partition's log start.
    pub(super) fn trim(&self, partition: TopicPartition, start: Offset) {
        self.runs_mut().trim(partition, start);
    }

    /// Whether the active segment is full.
    pub(super) fn is_full(&self) -> bool {
        self.written().bytes >= self.segment_bytes
    }

    /// Seals the active segment, unless it is empty, and begins the next.
    ///
    /// The order makes every crash harmless: closed, recorded as sealed, next one made. A segment
    /// that is closed and not recorded is opened as the active one again; one that is recorded
    /// without a successor gets it at the next start.
    pub(super) fn roll(&self, meta: &Meta) -> Result<(), StorageError> {
        let mut written = self.written();
        let Some(first_sequence) = written.first_sequence else { return Ok(()) };
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        let number = active.number;
        active.close()?;
        let runs = self.runs().of_segment(number);
        meta.seal(number, (first_sequence, written.last_sequence), written.bytes, &runs)?;
        self.redo.begin_anew();
        self.begin_next(&mut active, &mut written)
    }

    /// Makes the successor of a segment that is recorded as sealed.
    fn begin_next(&self, active: &mut Active, written: &mut Written) -> Result<(), StorageError> {
        let (sealed, number) = (active.number, active.number + 1);
        self.disk_bytes().insert(sealed, written.bytes);
        // After a failure it may be there, and whether all of it is on the disk nobody knows.
        if segment::list(&*self.files)?.contains(&number) {
            remove_file(&*self.files, number, true)?;
        }
        let next = segment::create(&*self.files, number)?;
        tracing::info!(sealed, active = number, "began a new segment");
        *active = Active::new(number, next, Vec::new());
        *written = Written { last_sequence: written.last_sequence, ..Written::default() };
        Ok(())
    }

    /// Opens the active segment anew after a failed write: what was durable is there, nothing
    /// else. Appends and readers of that segment wait.
    pub(super) fn reopen(&self, meta: &Meta) -> Result<(), StorageError> {
        let mut written = self.written();
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        let database = active.database.take();
        let name = segment::file_name(active.number);
        let closed = guarded(&name, || {
            database.map_or(Ok(()), |database| database.close().map_err(at(&name)))
        });
        if let Err(error) = closed {
            tracing::debug!(%error, "closed after a failed write");
        }
        self.redo.void_unfinished().map_err(at(redo::FILE))?;
        let sealed = meta.sealed()?;
        let present = segment::list(&*self.files)?;
        for number in sealed.unlinked {
            self.disk_bytes().remove(&number);
            self.open_segments().retain(|(open, _)| *open != number);
            remove_file(&*self.files, number, present.contains(&number))?;
            meta.removed(number);
        }
        let number = active.number;
        if sealed.disk_bytes.contains_key(&number) {
            return self.begin_next(&mut active, &mut written);
        }
        let open = segment::reopen_active(&*self.files, &active.file, number)?;
        let before = written.first_sequence.map_or(written.last_sequence, |first| first - 1);
        let pending = unsettled(&self.redo, &open.database, number, before)?;
        let found = match pending.last() {
            Some(last) => Some(last.sequence),
            None => segment::last_sequence(&open.database, number)?,
        };
        let expected = written.first_sequence.map(|_| written.last_sequence);
        if found != expected {
            let file = segment::file_name(number);
            return Err(StorageError::Diverged { file, found, expected });
        }
        *active = Active::new(number, open, pending);
        Ok(())
    }

    /// The work that may follow a group when nobody waits: syncs the segment when the redo file
    /// is half full, and lets the database have what is pending if that is much or `all` is said.
    pub(super) fn settle(&self, all: bool) -> Result<(), StorageError> {
        let active = self.active();
        if self.redo.is_half_full() {
            active.sync(None)?;
            self.redo.begin_anew();
        } else if all || active.pending().len() >= PENDING_GROUPS {
            active.settle()?;
        }
        Ok(())
    }

    /// Bytes of a partition's record batches.
    pub(super) fn bytes(&self, partition: TopicPartition) -> u64 {
        self.runs().of(partition).iter().map(|run| run.bytes).sum()
    }

    pub(super) fn room(&self) -> Option<(u64, u64)> {
        self.files.room()
    }

    /// Where the files are.
    pub(super) fn place(&self) -> Place {
        self.files.place()
    }

    /// Removes a sealed segment, if nothing is left in it. Says whether it did.
    ///
    /// The order makes every crash harmless: forgotten by `meta`, then removed; a file that is to
    /// be removed and still there is removed at the next start.
    pub(super) fn unlink(&self, number: u64, meta: &Meta) -> Result<bool, StorageError> {
        let sealed = self.disk_bytes().contains_key(&number);
        let is_empty = self.runs().live_bytes(number).is_none();
        #[cfg(test)]
        let is_empty = is_empty || planted::is(planted::Bug::UnlinkEarly);
        if !sealed || !is_empty || self.holds.load(Ordering::Relaxed) > 0 {
            return Ok(false);
        }
        meta.unlink(number)?;
        self.disk_bytes().remove(&number);
        // Who still reads from it has it open.
        self.open_segments().retain(|(open, _)| *open != number);
        remove_file(&*self.files, number, true)?;
        meta.removed(number);
        tracing::info!(segment = number, "removed a segment in which nothing was left");
        Ok(true)
    }

    /// Keeps the sealed segments from being unlinked until [`Log::release`]. Returns their numbers.
    pub(super) fn hold(&self) -> Vec<u64> {
        self.holds.fetch_add(1, Ordering::Relaxed);
        self.disk_bytes().keys().copied().collect()
    }

    pub(super) fn release(&self) {
        self.holds.fetch_sub(1, Ordering::Relaxed);
    }

    /// How the segments are filled, by number.
    pub(super) fn segments(&self) -> Vec<SegmentUse> {
        let mut disk_bytes = self.disk_bytes().clone();
        let active = self.active().number;
        disk_bytes.insert(active, self.written().bytes);
        let runs = self.runs();
        let segments = disk_bytes.into_iter().map(|(segment, disk_bytes)| SegmentUse {
            segment,
            disk_bytes,
            live_bytes: runs.live_bytes(segment),
            active: segment == active,
        });
        segments.collect()
    }

    /// Forgets the partitions that are no more; their bytes go with their segments.
    pub(super) fn retain(&self, lives: impl FnMut(TopicPartition) -> bool) {
        self.runs_mut().retain(lives);
    }

    pub(super) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Closes the active segment, so that the next open has nothing to repair.
    pub(super) fn close(&self) -> Result<(), StorageError> {
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        if active.database.is_some() { active.close() } else { Ok(()) }
    }

    fn active(&self) -> RwLockReadGuard<'_, Active> {
        self.active.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runs(&self) -> RwLockReadGuard<'_, Runs> {
        self.runs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn runs_mut(&self) -> RwLockWriteGuard<'_, Runs> {
        self.runs.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk_bytes(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.disk_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_segments(&self) -> MutexGuard<'_, Vec<(u64, Arc<ReadOnlyDatabase>)>> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn appended(segment: u64, extent: Extent, disk_bytes: u64) -> Placed {
    Placed { segment, extent, disk_bytes, sparse: false, horizon_ms: TimestampMs::MAX }
}

fn placed(segment: u64, moved: &Moved) -> Placed {
    let Moved { extent, disk_bytes, sparse, horizon_ms } = *moved;
    Placed { segment, extent, disk_bytes, sparse, horizon_ms }
}

/// Removes a segment's file, if it is there, so that no crash brings it back.
fn remove_file(files: &dyn Files, number: u64, is_there: bool) -> Result<(), StorageError> {
    let name = segment::file_name(number);
    if is_there {
        files.remove(&name).map_err(at(&name))?;
    }
    files.sync_dir(segment::DIR).map_err(at(segment::DIR))
}

/// The groups that the redo file has and the active segment lacks.
fn unsettled(
    redo: &RedoLog,
    database: &Database,
    number: u64,
    sealed_last_sequence: u64,
) -> Result<Vec<LoggedGroup>, StorageError> {
    let last = segment::last_sequence(database, number)?;
    let mut last_sequence = last.unwrap_or(sealed_last_sequence);
    let mut groups = redo.read_all().map_err(at(redo::FILE))?;
    groups.retain(|group| group.sequence > last_sequence);
    if groups.is_empty() {
        redo.begin_anew();
        return Ok(groups);
    }
    for &LoggedGroup { sequence, .. } in &groups {
        if sequence != last_sequence + 1 {
            return Err(StorageError::JournalGap { segment: number, last_sequence, sequence });
        }
        last_sequence = sequence;
    }
    tracing::info!(segment = number, groups = groups.len(), "read the redo file");
    Ok(groups)
}

/// Learns from the journal of the segment that was active what it holds, and replays the
/// entries that `meta` has not applied.
fn recover_active(
    (open, pending): (ActiveSegment, Vec<LoggedGroup>),
    number: u64,
    sealed_last_sequence: u64,
    runs: &mut Runs,
    meta: &Meta,
) -> Result<(Active, Written), StorageError> {
    let mut first_sequence = None;
    let mut last_sequence = sealed_last_sequence;
    let (mut bytes, mut replayed) = (0, 0_u64);
    let applied = meta.applied();
    segment::journal(&open.database, number, &pending, |sequence, effects| {
        if sequence != last_sequence + 1 {
            return Err(StorageError::JournalGap { segment: number, last_sequence, sequence });
        }
        last_sequence = sequence;
        first_sequence.get_or_insert(sequence);
        bytes += COMMIT_OVERHEAD_BYTES;
        for extent in &effects.extents {
            let disk_bytes = page_run_bytes(extent.bytes);
            bytes += disk_bytes;
            runs.append(&appended(number, *extent, disk_bytes));
        }
        for moved in &effects.moved {
            let placed = placed(number, moved);
            bytes += placed.disk_bytes;
            runs.place(&placed);
        }
        if sequence > applied {
            replayed += 1;
            #[cfg(test)]
            if planted::is(planted::Bug::ReplaySkipsOne) && replayed == 1 {
                return Ok(());
            }
            meta.apply(sequence, effects, 0);
        }
        Ok(())
    })?;
    if replayed > 0 {
        tracing::info!(segment = number, entries = replayed, "replayed the journal");
    }
    let active = Active::new(number, open, pending);
    Ok((active, Written { bytes, first_sequence, last_sequence }))
}
