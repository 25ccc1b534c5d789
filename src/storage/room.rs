//! Room in a file, written before it is needed. An fsync of bytes that go where the file already
//! has blocks on the disk waits for those bytes alone; one of bytes that go into a hole waits for
//! the file system's journal as well, which takes about as long again (ext4: 130 µs for ten pages
//! against 300 µs).

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::limits::{ROOM_BYTES, ROOM_STEP_BYTES};

/// redb's pages are never smaller, and never cross such a border unless they begin at one.
const PAGE_BYTES: u64 = 4096;

/// A file that redb writes, with the room behind what it has written. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct RoomyFile {
    file: Arc<dyn StorageBackend>,
    room: Arc<Mutex<Room>>,
}

#[derive(Debug, Default)]
struct Room {
    /// No byte at or beyond it was written. `None`: not yet known, in a file that was there.
    used: Option<u64>,
    /// Up to where there are blocks on the disk.
    ready: u64,
}

impl RoomyFile {
    /// Takes a file that is new or was there before.
    pub(super) fn new(file: Box<dyn StorageBackend>) -> Self {
        Self { file: Arc::from(file), room: Arc::default() }
    }

    /// Makes a step of room, if there is little left. Durable when it returns.
    ///
    /// Only zeros that would be read there anyway are written, so a crash in the midst of it
    /// changes nothing that anyone sees.
    pub(super) fn make_room(&self) -> io::Result<()> {
        let mut room = self.lock();
        let used = match room.used {
            Some(used) => used,
            None => *room.used.insert(used(&*self.file)?),
        };
        let from = room.ready.max(used);
        if from >= used + ROOM_BYTES {
            return Ok(());
        }
        let until = self.file.len()?.min(from + ROOM_STEP_BYTES);
        if from >= until {
            return Ok(());
        }
        // The lock is held: whatever redb writes next comes after the zeros.
        self.file.write(from, &vec![0; usize::try_from(until - from).unwrap_or(0)])?;
        self.file.sync_data()?;
        room.ready = until;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the last page that is not all zeros. Holes are read from no disk.
fn used(file: &dyn StorageBackend) -> io::Result<u64> {
    let mut end = file.len()?;
    let mut bytes = vec![0; usize::try_from(ROOM_STEP_BYTES).unwrap_or(0)];
    while end > 0 {
        let from = (end - 1) / ROOM_STEP_BYTES * ROOM_STEP_BYTES;
        let bytes = &mut bytes[..usize::try_from(end - from).unwrap_or(0)];
        file.read(from, bytes)?;
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            return Ok((from + last as u64 + 1).next_multiple_of(PAGE_BYTES));
        }
        end = from;
    }
    Ok(0)
}

impl StorageBackend for RoomyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut room = self.lock();
        room.ready = room.ready.min(len);
        room.used = room.used.map(|used| used.min(len));
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut room = self.lock();
        room.used = room.used.map(|used| used.max(offset + data.len() as u64));
        // Still locked: zeros never overtake it.
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Files, MemoryFiles, OpenMode};

    fn content(file: &dyn StorageBackend) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn room_is_made_behind_what_is_written_and_never_over_it() {
        let files = MemoryFiles::new();
        let file = RoomyFile::new(files.open("a", OpenMode::New).unwrap());
        file.set_len(ROOM_STEP_BYTES * 4).unwrap();
        file.write(100, b"first").unwrap();
        for _ in 0..3 {
            let before = content(&file);
            file.make_room().unwrap();
            assert_eq!(content(&file), before);
        }
        let ready = PAGE_BYTES + ROOM_BYTES.next_multiple_of(ROOM_STEP_BYTES);
        assert_eq!(file.lock().ready, ready);
        // What is written in the room stays, and more is made behind it.
        file.write(ready - 4, b"second").unwrap();
        file.make_room().unwrap();
        assert_eq!(file.lock().ready, ready + 2 + ROOM_STEP_BYTES);
        let bytes = content(&file);
        assert_eq!(&bytes[100..105], b"first");
        assert_eq!(&bytes[usize::try_from(ready - 4).unwrap()..][..6], b"second");
    }

    #[test]
    fn room_ends_with_the_file() {
        let files = MemoryFiles::new();
        let file = RoomyFile::new(files.open("a", OpenMode::New).unwrap());
        file.make_room().unwrap();
        file.set_len(5_000).unwrap();
        file.write(4_990, b"end").unwrap();
        for _ in 0..3 {
            file.make_room().unwrap();
        }
        assert_eq!(file.len().unwrap(), 5_000);
        assert_eq!(&content(&file)[4_990..4_993], b"end");
    }
}
