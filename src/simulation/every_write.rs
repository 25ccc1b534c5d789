//! One recorded run, again and again: each time another of its operations on the disk fails, or
//! finds the disk full. What was acknowledged is served meanwhile and is there afterwards, writes
//! are taken again once the disk is well, and a crash at the end leaves all of it.

use std::ops::Range;
use std::time::Duration;

use super::check::{check, find};
use super::disk::crashed;
use super::run::{Run, Told};
use super::work::{Disk, Life};
use super::{Plan, Report, seeded};
use crate::clock::Clock;

/// Actions until the disk is well again, and after that.
const ACTIONS: u32 = 120;
const ACTIONS_AFTER: u32 = 30;

/// What happens to the disk at one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It fails: a write, a resize, a sync, a change of names.
    Fails,
    /// It is full from there on.
    Full,
}

impl Fault {
    pub(super) const ALL: [Self; 2] = [Self::Fails, Self::Full];
}

/// The operations of a seed's run on a disk that is well.
pub(super) fn operations(seed: u64) -> Range<u64> {
    let mut operations = 0..0;
    let report = seeded(seed, || {
        let mut run = Run::new(seed, Plan::default());
        let worked = open(&mut run).and_then(|mut life| {
            operations.start = run.files.operations();
            life.work_on_a_told_disk(&mut run, ACTIONS)
        });
        operations.end = run.files.operations();
        run.report.objections.extend(worked.err());
        run.report
    });
    assert!(report.objections.is_empty(), "{:#?}", report.objections);
    operations
}

/// The run with a fault at one operation.
pub(super) fn with_fault(seed: u64, fault: Fault, operation: u64) -> Report {
    seeded(seed, || {
        let mut run = Run::new(seed, Plan::default());
        let lived = live(&mut run, fault, operation);
        run.report.objections.extend(lived.err());
        run.report
    })
}

fn open(run: &mut Run) -> Result<Life, String> {
    let opened = run.open(&run.files.clone())?;
    let life = Life::begin(run, opened)?;
    run.files.fail_at(u64::MAX);
    Ok(life)
}

fn live(run: &mut Run, fault: Fault, operation: u64) -> Result<(), String> {
    let mut life = open(run)?;
    match fault {
        Fault::Fails => run.files.fail_at(operation),
        Fault::Full => run.files.fill_up_at(operation),
    }
    life.work_on_a_told_disk(run, ACTIONS)?;
    run.files.fill_up(false);
    run.files.fail_at(u64::MAX);
    life.outlive_the_outage(run)?;
    life.work_on_a_told_disk(run, ACTIONS_AFTER)?;
    life.end(run);
    run.report.crashes += 1;
    let image = crashed(&run.files, &mut run.random);
    let (broker, mut committer, _) = run.open(&image)?;
    run.report.images += 1;
    let verdict = check(&run.told, &broker, &mut committer, &image);
    run.count(&verdict)
}

impl Life {
    /// A life of so many actions whose power does not go; its disk does what it is told to
    /// from outside. While writes are refused, everything is read and held against what clients
    /// were told.
    fn work_on_a_told_disk(&mut self, run: &mut Run, actions: u32) -> Result<(), String> {
        self.disk = Disk::Told;
        run.files.power_off_at(u64::MAX);
        for _ in 0..actions {
            // No jump of the clock: an outage is to last as long as it does.
            let action = run.random.u32(..97);
            run.trace(&action);
            self.act(action, run)?;
            self.notice_outage(run)?;
            if self.is_out {
                self.check_readers(run)?;
            }
        }
        Ok(())
    }

    /// Lets time pass until writes are taken again, and serves all that clients still ask for.
    fn outlive_the_outage(&mut self, run: &mut Run) -> Result<(), String> {
        let patience_ms = 30_000;
        let began = run.clock.monotonic();
        while !self.committer.maintain() {
            run.pass(500);
            if run.clock.monotonic() - began > Duration::from_millis(patience_ms) {
                return Err(format!("still out: {:?}", self.broker.outage()));
            }
        }
        self.notice_outage(run)?;
        for index in 0..run.producers.len() {
            self.produce_of(run, index);
        }
        while !self.queue.is_empty() {
            self.serve(run)?;
        }
        match self.broker.outage() {
            None => self.check_readers(run),
            Some(reason) => Err(format!("out again: {reason}")),
        }
    }

    /// Everything that was acknowledged is read, now.
    fn check_readers(&self, run: &mut Run) -> Result<(), String> {
        let found = find(&self.broker, &Told::topics())?;
        let verdict = run.told.ledger.check(&found);
        run.count(&verdict)
    }
}
