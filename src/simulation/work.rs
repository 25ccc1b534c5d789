//! One life of a broker: clients, pipelines, cleaning and administration, in an order that is
//! drawn, until the power goes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::check::{check, group_offsets, record};
use super::ledger::Place;
use super::producer::{Pending, Producer, new_batch};
use super::run::{Opened, Run, Told};
use crate::broker::{
    Append, Broker, Cleaner, Commit, CommitError, Committed, CommittedOffset, Committer, NewTopic,
    OffsetChange, ReadError,
};
use crate::clock::Clock;
use crate::pipeline::Stepped;
use crate::record::{BatchBuilder, Compression};
use crate::storage::{MemoryFiles, Store};
use crate::types::{GroupId, OffsetOwner, ProducerId, TopicName, TopicPartition};

/// Actions that a life has if its power does not go before.
const ACTIONS: u32 = 150;
/// Operations of the disk after which its power goes at the latest.
const OPERATIONS: u64 = 500;
/// Batches of a producer that are under way at once.
const IN_FLIGHT: usize = 3;
/// Batches that a pipeline has under way at once.
const COMMITS_IN_FLIGHT: usize = 2;

/// What a life's disk is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    /// Nothing is wrong with it.
    Well,
    /// It fails once, and may be full for a while, at moments that are drawn.
    Faulty,
    /// It does what it is told to from outside.
    Told,
}

/// Who waits for a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Producer { producer: usize, batch: usize },
    Pipeline(i32),
    Group(i32, i64),
    Nobody,
}

pub(super) struct Life {
    pub(super) broker: Broker,
    pub(super) committer: Committer,
    cleaner: Cleaner,
    pub(super) queue: Vec<(Asked, Commit)>,
    pipelines: BTreeMap<i32, Stepped>,
    positions: BTreeMap<i32, i64>,
    /// Batches of plain producers that were reported as failed.
    doubtful: Vec<usize>,
    /// What its disk is like, whether it is full, whether writes are refused.
    pub(super) disk: Disk,
    is_full: bool,
    pub(super) is_out: bool,
}

impl Life {
    /// Begins with what is there; makes what is missing. The power goes some time later.
    pub(super) fn begin(
        run: &mut Run,
        (broker, committer, cleaner): Opened,
    ) -> Result<Self, String> {
        let mut life = Self {
            broker,
            committer,
            cleaner,
            queue: Vec::new(),
            pipelines: BTreeMap::new(),
            positions: BTreeMap::new(),
            doubtful: Vec::new(),
            disk: if run.random.u8(..4) == 0 { Disk::Faulty } else { Disk::Well },
            is_full: false,
            is_out: false,
        };
        life.set_up(run)?;
        let told = &mut run.told;
        life.positions = group_offsets(&life.broker);
        for partition in 0..2 {
            let found = life.positions.get(&partition).copied();
            told.committed.insert(partition, vec![found]);
        }
        told.temp = vec![life.broker.topic("temp").map(|topic| topic.id())];
        told.temp_is_new = false;
        told.deployed = vec![life.deployed()?];
        let ids = life.committer.admin(|store| store.reserve_producer_ids(10))?;
        if ids < told.next_id {
            return Err(format!("producer id {ids} is handed out again"));
        }
        told.next_id = ids + 10;
        for (producer, id) in run.producers.iter_mut().zip(ids..) {
            producer.pending.iter_mut().for_each(|pending| pending.queued = false);
            if producer.number % 3 != 2 && producer.id.is_none() {
                producer.id = Some(ProducerId { id, epoch: 0 });
            } else if producer.id.is_none() {
                producer.pending.clear();
            }
        }
        let now = run.files.operations();
        run.files.power_off_at(now + run.random.u64(1..OPERATIONS));
        if life.disk == Disk::Faulty {
            run.files.fail_at(now + run.random.u64(..OPERATIONS / 2));
        }
        Ok(life)
    }

    fn set_up(&mut self, run: &mut Run) -> Result<(), String> {
        for (name, partitions, settings, policy) in Told::TOPICS {
            if self.broker.topic(name).is_some() {
                continue;
            }
            if !run.producers.is_empty() {
                return Err(format!("topic {name} is gone"));
            }
            self.create(name, partitions, settings)?;
            if let Some(policy) = policy {
                run.told.ledger.topic(name, policy);
            }
        }
        if run.producers.is_empty() {
            let places = [("in", 0), ("in", 1), ("in", 0), ("table", 0), ("in", 1), ("short", 0)];
            for (number, (topic, partition)) in (0..).zip(places) {
                let place = (topic.to_owned(), partition);
                run.producers.push(Producer { place, number, ..Producer::default() });
            }
        }
        Ok(())
    }

    fn create(
        &mut self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<(), String> {
        let config = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let name = TopicName::new(name).map_err(|error| error.to_string())?;
        let new = NewTopic { name, partitions: Some(partitions), config };
        self.committer.create_topic(new).map(drop).map_err(|error| error.to_string())
    }

    fn deployed(&mut self) -> Result<u8, String> {
        let deployments = self.committer.admin(|store| store.reader().deployments())?;
        Ok(deployments.first().and_then(|(_, bytes)| bytes.first().copied()).unwrap_or(0))
    }

    /// Lives until the power goes.
    pub(super) fn work(&mut self, run: &mut Run) -> Result<(), String> {
        for _ in 0..ACTIONS {
            let action = run.random.u32(..100);
            run.trace(&action);
            self.act(action, run)?;
            if run.files.is_off() {
                break;
            }
            self.notice_outage(run)?;
        }
        Ok(())
    }

    pub(super) fn act(&mut self, action: u32, run: &mut Run) -> Result<(), String> {
        match action {
            0..30 => self.produce(run),
            30..58 => self.serve(run)?,
            58..72 => self.step_pipeline(run)?,
            72..78 => self.consume(run)?,
            78..84 => {
                let ms = run.random.u64(100..2_500);
                run.pass(ms);
                self.committer.maintain();
                let _ = self.committer.admin(|store| store.reader().catch_up());
            }
            84..92 => {
                for _ in 0..run.random.u32(1..6) {
                    let wait = self.cleaner.step(&mut self.committer);
                    run.clock.advance(wait.min(Duration::from_secs(2)));
                }
            }
            92 => self.delete_records(run)?,
            93..95 => self.change_temp(run),
            95 => self.deploy(run),
            96 => {
                // As a deployment does: at the next batch the pipeline is another one.
                let partition = run.random.i32(0..2);
                if !self.has_queued(&Asked::Pipeline(partition)) {
                    self.pipelines.remove(&partition);
                }
            }
            97 => {
                let by_ms = [3_600_000, 315_360_000_000][run.random.usize(..2)];
                let ahead = if run.random.bool() { by_ms } else { -by_ms };
                run.clock.jump_to(run.clock.now_ms() + ahead);
            }
            98 if self.disk == Disk::Faulty => {
                self.is_full = !self.is_full;
                run.files.fill_up(self.is_full);
            }
            99 => self.back_up(run)?,
            _ => self.fill(run),
        }
        Ok(())
    }

    /// A copy that is made meanwhile is the store as it is at this moment.
    fn back_up(&mut self, run: &mut Run) -> Result<(), String> {
        if self.disk != Disk::Well {
            return Ok(());
        }
        let snapshot = match self.committer.admin(|store| store.snapshot()) {
            Ok(snapshot) => snapshot,
            Err(_) if run.files.is_off() => return Ok(()),
            Err(error) => return Err(error),
        };
        let (told, copy) = (run.told.clone(), MemoryFiles::new());
        // The broker goes on before it is copied.
        for _ in 0..run.random.u32(..4) {
            self.produce(run);
            self.serve(run)?;
            self.cleaner.step(&mut self.committer);
        }
        let copied = snapshot.copy_to(&copy);
        drop(snapshot);
        // Without power the broker has closed what was to be copied.
        if run.files.is_off() {
            return Ok(());
        }
        copied.map_err(|error| format!("the copy failed: {error}"))?;
        let (broker, mut committer, _) = run.open(&copy)?;
        run.report.backups += 1;
        let verdict = check(&told, &broker, &mut committer, &copy);
        run.count(&verdict)
    }

    /// Clients see an outage only when the disk has failed. Once it is over, nothing that was
    /// reported as failed is there.
    pub(super) fn notice_outage(&mut self, run: &mut Run) -> Result<(), String> {
        let is_out = self.broker.outage().is_some();
        if is_out && self.disk == Disk::Well {
            return Err(format!("an outage without a fault: {:?}", self.broker.outage()));
        }
        if is_out && !self.is_out {
            run.report.faults += 1;
        }
        if self.is_out && !is_out {
            self.doubtful.drain(..).for_each(|batch| run.told.ledger.refuse(batch));
            for (partition, allowed) in &mut run.told.committed {
                allowed.truncate(1);
                allowed.extend(self.queue.iter().filter_map(|(asked, _)| match asked {
                    Asked::Group(of, offset) if of == partition => Some(Some(*offset)),
                    _ => None,
                }));
            }
            run.told.temp = vec![self.broker.topic("temp").map(|topic| topic.id())];
            run.told.temp_is_new = false;
        }
        self.is_out = is_out;
        Ok(())
    }

    fn has_queued(&self, asked: &Asked) -> bool {
        self.queue.iter().any(|(queued, _)| queued == asked)
    }

    fn partition(&self, (topic, partition): &Place) -> Option<TopicPartition> {
        let topic = self.broker.topic(topic)?.id();
        Some(TopicPartition { topic, partition: *partition })
    }

    /// A producer makes a batch, or sends one again.
    fn produce(&mut self, run: &mut Run) {
        let index = run.random.usize(..run.producers.len());
        self.produce_of(run, index);
    }

    pub(super) fn produce_of(&mut self, run: &mut Run, index: usize) {
        let again = run.producers[index].pending.iter().position(|pending| !pending.queued);
        let producer = &run.producers[index];
        // As clients do: none goes ahead of one that is sent again and again.
        let is_near = |oldest: &Pending| producer.made < oldest.number + IN_FLIGHT;
        if again.is_none() && producer.pending.first().is_none_or(is_near) {
            let pending = new_batch(run, index);
            run.producers[index].pending.push(pending);
        }
        let producer = &mut run.producers[index];
        let place = producer.place.clone();
        let Some(pending) = producer.pending.iter_mut().find(|pending| !pending.queued) else {
            return;
        };
        pending.queued = true;
        let (batch, bytes) = (pending.batch, pending.bytes.clone());
        let Some(partition) = self.partition(&place) else { return };
        let appends = vec![Append { partition, batch: bytes }];
        let asked = Asked::Producer { producer: index, batch };
        self.queue.push((asked, Commit { appends, ..Commit::default() }));
    }

    /// The committer takes what has queued up, or a part of it, as one group.
    pub(super) fn serve(&mut self, run: &mut Run) -> Result<(), String> {
        if self.queue.is_empty() {
            return Ok(());
        }
        let may_end = self.disk != Disk::Told && !run.files.is_off();
        if may_end && run.random.u8(..30) == 0 {
            // Where most is at stake: while a group is written.
            run.files.power_off_at(run.files.operations() + run.random.u64(..6));
        }
        let count = run.random.usize(1..=self.queue.len());
        let (asked, commits): (Vec<_>, Vec<_>) = self.queue.drain(..count).unzip();
        let outcomes = self.committer.commit_group(commits);
        let mut failed = false;
        for (asked, outcome) in asked.into_iter().zip(outcomes) {
            failed |= self.told(run, &asked, outcome)?;
        }
        if failed {
            self.hang_up(run);
        } else if run.random.bool() {
            self.committer.maintain();
        } else {
            // Who is to catch up is slow.
            let _ = self.committer.admin(Store::maintain);
        }
        Ok(())
    }

    /// Whoever waits is told what became of its commit. Says whether the disk failed.
    fn told(
        &mut self,
        run: &mut Run,
        asked: &Asked,
        outcome: Result<Committed, CommitError>,
    ) -> Result<bool, String> {
        match (asked, outcome) {
            (Asked::Nobody, Err(CommitError::UnknownPartition(_))) => Ok(false),
            (Asked::Producer { producer, batch }, Ok(committed)) => {
                run.told.ledger.acknowledge(*batch, committed.appended[0].base_offset)?;
                // Some acknowledgements are lost on their way; it is sent again.
                let is_lost = run.producers[*producer].id.is_some() && run.random.u8(..10) == 0;
                let pending = &mut run.producers[*producer].pending;
                let at = pending.iter().position(|pending| pending.batch == *batch);
                match at {
                    Some(at) if is_lost => pending[at].queued = false,
                    Some(at) => drop(pending.remove(at)),
                    None => {}
                }
                Ok(false)
            }
            (Asked::Group(partition, offset), Ok(_)) => {
                let allowed = run.told.committed.entry(*partition).or_default();
                let at = allowed.iter().position(|allowed| *allowed == Some(*offset));
                allowed.drain(..at.unwrap_or(0));
                Ok(false)
            }
            (_, Ok(_)) => Ok(false),
            (Asked::Producer { producer, batch }, Err(CommitError::Storage(_))) => {
                if run.producers[*producer].id.is_none() {
                    self.doubtful.push(*batch);
                }
                Ok(true)
            }
            (_, Err(CommitError::Storage(_))) => Ok(true),
            (asked, Err(error)) => Err(format!("{asked:?} is refused: {error}")),
        }
    }

    /// What has queued up is not served any more. Who sends again does so from the start.
    fn hang_up(&mut self, run: &mut Run) {
        for (asked, _) in self.queue.drain(..) {
            if let Asked::Producer { producer, batch } = asked
                && run.producers[producer].id.is_none()
            {
                run.told.ledger.refuse(batch);
            }
        }
        for producer in &mut run.producers {
            if producer.id.is_none() {
                producer.pending.clear();
            }
            producer.pending.iter_mut().for_each(|pending| pending.queued = false);
        }
        self.pipelines.clear();
    }

    fn step_pipeline(&mut self, run: &mut Run) -> Result<(), String> {
        let partition = run.random.i32(0..2);
        let asked = Asked::Pipeline(partition);
        let in_flight = self.queue.iter().filter(|(queued, _)| *queued == asked).count();
        if in_flight >= COMMITS_IN_FLIGHT || self.is_out {
            return Ok(());
        }
        if !self.pipelines.contains_key(&partition) {
            let pipeline = Stepped::start(&self.broker, "in", partition)?;
            self.pipelines.insert(partition, pipeline);
        }
        let Some(pipeline) = self.pipelines.get_mut(&partition) else { return Ok(()) };
        match pipeline.step() {
            Ok(commit) => self.queue.extend(commit.map(|commit| (asked, commit))),
            Err(_) if run.files.is_off() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A member of the group reads on, and commits.
    fn consume(&mut self, run: &mut Run) -> Result<(), String> {
        let partition = run.random.i32(0..2);
        let next = self.look(run, &("in".to_owned(), partition))?;
        self.look(run, &("short".to_owned(), 0))?;
        self.positions.insert(partition, next);
        let (Ok(group), Some(place)) =
            (GroupId::new("readers"), self.partition(&("in".to_owned(), partition)))
        else {
            return Ok(());
        };
        run.told.committed.entry(partition).or_default().push(Some(next));
        let committed = CommittedOffset {
            offset: next,
            leader_epoch: 0,
            metadata: "m".to_owned(),
            commit_time_ms: run.clock.now_ms(),
        };
        let change = OffsetChange {
            owner: OffsetOwner::Group(group),
            partition: place,
            expected: None,
            committed: Some(committed),
        };
        let commit = Commit { offsets: vec![change], ..Commit::default() };
        self.queue.push((Asked::Group(partition, next), commit));
        Ok(())
    }

    /// Reads on where the group was, and remembers what it saw. Returns the next offset.
    fn look(&mut self, run: &mut Run, place: &Place) -> Result<i64, String> {
        let from = if place.0 == "in" { self.positions.get(&place.1).copied() } else { None };
        let mut next = from.unwrap_or(0);
        let Some(partition) = self.partition(place) else { return Ok(next) };
        if let Some(topic) = self.broker.topic(&place.0)
            && let Some(progress) = topic.partition(place.1)
        {
            next = next.max(progress.log_start_offset());
        }
        let read = match self.broker.read_blocking(partition, next, 100_000) {
            Ok(read) => read,
            // The disk is gone, and what is not in memory with it.
            Err(ReadError::Storage(_)) if run.files.is_off() => return Ok(next),
            Err(error) => {
                let outage = self.broker.outage();
                let text = format!("{place:?} cannot be read from {next}: {error}");
                return Err(format!("{text}; outage: {outage:?}"));
            }
        };
        for found in read.records(next).map_err(|error| error.to_string())?.into_iter().map(record)
        {
            next = found.offset + 1;
            if let Some(value) = &found.value {
                run.told.ledger.saw(place, found.offset, value)?;
            }
        }
        Ok(next)
    }

    fn delete_records(&mut self, run: &mut Run) -> Result<(), String> {
        let place = ("short".to_owned(), 0);
        let Some(partition) = self.partition(&place) else { return Ok(()) };
        let Some(topic) = self.broker.topic("short") else { return Ok(()) };
        let Some(progress) = topic.partition(0) else { return Ok(()) };
        let upto = run.random.i64(progress.log_start_offset()..=progress.high_watermark());
        run.told.ledger.deleting(&place, upto);
        if self.committer.delete_records(&[(partition, upto)])[0].is_ok() {
            run.told.ledger.deleted(&place, upto);
        }
        Ok(())
    }

    /// A topic comes and goes.
    fn change_temp(&mut self, run: &mut Run) {
        let temp = self.broker.topic("temp").map(|topic| topic.id());
        let done = match temp {
            None => self.create("temp", 1, &[]).is_ok(),
            Some(id) => self.committer.delete_topic(id).is_ok(),
        };
        let now = self.broker.topic("temp").map(|topic| topic.id());
        match (done, temp) {
            (true, _) => run.told.temp = vec![now],
            (false, Some(_)) => run.told.temp.push(None),
            (false, None) => run.told.temp_is_new = true,
        }
    }

    fn deploy(&mut self, run: &mut Run) {
        let version = run.told.deployed.iter().max().map_or(1, |version| version + 1);
        run.told.deployed.push(version);
        let component = Bytes::from(vec![version; 100]);
        let put = self
            .committer
            .admin(|store| store.put_deployment("d", &[version], &[([version; 32], component)]));
        if put.is_ok() {
            run.told.deployed = vec![version];
        }
    }

    /// Records that die with their topic.
    fn fill(&mut self, run: &mut Run) {
        let Some(partition) = self.partition(&("temp".to_owned(), 0)) else { return };
        let mut batch = BatchBuilder::new(Compression::None);
        let value = vec![b'.'; run.random.usize(1_000..30_000)];
        if batch.push(run.clock.now_ms(), None, Some(&value), &[]).is_ok()
            && let Ok(batch) = batch.build()
        {
            let appends = vec![Append { partition, batch }];
            self.queue.push((Asked::Nobody, Commit { appends, ..Commit::default() }));
        }
    }

    /// The power is gone. Readers look once more, as they might have at any moment.
    pub(super) fn end(mut self, run: &mut Run) {
        for place in [("in".to_owned(), 0), ("in".to_owned(), 1), ("short".to_owned(), 0)] {
            // What was seen twice with two values the check will tell as well.
            let _ = self.look(run, &place);
        }
        self.hang_up(run);
    }
}
