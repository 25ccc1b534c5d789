//! Memory for records on their way to clients, and for other long answers. One budget over all of
//! them: what is read for a client is held until its connection has taken it, and many slow ones
//! must not add up.
//!
//! Nobody gets more than an eighth of what is free, so that there is always something left for
//! those who are quick; nobody waits for memory while holding some.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Broker;
use super::fetch::PartitionRead;
use crate::limits::READ_GRANT_BYTES;

/// Which part of what is free one reader may have.
const SHARE: usize = 8;

/// The budget; clones share it.
#[derive(Debug, Clone)]
pub(super) struct ReadMemory {
    free: Arc<Semaphore>,
    total: usize,
    waiting: Arc<AtomicUsize>,
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Grant(OwnedSemaphorePermit);

/// Record bytes and the part of the budget that they are counted in.
struct Held {
    bytes: Bytes,
    _grant: Arc<Grant>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Counts one who waits, for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ReadMemory {
    pub(super) fn new(bytes: usize) -> Self {
        let total = bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { free: Arc::new(Semaphore::new(total)), total, waiting: Arc::default() }
    }

    /// Whether somebody waits for what others hold.
    pub(super) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Memory for a read that would take `wanted`: its share of what is free, but at least room
    /// for a usual batch, which is waited for.
    pub(super) async fn grant(&self, wanted: usize) -> Grant {
        let share = (self.free.available_permits() / SHARE).max(READ_GRANT_BYTES);
        self.exactly(share.min(wanted)).await
    }

    /// So much memory, or all that there is, as soon as it is free.
    pub(super) async fn exactly(&self, bytes: usize) -> Grant {
        let bytes = bytes.clamp(1, self.total) as u32;
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_many_owned(bytes) {
            return Grant(permit);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        match Arc::clone(&self.free).acquire_many_owned(bytes).await {
            Ok(permit) => Grant(permit),
            // Never closed.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Memory of an answer on its way to a client, given back when it is dropped.
#[derive(Debug)]
pub struct AnswerMemory {
    _grant: Grant,
}

impl Broker {
    /// Memory for an answer that holds no records, of the budget that records have; waited for.
    pub async fn answer_memory(&self, bytes: usize) -> AnswerMemory {
        AnswerMemory { _grant: self.shared.read_memory.exactly(bytes).await }
    }
}

impl Grant {
    /// How much a reader that would wait for `min_bytes` may hope for: whole batches seldom fill
    /// what there is.
    pub(super) fn enough(&self, min_bytes: usize) -> usize {
        if min_bytes <= self.bytes() / 2 { min_bytes } else { (self.bytes() / 2).max(1) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.num_permits()
    }

    /// Holds the grant, cut to what was read, for as long as anybody has the records.
    pub(super) fn hold<'a>(mut self, reads: impl Iterator<Item = &'a mut PartitionRead>) {
        let mut batches: Vec<&mut Bytes> = reads.flat_map(|read| &mut read.batches).collect();
        let bytes: usize = batches.iter().map(|batch| batch.len()).sum();
        let spare = self.bytes().saturating_sub(bytes);
        drop(self.0.split(spare));
        if bytes == 0 {
            return;
        }
        let grant = Arc::new(self);
        for batch in &mut batches {
            let bytes = std::mem::take(*batch);
            **batch = Bytes::from_owner(Held { bytes, _grant: Arc::clone(&grant) });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const UNIT: usize = READ_GRANT_BYTES;

    fn read(bytes: usize) -> PartitionRead {
        let batches = vec![vec![7; bytes].into()];
        PartitionRead { batches, high_watermark: 0, log_start_offset: 0 }
    }

    #[test]
    fn records_hold_their_memory_until_the_last_of_them_is_gone() {
        let memory = ReadMemory::new(16 * UNIT);
        let grant = memory.grant(100 * UNIT).now_or_never().unwrap();
        assert_eq!(grant.bytes(), 2 * UNIT);
        let mut reads = [read(10), read(20)];
        grant.hold(reads.iter_mut());
        assert_eq!(memory.free.available_permits(), 16 * UNIT - 30);
        let [first, second] = reads.map(|mut read| read.batches.remove(0));
        assert_eq!((first.len(), &second[..3]), (10, &[7, 7, 7][..]));
        let part = second.slice(3..5);
        drop((first, second));
        assert_eq!(memory.free.available_permits(), 16 * UNIT - 30);
        drop(part);
        assert_eq!(memory.free.available_permits(), 16 * UNIT);
    }

    #[test]
    fn the_slow_leave_something_to_the_quick() {
        let memory = ReadMemory::new(64 * UNIT);
        // Each takes all that it can get, and none of them ever reads.
        let mut stuck: Vec<Grant> = Vec::new();
        while let Some(grant) = memory.grant(usize::MAX).now_or_never() {
            stuck.push(grant);
        }
        assert!(stuck.len() > 20, "{} have emptied it", stuck.len());
        assert!(!memory.is_short(), "nobody waits any more");
        let mut wait = Box::pin(memory.grant(UNIT));
        assert!(wait.as_mut().now_or_never().is_none());
        assert!(memory.is_short());
        stuck.pop();
        assert_eq!(wait.now_or_never().unwrap().bytes(), UNIT);
        assert!(!memory.is_short());
    }

    #[test]
    fn nobody_waits_for_more_than_there_is() {
        let memory = ReadMemory::new(UNIT);
        assert_eq!(memory.exactly(9 * UNIT).now_or_never().unwrap().bytes(), UNIT);
        let idle = memory.grant(UNIT).now_or_never().unwrap();
        idle.hold([read(0)].iter_mut());
        assert_eq!(memory.free.available_permits(), UNIT);
    }
}
