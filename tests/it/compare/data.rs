//! Records: Produce, Fetch, ListOffsets, OffsetForLeaderEpoch, InitProducerId.

use bytes::Bytes;
use millstream::kafka::messages::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic, DescribeProducersRequest,
    FetchRequest, InitProducerIdRequest, ListOffsetsPartition, ListOffsetsRequest,
    ListOffsetsTopic, OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
    PartitionProduceData, ProduceRequest, ProducersTopicRequest, Records, TopicProduceData,
};
use millstream::record::{BatchBuilder, Compression};
use millstream::types::ProducerId;
use uuid::Uuid;

use super::side::Side;
use super::{Table, s};
use crate::client::fetch_request;

/// A time that lies behind, whenever the test runs.
const TIME: i64 = 1_700_000_000_000;

pub(super) fn requests(table: &mut Table) {
    produce(table);
    produce_badly(table);
    idempotent(table);
    fetch(table);
    list_offsets(table);
    leader_epochs(table);
    producers(table);
    delete_records(table);
}

/// Bytes of one batch.
fn batch(values: &[&str], with: impl FnOnce(&mut BatchBuilder)) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    with(&mut builder);
    for (time, value) in (TIME..).zip(values) {
        builder.push(time, Some(b"key"), Some(value.as_bytes()), &[]).unwrap();
    }
    builder.build().unwrap().as_bytes().clone()
}

fn topic_id(side: &Side, topic: &str) -> Uuid {
    if topic == "nowhere" { Uuid::from_u128(5) } else { side.topic_id(topic) }
}

fn produce_to(
    side: &Side,
    topic: &str,
    index: i32,
    acks: i16,
    records: Option<Bytes>,
) -> ProduceRequest {
    let records = records.map(Records::from);
    ProduceRequest {
        acks,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: s(topic),
            topic_id: topic_id(side, topic),
            partition_data: vec![PartitionProduceData { index, records }],
        }],
        ..Default::default()
    }
}

fn produce(table: &mut Table) {
    table.each("no topic", |_| ProduceRequest { acks: -1, ..Default::default() });
    for acks in [-1, 1] {
        table.each(&format!("three records, acks {acks}"), move |side| {
            produce_to(side, "records", 0, acks, Some(batch(&["a", "b", "c"], |_| {})))
        });
    }
    table.each("to a topic with the broker's time", |side| {
        produce_to(side, "stamped", 0, -1, Some(batch(&["a"], |_| {})))
    });
    table.each("to a compacted topic", |side| {
        produce_to(side, "compacted", 0, -1, Some(batch(&["a"], |_| {})))
    });
}

fn produce_badly(table: &mut Table) {
    let good = || Some(batch(&["a"], |_| {}));
    table.each("acks 2", move |side| produce_to(side, "records", 0, 2, good()));
    table.each("a topic that is not there", move |side| produce_to(side, "nowhere", 0, -1, good()));
    table.each("a partition that is not there", move |side| {
        produce_to(side, "records", 9, -1, good())
    });
    table.each("a negative partition", move |side| produce_to(side, "records", -1, -1, good()));
    table.each("empty records", |side| produce_to(side, "records", 0, -1, Some(Bytes::new())));
    table.each("two batches", |side| {
        let two = [batch(&["a"], |_| {}), batch(&["b"], |_| {})].concat();
        produce_to(side, "records", 0, -1, Some(two.into()))
    });
    table.each("half a batch", |side| {
        let whole = batch(&["a"], |_| {});
        produce_to(side, "records", 0, -1, Some(whole.slice(..whole.len() - 5)))
    });
    // Offsets in the head of a batch: 16 magic, 17 CRC, 21 attributes, 57 count of records.
    let flipped = |name: &'static str, at: usize, bit: u8, crc: bool, table: &mut Table| {
        table.each(name, move |side| {
            let mut bytes = batch(&["a", "b"], |_| {}).to_vec();
            bytes[at] ^= bit;
            if crc {
                let crc = crc32c::crc32c(&bytes[21..]);
                bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            }
            produce_to(side, "records", 0, -1, Some(bytes.into()))
        });
    };
    flipped("a wrong CRC", 17, 1, false, table);
    flipped("magic 1", 16, 3, true, table);
    flipped("magic 3", 16, 1, true, table);
    flipped("a control batch", 22, 0x20, true, table);
    flipped("the broker's time", 22, 8, true, table);
    flipped("a wrong count", 60, 1, true, table);
    flipped("an unknown codec", 22, 7, true, table);
    table.each("no key on a compacted topic", |side| {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(TIME, Some(b"key"), Some(b"a"), &[]).unwrap();
        builder.push(TIME, None, Some(b"b"), &[]).unwrap();
        let records = builder.build().unwrap().as_bytes().clone();
        produce_to(side, "compacted", 0, -1, Some(records))
    });
    table.each("a time far ahead", |side| {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(TIME * 2, None, Some(b"a"), &[]).unwrap();
        let records = builder.build().unwrap().as_bytes().clone();
        produce_to(side, "records", 0, -1, Some(records))
    });
    table.each("a batch too large", |side| {
        produce_to(side, "small", 0, -1, Some(batch(&["v".repeat(100).as_str()], |_| {})))
    });
}

fn idempotent(table: &mut Table) {
    // In an empty partition, then behind others; once more, and the next.
    for (name, sequence) in
        [("begun in the middle", 7), ("begun in the middle, again", 7), ("and on", 8)]
    {
        table.each_version(name, move |side, version| {
            let producer = ProducerId { id: 2_000_000 + i64::from(version), epoch: 3 };
            let records = batch(&["a"], |builder| {
                builder.producer(producer, sequence);
            });
            produce_to(side, "begun", 0, -1, Some(records))
        });
    }
    table.each("a new producer", |_| InitProducerIdRequest {
        transaction_timeout_ms: 1_000,
        ..Default::default()
    });
    table.each("a producer that is unknown", |_| InitProducerIdRequest {
        producer_id: 77,
        producer_epoch: 3,
        ..Default::default()
    });
    for (name, id, epoch) in [("an id alone", 77, -1), ("an epoch alone", -1, 3)] {
        table.each(name, move |_| InitProducerIdRequest {
            producer_id: id,
            producer_epoch: epoch,
            ..Default::default()
        });
    }
    let steps = [
        ("the first batch", 0, 0),
        ("the same again", 0, 0),
        ("the next", 0, 1),
        ("a gap", 0, 5),
        ("the first once more", 0, 0),
        ("a new epoch", 1, 0),
        ("the old epoch", 0, 2),
        ("a new epoch in the middle", 2, 7),
    ];
    for (name, epoch, sequence) in steps {
        table.each_version(name, move |side, version| {
            let producer = ProducerId { id: 1_000_000 + i64::from(version), epoch };
            let records = batch(&["a"], |builder| {
                builder.producer(producer, sequence);
            });
            produce_to(side, "written", 0, -1, Some(records))
        });
    }
}

fn fetch_at(side: &Side, topic: &str, partition: i32, fetch_offset: i64) -> FetchRequest {
    let mut request = fetch_request(topic, partition, fetch_offset, 0);
    request.max_bytes = 1 << 20;
    request.topics[0].topic_id = topic_id(side, topic);
    request
}

fn fetch(table: &mut Table) {
    table.each("nothing", |_| FetchRequest::default());
    table.each("from the first", |side| fetch_at(side, "written", 0, 0));
    table.each("from the middle", |side| fetch_at(side, "written", 0, 7));
    table.each("an empty partition", |side| fetch_at(side, "records", 1, 0));
    table.each("beyond the end", |side| fetch_at(side, "records", 1, 1));
    table.each("before the start", |side| fetch_at(side, "records", 1, -1));
    table.each("a partition that is not there", |side| fetch_at(side, "records", 9, 0));
    table.each("a topic that is not there", |side| fetch_at(side, "nowhere", 0, 0));
    table.each("what is committed", |side| FetchRequest {
        isolation_level: 1,
        ..fetch_at(side, "written", 0, 5)
    });
    table.each("one byte at most", |side| FetchRequest {
        max_bytes: 1,
        ..fetch_at(side, "written", 0, 0)
    });
    for epoch in [0, 9] {
        table.each(&format!("leader epoch {epoch}"), move |side| {
            let mut request = fetch_at(side, "written", 0, 6);
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            request
        });
    }
    table.each("an unknown session", |side| FetchRequest {
        session_id: 5,
        session_epoch: 1,
        ..fetch_at(side, "written", 0, 0)
    });
    table.each("the end of an unknown session", |side| FetchRequest {
        session_id: 5,
        session_epoch: -1,
        ..fetch_at(side, "records", 1, 0)
    });
}

fn list_at(
    topic: &'static str,
    partition_index: i32,
    timestamp: i64,
    current_leader_epoch: i32,
) -> impl Fn(&mut Side) -> ListOffsetsRequest + Clone {
    move |_| ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: s(topic),
            partitions: vec![ListOffsetsPartition {
                partition_index,
                timestamp,
                current_leader_epoch,
            }],
        }],
        ..Default::default()
    }
}

fn list_offsets(table: &mut Table) {
    let at = list_at;
    table.each("nothing", |_| ListOffsetsRequest::default());
    for timestamp in [-1, -2, -3, -4, -5, -6, -7, 0, TIME, TIME + 1, TIME + 2, TIME + 3] {
        let name = if timestamp < TIME {
            format!("timestamp {timestamp}")
        } else {
            format!("the records' time and {}", timestamp - TIME)
        };
        table.each(&name, at("records", 0, timestamp, -1));
        table.each(&format!("{name}, where nothing is"), at("records", 1, timestamp, -1));
    }
    table.each("a partition that is not there", at("records", 9, -1, -1));
    table.each("a topic that is not there", at("nowhere", 0, -1, -1));
    table.each("the epoch that is", at("records", 0, -1, 0));
    table.each("an epoch to come", at("records", 0, -1, 9));
    table.each("what is committed", move |side| ListOffsetsRequest {
        isolation_level: 1,
        ..at("records", 0, -1, -1)(side)
    });
    table.each("one partition twice", |_| {
        let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
        let partitions = vec![partition.clone(), partition];
        let topics = vec![ListOffsetsTopic { name: s("records"), partitions }];
        ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }
    });
}

fn leader_epochs(table: &mut Table) {
    let at = |topic: &'static str, partition, leader_epoch, current_leader_epoch| {
        move |_: &mut _| OffsetForLeaderEpochRequest {
            topics: vec![OffsetForLeaderTopic {
                topic: s(topic),
                partitions: vec![OffsetForLeaderPartition {
                    partition,
                    current_leader_epoch,
                    leader_epoch,
                }],
            }],
            ..Default::default()
        }
    };
    table.each("nothing", |_| OffsetForLeaderEpochRequest::default());
    for epoch in [0, 1, -1] {
        table.each(&format!("epoch {epoch}"), at("written", 0, epoch, -1));
        table.each(&format!("epoch {epoch}, where nothing is"), at("records", 1, epoch, -1));
    }
    table.each("the epoch that is", at("written", 0, 0, 0));
    table.each("an epoch to come", at("written", 0, 0, 9));
    table.each("a partition that is not there", at("written", 9, 0, -1));
    table.each("a topic that is not there", at("nowhere", 0, 0, -1));
}

fn producers(table: &mut Table) {
    let asked = |topics: &'static [(&'static str, &'static [i32])]| {
        let topic = |(name, indexes): &(&str, &[i32])| ProducersTopicRequest {
            name: s(name),
            partition_indexes: indexes.to_vec(),
        };
        move |_: &mut Side| DescribeProducersRequest { topics: topics.iter().map(topic).collect() }
    };
    table.each("none", asked(&[]));
    table.each("of partitions", asked(&[("written", &[0, 9]), ("nowhere", &[0])]));
    table.each("where nobody was", asked(&[("records", &[1])]));
}

fn delete_records(table: &mut Table) {
    let delete = |topic: &'static str, partition_index, offset| {
        move |_: &mut Side| DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: s(topic),
                partitions: vec![DeleteRecordsPartition { partition_index, offset }],
            }],
            timeout_ms: 10_000,
        }
    };
    table.each("nothing", |_| DeleteRecordsRequest::default());
    for offset in [2, 1, 0, -2, 1_000, -1] {
        table.each(&format!("before {offset}"), delete("stamped", 0, offset));
        let name = format!("with what is before {offset} deleted");
        table.each(&name, list_at("stamped", 0, -2, -1));
    }
    table.each("of a partition that is not there", delete("records", 9, 0));
    table.each("of a topic that is not there", delete("nowhere", 0, 0));
    table.each("of an empty partition", delete("records", 1, 0));
    table.each("of an empty partition, beyond", delete("records", 1, 1));
    table.each("of a compacted topic", delete("compacted", 0, 1));
}
