//! `millstream plugin inspect`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use wasmparser::{Parser, Payload};

use super::loaded::Found;
use crate::cli::output::{Out, number};
use crate::limits::{PLUGIN_CALL_MS, PLUGIN_MEMORY_BYTES};
use crate::plugin::{CONTRACT_VERSION, Engine, Plugin, PluginKind};

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
        let found = Found::read(&self.component)?;
        let outline = Outline::of(&found);
        let loaded = match found.load(&Engine::new()?) {
            Ok(loaded) => loaded,
            Err(refused) => {
                outline.print(&mut out)?;
                return Err(refused);
            }
        };
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
                "wasi": !loaded.plugin.wasi_imports().is_empty(),
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
            ("use", step(kind).to_owned() + wasi(&loaded.plugin)),
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

fn wasi(plugin: &Plugin) -> &'static str {
    if plugin.wasi_imports().is_empty() { "" } else { ", and `wasi = true`" }
}

/// What a component that is refused says of itself, as far as it can be read.
struct Outline {
    path: PathBuf,
    bytes: usize,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Outline {
    fn of(found: &Found) -> Self {
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        let mut depth = 0_usize;
        let payloads = Parser::new(0).parse_all(&found.bytes);
        for payload in payloads.map_while(Result::ok) {
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    let names = section.into_iter().map_while(Result::ok);
                    imports.extend(names.map(|import| import.name.name.escape_debug().to_string()));
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    let names = section.into_iter().map_while(Result::ok);
                    exports.extend(names.map(|export| export.name.name.escape_debug().to_string()));
                }
                _ => {}
            }
        }
        Self { path: found.path.clone(), bytes: found.bytes.len(), imports, exports }
    }

    fn print(self, out: &mut Out) -> anyhow::Result<()> {
        let Self { path, bytes, imports: imported, exports } = self;
        if out.is_json() {
            out.json(&json!({
                "component": path, "bytes": bytes, "imports": imported, "exports": exports,
            }))?;
        } else {
            out.line(format!("component  {}", path.display()))?;
            out.line(format!("size       {} bytes", number(bytes as i128)))?;
            out.line(format!("imports    {}", imports(imported)))?;
            out.line(format!("exports    {}", imports(exports)))?;
            out.line("host       refuses it")?;
        }
        out.flush()
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
