//! The contract: which worlds there are, and whether a component is of one of them. All of it is
//! checked before anything of the component runs.

use std::fmt::{self, Write};

use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, ComponentExportIndex};

use crate::limits::COMPONENT_BYTES_MAX;

use super::PluginError;
use super::nesting;

/// Rust's side of `wit/`. Checked by the compiler against the very files that plugins are built on.
pub(super) mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "
            package millstream:host;

            world plugins {
                import millstream:plugin/config@0.1.0;
                import millstream:plugin/context@0.1.0;
                import millstream:plugin/logging@0.1.0;
                export millstream:plugin/filter@0.1.0;
                export millstream:plugin/transformer@0.1.0;
                export millstream:plugin/router@0.1.0;
            }
        ",
        world: "millstream:host/plugins",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// Rust's side of what WASI offers instead.
pub(super) mod wasi {
    wasmtime::component::bindgen!({ path: "src/plugin/wit", world: "wasi" });
}

/// Rust's side of WASI 0.2.
pub(super) mod wasi_guest {
    wasmtime::component::bindgen!({
        path: "src/plugin/wit",
        world: "wasi-guest",
        imports: { default: trappable },
        with: {
            "wasi:io/error.error": super::super::wasi::Nothing,
            "wasi:io/poll.pollable": super::super::wasi::Pollable,
            "wasi:io/streams.input-stream": super::super::wasi::Input,
            "wasi:io/streams.output-stream": super::super::wasi::Output,
            "wasi:cli/terminal-input.terminal-input": super::super::wasi::Nothing,
            "wasi:cli/terminal-output.terminal-output": super::super::wasi::Nothing,
        },
    });
}

/// The version of the package `millstream:plugin` in `wit/`. The only one that is spoken: before
/// 1.0 each may differ from the next in anything.
pub const CONTRACT_VERSION: &str = "0.1.0";

const PACKAGE: &str = "millstream:plugin/";
const OFFERED: [&str; 4] = ["types", "config", "context", "logging"];
/// Interfaces of WASI that say the same as ours. They are drafts, so each version is another.
const OFFERED_WASI: [&str; 2] =
    ["wasi:config/store@0.2.0-rc.1", "wasi:logging/logging@0.1.0-draft"];
/// What a step with `wasi = true` offers besides, each in any version 0.2.
const OFFERED_GUESTS: [&str; 20] = [
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:clocks/wall-clock",
    "wasi:clocks/monotonic-clock",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:filesystem/types",
    "wasi:filesystem/preopens",
];
/// How many names, and how many bytes of a type, a message shows.
const NAMES_SHOWN: usize = 10;
const TYPE_BYTES_SHOWN: usize = 400;

/// What a plugin does with a record; the interface that it exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PluginKind {
    /// Keeps or drops it.
    Filter,
    /// Makes zero or more records of it.
    Transformer,
    /// Names the outputs it goes to.
    Router,
    /// Any of these, in the packed form: a batch a call.
    Processor,
}

impl PluginKind {
    const ALL: [Self; 4] = [Self::Filter, Self::Transformer, Self::Router, Self::Processor];

    /// The name of the interface in `wit/`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Transformer => "transformer",
            Self::Router => "router",
            Self::Processor => "processor",
        }
    }

    fn function(self) -> &'static str {
        match self {
            Self::Filter => "keep",
            Self::Transformer => "transform",
            Self::Router => "route",
            Self::Processor => "process",
        }
    }

    fn signature(self) -> String {
        let result = match self {
            Self::Filter => "bool".to_owned(),
            Self::Transformer => format!("list<{MESSAGE}>"),
            Self::Router => "list<string>".to_owned(),
            Self::Processor => return "func(batch: list<u8>) -> list<u8>".to_owned(),
        };
        format!("func(message: {MESSAGE}) -> result<{result}, {ERROR}>")
    }
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const MESSAGE: &str = "record{key: option<list<u8>>, value: option<list<u8>>, headers: \
                       list<record{name: string, value: option<list<u8>>}>, timestamp-ms: s64, \
                       partition: option<u32>}";
const ERROR: &str = "variant{bad-message(string), failed(string)}";

/// Checks what can be seen without a compiler: the size, and that it is a component at all.
pub(super) fn check_bytes(bytes: &[u8]) -> Result<(), PluginError> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(PluginError::TooLarge { bytes: bytes.len(), max: COMPONENT_BYTES_MAX });
    }
    // Magic, then version and layer (component model, binary format, preamble).
    let found = match bytes {
        [] => "an empty file",
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => return nesting::check(bytes),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => "a core WebAssembly module",
        [0, b'a', b's', b'm', ..] => "WebAssembly of an unknown format",
        _ if bytes.trim_ascii_start().starts_with(b"(") => "WebAssembly text",
        _ => "no WebAssembly",
    };
    Err(PluginError::NotComponent { found })
}

/// Checks exports and imports, and tells the kind.
pub(super) fn check(
    engine: &wasmtime::Engine,
    component: &Component,
) -> Result<PluginKind, PluginError> {
    let ty = component.component_type();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    let kind = kind(&exports)?;
    let imports: Vec<&str> = ty.imports(engine).map(|(name, _)| name).collect();
    check_imports(&imports)?;
    let name = interface(kind.as_str());
    let function = match ty.get_export(engine, &name).map(|export| export.ty) {
        Some(ComponentItem::ComponentInstance(instance)) => {
            instance.get_export(engine, kind.function()).map(|export| export.ty)
        }
        _ => None,
    };
    let found = match function {
        Some(ComponentItem::ComponentFunc(function)) => signature(&function),
        Some(_) => "no function".to_owned(),
        None => "missing".to_owned(),
    };
    let expected = kind.signature();
    if found != expected {
        let name = format!("{name}#{}", kind.function());
        return Err(PluginError::Signature { name, found, expected });
    }
    Ok(kind)
}

/// Where the function that makes a plugin of this kind is found.
pub(super) fn function(
    component: &Component,
    kind: PluginKind,
) -> wasmtime::Result<ComponentExportIndex> {
    let exported = component.get_export_index(None, interface(kind.as_str()));
    let index = exported.and_then(|of| component.get_export_index(Some(&of), kind.function()));
    index.ok_or_else(|| wasmtime::Error::msg("the function is not exported"))
}

fn kind(exports: &[&str]) -> Result<PluginKind, PluginError> {
    let is = |kind: &PluginKind| exports.contains(&interface(kind.as_str()).as_str());
    let mut kinds = PluginKind::ALL.into_iter().filter(is);
    match (kinds.next(), kinds.next()) {
        (Some(kind), None) => return Ok(kind),
        (Some(_), Some(_)) => {
            let ours = exports.iter().copied().filter(|name| name.starts_with(PACKAGE));
            return Err(PluginError::SeveralKinds { exports: list(ours) });
        }
        (None, _) => {}
    }
    let other: Vec<&str> = exports.iter().copied().filter(|name| other_version(name)).collect();
    if !other.is_empty() {
        return Err(PluginError::Version { found: list(other.into_iter()) });
    }
    let expected = PluginKind::ALL.map(|kind| interface(kind.as_str()));
    Err(PluginError::NotPlugin {
        exports: list(exports.iter().copied()),
        expected: list(expected.iter().map(String::as_str)),
    })
}

fn check_imports(imports: &[&str]) -> Result<(), PluginError> {
    let ours = OFFERED.map(interface);
    let offered: Vec<&str> = ours.iter().map(String::as_str).chain(OFFERED_WASI).collect();
    let known = |name: &str| offered.contains(&name) || of_wasi(name);
    let unknown: Vec<&str> = imports.iter().copied().filter(|name| !known(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let other: Vec<&str> = unknown.iter().copied().filter(|name| other_version(name)).collect();
    if !other.is_empty() {
        return Err(PluginError::Version { found: list(other.into_iter()) });
    }
    Err(PluginError::UnknownImport {
        imports: list(unknown.into_iter()),
        offered: list(offered.into_iter()),
    })
}

/// Whether an import is of WASI 0.2, and offered to steps that say `wasi = true`.
pub(super) fn of_wasi(import: &str) -> bool {
    import.split_once('@').is_some_and(|(name, version)| {
        version.starts_with("0.2.") && OFFERED_GUESTS.contains(&name)
    })
}

fn interface(name: &str) -> String {
    format!("{PACKAGE}{name}@{CONTRACT_VERSION}")
}

/// Whether this names something of our package, but of another version or of none.
fn other_version(name: &str) -> bool {
    name.strip_prefix(PACKAGE)
        .is_some_and(|rest| rest.split_once('@').map(|(_, at)| at) != Some(CONTRACT_VERSION))
}

/// The names in a row, the first few of them.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let (shown, rest) = names.split_at(names.len().min(NAMES_SHOWN));
    let mut text = shown.join(", ");
    if !rest.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(text, " and {} more", rest.len());
    }
    text
}

/// The function's type in the words of WIT. Cut when it gets long: types can share their parts, so
/// a small component can describe one that would fill the memory.
fn signature(function: &ComponentFunc) -> String {
    let mut out = String::from(if function.async_() { "async func(" } else { "func(" });
    for (index, (name, ty)) in function.params().enumerate() {
        field(&mut out, index, name, &ty);
    }
    out.push(')');
    for ty in function.results() {
        out.push_str(" -> ");
        describe(&mut out, &ty);
    }
    out
}

fn full(out: &mut String) -> bool {
    if out.len() > TYPE_BYTES_SHOWN {
        if !out.ends_with('…') {
            out.truncate(out.floor_char_boundary(TYPE_BYTES_SHOWN));
            out.push('…');
        }
        return true;
    }
    false
}

fn describe(out: &mut String, ty: &Type) {
    if full(out) {
        return;
    }
    match ty {
        Type::List(list) => wrapped(out, "list", &[Some(list.ty())]),
        Type::Option(option) => wrapped(out, "option", &[Some(option.ty())]),
        Type::Result(result) => wrapped(out, "result", &[result.ok(), result.err()]),
        Type::Tuple(tuple) => {
            let types: Vec<_> = tuple.types().map(Some).collect();
            wrapped(out, "tuple", &types);
        }
        Type::Record(record) => {
            out.push_str("record{");
            for (index, part) in record.fields().enumerate() {
                field(out, index, part.name, &part.ty);
            }
            out.push('}');
        }
        Type::Variant(variant) => {
            out.push_str("variant{");
            for (index, case) in variant.cases().enumerate() {
                separate(out, index);
                out.push_str(case.name);
                if let Some(ty) = &case.ty {
                    out.push('(');
                    describe(out, ty);
                    out.push(')');
                }
            }
            out.push('}');
        }
        simple => out.push_str(&format!("{simple:?}").to_lowercase()),
    }
}

fn wrapped(out: &mut String, name: &str, types: &[Option<Type>]) {
    out.push_str(name);
    out.push('<');
    for (index, ty) in types.iter().enumerate() {
        separate(out, index);
        match ty {
            Some(ty) => describe(out, ty),
            None => out.push('_'),
        }
    }
    out.push('>');
}

fn field(out: &mut String, index: usize, name: &str, ty: &Type) {
    if full(out) {
        return;
    }
    separate(out, index);
    out.push_str(name);
    out.push_str(": ");
    describe(out, ty);
}

fn separate(out: &mut String, index: usize) {
    if index > 0 {
        out.push_str(", ");
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{
        COMPOSED, FAULTS, FILTER, NO_PLUGIN, PROCESSOR, ROUTER, engine, load, record, with,
    };
    use super::super::{Limits, Settings};
    use super::*;

    fn refused(text: &str) -> String {
        load(text).unwrap_err().to_string()
    }

    fn refused_bytes(bytes: &[u8]) -> String {
        engine().load(bytes).unwrap_err().to_string()
    }

    #[test]
    fn each_world_is_told_by_its_export() {
        assert_eq!(load(FILTER).unwrap().kind(), PluginKind::Filter);
        assert_eq!(load(FAULTS).unwrap().kind(), PluginKind::Transformer);
        assert_eq!(load(ROUTER).unwrap().kind(), PluginKind::Router);
        assert_eq!(load(PROCESSOR).unwrap().kind(), PluginKind::Processor);
    }

    #[test]
    fn the_version_is_that_of_the_wit_package() {
        let package = format!("package millstream:plugin@{CONTRACT_VERSION};");
        for file in [
            "types",
            "config",
            "context",
            "logging",
            "filter",
            "transformer",
            "router",
            "processor",
        ] {
            let path = format!("{}/wit/{file}.wit", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.lines().any(|line| line == package), "{path}");
        }
    }

    #[test]
    fn what_is_no_component_is_called_by_its_name() {
        let what = |found| format!("this is {found}, not a WebAssembly component");
        assert_eq!(refused_bytes(b""), what("an empty file"));
        assert_eq!(refused_bytes(b"\0as"), what("no WebAssembly"));
        assert_eq!(refused_bytes(b"\x7fELF\x02\x01"), what("no WebAssembly"));
        assert_eq!(refused_bytes(b"\0asm\x01\0\0\0"), what("a core WebAssembly module"));
        assert_eq!(refused_bytes(b"\0asm\x07\0\x07\0"), what("WebAssembly of an unknown format"));
        assert_eq!(refused_bytes(b"\n (component)"), what("WebAssembly text"));
        let max = COMPONENT_BYTES_MAX;
        assert_eq!(
            refused_bytes(&vec![0; max + 1]),
            format!("the component is {} bytes long, at most {max} are allowed", max + 1)
        );
    }

    #[test]
    fn a_damaged_component_is_refused_wherever_it_is_damaged() {
        let whole = wat::parse_str(FILTER).unwrap();
        // The names at its end are for debuggers; without them it is still whole.
        let names = whole.windows(14).position(|part| part == b"component-name").unwrap() - 4;
        for length in 0..names {
            assert!(engine().load(&whole[..length]).is_err(), "of length {length}");
        }
    }

    #[test]
    fn a_component_with_a_bit_flipped_is_refused_or_held_to_its_limits() {
        let whole = wat::parse_str(FILTER).unwrap();
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let limits = Limits { memory_bytes: 1 << 20, call_ms: 20, ..Limits::default() };
        for _ in 0..300 {
            let mut bytes = whole.clone();
            let at = random.usize(..bytes.len());
            bytes[at] ^= 1 << random.u32(..8);
            let Ok(plugin) = engine().load(&bytes) else { continue };
            let mut instance = plugin.instance(Settings { limits, ..Settings::default() });
            let processed = instance.process(&[record("x")]);
            assert_eq!(processed.len(), 1);
        }
    }

    #[test]
    fn a_component_that_is_no_plugin_is_told_what_makes_one() {
        assert_eq!(
            refused(NO_PLUGIN),
            "the component is no plugin: it exports example:tools/runner@1.0.0; expected is one \
             of millstream:plugin/filter@0.1.0, millstream:plugin/transformer@0.1.0, \
             millstream:plugin/router@0.1.0, millstream:plugin/processor@0.1.0"
        );
        assert!(refused("(component)").contains("it exports nothing;"));
    }

    #[test]
    fn another_version_is_refused_by_its_name() {
        let message = "the component is built on another version of the plugin contract: it has \
                       millstream:plugin/filter@0.2.0; this Millstream speaks version 0.1.0";
        assert_eq!(refused(&FILTER.replace("@0.1.0", "@0.2.0")), message);
        assert_eq!(refused(&with(FILTER, "filter@0.1.0", "filter@0.2.0")), message);
        let message = refused(&with(FILTER, "types@0.1.0", "types@0.1.1"));
        assert!(message.contains("it has millstream:plugin/types@0.1.1;"), "{message}");
    }

    #[test]
    fn imports_beyond_the_contract_are_named() {
        let wasi = "(component
            (import \"wasi:sockets/instance-network@0.2.6\" (instance
              (export \"instance-network\" (func (result u32)))))
            (import \"wasi:clocks/monotonic-clock@0.3.0\" (instance
              (export \"now\" (func (result u64)))))";
        assert_eq!(
            refused(&with(FILTER, "(component", wasi)),
            "the component imports wasi:sockets/instance-network@0.2.6, \
             wasi:clocks/monotonic-clock@0.3.0; a plugin can import \
             millstream:plugin/types@0.1.0, millstream:plugin/config@0.1.0, \
             millstream:plugin/context@0.1.0, millstream:plugin/logging@0.1.0, \
             wasi:config/store@0.2.0-rc.1, wasi:logging/logging@0.1.0-draft and, in a step with \
             `wasi = true`, clocks, random numbers and output of WASI 0.2, and nothing else"
        );
        let other = "(component
            (import \"millstream:plugin/config@0.1.0\" (instance
              (export \"get\" (func (param \"name\" string) (result string)))))";
        let message = refused(&with(FILTER, "(component", other));
        assert!(message.contains("do not fit the plugin contract"), "{message}");
    }

    #[test]
    fn composed_components_compile() {
        assert!(refused(COMPOSED).contains("no plugin: it exports run;"), "{}", refused(COMPOSED));
    }

    #[test]
    fn two_kinds_at_once_are_refused_and_unknown_exports_ignored() {
        let export = "(export \"millstream:plugin/filter@0.1.0\" (instance $export))";
        let also = |name: &str| {
            with(FILTER, export, &format!("{export} (export \"{name}\" (instance $export))"))
        };
        assert_eq!(
            refused(&also("millstream:plugin/router@0.1.0")),
            "the component is several plugins at once: it exports \
             millstream:plugin/filter@0.1.0, millstream:plugin/router@0.1.0; expected is one"
        );
        assert_eq!(load(&also("example:other/thing@1.0.0")).unwrap().kind(), PluginKind::Filter);
    }

    #[test]
    fn another_signature_is_refused_with_both() {
        let types = with(FILTER, "(result bool (error $error))", "(result u32 (error $error))");
        let message = refused(&types);
        assert!(
            message.starts_with("the component's millstream:plugin/filter@0.1.0#keep is func(")
        );
        assert!(message.contains("-> result<u32, variant{bad-message(string), failed(string)}>;"));
        assert!(message.contains("-> result<bool, variant{bad-message(string), failed(string)}>"));
        let renamed =
            with(FILTER, "(export \"keep\" (func $call))", "(export \"hold\" (func $call))");
        assert!(refused(&renamed).contains("#keep is missing; expected is func(message: "));
    }

    #[test]
    fn a_type_that_doubles_with_every_line_is_cut() {
        let mut types = "(type $t0 (tuple u8 u8))".to_owned();
        for depth in 1..16 {
            let _ = write!(types, "(type $t{depth} (tuple $t{0} $t{0}))", depth - 1);
        }
        let text = format!(
            "(component
              (core module $m
                (memory (export \"memory\") 1)
                (func (export \"realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 0))
                (func (export \"keep\") (param i32 i32)))
              (core instance $m (instantiate $m))
              {types}
              (type $list (list $t15))
              (func $keep (param \"message\" $list) (canon lift (core func $m \"keep\")
                (memory (core memory $m \"memory\")) (realloc (core func $m \"realloc\"))))
              (instance $export (export \"keep\" (func $keep)))
              (export \"millstream:plugin/filter@0.1.0\" (instance $export)))"
        );
        let message = refused(&text);
        assert!(message.contains("func(message: list<tuple<tuple<"), "{message}");
        assert!(message.contains('…') && message.len() < 2_000, "{}", message.len());
    }
}
