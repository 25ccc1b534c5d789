//! The differences from Kafka that we want, each with its reason.

use millstream::kafka::messages::ApiKey;

use super::Step;

/// A difference that is wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    api: ApiKey,
    /// Begins the name of the requests; empty for all.
    request: &'static str,
    /// Where in the answer: names with `/` between, `*` for what they end with, a last `**` for any
    /// more.
    path: &'static str,
    /// Why.
    #[expect(dead_code, reason = "for who reads this, and in the test's output")]
    reason: &'static str,
}

impl Wanted {
    pub(super) fn covers(&self, step: &Step, path: &str) -> bool {
        self.api == step.api && step.name.starts_with(self.request) && matches(self.path, path)
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) | (Some("**"), _) => return true,
            (Some(wanted), Some(found)) if fits(wanted, found) => {}
            _ => return false,
        }
    }
}

/// `*` at the end stands for any rest.
fn fits(wanted: &str, found: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => found.starts_with(start),
        None => wanted == found,
    }
}

const fn wanted(
    api: ApiKey,
    request: &'static str,
    path: &'static str,
    reason: &'static str,
) -> Wanted {
    Wanted { api, request, path, reason }
}

/// All of them.
pub(super) const WANTED: &[Wanted] = &[
    wanted(
        ApiKey::ApiVersions,
        "",
        "api_keys/**",
        "transactions, KIP-848, share groups and security are still to come",
    ),
    wanted(
        ApiKey::ApiVersions,
        "",
        "supported_features/**",
        "features that only a cluster of several has, or that are still to come",
    ),
    wanted(ApiKey::ApiVersions, "", "finalized_features", "the same"),
    wanted(ApiKey::ApiVersions, "", "finalized_features_epoch", "the same"),
    wanted(
        ApiKey::Metadata,
        "topic ids",
        "**",
        "in versions 10 and 11 Kafka answers with an empty cluster; ids are as good there",
    ),
    wanted(
        ApiKey::Metadata,
        "all topics",
        "topics/__consumer_offsets",
        "offsets are kept in no topic",
    ),
    wanted(
        ApiKey::Metadata,
        "an empty list",
        "topics/__consumer_offsets",
        "offsets are kept in no topic",
    ),
    wanted(
        ApiKey::ListConfigResources,
        "",
        "config_resources/__consumer_offsets",
        "offsets are kept in no topic",
    ),
    wanted(ApiKey::ListConfigResources, "all", "config_resources", "offsets are kept in no topic"),
    wanted(
        ApiKey::ElectLeaders,
        "all",
        "replica_election_results/__consumer_offsets",
        "offsets are kept in no topic",
    ),
    wanted(
        ApiKey::Produce,
        "an unknown codec",
        "responses/*/partition_responses/0/**",
        "the codec is named; to Kafka it is an unknown error",
    ),
    wanted(
        ApiKey::Produce,
        "",
        "responses/*/partition_responses/0/log_start_offset",
        "who is out of sequence needs no start of the log",
    ),
    wanted(
        ApiKey::DescribeProducers,
        "of partitions",
        "topics/written/partitions/0/active_producers",
        "told is when a producer was last heard of, by the broker's clock",
    ),
    wanted(ApiKey::CreateTopics, "", "topics/*/topic_id", "what is only checked has no id"),
    wanted(
        ApiKey::CreateTopics,
        "",
        "topics/*/configs/min.insync.replicas/config_source",
        "Kafka sets it for its eligible leader replicas",
    ),
    wanted(
        ApiKey::CreateTopics,
        "",
        "topics/*/configs/segment.bytes/value",
        "segments are shared by all topics, and have a size of their own",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "",
        "results/*/configs/min.insync.replicas/**",
        "Kafka sets it for its eligible leader replicas",
    ),
    wanted(ApiKey::DescribeConfigs, "all brokers", "results//configs", "the same"),
    wanted(
        ApiKey::DescribeConfigs,
        "",
        "results/*/configs/segment.bytes/**",
        "segments are shared by all topics, and have a size of their own",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "the broker",
        "results/1/configs/log.segment.bytes/**",
        "segments are shared by all topics, and have a size of their own",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "the broker",
        "results/1/configs/max.connections/**",
        "every number of something has a bound",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "the broker",
        "results/1/configs/queued.max.request.bytes/**",
        "every number of something has a bound",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "the broker",
        "results/1/configs/advertised.listeners/**",
        "there is no controller to listen apart",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "the broker",
        "results/1/configs/listeners/**",
        "there is no controller to listen apart",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "the broker",
        "results/1/configs/controller.*/**",
        "there is no controller to listen apart",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "the broker",
        "results/1/configs/inter.broker.listener.name/**",
        "there is no other broker",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "the broker",
        "results/1/configs/group.initial.rebalance.delay.ms/**",
        "the Kafka of the test does not wait",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "the broker",
        "results/1/configs/offsets.topic.*/**",
        "the Kafka of the test is one node",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "the broker",
        "results/1/configs/share.coordinator.state.topic.*/**",
        "the Kafka of the test is one node",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "the broker",
        "results/1/configs/transaction.state.log.*/**",
        "the Kafka of the test is one node",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "documentation",
        "results/empty/configs/retention.ms/documentation",
        "one sentence says it",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "a topic twice",
        "results",
        "what is asked for twice is told once: an answer is far larger than its question",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "a logger",
        "results/1/configs/root/**",
        "there is one logger, whose level is fixed",
    ),
    wanted(
        ApiKey::DescribeConfigs,
        "client metrics",
        "results/nothing/configs",
        "no telemetry is taken from clients",
    ),
    wanted(
        ApiKey::IncrementalAlterConfigs,
        "changes 19",
        "responses/written/error_code",
        "an operation that there is not is invalid; to Kafka it is an unknown error",
    ),
    wanted(
        ApiKey::IncrementalAlterConfigs,
        "changes 20",
        "responses/written/error_code",
        "the same",
    ),
    wanted(
        ApiKey::IncrementalAlterConfigs,
        "type 4 \"1\"",
        "responses/1/error_code",
        "Kafka keeps settings of brokers that it does not know",
    ),
    wanted(
        ApiKey::IncrementalAlterConfigs,
        "type 8 \"1\"",
        "responses/1/error_code",
        "the level of loggers is fixed",
    ),
    wanted(
        ApiKey::ListGroups,
        "",
        "groups/g",
        "Kafka keeps a group of which every member was refused",
    ),
    wanted(
        ApiKey::DescribeGroups,
        "one twice",
        "groups",
        "what is asked for twice is told once: an answer is far larger than its question",
    ),
    wanted(
        ApiKey::DescribeQuorum,
        "of the metadata",
        "topics/__cluster_metadata/partitions/0/**",
        "metadata is kept in no log, which has no offsets, epochs and times",
    ),
    wanted(
        ApiKey::DescribeQuorum,
        "of the metadata",
        "nodes/1/listeners/CONTROLLER/port",
        "there is no controller to listen apart",
    ),
];
