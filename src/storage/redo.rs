//! The redo file: what makes a small group durable by one short write.
//!
//! A small transaction of redb is some ten pages all over the segment, and to make and sync them
//! takes about twice as long as to sync the group's bytes in one place. So a small group goes to
//! the redo file first, in one piece and into blocks that the file has already; when that is
//! synced the group is durable. Its transaction in the segment follows together with others,
//! without a sync of its own; until then it is read from memory. The segment is synced when the
//! redo file is half full and nobody waits, when a group is large, and when it is closed. After a
//! crash, or a write that failed, the groups that the segment lacks are read into memory from here:
//! to be served they need no room on the disk.
//!
//! The file holds records, each beginning at a multiple of [`ALIGN`], numbers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 4 | CRC-32C of all that follows |
//! | 4 | length of what follows this header |
//! | 8 | epoch: the same in all records since the file was last begun anew |
//! | 8 | index of the record in its epoch |
//! | 8 | sequence number of the group |
//! | 4, … | length of the journal entry, and the entry |
//! | … | chunks: topic (16), partition (4), first offset (8), length (4), record batches |
//!
//! Valid are the records from the file's start on, as long as epoch and index agree. Those that
//! the segment has are passed over by their sequence numbers, so that none must ever be erased.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use redb::StorageBackend;

use super::files::{Files, OpenMode};
use super::segment::{LoggedChunk, LoggedGroup};
use crate::limits::{REDO_BYTES, REDO_BYTES_MIN};
#[cfg(test)]
use crate::planted;
use crate::record::crc32c;
use crate::types::{TopicId, TopicPartition};

/// Name of the file.
pub(super) const FILE: &str = "redo";
const MAGIC: [u8; 8] = *b"msredo\0\x02";
const ALIGN: usize = 4096;
const HEADER_BYTES: usize = 40;
/// What the CRC covers begins behind it.
const CHECKED_AT: usize = 12;
/// What stands before a chunk's batches.
const CHUNK_HEADER_BYTES: usize = 32;

/// The redo file, of which a store has one.
#[derive(Debug)]
pub(super) struct RedoLog {
    file: Box<dyn StorageBackend>,
    bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    epoch: u64,
    /// Index and place of the next record.
    index: u64,
    next: u64,
    /// Where records are put together.
    buffer: Vec<u8>,
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
        let redo = Self { file, bytes, state: Mutex::default() };
        redo.begin_anew();
        Ok(redo)
    }

    /// The groups that it has, in order; further ones go behind them.
    pub(super) fn read_all(&self) -> io::Result<Vec<LoggedGroup>> {
        let mut state = self.state();
        let (mut groups, mut at, mut epoch) = (Vec::new(), 0, None);
        while let Some(record) = self.read(at)? {
            let (found, index, sequence) = (u64_at(&record, 16), u64_at(&record, 24), 32);
            if *epoch.get_or_insert(found) != found || index != groups.len() as u64 {
                break;
            }
            at += record.len().next_multiple_of(ALIGN) as u64;
            let sequence = u64_at(&record, sequence);
            groups.push(decode(sequence, record.slice(HEADER_BYTES..)).ok_or_else(|| {
                let reason = format!("group {sequence} in the redo file cannot be read");
                io::Error::new(io::ErrorKind::InvalidData, reason)
            })?);
        }
        if let Some(epoch) = epoch {
            (state.epoch, state.index, state.next) = (epoch, groups.len() as u64, at);
        }
        Ok(groups)
    }

    /// Whether the segment should be synced when nobody waits, so that no group must wait for it.
    pub(super) fn is_half_full(&self) -> bool {
        self.state().next > self.bytes / 2
    }

    /// Appends a group. Durable when it returns `true`; `false`: there is no room.
    pub(super) fn append(&self, group: &LoggedGroup) -> io::Result<bool> {
        let mut state = self.state();
        let State { epoch, index, next, buffer } = &mut *state;
        encode(group, buffer)?;
        let length = buffer.len().next_multiple_of(ALIGN);
        if *next + length as u64 > self.bytes {
            return Ok(false);
        }
        buffer[16..24].copy_from_slice(&epoch.to_le_bytes());
        buffer[24..32].copy_from_slice(&index.to_le_bytes());
        let crc = crc32c(&buffer[CHECKED_AT..]);
        buffer[8..12].copy_from_slice(&crc.to_le_bytes());
        // Whole blocks: none must be read to be written.
        buffer.resize(length, 0);
        self.file.write(*next, buffer)?;
        self.sync()?;
        *next += length as u64;
        *index += 1;
        Ok(true)
    }

    fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if planted::is(planted::Bug::SyncDoesNothing) {
            return Ok(());
        }
        self.file.sync_data()
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

    /// Begins anew at the file's start. For when the segment has all its groups, durably.
    pub(super) fn begin_anew(&self) {
        let mut state = self.state();
        let epoch = crate::random::id().as_u64_pair().0;
        (state.epoch, state.index, state.next) = (epoch, 0, 0);
    }

    fn read(&self, at: u64) -> io::Result<Option<Bytes>> {
        if at + ALIGN as u64 > self.bytes {
            return Ok(None);
        }
        let mut bytes = vec![0; HEADER_BYTES];
        self.file.read(at, &mut bytes)?;
        let body = u64::from(u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]));
        if bytes[..8] != MAGIC || at + HEADER_BYTES as u64 + body > self.bytes {
            return Ok(None);
        }
        bytes.resize(HEADER_BYTES + usize::try_from(body).map_err(io::Error::other)?, 0);
        self.file.read(at + HEADER_BYTES as u64, &mut bytes[HEADER_BYTES..])?;
        let good = crc32c(&bytes[CHECKED_AT..]).to_le_bytes() == bytes[8..CHECKED_AT];
        Ok(good.then(|| Bytes::from(bytes)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A record but for its epoch, its index and its CRC.
fn encode(group: &LoggedGroup, record: &mut Vec<u8>) -> io::Result<()> {
    let length = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
    record.clear();
    record.resize(HEADER_BYTES, 0);
    record.extend_from_slice(&length(group.entry.len())?.to_le_bytes());
    record.extend_from_slice(&group.entry);
    for LoggedChunk { partition, first_offset, bytes } in &group.chunks {
        record.extend_from_slice(&partition.topic.to_bytes());
        record.extend_from_slice(&partition.partition.to_le_bytes());
        record.extend_from_slice(&first_offset.to_le_bytes());
        record.extend_from_slice(&length(bytes.len())?.to_le_bytes());
        record.extend_from_slice(bytes);
    }
    let body = length(record.len() - HEADER_BYTES)?;
    record[..8].copy_from_slice(&MAGIC);
    record[12..16].copy_from_slice(&body.to_le_bytes());
    record[32..40].copy_from_slice(&group.sequence.to_le_bytes());
    Ok(())
}

/// A group from a record's body; `None` if it is not one.
fn decode(sequence: u64, mut body: Bytes) -> Option<LoggedGroup> {
    let split = |body: &mut Bytes, length: u32| {
        let length = usize::try_from(length).ok()?;
        (length <= body.len()).then(|| body.split_to(length))
    };
    let length = body.try_get_u32_le().ok()?;
    let entry = split(&mut body, length)?;
    let mut chunks = Vec::new();
    while !body.is_empty() {
        if body.len() < CHUNK_HEADER_BYTES {
            return None;
        }
        let mut topic = [0; 16];
        body.copy_to_slice(&mut topic);
        let topic = TopicId::from_bytes(topic);
        let partition = TopicPartition { topic, partition: body.get_i32_le() };
        let first_offset = body.get_i64_le();
        let length = body.get_u32_le();
        let bytes = split(&mut body, length)?;
        chunks.push(LoggedChunk { partition, first_offset, bytes });
    }
    Some(LoggedGroup { sequence, entry, chunks })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryFiles;

    fn open(files: &MemoryFiles) -> RedoLog {
        let new = !files.list("").unwrap().contains(&FILE.to_owned());
        RedoLog::open(files, 0, new).unwrap()
    }

    fn group(sequence: u64, bytes: usize) -> LoggedGroup {
        let chunk = |partition| LoggedChunk {
            partition: TopicPartition { topic: TopicId::from_bytes([7; 16]), partition },
            first_offset: i64::try_from(sequence).unwrap(),
            bytes: Bytes::from(vec![1; bytes]),
        };
        let entry = Bytes::from_static(b"entry");
        LoggedGroup { sequence, entry, chunks: vec![chunk(0), chunk(1)] }
    }

    /// What is there after the power went and all unsynced was lost.
    fn recovered(files: &MemoryFiles) -> Vec<LoggedGroup> {
        open(&files.crash_image(|n| n - 1)).read_all().unwrap()
    }

    #[test]
    fn groups_come_back_as_they_were() {
        let files = MemoryFiles::new();
        let redo = open(&files);
        let groups = [group(5, 0), group(6, 10_000), group(7, 1)];
        for group in &groups {
            assert!(redo.append(group).unwrap());
        }
        assert_eq!(recovered(&files), groups);
        let image = files.crash_image(|n| n - 1);
        let redo = open(&image);
        redo.read_all().unwrap();
        redo.append(&group(8, 1)).unwrap();
        assert_eq!(recovered(&image).len(), 4, "further ones go behind them");
    }

    #[test]
    fn what_failed_does_not_come_back() {
        let files = MemoryFiles::new();
        let redo = open(&files);
        redo.append(&group(1, 1)).unwrap();
        // The write of the group's record; its sync leaves half of the changes behind.
        files.fail_at(files.operations() + 1);
        redo.append(&group(2, 1)).unwrap_err();
        redo.void_unfinished().unwrap();
        assert_eq!(recovered(&files), [group(1, 1)]);
        redo.append(&group(2, 9)).unwrap();
        assert_eq!(recovered(&files), [group(1, 1), group(2, 9)]);
    }

    #[test]
    fn a_full_file_takes_no_more_until_it_begins_anew() {
        let files = MemoryFiles::new();
        let redo = open(&files);
        let mut sequence = 0;
        while redo.append(&group(sequence + 1, 1_000)).unwrap() {
            sequence += 1;
        }
        assert!(redo.is_half_full());
        assert_eq!(recovered(&files).last(), Some(&group(sequence, 1_000)));
        redo.begin_anew();
        assert!(!redo.is_half_full());
        assert_eq!(recovered(&files).last(), Some(&group(sequence, 1_000)), "nothing is erased");
        redo.append(&group(sequence + 1, 1)).unwrap();
        assert_eq!(recovered(&files), [group(sequence + 1, 1)]);
    }

    #[test]
    fn a_damaged_record_and_all_behind_it_are_left_alone() {
        let files = MemoryFiles::new();
        let redo = open(&files);
        for sequence in 1..=3 {
            redo.append(&group(sequence, 1_000)).unwrap();
        }
        let file = files.open(FILE, OpenMode::Existing).unwrap();
        file.write(ALIGN as u64 + 300, &[7]).unwrap();
        file.sync_data().unwrap();
        assert_eq!(recovered(&files), [group(1, 1_000)]);
    }

    #[test]
    fn a_body_that_lies_is_refused() {
        let mut record = Vec::new();
        encode(&group(1, 10), &mut record).unwrap();
        let body = Bytes::from(record).slice(HEADER_BYTES..);
        assert_eq!(decode(1, body.clone()), Some(group(1, 10)));
        for cut in 1..body.len() {
            let whole = decode(1, body.slice(..cut)).is_some_and(|group| group.chunks.len() > 1);
            assert!(!whole, "cut at {cut}");
        }
    }
}
