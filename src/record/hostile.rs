//! Tests over the whole room: what is written is read again, by others too, and no bytes make the
//! reader panic or believe them.

use bytes::{Bytes, BytesMut};
use kafka_protocol::records as theirs;

use super::batch::{ATTRIBUTES_AT, HEADER_BYTES};
pub(super) use super::fuzzing::reseal;
use super::{BatchBuilder, BatchError, Codec, Compression, Header, Record, RecordBatch, Terms};
use crate::limits::BATCH_DECOMPRESSED_BYTES;
use crate::types::ProducerId;

/// Where header fields stand.
pub(super) mod field {
    pub(in super::super) const LAST_OFFSET_DELTA: usize = 23;
    pub(in super::super) const BASE_TIMESTAMP: usize = 27;
    pub(in super::super) const PRODUCER_ID: usize = 43;
    pub(in super::super) const BASE_SEQUENCE: usize = 53;
    pub(in super::super) const RECORD_COUNT: usize = 57;
}

fn header(key: &'static [u8], value: Option<&'static [u8]>) -> Header {
    Header { key: Bytes::from_static(key), value: value.map(Bytes::from_static) }
}

fn sample(index: i64) -> Record {
    let key = match index % 3 {
        0 => None,
        1 => Some(Bytes::new()),
        _ => Some(Bytes::from(format!("key-{index}"))),
    };
    let headers = vec![
        header(b"trace", Some(b"a")),
        header(b"trace", Some(b"b")),
        header(b"\xff\xfe", None),
        header(b"", Some(b"")),
    ];
    let value = (index % 7 != 6).then(|| Bytes::from(format!("value {index} ").repeat(9)));
    // Not in order, so that the largest is not the last.
    Record { offset: index, timestamp: 1_700_000_000_000 + index * 37 % 50, key, value, headers }
}

fn build(codec: Compression, records: &[Record]) -> RecordBatch {
    let mut builder = BatchBuilder::new(codec);
    for Record { timestamp, key, value, headers, .. } in records {
        builder.push(*timestamp, key.as_deref(), value.as_deref(), headers).unwrap();
    }
    builder.build().unwrap()
}

pub(super) fn batch_of(codec: Compression, records: i64) -> RecordBatch {
    build(codec, &(0..records).map(sample).collect::<Vec<_>>())
}

#[test]
fn what_is_built_is_read_with_every_codec() {
    let records: Vec<_> = (0..2_000).map(sample).collect();
    for codec in Compression::ALL {
        let batch = build(codec, &records);
        assert_eq!((batch.compression(), batch.record_count()), (codec, 2_000));
        assert_eq!((batch.base_offset(), batch.last_offset(), batch.leader_epoch()), (0, 1_999, 0));
        assert_eq!(batch.base_timestamp(), records[0].timestamp);
        assert_eq!(batch.max_timestamp(), 1_700_000_000_049);
        assert_eq!(batch.producer(), ProducerId::NONE);
        batch.validate().unwrap();
        let read: Vec<_> = batch.records().unwrap().map(Result::unwrap).collect();
        assert_eq!(read, records, "{codec}");
    }
}

fn their_record(record: &Record) -> theirs::Record {
    // They keep headers in a map, so a key cannot stand there twice.
    let headers = [("trace".into(), Some(Bytes::from_static(b"a"))), ("none".into(), None)];
    theirs::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: 77,
        producer_epoch: 3,
        timestamp_type: theirs::TimestampType::Creation,
        offset: record.offset,
        sequence: i32::try_from(record.offset).unwrap(),
        timestamp: record.timestamp,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: headers.into_iter().collect(),
    }
}

#[test]
fn another_implementation_reads_and_writes_the_same() {
    let headers = vec![header(b"trace", Some(b"a")), header(b"none", None)];
    let records: Vec<_> =
        (0..100).map(|i| Record { headers: headers.clone(), ..sample(i) }).collect();
    let foreign: Vec<_> = records.iter().map(their_record).collect();

    let mut encoded = BytesMut::new();
    let options =
        theirs::RecordEncodeOptions { version: 2, compression: theirs::Compression::None };
    theirs::RecordBatchEncoder::encode(&mut encoded, &foreign, &options).unwrap();
    let ours = RecordBatch::parse(encoded.freeze()).unwrap();
    ours.validate().unwrap();
    assert_eq!((ours.producer(), ours.base_sequence()), (ProducerId { id: 77, epoch: 3 }, 0));
    let read: Vec<_> = ours.records().unwrap().map(Result::unwrap).collect();
    assert_eq!(read, records);

    let mut builder = BatchBuilder::new(Compression::None);
    builder.producer(ProducerId { id: 77, epoch: 3 }, 0);
    for Record { timestamp, key, value, headers, .. } in &records {
        builder.push(*timestamp, key.as_deref(), value.as_deref(), headers).unwrap();
    }
    let mut bytes = builder.build().unwrap().as_bytes().clone();
    let decoded = theirs::RecordBatchDecoder::decode(&mut bytes).unwrap();
    assert_eq!(decoded.records, foreign);
}

/// Goes over all that can be asked of a batch; what is asserted is that it ends.
fn exercise(batch: &RecordBatch) {
    let _ = (batch.next_offset(), batch.last_sequence(), format!("{batch:?}"));
    let valid = batch.validate();
    let Ok(records) = batch.records() else {
        assert!(valid.is_err());
        return;
    };
    let mut count = 0;
    for record in records {
        match record {
            Ok(_) => count += 1,
            Err(error) => assert!(valid.is_err(), "validated, then {error}"),
        }
    }
    if valid.is_ok() {
        assert_eq!(count, batch.record_count());
        let accepted = batch.clone().accept(&Terms::default()).unwrap();
        assert_eq!(accepted.record_count(), count);
    }
}

#[test]
fn no_changed_or_missing_byte_goes_unnoticed() {
    for codec in Compression::ALL {
        let batch = batch_of(codec, 5);
        let bytes = batch.as_bytes();
        for cut in 0..bytes.len() {
            assert!(RecordBatch::parse(bytes.slice(..cut)).is_err(), "{codec}, cut at {cut}");
        }
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut changed = bytes.to_vec();
                changed[at] ^= flip;
                let Ok(parsed) = RecordBatch::parse(changed.into()) else { continue };
                // Base offset and leader epoch are the broker's to write, outside the checksum.
                assert!(matches!(at, 0..8 | 12..16), "{codec}, changed at {at}");
                assert_eq!(parsed.as_bytes()[16..], bytes[16..]);
                exercise(&parsed);
            }
        }
    }
}

#[test]
fn damage_behind_a_right_checksum_never_panics() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for codec in Compression::ALL {
        let whole = batch_of(codec, 12).as_bytes().to_vec();
        for at in ATTRIBUTES_AT..whole.len() {
            let mut changed = whole.clone();
            changed[at] = random.u8(..);
            check(changed);
            let mut shorter = whole.clone();
            shorter.truncate(at.max(HEADER_BYTES));
            check(shorter);
        }
        for _ in 0..2_000 {
            let mut changed = whole.clone();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(ATTRIBUTES_AT..changed.len());
                let any = random.u8(..);
                changed[at] = random.choice([0, 0x7f, 0x80, 0xff, any]).unwrap();
            }
            check(changed);
        }
    }

    fn check(mut bytes: Vec<u8>) {
        reseal(&mut bytes);
        if let Ok(batch) = RecordBatch::parse(bytes.into()) {
            exercise(&batch);
        }
    }
}

#[test]
fn rubbish_never_panics() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..5_000 {
        let mut bytes: Vec<u8> = (0..random.usize(0..200)).map(|_| random.u8(..)).collect();
        assert!(RecordBatch::parse(bytes.clone().into()).is_err());
        assert!(super::split_batches(bytes.clone().into()).all(|batch| batch.is_err()));
        if bytes.len() < HEADER_BYTES {
            continue;
        }
        // Far enough into the reader that the records themselves are rubbish.
        bytes[0] = 0;
        bytes[16] = 2;
        bytes[22] &= 0xf8 | random.u8(0..5);
        bytes[field::LAST_OFFSET_DELTA..][..4].copy_from_slice(&9_i32.to_be_bytes());
        bytes[field::RECORD_COUNT..][..4].copy_from_slice(&10_i32.to_be_bytes());
        reseal(&mut bytes);
        if let Ok(batch) = RecordBatch::parse(bytes.into()) {
            assert!(batch.validate().is_err());
            exercise(&batch);
        }
    }
}

#[test]
fn a_bomb_ends_at_the_limit_in_every_codec() {
    for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let mut bytes = batch_of(Compression::None, 1).as_bytes()[..HEADER_BYTES].to_vec();
        bytes[22] = codec.id() as u8;
        let bomb = vec![0; BATCH_DECOMPRESSED_BYTES + 1];
        Codec::from(codec).compress(&bomb, &mut bytes).unwrap();
        assert!(bytes.len() < crate::limits::BATCH_BYTES, "{codec}");
        reseal(&mut bytes);
        let batch = RecordBatch::parse(bytes.into()).unwrap();
        let error = batch.validate().unwrap_err();
        let limit = "BATCH_DECOMPRESSED_BYTES";
        assert!(matches!(error, BatchError::TooLarge { limit: l, .. } if l == limit), "{error}");
        assert_eq!(batch.records().err(), Some(error));
    }
}

/// The batches that stand one after the other in `bytes`, each with the checksum that its bytes
/// should have.
pub(crate) fn resealed(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(length) = bytes.get(at + 8..at + 12) {
        let length = i32::from_be_bytes(length.try_into().unwrap());
        let end = at.saturating_add(12).saturating_add(usize::try_from(length).unwrap_or(0));
        let Some(batch) = bytes.get_mut(at..end).filter(|batch| batch.len() > HEADER_BYTES) else {
            break;
        };
        reseal(batch);
        at = end;
    }
    bytes.into()
}
