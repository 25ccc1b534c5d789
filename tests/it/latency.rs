//! What others feel of those who mean harm or fare badly: round trips of one client, alone and
//! beside them, in turns within one run, so that the machine's own moods count for both.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millstream::kafka::messages::ApiKey;

use crate::client::{Client, batch, fetch_request, request_head};
use crate::util::Broker;

/// Turns of each kind, and round trips in each.
const TURNS: usize = 4;
const TRIPS: usize = 750;

/// A client that produces a record and reads it, over and over.
struct Probe {
    client: Client,
    offset: i64,
}

impl Probe {
    const TOPIC: &str = "probe";

    fn new(broker: &Broker) -> Self {
        let mut client = Client::connect(broker.kafka()).unwrap();
        client.auto_create(Self::TOPIC).unwrap();
        let mut probe = Self { client, offset: 0 };
        probe.trips(TRIPS);
        probe
    }

    fn trips(&mut self, count: usize) -> Vec<Duration> {
        let record = batch(&["x".repeat(1_000)], None);
        let trip = |_| {
            let started = Instant::now();
            self.offset = self.client.produce(Self::TOPIC, 0, &record).unwrap().base_offset;
            let read = self.client.fetch(Self::TOPIC, 0, self.offset, 0).unwrap();
            let took = started.elapsed();
            let read = read.responses[0].partitions[0].records.clone().unwrap().into_bytes();
            assert!(read.len() > 1_000);
            took
        };
        (0..count).map(trip).collect()
    }
}

fn at(times: &[Duration], percent: usize) -> f64 {
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1_000.0
}

/// Prints round trips alone and beside what `begin` begins, which ends when what it returns is
/// dropped.
pub(crate) fn compare<L>(broker: &Broker, what: &str, mut begin: impl FnMut() -> L) {
    let mut probe = Probe::new(broker);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        alone.extend(probe.trips(TRIPS));
        let load = begin();
        beside.extend(probe.trips(TRIPS));
        drop(load);
        // What ended just now is not part of the next turn.
        probe.trips(TRIPS / 5);
    }
    alone.sort();
    beside.sort();
    let ([a50, a99], [b50, b99]) =
        ([50, 99].map(|p| at(&alone, p)), [50, 99].map(|p| at(&beside, p)));
    println!(
        "| {what} | {a50:.2} / {a99:.2} ms | {b50:.2} / {b99:.2} ms | {:.2} / {:.2} |",
        b50 / a50,
        b99 / a99
    );
}

/// Threads that go on until this is dropped.
pub(crate) struct Workers {
    stop: std::sync::Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Workers {
    /// Runs `work` again and again on each of `count` threads.
    pub(crate) fn begin(
        count: usize,
        mut make: impl FnMut(usize) -> Box<dyn FnMut() + Send>,
    ) -> Self {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|number| {
            let (mut work, stop) = (make(number), std::sync::Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    work();
                }
            })
        });
        let threads = threads.collect();
        Self { stop, threads }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

fn address(broker: &Broker) -> SocketAddr {
    broker.kafka().parse().unwrap()
}

fn connections(broker: &Broker, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address(broker)).unwrap()).collect()
}

/// A produce request of which only the beginning has come.
fn begin_frame(stream: &mut TcpStream) {
    stream.write_all(&(1_i32 << 20).to_be_bytes()).unwrap();
    stream.write_all(&request_head(ApiKey::Produce, 9)).unwrap();
}

#[test]
#[ignore = "a measurement: prints what clients feel of 10,000 idle connections, a flood, slow ones"]
fn others_feel_little_of_bad_clients() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--max-connections", "12000", "--response-memory", "64MiB"];
    let broker = Broker::start_in(&folder.path().join("data"), &args);
    println!(
        "| beside | alone p50 / p99 | beside it p50 / p99 | ratio p50 / p99 |\n|---|---|---|---|"
    );

    compare(&broker, "nothing", || ());
    compare(&broker, "10,000 connections that do nothing", || connections(&broker, 10_000));

    compare(&broker, "1,000 frames of which only the beginning comes", || {
        let mut streams = connections(&broker, 1_000);
        streams.iter_mut().for_each(begin_frame);
        streams
    });

    compare(&broker, "200 clients that send a byte a second", || {
        let mut streams = connections(&broker, 200);
        streams.iter_mut().for_each(begin_frame);
        Workers::begin(1, move |_| {
            let mut streams: Vec<TcpStream> =
                streams.iter().map(|stream| stream.try_clone().unwrap()).collect();
            Box::new(move || {
                // Those that the broker has closed stay closed.
                streams.retain_mut(|stream| stream.write_all(&[0]).is_ok());
                std::thread::sleep(Duration::from_secs(1));
            })
        })
    });

    slow_readers(&broker);
    flood(&broker, "a flood: 2,000 connections a second, opened and closed");
    drop(broker);
    let args = ["--max-connections-per-ip", "50"];
    let broker = Broker::start_in(&folder.path().join("capped"), &args);
    flood_and_hold(&broker, "2,000 connections a second that stay, of which 50 may");
}

fn slow_readers(broker: &Broker) {
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.create_topic("large", &[]);
    let large = batch(&["y".repeat(900_000)], None);
    for _ in 0..30 {
        client.produce("large", 0, &large).unwrap();
    }
    compare(broker, "100 consumers that take nothing of 27 MB each", || {
        let stuck = (0..100).map(|_| {
            let mut client = Client::connect(broker.kafka()).unwrap();
            let mut request = fetch_request("large", 0, 0, 500);
            request.topics[0].partitions[0].partition_max_bytes = 50 << 20;
            client.send(&request, 12).unwrap();
            client
        });
        stuck.collect::<Vec<_>>()
    });
}

fn flood(broker: &Broker, what: &str) {
    compare(broker, what, || {
        let to = address(broker);
        Workers::begin(1, |_| {
            Box::new(move || {
                for _ in 0..20 {
                    // A refusal is what a flood is to meet.
                    let _ = TcpStream::connect(to);
                }
                std::thread::sleep(Duration::from_millis(10));
            })
        })
    });
}

fn flood_and_hold(broker: &Broker, what: &str) {
    compare(broker, what, || {
        let to = address(broker);
        Workers::begin(1, |_| {
            let mut held = std::collections::VecDeque::new();
            Box::new(move || {
                for _ in 0..20 {
                    held.extend(TcpStream::connect(to));
                }
                while held.len() > 2_000 {
                    held.pop_front();
                }
                std::thread::sleep(Duration::from_millis(10));
            })
        })
    });
}
