//! What becomes of old records, seen through the Kafka port of the real process: deleted by a
//! client, by age, by size; compacted; and what is deleted stays deleted after a kill.

use std::time::{Duration, Instant};

use millstream::kafka::messages::{
    ApiKey, DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic, ErrorCode, Str,
};
use millstream::record::{BatchBuilder, Compression, Record, RecordBatch};

use crate::client::{Client, batch};
use crate::util::{Broker, until};

fn delete(client: &mut Client, topic: &str, offset: i64, version: i16) -> (ErrorCode, i64) {
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset }];
    let topics = vec![DeleteRecordsTopic { name: Str::from(topic), partitions }];
    let request = DeleteRecordsRequest { topics, timeout_ms: 1_000 };
    let response = client.call(&request, version).unwrap();
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.low_watermark)
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn keyed(key: &str, value: Option<&str>) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(now_ms(), Some(key.as_bytes()), value.map(str::as_bytes), &[]).unwrap();
    builder.build().unwrap()
}

#[test]
fn records_are_deleted_and_stay_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start_in(folder.path(), &[]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.create_topic("t", &[]);
    client.create_topic("table", &[("cleanup.policy", "compact")]);
    for _ in 0..10 {
        client.produce("t", 0, &batch(&["a".to_owned(), "b".to_owned()], None)).unwrap();
    }
    let mut start = 0;
    for version in ApiKey::DeleteRecords.versions() {
        start += 3;
        assert_eq!(delete(&mut client, "t", start, version), (ErrorCode::None, start));
    }
    assert_eq!(delete(&mut client, "t", 2, 2), (ErrorCode::None, start), "it never goes back");
    assert_eq!(delete(&mut client, "t", 21, 2), (ErrorCode::OffsetOutOfRange, -1));
    assert_eq!(delete(&mut client, "t", -2, 2), (ErrorCode::OffsetOutOfRange, -1));
    assert_eq!(delete(&mut client, "none", 0, 2), (ErrorCode::UnknownTopicOrPartition, -1));
    assert_eq!(delete(&mut client, "table", 0, 2), (ErrorCode::PolicyViolation, -1));
    broker.kill();
    drop(broker);

    let broker = Broker::start_in(folder.path(), &[]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    assert_eq!((client.offset_at("t", 0, -2), client.offset_at("t", 0, -1)), (start, 20));
    assert_eq!(client.offset_at("t", 0, 0), start, "by time as well");
    assert_eq!(client.offset_at("t", 0, -3), start, "and by the greatest time");
    let gone = client.fetch("t", 0, start - 1, 0).unwrap();
    let gone = &gone.responses[0].partitions[0];
    assert_eq!(gone.error_code, ErrorCode::OffsetOutOfRange);
    let left = client.fetch("t", 0, start, 0).unwrap();
    let left = &left.responses[0].partitions[0];
    assert_eq!((left.error_code, left.log_start_offset), (ErrorCode::None, start));
    assert_eq!(delete(&mut client, "t", -1, 2), (ErrorCode::None, 20));
    assert_eq!(client.produce("t", 0, &batch(&["c".to_owned()], None)).unwrap().base_offset, 20);
}

#[test]
fn old_records_go_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start_in(folder.path(), &["--segment-size", "1MiB"]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.create_topic("short", &[("retention.ms", "1000")]);
    client.create_topic("small", &[("retention.bytes", "2000000"), ("retention.ms", "-1")]);
    client.create_topic("ever", &[("retention.ms", "-1")]);
    let large = batch(&["x".repeat(500_000)], None);
    for topic in ["short", "small", "ever"] {
        for _ in 0..10 {
            client.produce(topic, 0, &large).unwrap();
        }
    }
    until(|| client.offset_at("short", 0, -2) == 10);
    until(|| client.offset_at("small", 0, -2) >= 5);
    assert!(client.offset_at("small", 0, -2) <= 6, "two million bytes stay");
    assert_eq!(client.offset_at("ever", 0, -2), 0);
    assert_eq!(client.read_all("ever", 0).unwrap().len(), 10);
    // 15 MB were written, 7 MB live; a segment may take twice its size while redb grows it.
    let files = || std::fs::read_dir(folder.path().join("segments")).unwrap().count();
    until(|| files() <= 10);
}

#[test]
fn a_compacted_topic_keeps_the_last_of_each_key() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "100"),
    ];
    client.create_topic("table", &settings);
    for i in 0..20 {
        client.produce("table", 0, &keyed("a", Some(&i.to_string()))).unwrap();
        client.produce("table", 0, &keyed("b", Some(&i.to_string()))).unwrap();
    }
    client.produce("table", 0, &keyed("a", None)).unwrap();
    client.produce("table", 0, &keyed("end", Some("1"))).unwrap();
    let view = |records: Vec<Record>| -> Vec<(i64, String, Option<String>)> {
        let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let row = |r: Record| (r.offset, text(r.key.unwrap()), r.value.map(text));
        records.into_iter().map(row).collect()
    };
    let expected =
        [(39, "b".to_owned(), Some("19".to_owned())), (41, "end".to_owned(), Some("1".to_owned()))];
    until(|| view(client.read_all("table", 0).unwrap()) == expected);
    assert_eq!((client.offset_at("table", 0, -2), client.offset_at("table", 0, -1)), (0, 42));
}

/// The times of small produce requests, one after the other, sorted.
fn latencies(client: &mut Client, count: usize) -> Vec<Duration> {
    let small = batch(&["x".repeat(1_000)], None);
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let started = Instant::now();
            client.produce("ever", 0, &small).unwrap();
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times
}

#[test]
#[ignore = "a measurement: prints how long producers wait while the log is moved and compacted"]
fn nobody_waits_long_for_the_cleaner() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start_in(folder.path(), &["--segment-size", "16MiB"]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.create_topic("ever", &[("retention.ms", "-1")]);
    client.create_topic("plain", &[("retention.ms", "-1")]);
    client.create_topic("small", &[("retention.bytes", "4000000"), ("retention.ms", "-1")]);
    let table = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    client.create_topic("table", &table);
    for (what, topics) in
        [("alone", &[][..]), ("plain", &["plain", "plain"]), ("cleaned", &["small", "table"])]
    {
        let stop = std::sync::atomic::AtomicBool::new(false);
        let times = std::thread::scope(|scope| {
            for topic in topics {
                let (address, stop) = (broker.kafka().to_owned(), &stop);
                scope.spawn(move || {
                    let mut client = Client::connect(&address).unwrap();
                    let mut number = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let value = "y".repeat(100_000);
                        let batch = keyed(&format!("k{}", number % 50), Some(&value));
                        client.produce(topic, 0, &batch).unwrap();
                        number += 1;
                        // The same load in each case, far below what the disk can do.
                        std::thread::sleep(Duration::from_millis(20));
                    }
                });
            }
            let times = latencies(&mut client, 5_000);
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            times
        });
        let at = |share: usize| times[times.len() * share / 1_000 - 1];
        println!(
            "{what}: p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
            at(500),
            at(990),
            at(999),
            at(1_000)
        );
    }
    println!("{}", broker.log().lines().filter(|line| line.contains("segment")).count());
}
