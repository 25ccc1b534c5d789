//! The real process under SIGKILL: producers that count acknowledgements, a pipeline at work, and
//! afterwards every acknowledged record once and in order, every output and every dead letter
//! exactly once.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millstream::record::Record;

use crate::client::{Client, batch};
use crate::ledger::{Found, FoundPartition, FoundRecord, Ledger, Policy, Sent};
use crate::util::{Broker, succeeded};

/// Kills in every `cargo test`; `MILLSTREAM_KILLS` says another number.
const KILLS: u32 = 20;
const PARTITIONS: i32 = 2;
const PRODUCERS: u64 = 3;
/// How long anything may take that a broker with a fault would never do.
const PATIENCE: Duration = Duration::from_secs(60);

const MANIFEST: &str = r#"
[[topic]]
name = "in"
partitions = 2

[[topic]]
name = "bad"
partitions = 2

[plugin.present]
component = "filter.wasm"

[plugin.obey]
component = "faults.wasm"

[[pipeline]]
name = "work"
source = "in"
output = "out"
dead-letter = "bad"

[[pipeline.step]]
filter = "present"

[[pipeline.step]]
transform = "obey"
on-error = "dead-letter"
"#;

/// What the plugin `obey` does with the record of this number, said by its first letter.
fn letter(number: u64) -> char {
    match number % 10 {
        3 => 'e',
        5 => '2',
        7 => 'n',
        _ => 'x',
    }
}

/// Which topics get a record of such a value.
fn places(value: &str) -> Vec<&'static str> {
    match value.as_bytes()[0] {
        b'x' => vec!["out"],
        b'2' => vec!["out", "out"],
        b'e' => vec!["bad"],
        _ => vec![],
    }
}

/// A batch that was acknowledged: the offset of its first record, and its values.
type Acknowledged = (i64, Vec<String>);

/// Where the broker is at the moment; it moves with every kill.
type Address = Arc<Mutex<String>>;

/// Produces numbered values to a partition until told to stop, each batch again and again until it
/// is acknowledged.
fn produce(
    address: &Address,
    worker: u64,
    stop: &AtomicBool,
    acknowledged: &AtomicU64,
) -> Vec<Acknowledged> {
    let partition = i32::try_from(worker).unwrap() % PARTITIONS;
    let mut random = fastrand::Rng::with_seed(worker);
    let mut done = Vec::new();
    let mut producer = None;
    let (mut sequence, mut number) = (0, 0_u64);
    while !stop.load(Ordering::Relaxed) {
        let values: Vec<String> = (0..random.u64(1..40))
            .map(|i| format!("{} worker {worker} number {}", letter(number + i), number + i))
            .collect();
        number += values.len() as u64;
        let deadline = Instant::now() + PATIENCE;
        let base_offset = loop {
            let mut attempt = || -> io::Result<i64> {
                let address = address.lock().unwrap().clone();
                let mut client = Client::connect(&address)?;
                let id = match producer {
                    Some(id) => id,
                    None => *producer.insert(client.producer_id()?),
                };
                let batch = batch(&values, Some((id, sequence)));
                let answer = client.produce("in", partition, &batch)?;
                let code = format!("{:?}", answer.error_code);
                assert_eq!(code, "None", "worker {worker}, sequence {sequence}");
                Ok(answer.base_offset)
            };
            match attempt() {
                Ok(offset) => break offset,
                // Killed; the next broker is on its way.
                Err(error) => {
                    assert!(Instant::now() < deadline, "worker {worker}: {error}");
                    std::thread::yield_now();
                }
            }
        };
        sequence += i32::try_from(values.len()).unwrap();
        acknowledged.fetch_add(values.len() as u64, Ordering::Relaxed);
        done.push((base_offset, values));
    }
    done
}

/// Deploys the pipeline with its components built from text beside it.
fn deploy(folder: &Path, broker: &Broker) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plugins");
    for name in ["filter", "faults"] {
        let component = wat::parse_file(fixtures.join(format!("{name}.wat"))).unwrap();
        std::fs::write(folder.join(format!("{name}.wasm")), component).unwrap();
    }
    let manifest = folder.join("work.toml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    succeeded(&broker.run(&["deploy", manifest.to_str().unwrap()]));
}

/// Waits until the pipeline has taken everything; it is asked, not timed.
fn caught_up(broker: &Broker) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = succeeded(&broker.run(&["pipelines", "--json"]));
        let status: serde_json::Value = serde_json::from_str(&text).unwrap();
        let pipeline = &status[0];
        assert_eq!(pipeline["state"], "running", "{text}");
        let partitions = pipeline["partitions"].as_array().unwrap();
        if partitions.iter().all(|partition| partition["lag"] == 0) {
            return;
        }
        assert!(Instant::now() < deadline, "still behind: {text}");
    }
}

fn found(record: Record) -> FoundRecord {
    let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    FoundRecord { offset: record.offset, key: record.key.map(text), value: record.value.map(text) }
}

/// Holds everything in the broker against what its producers were told.
fn check(broker: &Broker, produced: Vec<(i32, Vec<Acknowledged>)>) {
    let mut ledger = Ledger::default();
    ledger.topic("in", Policy::Keep);
    for (worker, (partition, batches)) in (0..).zip(produced) {
        for (base_offset, values) in batches {
            let sent = values.into_iter().map(|value| Sent { key: None, value: Some(value) });
            let batch = ledger.send(("in".to_owned(), partition), worker, sent.collect());
            ledger.acknowledge(batch, base_offset).unwrap();
        }
    }
    let mut client = Client::connect(broker.kafka()).unwrap();
    let mut all = Found::new();
    for topic in ["in", "out", "bad"] {
        for partition in 0..PARTITIONS {
            let records: Vec<FoundRecord> =
                client.read_all(topic, partition).unwrap().into_iter().map(found).collect();
            let end = records.last().map_or(0, |last| last.offset + 1);
            let partition_found = FoundPartition { end, records, ..FoundPartition::default() };
            all.insert((topic.to_owned(), partition), partition_found);
        }
    }
    let mut verdict = ledger.check(&all);
    for partition in 0..PARTITIONS {
        let source = ("in".to_owned(), partition);
        ledger.check_outputs(&source, i64::MAX, places, &all, &mut verdict);
    }
    println!("{verdict:?}");
    assert!(verdict.objections.is_empty(), "{:#?}", verdict.objections);
}

/// The median, the 99th percentile and the greatest of these times.
fn spread(mut times: Vec<Duration>) -> [Duration; 3] {
    times.sort();
    [times.len() / 2, times.len() * 99 / 100, times.len() - 1].map(|at| times[at])
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kills() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    // Small segments, so that rolling is under way at some of the kills.
    let args = ["--segment-size", "1MiB"];
    let mut broker = Broker::start_in(&data, &args);
    deploy(folder.path(), &broker);
    let address: Address = Arc::new(Mutex::new(broker.kafka().to_owned()));
    let stop = AtomicBool::new(false);
    let acknowledged = AtomicU64::new(0);
    let mut random = fastrand::Rng::with_seed(20);
    let kills = std::env::var("MILLSTREAM_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut recovered = Vec::new();

    let produced: Vec<(i32, Vec<Acknowledged>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..PRODUCERS)
            .map(|worker| {
                let (address, stop, acknowledged) = (&address, &stop, &acknowledged);
                scope.spawn(move || produce(address, worker, stop, acknowledged))
            })
            .collect();
        for _ in 0..kills {
            // The moment of the kill is that of a random number of acknowledgements.
            let target = acknowledged.load(Ordering::Relaxed) + random.u64(1..2_000);
            let deadline = Instant::now() + PATIENCE;
            while acknowledged.load(Ordering::Relaxed) < target {
                if Instant::now() >= deadline {
                    // The scope waits for the producers even now.
                    stop.store(true, Ordering::Relaxed);
                    panic!("nothing is acknowledged any more");
                }
                std::thread::sleep(Duration::from_micros(random.u64(100..2_000)));
            }
            broker.kill();
            let started = Instant::now();
            broker = Broker::start_in(&data, &args);
            recovered.push(started.elapsed());
            broker.kafka().clone_into(&mut address.lock().unwrap());
        }
        stop.store(true, Ordering::Relaxed);
        let partition = |worker| i32::try_from(worker).unwrap() % PARTITIONS;
        let workers = (0..PRODUCERS).zip(workers);
        workers.map(|(worker, thread)| (partition(worker), thread.join().unwrap())).collect()
    });
    caught_up(&broker);
    let total = acknowledged.load(Ordering::Relaxed);
    let [p50, p99, max] = spread(recovered);
    println!("{kills} kills, {total} acknowledged, serves after {p50:?} p99 {p99:?} max {max:?}");
    check(&broker, produced);
}
