//! Batches for a fuzzer; see `crate::fuzzing`.

use bytes::Bytes;

use super::batch::{ATTRIBUTES_AT, HEADER_BYTES};
use super::{
    BatchBuilder, Compression, Header, Record, RecordBatch, Retained, Terms, TimestampType,
    Timestamps, batches_from, split_batches,
};
use crate::limits::BATCH_BYTES_MAX;
use crate::types::TimestampMs;

/// Makes length and checksum fit the rest again.
pub(crate) fn reseal(bytes: &mut [u8]) {
    let length = i32::try_from(bytes.len() - 12).unwrap_or(i32::MAX);
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
    bytes[17..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
}

/// What is to be done, and a batch: as it is, or with the length and checksum that it should have.
pub(crate) fn batch(data: &[u8]) {
    let Some((&[how, keep], bytes)) = data.split_first_chunk() else { return };
    let mut bytes = bytes.to_vec();
    if how & 0x80 != 0 && bytes.len() >= HEADER_BYTES {
        reseal(&mut bytes);
    }
    let bytes = Bytes::from(bytes);
    let range = batches_from(&bytes, i64::from(keep), usize::from(how), how & 1 != 0);
    assert!(range.start <= range.end && range.end <= bytes.len());
    for batch in split_batches(bytes.clone()).map_while(Result::ok) {
        stored(&batch, keep);
    }
    let timestamps = match how & 0x10 {
        0 => Timestamps::Create { earliest: -1, latest: TimestampMs::MAX },
        _ => Timestamps::LogAppend,
    };
    let codec = Compression::ALL.get(usize::from(how & 0x07)).map(|codec| (*codec).into());
    let keys = how & 0x08 != 0;
    let terms = Terms { max_bytes: BATCH_BYTES_MAX, keys, timestamps, codec };
    let Ok(batch) = RecordBatch::produced(bytes, BATCH_BYTES_MAX) else { return };
    if let Ok(accepted) = batch.clone().accept(&terms) {
        appended(&batch, &accepted, &terms);
    }
}

/// A batch as it may lie in the log, whoever wrote it.
fn stored(batch: &RecordBatch, keep: u8) {
    let valid = batch.validate().is_ok();
    let _ = (batch.last_sequence(), format!("{batch:?}"));
    let is_kept = |offset: i64| keep >> (offset & 7) & 1 != 0;
    let retained = batch.retain(|sketch| is_kept(sketch.offset));
    let Ok(records) = batch.records() else {
        assert!(!valid && retained.is_err());
        return;
    };
    let read: Result<i32, _> = records.map(|record| record.map(|_| 1)).sum();
    assert_eq!(read.is_ok(), retained.is_ok(), "{read:?}, {retained:?}");
    assert!(!valid || read == Ok(batch.record_count()));
    let Ok(Retained::Some(left)) = retained else { return };
    let all = whole(batch).filter(|record| is_kept(record.offset));
    assert!(all.eq(whole(&left)), "what is kept is as it was");
    assert_eq!(left.base_offset(), batch.base_offset());
    assert_eq!(left.last_offset(), batch.last_offset());
}

/// A batch that a topic has accepted.
fn appended(sent: &RecordBatch, accepted: &RecordBatch, terms: &Terms) {
    // A topic does not take a producer's word for the broker's time.
    if sent.timestamp_type() == TimestampType::CreateTime {
        assert!(whole(sent).eq(whole(accepted)), "what is stored is what was sent");
    }
    let count = i64::from(accepted.record_count());
    assert!((0..count).eq(whole(accepted).map(|record| record.offset)), "each has its offset");
    if let Some(codec) = terms.codec {
        assert_eq!(accepted.compression(), codec.compression);
    }
    assert_eq!(accepted.clone().accept(terms).as_ref(), Ok(accepted), "accepted again");
    let mut assigned = Vec::new();
    accepted.write_assigned(&mut assigned, 1_000, 0);
    accepted.write_stamped(&mut assigned, 2_000, 0, 77);
    let mut written = split_batches(assigned.into())
        .map(|batch| batch.unwrap_or_else(|error| panic!("what was written is a batch: {error}")));
    let (plain, stamped) = (written.next(), written.next());
    let offset_by = |by| move |record: Record| Record { offset: record.offset + by, ..record };
    let plain = plain.iter().flat_map(whole);
    assert!(plain.eq(whole(accepted).map(offset_by(1_000))));
    let stamped = stamped.iter().flat_map(whole);
    let at = |record: Record| Record { timestamp: 77, ..offset_by(2_000)(record) };
    assert!(stamped.eq(whole(accepted).map(at)));
}

/// Its records, of which each can be read.
fn whole(batch: &RecordBatch) -> impl Iterator<Item = Record> {
    let records = batch.records().unwrap_or_else(|error| panic!("accepted, then {error}"));
    records.map(|record| record.unwrap_or_else(|error| panic!("accepted, then {error}")))
}

/// Records out of any bytes, and a batch of them that is read as the same.
pub(crate) fn records(data: &mut &[u8]) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    while let Some((&[shape, length, time], rest)) = data.split_first_chunk() {
        *data = rest;
        let mut take = |wanted: usize| {
            let (taken, rest) = data.split_at(wanted.min(data.len()));
            *data = rest;
            Bytes::copy_from_slice(taken)
        };
        let key = (shape & 1 != 0).then(|| take(usize::from(length & 7)));
        let value = (shape & 2 != 0).then(|| take(usize::from(length >> 3)));
        let headers = (0..shape >> 6).map(|_| {
            let key = take(usize::from(time & 3));
            Header { key, value: (shape & 4 != 0).then(|| take(usize::from(time & 7))) }
        });
        let headers = headers.collect();
        let (offset, timestamp) = (records.len() as i64, i64::from(time.cast_signed()) << 32);
        records.push(Record { offset, timestamp, key, value, headers });
    }
    let Some(first) = records.first() else { return records };
    let codec = Compression::ALL[usize::from(first.timestamp < 0)];
    let mut builder = BatchBuilder::new(codec);
    for Record { timestamp, key, value, headers, .. } in &records {
        let pushed = builder.push(*timestamp, key.as_deref(), value.as_deref(), headers);
        pushed.unwrap_or_else(|error| panic!("{error}"));
    }
    let built = builder.build().unwrap_or_else(|error| panic!("{error}"));
    assert!(whole(&built).eq(records.iter().cloned()), "what is built is read as it was");
    records
}
