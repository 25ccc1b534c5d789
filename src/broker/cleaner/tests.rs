//! The cleaner as a whole, stepped: what it deletes, moves and compacts, and what it must not.

use std::collections::BTreeMap;

use super::*;
use crate::broker::{Append, Broker, Commit, Files, NewTopic, StoreOptions};
use crate::clock::{Clock, ManualClock};
use crate::record::{BatchBuilder, Compression, Record};
use crate::storage::{MemoryFiles, OpenMode};
use crate::types::TopicName;

const SEGMENT: u64 = 256 << 10;

struct Rig {
    files: Arc<MemoryFiles>,
    clock: Arc<ManualClock>,
    broker: Broker,
    committer: Committer,
    cleaner: Cleaner,
}

impl Rig {
    fn new() -> Self {
        Self::open(Arc::new(MemoryFiles::new()), Arc::new(ManualClock::new(1_000_000)))
    }

    fn open(files: Arc<MemoryFiles>, clock: Arc<ManualClock>) -> Self {
        let options = StoreOptions { segment_bytes: SEGMENT, new_cluster_id: "c".to_owned() };
        let opened = Broker::open_stepped_with_cleaner(files.clone(), &options, clock.clone());
        let (broker, committer, cleaner) = opened.unwrap();
        Self { files, clock, broker, committer, cleaner }
    }

    /// The power goes, and comes back.
    fn crash(self, random: &mut fastrand::Rng) -> Self {
        let image = self.files.crash_image(|n| random.usize(..n));
        Self::open(Arc::new(image), self.clock)
    }

    fn topic(&mut self, name: &str, config: &[(&str, &str)]) -> TopicPartition {
        let config = config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let name = TopicName::new(name).unwrap();
        let topic = self.committer.create_topic(NewTopic { name, partitions: None, config });
        TopicPartition { topic: topic.unwrap().id(), partition: 0 }
    }

    /// Appends a batch of records with the present time.
    fn produce(&mut self, partition: TopicPartition, records: &[(Option<&str>, Option<&str>)]) {
        let mut batch = BatchBuilder::new(Compression::None);
        for (key, value) in records {
            let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
            batch.push(self.clock.now_ms(), key, value, &[]).unwrap();
        }
        let appends = vec![Append { partition, batch: batch.build().unwrap() }];
        let outcome = self.committer.commit_group(vec![Commit { appends, ..Commit::default() }]);
        outcome.into_iter().next().unwrap().unwrap();
        assert!(self.committer.maintain());
    }

    fn produce_bytes(&mut self, partition: TopicPartition, bytes: usize) {
        self.produce(partition, &[(None, Some(&"x".repeat(bytes)))]);
    }

    /// Steps the cleaner until it has nothing to do.
    fn clean(&mut self) {
        let mut idle = 0;
        while idle < 5 {
            let wait = self.cleaner.step(&mut self.committer);
            idle = if wait.is_zero() { 0 } else { idle + 1 };
            // A round may find more to do.
            self.clock.advance(Duration::from_millis(CLEAN_ROUND_MS));
        }
    }

    /// Lets the active segment grow old enough to be sealed, and the cleaner do its work.
    fn seal_by_age(&mut self) {
        for _ in 0..2 {
            self.clean();
            self.clock.advance(Duration::from_millis(SEGMENT_AGE_MIN_MS));
        }
        self.clean();
    }

    fn start(&self, partition: TopicPartition) -> Offset {
        let topic = self.broker.topic_by_id(partition.topic).unwrap();
        topic.partition(0).unwrap().log_start_offset()
    }

    /// All records, read from the disk.
    fn records(&self, partition: TopicPartition) -> Vec<Record> {
        let mut records = Vec::new();
        let (mut next, end) = (self.start(partition), i64::MAX);
        loop {
            let read = self.broker.shared.store.read(partition, next, end, 1 << 20).unwrap();
            if read.is_empty() {
                return records;
            }
            for batch in read.into_iter().flat_map(crate::record::split_batches) {
                let batch = batch.unwrap();
                assert!(batch.next_offset() > next, "offsets go up");
                let all = batch.records().unwrap().map(Result::unwrap);
                records.extend(all.filter(|record| record.offset >= next));
                next = batch.next_offset();
            }
        }
    }

    /// Key, value and offset of all records.
    fn table(&self, partition: TopicPartition) -> Vec<(String, String, Offset)> {
        let text = |bytes: Option<bytes::Bytes>| {
            bytes.map_or("-".into(), |b| String::from_utf8(b.to_vec()).unwrap())
        };
        let records = self.records(partition).into_iter();
        records.map(|r| (text(r.key), text(r.value), r.offset)).collect()
    }

    fn segment_files(&self) -> usize {
        self.files.list("segments").unwrap().len()
    }

    fn disk_bytes(&self) -> u64 {
        self.broker.shared.store.segments().iter().map(|s| s.disk_bytes).sum()
    }
}

#[test]
fn what_is_too_old_goes_with_its_files() {
    let mut rig = Rig::new();
    let short = rig.topic("short", &[("retention.ms", "60000")]);
    for _ in 0..20 {
        rig.produce_bytes(short, 100_000);
    }
    let before = rig.segment_files();
    rig.clean();
    assert_eq!((rig.start(short), rig.segment_files()), (0, before));
    rig.clock.advance(Duration::from_secs(61));
    rig.produce_bytes(short, 10);
    rig.clean();
    assert!(rig.start(short) > 10, "{}", rig.start(short));
    assert!(rig.segment_files() <= 2, "{} files", rig.segment_files());
    // The youngest record keeps those in its run.
    let records = rig.records(short);
    assert_eq!(records.last().unwrap().offset, 20);
    assert_eq!(records[0].offset, rig.start(short));
}

#[test]
fn a_jump_of_the_clock_deletes_nothing() {
    let mut rig = Rig::new();
    let short = rig.topic("short", &[("retention.ms", "60000")]);
    for _ in 0..5 {
        rig.produce_bytes(short, 100_000);
    }
    rig.clean();
    rig.clock.jump_to(1_000_000 + 315_360_000_000);
    rig.clean();
    assert_eq!(rig.start(short), 0);
    rig.clock.jump_to(0);
    rig.clean();
    assert_eq!(rig.start(short), 0);
}

#[test]
fn a_partition_is_kept_to_its_bytes() {
    let mut rig = Rig::new();
    let small = rig.topic("small", &[("retention.bytes", "300000")]);
    for _ in 0..30 {
        rig.produce_bytes(small, 100_000);
    }
    rig.clean();
    let bytes: usize = rig.records(small).iter().map(|r| r.value.as_ref().unwrap().len()).sum();
    assert!((300_000..=600_000).contains(&bytes), "{bytes} bytes are left");
}

#[test]
fn what_lives_does_not_pin_what_is_dead() {
    let mut rig = Rig::new();
    let forever = rig.topic("forever", &[("retention.ms", "-1")]);
    let short = rig.topic("short", &[("retention.bytes", "400000"), ("retention.ms", "-1")]);
    let mut peak: f64 = 0.0;
    for i in 0..200 {
        rig.produce_bytes(forever, 3_900);
        rig.produce_bytes(short, 65_300);
        if i % 4 == 0 {
            rig.clean();
            let live: usize = [forever, short]
                .iter()
                .flat_map(|partition| rig.records(*partition))
                .map(|record| record.value.unwrap().len())
                .sum();
            let over = rig.disk_bytes() as f64 - 2.0 * live as f64;
            peak = peak.max(over / SEGMENT as f64);
        }
    }
    assert!(peak < 2.0, "{peak} segments beyond twice what lives");
    let offsets: Vec<Offset> = rig.records(forever).iter().map(|r| r.offset).collect();
    assert_eq!(offsets, (0..200).collect::<Vec<_>>());
    assert!(rig.start(short) > 150);
}

#[test]
fn a_deleted_topic_frees_its_segments() {
    let mut rig = Rig::new();
    let doomed = rig.topic("doomed", &[("retention.ms", "-1")]);
    for _ in 0..20 {
        rig.produce_bytes(doomed, 100_000);
    }
    assert!(rig.segment_files() > 5);
    rig.committer.delete_topic(doomed.topic).unwrap();
    rig.clean();
    assert_eq!(rig.segment_files(), 1);
}

const COMPACT: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("segment.ms", "1000"),
    ("delete.retention.ms", "60000"),
];

#[test]
fn the_last_record_of_each_key_stays() {
    let mut rig = Rig::new();
    let table = rig.topic("table", &COMPACT);
    for i in 0..40 {
        let (a, b) = (format!("a{i}"), format!("b{i}"));
        rig.produce(table, &[(Some("a"), Some(&a)), (Some("b"), Some(&b)), (Some(&b), Some("1"))]);
    }
    rig.seal_by_age();
    let mut expected: Vec<_> = (0..40).map(|i| (format!("b{i}"), "1".into(), i * 3 + 2)).collect();
    expected.push(("a".into(), "a39".into(), 117));
    expected.push(("b".into(), "b39".into(), 118));
    expected.sort_by_key(|(.., offset)| *offset);
    assert_eq!(rig.table(table), expected);
    // From an offset in a gap comes the next record there is, and none from memory that is gone.
    let read = rig.broker.read_blocking(table, 3, 1 << 20).unwrap();
    assert_eq!(read.records(3).unwrap()[0].offset, 5);
    let rig = rig.crash(&mut fastrand::Rng::with_seed(1));
    assert_eq!(rig.table(table), expected);
}

#[test]
fn who_reads_on_gets_past_a_batch_whose_last_records_are_gone() {
    let mut rig = Rig::new();
    let table = rig.topic("table", &COMPACT);
    rig.produce(table, &[(Some("a"), Some("1")), (Some("b"), Some("1"))]);
    rig.produce(table, &[(Some("b"), Some("2"))]);
    rig.seal_by_age();
    assert_eq!(rig.table(table), [("a".into(), "1".into(), 0), ("b".into(), "2".into(), 2)]);
    let read = rig.broker.read_blocking(table, 1, 1).unwrap();
    assert!(read.records(1).unwrap().is_empty(), "it is the batch that had this offset");
    assert_eq!(read.next_offset(1).unwrap(), 2);
    let end = rig.broker.read_blocking(table, 3, 1).unwrap();
    assert_eq!(end.next_offset(3).unwrap(), 3, "nothing is there");
}

#[test]
fn a_tombstone_stays_for_its_time() {
    let mut rig = Rig::new();
    let table = rig.topic("table", &COMPACT);
    rig.produce(table, &[(Some("gone"), Some("1")), (Some("kept"), Some("2"))]);
    rig.produce(table, &[(Some("gone"), None)]);
    rig.produce(table, &[(Some("last"), Some("3"))]);
    rig.seal_by_age();
    let row = |key: &str, value: &str, offset| (key.to_owned(), value.to_owned(), offset);
    let kept = row("kept", "2", 1);
    let last = row("last", "3", 3);
    assert_eq!(rig.table(table), [kept.clone(), row("gone", "-", 2), last.clone()]);
    rig.clock.advance(Duration::from_secs(61));
    rig.clean();
    rig.clock.advance(Duration::from_secs(61));
    rig.clean();
    assert_eq!(rig.table(table), [kept, last]);
}

/// Random keys, tombstones, retention, crashes: at each moment the last value of every key is
/// what a map has that took the same records.
#[test]
fn a_compacted_table_is_the_map_of_its_records() {
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut rig = Rig::new();
        let table = rig.topic("table", &COMPACT);
        let noise = rig.topic("noise", &[("retention.bytes", "100000")]);
        let mut map: BTreeMap<String, Option<String>> = BTreeMap::new();
        for i in 0..120 {
            let records: Vec<(String, Option<String>)> = (0..random.usize(1..20))
                .map(|_| {
                    let value = format!("{i}-{}", "v".repeat(random.usize(0..500)));
                    let key = format!("k{}", random.u32(0..40));
                    (key, (random.u8(..) > 50).then_some(value))
                })
                .collect();
            let borrowed: Vec<_> =
                records.iter().map(|(k, v)| (Some(k.as_str()), v.as_deref())).collect();
            rig.produce(table, &borrowed);
            map.extend(records);
            rig.produce_bytes(noise, random.usize(1..30_000));
            for _ in 0..random.usize(0..6) {
                rig.cleaner.step(&mut rig.committer);
                rig.clock.advance(Duration::from_millis(random.u64(0..5_000)));
            }
            if random.u8(..) < 12 {
                rig = rig.crash(&mut random);
            }
        }
        let live = |rig: &Rig| {
            let mut found: BTreeMap<String, String> = BTreeMap::new();
            for (key, value, _) in rig.table(table) {
                found.insert(key, value);
            }
            found.retain(|_, value| value != "-");
            found
        };
        let expected: BTreeMap<String, String> =
            map.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        assert_eq!(live(&rig), expected, "seed {seed}");
        for _ in 0..3 {
            rig.clock.advance(Duration::from_secs(61));
            rig.clean();
        }
        assert_eq!(live(&rig), expected, "seed {seed}");
        assert!(rig.table(table).len() <= 41, "seed {seed}: {} records", rig.table(table).len());
    }
}

#[test]
fn what_is_unreadable_is_told_and_kept() {
    let mut rig = Rig::new();
    let hurt = rig.topic("hurt", &[("retention.ms", "-1")]);
    let other = rig.topic("other", &[("retention.bytes", "1000")]);
    let values = ["first", "second", "third"].map(|value| value.repeat(2_000));
    for value in &values {
        rig.produce(hurt, &[(None, Some(value))]);
    }
    for _ in 0..30 {
        rig.produce_bytes(other, 50_000);
    }
    let file = rig.files.open("segments/0000000001.redb", OpenMode::Existing).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read(0, &mut bytes).unwrap();
    let at = bytes.windows(18).position(|window| window == b"secondsecondsecond").unwrap();
    file.write(at as u64, b"S").unwrap();
    file.sync_data().unwrap();

    let mut rig = rig.crash(&mut fastrand::Rng::with_seed(1));
    rig.clean();
    let read = |offset| rig.broker.read_blocking(hurt, offset, 1);
    for _ in 0..2 {
        assert!(matches!(read(1), Err(crate::broker::ReadError::Corrupt(_))));
    }
    assert_eq!(read(0).unwrap().records(0).unwrap().len(), 1);
    assert_eq!(read(2).unwrap().records(2).unwrap().len(), 1);
    let places = rig.broker.counters().unreadable_places();
    let [told] = &places[..] else { panic!("{places:?}") };
    assert_eq!((told.topic.as_str(), told.partition), ("hurt", 0));
    assert_eq!((told.offset, told.end_offset), (1, 2));
    assert!(rig.broker.counters().unreadable_reads.get() >= 2);
    assert!(rig.start(other) > 20, "all else goes on");
    assert_eq!(rig.start(hurt), 0);
    assert!(rig.files.list("segments").unwrap().contains(&"0000000001.redb".to_owned()));
}

#[test]
fn the_segment_that_is_dead_the_most_is_emptied_when_half_is() {
    let sealed = |segment, disk_bytes, live_bytes| SegmentUse {
        segment,
        disk_bytes,
        live_bytes,
        active: false,
    };
    let half = [sealed(1, 100, Some(60)), sealed(2, 100, Some(40)), sealed(3, 100, None)];
    assert_eq!(to_empty(&half, 100), None, "a segment without a run is no excess");
    let dead = [sealed(1, 100, Some(60)), sealed(2, 100, Some(10)), sealed(4, 90, Some(30))];
    assert_eq!(to_empty(&dead, 100), Some(2));
    assert_eq!(excess_bytes(&dead), 90);
    let mut active = dead;
    active[1].active = true;
    assert_eq!(to_empty(&active, 100), None);
    let small: Vec<SegmentUse> = (0..10).map(|n| sealed(n, 10 + n, Some(10))).collect();
    assert_eq!(to_empty(&small, 1_000), Some(0), "too many small ones");
    assert_eq!(to_empty(&small[..8], 1_000), None);
    assert_eq!(to_empty(&small, 100), None, "they are not small");
}
