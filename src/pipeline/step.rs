//! The steps of a pipeline, chained in memory over one batch of source records: what goes where,
//! what failed, and how far the batch came. Pure apart from the plugins' calls: no broker, no
//! clock, no waiting.
//!
//! The unit is the source record. It goes through as a whole or not at all: if any step fails on
//! what was made of it, nothing of it is written but a dead letter.

use std::collections::BTreeMap;

use super::dead_letter::{self, Origin};
use super::manifest::OnError;
use super::outcome::{Counts, FailedRecord, Halt, Outcome};
use super::pass::{Pace, Retries, Run, Stream};
use super::placed::{Made, Placed, cut_by_bytes, place, record_bytes};
use crate::plugin::{Failure, FailureReason, Processed, Verdict};
use crate::record::Record;
use crate::types::TopicName;

/// Offers records to a plugin; as `plugin::Instance::process`.
pub(super) type Process = Box<dyn FnMut(&[Record]) -> Processed + Send>;

/// One step at work.
pub(super) struct Step {
    /// The plugin's name and the digest of its component, for dead letters and messages.
    pub(super) plugin: String,
    pub(super) digest: String,
    pub(super) on_error: OnError,
    /// A router's names and their topics.
    pub(super) outputs: BTreeMap<String, TopicName>,
    pub(super) process: Process,
}

/// The steps of a pipeline for one source partition.
pub(super) struct Chain {
    pub(super) origin: Origin,
    pub(super) steps: Vec<Step>,
    pub(super) output: Option<TopicName>,
    pub(super) dead_letter: Option<TopicName>,
    retries: Retries,
}

impl Chain {
    pub(super) fn new(
        origin: Origin,
        steps: Vec<Step>,
        output: Option<TopicName>,
        dead_letter: Option<TopicName>,
    ) -> Self {
        Self { origin, steps, output, dead_letter, retries: Retries::default() }
    }

    /// Takes a batch of source records through all steps, or as many as there is time for.
    pub(super) fn run(&mut self, batch: &[Record], pace: &Pace<'_>) -> Outcome {
        let mut run = Run {
            batch,
            cut: batch.len(),
            failed: BTreeMap::new(),
            halt: None,
            outputs: Vec::new(),
        };
        let mut stream = Stream { records: batch.to_vec(), sources: (0..batch.len()).collect() };
        for step in 0..self.steps.len() {
            stream = self.run_step(step, &stream, &mut run, pace);
        }
        self.write(stream, &mut run);
        self.finish(run)
    }

    fn run_step(
        &mut self,
        index: usize,
        stream: &Stream,
        run: &mut Run<'_>,
        pace: &Pace<'_>,
    ) -> Stream {
        let began = (pace.elapsed)();
        if (pace.stopping)() {
            run.cut = run.cut.min(1);
        }
        let mut next = Stream::default();
        let mut made = Made::default();
        let mut at = 0;
        while let Some(&source) = stream.sources.get(at)
            && source < run.cut
        {
            if run.failed.contains_key(&source) {
                at += 1;
                continue;
            }
            let end = stream.sources.partition_point(|source| *source < run.cut);
            let Some(step) = self.steps.get_mut(index) else { break };
            let offered = stream.records.get(at..end).unwrap_or_default();
            let Processed { verdicts, failure } = (step.process)(offered);
            let progress = !verdicts.is_empty() || failure.is_some();
            for verdict in verdicts.into_iter().take(end - at) {
                self.apply(index, verdict, (stream, at), (&mut next, &mut made), run);
                at += 1;
            }
            if let Some(failure) = failure {
                // A verdict before may have failed the same source record; the first one counts.
                if let Some(&source) = stream.sources.get(at) {
                    self.fail(index, source, failure, run);
                }
                at += 1;
                // A plugin that only fails would take its time for every record.
                if pace.is_up(began) {
                    run.cut_before(stream.sources.get(at).copied());
                }
            } else if !progress {
                let message = "the plugin host returned nothing".to_owned();
                self.fail(index, source, Failure { reason: FailureReason::Contract, message }, run);
            } else if at < end {
                // Handed back early.
                run.cut_before(stream.sources.get(at).copied());
            }
        }
        next
    }

    fn apply(
        &self,
        index: usize,
        verdict: Verdict,
        (stream, at): (&Stream, usize),
        (next, made): (&mut Stream, &mut Made),
        run: &mut Run<'_>,
    ) {
        let (Some(record), Some(&source)) = (stream.records.get(at), stream.sources.get(at)) else {
            return;
        };
        if source >= run.cut || run.failed.contains_key(&source) {
            return;
        }
        let mut pass = |record: Record| {
            made.add(source, record_bytes(&record))?;
            next.push(source, record);
            Ok(())
        };
        let result = match verdict {
            Verdict::Keep => pass(record.clone()),
            Verdict::Drop => Ok(()),
            Verdict::Emit(records) => records.into_iter().try_for_each(pass),
            Verdict::Route(names) => names.iter().try_for_each(|name| {
                made.add(source, record_bytes(record))?;
                let topic = self.routed(index, name)?;
                place(source, topic, record.clone(), &mut run.outputs)
            }),
        };
        if let Err(failure) = result {
            self.fail(index, source, failure, run);
        }
    }

    fn routed(&self, index: usize, name: &str) -> Result<TopicName, Failure> {
        let outputs = self.steps.get(index).map(|step| &step.outputs);
        outputs.and_then(|outputs| outputs.get(name)).cloned().ok_or_else(|| {
            let known: Vec<&str> =
                outputs.into_iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
            let message =
                format!("routed to {name:?}, the step's outputs are {}", known.join(", "));
            Failure { reason: FailureReason::Contract, message }
        })
    }

    /// What came through all steps goes to the output, if there is one.
    fn write(&self, stream: Stream, run: &mut Run<'_>) {
        let Some(output) = &self.output else { return };
        for (record, source) in stream.records.into_iter().zip(stream.sources) {
            if source >= run.cut || run.failed.contains_key(&source) {
                continue;
            }
            if let Err(failure) = place(source, output.clone(), record, &mut run.outputs) {
                self.fail(self.steps.len().saturating_sub(1), source, failure, run);
            }
        }
    }

    /// Notes that a step failed on what was made of a source record. The first failure counts.
    fn fail(&self, index: usize, source: usize, failure: Failure, run: &mut Run<'_>) {
        if source >= run.cut || run.failed.contains_key(&source) {
            return;
        }
        let reason = failure.reason;
        match self.steps.get(index).map_or(OnError::Stop, |step| step.on_error) {
            // What is no fault of the record is not for its policy.
            OnError::Skip | OnError::DeadLetter if reason != FailureReason::Unavailable => {
                run.failed.insert(source, (index, failure));
            }
            _ => {
                run.cut = source;
                run.halt = Some((source, index, failure));
            }
        }
    }

    fn finish(&mut self, mut run: Run<'_>) -> Outcome {
        self.place_dead_letters(&mut run);
        let (batch, failed) = (run.batch, &run.failed);
        let mut outputs = run.outputs;
        outputs.retain(|placed| placed.source < run.cut);
        // A router in the middle has placed its records before the steps behind it did.
        outputs.sort_by_key(|placed| placed.source);
        let done = cut_by_bytes(&mut outputs, run.cut);
        let mut counts = Counts { input: done as u64, ..Counts::default() };
        let mut failures = Vec::new();
        for (&source, (index, failure)) in failed.range(..done) {
            match self.steps.get(*index).map(|step| step.on_error) {
                Some(OnError::DeadLetter) => counts.dead_lettered += 1,
                _ => counts.skipped += 1,
            }
            failures.extend(self.failed_record(batch, source, *index, failure));
        }
        let of_failed = |placed: &&Placed| failed.contains_key(&placed.source);
        counts.output = (outputs.len() - outputs.iter().filter(of_failed).count()) as u64;
        let mut written: Vec<usize> = outputs.iter().map(|placed| placed.source).collect();
        written.dedup();
        let ended = written.len() as u64 + counts.skipped;
        counts.dropped = counts.input.saturating_sub(ended);
        let halt = run.halt.filter(|(source, ..)| *source == done);
        let halt = halt.and_then(|(source, index, failure)| {
            let record = self.failed_record(batch, source, index, &failure)?;
            Some(self.halt(index, record))
        });
        let outputs = outputs.into_iter().map(|placed| (placed.topic, placed.record)).collect();
        Outcome { done, outputs, counts, failed: failures, halt }
    }

    /// Of every source record that failed in such a step, and none of what was made of it.
    fn place_dead_letters(&self, run: &mut Run<'_>) {
        run.outputs.retain(|placed| !run.failed.contains_key(&placed.source));
        let Some(topic) = &self.dead_letter else { return };
        let failed = std::mem::take(&mut run.failed);
        for (&source, (index, failure)) in failed.range(..run.cut) {
            let (Some(step), Some(record)) = (self.steps.get(*index), run.batch.get(source)) else {
                continue;
            };
            if step.on_error != OnError::DeadLetter {
                continue;
            }
            let letter = dead_letter::make(&self.origin, (*index, step), record, failure);
            if let Err(refused) = place(source, topic.clone(), letter, &mut run.outputs) {
                // What can be written nowhere must not get lost.
                let message = format!("no dead letter can be made of it: {}", refused.message);
                run.cut = source;
                run.halt = Some((source, *index, Failure { reason: failure.reason, message }));
                break;
            }
        }
        run.failed = failed;
    }

    fn failed_record(
        &self,
        batch: &[Record],
        source: usize,
        index: usize,
        failure: &Failure,
    ) -> Option<FailedRecord> {
        let step = match self.steps.get(index) {
            Some(step) => format!("step {} ({})", index + 1, step.plugin),
            None => "writing".to_owned(),
        };
        let offset = batch.get(source)?.offset;
        Some(FailedRecord { offset, step, failure: failure.clone() })
    }

    fn halt(&mut self, index: usize, record: FailedRecord) -> Halt {
        if record.failure.reason == FailureReason::Unavailable {
            return Halt::Unavailable(record);
        }
        let Some(OnError::Retry(retry)) = self.steps.get(index).map(|step| step.on_error) else {
            return Halt::Stop(record);
        };
        let attempts = self.retries.attempts(record.offset, index);
        if *attempts >= retry.attempts {
            return Halt::Stop(record);
        }
        *attempts += 1;
        Halt::Retry(record, retry.wait(*attempts - 1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::limits::BATCH_BYTES;
    use crate::pipeline::manifest::Retry;
    use crate::record::Header;
    use crate::types::PipelineName;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    fn records(values: &[&str]) -> Vec<Record> {
        let record = |(i, value): (usize, &&str)| Record {
            offset: 100 + i as i64,
            timestamp: i as i64,
            key: None,
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: Vec::new(),
        };
        values.iter().enumerate().map(record).collect()
    }

    fn text(record: &Record) -> String {
        String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()
    }

    fn failure(message: &str) -> Failure {
        Failure { reason: FailureReason::BadMessage, message: message.to_owned() }
    }

    /// What the plugins of these tests do with a record: its value is a program, one word for
    /// each step, and what a step passes on is the rest.
    fn obey(record: &Record) -> Result<Verdict, Failure> {
        let value = text(record);
        let (word, rest) = value.split_once(' ').unwrap_or((&value, ""));
        let with = |value: String| Record { value: Some(value.into()), ..record.clone() };
        match word.split_once(':').unwrap_or((word, "")) {
            ("drop", _) => Ok(Verdict::Drop),
            ("fail", why) => Err(failure(why)),
            ("to", names) => Ok(Verdict::Route(names.split(',').map(str::to_owned).collect())),
            ("twice", _) => Ok(Verdict::Emit(vec![with(rest.to_owned()), with(rest.to_owned())])),
            ("fork", other) => {
                Ok(Verdict::Emit(vec![with(rest.to_owned()), with(other.replace('_', " "))]))
            }
            ("keep", _) => Ok(Verdict::Keep),
            _ => Ok(Verdict::Emit(vec![with(rest.to_owned())])),
        }
    }

    /// Hands back after at most `most` verdicts.
    fn process(batch: &[Record], most: usize) -> Processed {
        let mut processed = Processed::default();
        for record in batch.iter().take(most) {
            match obey(record) {
                Ok(verdict) => processed.verdicts.push(verdict),
                Err(failure) => {
                    processed.failure = Some(failure);
                    break;
                }
            }
        }
        processed
    }

    fn step(on_error: OnError, most: usize) -> Step {
        let outputs = ["a", "b"].map(|name| (name.to_owned(), topic(name)));
        Step {
            plugin: "obey".to_owned(),
            digest: "d1".to_owned(),
            on_error,
            outputs: outputs.into(),
            process: Box::new(move |batch| process(batch, most)),
        }
    }

    fn chain(policies: &[OnError], most: usize) -> Chain {
        let origin =
            Origin { pipeline: PipelineName::new("p").unwrap(), topic: topic("in"), partition: 3 };
        let steps = policies.iter().map(|policy| step(*policy, most)).collect();
        Chain::new(origin, steps, Some(topic("out")), Some(topic("bad")))
    }

    fn written(outcome: &Outcome) -> Vec<String> {
        let written = outcome.outputs.iter();
        written.map(|(topic, record)| format!("{topic}={}", text(record))).collect()
    }

    #[test]
    fn records_pass_all_steps_in_order() {
        let mut chain = chain(&[OnError::Stop, OnError::Stop], 100);
        let outcome = chain.run(
            &records(&["x to:b 0", "twice x 1", "drop", "x drop", "to:a,b 4", "x x 5"]),
            &Pace::FREE,
        );
        assert_eq!(
            written(&outcome),
            ["b=to:b 0", "out=1", "out=1", "a=to:a,b 4", "b=to:a,b 4", "out=5"]
        );
        let counts = Counts { input: 6, output: 6, dropped: 2, ..Counts::default() };
        assert_eq!((outcome.done, outcome.counts, outcome.halt), (6, counts, None));
    }

    #[test]
    fn a_stop_keeps_what_is_before_and_nothing_behind() {
        let mut chain = chain(&[OnError::Stop, OnError::Stop], 100);
        // The second step fails on an earlier record than the first one did.
        let outcome =
            chain.run(&records(&["x x 0", "x fail:here", "x x 2", "fail:there"]), &Pace::FREE);
        assert_eq!(written(&outcome), ["out=0"]);
        assert_eq!(outcome.done, 1);
        let Some(Halt::Stop(record)) = outcome.halt else { panic!("{:?}", outcome.halt) };
        assert_eq!(record.to_string(), "step 2 (obey) failed on offset 101: bad-message: here");
    }

    #[test]
    fn a_failed_record_goes_through_as_a_whole_or_not_at_all() {
        let mut chain = chain(&[OnError::Stop, OnError::Skip], 100);
        let outcome =
            chain.run(&records(&["fork:fail:b x a", "fork:x_b fail:a", "x x 2"]), &Pace::FREE);
        assert_eq!(written(&outcome), ["out=2"]);
        let counts = Counts { input: 3, output: 1, skipped: 2, ..Counts::default() };
        assert_eq!(outcome.counts, counts);
        let offsets: Vec<i64> = outcome.failed.iter().map(|failed| failed.offset).collect();
        assert_eq!(offsets, [100, 101]);
    }

    #[test]
    fn a_dead_letter_is_the_source_record_and_says_why() {
        let mut chain = chain(&[OnError::Stop, OnError::DeadLetter], 100);
        let mut batch = records(&["x fail:why", "x x 1"]);
        batch[0].key = Some(Bytes::from_static(b"\xff"));
        batch[0].headers = vec![
            Header { key: Bytes::from_static(b"h"), value: None },
            Header { key: Bytes::from_static(b"h"), value: Some(Bytes::new()) },
        ];
        let outcome = chain.run(&batch, &Pace::FREE);
        assert_eq!(written(&outcome), ["bad=x fail:why", "out=1"]);
        let counts = Counts { input: 2, output: 1, dead_lettered: 1, ..Counts::default() };
        assert_eq!(outcome.counts, counts);
        let letter = &outcome.outputs[0].1;
        assert_eq!((&letter.key, letter.timestamp), (&batch[0].key, batch[0].timestamp));
        assert_eq!(letter.headers[..2], batch[0].headers[..]);
        let headers = letter.headers[2..].iter().map(|header| {
            let value = header.value.clone().unwrap();
            format!("{}={}", header.key.escape_ascii(), value.escape_ascii())
        });
        assert_eq!(
            headers.collect::<Vec<_>>(),
            [
                "millstream.pipeline=p",
                "millstream.step=2",
                "millstream.plugin=obey",
                "millstream.plugin.digest=d1",
                "millstream.source.topic=in",
                "millstream.source.partition=3",
                "millstream.source.offset=100",
                "millstream.error.kind=bad-message",
                "millstream.error.message=why",
            ]
        );
    }

    #[test]
    fn a_retry_waits_longer_each_time_and_then_stops() {
        let retry = OnError::Retry(Retry { attempts: 2, backoff_ms: 10 });
        let mut chain = chain(&[retry], 100);
        let batch = records(&["x 0", "fail:now"]);
        let mut waits = Vec::new();
        let mut from = 0;
        let last = loop {
            let outcome = chain.run(&batch[from..], &Pace::FREE);
            from += outcome.done;
            match outcome.halt {
                Some(Halt::Retry(_, wait)) => waits.push(wait.as_millis()),
                other => break other,
            }
        };
        assert_eq!((from, waits), (1, vec![10, 20]));
        assert!(matches!(last, Some(Halt::Stop(FailedRecord { offset: 101, .. }))));
        // Another record has attempts of its own.
        let outcome = chain.run(&records(&["fail:other"]), &Pace::FREE);
        assert!(matches!(outcome.halt, Some(Halt::Retry(..))));
    }

    #[test]
    fn a_name_that_is_no_output_is_a_failure() {
        let mut chain = chain(&[OnError::Skip], 100);
        let outcome = chain.run(&records(&["to:a,c"]), &Pace::FREE);
        assert!(outcome.outputs.is_empty());
        let failure = &outcome.failed[0].failure;
        assert_eq!(failure.reason, FailureReason::Contract);
        assert_eq!(failure.message, "routed to \"c\", the step's outputs are a, b");
    }

    #[test]
    fn a_record_that_fits_no_batch_is_a_failure_of_the_last_step() {
        let mut chain = chain(&[OnError::Skip], 100);
        let mut batch = records(&["", "", "x"]);
        let mut random = fastrand::Rng::with_seed(7);
        let noise: Vec<u8> = (0..BATCH_BYTES).map(|_| random.u8(..)).collect();
        chain.steps[0].process = Box::new(|batch| Processed {
            verdicts: batch.iter().map(|_| Verdict::Keep).collect(),
            failure: None,
        });
        batch[0].value = Some(noise.into());
        batch[1].value = Some(vec![0; 2 * BATCH_BYTES].into());
        let outcome = chain.run(&batch, &Pace::FREE);
        let offsets: Vec<i64> = outcome.outputs.iter().map(|(_, record)| record.offset).collect();
        assert_eq!(offsets, [101, 102]);
        assert!(matches!(outcome.failed[0].failure.reason, FailureReason::Limit(_)));
    }

    #[test]
    fn what_is_written_nowhere_stops_the_pipeline() {
        let mut chain = chain(&[OnError::DeadLetter], 100);
        let mut batch = records(&["x 0", "fail:it"]);
        let header = Header { key: Bytes::new(), value: None };
        batch[1].headers = vec![header; crate::limits::RECORD_HEADERS];
        let outcome = chain.run(&batch, &Pace::FREE);
        assert_eq!((outcome.done, written(&outcome)), (1, vec!["out=0".to_owned()]));
        assert!(matches!(outcome.halt, Some(Halt::Stop(_))));
    }

    #[test]
    fn a_batch_of_failures_ends_when_its_time_is_up() {
        let ticks = std::cell::Cell::new(0);
        let elapsed = || Duration::from_millis(ticks.replace(ticks.get() + 400));
        let values = ["fail:it"; 9];
        let slow = Pace { elapsed: &elapsed, stopping: &|| false };
        for policy in [OnError::Skip, OnError::DeadLetter] {
            let outcome = chain(&[policy], 100).run(&records(&values), &slow);
            assert_eq!((outcome.done, outcome.failed.len(), outcome.halt), (3, 3, None));
        }
        let stopping = Pace { elapsed: &|| Duration::ZERO, stopping: &|| true };
        let outcome = chain(&[OnError::Skip], 100).run(&records(&values), &stopping);
        assert_eq!((outcome.done, outcome.halt), (1, None));
    }

    #[test]
    fn a_plugin_that_cannot_be_had_costs_no_record() {
        let retry = OnError::Retry(Retry { attempts: 1, backoff_ms: 1 });
        for policy in [OnError::Stop, OnError::Skip, OnError::DeadLetter, retry] {
            let mut chain = chain(&[policy], 100);
            chain.steps[0].process = Box::new(|_| Processed {
                verdicts: vec![Verdict::Keep],
                failure: Some(Failure { reason: FailureReason::Unavailable, ..failure("full") }),
            });
            let outcome = chain.run(&records(&["a", "b", "c"]), &Pace::FREE);
            assert_eq!((outcome.done, written(&outcome)), (1, vec!["out=a".to_owned()]));
            assert!(outcome.failed.is_empty());
            let Some(Halt::Unavailable(record)) = outcome.halt else {
                panic!("{:?}", outcome.halt)
            };
            assert_eq!(record.offset, 101);
        }
    }

    #[test]
    fn a_chain_without_steps_copies() {
        let outcome = chain(&[], 1).run(&records(&["a", "b"]), &Pace::FREE);
        assert_eq!(written(&outcome), ["out=a", "out=b"]);
    }

    /// However a batch is cut, by its size or by plugins that hand it back early, the outcome is
    /// that of offering its records one by one.
    #[test]
    fn batches_are_the_same_as_single_records() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let words =
            ["x", "x", "x", "keep", "drop", "twice", "fork:x_y", "fork:fail:f", "fail:g", "to:a,b"];
        let retry = OnError::Retry(Retry { attempts: 1, backoff_ms: 1 });
        let policies = [OnError::Stop, OnError::Skip, OnError::DeadLetter, retry];
        for _ in 0..500 {
            let policy = |_| policies[random.usize(..policies.len())];
            let policies: Vec<OnError> = (0..3).map(policy).collect();
            let mut program = |_| {
                let words: Vec<&str> = (0..4).map(|_| words[random.usize(..words.len())]).collect();
                words.join(" ")
            };
            let values: Vec<String> = (0..20).map(&mut program).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let single = drive(&mut chain(&policies, 100), &records(&values), || 1);
            let most = random.usize(1..6);
            let batched =
                drive(&mut chain(&policies, most), &records(&values), || random.usize(1..30));
            assert_eq!(single, batched);
        }
    }

    /// Everything written, the counts, and the record that stopped it.
    fn drive(
        chain: &mut Chain,
        records: &[Record],
        mut size: impl FnMut() -> usize,
    ) -> (Vec<String>, Counts, Option<i64>) {
        let (mut all, mut counts, mut at) = (Vec::new(), Counts::default(), 0);
        while at < records.len() {
            let end = (at + size()).min(records.len());
            let outcome = chain.run(&records[at..end], &Pace::FREE);
            all.extend(written(&outcome));
            counts.add(&outcome.counts);
            at += outcome.done;
            match outcome.halt {
                Some(Halt::Stop(record)) => return (all, counts, Some(record.offset)),
                Some(Halt::Retry(..) | Halt::Unavailable(_)) => {}
                None => assert!(outcome.done > 0),
            }
        }
        (all, counts, None)
    }
}
