//! Appending records that come as plain values: which partition, which batches, one commit.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::binary::Binary;
use super::shapes::{HeaderView, RecordIn};
use crate::broker::{Append, Broker, Commit, CommitError, Topic};
use crate::limits::HTTP_BATCH_BYTES;
use crate::record::{
    BatchBuilder, BatchError, Compression, Header, bytes_in_batch, partition_for_key,
};
use crate::types::{Offset, PartitionIndex, TimestampMs, TopicPartition};

/// A record to append.
#[derive(Debug, Clone, Default)]
pub struct NewRecord {
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// Where it goes; by the key if there is one, else to the partitions in turn.
    pub partition: Option<PartitionIndex>,
    /// When it was made; now if not said.
    pub timestamp: Option<TimestampMs>,
}

impl TryFrom<RecordIn> for NewRecord {
    /// What is wrong with a field.
    type Error = String;

    fn try_from(record: RecordIn) -> Result<Self, String> {
        let headers = record.headers.into_iter().map(|header| {
            let HeaderView { key, key_base64, value, value_base64 } = header;
            let key = Binary { text: key, base64: key_base64 }.decode("key")?;
            let key = key.ok_or("a header has no key")?;
            let value = Binary { text: value, base64: value_base64 }.decode("value")?;
            Ok(Header { key, value })
        });
        Ok(Self {
            headers: headers.collect::<Result<_, String>>()?,
            key: Binary { text: record.key, base64: record.key_base64 }.decode("key")?,
            value: Binary { text: record.value, base64: record.value_base64 }.decode("value")?,
            partition: record.partition,
            timestamp: record.timestamp,
        })
    }
}

/// Where a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset in it.
    pub offset: Offset,
}

/// Why none of the records was appended.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// A partition that the topic does not have.
    #[error("record {index}: topic {topic} has no partition {partition}, only {partitions}")]
    Partition {
        /// The record, from 0.
        index: usize,
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: PartitionIndex,
        /// How many there are.
        partitions: PartitionIndex,
    },
    /// A record that fits in no batch.
    #[error("record {index}: {error}")]
    Record {
        /// The record, from 0.
        index: usize,
        /// What the batch says.
        error: BatchError,
    },
    /// The commit was refused.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// A batch being filled, and which records are in it.
struct Filling {
    partition: PartitionIndex,
    builder: BatchBuilder,
    first: usize,
    records: Vec<usize>,
}

impl Filling {
    fn new(partition: PartitionIndex, first: usize) -> Self {
        let builder = BatchBuilder::new(Compression::None);
        Self { partition, builder, first, records: Vec::new() }
    }
}

/// Appends all of the records in one commit, or none. Durable when it returns; says where each
/// went, in their order.
pub async fn append(
    broker: &Broker,
    topic: &Topic,
    records: Vec<NewRecord>,
) -> Result<Vec<Placed>, ProduceError> {
    let now = broker.clock().now_ms();
    let terms = topic.terms(now);
    let most = HTTP_BATCH_BYTES.min(terms.max_bytes);
    let mut turn = next_turn(topic);
    let mut filling: BTreeMap<PartitionIndex, Filling> = BTreeMap::new();
    let mut full = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let partition = place(topic, index, record, &mut turn)?;
        let batch = filling.entry(partition).or_insert_with(|| Filling::new(partition, index));
        let (key, value) = (record.key.as_ref(), record.value.as_ref());
        let size = bytes_in_batch(key, value, &record.headers);
        if !batch.builder.is_empty() && batch.builder.size_bytes() + size > most {
            full.push(std::mem::replace(batch, Filling::new(partition, index)));
        }
        let timestamp = record.timestamp.unwrap_or(now);
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        batch
            .builder
            .push(timestamp, key, value, &record.headers)
            .map_err(|error| ProduceError::Record { index, error })?;
        batch.records.push(index);
    }
    // Those of one partition stand in the order in which they were begun.
    full.extend(filling.into_values());

    let mut appends = Vec::with_capacity(full.len());
    let mut members = Vec::with_capacity(full.len());
    for Filling { partition, builder, first, records } in full {
        let batch = match builder.build() {
            Ok(batch) => broker.accept(batch, &terms).await,
            Err(error) => Err(error),
        };
        let batch = batch.map_err(|error| {
            let blamed = blamed(&error).and_then(|index| records.get(index)).copied();
            ProduceError::Record { index: blamed.unwrap_or(first), error }
        })?;
        let partition = TopicPartition { topic: topic.id(), partition };
        appends.push(Append { partition, batch });
        members.push((partition.partition, records));
    }
    if appends.is_empty() {
        return Ok(Vec::new());
    }
    let committed = broker.commit(Commit { appends, ..Commit::default() }).await?;
    let mut placed = vec![Placed { partition: -1, offset: -1 }; records.len()];
    for ((partition, members), appended) in members.into_iter().zip(committed.appended) {
        for (offset, index) in (appended.base_offset..).zip(members) {
            if let Some(place) = placed.get_mut(index) {
                *place = Placed { partition, offset };
            }
        }
    }
    Ok(placed)
}

/// Index in its batch of the record that a batch was refused for.
fn blamed(error: &BatchError) -> Option<usize> {
    let index = match error {
        BatchError::Refused { records, .. } => records.first()?.index,
        BatchError::Record { index, .. } => *index,
        _ => return None,
    };
    usize::try_from(index).ok()
}

fn place(
    topic: &Topic,
    index: usize,
    record: &NewRecord,
    turn: &mut PartitionIndex,
) -> Result<PartitionIndex, ProduceError> {
    let partitions = topic.partitions();
    match (record.partition, &record.key) {
        (Some(partition), _) if (0..partitions).contains(&partition) => Ok(partition),
        (Some(partition), _) => {
            let topic = topic.name().to_string();
            Err(ProduceError::Partition { index, topic, partition, partitions })
        }
        (None, Some(key)) => Ok(partition_for_key(key, partitions)),
        (None, None) => {
            let partition = *turn;
            *turn = (*turn + 1) % partitions.max(1);
            Ok(partition)
        }
    }
}

/// Whose turn it is, from how many records the topic has: evenly spread without keeping count.
fn next_turn(topic: &Topic) -> PartitionIndex {
    let ends = (0..topic.partitions()).filter_map(|index| topic.partition(index));
    let records: Offset = ends.map(|partition| partition.high_watermark()).sum();
    let turn = records.checked_rem(Offset::from(topic.partitions())).unwrap_or(0);
    PartitionIndex::try_from(turn).unwrap_or(0)
}
