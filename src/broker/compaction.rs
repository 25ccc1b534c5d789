//! Compaction: of the records of a key only the last is kept, and a tombstone as long as the topic
//! says. A [`Pass`] goes over one partition in steps of a run: first it learns the last offset of
//! each key in what is not yet compacted, then it writes the runs again that have a record less
//! for it, oldest first. Each run changes by itself, so a pass can end anywhere: a record goes
//! only when a later one with its key is there, a tombstone when the earlier ones are gone.
//!
//! Only sealed runs change, and never the last record of a partition: the log's end stays where
//! consumers wait for it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::StorageError;
use super::topic_config::TopicConfig;
use crate::limits::{COMPACTION_KEYS, RUN_BYTES};
use crate::record::{BatchError, RecordBatch, Retained, Sketch};
use crate::storage::{Piece, Run, StoreReader};
use crate::types::{Offset, TimestampMs, TopicPartition};

/// What a compacted partition needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Need {
    /// Nothing, for now.
    Nothing,
    /// That the active segment is sealed.
    Seal,
    /// A pass up to an offset. The share of what is not compacted says how urgent it is.
    Pass { upto: Offset, dirty_ratio: f64 },
}

/// Decides what a partition needs, of which the first `compacted` offsets are compacted.
pub(super) fn need(
    runs: &[Run],
    compacted: Offset,
    active: u64,
    config: &TopicConfig,
    now_ms: TimestampMs,
) -> Need {
    let clean = runs.partition_point(|run| run.end_offset <= compacted);
    let (clean, dirty) = runs.split_at(clean);
    let age_ms = |run: &Run| now_ms.saturating_sub(run.max_timestamp);
    let may = |run: &&Run| run.segment < active && age_ms(run) >= config.min_compaction_lag_ms;
    let bytes = |runs: &[Run]| runs.iter().map(|run| run.bytes).sum::<u64>() as f64;
    let cleanable = &dirty[..dirty.iter().take_while(may).count()];
    let expired = |run: &Run| run.horizon_ms <= now_ms;
    let (upto, dirty_ratio) = match (cleanable.first(), cleanable.last()) {
        (Some(first), Some(last)) => {
            let dirty_bytes = bytes(cleanable);
            let ratio = dirty_bytes / (bytes(clean) + dirty_bytes).max(1.0);
            let overdue = age_ms(first) > config.max_compaction_lag_ms;
            if ratio <= config.min_cleanable_dirty_ratio && !overdue {
                return Need::Nothing;
            }
            (last.end_offset, ratio)
        }
        _ if clean.iter().any(expired) => (compacted, 0.0),
        _ => return Need::Nothing,
    };
    // What was moved there lately must not be left out.
    if clean.iter().any(|run| run.segment >= active) {
        return Need::Seal;
    }
    Need::Pass { upto, dirty_ratio }
}

/// The last offset of each key, by 128 bits of a hash that nobody outside can foresee.
#[derive(Debug, Default)]
struct Keys {
    hashers: (RandomState, RandomState),
    last: HashMap<u128, Offset>,
}

impl Keys {
    fn hash(&self, key: &[u8]) -> u128 {
        let (high, low) = (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key));
        u128::from(high) << 64 | u128::from(low)
    }

    fn insert(&mut self, key: &[u8], offset: Offset) {
        let hash = self.hash(key);
        self.last.insert(hash, offset);
    }

    fn has_later(&self, key: &[u8], offset: Offset) -> bool {
        self.last.get(&self.hash(key)).is_some_and(|last| *last > offset)
    }
}

/// What a step of a pass came to.
#[derive(Debug)]
pub(super) enum Work {
    /// It goes on.
    More,
    /// These are to be written; then it goes on.
    Pieces(Vec<Piece>),
    /// It is through: the partition is compacted up to this offset.
    Done(Offset),
}

/// Why a pass cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum PassError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("a batch cannot be read: {0}")]
    Batch(#[from] BatchError),
}

/// One going over a partition.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) partition: TopicPartition,
    /// Offset after the last record to be compacted.
    upto: Offset,
    /// The record that is kept whatever it is.
    last_offset: Offset,
    now_ms: TimestampMs,
    /// When tombstones that are seen for the first time may go.
    horizon_ms: TimestampMs,
    keys: Keys,
    /// Whether all keys are known.
    mapped: bool,
    next: Offset,
    /// What is to be written, and how much was read for it.
    pieces: Vec<Piece>,
    read_bytes: u64,
}

impl Pass {
    /// `compacted` is the offset up to which the partition is compacted already, `end_offset` that
    /// after its last record.
    pub(super) fn new(
        partition: TopicPartition,
        (compacted, upto): (Offset, Offset),
        end_offset: Offset,
        config: &TopicConfig,
        now_ms: TimestampMs,
    ) -> Self {
        Self {
            partition,
            upto,
            last_offset: end_offset - 1,
            now_ms,
            horizon_ms: now_ms.saturating_add(config.delete_retention_ms),
            keys: Keys::default(),
            mapped: false,
            next: compacted,
            pieces: Vec::new(),
            read_bytes: 0,
        }
    }

    /// Takes one run.
    pub(super) fn step(&mut self, store: &StoreReader) -> Result<Work, PassError> {
        let run = store.run_at(self.partition, self.next);
        let run = run.filter(|run| run.first_offset < self.upto);
        match run {
            Some(run) if !self.mapped => {
                self.map(&store.read_run(self.partition, &run)?)?;
                self.next = run.end_offset;
                if self.keys.last.len() >= COMPACTION_KEYS {
                    // The rest is another pass.
                    self.upto = run.end_offset;
                }
                Ok(Work::More)
            }
            None if !self.mapped => {
                self.mapped = true;
                self.next = 0;
                Ok(Work::More)
            }
            Some(run) => {
                self.next = run.end_offset;
                self.rewrite(store, run)?;
                let written: u64 = self.pieces.iter().map(Piece::bytes).sum();
                let enough = written >= RUN_BYTES || self.read_bytes >= 8 * RUN_BYTES;
                Ok(if enough { self.take_pieces() } else { Work::More })
            }
            None if self.pieces.is_empty() => Ok(Work::Done(self.upto)),
            None => Ok(self.take_pieces()),
        }
    }

    fn take_pieces(&mut self) -> Work {
        self.read_bytes = 0;
        match std::mem::take(&mut self.pieces) {
            pieces if pieces.is_empty() => Work::More,
            pieces => Work::Pieces(pieces),
        }
    }

    fn map(&mut self, batches: &[RecordBatch]) -> Result<(), PassError> {
        for batch in batches.iter().filter(|batch| !batch.is_control()) {
            batch.for_each_sketch(|sketch| {
                if let Some(key) = sketch.key {
                    self.keys.insert(key, sketch.offset);
                }
            })?;
        }
        Ok(())
    }

    /// Makes a piece of a run, if it changes.
    fn rewrite(&mut self, store: &StoreReader, run: Run) -> Result<(), PassError> {
        let expired = run.horizon_ms <= self.now_ms;
        if self.keys.last.is_empty() && !expired {
            return Ok(());
        }
        self.read_bytes += run.bytes;
        let (mut left, mut tombstones, mut changed) = (Vec::new(), false, false);
        for batch in store.read_run(self.partition, &run)? {
            if batch.is_control() {
                left.push(batch);
                continue;
            }
            let kept = batch.retain(|sketch| self.keeps(sketch, expired, &mut tombstones));
            match kept {
                Ok(Retained::All) => left.push(batch),
                Ok(Retained::Nothing) => changed = true,
                Ok(Retained::Some(kept)) => {
                    changed = true;
                    left.push(kept);
                }
                // Our codec does worse than the producer's: it stays as it is.
                Err(BatchError::TooLarge { .. }) => left.push(batch),
                Err(error) => return Err(error.into()),
            }
        }
        let horizon_ms = match (tombstones, run.horizon_ms) {
            (false, _) => TimestampMs::MAX,
            (true, TimestampMs::MAX) => self.horizon_ms,
            // The one left is the last record of all.
            (true, _) if expired => TimestampMs::MAX,
            (true, known) => known,
        };
        if changed || horizon_ms != run.horizon_ms {
            self.pieces.push(Piece::compacted(self.partition, run, &left, horizon_ms));
        }
        Ok(())
    }

    fn keeps(&self, sketch: Sketch<'_>, expired: bool, tombstones: &mut bool) -> bool {
        let is_last = sketch.offset == self.last_offset;
        let keeps = match sketch.key {
            _ if is_last => true,
            // Nothing tells what would replace it.
            None => false,
            Some(key) if self.keys.has_later(key, sketch.offset) => false,
            Some(_) => !(sketch.is_tombstone && expired),
        };
        *tombstones |= keeps && sketch.is_tombstone;
        keeps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIVE: u64 = 9;

    fn run(from: Offset, bytes: u64, age: TimestampMs) -> Run {
        Run::of_test((from, from + 10), bytes, 1_000 - age)
    }

    fn needs(runs: &[Run], compacted: Offset, config: &TopicConfig) -> Need {
        need(runs, compacted, ACTIVE, config, 1_000)
    }

    #[test]
    fn a_pass_begins_when_enough_is_dirty() {
        let runs = [run(0, 300, 0), run(10, 100, 0), run(20, 100, 0)];
        let config = TopicConfig { min_cleanable_dirty_ratio: 0.3, ..TopicConfig::default() };
        let ratio = |compacted| match needs(&runs, compacted, &config) {
            Need::Pass { upto, dirty_ratio } => Some((upto, dirty_ratio)),
            _ => None,
        };
        assert_eq!(ratio(0), Some((30, 1.0)));
        assert_eq!(ratio(10), Some((30, 0.4)));
        assert_eq!(ratio(20), None);
        assert_eq!(ratio(30), None);
    }

    #[test]
    fn what_is_young_or_not_sealed_waits() {
        let mut runs = [run(0, 100, 50), run(10, 100, 20), run(20, 100, 5)];
        let young = TopicConfig { min_compaction_lag_ms: 10, ..TopicConfig::default() };
        assert_eq!(needs(&runs, 0, &young), Need::Pass { upto: 20, dirty_ratio: 1.0 });
        runs[1].segment = ACTIVE;
        assert_eq!(
            needs(&runs, 0, &TopicConfig::default()),
            Need::Pass { upto: 10, dirty_ratio: 1.0 }
        );
        runs[0].segment = ACTIVE;
        assert_eq!(needs(&runs, 0, &TopicConfig::default()), Need::Nothing);
        // Compacted, then moved: to be sealed before it is gone over again.
        runs[1].segment = 1;
        assert_eq!(needs(&runs, 10, &TopicConfig::default()), Need::Seal);
    }

    #[test]
    fn age_alone_can_make_it_due() {
        let runs = [run(0, 900, 500), run(10, 100, 50)];
        let lazy = TopicConfig { min_cleanable_dirty_ratio: 1.0, ..TopicConfig::default() };
        assert_eq!(needs(&runs, 10, &lazy), Need::Nothing);
        let overdue = TopicConfig { max_compaction_lag_ms: 49, ..lazy };
        assert!(matches!(needs(&runs, 10, &overdue), Need::Pass { upto: 20, .. }));
    }

    #[test]
    fn tombstones_whose_time_is_over_make_it_due() {
        let mut runs = [run(0, 100, 0)];
        runs[0].horizon_ms = 1_001;
        assert_eq!(needs(&runs, 10, &TopicConfig::default()), Need::Nothing);
        runs[0].horizon_ms = 1_000;
        assert_eq!(
            needs(&runs, 10, &TopicConfig::default()),
            Need::Pass { upto: 10, dirty_ratio: 0.0 }
        );
    }
}
