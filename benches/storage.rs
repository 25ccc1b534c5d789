//! What a group commit costs beside a bare append with `fdatasync` of the same bytes, in the same
//! run on the same disk: the ratio is the figure, the times are this machine's.
//!
//! `cargo bench --bench storage [-- FOLDER]`

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream::broker::{Append, Broker, Commit, DiskFiles, NewTopic, StoreOptions};
use millstream::clock::SystemClock;
use millstream::record::{BatchBuilder, Compression, RecordBatch};
use millstream::types::{TopicName, TopicPartition};

const ROUNDS: usize = 500;

fn batch(bytes: usize) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(0, None, Some(&vec![b'x'; bytes]), &[]).expect("a record that fits");
    builder.build().expect("a batch that fits")
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn bare(folder: &Path, bytes: usize) -> Duration {
    let path = folder.join("bare");
    let mut file = OpenOptions::new().create(true).append(true).open(&path).expect("a file");
    let data = vec![b'x'; bytes];
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        file.write_all(&data).expect("a write");
        file.sync_data().expect("a sync");
        start.elapsed()
    });
    let median = median(times.collect());
    std::fs::remove_file(path).expect("the file is ours");
    median
}

fn main() {
    let folder = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let folder = folder.map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder).expect("a folder to write to");
    let files = Arc::new(DiskFiles::open(&folder.path().join("data")).expect("a folder"));
    let clock = Arc::new(SystemClock::new());
    let options = StoreOptions::default();
    let (_broker, mut committer) =
        Broker::open_stepped(files, &options, clock).expect("an empty store");
    let name = TopicName::new("t").expect("a good name");
    let new = NewTopic { name, partitions: Some(16), config: Default::default() };
    let topic = committer.create_topic(new).expect("a topic").id();

    println!("{:<24}{:>12}{:>12}{:>8}", "one group", "millstream", "bare append", "ratio");
    for (batches, bytes) in [(1, 1_024), (16, 1_024), (16, 16_384), (1, 1_000_000), (4, 1_000_000)]
    {
        let batch = batch(bytes);
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let commits = (0..batches).map(|partition| {
                let partition = TopicPartition { topic, partition };
                let appends = vec![Append { partition, batch: batch.clone() }];
                Commit { appends, ..Commit::default() }
            });
            let commits = commits.collect();
            let start = Instant::now();
            let outcomes = committer.commit_group(commits);
            times.push(start.elapsed());
            assert!(outcomes.iter().all(Result::is_ok));
            assert!(committer.maintain());
        }
        let ours = median(times);
        let bare = bare(folder.path(), batch.len() * usize::try_from(batches).unwrap_or(1));
        let ratio = ours.as_secs_f64() / bare.as_secs_f64();
        let what = format!("{batches} x {bytes} B");
        println!("{what:<24}{:>12?}{:>12?}{ratio:>8.2}", ours, bare);
    }
}
