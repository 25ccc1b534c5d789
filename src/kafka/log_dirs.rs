//! DescribeLogDirs: the data folder and what each partition takes of it. AlterReplicaLogDirs: each
//! partition is in it, and stays.

use std::collections::HashSet;

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::wire::Str;
use crate::broker::{Broker, Place, Topic};
use crate::types::TopicPartition;

message! {
    /// Asks for partitions; null topics are all.
    pub struct DescribeLogDirsRequest {
        topics: Option<Vec<DescribableLogDirTopic>> [nullable],
    }

    /// Partitions of one topic.
    pub struct DescribableLogDirTopic {
        topic: Str,
        partitions: Vec<i32>,
    }

    /// The data folders.
    pub struct DescribeLogDirsResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode [3.., ignorable],
        results: Vec<DescribeLogDirsResult>,
    }

    /// A data folder.
    pub struct DescribeLogDirsResult {
        error_code: ErrorCode,
        log_dir: Str,
        topics: Vec<DescribeLogDirsTopic>,
        total_bytes: i64 [4.., ignorable, default -1],
        usable_bytes: i64 [4.., ignorable, default -1],
        is_cordoned: bool [5.., ignorable, default false],
    }

    /// Partitions of one topic.
    pub struct DescribeLogDirsTopic {
        name: Str,
        partitions: Vec<DescribeLogDirsPartition>,
    }

    /// A partition and its size.
    pub struct DescribeLogDirsPartition {
        partition_index: i32,
        partition_size: i64,
        offset_lag: i64,
        is_future_key: bool,
    }
}

message! {
    /// Partitions and the data folders where their replicas are to be.
    pub struct AlterReplicaLogDirsRequest {
        dirs: Vec<AlterReplicaLogDir>,
    }

    /// What is to be in one folder.
    pub struct AlterReplicaLogDir {
        path: Str,
        topics: Vec<AlterReplicaLogDirTopic>,
    }

    /// Partitions of one topic.
    pub struct AlterReplicaLogDirTopic {
        name: Str,
        partitions: Vec<i32>,
    }

    /// What became of each move.
    pub struct AlterReplicaLogDirsResponse {
        throttle_time_ms: i32,
        results: Vec<AlterReplicaLogDirTopicResult>,
    }

    /// Moves of one topic.
    pub struct AlterReplicaLogDirTopicResult {
        topic_name: Str,
        partitions: Vec<AlterReplicaLogDirPartitionResult>,
    }

    /// What became of one move.
    pub struct AlterReplicaLogDirPartitionResult {
        partition_index: i32,
        error_code: ErrorCode,
    }
}

pub(super) async fn alter(
    caller: Caller<'_>,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let broker = &caller.context.broker;
    let ours = broker.place().await.path;
    let moves = request.dirs.into_iter().flat_map(|AlterReplicaLogDir { path, topics }| {
        topics.into_iter().map(move |topic| (path.clone(), topic))
    });
    let results = moves.map(|(path, AlterReplicaLogDirTopic { name, partitions })| {
        let topic = broker.topic(&name);
        let exists = |index| topic.as_ref().is_some_and(|topic| topic.partition(index).is_some());
        let judge = |partition_index| {
            let error_code = match path.as_str() == ours {
                false => ErrorCode::LogDirNotFound,
                true if exists(partition_index) => ErrorCode::None,
                true => ErrorCode::UnknownTopicOrPartition,
            };
            AlterReplicaLogDirPartitionResult { partition_index, error_code }
        };
        let partitions = partitions.into_iter().map(judge).collect();
        AlterReplicaLogDirTopicResult { topic_name: name, partitions }
    });
    AlterReplicaLogDirsResponse { results: results.collect(), ..Default::default() }
}

pub(super) async fn describe(
    caller: Caller<'_>,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let broker = &caller.context.broker;
    let topics = match request.topics {
        None => broker.topics().iter().map(|t| sizes(broker, t, 0..t.partitions())).collect(),
        Some(asked) => {
            let mut seen = HashSet::new();
            let once = asked.into_iter().filter(|topic| seen.insert(topic.topic.clone()));
            let found = once.filter_map(|DescribableLogDirTopic { topic, mut partitions }| {
                let topic = broker.topic(&topic)?;
                partitions.sort_unstable();
                partitions.dedup();
                Some(sizes(broker, &topic, partitions))
            });
            found.filter(|topic| !topic.partitions.is_empty()).collect()
        }
    };
    let Place { path, room } = broker.place().await;
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let (total_bytes, usable_bytes) =
        room.map_or((-1, -1), |(total, free)| (bytes(total), bytes(free)));
    let folder = DescribeLogDirsResult {
        log_dir: Str::from(path),
        topics,
        total_bytes,
        usable_bytes,
        ..Default::default()
    };
    DescribeLogDirsResponse { results: vec![folder], ..Default::default() }
}

fn sizes(
    broker: &Broker,
    topic: &Topic,
    partitions: impl IntoIterator<Item = i32>,
) -> DescribeLogDirsTopic {
    let exists = |&index: &i32| topic.partition(index).is_some();
    let size = |partition_index| {
        let partition = TopicPartition { topic: topic.id(), partition: partition_index };
        let partition_size = i64::try_from(broker.partition_bytes(partition)).unwrap_or(i64::MAX);
        DescribeLogDirsPartition { partition_index, partition_size, ..Default::default() }
    };
    DescribeLogDirsTopic {
        name: Str::from(topic.name().as_str()),
        partitions: partitions.into_iter().filter(exists).map(size).collect(),
    }
}
