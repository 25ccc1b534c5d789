//! `millstream plugin`: what the author of a plugin needs. No broker, but its plugin engine.

mod bench;
mod build;
mod input;
mod inspect;
mod loaded;
mod new;
mod outcome;
mod project;
mod templates;
mod trial;

use clap::{Args, Subcommand};

use super::output::Out;

/// Write, build, test and look at plugins.
#[derive(Debug, Args)]
pub(super) struct Plugin {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    New(new::New),
    Build(build::Build),
    Test(trial::Test),
    Bench(bench::Bench),
    Inspect(inspect::Inspect),
}

impl Plugin {
    pub(super) fn run(self, out: Out) -> anyhow::Result<()> {
        match self.command {
            PluginCommand::New(command) => command.run(out),
            PluginCommand::Build(command) => command.run(out),
            PluginCommand::Test(command) => command.run(out),
            PluginCommand::Bench(command) => command.run(out),
            PluginCommand::Inspect(command) => command.run(out),
        }
    }
}
