//! Deleting, moving and unlinking, with a crash at any write: what is deleted stays deleted, what
//! is moved is there once, files that are gone are not missed, and none is left over.

use std::collections::BTreeMap;

use super::tests::{clock, group, maintain, offsets, options, topic};
use super::*;
use crate::record::{Retained, split_batches};

const SEGMENT: u64 = 64 << 10;

/// Partitions by their acknowledged start and end, and what was under way.
#[derive(Default)]
struct Acknowledged {
    ends: BTreeMap<TopicPartition, (Offset, Offset)>,
    attempted: Option<(TopicPartition, (Offset, Offset))>,
}

fn starts(starts: Vec<(TopicPartition, Offset)>) -> Group {
    Group { effects: Effects { starts, ..Effects::default() }, ..Group::default() }
}

/// Appends, deletes, moves, seals and unlinks until the power goes.
fn work(files: &MemoryFiles, random: &mut fastrand::Rng) -> Acknowledged {
    let mut done = Acknowledged::default();
    let _ = try_work(files, random, &mut done);
    done
}

fn try_work(
    files: &MemoryFiles,
    random: &mut fastrand::Rng,
    done: &mut Acknowledged,
) -> Result<(), StorageError> {
    let clock = clock();
    let (mut store, _) = Store::open(Arc::new(files.clone()), &options(SEGMENT), clock.clone())?;
    let topic = topic("t", 3);
    store.create_topic(&topic)?;
    for partition in 0..3 {
        done.ends.insert(TopicPartition { topic: topic.id, partition }, (0, 0));
    }
    let partitions: Vec<TopicPartition> = done.ends.keys().copied().collect();
    for _ in 0..30 {
        let partition = partitions[random.usize(..3)];
        let (start, end) = done.ends[&partition];
        match random.u8(..10) {
            0..5 => {
                let records = random.i64(1..6);
                done.attempted = Some((partition, (start, end + records)));
                store.commit(group(partition, end, records, random.usize(10..6_000)))?;
                done.ends.insert(partition, (start, end + records));
            }
            5 => {
                let to = random.i64(start..=end);
                done.attempted = Some((partition, (to, end)));
                store.commit(starts(vec![(partition, to)]))?;
                done.ends.insert(partition, (to, end));
            }
            6 => store.roll()?,
            _ => empty_one(&mut store, random)?,
        }
        done.attempted = None;
        clock.advance(Duration::from_millis(300));
        maintain(&mut store)?;
    }
    Ok(())
}

/// Moves what lives out of one sealed segment and unlinks what is empty.
fn empty_one(store: &mut Store, random: &mut fastrand::Rng) -> Result<(), StorageError> {
    let reader = store.reader();
    let sealed: Vec<SegmentUse> = reader.segments().into_iter().filter(|s| !s.active).collect();
    let Some(victim) = sealed.get(random.usize(..sealed.len().max(1))) else { return Ok(()) };
    let mut pieces = Vec::new();
    for (partition, run) in reader.runs_of_segment(victim.segment) {
        let batches = reader.read_run(partition, &run)?;
        pieces.push(Piece::moved(partition, run, &batches));
    }
    store.replace(pieces)?;
    for segment in reader.segments().iter().filter(|s| s.live_bytes.is_none() && !s.active) {
        assert!(store.unlink(segment.segment)?);
    }
    // Sometimes only the next start removes the file.
    if random.bool() { reader.remove_unlinked() } else { Ok(()) }
}

fn check(files: &MemoryFiles, done: &Acknowledged, context: &str) {
    let opened = Store::open(Arc::new(files.clone()), &options(SEGMENT), clock());
    let (store, recovered) = opened.unwrap_or_else(|error| panic!("{context}: {error}"));
    let reader = store.reader();
    for (&partition, &ends) in &done.ends {
        // The topic itself may not have been acknowledged.
        let Some(&found) = recovered.partitions.get(&partition) else {
            assert_eq!(ends, (0, 0), "{context}");
            continue;
        };
        let attempted = done.attempted.filter(|(p, _)| *p == partition).map(|(_, ends)| ends);
        assert!(found == ends || Some(found) == attempted, "{context}: {found:?} not {ends:?}");
        let expected: Vec<Offset> = (found.0..found.1).collect();
        assert_eq!(offsets(&reader, partition, found.0), expected, "{context}");
        let runs = reader.runs(partition);
        let gapless = runs.windows(2).all(|pair| pair[0].end_offset == pair[1].first_offset);
        assert!(gapless && runs.iter().all(|run| run.first_offset >= found.0), "{context}");
    }
    let segments: Vec<u64> = reader.segments().iter().map(|s| s.segment).collect();
    let names: Vec<String> = segments.iter().map(|n| format!("{n:010}.redb")).collect();
    let mut present = files.list("segments").unwrap();
    present.sort();
    assert_eq!(present, names, "{context}: files and segments");
}

#[test]
fn a_crash_at_any_write_keeps_what_lives_and_nothing_else() {
    for seed in 0..6 {
        let whole = MemoryFiles::new();
        let all = work(&whole, &mut fastrand::Rng::with_seed(seed));
        check(&whole, &all, &format!("seed {seed}, no crash"));
        let operations = whole.operations();
        let mut random = fastrand::Rng::with_seed(seed ^ 0xc4a5);
        for at in (seed..operations).step_by(11) {
            let files = MemoryFiles::new();
            files.power_off_at(at);
            let done = work(&files, &mut fastrand::Rng::with_seed(seed));
            let context = format!("seed {seed}, power off at operation {at} of {operations}");
            let image = files.crash_image(|n| random.usize(..n));
            // Crash again while recovering, then recover for good.
            image.power_off_at(random.u64(..60));
            drop(Store::open(Arc::new(image.clone()), &options(SEGMENT), clock()));
            let image = image.crash_image(|n| random.usize(..n));
            check(&image, &done, &context);
        }
    }
}

#[test]
fn a_moved_run_is_read_where_it_is_now() {
    let files = Arc::new(MemoryFiles::new());
    let topic = topic("t", 1);
    let partition = TopicPartition { topic: topic.id, partition: 0 };
    let (mut store, _) = Store::open(files.clone(), &options(1 << 30), clock()).unwrap();
    store.create_topic(&topic).unwrap();
    for from in (0..60).step_by(6) {
        store.commit(group(partition, from, 6, 3_000)).unwrap();
        if from == 30 {
            store.roll().unwrap();
        }
    }
    store.commit(starts(vec![(partition, 8)])).unwrap();
    let reader = store.reader();
    let (_, run) = reader.runs_of_segment(1)[0];
    let stale = Piece::moved(partition, run, &reader.read_run(partition, &run).unwrap());
    store
        .replace(vec![Piece::moved(partition, run, &reader.read_run(partition, &run).unwrap())])
        .unwrap();
    let refused = store.replace(vec![stale]).unwrap();
    assert_eq!(refused, Replaced { bytes: 0, refused: 1 }, "it is not there any more");
    assert!(store.unlink(1).unwrap());
    assert!(!store.unlink(1).unwrap());
    assert!(!store.unlink(2).unwrap(), "the active one stays");
    let expected: Vec<Offset> = (8..60).collect();
    for from in [8, 9, 35, 36, 37, 59] {
        let at = usize::try_from(from - 8).unwrap();
        assert_eq!(offsets(&reader, partition, from), expected[at..]);
    }
    assert_eq!(reader.find_timestamp(partition, 95, 8, 60).unwrap().unwrap().base_offset(), 10);
    assert_eq!(files.list("segments").unwrap().len(), 2);
    reader.remove_unlinked().unwrap();
    assert_eq!(files.list("segments").unwrap().len(), 1);
    drop(store);
    let (store, recovered) = Store::open(files, &options(1 << 30), clock()).unwrap();
    assert_eq!(recovered.partitions[&partition], (8, 60));
    assert_eq!(offsets(&store.reader(), partition, 8), expected);
}

#[test]
fn what_compaction_took_out_stays_out_when_its_segment_is_gone() {
    let files = Arc::new(MemoryFiles::new());
    let topic = topic("t", 1);
    let partition = TopicPartition { topic: topic.id, partition: 0 };
    let (mut store, _) = Store::open(files.clone(), &options(1 << 30), clock()).unwrap();
    store.create_topic(&topic).unwrap();
    store.commit(group(partition, 0, 10, 100)).unwrap();
    store.roll().unwrap();
    store.commit(group(partition, 10, 10, 100)).unwrap();
    let reader = store.reader();
    let compact = |store: &mut Store, keep: fn(Offset) -> bool| {
        let (_, run) = reader.runs_of_segment(reader.segments()[0].segment)[0];
        let mut left = Vec::new();
        for batch in reader.read_run(partition, &run).unwrap() {
            match batch.retain(|sketch| keep(sketch.offset)).unwrap() {
                Retained::All => left.push(batch),
                Retained::Some(kept) => left.push(kept),
                Retained::Nothing => {}
            }
        }
        store.replace(vec![Piece::compacted(partition, run, &left, TimestampMs::MAX)]).unwrap();
    };
    compact(&mut store, |offset| offset % 5 == 4);
    assert!(store.unlink(1).unwrap());
    store.roll().unwrap();
    let all: Vec<Offset> = [4, 9].into_iter().chain(10..20).collect();
    assert_eq!(offsets(&reader, partition, 0), all);
    assert_eq!(offsets(&reader, partition, 5), all[1..], "from a gap");
    compact(&mut store, |_| false);
    assert_eq!(offsets(&reader, partition, 0), all[2..]);
    drop(store);
    let (store, _) = Store::open(files, &options(1 << 30), clock()).unwrap();
    assert_eq!(offsets(&store.reader(), partition, 0), all[2..]);
}

/// Which offsets are there, and which are told to be unreadable.
fn read_all(files: MemoryFiles, partition: TopicPartition) -> (Vec<Offset>, Vec<Offset>) {
    let (store, recovered) = Store::open(Arc::new(files), &options(1 << 30), clock()).unwrap();
    let (_, end) = recovered.partitions[&partition];
    let (mut next, mut found, mut told) = (0, Vec::new(), Vec::new());
    while next < end {
        match store.reader().read(partition, next, end, 1 << 20) {
            Ok(stretches) if stretches.is_empty() => break,
            Ok(stretches) => {
                for batch in stretches.into_iter().flat_map(split_batches) {
                    let batch = batch.unwrap();
                    found.push(batch.base_offset());
                    next = batch.next_offset();
                }
            }
            Err(StorageError::Corrupt { offset, end_offset, .. }) => {
                told.extend(offset.max(next)..end_offset);
                next = end_offset;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (found, told)
}

#[test]
fn a_chunk_that_is_hidden_between_compacted_ones_is_missed() {
    let files = MemoryFiles::new();
    let topic = topic("t", 1);
    let partition = TopicPartition { topic: topic.id, partition: 0 };
    let opened = Store::open(Arc::new(files.clone()), &options(1 << 30), clock());
    let (mut store, _) = opened.unwrap();
    store.create_topic(&topic).unwrap();
    for run in 0..3 {
        store.commit(group(partition, run * 10, 10, 100)).unwrap();
        store.roll().unwrap();
    }
    let reader = store.reader();
    let mut pieces = Vec::new();
    for run in reader.runs(partition) {
        let mut batches = reader.read_run(partition, &run).unwrap();
        // Nothing is left of the second.
        batches.retain(|batch| batch.base_offset() % 5 == 3 && run.first_offset != 10);
        pieces.push(Piece::compacted(partition, run, &batches, TimestampMs::MAX));
    }
    store.replace(pieces).unwrap();
    store.close().unwrap();
    assert_eq!(read_all(files.copy(), partition), (vec![3, 8, 23, 28], vec![]));
    for (hidden, left) in [(0, vec![23, 28]), (10, vec![3, 8, 23, 28]), (20, vec![3, 8])] {
        let files = files.copy();
        let name = segment::file_name(4);
        let backend = files::Backend(files.open(&name, OpenMode::Existing).unwrap());
        let database = segment::open_database(backend, &name, false).unwrap();
        let transaction = database.begin_write().unwrap();
        let key = (&topic.id.to_bytes(), 0, hidden);
        let mut chunks = transaction.open_table(tables::CHUNKS).unwrap();
        assert!(chunks.remove(key).unwrap().is_some(), "there is a chunk at {hidden}");
        drop(chunks);
        transaction.commit().unwrap();
        database.close().unwrap();
        assert_eq!(read_all(files, partition), (left, (hidden..hidden + 10).collect()));
    }
}

#[test]
fn who_reads_on_behind_what_is_unreadable_gets_on() {
    let files = MemoryFiles::new();
    let topic = topic("t", 1);
    let partition = TopicPartition { topic: topic.id, partition: 0 };
    let opened = Store::open(Arc::new(files.clone()), &options(1 << 30), clock());
    let (mut store, _) = opened.unwrap();
    store.create_topic(&topic).unwrap();
    for offset in 0..40 {
        store.commit(group(partition, offset, 1, 100)).unwrap();
    }
    store.close().unwrap();
    // Keys out of their order, so that a search goes astray.
    let (mut told, place) = (0, [&topic.id.to_bytes()[..], &[0; 4]].concat());
    for (offset, flip) in (0..40_u64).flat_map(|offset| (0..6).map(move |bit| (offset, 1 << bit))) {
        let files = files.copy();
        files.damage(&segment::file_name(1), |bytes| {
            let key = [&place[..], &offset.to_le_bytes()].concat();
            for at in 0..bytes.len() - key.len() {
                if bytes[at..].starts_with(&key) {
                    bytes[at + place.len()] ^= flip;
                }
            }
        });
        let opened = Store::open(Arc::new(files), &options(1 << 30), clock());
        let (store, _) = opened.unwrap();
        let mut next = 0;
        while next < 40 {
            match store.reader().read(partition, next, 40, 200) {
                Ok(stretches) => {
                    let last = stretches.into_iter().flat_map(split_batches).last();
                    next = last.unwrap().unwrap().next_offset();
                }
                Err(StorageError::Corrupt { end_offset, .. }) => {
                    assert!(end_offset > next, "at {next} told of what ends at {end_offset}");
                    (told, next) = (told + 1, end_offset);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(told > 0);
}

/// Reads of the files that lookups take in a log of so many chunks, all of it sealed; the most of
/// any by time, and by offset.
fn reads_of_lookups(chunks: i64) -> (u64, u64) {
    let files = Arc::new(MemoryFiles::new());
    let topic = topic("t", 1);
    let partition = TopicPartition { topic: topic.id, partition: 0 };
    let (mut store, _) = Store::open(files.clone(), &options(4 << 20), clock()).unwrap();
    store.create_topic(&topic).unwrap();
    for offset in 0..chunks {
        store.commit(group(partition, offset, 1, 8_000)).unwrap();
        maintain(&mut store).unwrap();
    }
    store.roll().unwrap();
    drop(store);
    let (mut by_time, mut by_offset) = (0, 0);
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..20 {
        // Opened again each time: nothing is in a cache.
        let (store, _) = Store::open(files.clone(), &options(4 << 20), clock()).unwrap();
        let reader = store.reader();
        let offset = random.i64(0..chunks);
        let before = files.reads();
        let found = reader.find_timestamp(partition, offset * 10 - 3, 0, chunks).unwrap();
        assert_eq!(found.unwrap().base_offset(), offset);
        by_time = by_time.max(files.reads() - before);
        drop((store, reader));
        let (store, _) = Store::open(files.clone(), &options(4 << 20), clock()).unwrap();
        let before = files.reads();
        store.reader().read(partition, offset, chunks, 1).unwrap();
        by_offset = by_offset.max(files.reads() - before);
    }
    (by_time, by_offset)
}

#[test]
fn lookups_do_not_grow_with_the_log() {
    let (time, offset) = reads_of_lookups(600);
    let (time_ten, offset_ten) = reads_of_lookups(6_000);
    assert!(time_ten <= time * 3 / 2, "by time: {time} reads, in ten times the log {time_ten}");
    assert!(offset_ten <= offset + 2, "by offset: {offset} reads, then {offset_ten}");
    // A run is 128 of these chunks.
    assert!(time_ten < 300, "{time_ten} reads");
}
