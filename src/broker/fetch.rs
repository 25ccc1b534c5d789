//! Reading: one partition at once, or many with a long poll.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::select_all;
use tokio::sync::watch;

use super::counters::UnreadablePlace;
use super::topics::{Progress, Topic};
use super::{Broker, Shared};
use crate::limits::{FETCH_BYTES, FETCH_REST_BYTES, FETCH_WAIT_MS};
use crate::record::{BatchError, Record, split_batches};
use crate::storage::StorageError;
use crate::types::{Offset, PartitionIndex, TimestampMs, TopicPartition};

/// Records of a partition.
#[derive(Debug, Clone)]
pub struct PartitionRead {
    /// Stretches of whole record batches, in order.
    pub batches: Vec<Bytes>,
    /// Offset after the last durable record.
    pub high_watermark: Offset,
    /// Offset of the first record that there is.
    pub log_start_offset: Offset,
}

impl PartitionRead {
    /// Bytes of all batches.
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(Bytes::len).sum()
    }

    /// The records at or after `from`, decoded.
    pub fn records(&self, from: Offset) -> Result<Vec<Record>, BatchError> {
        let mut records = Vec::new();
        for batch in self.batches.iter().cloned().flat_map(split_batches) {
            for record in batch?.records()? {
                let record = record?;
                if record.offset >= from {
                    records.push(record);
                }
            }
        }
        Ok(records)
    }

    /// The offset to read on from, which is `from` if nothing was read. Compaction may have taken
    /// the last records of a batch, and who asked for them would get that batch again.
    pub fn next_offset(&self, from: Offset) -> Result<Offset, BatchError> {
        let batches = self.batches.iter().cloned().flat_map(split_batches);
        let last = batches.last().transpose()?;
        Ok(last.map_or(from, |batch| batch.next_offset()))
    }
}

/// Why a partition could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No such partition.
    #[error("unknown partition {0:?}")]
    UnknownPartition(TopicPartition),
    /// Nothing is, or will be next, at that offset.
    #[error("offset {offset} is not within {log_start_offset} and {high_watermark}")]
    OffsetOutOfRange {
        /// What was asked for.
        offset: Offset,
        /// Offset of the first record.
        log_start_offset: Offset,
        /// Offset after the last durable record.
        high_watermark: Offset,
    },
    /// The disk has other bytes than were written.
    #[error("{0}")]
    Corrupt(String),
    /// The disk cannot be read.
    #[error("storage failed: {0}")]
    Storage(String),
}

impl From<StorageError> for ReadError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupt { .. } => Self::Corrupt(error.to_string()),
            _ => Self::Storage(error.to_string()),
        }
    }
}

/// A long poll over partitions.
#[derive(Debug)]
pub struct FetchRequest {
    /// What to read, in order of preference.
    pub partitions: Vec<FetchPartition>,
    /// Answer once there are so many bytes.
    pub min_bytes: usize,
    /// Stop reading at so many bytes; at least one batch is returned whatever its size.
    pub max_bytes: usize,
    /// Answer with what there is after this time.
    pub max_wait: Duration,
}

/// What to read of one partition.
#[derive(Debug, Clone, Copy)]
pub struct FetchPartition {
    /// The partition.
    pub partition: TopicPartition,
    /// First record wanted; the batch that contains it is returned whole.
    pub offset: Offset,
    /// Most bytes of this partition.
    pub max_bytes: usize,
}

impl Topic {
    /// What there is of a partition, without its records; an error if nothing is, or will be
    /// next, at that offset.
    pub(super) fn readable(
        &self,
        partition: PartitionIndex,
        offset: Offset,
    ) -> Result<PartitionRead, ReadError> {
        let progress = self.partition(partition).map(|partition| partition.progress());
        let Some(progress) = progress.filter(|progress| !progress.deleted) else {
            let partition = TopicPartition { topic: self.id(), partition };
            return Err(ReadError::UnknownPartition(partition));
        };
        let Progress { log_start_offset, high_watermark, .. } = progress;
        if offset < log_start_offset || offset > high_watermark {
            return Err(ReadError::OffsetOutOfRange { offset, log_start_offset, high_watermark });
        }
        Ok(PartitionRead { batches: Vec::new(), high_watermark, log_start_offset })
    }

    /// Reads from memory. `None`: only the disk has it.
    fn read_tail(
        &self,
        partition: PartitionIndex,
        offset: Offset,
        max_bytes: usize,
    ) -> Result<Option<PartitionRead>, ReadError> {
        let mut read = self.readable(partition, offset)?;
        if offset == read.high_watermark {
            return Ok(Some(read));
        }
        let tail = self.partition(partition).map(|partition| &partition.tail);
        let Some(batches) = tail.and_then(|tail| tail.read(offset, max_bytes)) else {
            return Ok(None);
        };
        read.batches = batches;
        Ok(Some(read))
    }
}

impl Shared {
    fn known(&self, partition: TopicPartition) -> Result<Arc<Topic>, ReadError> {
        self.partition(partition).ok_or(ReadError::UnknownPartition(partition))
    }

    /// Reads from memory or else from disk. Blocks while it does.
    pub(super) fn read(
        &self,
        partition: TopicPartition,
        offset: Offset,
        max_bytes: usize,
    ) -> Result<PartitionRead, ReadError> {
        let topic = self.known(partition)?;
        if let Some(read) = topic.read_tail(partition.partition, offset, max_bytes)? {
            return Ok(read);
        }
        let mut read = topic.readable(partition.partition, offset)?;
        let batches = self.store.read(partition, offset, read.high_watermark, max_bytes);
        read.batches = batches.map_err(|error| self.unreadable(error))?;
        Ok(read)
    }

    /// Reports records that are not those that were written.
    pub(super) fn unreadable(&self, error: StorageError) -> ReadError {
        if let StorageError::Corrupt { partition, offset, end_offset, reason, .. } = &error
            && let Some(topic) = self.partition(*partition)
        {
            self.counters.unreadable(UnreadablePlace {
                topic: topic.name().clone(),
                partition: partition.partition,
                offset: *offset,
                end_offset: *end_offset,
                reason: reason.clone(),
            });
        }
        ReadError::from(error)
    }

    /// The first record at or after a time, with its timestamp. Blocks while it reads the disk.
    fn offset_for_timestamp(
        &self,
        partition: TopicPartition,
        timestamp: TimestampMs,
    ) -> Result<Option<(Offset, TimestampMs)>, ReadError> {
        let unknown = ReadError::UnknownPartition(partition);
        let topic = self.partition(partition).ok_or(unknown.clone())?;
        let progress = topic.partition(partition.partition).ok_or(unknown)?;
        let (from, until) = (progress.log_start_offset(), progress.high_watermark());
        let corrupt = |error: BatchError| ReadError::Corrupt(error.to_string());
        let mut next = from;
        // A batch's greatest timestamp is its producer's claim: if no record bears it out, go on.
        let find = |from| {
            let found = self.store.find_timestamp(partition, timestamp, from, until);
            found.map_err(|error| self.unreadable(error))
        };
        while let Some(batch) = find(next)? {
            for record in batch.records().map_err(corrupt)? {
                let record = record.map_err(corrupt)?;
                if record.timestamp >= timestamp && record.offset >= from {
                    return Ok(Some((record.offset, record.timestamp)));
                }
            }
            next = batch.next_offset();
        }
        Ok(None)
    }
}

impl Broker {
    /// Reads durable record batches from the one that contains `offset`: at least one if there is
    /// any, further ones as long as they fit in `max_bytes`.
    pub async fn read(
        &self,
        partition: TopicPartition,
        offset: Offset,
        max_bytes: usize,
    ) -> Result<PartitionRead, ReadError> {
        let topic = self.shared.known(partition)?;
        self.read_in(&topic, partition.partition, offset, max_bytes).await
    }

    /// [`Broker::read`] of a topic that was looked up before.
    pub(super) async fn read_in(
        &self,
        topic: &Topic,
        partition: PartitionIndex,
        offset: Offset,
        max_bytes: usize,
    ) -> Result<PartitionRead, ReadError> {
        if let Some(read) = topic.read_tail(partition, offset, max_bytes)? {
            return Ok(read);
        }
        let partition = TopicPartition { topic: topic.id(), partition };
        self.blocking(move |shared| shared.read(partition, offset, max_bytes)).await
    }

    /// [`Broker::read`] for callers that may block; needs no runtime.
    pub fn read_blocking(
        &self,
        partition: TopicPartition,
        offset: Offset,
        max_bytes: usize,
    ) -> Result<PartitionRead, ReadError> {
        self.shared.read(partition, offset, max_bytes)
    }

    /// The first record whose timestamp is at or after `timestamp`: its offset and timestamp.
    pub async fn offset_for_timestamp(
        &self,
        partition: TopicPartition,
        timestamp: TimestampMs,
    ) -> Result<Option<(Offset, TimestampMs)>, ReadError> {
        let _turn = self.shared.lookups.acquire().await;
        self.blocking(move |shared| shared.offset_for_timestamp(partition, timestamp)).await
    }

    /// The first record that has the greatest timestamp of its partition.
    pub async fn offset_of_max_timestamp(
        &self,
        partition: TopicPartition,
    ) -> Result<Option<(Offset, TimestampMs)>, ReadError> {
        let _turn = self.shared.lookups.acquire().await;
        self.blocking(move |shared| match shared.store.max_timestamp(partition)? {
            Some(timestamp) => shared.offset_for_timestamp(partition, timestamp),
            None => Ok(None),
        })
        .await
    }

    /// Resolves when there are records at or after `offset`, or at once if the partition is gone.
    pub async fn wait_for_records(&self, partition: TopicPartition, offset: Offset) {
        let Some(mut progress) = self.watch(partition) else { return };
        let done = |progress: &Progress| progress.deleted || progress.high_watermark > offset;
        // The sender lives as long as the topic; its end is the topic's.
        let _ = progress.wait_for(done).await;
    }

    /// Whether somebody waits for the memory that records hold on their way to slow clients.
    pub fn reads_wait(&self) -> bool {
        self.shared.read_memory.is_short()
    }

    /// Reads many partitions; waits until there is enough, something is wrong, or time is up.
    /// One result a partition, in order.
    pub async fn fetch(&self, request: FetchRequest) -> Vec<Result<PartitionRead, ReadError>> {
        let max_wait = request.max_wait.min(Duration::from_millis(FETCH_WAIT_MS));
        let deadline = tokio::time::Instant::now() + max_wait;
        let min_bytes = request.min_bytes.min(request.max_bytes).min(FETCH_BYTES);
        let mut watched: Vec<watch::Receiver<Progress>> = Vec::new();
        let mut _watching = None;
        loop {
            let memory = &self.shared.read_memory;
            let mut grant = memory.grant(request.max_bytes.min(FETCH_BYTES)).await;
            let (budget, enough) = (grant.bytes(), grant.enough(min_bytes));
            let mut reads = self.fetch_now(&request, budget).await;
            let bytes: usize = reads.iter().flatten().map(PartitionRead::bytes).sum();
            if bytes > budget {
                // One large batch. What is held is given back before more is waited for.
                drop((reads, grant));
                grant = memory.exactly(bytes).await;
                reads = self.fetch_now(&request, budget).await;
            }
            let failed = reads.iter().any(Result::is_err);
            let done = bytes >= enough || failed || reads.is_empty();
            if done || tokio::time::Instant::now() >= deadline {
                grant.hold(reads.iter_mut().flatten());
                return reads;
            }
            // Not kept while waiting: it is read again, and by then from memory.
            drop((reads, grant));
            if watched.is_empty() {
                let count = u32::try_from(request.partitions.len()).unwrap_or(u32::MAX);
                let Ok(permit) = self.shared.watching.try_acquire_many(count) else {
                    // Too many are watched: only time ends this wait.
                    tokio::time::sleep_until(deadline).await;
                    continue;
                };
                _watching = Some(permit);
                // Watched before they are read again, so that nothing comes in between unseen.
                watched =
                    request.partitions.iter().filter_map(|p| self.watch(p.partition)).collect();
                continue;
            }
            let changed = select_all(watched.iter_mut().map(|w| Box::pin(w.changed())));
            // Time being up is seen at the loop's head.
            let _ = tokio::time::timeout_at(deadline, changed).await;
        }
    }

    async fn fetch_now(
        &self,
        request: &FetchRequest,
        mut budget: usize,
    ) -> Vec<Result<PartitionRead, ReadError>> {
        let mut empty = true;
        let mut reads = Vec::with_capacity(request.partitions.len());
        for part in &request.partitions {
            let FetchPartition { partition, offset, max_bytes } = *part;
            // With less left than a usual batch, the rest is for the next fetch.
            let read = if empty || budget >= FETCH_REST_BYTES {
                self.read(partition, offset, max_bytes.min(budget)).await
            } else {
                let topic = self.shared.known(partition);
                topic.and_then(|topic| topic.readable(partition.partition, offset))
            };
            let read = read.map(|mut read| {
                // Only the first batch of a response may exceed the limits.
                if !empty && read.bytes() > max_bytes.min(budget) {
                    read.batches.clear();
                }
                budget = budget.saturating_sub(read.bytes());
                empty &= read.batches.is_empty();
                read
            });
            reads.push(read);
        }
        reads
    }

    fn watch(&self, partition: TopicPartition) -> Option<watch::Receiver<Progress>> {
        let topic = self.shared.partition(partition)?;
        topic.partition(partition.partition).map(|partition| partition.watch())
    }
}
