//! Compiling components, one at a time. What wasmtime promises about hostile code holds when it
//! runs, not when it is compiled: a component can be made that the compiler takes hours for, or all
//! memory, or breaks on. So a broker compiles in a process of its own, which has little priority,
//! so much memory and so much time; what becomes of it costs that component and nothing else.

use std::io::{self, Read, Write};
use std::num::NonZero;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal};

use crate::limits::{
    COMPONENT_BYTES_MAX, PLUGIN_COMPILE_BYTES, PLUGIN_COMPILE_CPU_SECONDS, PLUGIN_COMPILE_MS,
    PLUGIN_COMPILE_PERCENT, PLUGIN_COMPILED_BYTES, PLUGIN_ERROR_BYTES,
};

use super::PluginError;
use super::engine::compiler_config;

/// The command by which this program compiles a component: from its standard input to its standard
/// output. See [`compile_apart`].
pub const COMPILE_COMMAND: &str = "compile-plugin";

const NICE: i32 = 10;
/// What an answer begins with, before its length and itself.
const COMPILED: u8 = 0;
const REFUSED: u8 = 1;

/// Where components are compiled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Compiling {
    /// In this process, bounded by their size alone.
    #[default]
    Here,
    /// In a process a component: this program is run with [`COMPILE_COMMAND`]. It must be the same
    /// as the one that runs: what it answers is machine code.
    Apart(PathBuf),
}

/// Compiles for one engine.
pub(super) struct Compiler {
    compiling: Compiling,
    /// Few enough that the broker goes on meanwhile.
    threads: rayon::ThreadPool,
    /// How many components were compiled.
    count: u64,
}

impl Compiler {
    pub(super) fn new(compiling: Compiling) -> Result<Self, PluginError> {
        let threads =
            threads().map_err(|error| PluginError::Engine { reason: error.to_string() })?;
        Ok(Self { compiling, threads, count: 0 })
    }

    /// What `Component::deserialize` takes, for an engine of the same settings.
    pub(super) fn compile(
        &mut self,
        wasm: &wasmtime::Engine,
        bytes: &[u8],
    ) -> Result<Vec<u8>, PluginError> {
        self.count += 1;
        let compiled = match &self.compiling {
            Compiling::Here => compile_here(&self.threads, wasm, bytes),
            Compiling::Apart(program) => {
                let most = Duration::from_millis(PLUGIN_COMPILE_MS);
                ask(program, bytes, most).and_then(read_answer)
            }
        };
        compiled.map_err(|reason| PluginError::Compile { reason })
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

fn threads() -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    let all = std::thread::available_parallelism().map_or(1, NonZero::get);
    rayon::ThreadPoolBuilder::new()
        .num_threads((all * PLUGIN_COMPILE_PERCENT / 100).max(1))
        .thread_name(|index| format!("compile-{index}"))
        .build()
}

/// A bug in the compiler is a panic, and must cost this component only. What it leaves behind is
/// dropped with it.
fn compile_here(
    threads: &rayon::ThreadPool,
    wasm: &wasmtime::Engine,
    bytes: &[u8],
) -> Result<Vec<u8>, String> {
    let work = || threads.install(|| wasm.precompile_component(bytes));
    match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(compiled) => compiled.map_err(|error| format!("{error:#}")),
        Err(_) => Err("the compiler failed".to_owned()),
    }
}

/// Has a component compiled by another process. What that has written before it ended.
fn ask(program: &Path, bytes: &[u8], most: Duration) -> Result<(Vec<u8>, String), String> {
    let cannot = |error: io::Error| format!("{} cannot be run: {error}", program.display());
    let mut child = Command::new(program)
        .arg(COMPILE_COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(cannot)?;
    let answer = exchange(&mut child, bytes, most);
    // It has answered, or is not to go on. One that has ended is past killing, and says why.
    child.kill().map_err(cannot)?;
    let ended = child.wait().map_err(cannot)?;
    Ok((
        answer.ok_or_else(|| format!("it takes more than {} s", most.as_secs()))?,
        ended.to_string(),
    ))
}

/// Nothing if the time is up.
fn exchange(child: &mut Child, bytes: &[u8], most: Duration) -> Option<Vec<u8>> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    std::thread::scope(|scope| {
        let (send, answer) = mpsc::channel();
        // One that does not read to the end has ended, or knows enough.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(bytes)));
        scope.spawn(move || {
            let mut answer = Vec::new();
            let most = PLUGIN_COMPILED_BYTES as u64 + 16;
            let read = stdout.map(|stdout| stdout.take(most).read_to_end(&mut answer));
            // Nobody waits if the time is up.
            let _ = send.send(if matches!(read, Some(Ok(_))) { answer } else { Vec::new() });
        });
        let answer = answer.recv_timeout(most).ok();
        // Closes what the threads wait for.
        let _ = child.kill();
        answer
    })
}

fn read_answer((answer, ended): (Vec<u8>, String)) -> Result<Vec<u8>, String> {
    let (kind, rest) = answer.split_first().unwrap_or((&u8::MAX, &[]));
    let (length, rest) = rest.split_first_chunk().unwrap_or((&[0xff; 8], &[]));
    let whole = u64::from_le_bytes(*length) == rest.len() as u64;
    match *kind {
        COMPILED if whole => Ok(rest.to_vec()),
        REFUSED if whole => Err(String::from_utf8_lossy(rest).into_owned()),
        _ => Err(format!(
            "the compiler broke on it ({ended}); it may take {} MiB of memory and {} s of work",
            PLUGIN_COMPILE_BYTES >> 20,
            PLUGIN_COMPILE_CPU_SECONDS,
        )),
    }
}

/// What the process of [`Compiling::Apart`] does.
pub fn compile_apart() -> ExitCode {
    let answered = bound().and_then(|()| {
        let mut bytes = Vec::new();
        io::stdin().lock().take(COMPONENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        let compiled = compile_bounded(&bytes);
        let (kind, answer) = match &compiled {
            Ok(compiled) => (COMPILED, compiled.as_slice()),
            Err(reason) => {
                (REFUSED, &reason.as_bytes()[..reason.floor_char_boundary(PLUGIN_ERROR_BYTES)])
            }
        };
        let mut out = io::stdout().lock();
        out.write_all(&[kind])?;
        out.write_all(&(answer.len() as u64).to_le_bytes())?;
        out.write_all(answer)?;
        out.flush()
    });
    // Whoever asked sees that there is no whole answer.
    if answered.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn compile_bounded(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let wasm = wasmtime::Engine::new(&compiler_config()).map_err(|error| format!("{error:#}"))?;
    let threads = threads().map_err(|error| error.to_string())?;
    compile_here(&threads, &wasm, bytes)
}

/// Bounds this process, and ends it with the one that started it.
fn bound() -> io::Result<()> {
    let limit = |resource, most: u64| {
        let most = Some(most);
        rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })
    };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::nice(NICE)?;
    limit(Resource::Core, 0)?;
    limit(Resource::As, PLUGIN_COMPILE_BYTES)?;
    // Of all threads together, and whatever else the machine has to do.
    limit(Resource::Cpu, PLUGIN_COMPILE_CPU_SECONDS)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A compiler that is none.
    fn script(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("compiler");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        path
    }

    #[test]
    fn a_compiler_that_does_not_end_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let endless = script(folder.path(), "exec sleep 1000");
        let bytes = vec![0; 1 << 20];
        let refused = ask(&endless, &bytes, Duration::from_millis(50)).unwrap_err();
        assert_eq!(refused, "it takes more than 0 s");
    }

    #[test]
    fn a_compiler_that_breaks_says_how() {
        let folder = tempfile::tempdir().unwrap();
        for (text, ended) in [
            ("kill -SEGV $$", "signal: 11 (SIGSEGV)"),
            (
                "printf '\\000\\005\\000\\000\\000\\000\\000\\000\\000four'; exit 7",
                "exit status: 7",
            ),
            ("exec true", "exit status: 0"),
        ] {
            let program = script(folder.path(), text);
            let answer = ask(&program, b"", Duration::from_secs(60)).unwrap();
            let refused = read_answer(answer).unwrap_err();
            assert!(refused.contains(ended), "{text}: {refused}");
        }
        let missing = ask(&folder.path().join("none"), b"", Duration::from_secs(60)).unwrap_err();
        assert!(missing.contains("none cannot be run: "), "{missing}");
    }
}
