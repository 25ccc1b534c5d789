//! One redb file of the log: the chunks and journal entries of its groups.

mod read;

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend};

pub(super) use self::read::{ReadRange, Source, checked, find_timestamp, read};
use super::check::Salvaged;
use super::chunk::Chunk;
use super::files::{Backend, Files, OpenMode, copy_file};
use super::journal::{Effects, Gaps};
use super::seal;
use super::segment_file::SegmentFile;
use super::tables::{CHUNKS, FORMAT, FORMAT_VERSION, JOURNAL};
use super::unwind::guarded;
use super::{StorageError, at};
use crate::limits::SEGMENT_CACHE_BYTES;
use crate::record::{crc32c, crc32c_append};
use crate::types::{Offset, TopicId, TopicPartition};

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
    open_active(files, number)
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
