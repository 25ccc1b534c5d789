//! Notices edits of the manifest and its components.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::pipeline::Bundle;

/// Editors and compilers write a file in several steps.
const SETTLE: Duration = Duration::from_millis(200);

/// Watches the folders of a manifest and its components.
pub(super) struct Watch {
    manifest: PathBuf,
    watcher: RecommendedWatcher,
    folders: Vec<PathBuf>,
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
            folders: Vec::new(),
            events,
            settles: None,
        };
        watch.add(&folder_of(manifest))?;
        Ok(watch)
    }

    /// Watches the folders of these components as well. One that is not there is not watched.
    pub(super) fn follow(&mut self, bundle: &Bundle) {
        let base = folder_of(&self.manifest);
        for component in bundle.components.keys().chain(bundle.unreadable.keys()) {
            let folder = folder_of(&base.join(component));
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
                    return;
                }
            }
        }
    }

    fn add(&mut self, folder: &Path) -> notify::Result<()> {
        if self.folders.iter().any(|known| known == folder) {
            return Ok(());
        }
        // The folder, since editors replace files rather than write to them.
        self.watcher.watch(folder, RecursiveMode::NonRecursive)?;
        self.folders.push(folder.to_owned());
        Ok(())
    }
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
