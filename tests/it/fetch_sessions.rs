//! Fetch sessions from the outside (KIP-227), with topic names and with topic ids (KIP-516).

use millstream::kafka::messages::{
    CreatableTopic, CreateTopicsRequest, DeleteTopicState, DeleteTopicsRequest, ErrorCode,
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, Str,
};
use uuid::Uuid;

use crate::client::{Client, batch};
use crate::util::Broker;

const NAMES: i16 = 12;
const IDS: i16 = 17;
/// Far longer than a test may take.
const PATIENT_MS: i32 = 250_000;

/// A client with a topic "t" of four partitions, which it fetches in sessions.
struct World {
    _broker: Broker,
    client: Client,
    id: Uuid,
    version: i16,
}

impl World {
    fn new(version: i16) -> Self {
        let broker = Broker::start();
        let mut client = Client::connect(broker.kafka()).unwrap();
        let id = create(&mut client);
        Self { _broker: broker, client, id, version }
    }

    fn fetch(
        &mut self,
        (session_id, session_epoch): (i32, i32),
        wanted: &[(i32, i64)],
        forgotten: &[i32],
        max_wait_ms: i32,
    ) -> FetchResponse {
        let request = request(self.id, session_id, session_epoch, wanted, forgotten, max_wait_ms);
        self.client.call(&request, self.version).unwrap()
    }

    fn produce(&mut self, partition: i32) {
        let produced =
            self.client.produce("t", partition, &batch(&["value".to_owned()], None)).unwrap();
        assert_eq!(produced.error_code, ErrorCode::None);
    }
}

fn create(client: &mut Client) -> Uuid {
    let topic = CreatableTopic {
        name: Str::from("t"),
        num_partitions: 4,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let response = client.call(&request, 7).unwrap();
    assert_eq!(response.topics[0].error_code, ErrorCode::None);
    response.topics[0].topic_id
}

fn request(
    topic_id: Uuid,
    session_id: i32,
    session_epoch: i32,
    wanted: &[(i32, i64)],
    forgotten: &[i32],
    max_wait_ms: i32,
) -> FetchRequest {
    let partitions = wanted.iter().map(|(partition, fetch_offset)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    });
    let topic = Str::from("t");
    let topics =
        vec![FetchTopic { topic: topic.clone(), topic_id, partitions: partitions.collect() }];
    let forgotten_topics_data =
        vec![ForgottenTopic { topic, topic_id, partitions: forgotten.to_vec() }];
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 50 << 20,
        session_id,
        session_epoch,
        topics,
        forgotten_topics_data,
        ..Default::default()
    }
}

/// Partition, error, and whether there are records, by partition.
fn rows(response: &FetchResponse) -> Vec<(i32, ErrorCode, bool)> {
    assert_eq!(response.error_code, ErrorCode::None);
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let mut rows: Vec<_> = partitions
        .map(|p| (p.partition_index, p.error_code, !p.records.as_ref().unwrap().is_empty()))
        .collect();
    rows.sort_unstable_by_key(|row| row.0);
    rows
}

fn refused(response: &FetchResponse) -> ErrorCode {
    assert!(response.responses.is_empty());
    assert_eq!(response.session_id, 0);
    response.error_code
}

const NONE: ErrorCode = ErrorCode::None;

#[test]
fn a_session_tells_everything_first_and_then_what_changed() {
    for version in [NAMES, IDS] {
        let mut world = World::new(version);
        world.produce(0);
        let all = [(0, 0), (1, 0), (2, 0), (3, 0)];
        let first = world.fetch((0, 0), &all, &[], 0);
        let session = first.session_id;
        assert!(session > 0);
        let idle = |partition| (partition, NONE, false);
        assert_eq!(rows(&first), [(0, NONE, true), idle(1), idle(2), idle(3)]);
        // Not read on, it comes again; read on, there is nothing to say.
        assert_eq!(rows(&world.fetch((session, 1), &[], &[], 0)), [(0, NONE, true)]);
        assert_eq!(rows(&world.fetch((session, 2), &[(0, 1)], &[], 0)), []);
        world.produce(3);
        assert_eq!(rows(&world.fetch((session, 3), &[], &[], PATIENT_MS)), [(3, NONE, true)]);
        // Forgotten, it is not told any more, however much there is.
        assert_eq!(rows(&world.fetch((session, 4), &[], &[3], 0)), []);
        let again = world.fetch((session, 5), &[(3, 0)], &[], PATIENT_MS);
        assert_eq!((rows(&again), again.session_id), (vec![(3, NONE, true)], session));
        // With nothing left, the session is over.
        let last = world.fetch((session, 6), &[], &[0, 1, 2, 3], PATIENT_MS);
        assert_eq!((rows(&last), last.session_id), (vec![], 0));
        let gone = world.fetch((session, 7), &[], &[], PATIENT_MS);
        assert_eq!(refused(&gone), ErrorCode::FetchSessionIdNotFound);
    }
}

#[test]
fn errors_are_told_until_they_are_over() {
    let mut world = World::new(IDS);
    let session = world.fetch((0, 0), &[(0, 0)], &[], 0).session_id;
    let wrong = [(0, 5, ErrorCode::OffsetOutOfRange), (9, 0, ErrorCode::UnknownTopicOrPartition)];
    let wanted = wrong.map(|(partition, offset, _)| (partition, offset));
    let expected = wrong.map(|(partition, _, code)| (partition, code, false));
    assert_eq!(rows(&world.fetch((session, 1), &wanted, &[], PATIENT_MS)), expected);
    assert_eq!(rows(&world.fetch((session, 2), &[], &[], PATIENT_MS)), expected);
    let over = world.fetch((session, 3), &[(0, 0)], &[9], 0);
    assert_eq!(rows(&over), [(0, NONE, false)]);

    let name = Some(Str::from("t"));
    let delete = DeleteTopicsRequest {
        topics: vec![DeleteTopicState { name, ..Default::default() }],
        ..Default::default()
    };
    world.client.call(&delete, 6).unwrap();
    for epoch in 4..6 {
        let gone = world.fetch((session, epoch), &[], &[], PATIENT_MS);
        assert_eq!(rows(&gone), [(0, ErrorCode::UnknownTopicId, false)]);
    }
}

#[test]
fn a_session_by_name_finds_the_topic_that_was_made_again() {
    let mut world = World::new(NAMES);
    let session = world.fetch((0, 0), &[(0, 0)], &[], 0).session_id;
    let delete = DeleteTopicsRequest { topic_names: vec![Str::from("t")], ..Default::default() };
    world.client.call(&delete, 5).unwrap();
    let gone = world.fetch((session, 1), &[], &[], PATIENT_MS);
    assert_eq!(rows(&gone), [(0, ErrorCode::UnknownTopicOrPartition, false)]);
    create(&mut world.client);
    world.produce(0);
    let back = world.fetch((session, 2), &[], &[], PATIENT_MS);
    assert_eq!(rows(&back), [(0, NONE, true)]);
}

#[test]
fn a_wrong_session_or_epoch_is_refused() {
    let mut world = World::new(IDS);
    let session = world.fetch((0, 0), &[(0, 0)], &[], 0).session_id;
    let mut refuse = |at, version| {
        world.version = version;
        refused(&world.fetch(at, &[], &[], PATIENT_MS))
    };
    assert_eq!(refuse((session, 2), IDS), ErrorCode::InvalidFetchSessionEpoch);
    assert_eq!(refuse((session, -7), IDS), ErrorCode::InvalidFetchSessionEpoch);
    assert_eq!(refuse((session ^ 1, 1), IDS), ErrorCode::FetchSessionIdNotFound);
    assert_eq!(refuse((0, 1), IDS), ErrorCode::FetchSessionIdNotFound);
    assert_eq!(refuse((session, 1), NAMES), ErrorCode::FetchSessionTopicIdError);
    world.version = IDS;
    assert_eq!(rows(&world.fetch((session, 1), &[], &[], 0)), []);
    // A new one in its place; then none.
    let next = world.fetch((session, 0), &[(1, 0)], &[], 0);
    assert_eq!(rows(&next), [(1, NONE, false)]);
    let old = world.fetch((session, 2), &[], &[], PATIENT_MS);
    assert_eq!(refused(&old), ErrorCode::FetchSessionIdNotFound);
    let without = world.fetch((next.session_id, -1), &[(2, 0)], &[], 0);
    assert_eq!((rows(&without), without.session_id), (vec![(2, NONE, false)], 0));
    let closed = world.fetch((next.session_id, 1), &[], &[], PATIENT_MS);
    assert_eq!(refused(&closed), ErrorCode::FetchSessionIdNotFound);
}
