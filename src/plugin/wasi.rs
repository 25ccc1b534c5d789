//! WASI 0.2 for components that want it, in steps with `wasi = true`: clocks, random numbers, and
//! standard output and error as lines in the log.
//!
//! The libraries of most languages import more than they use, and look for it when they start. So
//! standard input, environment, arguments, terminals and the file system are there as well and hold
//! nothing: no variable, no directory, no byte. Nothing else of WASI is: no socket, no HTTP.

use std::time::Duration;

use blake3::OutputReader;
use wasmtime::Trap;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, Linker, Resource, ResourceTable, ResourceType, Val};
use wasmtime::{Error, Result};

use crate::clock::{Clock, SystemClock};
use crate::limits::{PLUGIN_HANDLES, PLUGIN_LOG_BYTES, WASI_RANDOM_BYTES, WASI_WRITE_BYTES};

use super::contract::bindings::millstream::plugin::logging::{self, Level};
use super::contract::wasi_guest::wasi::{cli, clocks, io, random};
use super::imports::Host;
use io::streams::StreamError;

/// What an instance has of WASI.
pub(super) struct Wasi {
    clock: SystemClock,
    /// When the call must have ended, by `clock`.
    call_ends: Duration,
    waits: ResourceTable,
    random: OutputReader,
    /// The line that each output has begun.
    lines: [Vec<u8>; 2],
}

/// A time to wait for, by the instance's clock; none has passed already.
#[expect(unreachable_pub, reason = "the bindings export it")]
pub struct Pollable(Option<Duration>);

/// Standard input, which is at its end.
#[expect(unreachable_pub, reason = "the bindings export it")]
pub struct Input;

/// Standard output or standard error; which one says the resource's number.
#[expect(unreachable_pub, reason = "the bindings export it")]
pub struct Output;

/// What there is none of.
#[expect(unreachable_pub, reason = "the bindings export it")]
pub enum Nothing {}

/// That a plugin has called `exit`.
#[derive(Debug, thiserror::Error)]
#[error("it called `exit`")]
pub(super) struct Exited;

impl Wasi {
    pub(super) fn new() -> Self {
        let mut waits = ResourceTable::new();
        waits.set_max_capacity(PLUGIN_HANDLES);
        // As unpredictable as the ids, and repeated where a simulation repeats them.
        let mut seed = blake3::Hasher::new();
        seed.update(crate::random::id().as_bytes()).update(crate::random::id().as_bytes());
        Self {
            clock: SystemClock::new(),
            call_ends: Duration::ZERO,
            waits,
            random: seed.finalize_xof(),
            lines: [Vec::new(), Vec::new()],
        }
    }

    pub(super) fn begin_call(&mut self, call_ms: u64) {
        self.call_ends = self.clock.monotonic() + Duration::from_millis(call_ms);
    }

    fn random(&mut self, len: u64) -> Result<Vec<u8>> {
        let len = usize::try_from(len).ok().filter(|len| *len <= WASI_RANDOM_BYTES);
        let len = len.ok_or_else(|| {
            Error::msg(format!("more than {WASI_RANDOM_BYTES} random bytes at once"))
        })?;
        let mut bytes = vec![0; len];
        self.random.fill(&mut bytes);
        Ok(bytes)
    }

    fn random_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn pollable(&mut self, until: Option<Duration>) -> Result<Resource<Pollable>> {
        Ok(self.waits.push(Pollable(until))?)
    }

    /// Sleeps; a call that sleeps beyond its time ends like one that runs beyond it.
    fn wait(&self, until: Duration) -> Result<()> {
        let sleep = |until: Duration| {
            std::thread::sleep(until.saturating_sub(self.clock.monotonic()));
        };
        sleep(until.min(self.call_ends));
        if until > self.call_ends { Err(Trap::Interrupt.into()) } else { Ok(()) }
    }

    fn until(&self, pollable: &Resource<Pollable>) -> Result<Duration> {
        Ok(self.waits.get(pollable)?.0.unwrap_or_default())
    }
}

/// Adds all but the file system.
pub(super) fn link(linker: &mut Linker<Host>) -> Result<()> {
    type Data = HasSelf<Host>;
    io::error::add_to_linker::<_, Data>(linker, |host| host)?;
    io::poll::add_to_linker::<_, Data>(linker, |host| host)?;
    io::streams::add_to_linker::<_, Data>(linker, |host| host)?;
    clocks::wall_clock::add_to_linker::<_, Data>(linker, |host| host)?;
    clocks::monotonic_clock::add_to_linker::<_, Data>(linker, |host| host)?;
    random::random::add_to_linker::<_, Data>(linker, |host| host)?;
    random::insecure::add_to_linker::<_, Data>(linker, |host| host)?;
    random::insecure_seed::add_to_linker::<_, Data>(linker, |host| host)?;
    cli::environment::add_to_linker::<_, Data>(linker, |host| host)?;
    cli::exit::add_to_linker::<_, Data>(linker, |host| host)?;
    cli::stdin::add_to_linker::<_, Data>(linker, |host| host)?;
    cli::stdout::add_to_linker::<_, Data>(linker, |host| host)?;
    cli::stderr::add_to_linker::<_, Data>(linker, |host| host)?;
    cli::terminal_input::add_to_linker::<_, Data>(linker, |host| host)?;
    cli::terminal_output::add_to_linker::<_, Data>(linker, |host| host)?;
    cli::terminal_stdin::add_to_linker::<_, Data>(linker, |host| host)?;
    cli::terminal_stdout::add_to_linker::<_, Data>(linker, |host| host)?;
    cli::terminal_stderr::add_to_linker::<_, Data>(linker, |host| host)
}

/// Adds a file system without a directory, as the component imports it. So no file can be opened,
/// and all that is done to open ones cannot be called.
pub(super) fn link_no_files(linker: &mut Linker<Host>, component: &Component) -> Result<()> {
    let engine = linker.engine().clone();
    for (name, import) in component.component_type().imports(&engine) {
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        if !name.starts_with("wasi:filesystem/") {
            continue;
        }
        let mut linked = linker.instance(name)?;
        for (item, export) in instance.exports(&engine) {
            match export.ty {
                ComponentItem::ComponentFunc(_) if item == "get-directories" => {
                    linked.func_new(item, |_, _, _, results| {
                        if let Some(result) = results.first_mut() {
                            *result = Val::List(Vec::new());
                        }
                        Ok(())
                    })?;
                }
                ComponentItem::ComponentFunc(_) => {
                    linked.func_new(item, |_, _, _, _| Err(Error::msg("there are no files")))?;
                }
                ComponentItem::Resource(_)
                    if ["descriptor", "directory-entry-stream"].contains(&item) =>
                {
                    linked.resource(item, ResourceType::host::<Nothing>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

impl Host {
    /// Writes what an output has begun and not ended.
    pub(super) fn end_lines(&mut self) {
        for output in 0..2 {
            self.write_line(output);
        }
    }

    fn write_line(&mut self, output: usize) {
        let Some(line) = self.wasi.lines.get_mut(output).map(std::mem::take) else { return };
        if !line.is_empty() {
            let level = if output == 0 { Level::Info } else { Level::Warn };
            logging::Host::log(self, level, String::from_utf8_lossy(&line).into_owned());
        }
    }

    fn write(&mut self, output: &Resource<Output>, mut bytes: &[u8]) {
        let output = output.rep() as usize;
        while let Some(begun) = self.wasi.lines.get_mut(output)
            && !bytes.is_empty()
        {
            let room = PLUGIN_LOG_BYTES.saturating_sub(begun.len());
            let end = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let (now, rest) = bytes.split_at(end.unwrap_or(room.min(bytes.len())));
            begun.extend_from_slice(now);
            bytes = rest;
            if end.is_some() || begun.len() >= PLUGIN_LOG_BYTES {
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
                self.write_line(output);
            }
        }
    }
}

impl io::error::Host for Host {}

impl io::error::HostError for Host {
    fn to_debug_string(&mut self, _: Resource<Nothing>) -> Result<String> {
        Ok(String::new())
    }

    fn drop(&mut self, _: Resource<Nothing>) -> Result<()> {
        Ok(())
    }
}

impl io::poll::Host for Host {
    fn poll(&mut self, pollables: Vec<Resource<Pollable>>) -> Result<Vec<u32>> {
        let untils = pollables.iter().map(|pollable| self.wasi.until(pollable));
        let untils = untils.collect::<Result<Vec<_>>>()?;
        let first = untils.iter().min().ok_or_else(|| Error::msg("a poll for nothing"))?;
        self.wasi.wait(*first)?;
        let now = self.wasi.clock.monotonic();
        let ready = (0..).zip(&untils).filter(|(_, until)| **until <= now);
        Ok(ready.map(|(index, _)| index).collect())
    }
}

impl io::poll::HostPollable for Host {
    fn ready(&mut self, pollable: Resource<Pollable>) -> Result<bool> {
        Ok(self.wasi.until(&pollable)? <= self.wasi.clock.monotonic())
    }

    fn block(&mut self, pollable: Resource<Pollable>) -> Result<()> {
        self.wasi.wait(self.wasi.until(&pollable)?)
    }

    fn drop(&mut self, pollable: Resource<Pollable>) -> Result<()> {
        self.wasi.waits.delete(pollable)?;
        Ok(())
    }
}

/// What comes of reading or writing a stream.
type Streamed<T> = Result<Result<T, StreamError>>;

impl io::streams::Host for Host {}

impl io::streams::HostInputStream for Host {
    fn read(&mut self, _: Resource<Input>, _: u64) -> Streamed<Vec<u8>> {
        Ok(Err(StreamError::Closed))
    }

    fn blocking_read(&mut self, _: Resource<Input>, _: u64) -> Streamed<Vec<u8>> {
        Ok(Err(StreamError::Closed))
    }

    fn skip(&mut self, _: Resource<Input>, _: u64) -> Streamed<u64> {
        Ok(Err(StreamError::Closed))
    }

    fn blocking_skip(&mut self, _: Resource<Input>, _: u64) -> Streamed<u64> {
        Ok(Err(StreamError::Closed))
    }

    fn subscribe(&mut self, _: Resource<Input>) -> Result<Resource<Pollable>> {
        self.wasi.pollable(None)
    }

    fn drop(&mut self, _: Resource<Input>) -> Result<()> {
        Ok(())
    }
}

impl io::streams::HostOutputStream for Host {
    fn check_write(&mut self, _: Resource<Output>) -> Streamed<u64> {
        Ok(Ok(WASI_WRITE_BYTES))
    }

    fn write(&mut self, output: Resource<Output>, bytes: Vec<u8>) -> Streamed<()> {
        Host::write(self, &output, &bytes);
        Ok(Ok(()))
    }

    fn blocking_write_and_flush(
        &mut self,
        output: Resource<Output>,
        bytes: Vec<u8>,
    ) -> Streamed<()> {
        Host::write(self, &output, &bytes);
        Ok(Ok(()))
    }

    fn flush(&mut self, _: Resource<Output>) -> Streamed<()> {
        Ok(Ok(()))
    }

    fn blocking_flush(&mut self, _: Resource<Output>) -> Streamed<()> {
        Ok(Ok(()))
    }

    fn subscribe(&mut self, _: Resource<Output>) -> Result<Resource<Pollable>> {
        self.wasi.pollable(None)
    }

    /// No log line has them.
    fn write_zeroes(&mut self, _: Resource<Output>, _: u64) -> Streamed<()> {
        Ok(Ok(()))
    }

    fn blocking_write_zeroes_and_flush(&mut self, _: Resource<Output>, _: u64) -> Streamed<()> {
        Ok(Ok(()))
    }

    fn splice(&mut self, _: Resource<Output>, _: Resource<Input>, _: u64) -> Streamed<u64> {
        Ok(Err(StreamError::Closed))
    }

    fn blocking_splice(
        &mut self,
        _: Resource<Output>,
        _: Resource<Input>,
        _: u64,
    ) -> Streamed<u64> {
        Ok(Err(StreamError::Closed))
    }

    fn drop(&mut self, _: Resource<Output>) -> Result<()> {
        Ok(())
    }
}

impl clocks::wall_clock::Host for Host {
    fn now(&mut self) -> Result<clocks::wall_clock::Datetime> {
        let ms = self.wasi.clock.now_ms().max(0).unsigned_abs();
        let nanoseconds = u32::try_from(ms % 1_000).unwrap_or_default() * 1_000_000;
        Ok(clocks::wall_clock::Datetime { seconds: ms / 1_000, nanoseconds })
    }

    fn resolution(&mut self) -> Result<clocks::wall_clock::Datetime> {
        Ok(clocks::wall_clock::Datetime { seconds: 0, nanoseconds: 1_000_000 })
    }
}

impl clocks::monotonic_clock::Host for Host {
    fn now(&mut self) -> Result<u64> {
        Ok(u64::try_from(self.wasi.clock.monotonic().as_nanos()).unwrap_or(u64::MAX))
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<Pollable>> {
        self.wasi.pollable(Some(Duration::from_nanos(when)))
    }

    fn subscribe_duration(&mut self, when: u64) -> Result<Resource<Pollable>> {
        let until = self.wasi.clock.monotonic() + Duration::from_nanos(when);
        self.wasi.pollable(Some(until))
    }
}

impl random::random::Host for Host {
    fn get_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.wasi.random(len)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        Ok(self.wasi.random_u64())
    }
}

impl random::insecure::Host for Host {
    fn get_insecure_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.wasi.random(len)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        Ok(self.wasi.random_u64())
    }
}

impl random::insecure_seed::Host for Host {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        Ok((self.wasi.random_u64(), self.wasi.random_u64()))
    }
}

impl cli::environment::Host for Host {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

impl cli::exit::Host for Host {
    fn exit(&mut self, _: Result<(), ()>) -> Result<()> {
        Err(Exited.into())
    }
}

impl cli::stdin::Host for Host {
    fn get_stdin(&mut self) -> Result<Resource<Input>> {
        Ok(Resource::new_own(0))
    }
}

impl cli::stdout::Host for Host {
    fn get_stdout(&mut self) -> Result<Resource<Output>> {
        Ok(Resource::new_own(0))
    }
}

impl cli::stderr::Host for Host {
    fn get_stderr(&mut self) -> Result<Resource<Output>> {
        Ok(Resource::new_own(1))
    }
}

impl cli::terminal_input::Host for Host {}

impl cli::terminal_input::HostTerminalInput for Host {
    fn drop(&mut self, _: Resource<Nothing>) -> Result<()> {
        Ok(())
    }
}

impl cli::terminal_output::Host for Host {}

impl cli::terminal_output::HostTerminalOutput for Host {
    fn drop(&mut self, _: Resource<Nothing>) -> Result<()> {
        Ok(())
    }
}

impl cli::terminal_stdin::Host for Host {
    fn get_terminal_stdin(&mut self) -> Result<Option<Resource<Nothing>>> {
        Ok(None)
    }
}

impl cli::terminal_stdout::Host for Host {
    fn get_terminal_stdout(&mut self) -> Result<Option<Resource<Nothing>>> {
        Ok(None)
    }
}

impl cli::terminal_stderr::Host for Host {
    fn get_terminal_stderr(&mut self) -> Result<Option<Resource<Nothing>>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
