//! The redo file: what makes a small group durable by one short write.
//!
//! A small transaction of redb is some ten pages all over the segment, and to make and sync them
//! takes about twice as long as to sync the group's bytes in one place. So a small group goes to
//! the redo file first, in one piece and into blocks that the file has already; when that is
//! synced the group is durable. It stays in memory too, for readers, until it is written to the
//! segment with all that came meanwhile, behind the back of who commits. After a crash the groups
//! that the segment lacks are taken from here.
//!
//! The file has two halves. One is written; when it is full the other takes its place, if the
//! segment has by then what the other held. Each holds records from its start on, which begin at
//! multiples of [`ALIGN`], numbers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 4 | CRC-32C of all that follows |
//! | 4 | length of what follows this header |
//! | 8 | epoch: the same in all records since the half was last begun anew |
//! | 8 | index of the record in its epoch |
//! | 8 | sequence number of the group |
//! | 4, … | length of the journal entry, and the entry |
//! | … | chunks: topic (16), partition (4), first and end offset (16), length (4), batches |
//!
//! Valid are the records from the half's start on, as long as epoch and index agree. Those that
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
const MAGIC: [u8; 8] = *b"msredo\0\x03";
const ALIGN: usize = 4096;
pub(super) const HEADER_BYTES: usize = 40;
/// What the CRC covers begins behind it.
const CHECKED_AT: usize = 12;
/// What stands before a chunk's batches.
const CHUNK_HEADER_BYTES: usize = 40;

/// The redo file, of which a store has one.
#[derive(Debug)]
pub(super) struct RedoLog {
    file: Box<dyn StorageBackend>,
    half_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    halves: [Half; 2],
    /// The half that is written.
    current: usize,
    /// Where records are put together.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Half {
    epoch: u64,
    /// Index of the next record, and its place from the half's start on.
    index: u64,
    next: u64,
    /// Sequence number of the last group in it that the segment may lack.
    last_sequence: Option<u64>,
}

impl Half {
    /// One that is written from its start on.
    fn anew() -> Self {
        let epoch = crate::random::id().as_u64_pair().0;
        Self { epoch, index: 0, next: 0, last_sequence: None }
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
        let file = files.open_direct(FILE)?;
        let half_bytes = file.len()? / 2 / ALIGN as u64 * ALIGN as u64;
        let halves = [Half::anew(), Half::anew()];
        let state = State { halves, current: 0, buffer: Vec::new() };
        Ok(Self { file, half_bytes, state: Mutex::new(state) })
    }

    /// The groups that it has after `sequence`, the last one that the segment has; further ones go
    /// behind them.
    pub(super) fn recover(&self, sequence: u64) -> io::Result<Vec<LoggedGroup>> {
        let mut state = self.state();
        let mut groups = Vec::new();
        for at in 0..2 {
            let (half, mut found) = self.read_half(at)?;
            found.retain(|group| group.sequence > sequence);
            if let Some(last) = found.last() {
                state.halves[at] = Half { last_sequence: Some(last.sequence), ..half };
                groups.append(&mut found);
            }
        }
        groups.sort_by_key(|group| group.sequence);
        let last = |half: &Half| half.last_sequence;
        state.current = usize::from(last(&state.halves[1]) > last(&state.halves[0]));
        Ok(groups)
    }

    /// A half as it was when its last valid record was written, and its groups.
    fn read_half(&self, at: usize) -> io::Result<(Half, Vec<LoggedGroup>)> {
        let (mut half, mut groups, mut epoch) = (Half::anew(), Vec::new(), None);
        while let Some(record) = self.read(at, half.next)? {
            let (found, index, sequence) =
                (u64_at(&record, 16), u64_at(&record, 24), u64_at(&record, 32));
            if *epoch.get_or_insert(found) != found || index != half.index {
                break;
            }
            let group = decode(sequence, record.slice(HEADER_BYTES..)).ok_or_else(|| {
                let reason = format!("group {sequence} in the redo file cannot be read");
                io::Error::new(io::ErrorKind::InvalidData, reason)
            })?;
            groups.push(group);
            half.epoch = found;
            half.index += 1;
            half.next += record.len().next_multiple_of(ALIGN) as u64;
        }
        Ok((half, groups))
    }

    /// Whether a half is full, so that the segment should be given what is in it.
    pub(super) fn is_half_full(&self) -> bool {
        self.state().halves.iter().all(|half| half.last_sequence.is_some())
    }

    /// Appends a group. Durable when it returns `true`; `false`: there is no room.
    pub(super) fn append(&self, group: &LoggedGroup) -> io::Result<bool> {
        let mut state = self.state();
        let State { halves, current, buffer } = &mut *state;
        encode(group, buffer)?;
        let length = buffer.len().next_multiple_of(ALIGN);
        if halves[*current].next + length as u64 > self.half_bytes {
            let other = 1 - *current;
            if halves[other].last_sequence.is_some() || length as u64 > self.half_bytes {
                return Ok(false);
            }
            *current = other;
        }
        let at = self.at(*current);
        let half = &mut halves[*current];
        buffer[16..24].copy_from_slice(&half.epoch.to_le_bytes());
        buffer[24..32].copy_from_slice(&half.index.to_le_bytes());
        let crc = crc32c(&buffer[CHECKED_AT..]);
        buffer[8..12].copy_from_slice(&crc.to_le_bytes());
        // Whole blocks: none must be read to be written.
        buffer.resize(length, 0);
        self.file.write(at + half.next, buffer)?;
        self.sync()?;
        half.next += length as u64;
        half.index += 1;
        half.last_sequence = Some(group.sequence);
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
        let next = state.halves[state.current].next;
        if next + ALIGN as u64 <= self.half_bytes {
            self.file.write(self.at(state.current) + next, &[0; ALIGN])?;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Takes note that the segment has all groups up to a sequence number, durably: halves that
    /// hold no later one are begun anew.
    pub(super) fn settled(&self, sequence: u64) {
        for half in &mut self.state().halves {
            if half.last_sequence.is_some_and(|last| last <= sequence) {
                *half = Half::anew();
            }
        }
    }

    /// Where a half begins.
    fn at(&self, half: usize) -> u64 {
        half as u64 * self.half_bytes
    }

    fn read(&self, half: usize, next: u64) -> io::Result<Option<Bytes>> {
        if next + ALIGN as u64 > self.half_bytes {
            return Ok(None);
        }
        let at = self.at(half) + next;
        let mut bytes = vec![0; HEADER_BYTES];
        self.file.read(at, &mut bytes)?;
        let body = u64::from(u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]));
        if bytes[..8] != MAGIC || next + HEADER_BYTES as u64 + body > self.half_bytes {
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
pub(super) fn encode(group: &LoggedGroup, record: &mut Vec<u8>) -> io::Result<()> {
    let length = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
    record.clear();
    record.resize(HEADER_BYTES, 0);
    record.extend_from_slice(&length(group.entry.len())?.to_le_bytes());
    record.extend_from_slice(&group.entry);
    for LoggedChunk { partition, first_offset, end_offset, bytes } in &group.chunks {
        record.extend_from_slice(&partition.topic.to_bytes());
        record.extend_from_slice(&partition.partition.to_le_bytes());
        record.extend_from_slice(&first_offset.to_le_bytes());
        record.extend_from_slice(&end_offset.to_le_bytes());
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
pub(super) fn decode(sequence: u64, mut body: Bytes) -> Option<LoggedGroup> {
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
        let (first_offset, end_offset) = (body.get_i64_le(), body.get_i64_le());
        let length = body.get_u32_le();
        let bytes = split(&mut body, length)?;
        chunks.push(LoggedChunk { partition, first_offset, end_offset, bytes });
    }
    Some(LoggedGroup { sequence, entry, chunks })
}

/// Makes of what stands where records may begin records by their magic and their checksum.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn reseal(file: &mut [u8]) {
    for at in (0..file.len()).step_by(ALIGN) {
        let record = &mut file[at..];
        if record.len() < HEADER_BYTES {
            return;
        }
        let body = u32::from_le_bytes([record[12], record[13], record[14], record[15]]) as usize;
        let body = body % (record.len() - HEADER_BYTES + 1);
        let record = &mut record[..HEADER_BYTES + body];
        record[..8].copy_from_slice(&MAGIC);
        record[12..16].copy_from_slice(&(body as u32).to_le_bytes());
        let crc = crc32c(&record[CHECKED_AT..]);
        record[8..CHECKED_AT].copy_from_slice(&crc.to_le_bytes());
    }
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
            end_offset: i64::try_from(sequence).unwrap() + 1,
            bytes: Bytes::from(vec![1; bytes]),
        };
        let entry = Bytes::from_static(b"entry");
        LoggedGroup { sequence, entry, chunks: vec![chunk(0), chunk(1)] }
    }

    /// What is there after the power went and all unsynced was lost.
    fn recovered(files: &MemoryFiles) -> Vec<LoggedGroup> {
        open(&files.crash_image(|n| n - 1)).recover(0).unwrap()
    }

    #[test]
    fn groups_come_back_as_they_were() {
        let files = MemoryFiles::new();
        let redo = open(&files);
        let groups = [group(5, 0), group(6, 5_000), group(7, 3_000), group(8, 3_000)];
        for group in &groups {
            assert!(redo.append(group).unwrap());
        }
        assert_eq!(recovered(&files), groups, "in both halves");
        let image = files.crash_image(|n| n - 1);
        let redo = open(&image);
        assert_eq!(redo.recover(6).unwrap(), groups[2..]);
        redo.append(&group(9, 1)).unwrap();
        let sequences: Vec<u64> = recovered(&image).iter().map(|group| group.sequence).collect();
        assert_eq!(sequences, [7, 8, 9], "where the segment has what was there");
    }

    #[test]
    fn what_failed_does_not_come_back() {
        for before in [1, 2, 4] {
            let files = MemoryFiles::new();
            let redo = open(&files);
            let groups: Vec<_> = (1..=before).map(|sequence| group(sequence, 1_000)).collect();
            groups.iter().for_each(|group| assert!(redo.append(group).unwrap()));
            // The write of the group's record; its sync leaves half of the changes behind.
            files.fail_at(files.operations() + 1);
            redo.append(&group(before + 1, 1)).unwrap_err();
            redo.void_unfinished().unwrap();
            assert_eq!(recovered(&files), groups);
            let last = group(before + 1, 9);
            redo.append(&last).unwrap();
            assert_eq!(recovered(&files), [&groups[..], &[last]].concat());
        }
    }

    #[test]
    fn a_full_half_is_written_again_when_the_segment_has_it() {
        let files = MemoryFiles::new();
        let redo = open(&files);
        let mut sequence = 0;
        let fill = |sequence: &mut u64, redo: &RedoLog| {
            let from = *sequence;
            while redo.append(&group(*sequence + 1, 1_000)).unwrap() {
                *sequence += 1;
            }
            *sequence - from
        };
        redo.append(&group(1, 1_000)).unwrap();
        sequence += 1;
        assert!(!redo.is_half_full());
        let both = fill(&mut sequence, &redo) + 1;
        assert!(redo.is_half_full());
        assert_eq!(recovered(&files).len() as u64, both);
        redo.settled(1);
        assert!(redo.is_half_full(), "the segment lacks some of the first half");
        redo.settled(both / 2);
        assert!(!redo.is_half_full());
        assert_eq!(recovered(&files).last(), Some(&group(sequence, 1_000)), "nothing is erased");
        let half = fill(&mut sequence, &redo);
        assert_eq!(half, both / 2);
        let found = recovered(&files);
        assert_eq!((found[0].sequence, found.len() as u64), (half + 1, both));
        redo.settled(sequence);
        redo.append(&group(sequence + 1, 1)).unwrap();
        assert_eq!(recovered(&files).last(), Some(&group(sequence + 1, 1)));
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
