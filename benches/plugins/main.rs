//! What plugins cost: the same work as plain Rust, in the typed worlds and in the packed one, in
//! batches of 1 to 1,000 records; and whole pipelines, from records that wait in the source topic to
//! durable outputs. One record is about 300 bytes of JSON with a key and a header.
//!
//! `cargo bench --bench plugins [-- FILTER]`

mod pipelines;
#[path = "../../plugins/yardstick/guest/src/work.rs"]
mod work;

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millstream::plugin::{
    Emitted, Engine, Failure, FailureReason, Instance, Processed, Settings, Verdict,
};
use millstream::record::{Header, Record};

const BATCHES: [usize; 4] = [1, 10, 100, 1_000];

/// About 300 bytes.
fn value(i: u64, random: &mut fastrand::Rng) -> Vec<u8> {
    let region = ["north", "south", "east", "west"][random.usize(..4)];
    format!(
        r#"{{"id":{i},"user":"user-{}","email":"someone.{}@example.org","region":"{region}","test":{},"items":[{{"sku":"A-{}","count":{},"price":{}.5}},{{"sku":"B-{}","count":{},"price":12.25}}],"note":"left at the door","total":{}.75,"currency":"EUR","paid":true,"coupon":null,"agent":"Mozilla/5.0"}}"#,
        random.u32(..10_000),
        random.u32(..10_000),
        random.u32(..10) == 0,
        random.u32(..1_000),
        random.u32(..9),
        random.u32(..100),
        random.u32(..1_000),
        random.u32(..9),
        random.u32(..1_000),
    )
    .into_bytes()
}

pub(crate) fn records(count: usize) -> Vec<Record> {
    let mut random = fastrand::Rng::with_seed(1);
    let header = Header { key: Bytes::from_static(b"trace"), value: Some(Bytes::from("0af7651")) };
    let record = |i: usize| Record {
        offset: i as i64,
        timestamp: 1_700_000_000_000 + i as i64,
        key: Some(Bytes::from(format!("key-{}", random.u32(..1_000)))),
        value: Some(Bytes::from(value(i as u64, &mut random))),
        headers: vec![header.clone()],
    };
    (0..count).map(record).collect()
}

pub(crate) fn component(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/yardstick");
    fs::read(folder.join(name).with_extension("wasm")).expect(name)
}

fn bad(text: impl Into<String>) -> Failure {
    Failure { reason: FailureReason::BadMessage, message: text.into() }
}

/// The work without any boundary.
type Native = fn(&Record) -> Result<Verdict, Failure>;

fn identity(record: &Record) -> Result<Verdict, Failure> {
    black_box(record);
    Ok(Verdict::Keep)
}

fn scan(record: &Record) -> Result<Verdict, Failure> {
    let text = record.value.as_deref().unwrap_or_default();
    let found = work::scan(text).ok_or_else(|| bad("not JSON"))?;
    Ok(if found.test { Verdict::Drop } else { Verdict::Keep })
}

fn emitted(record: &Record, value: Vec<u8>) -> Verdict {
    let record = Record { value: Some(Bytes::from(value)), ..record.clone() };
    Verdict::Emit(vec![Emitted { record, partition: None }])
}

fn copy(record: &Record) -> Result<Verdict, Failure> {
    Ok(emitted(record, record.value.as_deref().unwrap_or_default().to_vec()))
}

fn json(record: &Record) -> Result<Verdict, Failure> {
    let text = record.value.as_deref().unwrap_or_default();
    let mut out = Vec::with_capacity(text.len());
    let passed = work::mask(text, &mut out).map_err(bad)?;
    Ok(if passed { emitted(record, out) } else { Verdict::Drop })
}

fn route(record: &Record) -> Result<Verdict, Failure> {
    let text = record.value.as_deref().unwrap_or_default();
    let output = work::output(text).ok_or_else(|| bad("not JSON"))?;
    Ok(Verdict::Route(vec![Arc::from(output)]))
}

const WORKS: [(&str, &str, &str, Native); 5] = [
    ("identity", "filter", "identity", identity),
    ("byte scan", "filter", "scan", scan),
    ("copy", "transformer", "copy", copy),
    ("serde_json", "transformer", "json", json),
    ("router", "router", "", route),
];

fn instance(engine: &Engine, world: &str, kind: &str, work: &str) -> Instance {
    let plugin = engine.load(&component(&format!("{world}-{kind}"))).expect("a plugin");
    let config = [("work".to_owned(), work.to_owned())].into();
    plugin.instance(Settings { config, ..Settings::default() })
}

fn all(instance: &mut Instance, batch: &[Record]) -> Processed {
    let processed = instance.process(black_box(batch));
    assert_eq!(processed.len(), batch.len());
    processed
}

fn worlds(criterion: &mut Criterion) {
    let engine = Engine::new().expect("an engine");
    let records = records(1_000);
    let bytes: usize = records.iter().filter_map(|r| r.value.as_ref()).map(Bytes::len).sum();
    println!("values of {} bytes", bytes / records.len());
    for (name, kind, work, native) in WORKS {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1_000));
        group.bench_function("native", |b| {
            b.iter(|| -> Processed { black_box(&records).iter().map(native).collect() });
        });
        for world in ["typed", "packed"] {
            let mut instance = instance(&engine, world, kind, work);
            // Until calls have their size.
            (0..20).for_each(|_| drop(all(&mut instance, &records)));
            for size in BATCHES {
                group.throughput(Throughput::Elements(size as u64));
                group.bench_function(format!("{world}/{size}"), |b| {
                    b.iter(|| all(&mut instance, &records[..size]));
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, worlds, pipelines::run);
criterion_main!(benches);
