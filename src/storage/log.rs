//! The log: a sequence of segments, of which the last is active. Appends go to the active one.
//!
//! When it is full, the next one takes its place in an instant, and closing and recording the full
//! one is for whoever calls [`Log::catch_up`]. Until that is done the new one's groups are in the
//! redo file alone, so that of two segments that are not sealed only the first has something in it.

mod active;
mod pending;
mod read;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
};

use redb::ReadOnlyDatabase;

use self::active::{Active, Filled};
use super::chunk::{Chunk, page_run_bytes};
use super::files::{Files, Place};
use super::journal::{Effects, Extent, Gaps, Moved};
use super::meta::Meta;
use super::redo::{self, RedoLog};
use super::runs::{Placed, Runs};
use super::segment::{self, ActiveSegment, LoggedGroup};
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
    /// Whether it is not sealed.
    pub active: bool,
}

pub(super) struct Log {
    files: Arc<dyn Files>,
    redo: RedoLog,
    segment_bytes: u64,
    unsealed: RwLock<Unsealed>,
    /// Made and empty. Who makes it or has it take its place holds the lock until that is done:
    /// there is one.
    successor: Mutex<Option<Active>>,
    /// Held by who writes to a segment's database.
    writing: Mutex<()>,
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

/// Nobody holds the lock around it for longer than it takes to look.
#[derive(Clone)]
struct Unsealed {
    active: Arc<Active>,
    /// The one before it: full, and not closed and recorded as sealed yet.
    retiring: Option<Arc<Active>>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("active", &self.active().number).finish_non_exhaustive()
    }
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
        let mut unsealed: Vec<u64> =
            present.iter().copied().filter(|n| !sealed.disk_bytes.contains_key(n)).collect();
        remove_successors(&*files, &mut unsealed)?;
        let redo = RedoLog::open(&*files, segment_bytes, present.is_empty());
        let redo = redo.map_err(at(redo::FILE))?;
        let active = match unsealed[..] {
            [] => {
                let number = sealed.disk_bytes.keys().max().map_or(1, |last| last + 1);
                let filled = Filled { last_sequence, ..Filled::default() };
                Active::new(number, segment::create(&*files, number)?, filled)
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
        let last_sequence = active.filled().last_sequence;
        if meta.applied() > last_sequence {
            return Err(StorageError::JournalBehind { applied: meta.applied(), last_sequence });
        }
        Ok(Self {
            files,
            redo,
            segment_bytes,
            unsealed: RwLock::new(Unsealed { active: Arc::new(active), retiring: None }),
            successor: Mutex::default(),
            writing: Mutex::default(),
            sealed: Mutex::default(),
            disk_bytes: Mutex::new(sealed.disk_bytes),
            runs: RwLock::new(runs),
            holds: AtomicUsize::new(0),
            unlinked: Mutex::default(),
        })
    }

    /// Sequence number of the last group that was appended.
    pub(super) fn last_sequence(&self) -> u64 {
        self.active().filled().last_sequence
    }

    /// Writes a group. Durable when it returns, and only then found by reads.
    pub(super) fn append(
        &self,
        sequence: u64,
        chunks: &[Chunk],
        journal_entry: Vec<u8>,
        meta: &Meta,
    ) -> Result<(), StorageError> {
        let group = LoggedGroup::new(sequence, journal_entry, chunks);
        let most = REDO_GROUP_BYTES.max(chunks.len() * REDO_CHUNK_BYTES);
        let is_small = group.bytes() <= most;
        let segment = if is_small && self.redo.append(&group).map_err(at(redo::FILE))? {
            let active = self.active();
            count(&active, &group, chunks);
            active.push(group);
            active.number
        } else {
            self.write(&group, chunks, meta)?
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
        meta: &Meta,
    ) -> Result<(), StorageError> {
        let group = LoggedGroup::new(sequence, journal_entry, chunks);
        let segment = self.write(&group, chunks, meta)?;
        let mut runs = self.runs_mut();
        for moved in moved {
            runs.place(&placed(segment, moved));
        }
        Ok(())
    }

    /// Writes a group to the segment, with all that is pending. Returns the segment.
    fn write(
        &self,
        group: &LoggedGroup,
        chunks: &[Chunk],
        meta: &Meta,
    ) -> Result<u64, StorageError> {
        let _writing = self.writing();
        self.retire(meta)?;
        let active = self.active();
        active.settle(Some(group))?;
        self.redo.settled(group.sequence);
        count(&active, group, chunks);
        Ok(active.number)
    }

    /// Forgets what lies before a partition's log start.
    pub(super) fn trim(&self, partition: TopicPartition, start: Offset) {
        self.runs_mut().trim(partition, start);
    }

    /// Has the next segment take the place of a full one, if it is made. To be called by who
    /// appends, between two groups; takes no time.
    pub(super) fn begin_next(&self) {
        if !self.is_full() {
            return;
        }
        let mut successor = match self.successor.try_lock() {
            Ok(successor) => successor,
            Err(TryLockError::Poisoned(successor)) => successor.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.succeed(&mut successor);
    }

    fn is_full(&self) -> bool {
        let unsealed = self.unsealed();
        unsealed.retiring.is_none() && unsealed.active.filled().bytes >= self.segment_bytes
    }

    /// Has the successor take the place of the active segment.
    fn succeed(&self, successor: &mut Option<Active>) {
        let Some(next) = successor.take() else { return };
        let (active, full) = (next.number, self.active());
        next.filled().last_sequence = full.filled().last_sequence;
        {
            let mut unsealed = self.unsealed.write().unwrap_or_else(PoisonError::into_inner);
            *unsealed = Unsealed { active: Arc::new(next), retiring: Some(Arc::clone(&full)) };
        }
        tracing::info!(full = full.number, active, "began a new segment");
    }

    /// Makes the next segment, unless it is there.
    fn prepare(&self, successor: &mut Option<Active>) -> Result<(), StorageError> {
        if successor.is_some() {
            return Ok(());
        }
        let number = self.active().number + 1;
        // After a failure it may be there, and whether all of it is on the disk nobody knows.
        if segment::list(&*self.files)?.contains(&number) {
            remove_files(&*self.files, &[number])?;
        }
        let next = segment::create(&*self.files, number)?;
        *successor = Some(Active::new(number, next, Filled::default()));
        Ok(())
    }

    /// Closes the full segment and records it as sealed, if there is one. The caller writes.
    ///
    /// The order makes every crash harmless: one that is not recorded is opened as the active one
    /// again, and what follows it is in the redo file.
    fn retire(&self, meta: &Meta) -> Result<(), StorageError> {
        let Some(full) = self.unsealed().retiring.clone() else { return Ok(()) };
        full.close()?;
        let runs = self.runs().of_segment(full.number);
        let Filled { bytes, first_sequence, last_sequence } = *full.filled();
        let first_sequence = first_sequence.unwrap_or(last_sequence);
        meta.seal(full.number, (first_sequence, last_sequence), bytes, &runs)?;
        self.retired(&full);
        Ok(())
    }

    /// Takes note that the full segment is sealed.
    fn retired(&self, full: &Active) {
        let Filled { bytes, last_sequence, .. } = *full.filled();
        self.redo.settled(last_sequence);
        self.disk_bytes().insert(full.number, bytes);
        // Opened in an outage, it may not be all that it became.
        self.open_segments().retain(|(open, _)| *open != full.number);
        self.unsealed.write().unwrap_or_else(PoisonError::into_inner).retiring = None;
    }

    /// Seals the active segment, unless it is empty, and begins the next.
    pub(super) fn roll(&self, meta: &Meta) -> Result<(), StorageError> {
        let _writing = self.writing();
        self.retire(meta)?;
        if self.active().filled().first_sequence.is_none() {
            return Ok(());
        }
        {
            let mut successor = self.successor();
            self.prepare(&mut successor)?;
            self.succeed(&mut successor);
        }
        self.retire(meta)
    }

    /// Opens the segments that are written anew after a failed write: what was durable is there,
    /// nothing else. Readers of them wait.
    pub(super) fn reopen(&self, meta: &Meta) -> Result<(), StorageError> {
        let _writing = self.writing();
        self.redo.void_unfinished().map_err(at(redo::FILE))?;
        let sealed = meta.sealed()?;
        // The write that failed may have been the one that forgets a segment.
        sealed.unlinked.iter().for_each(|number| self.forget(*number));
        *self.unlinked() = sealed.unlinked;
        let retiring = self.unsealed().retiring.clone();
        match retiring {
            // It may as well have been the one that seals it.
            Some(full) if sealed.disk_bytes.contains_key(&full.number) => self.retired(&full),
            Some(full) => full.reopen(&*self.files)?,
            None => {}
        }
        self.active().reopen(&*self.files)
    }

    /// Whether [`Log::catch_up`] should be called soon, so that no group must wait for it.
    pub(super) fn is_behind(&self) -> bool {
        // Apart: within one expression the first lock would be held while the last is waited for.
        let is_retiring = self.unsealed().retiring.is_some();
        is_retiring || self.redo.is_half_full() || self.is_full()
    }

    /// Seals a full segment, writes to the segment the groups that only the redo file has, if they
    /// are many, makes the next segment. Groups that come meanwhile do not wait for it as long as
    /// the redo file has room for them.
    pub(super) fn catch_up(&self, meta: &Meta) -> Result<(), StorageError> {
        {
            let _writing = self.writing();
            meta.may_write()?;
            self.retire(meta)?;
            // The next segment may have begun just now: its groups wait for the one before it.
            let active = {
                let unsealed = self.unsealed();
                unsealed.retiring.is_none().then(|| Arc::clone(&unsealed.active))
            };
            if self.redo.is_half_full()
                && let Some(active) = active
                && let Some(sequence) = active.settle(None)?
            {
                self.redo.settled(sequence);
            }
        }
        let mut successor = self.successor();
        if self.is_full() { self.prepare(&mut successor) } else { Ok(()) }
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
        // In this order: one that is sealed in between is in both, and not in neither.
        let Unsealed { active, retiring } = self.unsealed().clone();
        let mut disk_bytes = self.disk_bytes().clone();
        for segment in retiring.iter().chain([&active]) {
            disk_bytes.insert(segment.number, segment.filled().bytes);
        }
        let first_active = retiring.map_or(active.number, |full| full.number);
        let runs = self.runs();
        let segments = disk_bytes.into_iter().map(|(segment, disk_bytes)| SegmentUse {
            segment,
            disk_bytes,
            live_bytes: runs.live_bytes(segment),
            active: segment >= first_active,
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
    pub(super) fn close(&self, meta: &Meta) -> Result<(), StorageError> {
        let _writing = self.writing();
        self.retire(meta)?;
        self.active().close()
    }

    fn active(&self) -> Arc<Active> {
        Arc::clone(&self.unsealed().active)
    }

    fn unsealed(&self) -> RwLockReadGuard<'_, Unsealed> {
        self.unsealed.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn successor(&self) -> MutexGuard<'_, Option<Active>> {
        self.successor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Takes note of a group that is durable.
fn count(active: &Active, group: &LoggedGroup, chunks: &[Chunk]) {
    let mut filled = active.filled();
    filled.first_sequence.get_or_insert(group.sequence);
    filled.last_sequence = group.sequence;
    filled.bytes += COMMIT_OVERHEAD_BYTES + group.entry.len() as u64;
    filled.bytes += chunks.iter().map(Chunk::page_bytes).sum::<u64>();
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

/// Of the segments that are not sealed removes those behind the first, if nothing is in them: what
/// was to come into them is in the redo file.
fn remove_successors(files: &dyn Files, unsealed: &mut Vec<u64>) -> Result<(), StorageError> {
    for number in unsealed.split_off(unsealed.len().min(1)) {
        let open = segment::open_active(files, number)?;
        let last_sequence = segment::last_sequence(&open.database, number)?;
        segment::close(open.database, number)?;
        match last_sequence {
            None => remove_files(files, &[number])?,
            Some(_) => unsealed.push(number),
        }
    }
    Ok(())
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
) -> Result<Active, StorageError> {
    let mut filled = Filled { last_sequence: sealed_last_sequence, ..Filled::default() };
    let (applied, mut replayed) = (meta.applied(), 0_u64);
    let mut take = |sequence, effects: Effects| {
        let last_sequence = filled.last_sequence;
        if sequence != last_sequence + 1 {
            return Err(StorageError::JournalGap { segment: number, last_sequence, sequence });
        }
        filled.last_sequence = sequence;
        filled.first_sequence.get_or_insert(sequence);
        filled.bytes += replay(number, &effects, runs);
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
    let active = Active::new(number, open, filled);
    groups.into_iter().for_each(|group| active.push(group));
    Ok(active)
}
