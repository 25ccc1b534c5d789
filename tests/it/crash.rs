//! The real process under SIGKILL, always on the same folder, with everything at work: idempotent
//! and plain producers, a group whose members commit, a pipeline with filter, transformer, router
//! and dead letters that is deployed anew meanwhile, retention, compaction, topics that come and
//! go. Afterwards everything is held against what clients were told.

mod backup;
mod consume;
mod manage;
mod produce;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millstream::record::Record;

use crate::client::Client;
use crate::ledger::{Found, FoundPartition, FoundRecord, Ledger, Place, Policy, Sent, Verdict};
use crate::util::{Broker, until};

/// Kills in every `cargo test`; `MILLSTREAM_KILLS` says another number.
const KILLS: u32 = 20;
const PARTITIONS: i32 = 2;
/// How long anything may take that a broker with a fault would never do.
const PATIENCE: Duration = Duration::from_secs(60);
/// One life in so many is long enough for segments to be sealed by age, and for whoever joins a
/// group.
const LONG_LIFE: u32 = 8;
const LONG_LIFE_MS: u64 = 2_500;

/// Topics that pipelines and producers write, with what they keep; nothing for pipelines' outputs.
const TOPICS: [(&str, i32, Option<Policy>); 6] = [
    ("in", PARTITIONS, Some(Policy::Keep)),
    ("out", PARTITIONS, None),
    ("side", PARTITIONS, None),
    ("bad", PARTITIONS, None),
    ("short", 1, Some(Policy::Retained)),
    ("table", 1, Some(Policy::Compacted)),
];

/// Which topics get a record of such a value from the pipeline, by its first letter.
fn places(value: &str) -> Vec<&'static str> {
    match value.as_bytes()[0] {
        b'x' => vec!["out"],
        b'2' => vec!["out", "out"],
        b'y' => vec!["side"],
        b'e' => vec!["bad"],
        _ => vec![],
    }
}

/// What everybody at work shares.
struct World {
    /// Where the broker is at the moment; it moves with every kill.
    kafka: Mutex<String>,
    http: Mutex<String>,
    /// Producers and who manages end; then the group.
    stop: AtomicBool,
    stop_reading: AtomicBool,
    acknowledged: AtomicU64,
    /// Records after which producers wait.
    allowed: AtomicU64,
    told: Mutex<Told>,
}

/// What clients were told.
#[derive(Default)]
struct Told {
    ledger: Ledger,
    group: consume::Group,
    /// Topics that came and stayed.
    kept: Vec<String>,
}

impl Told {
    /// Takes note of a batch that is about to be sent, and returns its number.
    fn send(&mut self, place: Place, producer: u64, records: &[Sent]) -> usize {
        let noted = |Sent { key, value }: &Sent| Sent {
            key: key.clone(),
            value: value.as_deref().map(noted),
        };
        self.ledger.send(place, producer, records.iter().map(noted).collect())
    }
}

impl World {
    fn new(broker: &Broker) -> Self {
        let world = Self {
            kafka: Mutex::default(),
            http: Mutex::default(),
            stop: AtomicBool::new(false),
            stop_reading: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            allowed: AtomicU64::new(u64::MAX),
            told: Mutex::default(),
        };
        world.moved(broker);
        world
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self) -> io::Result<Client> {
        let address = self.kafka.lock().unwrap().clone();
        Client::connect(&address)
    }

    fn moved(&self, broker: &Broker) {
        broker.kafka().clone_into(&mut self.kafka.lock().unwrap());
        broker.http().clone_into(&mut self.http.lock().unwrap());
    }

    /// Tries until it is done, or until everybody is to end: whatever fails does so since the
    /// broker was killed, and the next is on its way.
    fn persist<T>(&self, what: &str, mut attempt: impl FnMut() -> io::Result<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match attempt() {
                Ok(done) => return Some(done),
                Err(error) if Instant::now() >= deadline => panic!("{what}: {error}"),
                Err(_) if self.stop_reading.load(Ordering::Relaxed) => return None,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// Makes the others end if it panics: the scope waits for all of them.
struct Alarm<'a>(&'a World);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop.store(true, Ordering::Relaxed);
            self.0.stop_reading.store(true, Ordering::Relaxed);
        }
    }
}

/// A value as the ledger has it: with the number of the dots that pad it in their place, so that
/// what a thousand kills leave fits into memory.
fn noted(value: &str) -> String {
    let text = value.trim_end_matches('.');
    format!("{text}+{}", value.len() - text.len())
}

fn found(record: Record) -> FoundRecord {
    let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let value = record.value.map(|value| noted(std::str::from_utf8(&value).unwrap()));
    FoundRecord { offset: record.offset, key: record.key.map(text), value }
}

/// Everything in these topics.
fn find(client: &mut Client, topics: &[(String, i32)]) -> Found {
    let mut all = Found::new();
    for (topic, partitions) in topics {
        for partition in 0..*partitions {
            let start = client.offset_at(topic, partition, -2);
            let (records, end) = client.read_from(topic, partition, start).unwrap();
            let records = records.into_iter().map(found).collect();
            let found = FoundPartition { start, end, records, ..FoundPartition::default() };
            all.insert((topic.clone(), partition), found);
        }
    }
    all
}

/// Holds everything in the broker against what its clients were told.
fn check(broker: &Broker, ledger: &Ledger, kept: &[String]) -> Verdict {
    let mut client = Client::connect(broker.kafka()).unwrap();
    let mut topics: Vec<(String, i32)> =
        TOPICS.iter().map(|(name, partitions, _)| ((*name).to_owned(), *partitions)).collect();
    topics.extend(kept.iter().map(|name| (name.clone(), 1)));
    let mut expected: Vec<&str> = topics.iter().map(|(name, _)| name.as_str()).collect();
    expected.sort_unstable();
    assert_eq!(manage::topics(&mut client).unwrap(), expected, "those that were deleted are gone");
    let all = find(&mut client, &topics);
    let mut verdict = ledger.check(&all);
    for partition in 0..PARTITIONS {
        let source = ("in".to_owned(), partition);
        ledger.check_outputs(&source, i64::MAX, places, &all, &mut verdict);
    }
    verdict
}

/// The median, the 99th percentile and the greatest of these times.
fn spread(mut times: Vec<Duration>) -> [Duration; 3] {
    times.sort();
    [times.len() / 2, times.len() * 99 / 100, times.len() - 1].map(|at| times[at])
}

/// Kills the broker again and again; returns the last one, and how long each took to serve.
fn kill(world: &World, mut broker: Broker, data: &Path, args: &[&str]) -> (Broker, Vec<Duration>) {
    let mut random = fastrand::Rng::with_seed(20);
    let kills = std::env::var("MILLSTREAM_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut recovered = Vec::new();
    for number in 1..=kills {
        // The moment of the kill is that of a random number of acknowledgements.
        let target = world.acknowledged.load(Ordering::Relaxed) + random.u64(1..2_000);
        let earliest = if number % LONG_LIFE == 0 { LONG_LIFE_MS } else { 0 };
        let earliest = Instant::now() + Duration::from_millis(earliest);
        let deadline = Instant::now() + PATIENCE;
        while world.acknowledged.load(Ordering::Relaxed) < target || Instant::now() < earliest {
            assert!(Instant::now() < deadline, "nothing is acknowledged any more");
            assert!(!world.stop.load(Ordering::Relaxed), "a worker has given up");
            std::thread::sleep(Duration::from_micros(random.u64(100..2_000)));
        }
        broker.kill();
        let started = Instant::now();
        broker = Broker::start_in(data, args);
        recovered.push(started.elapsed());
        world.moved(&broker);
        if number % 100 == 0 {
            println!("{number} kills");
        }
    }
    (broker, recovered)
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kills() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    // Small segments, so that they are full, sealed and cleaned all the time.
    let args = ["--segment-size", "256KiB"];
    let broker = Broker::start_in(&data, &args);
    let world = World::new(&broker);
    manage::set_up(&world, folder.path());

    let (broker, recovered) = std::thread::scope(|scope| {
        let world = &world;
        let _alarm = Alarm(world);
        let mut workers: Vec<_> =
            produce::PRODUCERS.iter().map(|who| scope.spawn(|| produce::run(world, who))).collect();
        let folder = folder.path();
        workers.push(scope.spawn(move || manage::come_and_go(world)));
        workers.push(scope.spawn(move || manage::deploy_again_and_again(world, folder)));
        let members = [0, 1].map(|member| scope.spawn(move || consume::run(world, member)));
        let (broker, recovered) = kill(world, broker, &data, &args);
        world.stop.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        let mut client = world.connect().unwrap();
        for partition in 0..PARTITIONS {
            let end = client.offset_at("in", partition, -1);
            until(|| world.told().group.upto(partition) >= end);
        }
        world.stop_reading.store(true, Ordering::Relaxed);
        members.into_iter().for_each(|member| member.join().unwrap());
        (broker, recovered)
    });
    manage::caught_up(&broker);

    let told = world.told();
    let verdict = check(&broker, &told.ledger, &told.kept);
    let [p50, p99, max] = spread(recovered.clone());
    println!(
        "{} kills, {} records acknowledged, {} found, {} read by the group, {} deployments, {} \
         topics kept; lost {}, duplicated {}, out of order {}, half applied {}; serves after \
         {p50:?} p99 {p99:?} max {max:?}",
        recovered.len(),
        verdict.acknowledged,
        verdict.found,
        told.group.read(),
        manage::deployments(),
        told.kept.len(),
        verdict.lost,
        verdict.duplicated,
        verdict.misordered,
        verdict.half_applied
    );
    assert!(verdict.objections.is_empty(), "{:#?}", verdict.objections);
    let committed = consume::committed(&mut Client::connect(broker.kafka()).unwrap()).unwrap();
    for (partition, offset) in committed {
        assert_eq!(offset, told.group.upto(partition), "of the group in partition {partition}");
    }
    // It was not for nothing: retention and compaction were at work, and segments went.
    let mut client = world.connect().unwrap();
    assert!(client.offset_at("short", 0, -2) > 0, "retention has deleted nothing");
    let table = client.read_from("table", 0, 0).unwrap().0.len() as u64;
    assert!(table < produce::sent("table"), "nothing was compacted: {table} records");
    let names = std::fs::read_dir(data.join("segments")).unwrap();
    let names: Vec<_> = names.map(|file| file.unwrap().file_name()).collect();
    let last = names.iter().max().unwrap().to_str().unwrap().trim_end_matches(".redb");
    let last: usize = last.parse().unwrap();
    println!("{} segments of {last} are there", names.len());
    assert!(names.len() < last, "no segment was removed of {last}");
}
