//! A data folder that this version of the format was written with, as it lay on the disk when its
//! broker was killed. It is opened and everything is there; one of a newer version is refused.
//!
//! After a change of the format (`FORMAT_VERSION` in `src/storage/tables.rs`) the folder is made
//! anew, beside those of the versions that can still be read:
//! `cargo test --test it format -- --ignored`

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use millstream::kafka::messages::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic, ErrorCode,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource, IncrementalAlterableConfig,
    Str,
};
use millstream::record::{BatchBuilder, Compression, Header, RecordBatch};
use millstream::types::ProducerId;
use redb::{ReadableTable, TableDefinition};
use serde_json::{Value, json};

use crate::client::{Client, batch};
use crate::groups::{commit_in, join};
use crate::settings::described_of;
use crate::util::{Broker, run, stderr, succeeded, until};

/// Keeps what is in the folder from getting too old while it lies here.
const FOR_EVER: [&str; 4] =
    ["--offsets-retention-minutes", "2147483647", "--producer-expiration-ms", "31536000000"];
const KEPT: (&str, &str) = ("retention.ms", "-1");

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats")
}

fn get(broker: &Broker, path: &str) -> Value {
    let mut answer = ureq::get(format!("{}{path}", broker.http())).call().unwrap();
    answer.body_mut().read_json().unwrap()
}

/// Everything that can be seen of a broker from outside and does not change by itself.
fn seen(broker: &Broker) -> Value {
    let topics = get(broker, "/v1/topics");
    let mut records = BTreeMap::new();
    for topic in topics.as_array().unwrap() {
        let name = topic["name"].as_str().unwrap();
        for partition in 0..topic["partitions"].as_array().unwrap().len() {
            records.insert(format!("{name}/{partition}"), records_of(broker, name, partition));
        }
    }
    let mut client = Client::connect(broker.kafka()).unwrap();
    let retention = described_of(&mut client, (4, "1"), "log.retention.ms");
    let mut pipelines = get(broker, "/v1/pipelines");
    for pipeline in pipelines.as_array_mut().unwrap() {
        // It may still be starting.
        pipeline.as_object_mut().unwrap().remove("state");
    }
    json!({
        "topics": topics,
        "records": records,
        "groups": get(broker, "/v1/groups"),
        "pipelines": pipelines,
        "log.retention.ms": retention.0,
    })
}

/// Where a partition begins and ends, and its records.
fn records_of(broker: &Broker, topic: &str, partition: usize) -> Value {
    let (mut from, mut records) = ("earliest".to_owned(), Vec::new());
    loop {
        let query = format!("partition={partition}&offset={from}");
        let read = get(broker, &format!("/v1/topics/{topic}/records?{query}"));
        records.extend(read["records"].as_array().unwrap().iter().cloned());
        let at = &read["positions"][0];
        if at["next_offset"] == at["high_watermark"] {
            return json!({
                "start": at["log_start_offset"],
                "end": at["high_watermark"],
                "records": records,
            });
        }
        // A read may end where a segment does.
        from = at["next_offset"].to_string();
    }
}

fn idempotent() -> RecordBatch {
    batch(&["exactly once".to_owned()], Some((ProducerId { id: 0, epoch: 0 }, 0)))
}

fn keyed(codec: Compression, keys: &[&str]) -> RecordBatch {
    let mut builder = BatchBuilder::new(codec);
    let headers = [Header { key: Bytes::from_static(b"h"), value: None }];
    for (at, key) in (1_700_000_000_000..).zip(keys) {
        let value = format!("{key} with {codec}, {}", "and so on ".repeat(20));
        builder.push(at, Some(key.as_bytes()), Some(value.as_bytes()), &headers).unwrap();
    }
    builder.build().unwrap()
}

/// Fills a folder with some of everything.
fn fill(broker: &Broker, folder: &Path) {
    let mut client = Client::connect(broker.kafka()).unwrap();
    let table = [
        KEPT,
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "1000000000000000"),
    ];
    client.create_topic("table", &table);
    client.create_topic("t", &[KEPT]);
    client.create_topic("in", &[KEPT]);
    for _ in 0..10 {
        client.produce("table", 0, &keyed(Compression::Zstd, &["a", "b"])).unwrap();
    }
    client.produce("table", 0, &keyed(Compression::None, &["end"])).unwrap();
    for codec in Compression::ALL {
        client.produce("t", 0, &keyed(codec, &["x", "y", "z"])).unwrap();
    }
    assert_eq!(client.producer_id().unwrap(), ProducerId { id: 0, epoch: 0 });
    assert_eq!(client.produce("t", 0, &idempotent()).unwrap().base_offset, 15);
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 4 }];
    let topics = vec![DeleteRecordsTopic { name: Str::from("t"), partitions }];
    let deleted = client.call(&DeleteRecordsRequest { topics, timeout_ms: 1_000 }, 2).unwrap();
    assert_eq!(deleted.topics[0].partitions[0].error_code, ErrorCode::None);
    let retention = IncrementalAlterableConfig {
        name: Str::from("log.retention.ms"),
        value: Some(Str::from("123456789")),
        ..Default::default()
    };
    let resource = IncrementalAlterConfigsResource {
        resource_type: 4,
        resource_name: Str::from(""),
        configs: vec![retention],
    };
    let alter = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    assert_eq!(client.call(&alter, 1).unwrap().responses[0].error_code, ErrorCode::None);

    let component = "plugins/non-empty/non-empty.wasm";
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(component), folder.join("f.wasm")).unwrap();
    let manifest = folder.join("m.toml");
    let text = "[[topic]]\nname = \"out\"\nconfig = { \"retention.ms\" = -1 }\n\n\
                [plugin.f]\ncomponent = \"f.wasm\"\n\n[[pipeline]]\nname = \"p\"\n\
                source = \"in\"\noutput = \"out\"\n\n[[pipeline.step]]\nfilter = \"f\"\n";
    fs::write(&manifest, text).unwrap();
    succeeded(&broker.run(&["deploy", manifest.to_str().unwrap()]));
    for value in ["first", "", "second"] {
        client.produce("in", 0, &batch(&[value.to_owned()], None)).unwrap();
    }
    until(|| get(broker, "/v1/pipelines")[0]["partitions"][0]["checkpoint"] == 3);
    // Of each key the last, but for what lies in the segment that is written.
    until(|| client.read_all("table", 0).unwrap().len() <= 3);
    let member = join(&mut client, "with-members");
    assert_eq!(commit_in(&mut client, "with-members", &member, 1, 9), ErrorCode::None);
    assert_eq!(commit_in(&mut client, "alone", "", -1, 9), ErrorCode::None);
    // The last is durable in the redo file alone.
    client.produce("t", 0, &batch(&["the last".to_owned()], None)).unwrap();
}

/// What is in the data folder, but for what is made again: compiled plugins.
fn pack(data: &Path) -> Vec<u8> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for folder in ["", "segments"] {
        let mut entries: Vec<_> =
            fs::read_dir(data.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries.iter().filter(|path| path.is_file() && !path.ends_with("LOCK")) {
            let name = path.strip_prefix(data).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read(path).unwrap()));
        }
    }
    zstd::encode_all(&postcard::to_stdvec(&files).unwrap()[..], 19).unwrap()
}

fn unpack(version: u64, data: &Path) {
    let packed = fs::read(fixtures().join(format!("{version}.zst"))).unwrap();
    let bytes = zstd::decode_all(&packed[..]).unwrap();
    let files: Vec<(String, Vec<u8>)> = postcard::from_bytes(&bytes).unwrap();
    fs::create_dir_all(data.join("segments")).unwrap();
    for (name, bytes) in files {
        fs::write(data.join(name), bytes).unwrap();
    }
}

const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("format");

/// The version that a file says it has; `newer` makes it one more.
fn version(path: &Path, newer: bool) -> u64 {
    let database = redb::Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut table = transaction.open_table(FORMAT).unwrap();
    let version = table.get("version").unwrap().unwrap().value();
    if newer {
        table.insert("version", version + 1).unwrap();
    }
    drop(table);
    transaction.commit().unwrap();
    version
}

/// The version of this program.
fn current() -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start_in(folder.path(), &[]);
    assert!(broker.terminate().success());
    version(&folder.path().join("meta.redb"), false)
}

#[test]
#[ignore = "writes tests/fixtures/formats"]
fn a_folder_of_this_format_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut broker = Broker::start_in(&data, &FOR_EVER);
    fill(&broker, folder.path());
    let expected = seen(&broker);
    broker.kill();
    assert!(fs::read(data.join("redo")).unwrap().starts_with(b"msredo\0"));
    let packed = pack(&data);
    assert!(packed.len() < 200_000, "{} bytes", packed.len());
    let version = version(&data.join("meta.redb"), false);
    fs::create_dir_all(fixtures()).unwrap();
    fs::write(fixtures().join(format!("{version}.zst")), packed).unwrap();
    let text = serde_json::to_string_pretty(&expected).unwrap() + "\n";
    fs::write(fixtures().join(format!("{version}.json")), text).unwrap();
}

#[test]
fn a_folder_of_this_format_is_read_as_it_was_written() {
    let version = current();
    let folder = tempfile::tempdir().unwrap();
    unpack(version, folder.path());
    let checked = succeeded(&run(&["check", folder.path().to_str().unwrap()]));
    assert!(checked.contains("everything is as it was written"), "{checked}");
    let broker = Broker::start_in(folder.path(), &FOR_EVER);
    let expected = fs::read(fixtures().join(format!("{version}.json"))).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    until(|| get(&broker, "/v1/pipelines")[0]["state"] == "running");
    let seen = seen(&broker);
    for (what, expected) in expected.as_object().unwrap() {
        assert_eq!(&seen[what], expected, "{what}");
    }
    let mut client = Client::connect(broker.kafka()).unwrap();
    let again = client.produce("t", 0, &idempotent()).unwrap();
    assert_eq!((again.error_code, again.base_offset), (ErrorCode::None, 15), "it was known");
    assert!(client.producer_id().unwrap().id > 0, "no id is handed out twice");
    client.produce("in", 0, &batch(&["third".to_owned()], None)).unwrap();
    until(|| client.read_all("out", 0).unwrap().len() == 3);
}

#[test]
fn a_folder_of_a_newer_format_is_refused_by_its_file() {
    let version_of_this = current();
    for file in ["meta.redb", "segments/"] {
        let folder = tempfile::tempdir().unwrap();
        unpack(version_of_this, folder.path());
        // The one that is written: its number is the greatest.
        let segments = fs::read_dir(folder.path().join("segments")).unwrap();
        let last = segments.map(|entry| entry.unwrap().path()).max().unwrap();
        let path = if file == "meta.redb" { folder.path().join(file) } else { last };
        version(&path, true);
        let newer = version_of_this + 1;
        let refused = run(&[
            "serve",
            "--kafka",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--data",
            folder.path().to_str().unwrap(),
        ]);
        assert!(!refused.status.success());
        let told = stderr(&refused);
        let expected = format!("has format version {newer}, this program reads version");
        assert!(told.contains(file) && told.contains(&expected), "{told}");
        let repaired = run(&["check", "--repair", folder.path().to_str().unwrap()]);
        assert!(!repaired.status.success(), "it is not damaged, and left as it is");
        assert_eq!(version(&path, false), newer);
    }
}
