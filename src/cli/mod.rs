//! The commands: one file each, one struct each, whose doc comment is its help. `serve` and `dev`
//! run a broker in this process, `plugin` does without one; the others ask one over HTTP.

mod backup;
mod check;
mod client;
mod consume;
mod deploy;
mod dev;
mod groups;
mod lines;
mod listen;
mod output;
mod pipelines;
mod plugin;
mod produce;
mod serve;
mod topics;
mod tuning;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use self::client::ClientError;
use self::output::{Out, OutputClosed};
use crate::config::ConfigError;
use crate::http::ErrorView;
use crate::plugin::{COMPILE_COMMAND, compile_apart};

/// A streaming broker in one binary: Kafka clients outside, WebAssembly pipelines inside.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Print JSON for programs instead of text for people.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Dev(Box<dev::Dev>),
    Deploy(deploy::Deploy),
    Pipelines(pipelines::Pipelines),
    Topics(topics::Topics),
    Groups(groups::Groups),
    Produce(produce::Produce),
    Consume(consume::Consume),
    Plugin(plugin::Plugin),
    Check(check::Check),
    Backup(backup::Backup),
    Restore(backup::Restore),
    /// Compile a component for the broker that runs this.
    #[command(name = COMPILE_COMMAND, hide = true)]
    CompilePlugin,
}

/// Runs the command that the process was started with. Exit code 0: done; 1: failed; 2: not
/// understood.
pub fn main() -> ExitCode {
    let Cli { command, json } = Cli::parse();
    let default_log = match &command {
        Command::Serve(_) => "info",
        // It shows itself what fails, and what stops.
        Command::Dev(_) => "warn,millstream::pipeline=off,millstream::plugin=debug",
        Command::Plugin(_) => "warn,millstream::cli=info,millstream::plugin=debug",
        _ => "warn",
    };
    start_log(default_log);
    let out = Out::stdout(json);
    let outcome = match command {
        Command::Serve(command) => command.run(out),
        Command::Dev(command) => command.run(out),
        Command::Deploy(command) => command.run(out),
        Command::Pipelines(command) => command.run(out),
        Command::Topics(command) => command.run(out),
        Command::Groups(command) => command.run(out),
        Command::Produce(command) => command.run(out),
        Command::Consume(command) => command.run(out),
        Command::Plugin(command) => command.run(out),
        Command::Check(command) => command.run(out),
        Command::Backup(command) => command.run(out),
        Command::Restore(command) => command.run(out),
        Command::CompilePlugin => return compile_apart(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough.
        Err(error) if error.is::<OutputClosed>() => ExitCode::SUCCESS,
        Err(error) => {
            report(&error, json);
            ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
        }
    }
}

fn report(error: &anyhow::Error, json: bool) {
    let line = if json {
        let view = match error.downcast_ref() {
            Some(ClientError::Refused(view)) => view.clone(),
            _ => ErrorView { error: chain(error), problems: Vec::new() },
        };
        serde_json::to_string(&view).unwrap_or(view.error)
    } else {
        format!("error: {}", chain(error))
    };
    // Nobody is left to be told of this one's failure.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// An error and its causes in one line, without those that the one before has told already.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Logs go to standard error, `MILLSTREAM_LOG` or `RUST_LOG` says which.
fn start_log(default: &str) {
    let given = ["MILLSTREAM_LOG", "RUST_LOG"].iter().find_map(|name| std::env::var(name).ok());
    let filter = EnvFilter::new(given.as_deref().unwrap_or(default));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
}

/// This program, also when its file has been replaced meanwhile.
fn own_program() -> Option<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Some(running) } else { std::env::current_exe().ok() }
}

/// The runtime of the commands that wait for more than one thing.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    bound_arenas();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Has the C library's allocator make one arena for each core at most. By itself it makes eight,
/// each of which keeps what was freed in it: after a broker's load 344 MB were resident, so 307.
fn bound_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        #[expect(unsafe_code, reason = "no library has this call")]
        // SAFETY: two numbers are handed over; what is allocated already stays where it is.
        unsafe {
            // If it refuses, there are as many as before.
            let _ = libc::mallopt(libc::M_ARENA_MAX, cores.try_into().unwrap_or(libc::c_int::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("disk full").context("a.toml: disk full").context("failed");
        assert_eq!(chain(&error), "failed: a.toml: disk full");
    }
}
