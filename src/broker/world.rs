//! A broker for tests whose committer and clock are stepped, with one topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Append, Appended, Broker, Commit, CommitError, Committer, NewTopic, StoreOptions, Topic,
};
use crate::clock::{Clock, ManualClock};
use crate::record::RecordBatch;
use crate::storage::MemoryFiles;
use crate::types::{PartitionIndex, TopicName, TopicPartition};

pub(super) struct World {
    pub(super) files: MemoryFiles,
    pub(super) clock: Arc<ManualClock>,
    pub(super) broker: Broker,
    pub(super) committer: Committer,
    pub(super) topic: Arc<Topic>,
}

impl World {
    /// A fresh one, with a topic "t".
    pub(super) fn new(partitions: PartitionIndex) -> Self {
        let files = MemoryFiles::default();
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let (broker, mut committer) = open(&files, &clock);
        let name = TopicName::new("t").unwrap();
        let new = NewTopic { name, partitions: Some(partitions), config: BTreeMap::new() };
        let topic = committer.create_topic(new).unwrap();
        Self { files, clock, broker, committer, topic }
    }

    /// As after a power cut.
    pub(super) fn reopen(&mut self) {
        self.files = self.files.crash_image(|_| 0);
        (self.broker, self.committer) = open(&self.files, &self.clock);
        self.topic = self.broker.topic("t").unwrap();
    }

    /// Another broker on the same files.
    pub(super) fn open_again(&self) -> Broker {
        open(&self.files, &self.clock).0
    }

    pub(super) fn at(&self, partition: PartitionIndex) -> TopicPartition {
        TopicPartition { topic: self.topic.id(), partition }
    }

    pub(super) fn pass(&self, by: Duration) {
        self.clock.advance(by);
        self.broker.groups().expire(self.clock.monotonic());
    }

    /// Makes one commit.
    pub(super) fn make(&mut self, commit: Commit) -> Result<Vec<Appended>, CommitError> {
        let outcome = self.committer.commit_group(vec![commit]).remove(0);
        outcome.map(|committed| committed.appended)
    }

    /// Appends one batch.
    pub(super) fn append(
        &mut self,
        partition: PartitionIndex,
        batch: RecordBatch,
    ) -> Result<Appended, CommitError> {
        let append = Append { partition: self.at(partition), batch };
        self.make(Commit { appends: vec![append], ..Commit::default() }).map(|mut a| a.remove(0))
    }
}

fn open(files: &MemoryFiles, clock: &Arc<ManualClock>) -> (Broker, Committer) {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    Broker::open_stepped(Arc::new(files.clone()), &StoreOptions::default(), clock).unwrap()
}
