//! Idempotent producers from the outside (KIP-98, KIP-360): what becomes of each batch, and what
//! the broker says that it knows of them.

use millstream::kafka::messages::{
    DescribeProducersRequest, ErrorCode, InitProducerIdRequest, ProduceRequest, ProducerState,
    ProducersTopicRequest, Str,
};
use millstream::types::ProducerId;

use crate::client::{Client, batch, produce_request};
use crate::util::Broker;

fn one() -> Vec<String> {
    vec!["value".to_owned()]
}

fn init(client: &mut Client, producer_id: i64, producer_epoch: i16) -> (ErrorCode, i64, i16) {
    let request =
        InitProducerIdRequest { producer_id, producer_epoch, ..InitProducerIdRequest::default() };
    let response = client.call(&request, 5).unwrap();
    (response.error_code, response.producer_id, response.producer_epoch)
}

fn describe(client: &mut Client, topic: &str) -> (ErrorCode, Vec<ProducerState>) {
    let topic = ProducersTopicRequest { name: Str::from(topic), partition_indexes: vec![0] };
    let response = client.call(&DescribeProducersRequest { topics: vec![topic] }, 0).unwrap();
    let partition = &response.topics[0].partitions[0];
    (partition.error_code, partition.active_producers.clone())
}

#[test]
fn a_producer_that_starts_over_gets_a_new_id() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    let (_, first, _) = init(&mut client, -1, -1);
    let (code, second, epoch) = init(&mut client, first, 0);
    assert_eq!((code, epoch), (ErrorCode::None, 0));
    assert_ne!(first, second);
    // Half a producer.
    assert_eq!(init(&mut client, first, -1), (ErrorCode::InvalidRequest, -1, -1));
    assert_eq!(init(&mut client, -1, 0), (ErrorCode::InvalidRequest, -1, -1));
}

#[test]
fn five_batches_in_flight_are_appended_once_each() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    let producer = client.producer_id().unwrap();
    let mut rounds = |sequences: [i32; 5]| {
        for sequence in sequences {
            let batch = batch(&one(), Some((producer, sequence)));
            client.send(&produce_request("t", 0, batch.as_bytes()), 9).unwrap();
        }
        sequences.map(|_| {
            let mut response = client.receive::<ProduceRequest>(9).unwrap();
            let answer = response.responses.remove(0).partition_responses.remove(0);
            (answer.error_code, answer.base_offset)
        })
    };
    let none = ErrorCode::None;
    let all = [0, 1, 2, 3, 4].map(|offset| (none, offset));
    assert_eq!(rounds([0, 1, 2, 3, 4]), all);
    assert_eq!(rounds([0, 1, 2, 3, 4]), all, "sent again, they are where they were");
    let gap = (ErrorCode::OutOfOrderSequenceNumber, -1);
    // One is missing, and so are all behind it; they come again in order.
    assert_eq!(rounds([6, 7, 8, 9, 10]), [gap; 5]);
    assert_eq!(rounds([5, 6, 7, 8, 9]), [5, 6, 7, 8, 9].map(|offset| (none, offset)));
    // The sixth last is no longer known.
    assert_eq!(rounds([4, 5, 9, 10, 10]), [gap, (none, 5), (none, 9), (none, 10), (none, 10)]);
    assert_eq!(client.read_all("t", 0).unwrap().len(), 11);
}

#[test]
fn a_new_epoch_fences_the_old_one() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    let old = client.producer_id().unwrap();
    let new = ProducerId { epoch: 1, ..old };
    let mut produce = |producer, sequence| {
        client.produce("t", 0, &batch(&one(), Some((producer, sequence)))).unwrap().error_code
    };
    assert_eq!(produce(old, 0), ErrorCode::None);
    assert_eq!(produce(new, 1), ErrorCode::OutOfOrderSequenceNumber, "a new epoch begins at 0");
    assert_eq!(produce(new, 0), ErrorCode::None);
    assert_eq!(produce(old, 1), ErrorCode::InvalidProducerEpoch);
    assert_eq!(produce(new, 1), ErrorCode::None);
    let (code, known) = describe(&mut client, "t");
    assert_eq!((code, known.len()), (ErrorCode::None, 1));
    assert_eq!((known[0].producer_id, known[0].producer_epoch), (old.id, 1));
    assert_eq!((known[0].last_sequence, known[0].coordinator_epoch), (1, -1));
    assert_eq!(describe(&mut client, "nowhere").0, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn a_producer_that_the_partition_does_not_know_begins_anywhere() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    let mut produce = |id, sequence| {
        let producer = ProducerId { id, epoch: 0 };
        let answer = client.produce("t", 0, &batch(&one(), Some((producer, sequence)))).unwrap();
        (answer.error_code, answer.base_offset)
    };
    // Its topic was made again, or it was forgotten: in an empty partition and in any other.
    assert_eq!(produce(7, 500), (ErrorCode::None, 0));
    assert_eq!(produce(8, 900), (ErrorCode::None, 1));
    assert_eq!(produce(7, 501), (ErrorCode::None, 2));
    assert_eq!(produce(8, 900), (ErrorCode::None, 1), "a duplicate");
    assert_eq!(produce(7, 503), (ErrorCode::OutOfOrderSequenceNumber, -1));
}
