//! One semantics for both kinds of world: the same work (`plugins/yardstick`), built for a typed
//! world and for the packed one, makes the same topics byte for byte. And processors in pipelines.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use millstream::pipeline::Counts;
use millstream::record::{Header, Record};

use crate::pipelines::Rig;

const PARTITIONS: i32 = 3;

fn component(name: &str) -> (String, Bytes) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/yardstick");
    let bytes = fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    (name.to_owned(), bytes.into())
}

/// Three pipelines of these plugins' worlds, each with every record of `in`: a filter, a
/// transformer that chooses partitions, and a router, each with dead letters.
fn manifest(worlds: [&str; 3]) -> String {
    let mut manifest = format!("[[topic]]\nname = 'in'\npartitions = {PARTITIONS}\n");
    let steps = [
        ("filter", "filter", ""),
        ("transformer", "transform", "config = { partitions = 3 }\n"),
        ("router", "route", "outputs = { north = 'north', south = 'south', other = 'other' }\n"),
    ];
    for ((kind, word, more), world) in steps.into_iter().zip(worlds) {
        manifest += &format!(
            "[plugin.{kind}]\ncomponent = '{world}-{kind}.wasm'\n\
             [[pipeline]]\nname = '{kind}'\nsource = 'in'\noutput = '{kind}.out'\n\
             dead-letter = '{kind}.bad'\n\
             [[pipeline.step]]\n{word} = '{kind}'\non-error = 'dead-letter'\n{more}"
        );
    }
    // And all of it in a row, behind a step that keeps everything.
    manifest
        + "[[pipeline]]\nname = 'chain'\nsource = 'in'\noutput = 'chain.out'\n\
           [[pipeline.step]]\nfilter = 'filter'\non-error = 'skip'\n\
           config = { work = 'identity' }\n\
           [[pipeline.step]]\nfilter = 'filter'\non-error = 'skip'\n\
           [[pipeline.step]]\ntransform = 'transformer'\non-error = 'skip'\n\
           config = { partitions = 2 }\n\
           [[pipeline.step]]\nroute = 'router'\non-error = 'skip'\n\
           outputs = { north = 'chain.north', south = 'chain.south', other = 'chain.other' }\n"
}

const TOPICS: [&str; 13] = [
    "filter.out",
    "filter.bad",
    "transformer.out",
    "transformer.bad",
    "router.out",
    "router.bad",
    "north",
    "south",
    "other",
    "chain.out",
    "chain.north",
    "chain.south",
    "chain.other",
];

/// Records of every shape: JSON and not, with and without keys, values, headers.
fn records(seed: u64) -> Vec<Record> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut records = Vec::new();
    for i in 0..2_000 {
        let region = ["north", "south", "east", "ost\u{e9}"][random.usize(..4)];
        let value = match random.u32(..10) {
            0 => None,
            1 => Some("no JSON".to_owned()),
            2 => Some(String::new()),
            3 => Some(format!(r#"{{"test":true,"id":{i}}}"#)),
            4 => Some(format!(r#"[{i},"x",null,{{"deep":[true]}}]"#)),
            _ => {
                let filler = "x".repeat(random.usize(..300));
                Some(format!(
                    r#"{{"id":{i},"region":"{region}","email":"a@b","test":false,"t":"{filler}"}}"#
                ))
            }
        };
        let key = match random.u32(..4) {
            0 => None,
            1 => Some("both".to_owned()),
            2 => Some(String::new()),
            _ => Some(format!("key-{}", random.u32(..100))),
        };
        let mut headers = Vec::new();
        for _ in 0..random.usize(..3) {
            let value = ["", "1", "\u{e4}"].get(random.usize(..4)).copied();
            let key = Bytes::from(["h", "", "\u{e4}"][random.usize(..3)]);
            headers.push(Header { key, value: value.map(Bytes::from) });
        }
        if random.u32(..50) == 0 {
            headers.push(Header { key: Bytes::from_static(b"\xff"), value: None });
        }
        let timestamp = 1_700_000_000_000 + random.i64(..1_000);
        let (key, value) = (key.map(Bytes::from), value.map(Bytes::from));
        records.push(Record { offset: 0, timestamp, key, value, headers });
    }
    records
}

/// What the topics hold after these records; of dead letters all but what names the component.
async fn outputs(worlds: [&str; 3], records: &[Record]) -> Vec<(String, Vec<Record>)> {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    let kinds = ["filter", "transformer", "router"];
    let components = kinds.iter().zip(worlds);
    let components = components.map(|(kind, world)| component(&format!("{world}-{kind}.wasm")));
    rig.deploy_with(&manifest(worlds), components.collect()).await.unwrap();
    for (partition, records) in (0..).zip(records.chunks(records.len().div_ceil(3))) {
        rig.produce("in", partition, records).await;
    }
    for pipeline in ["filter", "transformer", "router", "chain"] {
        rig.until_through(pipeline).await;
    }
    let mut topics = Vec::new();
    for topic in TOPICS {
        for partition in 0..PARTITIONS {
            let mut held = rig.consume(topic, partition).await;
            for record in &mut held {
                record.headers.retain(|header| header.key != "millstream.plugin.digest");
            }
            // Sources are read side by side, so only what came from one of them has an order.
            held.sort_by(|a, b| (a.timestamp, &a.value).cmp(&(b.timestamp, &b.value)));
            held.iter_mut().for_each(|record| record.offset = 0);
            topics.push((format!("{topic}/{partition}"), held));
        }
    }
    rig.close().await;
    topics
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_work_in_both_worlds_and_in_chains_of_both_makes_the_same_topics() {
    const WORLDS: [&str; 2] = ["typed", "packed"];
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let records = records(seed);
    let typed = outputs(["typed"; 3], &records).await;
    for mixture in 1..8 {
        let worlds = [0, 1, 2].map(|step| WORLDS[mixture >> step & 1]);
        let mixed = outputs(worlds, &records).await;
        for ((topic, typed), (_, mixed)) in typed.iter().zip(&mixed) {
            assert_eq!(typed.len(), mixed.len(), "{topic} of {worlds:?}");
            for (typed, mixed) in typed.iter().zip(mixed) {
                assert_eq!(typed, mixed, "{topic} of {worlds:?}");
            }
        }
    }
    let filled = typed.iter().filter(|(_, records)| !records.is_empty()).count();
    assert!(filled > 30, "{filled} partitions have records");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_costs_bad_records_whatever_the_policy() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plugins/processor.wat");
    let component = Bytes::from(wat::parse_file(path).unwrap());
    let mut manifest = "[[topic]]\nname = 'in'\n[plugin]\np.component = 'p'\n".to_owned();
    for (policy, more) in [
        ("skip", ""),
        ("dead-letter", ""),
        ("stop", ""),
        ("retry", "retry = { attempts = 2, backoff-ms = 1 }\n"),
    ] {
        manifest += &format!(
            "[[pipeline]]\nname = '{policy}'\nsource = 'in'\noutput = '{policy}.out'\n\
             dead-letter = '{policy}.bad'\n[[pipeline.step]]\nfilter = 'p'\n\
             on-error = '{policy}'\nlimits = {{ call-ms = 300, memory-mib = 16 }}\n{more}"
        );
    }
    rig.deploy_with(&manifest, [("p".to_owned(), component)].into()).await.unwrap();
    let mut records = records(1);
    let bad = ["t", "s", "e", "x", "m", "b", "E"];
    for record in &mut records {
        record.value = Some(Bytes::from_static(b"kept"));
        record.headers.clear();
    }
    for (at, value) in (300..).step_by(17).zip(bad) {
        records[at].value = Some(Bytes::from_static(value.as_bytes()));
    }
    rig.produce("in", 0, &records).await;
    for policy in ["skip", "dead-letter"] {
        rig.until_through(policy).await;
        let counts = rig.counts(policy);
        assert_eq!((counts.input, counts.output), (2_000, 1_993), "{policy}");
        assert_eq!(counts.skipped + counts.dead_lettered, 7, "{policy}");
    }
    let letters = rig.consume("dead-letter.bad", 0).await;
    let values: Vec<&[u8]> = letters.iter().map(|l| l.value.as_deref().unwrap()).collect();
    assert_eq!(values, bad.map(str::as_bytes));
    let kinds: Vec<&[u8]> = letters
        .iter()
        .flat_map(|letter| &letter.headers)
        .filter(|header| header.key == "millstream.error.kind")
        .map(|header| header.value.as_deref().unwrap())
        .collect();
    let kinds: Vec<&str> = kinds.iter().map(|kind| std::str::from_utf8(kind).unwrap()).collect();
    assert_eq!(
        kinds,
        ["trap", "timeout", "failed", "contract", "limit", "bad-message", "contract"]
    );
    for policy in ["stop", "retry"] {
        let reason = rig.until_failed(policy).await;
        assert!(reason.contains("failed on offset 300: trap"), "{reason}");
        let counts = Counts { input: 300, output: 300, ..Counts::default() };
        assert_eq!(rig.counts(policy), counts, "{policy}");
    }
    rig.close().await;
}
