//! Recent chunks in memory, so that who reads at the end of a partition never touches the disk.
//! One budget for all partitions; the oldest chunk goes first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::topics::{Partition, Topic};
use crate::record::batches_from;
use crate::storage::Chunk;
use crate::types::Offset;

/// What a chunk costs beside its bytes: its places in two queues, its allocation.
const CHUNK_OVERHEAD_BYTES: usize = 256;

/// The recent chunks of one partition, gapless up to its high watermark.
#[derive(Debug, Default)]
pub(super) struct Tail {
    chunks: Mutex<VecDeque<Chunk>>,
}

impl Tail {
    /// Batches from the one that contains `from`, as [`crate::storage::StoreReader::read`] gives
    /// them; `None` if they are no longer here.
    pub(super) fn read(&self, from: Offset, max_bytes: usize) -> Option<Vec<Bytes>> {
        let chunks = self.lock();
        if chunks.front().is_none_or(|first| first.extent.first_offset > from) {
            return None;
        }
        let at = chunks.partition_point(|chunk| chunk.extent.end_offset <= from);
        let mut stretches = Vec::new();
        let mut budget = max_bytes;
        for chunk in chunks.range(at..) {
            let taken = batches_from(&chunk.bytes, from, budget, stretches.is_empty());
            let whole = taken.end == chunk.bytes.len();
            if !taken.is_empty() {
                budget = budget.saturating_sub(taken.len());
                stretches.push(chunk.bytes.slice(taken));
            }
            if !whole || budget == 0 {
                break;
            }
        }
        Some(stretches)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Chunk>> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All tails together, kept under the budget by the committer.
#[derive(Debug)]
pub(super) struct TailBudget {
    max_bytes: usize,
    bytes: usize,
    /// Chunks in the order in which they came.
    order: VecDeque<Arc<Partition>>,
}

impl TailBudget {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, bytes: 0, order: VecDeque::new() }
    }

    /// Drops what lies before a partition's log start. Its places in the order stay: who comes to
    /// them finds the partition's tail shorter.
    pub(super) fn trim(&mut self, tail: &Tail, start: Offset) {
        let mut chunks = tail.lock();
        while chunks.front().is_some_and(|chunk| chunk.extent.end_offset <= start) {
            let gone = chunks.pop_front();
            self.bytes -= gone.map_or(0, |chunk| chunk.bytes.len() + CHUNK_OVERHEAD_BYTES);
        }
    }

    pub(super) fn push(&mut self, topic: &Topic, chunk: Chunk) {
        let partition = chunk.extent.partition.partition;
        let Some(partition) = topic.partition(partition) else { return };
        self.bytes += chunk.bytes.len() + CHUNK_OVERHEAD_BYTES;
        partition.tail.lock().push_back(chunk);
        self.order.push_back(Arc::clone(partition));
        while self.bytes > self.max_bytes
            && let Some(partition) = self.order.pop_front()
        {
            let oldest = partition.tail.lock().pop_front();
            self.bytes -= oldest.map_or(0, |chunk| chunk.bytes.len() + CHUNK_OVERHEAD_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::limits::TAIL_BYTES;
    use crate::record::{BatchBuilder, Compression};
    use crate::storage::{ChunkBuilder, TopicRow};
    use crate::types::{TopicId, TopicName, TopicPartition};

    fn topic() -> Arc<Topic> {
        let row = TopicRow {
            name: TopicName::new("t").unwrap(),
            id: TopicId::random(),
            partitions: 1,
            config: BTreeMap::new(),
            created_ms: 0,
        };
        Arc::new(Topic::new(row, |_| (0, 0)))
    }

    fn chunk(topic: &Topic, first_offset: Offset, records: usize) -> Chunk {
        let partition = TopicPartition { topic: topic.id(), partition: 0 };
        let mut chunk = ChunkBuilder::new(partition, first_offset);
        for _ in 0..records {
            let mut batch = BatchBuilder::new(Compression::None);
            batch.push(1, None, Some(b"0123456789"), &[]).unwrap();
            chunk.push(batch.build().unwrap(), None);
        }
        chunk.build().remove(0)
    }

    #[test]
    fn the_tail_gives_whole_batches_from_an_offset() {
        let topic = topic();
        let mut budget = TailBudget::new(TAIL_BYTES);
        budget.push(&topic, chunk(&topic, 0, 2));
        budget.push(&topic, chunk(&topic, 2, 3));
        let tail = &topic.partition(0).unwrap().tail;
        let batch = chunk(&topic, 0, 1).bytes.len();
        let lengths = |from, max| -> Option<Vec<usize>> {
            Some(tail.read(from, max)?.iter().map(|stretch| stretch.len() / batch).collect())
        };
        assert_eq!(lengths(0, usize::MAX), Some(vec![2, 3]));
        assert_eq!(lengths(1, usize::MAX), Some(vec![1, 3]));
        assert_eq!(lengths(3, 1), Some(vec![1]));
        assert_eq!(lengths(0, batch * 3), Some(vec![2, 1]));
        assert_eq!(lengths(5, usize::MAX), Some(vec![]));
    }

    #[test]
    fn the_oldest_chunk_goes_first() {
        let topic = topic();
        let first = chunk(&topic, 0, 1);
        let mut budget = TailBudget {
            max_bytes: (first.bytes.len() + CHUNK_OVERHEAD_BYTES) * 2,
            ..TailBudget::new(0)
        };
        for offset in 0..3 {
            budget.push(&topic, chunk(&topic, offset, 1));
        }
        let tail = &topic.partition(0).unwrap().tail;
        assert_eq!(tail.read(0, usize::MAX), None);
        assert_eq!(tail.read(1, usize::MAX).unwrap().len(), 2);
    }
}
