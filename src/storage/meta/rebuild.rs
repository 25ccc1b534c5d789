//! `meta.redb` made anew where it is damaged or gone: of its rows those that are as they were
//! written, and what the journals of the segments say. What neither has is lost, and told.

use std::collections::{BTreeMap, BTreeSet};

use redb::{Builder, DatabaseError, WriteTransaction};

use super::pending::Pending;
use super::rows::{encode, sealed, set_counter};
use super::salvage::Salvaged;
use super::{FILE, NEXT_PRODUCER_ID, SEALED, make_tables, write_sealed};
use crate::storage::files::{Backend, Files, OpenMode};
use crate::storage::log::replay;
use crate::storage::redo::{self, RedoLog};
use crate::storage::runs::Runs;
use crate::storage::segment::{self, create_database};
use crate::storage::tables::{COMPONENTS, COUNTERS, DEPLOYMENTS, SETTINGS, TOPICS, TopicRow};
use crate::storage::unwind::guarded;
use crate::storage::{StorageError, at, overlay};
use crate::types::{Offset, TopicId, TopicName, TopicPartition};

/// What the new file is called until it has its place.
const REBUILT: &str = "meta.redb.rebuilt";
/// Producer ids that may have been handed out beyond the greatest that is known.
const PRODUCER_IDS_BEYOND: u64 = 1_000_000;

/// Makes the file anew; the old one, if there is one, is moved to `kept`. Says what is lost.
pub(in crate::storage) fn rebuild(
    files: &dyn Files,
    kept: &str,
) -> Result<Vec<String>, StorageError> {
    let names = files.list("").map_err(at("."))?;
    let has = |name: &str| names.iter().any(|found| found == name);
    if has(REBUILT) && !has(FILE) {
        // It was whole when it got its name, and the old file has left its place.
        files.rename(REBUILT, FILE).map_err(at(FILE))?;
        files.sync_dir("").map_err(at("."))?;
        return Ok(Vec::new());
    }
    if has(REBUILT) {
        files.remove(REBUILT).map_err(at(REBUILT))?;
    }
    let mut salvaged = Salvaged::read(files, has(FILE))?;
    let mut rebuilt = Rebuilt::replay(files, &salvaged)?;
    rebuilt.add_lost_topics(&salvaged);
    rebuilt.add_effects(std::mem::take(&mut salvaged.rows), &salvaged.lost);
    rebuilt.keep_known();
    rebuilt.add_administration(salvaged)?;
    let database = create_database(files, REBUILT, "", |transaction| rebuilt.write(transaction))?;
    database.close().map_err(at(REBUILT))?;
    if has(FILE) {
        files.rename(FILE, kept).map_err(at(FILE))?;
    }
    files.rename(REBUILT, FILE).map_err(at(FILE))?;
    files.sync_dir("").map_err(at("."))?;
    Ok(rebuilt.lost)
}

/// The new file, before it is written.
#[derive(Default)]
struct Rebuilt {
    /// Effects that the salvaged rows contain, and those behind them; in the end, all.
    older: Pending,
    newer: Pending,
    runs: Runs,
    /// First and last sequence number, bytes on disk.
    segments: BTreeMap<u64, (u64, u64, u64)>,
    topics: Vec<TopicRow>,
    cluster_id: String,
    sealed_sequence: u64,
    next_producer_id: u64,
    /// Rows as they are written: of topics, settings, deployments and components.
    topic_rows: Vec<(String, Vec<u8>)>,
    settings: Vec<((u8, String), Vec<u8>)>,
    deployments: Vec<(String, Vec<u8>)>,
    components: Vec<([u8; 32], Vec<u8>)>,
    lost: Vec<String>,
}

impl Rebuilt {
    /// What the journals say.
    fn replay(files: &dyn Files, salvaged: &Salvaged) -> Result<Self, StorageError> {
        let mut rebuilt = Self::default();
        let mut last_sequence = 0;
        for number in segment::list(files)? {
            let name = segment::file_name(number);
            // Opening may repair: not in the file itself.
            let backend = overlay::one(files, &name).map_err(at(&name))?;
            let Some(entries) = segment::salvage_journal(backend, number) else {
                rebuilt.lost.push(format!("{name}: its journal cannot be read"));
                rebuilt.segments.insert(number, (last_sequence, last_sequence, 0));
                continue;
            };
            let first = entries.keys().next().copied();
            let mut bytes = 0;
            for (sequence, effects) in entries {
                bytes += replay(number, &effects, &mut rebuilt.runs);
                last_sequence = last_sequence.max(sequence);
                let is_older = sequence <= salvaged.applied();
                let into = if is_older { &mut rebuilt.older } else { &mut rebuilt.newer };
                into.take(sequence, effects);
            }
            rebuilt.sealed_sequence = first.map_or(last_sequence, |first| first.saturating_sub(1));
            let row = (first.unwrap_or(last_sequence), last_sequence, bytes);
            rebuilt.segments.insert(number, row);
        }
        // The last is, or will be, the one that is written.
        let active = rebuilt.segments.pop_last();
        if let Some((number, _)) = rebuilt.segments.last_key_value()
            && let Err(error) = close_if_left_open(files, *number)
        {
            rebuilt.lost.push(error.to_string());
        }
        if active.is_none_or(|(_, (.., bytes))| bytes == 0) {
            rebuilt.sealed_sequence = rebuilt.sealed_sequence.max(salvaged.counter(SEALED));
            if files.list("").map_err(at("."))?.iter().any(|name| name == redo::FILE) {
                let redo = RedoLog::open(files, 0, false).and_then(|redo| redo.recover(0));
                let groups = redo.map_err(at(redo::FILE))?;
                let next = groups
                    .iter()
                    .map(|group| group.sequence)
                    .find(|next| *next > rebuilt.sealed_sequence);
                rebuilt.sealed_sequence = next.map_or(rebuilt.sealed_sequence, |next| next - 1);
            }
        }
        rebuilt.newer.applied = last_sequence.max(rebuilt.sealed_sequence);
        Ok(rebuilt)
    }

    /// Topics whose rows are lost get their records back under another name, and keep them until
    /// somebody has looked.
    fn add_lost_topics(&mut self, salvaged: &Salvaged) {
        self.topics.clone_from(&salvaged.topics);
        if salvaged.is_whole(TOPICS) {
            return;
        }
        let known: BTreeSet<TopicId> = self.topics.iter().map(|topic| topic.id).collect();
        let mut partitions: BTreeMap<TopicId, i32> = BTreeMap::new();
        for TopicPartition { topic, partition } in self.runs.partitions() {
            let count = partitions.entry(topic).or_default();
            *count = (*count).max(partition + 1);
        }
        for (id, partitions) in partitions.into_iter().filter(|(id, _)| !known.contains(id)) {
            let short: String =
                id.to_bytes()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
            let Ok(name) = TopicName::new(&format!("recovered-{short}")) else { continue };
            self.lost.push(format!(
                "the name and the settings of a topic: its records are in {name}, which keeps \
                 them until it is told otherwise"
            ));
            let keep = |name: &str| (name.to_owned(), "-1".to_owned());
            let config = [keep("retention.ms"), keep("retention.bytes")].into();
            self.topics.push(TopicRow { name, id, partitions, config, created_ms: 0 });
        }
    }

    /// Rows that are as they were written count for more than older journal entries, and less than
    /// newer ones. Of a table that is whole the older ones have nothing to say: what they made may
    /// have been removed since.
    fn add_effects(&mut self, rows: Pending, lost: &BTreeMap<String, String>) {
        let older = std::mem::take(&mut self.older);
        let newer = std::mem::take(&mut self.newer);
        let mut all = Pending { applied: newer.applied, ..Pending::default() };
        // These fields are called as their tables are.
        macro_rules! merge {
            ($($field:ident),*) => {$(
                if lost.contains_key(stringify!($field)) {
                    all.$field.extend(older.$field);
                }
                all.$field.extend(rows.$field);
                all.$field.extend(newer.$field);
            )*};
        }
        merge!(producers, offsets, state, groups);
        all.compacted.extend(older.compacted);
        all.compacted.extend(newer.compacted);
        // A log starts and ends ever later.
        let latest = |all: &mut BTreeMap<TopicPartition, Offset>, of: BTreeMap<_, Offset>| {
            for (place, offset) in of {
                let known = all.entry(place).or_insert(offset);
                *known = offset.max(*known);
            }
        };
        for ends in [older.ends, rows.ends, newer.ends] {
            latest(&mut all.ends, ends);
        }
        for starts in [older.starts, rows.starts, newer.starts] {
            latest(&mut all.starts, starts);
        }
        for place in self.runs.partitions() {
            let runs = self.runs.of(place);
            let (Some(first), Some(last)) = (runs.first(), runs.last()) else { continue };
            latest(&mut all.ends, [(place, last.end_offset)].into());
            all.starts.entry(place).or_insert(first.first_offset);
        }
        self.newer = all;
    }

    /// Leaves what belongs to topics that there are.
    fn keep_known(&mut self) {
        let known: BTreeSet<TopicId> = self.topics.iter().map(|topic| topic.id).collect();
        let lives = |place: &TopicPartition| known.contains(&place.topic);
        let all = &mut self.newer;
        all.ends.retain(|place, _| lives(place));
        all.starts.retain(|place, _| lives(place));
        all.compacted.retain(|place, _| lives(place));
        all.producers.retain(|key, _| lives(&key.partition));
        all.offsets.retain(|key, _| lives(&key.partition));
        all.state.retain(|key, _| lives(&key.source));
        self.runs.retain(|place| lives(&place));
        for topic in &self.topics {
            for partition in 0..topic.partitions {
                all.ends.entry(TopicPartition { topic: topic.id, partition }).or_default();
            }
        }
    }

    /// What only the rows have.
    fn add_administration(&mut self, salvaged: Salvaged) -> Result<(), StorageError> {
        for topic in &self.topics {
            self.topic_rows.push((topic.name.to_string(), encode("a topic", topic)?));
        }
        self.next_producer_id = salvaged.counter(NEXT_PRODUCER_ID);
        if !salvaged.is_whole(COUNTERS) {
            let ids = self.newer.producers.keys().map(|key| key.producer_id);
            let next = ids.max().map_or(0, |id| u64::try_from(id).unwrap_or(0) + 1);
            self.next_producer_id = self.next_producer_id.max(next + PRODUCER_IDS_BEYOND);
        }
        self.cluster_id = salvaged.cluster_id.unwrap_or_else(|| crate::random::id().to_string());
        self.settings = salvaged.settings;
        self.deployments = salvaged.deployments;
        self.components = salvaged.components;
        let in_journals = ["partitions", "producers", "offsets", "state", "groups"];
        for (table, rows) in salvaged.lost {
            let from = match in_journals.contains(&&table[..]) {
                true => "; what the journals have of them is in place",
                false => "",
            };
            self.lost.push(format!("{rows} of the table {table}{from}"));
        }
        Ok(())
    }

    fn write(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        make_tables(transaction, &self.cluster_id)?;
        {
            let mut counters = transaction.open_table(COUNTERS)?;
            set_counter(&mut counters, SEALED, self.sealed_sequence)?;
            set_counter(&mut counters, NEXT_PRODUCER_ID, self.next_producer_id)?;
        }
        let mut topics = transaction.open_table(TOPICS)?;
        for (name, row) in &self.topic_rows {
            topics.insert(&name[..], &sealed(TOPICS, &&name[..], row)[..])?;
        }
        if !self.settings.is_empty() {
            let mut settings = transaction.open_table(SETTINGS)?;
            for ((kind, group), row) in &self.settings {
                let key = (*kind, &group[..]);
                settings.insert(key, &sealed(SETTINGS, &key, row)[..])?;
            }
        }
        let mut deployments = transaction.open_table(DEPLOYMENTS)?;
        for (name, row) in &self.deployments {
            deployments.insert(&name[..], &sealed(DEPLOYMENTS, &&name[..], row)[..])?;
        }
        let mut components = transaction.open_table(COMPONENTS)?;
        for (digest, component) in &self.components {
            components.insert(digest, &sealed(COMPONENTS, &digest, component)[..])?;
        }
        for (number, row) in &self.segments {
            write_sealed(transaction, *number, *row, &self.runs.of_segment(*number))?;
        }
        self.newer.write(transaction)
    }
}

/// Closes a segment that was full when a crash came, and not closed yet: as a sealed one it is
/// opened for reading alone, which repairs nothing.
fn close_if_left_open(files: &dyn Files, number: u64) -> Result<(), StorageError> {
    let name = segment::file_name(number);
    let backend = files.open(&name, OpenMode::Existing).map_err(at(&name))?;
    let is_open = guarded(&name, || {
        let opened = Builder::new().open_read_only_with_backend(Backend(backend));
        Ok(matches!(opened, Err(DatabaseError::RepairAborted)))
    });
    // What is damaged is told of by who reads it.
    if is_open.unwrap_or(false) {
        segment::close(segment::open_active(files, number)?.database, number)
    } else {
        Ok(())
    }
}
