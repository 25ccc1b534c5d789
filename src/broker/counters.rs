//! What is counted while the broker runs, for whoever watches it: numbers that only grow, and the
//! places on disk that turned out to be unreadable.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits::UNREADABLE_PLACES;
use crate::types::{Offset, PartitionIndex, TopicName};

/// The counters. Since the start of the process; nobody waits for one.
#[derive(Debug, Default)]
pub struct Counters {
    /// Reads that met records which are not those that were written.
    pub unreadable_reads: Counter,
    /// Batches that were refused before they came to the committer.
    pub refused_batches: Counter,
    /// Connections closed at once: too many from one address.
    pub refused_connections: Counter,
    /// Connections closed because nothing happened on them.
    pub idle_connections: Counter,
    /// Connections closed because their client was too slow to send or to take what it had begun.
    pub slow_connections: Counter,
    places: Mutex<Vec<UnreadablePlace>>,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where records cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadablePlace {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// The first offset that cannot be read.
    pub offset: Offset,
    /// The offset from which on it may be readable again.
    pub end_offset: Offset,
    /// What is wrong.
    pub reason: String,
}

impl Counters {
    /// All counters by their names.
    pub fn all(&self) -> [(&'static str, u64); 5] {
        [
            ("unreadable-reads", self.unreadable_reads.get()),
            ("refused-batches", self.refused_batches.get()),
            ("refused-connections", self.refused_connections.get()),
            ("idle-connections", self.idle_connections.get()),
            ("slow-connections", self.slow_connections.get()),
        ]
    }

    /// The places that were found unreadable, in the order in which they were found; the first
    /// [`UNREADABLE_PLACES`] of them.
    pub fn unreadable_places(&self) -> Vec<UnreadablePlace> {
        self.places().clone()
    }

    /// Counts a read that met such a place, and reports the place if it is a new one: who tries
    /// again and again must not fill the log.
    pub(super) fn unreadable(&self, place: UnreadablePlace) {
        self.unreadable_reads.add();
        let mut places = self.places();
        let known = |known: &UnreadablePlace| {
            (&known.topic, known.partition, known.offset)
                == (&place.topic, place.partition, place.offset)
        };
        if places.iter().any(known) || places.len() >= UNREADABLE_PLACES {
            return;
        }
        let UnreadablePlace { topic, partition, offset, end_offset, reason } = &place;
        tracing::error!(%topic, partition, offset, end_offset, "records cannot be read: {reason}");
        places.push(place);
    }

    fn places(&self) -> MutexGuard<'_, Vec<UnreadablePlace>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_once_and_its_reads_are_counted() {
        let counters = Counters::default();
        let place = |offset| UnreadablePlace {
            topic: TopicName::new("t").unwrap(),
            partition: 3,
            offset,
            end_offset: offset + 1,
            reason: "crc".to_owned(),
        };
        for offset in [7, 7, 9] {
            counters.unreadable(place(offset));
        }
        assert_eq!(counters.unreadable_places(), [place(7), place(9)]);
        assert_eq!(counters.all()[0], ("unreadable-reads", 3));
        for offset in 10..3_000 {
            counters.unreadable(place(offset));
        }
        assert_eq!(counters.unreadable_places().len(), UNREADABLE_PLACES);
    }
}
