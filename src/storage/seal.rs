//! What tells that a chunk is where it was written and that its batches are whose they were: the
//! checksum of a batch covers neither its place nor its first fields.
//!
//! Behind the batches of a chunk, little-endian: for each batch, in order, the CRC-32C of topic
//! (16), partition (4), first offset of the chunk (8) and of the batch's first [`HEAD_BYTES`]
//! bytes; then the seal of the chunk itself: the offset at which the next one begins (8), the
//! number of batches (4), and the CRC-32C of topic, partition, first offset and of these two.

use bytes::Bytes;

use crate::record::{crc32c, crc32c_append};
use crate::types::{Offset, TopicPartition};

/// What a batch's own checksum does not cover, and that checksum.
const HEAD_BYTES: usize = 21;
/// Where the length of a batch stands, and what it does not count.
const LENGTH_AT: usize = 8;
const LENGTH_END: usize = 12;
const SEAL_BYTES: usize = 4;
/// What a chunk's own seal takes.
const CHUNK_SEAL_BYTES: usize = 16;

/// Bytes that the seals of so many batches take.
pub(super) fn seal_bytes(batches: usize) -> usize {
    batches * SEAL_BYTES + CHUNK_SEAL_BYTES
}

/// The seals of a chunk that begins and ends at these offsets, and of its batches.
pub(super) fn seals(
    partition: TopicPartition,
    (first_offset, end_offset): (Offset, Offset),
    batches: &[u8],
) -> Vec<u8> {
    let (mut seals, mut count, mut rest) = (Vec::new(), 0_u32, batches);
    while let Some(length) = rest.get(LENGTH_AT..LENGTH_END).and_then(|l| l.first_chunk::<4>()) {
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0) + LENGTH_END;
        seals.extend_from_slice(&seal(partition, first_offset, rest).to_le_bytes());
        count += 1;
        rest = rest.get(length..).unwrap_or_default();
    }
    let mut own = end_offset.to_le_bytes().to_vec();
    own.extend_from_slice(&count.to_le_bytes());
    own.extend_from_slice(&seal(partition, first_offset, &own).to_le_bytes());
    seals.extend_from_slice(&own);
    seals
}

/// Parts the value of a chunk that begins at this offset into its batches and their seals. `None`:
/// it is none, or another's.
pub(super) fn split(
    partition: TopicPartition,
    first_offset: Offset,
    mut value: Bytes,
) -> Option<(Bytes, Seals)> {
    let (rest, crc) = value.split_last_chunk::<SEAL_BYTES>()?;
    let (rest, own) = rest.split_last_chunk::<{ CHUNK_SEAL_BYTES - SEAL_BYTES }>()?;
    if seal(partition, first_offset, own).to_le_bytes() != *crc {
        return None;
    }
    let (end_offset, count) = own.split_first_chunk()?;
    let count = usize::try_from(u32::from_le_bytes(*count.first_chunk()?)).ok()?;
    let batches = rest.len().checked_sub(count.checked_mul(SEAL_BYTES)?)?;
    let end_offset = Offset::from_le_bytes(*end_offset);
    let seals = value.split_off(batches);
    Some((value, Seals { seals, next: 0, end_offset }))
}

/// The seals of a chunk, those of its batches in order.
pub(super) struct Seals {
    seals: Bytes,
    next: usize,
    /// Where the chunk ends and the next one begins.
    pub(super) end_offset: Offset,
}

impl Seals {
    /// Those of a chunk that is in memory.
    pub(super) fn of(partition: TopicPartition, span: (Offset, Offset), batches: &[u8]) -> Self {
        Self { seals: seals(partition, span, batches).into(), next: 0, end_offset: span.1 }
    }

    /// Whether the next batch is the one that was written.
    pub(super) fn fit(&mut self, place: TopicPartition, first: Offset, batch: &[u8]) -> bool {
        let seal_at = self.next..self.next + SEAL_BYTES;
        self.next = seal_at.end;
        self.seals.get(seal_at) == Some(&seal(place, first, batch).to_le_bytes()[..])
    }
}

fn seal(TopicPartition { topic, partition }: TopicPartition, first: Offset, batch: &[u8]) -> u32 {
    let crc = crc32c(&topic.to_bytes());
    let crc = crc32c_append(crc, &partition.to_le_bytes());
    let crc = crc32c_append(crc, &first.to_le_bytes());
    crc32c_append(crc, &batch[..HEAD_BYTES.min(batch.len())])
}
