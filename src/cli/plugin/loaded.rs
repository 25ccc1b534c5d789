//! Finding a component by what the user named, and loading it as the broker would.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use super::project::Project;
use crate::limits::{COMPONENT_BYTES, STEP_CALL_MS, STEP_MEMORY_MIB};
use crate::plugin::{Engine, Instance, Limits, Plugin, Settings};

/// How the step of a manifest would have it.
#[derive(Debug, Args)]
pub(super) struct StepArgs {
    /// What the plugin reads as its configuration. May be given several times.
    #[arg(long = "config", value_name = "NAME=VALUE", value_parser = name_and_value)]
    config: Vec<(String, String)>,

    /// Most memory, in MiB, as in the `limits` of a step.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(i64).range(STEP_MEMORY_MIB))]
    memory_mib: Option<i64>,

    /// Most time for one call, in milliseconds, as in the `limits` of a step.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(i64).range(STEP_CALL_MS))]
    call_ms: Option<i64>,

    /// Give it WASI's clocks, random numbers and output, as `wasi = true` in a step.
    #[arg(long)]
    wasi: bool,
}

fn name_and_value(given: &str) -> Result<(String, String), String> {
    let (name, value) = given.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl StepArgs {
    /// The settings: those of the project's test, and over them those of the command line.
    pub(super) fn settings(&self, name: &str, project: Option<&Project>) -> Settings {
        let mut config =
            project.map_or_else(BTreeMap::new, |project| project.plugin.test.config.clone());
        config.extend(self.config.iter().cloned());
        let mut limits = Limits::default();
        if let Some(mib) = self.memory_mib.and_then(|mib| usize::try_from(mib).ok()) {
            limits.memory_bytes = mib << 20;
        }
        if let Some(ms) = self.call_ms.and_then(|ms| u64::try_from(ms).ok()) {
            limits.call_ms = ms;
        }
        Settings {
            pipeline: "test".to_owned(),
            step: format!("1-{name}"),
            topic: "test".to_owned(),
            kind: project.map(|project| project.plugin.kind.plugin_kind()),
            config,
            limits,
            wasi: self.wasi || project.is_some_and(|project| project.plugin.wasi),
            ..Settings::default()
        }
    }
}

/// What the user named.
pub(super) struct Found {
    /// What to call it: the plugin's name, or the file's.
    name: String,
    pub(super) path: PathBuf,
    /// The plugin's folder, if that is what was named.
    project: Option<Project>,
    pub(super) bytes: Vec<u8>,
}

/// A component that the broker would take.
pub(super) struct Loaded {
    /// What to call it: the plugin's name, or the file's.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// The plugin's folder, if that is what was named.
    pub(super) project: Option<Project>,
    /// Length of the component.
    pub(super) bytes: usize,
    pub(super) plugin: Plugin,
    /// How long checking and compiling took.
    pub(super) compiled_in: Duration,
}

impl Found {
    /// Reads a component, or that of a plugin's folder.
    pub(super) fn read(named: &Path) -> anyhow::Result<Self> {
        let project = if named.is_dir() { Some(Project::load(named)?) } else { None };
        let path = project.as_ref().map_or_else(|| named.to_owned(), Project::component);
        if let Some(project) = project.as_ref().filter(|_| !path.exists()) {
            anyhow::bail!(
                "{} is not there; run `millstream plugin build {}` first",
                path.display(),
                project.folder.display()
            );
        }
        let bytes = read(&path)?;
        let name = match &project {
            Some(project) => project.plugin.name.clone(),
            None => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        };
        Ok(Self { name, path, project, bytes })
    }

    /// Checks and compiles it.
    pub(super) fn load(self, engine: &Engine) -> anyhow::Result<Loaded> {
        let Self { name, path, project, bytes } = self;
        let begun = Instant::now();
        let refused = || path.display().to_string();
        let plugin = engine.load(&bytes).with_context(refused)?;
        let compiled_in = begun.elapsed();
        Ok(Loaded { name, path, project, bytes: bytes.len(), plugin, compiled_in })
    }
}

impl Loaded {
    /// Loads a component, or that of a plugin's folder.
    pub(super) fn load(engine: &Engine, named: &Path) -> anyhow::Result<Self> {
        Found::read(named)?.load(engine)
    }

    /// An instance as a step would have it.
    pub(super) fn instance(&self, step: &StepArgs) -> Instance {
        self.plugin.instance(step.settings(&self.name, self.project.as_ref()))
    }
}

/// Reads a component; one byte more than is allowed is enough to see that it is too large.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("{} cannot be read", path.display());
    let file = std::fs::File::open(path).with_context(cannot)?;
    let mut bytes = Vec::new();
    file.take(COMPONENT_BYTES as u64 + 1).read_to_end(&mut bytes).with_context(cannot)?;
    Ok(bytes)
}
