//! Copies of the running broker under full load: each is restored, started, and held against what
//! clients had been told when it was asked for.

use std::sync::atomic::Ordering;

use super::{Alarm, World, check, consume, manage, produce};
use crate::util::{Broker, run, succeeded};

/// Copies in every `cargo test`; `MILLSTREAM_BACKUPS` says another number.
const BACKUPS: u32 = 4;
/// Copies of one broker: what it holds grows, and with it the time that each takes.
const BACKUPS_PER_BROKER: u32 = 25;
/// Records that producers may send for each copy.
const RECORDS_PER_COPY: u64 = 2_000;

#[test]
fn a_copy_made_under_load_has_all_that_was_acknowledged_before() {
    let backups = std::env::var("MILLSTREAM_BACKUPS").map_or(BACKUPS, |text| text.parse().unwrap());
    let (mut acknowledged, mut found) = (0, 0);
    for first in (0..backups).step_by(BACKUPS_PER_BROKER as usize) {
        let count = BACKUPS_PER_BROKER.min(backups - first);
        let (more_acknowledged, more_found) = copy_a_broker_at_work(count);
        acknowledged += more_acknowledged;
        found += more_found;
        println!("{} copies, {acknowledged} records acknowledged, {found} found", first + count);
    }
}

fn copy_a_broker_at_work(copies: u32) -> (u64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--segment-size", "256KiB"];
    let broker = Broker::start_in(&folder.path().join("data"), &args);
    let world = World::new(&broker);
    manage::set_up(&world, folder.path());
    let (mut acknowledged, mut found) = (0, 0);
    std::thread::scope(|scope| {
        let world = &world;
        let _alarm = Alarm(world);
        for who in &produce::PRODUCERS {
            scope.spawn(|| produce::run(world, who));
        }
        scope.spawn(move || consume::run(world, 0));
        for copy in 0..copies {
            // More than comes while it is copied, and no more than can be read in a moment.
            let now = world.acknowledged.load(Ordering::Relaxed);
            world.allowed.store(now + RECORDS_PER_COPY, Ordering::Relaxed);
            let target = now + RECORDS_PER_COPY / 4;
            while world.acknowledged.load(Ordering::Relaxed) < target {
                assert!(!world.stop.load(Ordering::Relaxed), "a worker has given up");
                std::thread::yield_now();
            }
            let place = |what: &str| folder.path().join(format!("{what}-{copy}"));
            let (copy, data) = (place("copy"), place("restored"));
            let before = world.told().ledger.clone();
            succeeded(&broker.run(&["backup", "--to", copy.to_str().unwrap()]));
            let report = succeeded(&run(&["check", copy.to_str().unwrap()]));
            assert!(report.contains("everything is as it was written"), "{report}");
            let restore = ["restore", copy.to_str().unwrap(), "--data", data.to_str().unwrap()];
            succeeded(&run(&restore));
            let restored = Broker::start_in(&data, &args);
            manage::caught_up(&restored);
            let ledger = world.told().ledger.told_before(&before);
            let verdict = check(&restored, &ledger, &[]);
            assert!(verdict.objections.is_empty(), "{:#?}", verdict.objections);
            acknowledged += verdict.acknowledged;
            found += verdict.found;
            drop(restored);
            std::fs::remove_dir_all(copy).unwrap();
            std::fs::remove_dir_all(data).unwrap();
        }
        world.stop.store(true, Ordering::Relaxed);
        world.stop_reading.store(true, Ordering::Relaxed);
    });
    (acknowledged, found)
}
