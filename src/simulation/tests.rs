//! The simulation at work: a share of it in every `cargo test`, all of it on demand, and the proof
//! that it finds what is broken.

use std::time::Instant;

use super::damage::{Tally, try_copies as try_copies_of};
use super::every_write::{Fault, operations, with_fault};
use super::ledger::{Found, FoundPartition, FoundRecord, Ledger, Policy, Sent};
use super::{Plan, Report, simulate};
use crate::planted::{self, Bug};

/// Seeds that a planted bug may take to be found.
const SEEDS_PER_BUG: u64 = 10;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

fn assert_well(report: &Report) {
    let seed = report.seed;
    assert!(
        report.objections.is_empty(),
        "seed {seed}: {:#?}\nrun it again: MILLSTREAM_SEED={seed} cargo test --lib \
         simulation::tests::a_seed -- --nocapture",
        report.objections
    );
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_crashes() {
    let (mut unlinked, mut faults, mut backups) = (0, 0, 0);
    for seed in 0..10 {
        let report = simulate(seed, Plan::default());
        assert_well(&report);
        unlinked += report.unlinked;
        faults += report.faults;
        backups += report.backups;
    }
    assert!(unlinked > 0 && faults > 0, "{unlinked} segments unlinked, {faults} faults");
    assert!(backups > 0, "no backup was made");
}

#[test]
fn a_seed() {
    if let Some(seed) = number("MILLSTREAM_SEED") {
        let report = simulate(seed, Plan::default());
        println!("{report:#?}");
        assert_well(&report);
    }
}

#[test]
fn a_seed_runs_the_same_way_again() {
    for seed in [1, 2] {
        let plan = Plan { crashes: 3, images: 2, ..Plan::default() };
        assert_eq!(simulate(seed, plan).trace, simulate(seed, plan).trace, "seed {seed}");
    }
    assert_ne!(simulate(1, Plan::default()).trace, simulate(2, Plan::default()).trace);
}

#[test]
fn each_planted_bug_is_found_within_ten_seeds() {
    for bug in Bug::ALL {
        let plan = Plan { bug: Some(bug), ..Plan::default() };
        let found = (0..SEEDS_PER_BUG).find(|seed| !simulate(*seed, plan).objections.is_empty());
        let seed = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
        let report = simulate(seed, plan);
        println!("{bug:?} is found at seed {seed}: {}", report.objections[0]);
    }
}

/// Lets the disk fail, and be full, at every `step`-th operation of a seed's run.
fn fail_writes(seed: u64, step: usize) {
    let operations = operations(seed);
    let (mut sum, mut runs) = (Report::default(), 0);
    for fault in Fault::ALL {
        for operation in operations.clone().step_by(step) {
            let report = with_fault(seed, fault, operation);
            let objections = &report.objections;
            assert!(
                objections.is_empty(),
                "seed {seed}, {fault:?} at {operation}: {objections:#?}"
            );
            runs += 1;
            sum.faults += report.faults;
            sum.acknowledged += report.acknowledged;
            sum.found += report.found;
        }
    }
    println!(
        "seed {seed}, operations {operations:?}: {runs} runs, {} outages, {} records acknowledged, \
         {} found",
        sum.faults, sum.acknowledged, sum.found
    );
    assert!(sum.faults > 0, "no fault was felt");
}

#[test]
fn a_write_that_fails_and_a_full_disk_cost_nothing_that_was_acknowledged() {
    fail_writes(0, 23);
}

#[test]
fn an_acknowledgement_of_a_write_that_failed_is_found() {
    planted::plant(Some(Bug::AcknowledgeBeforeCommit));
    let mut operations = operations(0).step_by(23);
    let found = operations.any(|at| !with_fault(0, Fault::Fails, at).objections.is_empty());
    planted::plant(None);
    assert!(found, "nobody minds");
}

#[test]
#[ignore = "takes minutes: every operation of three runs"]
fn every_write_that_fails_and_every_full_disk() {
    (0..3).for_each(|seed| fail_writes(seed, 1));
}

fn try_copies(seeds: std::ops::Range<u64>, copies: u64) {
    let mut tally = Tally::default();
    for seed in seeds {
        try_copies_of(seed, copies, &mut tally);
    }
    println!("{tally:#?}");
    assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
    assert!(tally.part > 0 && tally.served > 0, "the damage is not felt");
}

#[test]
fn damage_is_told_and_costs_nothing_else() {
    try_copies(0..4, 50);
}

#[test]
#[ignore = "takes minutes: 10,000 damaged copies"]
fn all_damaged_copies() {
    try_copies(100..200, 100);
}

#[test]
#[ignore = "a measurement: MILLSTREAM_IMAGES images, by default 100,000"]
fn all_images() {
    let images = number("MILLSTREAM_IMAGES").unwrap_or(100_000);
    let first = number("MILLSTREAM_SEED").unwrap_or(1_000);
    let started = Instant::now();
    let mut sum = Report::default();
    let mut seed = first;
    while sum.images < images {
        let report = simulate(seed, Plan::default());
        assert_well(&report);
        sum.crashes += report.crashes;
        sum.images += report.images;
        sum.crashed_again += report.crashed_again;
        sum.damaged += report.damaged;
        sum.faults += report.faults;
        sum.backups += report.backups;
        sum.segments += report.segments;
        sum.unlinked += report.unlinked;
        sum.acknowledged += report.acknowledged;
        sum.found += report.found;
        sum.lost += report.lost;
        sum.duplicated += report.duplicated;
        sum.misordered += report.misordered;
        sum.half_applied += report.half_applied;
        sum.unopenable += report.unopenable;
        sum.opened_us.extend(report.opened_us);
        seed += 1;
    }
    let mut opened = std::mem::take(&mut sum.opened_us);
    opened.sort_unstable();
    let at = |share: f64| opened[((opened.len() - 1) as f64 * share) as usize] as f64 / 1_000.0;
    println!("seeds {first}..{seed}: {sum:#?}");
    println!("opened in ms: p50 {} p99 {} max {}", at(0.5), at(0.99), at(1.0));
    println!("took {:?}", started.elapsed());
}

#[test]
fn what_was_acknowledged_after_a_copy_is_in_it_if_it_reaches_as_far() {
    let place = ("table".to_owned(), 0);
    let sent = |key: &str, value: Option<&str>| Sent {
        key: Some(key.to_owned()),
        value: value.map(str::to_owned),
    };
    let mut ledger = Ledger::default();
    ledger.topic("table", Policy::Compacted);
    let send = |ledger: &mut Ledger, base, records| {
        let batch = ledger.send(place.clone(), 0, records);
        ledger.acknowledge(batch, base).unwrap();
    };
    send(&mut ledger, 0, vec![sent("a", Some("1"))]);
    let before = ledger.clone();
    send(&mut ledger, 1, vec![sent("b", Some("2")), sent("a", None)]);
    send(&mut ledger, 3, vec![sent("b", Some("3"))]);
    let told = ledger.told_before(&before);
    let check = |end, records: &[(i64, &str, &str)]| {
        let records = records.iter().map(|(offset, key, value)| FoundRecord {
            offset: *offset,
            key: Some((*key).to_owned()),
            value: Some((*value).to_owned()),
        });
        let partition = FoundPartition { end, records: records.collect(), ..Default::default() };
        told.check(&Found::from([(place.clone(), partition)]))
    };
    // Compaction has taken the batch with the tombstone of "a", whose time was over.
    assert_eq!(check(4, &[(3, "b", "3")]).objections, [""; 0]);
    assert_eq!(check(1, &[(0, "a", "1")]).objections, [""; 0]);
    assert_eq!(check(1, &[]).lost, 1, "the copy ends before the tombstone");
    assert_eq!(check(4, &[(1, "b", "2")]).half_applied, 1, "the last of a key is not there");
}
