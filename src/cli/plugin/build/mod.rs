//! `millstream plugin build`: from the source of one plugin to a component that a broker takes. The
//! language's own compiler does the most of it; what it knows nothing of is done here: bindings for
//! languages without a generator, and the component around a core module.

mod bindings;
mod compile;
mod component;
mod language;
mod sdk;
mod tools;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::json;

pub(super) use self::bindings::write as write_bindings;
pub(super) use self::component::identity;
pub(super) use self::language::Language;
use super::project::{Kind, Project};
use crate::cli::output::{Out, number};
use crate::plugin::{Engine, PluginKind};

/// Build the plugin of a folder.
///
/// Reads `plugin.toml`, writes the bindings to `gen/`, calls the language's compiler, makes a
/// component of what that leaves, and checks it as a broker would. What is in between lands in
/// `build/`.
#[derive(Debug, Args)]
pub(super) struct Build {
    /// The folder of the plugin.
    #[arg(default_value = ".")]
    folder: PathBuf,

    /// Where to write the component [default: NAME.wasm in the folder].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// What to build it as, if the compiler is told something else than usual [default: what
    /// plugin.toml says].
    #[arg(long, value_enum)]
    kind: Option<Kind>,

    /// Further arguments to the language's compiler.
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

impl Build {
    pub(super) fn run(self, mut out: Out) -> anyhow::Result<()> {
        let mut project = Project::load(&self.folder)?;
        project.plugin.kind = self.kind.unwrap_or(project.plugin.kind);
        let about = &project.plugin;
        bindings::write(&project)?;
        let component = compile::component(&project, self.arguments)?;
        // Looked at before it takes the place of one that may be good.
        let plugin = Engine::new()?.load(&component).context("a broker would refuse it")?;
        let found = plugin.kind();
        // A processor is of any kind.
        anyhow::ensure!(
            found == about.kind.plugin_kind() || found == PluginKind::Processor,
            "what was built is a {found}, but plugin.toml says {}",
            about.kind
        );
        let path = self.out.unwrap_or_else(|| project.component());
        std::fs::write(&path, &component)
            .with_context(|| format!("cannot write {}", path.display()))?;
        if out.is_json() {
            out.json(
                &json!({ "component": path, "kind": found.as_str(), "bytes": component.len() }),
            )?;
        } else {
            out.line(format!(
                "{}: {}, {} bytes",
                path.display(),
                found,
                number(component.len() as i128)
            ))?;
        }
        out.flush()
    }
}
