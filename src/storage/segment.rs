//! One redb file of the log: the chunks and journal entries of its groups.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend};

use super::check::Salvaged;
use super::chunk::Chunk;
use super::files::{Backend, Files, OpenMode, copy_file};
use super::journal::{Effects, Gaps};
use super::seal::{self, Seals};
use super::segment_file::SegmentFile;
use super::tables::{CHUNKS, FORMAT, FORMAT_VERSION, JOURNAL};
use super::unwind::guarded;
use super::{StorageError, at};
use crate::limits::SEGMENT_CACHE_BYTES;
use crate::record::{RecordBatch, crc32c, crc32c_append, split_batches};
use crate::types::{Offset, TimestampMs, TopicId, TopicPartition};

/// Folder of the segments.
pub(super) const DIR: &str = "segments";
const SUFFIX: &str = ".redb";
/// Digits of a segment's number in its name.
const DIGITS: usize = 10;
/// Ending of a file that is still being made.
const NEW_SUFFIX: &str = ".new";

/// The segment that is written: its database, and the file under it.
pub(super) struct ActiveSegment {
    pub(super) database: Database,
    pub(super) file: SegmentFile,
}

/// A group as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoggedGroup {
    pub(super) sequence: u64,
    /// Its journal entry.
    pub(super) entry: Bytes,
    pub(super) chunks: Vec<LoggedChunk>,
}

/// Record batches of one partition, as one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoggedChunk {
    pub(super) partition: TopicPartition,
    pub(super) first_offset: Offset,
    pub(super) end_offset: Offset,
    pub(super) bytes: Bytes,
}

impl LoggedGroup {
    pub(super) fn new(sequence: u64, entry: Vec<u8>, chunks: &[Chunk]) -> Self {
        let logged = |Chunk { extent, bytes }: &Chunk| LoggedChunk {
            partition: extent.partition,
            first_offset: extent.first_offset,
            end_offset: extent.end_offset,
            bytes: bytes.clone(),
        };
        Self { sequence, entry: entry.into(), chunks: chunks.iter().map(logged).collect() }
    }

    /// Bytes of all its values.
    pub(super) fn bytes(&self) -> usize {
        self.entry.len() + self.chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>()
    }
}

pub(super) fn file_name(number: u64) -> String {
    format!("{DIR}/{number:0DIGITS$}{SUFFIX}")
}

/// The number of a segment by its name in the folder, and whether it is finished. Whatever has
/// another name is not ours.
pub(super) fn number_of(name: &str) -> Option<(u64, bool)> {
    let finished = name.strip_suffix(NEW_SUFFIX);
    let number = name.get(..DIGITS)?.parse().ok()?;
    let path = format!("{DIR}/{}", finished.unwrap_or(name));
    (file_name(number) == path).then_some((number, finished.is_none()))
}

/// The numbers of the segments that are there. Removes what a crash left half-made.
pub(super) fn list(files: &dyn Files) -> Result<Vec<u64>, StorageError> {
    files.create_dir(DIR).map_err(at(DIR))?;
    let mut numbers = Vec::new();
    for name in files.list(DIR).map_err(at(DIR))? {
        let path = format!("{DIR}/{name}");
        match number_of(&name) {
            Some((_, false)) => files.remove(&path).map_err(at(&path))?,
            Some((number, true)) => numbers.push(number),
            None => tracing::warn!(file = path, "not a segment, left alone"),
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes a database under a passing name, gives it its tables, then its own name: a file that has
/// its name is whole.
pub(super) fn create_database(
    files: &dyn Files,
    name: &str,
    dir: &str,
    tables: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
) -> Result<Database, StorageError> {
    let new = format!("{name}{NEW_SUFFIX}");
    let backend = files.open(&new, OpenMode::New).map_err(at(&new))?;
    let database = Builder::new()
        .set_cache_size(SEGMENT_CACHE_BYTES)
        .create_with_backend(Backend(backend))
        .map_err(at(&new))?;
    let make = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(FORMAT)?.insert("version", FORMAT_VERSION)?;
        tables(&transaction)?;
        Ok(transaction.commit()?)
    };
    make().map_err(at(&new))?;
    files.rename(&new, name).map_err(at(name))?;
    files.sync_dir(dir).map_err(at(dir))?;
    Ok(database)
}

/// Opens a database for writing, repairing it after a crash, and checks its format version.
/// `checked`: reads all of it, and refuses it if a byte is not as it was written.
pub(super) fn open_database(
    backend: impl StorageBackend,
    name: &str,
    checked: bool,
) -> Result<Database, StorageError> {
    guarded(name, || {
        let opened = Builder::new()
            .set_cache_size(SEGMENT_CACHE_BYTES)
            .set_check_integrity_on_open(checked)
            .create_with_backend(backend);
        let database = match opened {
            Err(DatabaseError::Storage(redb::StorageError::Corrupted(reason))) => {
                return Err(StorageError::Damaged { file: name.to_owned(), reason });
            }
            opened => opened.map_err(at(name))?,
        };
        check_format(&database, name)?;
        Ok(database)
    })
}

pub(super) fn check_format(
    database: &dyn ReadableDatabase,
    name: &str,
) -> Result<(), StorageError> {
    let read = || -> Result<Option<u64>, redb::Error> {
        let table = database.begin_read()?.open_table(FORMAT)?;
        Ok(table.get("version")?.map(|version| version.value()))
    };
    match read().map_err(at(name))? {
        Some(FORMAT_VERSION) => Ok(()),
        found => Err(StorageError::Format {
            file: name.to_owned(),
            found: found.unwrap_or(0),
            supported: FORMAT_VERSION,
        }),
    }
}

/// Gives a segment its tables.
pub(super) fn make_tables(transaction: &redb::WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(CHUNKS)?;
    transaction.open_table(JOURNAL)?;
    Ok(())
}

/// Makes a segment and opens it as the active one.
pub(super) fn create(files: &dyn Files, number: u64) -> Result<ActiveSegment, StorageError> {
    let name = file_name(number);
    let database = create_database(files, &name, DIR, make_tables)?;
    database.close().map_err(at(&name))?;
    let file = files.open_eager(&name).map_err(at(&name))?;
    open_file(number, file)
}

/// Closes a segment, so that nothing must be repaired when it is opened.
pub(super) fn close(database: Database, number: u64) -> Result<(), StorageError> {
    let name = file_name(number);
    guarded(&name, || database.close().map_err(at(&name)))
}

/// Opens a segment as the active one. After a crash redb repairs it first.
pub(super) fn open_active(files: &dyn Files, number: u64) -> Result<ActiveSegment, StorageError> {
    let name = file_name(number);
    let file = files.open_eager(&name).map_err(at(&name))?;
    open_file(number, file)
}

/// Opens the active segment anew after a failed write, as it was when it was last synced.
pub(super) fn reopen_active(
    files: &dyn Files,
    failed: &SegmentFile,
    number: u64,
) -> Result<ActiveSegment, StorageError> {
    let name = file_name(number);
    let file = files.open_eager(&name).map_err(at(&name))?;
    failed.take_back(&*file).map_err(at(&name))?;
    open_file(number, file)
}

fn open_file(number: u64, file: Box<dyn StorageBackend>) -> Result<ActiveSegment, StorageError> {
    let name = file_name(number);
    let file = SegmentFile::new(file).map_err(at(&name))?;
    let database = open_database(file.clone(), &name, false)?;
    Ok(ActiveSegment { database, file })
}

/// Writes groups in one transaction. Durable when it returns.
pub(super) fn append<'a>(
    database: &Database,
    number: u64,
    groups: impl Iterator<Item = &'a LoggedGroup>,
) -> Result<(), StorageError> {
    let write = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut chunks = transaction.open_table(CHUNKS)?;
            let mut journal = transaction.open_table(JOURNAL)?;
            for group in groups {
                for LoggedChunk { partition, first_offset, end_offset, bytes } in &group.chunks {
                    let seals = seal::seals(*partition, (*first_offset, *end_offset), bytes);
                    let topic = partition.topic.to_bytes();
                    let key = (&topic, partition.partition, *first_offset);
                    let mut value = chunks.insert_reserve(key, bytes.len() + seals.len())?;
                    let (to, end) = value.as_mut().split_at_mut(bytes.len());
                    to.copy_from_slice(bytes);
                    end.copy_from_slice(&seals);
                }
                let crc = entry_crc(group.sequence, &group.entry).to_le_bytes();
                let mut value = journal.insert_reserve(group.sequence, group.entry.len() + 4)?;
                let (to, end) = value.as_mut().split_at_mut(group.entry.len());
                to.copy_from_slice(&group.entry);
                end.copy_from_slice(&crc);
            }
        }
        Ok(transaction.commit()?)
    };
    let name = file_name(number);
    guarded(&name, || write().map_err(at(&name)))
}

pub(super) fn decode_entry(
    number: u64,
    sequence: u64,
    value: &[u8],
) -> Result<Effects, StorageError> {
    let good = value.split_last_chunk();
    let good = good.filter(|(entry, crc)| entry_crc(sequence, entry).to_le_bytes() == **crc);
    let Some((entry, _)) = good else {
        let reason = format!("journal entry {sequence} is not as it was written");
        return Err(StorageError::Damaged { file: file_name(number), reason });
    };
    Effects::decode(number, sequence, entry)
}

pub(super) fn entry_crc(sequence: u64, entry: &[u8]) -> u32 {
    crc32c_append(crc32c(&sequence.to_le_bytes()), entry)
}

/// Sequence number of the last journal entry of a segment.
pub(super) fn last_sequence(database: &Database, number: u64) -> Result<Option<u64>, StorageError> {
    let read = || -> Result<Option<u64>, redb::Error> {
        let table = database.begin_read()?.open_table(JOURNAL)?;
        Ok(table.last()?.map(|(sequence, _)| sequence.value()))
    };
    let name = file_name(number);
    guarded(&name, || read().map_err(at(&name)))
}

/// Writes a file anew under its name, from what is read of it: pages that a failed sync left
/// behind may be marked clean without being on the disk.
pub(super) fn renew(files: &dyn Files, name: &str) -> Result<(), StorageError> {
    let new = format!("{name}{NEW_SUFFIX}");
    let copy = || -> io::Result<()> {
        if files.list("")?.contains(&new) {
            files.remove(&new)?;
        }
        copy_file(files, name, files, &new)?;
        files.rename(&new, name)?;
        files.sync_dir("")
    };
    copy().map_err(at(name))
}

/// Reads the journal entries of a segment, in order.
pub(super) fn journal(
    database: &Database,
    number: u64,
    mut entry: impl FnMut(u64, Effects) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let name = file_name(number);
    guarded(&name, || {
        let transaction = database.begin_read().map_err(at(&name))?;
        let table = transaction.open_table(JOURNAL).map_err(at(&name))?;
        for row in table.iter().map_err(at(&name))? {
            let (sequence, bytes) = row.map_err(at(&name))?;
            let sequence = sequence.value();
            entry(sequence, decode_entry(number, sequence, bytes.value())?)?;
        }
        Ok(())
    })
}

/// The journal entries that can be read of a segment's file, however damaged it is; `None` if it
/// cannot be opened.
pub(super) fn salvage_journal(
    backend: Box<dyn StorageBackend>,
    number: u64,
) -> Option<BTreeMap<u64, Effects>> {
    let name = file_name(number);
    let database = open_database(Backend(backend), &name, false).ok()?;
    let entries = salvage_entries(&database, number);
    let _ = guarded(&name, || {
        drop(database);
        Ok(())
    });
    Some(entries)
}

fn salvage_entries(database: &Database, number: u64) -> BTreeMap<u64, Effects> {
    let name = file_name(number);
    let mut entries = BTreeMap::new();
    // Whatever ends it, what was found before counts.
    let _ = guarded(&name, || {
        let transaction = database.begin_read().map_err(at(&name))?;
        let table = transaction.open_table(JOURNAL).map_err(at(&name))?;
        for row in table.iter().map_err(at(&name))?.map_while(Result::ok) {
            let (sequence, entry) = (row.0.value(), row.1);
            if let Ok(effects) = decode_entry(number, sequence, entry.value()) {
                entries.insert(sequence, effects);
            }
        }
        Ok(())
    });
    entries
}

/// What can be read of a segment's file, however damaged it is.
pub(super) fn salvage(backend: Box<dyn StorageBackend>, number: u64) -> Salvaged {
    let name = file_name(number);
    let mut salvaged = Salvaged::default();
    let Ok(database) = open_database(Backend(backend), &name, false) else { return salvaged };
    salvaged.entries = salvage_entries(&database, number);
    let _ = guarded(&name, || {
        let transaction = database.begin_read().map_err(at(&name))?;
        let table = transaction.open_table(CHUNKS).map_err(at(&name))?;
        for row in table.iter().map_err(at(&name))?.map_while(Result::ok) {
            let (topic, partition, first) = row.0.value();
            let place = TopicPartition { topic: TopicId::from_bytes(*topic), partition };
            let value = Bytes::copy_from_slice(row.1.value());
            let Some((chunk, seals)) = seal::split(place, first, value) else { continue };
            let range = ReadRange {
                partition: place,
                from: first,
                until: Offset::MAX,
                max_bytes: 0,
                gaps: Gaps::Chunks,
            };
            let batches = checked(number, range, first, chunk, seals).map_while(Result::ok);
            let good: Vec<u8> = batches.flat_map(|batch| batch.as_bytes().to_vec()).collect();
            if !good.is_empty() {
                salvaged.chunks.push((place, good.into()));
            }
        }
        Ok(())
    });
    let _ = guarded(&name, || {
        drop(database);
        Ok(())
    });
    salvaged
}

/// What to read of one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadRange {
    pub(super) partition: TopicPartition,
    /// First record wanted; the batch that contains it comes whole.
    pub(super) from: Offset,
    /// Nothing at or beyond it is returned.
    pub(super) until: Offset,
    /// The first batch comes whatever its size, further ones as long as they fit.
    pub(super) max_bytes: usize,
    /// Where records may be missing between its offsets.
    pub(super) gaps: Gaps,
}

/// Where chunks are read.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    File(&'a dyn ReadableDatabase),
    /// Chunks of the one partition that is wanted, in order.
    Memory(&'a [LoggedChunk]),
}

/// Reads batches of a partition, each one's CRC and place checked: stretches of one or more
/// batches. What is good before something unreadable is returned; an error is its own read.
pub(super) fn read(
    source: Source<'_>,
    number: u64,
    range: ReadRange,
) -> Result<Vec<Bytes>, StorageError> {
    let mut stretches = Vec::new();
    let mut budget = range.max_bytes;
    let looked = for_each_chunk(source, number, range, |first_offset, chunk, seals| {
        let mut taken = 0..0;
        for batch in checked(number, range, first_offset, chunk.clone(), seals) {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) if stretches.is_empty() && taken.is_empty() => return Err(error),
                Err(_) => break,
            };
            let end = taken.end + batch.len();
            if batch.last_offset() < range.from {
                taken = end..end;
            } else if batch.len() > budget && !(stretches.is_empty() && taken.is_empty()) {
                break;
            } else {
                budget = budget.saturating_sub(batch.len());
                taken.end = end;
            }
        }
        let whole = taken.end == chunk.len();
        if !taken.is_empty() {
            stretches.push(chunk.slice(taken));
        }
        Ok(whole && budget > 0)
    });
    match looked {
        Err(error) if stretches.is_empty() => Err(error),
        _ => Ok(stretches),
    }
}

/// The first batch of the range that has a record at or after `timestamp`.
pub(super) fn find_timestamp(
    source: Source<'_>,
    number: u64,
    range: ReadRange,
    timestamp: TimestampMs,
) -> Result<Option<RecordBatch>, StorageError> {
    let mut found = None;
    for_each_chunk(source, number, range, |first_offset, chunk, seals| {
        for batch in checked(number, range, first_offset, chunk, seals) {
            let batch = batch?;
            if batch.last_offset() >= range.from && batch.max_timestamp() >= timestamp {
                found = Some(batch);
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    Ok(found)
}

/// Hands over chunks from the one that contains `range.from`, with the offset at which each begins;
/// `take` says whether to go on. One that is not there is an error, as is one that `take` cannot
/// read.
fn for_each_chunk(
    source: Source<'_>,
    number: u64,
    range: ReadRange,
    mut take: impl FnMut(Offset, Bytes, Seals) -> Result<bool, StorageError>,
) -> Result<(), StorageError> {
    let database = match source {
        Source::File(database) => database,
        Source::Memory(chunks) => return for_each_pending(chunks, take),
    };
    let name = file_name(number);
    let ReadRange { partition: place, from, until, gaps, .. } = range;
    let (topic, partition) = (place.topic.to_bytes(), place.partition);
    let corrupt = |places, reason: &str| corrupt(number, place, places, reason.to_owned());
    let transaction = database.begin_read().map_err(at(&name))?;
    let table = transaction.open_table(CHUNKS).map_err(at(&name))?;
    let first = table
        .range((&topic, partition, 0)..=(&topic, partition, from))
        .map_err(at(&name))?
        .next_back()
        .transpose()
        .map_err(at(&name))?;
    let first = first.map_or(from, |(key, _)| key.value().2);
    let chunks =
        table.range((&topic, partition, first)..(&topic, partition, until)).map_err(at(&name))?;
    let mut expected = from;
    for chunk in chunks {
        let (key, value) = chunk.map_err(at(&name))?;
        let first_offset = key.value().2;
        if first_offset >= until {
            // Where a page is damaged, the range may go on to what was replaced long ago.
            break;
        }
        if first_offset > expected && gaps != Gaps::Chunks {
            return Err(corrupt((expected, first_offset), NOTHING));
        }
        // Copied out: a page must not be pinned by what becomes of its bytes.
        let whole = seal::split(place, first_offset, Bytes::copy_from_slice(value.value()));
        let taken = match whole {
            Some((chunk, seals)) => {
                expected = expected.max(seals.end_offset);
                take(first_offset, chunk, seals)
            }
            None => {
                let places = (first_offset.max(from), Offset::MAX);
                Err(corrupt(places, "a value is no chunk of this place"))
            }
        };
        match taken {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(StorageError::Corrupt { offset, reason, .. }) => {
                let after = (&topic, partition, first_offset + 1);
                let next = table.range(after..(&topic, partition, until));
                let next = next.map_err(at(&name))?.next().transpose().map_err(at(&name))?;
                let end_offset = next.map_or(until, |(key, _)| key.value().2);
                // Where a key is damaged as well, who reads on must get on.
                let places = match end_offset > from {
                    true => (offset, end_offset.max(offset + 1)),
                    false => (from, from + 1),
                };
                return Err(corrupt(places, &reason));
            }
            Err(error) => return Err(error),
        }
    }
    match expected < until && gaps != Gaps::Chunks {
        true => Err(corrupt((expected, until), NOTHING)),
        false => Ok(()),
    }
}

fn for_each_pending(
    chunks: &[LoggedChunk],
    mut take: impl FnMut(Offset, Bytes, Seals) -> Result<bool, StorageError>,
) -> Result<(), StorageError> {
    for LoggedChunk { partition, first_offset, end_offset, bytes } in chunks {
        let seals = Seals::of(*partition, (*first_offset, *end_offset), bytes);
        if !take(*first_offset, bytes.clone(), seals)? {
            break;
        }
    }
    Ok(())
}

/// Where a chunk is missing.
const NOTHING: &str = "nothing is there";

fn corrupt(
    segment: u64,
    partition: TopicPartition,
    (offset, end_offset): (Offset, Offset),
    reason: String,
) -> StorageError {
    StorageError::Corrupt { segment, partition, offset, end_offset, reason }
}

/// The batches of a chunk, each one's CRC checked, and that it is where it belongs.
pub(super) fn checked(
    segment: u64,
    ReadRange { partition, gaps, .. }: ReadRange,
    first_offset: Offset,
    chunk: Bytes,
    mut seals: Seals,
) -> impl Iterator<Item = Result<RecordBatch, StorageError>> {
    let mut offset = first_offset;
    #[cfg(test)]
    let chunk = if crate::planted::is(crate::planted::Bug::NoCrcCheck) {
        crate::record::resealed(&chunk)
    } else {
        chunk
    };
    split_batches(chunk).map(move |batch| {
        // Up to where is known to who goes over the chunks.
        let end_offset = Offset::MAX;
        let corrupt =
            |reason| StorageError::Corrupt { segment, partition, offset, end_offset, reason };
        let batch = batch.map_err(|error| corrupt(error.to_string()))?;
        let found = batch.base_offset();
        if found < offset || found > offset && gaps == Gaps::None {
            return Err(corrupt(format!("found the batch of offset {found}")));
        }
        let fits = seals.fit(partition, first_offset, batch.as_bytes());
        #[cfg(test)]
        let fits = fits || crate::planted::is(crate::planted::Bug::NoCrcCheck);
        if !fits {
            return Err(corrupt("its seal is broken".to_owned()));
        }
        offset = batch.next_offset();
        Ok(batch)
    })
}
