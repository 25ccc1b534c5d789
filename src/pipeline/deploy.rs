//! What a deployment is: the bundle that is sent, the record that is stored, and what can be wrong
//! with either.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::graph::{PipelinePlan, component_paths};
use super::problem::Problem;
use crate::broker::{CommitError, StorageError, TopicError};
use crate::limits::{COMPONENT_BYTES_MAX, MANIFEST_BYTES};
use crate::types::{PipelineName, TopicName};

/// A manifest with the components that it names.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The manifest's text.
    pub manifest: String,
    /// The manifest's name, for messages.
    pub file: String,
    /// The components by their paths as written in the manifest.
    pub components: BTreeMap<String, Bytes>,
    /// Why a component that is there could not be read, by its path.
    pub unreadable: BTreeMap<String, String>,
}

impl Bundle {
    /// Reads a manifest and its components, whose paths are relative to it. A component that is
    /// not there is left out, and of one that cannot be read the reason is kept: the deployment
    /// says so together with all other mistakes.
    ///
    /// # Errors
    /// The manifest cannot be read or is too large.
    pub fn load(path: &Path) -> Result<Self, DeployError> {
        let manifest = read(path, MANIFEST_BYTES).and_then(|text| {
            String::from_utf8(text)
                .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
        });
        let manifest =
            manifest.map_err(|source| DeployError::Read { path: path.to_owned(), source })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut components = BTreeMap::new();
        let mut unreadable = BTreeMap::new();
        for component in component_paths(&manifest) {
            match read(&folder.join(&component), COMPONENT_BYTES_MAX) {
                Ok(bytes) => {
                    components.insert(component, Bytes::from(bytes));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    unreadable.insert(component, error.to_string());
                }
            }
        }
        Ok(Self { manifest, file: path.display().to_string(), components, unreadable })
    }
}

fn read(path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(path)?.take(most as u64 + 1);
    file.read_to_end(&mut bytes)?;
    if bytes.len() > most {
        let message = format!("more than {most} bytes");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// What a deployment did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// Topics that were created.
    pub topics: Vec<TopicName>,
    /// The manifest's pipelines, in its order.
    pub pipelines: Vec<(PipelineName, Change)>,
    /// What is probably not meant.
    pub warnings: Vec<Problem>,
}

/// What a deployment did with a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There was none of that name.
    Started,
    /// It goes on where the one before it ended.
    Replaced,
    /// It runs as it did.
    Unchanged,
}

/// Why a deployment was refused. Nothing was changed, except after [`DeployError::Create`],
/// [`DeployError::Commit`]: then topics that were created stay, and it can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The manifest has mistakes; warnings are among them.
    #[error("{}", render(.0))]
    Problems(Vec<Problem>),
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A topic could not be created.
    #[error("topic {name} was not created: {error}")]
    Create {
        /// Which.
        name: TopicName,
        /// Why.
        error: TopicError,
    },
    /// The deployment could not be made durable.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// What is stored could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The supervisor has been shut down.
    #[error("pipelines are shutting down")]
    Stopped,
}

fn render(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

/// A deployed pipeline as it is stored, in JSON: it outlives versions of this program.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    /// The manifest that it came from, for people.
    pub(super) file: String,
    pub(super) manifest: String,
    pub(super) plan: PipelinePlan,
    /// SHA-256 of each step's component, lower-case hex, in the order of the steps.
    pub(super) digests: Vec<String>,
}

/// The bytes of a SHA-256 in hex; nothing if it is none.
pub(super) fn digest_bytes(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(i * 2..i * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_back() {
        let hex = "00ff".repeat(16);
        assert_eq!(digest_bytes(&hex).map(|bytes| (bytes[0], bytes[31])), Some((0, 255)));
        for wrong in ["", "00", &"zz".repeat(32), &"ä".repeat(32)] {
            assert_eq!(digest_bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_bundle_holds_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("m.toml");
        std::fs::create_dir(folder.path().join("lib")).unwrap();
        std::fs::write(folder.path().join("lib/a.wasm"), b"a").unwrap();
        let text = "[plugin]\na.component = \"lib/a.wasm\"\nb.component = \"b.wasm\"\n\
                    c.component = \"lib\"\n";
        std::fs::write(&manifest, text).unwrap();
        let bundle = Bundle::load(&manifest).unwrap();
        assert_eq!(bundle.components, [("lib/a.wasm".to_owned(), Bytes::from("a"))].into());
        assert_eq!(bundle.manifest, text);
        assert_eq!(bundle.unreadable.into_keys().collect::<Vec<_>>(), ["lib"]);
        let missing = Bundle::load(&folder.path().join("none.toml")).unwrap_err();
        assert!(missing.to_string().contains("none.toml: "), "{missing}");
    }
}
