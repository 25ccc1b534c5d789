//! Notices edits of the manifest and its components.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::pipeline::{Bundle, component_paths};

/// Editors and compilers write a file in several steps.
const SETTLE: Duration = Duration::from_millis(200);

/// Watches the folders of a manifest and its components.
pub(super) struct Watch {
    manifest: PathBuf,
    watcher: RecommendedWatcher,
    /// The components' files, there or not.
    components: BTreeSet<PathBuf>,
    events: mpsc::Receiver<()>,
    /// When the last edit has settled, if there was one.
    settles: Option<Instant>,
}

impl Watch {
    pub(super) fn new(manifest: &Path) -> notify::Result<Self> {
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // Full: it is known already that there is something.
                let _ = sender.try_send(());
            }
        })?;
        let mut watch = Self {
            manifest: manifest.to_owned(),
            watcher,
            components: BTreeSet::new(),
            events,
            settles: None,
        };
        watch.add(&folder_of(manifest))?;
        Ok(watch)
    }

    /// Watches where these components are or will be as well.
    pub(super) fn follow(&mut self, bundle: &Bundle) {
        let base = folder_of(&self.manifest);
        let all = component_paths(&bundle.manifest).into_iter();
        self.components = all.map(|component| base.join(component)).collect();
        self.renew();
    }

    /// Watches what is there by now: folders come and go, and a watch goes with its folder.
    fn renew(&mut self) {
        let mut folders: BTreeSet<PathBuf> =
            self.components.iter().map(|component| nearest_folder(component)).collect();
        folders.insert(folder_of(&self.manifest));
        for folder in folders {
            if let Err(error) = self.add(&folder) {
                tracing::warn!("edits in {} go unnoticed: {error}", folder.display());
            }
        }
    }

    /// Waits for an edit, and until it has settled. May be dropped while it waits: the edit is not
    /// forgotten.
    pub(super) async fn changed(&mut self) {
        loop {
            let event = match self.settles {
                None => Ok(self.events.recv().await),
                Some(at) => timeout_at(at, self.events.recv()).await,
            };
            match event {
                Ok(Some(())) => self.settles = Some(Instant::now() + SETTLE),
                Ok(None) => std::future::pending().await,
                Err(_) => {
                    self.settles = None;
                    // Before anything is loaded, so that nothing comes unnoticed in between.
                    self.renew();
                    return;
                }
            }
        }
    }

    fn add(&mut self, folder: &Path) -> notify::Result<()> {
        // The folder, since editors replace files rather than write to them.
        self.watcher.watch(folder, RecursiveMode::NonRecursive)
    }
}

/// The folder of a file, or the nearest above that is there.
fn nearest_folder(file: &Path) -> PathBuf {
    let folder = folder_of(file);
    let there = folder.ancestors().find(|folder| folder.is_dir());
    there.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_component_is_noticed_when_it_comes_with_its_folders() {
        const LONG: Duration = Duration::from_secs(30);
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("m.toml");
        let text = "[plugin.a]\ncomponent = \"x/y/a.wasm\"\n";
        std::fs::write(&manifest, text).unwrap();
        let mut watch = Watch::new(&manifest).unwrap();
        let components = BTreeMap::new();
        let unreadable = BTreeMap::new();
        let manifest = text.to_owned();
        watch.follow(&Bundle { manifest, file: String::new(), components, unreadable });
        for folders in ["x", "x/y"] {
            std::fs::create_dir(folder.path().join(folders)).unwrap();
            timeout(LONG, watch.changed()).await.unwrap();
        }
        std::fs::write(folder.path().join("x/y/a.wasm"), "a").unwrap();
        timeout(LONG, watch.changed()).await.unwrap();
    }
}
