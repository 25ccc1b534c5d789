//! A plugin, and an instance of it at work in one step: made when it is needed, replaced when it
//! broke.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use wasmtime::component::{ComponentExportIndex, Func, InstancePre};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::clock::SystemClock;
use crate::limits::{
    PLUGIN_BATCH_MS, PLUGIN_HANDLES, PLUGIN_INSTANCES, PLUGIN_OUTPUT_BYTES, PLUGIN_PACKED_BYTES,
    PLUGIN_PACKED_CALL_MS, PLUGIN_TICK_MS,
};
use crate::record::Record;
use crate::types::PartitionIndex;

use super::PluginError;
use super::contract::{self, PluginKind};
use super::engine::Shared;
use super::imports::Host;
use super::limits::{LimitHit, LimitKind, Limits, call_ticks};
use super::log_budget::LogBudget;
use super::outcome::{Failure, FailureReason, Processed};
use super::packed::{self, Batch, Malformed};
use super::sizing::Sizing;
use super::typed::{self, Called, RECORD_SIZE};
use super::wasi::Exited;

/// Memory is counted in these.
const WASM_PAGE_BYTES: u64 = 64 * 1024;

/// A component that was checked and compiled. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(Arc<Loaded>);

pub(super) struct Loaded {
    shared: Arc<Shared>,
    kind: PluginKind,
    digest: String,
    pre: InstancePre<Host>,
    exports: Exports,
    /// Its imports of WASI 0.2.
    wasi: Vec<String>,
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
        let ty = pre.component().component_type();
        let wasi = ty.imports(pre.engine()).map(|(name, _)| name.to_owned());
        let wasi = wasi.filter(|name| contract::of_wasi(name)).collect();
        Ok(Self { shared, kind, digest, pre, exports, wasi })
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

    /// The names of the interfaces that it imports, as they stand in it.
    pub fn imports(&self) -> Vec<String> {
        let engine = self.0.pre.engine();
        let ty = self.0.pre.component().component_type();
        ty.imports(engine).map(|(name, _)| name.to_owned()).collect()
    }

    /// Those of [`Plugin::imports`] that only [`Settings::wasi`] gives it.
    pub fn wasi_imports(&self) -> &[String] {
        &self.0.wasi
    }

    /// Linear memory that an instance starts with, bytes: of the largest of its memories.
    pub fn initial_memory_bytes(&self) -> u64 {
        let required = self.0.pre.component().resources_required();
        let pages = required.and_then(|required| required.max_initial_memory_size);
        pages.unwrap_or(0).saturating_mul(WASM_PAGE_BYTES)
    }

    /// An instance for one step and one source partition. Nothing of the plugin runs yet.
    pub fn instance(&self, settings: Settings) -> Instance {
        let limits = settings.limits.clamped();
        let settings = Arc::new(Settings { limits, ..settings });
        let log_budget = LogBudget::new(Arc::new(SystemClock::new()));
        Instance {
            plugin: self.clone(),
            settings,
            log_budget,
            live: None,
            sizing: Sizing::default(),
        }
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
    /// The pipeline's name.
    pub pipeline: String,
    /// The step's number and its plugin's name, as in `2-flatten`.
    pub step: String,
    /// The source topic.
    pub topic: String,
    /// The source partition.
    pub partition: PartitionIndex,
    /// What the step is for: a processor may do no more than that. Without it, anything.
    pub kind: Option<PluginKind>,
    /// What the plugin reads through `config`.
    pub config: BTreeMap<String, String>,
    /// What the plugin may use.
    pub limits: Limits,
    /// Whether it has WASI 0.2: clocks, random numbers and output.
    pub wasi: bool,
}

impl Settings {
    /// Names the step in the log.
    pub(super) fn label(&self) -> String {
        format!("{}/{}", self.pipeline, self.step)
    }
}

/// A plugin at work in one step, for one source partition.
pub struct Instance {
    plugin: Plugin,
    settings: Arc<Settings>,
    log_budget: LogBudget,
    /// None before the first record and after a call that broke it.
    live: Option<Live>,
    sizing: Sizing,
}

struct Live {
    store: Store<Host>,
    guest: Guest,
}

/// Where a component's function is found; looked up once a plugin.
enum Exports {
    Typed(typed::Exports),
    Packed(ComponentExportIndex),
}

/// An instance's function; looked up once an instance.
enum Guest {
    Typed(typed::Guest),
    Packed(Func),
}

impl Exports {
    fn new(kind: PluginKind, pre: &InstancePre<Host>) -> wasmtime::Result<Self> {
        Ok(match typed::Exports::new(kind, pre)? {
            Some(exports) => Self::Typed(exports),
            None => Self::Packed(contract::function(pre.component(), kind)?),
        })
    }

    fn load(
        &self,
        store: &mut Store<Host>,
        instance: &wasmtime::component::Instance,
    ) -> wasmtime::Result<Guest> {
        Ok(match self {
            Self::Typed(exports) => Guest::Typed(exports.load(store, instance)?),
            Self::Packed(index) => {
                let function = instance.get_func(store, index);
                Guest::Packed(function.ok_or_else(|| wasmtime::Error::msg("no function"))?)
            }
        })
    }
}

impl Instance {
    /// Offers the records of a batch to the plugin, in order, until they are through,
    /// [`PLUGIN_BATCH_MS`] have passed, the outputs hold [`PLUGIN_OUTPUT_BYTES`], or one fails that
    /// was offered alone.
    ///
    /// Of a batch that is not empty at least one record gets a verdict or a failure. Blocks: for
    /// one record at most twice [`Limits::call_ms`], once for the instance and once for the call,
    /// and in a packed call for [`PLUGIN_PACKED_CALL_MS`] and another instance before that.
    pub fn process(&mut self, batch: &[Record]) -> Processed {
        if self.live.as_ref().is_some_and(|live| live.store.data().limiter.past_mark()) {
            self.live = None;
        }
        let mut processed = Processed::with_capacity(batch.len());
        let mut output_bytes = 0;
        let started = self.ticks();
        while let Some(rest) = batch.get(processed.len()..).filter(|rest| !rest.is_empty()) {
            output_bytes += match self.plugin.0.exports {
                Exports::Typed(_) => self.offer_one(rest, &mut processed),
                Exports::Packed(_) => self.offer_many(rest, &mut processed),
            };
            let elapsed = self.ticks() - started;
            let enough =
                elapsed >= PLUGIN_BATCH_MS / PLUGIN_TICK_MS || output_bytes >= PLUGIN_OUTPUT_BYTES;
            if enough && !processed.is_empty() || self.ends_with(&processed) {
                break;
            }
        }
        processed
    }

    /// Linear memory of the present instance, bytes. It never shrinks, so this is the most that the
    /// instance has used. 0 before the first record and after a call that broke the instance.
    pub fn memory_bytes(&self) -> usize {
        self.live.as_ref().map_or(0, |live| live.store.data().limiter.memory_used())
    }

    /// Whether the last result decides what becomes of the records behind it. A processor has been
    /// offered them already.
    fn ends_with(&self, processed: &Processed) -> bool {
        match processed.last() {
            Some(Err(Failure { reason: FailureReason::Unavailable, .. })) => true,
            Some(Err(_)) => matches!(self.plugin.0.exports, Exports::Typed(_)),
            _ => false,
        }
    }

    fn ticks(&self) -> u64 {
        self.plugin.0.shared.ticks()
    }

    /// One call of a typed plugin. How many bytes its result holds.
    fn offer_one(&mut self, records: &[Record], processed: &mut Processed) -> usize {
        let Some(record) = records.first() else { return 0 };
        let limits = self.settings.limits;
        let called = self.call(record, limits.call_ms, |guest, store| match guest {
            Guest::Typed(guest) => guest.call(store, record),
            Guest::Packed(_) => Called::Refused(Failure::new(FailureReason::Contract, "packed")),
        });
        let (result, bytes) = match called {
            Ok((verdict, bytes)) => (Ok(verdict), bytes),
            Err(failure) => (Err(failure), 0),
        };
        processed.push(result);
        bytes
    }

    /// One call of a processor, with as many records as it is given at present. After a call that
    /// failed nothing is added, and the next one takes a single record.
    fn offer_many(&mut self, records: &[Record], processed: &mut Processed) -> usize {
        let batch = match Batch::of(records, (self.sizing.next(), PLUGIN_PACKED_BYTES)) {
            Ok(batch) => batch,
            Err(failure) => {
                processed.push(Err(failure));
                return 0;
            }
        };
        let count = batch.records().len();
        let started = self.ticks();
        let result = self.call_packed(batch, processed);
        match result {
            Ok(bytes) => {
                self.sizing.answered(count, self.ticks() - started);
                return bytes;
            }
            Err(failure) if count > 1 && failure.reason != FailureReason::Unavailable => {
                self.sizing.failed_together(count);
            }
            Err(failure) => {
                self.sizing.failed_alone();
                processed.push(Err(failure));
            }
        }
        0
    }

    fn call_packed(
        &mut self,
        batch: Batch<'_>,
        processed: &mut Processed,
    ) -> Result<usize, Failure> {
        let records = batch.records();
        let Some(first) = records.first() else { return Ok(0) };
        let limits = self.settings.limits;
        // A record that alone would run into its limit has its time when it is offered alone.
        let most = if records.len() > 1 { PLUGIN_PACKED_CALL_MS } else { limits.call_ms };
        let terms = packed::Terms { limits: &limits, kind: self.settings.kind };
        let call = |guest: &Guest, store: &mut Store<Host>| {
            let answer = match guest {
                Guest::Packed(function) => function
                    .typed::<(Batch<'_>,), (Vec<u8>,)>(&*store)
                    .and_then(|process| process.call(store, (batch,)))
                    .map(|(answer,)| answer),
                Guest::Typed(_) => Err(wasmtime::Error::msg("not packed")),
            };
            match answer.map(|answer| packed::decode(answer, records, terms, processed)) {
                Ok(Ok(bytes)) => Called::Answered(bytes),
                Ok(Err(Malformed::TooLarge(hit))) => Called::BrokenLimit(hit),
                Ok(Err(malformed @ Malformed::Unreadable { .. })) => {
                    Called::BrokenContract(malformed.to_string())
                }
                Err(error) => Called::Broken(error),
            }
        };
        self.call(first, most.min(limits.call_ms), call)
    }

    /// Calls the plugin, with an instance made before if there is none. `first` is the first of the
    /// records that it is called for.
    fn call<T>(
        &mut self,
        first: &Record,
        call_ms: u64,
        call: impl FnOnce(&Guest, &mut Store<Host>) -> Called<T>,
    ) -> Result<T, Failure> {
        let mut live = match self.live.take() {
            Some(live) => live,
            None => self.make()?,
        };
        live.store.data_mut().begin_call(first.offset, call_ms);
        live.store.set_epoch_deadline(call_ticks(call_ms));
        let called = call(&live.guest, &mut live.store);
        live.store.data_mut().end_call();
        match called {
            Called::Answered(result) => {
                self.live = Some(live);
                Ok(result)
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
            Called::BrokenLimit(hit) => Err(Failure::over(hit)),
            Called::BrokenContract(message) => Err(Failure::new(FailureReason::Contract, message)),
        }
    }

    /// Makes an instance. Runs the component's start functions, under the same limits as a call.
    fn make(&self) -> Result<Live, Failure> {
        let limits = &self.settings.limits;
        let loaded = &self.plugin.0;
        if let Some(import) = loaded.wasi.first().filter(|_| !self.settings.wasi) {
            let message = format!("the plugin imports {import}, and its step has no `wasi = true`");
            return Err(Failure::new(FailureReason::Contract, message));
        }
        let host = Host::new(Arc::clone(&self.settings), self.log_budget.clone());
        let mut store = Store::new(loaded.pre.engine(), host);
        store.limiter(|host| &mut host.limiter);
        store.set_epoch_deadline(call_ticks(limits.call_ms));
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
            let message =
                format!("the plugin ran longer than {} ms (limits.call-ms)", limits.call_ms);
            return Some(Failure::new(FailureReason::Timeout, message));
        }
        if let Some(hit) = hit {
            return Some(Failure::over(hit));
        }
        if let Some(exited) = error.downcast_ref::<Exited>() {
            let message = format!("the plugin ended itself: {exited}");
            return Some(Failure::new(FailureReason::Trap, message));
        }
        if is_lift_limit(error) {
            let asked = limits.lift_bytes(RECORD_SIZE);
            return Some(Failure::over(LimitHit::new(
                LimitKind::OutputBytes,
                asked,
                limits.output_bytes,
            )));
        }
        trap.map(|trap| Failure::new(FailureReason::Trap, format!("the plugin crashed: {trap}")))
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, settings, live, sizing, .. } = self;
        f.debug_struct("Instance")
            .field("plugin", plugin)
            .field("settings", settings)
            .field("live", &live.is_some())
            .field("sizing", sizing)
            .finish_non_exhaustive()
    }
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
mod tests;
