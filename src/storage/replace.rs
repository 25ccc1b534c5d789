//! Stretches of the log written again: moved out of a segment that is mostly dead, or compacted.
//! A [`Piece`] takes the place of one sealed run, in one transaction with its journal entry: a
//! crash leaves the run or the piece, each of them whole.

use super::chunk::{Chunk, ChunkBuilder};
use super::journal::{Effects, Extent, Gaps, Moved};
use super::log::SegmentUse;
use super::runs::Run;
use super::{StorageError, Store, StoreReader};
use crate::record::{RecordBatch, split_batches};
use crate::types::{Offset, TimestampMs, TopicPartition};

/// What takes the place of a run.
#[derive(Debug)]
pub struct Piece {
    replaces: Run,
    moved: Moved,
    chunks: Vec<Chunk>,
}

impl Piece {
    /// A run's batches as they are, packed anew.
    pub fn moved(partition: TopicPartition, run: Run, batches: &[RecordBatch]) -> Self {
        Self::new(partition, run, batches, (run.gaps.min(Gaps::Records), run.horizon_ms))
    }

    /// What compaction leaves of a run's batches, in their order, with their offsets; and when
    /// their tombstones may go, [`TimestampMs::MAX`] for none.
    pub fn compacted(
        partition: TopicPartition,
        run: Run,
        batches: &[RecordBatch],
        horizon_ms: TimestampMs,
    ) -> Self {
        Self::new(partition, run, batches, (Gaps::Records, horizon_ms))
    }

    fn new(
        partition: TopicPartition,
        run: Run,
        batches: &[RecordBatch],
        (gaps, horizon_ms): (Gaps, TimestampMs),
    ) -> Self {
        let mut chunks = ChunkBuilder::new(partition, run.first_offset);
        for batch in batches {
            chunks.push_at(batch.clone());
        }
        let max_timestamp = batches.iter().map(RecordBatch::max_timestamp).max();
        let extent = Extent {
            partition,
            first_offset: run.first_offset,
            end_offset: run.end_offset,
            bytes: batches.iter().map(|batch| batch.len() as u64).sum(),
            max_timestamp: max_timestamp.unwrap_or(-1),
        };
        let chunks = chunks.build_covering(run.first_offset, run.end_offset);
        let disk_bytes = chunks.iter().map(Chunk::page_bytes).sum();
        Self { replaces: run, moved: Moved { extent, disk_bytes, gaps, horizon_ms }, chunks }
    }

    /// Offset after the last that it covers.
    pub fn end_offset(&self) -> Offset {
        self.moved.extent.end_offset
    }

    /// Bytes of its batches.
    pub fn bytes(&self) -> u64 {
        self.moved.extent.bytes
    }
}

/// What was written of some pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// Bytes of their batches.
    pub bytes: u64,
    /// Pieces that were not written, since their runs had changed.
    pub refused: usize,
}

impl Store {
    /// Writes pieces of sealed runs in one transaction, with one fsync; each takes the place of
    /// its run, unless the run has changed since it was read. Durable and found by readers when it
    /// returns.
    pub fn replace(&mut self, mut pieces: Vec<Piece>) -> Result<Replaced, StorageError> {
        let asked = pieces.len();
        let log = &self.reader.log;
        pieces.retain(|piece| log.is_sealed_run(piece.moved.extent.partition, &piece.replaces));
        let refused = asked - pieces.len();
        if pieces.is_empty() {
            return Ok(Replaced { bytes: 0, refused });
        }
        let bytes = pieces.iter().map(Piece::bytes).sum();
        self.guarded(|reader| {
            let (mut chunks, mut moved) = (Vec::new(), Vec::with_capacity(pieces.len()));
            for piece in pieces {
                chunks.extend(piece.chunks);
                moved.push(piece.moved);
            }
            let effects = Effects { moved, ..Effects::default() };
            let entry = effects.encode()?;
            let entry_bytes = entry.len();
            let sequence = reader.log.last_sequence() + 1;
            reader.log.replace(sequence, &chunks, &effects.moved, entry, &reader.meta)?;
            reader.meta.apply(sequence, effects, entry_bytes);
            Ok(())
        })?;
        Ok(Replaced { bytes, refused })
    }

    /// Seals the active segment, unless it is empty, and begins the next.
    pub fn roll(&mut self) -> Result<(), StorageError> {
        self.guarded(|reader| reader.log.roll(&reader.meta))
    }

    /// Forgets a sealed segment, if nothing is left in it. Says whether it did. Its file goes with
    /// [`StoreReader::remove_unlinked`].
    pub fn unlink(&mut self, segment: u64) -> Result<bool, StorageError> {
        self.guarded(|reader| reader.log.unlink(segment, &reader.meta))
    }
}

impl StoreReader {
    /// Removes the files of segments that were unlinked. What fails is tried again by the next
    /// call, or when the store is opened.
    pub fn remove_unlinked(&self) -> Result<(), StorageError> {
        self.log.remove_unlinked(&self.meta)
    }

    /// How the segments are filled, by number.
    pub fn segments(&self) -> Vec<SegmentUse> {
        self.log.segments()
    }

    /// The runs of a partition, in order of offsets.
    pub fn runs(&self, partition: TopicPartition) -> Vec<Run> {
        self.with_runs(partition, <[Run]>::to_vec)
    }

    /// Looks at the runs of a partition, in order of offsets. Appends wait meanwhile.
    pub fn with_runs<T>(&self, partition: TopicPartition, look: impl FnOnce(&[Run]) -> T) -> T {
        self.log.with_runs(partition, look)
    }

    /// The run that contains an offset, or the first after it.
    pub fn run_at(&self, partition: TopicPartition, offset: Offset) -> Option<Run> {
        self.log.run_at(partition, offset)
    }

    /// Size at which a segment is sealed, bytes.
    pub fn segment_bytes(&self) -> u64 {
        self.log.segment_bytes()
    }

    /// What lives in a segment, by partition and offset.
    pub fn runs_of_segment(&self, segment: u64) -> Vec<(TopicPartition, Run)> {
        self.log.runs_of_segment(segment)
    }

    /// All batches of a run that have records which are not deleted.
    pub fn read_run(
        &self,
        partition: TopicPartition,
        run: &Run,
    ) -> Result<Vec<RecordBatch>, StorageError> {
        let mut batches: Vec<RecordBatch> = Vec::new();
        let mut from = run.first_offset;
        while from < run.end_offset {
            let until = run.end_offset;
            let stretches = self.log.read_run(partition, run, from, until, usize::MAX)?;
            if stretches.is_empty() && run.gaps != Gaps::None {
                break;
            }
            let read = batches.len();
            for batch in stretches.into_iter().flat_map(split_batches) {
                batches.push(batch.map_err(|error| corrupt(partition, run, from, error))?);
            }
            match batches.last() {
                Some(last) if batches.len() > read => from = last.next_offset(),
                _ => return Err(corrupt(partition, run, from, "nothing is there")),
            }
        }
        Ok(batches)
    }

    /// The greatest timestamp of a partition's records, by their batches.
    pub fn max_timestamp(
        &self,
        partition: TopicPartition,
    ) -> Result<Option<TimestampMs>, StorageError> {
        let Some(first) = self.log.at_max_timestamp(partition) else { return Ok(None) };
        if !first.cut {
            return Ok(Some(first.max_timestamp));
        }
        // Whose record has the greatest may be deleted: look at what is left of such runs.
        let mut runs = self.runs(partition);
        while let Some(run) = runs.iter_mut().rev().max_by_key(|run| run.max_timestamp) {
            if !run.cut {
                return Ok(Some(run.max_timestamp));
            }
            let batches = self.read_run(partition, run)?;
            let left = batches.iter().map(RecordBatch::max_timestamp).max();
            (run.max_timestamp, run.cut) = (left.unwrap_or(TimestampMs::MIN), false);
        }
        Ok(None)
    }
}

fn corrupt(
    partition: TopicPartition,
    run: &Run,
    offset: Offset,
    reason: impl ToString,
) -> StorageError {
    StorageError::Corrupt {
        segment: run.segment,
        partition,
        offset,
        end_offset: run.end_offset,
        reason: reason.to_string(),
    }
}
