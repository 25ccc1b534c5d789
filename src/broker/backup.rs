//! Copies of a whole store: made of a running broker at one commit, and put into place again. And
//! the look over a folder that no broker has open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Broker;
use crate::clock::SystemClock;
use crate::storage::{
    Checked, Copied, DiskFiles, Files, Repaired, StorageError, check, copy_store, repair,
};

/// Why a folder was not copied, checked or repaired.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It does not say where it is.
    #[error("{} is not an absolute path", .0.display())]
    Relative(PathBuf),
    /// There is something in it.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// It is not there.
    #[error("{} is not there", .0.display())]
    Missing(PathBuf),
    /// Something in it is not as it was written.
    #[error("{} is damaged; `millstream check` says what", .0.display())]
    Damaged(PathBuf),
    /// The system does not allow it.
    #[error("{}: {source}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The store says no.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A write has failed before.
    #[error("the storage takes no writes: {0}")]
    Outage(String),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopped,
}

impl Broker {
    /// Copies everything, as it is at one commit, into a folder that is empty or not there. Clients
    /// go on meanwhile. Durable when it returns.
    pub async fn back_up(&self, to: PathBuf) -> Result<Copied, FolderError> {
        if !to.is_absolute() {
            return Err(FolderError::Relative(to));
        }
        let files = self.blocking(move |_| open_empty(&to)).await?;
        let snapshot = self.admin(|committer| committer.admin(|store| store.snapshot())).await;
        let snapshot = snapshot.ok_or(FolderError::Stopped)?.map_err(FolderError::Outage)?;
        self.blocking(move |_| Ok(snapshot.copy_to(&files)?)).await
    }
}

/// Puts a copy into place: into a folder that is empty or not there. Refuses what is damaged.
pub fn restore_folder(from: &Path, to: &Path) -> Result<Copied, FolderError> {
    let checked = check_folder(from)?;
    if !checked.is_whole() {
        return Err(FolderError::Damaged(from.to_owned()));
    }
    let source = open_existing(from)?;
    let target = open_empty(to)?;
    Ok(copy_store(&source, &target)?)
}

/// Looks over a folder that no broker has open, and changes nothing in it.
pub fn check_folder(path: &Path) -> Result<Checked, FolderError> {
    let files: Arc<dyn Files> = Arc::new(open_existing(path)?);
    Ok(check(files, Arc::new(SystemClock::new()))?)
}

/// Puts what can be read into the place of what is damaged; what that was is under `damaged/`.
pub fn repair_folder(path: &Path, checked: &Checked) -> Result<Repaired, FolderError> {
    let files: Arc<dyn Files> = Arc::new(open_existing(path)?);
    Ok(repair(&files, checked)?)
}

fn open_existing(path: &Path) -> Result<DiskFiles, FolderError> {
    if !path.is_dir() {
        return Err(FolderError::Missing(path.to_owned()));
    }
    open(path)
}

fn open_empty(path: &Path) -> Result<DiskFiles, FolderError> {
    let failed = |source| FolderError::Folder { path: path.to_owned(), source };
    let is_empty = match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(failed(error)),
    };
    if is_empty { open(path) } else { Err(FolderError::NotEmpty(path.to_owned())) }
}

fn open(path: &Path) -> Result<DiskFiles, FolderError> {
    DiskFiles::open(path).map_err(|source| FolderError::Folder { path: path.to_owned(), source })
}
