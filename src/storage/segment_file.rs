//! The active segment's file as redb sees it: it remembers the first page, which says what is
//! committed, as it was when the file was last synced, and syncs piece by piece what is written
//! behind the backs of others.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

const HEAD_BYTES: usize = 4096;
/// What is written behind others' backs without a sync in between, bytes at least and at most: a
/// sync of theirs that comes meanwhile waits for as much.
const SYNC_BYTES_MIN: usize = 32 << 10;
const SYNC_BYTES_MAX: usize = 1 << 20;
/// How much more than what the others sync that is.
const SYNC_OF_OTHERS: usize = 8;

/// Clones share the file.
#[derive(Debug, Clone)]
pub(super) struct SegmentFile {
    file: Arc<dyn StorageBackend>,
    head: Arc<Mutex<Head>>,
    /// Bytes written since the last sync.
    unsynced: Arc<AtomicUsize>,
    /// How many there may be.
    sync_bytes: Arc<AtomicUsize>,
}

/// The first page as it is, and as it was at the last sync.
#[derive(Debug)]
struct Head {
    now: Vec<u8>,
    synced: Vec<u8>,
}

impl SegmentFile {
    /// Takes a file that is synced.
    pub(super) fn new(file: Box<dyn StorageBackend>) -> io::Result<Self> {
        let mut now = vec![0; HEAD_BYTES];
        file.read(0, &mut now)?;
        let head = Head { synced: now.clone(), now };
        let head = Arc::new(Mutex::new(head));
        let sync_bytes = Arc::new(AtomicUsize::new(usize::MAX));
        Ok(Self { file: Arc::from(file), head, unsynced: Arc::default(), sync_bytes })
    }

    /// What is written from now on is written behind the backs of others, who sync about so many
    /// bytes at a time; `None`: it is not.
    pub(super) fn set_behind(&self, others: Option<usize>) {
        let bytes = |others: usize| (others * SYNC_OF_OTHERS).clamp(SYNC_BYTES_MIN, SYNC_BYTES_MAX);
        self.sync_bytes.store(others.map_or(usize::MAX, bytes), Ordering::Relaxed);
    }

    /// Takes back what was committed since the last sync, in the same file opened anew. Pages that
    /// a failed sync left behind may be marked clean without being on the disk; the first page as
    /// it was knows none of them.
    pub(super) fn take_back(&self, file: &dyn StorageBackend) -> io::Result<()> {
        file.write(0, &self.lock().synced)?;
        file.sync_data()
    }

    fn lock(&self) -> MutexGuard<'_, Head> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for SegmentFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        #[cfg(test)]
        if crate::planted::is(crate::planted::Bug::SyncDoesNothing) {
            return Ok(());
        }
        self.file.sync_data()?;
        self.unsynced.store(0, Ordering::Relaxed);
        let Head { now, synced } = &mut *self.lock();
        synced.copy_from_slice(now);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Ok(offset) = usize::try_from(offset)
            && offset < HEAD_BYTES
        {
            let length = data.len().min(HEAD_BYTES - offset);
            self.lock().now[offset..offset + length].copy_from_slice(&data[..length]);
        }
        self.file.write(offset, data)?;
        let unsynced = self.unsynced.fetch_add(data.len(), Ordering::Relaxed) + data.len();
        if unsynced >= self.sync_bytes.load(Ordering::Relaxed) {
            self.unsynced.store(0, Ordering::Relaxed);
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}
