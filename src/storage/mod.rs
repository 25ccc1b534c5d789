//! Storage on redb: the log in segments, the journal in them, and `meta.redb`. Synchronous; knows
//! nothing of tokio, Kafka messages or plugins, and decides nothing: the broker says what is
//! written.
//!
//! Where a partition's records are is a list of runs ([`Run`]), each a stretch of offsets in one
//! segment. Deleting shortens the list; moving and compaction write a run again in the active
//! segment ([`Piece`]); a sealed segment without a run is unlinked.
//!
//! A [`Group`] is one thing: its chunks and one journal entry that carries everything else, made
//! durable by one fsync. A large one is a transaction of redb; a small one is a record of the redo
//! file and waits in memory, where readers find it, until [`StoreReader::catch_up`] writes it to
//! redb together with its neighbours. When [`Store::commit`] returns `Ok`, all of it survives a
//! crash; when it returns an error, nothing of it was acknowledged and the store takes no further
//! group until [`Store::resume`] has taken it back to what was durable before.

mod check;
mod chunk;
mod direct;
mod eager;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod journal;
mod log;
mod memory;
mod meta;
#[cfg(test)]
mod outage_tests;
mod overlay;
mod redo;
mod replace;
mod runs;
mod seal;
mod segment;
mod segment_file;
mod snapshot;
mod tables;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod turnover_tests;
mod unwind;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use self::check::{Checked, CheckedPartition, Repaired, check, repair};
pub use self::chunk::{Chunk, ChunkBuilder, LEADER_EPOCH};
pub use self::files::{DiskFiles, Files, OpenMode, Place};
pub use self::journal::{Changes, Effects, Extent, Gaps, Moved};
use self::log::Log;
pub use self::log::SegmentUse;
pub use self::memory::MemoryFiles;
use self::meta::Meta;
pub use self::meta::Recovered;
pub use self::replace::{Piece, Replaced};
pub use self::runs::Run;
pub use self::snapshot::{Copied, Snapshot, copy_store};
pub use self::tables::{
    CommittedOffset, GroupRow, MemberRow, OffsetKey, ProducedBatch, ProducerKey, ProducerState,
    SettingsKey, SettingsRow, StateKey, TopicRow,
};
use crate::clock::Clock;
use crate::limits::{META_PENDING_BYTES, RUN_BYTES, SEGMENT_BYTES};
use crate::record::RecordBatch;
use crate::types::{Offset, TimestampMs, TopicPartition};

/// Why the storage could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The file system or redb failed on a file.
    #[error("{file}: {source}")]
    File {
        /// The file, relative to the data folder.
        file: String,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file of another format version.
    #[error("{file} has format version {found}, this program reads version {supported}")]
    Format {
        /// The file.
        file: String,
        /// Its version; 0 if it names none.
        found: u64,
        /// The version that this program reads and writes.
        supported: u64,
    },
    /// The bytes of a file are not those that were written, so that nothing can be made of it.
    #[error("{file} is damaged: {reason}")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// There are segments and no meta.redb.
    #[error("meta.redb is missing, though there are segments")]
    MetaMissing,
    /// A sealed segment is not there.
    #[error("{file} is missing, the log has a hole")]
    SegmentMissing {
        /// The file.
        file: String,
    },
    /// Two segments that are not sealed.
    #[error("{file} is not sealed, though {active} follows it")]
    SegmentUnexpected {
        /// The earlier one.
        file: String,
        /// The later one.
        active: String,
    },
    /// The journal ends before what meta.redb contains.
    #[error("the journal ends at {last_sequence}, meta.redb contains it up to {applied}")]
    JournalBehind {
        /// Last sequence number in meta.redb.
        applied: u64,
        /// Last sequence number in the journal.
        last_sequence: u64,
    },
    /// A journal entry is not the successor of the one before.
    #[error("segment {segment}: journal entry {sequence} follows {last_sequence}")]
    JournalGap {
        /// The segment.
        segment: u64,
        /// The entry before.
        last_sequence: u64,
        /// The entry found.
        sequence: u64,
    },
    /// A journal entry that cannot be read.
    #[error("segment {segment}: journal entry {sequence} is unreadable: {error}")]
    JournalEntry {
        /// The segment.
        segment: u64,
        /// The entry.
        sequence: u64,
        /// What the decoder says.
        error: postcard::Error,
    },
    /// A row of meta.redb that cannot be read.
    #[error("meta.redb: {what} is unreadable: {reason}")]
    Row {
        /// What the row holds.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A value that cannot be encoded.
    #[error("cannot encode {what}: {error}")]
    Encode {
        /// The value.
        what: &'static str,
        /// What the encoder says.
        error: postcard::Error,
    },
    /// A batch whose bytes are not those that were written.
    #[error(
        "segment {segment}: {partition:?} is unreadable from offset {offset} to before \
         {end_offset}: {reason}"
    )]
    Corrupt {
        /// The segment.
        segment: u64,
        /// The partition.
        partition: TopicPartition,
        /// Offset of the first record that cannot be read.
        offset: Offset,
        /// Offset from which on it may be readable again.
        end_offset: Offset,
        /// What is wrong.
        reason: String,
    },
    /// What is on disk after a failed write is not what was there before it.
    #[error(
        "{file}: the journal ends at {found:?} after a failed write, at {expected:?} before it"
    )]
    Diverged {
        /// The file.
        file: String,
        /// Last sequence number found.
        found: Option<u64>,
        /// Last sequence number that was made durable.
        expected: Option<u64>,
    },
    /// An earlier write failed; only opening the store again helps.
    #[error("an earlier write failed, nothing is written until the store is opened again")]
    Failed,
}

impl StorageError {
    /// Whether what was written is not there any more, or not as it was.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. }
            | Self::MetaMissing
            | Self::SegmentMissing { .. }
            | Self::SegmentUnexpected { .. }
            | Self::JournalBehind { .. }
            | Self::JournalGap { .. }
            | Self::JournalEntry { .. }
            | Self::Row { .. }
            | Self::Corrupt { .. } => true,
            Self::File { .. }
            | Self::Format { .. }
            | Self::Encode { .. }
            | Self::Diverged { .. }
            | Self::Failed => false,
        }
    }
}

/// Turns an error of the file system or of redb into one that names the file.
fn at<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    file: &str,
) -> impl Fn(E) -> StorageError + use<'_, E> {
    move |source| StorageError::File { file: file.to_owned(), source: source.into() }
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Size at which a segment is sealed, bytes; default [`SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// The id that a new store gets for its cluster.
    pub new_cluster_id: String,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, new_cluster_id: crate::random::id().to_string() }
    }
}

/// What is written together: all of it or nothing.
#[derive(Debug, Default)]
pub struct Group {
    /// Records, by partition in order of offsets.
    pub chunks: Vec<Chunk>,
    /// Everything else. `extents` is filled in by the store from the chunks.
    pub effects: Effects,
}

/// The writer's side of a store. There is one.
#[derive(Debug)]
pub struct Store {
    files: Arc<dyn Files>,
    reader: StoreReader,
}

/// The readers' side of a store: sees what is durable.
#[derive(Debug, Clone)]
pub struct StoreReader {
    meta: Arc<Meta>,
    log: Arc<Log>,
}

impl Store {
    /// Opens the store, or makes one in an empty folder, and returns what is in it.
    ///
    /// After a crash this repairs the active segment and replays its journal; sealed segments are
    /// not touched, so it takes time by the active segment alone.
    pub fn open(
        files: Arc<dyn Files>,
        options: &StoreOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Recovered), StorageError> {
        let meta = Meta::open(&*files, &options.new_cluster_id, clock)?;
        let log = Log::open(Arc::clone(&files), options.segment_bytes, &meta)?;
        meta.flush()?;
        let recovered = meta.load()?;
        log.retain(|partition| recovered.partitions.contains_key(&partition));
        for (partition, (start, _)) in &recovered.partitions {
            log.trim(*partition, *start);
        }
        let reader = StoreReader { meta: Arc::new(meta), log: Arc::new(log) };
        Ok((Self { files, reader }, recovered))
    }

    /// After a failed write: opens what can be read without writing, so that readers are served.
    /// Nothing is written until [`Store::resume`] has succeeded.
    pub fn reopen(&mut self) -> Result<(), StorageError> {
        let StoreReader { meta, log } = &self.reader;
        meta.halt();
        meta.reopen(&*self.files, false)?;
        log.reopen(meta)
    }

    /// After a failed write: takes the store back to what was durable before it, and lets writes
    /// in again. What was reported as failed has not been done, a change of a topic excepted:
    /// [`Store::topics`] says what became of that.
    ///
    /// [`StorageError::Diverged`] is for good; any other error may go away.
    pub fn resume(&mut self) -> Result<(), StorageError> {
        self.reopen()?;
        self.reader.meta.reopen(&*self.files, true)?;
        self.reader.meta.go_on();
        Ok(())
    }

    /// What is set beyond topics, as it is on disk.
    pub fn settings(&self) -> Result<Vec<SettingsRow>, StorageError> {
        self.reader.meta.settings()
    }

    /// The topics as they are on disk.
    pub fn topics(&self) -> Result<Vec<TopicRow>, StorageError> {
        self.reader.meta.topics()
    }

    /// A handle for readers.
    pub fn reader(&self) -> StoreReader {
        self.reader.clone()
    }

    /// Writes a group, with one fsync. Durable and found by readers when it returns.
    ///
    /// Any error means that the disk cannot be trusted with more; see the module's comment.
    pub fn commit(&mut self, mut group: Group) -> Result<(), StorageError> {
        group.effects.extents = extents(&group.chunks);
        self.guarded(|reader| {
            let entry = group.effects.encode()?;
            let entry_bytes = entry.len();
            let sequence = reader.log.last_sequence() + 1;
            reader.log.append(sequence, &group.chunks, entry, &reader.meta)?;
            for (partition, start) in &group.effects.starts {
                reader.log.trim(*partition, *start);
            }
            reader.meta.apply(sequence, group.effects, entry_bytes);
            Ok(())
        })
    }

    /// What is to follow a commit: has the next segment take the place of a full one, if
    /// [`StoreReader::catch_up`] has made it. Takes no time, unless catching up is far behind.
    pub fn maintain(&mut self) -> Result<(), StorageError> {
        self.guarded(|reader| {
            reader.log.begin_next();
            let is_far_behind = reader.meta.pending_bytes() >= 2 * META_PENDING_BYTES;
            if is_far_behind { reader.meta.flush() } else { Ok(()) }
        })
    }

    /// When `meta.redb` is to be flushed, by [`StoreReader::catch_up`], in the clock's monotonic
    /// time; `None`: there is nothing to flush.
    pub fn next_flush(&self) -> Option<Duration> {
        self.reader.meta.next_flush()
    }

    /// Adds a topic. Durable when it returns.
    pub fn create_topic(&mut self, topic: &TopicRow) -> Result<(), StorageError> {
        self.guarded(|reader| reader.meta.put_topic(topic, 0))
    }

    /// Writes a topic anew: with other settings, or with more partitions than the `had` that it
    /// had. Durable when it returns.
    pub fn update_topic(&mut self, topic: &TopicRow, had: i32) -> Result<(), StorageError> {
        self.guarded(|reader| reader.meta.put_topic(topic, had))
    }

    /// Writes what is set beyond topics for one scope; nothing set leaves nothing. Durable when
    /// it returns.
    pub fn put_settings(
        &mut self,
        key: &SettingsKey,
        settings: &BTreeMap<String, String>,
    ) -> Result<(), StorageError> {
        self.guarded(|reader| reader.meta.put_settings(key, settings))
    }

    /// Removes a topic with its offsets, producers and state. Durable when it returns.
    pub fn delete_topic(&mut self, topic: &TopicRow) -> Result<(), StorageError> {
        self.guarded(|reader| {
            reader.meta.delete_topic(topic)?;
            reader.log.retain(|partition| partition.topic != topic.id);
            Ok(())
        })
    }

    /// Reserves `count` producer ids and returns the first. Durable when it returns: no id is
    /// ever handed out twice.
    pub fn reserve_producer_ids(&mut self, count: u64) -> Result<i64, StorageError> {
        self.guarded(|reader| reader.meta.reserve_producer_ids(count))
    }

    /// Writes a deployment with the components that it names by their SHA-256. Durable when it
    /// returns.
    pub fn put_deployment(
        &mut self,
        name: &str,
        deployment: &[u8],
        components: &[([u8; 32], Bytes)],
    ) -> Result<(), StorageError> {
        self.guarded(|reader| reader.meta.put_deployment(name, deployment, components))
    }

    /// Removes a deployment; its components stay.
    pub fn remove_deployment(&mut self, name: &str) -> Result<(), StorageError> {
        self.guarded(|reader| reader.meta.remove_deployment(name))
    }

    /// Flushes and closes, so that the next open has nothing to repair or replay.
    pub fn close(mut self) -> Result<(), StorageError> {
        self.guarded(|reader| {
            reader.meta.flush()?;
            reader.log.close(&reader.meta)
        })
    }

    /// Runs a write; after the first that failed there is no other.
    fn guarded<T>(
        &mut self,
        write: impl FnOnce(&StoreReader) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.reader.guarded(write)
    }
}

impl StoreReader {
    /// Whether [`StoreReader::catch_up`] should be called soon, so that no commit must wait for it.
    pub fn is_behind(&self) -> bool {
        self.log.is_behind() || self.meta.is_to_flush()
    }

    /// Does what commits have left for later, as far as it is due: writes to the segment what is
    /// in the redo file, seals a full segment and makes the next one, flushes `meta.redb`. Commits
    /// do not wait for it as long as the redo file has room.
    ///
    /// Any error means that the disk cannot be trusted with more, as one of [`Store::commit`] does.
    /// Nothing is lost by it.
    pub fn catch_up(&self) -> Result<(), StorageError> {
        self.guarded(|Self { log, meta }| {
            log.catch_up(meta)?;
            if meta.is_to_flush() { meta.flush() } else { Ok(()) }
        })
    }

    /// Runs a write; after the first that failed, of whichever thread, there is no other.
    fn guarded<T>(
        &self,
        write: impl FnOnce(&Self) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.meta.may_write()?;
        let result = write(self);
        if result.is_err() {
            self.meta.halt();
        }
        result
    }

    /// Reads batches of a partition from the one that contains `from`, each one's CRC checked;
    /// nothing at or beyond `until`. The first comes whatever its size, further ones as long as
    /// they fit in `max_bytes`. May end early; empty only if there is nothing. Each value returned
    /// is one or more batches.
    pub fn read(
        &self,
        partition: TopicPartition,
        from: Offset,
        until: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, StorageError> {
        self.log.read(partition, from, until, max_bytes)
    }

    /// The first batch between `from` and `until` that has a record at or after `timestamp`.
    pub fn find_timestamp(
        &self,
        partition: TopicPartition,
        timestamp: TimestampMs,
        from: Offset,
        until: Offset,
    ) -> Result<Option<RecordBatch>, StorageError> {
        self.log.find_timestamp(partition, timestamp, from, until)
    }

    /// Bytes of a partition's record batches.
    pub fn bytes(&self, partition: TopicPartition) -> u64 {
        self.log.bytes(partition)
    }

    /// Size of the disk and what is free of it, bytes, as far as it is known.
    pub fn room(&self) -> Option<(u64, u64)> {
        self.log.room()
    }

    /// Where the store is.
    pub fn place(&self) -> Place {
        self.log.place()
    }

    /// A piece of pipeline state.
    pub fn state(&self, key: &StateKey) -> Result<Option<Bytes>, StorageError> {
        self.meta.state(key)
    }

    /// All deployments by name.
    pub fn deployments(&self) -> Result<Vec<(String, Bytes)>, StorageError> {
        self.meta.deployments()
    }

    /// A component by its SHA-256.
    pub fn component(&self, digest: &[u8; 32]) -> Result<Option<Bytes>, StorageError> {
        self.meta.component(digest)
    }
}

/// The extents of chunks that stand together by partition.
fn extents(chunks: &[Chunk]) -> Vec<Extent> {
    let mut extents: Vec<Extent> = Vec::new();
    for chunk in chunks {
        match extents.last_mut() {
            // As bounded as a run: they are what runs are made of when the journal is replayed.
            Some(extent)
                if extent.partition == chunk.extent.partition
                    && extent.bytes + chunk.extent.bytes <= RUN_BYTES =>
            {
                extent.extend(&chunk.extent);
            }
            _ => extents.push(chunk.extent),
        }
    }
    extents
}
