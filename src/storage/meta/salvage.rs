//! The rows of a damaged `meta.redb` that are as they were written.

use std::collections::BTreeMap;

use bytes::Bytes;
use redb::{
    Database, Key, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    TableError, TableHandle, Value,
};

use super::pending::Pending;
use super::rows::{checked_counter, decode, ends, owner_from_parts, unsealed};
use super::{APPLIED, CLUSTER_ID, FILE};
use crate::storage::files::{Backend, Files};
use crate::storage::segment::open_database;
use crate::storage::tables::{
    COMPONENTS, COUNTERS, DEPLOYMENTS, GROUPS, IDENTITY, OFFSETS, OffsetKey, PARTITIONS, PRODUCERS,
    ProducerKey, SETTINGS, STATE, StateKey, TOPICS, TopicRow,
};
use crate::storage::unwind::guarded;
use crate::storage::{StorageError, at, overlay};
use crate::types::{GroupId, PipelineName, TopicId, TopicPartition};

/// What could be read.
#[derive(Default)]
pub(super) struct Salvaged {
    pub(super) rows: Pending,
    pub(super) cluster_id: Option<String>,
    pub(super) topics: Vec<TopicRow>,
    pub(super) settings: Vec<((u8, String), Vec<u8>)>,
    pub(super) deployments: Vec<(String, Vec<u8>)>,
    pub(super) components: Vec<([u8; 32], Vec<u8>)>,
    /// Tables of which rows are lost, and how many.
    pub(super) lost: BTreeMap<String, String>,
    counters: BTreeMap<String, u64>,
}

impl Salvaged {
    /// Reads what can be read; nothing if the file is not there.
    pub(super) fn read(files: &dyn Files, is_there: bool) -> Result<Self, StorageError> {
        let mut database = None;
        if is_there {
            read_through(files).map_err(at(FILE))?;
            // Opening may repair: not in the file itself.
            let backend = overlay::one(files, FILE).map_err(at(FILE))?;
            database = match open_database(Backend(backend), FILE, false) {
                Err(error @ StorageError::Format { found: 1.., .. }) => return Err(error),
                opened => opened.ok(),
            };
        }
        let mut salvaged = Self::default();
        salvaged.read_administration(database.as_ref());
        salvaged.read_effects(database.as_ref());
        let _ = guarded(FILE, || {
            drop(database);
            Ok(())
        });
        Ok(salvaged)
    }

    pub(super) fn is_whole<K: Key, V: Value>(&self, table: TableDefinition<'_, K, V>) -> bool {
        !self.lost.contains_key(table.name())
    }

    pub(super) fn applied(&self) -> u64 {
        self.counter(APPLIED)
    }

    pub(super) fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    fn read_administration(&mut self, database: Option<&Database>) {
        let Self { topics, settings, deployments, components, counters, lost, .. } = self;
        let cluster_id = &mut self.cluster_id;
        each(database, COUNTERS, lost, |name, row| {
            counters.insert(name.to_owned(), checked_counter(name, row).ok()?);
            Some(())
        });
        each(database, IDENTITY, lost, |name, id| {
            let is_id = id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_graphic());
            (name == CLUSTER_ID && is_id).then(|| *cluster_id = Some(id.to_owned()))
        });
        each(database, TOPICS, lost, |name, row| {
            topics.push(decode("a topic", unsealed(TOPICS, &name, row).ok()?).ok()?);
            Some(())
        });
        each(database, SETTINGS, lost, |key, row| {
            let row = unsealed(SETTINGS, &key, row).ok()?;
            settings.push(((key.0, key.1.to_owned()), row.to_vec()));
            Some(())
        });
        each(database, DEPLOYMENTS, lost, |name, row| {
            let row = unsealed(DEPLOYMENTS, &name, row).ok()?;
            deployments.push((name.to_owned(), row.to_vec()));
            Some(())
        });
        each(database, COMPONENTS, lost, |digest, row| {
            components.push((*digest, unsealed(COMPONENTS, &digest, row).ok()?.to_vec()));
            Some(())
        });
    }

    fn read_effects(&mut self, database: Option<&Database>) {
        let place =
            |topic, partition| TopicPartition { topic: TopicId::from_bytes(topic), partition };
        let Self { rows, lost, .. } = self;
        each(database, PARTITIONS, lost, |(topic, partition), row| {
            let place = place(*topic, partition);
            let (start, end) = ends(place, row).ok()?;
            rows.starts.insert(place, start);
            rows.ends.insert(place, end);
            Some(())
        });
        each(database, PRODUCERS, lost, |key, row| {
            let row = decode("a producer", unsealed(PRODUCERS, &key, row).ok()?).ok()?;
            let (partition, producer_id) = (place(*key.0, key.1), key.2);
            rows.producers.insert(ProducerKey { partition, producer_id }, Some(row));
            Some(())
        });
        each(database, OFFSETS, lost, |key, row| {
            let row = decode("a committed offset", unsealed(OFFSETS, &key, row).ok()?).ok()?;
            let owner = owner_from_parts(key.0, key.1).ok()?;
            rows.offsets.insert(OffsetKey { owner, partition: place(*key.2, key.3) }, Some(row));
            Some(())
        });
        each(database, GROUPS, lost, |group, row| {
            let row = decode("a group", unsealed(GROUPS, &group, row).ok()?).ok()?;
            rows.groups.insert(GroupId::new(group).ok()?, Some(row));
            Some(())
        });
        each(database, STATE, lost, |key, row| {
            let value = Bytes::copy_from_slice(unsealed(STATE, &key, row).ok()?);
            let (pipeline, step) = (PipelineName::new(key.0).ok()?, key.1);
            let (source, key) = (place(*key.2, key.3), Bytes::copy_from_slice(key.4));
            rows.state.insert(StateKey { pipeline, step, source, key }, Some(value));
            Some(())
        });
    }
}

/// A disk that does not answer is another matter than bytes that are wrong.
fn read_through(files: &dyn Files) -> std::io::Result<()> {
    let (mut block, mut from) = (vec![0; 1 << 16], 0);
    loop {
        match files.read_at(FILE, from, &mut block)? {
            0 => return Ok(()),
            read => from += read as u64,
        }
    }
}

/// Hands over the rows of a table; `take` says which are as they were written.
fn each<K: Key + 'static, V: Value + 'static>(
    database: Option<&Database>,
    definition: TableDefinition<'static, K, V>,
    lost: &mut BTreeMap<String, String>,
    mut take: impl FnMut(K::SelfType<'_>, V::SelfType<'_>) -> Option<()>,
) {
    let (mut good, mut all) = (0, None);
    // Whatever ends it, what was found before counts.
    let _ = guarded(FILE, || {
        let Some(database) = database else { return Ok(()) };
        let transaction = database.begin_read().map_err(at(FILE))?;
        let table = match transaction.open_table(definition) {
            // Made with its first row.
            Err(TableError::TableDoesNotExist(name)) if name == SETTINGS.name() => {
                all = Some(0);
                return Ok(());
            }
            table => table.map_err(at(FILE))?,
        };
        all = Some(table.len().map_err(at(FILE))?);
        for row in table.iter().map_err(at(FILE))?.map_while(Result::ok) {
            good += u64::from(take(row.0.value(), row.1.value()).is_some());
        }
        Ok(())
    });
    if all != Some(good) {
        let rows = match all {
            Some(all) if all > good => format!("{} of {all} rows", all - good),
            _ => "rows".to_owned(),
        };
        lost.insert(definition.name().to_owned(), rows);
    }
}
