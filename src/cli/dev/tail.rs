//! What comes out: follows the output topics, and knows when all pipelines are through.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::broker::{Broker, FetchPartition, FetchRequest, ReadError};
use crate::http::PipelineView;
use crate::pipeline::Supervisor;
use crate::record::Record;
use crate::types::{Offset, TopicName, TopicPartition};

/// Most bytes of batches read at once.
const READ_BYTES: usize = 1024 * 1024;

/// Offsets of all partitions at some moment.
pub(super) type Ends = BTreeMap<TopicPartition, Offset>;

/// Follows topics from where they were when it was made.
pub(super) struct Tail {
    broker: Broker,
    /// What was there before.
    start: Ends,
    positions: BTreeMap<TopicPartition, (TopicName, Offset)>,
}

/// Records of a partition.
pub(super) struct Records {
    pub(super) topic: TopicName,
    pub(super) partition: TopicPartition,
    pub(super) records: Vec<Record>,
}

impl Tail {
    pub(super) fn new(broker: Broker) -> Self {
        let start = ends(&broker);
        Self { broker, start, positions: BTreeMap::new() }
    }

    /// Follows these topics as well.
    pub(super) fn follow<'a>(&mut self, topics: impl IntoIterator<Item = &'a String>) {
        for name in topics {
            let Some(topic) = self.broker.topic(name) else { continue };
            for partition in 0..topic.partitions() {
                let at = TopicPartition { topic: topic.id(), partition };
                let from = self.start.get(&at).copied().unwrap_or(0);
                self.positions.entry(at).or_insert_with(|| (topic.name().clone(), from));
            }
        }
    }

    /// How many records a topic got since this was made.
    pub(super) fn new_records(&self, name: &str) -> u64 {
        let Some(topic) = self.broker.topic(name) else { return 0 };
        let partitions = (0..topic.partitions()).filter_map(|partition| {
            let at = TopicPartition { topic: topic.id(), partition };
            let before = self.start.get(&at).copied().unwrap_or(0);
            topic.partition(partition).map(|p| p.high_watermark().abs_diff(before))
        });
        partitions.sum()
    }

    /// The next records, waiting for some. May be dropped while it waits: nothing is lost.
    pub(super) async fn next(&mut self) -> anyhow::Result<Vec<Records>> {
        self.forget_deleted();
        if self.positions.is_empty() {
            std::future::pending::<()>().await;
        }
        let request = |(partition, (_, offset)): (&TopicPartition, &(TopicName, Offset))| {
            FetchPartition { partition: *partition, offset: *offset, max_bytes: READ_BYTES }
        };
        let reads = self
            .broker
            .fetch(FetchRequest {
                partitions: self.positions.iter().map(request).collect(),
                min_bytes: 1,
                max_bytes: READ_BYTES,
                max_wait: Duration::from_secs(1),
            })
            .await;
        let mut found = Vec::new();
        for ((partition, (topic, offset)), read) in self.positions.iter_mut().zip(reads) {
            let read = match read {
                Ok(read) => read,
                // A topic deleted meanwhile is forgotten at the next call.
                Err(ReadError::UnknownPartition(_)) => continue,
                Err(error) => {
                    let place = format!("{topic}, partition {}", partition.partition);
                    return Err(anyhow::Error::new(error).context(format!("cannot read {place}")));
                }
            };
            let records = read.records(*offset)?;
            *offset = read.next_offset(*offset)?;
            if !records.is_empty() {
                found.push(Records { topic: topic.clone(), partition: *partition, records });
            }
        }
        Ok(found)
    }

    /// Whether everything that there is has been shown.
    pub(super) fn is_through(&self) -> bool {
        self.positions.iter().all(|(at, (_, offset))| {
            let topic = self.broker.topic_by_id(at.topic);
            let end = topic.and_then(|t| t.partition(at.partition).map(|p| p.high_watermark()));
            end.is_none_or(|end| end <= *offset)
        })
    }

    fn forget_deleted(&mut self) {
        let broker = &self.broker;
        self.positions.retain(|at, _| broker.topic_by_id(at.topic).is_some());
    }
}

/// The pipelines as they are.
pub(super) fn pipelines(supervisor: &Supervisor) -> Vec<PipelineView> {
    supervisor.status().into_iter().map(PipelineView::from).collect()
}

/// One record, if it is still there.
pub(super) async fn record_at(
    broker: &Broker,
    partition: TopicPartition,
    offset: Offset,
) -> Option<Record> {
    let read = broker.read(partition, offset, 1).await.ok()?;
    read.records(offset).ok()?.into_iter().next()
}

/// The topics that pipelines write.
pub(super) fn outputs(pipelines: &[PipelineView]) -> BTreeSet<&String> {
    pipelines.iter().flat_map(|pipeline| &pipeline.outputs).collect()
}

/// Whether a pipeline does nothing more by itself.
pub(super) fn has_ended(pipeline: &PipelineView) -> bool {
    matches!(pipeline.state.as_str(), "failed" | "stopped")
}

/// Whether every pipeline is through with all there is for it, over chains of pipelines.
///
/// Looking at one pipeline after the other, the first may write something for the second after
/// that was looked at. Nothing was written if all topics end where they did before the look.
pub(super) fn all_through(broker: &Broker, supervisor: &Supervisor) -> bool {
    let before = ends(broker);
    let through = pipelines(supervisor).iter().all(|p| has_ended(p) || p.lag() == 0);
    through && ends(broker) == before
}

fn ends(broker: &Broker) -> Ends {
    let mut ends = Ends::new();
    for topic in broker.topics() {
        for index in 0..topic.partitions() {
            if let Some(partition) = topic.partition(index) {
                let at = TopicPartition { topic: topic.id(), partition: index };
                ends.insert(at, partition.high_watermark());
            }
        }
    }
    ends
}
