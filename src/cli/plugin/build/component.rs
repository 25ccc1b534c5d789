//! A component around a core module, for the contract that this binary carries.

use anyhow::Context;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasm_encoder::ExportSection;
use wasm_encoder::reencode::{Error, Reencode, utils};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap};

use super::bindings::WIT;
use crate::cli::plugin::project::Kind;
use crate::plugin::CONTRACT_VERSION;

const PACKAGE: &str = "millstream:plugin";
/// A plugin in the text format that gives each record back as it came.
const IDENTITY: &str = include_str!("identity.wat");
/// Answers of a WASI that has nothing, for compilers that cannot do without the imports.
const NO_WASI: &str = include_str!("no-wasi.wat");

/// What a core module lacks to be a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Core {
    /// Nothing: its world is in it, as wit-bindgen leaves it.
    Whole,
    /// Its world.
    Plain,
    /// Its world, and an answer to its calls of WASI preview 1.
    Wasi,
    /// Its world, and its calls of WASI preview 1 passed on as those of WASI 0.2.
    Guest,
}

/// Makes the component.
pub(super) fn encode(mut module: Vec<u8>, kind: Kind, core: Core) -> anyhow::Result<Vec<u8>> {
    if core != Core::Whole {
        embed(&mut module, kind.world())?;
    }
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(&module)?;
    if core == Core::Wasi {
        let mut adapter = wat::parse_str(NO_WASI)?;
        embed(&mut adapter, "logger")?;
        encoder.adapter("wasi_snapshot_preview1", &adapter)?;
    }
    if core == Core::Guest {
        encoder
            .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?;
    }
    encoder.encode()
}

/// Puts the world into the module, as a custom section.
fn embed(module: &mut Vec<u8>, world: &str) -> anyhow::Result<()> {
    let mut sources = SourceMap::new();
    let logger =
        format!("package {PACKAGE}@{CONTRACT_VERSION}; world logger {{ import logging; }}");
    sources.push_str("logger.wit", logger);
    for (name, text) in WIT {
        sources.push_str(name, *text);
    }
    let mut resolve = Resolve::default();
    let group = sources.parse().map_err(|(_, error)| anyhow::anyhow!("{error:?}"))?;
    let package = resolve.push_group(group).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let world = resolve.select_world(&[package], Some(world))?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8, false)
}

/// The module with its exports under the names that the contract has for them, for compilers that
/// take none but identifiers.
pub(super) fn renamed(module: &[u8], kind: Kind) -> anyhow::Result<Vec<u8>> {
    let mut names = Names { kind };
    let mut renamed = wasm_encoder::Module::new();
    names
        .parse_core_module(&mut renamed, wasmparser::Parser::new(0), module)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("the compiler's module cannot be read")?;
    Ok(renamed.finish())
}

struct Names {
    kind: Kind,
}

impl Reencode for Names {
    type Error = std::convert::Infallible;

    fn parse_export(
        &mut self,
        exports: &mut ExportSection,
        export: wasmparser::Export<'_>,
    ) -> Result<(), Error<Self::Error>> {
        let full = function(self.kind);
        match export.name {
            "memory" | "cabi_realloc" | "_initialize" => utils::parse_export(self, exports, export),
            "call" => {
                utils::parse_export(self, exports, wasmparser::Export { name: &full, ..export })
            }
            "done" => {
                let name = format!("cabi_post_{full}");
                utils::parse_export(self, exports, wasmparser::Export { name: &name, ..export })
            }
            _ => Ok(()),
        }
    }
}

/// The core function that a plugin of this kind exports.
fn function(kind: Kind) -> String {
    let (interface, function) = match kind {
        Kind::Filter => ("filter", "keep"),
        Kind::Transform => ("transformer", "transform"),
        Kind::Route => ("router", "route"),
    };
    format!("{PACKAGE}/{interface}@{CONTRACT_VERSION}#{function}")
}

/// A transformer that does nothing, to measure others by.
pub(in crate::cli::plugin) fn identity() -> anyhow::Result<Vec<u8>> {
    encode(wat::parse_str(IDENTITY)?, Kind::Transform, Core::Plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{Emitted, Engine, PluginKind, Settings, Verdict};
    use crate::record::{Header, Record};

    #[test]
    fn the_identity_gives_back_what_it_gets() {
        let plugin = Engine::new().unwrap().load(&identity().unwrap()).unwrap();
        assert_eq!(plugin.kind(), PluginKind::Transformer);
        let header = Header { key: "h".into(), value: None };
        let record = Record {
            offset: 3,
            timestamp: -5,
            key: None,
            value: Some("v".into()),
            headers: vec![header.clone(), header],
        };
        let mut instance = plugin.instance(Settings::default());
        for _ in 0..3 {
            let processed = instance.process(std::slice::from_ref(&record));
            assert_eq!(processed, [Ok(Verdict::Emit(vec![Emitted::from(record.clone())]))]);
        }
    }
}
