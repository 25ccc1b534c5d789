//! What else can be set of a broker, beside where it listens.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::config::Settings;

/// Every one is also a line of the file, under its name without the dashes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
pub(super) struct TuningArgs {
    /// File of settings, in TOML: the options of this command by their names, as
    /// tail-size = "256MiB". Options and the environment go before it.
    #[arg(long, value_name = "FILE", env = "MILLSTREAM_CONFIG")]
    config: Option<PathBuf>,

    /// Partitions of a topic that does not say how many [default: 1].
    #[arg(long, value_name = "N", env = "MILLSTREAM_DEFAULT_PARTITIONS")]
    default_partitions: Option<i64>,

    /// Hours that a topic without retention.ms keeps records, -1 for ever [default: 168].
    #[arg(
        long,
        value_name = "HOURS",
        allow_hyphen_values = true,
        env = "MILLSTREAM_RETENTION_HOURS"
    )]
    retention_hours: Option<i64>,

    /// How much a partition of a topic without retention.bytes keeps, as 10GiB [default: all].
    #[arg(long, value_name = "SIZE", env = "MILLSTREAM_RETENTION_SIZE")]
    retention_size: Option<String>,

    /// Minutes that the offsets of an empty group are kept [default: 10080].
    #[arg(long, value_name = "MINUTES", env = "MILLSTREAM_OFFSETS_RETENTION_MINUTES")]
    offsets_retention_minutes: Option<i64>,

    /// Milliseconds that a silent producer is remembered [default: 86400000].
    #[arg(long, value_name = "MS", env = "MILLSTREAM_PRODUCER_EXPIRATION_MS")]
    producer_expiration_ms: Option<i64>,

    /// What records leave free of the disk; below it none are taken [default: 64MiB].
    #[arg(long, value_name = "SIZE", env = "MILLSTREAM_MIN_FREE_DISK")]
    min_free_disk: Option<String>,

    /// Memory for recent records, which consumers at the tail read [default: 64MiB].
    #[arg(long, value_name = "SIZE", env = "MILLSTREAM_TAIL_SIZE")]
    tail_size: Option<String>,

    /// Connections of Kafka clients at one time; more wait [default: 10000].
    #[arg(long, value_name = "N", env = "MILLSTREAM_MAX_CONNECTIONS")]
    max_connections: Option<i64>,

    /// Connections of Kafka clients from one address; more are closed [default: 2147483647].
    #[arg(long, value_name = "N", env = "MILLSTREAM_MAX_CONNECTIONS_PER_IP")]
    max_connections_per_ip: Option<i64>,

    /// Milliseconds after which a connection without requests is closed [default: 600000].
    #[arg(long, value_name = "MS", env = "MILLSTREAM_CONNECTIONS_MAX_IDLE_MS")]
    connections_max_idle_ms: Option<i64>,

    /// Memory for requests that are read or not yet answered [default: 256MiB].
    #[arg(long, value_name = "SIZE", env = "MILLSTREAM_REQUEST_MEMORY")]
    request_memory: Option<String>,

    /// Memory for records that clients have asked for and not yet taken [default: 512MiB].
    #[arg(long, value_name = "SIZE", env = "MILLSTREAM_RESPONSE_MEMORY")]
    response_memory: Option<String>,

    /// Milliseconds that an empty group waits for further members [default: 200].
    #[arg(long, value_name = "MS", env = "MILLSTREAM_GROUP_INITIAL_REBALANCE_DELAY_MS")]
    group_initial_rebalance_delay_ms: Option<i64>,
}

impl TuningArgs {
    /// What was said of it, here before there.
    pub(super) fn settings(self, others: Settings) -> anyhow::Result<Settings> {
        let said = Settings {
            default_partitions: self.default_partitions,
            retention_hours: self.retention_hours,
            retention_size: self.retention_size,
            offsets_retention_minutes: self.offsets_retention_minutes,
            producer_expiration_ms: self.producer_expiration_ms,
            min_free_disk: self.min_free_disk,
            tail_size: self.tail_size,
            max_connections: self.max_connections,
            max_connections_per_ip: self.max_connections_per_ip,
            connections_max_idle_ms: self.connections_max_idle_ms,
            request_memory: self.request_memory,
            response_memory: self.response_memory,
            group_initial_rebalance_delay_ms: self.group_initial_rebalance_delay_ms,
            ..others
        };
        let Some(path) = self.config else { return Ok(said) };
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(said.or(Settings::parse(&text, &path)?))
    }
}
