//! A file system in memory that can lose its power: the simulated side of [`Files`]. It keeps what
//! was synced apart from what was only written, stops at any operation, and makes the image that
//! a crash at that moment may leave.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::files::{Files, OpenMode};

/// Sizes at which a write that was under way may be torn, bytes.
const TEAR_BYTES: [usize; 3] = [1, 512, 4096];

/// Files in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    files: Vec<MemoryFile>,
    /// Names as the running program sees them, and as a crash leaves them.
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    /// Writes, resizes, syncs and changes of names so far.
    operations: u64,
    reads: u64,
    /// The operation at which the power goes.
    power_off_at: Option<u64>,
    /// The operation that fails, once.
    fails_at: Option<u64>,
    is_full: bool,
    /// The operation from which on it is.
    full_at: Option<u64>,
    /// What is free by its own word, bytes.
    free_bytes: Option<u64>,
}

#[derive(Debug, Default)]
struct MemoryFile {
    /// As the running program sees it, and as it was at the last sync; one of both as long as
    /// they are the same.
    bytes: Arc<Vec<u8>>,
    synced: Arc<Vec<u8>>,
    unsynced: Vec<Change>,
    /// The end of what was ever written.
    written: usize,
    /// Whether a sync has failed, so that what is read is not what will be synced.
    diverged: bool,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize { bytes: usize },
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*offset..end].copy_from_slice(data);
            }
            Self::Resize { bytes } => file.resize(*bytes, 0),
        }
    }
}

impl MemoryFiles {
    /// Empty, with power.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes, resizes, syncs and changes of names so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Whether the power has gone.
    pub fn is_off(&self) -> bool {
        let disk = self.lock();
        disk.power_off_at.is_some_and(|at| disk.operations >= at)
    }

    /// Names of all files, each with its folder.
    pub fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// Changes a file's bytes as a disk that lies does: at rest, without anyone's knowledge. No
    /// file of that name is no error.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.lock();
        if let Ok(file) = disk.find(name) {
            let file = &mut disk.files[file];
            change(Arc::make_mut(&mut file.bytes));
            file.synced = Arc::clone(&file.bytes);
            file.unsynced.clear();
        }
    }

    /// The same files with the same bytes, all of them synced, on another disk.
    pub fn copy(&self) -> Self {
        let disk = self.lock();
        let mut copy = Disk::default();
        for (name, file) in &disk.names {
            copy.put(name, Arc::clone(&disk.files[*file].bytes));
        }
        copy.synced_names = copy.names.clone();
        Self { disk: Arc::new(Mutex::new(copy)) }
    }

    /// Reads so far.
    pub fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// Lets the power go at the operation with this number; that one and all later ones fail.
    pub fn power_off_at(&self, operation: u64) {
        self.lock().power_off_at = Some(operation);
    }

    /// Lets the operation with this number fail, once. If it is a sync, the changes before it are
    /// read back as if they were there, and half of them never come to be synced: what Linux does
    /// (Rebello and others, "Can applications recover from fsync failures?", 2020).
    pub fn fail_at(&self, operation: u64) {
        self.lock().fails_at = Some(operation);
    }

    /// Fills the disk up, or makes room: while it is full, new files and writes beyond what a file
    /// has been written to fail.
    pub fn fill_up(&self, is_full: bool) {
        let mut disk = self.lock();
        (disk.is_full, disk.full_at) = (is_full, None);
    }

    /// Fills the disk up at the operation with this number.
    pub fn fill_up_at(&self, operation: u64) {
        self.lock().full_at = Some(operation);
    }

    /// Says how much is free of the disk; what is written is not held to it.
    pub fn say_free(&self, bytes: u64) {
        self.lock().free_bytes = Some(bytes);
    }

    /// What a crash at this moment may leave: what was synced, and of the later writes a subset
    /// that `random` chooses, some of them torn. `random(n)` returns a number below `n`.
    pub fn crash_image(&self, mut random: impl FnMut(usize) -> usize) -> Self {
        let disk = self.lock();
        let names = if random(2) == 0 { &disk.synced_names } else { &disk.names };
        let mut image = Disk::default();
        for (name, file) in names {
            let file = &disk.files[*file];
            let mut bytes = Arc::clone(&file.synced);
            for change in &file.unsynced {
                let mut change = change.clone();
                if let Change::Write { data, .. } = &mut change
                    && random(4) == 0
                {
                    let tear = TEAR_BYTES[random(TEAR_BYTES.len())];
                    data.truncate(random(data.len() / tear + 1) * tear);
                }
                if random(2) == 0 {
                    change.apply(Arc::make_mut(&mut bytes));
                }
            }
            image.put(name, bytes);
        }
        image.synced_names = image.names.clone();
        Self { disk: Arc::new(Mutex::new(image)) }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Puts a file that is synced.
    fn put(&mut self, name: &str, bytes: Arc<Vec<u8>>) {
        self.names.insert(name.to_owned(), self.files.len());
        let (written, synced, unsynced) = (bytes.len(), Arc::clone(&bytes), Vec::new());
        self.files.push(MemoryFile { bytes, synced, unsynced, written, diverged: false });
    }

    /// Counts an operation, unless the power is off.
    fn operate(&mut self) -> io::Result<()> {
        if self.power_off_at.is_some_and(|at| self.operations >= at) {
            return Err(io::Error::other("the power is off"));
        }
        self.is_full |= self.full_at == Some(self.operations);
        self.operations += 1;
        if self.fails_at == Some(self.operations - 1) {
            return Err(io::Error::other("the disk failed"));
        }
        Ok(())
    }

    /// The same for what takes room unless it is `within` what is written.
    fn take_room(&mut self, within: bool) -> io::Result<()> {
        self.operate()?;
        if self.is_full && !within { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Files for MemoryFiles {
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Box<dyn StorageBackend>> {
        let mut disk = self.lock();
        let file = match (mode, disk.names.get(name)) {
            (OpenMode::New, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::New, None) => {
                disk.take_room(false)?;
                disk.files.push(MemoryFile::default());
                let file = disk.files.len() - 1;
                disk.names.insert(name.to_owned(), file);
                file
            }
            (OpenMode::Existing, _) => disk.find(name)?,
        };
        Ok(Box::new(OpenFile { disk: Arc::clone(&self.disk), file }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let disk = self.lock();
        let in_dir = |name: &String| match dir {
            "" => (!name.contains('/')).then(|| name.clone()),
            dir => name.strip_prefix(dir)?.strip_prefix('/').map(str::to_owned),
        };
        Ok(disk.names.keys().filter_map(in_dir).collect())
    }

    fn create_dir(&self, _dir: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.operate()?;
        let file = disk.find(from)?;
        disk.names.remove(from);
        disk.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.operate()?;
        disk.find(name)?;
        disk.names.remove(name);
        Ok(())
    }

    fn read_at(&self, name: &str, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let disk = self.lock();
        let bytes = &disk.files[disk.find(name)?].bytes;
        let rest = bytes.get(index(offset)?..).unwrap_or_default();
        let read = rest.len().min(out.len());
        out[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn room(&self) -> Option<(u64, u64)> {
        let free = self.lock().free_bytes?;
        Some((u64::MAX, free))
    }

    fn sync_dir(&self, _dir: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.operate()?;
        disk.synced_names = disk.names.clone();
        Ok(())
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: Arc<Mutex<Disk>>,
    file: usize,
}

impl OpenFile {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut disk = self.lock();
        let written = disk.files[self.file].written;
        let end = match &change {
            Change::Write { offset, data } => offset + data.len(),
            // The blocks come with the writes.
            Change::Resize { bytes } => written.min(*bytes),
        };
        disk.take_room(end <= written)?;
        let file = &mut disk.files[self.file];
        file.written = file.written.max(end);
        change.apply(Arc::make_mut(&mut file.bytes));
        file.unsynced.push(change);
        Ok(())
    }
}

/// An offset that redb gave; a file in memory is never larger than memory.
fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl StorageBackend for OpenFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().files[self.file].bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut disk = self.lock();
        disk.reads += 1;
        let from = index(offset)?;
        let bytes = disk.files[self.file].bytes.get(from..from.saturating_add(out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Resize { bytes: index(len)? })
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.lock();
        let fails = disk.fails_at == Some(disk.operations);
        let synced = disk.operate();
        if synced.is_err() && !fails {
            return synced;
        }
        let file = &mut disk.files[self.file];
        file.diverged |= fails;
        if !file.diverged {
            file.unsynced.clear();
            file.synced = Arc::clone(&file.bytes);
            return synced;
        }
        for change in file.unsynced.drain(..).step_by(if fails { 2 } else { 1 }) {
            change.apply(Arc::make_mut(&mut file.synced));
        }
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write { offset: index(offset)?, data: data.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &MemoryFiles, name: &str) -> Vec<u8> {
        let file = files.open(name, OpenMode::Existing).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_may_lose_the_rest() {
        let files = MemoryFiles::new();
        let file = files.open("a", OpenMode::New).unwrap();
        file.write(0, b"safe").unwrap();
        file.sync_data().unwrap();
        files.sync_dir("").unwrap();
        file.write(0, b"gone").unwrap();
        let lost = files.crash_image(|n| n - 1);
        assert_eq!(read(&lost, "a"), b"safe");
        let kept = files.crash_image(|n| usize::from(n == 4));
        assert_eq!(read(&kept, "a"), b"gone");
    }

    #[test]
    fn without_power_nothing_changes() {
        let files = MemoryFiles::new();
        let file = files.open("a", OpenMode::New).unwrap();
        files.power_off_at(files.operations());
        file.write(0, b"x").unwrap_err();
        file.sync_data().unwrap_err();
        files.rename("a", "b").unwrap_err();
        assert_eq!(read(&files, "a"), b"");
    }
}
