//! The real process under SIGKILL: producers that count acknowledgements, a pipeline at work, and
//! afterwards every acknowledged record once and in order, every output and every dead letter
//! exactly once.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millstream::record::Record;

use crate::client::{Client, batch};
use crate::util::{Broker, succeeded};

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

fn copies(value: &str) -> usize {
    match value.as_bytes()[0] {
        b'x' => 1,
        b'2' => 2,
        _ => 0,
    }
}

/// Where the broker is at the moment; it moves with every kill.
type Address = Arc<Mutex<String>>;

/// Produces numbered values to a partition until told to stop, each batch again and again until it
/// is acknowledged. Returns the values acknowledged, with their offsets.
fn produce(
    address: &Address,
    worker: u64,
    stop: &AtomicBool,
    acknowledged: &AtomicU64,
) -> Vec<(i64, String)> {
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
        done.extend((base_offset..).zip(values));
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

fn text(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()
}

fn counts(values: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts
}

/// The numbers of each worker ascend among the outputs of a partition, and the copies of a record
/// stand together.
fn assert_order(outputs: &[String]) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for same in outputs.chunk_by(|one, next| one == next) {
        let value = &same[0];
        assert_eq!(same.len(), copies(value), "{value} in a row");
        let (worker, number) = value.split_once(" number ").unwrap();
        let (_, worker) = worker.split_once(" worker ").unwrap();
        let number = number.parse().unwrap();
        if let Some(before) = last.insert(worker, number) {
            assert!(before < number, "worker {worker}: {number} after {before}");
        }
    }
}

/// Says where two tables part, and no more than fits a screen.
fn assert_same<K: Ord + Debug, V: Eq + Debug>(
    what: &str,
    found: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) {
    let wrong = |key: &&K| found.get(key) != expected.get(key);
    let keys = found.keys().chain(expected.keys()).filter(wrong);
    let told: Vec<_> = keys.take(5).map(|key| (key, found.get(key), expected.get(key))).collect();
    assert!(told.is_empty(), "{what}: (key, found, expected) {told:?} and perhaps more");
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

    let produced: Vec<(i32, Vec<(i64, String)>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..PRODUCERS)
            .map(|worker| {
                let (address, stop, acknowledged) = (&address, &stop, &acknowledged);
                scope.spawn(move || produce(address, worker, stop, acknowledged))
            })
            .collect();
        for _ in 0..KILLS {
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
            broker = Broker::start_in(&data, &args);
            broker.kafka().clone_into(&mut address.lock().unwrap());
        }
        stop.store(true, Ordering::Relaxed);
        let partition = |worker| i32::try_from(worker).unwrap() % PARTITIONS;
        let workers = (0..PRODUCERS).zip(workers);
        workers.map(|(worker, thread)| (partition(worker), thread.join().unwrap())).collect()
    });
    caught_up(&broker);

    let mut client = Client::connect(broker.kafka()).unwrap();
    let mut inputs = Vec::new();
    for partition in 0..PARTITIONS {
        let records = client.read_all("in", partition).unwrap();
        assert!(records.iter().map(|record| record.offset).eq(0..records.len() as i64), "gaps");
        let found: BTreeMap<i64, String> =
            records.iter().map(|record| (record.offset, text(record))).collect();
        let here = produced.iter().filter(|(of, _)| *of == partition).flat_map(|(_, all)| all);
        let expected: BTreeMap<i64, String> = here.cloned().collect();
        assert_same(&format!("partition {partition}"), &found, &expected);
        inputs.extend(found.into_values());
    }
    for (_, of_worker) in &produced {
        assert!(of_worker.is_sorted_by(|a, b| a.0 < b.0), "a producer's order");
    }

    let mut outputs = Vec::new();
    for partition in 0..PARTITIONS {
        let records = client.read_all("out", partition).unwrap();
        let here: Vec<String> = records.iter().map(text).collect();
        assert_order(&here);
        outputs.extend(here);
    }
    let expected = inputs.iter().flat_map(|v| std::iter::repeat_n(v.clone(), copies(v)));
    assert_same("outputs", &counts(outputs.into_iter()), &counts(expected));
    let dead = (0..PARTITIONS).flat_map(|p| client.read_all("bad", p).unwrap());
    let expected = inputs.iter().filter(|value| value.starts_with('e')).cloned();
    assert_same("dead letters", &counts(dead.map(|r| text(&r))), &counts(expected));
}
