//! How each language's compiler is called. Each leaves a core module, of which a component is
//! made, or the component.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use super::component::{Core, encode, renamed};
use super::language::Language;
use super::tools::{Tool, folder, joined, npm_install, read, run};
use crate::cli::plugin::project::Project;

const CARGO: Tool = Tool {
    names: &["cargo"],
    install: "see https://rustup.rs, then `rustup target add wasm32-unknown-unknown`",
};
const GO: Tool = Tool { names: &["go"], install: "see https://go.dev/dl, 1.24 or later" };
const ZIG: Tool = Tool {
    names: &["zig", "python-zig"],
    install: "`pip install ziglang==0.17.1`, or see https://ziglang.org/download",
};
const COMPONENTIZE_PY: Tool =
    Tool { names: &["componentize-py"], install: "`pip install componentize-py==0.25.1`" };
const QUICKJS: Tool =
    Tool { names: &["componentize-qjs"], install: "`npm install componentize-qjs@0.4.5`" };
const TSC: Tool = Tool { names: &["tsc"], install: "`npm install typescript@5.9.3`" };
const ESBUILD: Tool = Tool { names: &["esbuild"], install: "`npm install esbuild@0.25.12`" };
const ASC: Tool = Tool { names: &["asc"], install: "`npm install assemblyscript@0.28.20`" };

/// Those whose library can be given WASI.
const WITH_WASI: [Language; 3] = [Language::Rust, Language::C, Language::Cpp];

/// Each function of a plugin, and each round of a loop in it, asks whether its time is up: with
/// fewer and larger functions `serde_json` takes a tenth less time, and the component is a third
/// larger. Cargo adds this to what it is told of the target; `RUSTFLAGS` takes its place.
const CARGO_CONFIG: &str =
    r#"target.'cfg(target_family = "wasm")'.rustflags=["-Cllvm-args=-inline-threshold=1000"]"#;

/// Where the steps of one build leave their files.
struct Places {
    folder: PathBuf,
    source: String,
    build: PathBuf,
    wit: PathBuf,
    core: PathBuf,
    /// What the user adds to the compiler's arguments.
    arguments: Vec<OsString>,
}

/// Compiles the plugin of a folder.
pub(super) fn component(project: &Project, arguments: Vec<OsString>) -> anyhow::Result<Vec<u8>> {
    // The compilers run in the folder, and are given paths that hold there.
    let folder_there = project.folder.canonicalize().context("the folder is not there")?;
    let build = folder_there.join("build");
    folder(&build)?;
    let about = &project.plugin;
    let places = Places {
        source: about.language.source(&about.name),
        wit: folder_there.join("gen/wit"),
        core: build.join("core.wasm"),
        build,
        folder: folder_there,
        arguments,
    };
    if about.wasi && !WITH_WASI.contains(&about.language) {
        anyhow::bail!(
            "plugin.toml says `wasi = true`, which is built for rust, c and cpp; build the \
             component with your own tools"
        );
    }
    let plain = if about.wasi { Core::Guest } else { Core::Plain };
    let (module, core) = match about.language {
        // The linker of that target makes a component.
        Language::Rust if about.wasi => return rust(&places, "wasm32-wasip2"),
        Language::Rust => (rust(&places, "wasm32-unknown-unknown")?, Core::Whole),
        Language::Go => (go(&places)?, Core::Wasi),
        Language::C => (c(&places, &["cc", "-std=c17"])?, plain),
        Language::Cpp => {
            (c(&places, &["c++", "-std=c++23", "-fno-exceptions", "-fno-rtti"])?, plain)
        }
        Language::Zig => (zig(&places)?, Core::Plain),
        Language::AssemblyScript => (renamed(&assemblyscript(&places)?, about.kind)?, Core::Plain),
        Language::Wat => (wat::parse_file(places.folder.join(&places.source))?, Core::Plain),
        Language::JavaScript => return javascript(project, &places, Path::new(&places.source)),
        Language::TypeScript => return typescript(project, &places),
        Language::Python => return python(project, &places),
    };
    encode(module, about.kind, core).context("no component can be made of what was compiled")
}

fn rust(places: &Places, target: &str) -> anyhow::Result<Vec<u8>> {
    let mut cargo = CARGO.command(&places.folder)?;
    let args = ["build", "--release", "--message-format=json-render-diagnostics"];
    cargo.args(args).args(["--target", target, "--config", CARGO_CONFIG]).args(&places.arguments);
    let messages = run(&mut cargo)?;
    let messages = messages.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{"));
    let mut module = None;
    for message in messages {
        let message: Value = serde_json::from_slice(message).context("cargo cannot be read")?;
        let cdylib = message["target"]["kind"]
            .as_array()
            .is_some_and(|kinds| kinds.iter().any(|kind| kind == "cdylib"));
        let files = message["filenames"].as_array().into_iter().flatten();
        let mut wasm = files.filter_map(Value::as_str).filter(|file| file.ends_with(".wasm"));
        if cdylib && let Some(file) = wasm.next() {
            module = Some(PathBuf::from(file));
        }
    }
    read(&module.context("cargo left no .wasm; `crate-type = [\"cdylib\"]` may be missing")?)
}

fn go(places: &Places) -> anyhow::Result<Vec<u8>> {
    let mut go = GO.command(&places.folder)?;
    go.env("GOOS", "wasip1").env("GOARCH", "wasm");
    go.args(["build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o"]);
    run(go.arg(&places.core).args(&places.arguments).arg("."))?;
    read(&places.core)
}

/// C and C++. Without a start function; with as much stack as a plugin needs and not Zig's 16 MiB.
fn c(places: &Places, compiler: &[&str]) -> anyhow::Result<Vec<u8>> {
    let mut zig = zig_command(places)?;
    zig.args(compiler).args(["-target", "wasm32-wasi", "-O2", "-mexec-model=reactor"]);
    zig.args(["-Wall", "-Wextra", "-Wl,--strip-all", "-Wl,-z,stack-size=65536", "-o"]);
    run(zig.arg(&places.core).args(&places.arguments).arg(&places.source))?;
    read(&places.core)
}

fn zig(places: &Places) -> anyhow::Result<Vec<u8>> {
    let mut zig = zig_command(places)?;
    zig.args(["build-exe", "-target", "wasm32-freestanding", "-OReleaseSafe", "-fno-entry"]);
    zig.args(["-rdynamic", "-fstrip", "--stack", "65536", "--name", "core"]);
    zig.arg(joined("-femit-bin=", &places.core)).args(&places.arguments);
    run(zig.arg(&places.source))?;
    read(&places.core)
}

/// Zig with its cache among what is built, unless the user has one for all.
fn zig_command(places: &Places) -> anyhow::Result<Command> {
    let mut zig = ZIG.command(&places.folder)?;
    if std::env::var_os("ZIG_LOCAL_CACHE_DIR").is_none() {
        zig.env("ZIG_LOCAL_CACHE_DIR", places.build.join("zig"));
    }
    Ok(zig)
}

/// The smallest of AssemblyScript's runtimes: what is no longer used is collected after each call.
fn assemblyscript(places: &Places) -> anyhow::Result<Vec<u8>> {
    npm_install(&places.folder, &ASC)?;
    let mut asc = ASC.command(&places.folder)?;
    asc.args(["gen/entry.ts", "-O3", "--runtime", "minimal", "--initialMemory", "1"]);
    asc.args(["--use", "abort=gen/millstream/abort"]);
    run(asc.arg("-o").arg(&places.core).args(&places.arguments))?;
    read(&places.core)
}

fn javascript(project: &Project, places: &Places, module: &Path) -> anyhow::Result<Vec<u8>> {
    npm_install(&places.folder, &QUICKJS)?;
    let out = places.build.join("component.wasm");
    let mut quickjs = QUICKJS.command(&places.folder)?;
    quickjs.arg("--wit").arg(&places.wit).args(["--world", project.plugin.kind.world()]);
    quickjs.arg("--js").arg(module);
    // No WASI, and no async: the host offers neither.
    quickjs.args(["--sync", "--stub-wasi", "--opt-size", "--output"]);
    run(quickjs.arg(&out).args(&places.arguments))?;
    read(&out)
}

/// Checks the types, and makes one module of JavaScript of the source and what it imports.
fn typescript(project: &Project, places: &Places) -> anyhow::Result<Vec<u8>> {
    npm_install(&places.folder, &QUICKJS)?;
    run(TSC.command(&places.folder)?.args(["--noEmit", "--project", "."]))?;
    let module = places.build.join("module.js");
    let mut esbuild = ESBUILD.command(&places.folder)?;
    esbuild.args(["--bundle", "--format=esm", "--external:millstream:*", "--log-level=warning"]);
    run(esbuild.arg(joined("--outfile=", &module)).arg(&places.source))?;
    javascript(project, places, &module)
}

fn python(project: &Project, places: &Places) -> anyhow::Result<Vec<u8>> {
    let out = places.build.join("component.wasm");
    let mut python = COMPONENTIZE_PY.command(&places.folder)?;
    python.arg("-q").arg("-d").arg(&places.wit).args(["-w", project.plugin.kind.world()]);
    python.args(["componentize", "--stub-wasi"]);
    // What `pip install --target lib` has put there goes into the component.
    if places.folder.join("lib").is_dir() {
        python.args(["-p", ".", "-p", "lib"]);
    }
    let module = places.source.trim_end_matches(".py");
    run(python.arg(module).arg("-o").arg(&out).args(&places.arguments))?;
    read(&out)
}
