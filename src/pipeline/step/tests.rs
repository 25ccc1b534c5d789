//! The steps of a pipeline, with plugins that do what a record's value says.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::limits::BATCH_BYTES;
use crate::pipeline::manifest::Retry;
use crate::record::{Header, Terms, Timestamps};
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
    let with =
        |value: String| Emitted::from(Record { value: Some(value.into()), ..record.clone() });
    match word.split_once(':').unwrap_or((word, "")) {
        ("drop", _) => Ok(Verdict::Drop),
        ("fail", why) => Err(failure(why)),
        ("to", names) => Ok(Verdict::Route(names.split(',').map(Arc::from).collect())),
        ("twice", _) => Ok(Verdict::Emit(vec![with(rest.to_owned()), with(rest.to_owned())])),
        ("fork", other) => {
            Ok(Verdict::Emit(vec![with(rest.to_owned()), with(other.replace('_', " "))]))
        }
        ("at", partition) => {
            let Emitted { record, .. } = with(rest.to_owned());
            Ok(Verdict::Emit(vec![Emitted { record, partition: partition.parse().ok() }]))
        }
        ("late", timestamp) => {
            let Emitted { mut record, partition } = with(rest.to_owned());
            record.timestamp = timestamp.parse().unwrap();
            Ok(Verdict::Emit(vec![Emitted { record, partition }]))
        }
        ("keep", _) => Ok(Verdict::Keep),
        _ => Ok(Verdict::Emit(vec![with(rest.to_owned())])),
    }
}

/// Hands back after at most `most` verdicts.
fn process(batch: &[Record], most: usize) -> Processed {
    let mut processed = Processed::new();
    for record in batch.iter().take(most) {
        processed.push(obey(record));
        if processed.last().is_some_and(Result::is_err) {
            break;
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
    written.map(|placed| format!("{}={}", placed.topic, text(&placed.record))).collect()
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
    let letter = &outcome.outputs[0].record;
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
    chain.steps[0].process = Box::new(|batch| batch.iter().map(|_| Ok(Verdict::Keep)).collect());
    batch[0].value = Some(noise.into());
    batch[1].value = Some(vec![0; 2 * BATCH_BYTES].into());
    let outcome = chain.run(&batch, &Pace::FREE);
    let offsets: Vec<i64> = outcome.outputs.iter().map(|placed| placed.record.offset).collect();
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
fn a_chosen_partition_stays_with_its_record_and_has_to_be_there() {
    let mut chain = chain(&[OnError::Stop, OnError::Skip], 100);
    chain.partitions = [(topic("out"), 3), (topic("a"), 9)].into();
    let values =
        ["at:2 keep", "at:3 keep", "x keep", "at:8 to:a", "at:1 x 4", "at:4294967295 keep"];
    let outcome = chain.run(&records(&values), &Pace::FREE);
    let places: Vec<(&str, Option<i32>)> =
        outcome.outputs.iter().map(|to| (to.topic.as_str(), to.partition)).collect();
    assert_eq!(places, [("out", Some(2)), ("out", None), ("a", Some(8)), ("out", None)]);
    let failures: Vec<String> = outcome.failed.iter().map(FailedRecord::to_string).collect();
    assert_eq!(
        failures[0],
        "step 2 (obey) failed on offset 101: \
                             contract: partition 3 was chosen, topic out has 3"
    );
    assert!(failures[1].contains("partition 4294967295"), "{failures:?}");
}

/// A processor answers for all of a batch, whatever fails in it.
#[test]
fn several_failures_of_one_call_are_each_met_by_the_policy() {
    let values = ["x 0", "fail:a", "x 2", "fail:b", "x 4"];
    let all = |policy| {
        let mut chain = chain(&[policy], 100);
        chain.steps[0].process = Box::new(|batch| batch.iter().map(obey).collect());
        chain.run(&records(&values), &Pace::FREE)
    };
    let outcome = all(OnError::Skip);
    assert_eq!((outcome.done, outcome.failed.len(), written(&outcome).len()), (5, 2, 3));
    let outcome = all(OnError::DeadLetter);
    assert_eq!((outcome.done, outcome.counts.dead_lettered, outcome.counts.output), (5, 2, 3));
    for policy in [OnError::Stop, OnError::Retry(Retry { attempts: 1, backoff_ms: 1 })] {
        let outcome = all(policy);
        assert_eq!((outcome.done, written(&outcome)), (1, vec!["out=0".to_owned()]));
        assert!(matches!(outcome.halt, Some(Halt::Stop(_) | Halt::Retry(..))));
    }
}

#[test]
fn a_plugin_that_cannot_be_had_costs_no_record() {
    let retry = OnError::Retry(Retry { attempts: 1, backoff_ms: 1 });
    for policy in [OnError::Stop, OnError::Skip, OnError::DeadLetter, retry] {
        let mut chain = chain(&[policy], 100);
        let full = Failure { reason: FailureReason::Unavailable, ..failure("full") };
        chain.steps[0].process = Box::new(move |_| vec![Ok(Verdict::Keep), Err(full.clone())]);
        let outcome = chain.run(&records(&["a", "b", "c"]), &Pace::FREE);
        assert_eq!((outcome.done, written(&outcome)), (1, vec!["out=a".to_owned()]));
        assert!(outcome.failed.is_empty());
        let Some(Halt::Unavailable(record)) = outcome.halt else { panic!("{:?}", outcome.halt) };
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
        let batched = drive(&mut chain(&policies, most), &records(&values), || random.usize(1..30));
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

#[test]
fn what_the_topic_does_not_accept_is_a_failure_of_the_step() {
    let mut chain = chain(&[OnError::DeadLetter], 100);
    let timestamps = Timestamps::Create { earliest: 1, latest: 5 };
    let terms = Terms { keys: true, timestamps, ..Terms::default() };
    chain.terms.insert(topic("out"), terms);
    let mut batch = records(&["x 0", "x 1", "x 2"]);
    batch[0].key = Some(Bytes::from_static(b"k"));
    batch[1].key = Some(Bytes::from_static(b"k"));
    // The first is too old, the last has no key.
    let outcome = chain.run(&batch, &Pace::FREE);
    assert_eq!(written(&outcome), ["bad=x 0", "out=1", "bad=x 2"]);
    let messages: Vec<_> = outcome.failed.iter().map(|f| f.failure.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "topic out does not accept the record: timestamp 0 is not within 1 and 5",
            "topic out does not accept the record: has no key, and the topic is compacted",
        ]
    );
}

/// The clock was ahead when the records came, and is right again: their source topic has accepted
/// them.
#[test]
fn a_clock_that_was_set_back_stops_nothing() {
    let mut chain = chain(&[OnError::DeadLetter], 100);
    let timestamps = Timestamps::Create { earliest: -5, latest: -1 };
    for name in ["out", "a", "bad"] {
        chain.terms.insert(topic(name), Terms { timestamps, ..Terms::default() });
    }
    let outcome = chain.run(&records(&["x 0", "to:a", "fail:f", "late:9 3"]), &Pace::FREE);
    assert_eq!(written(&outcome), ["out=0", "a=to:a", "bad=fail:f", "bad=late:9 3"]);
    let messages: Vec<_> = outcome.failed.iter().map(|f| f.failure.message.as_str()).collect();
    let made_up = "topic out does not accept the record: timestamp 9 is not within -5 and -1";
    assert_eq!(messages, ["f", made_up], "what a plugin makes up is judged");
    assert_eq!(outcome.halt, None);
}
