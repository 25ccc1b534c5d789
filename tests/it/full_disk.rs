//! A disk that is really full: a small file system in memory, mounted for the test. Where none can
//! be mounted the tests say so and do nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millstream::kafka::messages::{
    DeleteTopicsRequest, ErrorCode, OffsetCommitRequest, OffsetCommitRequestPartition,
    OffsetCommitRequestTopic, Str,
};
use millstream::record::{BatchBuilder, Compression, RecordBatch};
use millstream::types::ProducerId;

use crate::client::{Client, batch};
use crate::util::{Broker, stderr, stdout, succeeded, until};

const MIB: usize = 1 << 20;

/// A file system of a size, gone when this is dropped.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(mib: usize) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m");
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self { folder }),
            other => {
                println!("skipped, no file system can be mounted here: {other:?}");
                None
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Takes all the room that is left, but for so much.
    fn fill(&self, left: usize) -> PathBuf {
        let path = self.folder.path().join("filler");
        let room = rustix::fs::statvfs(self.folder.path()).unwrap();
        let free = usize::try_from(room.f_bavail * room.f_frsize).unwrap();
        // As much as there is: the last write ends it.
        let filled = fs::write(&path, vec![1; free.saturating_sub(left)]);
        println!("filled {:?}", filled.map(|()| free));
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

/// A value that compresses to nothing and one that says its number.
fn large(number: usize, producer: ProducerId, sequence: i32) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.producer(producer, sequence);
    let value = format!("{number} {}", "x".repeat(500_000));
    builder.push(1_700_000_000_000, None, Some(value.as_bytes()), &[]).unwrap();
    builder.build().unwrap()
}

/// Produces until it is told that the disk is full. How many batches were acknowledged.
fn produce_until_full(client: &mut Client, topic: &str, id: ProducerId) -> usize {
    for number in 0..1_000 {
        let sequence = i32::try_from(number).unwrap();
        let answer = client.produce(topic, 0, &large(number, id, sequence)).unwrap();
        match answer.error_code {
            ErrorCode::None => assert_eq!(answer.base_offset, i64::from(sequence)),
            ErrorCode::KafkaStorageError => return number,
            other => panic!("{other:?}"),
        }
    }
    panic!("the disk is never full");
}

fn numbers(client: &mut Client, topic: &str) -> Vec<usize> {
    let records = client.read_all(topic, 0).unwrap().into_iter();
    let number = |value: bytes::Bytes| {
        let text = String::from_utf8(value.to_vec()).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    records.map(|record| number(record.value.unwrap())).collect()
}

/// Commits an offset of a group.
fn commit(client: &mut Client, group: &str) -> ErrorCode {
    let partitions =
        vec![OffsetCommitRequestPartition { committed_offset: 1, ..Default::default() }];
    let request = OffsetCommitRequest {
        group_id: Str::from(group),
        topics: vec![OffsetCommitRequestTopic {
            name: Str::from("small"),
            partitions,
            ..Default::default()
        }],
        ..Default::default()
    };
    client.call(&request, 8).unwrap().topics[0].partitions[0].error_code
}

fn health(broker: &Broker) -> String {
    let answer = ureq::get(format!("{}/health", broker.http()))
        .config()
        .http_status_as_error(false)
        .build()
        .call();
    answer.unwrap().body_mut().read_to_string().unwrap()
}

fn serve(data: &Path, args: &[&str]) -> Broker {
    let mut all = vec!["--segment-size", "8MiB", "--tail-size", "64KiB"];
    all.extend(args);
    Broker::start_in(data, &all)
}

#[test]
fn records_leave_room_and_to_delete_a_topic_makes_more() {
    let Some(disk) = SmallDisk::mount(128) else { return };
    let broker = serve(&disk.data(), &[]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    for topic in ["small", "big"] {
        client.create_topic(topic, &[("retention.ms", "-1")]);
    }
    client.produce("small", 0, &batch(&["0 first".to_owned()], None)).unwrap();
    let id = client.producer_id().unwrap();
    let count = produce_until_full(&mut client, "big", id);
    assert!(count > 50, "{count} batches");
    assert!(health(&broker).contains("bytes of the disk are free"), "{}", health(&broker));

    // Everything but records is taken, and everything is served.
    assert_eq!(numbers(&mut client, "big"), (0..count).collect::<Vec<_>>());
    let refused = client.produce("small", 0, &batch(&["1".to_owned()], None)).unwrap();
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError);
    let consumed = broker.run(&["consume", "small", "--from-beginning", "--max", "1"]);
    assert!(stdout(&consumed).contains("0 first"), "{}", stderr(&consumed));
    assert_eq!(commit(&mut client, "group"), ErrorCode::None);
    assert!(succeeded(&broker.run(&["groups"])).contains("group"));
    client.create_topic("third", &[]);

    let request = DeleteTopicsRequest {
        topic_names: vec![Str::from("big")],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let deleted = client.call(&request, 4).unwrap();
    assert_eq!(deleted.responses[0].error_code, ErrorCode::None);
    let again = batch(&["1 again".to_owned()], None);
    until(|| client.produce("small", 0, &again).unwrap().error_code == ErrorCode::None);
    assert_eq!(numbers(&mut client, "small"), [0, 1]);
    assert!(health(&broker).contains("ok"), "{}", health(&broker));
}

#[test]
fn a_disk_without_a_byte_left_serves_what_it_has_and_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let reckless = ["--min-free-disk", "0"];
    let mut broker = serve(&disk.data(), &reckless);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.create_topic("t", &[("retention.ms", "-1")]);
    client.create_topic("small", &[("retention.ms", "-1")]);
    let filler = disk.fill(20 * MIB);
    let id = client.producer_id().unwrap();
    let count = produce_until_full(&mut client, "t", id);
    assert!(count > 5, "{count} batches");
    // Small ones have their blocks already, for a while.
    let mut small = 0;
    until(|| {
        let value = batch(&[format!("{small} small")], None);
        match client.produce("small", 0, &value).unwrap().error_code {
            ErrorCode::None => small += 1,
            code => assert_eq!(code, ErrorCode::KafkaStorageError),
        }
        small >= 5 || broker.log().matches("cannot be opened again yet").count() > 0
    });
    let expected: Vec<usize> = (0..count).collect();
    assert_eq!(numbers(&mut client, "t"), expected, "{}", broker.log());
    let small_expected: Vec<usize> = (0..small).collect();
    assert_eq!(numbers(&mut client, "small"), small_expected);

    // A kill meanwhile costs nothing either.
    broker.kill();
    drop(broker);
    let broker = serve(&disk.data(), &reckless);
    let mut client = Client::connect(broker.kafka()).unwrap();
    assert_eq!(numbers(&mut client, "t"), expected);
    assert_eq!(numbers(&mut client, "small"), small_expected);
    fs::remove_file(filler).unwrap();
    let sequence = i32::try_from(count).unwrap();
    let failed = large(count, id, sequence);
    until(|| client.produce("t", 0, &failed).unwrap().error_code == ErrorCode::None);
    let twice = client.produce("t", 0, &failed).unwrap();
    assert_eq!((twice.error_code, twice.base_offset), (ErrorCode::None, i64::from(sequence)));
    assert_eq!(numbers(&mut client, "t"), (0..=count).collect::<Vec<_>>());
    assert!(health(&broker).contains("ok"), "{}", health(&broker));
}

#[test]
fn a_running_broker_goes_on_when_there_is_room_again() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let broker = serve(&disk.data(), &["--min-free-disk", "0"]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.create_topic("t", &[("retention.ms", "-1")]);
    let filler = disk.fill(20 * MIB);
    let id = client.producer_id().unwrap();
    let count = produce_until_full(&mut client, "t", id);
    broker.log_with("a write failed");
    assert_eq!(numbers(&mut client, "t"), (0..count).collect::<Vec<_>>());
    fs::remove_file(filler).unwrap();
    let failed = large(count, id, i32::try_from(count).unwrap());
    until(|| client.produce("t", 0, &failed).unwrap().error_code == ErrorCode::None);
    assert_eq!(numbers(&mut client, "t"), (0..=count).collect::<Vec<_>>());
}
