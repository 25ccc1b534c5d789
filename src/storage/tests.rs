//! The store as a whole: what comes back after a close, a roll, a crash at any write.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::*;
use crate::clock::ManualClock;
use crate::record::{BatchBuilder, Compression, split_batches};
use crate::types::{GroupId, OffsetOwner, PipelineName, TopicId, TopicName};

pub(super) fn options(segment_bytes: u64) -> StoreOptions {
    StoreOptions { segment_bytes, new_cluster_id: "c".to_owned() }
}

pub(super) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(0))
}

pub(super) fn topic(name: &str, partitions: i32) -> TopicRow {
    TopicRow {
        name: TopicName::new(name).unwrap(),
        id: TopicId::random(),
        partitions,
        config: BTreeMap::new(),
        created_ms: 0,
    }
}

/// Record `offset` of a partition says so in its value; its timestamp is ten times its offset.
pub(super) fn group(
    partition: TopicPartition,
    from: Offset,
    records: i64,
    value_bytes: usize,
) -> Group {
    let mut chunks = ChunkBuilder::new(partition, from);
    for offset in from..from + records {
        let mut batch = BatchBuilder::new(Compression::None);
        let value = format!("{offset:0>value_bytes$}");
        batch.push(offset * 10, None, Some(value.as_bytes()), &[]).unwrap();
        chunks.push(batch.build().unwrap(), None);
    }
    let checkpoint = CommittedOffset {
        offset: from + records,
        leader_epoch: 0,
        metadata: String::new(),
        commit_time_ms: 0,
    };
    let mut group = Group { chunks: chunks.build(), ..Group::default() };
    let owner = OffsetOwner::Pipeline(PipelineName::new("p").unwrap());
    group.effects.offsets.push((OffsetKey { owner, partition }, Some(checkpoint)));
    group
}

/// Offsets of all records from `from`, each checked against its value.
pub(super) fn offsets(
    reader: &StoreReader,
    partition: TopicPartition,
    from: Offset,
) -> Vec<Offset> {
    let mut offsets = Vec::new();
    let mut next = from;
    loop {
        let stretches = reader.read(partition, next, Offset::MAX, 1 << 20).unwrap();
        if stretches.is_empty() {
            return offsets;
        }
        for batch in stretches.into_iter().flat_map(split_batches) {
            let batch = batch.unwrap();
            next = batch.next_offset();
            for record in batch.records().unwrap().map(Result::unwrap) {
                let value: Offset =
                    std::str::from_utf8(&record.value.unwrap()).unwrap().parse().unwrap();
                assert_eq!(value, record.offset);
                if record.offset >= from {
                    offsets.push(record.offset);
                }
            }
        }
    }
}

#[test]
fn everything_comes_back_after_a_close() {
    let files = Arc::new(MemoryFiles::new());
    let topic = topic("t", 2);
    let partition = TopicPartition { topic: topic.id, partition: 1 };
    let (mut store, _) = Store::open(files.clone(), &options(1 << 30), clock()).unwrap();
    store.create_topic(&topic).unwrap();
    store.commit(group(partition, 0, 3, 10)).unwrap();
    let mut second = group(partition, 3, 2, 10);
    let key = ProducerKey { partition, producer_id: 5 };
    let state = ProducerState { epoch: 1, last_append_ms: 7, batches: Vec::new() };
    second.effects.producers.push((key, Some(state.clone())));
    let state_key = StateKey {
        pipeline: PipelineName::new("p").unwrap(),
        step: 0,
        source: partition,
        key: Bytes::from_static(b"k"),
    };
    second.effects.state.push((state_key.clone(), Some(Bytes::from_static(b"v"))));
    store.commit(second).unwrap();
    assert_eq!(store.reader().state(&state_key).unwrap().unwrap(), "v");
    assert_eq!(store.reserve_producer_ids(10).unwrap(), 0);
    store.put_deployment("d", b"x", &[([1; 32], Bytes::from_static(b"wasm"))]).unwrap();
    store.close().unwrap();

    let (mut store, recovered) = Store::open(files, &options(1 << 30), clock()).unwrap();
    assert_eq!(recovered.topics, [topic]);
    assert_eq!(recovered.partitions[&partition], (0, 5));
    assert_eq!(recovered.producers, [(key, state)]);
    assert_eq!(recovered.offsets[0].1.offset, 5);
    assert_eq!(recovered.cluster_id, "c");
    let reader = store.reader();
    assert_eq!(offsets(&reader, partition, 0), [0, 1, 2, 3, 4]);
    assert_eq!(reader.state(&state_key).unwrap().unwrap(), "v");
    assert_eq!(reader.deployments().unwrap(), [("d".to_owned(), Bytes::from_static(b"x"))]);
    assert_eq!(reader.component(&[1; 32]).unwrap().unwrap(), "wasm");
    assert_eq!(store.reserve_producer_ids(1).unwrap(), 10);
}

/// All that is to follow a commit.
pub(super) fn maintain(store: &mut Store) -> Result<(), StorageError> {
    store.maintain()?;
    store.reader().catch_up()
}

#[test]
fn a_full_segment_is_sealed_and_still_read() {
    let files = Arc::new(MemoryFiles::new());
    let topic = topic("t", 1);
    let partition = TopicPartition { topic: topic.id, partition: 0 };
    let (mut store, _) = Store::open(files.clone(), &options(64 << 10), clock()).unwrap();
    store.create_topic(&topic).unwrap();
    for from in (0..100).step_by(5) {
        store.commit(group(partition, from, 5, 3_000)).unwrap();
        maintain(&mut store).unwrap();
    }
    let expected: Vec<Offset> = (0..100).collect();
    assert_eq!(offsets(&store.reader(), partition, 0), expected);
    assert!(files.list("segments").unwrap().len() > 3);
    drop(store);

    // Nothing was closed: the active segment is repaired, the sealed ones are as they were.
    let (store, recovered) = Store::open(files, &options(64 << 10), clock()).unwrap();
    assert_eq!(recovered.partitions[&partition], (0, 100));
    let reader = store.reader();
    assert_eq!(offsets(&reader, partition, 0), expected);
    assert_eq!(offsets(&reader, partition, 57), expected[57..]);
    let found = reader.find_timestamp(partition, 571, 0, 100).unwrap().unwrap();
    assert_eq!(found.base_offset(), 58);
    assert!(reader.find_timestamp(partition, 991, 0, 100).unwrap().is_none());
    assert_eq!(reader.max_timestamp(partition).unwrap(), Some(990));
}

#[test]
fn a_deleted_topic_is_gone_and_its_name_free() {
    let files = Arc::new(MemoryFiles::new());
    let (mut store, _) = Store::open(files.clone(), &options(1 << 30), clock()).unwrap();
    let (old, new) = (topic("t", 1), topic("t", 1));
    let partition = TopicPartition { topic: old.id, partition: 0 };
    store.create_topic(&old).unwrap();
    store.commit(group(partition, 0, 3, 10)).unwrap();
    store.delete_topic(&old).unwrap();
    store.create_topic(&new).unwrap();
    assert!(offsets(&store.reader(), partition, 0).is_empty());
    drop(store);
    let (store, recovered) = Store::open(files, &options(1 << 30), clock()).unwrap();
    assert_eq!(recovered.topics, [new]);
    assert!(recovered.offsets.is_empty());
    assert!(offsets(&store.reader(), partition, 0).is_empty());
}

#[test]
fn a_flipped_bit_is_reported_and_not_served() {
    let files = Arc::new(MemoryFiles::new());
    let topic = topic("t", 1);
    let partition = TopicPartition { topic: topic.id, partition: 0 };
    let (mut store, _) = Store::open(files.clone(), &options(1 << 30), clock()).unwrap();
    store.create_topic(&topic).unwrap();
    store.commit(group(partition, 0, 3, 9_000)).unwrap();
    store.close().unwrap();
    let name = format!("segments/{}", files.list("segments").unwrap()[0]);
    let file = files.open(&name, OpenMode::Existing).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read(0, &mut bytes).unwrap();
    // The value of record 2: nine thousand characters, all 0 but the last.
    let needle = [&[b'0'; 2_000][..], b"2"].concat();
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    file.write(at as u64, b"1").unwrap();
    file.sync_data().unwrap();

    let (store, _) = Store::open(files, &options(1 << 30), clock()).unwrap();
    let reader = store.reader();
    assert_eq!(reader.read(partition, 0, 2, 1).unwrap().len(), 1);
    let error = reader.read(partition, 2, 3, 1).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { offset: 2, end_offset: 3, .. }), "{error}");
}

#[test]
fn a_batch_at_a_wrong_offset_is_reported_and_not_served() {
    let files = Arc::new(MemoryFiles::new());
    let topic = topic("t", 1);
    let partition = TopicPartition { topic: topic.id, partition: 0 };
    let (mut store, _) = Store::open(files.clone(), &options(1 << 30), clock()).unwrap();
    store.create_topic(&topic).unwrap();
    store.commit(group(partition, 0, 3, 9_000)).unwrap();
    store.close().unwrap();
    let name = format!("segments/{}", files.list("segments").unwrap()[0]);
    let file = files.open(&name, OpenMode::Existing).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read(0, &mut bytes).unwrap();
    // Base offset, length and leader epoch of record 1: none of them is under the CRC.
    let length = batch_length(&files, partition);
    let head = [&1_i64.to_be_bytes()[..], &length, &0_i32.to_be_bytes(), &[2]].concat();
    let at = bytes.windows(head.len()).position(|window| window == head).unwrap();
    file.write(at as u64, &7_i64.to_be_bytes()).unwrap();
    file.sync_data().unwrap();

    let (store, _) = Store::open(files, &options(1 << 30), clock()).unwrap();
    let good = store.reader().read(partition, 0, 3, 1 << 20).unwrap();
    assert_eq!(split_batches(good[0].clone()).count(), 1, "what is good before it");
    let error = store.reader().read(partition, 1, 3, 1 << 20).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { offset: 1, end_offset: 3, .. }), "{error}");
}

/// The length field of the batches that [`group`] makes.
fn batch_length(files: &Arc<MemoryFiles>, partition: TopicPartition) -> [u8; 4] {
    let (store, _) = Store::open(files.clone(), &options(1 << 30), clock()).unwrap();
    let stretch = store.reader().read(partition, 0, 3, 1).unwrap().remove(0);
    store.close().unwrap();
    stretch[8..12].try_into().unwrap()
}

#[test]
fn segments_without_meta_are_not_taken_for_an_empty_folder() {
    let files = Arc::new(MemoryFiles::new());
    let (store, _) = Store::open(files.clone(), &options(1 << 30), clock()).unwrap();
    store.close().unwrap();
    files.remove("meta.redb").unwrap();
    let error = Store::open(files, &options(1 << 30), clock()).unwrap_err();
    assert!(matches!(error, StorageError::MetaMissing), "{error}");
}

#[test]
fn groups_outlive_the_redo_file_that_they_went_through() {
    let files = MemoryFiles::new();
    let topic = topic("t", 1);
    let partition = TopicPartition { topic: topic.id, partition: 0 };
    let opened = Store::open(Arc::new(files.clone()), &options(1 << 20), clock());
    let mut store = opened.unwrap().0;
    store.create_topic(&topic).unwrap();
    // Of the smallest size it takes 128 of them.
    for end in 1..200 {
        store.commit(group(partition, end - 1, 1, 100)).unwrap();
        if end % 5 == 0 {
            assert_eq!(offsets(&store.reader(), partition, 0).len(), usize::try_from(end).unwrap());
        }
        if end % 3 == 0 {
            maintain(&mut store).unwrap();
        }
        if end % 10 == 0 {
            let ends = BTreeMap::from([(partition, end)]);
            let done = Acknowledged { topics: vec![topic.clone()], ends, attempted: None };
            check(&files.crash_image(|n| n - 1), &done, &format!("after {end}"));
        }
    }
}

/// What the crash test has done and been told so far.
#[derive(Default)]
pub(super) struct Acknowledged {
    pub(super) topics: Vec<TopicRow>,
    pub(super) ends: BTreeMap<TopicPartition, Offset>,
    /// The group that was under way.
    pub(super) attempted: Option<(TopicPartition, Offset)>,
}

/// Creates topics and appends to them until the power goes.
fn work(files: &MemoryFiles, random: &mut fastrand::Rng) -> (Acknowledged, bool) {
    let mut done = Acknowledged::default();
    let clock = clock();
    let opened = Store::open(Arc::new(files.clone()), &options(64 << 10), clock.clone());
    let Ok((mut store, _)) = opened else { return (done, false) };
    for name in ["a", "b"] {
        let topic = topic(name, 2);
        if store.create_topic(&topic).is_err() {
            return (done, false);
        }
        for partition in 0..2 {
            done.ends.insert(TopicPartition { topic: topic.id, partition }, 0);
        }
        done.topics.push(topic);
    }
    let partitions: Vec<TopicPartition> = done.ends.keys().copied().collect();
    for _ in 0..12 {
        let partition = partitions[random.usize(..partitions.len())];
        let from = done.ends[&partition];
        let records = random.i64(1..6);
        done.attempted = Some((partition, from + records));
        if store.commit(group(partition, from, records, random.usize(10..6_000))).is_err() {
            return (done, false);
        }
        done.ends.insert(partition, from + records);
        done.attempted = None;
        clock.advance(Duration::from_millis(300));
        if maintain(&mut store).is_err() {
            return (done, false);
        }
    }
    (done, true)
}

/// Everything acknowledged is there, what was under way is there whole or not at all.
pub(super) fn check(files: &MemoryFiles, done: &Acknowledged, context: &str) {
    let opened = Store::open(Arc::new(files.clone()), &options(64 << 10), clock());
    let (store, recovered) = opened.unwrap_or_else(|error| panic!("{context}: {error}"));
    for topic in &done.topics {
        assert!(recovered.topics.contains(topic), "{context}: topic {}", topic.name);
    }
    let checkpoints: BTreeMap<TopicPartition, Offset> =
        recovered.offsets.iter().map(|(key, c)| (key.partition, c.offset)).collect();
    for (&partition, &end) in &done.ends {
        let (_, found) = recovered.partitions[&partition];
        let attempted = done.attempted.filter(|(p, _)| *p == partition).map(|(_, end)| end);
        assert!(found == end || Some(found) == attempted, "{context}: end {found}, not {end}");
        let expected: Vec<Offset> = (0..found).collect();
        assert_eq!(offsets(&store.reader(), partition, 0), expected, "{context}");
        let checkpoint = checkpoints.get(&partition).copied().unwrap_or(0);
        assert_eq!(checkpoint, found, "{context}: records and checkpoint part");
    }
}

#[test]
fn a_crash_at_any_write_loses_nothing_acknowledged() {
    for seed in 0..4 {
        let whole = MemoryFiles::new();
        assert!(work(&whole, &mut fastrand::Rng::with_seed(seed)).1, "seed {seed}");
        let operations = whole.operations();
        let mut random = fastrand::Rng::with_seed(seed ^ 0xc4a5);
        // A stride that is coprime with redb's rhythm: every kind of operation is hit.
        for at in (seed..operations).step_by(7) {
            let files = MemoryFiles::new();
            files.power_off_at(at);
            let (done, _) = work(&files, &mut fastrand::Rng::with_seed(seed));
            let context = format!("seed {seed}, power off at operation {at} of {operations}");
            let image = files.crash_image(|n| random.usize(..n));
            // Crash again while recovering, then recover for good.
            image.power_off_at(random.u64(..60));
            drop(Store::open(Arc::new(image.clone()), &options(64 << 10), clock()));
            let image = image.crash_image(|n| random.usize(..n));
            check(&image, &done, &context);
        }
    }
}

#[test]
fn after_a_failed_write_nothing_more_is_taken() {
    let files = MemoryFiles::new();
    let topic = topic("t", 1);
    let partition = TopicPartition { topic: topic.id, partition: 0 };
    let (mut store, _) = Store::open(Arc::new(files.clone()), &options(1 << 30), clock()).unwrap();
    store.create_topic(&topic).unwrap();
    store.commit(group(partition, 0, 1, 10)).unwrap();
    files.power_off_at(files.operations() + 1);
    store.commit(group(partition, 1, 1, 10)).unwrap_err();
    files.power_off_at(u64::MAX);
    let error = store.commit(group(partition, 1, 1, 10)).unwrap_err();
    assert!(matches!(error, StorageError::Failed), "{error}");
    assert_eq!(offsets(&store.reader(), partition, 0), [0]);
}

#[test]
fn one_second_of_effects_waits_in_memory_at_most() {
    let clock = clock();
    let topic = topic("t", 1);
    let partition = TopicPartition { topic: topic.id, partition: 0 };
    let files = Arc::new(MemoryFiles::new());
    let (mut store, _) = Store::open(files, &options(1 << 30), clock.clone()).unwrap();
    store.create_topic(&topic).unwrap();
    assert_eq!(store.next_flush(), None);
    store.commit(group(partition, 0, 1, 10)).unwrap();
    assert_eq!(store.next_flush(), Some(Duration::from_secs(1)));
    maintain(&mut store).unwrap();
    assert!(store.next_flush().is_some());
    clock.advance(Duration::from_secs(1));
    maintain(&mut store).unwrap();
    assert_eq!(store.next_flush(), None);
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let files = Arc::new(MemoryFiles::new());
    let (store, _) = Store::open(files.clone(), &options(1 << 30), clock()).unwrap();
    store.close().unwrap();
    let backend = files.open("meta.redb", OpenMode::Existing).unwrap();
    let database =
        redb::Builder::new().create_with_backend(super::files::Backend(backend)).unwrap();
    let newer = super::tables::FORMAT_VERSION + 1;
    let transaction = database.begin_write().unwrap();
    transaction.open_table(super::tables::FORMAT).unwrap().insert("version", newer).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = Store::open(files.clone(), &options(1 << 30), clock()).unwrap_err();
    let told = format!("meta.redb has format version {newer}, this program reads version");
    assert!(error.to_string().starts_with(&told), "{error}");
    // Not damaged: nothing is to be repaired.
    let files: Arc<dyn Files> = files;
    let checked = super::check::check(Arc::clone(&files), clock()).unwrap();
    let refused = repair(&files, &checked).unwrap_err();
    assert!(matches!(refused, StorageError::Format { found, .. } if found == newer), "{refused}");
}

/// A store whose segment is full, with what is to follow it made.
fn with_successor() -> (Arc<MemoryFiles>, Store, TopicPartition) {
    let files = Arc::new(MemoryFiles::new());
    let topic = topic("t", 1);
    let partition = TopicPartition { topic: topic.id, partition: 0 };
    let (mut store, _) = Store::open(files.clone(), &options(64 << 10), clock()).unwrap();
    store.create_topic(&topic).unwrap();
    let mut end = 0;
    while files.list("segments").unwrap().len() == 1 {
        store.commit(group(partition, end, 5, 3_000)).unwrap();
        store.reader().catch_up().unwrap();
        end += 5;
    }
    (files, store, partition)
}

#[test]
fn commits_and_readers_go_on_while_a_full_segment_is_not_sealed() {
    let (files, mut store, partition) = with_successor();
    let next = i64::try_from(offsets(&store.reader(), partition, 0).len()).unwrap();
    store.maintain().unwrap();
    store.commit(group(partition, next, 1, 10)).unwrap();
    let active = |store: &Store| {
        let segments = store.reader().segments();
        segments.into_iter().filter(|s| s.active).map(|s| s.segment).collect::<Vec<_>>()
    };
    assert_eq!(active(&store), [1, 2]);
    let expected: Vec<Offset> = (0..=next).collect();
    assert_eq!(offsets(&store.reader(), partition, 0), expected);
    let (crashed, _) =
        Store::open(Arc::new(files.crash_image(|n| n - 1)), &options(64 << 10), clock()).unwrap();
    assert_eq!(offsets(&crashed.reader(), partition, 0), expected, "after a crash");
    assert_eq!(active(&crashed), [1]);
    store.reader().catch_up().unwrap();
    assert_eq!(active(&store), [2]);
    assert_eq!(offsets(&store.reader(), partition, 0), expected, "once it is sealed");
}

#[test]
fn readers_are_served_at_every_moment_while_segments_are_sealed() {
    let topic = topic("t", 1);
    let partition = TopicPartition { topic: topic.id, partition: 0 };
    let files = Arc::new(MemoryFiles::new());
    let (mut store, _) = Store::open(files, &options(64 << 10), clock()).unwrap();
    store.create_topic(&topic).unwrap();
    let (reader, end) = (store.reader(), AtomicI64::new(0));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for from in (0..3_000).step_by(5) {
                store.commit(group(partition, from, 5, 3_000)).unwrap();
                end.store(from + 5, Ordering::Release);
                maintain(&mut store).unwrap();
            }
        });
        while !writer.is_finished() {
            let until = end.load(Ordering::Acquire);
            for at in [until - 5, until - 20, until - 40].into_iter().filter(|at| *at >= 0) {
                assert!(!reader.read(partition, at, until, 1).unwrap().is_empty());
            }
        }
    });
    assert!(reader.segments().len() > 100);
}

#[test]
fn who_commits_and_who_catches_up_do_not_get_in_each_others_way() {
    let topic = topic("t", 1);
    let partition = TopicPartition { topic: topic.id, partition: 0 };
    let files = Arc::new(MemoryFiles::new());
    let (mut store, _) = Store::open(files.clone(), &options(64 << 10), clock()).unwrap();
    store.create_topic(&topic).unwrap();
    let (reader, end) = (store.reader(), 5_000);
    let behind = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for from in 0..end {
                store.commit(group(partition, from, 1, 3_000)).unwrap();
                behind.store(store.reader().is_behind(), Ordering::Relaxed);
                store.maintain().unwrap();
                if from % 20 == 0 {
                    store.roll().unwrap();
                }
            }
        });
        while !writer.is_finished() {
            if behind.load(Ordering::Relaxed) {
                reader.catch_up().unwrap();
            }
        }
    });
    let expected: Vec<Offset> = (0..end).collect();
    assert_eq!(offsets(&reader, partition, 0), expected);
    let image = Arc::new(files.crash_image(|n| n - 1));
    let (crashed, _) = Store::open(image, &options(64 << 10), clock()).unwrap();
    assert_eq!(offsets(&crashed.reader(), partition, 0), expected, "after a crash");
}

#[test]
fn a_damaged_successor_is_set_aside() {
    let (files, store, partition) = with_successor();
    let expected = offsets(&store.reader(), partition, 0);
    drop(store);
    let file = files.open("segments/0000000002.redb", OpenMode::Existing).unwrap();
    file.write(0, &[7; 4096]).unwrap();
    file.sync_data().unwrap();
    Store::open(files.clone(), &options(64 << 10), clock()).unwrap_err();
    let all: Arc<dyn Files> = files.clone();
    let checked = super::check::check(Arc::clone(&all), clock()).unwrap();
    assert_eq!(repair(&all, &checked).unwrap().replaced, ["segments/0000000002.redb"]);
    assert_eq!(files.list("damaged").unwrap(), ["0000000002.redb"]);
    let (store, _) = Store::open(files, &options(64 << 10), clock()).unwrap();
    assert_eq!(offsets(&store.reader(), partition, 0), expected);
}

#[test]
fn a_full_segment_that_was_not_closed_is_closed_when_the_meta_file_is_made_anew() {
    let (files, store, partition) = with_successor();
    let expected = offsets(&store.reader(), partition, 0);
    let image = Arc::new(files.crash_image(|n| n - 1));
    image.remove("meta.redb").unwrap();
    let all: Arc<dyn Files> = image.clone();
    let checked = super::check::check(Arc::clone(&all), clock()).unwrap();
    repair(&all, &checked).unwrap();
    let (store, _) = Store::open(image, &options(64 << 10), clock()).unwrap();
    assert_eq!(offsets(&store.reader(), partition, 0), expected);
}

#[test]
fn group_offsets_and_checkpoints_are_told_apart() {
    let files = Arc::new(MemoryFiles::new());
    let topic = topic("t", 1);
    let partition = TopicPartition { topic: topic.id, partition: 0 };
    let (mut store, _) = Store::open(files.clone(), &options(1 << 30), clock()).unwrap();
    store.create_topic(&topic).unwrap();
    let mut both = group(partition, 0, 1, 10);
    let owner = OffsetOwner::Group(GroupId::new("p").unwrap());
    let key = OffsetKey { owner, partition };
    let value = both.effects.offsets[0].1.clone().map(|c| CommittedOffset { offset: 9, ..c });
    both.effects.offsets.push((key.clone(), value));
    store.commit(both).unwrap();
    store.close().unwrap();
    let (_, recovered) = Store::open(files, &options(1 << 30), clock()).unwrap();
    assert_eq!(recovered.offsets.len(), 2);
    assert!(recovered.offsets.iter().any(|(k, c)| *k == key && c.offset == 9));
}
