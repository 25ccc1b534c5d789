//! The log: a sequence of segments, of which the last is active. Appends go to the active one;
//! when it is full it is sealed and the next begins.

mod pending;
mod read;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{Database, ReadOnlyDatabase};

use self::pending::Pending;
use super::chunk::{Chunk, page_run_bytes};
use super::files::{Files, Place};
use super::journal::{Effects, Extent, Gaps, Moved};
use super::meta::Meta;
use super::redo::{self, RedoLog};
use super::runs::{Placed, Runs};
use super::segment::{self, ActiveSegment, LoggedGroup};
use super::segment_file::SegmentFile;
use super::unwind::guarded;
use super::{StorageError, at};
use crate::limits::{REDO_CHUNK_BYTES, REDO_GROUP_BYTES};
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
    /// Segments that are forgotten and whose files are still there.
    unlinked: Mutex<Vec<u64>>,
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
    /// Groups that are durable in the redo file and not in the database yet.
    pending: Mutex<Pending>,
    /// Held by who writes to the database.
    writing: Mutex<()>,
}

impl Active {
    fn new(number: u64, ActiveSegment { database, file }: ActiveSegment) -> Self {
        let (pending, writing) = (Mutex::default(), Mutex::default());
        Self { number, file, database: Some(database), pending, writing }
    }

    fn database(&self) -> Result<&Database, StorageError> {
        self.database.as_ref().ok_or(StorageError::Failed)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is pending, and one more group, to the database. Durable there when it returns
    /// the sequence number of the last one; nothing if there is none.
    fn settle(&self, group: Option<&LoggedGroup>) -> Result<Option<u64>, StorageError> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = self.pending().groups();
        let groups = || pending.iter().map(|group| &**group).chain(group);
        let Some(last) = groups().last() else { return Ok(None) };
        segment::append(self.database()?, self.number, groups())?;
        // Readers find them in the one place or in both.
        self.pending().settled(last.sequence);
        Ok(Some(last.sequence))
    }

    /// Closes it, so that nothing must be repaired or replayed when it is opened.
    fn close(&mut self) -> Result<(), StorageError> {
        self.settle(None)?;
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
        remove_files(&*files, &sealed.unlinked)?;
        meta.removed(&sealed.unlinked);
        present.retain(|number| !sealed.unlinked.contains(number));
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
                let active = Active::new(number, segment::create(&*files, number)?);
                (active, Written { last_sequence, ..Written::default() })
            }
            [number] => {
                let open = segment::open_active(&*files, number)?;
                recover_active(open, &redo, number, last_sequence, &mut runs, meta)?
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
            unlinked: Mutex::default(),
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
        let group = LoggedGroup::new(sequence, journal_entry, chunks);
        let most = REDO_GROUP_BYTES.max(chunks.len() * REDO_CHUNK_BYTES);
        let is_small = group.bytes() <= most;
        let segment = if is_small && self.redo.append(&group).map_err(at(redo::FILE))? {
            let active = self.active();
            self.count(&group, chunks);
            active.pending().push(group);
            active.number
        } else {
            self.write(&group, chunks)?
        };
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
        let segment = self.write(&LoggedGroup::new(sequence, journal_entry, chunks), chunks)?;
        let mut runs = self.runs_mut();
        for moved in moved {
            runs.place(&placed(segment, moved));
        }
        Ok(())
    }

    /// Writes a group to the segment, with all that is pending. Returns the segment.
    fn write(&self, group: &LoggedGroup, chunks: &[Chunk]) -> Result<u64, StorageError> {
        let active = self.active();
        active.settle(Some(group))?;
        self.redo.settled(group.sequence);
        self.count(group, chunks);
        Ok(active.number)
    }

    /// Takes note of a group that is durable.
    fn count(&self, group: &LoggedGroup, chunks: &[Chunk]) {
        let mut written = self.written();
        written.first_sequence.get_or_insert(group.sequence);
        written.last_sequence = group.sequence;
        written.bytes += COMMIT_OVERHEAD_BYTES + group.entry.len() as u64;
        written.bytes += chunks.iter().map(Chunk::page_bytes).sum::<u64>();
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
        self.redo.settled(written.last_sequence);
        self.begin_next(&mut active, &mut written)
    }

    /// Makes the successor of a segment that is recorded as sealed.
    fn begin_next(&self, active: &mut Active, written: &mut Written) -> Result<(), StorageError> {
        let (sealed, number) = (active.number, active.number + 1);
        self.disk_bytes().insert(sealed, written.bytes);
        // After a failure it may be there, and whether all of it is on the disk nobody knows.
        if segment::list(&*self.files)?.contains(&number) {
            remove_files(&*self.files, &[number])?;
        }
        let next = segment::create(&*self.files, number)?;
        tracing::info!(sealed, active = number, "began a new segment");
        *active = Active::new(number, next);
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
        // The write that failed may have been the one that forgets a segment.
        sealed.unlinked.iter().for_each(|number| self.forget(*number));
        *self.unlinked() = sealed.unlinked;
        let number = active.number;
        if sealed.disk_bytes.contains_key(&number) {
            return self.begin_next(&mut active, &mut written);
        }
        let open = segment::reopen_active(&*self.files, &active.file, number)?;
        let found = segment::last_sequence(&open.database, number)?;
        let before = written.first_sequence.map_or(written.last_sequence, |first| first - 1);
        let in_segment = found.unwrap_or(before);
        let mut pending = active.pending();
        pending.settled(in_segment);
        let last = match pending.span() {
            Some((first, last)) if first == in_segment + 1 => last,
            Some(_) => 0,
            None => in_segment,
        };
        drop(pending);
        if last != written.last_sequence {
            let (file, expected) = (segment::file_name(number), Some(written.last_sequence));
            return Err(StorageError::Diverged { file, found, expected });
        }
        (active.database, active.file) = (Some(open.database), open.file);
        Ok(())
    }

    /// Whether [`Log::settle`] should be called soon, so that no group must wait for it.
    pub(super) fn is_to_settle(&self) -> bool {
        self.redo.is_half_full()
    }

    /// Writes to the segment the groups that only the redo file has. Groups that come meanwhile do
    /// not wait for it as long as the redo file has room.
    pub(super) fn settle(&self) -> Result<(), StorageError> {
        if let Some(sequence) = self.active().settle(None)? {
            self.redo.settled(sequence);
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

    /// Forgets a sealed segment, if nothing is left in it. Says whether it did. Its file is for
    /// [`Log::remove_unlinked`].
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
        self.forget(number);
        self.unlinked().push(number);
        tracing::info!(segment = number, "forgot a segment in which nothing was left");
        Ok(true)
    }

    fn forget(&self, number: u64) {
        self.disk_bytes().remove(&number);
        // Who still reads from it has it open.
        self.open_segments().retain(|(open, _)| *open != number);
    }

    /// Removes the files of segments that are forgotten. Freeing a large file takes a file system
    /// tens of milliseconds, so nobody waits for it. What fails is tried again by the next call.
    pub(super) fn remove_unlinked(&self, meta: &Meta) -> Result<(), StorageError> {
        let numbers = self.unlinked().clone();
        if numbers.is_empty() {
            return Ok(());
        }
        remove_files(&*self.files, &numbers)?;
        meta.removed(&numbers);
        self.unlinked().retain(|number| !numbers.contains(number));
        Ok(())
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

    fn unlinked(&self) -> MutexGuard<'_, Vec<u64>> {
        self.unlinked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_segments(&self) -> MutexGuard<'_, Vec<(u64, Arc<ReadOnlyDatabase>)>> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn appended(segment: u64, extent: Extent, disk_bytes: u64) -> Placed {
    Placed { segment, extent, disk_bytes, gaps: Gaps::None, horizon_ms: TimestampMs::MAX }
}

fn placed(segment: u64, moved: &Moved) -> Placed {
    let Moved { extent, disk_bytes, gaps, horizon_ms } = *moved;
    Placed { segment, extent, disk_bytes, gaps, horizon_ms }
}

/// Removes segments' files, where they are there, so that no crash brings them back.
fn remove_files(files: &dyn Files, numbers: &[u64]) -> Result<(), StorageError> {
    for number in numbers {
        let name = segment::file_name(*number);
        match files.remove(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(at(&name))?,
        }
    }
    if numbers.is_empty() {
        return Ok(());
    }
    files.sync_dir(segment::DIR).map_err(at(segment::DIR))
}

/// Learns from a journal entry where its chunks are, and returns what it has taken of its segment.
pub(super) fn replay(number: u64, effects: &Effects, runs: &mut Runs) -> u64 {
    let mut bytes = COMMIT_OVERHEAD_BYTES;
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
    bytes
}

/// Learns from the journal of the segment that was active, and from the redo file behind it, what
/// there is, and replays the entries that `meta` has not applied.
fn recover_active(
    open: ActiveSegment,
    redo: &RedoLog,
    number: u64,
    sealed_last_sequence: u64,
    runs: &mut Runs,
    meta: &Meta,
) -> Result<(Active, Written), StorageError> {
    let mut written = Written { last_sequence: sealed_last_sequence, ..Written::default() };
    let (applied, mut replayed) = (meta.applied(), 0_u64);
    let mut take = |sequence, effects: Effects| {
        let last_sequence = written.last_sequence;
        if sequence != last_sequence + 1 {
            return Err(StorageError::JournalGap { segment: number, last_sequence, sequence });
        }
        written.last_sequence = sequence;
        written.first_sequence.get_or_insert(sequence);
        written.bytes += replay(number, &effects, runs);
        if sequence > applied {
            replayed += 1;
            #[cfg(test)]
            if planted::is(planted::Bug::ReplaySkipsOne) && replayed == 1 {
                return Ok(());
            }
            meta.apply(sequence, effects, 0);
        }
        Ok(())
    };
    segment::journal(&open.database, number, &mut take)?;
    let in_segment = segment::last_sequence(&open.database, number)?;
    let groups =
        redo.recover(in_segment.unwrap_or(sealed_last_sequence)).map_err(at(redo::FILE))?;
    for group in &groups {
        take(group.sequence, Effects::decode(number, group.sequence, &group.entry)?)?;
    }
    if replayed > 0 {
        let in_redo = groups.len();
        tracing::info!(segment = number, entries = replayed, in_redo, "replayed the journal");
    }
    let active = Active::new(number, open);
    groups.into_iter().for_each(|group| active.pending().push(group));
    Ok((active, written))
}
