//! The engine: how wasmtime is set up, the clock that ends overlong calls, and loading.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig, WasmFeatures};

use crate::limits::{
    PLUGIN_CORE_INSTANCES, PLUGIN_INSTANCE_BYTES, PLUGIN_INSTANCES, PLUGIN_MEMORIES,
    PLUGIN_MEMORY_BYTES_MAX, PLUGIN_STACK_BYTES, PLUGIN_TABLE_ELEMENTS, PLUGIN_TABLES,
    PLUGIN_TICK_MS,
};

use super::PluginError;
use super::cache::Cache;
use super::compiler::{Compiler, Compiling};
use super::contract;
use super::imports::{self, Host};
use super::instance::{Loaded, Plugin};
use super::wasi;

/// Compiles plugins and runs them. One serves a whole broker: it holds the pool of instances, which
/// takes a few TiB of address space (not of memory), and one thread. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

/// What an engine and its plugins share. The clock's thread ends when it is gone.
pub(super) struct Shared {
    wasm: wasmtime::Engine,
    linker: Linker<Host>,
    /// The same with WASI, for components that import it.
    wasi_linker: Linker<Host>,
    ticks: AtomicU64,
    /// Loaded plugins by digest, so that a component is compiled once however many steps,
    /// pipelines and deployments use it.
    loaded: Mutex<HashMap<String, Weak<Loaded>>>,
    /// Where compiled components are kept, if anywhere.
    cache: Option<Cache>,
    /// Compiles, held by whoever does: one component at a time.
    compiler: Mutex<Compiler>,
}

impl Shared {
    /// Ticks of [`PLUGIN_TICK_MS`] since the engine was made.
    pub(super) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }
}

impl Engine {
    /// Sets wasmtime up and starts the clock. Nothing that is compiled outlives the engine.
    pub fn new() -> Result<Self, PluginError> {
        Self::start(None, Compiling::Here).map(|(engine, _clock)| engine)
    }

    /// The same, with compiled components kept in this folder. They are run as they are: see
    /// `cache` for who is trusted with it.
    pub fn with_cache(folder: &Path, compiling: Compiling) -> Result<Self, PluginError> {
        Self::start(Some(folder), compiling).map(|(engine, _clock)| engine)
    }

    fn start(
        cache: Option<&Path>,
        compiling: Compiling,
    ) -> Result<(Self, JoinHandle<()>), PluginError> {
        let refused = |error: wasmtime::Error| PluginError::Engine { reason: format!("{error:#}") };
        let wasm = wasmtime::Engine::new(&config()).map_err(refused)?;
        let cache = cache.and_then(|folder| match Cache::open(folder, &wasm) {
            Ok(cache) => Some(cache),
            Err(error) => {
                // A broker without one only starts more slowly.
                tracing::warn!("no compiled plugins in {}: {error}", folder.display());
                None
            }
        });
        let compiler = Mutex::new(Compiler::new(compiling)?);
        let mut linker = Linker::new(&wasm);
        imports::link(&mut linker).map_err(refused)?;
        let mut wasi_linker = linker.clone();
        wasi::link(&mut wasi_linker).map_err(refused)?;
        let ticks = AtomicU64::new(0);
        let loaded = Mutex::default();
        let shared = Arc::new(Shared { wasm, linker, wasi_linker, ticks, loaded, cache, compiler });
        let clock = std::thread::Builder::new()
            .name("plugin-clock".to_owned())
            .spawn({
                let shared = Arc::downgrade(&shared);
                move || run_clock(&shared)
            })
            .map_err(|error| PluginError::Engine { reason: error.to_string() })?;
        Ok((Self(shared), clock))
    }

    /// Checks and compiles a component. Nothing of it runs.
    ///
    /// Compiling takes milliseconds for a small Rust plugin and seconds for JavaScript or Python,
    /// on half of the processors and one component at a time; the caller's thread waits. See
    /// `compiler` for what it may take. The same bytes are compiled once, as long as any plugin of
    /// them lives, and once for good with a cache.
    pub fn load(&self, bytes: &[u8]) -> Result<Plugin, PluginError> {
        contract::check_bytes(bytes)?;
        let digest = hex(&Sha256::digest(bytes));
        if let Some(loaded) = self.find(&digest) {
            return Ok(Plugin::new(loaded));
        }
        if let Some(component) = self.cached(&digest) {
            return self.checked(digest, component);
        }
        let mut compiler = self.0.compiler.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have compiled it meanwhile.
        if let Some(loaded) = self.find(&digest) {
            return Ok(Plugin::new(loaded));
        }
        let compiled = compiler.compile(&self.0.wasm, bytes)?;
        let component = self
            .deserialize(&compiled)
            .map_err(|error| PluginError::Compile { reason: format!("{error:#}") })?;
        let plugin = self.checked(digest, component)?;
        drop(compiler);
        if let Some(cache) = &self.0.cache {
            cache.store(plugin.digest(), &compiled);
        }
        Ok(plugin)
    }

    /// How many components were compiled.
    #[cfg(test)]
    pub(super) fn compiled(&self) -> u64 {
        self.0.compiler.lock().unwrap().count()
    }

    /// Only for what this broker has compiled.
    #[expect(unsafe_code, reason = "machine code is run as it is")]
    fn deserialize(&self, compiled: &[u8]) -> wasmtime::Result<Component> {
        // SAFETY: the bytes are what this program's compiler returned, for an engine of these
        // settings and this version, unchanged: they have just come from it, or their keyed hash
        // says so, whose key only this broker has.
        unsafe { Component::deserialize(&self.0.wasm, compiled) }
    }

    fn cached(&self, digest: &str) -> Option<Component> {
        let compiled = self.0.cache.as_ref()?.load(digest)?;
        let component = self.deserialize(&compiled);
        component.map_err(|error| tracing::warn!("a compiled plugin is not loaded: {error:#}")).ok()
    }

    /// Holds a component against the contract, and remembers it.
    fn checked(&self, digest: String, component: Component) -> Result<Plugin, PluginError> {
        let kind = contract::check(&self.0.wasm, &component)?;
        let pre = self
            .linked(&component)
            .map_err(|error| PluginError::Import { reason: format!("{error:#}") })?;
        let loaded = Arc::new(Loaded::new(Arc::clone(&self.0), kind, digest.clone(), pre)?);
        let mut all = self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, known| known.strong_count() > 0);
        all.insert(digest, Arc::downgrade(&loaded));
        Ok(Plugin::new(loaded))
    }

    fn linked(&self, component: &Component) -> wasmtime::Result<InstancePre<Host>> {
        let ty = component.component_type();
        let mut imports = ty.imports(&self.0.wasm);
        if !imports.any(|(name, _)| contract::of_wasi(name)) {
            return self.0.linker.instantiate_pre(component);
        }
        let mut linker = self.0.wasi_linker.clone();
        wasi::link_no_files(&mut linker, component)?;
        linker.instantiate_pre(component)
    }

    fn find(&self, digest: &str) -> Option<Arc<Loaded>> {
        let all = self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(digest)?.upgrade()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// Advances the epoch, by which running code notices that its time is up, until the engine and all
/// its plugins are gone.
fn run_clock(shared: &Weak<Shared>) {
    loop {
        std::thread::sleep(Duration::from_millis(PLUGIN_TICK_MS));
        let Some(shared) = shared.upgrade() else { return };
        shared.wasm.increment_epoch();
        shared.ticks.fetch_add(1, Ordering::Relaxed);
    }
}

/// Everything that wasmtime leaves unlimited or that nobody needs is set here.
fn config() -> Config {
    let mut pool = PoolingAllocationConfig::new();
    // Most components are one module with an adapter or two; the few that are more draw on the
    // share of those that are less.
    pool.total_component_instances(PLUGIN_INSTANCES)
        .total_core_instances(PLUGIN_INSTANCES * 8)
        .total_memories(PLUGIN_INSTANCES * 2)
        .total_tables(PLUGIN_INSTANCES * 4)
        .max_core_instances_per_component(PLUGIN_CORE_INSTANCES)
        .max_memories_per_component(PLUGIN_MEMORIES)
        .max_tables_per_component(PLUGIN_TABLES)
        .max_component_instance_size(PLUGIN_INSTANCE_BYTES)
        .max_core_instance_size(PLUGIN_INSTANCE_BYTES)
        .max_memory_size(PLUGIN_MEMORY_BYTES_MAX)
        .table_elements(PLUGIN_TABLE_ELEMENTS);
    let mut config = compiler_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// What makes the code what it is. Where its memory lies is no part of it.
pub(super) fn compiler_config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // Saves 300 ns a call; no interface of the contract is asynchronous.
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(PLUGIN_STACK_BYTES)
        // Not among them: MULTI_MEMORY, since the code between composed components names two, and
        // TAIL_CALL, which QuickJS is built with.
        .wasm_features(
            WasmFeatures::MEMORY64
                | WasmFeatures::RELAXED_SIMD
                | WasmFeatures::THREADS
                | WasmFeatures::SHARED_EVERYTHING_THREADS
                | WasmFeatures::STACK_SWITCHING
                | WasmFeatures::CUSTOM_PAGE_SIZES
                | WasmFeatures::WIDE_ARITHMETIC,
            false,
        );
    config
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_ends_with_the_engine() {
        let (engine, clock) = Engine::start(None, Compiling::Here).unwrap();
        drop(engine);
        // Hangs if the thread does not end.
        clock.join().unwrap();
    }

    #[test]
    fn code_is_the_same_whatever_memory_it_will_have() {
        let hash = |config| {
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut hasher = DefaultHasher::new();
            let wasm = wasmtime::Engine::new(&config).unwrap();
            wasm.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(config()), hash(compiler_config()));
    }

    #[test]
    fn a_digest_is_sha_256_in_hex() {
        let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(&Sha256::digest(b"")), known);
    }
}
