//! Chunks: the record batches that one partition gets in one group, cut to values that fill redb's
//! pages. redb gives a value above one page a run of 2^k pages; a value just above a power of two
//! wastes half of it.

use bytes::Bytes;

use super::journal::Extent;
use super::seal::seal_bytes;
use crate::limits::CHUNK_BYTES;
use crate::record::RecordBatch;
use crate::types::{Offset, TimestampMs, TopicPartition};

const PAGE_BYTES: usize = 4096;
/// What redb adds to a value in its page: the page's header, the key, the ends' table.
const PAGE_OVERHEAD_BYTES: usize = 64;

/// Leader epoch of every batch: a single node never loses its leadership.
pub const LEADER_EPOCH: i32 = 0;

/// One value of the log: whole record batches of one partition, offsets assigned.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Where it belongs, what it covers.
    pub extent: Extent,
    /// The batches, one after the other.
    pub bytes: Bytes,
}

impl Chunk {
    /// Bytes that the value takes on disk; one without batches shares a page with others.
    pub(super) fn page_bytes(&self) -> u64 {
        if self.bytes.is_empty() { 0 } else { page_run_bytes(self.extent.bytes) }
    }
}

/// Collects what one partition gets in one group. The batches are copied once, when it is known
/// where they go.
#[derive(Debug)]
pub struct ChunkBuilder {
    partition: TopicPartition,
    first_offset: Offset,
    next_offset: Offset,
    batches: Vec<Appended>,
}

/// A batch and what it is to become.
#[derive(Debug)]
struct Appended {
    batch: RecordBatch,
    base_offset: Offset,
    log_append_time: Option<TimestampMs>,
}

impl Appended {
    fn bytes(&self) -> usize {
        self.batch.len()
    }

    fn end_offset(&self) -> Offset {
        self.base_offset + (self.batch.next_offset() - self.batch.base_offset())
    }

    fn max_timestamp(&self) -> TimestampMs {
        self.log_append_time.unwrap_or(self.batch.max_timestamp())
    }

    fn write(&self, out: &mut Vec<u8>) {
        let Self { batch, base_offset, log_append_time } = self;
        match *log_append_time {
            None => batch.write_assigned(out, *base_offset, LEADER_EPOCH),
            Some(time) => batch.write_stamped(out, *base_offset, LEADER_EPOCH, time),
        }
    }
}

impl ChunkBuilder {
    /// Begins at the partition's end.
    pub fn new(partition: TopicPartition, end_offset: Offset) -> Self {
        let (first_offset, next_offset) = (end_offset, end_offset);
        Self { partition, first_offset, next_offset, batches: Vec::new() }
    }

    /// The offset that the next record gets.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Appends a batch, with the broker's time in place of its records' if one is given, and
    /// returns the offset of its first record.
    pub fn push(&mut self, batch: RecordBatch, log_append_time: Option<TimestampMs>) -> Offset {
        let base_offset = self.next_offset;
        let appended = Appended { batch, base_offset, log_append_time };
        self.next_offset = appended.end_offset();
        self.batches.push(appended);
        base_offset
    }

    /// Appends a batch that has its offsets already; records may be missing before it.
    pub(super) fn push_at(&mut self, batch: RecordBatch) {
        if self.batches.is_empty() {
            self.first_offset = batch.base_offset();
        }
        self.next_offset = batch.base_offset();
        self.push(batch, None);
    }

    /// The chunks of a stretch that has no records but these; at least one.
    pub(super) fn build_covering(self, first_offset: Offset, end_offset: Offset) -> Vec<Chunk> {
        let partition = self.partition;
        let mut chunks = self.build();
        if chunks.is_empty() {
            let (bytes, max_timestamp) = (0, -1);
            let extent = Extent { partition, first_offset, end_offset, bytes, max_timestamp };
            chunks.push(Chunk { extent, bytes: Bytes::new() });
        }
        if let Some(first) = chunks.first_mut() {
            // The first batch may begin before the log start.
            first.extent.first_offset = first.extent.first_offset.min(first_offset);
        }
        if let Some(last) = chunks.last_mut() {
            last.extent.end_offset = end_offset;
        }
        chunks
    }

    /// The chunks, in order.
    pub fn build(self) -> Vec<Chunk> {
        let mut first_offset = self.first_offset;
        let mut batches = &self.batches[..];
        let mut chunks = Vec::new();
        while !batches.is_empty() {
            let (taken, left) = batches.split_at(next_cut(batches.iter().map(Appended::bytes)));
            // Each in memory of its own: it is freed when its turn comes, whatever becomes of the
            // others.
            let mut bytes = Vec::with_capacity(taken.iter().map(Appended::bytes).sum());
            taken.iter().for_each(|batch| batch.write(&mut bytes));
            let end_offset = taken.last().map_or(first_offset, Appended::end_offset);
            let max_timestamp = taken.iter().map(Appended::max_timestamp).max();
            chunks.push(Chunk {
                extent: Extent {
                    partition: self.partition,
                    first_offset,
                    end_offset,
                    bytes: bytes.len() as u64,
                    max_timestamp: max_timestamp.unwrap_or(-1),
                },
                bytes: bytes.into(),
            });
            first_offset = end_offset;
            batches = left;
        }
        chunks
    }
}

/// What a value of so many bytes takes on disk.
pub(super) fn page_run_bytes(value_bytes: u64) -> u64 {
    (value_bytes + PAGE_OVERHEAD_BYTES as u64).next_power_of_two().max(PAGE_BYTES as u64)
}

/// How many batches of these sizes make the next chunk: the largest run of pages that they fill to
/// three quarters, or else the run that they fill best; a batch larger than any run stands alone.
fn next_cut(sizes: impl Iterator<Item = usize> + Clone) -> usize {
    let mut best = (0.0, 1);
    let mut run = CHUNK_BYTES;
    while run >= PAGE_BYTES {
        let capacity = run - PAGE_OVERHEAD_BYTES - seal_bytes(0);
        let (mut bytes, mut count) = (0, 0);
        for size in sizes.clone() {
            // Each batch has its seal.
            let batch_bytes = size + seal_bytes(1) - seal_bytes(0);
            if bytes + batch_bytes > capacity {
                break;
            }
            bytes += batch_bytes;
            count += 1;
        }
        let fill = bytes as f64 / run as f64;
        if count > 0 && fill > best.0 {
            best = (fill, count);
        }
        if best.0 >= 0.75 {
            break;
        }
        run /= 2;
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(sizes: &[usize]) -> Vec<usize> {
        let (mut at, mut counts) = (0, Vec::new());
        while at < sizes.len() {
            let count = next_cut(sizes[at..].iter().copied());
            counts.push(count);
            at += count;
        }
        counts
    }

    #[test]
    fn a_value_with_its_overhead_fits_its_pages() {
        assert_eq!(page_run_bytes(1), 4096);
        assert_eq!(page_run_bytes(4096 - 64), 4096);
        assert_eq!(page_run_bytes(4096 - 63), 8192);
    }

    #[test]
    fn cuts_waste_little() {
        // Twenty batches of a Java producer's default size: one run would take 512 KiB.
        let sizes = [16_400; 20];
        let cuts = cuts(&sizes);
        assert_eq!(cuts.iter().sum::<usize>(), 20);
        let disk: u64 = cuts.iter().map(|count| page_run_bytes(*count as u64 * 16_400)).sum();
        assert!(disk <= 400 * 1024, "{disk} bytes on disk for {cuts:?}");
    }

    #[test]
    fn nothing_is_cut_that_cannot_be() {
        assert_eq!(cuts(&[3 << 20]), [1]);
        assert_eq!(cuts(&[100]), [1]);
        assert_eq!(cuts(&[100, 3 << 20, 100]), [1, 1, 1]);
        assert_eq!(cuts(&[1000, 1000, 1000]), [3]);
    }
}
