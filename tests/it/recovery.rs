//! How long a start takes after `kill -9`, by the size of the log. Measured is the real process
//! from its start until it serves, with the active segment nearly full, which is the worst case:
//! recovery reads that one alone.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::client::{Client, batch};
use crate::util::Broker;

/// Batches that fill a segment: each is a chunk of 1 MiB with its overhead.
const SEGMENT_BATCHES: u64 = 510;

#[test]
#[ignore = "a measurement: writes MILLSTREAM_RECOVERY_GIB, by default 1 and 10"]
fn a_start_after_a_kill_takes_under_a_second() {
    let sizes = std::env::var("MILLSTREAM_RECOVERY_GIB").unwrap_or_else(|_| "1,10".to_owned());
    for gib in sizes.split(',').map(|size| size.parse::<u64>().unwrap()) {
        let folder = tempfile::tempdir().unwrap();
        let mut broker = Broker::start_in(folder.path(), &[]);
        let mut client = Client::connect(broker.kafka()).unwrap();
        client.auto_create("t").unwrap();
        let full = batch(&["x".repeat(1_047_000)], None);
        let batches = gib * 1024 / SEGMENT_BATCHES * SEGMENT_BATCHES - 20;
        for _ in 0..batches {
            client.produce("t", 0, &full).unwrap();
        }
        broker.kill();
        drop(broker);
        let cold = drop_caches();
        let started = Instant::now();
        let broker = Broker::start_in(folder.path(), &[]);
        let took = started.elapsed();
        let mut client = Client::connect(broker.kafka()).unwrap();
        let next = client.produce("t", 0, &full).unwrap().base_offset;
        assert_eq!(next, i64::try_from(batches).unwrap());
        let cache = if cold { "cold" } else { "warm" };
        let files = std::fs::read_dir(folder.path().join("segments")).unwrap();
        let disk: u64 = files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum();
        let (written, disk) = (batches * full.len() as u64 >> 20, disk >> 20);
        println!(
            "{gib} GiB: {written} MiB of batches, {disk} MiB on disk, {cache} cache: \
             serves after {took:?}"
        );
        assert!(took < Duration::from_secs(1), "{gib} GiB: {took:?}\n{}", broker.log());
    }
}

/// Makes the next reads come from the disk, where the machine allows.
fn drop_caches() -> bool {
    let synced = Command::new("sync").status().is_ok_and(|status| status.success());
    let file = std::fs::OpenOptions::new().write(true).open("/proc/sys/vm/drop_caches");
    synced && file.is_ok_and(|mut file| file.write_all(b"3").is_ok())
}
