//! A disk that fails or is full for a while: nothing acknowledged is lost, nothing reported as
//! failed comes back, and the store takes writes again.

use std::collections::BTreeMap;

use super::tests::{Acknowledged, check, clock, group, offsets, options, topic};
use super::*;
use crate::types::Offset;

const GROUPS: i64 = 12;

/// A store at work: what it was told and what it answered.
struct Work {
    files: MemoryFiles,
    store: Store,
    clock: Arc<crate::clock::ManualClock>,
    partition: TopicPartition,
    topic: TopicRow,
    end: Offset,
}

impl Work {
    fn begin() -> Self {
        let files = MemoryFiles::new();
        let (topic, clock) = (topic("t", 1), clock());
        let partition = TopicPartition { topic: topic.id, partition: 0 };
        let opened = Store::open(Arc::new(files.clone()), &options(64 << 10), clock.clone());
        let mut store = opened.unwrap().0;
        store.create_topic(&topic).unwrap();
        Self { files, store, clock, partition, topic, end: 0 }
    }

    /// Commits a group of small or large batches, and does what is due.
    fn step(&mut self, number: i64) -> Result<(), StorageError> {
        let value_bytes = if number % 3 == 0 { 6_000 } else { 50 };
        let records = 1 + number % 4;
        self.store.commit(group(self.partition, self.end, records, value_bytes))?;
        self.end += records;
        self.clock.advance(Duration::from_millis(300));
        self.store.maintain()?;
        let caught_up = self.store.reader().catch_up();
        if caught_up.is_err() {
            // The settler may be signalled before the committer knows.
            let again = self.store.reader().catch_up();
            assert!(matches!(again, Err(StorageError::Failed)), "{again:?}");
            // As the committer does.
            self.store.reopen().unwrap();
        }
        caught_up
    }

    /// What a reader sees now.
    fn check_readers(&self, context: &str) {
        let expected: Vec<Offset> = (0..self.end).collect();
        assert_eq!(offsets(&self.store.reader(), self.partition, 0), expected, "{context}");
    }

    /// The same, and what is on the disk after a power failure.
    fn check(&self, context: &str) {
        self.check_readers(context);
        let ends = BTreeMap::from([(self.partition, self.end)]);
        let done = Acknowledged { topics: vec![self.topic.clone()], ends, attempted: None };
        check(&self.files.crash_image(|n| n - 1), &done, context);
    }
}

/// Operations of a whole run without a fault, from the first group on.
fn operations() -> std::ops::Range<u64> {
    let mut work = Work::begin();
    let first = work.files.operations();
    (0..GROUPS).for_each(|number| work.step(number).unwrap());
    first..work.files.operations()
}

#[test]
fn a_disk_that_fails_once_costs_what_was_under_way_and_no_more() {
    for at in operations() {
        let context = format!("operation {at} fails");
        let mut work = Work::begin();
        work.files.fail_at(at);
        let mut failures = 0;
        for number in 0..GROUPS {
            if work.step(number).is_err() {
                failures += 1;
                assert!(matches!(work.step(number), Err(StorageError::Failed)), "{context}");
                work.store.resume().unwrap_or_else(|error| panic!("{context}: {error}"));
                work.check(&context);
            }
        }
        assert_eq!(failures, 1, "{context}");
        work.check(&context);
    }
}

#[test]
fn a_full_disk_serves_readers_and_takes_writes_again_when_there_is_room() {
    for first in 0..GROUPS {
        let context = format!("full from group {first} on");
        let mut work = Work::begin();
        (0..first).for_each(|number| work.step(number).unwrap());
        work.files.fill_up(true);
        let failed = (first..first + 100).find(|number| work.step(*number).is_err());
        let failed = failed.unwrap_or_else(|| panic!("{context}: never noticed"));
        work.store.resume().unwrap_err();
        work.check_readers(&context);
        work.files.fill_up(false);
        work.store.resume().unwrap_or_else(|error| panic!("{context}: {error}"));
        (failed..failed + 5).for_each(|number| work.step(number).unwrap());
        work.check(&context);
    }
}
