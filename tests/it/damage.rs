//! Bytes on disk that are not those that were written: told to whoever reads them and to whoever
//! looks, and nobody else notices.

use std::fs;
use std::path::{Path, PathBuf};

use millstream::kafka::messages::ErrorCode;

use crate::client::{Client, batch};
use crate::util::Broker;

fn segments(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("segments")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Changes one byte of this text, wherever it stands in the log. Returns the file.
fn damage(data: &Path, text: &str) -> PathBuf {
    let mut damaged = None;
    for path in segments(data) {
        let mut bytes = fs::read(&path).unwrap();
        let mut at = 0;
        while let Some(found) =
            bytes[at..].windows(text.len()).position(|window| window == text.as_bytes())
        {
            at += found;
            bytes[at] ^= 1;
            damaged = Some(path.clone());
        }
        if damaged.as_ref() == Some(&path) {
            fs::write(&path, bytes).unwrap();
        }
    }
    damaged.unwrap_or_else(|| panic!("{text} stands in no segment"))
}

#[test]
fn an_unreadable_chunk_is_reported_and_costs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start_in(folder.path(), &[]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("hurt").unwrap();
    client.auto_create("sound").unwrap();
    // Each is acknowledged before the next is sent, so each is a chunk of its own.
    for value in ["before it", "the one to be damaged", "behind it"] {
        for topic in ["hurt", "sound"] {
            let value = format!("{topic}: {value}");
            client.produce(topic, 0, &batch(&[value], None)).unwrap();
        }
    }
    assert!(broker.terminate().success());
    let path = damage(folder.path(), "hurt: the one to be damaged");
    let damaged = fs::read(&path).unwrap();

    let broker = Broker::start_in(folder.path(), &[]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    let mut read = |topic: &str, offset| {
        let mut response = client.fetch(topic, 0, offset, 0).unwrap();
        let partition = response.responses.remove(0).partitions.remove(0);
        (partition.error_code, partition.records.map_or(0, |records| records.len()))
    };
    let (code, bytes) = read("hurt", 0);
    assert!(code == ErrorCode::None && bytes > 0, "what is before it is read");
    // Again and again: it is counted each time and logged once.
    for _ in 0..3 {
        assert_eq!(read("hurt", 1), (ErrorCode::CorruptMessage, 0));
    }
    let (code, bytes) = read("hurt", 2);
    assert!(code == ErrorCode::None && bytes > 0, "what is behind it is read");
    assert_eq!(client.read_all("sound", 0).unwrap().len(), 3);

    let mut answer = ureq::get(format!("{}/v1/broker", broker.http())).call().unwrap();
    let answer: serde_json::Value = answer.body_mut().read_json().unwrap();
    assert_eq!(answer["counters"]["unreadable-reads"], 3);
    let places = answer["unreadable"].as_array().unwrap();
    assert_eq!(places.len(), 1);
    assert_eq!(places[0]["topic"], "hurt");
    assert_eq!((&places[0]["partition"], &places[0]["offset"]), (&0.into(), &1.into()));
    assert_eq!(places[0]["end_offset"], 2);
    let log = broker.log_with("cannot be read");
    let lines: Vec<_> = log.lines().filter(|line| line.contains("cannot be read")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("hurt") && lines[0].contains("offset=1"), "{log}");

    // The topic goes on, and nothing was deleted.
    let appended = client.produce("hurt", 0, &batch(&["more".to_owned()], None)).unwrap();
    assert_eq!((appended.error_code, appended.base_offset), (ErrorCode::None, 3));
    assert!(fs::metadata(&path).unwrap().len() >= damaged.len() as u64);
}
