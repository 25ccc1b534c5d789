//! What came of a batch of source records: counts, failures, and why it ended early. Plain data.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::placed::Placed;
use crate::plugin::Failure;
use crate::types::{Offset, PipelineName, TopicName, TopicPartition};

/// What came of a batch.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Source records that are done, from the first. Of a batch that is not empty at least one,
    /// unless `halt` says why not. The rest is to be offered again.
    pub(super) done: usize,
    /// Records to write, in the order of their sources.
    pub(super) outputs: Vec<Placed>,
    pub(super) counts: Counts,
    /// Each source record that was skipped or became a dead letter.
    pub(super) failed: Vec<FailedRecord>,
    /// Why record `done` is not done; nothing if it was only cut off.
    pub(super) halt: Option<Halt>,
}

/// What a pipeline has done with the records of a source partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Source records read and done.
    pub input: u64,
    /// Records written to outputs, dead letters apart.
    pub output: u64,
    /// Source records that steps made nothing of.
    pub dropped: u64,
    /// Source records that a step failed on and that were passed over.
    pub skipped: u64,
    /// Source records that a step failed on and that became dead letters.
    pub dead_lettered: u64,
    /// Source records that were deleted before they were read.
    pub lost: u64,
}

impl Counts {
    /// Adds what came of a further batch.
    pub(super) fn add(&mut self, more: &Self) {
        self.input += more.input;
        self.output += more.output;
        self.dropped += more.dropped;
        self.skipped += more.skipped;
        self.dead_lettered += more.dead_lettered;
        self.lost += more.lost;
    }
}

/// That a step failed on a source record, as it is told to who watches.
#[derive(Debug, Clone)]
pub struct RecordFailure {
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The source topic.
    pub topic: TopicName,
    /// The source partition.
    pub source: TopicPartition,
    /// The record.
    pub offset: Offset,
    /// Which step, as "step 2 (by-region)".
    pub step: String,
    /// What failed.
    pub failure: Failure,
}

/// A source record that a step failed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FailedRecord {
    pub(super) offset: Offset,
    /// Which step, as "step 2 (by-region)".
    pub(super) step: String,
    pub(super) failure: Failure,
}

impl fmt::Display for FailedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed on offset {}: {}", self.step, self.offset, self.failure)
    }
}

/// Why a batch ends before a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// The pipeline is to stop.
    Stop(FailedRecord),
    /// The record is to be tried again after this time.
    Retry(FailedRecord, Duration),
    /// The record was not offered, since the step's plugin cannot be had.
    Unavailable(FailedRecord),
}
