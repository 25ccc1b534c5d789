//! The Kafka port from the outside, byte for byte: every version of every API answers; rubbish
//! costs its own connection and nothing else; what was acknowledged is known again after a crash.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use millstream::kafka::messages::{
    ApiKey, ApiVersionsRequest, CreatableTopic, CreateTopicsRequest, DeleteTopicState,
    DeleteTopicsRequest, DescribeConfigsRequest, DescribeConfigsResource, ErrorCode,
    FindCoordinatorRequest, HeartbeatRequest, InitProducerIdRequest, JoinGroupRequest,
    JoinGroupRequestProtocol, LeaveGroupRequest, ListOffsetsPartition, ListOffsetsRequest,
    ListOffsetsTopic, MemberIdentity, MetadataRequest, MetadataRequestTopic, OffsetCommitRequest,
    OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetFetchRequest,
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics, ProduceRequest,
    Str, SyncGroupRequest, SyncGroupRequestAssignment,
};
use uuid::Uuid;

use crate::client::{Client, batch, fetch_request, produce_request, request_head};
use crate::util::Broker;

fn values(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("value {i}")).collect()
}

/// The id of a topic, as versions that know ids ask for it.
fn topic_id(client: &mut Client, topic: &str) -> Uuid {
    let response = client.call(&MetadataRequest::default(), 12).unwrap();
    let found = response.topics.iter().find(|t| t.name.as_deref() == Some(topic));
    found.unwrap().topic_id
}

#[test]
fn records_in_and_out_in_every_version() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    let id = topic_id(&mut client, "t");
    let mut end = 0;
    for version in ApiKey::Produce.versions() {
        let mut request = produce_request("t", 0, batch(&values(3), None).as_bytes());
        request.topic_data[0].topic_id = id;
        let response = client.call(&request, version).unwrap();
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, ErrorCode::None, "version {version}");
        assert_eq!(partition.base_offset, end, "version {version}");
        end += 3;
    }
    for version in ApiKey::Fetch.versions() {
        let mut request = fetch_request("t", 0, 0, 0);
        request.topics[0].topic_id = id;
        let response = client.call(&request, version).unwrap();
        let data = &response.responses[0].partitions[0];
        assert_eq!(data.error_code, ErrorCode::None, "version {version}");
        assert_eq!(data.high_watermark, end, "version {version}");
        assert!(!data.records.as_ref().unwrap().is_empty(), "version {version}");
    }
    for version in ApiKey::ListOffsets.versions() {
        for (timestamp, offset) in [(-1, end), (-2, 0), (1_700_000_000_000, 0)] {
            let partition = ListOffsetsPartition { timestamp, ..Default::default() };
            let partition = ListOffsetsPartition { current_leader_epoch: -1, ..partition };
            let topic = ListOffsetsTopic { name: Str::from("t"), partitions: vec![partition] };
            let request =
                ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
            let response = client.call(&request, version).unwrap();
            let answer = &response.topics[0].partitions[0];
            assert_eq!(answer.error_code, ErrorCode::None, "version {version}");
            assert_eq!(answer.offset, offset, "version {version}, timestamp {timestamp}");
        }
    }
}

#[test]
fn administration_in_every_version() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    for version in ApiKey::ApiVersions.versions() {
        let request = ApiVersionsRequest {
            client_software_name: Str::from("test"),
            client_software_version: Str::from("1"),
        };
        let response = client.call(&request, version).unwrap();
        assert_eq!(response.api_keys.len(), ApiKey::ALL.len());
    }
    for version in ApiKey::Metadata.versions() {
        // Version 0 has no null: an empty list is all topics.
        let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        let response = client.call(&request, version).unwrap();
        assert_eq!(
            format!("{}:{}", response.brokers[0].host, response.brokers[0].port),
            broker.kafka()
        );
    }
    for version in ApiKey::CreateTopics.versions() {
        let name = Str::from(format!("v{version}"));
        let topic =
            CreatableTopic { name, num_partitions: 2, replication_factor: 1, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        for expected in [ErrorCode::None, ErrorCode::TopicAlreadyExists] {
            let response = client.call(&request, version).unwrap();
            assert_eq!(response.topics[0].error_code, expected, "version {version}");
        }
    }
    for version in ApiKey::DeleteTopics.versions() {
        let name = Str::from(format!("v{}", version + 1));
        let request = DeleteTopicsRequest {
            topic_names: vec![name.clone()],
            topics: vec![DeleteTopicState { name: Some(name), ..Default::default() }],
            ..Default::default()
        };
        let request = match version {
            ..=5 => DeleteTopicsRequest { topics: Vec::new(), ..request },
            _ => request,
        };
        for expected in [ErrorCode::None, ErrorCode::UnknownTopicOrPartition] {
            let response = client.call(&request, version).unwrap();
            assert_eq!(response.responses[0].error_code, expected, "version {version}");
        }
        if version == 5 {
            break;
        }
    }
}

#[test]
fn settings_and_producer_ids_in_every_version() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    for version in ApiKey::DescribeConfigs.versions() {
        let topic = DescribeConfigsResource {
            resource_type: 2,
            resource_name: Str::from("t"),
            configuration_keys: None,
        };
        let broker = DescribeConfigsResource {
            resource_type: 4,
            resource_name: Str::from("1"),
            ..topic.clone()
        };
        let request = DescribeConfigsRequest {
            resources: vec![topic, broker],
            include_synonyms: true,
            ..Default::default()
        };
        let response = client.call(&request, version).unwrap();
        let topic = &response.results[0].configs;
        let retention = topic.iter().find(|config| config.name == "retention.ms").unwrap();
        assert_eq!(retention.value.as_deref(), Some("604800000"));
        assert_eq!(response.results[1].error_code, ErrorCode::None);
    }
    for version in ApiKey::InitProducerId.versions() {
        let response = client.call(&InitProducerIdRequest::default(), version).unwrap();
        assert_eq!(response.error_code, ErrorCode::None);
    }
}

#[test]
fn a_group_in_every_version() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    let id = topic_id(&mut client, "t");
    for version in ApiKey::FindCoordinator.versions() {
        let keys = vec![Str::from("g")];
        let request = match version {
            ..=3 => FindCoordinatorRequest { key: Str::from("g"), ..Default::default() },
            _ => FindCoordinatorRequest { coordinator_keys: keys, ..Default::default() },
        };
        let response = client.call(&request, version).unwrap();
        let port = response.coordinators.first().map_or(response.port, |found| found.port);
        assert!(broker.kafka().ends_with(&format!(":{port}")), "version {version}");
    }
    for version in 0..=9 {
        let group = Str::from(format!("g{version}"));
        let member = join(&mut client, &group, version);
        let sync = SyncGroupRequest {
            group_id: group.clone(),
            generation_id: 1,
            member_id: member.clone(),
            assignments: vec![SyncGroupRequestAssignment {
                member_id: member.clone(),
                assignment: Bytes::from_static(b"all"),
            }],
            ..Default::default()
        };
        let synced = client.call(&sync, version.min(5)).unwrap();
        assert_eq!((synced.error_code, &synced.assignment[..]), (ErrorCode::None, &b"all"[..]));
        let heartbeat = HeartbeatRequest {
            group_id: group.clone(),
            generation_id: 1,
            member_id: member.clone(),
            ..Default::default()
        };
        let beaten = client.call(&heartbeat, version.min(4)).unwrap();
        assert_eq!(beaten.error_code, ErrorCode::None);
        commit_and_fetch(&mut client, &group, &member, id, (version + 1).max(2));
        let leave = match version.min(5) {
            ..=2 => LeaveGroupRequest { group_id: group, member_id: member, ..Default::default() },
            _ => LeaveGroupRequest {
                group_id: group,
                members: vec![MemberIdentity { member_id: member, ..Default::default() }],
                ..Default::default()
            },
        };
        let left = client.call(&leave, version.min(5)).unwrap();
        assert_eq!(left.error_code, ErrorCode::None);
        assert!(left.members.iter().all(|member| member.error_code == ErrorCode::None));
    }
}

fn join(client: &mut Client, group: &Str, version: i16) -> Str {
    let protocol =
        JoinGroupRequestProtocol { name: Str::from("range"), metadata: Bytes::from_static(b"m") };
    let mut request = JoinGroupRequest {
        group_id: group.clone(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: Str::from("consumer"),
        protocols: vec![protocol],
        ..Default::default()
    };
    let mut joined = client.call(&request, version).unwrap();
    if version >= 4 {
        assert_eq!(joined.error_code, ErrorCode::MemberIdRequired, "KIP-394");
        request.member_id = joined.member_id.clone();
        joined = client.call(&request, version).unwrap();
    }
    assert_eq!(joined.error_code, ErrorCode::None, "version {version}");
    assert_eq!(joined.leader, joined.member_id[..]);
    assert_eq!(joined.members.len(), 1);
    joined.member_id
}

fn commit_and_fetch(client: &mut Client, group: &Str, member: &Str, topic_id: Uuid, version: i16) {
    let request = OffsetCommitRequest {
        group_id: group.clone(),
        generation_id_or_member_epoch: 1,
        member_id: member.clone(),
        topics: vec![OffsetCommitRequestTopic {
            name: Str::from("t"),
            topic_id,
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: 42,
                committed_metadata: Some(Str::from("note")),
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    let committed = client.call(&request, version).unwrap();
    assert_eq!(committed.topics[0].partitions[0].error_code, ErrorCode::None, "version {version}");
    let request = match version {
        ..=7 => OffsetFetchRequest {
            group_id: group.clone(),
            topics: Some(vec![OffsetFetchRequestTopic {
                name: Str::from("t"),
                partition_indexes: vec![0],
            }]),
            ..Default::default()
        },
        _ => OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: group.clone(),
                topics: Some(vec![OffsetFetchRequestTopics {
                    name: Str::from("t"),
                    topic_id,
                    partition_indexes: vec![0],
                }]),
                ..Default::default()
            }],
            ..Default::default()
        },
    };
    let fetched = client.call(&request, version).unwrap();
    let found = match version {
        ..=7 => {
            let partition = &fetched.topics[0].partitions[0];
            (partition.committed_offset, partition.metadata.clone())
        }
        _ => {
            let partition = &fetched.groups[0].topics[0].partitions[0];
            (partition.committed_offset, partition.metadata.clone())
        }
    };
    assert_eq!(found, (42, Some(Str::from("note"))), "version {version}");
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    let mut frame = request_head(ApiKey::ApiVersions, 99);
    frame.extend(b"whatever a later version may say");
    client.stream.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).unwrap();
    client.stream.write_all(&frame).unwrap();
    let response = client.receive::<ApiVersionsRequest>(0).unwrap();
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion);
    assert_eq!((response.api_keys[0].api_key, response.api_keys[0].max_version), (18, 4));
    // The connection goes on.
    client.call(&MetadataRequest::default(), 12).unwrap();
}

#[test]
fn a_fetch_waits_for_records_and_no_longer() {
    let broker = Broker::start();
    let mut reader = Client::connect(broker.kafka()).unwrap();
    let mut writer = Client::connect(broker.kafka()).unwrap();
    writer.auto_create("t").unwrap();
    // Far longer than the test may take: only the record ends the wait.
    reader.send(&fetch_request("t", 0, 0, 250_000), 12).unwrap();
    assert_eq!(writer.produce("t", 0, &batch(&values(5), None)).unwrap().base_offset, 0);
    let response = reader.receive::<millstream::kafka::messages::FetchRequest>(12).unwrap();
    assert!(!response.responses[0].partitions[0].records.as_ref().unwrap().is_empty());

    // From the middle of a batch comes the whole batch; beyond the end, an error at once.
    let response = reader.fetch("t", 0, 3, 0).unwrap();
    let first = response.responses[0].partitions[0].records.clone().unwrap().into_bytes();
    assert_eq!(first[..8], 0_i64.to_be_bytes());
    let response = reader.fetch("t", 0, 6, 250_000).unwrap();
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::OffsetOutOfRange);
    // Nothing to wait for, nothing there: an empty answer.
    let response = reader.fetch("t", 0, 5, 0).unwrap();
    assert!(response.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
}

#[test]
fn responses_keep_the_order_of_requests() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    for _ in 0..20 {
        client.send(&produce_request("t", 0, batch(&values(1), None).as_bytes()), 9).unwrap();
    }
    client.send(&MetadataRequest::default(), 12).unwrap();
    for offset in 0..20 {
        let response = client.receive::<ProduceRequest>(9).unwrap();
        assert_eq!(response.responses[0].partition_responses[0].base_offset, offset);
    }
    client.receive::<MetadataRequest>(12).unwrap();
}

#[test]
fn duplicates_are_known_again_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start_in(folder.path(), &[]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    let producer = client.producer_id().unwrap();
    let at = |sequence| batch(&values(2), Some((producer, sequence)));
    for sequence in [0, 2, 4] {
        let produced = client.produce("t", 0, &at(sequence)).unwrap();
        assert_eq!(produced.base_offset, i64::from(sequence));
    }
    broker.kill();
    let broker = Broker::start_in(folder.path(), &[]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    for sequence in [2, 0, 4] {
        let produced = client.produce("t", 0, &at(sequence)).unwrap();
        assert_eq!(produced.error_code, ErrorCode::None);
        assert_eq!(produced.base_offset, i64::from(sequence), "the first one's offset");
    }
    let gap = client.produce("t", 0, &at(8)).unwrap();
    assert_eq!(gap.error_code, ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(client.produce("t", 0, &at(6)).unwrap().base_offset, 6);
    assert_eq!(client.read_all("t", 0).unwrap().len(), 8);
    assert_ne!(client.producer_id().unwrap().id, producer.id, "no id is given twice");
}

#[test]
fn a_batch_that_changed_on_its_way_is_refused() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    let mut bytes = batch(&values(3), None).as_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let response = client.call(&produce_request("t", 0, &bytes.into()), 9).unwrap();
    let answer = &response.responses[0].partition_responses[0];
    assert_eq!(answer.error_code, ErrorCode::CorruptMessage);
    assert!(client.read_all("t", 0).unwrap().is_empty());
}

/// Sends rubbish and waits until the broker has closed the connection. What could still become a
/// request ends with the client's leaving.
fn is_closed_after(address: &str, rubbish: &[u8], leaves: bool) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // The broker may close before it has read everything.
    let _ = stream.write_all(rubbish);
    if leaves {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = [0; 4096];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

/// Pieces of rubbish that no further byte can make a request of.
const HOPELESS: usize = 7;

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn rubbish_closes_its_connection_and_does_nothing_else() {
    let broker = Broker::start();
    let mut witness = Client::connect(broker.kafka()).unwrap();
    witness.auto_create("t").unwrap();
    let framed = |body: &[u8]| {
        let size = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&size[..], body].concat()
    };
    let mut rubbish = vec![
        i32::MAX.to_be_bytes().to_vec(),
        (-1_i32).to_be_bytes().to_vec(),
        i32::MIN.to_be_bytes().to_vec(),
        0_i32.to_be_bytes().to_vec(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        [&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01][..], &[7; 600]].concat(),
        framed(&request_head(ApiKey::Metadata, 99)),
    ];
    for &api in ApiKey::ALL {
        for version in api.versions() {
            let head = request_head(api, version);
            rubbish.extend((0..head.len()).map(|cut| framed(&head[..cut])));
            // Two billion of everything, in both forms of a length.
            rubbish.push(framed(&[&head[..], &[0x7f; 40]].concat()));
            rubbish.push(framed(&[&head[..], &[0, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat()));
            // A size that promises more than comes.
            rubbish.push([&1_000_000_u32.to_be_bytes()[..], &head].concat());
        }
    }
    let seed = 0x5eed;
    let mut random = fastrand::Rng::with_seed(seed);
    rubbish.extend((0..200).map(|_| {
        let length = random.usize(1..200);
        std::iter::repeat_with(|| random.u8(..)).take(length).collect()
    }));
    for bytes in &rubbish[..HOPELESS] {
        assert!(is_closed_after(broker.kafka(), bytes, false), "{bytes:?}");
    }
    let before = resident_bytes(broker.pid());
    for bytes in &rubbish {
        assert!(is_closed_after(broker.kafka(), bytes, true), "seed {seed}: {bytes:?}");
    }
    let grown = resident_bytes(broker.pid()).saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more after {} pieces of rubbish", rubbish.len());
    let log = broker.log();
    for hint in ["looks like HTTP", "looks like TLS", "2147483647"] {
        assert!(log.contains(hint), "no log line has {hint:?}");
    }
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(witness.produce("t", 0, &batch(&values(1), None)).unwrap().base_offset, 0);
}

#[test]
fn a_topic_that_is_asked_for_is_made_and_there_when_asked_again() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    let mut asked = |version| {
        let name = Some(Str::from(format!("t{version}")));
        let topics = Some(vec![MetadataRequestTopic { name, ..Default::default() }]);
        let request = MetadataRequest { topics, ..Default::default() };
        let topic = client.call(&request, version).unwrap().topics.remove(0);
        (topic.error_code, topic.partitions.len())
    };
    for version in 0..=13 {
        assert_eq!(asked(version), (ErrorCode::UnknownTopicOrPartition, 0), "{version}");
        assert_eq!(asked(version), (ErrorCode::None, 1), "{version}");
    }
}
