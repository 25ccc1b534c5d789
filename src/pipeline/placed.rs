//! Records on their way to output topics: what a batch can hold, and what a commit can.

use std::collections::BTreeMap;

use crate::limits::{
    PIPELINE_COMMIT_BYTES, PIPELINE_OUTPUT_BATCH_BYTES, RECORD_HEADERS, STEP_OUTPUT_BYTES,
    STEP_OUTPUT_RECORDS,
};
use crate::plugin::{Emitted, Failure, FailureReason, LimitHit, LimitKind};
use crate::record::{BatchBuilder, Compression, Record, RecordProblem, Terms};
use crate::types::{PartitionIndex, TimestampMs, TopicName};

/// A record to write, and the index of the source record in its batch that it was made of.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) source: usize,
    pub(super) topic: TopicName,
    pub(super) record: Record,
    /// The partition that a step has chosen; it is there.
    pub(super) partition: Option<PartitionIndex>,
}

/// What one step has made of one source record.
#[derive(Default)]
pub(super) struct Made {
    source: usize,
    records: usize,
    bytes: usize,
}

impl Made {
    /// Counts one more record.
    pub(super) fn add(&mut self, source: usize, bytes: usize) -> Result<(), Failure> {
        if self.source != source {
            *self = Self { source, ..Self::default() };
        }
        self.records += 1;
        self.bytes += bytes;
        let over = |limit, asked: usize, allowed: usize, what| {
            let hit = LimitHit { limit, asked: asked as u64, allowed: allowed as u64 };
            let message = format!("{asked} {what} made of one source record, allowed {allowed}");
            Err(Failure { reason: FailureReason::Limit(hit), message })
        };
        if self.records > STEP_OUTPUT_RECORDS {
            let kind = LimitKind::OutputRecords;
            return over(kind, self.records, STEP_OUTPUT_RECORDS, "records");
        }
        if self.bytes > STEP_OUTPUT_BYTES {
            return over(LimitKind::OutputBytes, self.bytes, STEP_OUTPUT_BYTES, "bytes");
        }
        Ok(())
    }
}

/// What the topics that a pipeline writes ask of records.
pub(super) type AllTerms = BTreeMap<TopicName, Terms>;

/// How many partitions they have.
pub(super) type Partitions = BTreeMap<TopicName, PartitionIndex>;

/// Which times its topic need not accept of a record.
#[derive(Debug, Clone, Copy)]
pub(super) enum Excused {
    /// This one, its source record's, however far ahead: the source topic accepted it, and the
    /// clock may have been set back since.
    Kept(TimestampMs),
    /// Any: a dead letter is its source record as it came.
    Letter,
}

impl Excused {
    fn excuses(self, problem: &RecordProblem) -> bool {
        match (self, problem) {
            (Self::Kept(kept), RecordProblem::Untimely { timestamp, latest, .. }) => {
                *timestamp == kept && timestamp > latest
            }
            (Self::Letter, RecordProblem::Untimely { .. }) => true,
            _ => false,
        }
    }
}

/// Puts a record in an output, if its topic accepts it.
pub(super) fn place(
    (source, excused): (usize, Excused),
    topic: TopicName,
    Emitted { record, partition }: Emitted,
    (terms, partitions): (&AllTerms, &Partitions),
    outputs: &mut Vec<Placed>,
) -> Result<(), Failure> {
    let partition = partition.map(|chosen| chosen_partition(chosen, &topic, partitions));
    let partition = partition.transpose()?;
    let any = Terms::default();
    let terms = terms.get(&topic).unwrap_or(&any);
    let problem = terms.refusal(record.timestamp, record.key.is_some());
    if let Some(problem) = problem.filter(|problem| !excused.excuses(problem)) {
        let message = format!("topic {topic} does not accept the record: {problem}");
        return Err(Failure { reason: FailureReason::BadMessage, message });
    }
    if !fits(&record, terms) {
        let bytes = record.bytes_in_batch();
        let hit = LimitHit {
            limit: LimitKind::OutputBytes,
            asked: bytes as u64,
            allowed: terms.max_bytes as u64,
        };
        let message = format!(
            "a record of {bytes} bytes and {} headers fits no batch, even compressed",
            record.headers.len()
        );
        return Err(Failure { reason: FailureReason::Limit(hit), message });
    }
    outputs.push(Placed { source, topic, record, partition });
    Ok(())
}

fn chosen_partition(
    chosen: u32,
    topic: &TopicName,
    partitions: &Partitions,
) -> Result<PartitionIndex, Failure> {
    let count = partitions.get(topic).copied().unwrap_or_default();
    match PartitionIndex::try_from(chosen).ok().filter(|index| *index < count) {
        Some(index) => Ok(index),
        None => {
            let message = format!("partition {chosen} was chosen, topic {topic} has {count}");
            Err(Failure { reason: FailureReason::Contract, message })
        }
    }
}

/// Whether a batch can hold the record, if need be alone and compressed: it may have come in a
/// compressed batch itself.
fn fits(record: &Record, terms: &Terms) -> bool {
    if record.bytes_in_batch() <= batch_bytes(terms) {
        return record.headers.len() <= RECORD_HEADERS;
    }
    let mut alone = BatchBuilder::new(Compression::Zstd);
    let Record { timestamp, key, value, headers, .. } = record;
    alone.push(*timestamp, key.as_deref(), value.as_deref(), headers).is_ok()
        && alone.build().and_then(|batch| batch.accept(&terms.at_any_time())).is_ok()
}

/// Bytes at which a batch for a topic is closed.
pub(super) fn batch_bytes(terms: &Terms) -> usize {
    /// The batch's header, and what a codec may add to what it cannot compress.
    const OVERHEAD: usize = 256;
    PIPELINE_OUTPUT_BATCH_BYTES.min(terms.max_bytes.saturating_sub(OVERHEAD))
}

/// Cuts what would make too large a commit, between two source records; never the first. How many
/// source records remain.
pub(super) fn cut_by_bytes(outputs: &mut Vec<Placed>, done: usize) -> usize {
    let mut bytes = 0;
    let over = outputs.iter().position(|placed| {
        bytes += placed.record.bytes_in_batch();
        bytes > PIPELINE_COMMIT_BYTES
    });
    let Some(source) = over.and_then(|at| outputs.get(at)).map(|placed| placed.source.max(1))
    else {
        return done;
    };
    outputs.retain(|placed| placed.source < source);
    done.min(source)
}
