//! What a whole broker goes by, beside the settings of its topics.

use crate::limits::{
    DEFAULT_PARTITIONS, MIN_FREE_BYTES, RESPONSE_BYTES_IN_FLIGHT, RETENTION_HOURS, TAIL_BYTES,
};
use crate::types::PartitionIndex;

/// What can be set of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Partitions of a topic that does not say how many. Kafka's `num.partitions`.
    pub default_partitions: PartitionIndex,
    /// What topics keep that do not say so themselves.
    pub retention: DefaultRetention,
    /// What records must leave free of the disk, bytes.
    pub min_free_bytes: u64,
    /// Memory for recent records, bytes.
    pub tail_bytes: usize,
    /// Memory for records and long answers on their way to clients, bytes.
    pub response_bytes: usize,
}

/// What topics keep that do not say so themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRetention {
    /// How long, milliseconds; `None`: for ever. Kafka's `log.retention.ms`.
    pub ms: Option<i64>,
    /// How many bytes of a partition; `None`: all. Kafka's `log.retention.bytes`.
    pub bytes: Option<u64>,
}

impl Default for DefaultRetention {
    fn default() -> Self {
        Self { ms: Some(RETENTION_HOURS * 3_600_000), bytes: None }
    }
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            default_partitions: DEFAULT_PARTITIONS,
            retention: DefaultRetention::default(),
            min_free_bytes: MIN_FREE_BYTES,
            tail_bytes: TAIL_BYTES,
            response_bytes: RESPONSE_BYTES_IN_FLIGHT,
        }
    }
}
