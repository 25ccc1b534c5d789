//! The redo file: what lets a small commit wait for one short write instead of a dozen scattered
//! ones.
//!
//! redb writes a small commit as some ten pages all over the segment, and an fsync of ten pages in
//! ten places takes about twice as long as one of the same bytes in one place. So the pages of a
//! small commit go to the redo file first, one behind the other and into blocks that the file
//! already has, and that file is synced; in the segment they are written too, but the system may
//! take its time. The segment is synced when a commit is large, when the redo file is half full and
//! nobody waits, and when the segment is closed. After a crash the pages are written to the
//! segment again before redb looks at it: it finds what a sync would have left.
//!
//! The file holds records, each beginning at a multiple of [`ALIGN`], numbers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 4 | CRC-32C of all that follows |
//! | 4 | length of the pages below |
//! | 8 | epoch: the same in all records since the file was last begun anew |
//! | 8 | index of the record in its epoch |
//! | 8 | number of the segment |
//! | … | pages: offset in the segment (8), length (4), bytes |
//!
//! Valid are the records from the file's start on, as long as epoch and index agree.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::files::{Files, OpenMode};
use crate::limits::{REDO_BYTES, REDO_BYTES_MIN, REDO_COMMIT_BYTES};
use crate::record::crc32c;

/// Name of the file.
pub(super) const FILE: &str = "redo";
const MAGIC: [u8; 8] = *b"msredo\0\x01";
const ALIGN: usize = 4096;
const HEADER_BYTES: usize = 40;
/// What the CRC covers begins behind it.
const CHECKED_AT: usize = 12;
/// Offset and length of a page.
const PAGE_HEADER_BYTES: usize = 12;

/// The redo file, of which a store has one.
#[derive(Debug)]
pub(super) struct RedoLog {
    file: Box<dyn StorageBackend>,
    bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    epoch: u64,
    /// Index and place of the next record.
    index: u64,
    next: u64,
    /// Whether the file may begin with a valid record of an earlier epoch.
    stale: bool,
}

impl State {
    fn anew(stale: bool) -> Self {
        Self { epoch: uuid::Uuid::new_v4().as_u64_pair().0, index: 0, next: 0, stale }
    }
}

impl RedoLog {
    /// Opens the file, or makes it with all its blocks if `new` says that there can be none.
    pub(super) fn open(files: &dyn Files, segment_bytes: u64, new: bool) -> io::Result<Self> {
        if new {
            let name = format!("{FILE}.new");
            if files.list("")?.contains(&name) {
                files.remove(&name)?;
            }
            let bytes = (segment_bytes / 32).clamp(REDO_BYTES_MIN, REDO_BYTES);
            let file = files.open(&name, OpenMode::New)?;
            file.write(0, &vec![0; usize::try_from(bytes).unwrap_or(0)])?;
            file.sync_data()?;
            file.close()?;
            files.rename(&name, FILE)?;
            files.sync_dir("")?;
        }
        let file = files.open(FILE, OpenMode::Existing)?;
        let bytes = file.len()?;
        Ok(Self { file, bytes, state: Mutex::new(State::anew(true)) })
    }

    /// Writes to a segment what a crash may have kept from it, and returns how many commits that
    /// were. The segment is synced, the file empty when it returns.
    pub(super) fn replay(&self, segment: u64, file: &dyn StorageBackend) -> io::Result<u64> {
        let (mut commits, mut at, mut epoch) = (0, 0, None);
        while let Some(record) = self.read(at)? {
            let (found, index, number) = (record.u64(16), record.u64(24), record.u64(32));
            if *epoch.get_or_insert(found) != found || index != commits {
                break;
            }
            if number == segment {
                record.apply(file)?;
            }
            commits += 1;
            at += record.0.len().next_multiple_of(ALIGN) as u64;
        }
        if commits > 0 {
            file.sync_data()?;
        }
        self.clear()?;
        Ok(commits)
    }

    /// Whether the segment should be synced when nobody waits, so that no commit must.
    fn is_half_full(&self) -> bool {
        self.state().next > self.bytes / 2
    }

    /// Appends the pages of a commit. Durable when it returns `true`; `false`: there is no room.
    fn append(&self, segment: u64, record: &mut Vec<u8>) -> io::Result<bool> {
        let mut state = self.state();
        let length = record.len().next_multiple_of(ALIGN);
        if state.next + length as u64 > self.bytes {
            return Ok(false);
        }
        let pages = u32::try_from(record.len() - HEADER_BYTES).map_err(io::Error::other)?;
        record[..8].copy_from_slice(&MAGIC);
        record[12..16].copy_from_slice(&pages.to_le_bytes());
        record[16..24].copy_from_slice(&state.epoch.to_le_bytes());
        record[24..32].copy_from_slice(&state.index.to_le_bytes());
        record[32..40].copy_from_slice(&segment.to_le_bytes());
        let crc = crc32c(&record[CHECKED_AT..]);
        record[8..12].copy_from_slice(&crc.to_le_bytes());
        // Whole blocks: none must be read to be written.
        record.resize(length, 0);
        self.file.write(state.next, record)?;
        self.file.sync_data()?;
        state.next += length as u64;
        state.index += 1;
        Ok(true)
    }

    /// Makes void what a failed append may have left behind the last record: who waited for it
    /// was told that it failed.
    pub(super) fn void_unfinished(&self) -> io::Result<()> {
        let state = self.state();
        if state.next + ALIGN as u64 <= self.bytes {
            self.file.write(state.next, &[0; ALIGN])?;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Makes all records void. Durable when it returns. What they held must be durable elsewhere.
    fn clear(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.next > 0 || state.stale {
            self.file.write(0, &[0; ALIGN])?;
            self.file.sync_data()?;
            *state = State::anew(false);
        }
        Ok(())
    }

    /// Begins anew at the file's start. Until the next record is written the old ones stay valid,
    /// so this is only for when the segment holds them and nothing later.
    fn begin_anew(&self) {
        let mut state = self.state();
        *state = State::anew(state.stale || state.next > 0);
    }

    fn read(&self, at: u64) -> io::Result<Option<Record>> {
        if at + ALIGN as u64 > self.bytes {
            return Ok(None);
        }
        let mut bytes = vec![0; HEADER_BYTES];
        self.file.read(at, &mut bytes)?;
        let pages = u64::from(u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]));
        if bytes[..8] != MAGIC || at + HEADER_BYTES as u64 + pages > self.bytes {
            return Ok(None);
        }
        bytes.resize(HEADER_BYTES + usize::try_from(pages).map_err(io::Error::other)?, 0);
        self.file.read(at + HEADER_BYTES as u64, &mut bytes[HEADER_BYTES..])?;
        let good = crc32c(&bytes[CHECKED_AT..]).to_le_bytes() == bytes[8..CHECKED_AT];
        Ok(good.then_some(Record(bytes)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record whose CRC is right.
struct Record(Vec<u8>);

impl Record {
    fn u64(&self, at: usize) -> u64 {
        self.0[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn apply(&self, file: &dyn StorageBackend) -> io::Result<()> {
        let len = file.len()?;
        let mut rest = &self.0[HEADER_BYTES..];
        while !rest.is_empty() {
            let page = split_page(rest).filter(|(offset, page, _)| {
                offset.checked_add(page.len() as u64).is_some_and(|end| end <= len)
            });
            let Some((offset, page, behind)) = page else {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the redo file has a page that the segment has no place for",
                ));
            };
            file.write(offset, page)?;
            rest = behind;
        }
        Ok(())
    }
}

fn split_page(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (offset, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (page, rest) = rest.split_at_checked(length)?;
    Some((u64::from_le_bytes(*offset), page, rest))
}

/// The active segment's file as redb sees it. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct SegmentFile {
    number: u64,
    file: Arc<dyn StorageBackend>,
    redo: Arc<RedoLog>,
    unsynced: Arc<Mutex<Unsynced>>,
}

/// What was written since the last sync.
#[derive(Debug)]
struct Unsynced {
    /// A redo record in the making.
    record: Vec<u8>,
    /// The next sync is the segment's own: too much was written, or its length has changed.
    direct: bool,
    /// So are all that follow.
    closing: bool,
    /// The segment's first page, which says what is committed, as it is and as it was at the last
    /// sync.
    head: Vec<u8>,
    synced_head: Vec<u8>,
}

impl SegmentFile {
    /// Takes a segment's file that has nothing in the redo file.
    pub(super) fn new(
        number: u64,
        file: Box<dyn StorageBackend>,
        redo: Arc<RedoLog>,
    ) -> io::Result<Self> {
        let mut head = vec![0; ALIGN];
        file.read(0, &mut head)?;
        let unsynced = Unsynced {
            record: vec![0; HEADER_BYTES],
            direct: false,
            closing: false,
            synced_head: head.clone(),
            head,
        };
        let unsynced = Arc::new(Mutex::new(unsynced));
        Ok(Self { number, file: Arc::from(file), redo, unsynced })
    }

    /// Takes everything back that was written since the last sync, in a file that is opened anew.
    /// Pages that a failed sync left behind may be marked clean without being on the disk; none
    /// of them is trusted: those of commits are written again from the redo file, and the first
    /// page from memory.
    pub(super) fn take_back(&self, file: &dyn StorageBackend) -> io::Result<()> {
        self.redo.void_unfinished()?;
        self.redo.replay(self.number, file)?;
        file.write(0, &self.lock().synced_head)?;
        file.sync_data()
    }

    /// Syncs the segment if the redo file is half full.
    pub(super) fn checkpoint(&self) -> io::Result<()> {
        if self.redo.is_half_full() {
            self.file.sync_data()?;
            self.redo.begin_anew();
        }
        Ok(())
    }

    /// From here on every sync is the segment's own, so that the file is whole when it is closed.
    pub(super) fn finish(&self) {
        self.lock().closing = true;
    }

    fn lock(&self) -> MutexGuard<'_, Unsynced> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.lock().direct = true;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut unsynced = self.lock();
        let direct = unsynced.direct || unsynced.closing;
        let redone = !direct && self.redo.append(self.number, &mut unsynced.record)?;
        if !redone {
            self.file.sync_data()?;
            // Before anyone is told: after a crash they would undo what is now in the segment.
            self.redo.clear()?;
        }
        let Unsynced { record, head, synced_head, direct, .. } = &mut *unsynced;
        record.truncate(HEADER_BYTES);
        synced_head.copy_from_slice(head);
        *direct = false;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut unsynced = self.lock();
        let bytes = unsynced.record.len() + PAGE_HEADER_BYTES + data.len();
        unsynced.direct |= bytes > REDO_COMMIT_BYTES;
        if !unsynced.direct
            && let Ok(length) = u32::try_from(data.len())
        {
            unsynced.record.extend_from_slice(&offset.to_le_bytes());
            unsynced.record.extend_from_slice(&length.to_le_bytes());
            unsynced.record.extend_from_slice(data);
        }
        if let Ok(offset) = usize::try_from(offset)
            && offset < ALIGN
        {
            let length = data.len().min(ALIGN - offset);
            unsynced.head[offset..offset + length].copy_from_slice(&data[..length]);
        }
        drop(unsynced);
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryFiles;

    const PAGE: usize = 4096;

    fn open(files: &MemoryFiles) -> Arc<RedoLog> {
        let new = !files.list("").unwrap().contains(&FILE.to_owned());
        Arc::new(RedoLog::open(files, 0, new).unwrap())
    }

    fn segment(files: &MemoryFiles, redo: &Arc<RedoLog>) -> SegmentFile {
        let file = files.open("segment", OpenMode::New).unwrap();
        file.set_len(64 * PAGE as u64).unwrap();
        file.sync_data().unwrap();
        files.sync_dir("").unwrap();
        SegmentFile::new(1, file, Arc::clone(redo)).unwrap()
    }

    fn write(segment: &SegmentFile, page: usize, byte: u8) {
        segment.write((page * PAGE) as u64, &[byte; PAGE]).unwrap();
    }

    /// The first byte of each page after the power went and all unsynced was lost.
    fn recovered(files: &MemoryFiles, commits: u64) -> Vec<u8> {
        let image = files.crash_image(|n| n - 1);
        let file = image.open("segment", OpenMode::Existing).unwrap();
        assert_eq!(open(&image).replay(1, &*file).unwrap(), commits);
        assert_eq!(open(&image).replay(1, &*file).unwrap(), 0, "a second time");
        let mut bytes = vec![0; 64 * PAGE];
        file.read(0, &mut bytes).unwrap();
        bytes.chunks(PAGE).map(|page| page[0]).collect()
    }

    #[test]
    fn small_commits_come_back_though_the_segment_was_not_synced() {
        let files = MemoryFiles::new();
        let redo = open(&files);
        let segment = segment(&files, &redo);
        for byte in 1..=3 {
            write(&segment, 0, byte);
            write(&segment, usize::from(byte), byte);
            segment.sync_data().unwrap();
        }
        write(&segment, 9, 9);
        let pages = recovered(&files, 3);
        assert_eq!(pages[..4], [3, 1, 2, 3]);
        assert_eq!(pages[9], 0, "never synced");
    }

    #[test]
    fn a_large_commit_is_not_undone_by_the_small_ones_before_it() {
        let files = MemoryFiles::new();
        let redo = open(&files);
        let segment = segment(&files, &redo);
        write(&segment, 0, 1);
        segment.sync_data().unwrap();
        write(&segment, 0, 2);
        segment.write(PAGE as u64, &[2; REDO_COMMIT_BYTES * 2 / 3]).unwrap();
        segment.write(PAGE as u64, &[2; REDO_COMMIT_BYTES * 2 / 3]).unwrap();
        segment.sync_data().unwrap();
        assert_eq!(recovered(&files, 0)[..2], [2, 2]);
        write(&segment, 0, 3);
        segment.sync_data().unwrap();
        assert_eq!(recovered(&files, 1)[..2], [3, 2]);
    }

    #[test]
    fn a_full_file_begins_anew() {
        let files = MemoryFiles::new();
        let redo = open(&files);
        let segment = segment(&files, &redo);
        for byte in 1..=200 {
            write(&segment, 0, byte);
            write(&segment, usize::from(byte % 60), byte);
            segment.sync_data().unwrap();
            if byte % 3 == 0 {
                segment.checkpoint().unwrap();
            }
        }
        let image = files.crash_image(|n| n - 1);
        let file = image.open("segment", OpenMode::Existing).unwrap();
        open(&image).replay(1, &*file).unwrap();
        let mut first = [0];
        file.read(0, &mut first).unwrap();
        assert_eq!(first, [200]);
    }

    #[test]
    fn nothing_goes_through_it_when_the_segment_is_closed() {
        let files = MemoryFiles::new();
        let redo = open(&files);
        let segment = segment(&files, &redo);
        write(&segment, 0, 1);
        segment.sync_data().unwrap();
        segment.finish();
        write(&segment, 0, 2);
        segment.sync_data().unwrap();
        assert_eq!(recovered(&files, 0)[0], 2);
    }

    #[test]
    fn records_of_another_segment_and_damaged_ones_are_left_alone() {
        let files = MemoryFiles::new();
        let redo = open(&files);
        let segment = segment(&files, &redo);
        for byte in 1..=2 {
            write(&segment, 0, byte);
            segment.sync_data().unwrap();
        }
        let file = files.open(FILE, OpenMode::Existing).unwrap();
        // In the page of the second record.
        file.write(2 * PAGE as u64 + 3_000, &[7]).unwrap();
        file.sync_data().unwrap();
        assert_eq!(recovered(&files, 1)[0], 1);
        let image = files.crash_image(|n| n - 1);
        let file = image.open("segment", OpenMode::Existing).unwrap();
        open(&image).replay(2, &*file).unwrap();
        let mut first = [0];
        file.read(0, &mut first).unwrap();
        assert_eq!(first, [0]);
    }
}
