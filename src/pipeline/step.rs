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
use super::placed::{AllTerms, Excused, Made, Partitions, Placed, cut_by_bytes, place};
use crate::plugin::{Emitted, Failure, FailureReason, Processed, Verdict};
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
    /// What the topics above ask of records as things are.
    pub(super) terms: AllTerms,
    /// How many partitions they have.
    pub(super) partitions: Partitions,
    retries: Retries,
}

impl Chain {
    pub(super) fn new(
        origin: Origin,
        steps: Vec<Step>,
        output: Option<TopicName>,
        dead_letter: Option<TopicName>,
    ) -> Self {
        let (terms, partitions) = (AllTerms::default(), Partitions::default());
        let retries = Retries::default();
        Self { origin, steps, output, dead_letter, terms, partitions, retries }
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
        let mut stream = Stream::new(batch);
        for step in 0..self.steps.len() {
            stream = self.run_step(step, stream, &mut run, pace);
        }
        self.write(stream, &mut run);
        self.finish(run)
    }

    fn run_step<'b>(
        &mut self,
        index: usize,
        mut stream: Stream<'b>,
        run: &mut Run<'_>,
        pace: &Pace<'_>,
    ) -> Stream<'b> {
        let began = (pace.elapsed)();
        if (pace.stopping)() {
            run.cut = run.cut.min(1);
        }
        let mut next = Stream::default();
        let mut made = Made::default();
        let mut at = 0;
        while let Some(&source) = stream.sources().get(at)
            && source < run.cut
        {
            if run.failed.contains_key(&source) {
                at += 1;
                continue;
            }
            let end = stream.sources().partition_point(|source| *source < run.cut);
            let Some(step) = self.steps.get_mut(index) else { break };
            let offered = stream.records().get(at..end).unwrap_or_default();
            let processed = (step.process)(offered);
            if processed.is_empty() {
                let message = "the plugin host returned nothing".to_owned();
                self.fail(index, source, Failure { reason: FailureReason::Contract, message }, run);
                continue;
            }
            if at == 0 && run.failed.is_empty() && stream.is_kept(&processed) {
                return stream;
            }
            let ended_by_failure = processed.last().is_some_and(Result::is_err);
            for result in processed.into_iter().take(end - at) {
                match result {
                    Ok(verdict) => {
                        self.apply(index, verdict, (&mut stream, at), (&mut next, &mut made), run);
                    }
                    // A result before may have failed the same source record; the first one counts.
                    Err(failure) => {
                        if let Some(&source) = stream.sources().get(at) {
                            self.fail(index, source, failure, run);
                        }
                    }
                }
                at += 1;
            }
            // Handed back early, for good reason unless a failure ended it. But a plugin that only
            // fails would take its time for every record.
            if at < end && (!ended_by_failure || pace.is_up(began)) {
                run.cut_before(stream.sources().get(at).copied());
            }
        }
        next
    }

    fn apply(
        &self,
        index: usize,
        verdict: Verdict,
        (stream, at): (&mut Stream<'_>, usize),
        (next, made): (&mut Stream<'_>, &mut Made),
        run: &mut Run<'_>,
    ) {
        let Some(&source) = stream.sources().get(at) else { return };
        if source >= run.cut || run.failed.contains_key(&source) {
            return;
        }
        let pass = |emitted: Emitted| {
            made.add(source, emitted.record.bytes_in_batch())?;
            next.push(source, emitted);
            Ok(())
        };
        let result = match verdict {
            Verdict::Keep => stream.take(at).map_or(Ok(()), pass),
            Verdict::Drop => Ok(()),
            Verdict::Emit(records) => records.into_iter().try_for_each(pass),
            Verdict::Route(names) => {
                let Some(kept) = stream.take(at) else { return };
                names.iter().try_for_each(|name| {
                    made.add(source, kept.record.bytes_in_batch())?;
                    let (topic, kept) = (self.routed(index, name)?, kept.clone());
                    let source = (source, run.kept_time(source));
                    place(source, topic, kept, (&self.terms, &self.partitions), &mut run.outputs)
                })
            }
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
    fn write(&self, mut stream: Stream<'_>, run: &mut Run<'_>) {
        let Some(output) = &self.output else { return };
        for at in 0..stream.sources().len() {
            let Some(&source) = stream.sources().get(at) else { break };
            if source >= run.cut || run.failed.contains_key(&source) {
                continue;
            }
            let Some(emitted) = stream.take(at) else { break };
            let terms = (&self.terms, &self.partitions);
            let excused = (source, run.kept_time(source));
            let placed = place(excused, output.clone(), emitted, terms, &mut run.outputs);
            if let Err(failure) = placed {
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
            let terms = (&self.terms, &self.partitions);
            let letter = letter.into();
            let source_of = (source, Excused::Letter);
            let placed = place(source_of, topic.clone(), letter, terms, &mut run.outputs);
            if let Err(refused) = placed {
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
mod tests;
