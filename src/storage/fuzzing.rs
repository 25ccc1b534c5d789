//! What is read back from the disk for a fuzzer; see `crate::fuzzing`.

#[cfg(test)]
pub(crate) mod seeds;

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::files::{Files, OpenMode};
use super::journal::{Effects, Gaps};
use super::memory::MemoryFiles;
use super::meta::rows;
use super::redo::{self, RedoLog};
use super::seal;
use super::segment::{self, ReadRange};
use super::tables::{CommittedOffset, GroupRow, ProducerState, TopicRow};
use crate::record::{RecordBatch, split_batches};
use crate::types::{GroupId, Offset, TopicId, TopicPartition};

/// A value of a table of this number.
pub(crate) fn row(table: u8, value: &[u8]) {
    match table {
        2 => journal(value),
        3 => again::<TopicRow>(value),
        4 => again::<CommittedOffset>(value),
        5 => again::<GroupRow>(value),
        6 => again::<ProducerState>(value),
        7 => again::<BTreeMap<String, String>>(value),
        8 => sealed(value),
        9 => chunk(value),
        _ => name(value),
    }
}

/// What is read is written, and read as the same.
fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &[u8]) {
    let Ok(row) = rows::decode::<T>("a row", value) else { return };
    let written = rows::encode("a row", &row).unwrap_or_else(|error| panic!("{error}"));
    let read = rows::decode::<T>("a row", &written).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(read, row);
}

/// The value of a journal entry, with the checksum that it has and with that which it should have.
fn journal(value: &[u8]) {
    const SEQUENCE: u64 = 7;
    let stored = segment::decode_entry(1, SEQUENCE, value);
    let crc = segment::entry_crc(SEQUENCE, value).to_le_bytes();
    let entry = segment::decode_entry(1, SEQUENCE, &[value, &crc].concat());
    assert!(stored.is_err() || entry.is_err() || stored.ok() != entry.as_ref().ok().cloned());
    let Ok(effects) = entry else { return };
    let written = effects.encode().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Effects::decode(1, SEQUENCE, &written).ok(), Some(effects));
}

fn place() -> TopicPartition {
    TopicPartition { topic: TopicId::from_bytes([7; 16]), partition: 3 }
}

/// The batches of a chunk's value, read as those of the chunk that begins here.
fn read(value: Bytes, first: Offset, gaps: Gaps) -> Vec<RecordBatch> {
    let Some((chunk, seals)) = seal::split(place(), first, value) else { return Vec::new() };
    let until = Offset::MAX;
    let range = ReadRange { partition: place(), from: first, until, max_bytes: 0, gaps };
    let batches = segment::checked(1, range, first, chunk, seals);
    batches.map_while(Result::ok).collect()
}

/// The value of a chunk, as it is.
fn chunk(value: &[u8]) {
    for gaps in [Gaps::None, Gaps::Records] {
        let read = read(Bytes::copy_from_slice(value), 0, gaps);
        assert!(read.is_sorted_by(|a, b| a.next_offset() <= b.base_offset()));
    }
}

/// The batches of a chunk, with the seals that they should have: what is a batch and in its place
/// is read, and nowhere else.
fn sealed(batches: &[u8]) {
    let value = [batches, &seal::seals(place(), (0, 9), batches)].concat();
    let value = Bytes::from(value);
    let mut next = 0;
    let whole = split_batches(Bytes::copy_from_slice(batches)).map_while(Result::ok);
    let in_order = whole.take_while(|batch| {
        let follows = batch.base_offset() >= next;
        next = batch.next_offset();
        follows
    });
    assert_eq!(read(value.clone(), 0, Gaps::Records), in_order.collect::<Vec<_>>());
    assert_eq!(read(value, 1, Gaps::Records), [], "it is another chunk's");
}

/// The name of a file among the segments, or of who has committed an offset.
fn name(name: &[u8]) {
    let Ok(name) = std::str::from_utf8(name) else { return };
    if let Some((number, finished)) = segment::number_of(name) {
        let ending = if finished { "" } else { ".new" };
        assert_eq!(format!("{}{ending}", segment::file_name(number)), format!("segments/{name}"));
    }
    for kind in 0..3 {
        let Ok(owner) = rows::owner_from_parts(kind, name) else { continue };
        assert_eq!(rows::owner_parts(&owner), (kind, name));
    }
    assert_eq!(GroupId::new(name).is_ok(), rows::owner_from_parts(0, name).is_ok());
}

/// A redo file: as it is, or each of its records with the checksum that it should have.
pub(crate) fn redo(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if how & 1 == 1 {
        redo::reseal(&mut bytes);
    }
    let files = MemoryFiles::new();
    let written = files.open(redo::FILE, OpenMode::New).and_then(|file| {
        file.write(0, &bytes)?;
        file.sync_data()
    });
    written.unwrap_or_else(|error| panic!("{error}"));
    let log = RedoLog::open(&files, 0, false).unwrap_or_else(|error| panic!("{error}"));
    let Ok(groups) = log.recover(0) else { return };
    let mut record = Vec::new();
    for group in groups {
        redo::encode(&group, &mut record).unwrap_or_else(|error| panic!("{error}"));
        let body = Bytes::copy_from_slice(&record[redo::HEADER_BYTES..]);
        assert_eq!(redo::decode(group.sequence, body), Some(group));
    }
}
