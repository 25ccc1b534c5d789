//! `millstream plugin inspect`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::loaded::Loaded;
use crate::cli::output::{Out, number};
use crate::limits::{PLUGIN_CALL_MS, PLUGIN_MEMORY_BYTES};
use crate::plugin::{CONTRACT_VERSION, Engine, PluginKind};

/// Say what a component is, and what a broker would do with it.
///
/// Checks and compiles it as a deployment does; nothing of it runs. Ends with 1 if a broker would
/// refuse it.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The component, or the folder of a plugin.
    #[arg(default_value = ".")]
    component: PathBuf,
}

impl Inspect {
    pub(super) fn run(self, mut out: Out) -> anyhow::Result<()> {
        let loaded = Loaded::load(&Engine::new()?, &self.component)?;
        let kind = loaded.plugin.kind();
        let memory = loaded.plugin.initial_memory_bytes();
        let compiled_ms = loaded.compiled_in.as_secs_f64() * 1_000.0;
        if out.is_json() {
            out.json(&json!({
                "component": loaded.path,
                "kind": kind.as_str(),
                "world": world(kind),
                "contract": CONTRACT_VERSION,
                "imports": loaded.plugin.imports(),
                "bytes": loaded.bytes,
                "digest": loaded.plugin.digest(),
                "initial_memory_bytes": memory,
                "compile_ms": compiled_ms,
            }))?;
            return out.flush();
        }
        let rows = [
            ("component", loaded.path.display().to_string()),
            ("world", format!("{}, contract {CONTRACT_VERSION}", world(kind))),
            ("imports", imports(loaded.plugin.imports())),
            (
                "size",
                format!("{} bytes, compiled in {compiled_ms:.0} ms", number(loaded.bytes as i128)),
            ),
            ("sha-256", loaded.plugin.digest().to_owned()),
            (
                "memory",
                format!(
                    "{} at the start, at most {} without `limits` in the manifest",
                    mebibytes(memory),
                    mebibytes(PLUGIN_MEMORY_BYTES as u64)
                ),
            ),
            ("use", step(kind).to_owned()),
            ("host", host(kind)),
        ];
        for (name, value) in rows {
            out.line(format!("{name:<10} {value}"))?;
        }
        out.flush()
    }
}

fn world(kind: PluginKind) -> String {
    match kind {
        PluginKind::Processor => "processor-plugin".to_owned(),
        _ => format!("{kind}-plugin"),
    }
}

/// The imports without what only describes types.
fn imports(all: Vec<String>) -> String {
    let told: Vec<String> = all.into_iter().filter(|name| !name.contains("/types@")).collect();
    if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
}

fn step(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Filter => "a step with `filter = NAME`",
        PluginKind::Transformer => "a step with `transform = NAME`",
        PluginKind::Router => "a step with `route = NAME` and `outputs`",
        PluginKind::Processor => "a step of any kind: `filter`, `transform` or `route`",
    }
}

/// What becomes of it in a broker.
fn host(kind: PluginKind) -> String {
    let does = match kind {
        PluginKind::Filter => "passes each record on as it came, or drops it",
        PluginKind::Transformer => "puts what it returns in the record's place",
        PluginKind::Router => "writes each record as it came to the outputs it names",
        PluginKind::Processor => "does with each record what it answers, as far as its step may",
    };
    let call = if kind == PluginKind::Processor { "a batch" } else { "a record" };
    format!(
        "takes it: one instance a source partition, a call {call}, {PLUGIN_CALL_MS} ms a record \
         without `limits`; {does}"
    )
}

/// Bytes as people read them.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}
