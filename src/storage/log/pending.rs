//! The groups that are durable in the redo file and not in the segment yet, in memory: readers are
//! served from here, whatever the disk can do at the moment.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::storage::segment::{LoggedChunk, LoggedGroup};
use crate::types::{Offset, TopicPartition};

/// Pending groups, oldest first, and their chunks by partition. Bounded by the redo file.
#[derive(Debug, Default)]
pub(super) struct Pending {
    groups: VecDeque<Arc<LoggedGroup>>,
    chunks: HashMap<TopicPartition, VecDeque<LoggedChunk>>,
}

impl Pending {
    /// Takes in a group that has become durable. Its chunks continue their partitions.
    pub(super) fn push(&mut self, group: LoggedGroup) {
        for chunk in &group.chunks {
            self.chunks.entry(chunk.partition).or_default().push_back(chunk.clone());
        }
        self.groups.push_back(Arc::new(group));
    }

    /// All groups, in order.
    pub(super) fn groups(&self) -> Vec<Arc<LoggedGroup>> {
        self.groups.iter().cloned().collect()
    }

    /// Sequence numbers of the first and the last group.
    pub(super) fn span(&self) -> Option<(u64, u64)> {
        Some((self.groups.front()?.sequence, self.groups.back()?.sequence))
    }

    /// Forgets the groups up to a sequence number: the segment has them.
    pub(super) fn settled(&mut self, sequence: u64) {
        while let Some(group) = self.groups.pop_front_if(|group| group.sequence <= sequence) {
            for LoggedChunk { partition, .. } in &group.chunks {
                if let Some(chunks) = self.chunks.get_mut(partition) {
                    chunks.pop_front();
                    if chunks.is_empty() {
                        self.chunks.remove(partition);
                    }
                }
            }
        }
    }

    /// Where what is pending of a partition begins.
    pub(super) fn first_offset(&self, partition: TopicPartition) -> Option<Offset> {
        self.chunks.get(&partition)?.front().map(|chunk| chunk.first_offset)
    }

    /// Chunks of a partition from the one that contains `from` on, before `until`, as many as it
    /// takes to have `max_bytes` behind the first.
    pub(super) fn chunks(
        &self,
        partition: TopicPartition,
        (from, until): (Offset, Offset),
        max_bytes: usize,
    ) -> Vec<LoggedChunk> {
        let Some(chunks) = self.chunks.get(&partition) else { return Vec::new() };
        let at = chunks.partition_point(|chunk| chunk.first_offset <= from);
        let mut bytes = 0;
        let wanted = chunks.range(at.saturating_sub(1)..).take_while(|chunk| {
            let more = chunk.first_offset < until && bytes <= max_bytes;
            if chunk.first_offset > from {
                bytes += chunk.bytes.len();
            }
            more
        });
        wanted.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::types::TopicId;

    fn place(partition: i32) -> TopicPartition {
        TopicPartition { topic: TopicId::from_bytes([1; 16]), partition }
    }

    /// A group of a chunk of ten bytes for each partition.
    fn group(sequence: u64, chunks: &[(i32, Offset)]) -> LoggedGroup {
        let chunk = |&(partition, first_offset): &(i32, Offset)| LoggedChunk {
            partition: place(partition),
            first_offset,
            end_offset: first_offset + 10,
            bytes: Bytes::from_static(&[7; 10]),
        };
        let chunks = chunks.iter().map(chunk).collect();
        LoggedGroup { sequence, entry: Bytes::new(), chunks }
    }

    #[test]
    fn chunks_are_found_until_their_group_is_settled() {
        let mut pending = Pending::default();
        pending.push(group(5, &[(0, 100), (1, 7)]));
        pending.push(group(6, &[(0, 110)]));
        pending.push(group(7, &[(0, 120), (0, 130)]));
        let offsets = |pending: &Pending, from, until, max_bytes| -> Vec<Offset> {
            let chunks = pending.chunks(place(0), (from, until), max_bytes);
            chunks.into_iter().map(|chunk| chunk.first_offset).collect()
        };
        assert_eq!(offsets(&pending, 100, 200, 1_000), [100, 110, 120, 130]);
        assert_eq!(offsets(&pending, 115, 200, 1_000), [110, 120, 130], "from within a chunk");
        assert_eq!(offsets(&pending, 115, 130, 1_000), [110, 120]);
        assert_eq!(offsets(&pending, 100, 200, 0), [100, 110], "the first is whole in any case");
        assert_eq!(pending.first_offset(place(1)), Some(7));
        pending.settled(6);
        assert_eq!(pending.span(), Some((7, 7)));
        assert_eq!(offsets(&pending, 120, 200, 1_000), [120, 130]);
        assert_eq!(pending.first_offset(place(1)), None);
        pending.settled(9);
        assert_eq!(pending.first_offset(place(0)), None);
        assert_eq!(pending.span(), None);
    }
}
