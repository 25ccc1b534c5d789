//! Dead letters: the source record as it came, and headers that say where from and why.

use bytes::Bytes;

use super::step::Step;
use crate::plugin::Failure;
use crate::record::{Header, Record};
use crate::types::{PartitionIndex, PipelineName, TopicName};

/// Where the records of a chain come from.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) pipeline: PipelineName,
    pub(super) topic: TopicName,
    pub(super) partition: PartitionIndex,
}

/// Key, value, timestamp and headers of `record` byte for byte; behind its headers those of the
/// failure. `step` counts from 0, in the header from 1, as the manifest's reader does.
pub(super) fn make(
    origin: &Origin,
    (index, step): (usize, &Step),
    record: &Record,
    failure: &Failure,
) -> Record {
    let mut letter = record.clone();
    let provenance = [
        ("millstream.pipeline", origin.pipeline.to_string()),
        ("millstream.step", (index + 1).to_string()),
        ("millstream.plugin", step.plugin.clone()),
        ("millstream.plugin.digest", step.digest.clone()),
        ("millstream.source.topic", origin.topic.to_string()),
        ("millstream.source.partition", origin.partition.to_string()),
        ("millstream.source.offset", record.offset.to_string()),
        ("millstream.error.kind", failure.reason.as_str().to_owned()),
        ("millstream.error.message", failure.message.clone()),
    ];
    letter.headers.extend(provenance.into_iter().map(|(key, value)| Header {
        key: Bytes::from_static(key.as_bytes()),
        value: Some(Bytes::from(value)),
    }));
    letter
}
