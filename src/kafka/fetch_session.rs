//! One fetch session (KIP-227): the partitions that a client has named so far, and the standing
//! fetch that reads them.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::errors::ErrorCode;
use super::fetch::{
    FetchPartition, FetchTopic, FetchableTopicResponse, ForgottenTopic, PartitionData,
    check_leader_epoch, error_data, find_topic, partition_data,
};
use super::sessions::Naming;
use super::wire::Str;
use crate::broker::{Broker, ReadError, Round, SlotId, StandingFetch};
use crate::types::{Offset, TopicPartition};

/// A session's partitions.
#[derive(Debug)]
pub(super) struct FetchSession {
    naming: Naming,
    broker: Broker,
    standing: StandingFetch,
    /// Those that are read.
    slots: HashMap<TopicKey, HashMap<i32, SlotId>>,
    /// What each slot stands for.
    wanted: HashMap<SlotId, (TopicKey, Wanted)>,
    /// Those that cannot be read; tried again with each fetch.
    refused: HashMap<TopicKey, HashMap<i32, Wanted>>,
}

/// A topic as the client names it. Its name is copied: the request's is a slice of a frame, which
/// would stay in memory as long as the session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum TopicKey {
    Name(Str),
    Id(Uuid),
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    partition: i32,
    leader_epoch: i32,
    offset: Offset,
    max_bytes: usize,
}

impl Wanted {
    fn new(asked: &FetchPartition) -> Self {
        Self {
            partition: asked.partition,
            leader_epoch: asked.current_leader_epoch,
            offset: asked.fetch_offset,
            max_bytes: usize::try_from(asked.partition_max_bytes).unwrap_or(0),
        }
    }
}

impl FetchSession {
    pub(super) fn new(broker: &Broker, naming: Naming) -> Self {
        Self {
            naming,
            broker: broker.clone(),
            standing: StandingFetch::new(broker.clone()),
            slots: HashMap::new(),
            wanted: HashMap::new(),
            refused: HashMap::new(),
        }
    }

    /// How many partitions it has, readable or not.
    pub(super) fn partitions(&self) -> usize {
        self.wanted.len() + self.refused.values().map(HashMap::len).sum::<usize>()
    }

    /// Adds partitions, or reads them from another offset on.
    pub(super) fn want(&mut self, topics: &[FetchTopic]) {
        for topic in topics {
            let key = self.key(&topic.topic, topic.topic_id);
            for asked in &topic.partitions {
                self.want_one(&key, Wanted::new(asked));
            }
        }
    }

    /// Drops partitions.
    pub(super) fn forget(&mut self, topics: &[ForgottenTopic]) {
        for topic in topics {
            let key = self.key(&topic.topic, topic.topic_id);
            for partition in &topic.partitions {
                self.drop_slot(&key, *partition);
                remove(&mut self.refused, &key, *partition);
            }
        }
    }

    /// One fetch: what there is to say of its partitions, by topic.
    pub(super) async fn fetch(&mut self, mut round: Round) -> Vec<FetchableTopicResponse> {
        let mut answer = Answer::default();
        for (key, partitions) in std::mem::take(&mut self.refused) {
            for wanted in partitions.into_values() {
                if let Err(code) = self.place(&key, wanted) {
                    self.refuse(&key, wanted);
                    answer.add(&key, error_data(wanted.partition, code));
                }
            }
        }
        if !self.refused.is_empty() {
            // An error is answered at once.
            round.max_wait = Duration::ZERO;
        }
        for (slot, read) in self.standing.fetch(round).await {
            let Some((key, wanted)) = self.wanted.get(&slot).cloned() else { continue };
            if let Err(ReadError::UnknownPartition(_)) = read {
                // The topic has gone, and perhaps come again.
                self.drop_slot(&key, wanted.partition);
                if let Err(code) = self.place(&key, wanted) {
                    self.refuse(&key, wanted);
                    answer.add(&key, error_data(wanted.partition, code));
                }
                continue;
            }
            answer.add(&key, partition_data(wanted.partition, Some(read)));
        }
        answer.topics
    }

    fn want_one(&mut self, key: &TopicKey, wanted: Wanted) {
        remove(&mut self.refused, key, wanted.partition);
        let slot = self.slots.get(key).and_then(|slots| slots.get(&wanted.partition)).copied();
        match slot.filter(|_| check_leader_epoch(wanted.leader_epoch).is_ok()) {
            Some(slot) => {
                self.standing.seek(slot, wanted.offset, wanted.max_bytes);
                self.wanted.insert(slot, (key.clone(), wanted));
            }
            None => {
                self.drop_slot(key, wanted.partition);
                if self.place(key, wanted).is_err() {
                    self.refuse(key, wanted);
                }
            }
        }
    }

    /// Lets a partition be read, if it can be.
    fn place(&mut self, key: &TopicKey, wanted: Wanted) -> Result<(), ErrorCode> {
        let topic = match key {
            TopicKey::Name(name) => find_topic(&self.broker, self.naming, name, Uuid::nil()),
            TopicKey::Id(id) => find_topic(&self.broker, self.naming, &Str::default(), *id),
        }?;
        let partition = TopicPartition { topic: topic.id(), partition: wanted.partition };
        if topic.partition(wanted.partition).is_none() {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        check_leader_epoch(wanted.leader_epoch)?;
        let slot = self.standing.add(partition, wanted.offset, wanted.max_bytes);
        let slot = slot.ok_or(ErrorCode::UnknownTopicOrPartition)?;
        self.slots.entry(key.clone()).or_default().insert(wanted.partition, slot);
        self.wanted.insert(slot, (key.clone(), wanted));
        Ok(())
    }

    fn refuse(&mut self, key: &TopicKey, wanted: Wanted) {
        self.refused.entry(key.clone()).or_default().insert(wanted.partition, wanted);
    }

    fn drop_slot(&mut self, key: &TopicKey, partition: i32) {
        if let Some(slot) = remove(&mut self.slots, key, partition) {
            self.standing.remove(slot);
            self.wanted.remove(&slot);
        }
    }

    fn key(&self, name: &Str, id: Uuid) -> TopicKey {
        match self.naming {
            Naming::Names => {
                // The session's own copy, if there is one, costs nothing.
                let key = TopicKey::Name(name.clone());
                let known = self.slots.get_key_value(&key).map(|(known, _)| known.clone());
                known.unwrap_or_else(|| TopicKey::Name(Str::from(name.as_str())))
            }
            Naming::Ids => TopicKey::Id(id),
        }
    }
}

/// Takes an entry out, and the map around it once it is empty.
fn remove<T>(
    by_topic: &mut HashMap<TopicKey, HashMap<i32, T>>,
    key: &TopicKey,
    partition: i32,
) -> Option<T> {
    let of_topic = by_topic.get_mut(key)?;
    let removed = of_topic.remove(&partition);
    if of_topic.is_empty() {
        by_topic.remove(key);
    }
    removed
}

/// The rows of a response.
#[derive(Default)]
struct Answer {
    topics: Vec<FetchableTopicResponse>,
    places: HashMap<TopicKey, usize>,
}

impl Answer {
    fn add(&mut self, key: &TopicKey, row: PartitionData) {
        let next = self.topics.len();
        let place = *self.places.entry(key.clone()).or_insert(next);
        if place == next {
            let topic = match key {
                TopicKey::Name(name) => {
                    FetchableTopicResponse { topic: name.clone(), ..Default::default() }
                }
                TopicKey::Id(id) => FetchableTopicResponse { topic_id: *id, ..Default::default() },
            };
            self.topics.push(topic);
        }
        if let Some(topic) = self.topics.get_mut(place) {
            topic.partitions.push(row);
        }
    }
}
