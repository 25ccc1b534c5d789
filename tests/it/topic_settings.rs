//! Topic settings that act on what is produced, as Kafka 4.3 has them act.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use millstream::kafka::messages::{ErrorCode, PartitionProduceResponse};
use millstream::record::{BatchBuilder, Compression, RecordBatch, TimestampType, split_batches};
use millstream::types::ProducerId;

use crate::client::{Client, batch};
use crate::util::Broker;

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn connect(broker: &Broker) -> Client {
    Client::connect(broker.kafka()).unwrap()
}

/// Records of these timestamps and keys.
fn built(codec: Compression, records: &[(i64, Option<&str>)]) -> RecordBatch {
    let mut builder = BatchBuilder::new(codec);
    for (timestamp, key) in records {
        builder.push(*timestamp, key.map(str::as_bytes), Some(b"value"), &[]).unwrap();
    }
    builder.build().unwrap()
}

fn named(answer: &PartitionProduceResponse) -> Vec<i32> {
    answer.record_errors.iter().map(|error| error.batch_index).collect()
}

fn stored(client: &mut Client, topic: &str) -> Vec<RecordBatch> {
    let response = client.fetch(topic, 0, 0, 0).unwrap();
    let bytes: Bytes = response.responses[0].partitions[0].records.clone().unwrap().into_bytes();
    split_batches(bytes).map(Result::unwrap).collect()
}

#[test]
fn a_batch_larger_than_the_topic_allows_is_refused() {
    let broker = Broker::start();
    let mut client = connect(&broker);
    let one = built(Compression::None, &[(now_ms(), None)]);
    let size = one.len().to_string();
    client.create_topic("t", &[("max.message.bytes", &size)]);
    assert_eq!(client.produce("t", 0, &one).unwrap().error_code, ErrorCode::None);
    let two = built(Compression::None, &[(now_ms(), None); 2]);
    let answer = client.produce("t", 0, &two).unwrap();
    assert_eq!(answer.error_code, ErrorCode::MessageTooLarge);
    // And one that a topic of its own mind allows, though by default it would not be.
    client.create_topic("large", &[("max.message.bytes", "5000000")]);
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(now_ms(), None, Some(&vec![b'x'; 4_000_000]), &[]).unwrap();
    let large = builder.build().unwrap();
    assert_eq!(client.produce("t", 0, &large).unwrap().error_code, ErrorCode::MessageTooLarge);
    assert_eq!(client.produce("large", 0, &large).unwrap().error_code, ErrorCode::None);
    assert_eq!(client.read_all("large", 0).unwrap()[0].value.as_ref().unwrap().len(), 4_000_000);
}

#[test]
fn timestamps_stay_within_the_topics_bounds() {
    let broker = Broker::start();
    let mut client = connect(&broker);
    let (now, minute) = (now_ms(), 60_000);
    client.create_topic(
        "t",
        &[
            ("message.timestamp.before.max.ms", "60000"),
            ("message.timestamp.after.max.ms", "60000"),
        ],
    );
    for codec in Compression::ALL {
        let times = [now, now - 5 * minute, -1, now + 5 * minute].map(|time| (time, None));
        let answer = client.produce("t", 0, &built(codec, &times)).unwrap();
        assert_eq!(answer.error_code, ErrorCode::InvalidTimestamp, "{codec}");
        assert_eq!(named(&answer), [1, 3], "{codec}");
        assert_eq!((answer.base_offset, answer.log_start_offset), (-1, 0), "{codec}");
        let good = client.produce("t", 0, &built(codec, &[times[0], times[2]])).unwrap();
        assert_eq!((good.error_code, good.log_append_time_ms), (ErrorCode::None, -1), "{codec}");
    }
    // Without settings no record is from further ahead than an hour.
    client.auto_create("plain").unwrap();
    let ahead = built(Compression::None, &[(0, None), (now + 120 * minute, None)]);
    let answer = client.produce("plain", 0, &ahead).unwrap();
    assert_eq!((answer.error_code, named(&answer)), (ErrorCode::InvalidTimestamp, vec![1]));
    let message = answer.record_errors[0].batch_index_error_message.clone().unwrap();
    assert!(message.contains("is not within"), "{message}");
}

#[test]
fn a_compacted_topic_wants_keys() {
    let broker = Broker::start();
    let mut client = connect(&broker);
    for (topic, policy) in [("c", "compact"), ("cd", "delete,compact")] {
        client.create_topic(topic, &[("cleanup.policy", policy)]);
        let mixed = built(Compression::Lz4, &[(1, Some("a")), (1, None), (1, Some("")), (1, None)]);
        let answer = client.produce(topic, 0, &mixed).unwrap();
        assert_eq!(answer.error_code, ErrorCode::InvalidRecord);
        assert_eq!(named(&answer), [1, 3]);
        let keyed = built(Compression::Lz4, &[(1, Some("a"))]);
        assert_eq!(client.produce(topic, 0, &keyed).unwrap().error_code, ErrorCode::None);
    }
    let both = concat!(r#"{"key":"a","value":"1"}"#, "\n", r#"{"value":"2"}"#);
    let request = ureq::post(format!("{}/v1/topics/c/records", broker.http()));
    let request = request.content_type("application/json").config();
    let answer = request.http_status_as_error(false).build().send(both).unwrap();
    let (status, said) = (answer.status(), answer.into_body().read_to_string().unwrap());
    assert!(status == 400 && said.contains("record 1") && said.contains("has no key"), "{said}");
}

#[test]
fn the_broker_sets_the_time_where_the_topic_says_so() {
    let broker = Broker::start();
    let mut client = connect(&broker);
    client.create_topic("t", &[("message.timestamp.type", "LogAppendTime")]);
    let before = now_ms();
    let mut times = Vec::new();
    for codec in Compression::ALL {
        let answer = client.produce("t", 0, &built(codec, &[(5, None), (7, None)])).unwrap();
        assert_eq!(answer.error_code, ErrorCode::None, "{codec}");
        times.push(answer.log_append_time_ms);
    }
    assert!(times.is_sorted() && before <= times[0] && times[4] <= now_ms(), "{times:?}");
    for ((batch, codec), time) in stored(&mut client, "t").iter().zip(Compression::ALL).zip(times) {
        assert_eq!(batch.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!((batch.compression(), batch.max_timestamp()), (codec, time));
        for record in batch.records().unwrap() {
            assert_eq!(record.unwrap().timestamp, time);
        }
    }
    // A claim to have done so already is refused.
    let mut claim = built(Compression::None, &[(5, None)]).as_bytes().to_vec();
    claim[22] |= 0x08;
    let crc = crc32c::crc32c(&claim[21..]);
    claim[17..21].copy_from_slice(&crc.to_be_bytes());
    let claim = RecordBatch::parse(claim.into()).unwrap();
    let answer = client.produce("t", 0, &claim).unwrap();
    assert_eq!((answer.error_code, named(&answer)), (ErrorCode::InvalidTimestamp, vec![0]));
    // Elsewhere it is taken off.
    client.auto_create("plain").unwrap();
    assert_eq!(client.produce("plain", 0, &claim).unwrap().error_code, ErrorCode::None);
    assert_eq!(stored(&mut client, "plain")[0].timestamp_type(), TimestampType::CreateTime);
}

#[test]
fn a_duplicate_has_the_time_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start_in(folder.path(), &[]);
    let mut client = connect(&broker);
    client.create_topic("t", &[("message.timestamp.type", "LogAppendTime")]);
    client.auto_create("plain").unwrap();
    let producer = ProducerId { id: client.producer_id().unwrap().id, epoch: 0 };
    let values: Vec<String> = vec!["a".to_owned(), "b".to_owned()];
    let once = batch(&values, Some((producer, 0)));
    let first = client.produce("t", 0, &once).unwrap();
    assert!(first.log_append_time_ms > 0);
    let created = client.produce("plain", 0, &once).unwrap();
    assert_eq!(created.log_append_time_ms, -1);
    broker.kill();
    let broker = Broker::start_in(folder.path(), &[]);
    let mut client = connect(&broker);
    let again = client.produce("t", 0, &once).unwrap();
    assert_eq!(again.error_code, ErrorCode::None);
    assert_eq!(
        (again.base_offset, again.log_append_time_ms),
        (first.base_offset, first.log_append_time_ms)
    );
    // Kafka tells the batch's own time then.
    let again = client.produce("plain", 0, &once).unwrap();
    assert_eq!((again.base_offset, again.log_append_time_ms), (0, once.max_timestamp()));
    assert_eq!(client.read_all("t", 0).unwrap().len(), 2);
}

#[test]
fn records_are_stored_with_the_topics_codec() {
    let broker = Broker::start();
    let mut client = connect(&broker);
    for (name, codec) in
        ["uncompressed", "gzip", "snappy", "lz4", "zstd"].into_iter().zip(Compression::ALL)
    {
        client.create_topic(name, &[("compression.type", name)]);
        let records = [(1, Some("k")), (2, None), (3, Some("k"))];
        for sent in Compression::ALL {
            let answer = client.produce(name, 0, &built(sent, &records)).unwrap();
            assert_eq!(answer.error_code, ErrorCode::None, "{sent} to {name}");
        }
        let batches = stored(&mut client, name);
        assert_eq!(batches.len(), Compression::ALL.len());
        assert!(batches.iter().all(|batch| batch.compression() == codec), "{name}");
        let read = client.read_all(name, 0).unwrap();
        assert_eq!(read.iter().map(|record| record.timestamp).max(), Some(3));
        assert_eq!(read.len(), 3 * Compression::ALL.len());
    }
}

#[test]
fn one_replica_is_enough_where_there_is_but_one() {
    // As Kafka: it asks for no more replicas in sync than a partition has.
    let broker = Broker::start();
    let mut client = connect(&broker);
    client.create_topic("t", &[("min.insync.replicas", "2")]);
    let answer = client.produce("t", 0, &built(Compression::None, &[(1, None)])).unwrap();
    assert_eq!(answer.error_code, ErrorCode::None);
}
