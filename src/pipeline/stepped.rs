//! A pipeline whose batches are stepped, for the simulation: the real worker and the real chain of
//! a filter, a transformer and a router, with functions in place of plugins. A record's first
//! letter says what they do with it.

use std::collections::BTreeMap;

use super::batch::{Target, Worker};
use super::dead_letter::Origin;
use super::manifest::OnError;
use super::pass::Pace;
use super::runner::{counts, worker_at_checkpoint};
use super::step::{Chain, Step};
use crate::broker::{Broker, Commit};
use crate::limits::PIPELINE_BATCH_BYTES;
use crate::plugin::{Failure, FailureReason, Processed, Verdict};
use crate::record::Record;
use crate::types::{PipelineName, TopicName, TopicPartition};

/// At work on one source partition.
pub(crate) struct Stepped {
    broker: Broker,
    source: TopicPartition,
    targets: Vec<TopicName>,
    worker: Worker,
}

impl Stepped {
    pub(crate) const NAME: &str = "work";
    /// What it writes: the outputs of its router, and its dead letters.
    pub(crate) const TARGETS: [&str; 3] = ["out", "side", "bad"];

    /// Which targets get a record of such a value, in order.
    pub(crate) fn places(value: &str) -> &'static [&'static str] {
        match value.as_bytes()[0] {
            b'd' | b'n' => &[],
            b'e' => &["bad"],
            b'2' => &["out", "out"],
            b'b' => &["out", "side"],
            b's' => &["side"],
            _ => &["out"],
        }
    }

    /// How many source records it has counted as done in a partition.
    pub(crate) fn counted(broker: &Broker, topic: &str, partition: i32) -> Option<u64> {
        let source = TopicPartition { topic: broker.topic(topic)?.id(), partition };
        let counts = counts(broker, &PipelineName::new(Self::NAME).ok()?, source);
        counts.ok().map(|counts| counts.input)
    }

    /// Begins at the checkpoint.
    pub(crate) fn start(broker: &Broker, topic: &str, partition: i32) -> Result<Self, String> {
        let name = |name: &str| TopicName::new(name).map_err(|error| error.to_string());
        let found = |name: &str| broker.topic(name).ok_or_else(|| format!("no topic {name}"));
        let source = TopicPartition { topic: found(topic)?.id(), partition };
        let pipeline = PipelineName::new(Self::NAME).map_err(|error| error.to_string())?;
        let origin = Origin { pipeline, topic: name(topic)?, partition };
        let (mut names, mut targets) = (Vec::new(), BTreeMap::new());
        for target in Self::TARGETS {
            let topic = found(target)?;
            names.push(name(target)?);
            let target = Target { id: topic.id(), partitions: topic.partitions() };
            targets.insert(topic.name().clone(), target);
        }
        let outputs: BTreeMap<String, TopicName> =
            names.iter().map(|name| (name.to_string(), name.clone())).collect();
        let step = |plugin: &str, decide: fn(&Record) -> Result<Verdict, Failure>| Step {
            plugin: plugin.to_owned(),
            digest: String::new(),
            on_error: OnError::DeadLetter,
            outputs: outputs.clone(),
            process: Box::new(move |batch| process(batch, decide)),
        };
        let steps =
            vec![step("filter", filter), step("transformer", transform), step("router", route)];
        let chain = Chain::new(origin, steps, Some(name("out")?), Some(name("bad")?));
        let worker = worker_at_checkpoint(broker, source, chain, targets);
        let worker = worker.map_err(|error| error.to_string())?;
        Ok(Self { broker: broker.clone(), source, targets: names, worker })
    }

    /// Makes the next batch, if there is something to make one of.
    pub(crate) fn step(&mut self) -> Result<Option<Commit>, String> {
        if let Some(offset) = self.worker.wants() {
            let read = self.broker.read_blocking(self.source, offset, PIPELINE_BATCH_BYTES);
            self.worker.feed(read.map_err(|error| error.to_string())?);
        }
        let now_ms = self.broker.clock().now_ms();
        let terms = self.targets.iter().filter_map(|name| {
            let topic = self.broker.topic(name.as_str())?;
            Some((name.clone(), topic.terms(now_ms)))
        });
        self.worker.agree(terms.collect());
        let prepared = self.worker.prepare(now_ms, &Pace::FREE);
        let prepared = prepared.map_err(|error| error.to_string())?;
        match prepared.halt {
            None => Ok(prepared.commit),
            Some(halt) => Err(format!("{halt:?}")),
        }
    }
}

fn process(batch: &[Record], decide: fn(&Record) -> Result<Verdict, Failure>) -> Processed {
    let mut processed = Processed::new();
    for record in batch {
        processed.push(decide(record));
        if processed.last().is_some_and(Result::is_err) {
            break;
        }
    }
    processed
}

fn letter(record: &Record) -> u8 {
    record.value.as_ref().and_then(|value| value.first()).copied().unwrap_or(b'd')
}

fn filter(record: &Record) -> Result<Verdict, Failure> {
    Ok(if letter(record) == b'd' { Verdict::Drop } else { Verdict::Keep })
}

fn transform(record: &Record) -> Result<Verdict, Failure> {
    match letter(record) {
        b'n' => Ok(Verdict::Drop),
        b'2' => Ok(Verdict::Emit(vec![record.clone().into(), record.clone().into()])),
        b'e' => {
            let message = "told to fail".to_owned();
            Err(Failure { reason: FailureReason::BadMessage, message })
        }
        _ => Ok(Verdict::Emit(vec![record.clone().into()])),
    }
}

fn route(record: &Record) -> Result<Verdict, Failure> {
    let names: &[&str] = match letter(record) {
        b'b' => &["out", "side"],
        b's' => &["side"],
        _ => return Ok(Verdict::Keep),
    };
    Ok(Verdict::Route(names.iter().map(|name| (*name).into()).collect()))
}
