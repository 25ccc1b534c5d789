//! DescribeLogDirs: the data folder and what each partition takes of it.

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
