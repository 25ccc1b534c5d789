//! Bugs planted on purpose, to see that the simulation finds them. In no build but that of the unit
//! tests: this module and every place that names it stand under `cfg(test)`.

use std::cell::Cell;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A sync of the log returns without syncing.
    SyncDoesNothing,
    /// Who waits for a commit is told that it is made, whatever becomes of it.
    AcknowledgeBeforeCommit,
    /// Offsets and checkpoints are written in a second transaction.
    CheckpointApart,
    /// Records are shown to readers before they are written.
    VisibleBeforeDurable,
    /// What is read back is taken for what was written.
    NoCrcCheck,
    /// A journal entry is left out when the journal is replayed.
    ReplaySkipsOne,
    /// A segment is unlinked in which something lives.
    UnlinkEarly,
}

impl Bug {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::SyncDoesNothing,
        Self::AcknowledgeBeforeCommit,
        Self::CheckpointApart,
        Self::VisibleBeforeDurable,
        Self::NoCrcCheck,
        Self::ReplaySkipsOne,
        Self::UnlinkEarly,
    ];
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug for this thread, or takes it away.
pub(crate) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this one is planted.
pub(crate) fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
