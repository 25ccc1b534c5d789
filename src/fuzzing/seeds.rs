//! What the fuzzers begin with where there is no corpus yet: one good example of everything. After
//! a change of a format that makes the corpus worthless, it is deleted and begun anew with
//! `cargo test --lib fuzzing::seeds -- --ignored`.

use std::fs;
use std::path::{Path, PathBuf};

use super::tests::corpus;
use super::{TARGETS, request};
use crate::record::{BatchBuilder, Compression};
use crate::storage::fuzzing::seeds as stored;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(folder: &str, extension: &str) -> Vec<Vec<u8>> {
    let paths = fs::read_dir(root(folder)).unwrap().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    paths.map(|path| fs::read(path).unwrap()).collect()
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// With the bytes before it that say how it is taken.
fn taken(how: &[u8], data: &[u8]) -> Vec<u8> {
    [how, data].concat()
}

fn batches() -> Vec<Vec<u8>> {
    let of = |(id, codec): (usize, &Compression)| {
        let mut builder = BatchBuilder::new(*codec);
        for time in 0..5 {
            builder.push(time, Some(b"key"), Some(&[time as u8; 40]), &[]).unwrap();
        }
        taken(&[0x80 | id as u8, 0x55], builder.build().unwrap().as_bytes())
    };
    Compression::ALL.iter().enumerate().map(of).collect()
}

fn answers() -> Vec<Vec<u8>> {
    let text = fs::read(root("tests/fixtures/packed.json")).unwrap();
    let examples: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let kinds = ["malformed", "answers"].iter().flat_map(|kind| examples[kind].as_array().unwrap());
    let of = |example: &serde_json::Value| {
        let hex = example["answer"].as_str().unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let answer: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        taken(&[0, example["records"].as_u64().unwrap() as u8], &answer)
    };
    kinds.map(of).collect()
}

#[test]
#[ignore = "writes into fuzz/corpus"]
fn seeds() {
    for target in TARGETS.iter().map(|target| target.name).chain(["sdk"]) {
        let seeds = match target {
            "batch" => batches(),
            "config" => texts(&["data = \"d\"\nkafka = [\"127.0.0.1:9092\", \"[::1]:1\"]\n\
                                 http = \"127.0.0.1:0\"\nsegment-size = \"512MiB\"\n\
                                 retention-hours = -1\ninsecure = true\n"]),
            "http" => texts(&[
                "\0[{\"key\":\"k\",\"value\":\"v\",\"headers\":[{\"key\":\"h\"}],\"partition\":1,\
                 \"timestamp\":7}]",
                "\0{\"value_base64\":\"AAE=\"}\n{\"key\":null}\n",
                "\x01{\"name\":\"t\",\"partitions\":3,\"config\":{\"a\":\"b\"}}",
                "\x02{\"file\":\"f\",\"manifest\":\"\",\"components\":{\"a\":\"AAE=\"},\
                 \"unreadable\":{}}",
                "\x03{\"to\":\"/backup\"}",
                "\x04partition=1&offset=earliest&from=0:1,2:3&max=5&wait_ms=7",
            ]),
            "manifest" => files("tests/manifests", "toml"),
            "packed" => answers(),
            "redo" => stored::redo_files(),
            "request" => request::seeds(),
            "sdk" => {
                let shape = |time: u8| [0x80 | 7, 0x1a, time, b'k', b'e', b'v', b'h', b'x'];
                (0..8).map(|time| [shape(time), shape(time ^ 3)].concat()).collect()
            }
            _ => stored::rows(),
        };
        fs::create_dir_all(corpus(target)).unwrap();
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(corpus(target).join(format!("seed-{number}")), seed).unwrap();
        }
    }
}
