//! `millstream backup` and `millstream restore`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::client::{Client, ServerArgs};
use super::output::Out;
use crate::broker::restore_folder;
use crate::http::{Backup as Asked, BackupDone};

/// Copy everything that a running broker holds into a folder on its machine.
///
/// The copy is the broker as it is at one moment: topics, records, offsets, checkpoints, pipelines.
/// Clients go on meanwhile. `millstream restore` puts it into place.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The folder; it must be empty or not there.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,

    #[command(flatten)]
    server: ServerArgs,
}

impl Backup {
    pub(super) fn run(self, mut out: Out) -> anyhow::Result<()> {
        let to = std::path::absolute(&self.to).context("there is no current folder")?;
        let asked = Asked { to: to.display().to_string() };
        let done: BackupDone = Client::patient(&self.server).post("/v1/backups", &asked)?;
        tell(&mut out, &done, &format!("copied to {}", to.display()))
    }
}

/// Put a backup into place, in a folder that a broker can then be started with.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The backup.
    from: PathBuf,

    /// The data folder; it must be empty or not there.
    #[arg(long, value_name = "DIR", env = "MILLSTREAM_DATA")]
    data: PathBuf,
}

impl Restore {
    pub(super) fn run(self, mut out: Out) -> anyhow::Result<()> {
        let copied = restore_folder(&self.from, &self.data)?;
        let done = BackupDone { segments: copied.segments, bytes: copied.bytes };
        tell(&mut out, &done, &format!("restored to {}", self.data.display()))
    }
}

fn tell(out: &mut Out, done: &BackupDone, what: &str) -> anyhow::Result<()> {
    if out.is_json() {
        out.json(done)?;
    } else {
        out.line(format!("{what}: {} segments, {} bytes", done.segments, done.bytes))?;
    }
    out.flush()
}
