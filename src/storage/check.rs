//! Looking over a store that does not run: every file, every record. Nothing is changed; what can
//! be read is counted, what cannot is told. [`repair`] then puts the readable part into place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::chunk::{Chunk, ChunkBuilder};
use super::files::{Backend, Files, OpenMode};
use super::journal::{Effects, Gaps, Moved};
use super::meta::Standing;
use super::overlay::{self, OverlayFiles};
use super::segment::{self, LoggedGroup};
use super::{Recovered, StorageError, Store, StoreOptions, StoreReader, at, meta, redo};
use crate::clock::Clock;
use crate::record::split_batches;
use crate::types::{Offset, PartitionIndex, TimestampMs, TopicName, TopicPartition};

/// Where files go that were replaced.
const DAMAGED_DIR: &str = "damaged";
/// How much is read at a time.
const READ_BYTES: usize = 1 << 20;

/// What a folder holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Why the store does not open; nothing below is known of its partitions then.
    pub failure: Option<String>,
    /// Files that are damaged, and how.
    pub damaged: Vec<(String, String)>,
    /// Files that are not the store's.
    pub foreign: Vec<String>,
    /// Every partition, by topic.
    pub partitions: Vec<CheckedPartition>,
    /// Committed offsets of groups and checkpoints of pipelines.
    pub offsets: u64,
}

/// What a partition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedPartition {
    /// Its topic.
    pub topic: TopicName,
    /// Its index.
    pub partition: PartitionIndex,
    /// Log start and log end offset.
    pub start: Offset,
    /// See `start`.
    pub end: Offset,
    /// Records that can be read, and bytes of their batches.
    pub records: u64,
    /// See `records`.
    pub bytes: u64,
    /// Stretches that cannot be read: first offset, offset after the last, why.
    pub unreadable: Vec<(Offset, Offset, String)>,
    /// Stretches that are not there, though the topic keeps every record.
    pub missing: Vec<(Offset, Offset)>,
}

impl Checked {
    /// Whether everything is as it was written.
    pub fn is_whole(&self) -> bool {
        let whole = |p: &CheckedPartition| p.unreadable.is_empty() && p.missing.is_empty();
        self.failure.is_none() && self.damaged.is_empty() && self.partitions.iter().all(whole)
    }
}

/// Looks over a folder and changes nothing in it.
pub fn check(files: Arc<dyn Files>, clock: Arc<dyn Clock>) -> Result<Checked, StorageError> {
    let overlay: Arc<dyn Files> = Arc::new(OverlayFiles::new(files));
    let mut checked = Checked { foreign: foreign(&*overlay)?, ..Checked::default() };
    let numbers = segment::list(&*overlay)?;
    let has_meta = overlay.list("").map_err(at("."))?.iter().any(|name| name == meta::FILE);
    if !has_meta && numbers.is_empty() {
        checked.failure = Some(format!("{} is not there: this is no store", meta::FILE));
        return Ok(checked);
    }
    for number in numbers {
        let name = segment::file_name(number);
        // In a layer of its own: the check writes.
        let own = OverlayFiles::new(Arc::clone(&overlay));
        let backend = own.open(&name, OpenMode::Existing).map_err(at(&name))?;
        if let Err(error) = segment::open_database(Backend(backend), &name, true) {
            checked.damaged.push((name, reason(&error)));
        }
    }
    match Store::open(Arc::clone(&overlay), &StoreOptions::default(), clock) {
        Ok((store, recovered)) => {
            checked.offsets = recovered.offsets.len() as u64;
            checked.partitions = partitions(&store.reader(), &recovered);
        }
        Err(error) => checked.failure = Some(error.to_string()),
    }
    Ok(checked)
}

/// What is wrong, without the file's name.
fn reason(error: &StorageError) -> String {
    match error {
        StorageError::Damaged { reason, .. } => reason.clone(),
        StorageError::File { source, .. } => source.to_string(),
        error => error.to_string(),
    }
}

fn foreign(files: &dyn Files) -> Result<Vec<String>, StorageError> {
    let mut foreign = Vec::new();
    for name in files.list("").map_err(at("."))? {
        if ![meta::FILE, redo::FILE, "LOCK"].contains(&name.trim_end_matches(".new")) {
            foreign.push(name);
        }
    }
    for name in files.list(segment::DIR).map_err(at(segment::DIR))? {
        if segment::number_of(&name).is_none() {
            foreign.push(format!("{}/{name}", segment::DIR));
        }
    }
    foreign.sort();
    Ok(foreign)
}

fn partitions(reader: &StoreReader, recovered: &Recovered) -> Vec<CheckedPartition> {
    let mut checked = Vec::new();
    for topic in &recovered.topics {
        let policy = topic.config.get("cleanup.policy").map(String::as_str);
        let keeps_all = !policy.is_some_and(|policy| policy.contains("compact"));
        for partition in 0..topic.partitions {
            let place = TopicPartition { topic: topic.id, partition };
            let (start, end) = recovered.partitions.get(&place).copied().unwrap_or_default();
            let (topic, unreadable, missing) = (topic.name.clone(), Vec::new(), Vec::new());
            let (records, bytes) = (0, 0);
            let mut one = CheckedPartition {
                topic,
                partition,
                start,
                end,
                records,
                bytes,
                unreadable,
                missing,
            };
            read(reader, place, keeps_all, &mut one);
            checked.push(one);
        }
    }
    checked
}

/// Reads a partition from its start to its end.
fn read(
    reader: &StoreReader,
    place: TopicPartition,
    keeps_all: bool,
    checked: &mut CheckedPartition,
) {
    let mut next = checked.start;
    while next < checked.end {
        match reader.read(place, next, checked.end, READ_BYTES) {
            Ok(stretches) if stretches.is_empty() => break,
            Ok(stretches) => {
                for batch in stretches.into_iter().flat_map(split_batches).map_while(Result::ok) {
                    if batch.base_offset() > next && keeps_all {
                        checked.missing.push((next, batch.base_offset()));
                    }
                    checked.records += u64::try_from(batch.record_count()).unwrap_or(0);
                    checked.bytes += batch.len() as u64;
                    next = batch.next_offset();
                }
            }
            Err(StorageError::Corrupt { end_offset, reason, .. }) => {
                let behind = end_offset.clamp(next + 1, checked.end);
                checked.unreadable.push((next, behind, reason));
                next = behind;
            }
            Err(error) => {
                checked.unreadable.push((next, checked.end, error.to_string()));
                next = checked.end;
            }
        }
    }
    if next < checked.end && keeps_all {
        checked.missing.push((next, checked.end));
    }
}

/// What a repair has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Files that were replaced; what they were is under `damaged/`.
    pub replaced: Vec<String>,
    /// What is lost beside records, which another look at the partitions tells.
    pub lost: Vec<String>,
}

/// Replaces each damaged file by what can be read of it; the file itself is kept under `damaged/`.
/// `meta.redb` is made anew from its readable rows and from the journals of the segments.
pub fn repair(files: &Arc<dyn Files>, checked: &Checked) -> Result<Repaired, StorageError> {
    let mut repaired = Repaired::default();
    let mut numbers: BTreeSet<u64> = BTreeSet::new();
    for number in segment::list(&**files)? {
        let name = segment::file_name(number);
        let named = checked.failure.as_ref().is_some_and(|failure| failure.contains(&name));
        let journal = format!("segment {number}:");
        let journal = checked.failure.as_ref().is_some_and(|f| f.contains(&journal));
        if named || journal || checked.damaged.iter().any(|(damaged, _)| *damaged == name) {
            // Its pages may all be whole, and what stands in them not.
            is_whole(&**files, &name)?;
            numbers.insert(number);
        }
    }
    if !is_whole(&**files, meta::FILE)? {
        files.create_dir(DAMAGED_DIR).map_err(at(DAMAGED_DIR))?;
        let kept = format!("{DAMAGED_DIR}/{}", meta::FILE);
        repaired.lost = meta::rebuild::rebuild(&**files, &kept)?;
        files.sync_dir(DAMAGED_DIR).map_err(at(DAMAGED_DIR))?;
        repaired.replaced.push(meta::FILE.to_owned());
    }
    let backend = files.open(meta::FILE, OpenMode::Existing).map_err(at(meta::FILE))?;
    let database = segment::open_database(Backend(backend), meta::FILE, true)?;
    let mut active = None;
    for number in segment::list(&**files)? {
        let is_active = active.is_none() && !meta::is_sealed(&database, number)?;
        active = active.or(is_active.then_some(number));
    }
    for number in numbers {
        let standing = meta::loosen_runs(&database, number)?;
        match standing {
            // Made to follow the active one, and nothing is in it yet.
            Standing::Active { .. } if active != Some(number) => set_aside(&**files, number)?,
            standing => replace(&**files, number, standing)?,
        }
        repaired.replaced.push(segment::file_name(number));
    }
    database.close().map_err(at(meta::FILE))?;
    Ok(repaired)
}

/// Whether a file of the store is there and as it was written. An error if it is of another
/// version.
fn is_whole(files: &dyn Files, name: &str) -> Result<bool, StorageError> {
    let backend = match overlay::one(files, name) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        backend => backend.map_err(at(name))?,
    };
    match segment::open_database(Backend(backend), name, true) {
        Err(error @ StorageError::Format { found: 1.., .. }) => Err(error),
        opened => Ok(opened.is_ok()),
    }
}

/// Writes what can be read of a segment anew.
fn replace(files: &dyn Files, number: u64, standing: Standing) -> Result<(), StorageError> {
    let name = segment::file_name(number);
    let mut salvaged = {
        // Opening may repair: not in the file itself.
        let backend = overlay::one(files, &name).map_err(at(&name))?;
        segment::salvage(backend, number)
    };
    if let Standing::Active { sealed, .. } = standing {
        salvaged.add_redo(files, number, sealed)?;
    }
    let new = format!("{name}.salvaged");
    if files.list(segment::DIR).map_err(at(segment::DIR))?.iter().any(|n| new.ends_with(n)) {
        files.remove(&new).map_err(at(&new))?;
    }
    let database = segment::create_database(files, &new, segment::DIR, segment::make_tables)?;
    let groups = groups(salvaged, standing)?;
    segment::append(&database, number, groups.iter())?;
    database.close().map_err(at(&new))?;
    set_aside(files, number)?;
    files.rename(&new, &name).map_err(at(&new))?;
    files.sync_dir(segment::DIR).map_err(at(segment::DIR))
}

/// Keeps a segment's file where nobody takes it for one.
fn set_aside(files: &dyn Files, number: u64) -> Result<(), StorageError> {
    let name = segment::file_name(number);
    files.create_dir(DAMAGED_DIR).map_err(at(DAMAGED_DIR))?;
    let kept = format!("{DAMAGED_DIR}/{number:010}.redb");
    files.rename(&name, &kept).map_err(at(&name))?;
    files.sync_dir(DAMAGED_DIR).map_err(at(DAMAGED_DIR))?;
    files.sync_dir(segment::DIR).map_err(at(segment::DIR))
}

/// What could be read of a segment.
#[derive(Debug, Default)]
pub(super) struct Salvaged {
    /// Good batches by partition and the chunk they were in.
    pub(super) chunks: Vec<(TopicPartition, Bytes)>,
    /// Good journal entries by number.
    pub(super) entries: BTreeMap<u64, Effects>,
}

impl Salvaged {
    /// Adds what the redo file has of the active segment: what was not written to it yet, and what
    /// may be damaged in it.
    fn add_redo(
        &mut self,
        files: &dyn Files,
        number: u64,
        sealed: u64,
    ) -> Result<(), StorageError> {
        let redo = redo::RedoLog::open(files, 0, false).map_err(at(redo::FILE))?;
        for LoggedGroup { sequence, entry, chunks } in
            redo.recover(sealed).map_err(at(redo::FILE))?
        {
            self.entries.insert(sequence, Effects::decode(number, sequence, &entry)?);
            self.chunks.extend(chunks.into_iter().map(|chunk| (chunk.partition, chunk.bytes)));
        }
        Ok(())
    }
}

/// Makes groups of what was salvaged: the chunks in the first, each said to be where it is, and the
/// journal.
fn groups(salvaged: Salvaged, standing: Standing) -> Result<Vec<LoggedGroup>, StorageError> {
    let Salvaged { chunks, mut entries } = salvaged;
    let mut all: Vec<Chunk> = Vec::new();
    for (partition, bytes) in chunks {
        let mut builder = ChunkBuilder::new(partition, 0);
        for batch in split_batches(bytes).map_while(Result::ok) {
            builder.push_at(batch);
        }
        all.extend(builder.build());
    }
    match standing {
        // Who reads this journal again wants to know where the records are, not where they were.
        Standing::Sealed(runs) => {
            for effects in entries.values_mut() {
                effects.extents.clear();
                effects.moved.clear();
            }
            entries.entry(0).or_default().moved = runs;
        }
        // It is replayed, without gaps.
        Standing::Active { sealed, applied } => {
            let last = entries.keys().next_back().copied().unwrap_or(0);
            entries.retain(|sequence, _| *sequence > sealed);
            for sequence in sealed + 1..=last.max(applied) {
                loosen(entries.entry(sequence).or_default());
            }
        }
    }
    let mut groups = Vec::new();
    for (sequence, effects) in entries {
        groups.push(LoggedGroup::new(sequence, effects.encode()?, &std::mem::take(&mut all)));
    }
    Ok(groups)
}

/// Something of what was written may be missing.
fn loosen(effects: &mut Effects) {
    for extent in std::mem::take(&mut effects.extents) {
        let (disk_bytes, horizon_ms) = (extent.bytes, TimestampMs::MAX);
        // Where a partition ends is known by what was appended.
        effects.extents.push(extent);
        effects.moved.push(Moved { extent, disk_bytes, gaps: Gaps::Chunks, horizon_ms });
    }
    effects.moved.iter_mut().for_each(|moved| moved.gaps = Gaps::Chunks);
}
