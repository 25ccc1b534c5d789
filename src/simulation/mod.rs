//! A broker from its disk to its pipelines in one thread, from one seed: storage, committer,
//! cleaner and pipeline workers are the real ones; disk and clock are simulated, and what happens
//! next is drawn. A run lives, crashes, recovers and goes on; each crash leaves many images of the
//! disk, and all of them are opened and checked.
//!
//! `MILLSTREAM_SEED` runs one seed and tells what it does, `MILLSTREAM_IMAGES` as many seeds as
//! so many images take (`docs/faults.md`).

mod check;
mod damage;
mod disk;
mod every_write;
#[allow(dead_code, reason = "the real process has groups as well")]
mod ledger;
mod producer;
mod run;
mod tests;
mod work;

use self::run::Run;
use crate::planted::{self, Bug};

/// What a run amounts to.
#[derive(Debug, Clone, Default)]
struct Report {
    seed: u64,
    /// Crashes; images of the disk that they left; images that were crashed again while they were
    /// opened; damaged copies of the disk.
    crashes: u64,
    images: u64,
    crashed_again: u64,
    damaged: u64,
    /// Copies of the running store.
    backups: u64,
    /// Segments that were begun, and that are gone again.
    segments: u64,
    unlinked: u64,
    /// Writes that failed while the broker went on.
    faults: u64,
    /// What the checks have counted, over all images.
    acknowledged: u64,
    found: u64,
    lost: u64,
    duplicated: u64,
    misordered: u64,
    half_applied: u64,
    unopenable: u64,
    /// How long opening took, microseconds.
    opened_us: Vec<u64>,
    /// What is wrong; nothing if all is well.
    objections: Vec<String>,
    /// A hash over all that happened: the same for the same seed.
    trace: u64,
}

/// How a run is made.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Times that the power goes.
    crashes: u32,
    /// Images of the disk that are looked at after each.
    images: u32,
    /// Damaged copies of the disk that are looked at in the end.
    damaged: u32,
    bug: Option<Bug>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { crashes: 10, images: 10, damaged: 5, bug: None }
    }
}

/// Runs a seed.
fn simulate(seed: u64, plan: Plan) -> Report {
    planted::plant(plan.bug);
    let report = seeded(seed, || Run::new(seed, plan).go());
    planted::plant(None);
    report
}

/// Runs something whose ids are drawn from a seed as well. A panic is an objection.
fn seeded(seed: u64, run: impl FnOnce() -> Report) -> Report {
    crate::random::seed(Some(seed));
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    crate::random::seed(None);
    made.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
        Report { seed, objections: vec![format!("it panicked: {text}")], ..Report::default() }
    })
}
