//! What tells that a chunk is where it was written and that its batches are whose they were: the
//! checksum of a batch covers neither its place nor its first fields.
//!
//! Behind the batches of a chunk, little-endian: for each batch, in order, the CRC-32C of topic
//! (16), partition (4), first offset of the chunk (8) and of the batch's first [`HEAD_BYTES`]
//! bytes; then the number of batches (4).

use bytes::{Bytes, BytesMut};

use crate::record::crc32c;
use crate::types::{Offset, TopicPartition};

/// What a batch's own checksum does not cover, and that checksum.
const HEAD_BYTES: usize = 21;
/// Where the length of a batch stands, and what it does not count.
const LENGTH_AT: usize = 8;
const LENGTH_END: usize = 12;
const SEAL_BYTES: usize = 4;

/// Bytes that the seals of so many batches take.
pub(super) fn seal_bytes(batches: usize) -> usize {
    (batches + 1) * SEAL_BYTES
}

/// The seals of a chunk's batches.
pub(super) fn seals(partition: TopicPartition, first_offset: Offset, batches: &[u8]) -> Vec<u8> {
    let (mut seals, mut count, mut rest) = (Vec::new(), 0_u32, batches);
    while let Some(length) = rest.get(LENGTH_AT..LENGTH_END).and_then(|l| l.first_chunk::<4>()) {
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0) + LENGTH_END;
        seals.extend_from_slice(&seal(partition, first_offset, rest).to_le_bytes());
        count += 1;
        rest = rest.get(length..).unwrap_or_default();
    }
    seals.extend_from_slice(&count.to_le_bytes());
    seals
}

/// Parts a chunk's value into its batches and their seals. `None`: it is none.
pub(super) fn split(mut value: Bytes) -> Option<(Bytes, Seals)> {
    let (_, count) = value.split_last_chunk()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let bytes = count.checked_add(1)?.checked_mul(SEAL_BYTES)?;
    let seals = value.split_off(value.len().checked_sub(bytes)?);
    Some((value, Seals { seals, next: 0 }))
}

/// The seals of a chunk, for its batches in order.
pub(super) struct Seals {
    seals: Bytes,
    next: usize,
}

impl Seals {
    /// Those of a chunk that is in memory.
    pub(super) fn of(place: TopicPartition, first: Offset, batches: &[u8]) -> Self {
        Self { seals: seals(place, first, batches).into(), next: 0 }
    }

    /// Whether the next batch is the one that was written.
    pub(super) fn fit(&mut self, place: TopicPartition, first: Offset, batch: &[u8]) -> bool {
        let seal_at = self.next..self.next + SEAL_BYTES;
        self.next = seal_at.end;
        self.seals.get(seal_at) == Some(&seal(place, first, batch).to_le_bytes()[..])
    }
}

fn seal(TopicPartition { topic, partition }: TopicPartition, first: Offset, batch: &[u8]) -> u32 {
    let mut bytes = BytesMut::with_capacity(64);
    bytes.extend_from_slice(&topic.to_bytes());
    bytes.extend_from_slice(&partition.to_le_bytes());
    bytes.extend_from_slice(&first.to_le_bytes());
    bytes.extend_from_slice(&batch[..HEAD_BYTES.min(batch.len())]);
    crc32c(&bytes)
}
