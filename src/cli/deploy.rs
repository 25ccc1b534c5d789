//! `millstream deploy`

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;

use super::client::{Client, ServerArgs};
use super::output::Out;
use crate::http::{Deployment, DeploymentDone};
use crate::pipeline::Bundle;

/// Deploy a manifest to a running broker.
///
/// Creates its topics and starts or replaces its pipelines, which go on from their checkpoints.
/// Every mistake in the manifest is reported, and nothing is changed if there is one.
#[derive(Debug, Args)]
pub(super) struct Deploy {
    /// The manifest, a TOML file; components are found relative to it.
    manifest: PathBuf,

    #[command(flatten)]
    server: ServerArgs,
}

impl Deploy {
    pub(super) fn run(self, mut out: Out) -> anyhow::Result<()> {
        let Bundle { manifest, file, components, unreadable } = Bundle::load(&self.manifest)?;
        let components = components
            .into_iter()
            .map(|(path, bytes)| (path, BASE64_STANDARD.encode(bytes)))
            .collect();
        let deployment = Deployment { file, manifest, components, unreadable };
        let done: DeploymentDone =
            Client::new(&self.server).post("/v1/deployments", &deployment)?;
        if out.is_json() {
            out.json(&done)?;
        } else {
            for warning in &done.warnings {
                out.line(&warning.rendered)?;
            }
            for line in changes(&done) {
                out.line(line)?;
            }
        }
        out.flush()
    }
}

/// What a deployment changed, a line each.
pub(super) fn changes(done: &DeploymentDone) -> Vec<String> {
    let topics = done.topics.iter().map(|topic| format!("topic {topic} created"));
    let pipelines =
        done.pipelines.iter().map(|change| format!("pipeline {} {}", change.name, change.change));
    topics.chain(pipelines).collect()
}
