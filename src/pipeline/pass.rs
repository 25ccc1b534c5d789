//! A batch on its way through the steps: its records between two of them, how far it goes and how
//! long it may take. Calls no plugin.

use std::collections::BTreeMap;
use std::time::Duration;

use super::placed::Placed;
use crate::limits::PLUGIN_BATCH_MS;
use crate::plugin::{Emitted, Failure};
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
pub(super) struct Stream {
    pub(super) records: Vec<Record>,
    pub(super) sources: Vec<usize>,
    pub(super) chosen: Vec<Option<u32>>,
}

impl Stream {
    pub(super) fn new(records: Vec<Record>) -> Self {
        let sources = (0..records.len()).collect();
        let chosen = vec![None; records.len()];
        Self { records, sources, chosen }
    }

    pub(super) fn push(&mut self, source: usize, emitted: Emitted) {
        self.records.push(emitted.record);
        self.sources.push(source);
        self.chosen.push(emitted.partition);
    }

    /// A record as it came.
    pub(super) fn get(&self, at: usize) -> Option<Emitted> {
        let (record, partition) = (self.records.get(at)?.clone(), *self.chosen.get(at)?);
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
