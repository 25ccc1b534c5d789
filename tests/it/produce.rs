//! What becomes of batches that are not what they should be: the codes that Kafka 4.3 gives, and
//! where ours differ, the reason. No refused batch leaves anything in the log.

use bytes::Bytes;
use millstream::kafka::messages::{ErrorCode, PartitionProduceResponse};
use millstream::record::{BatchBuilder, Compression, RecordBatch};

use crate::client::{Client, produce_request};
use crate::util::Broker;

fn built(codec: Compression, keys: &[Option<&[u8]>]) -> RecordBatch {
    let mut builder = BatchBuilder::new(codec);
    for key in keys {
        builder.push(1_700_000_000_000, *key, Some(b"value"), &[]).unwrap();
    }
    builder.build().unwrap()
}

fn good() -> Vec<u8> {
    built(Compression::None, &[None; 3]).as_bytes().to_vec()
}

/// A batch whose checksum is right and whose bytes at a place are others.
fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = good();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    sealed(batch)
}

fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
    let length = i32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// A header of three records with this codec, and then these bytes.
fn holding(codec: u8, payload: &[u8]) -> Vec<u8> {
    let mut batch = with(22, &[codec]);
    batch.truncate(61);
    batch.extend(payload);
    sealed(batch)
}

/// The least message of format 0 or 1.
fn old_message(magic: u8) -> Vec<u8> {
    let mut message = vec![0; 12];
    message.extend([0, 0, 0, 0, magic, 0]);
    message.extend(&[0; 8][..if magic == 1 { 8 } else { 0 }]);
    message.extend([0xff; 4]);
    message.extend(0_i32.to_be_bytes());
    message[11] = u8::try_from(message.len() - 12).unwrap();
    message
}

fn send(
    client: &mut Client,
    topic: &str,
    bytes: Vec<u8>,
    version: i16,
) -> PartitionProduceResponse {
    let request = produce_request(topic, 0, &Bytes::from(bytes));
    let mut response = client.call(&request, version).unwrap();
    response.responses.remove(0).partition_responses.remove(0)
}

#[test]
fn what_is_wrong_with_a_batch_has_kafkas_code() {
    use ErrorCode::{
        CorruptMessage, InvalidRecord, TransactionalIdAuthorizationFailed,
        UnsupportedCompressionType,
    };
    let deltas = |bytes: [u8; 3]| {
        // Each record is of 12 bytes, its offset delta the fourth.
        let mut batch = good();
        for (index, delta) in bytes.into_iter().enumerate() {
            batch[61 + 12 * index + 3] = delta;
        }
        sealed(batch)
    };
    let mut bad_crc = good();
    bad_crc[17] ^= 1;
    let mut short = good();
    short[8..12].copy_from_slice(&13_i32.to_be_bytes());
    let mut trailing = good();
    trailing.extend([0; 20]);
    let cases: Vec<(&str, Vec<u8>, ErrorCode)> = vec![
        ("nothing", Vec::new(), InvalidRecord),
        ("format 0", old_message(0), InvalidRecord),
        ("format 1", old_message(1), InvalidRecord),
        ("format 3", with(16, &[3]), CorruptMessage),
        ("two batches", [good(), good()].concat(), InvalidRecord),
        ("a batch and a message", [good(), old_message(1)].concat(), InvalidRecord),
        ("a batch and no batch", trailing, CorruptMessage),
        ("half a batch", good()[..50].to_vec(), InvalidRecord),
        ("a length below all", short, CorruptMessage),
        ("a wrong checksum", bad_crc, CorruptMessage),
        ("an offset", with(0, &5_i64.to_be_bytes()), InvalidRecord),
        ("a control batch", with(22, &[0x20]), InvalidRecord),
        ("no record", with(57, &0_i32.to_be_bytes()), InvalidRecord),
        ("a negative count", with(57, &(-1_i32).to_be_bytes()), InvalidRecord),
        ("a count too great", with(57, &4_i32.to_be_bytes()), InvalidRecord),
        ("a count too small", with(57, &2_i32.to_be_bytes()), InvalidRecord),
        ("offsets too many", with(23, &7_i32.to_be_bytes()), InvalidRecord),
        ("a producer without sequence", with(43, &7_i64.to_be_bytes()), InvalidRecord),
        ("a transaction without id", with(22, &[0x10]), TransactionalIdAuthorizationFailed),
        ("a record too long", with(61, &[0x7e]), InvalidRecord),
        // Kafka takes deltas of records that are not compressed as they are, and answers -1 if
        // they are: consumers would see offsets twice.
        ("a delta twice", deltas([0, 0, 4]), InvalidRecord),
        ("deltas from 1", deltas([2, 4, 6]), InvalidRecord),
        // Kafka answers -1, unknown server error, for what follows.
        ("a codec that is none", with(22, &[5]), UnsupportedCompressionType),
        ("no gzip", holding(1, b"rubbish"), InvalidRecord),
        ("no snappy", holding(2, b"rubbish"), InvalidRecord),
        ("no lz4", holding(3, b"rubbish"), InvalidRecord),
        ("no zstd", holding(4, b"rubbish"), InvalidRecord),
    ];
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    assert_eq!(good().len(), 61 + 3 * 12, "the cases count on it");
    for (what, bytes, expected) in cases {
        let answer = send(&mut client, "t", bytes, 9);
        assert_eq!(answer.error_code, expected, "{what}: {:?}", answer.error_message);
        assert_eq!(answer.base_offset, -1, "{what}");
    }
    let answer = send(&mut client, "t", good(), 9);
    assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::None, 0));
    // An end too short to be a batch is passed over, as Kafka does.
    let answer = send(&mut client, "t", [good(), vec![0; 5]].concat(), 9);
    assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::None, 3));
    assert_eq!(client.read_all("t", 0).unwrap().len(), 6);
}

#[test]
fn zstd_needs_a_version_that_knows_it() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    let zstd = built(Compression::Zstd, &[None; 3]).as_bytes().to_vec();
    for (version, expected) in [(6, ErrorCode::UnsupportedCompressionType), (7, ErrorCode::None)] {
        let answer = send(&mut client, "t", zstd.clone(), version);
        assert_eq!(answer.error_code, expected, "version {version}");
    }
}

#[test]
fn a_malformed_record_is_named() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    // The second record says that its header count is -1.
    let mut batch = good();
    batch[61 + 2 * 12 - 1] = 1;
    let answer = send(&mut client, "t", sealed(batch), 9);
    assert_eq!(answer.error_code, ErrorCode::InvalidRecord);
    let named: Vec<_> = answer.record_errors.iter().map(|error| error.batch_index).collect();
    assert_eq!(named, [1]);
    assert_eq!(answer.log_start_offset, 0, "the batch came as far as the log");
}
