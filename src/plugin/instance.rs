//! A plugin, and an instance of it at work in one step: made when it is needed, replaced when it
//! broke.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use wasmtime::component::InstancePre;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::limits::{
    PLUGIN_BATCH_MS, PLUGIN_HANDLES, PLUGIN_INSTANCES, PLUGIN_OUTPUT_BYTES, PLUGIN_TICK_MS,
};
use crate::record::Record;

use super::PluginError;
use super::contract::PluginKind;
use super::engine::Shared;
use super::imports::Host;
use super::limits::{LimitHit, LimitKind, Limits};
use super::outcome::{Failure, FailureReason, Processed};
use super::typed::{Called, Exports, Guest, RECORD_SIZE};

/// A component that was checked and compiled. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(Arc<Loaded>);

pub(super) struct Loaded {
    shared: Arc<Shared>,
    kind: PluginKind,
    digest: String,
    pre: InstancePre<Host>,
    exports: Exports,
}

impl Loaded {
    pub(super) fn new(
        shared: Arc<Shared>,
        kind: PluginKind,
        digest: String,
        pre: InstancePre<Host>,
    ) -> Result<Self, PluginError> {
        let exports = Exports::new(kind, &pre)
            .map_err(|error| PluginError::Compile { reason: format!("{error:#}") })?;
        Ok(Self { shared, kind, digest, pre, exports })
    }
}

impl Plugin {
    pub(super) fn new(loaded: Arc<Loaded>) -> Self {
        Self(loaded)
    }

    /// What it does with a record.
    pub fn kind(&self) -> PluginKind {
        self.0.kind
    }

    /// SHA-256 of the component, in lower-case hex.
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// An instance for one step and one source partition. Nothing of the plugin runs yet.
    pub fn instance(&self, settings: Settings) -> Instance {
        let limits = settings.limits.clamped();
        let settings = Arc::new(Settings { limits, ..settings });
        Instance { plugin: self.clone(), settings, live: None }
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("kind", &self.0.kind)
            .field("digest", &self.0.digest)
            .finish()
    }
}

/// How a step uses its plugin.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Names the step in the log, as `pipeline/step`.
    pub label: String,
    /// What the plugin reads through `config`.
    pub config: BTreeMap<String, String>,
    /// What the plugin may use.
    pub limits: Limits,
}

/// A plugin at work in one step, for one source partition.
pub struct Instance {
    plugin: Plugin,
    settings: Arc<Settings>,
    /// None before the first record and after a call that broke it.
    live: Option<Live>,
}

struct Live {
    store: Store<Host>,
    guest: Guest,
}

impl Instance {
    /// Offers the records of a batch to the plugin, one after the other, until one fails, they are
    /// through, [`PLUGIN_BATCH_MS`] have passed or the outputs hold [`PLUGIN_OUTPUT_BYTES`].
    ///
    /// Of a batch that is not empty at least one record gets a verdict or a failure. Blocks: for
    /// one record at most twice [`Limits::call_ms`], once for the instance and once for the call.
    pub fn process(&mut self, batch: &[Record]) -> Processed {
        if self.live.as_ref().is_some_and(|live| live.store.data().limiter.past_mark()) {
            self.live = None;
        }
        let mut processed = Processed::default();
        let mut output_bytes = 0;
        let started = self.plugin.0.shared.ticks();
        for record in batch {
            match self.call(record) {
                Ok((verdict, bytes)) => {
                    processed.verdicts.push(verdict);
                    output_bytes += bytes;
                }
                Err(failure) => {
                    processed.failure = Some(failure);
                    break;
                }
            }
            let elapsed = self.plugin.0.shared.ticks() - started;
            if elapsed >= PLUGIN_BATCH_MS / PLUGIN_TICK_MS || output_bytes >= PLUGIN_OUTPUT_BYTES {
                break;
            }
        }
        processed
    }

    fn call(&mut self, record: &Record) -> Result<(super::Verdict, usize), Failure> {
        let mut live = match self.live.take() {
            Some(live) => live,
            None => self.make()?,
        };
        live.store.data_mut().begin_call();
        live.store.set_epoch_deadline(self.settings.limits.call_ticks());
        let called = live.guest.call(&mut live.store, record);
        live.store.data_mut().end_call();
        match called {
            Called::Verdict(verdict, bytes) => {
                self.live = Some(live);
                Ok((verdict, bytes))
            }
            Called::Refused(failure) => {
                self.live = Some(live);
                Err(failure)
            }
            Called::Broken(error) => {
                let hit = live.store.data_mut().limiter.take_hit();
                Err(self.broken(&error, hit).unwrap_or_else(|| {
                    let message = format!("the plugin's result cannot be read: {error:#}");
                    Failure::new(FailureReason::Contract, message)
                }))
            }
            Called::BrokenLimit(hit) => Err(over(hit)),
        }
    }

    /// Makes an instance. Runs the component's start functions, under the same limits as a call.
    fn make(&self) -> Result<Live, Failure> {
        let limits = &self.settings.limits;
        let loaded = &self.plugin.0;
        let mut store = Store::new(loaded.pre.engine(), Host::new(Arc::clone(&self.settings)));
        store.limiter(|host| &mut host.limiter);
        store.set_epoch_deadline(limits.call_ticks());
        store.set_hostcall_fuel(limits.lift_bytes(RECORD_SIZE));
        store.set_max_component_handles(PLUGIN_HANDLES);
        let made = loaded
            .pre
            .instantiate(&mut store)
            .and_then(|instance| loaded.exports.load(&mut store, &instance));
        store.data_mut().end_call();
        match made {
            Ok(guest) => Ok(Live { store, guest }),
            Err(error) => {
                let hit = store.data_mut().limiter.take_hit();
                let mut failure = self.broken(&error, hit).unwrap_or_else(|| unavailable(&error));
                failure.message.insert_str(0, "no instance of the plugin could be made: ");
                Err(failure)
            }
        }
    }

    /// The reason of an error that broke an instance, if it is not the plugin's result.
    fn broken(&self, error: &wasmtime::Error, hit: Option<LimitHit>) -> Option<Failure> {
        let limits = &self.settings.limits;
        let trap = error.downcast_ref::<Trap>();
        if trap == Some(&Trap::Interrupt) {
            let message = format!("the plugin ran longer than {} ms", limits.call_ms);
            return Some(Failure::new(FailureReason::Timeout, message));
        }
        if let Some(hit) = hit {
            return Some(over(hit));
        }
        if is_lift_limit(error) {
            let asked = limits.lift_bytes(RECORD_SIZE);
            return Some(over(LimitHit::new(LimitKind::OutputBytes, asked, limits.output_bytes)));
        }
        trap.map(|trap| Failure::new(FailureReason::Trap, format!("the plugin crashed: {trap}")))
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, settings, live } = self;
        f.debug_struct("Instance")
            .field("plugin", plugin)
            .field("settings", settings)
            .field("live", &live.is_some())
            .finish()
    }
}

fn over(hit: LimitHit) -> Failure {
    Failure::new(FailureReason::Limit(hit), format!("the plugin hit a limit: {hit}"))
}

/// What is neither the component's doing nor the record's: the pool is full, or the system gives no
/// more memory.
fn unavailable(error: &wasmtime::Error) -> Failure {
    let message = match error.downcast_ref::<PoolConcurrencyLimitError>() {
        Some(_) => format!("the broker's {PLUGIN_INSTANCES} plugin instances are all in use"),
        None => format!("{error:#}"),
    };
    Failure::new(FailureReason::Unavailable, message)
}

/// Whether the guest handed over more than `lift_bytes`. wasmtime keeps the type of this error to
/// itself; the words are those of version 48, and a test calls them up.
fn is_lift_limit(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls")
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::fixtures::{
        FAULTS, FILTER, ROUTER, instance, load, record, with, with_start,
    };
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
        assert_eq!(processed.verdicts.len() + usize::from(processed.failure.is_some()), 1);
        processed.failure.map_or_else(|| Ok(processed.verdicts.remove(0)), Err)
    }

    /// How many calls the present instance has had, this one included.
    fn calls(instance: &mut Instance) -> String {
        match one(instance, "i") {
            Ok(Verdict::Emit(records)) => {
                String::from_utf8(records[0].value.clone().unwrap().to_vec()).unwrap()
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
        assert_eq!(one(&mut instance, "x"), Ok(Verdict::Emit(vec![record("x")])));
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
        let nulls =
            Record { key: None, value: None, headers: Vec::new(), timestamp: -1, offset: 8 };
        let empty = Record { key: Some(Bytes::new()), value: Some(Bytes::new()), ..nulls.clone() };
        let processed = instance.process(&[whole.clone(), nulls.clone(), empty.clone()]);
        assert_eq!(processed.failure, None);
        assert_eq!(processed.verdicts, [whole, nulls, empty].map(|r| Verdict::Emit(vec![r])));
        assert_eq!(one(&mut instance, "n"), Ok(Verdict::Drop));
        assert_eq!(one(&mut instance, "2"), Ok(Verdict::Emit(vec![record("2"), record("2")])));
    }

    #[test]
    fn a_filter_and_a_router_decide() {
        let null = Record { value: None, ..record("") };
        let processed = instance(FILTER, LIMITS).process(&[record("x"), null.clone()]);
        assert_eq!(processed.verdicts, [Verdict::Keep, Verdict::Drop]);

        let mut router = instance(ROUTER, LIMITS);
        let names = Verdict::Route(vec!["b".to_owned(), "a".to_owned()]);
        assert_eq!(one(&mut router, "bab"), Ok(names));
        assert_eq!(one(&mut router, ""), Ok(Verdict::Keep));
        let failure = router.process(&[null]).failure.unwrap();
        assert_eq!(failure, Failure::new(FailureReason::BadMessage, "no value"));
    }

    #[test]
    fn an_error_fails_its_record_and_keeps_the_instance() {
        let mut instance = instance(FAULTS, LIMITS);
        let batch = ["i", "i", "e", "i"].map(record);
        let processed = instance.process(&batch);
        assert_eq!(processed.verdicts.len(), 2);
        let failed = Failure::new(FailureReason::Failed, "broken");
        assert_eq!(processed.failure, Some(failed));
        let bad = Failure::new(FailureReason::BadMessage, "broken");
        assert_eq!(one(&mut instance, "b"), Err(bad));
        assert_eq!(calls(&mut instance), "5");
    }

    #[test]
    fn a_header_name_that_is_not_utf8_never_reaches_the_plugin() {
        let mut instance = instance(FAULTS, LIMITS);
        let mut odd = record("x");
        odd.headers.push(Header { key: Bytes::from_static(b"a\xff"), value: None });
        let failure = instance.process(&[odd]).failure.unwrap();
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
            assert_eq!(failure.message, "the plugin ran longer than 500 ms");
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
        assert_eq!(one(&mut instance, "M"), Ok(Verdict::Emit(vec![record("M")])));
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
        assert_eq!(processed.verdicts[1], Verdict::Emit(vec![record("3")]));
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
            "no instance of the plugin could be made: the plugin ran longer than 500 ms"
        );
        let failure = made(&with_start(FILTER, "unreachable"));
        assert_eq!(failure.reason, FailureReason::Trap);
        let failure = made(&with(
            FILTER,
            "(memory (export \"memory\") 1)",
            "(memory (export \"memory\") 4096)",
        ));
        let expected = LimitHit::new(LimitKind::Memory, 256 << 20, 64 << 20);
        assert_eq!(hit(&failure), expected);
    }

    #[test]
    fn the_configuration_is_read() {
        let mut configured = instance(FAULTS, LIMITS);
        let value = Bytes::from_static(b"configured");
        let expected = Record { value: Some(value), ..record("c") };
        assert_eq!(one(&mut configured, "c"), Ok(Verdict::Emit(vec![expected])));

        let mut bare = load(FAULTS).unwrap().instance(Settings::default());
        let expected = Record { value: None, ..record("c") };
        assert_eq!(one(&mut bare, "c"), Ok(Verdict::Emit(vec![expected])));
    }

    #[test]
    fn a_batch_is_handed_back_when_its_outputs_are_large() {
        let limits = Limits { memory_bytes: 128 << 20, output_bytes: usize::MAX, ..LIMITS };
        let mut instance = instance(FAULTS, limits);
        let processed = instance.process(&["x", "B", "x"].map(record));
        assert_eq!((processed.verdicts.len(), processed.failure), (2, None));
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
}
