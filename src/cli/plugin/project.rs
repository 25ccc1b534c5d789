//! The folder of one plugin: `plugin.toml` says what it is and how it is tested.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use serde::Deserialize;

use super::build::Language;
use crate::limits::MANIFEST_BYTES;
use crate::plugin::PluginKind;

/// The file that makes a folder a plugin's.
pub(super) const FILE: &str = "plugin.toml";

/// What a plugin does with a record; the words are those of a manifest's step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// Keeps or drops it.
    Filter,
    /// Makes zero or more records of it.
    Transform,
    /// Names the outputs it goes to.
    Route,
}

impl Kind {
    /// The word in a manifest and on the command line.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Transform => "transform",
            Self::Route => "route",
        }
    }

    /// The world in `wit/`.
    pub(super) fn world(self) -> &'static str {
        match self {
            Self::Filter => "filter-plugin",
            Self::Transform => "transformer-plugin",
            Self::Route => "router-plugin",
        }
    }

    /// The kind as the host has it.
    pub(super) fn plugin_kind(self) -> PluginKind {
        match self {
            Self::Filter => PluginKind::Filter,
            Self::Transform => PluginKind::Transformer,
            Self::Route => PluginKind::Router,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A plugin's folder.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) folder: PathBuf,
    pub(super) plugin: About,
}

/// What stands in `plugin.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) language: Language,
    pub(super) kind: Kind,
    /// Whether its step says `wasi = true`.
    #[serde(default)]
    pub(super) wasi: bool,
    #[serde(default)]
    pub(super) test: TestFiles,
}

/// How it is tested.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestFiles {
    /// Records, one a line.
    pub(super) input: Option<PathBuf>,
    /// What is to come of them.
    pub(super) expect: Option<PathBuf>,
    /// What the plugin reads through `config`.
    #[serde(default)]
    pub(super) config: BTreeMap<String, String>,
}

impl Project {
    /// Reads `plugin.toml` of a folder.
    pub(super) fn load(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let length = std::fs::metadata(&path).map(|file| file.len()).with_context(|| {
            format!("{} cannot be read; is this the folder of a plugin?", path.display())
        })?;
        anyhow::ensure!(
            length <= MANIFEST_BYTES as u64,
            "{} is {length} bytes long, at most {MANIFEST_BYTES} are allowed",
            path.display()
        );
        let cannot = || format!("{} cannot be read", path.display());
        let text = std::fs::read_to_string(&path).with_context(cannot)?;
        let plugin: About = toml::from_str(&text)
            .map_err(|error| anyhow::anyhow!("{}: {}", path.display(), error.to_string().trim()))?;
        check_name(&plugin.name)
            .map_err(|reason| anyhow::anyhow!("{}: name {reason}", path.display()))?;
        Ok(Self { folder: folder.to_owned(), plugin })
    }

    /// Where the component is.
    pub(super) fn component(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.plugin.name))
    }
}

/// Names become those of crates, modules and files in ten languages.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|c| c.is_ascii_lowercase());
    let rest = characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if first && rest && name.len() <= 64 && !name.ends_with('-') && !name.contains("--") {
        return Ok(());
    }
    Err(format!(
        "{name:?} is not lower-case letters, digits and single '-' inside, a letter first, \
         64 at most"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_every_language() {
        for good in ["a", "by-region", "log2json"] {
            assert_eq!(check_name(good), Ok(()));
        }
        let long = "x".repeat(65);
        for bad in ["", "2a", "-a", "a-", "a--b", "a_b", "A", "a/b", "é", ".", long.as_str()] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mistake_in_the_file_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let error = Project::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is this the folder of a plugin"), "{error}");
        let file = folder.path().join(FILE);
        std::fs::write(&file, "name = \"a\"\nlanguage = \"cobol\"\nkind = \"filter\"\n").unwrap();
        let error = Project::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("cobol"), "{error}");
        std::fs::write(&file, "name = \"A\"\nlanguage = \"c\"\nkind = \"filter\"\n").unwrap();
        assert!(Project::load(folder.path()).unwrap_err().to_string().contains("name \"A\""));
    }
}
