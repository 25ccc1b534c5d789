//! One batch of a pipeline: source records in, one commit out. Reads nothing, waits for nothing:
//! the runner around it does, and a simulation can.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;

use super::outcome::{Counts, FailedRecord, Halt, Outcome};
use super::pass::Pace;
use super::placed::{AllTerms, Placed, batch_bytes};
use super::step::Chain;
use crate::broker::{
    Append, Commit, CommittedOffset, LEADER_EPOCH, OffsetChange, PartitionRead, StateChange,
    StateKey,
};
use crate::limits::{PIPELINE_BATCH_BYTES, PIPELINE_BATCH_RECORDS};
use crate::record::{BatchBuilder, BatchError, Compression, Record, Records, Terms, split_batches};
use crate::types::{
    Offset, OffsetOwner, PartitionIndex, PipelineName, TimestampMs, TopicId, TopicName,
    TopicPartition,
};

/// Where the counts stand in a pipeline's state.
pub(super) fn counts_key(pipeline: &PipelineName, source: TopicPartition) -> StateKey {
    StateKey {
        pipeline: pipeline.clone(),
        step: StateKey::PIPELINE,
        source,
        key: Bytes::from_static(b"counts"),
    }
}

/// A topic to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) id: TopicId,
    pub(super) partitions: PartitionIndex,
}

/// What keeps a batch from becoming a commit, a record's failure apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AssembleError {
    #[error("topic {0} is not there")]
    NoTopic(TopicName),
    #[error("source records cannot be read: {0}")]
    Read(BatchError),
    #[error("output records cannot be written: {0}")]
    Write(BatchError),
    #[error("the counts cannot be written: {0}")]
    Counts(String),
}

/// A pipeline at work on one source partition, from one checkpoint on.
pub(super) struct Worker {
    pipeline: PipelineName,
    source: TopicPartition,
    chain: Chain,
    targets: BTreeMap<TopicName, Target>,
    /// The checkpoint as of the last commit made here, -1 for none. The next commit expects it, so
    /// that none is made upon one that failed, or by two workers.
    checkpoint: Offset,
    counts: Counts,
    source_records: SourceRecords,
    waiting: Vec<Record>,
}

/// What a worker makes of the records it has.
pub(super) struct Prepared {
    /// Nothing if no source record is done.
    pub(super) commit: Option<Commit>,
    /// Source records passed over or made dead letters, in this commit.
    pub(super) failed: Vec<FailedRecord>,
    /// Why it does not go on after this commit.
    pub(super) halt: Option<Halt>,
}

impl Worker {
    /// `position` is the first record wanted; it differs from the checkpoint where there is none
    /// yet, or where retention has passed it.
    pub(super) fn new(
        pipeline: PipelineName,
        source: TopicPartition,
        mut chain: Chain,
        targets: BTreeMap<TopicName, Target>,
        (checkpoint, position): (Offset, Offset),
        counts: Counts,
    ) -> Self {
        let source_records =
            SourceRecords { position, batches: Vec::new().into_iter(), records: None };
        let waiting = Vec::new();
        let partitions = targets.iter().map(|(name, target)| (name.clone(), target.partitions));
        chain.partitions = partitions.collect();
        Self { pipeline, source, chain, targets, checkpoint, counts, source_records, waiting }
    }

    /// The offset to read from, if there is nothing left to work on.
    pub(super) fn wants(&self) -> Option<Offset> {
        let idle = self.waiting.is_empty() && self.source_records.is_empty();
        idle.then_some(self.source_records.position)
    }

    /// Takes what was read from the offset wanted.
    pub(super) fn feed(&mut self, read: PartitionRead) {
        self.source_records.batches = read.batches.into_iter();
    }

    /// Takes what the topics to write ask of records from now on.
    pub(super) fn agree(&mut self, terms: AllTerms) {
        self.chain.terms = terms;
    }

    /// Takes a batch through the steps. What is not done stays for the next time.
    pub(super) fn prepare(
        &mut self,
        now_ms: TimestampMs,
        pace: &Pace<'_>,
    ) -> Result<Prepared, AssembleError> {
        self.source_records.fill(&mut self.waiting).map_err(AssembleError::Read)?;
        let Outcome { done, outputs, counts, failed, halt } = self.chain.run(&self.waiting, pace);
        let last = self.waiting.drain(..done).next_back();
        let Some(last) = last else { return Ok(Prepared { commit: None, failed, halt }) };
        let appends = self.appends(outputs)?;
        self.counts.add(&counts);
        let counts = postcard::to_stdvec(&self.counts)
            .map_err(|error| AssembleError::Counts(error.to_string()))?;
        let expected = std::mem::replace(&mut self.checkpoint, last.offset + 1);
        let commit = Commit {
            appends,
            offsets: vec![checkpoint(
                &self.pipeline,
                self.source,
                expected,
                self.checkpoint,
                now_ms,
            )],
            state: vec![StateChange {
                key: counts_key(&self.pipeline, self.source),
                value: Some(counts.into()),
            }],
            ..Commit::default()
        };
        Ok(Prepared { commit: Some(commit), failed, halt })
    }

    fn appends(&self, outputs: Vec<Placed>) -> Result<Vec<Append>, AssembleError> {
        let mut assembly = Assembly::default();
        for Placed { topic, record, partition, .. } in outputs {
            let Some(target) = self.targets.get(&topic) else {
                return Err(AssembleError::NoTopic(topic));
            };
            let index = partition.unwrap_or_else(|| match &record.key {
                Some(key) => crate::record::partition_for_key(key, target.partitions),
                None => self.source.partition % target.partitions.max(1),
            });
            let partition = TopicPartition { topic: target.id, partition: index };
            let terms = self.chain.terms.get(&topic);
            assembly.push(partition, &record, terms).map_err(AssembleError::Write)?;
        }
        assembly.finish().map_err(AssembleError::Write)
    }
}

/// A change of a pipeline's checkpoint.
pub(super) fn checkpoint(
    pipeline: &PipelineName,
    source: TopicPartition,
    expected: Offset,
    offset: Offset,
    now_ms: TimestampMs,
) -> OffsetChange {
    OffsetChange {
        owner: OffsetOwner::Pipeline(pipeline.clone()),
        partition: source,
        expected: Some(expected),
        committed: Some(CommittedOffset {
            offset,
            leader_epoch: LEADER_EPOCH,
            metadata: String::new(),
            commit_time_ms: now_ms,
        }),
    }
}

/// What was read and not worked on, decoded no earlier than needed: a compressed batch may hold
/// many times its size.
struct SourceRecords {
    /// The next record wanted; those before it, in the batch that contains it, are passed over.
    position: Offset,
    batches: std::vec::IntoIter<Bytes>,
    records: Option<Stretch>,
}

/// Iterates over a stretch of batches.
struct Stretch {
    rest: Box<dyn Iterator<Item = Result<crate::record::RecordBatch, BatchError>> + Send>,
    current: Option<Records>,
    /// Offset after the current batch.
    end: Offset,
}

impl SourceRecords {
    fn is_empty(&self) -> bool {
        self.records.is_none() && self.batches.len() == 0
    }

    /// Adds records up to what a batch may hold; at least one, if there is any.
    fn fill(&mut self, waiting: &mut Vec<Record>) -> Result<(), BatchError> {
        let mut bytes: usize = waiting.iter().map(Record::bytes_in_batch).sum();
        while waiting.len() < PIPELINE_BATCH_RECORDS && bytes < PIPELINE_BATCH_BYTES {
            let Some(record) = self.next()? else { break };
            bytes += record.bytes_in_batch();
            waiting.push(record);
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Record>, BatchError> {
        loop {
            let Some(stretch) = &mut self.records else {
                let Some(bytes) = self.batches.next() else { return Ok(None) };
                let rest = Box::new(split_batches(bytes));
                self.records = Some(Stretch { rest, current: None, end: self.position });
                continue;
            };
            if let Some(record) = stretch.current.as_mut().and_then(Iterator::next) {
                let record = record?;
                if record.offset >= self.position {
                    self.position = record.offset + 1;
                    return Ok(Some(record));
                }
                continue;
            }
            // A batch may end behind its last record.
            self.position = self.position.max(stretch.end);
            match stretch.rest.next() {
                Some(batch) => {
                    let batch = batch?;
                    stretch.end = batch.next_offset();
                    stretch.current = Some(batch.records()?);
                }
                None => self.records = None,
            }
        }
    }
}

/// Output records by partition, cut into batches that their topics accept.
#[derive(Default)]
struct Assembly {
    open: BTreeMap<TopicPartition, (BatchBuilder, Terms)>,
    done: Vec<Append>,
}

impl Assembly {
    fn push(
        &mut self,
        partition: TopicPartition,
        record: &Record,
        terms: Option<&Terms>,
    ) -> Result<(), BatchError> {
        // What their topics ask of the records' times was judged when they were placed.
        let terms = terms.map(Terms::at_any_time).unwrap_or_default();
        let (bytes, most) = (record.bytes_in_batch(), batch_bytes(&terms));
        if bytes > most {
            self.close(partition)?;
            let mut alone = BatchBuilder::new(Compression::Zstd);
            add(&mut alone, record)?;
            let batch = alone.build()?.accept(&terms)?;
            self.done.push(Append { partition, batch });
            return Ok(());
        }
        let full = |(open, _): &(BatchBuilder, Terms)| open.size_bytes() + bytes > most;
        if self.open.get(&partition).is_some_and(full) {
            self.close(partition)?;
        }
        if let Entry::Occupied(mut open) = self.open.entry(partition)
            && add(&mut open.get_mut().0, record).is_ok()
        {
            return Ok(());
        }
        // None is open, or its first timestamp is too far away for this one.
        self.close(partition)?;
        let mut builder = BatchBuilder::new(Compression::None);
        add(&mut builder, record)?;
        self.open.insert(partition, (builder, terms));
        Ok(())
    }

    fn close(&mut self, partition: TopicPartition) -> Result<(), BatchError> {
        if let Some((builder, terms)) = self.open.remove(&partition) {
            self.done.push(Append { partition, batch: builder.build()?.accept(&terms)? });
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Append>, BatchError> {
        while let Some((&partition, _)) = self.open.first_key_value() {
            self.close(partition)?;
        }
        Ok(self.done)
    }
}

fn add(builder: &mut BatchBuilder, record: &Record) -> Result<(), BatchError> {
    let Record { timestamp, key, value, headers, .. } = record;
    builder.push(*timestamp, key.as_deref(), value.as_deref(), headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{BATCH_BYTES, PIPELINE_OUTPUT_BATCH_BYTES};
    use crate::pipeline::dead_letter::Origin;

    fn worker(position: Offset) -> Worker {
        let name = PipelineName::new("p").unwrap();
        let topic = TopicName::new("out").unwrap();
        let origin = Origin { pipeline: name.clone(), topic: topic.clone(), partition: 0 };
        let chain = Chain::new(origin, Vec::new(), Some(topic.clone()), None);
        let targets = [(topic, Target { id: TopicId::random(), partitions: 1 })];
        let source = TopicPartition { topic: TopicId::random(), partition: 0 };
        Worker::new(name, source, chain, targets.into(), (-1, position), Counts::default())
    }

    fn record(timestamp: TimestampMs, value: Vec<u8>) -> Record {
        let value = Some(value.into());
        Record { offset: 0, timestamp, key: None, value, headers: Vec::new() }
    }

    /// A stretch of batches from `offset` on, of as many records as `sizes` says.
    fn stretch(mut offset: Offset, sizes: &[usize]) -> Bytes {
        let mut bytes = Vec::new();
        for size in sizes {
            let mut builder = BatchBuilder::new(Compression::Lz4);
            for _ in 0..*size {
                add(&mut builder, &record(0, b"v".to_vec())).unwrap();
            }
            let batch = builder.build().unwrap();
            batch.write_assigned(&mut bytes, offset, 0);
            offset += *size as Offset;
        }
        bytes.into()
    }

    fn read(batches: Vec<Bytes>) -> PartitionRead {
        PartitionRead { batches, high_watermark: 0, log_start_offset: 0 }
    }

    #[test]
    fn each_commit_expects_the_one_before() {
        let mut worker = worker(3);
        assert_eq!(worker.wants(), Some(3));
        // The batch that contains the first record wanted begins before it.
        worker.feed(read(vec![stretch(0, &[5, PIPELINE_BATCH_RECORDS]), stretch(10_005, &[1])]));
        let mut seen = Vec::new();
        while worker.wants().is_none() {
            let prepared = worker.prepare(7, &Pace::FREE).unwrap();
            let commit = prepared.commit.unwrap();
            let [change] = commit.offsets.as_slice() else { panic!("{:?}", commit.offsets) };
            let records: i32 = commit.appends.iter().map(|a| a.batch.record_count()).sum();
            let to = change.committed.as_ref().unwrap().offset;
            seen.push((change.expected, to, records));
        }
        assert_eq!(seen, [(Some(-1), 10_003, 10_000), (Some(10_003), 10_006, 3)]);
        assert_eq!(worker.wants(), Some(10_006));
        let empty = worker.prepare(7, &Pace::FREE).unwrap();
        assert!(empty.commit.is_none());
    }

    #[test]
    fn an_output_that_is_gone_makes_no_commit() {
        let mut worker = worker(0);
        worker.targets.clear();
        worker.feed(read(vec![stretch(0, &[1])]));
        assert!(matches!(worker.prepare(0, &Pace::FREE), Err(AssembleError::NoTopic(_))));
    }

    #[test]
    fn outputs_are_cut_into_batches_that_keep_their_order() {
        let partition = TopicPartition { topic: TopicId::random(), partition: 0 };
        let mut random = fastrand::Rng::with_seed(1);
        let mut records: Vec<Record> = (0..2_000)
            .map(|i| record(i, (0..random.usize(..2_000)).map(|_| random.u8(..)).collect()))
            .collect();
        // Larger than a batch, but not compressed; and times that are too far apart for one.
        records.insert(1_000, record(0, vec![0; 2 * BATCH_BYTES]));
        records.insert(500, record(TimestampMs::MIN, Vec::new()));
        let mut assembly = Assembly::default();
        for record in &records {
            assembly.push(partition, record, None).unwrap();
        }
        let appends = assembly.finish().unwrap();
        let mut written = Vec::new();
        for append in &appends {
            assert!(append.batch.len() <= PIPELINE_OUTPUT_BATCH_BYTES);
            for record in append.batch.records().unwrap() {
                written.push(Record { offset: 0, ..record.unwrap() });
            }
        }
        assert_eq!(written, records);
        assert!(appends.len() < 12, "{} batches", appends.len());
    }
}
