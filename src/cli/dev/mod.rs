//! `millstream dev`: a broker for one manifest, with everything that comes out of it on the screen.

mod feed;
mod screen;
mod session;
mod tail;
mod watch;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use clap::{Args, ValueEnum};

use self::session::Session;
use super::listen::ListenArgs;
use super::output::Out;
use super::{own_program, runtime};
use crate::config::Settings;
use crate::types::TopicName;

/// Run a broker for one manifest and watch what comes out of its pipelines.
///
/// Deploys the manifest on a fresh broker, feeds it files, and shows the records of every output
/// topic as they come, the lines that plugins log, and the records that they fail on. Edits of the
/// manifest and its components are deployed at once. Goes on until Ctrl-C, or with --once until
/// every pipeline is through with its input.
#[derive(Debug, Args)]
pub(super) struct Dev {
    /// The manifest, a TOML file; components are found relative to it.
    manifest: PathBuf,

    /// Feed a file to a topic, one record a line. May be given several times.
    #[arg(long = "input", value_name = "TOPIC=FILE")]
    inputs: Vec<Input>,

    /// End when every pipeline is through with its input. Listens on free ports unless told
    /// otherwise; fails if a pipeline does.
    #[arg(long)]
    once: bool,

    /// Which output records to show [default: sample with --once, otherwise all].
    #[arg(long, value_enum, value_name = "WHICH")]
    show: Option<Show>,

    /// Folder that holds everything and stays; a fresh one that is removed if not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    #[command(flatten)]
    listen: ListenArgs,
}

/// Which output records are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Show {
    /// All, as they come.
    All,
    /// The first few of each topic.
    Sample,
    /// None.
    None,
}

/// A file for a topic.
#[derive(Debug, Clone)]
pub(super) struct Input {
    topic: TopicName,
    file: PathBuf,
}

impl FromStr for Input {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let (topic, file) = given.split_once('=').ok_or("expected TOPIC=FILE")?;
        if file.is_empty() {
            return Err("expected TOPIC=FILE".to_owned());
        }
        let topic = TopicName::new(topic).map_err(|error| error.to_string())?;
        Ok(Self { topic, file: PathBuf::from(file) })
    }
}

impl Dev {
    pub(super) fn run(self, out: Out) -> anyhow::Result<()> {
        let Self { manifest, inputs, once, show, data, listen } = self;
        let fresh = match data {
            Some(_) => None,
            None => Some(tempfile::tempdir().context("cannot make a folder for the broker")?),
        };
        let folder = fresh.as_ref().map(|fresh| fresh.path().to_owned());
        let folder = data.or(folder).unwrap_or_default();
        // Beside a broker that has the usual ones.
        let free = |address: &str| once.then(|| address.to_owned());
        let kafka = free("localhost:0").map(|kafka| vec![kafka]);
        let unsaid = Settings { kafka, http: free("127.0.0.1:0"), ..Settings::default() };
        let said = Settings { data: Some(folder), ..listen.settings() };
        let mut config = said.or(unsaid).validate()?;
        config.compiler = own_program();
        check_file(&manifest)?;
        inputs.iter().try_for_each(|input| check_file(&input.file))?;
        let show = show.unwrap_or(if once { Show::Sample } else { Show::All });
        let session = Session { manifest, inputs, once, show };
        let runtime = runtime().context("cannot start threads")?;
        let ended = runtime.block_on(Box::pin(session.run(config, out)));
        // A file that cannot be read on, as a pipe, is not waited for.
        runtime.shutdown_background();
        ended
    }
}

fn check_file(file: &Path) -> anyhow::Result<()> {
    let found =
        std::fs::metadata(file).with_context(|| format!("cannot open {}", file.display()))?;
    anyhow::ensure!(!found.is_dir(), "{} is a folder", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_a_topic_and_a_file() {
        let input: Input = "quakes=a=b.ndjson".parse().unwrap();
        assert_eq!(
            (input.topic.as_str(), input.file.as_path()),
            ("quakes", Path::new("a=b.ndjson"))
        );
        for wrong in ["quakes", "=f", "quakes=", "a/b=f"] {
            assert!(wrong.parse::<Input>().is_err(), "{wrong}");
        }
    }
}
