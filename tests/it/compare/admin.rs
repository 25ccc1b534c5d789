//! The cluster: ApiVersions, DescribeCluster, DescribeLogDirs, ElectLeaders and reassignments.

use bytes::Bytes;
use millstream::kafka::messages::{
    AlterPartitionReassignmentsRequest, AlterReplicaLogDir, AlterReplicaLogDirTopic,
    AlterReplicaLogDirsRequest, ApiKey, ApiVersionsRequest, ApiVersionsResponse,
    DescribableLogDirTopic, DescribeClusterRequest, DescribeLogDirsRequest,
    DescribeQuorumPartition, DescribeQuorumRequest, DescribeQuorumTopic, ElectLeadersRequest,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics, ReassignablePartition,
    ReassignableTopic, TopicPartitions,
};

use super::{Table, s};

pub(super) fn requests(table: &mut Table) {
    api_versions(table);
    cluster(table);
    quorum(table);
    log_dirs(table);
    moves(table);
    elections(table);
    reassignments(table);
}

fn api_versions(table: &mut Table) {
    let named = |name: &'static str, version: &'static str| {
        move |_: &mut _| ApiVersionsRequest {
            client_software_name: s(name),
            client_software_version: s(version),
        }
    };
    table.each("a client", named("compare", "1.0"));
    table.each("no name", named("", ""));
    table.each("a bad name", named("-compare", "1.0"));
    table.each("a bad version", named("compare", "1 0"));
    table.step(ApiKey::ApiVersions, "a version from the future", 99, |side| {
        let frame = Bytes::from_static(b"\0\0\0\x0b\0\x12\0\x63\0\0\0\x07\xff\xff\0");
        // Answered as version 0 (KIP-511).
        side.exchange_raw(ApiKey::ApiVersions, 0, ApiVersionsResponse::SCHEMA, &frame)
    });
    for (name, key, version) in
        [("an unknown API", 999_i16, 0_i16), ("an unknown version of Metadata", 3, 99)]
    {
        table.step(ApiKey::ApiVersions, name, version, move |side| {
            let [key, version] = [key.to_be_bytes(), version.to_be_bytes()];
            let frame = [&[0, 0, 0, 10], &key[..], &version, &[0, 0, 0, 7, 0xff, 0xff]].concat();
            side.exchange_raw(ApiKey::ApiVersions, 0, ApiVersionsResponse::SCHEMA, &frame.into())
        });
    }
}

fn cluster(table: &mut Table) {
    for endpoint_type in [1, 2, 0, 3] {
        table.each(&format!("endpoints of type {endpoint_type}"), move |_| {
            DescribeClusterRequest { endpoint_type, ..Default::default() }
        });
    }
    table.each("authorized operations", |_| DescribeClusterRequest {
        include_cluster_authorized_operations: true,
        ..Default::default()
    });
    table.each("fenced brokers", |_| DescribeClusterRequest {
        include_fenced_brokers: true,
        ..Default::default()
    });
}

fn quorum(table: &mut Table) {
    let asked = |topics: &'static [(&'static str, &'static [i32])]| {
        let partition = |&partition_index: &i32| DescribeQuorumPartition { partition_index };
        let topic = move |(name, indexes): &(&str, &[i32])| DescribeQuorumTopic {
            topic_name: s(name),
            partitions: indexes.iter().map(partition).collect(),
        };
        move |_: &mut _| DescribeQuorumRequest { topics: topics.iter().map(topic).collect() }
    };
    table.each("nothing", asked(&[]));
    table.each("of the metadata", asked(&[("__cluster_metadata", &[0])]));
    table.each("of a partition that is not there", asked(&[("__cluster_metadata", &[1])]));
    table.each("of a topic", asked(&[("records", &[0])]));
}

fn moves(table: &mut Table) {
    let to = |path: &'static str, topics: &'static [(&'static str, &'static [i32])]| {
        let topic = |(name, partitions): &(&str, &[i32])| AlterReplicaLogDirTopic {
            name: s(name),
            partitions: partitions.to_vec(),
        };
        move |_: &mut _| {
            let topics = topics.iter().map(topic).collect();
            AlterReplicaLogDirsRequest { dirs: vec![AlterReplicaLogDir { path: s(path), topics }] }
        }
    };
    table.each("nothing", |_| AlterReplicaLogDirsRequest::default());
    table.each("to a folder that is not there", to("/nowhere", &[("records", &[0, 9])]));
    table.each("of a topic that is not there", to("/nowhere", &[("nowhere", &[0])]));
    table.each("to no absolute path", to("nowhere", &[("records", &[0])]));
}

fn log_dirs(table: &mut Table) {
    let asked = |topics: &'static [(&'static str, &'static [i32])]| {
        let topic = |(topic, partitions): &(&str, &[i32])| DescribableLogDirTopic {
            topic: s(topic),
            partitions: partitions.to_vec(),
        };
        move |_: &mut _| {
            let topics = Some(topics.iter().map(topic).collect());
            DescribeLogDirsRequest { topics }
        }
    };
    table.each("no topic", asked(&[]));
    table.each("partitions", asked(&[("records", &[1, 0, 5]), ("empty", &[0])]));
    table.each("no partition", asked(&[("records", &[])]));
    table.each("a topic that is not there", asked(&[("nowhere", &[0])]));
    table.each("one partition twice", asked(&[("records", &[0, 0]), ("records", &[0])]));
}

fn elections(table: &mut Table) {
    for election_type in [0, 1, 2, -1] {
        table.each(&format!("all, of type {election_type}"), move |_| ElectLeadersRequest {
            election_type,
            topic_partitions: None,
            ..Default::default()
        });
        table.each(&format!("some, of type {election_type}"), move |_| {
            let one = |topic: &str, partitions: &[i32]| TopicPartitions {
                topic: s(topic),
                partitions: partitions.to_vec(),
            };
            let topics = vec![one("records", &[0, 1, 9]), one("nowhere", &[0]), one("empty", &[])];
            ElectLeadersRequest {
                election_type,
                topic_partitions: Some(topics),
                ..Default::default()
            }
        });
    }
    table.each("none", |_| ElectLeadersRequest {
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    });
}

fn reassignments(table: &mut Table) {
    let one = |topic: &'static str, partition_index, replicas: Option<&'static [i32]>| {
        let replicas = move || replicas.map(<[i32]>::to_vec);
        move |_: &mut _| AlterPartitionReassignmentsRequest {
            topics: vec![ReassignableTopic {
                name: s(topic),
                partitions: vec![ReassignablePartition { partition_index, replicas: replicas() }],
            }],
            ..Default::default()
        }
    };
    table.each("nothing", |_| AlterPartitionReassignmentsRequest::default());
    table.each("where it is", one("records", 0, Some(&[1])));
    table.each("an end", one("records", 0, None));
    table.each("nowhere to go", one("records", 0, Some(&[])));
    table.each("another broker", one("records", 0, Some(&[2])));
    table.each("more brokers", one("records", 0, Some(&[1, 2])));
    table.each("a broker twice", one("records", 0, Some(&[1, 1])));
    table.each("a negative broker", one("records", 0, Some(&[-1])));
    table.each("a partition that is not there", one("records", 9, Some(&[1])));
    table.each("a topic that is not there", one("nowhere", 0, Some(&[1])));
    table.each("a topic without name", one("", 0, None));
    let asked = |topics: Option<&'static [(&'static str, &'static [i32])]>| {
        let topic = |(name, indexes): &(&str, &[i32])| ListPartitionReassignmentsTopics {
            name: s(name),
            partition_indexes: indexes.to_vec(),
        };
        move |_: &mut _| ListPartitionReassignmentsRequest {
            topics: topics.map(|topics| topics.iter().map(topic).collect()),
            ..Default::default()
        }
    };
    table.each("all", asked(None));
    table.each("none", asked(Some(&[])));
    table.each("some", asked(Some(&[("records", &[0, 9]), ("nowhere", &[0]), ("", &[])])));
}
