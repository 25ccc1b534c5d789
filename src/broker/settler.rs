//! The settler: a thread that does for the store what commits have left for later, so that no
//! commit waits for it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::committer::Committer;
use crate::storage::{StorageError, StoreReader};

/// By how much the thread gives way to the others.
const NICE: i32 = 5;

/// The committer's hold on the settler. The thread ends with it.
#[derive(Debug)]
pub(super) struct Settler {
    /// `None` only while it is dropped.
    signal: Option<SyncSender<()>>,
    failure: Failure,
    thread: Option<JoinHandle<()>>,
}

/// What failed, until the committer asks.
#[derive(Debug, Clone, Default)]
struct Failure(Arc<Mutex<Option<StorageError>>>);

impl Failure {
    fn lock(&self) -> MutexGuard<'_, Option<StorageError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settler {
    /// Starts the thread.
    pub(super) fn spawn(store: StoreReader) -> std::io::Result<Self> {
        let (signal, signals) = sync_channel(1);
        let failure = Failure::default();
        let run = {
            let failure = failure.clone();
            move || run(&store, &signals, &failure)
        };
        let thread = std::thread::Builder::new().name("settler".to_owned()).spawn(run)?;
        Ok(Self { signal: Some(signal), failure, thread: Some(thread) })
    }

    /// Has it done soon.
    fn signal(&self) {
        if let Some(signal) = &self.signal {
            // Signalled already, it comes all the same.
            let _ = signal.try_send(());
        }
    }

    /// What has failed since the last call. Nothing is lost by it: the redo file has the groups.
    pub(super) fn take_failure(&self) -> Option<StorageError> {
        self.failure.lock().take()
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        self.signal = None;
        if let Some(thread) = self.thread.take() {
            // What it panicked of was printed, and the redo file has what it did not do.
            let _ = thread.join();
        }
    }
}

impl Committer {
    /// Has done what the store has left for later, if that is due.
    pub(super) fn catch_up(&self) -> Result<(), StorageError> {
        let is_due = self.shared.store.is_behind();
        let Some(settler) = &self.settler else {
            return if is_due { self.shared.store.catch_up() } else { Ok(()) };
        };
        if is_due {
            settler.signal();
        }
        settler.take_failure().map_or(Ok(()), Err)
    }
}

fn run(store: &StoreReader, signals: &Receiver<()>, failure: &Failure) {
    // Of this thread alone. Clients' records come first; where it is refused, all come alike.
    let _ = rustix::process::nice(NICE);
    while signals.recv().is_ok() {
        // The last time may have done what this signal is about: it was given meanwhile.
        if !store.is_behind() {
            continue;
        }
        match store.catch_up() {
            // The committer knows.
            Ok(()) | Err(StorageError::Failed) => {}
            Err(error) => *failure.lock() = Some(error),
        }
    }
}
