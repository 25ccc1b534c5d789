//! Reading the log: which run, which segment, and the segments that are open for it.

use std::sync::Arc;

use bytes::Bytes;
use redb::{Builder, ReadOnlyDatabase};

use super::Log;
use super::active::Active;
use crate::limits::OPEN_SEGMENTS;
use crate::record::RecordBatch;
use crate::storage::files::{Backend, OpenMode};
use crate::storage::journal::Gaps;
use crate::storage::runs::Run;
use crate::storage::segment::{self, ReadRange, Source};
use crate::storage::unwind::guarded;
use crate::storage::{StorageError, at};
use crate::types::{Offset, TimestampMs, TopicPartition};

/// Cache of a sealed segment, bytes: readers go through it in order, once.
const SEALED_CACHE_BYTES: usize = 1 << 20;

impl Log {
    /// Reads batches from the one that contains `from`, or the first after it, before `until`. May
    /// end early, at the end of a segment.
    pub(in crate::storage) fn read(
        &self,
        partition: TopicPartition,
        mut from: Offset,
        until: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, StorageError> {
        while from < until {
            let Some(run) = self.runs().stretch(partition, from, max_bytes) else { break };
            if run.first_offset >= until {
                break;
            }
            match self.read_run(partition, &run, from, until, max_bytes) {
                Ok(stretches) if !stretches.is_empty() => return Ok(stretches),
                _ if self.is_elsewhere(partition, from, &run) => {}
                Ok(_) if run.gaps != Gaps::None => from = run.end_offset,
                Ok(_) => {
                    return Err(StorageError::Corrupt {
                        segment: run.segment,
                        partition,
                        offset: from,
                        end_offset: run.end_offset,
                        reason: "nothing is there".to_owned(),
                    });
                }
                Err(error) => return Err(self.of_run(partition, from, &run, error)),
            }
        }
        Ok(Vec::new())
    }

    /// Reads batches of one run.
    pub(in crate::storage) fn read_run(
        &self,
        partition: TopicPartition,
        run: &Run,
        from: Offset,
        until: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, StorageError> {
        let number = run.segment;
        self.with_segment(number, range(partition, run, from, until, max_bytes), |source, range| {
            segment::read(source, number, range)
        })
    }

    /// The first batch, from `from` on and before `until`, that has a record at or after a time.
    pub(in crate::storage) fn find_timestamp(
        &self,
        partition: TopicPartition,
        timestamp: TimestampMs,
        mut from: Offset,
        until: Offset,
    ) -> Result<Option<RecordBatch>, StorageError> {
        while from < until {
            let Some(run) = self.runs().at_time(partition, timestamp, from) else { break };
            let range = range(partition, &run, from, until, usize::MAX);
            let number = run.segment;
            let found = self.with_segment(number, range, |source, range| {
                let found = segment::find_timestamp(source, number, range, timestamp)?;
                Ok((found, range.until))
            });
            match found {
                Ok((Some(batch), _)) => return Ok(Some(batch)),
                _ if self.is_elsewhere(partition, range.from, &run) => {}
                Ok((None, until)) => from = until,
                Err(error) => return Err(self.of_run(partition, range.from, &run, error)),
            }
        }
        Ok(None)
    }

    /// What a segment's own error means to who reads a run of it: it is unreadable, others
    /// are not.
    fn of_run(
        &self,
        partition: TopicPartition,
        offset: Offset,
        run: &Run,
        error: StorageError,
    ) -> StorageError {
        let is_sealed = !self.is_unsealed(run.segment);
        match error {
            StorageError::Damaged { .. } | StorageError::File { .. }
                if is_sealed || matches!(error, StorageError::Damaged { .. }) =>
            {
                let (segment, end_offset, reason) =
                    (run.segment, run.end_offset, error.to_string());
                StorageError::Corrupt { segment, partition, offset, end_offset, reason }
            }
            error => error,
        }
    }

    /// Whether a run was moved or deleted since it was looked up.
    fn is_elsewhere(&self, partition: TopicPartition, offset: Offset, run: &Run) -> bool {
        let now = self.runs().at(partition, offset);
        now.is_none_or(|now| now.segment != run.segment)
    }

    /// The first run that has the greatest timestamp of its partition.
    pub(in crate::storage) fn at_max_timestamp(&self, partition: TopicPartition) -> Option<Run> {
        self.runs().at_max_timestamp(partition)
    }

    /// Looks at the runs of a partition, in order of offsets. Appends wait meanwhile.
    pub(in crate::storage) fn with_runs<T>(
        &self,
        partition: TopicPartition,
        look: impl FnOnce(&[Run]) -> T,
    ) -> T {
        look(self.runs().of(partition))
    }

    pub(in crate::storage) fn run_at(
        &self,
        partition: TopicPartition,
        offset: Offset,
    ) -> Option<Run> {
        self.runs().at(partition, offset)
    }

    /// What lives in a segment, by partition and offset.
    pub(in crate::storage) fn runs_of_segment(&self, segment: u64) -> Vec<(TopicPartition, Run)> {
        self.runs().of_segment(segment)
    }

    /// Whether this is a run of the partition now, and can be replaced: it is sealed.
    pub(in crate::storage) fn is_sealed_run(&self, partition: TopicPartition, run: &Run) -> bool {
        let now = self.runs().at(partition, run.first_offset);
        let place = |run: &Run| (run.segment, run.first_offset, run.end_offset);
        now.is_some_and(|now| place(&now) == place(run)) && !self.is_unsealed(run.segment)
    }

    fn is_unsealed(&self, number: u64) -> bool {
        self.find_unsealed(number).is_some()
    }

    fn find_unsealed(&self, number: u64) -> Option<Arc<Active>> {
        let unsealed = self.unsealed();
        let mut both = unsealed.retiring.iter().chain([&unsealed.active]);
        both.find(|segment| segment.number == number).cloned()
    }

    /// Reads a range where it is. `read` is told how far the range then goes.
    fn with_segment<T>(
        &self,
        number: u64,
        range: ReadRange,
        read: impl Fn(Source<'_>, ReadRange) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let name = segment::file_name(number);
        let unsealed = self.find_unsealed(number);
        if let Some(result) = unsealed.and_then(|segment| segment.read(range, &read)) {
            return result;
        }
        let result = guarded(&name, || read(Source::Sealed(&*self.sealed(number)?), range));
        if let Err(StorageError::Damaged { .. }) = result {
            // It may be whole but for what was looked for: it is opened anew the next time.
            self.open_segments().retain(|(open, _)| *open != number);
        }
        result
    }

    fn sealed(&self, number: u64) -> Result<Arc<ReadOnlyDatabase>, StorageError> {
        let mut open = self.open_segments();
        if let Some(at) = open.iter().position(|(open, _)| *open == number) {
            let entry = open.remove(at);
            let database = Arc::clone(&entry.1);
            open.push(entry);
            return Ok(database);
        }
        let database = Arc::new(self.open_sealed(number)?);
        if open.len() >= OPEN_SEGMENTS {
            open.remove(0);
        }
        open.push((number, Arc::clone(&database)));
        Ok(database)
    }

    fn open_sealed(&self, number: u64) -> Result<ReadOnlyDatabase, StorageError> {
        let name = segment::file_name(number);
        let backend = self.files.open(&name, OpenMode::Existing).map_err(at(&name))?;
        // One that asks for repair was closed by us all the same: it is damaged, and left as it is.
        Builder::new()
            .set_cache_size(SEALED_CACHE_BYTES)
            .open_read_only_with_backend(Backend(backend))
            .map_err(at(&name))
    }
}

/// What to read of one run.
fn range(
    partition: TopicPartition,
    run: &Run,
    from: Offset,
    until: Offset,
    max_bytes: usize,
) -> ReadRange {
    let (from, until) = (from.max(run.first_offset), until.min(run.end_offset));
    ReadRange { partition, from, until, max_bytes, gaps: run.gaps }
}
