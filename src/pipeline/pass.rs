//! A batch on its way through the steps: its records between two of them, how far it goes and how
//! long it may take. Calls no plugin.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use super::placed::{Excused, Made, Placed};
use crate::limits::PLUGIN_BATCH_MS;
use crate::plugin::{Emitted, Failure, Verdict};
use crate::record::Record;
use crate::types::Offset;

/// What a batch looks at to see whether it has gone on for long enough.
pub(super) struct Pace<'a> {
    /// Time since any moment before the batch.
    pub(super) elapsed: &'a dyn Fn() -> Duration,
    /// Whether the pipeline has been told to stop.
    pub(super) stopping: &'a dyn Fn() -> bool,
}

impl Pace<'_> {
    /// All the time in the world.
    #[cfg(test)]
    pub(super) const FREE: Pace<'static> =
        Pace { elapsed: &|| Duration::ZERO, stopping: &|| false };

    /// Whether a step that began at that time is to end. Each step has a time of its own: were it
    /// one for all, a slow step would leave the ones behind it no more than a record.
    pub(super) fn is_up(&self, began: Duration) -> bool {
        let taken = (self.elapsed)().saturating_sub(began);
        taken >= Duration::from_millis(PLUGIN_BATCH_MS) || (self.stopping)()
    }
}

/// A batch on its way through the steps. Source records go by their index in it.
pub(super) struct Run<'b> {
    pub(super) batch: &'b [Record],
    /// Source records from here on are not done in this batch.
    pub(super) cut: usize,
    /// Source records that a step failed on, before the cut, and that do not halt the batch.
    pub(super) failed: BTreeMap<usize, (usize, Failure)>,
    /// The record at the cut that halts it, and the step that failed.
    pub(super) halt: Option<(usize, usize, Failure)>,
    pub(super) outputs: Vec<Placed>,
}

impl Run<'_> {
    /// The time of a source record: its topic has accepted it.
    pub(super) fn kept_time(&self, source: usize) -> Excused {
        Excused::Kept(self.batch.get(source).map_or(-1, |record| record.timestamp))
    }

    /// Leaves a source record and those behind it to the next batch; but not the first one, so
    /// that there is progress.
    pub(super) fn cut_before(&mut self, source: Option<usize>) {
        if let Some(source) = source {
            self.cut = self.cut.min(source.max(1));
        }
    }
}

/// Records between two steps, with the source record that each was made of, never descending, and
/// the partition that a step has chosen for it.
#[derive(Default)]
pub(super) struct Stream<'b> {
    /// Those of the source are borrowed: they may be wanted for dead letters.
    records: Cow<'b, [Record]>,
    sources: Vec<usize>,
    chosen: Vec<Option<u32>>,
}

impl<'b> Stream<'b> {
    pub(super) fn new(source: &'b [Record]) -> Self {
        let chosen = vec![None; source.len()];
        Self { records: Cow::Borrowed(source), sources: (0..source.len()).collect(), chosen }
    }

    pub(super) fn push(&mut self, source: usize, emitted: Emitted) {
        self.records.to_mut().push(emitted.record);
        self.sources.push(source);
        self.chosen.push(emitted.partition);
    }

    /// The records, those that were taken apart.
    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// Whether a step has kept all of it, so that it goes on as it is.
    pub(super) fn is_kept(&self, processed: &[Result<Verdict, Failure>]) -> bool {
        let mut made = Made::default();
        processed.len() == self.sources.len()
            && processed.iter().all(|result| matches!(result, Ok(Verdict::Keep)))
            && self
                .sources
                .iter()
                .zip(&*self.records)
                .all(|(source, record)| made.add(*source, record.bytes_in_batch()).is_ok())
    }

    /// Of each record the source record that it was made of.
    pub(super) fn sources(&self) -> &[usize] {
        &self.sources
    }

    /// A record as it came; the second time it is without its contents.
    pub(super) fn take(&mut self, at: usize) -> Option<Emitted> {
        let partition = *self.chosen.get(at)?;
        let record = match &mut self.records {
            Cow::Borrowed(records) => records.get(at)?.clone(),
            Cow::Owned(records) => {
                let record = records.get_mut(at)?;
                let (offset, timestamp) = (record.offset, record.timestamp);
                let taken =
                    Record { offset, timestamp, key: None, value: None, headers: Vec::new() };
                std::mem::replace(record, taken)
            }
        };
        Some(Emitted { record, partition })
    }
}

/// Attempts made at the one record that is being retried.
#[derive(Default)]
pub(super) struct Retries {
    offset: Offset,
    /// By step.
    attempts: BTreeMap<usize, u32>,
}

impl Retries {
    /// Those of a step at this record; another record begins anew.
    pub(super) fn attempts(&mut self, offset: Offset, step: usize) -> &mut u32 {
        if self.offset != offset {
            *self = Self { offset, attempts: BTreeMap::new() };
        }
        self.attempts.entry(step).or_default()
    }
}
