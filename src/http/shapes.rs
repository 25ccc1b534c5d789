//! The JSON shapes of the API, which the commands read as well.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::binary::Binary;
use crate::types::{Offset, PartitionIndex, TimestampMs};

/// `GET /health`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Health {
    /// "ok", or "failed" with status 503.
    pub status: String,
    /// The program's version.
    pub version: String,
    /// The cluster's id.
    pub cluster_id: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/backups`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// An absolute path on the broker's machine: a folder that is empty or not there.
    pub to: String,
}

/// What was copied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BackupDone {
    /// Segments of the log.
    pub segments: u64,
    /// Bytes of their files.
    pub bytes: u64,
}

/// `GET /v1/broker`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BrokerView {
    /// What was counted since the start, by name.
    pub counters: BTreeMap<String, u64>,
    /// Records that are not those that were written.
    pub unreadable: Vec<UnreadableView>,
}

/// Where records cannot be read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnreadableView {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// The first offset that cannot be read.
    pub offset: Offset,
    /// The offset from which on it may be readable again.
    pub end_offset: Offset,
    /// What is wrong.
    pub reason: String,
}

/// Any answer that is no success.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorView {
    /// What is wrong.
    pub error: String,
    /// The mistakes of a manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemView>,
}

/// A mistake in a manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProblemView {
    /// "error" or "warning".
    pub severity: String,
    /// The manifest's name as it was sent.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// All of it for people, with the line underlined.
    pub rendered: String,
}

/// A topic in `GET /v1/topics`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TopicView {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created_ms: TimestampMs,
    /// Its partitions in order.
    pub partitions: Vec<PartitionView>,
    /// The settings that differ from the defaults.
    pub config: BTreeMap<String, String>,
}

impl TopicView {
    /// Records in all partitions.
    pub fn records(&self) -> u64 {
        self.partitions.iter().map(|p| p.high_watermark.abs_diff(p.log_start_offset)).sum()
    }
}

/// A partition of a topic.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PartitionView {
    /// Its index.
    pub partition: PartitionIndex,
    /// Offset of the first record.
    pub log_start_offset: Offset,
    /// Offset after the last durable record.
    pub high_watermark: Offset,
}

/// Body of `POST /v1/topics`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicNew {
    /// Its name.
    pub name: String,
    /// How many partitions; the broker's default if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionIndex>,
    /// Settings by Kafka's names.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
}

/// A header of a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderView {
    /// The key, if it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key in base64, if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_base64: Option<String>,
    /// The value, if it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value in base64, if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}

impl From<&crate::record::Header> for HeaderView {
    fn from(header: &crate::record::Header) -> Self {
        let key = Binary::encode(Some(&header.key));
        let value = Binary::encode(header.value.as_ref());
        Self {
            key: key.text,
            key_base64: key.base64,
            value: value.text,
            value_base64: value.base64,
        }
    }
}

/// A record to produce; `POST /v1/topics/{topic}/records` takes an array of them, or one a line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordIn {
    /// The key as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_base64: Option<String>,
    /// The value as text; a record without a value is a deletion to those who compact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// Headers, in order.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "super::at_most::headers"
    )]
    pub headers: Vec<HeaderView>,
    /// Where it goes; by the key's hash if not given, else to the partitions in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionIndex>,
    /// When it was made; now if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<TimestampMs>,
}

/// Where the records went, in their order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Produced {
    /// One a record.
    pub offsets: Vec<ProducedAt>,
}

/// Where a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducedAt {
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset in it.
    pub offset: Offset,
}

/// `GET /v1/topics/{topic}/records`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Consumed {
    /// The records, by partition in order of offsets.
    pub records: Vec<RecordView>,
    /// Where to go on, one a partition asked for.
    pub positions: Vec<Position>,
}

/// How far a reader is in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The partition.
    pub partition: PartitionIndex,
    /// What to ask for next.
    pub next_offset: Offset,
    /// Offset of the first record that there is.
    pub log_start_offset: Offset,
    /// Offset after the last durable record.
    pub high_watermark: Offset,
}

/// A record read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordView {
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset in it.
    pub offset: Offset,
    /// When it was made.
    pub timestamp: TimestampMs,
    /// The key, if it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key in base64, if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_base64: Option<String>,
    /// The value, if it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value in base64, if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    /// Headers, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderView>,
}

impl RecordView {
    /// A record of `partition` as JSON.
    pub fn new(partition: PartitionIndex, record: &crate::record::Record) -> Self {
        let key = Binary::encode(record.key.as_ref());
        let value = Binary::encode(record.value.as_ref());
        Self {
            partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: key.text,
            key_base64: key.base64,
            value: value.text,
            value_base64: value.base64,
            headers: record.headers.iter().map(HeaderView::from).collect(),
        }
    }
}

/// A consumer group in `GET /v1/groups`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupView {
    /// Its id.
    pub group: String,
    /// "empty", "preparing-rebalance", "completing-rebalance", "stable" or "dead".
    pub state: String,
    /// How often it has assigned.
    pub generation: i32,
    /// Who is in it.
    pub members: Vec<MemberView>,
    /// How far it is.
    pub offsets: Vec<OffsetView>,
}

/// A member of a consumer group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MemberView {
    /// Its id.
    pub member_id: String,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it came from.
    pub client_host: String,
}

/// A committed offset.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OffsetView {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next record to be read.
    pub offset: Offset,
    /// Records after it.
    pub lag: Offset,
}

/// A pipeline in `GET /v1/pipelines`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PipelineView {
    /// Its name.
    pub name: String,
    /// "running", "restarting", "stopped" or "failed".
    pub state: String,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The topics that it reads.
    pub sources: Vec<String>,
    /// The topics that it writes.
    pub outputs: Vec<String>,
    /// One a source partition.
    pub partitions: Vec<PipelinePartition>,
}

impl PipelineView {
    /// Source records that it has not done yet.
    pub fn lag(&self) -> Offset {
        self.partitions.iter().map(|partition| partition.lag).sum()
    }

    /// What it has done in all partitions.
    pub fn counts(&self) -> CountsView {
        let mut sum = CountsView::default();
        for PipelinePartition { counts, .. } in &self.partitions {
            sum.input += counts.input;
            sum.output += counts.output;
            sum.dropped += counts.dropped;
            sum.skipped += counts.skipped;
            sum.dead_lettered += counts.dead_lettered;
            sum.lost += counts.lost;
        }
        sum
    }
}

/// A pipeline at one of its source partitions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PipelinePartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next record to be done; null before the first commit.
    pub checkpoint: Option<Offset>,
    /// Offset after the last durable record.
    pub high_watermark: Offset,
    /// Records between the two.
    pub lag: Offset,
    /// What it has done.
    #[serde(flatten)]
    pub counts: CountsView,
}

/// What a pipeline has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CountsView {
    /// Source records read and done.
    #[serde(rename = "in")]
    pub input: u64,
    /// Records written, dead letters apart.
    #[serde(rename = "out")]
    pub output: u64,
    /// Source records that steps made nothing of.
    pub dropped: u64,
    /// Source records that were passed over after an error.
    pub skipped: u64,
    /// Source records that became dead letters.
    pub dead_lettered: u64,
    /// Source records that retention deleted before they were read.
    #[serde(default)]
    pub lost: u64,
}

/// Body of `POST /v1/deployments`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The manifest's name, for messages.
    pub file: String,
    /// The manifest's text.
    pub manifest: String,
    /// The components in base64, by their paths as the manifest has them.
    #[serde(default)]
    pub components: BTreeMap<String, String>,
    /// Why a component that is there could not be read, by its path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unreadable: BTreeMap<String, String>,
}

/// What a deployment changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeploymentDone {
    /// Topics that were made.
    pub topics: Vec<String>,
    /// The pipelines.
    pub pipelines: Vec<PipelineChange>,
    /// What is probably not as it was meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<ProblemView>,
}

/// What became of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineChange {
    /// Its name.
    pub name: String,
    /// "started", "replaced" or "unchanged".
    pub change: String,
}
