//! `millstream serve`

use std::path::PathBuf;
use std::pin::pin;

use anyhow::Context;
use clap::Args;

use super::listen::{Addresses, ListenArgs};
use super::output::Out;
use super::tuning::TuningArgs;
use super::{own_program, runtime};
use crate::config::{Config, Settings};
use crate::pipeline::{Bundle, DeployError};
use crate::server::{Server, termination};

/// Run a broker until SIGINT or SIGTERM.
///
/// Prints one line for each address at which it accepts connections. Only this machine can
/// connect unless --insecure is given.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Manifests to deploy at the start.
    manifest: Vec<PathBuf>,

    /// Folder that holds everything; made if it is missing [default: millstream-data].
    #[arg(long, value_name = "DIR", env = "MILLSTREAM_DATA")]
    data: Option<PathBuf>,

    #[command(flatten)]
    listen: ListenArgs,

    #[command(flatten)]
    tuning: TuningArgs,
}

impl Serve {
    pub(super) fn run(self, out: Out) -> anyhow::Result<()> {
        let Self { manifest, data, listen, tuning } = self;
        let mut config = tuning.settings(Settings { data, ..listen.settings() })?.validate()?;
        config.compiler = own_program();
        let bundles: Vec<Bundle> =
            manifest.iter().map(|path| Bundle::load(path)).collect::<Result<_, _>>()?;
        let runtime = runtime().context("cannot start threads")?;
        let ended = runtime.block_on(Box::pin(serve(config, bundles, out)));
        // Everything is closed, but for a start or a compilation that was interrupted.
        runtime.shutdown_background();
        ended
    }
}

async fn serve(config: Config, bundles: Vec<Bundle>, mut out: Out) -> anyhow::Result<()> {
    let mut shutdown = pin!(termination()?);
    let started = tokio::select! {
        started = Box::pin(Server::start(config)) => started,
        () = &mut shutdown => return Ok(()),
    };
    let server = started?;
    let deployed = tokio::select! {
        deployed = Box::pin(deploy(&server, bundles)) => Some(deployed),
        () = &mut shutdown => None,
    };
    match deployed {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            server.abandon().await?;
            return Err(anyhow::Error::new(error).context("the manifest cannot be deployed"));
        }
        None => return Ok(server.abandon().await?),
    }
    // A broker serves on when nobody reads where.
    let printed = Addresses::of(&server).print(&mut out, "");
    if let Err(error) = printed {
        tracing::warn!("the addresses could not be printed: {error}");
    }
    server.run(shutdown).await?;
    Ok(())
}

async fn deploy(server: &Server, bundles: Vec<Bundle>) -> Result<(), DeployError> {
    for bundle in bundles {
        for warning in server.pipelines().deploy(bundle).await?.warnings {
            tracing::warn!("{warning}");
        }
    }
    Ok(())
}
