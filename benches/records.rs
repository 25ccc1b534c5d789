//! The record batch codec: what a batch costs on its way in (checksum, header, every record
//! checked) and on its way out to somebody who reads records.
//!
//! `cargo bench --bench records [-- FILTER]`

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millstream::record::{BatchBuilder, Compression, RecordBatch};

/// Not compressed, as large as producers' batches get.
const BYTES: usize = 1_000_000;

/// Text that compresses about as well as JSON does.
fn value(bytes: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let words = ["\"status\":", "\"user\":", "active", "eu-west", "{", "}", "order", ","];
    let mut value = Vec::with_capacity(bytes + 16);
    while value.len() < bytes {
        value.extend_from_slice(random.choice(words).unwrap_or_default().as_bytes());
        value.extend_from_slice(random.u32(..).to_string().as_bytes());
    }
    value.truncate(bytes);
    value
}

fn batch(codec: Compression, record_bytes: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(1);
    let mut builder = BatchBuilder::new(codec);
    for time in 1_700_000_000_000.. {
        let value = value(record_bytes, &mut random);
        builder.push(time, None, Some(&value), &[]).expect("a record that fits");
        if builder.size_bytes() > BYTES {
            break;
        }
    }
    builder.build().expect("a batch that fits").as_bytes().clone()
}

fn codec(criterion: &mut Criterion) {
    for record_bytes in [100, 1_024] {
        for codec in Compression::ALL {
            let bytes = batch(codec, record_bytes);
            let parsed = RecordBatch::parse(bytes.clone()).expect("our own batch");
            let records = parsed.record_count().unsigned_abs().into();
            let mut group = criterion.benchmark_group(format!("{codec}/{record_bytes} B"));
            group.throughput(Throughput::Elements(records));
            group.bench_function("parse", |b| {
                b.iter(|| RecordBatch::parse(black_box(&bytes).clone()));
            });
            group.bench_function("validate", |b| b.iter(|| black_box(&parsed).validate()));
            group.bench_function("records", |b| {
                b.iter(|| {
                    let records = black_box(&parsed).records().expect("our own batch");
                    records.filter(Result::is_ok).count()
                });
            });
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = codec
}
criterion_main!(benches);
