//! A copy of a running store at one commit point: the active segment is sealed and `meta.redb` is
//! flushed, so that from there on the sealed segments and a read transaction of `meta.redb` are
//! the store as it was. While a [`Snapshot`] lives no segment is unlinked.

use std::sync::Arc;

use redb::{Key, ReadTransaction, TableDefinition, Value, WriteTransaction};

use super::files::{Files, copy_file};
use super::redo::{self, RedoLog};
use super::tables::{
    COMPACTED, COMPONENTS, COUNTERS, DEPLOYMENTS, GROUPS, IDENTITY, OFFSETS, PARTITIONS, PRODUCERS,
    RUNS, SEGMENTS, SETTINGS, STATE, TOPICS, UNLINKED,
};
use super::{StorageError, Store, StoreReader, at, meta, segment};

/// A store as it was at one commit.
#[expect(missing_debug_implementations, reason = "redb's transaction has none")]
pub struct Snapshot {
    files: Arc<dyn Files>,
    reader: StoreReader,
    meta: ReadTransaction,
    segments: Vec<u64>,
    segment_bytes: u64,
}

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Segments.
    pub segments: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

impl Store {
    /// Seals what has been written so far and keeps it as it is for a copy.
    pub fn snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let files = Arc::clone(&self.files);
        self.guarded(|reader| {
            reader.log.roll(&reader.meta)?;
            reader.meta.flush()?;
            let segments = reader.log.hold();
            let meta = reader.meta.begin_read()?;
            let segment_bytes = reader.log.segment_bytes();
            Ok(Snapshot { files, reader: reader.clone(), meta, segments, segment_bytes })
        })
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.reader.log.release();
    }
}

impl Snapshot {
    /// Copies everything into an empty folder. Durable when it returns.
    pub fn copy_to(&self, to: &dyn Files) -> Result<Copied, StorageError> {
        let mut copied = Copied { segments: 0, bytes: 0 };
        to.create_dir(segment::DIR).map_err(at(segment::DIR))?;
        for number in &self.segments {
            let name = segment::file_name(*number);
            copied.bytes += copy_file(&*self.files, &name, to, &name).map_err(at(&name))?;
            copied.segments += 1;
        }
        to.sync_dir(segment::DIR).map_err(at(segment::DIR))?;
        RedoLog::open(to, self.segment_bytes, true).map_err(at(redo::FILE))?;
        // Last: a folder without it is no store.
        let database = segment::create_database(to, meta::FILE, "", |transaction| {
            copy_meta(&self.meta, transaction)
        })?;
        database.close().map_err(at(meta::FILE))?;
        Ok(copied)
    }
}

/// Copies a store that nobody has open into an empty folder. Durable when it returns.
pub fn copy_store(from: &dyn Files, to: &dyn Files) -> Result<Copied, StorageError> {
    let mut copied = Copied { segments: 0, bytes: 0 };
    to.create_dir(segment::DIR).map_err(at(segment::DIR))?;
    for number in segment::list(from)? {
        let name = segment::file_name(number);
        copied.bytes += copy_file(from, &name, to, &name).map_err(at(&name))?;
        copied.segments += 1;
    }
    to.sync_dir(segment::DIR).map_err(at(segment::DIR))?;
    // meta.redb last: a folder without it is no store.
    for name in [redo::FILE, meta::FILE] {
        copied.bytes += copy_file(from, name, to, name).map_err(at(name))?;
    }
    to.sync_dir("").map_err(at("."))?;
    Ok(copied)
}

fn copy_meta(from: &ReadTransaction, to: &WriteTransaction) -> Result<(), redb::Error> {
    copy(from, to, COUNTERS)?;
    copy(from, to, IDENTITY)?;
    copy(from, to, TOPICS)?;
    copy(from, to, PARTITIONS)?;
    copy(from, to, SEGMENTS)?;
    copy(from, to, RUNS)?;
    copy(from, to, UNLINKED)?;
    copy(from, to, COMPACTED)?;
    copy(from, to, PRODUCERS)?;
    copy(from, to, OFFSETS)?;
    copy(from, to, GROUPS)?;
    copy(from, to, STATE)?;
    copy(from, to, SETTINGS)?;
    copy(from, to, DEPLOYMENTS)?;
    copy(from, to, COMPONENTS)
}

fn copy<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<(), redb::Error> {
    use redb::ReadableTable;
    let from = match from.open_table(table) {
        // Some are made with their first row.
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        from => from?,
    };
    let mut to = to.open_table(table)?;
    for row in from.iter()? {
        let (key, value) = row?;
        to.insert(key.value(), value.value())?;
    }
    Ok(())
}
