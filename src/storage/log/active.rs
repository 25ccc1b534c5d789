//! A segment that is written: the active one, or the one before it until it is sealed.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::Database;

use super::pending::Pending;
use crate::storage::StorageError;
use crate::storage::files::Files;
use crate::storage::segment::{self, ActiveSegment, LoggedGroup, ReadRange, Source};
use crate::storage::segment_file::SegmentFile;
use crate::storage::unwind::guarded;

pub(super) struct Active {
    pub(super) number: u64,
    open: RwLock<Open>,
    /// Groups that are durable in the redo file and not in the database yet.
    pending: Mutex<Pending>,
    filled: Mutex<Filled>,
}

struct Open {
    database: State,
    file: SegmentFile,
}

/// What became of a segment's database.
enum State {
    Open(Database),
    /// It was closed: the file is whole without it.
    Closed,
    /// To close it or to open it anew failed: what the file has to be repaired of nobody knows.
    Failed,
}

impl Open {
    fn database(&self) -> Option<&Database> {
        match &self.database {
            State::Open(database) => Some(database),
            State::Closed | State::Failed => None,
        }
    }

    /// Takes the database, which counts as failed until it is told otherwise.
    fn take(&mut self) -> State {
        std::mem::replace(&mut self.database, State::Failed)
    }
}

/// How much is in a segment, pending groups included.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Filled {
    /// Bytes on disk, about.
    pub(super) bytes: u64,
    /// `None` as long as nothing is in it.
    pub(super) first_sequence: Option<u64>,
    /// Sequence number of the last group in it or before it.
    pub(super) last_sequence: u64,
}

impl Active {
    /// Takes a segment whose last group, or the last one before it, has this sequence number.
    pub(super) fn new(number: u64, segment: ActiveSegment, filled: Filled) -> Self {
        let ActiveSegment { database, file } = segment;
        let open = RwLock::new(Open { database: State::Open(database), file });
        Self { number, open, pending: Mutex::default(), filled: Mutex::new(filled) }
    }

    pub(super) fn filled(&self) -> MutexGuard<'_, Filled> {
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a group that is durable in the redo file.
    pub(super) fn push(&self, group: LoggedGroup) {
        self.pending().push(group);
    }

    /// Writes what is pending, and one more group, to the database. Durable there when it returns
    /// the sequence number of the last one; nothing if there is none.
    pub(super) fn settle(&self, group: Option<&LoggedGroup>) -> Result<Option<u64>, StorageError> {
        let pending = self.pending().groups();
        let groups = || pending.iter().map(|group| &**group).chain(group);
        let Some(last) = groups().last() else { return Ok(None) };
        let open = self.open();
        let database = open.database().ok_or(StorageError::Failed)?;
        let bytes = || pending.iter().map(|group| group.bytes()).sum::<usize>() / pending.len();
        open.file.set_behind(group.is_none().then(bytes));
        segment::append(database, self.number, groups())?;
        // Readers find them in the one place or in both.
        self.pending().settled(last.sequence);
        Ok(Some(last.sequence))
    }

    /// Reads a range as far as it is in one place: the file, or, for who begins behind that, what
    /// is pending. `None`: the file is closed and has it.
    pub(super) fn read<T>(
        &self,
        range: ReadRange,
        read: impl Fn(Source<'_>, ReadRange) -> Result<T, StorageError>,
    ) -> Option<Result<T, StorageError>> {
        let ReadRange { partition, from, until, max_bytes, .. } = range;
        let pending = self.pending();
        let Some(first_pending) = pending.first_offset(partition) else {
            drop(pending);
            return self.read_file(range, read);
        };
        if first_pending <= from {
            let chunks = pending.chunks(partition, (from, until), max_bytes);
            drop(pending);
            return Some(read(Source::Memory(&chunks), range));
        }
        drop(pending);
        self.read_file(ReadRange { until: until.min(first_pending), ..range }, read)
    }

    fn read_file<T>(
        &self,
        range: ReadRange,
        read: impl Fn(Source<'_>, ReadRange) -> Result<T, StorageError>,
    ) -> Option<Result<T, StorageError>> {
        let open = self.open();
        let database = open.database()?;
        let name = segment::file_name(self.number);
        Some(guarded(&name, || read(Source::Active(database), range)))
    }

    /// Closes it, so that nothing must be repaired or replayed when it is opened.
    pub(super) fn close(&self) -> Result<(), StorageError> {
        self.settle(None)?;
        // Held until it is closed: who finds none takes the file for one that can be opened.
        let mut open = self.open_mut();
        match open.take() {
            State::Open(database) => segment::close(database, self.number)?,
            State::Closed => {}
            State::Failed => return Err(StorageError::Failed),
        }
        open.database = State::Closed;
        Ok(())
    }

    /// Opens it anew after a failed write: what was durable is there, nothing else.
    pub(super) fn reopen(&self, files: &dyn Files) -> Result<(), StorageError> {
        let mut open = self.open_mut();
        if let State::Open(database) = open.take()
            && let Err(error) = segment::close(database, self.number)
        {
            tracing::debug!(%error, "closed after a failed write");
        }
        let again = segment::reopen_active(files, &open.file, self.number)?;
        let found = segment::last_sequence(&again.database, self.number)?;
        let Filled { first_sequence, last_sequence, .. } = *self.filled();
        let before = first_sequence.map_or(last_sequence, |first| first - 1);
        let in_segment = found.unwrap_or(before);
        let mut pending = self.pending();
        pending.settled(in_segment);
        let last = match pending.span() {
            Some((first, last)) if first == in_segment + 1 => last,
            Some(_) => 0,
            None => in_segment,
        };
        if last != last_sequence {
            let (file, expected) = (segment::file_name(self.number), Some(last_sequence));
            return Err(StorageError::Diverged { file, found, expected });
        }
        *open = Open { database: State::Open(again.database), file: again.file };
        Ok(())
    }

    fn open(&self) -> RwLockReadGuard<'_, Open> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_mut(&self) -> RwLockWriteGuard<'_, Open> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let database = self.open_mut().take();
        // Closing writes, and may meet what is damaged.
        let _ = guarded(&segment::file_name(self.number), || {
            drop(database);
            Ok(())
        });
    }
}
