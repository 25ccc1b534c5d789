//! Instances at work, healthy and not.

use super::super::fixtures::{
    FAULTS, FILTER, PROCESSOR, ROUTER, instance, load, record, with, with_start,
};
use super::super::{Emitted, Verdict};
use super::*;
use crate::limits::PLUGIN_TABLE_ELEMENTS;
use crate::record::Header;
use bytes::Bytes;

/// Little memory, so that it is soon full, and time enough for a machine that is busy.
const LIMITS: Limits = Limits {
    memory_bytes: 64 << 20,
    call_ms: 60_000,
    output_records: 10_000,
    output_bytes: 16 << 20,
};
/// For plugins that do not end.
const SHORT: Limits = Limits { call_ms: 500, ..LIMITS };

fn one(instance: &mut Instance, value: &'static str) -> Result<Verdict, Failure> {
    let mut processed = instance.process(&[record(value)]);
    assert_eq!(processed.len(), 1);
    processed.remove(0)
}

fn emitted(records: impl IntoIterator<Item = Record>) -> Verdict {
    Verdict::Emit(records.into_iter().map(Emitted::from).collect())
}

/// How many calls the present instance has had, this one included.
fn calls(instance: &mut Instance) -> String {
    match one(instance, "i") {
        Ok(Verdict::Emit(records)) => {
            String::from_utf8(records[0].record.value.clone().unwrap().to_vec()).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

/// The record fails with this reason, and the next is served by a new instance.
fn breaks(value: &'static str, limits: Limits) -> Failure {
    let mut instance = instance(FAULTS, limits);
    assert_eq!(calls(&mut instance), "1");
    let failure = one(&mut instance, value).unwrap_err();
    assert_eq!(calls(&mut instance), "1");
    assert_eq!(one(&mut instance, "x"), Ok(emitted([record("x")])));
    failure
}

fn hit(failure: &Failure) -> LimitHit {
    match failure.reason {
        FailureReason::Limit(hit) => hit,
        _ => panic!("{failure}"),
    }
}

#[test]
fn a_transformer_gets_and_gives_every_byte_of_a_record() {
    let mut instance = instance(FAULTS, LIMITS);
    let whole = record("as it came");
    let nulls = Record { key: None, value: None, headers: Vec::new(), timestamp: -1, offset: 8 };
    let empty = Record { key: Some(Bytes::new()), value: Some(Bytes::new()), ..nulls.clone() };
    let processed = instance.process(&[whole.clone(), nulls.clone(), empty.clone()]);
    assert_eq!(processed, [whole, nulls, empty].map(|record| Ok(emitted([record]))));
    assert_eq!(one(&mut instance, "n"), Ok(Verdict::Drop));
    assert_eq!(one(&mut instance, "2"), Ok(emitted([record("2"), record("2")])));
}

#[test]
fn a_filter_and_a_router_decide() {
    let null = Record { value: None, ..record("") };
    let processed = instance(FILTER, LIMITS).process(&[record("x"), null.clone()]);
    assert_eq!(processed, [Ok(Verdict::Keep), Ok(Verdict::Drop)]);

    let mut router = instance(ROUTER, LIMITS);
    let names = Verdict::Route(vec!["b".into(), "a".into()]);
    assert_eq!(one(&mut router, "bab"), Ok(names));
    assert_eq!(one(&mut router, ""), Ok(Verdict::Keep));
    let processed = router.process(&[null]);
    assert_eq!(processed, [Err(Failure::new(FailureReason::BadMessage, "no value"))]);
}

#[test]
fn an_error_fails_its_record_and_keeps_the_instance() {
    let mut instance = instance(FAULTS, LIMITS);
    let batch = ["i", "i", "e", "i"].map(record);
    let processed = instance.process(&batch);
    assert_eq!(processed.len(), 3);
    assert_eq!(processed[2], Err(Failure::new(FailureReason::Failed, "broken")));
    let bad = Failure::new(FailureReason::BadMessage, "broken");
    assert_eq!(one(&mut instance, "b"), Err(bad));
    assert_eq!(calls(&mut instance), "5");
}

#[test]
fn a_header_name_that_is_not_utf8_never_reaches_the_plugin() {
    let mut instance = instance(FAULTS, LIMITS);
    let mut odd = record("x");
    odd.headers.push(Header { key: Bytes::from_static(b"a\xff"), value: None });
    let failure = instance.process(&[odd]).remove(0).unwrap_err();
    assert_eq!(failure.reason, FailureReason::BadMessage);
    assert_eq!(failure.message, "the name of a header is not UTF-8: b\"a\\xff\"");
    assert_eq!(calls(&mut instance), "1");
}

#[test]
fn a_trap_costs_its_record_and_the_instance() {
    let failure = breaks("t", LIMITS);
    assert_eq!(failure.reason, FailureReason::Trap);
    assert!(failure.message.contains("unreachable"), "{failure}");
    let failure = breaks("r", LIMITS);
    assert_eq!(failure.reason, FailureReason::Trap);
    assert!(failure.message.contains("call stack exhausted"), "{failure}");
}

#[test]
fn an_endless_loop_is_ended_in_the_call_and_after_it() {
    for value in ["s", "p"] {
        let failure = breaks(value, SHORT);
        assert_eq!(failure.reason, FailureReason::Timeout, "{failure}");
        assert_eq!(failure.message, "the plugin ran longer than 500 ms (limits.call-ms)");
    }
}

#[test]
fn an_endless_loop_is_ended_in_realloc() {
    let mut instance = instance(FAULTS, SHORT);
    one(&mut instance, "R").unwrap();
    assert_eq!(one(&mut instance, "x").unwrap_err().reason, FailureReason::Timeout);
    assert_eq!(calls(&mut instance), "1");
}

#[test]
fn memory_ends_at_its_limit() {
    let hit = hit(&breaks("m", LIMITS));
    assert_eq!((hit.limit, hit.allowed), (LimitKind::Memory, 64 << 20));
    assert!(hit.asked > 64 << 20 && hit.asked <= 65 << 20, "{hit}");

    // A guest that copes with the refusal goes on, within the limit.
    let mut instance = instance(FAULTS, LIMITS);
    assert_eq!(one(&mut instance, "M"), Ok(emitted([record("M")])));
    let used = instance.live.as_ref().unwrap().store.data().limiter.memory_used();
    assert!(used > 60 << 20 && used <= 64 << 20, "{used}");
    // A refusal in one call is no reason for a trap in the next.
    let failure = one(&mut instance, "t").unwrap_err();
    assert_eq!(failure.reason, FailureReason::Trap);
}

#[test]
fn an_instance_that_has_grown_is_replaced_between_batches() {
    let mut instance = instance(FAULTS, LIMITS);
    one(&mut instance, "M").unwrap();
    assert_eq!(calls(&mut instance), "1");
    // Within one batch it is not: that is what the distance from mark to limit is for.
    let processed = instance.process(&["M", "i"].map(record));
    assert_eq!(processed[1], Ok(emitted([record("3")])));
}

#[test]
fn tables_end_at_their_limit() {
    let hit = hit(&breaks("T", LIMITS));
    let allowed = PLUGIN_TABLE_ELEMENTS as u64;
    assert_eq!((hit.limit, hit.allowed), (LimitKind::TableElements, allowed));
    assert!(hit.asked > allowed && hit.asked <= allowed + 1_000, "{hit}");
}

#[test]
fn outputs_end_at_their_limit() {
    let found = hit(&breaks("o", LIMITS));
    assert_eq!(found, LimitHit::new(LimitKind::OutputRecords, 20_000, 10_000));
    let found = hit(&breaks("B", LIMITS));
    assert_eq!(found.limit, LimitKind::OutputBytes);
    assert!(found.asked >= 32 << 20, "{found}");
    // So many that they are not even read.
    let found = hit(&breaks("O", LIMITS));
    assert_eq!((found.limit, found.allowed), (LimitKind::OutputBytes, 16 << 20));
    let found = hit(&breaks("H", LIMITS));
    assert_eq!(found, LimitHit::new(LimitKind::OutputHeaders, 20_000, 10_000));
}

#[test]
fn a_result_that_cannot_be_read_breaks_the_contract() {
    for value in ["u", "w"] {
        let failure = breaks(value, LIMITS);
        assert_eq!(failure.reason, FailureReason::Contract, "{failure}");
        assert!(failure.message.starts_with("the plugin's result cannot be read: "));
    }
}

#[test]
fn start_functions_are_held_to_the_same_limits() {
    let made = |text: &str| one(&mut instance(text, SHORT), "x").unwrap_err();
    let failure = made(&with_start(FILTER, "(loop $spin (br $spin))"));
    assert_eq!(failure.reason, FailureReason::Timeout);
    assert_eq!(
        failure.message,
        "no instance of the plugin could be made: \
         the plugin ran longer than 500 ms (limits.call-ms)"
    );
    let failure = made(&with_start(FILTER, "unreachable"));
    assert_eq!(failure.reason, FailureReason::Trap);
    let failure =
        made(&with(FILTER, "(memory (export \"memory\") 1)", "(memory (export \"memory\") 4096)"));
    let expected = LimitHit::new(LimitKind::Memory, 256 << 20, 64 << 20);
    assert_eq!(hit(&failure), expected);
}

#[test]
fn the_configuration_is_read() {
    let mut configured = instance(FAULTS, LIMITS);
    let value = Bytes::from_static(b"configured");
    let expected = Record { value: Some(value), ..record("c") };
    assert_eq!(one(&mut configured, "c"), Ok(emitted([expected])));

    let mut bare = load(FAULTS).unwrap().instance(Settings::default());
    let expected = Record { value: None, ..record("c") };
    assert_eq!(one(&mut bare, "c"), Ok(emitted([expected])));
}

#[test]
fn a_batch_is_handed_back_when_its_outputs_are_large() {
    let limits = Limits { memory_bytes: 128 << 20, output_bytes: usize::MAX, ..LIMITS };
    let mut instance = instance(FAULTS, limits);
    let processed = instance.process(&["x", "B", "x"].map(record));
    assert!(processed.len() == 2 && processed.iter().all(Result::is_ok), "{processed:?}");
}

#[test]
fn the_same_bytes_are_compiled_once() {
    let (a, b) = (load(ROUTER).unwrap(), load(ROUTER).unwrap());
    assert!(Arc::ptr_eq(&a.0, &b.0));
    assert_eq!((a.digest(), a.digest().len()), (b.digest(), 64));
    assert_ne!(a.digest(), load(FILTER).unwrap().digest());
}

#[test]
fn more_instances_than_the_pool_holds_are_refused() {
    let engine = super::super::Engine::new().unwrap();
    let plugin = engine.load(&wat::parse_str(FILTER).unwrap()).unwrap();
    let mut instances: Vec<Instance> =
        (0..=PLUGIN_INSTANCES).map(|_| plugin.instance(Settings::default())).collect();
    let (last, others) = instances.split_last_mut().unwrap();
    for instance in others {
        assert_eq!(one(instance, "x"), Ok(Verdict::Keep));
    }
    let failure = one(last, "x").unwrap_err();
    assert_eq!(failure.reason, FailureReason::Unavailable);
    assert_eq!(
        failure.message,
        "no instance of the plugin could be made: \
         the broker's 1000 plugin instances are all in use"
    );
    instances.remove(0);
    assert_eq!(one(instances.last_mut().unwrap(), "x"), Ok(Verdict::Keep));
}

#[test]
fn instances_can_move_between_threads() {
    fn sent<T: Send>() {}
    sent::<Instance>();
    sent::<Plugin>();
}

fn values(values: &[&'static str]) -> Vec<Record> {
    let records = (100..).zip(values).map(|(offset, value)| Record { offset, ..record(value) });
    records.collect()
}

/// All of a batch, however often it is handed back.
fn through(instance: &mut Instance, batch: &[Record]) -> Processed {
    let mut all = Processed::new();
    while all.len() < batch.len() {
        let processed = instance.process(&batch[all.len()..]);
        assert!(!processed.is_empty());
        all.extend(processed);
    }
    all
}

/// Which call of its instance this was.
fn packed_calls(instance: &mut Instance) -> String {
    one(instance, "i").unwrap_err().message
}

#[test]
fn a_processor_answers_for_a_batch() {
    let mut instance = instance(PROCESSOR, LIMITS);
    let batch = values(&["x-", "k", "d", "e", "E", "2", "b", "P7", "a", "k"]);
    let batch = &batch[1..];
    let processed = instance.process(batch);
    let emit = |at: usize| Emitted::from(batch[at].clone());
    let chosen = Emitted { partition: Some(7), ..emit(6) };
    let expected = [
        Ok(Verdict::Keep),
        Ok(Verdict::Drop),
        Err(Failure::new(FailureReason::Failed, "broken")),
        Ok(Verdict::Emit(vec![emit(3)])),
        Ok(Verdict::Emit(vec![emit(4), emit(4)])),
        Err(Failure::new(FailureReason::BadMessage, "broken")),
        Ok(Verdict::Emit(vec![chosen])),
        Ok(Verdict::Route(vec!["a".into()])),
        Ok(Verdict::Keep),
    ];
    assert_eq!(processed, expected);
    // One call for the first eight, one for the ninth.
    assert_eq!(packed_calls(&mut instance), "3");
}

#[test]
fn a_processor_may_do_no_more_than_its_step() {
    let of = |kind| {
        let limits = LIMITS;
        load(PROCESSOR).unwrap().instance(Settings { kind, limits, ..Settings::default() })
    };
    for (kind, value, right) in [
        (PluginKind::Filter, "k", true),
        (PluginKind::Filter, "d", true),
        (PluginKind::Filter, "E", false),
        (PluginKind::Filter, "a", false),
        (PluginKind::Transformer, "E", true),
        (PluginKind::Transformer, "a", false),
        (PluginKind::Router, "a", true),
        (PluginKind::Router, "k", true),
        (PluginKind::Router, "d", false),
        (PluginKind::Router, "E", false),
    ] {
        let result = one(&mut of(Some(kind)), value);
        assert_eq!(result.is_ok(), right, "{kind} {value}: {result:?}");
        if let Err(failure) = result {
            assert_eq!(failure.reason, FailureReason::Contract);
        }
        assert!(one(&mut of(None), value).is_ok());
    }
}

#[test]
fn one_bad_record_of_ten_thousand_costs_one_record() {
    let limits = Limits { call_ms: 300, ..LIMITS };
    for (value, reason) in [
        ("t", FailureReason::Trap),
        ("x", FailureReason::Contract),
        ("s", FailureReason::Timeout),
        ("m", FailureReason::Limit(LimitHit::new(LimitKind::Memory, 0, 0))),
    ] {
        let mut instance = instance(PROCESSOR, limits);
        let mut batch = values(&["k"; 10_000]);
        for bad in [1, 6_000, 6_001] {
            batch[bad].value = Some(Bytes::from_static(value.as_bytes()));
        }
        let processed = through(&mut instance, &batch);
        let failed: Vec<usize> =
            (0..).zip(&processed).filter(|(_, r)| r.is_err()).map(|(i, _)| i).collect();
        assert_eq!(failed, [1, 6_000, 6_001], "{value}");
        for at in failed {
            let found = processed[at].as_ref().unwrap_err().reason;
            assert_eq!(found.as_str(), reason.as_str(), "{value}");
        }
    }
}

#[test]
fn a_batch_that_is_too_much_as_a_whole_costs_no_record() {
    let mut instance = instance(PROCESSOR, LIMITS);
    let processed = through(&mut instance, &values(&["O"; 3_000]));
    assert!(processed.iter().all(|result| *result == Ok(Verdict::Keep)));
}

#[test]
fn a_processor_is_not_shown_a_header_name_that_is_not_utf8() {
    let mut instance = instance(PROCESSOR, LIMITS);
    let mut batch = values(&["k", "k", "k"]);
    batch[1].headers.push(Header { key: Bytes::from_static(b"\xff"), value: None });
    let processed = instance.process(&batch);
    assert_eq!(processed[1].as_ref().unwrap_err().reason, FailureReason::BadMessage);
    assert!(processed.len() == 3 && processed[0].is_ok() && processed[2].is_ok());
}
