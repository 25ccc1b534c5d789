//! `millstream plugin new`

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::build::{Language, write_bindings};
use super::project::{FILE, Kind, Project, check_name};
use super::templates;
use crate::cli::output::Out;

/// Make a folder with a plugin that builds and passes its test.
#[derive(Debug, Args)]
pub(super) struct New {
    /// The plugin's name, and its folder's.
    #[arg(value_parser = name)]
    name: String,

    /// What to write it in.
    #[arg(long, value_enum)]
    language: Language,

    /// What it does with a record.
    #[arg(long, value_enum)]
    kind: Kind,

    /// The folder [default: the name].
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

fn name(given: &str) -> Result<String, String> {
    check_name(given).map(|()| given.to_owned())
}

impl New {
    pub(super) fn run(self, mut out: Out) -> anyhow::Result<()> {
        let Self { name, language, kind, folder } = self;
        let folder = folder.unwrap_or_else(|| PathBuf::from(&name));
        make(&folder)?;
        let source = language.source(&name);
        let mut files = vec![(source.as_str(), templates::source(language, kind))];
        files.extend(templates::COMMON);
        files.extend(templates::beside(language));
        files.push(("tests/expect.ndjson", templates::expect(kind)));
        for (path, text) in files {
            let text = text
                .replace("NAME", &name)
                .replace("LANGUAGE", language.as_str())
                .replace("KIND", kind.as_str())
                .replace("\nCONFIG\n", templates::config(kind));
            write(&folder.join(path), &text)?;
        }
        write_bindings(&Project::load(&folder)?)?;
        let at = folder.display();
        if out.is_json() {
            out.json(&json!({ "folder": folder, "source": folder.join(&source) }))?;
        } else {
            out.line(format!("{at}/{source} is a {kind} in {language}; next:"))?;
            out.line(format!("  millstream plugin build {at}"))?;
            out.line(format!("  millstream plugin test {at}"))?;
        }
        out.flush()
    }
}

/// Makes the folder; one that has something in it may be somebody's work.
fn make(folder: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot make {}", folder.display());
    std::fs::create_dir_all(folder).with_context(cannot)?;
    let mut entries = std::fs::read_dir(folder).with_context(cannot)?;
    anyhow::ensure!(entries.next().is_none(), "{} is not empty", folder.display());
    debug_assert!(!folder.join(FILE).exists());
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(cannot)?;
    }
    std::fs::write(path, text).with_context(cannot)
}
