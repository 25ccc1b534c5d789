//! What is in `meta.redb` when the store is opened.

use std::collections::BTreeMap;

use redb::ReadableTable;

use super::rows::{decode, ends, owner_from_parts, unsealed};
use super::{CLUSTER_ID, Meta};
use crate::storage::StorageError;
use crate::storage::tables::{
    COMPACTED, CommittedOffset, GROUPS, GroupRow, IDENTITY, OFFSETS, OffsetKey, PARTITIONS,
    PRODUCERS, ProducerKey, ProducerState, SettingsRow, TopicRow,
};
use crate::types::{GroupId, NameError, Offset, TopicId, TopicPartition};

/// What was in the store when it was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Id of this broker's cluster.
    pub cluster_id: String,
    /// All topics.
    pub topics: Vec<TopicRow>,
    /// Log start and log end offset of every partition.
    pub partitions: BTreeMap<TopicPartition, (Offset, Offset)>,
    /// Offsets up to which partitions are compacted.
    pub compacted: BTreeMap<TopicPartition, Offset>,
    /// Producers by partition.
    pub producers: Vec<(ProducerKey, ProducerState)>,
    /// What is set beyond topics.
    pub settings: Vec<SettingsRow>,
    /// Committed offsets and checkpoints.
    pub offsets: Vec<(OffsetKey, CommittedOffset)>,
    /// Consumer groups.
    pub groups: Vec<(GroupId, GroupRow)>,
}

impl Meta {
    /// Everything that the broker keeps in memory. Call with nothing pending.
    pub(in crate::storage) fn load(&self) -> Result<Recovered, StorageError> {
        let mut recovered = Recovered::default();
        let mut producers = Vec::new();
        let mut offsets = Vec::new();
        let mut groups = Vec::new();
        self.read(|transaction| {
            let identity = transaction.open_table(IDENTITY)?;
            recovered.cluster_id =
                identity.get(CLUSTER_ID)?.map_or_else(String::new, |id| id.value().to_owned());
            for row in transaction.open_table(PARTITIONS)?.iter()? {
                let (key, row) = row?;
                let (topic, partition) = key.value();
                let place = TopicPartition { topic: TopicId::from_bytes(*topic), partition };
                recovered.partitions.insert(place, ends(place, row.value())?);
            }
            for row in transaction.open_table(COMPACTED)?.iter()? {
                let (key, offset) = row?;
                let (topic, partition) = key.value();
                let topic = TopicId::from_bytes(*topic);
                recovered.compacted.insert(TopicPartition { topic, partition }, offset.value());
            }
            for row in transaction.open_table(PRODUCERS)?.iter()? {
                let (key, state) = row?;
                let (topic, partition, producer_id) = key.value();
                let partition = TopicPartition { topic: TopicId::from_bytes(*topic), partition };
                let state = unsealed(PRODUCERS, &key.value(), state.value())?.to_vec();
                producers.push((ProducerKey { partition, producer_id }, state));
            }
            for row in transaction.open_table(OFFSETS)?.iter()? {
                let (key, committed) = row?;
                let (kind, owner, topic, partition) = key.value();
                let partition = TopicPartition { topic: TopicId::from_bytes(*topic), partition };
                let committed = unsealed(OFFSETS, &key.value(), committed.value())?.to_vec();
                offsets.push((kind, owner.to_owned(), partition, committed));
            }
            for row in transaction.open_table(GROUPS)?.iter()? {
                let (group, row) = row?;
                let row = unsealed(GROUPS, &group.value(), row.value())?.to_vec();
                groups.push((group.value().to_owned(), row));
            }
            Ok(())
        })?;
        recovered.settings = self.settings()?;
        recovered.topics = self.topics()?;
        for (key, row) in producers {
            recovered.producers.push((key, decode("a producer", &row)?));
        }
        for (kind, owner, partition, row) in offsets {
            let key = OffsetKey { owner: owner_from_parts(kind, &owner)?, partition };
            recovered.offsets.push((key, decode("a committed offset", &row)?));
        }
        for (group, row) in groups {
            let unreadable = |error: NameError| StorageError::Row {
                what: "the id of a group",
                reason: error.to_string(),
            };
            let group = GroupId::new(&group).map_err(unreadable)?;
            recovered.groups.push((group, decode("a group", &row)?));
        }
        Ok(recovered)
    }
}
