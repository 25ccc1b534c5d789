//! The same load on Millstream and on any Kafka address, round by round in turn, and the medians
//! side by side. The ratio is the figure; the absolutes are this machine's.
//!
//! `cargo bench --bench load -- [--kafka HOST:PORT] [--millstream HOST:PORT] [OPTION…]`
//!
//! Without `--millstream` the release binary is started in a temporary folder, which stands in
//! `--folder DIR`, the system's own otherwise. `--scale 0.01` shrinks all counts, `--rounds N` (3)
//! sets how often each workload runs, `--only WORD` (again for more) picks workloads by their
//! name, `--drop-caches` empties the page cache before data is read from the start (root only).

mod batches;
mod broker;
mod client;
mod consume;
mod measure;
mod produce;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use self::batches::Values;
use self::broker::Broker;
use self::measure::{Measured, median, percentile_ms};

const KIB: Values = Values::Letters(1_024);
const SMALL: Values = Values::Letters(100);

const RATE: &[&str] = &["records/s"];
const LATENCY: &[&str] = &["p50, ms", "p99, ms"];

/// As many as there are in the row that has most; Kafka keeps a file open for each.
const MANY_PARTITIONS: i32 = 10_000;
/// Kafka removes the files of deleted topics a minute later, which would cost the rows after it.
const KAFKA_DELETES: Duration = Duration::from_secs(75);

/// Puts a load on a broker.
type Run = Box<dyn Fn(&Broker) -> anyhow::Result<Measured>>;

/// What is run, and what its figures are.
struct Workload {
    name: &'static str,
    figures: &'static [&'static str],
    run: Run,
}

struct Arguments {
    kafka: Option<String>,
    millstream: Option<String>,
    folder: PathBuf,
    scale: f64,
    rounds: usize,
    only: Vec<String>,
    drop_caches: bool,
}

impl Arguments {
    fn parse() -> anyhow::Result<Self> {
        let mut arguments = Self {
            kafka: None,
            millstream: None,
            folder: std::env::temp_dir(),
            scale: 1.0,
            rounds: 3,
            only: Vec::new(),
            drop_caches: false,
        };
        let mut given = std::env::args().skip(1);
        while let Some(name) = given.next() {
            let mut value = || given.next().with_context(|| format!("{name}: a value is missing"));
            match name.as_str() {
                "--kafka" => arguments.kafka = Some(value()?),
                "--millstream" => arguments.millstream = Some(value()?),
                "--folder" => arguments.folder = value()?.into(),
                "--scale" => arguments.scale = value()?.parse()?,
                "--rounds" => arguments.rounds = value()?.parse()?,
                "--only" => arguments.only.push(value()?),
                "--drop-caches" => arguments.drop_caches = true,
                // What cargo itself passes to a benchmark.
                "--bench" => {}
                _ => bail!("{name}: not an option"),
            }
        }
        Ok(arguments)
    }

    /// Counts are never so small that a percentile means nothing.
    fn scaled(&self, count: u64) -> u64 {
        ((count as f64 * self.scale) as u64).max(count.min(200))
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse()?;
    let folder = tempfile::tempdir_in(&arguments.folder).context("no folder to write to")?;
    let mut brokers = vec![match &arguments.millstream {
        Some(address) => Broker::running("Millstream", address)?,
        None => Broker::start(&folder.path().join("data"))?,
    }];
    if let Some(address) = &arguments.kafka {
        brokers.push(Broker::running("Kafka", address)?);
    }
    bare_append(folder.path(), arguments.scaled(2_000))?;
    heading(&brokers);
    let (rounds, only) = (arguments.rounds, &arguments.only);
    let chosen = |name: &str| only.is_empty() || only.iter().any(|word| name.contains(word));
    if chosen("10,000 partitions") {
        many_partitions(&brokers, rounds)?;
    }
    for Workload { name, figures, run } in workloads(&arguments) {
        if chosen(name) {
            let measured = in_turn(&brokers, rounds, |index| run(&brokers[index]));
            rows(name, figures, &measured.context(name)?);
        }
    }
    memory(&brokers);
    Ok(())
}

fn workloads(arguments: &Arguments) -> Vec<Workload> {
    let drop_caches = arguments.drop_caches;
    let scaled = |count| arguments.scaled(count);
    let mut all = Vec::new();
    let mut add = |name, figures, run| all.push(Workload { name, figures, run });
    let records = scaled(5_000);
    add(
        "synchronous, 1 KiB",
        LATENCY,
        Box::new(move |broker: &Broker| produce::synchronous(broker, records))
            as Box<dyn Fn(&Broker) -> anyhow::Result<Measured>>,
    );
    // Before there is much to delete, which Kafka does a minute later and a sync then waits for.
    let seconds = (10.0 * arguments.scale).max(1.0);
    let run = move |broker: &Broker| consume::end_to_end(broker, 1_000, seconds);
    add("end to end at 1,000/s, 1 KiB", LATENCY, Box::new(run));
    for (name, values, records) in [
        ("produce 1 KiB", KIB, scaled(1_000_000)),
        ("produce 100 B", SMALL, scaled(3_000_000)),
        ("produce JSON, lz4", Values::JsonLz4, scaled(2_000_000)),
    ] {
        add(name, RATE, Box::new(move |broker| produce::pipelined(broker, values, records)));
    }
    let records = scaled(300_000);
    let run = move |broker: &Broker| produce::many_clients(broker, 32, records);
    add("32 clients, no linger, 1 KiB", RATE, Box::new(run));
    for (name, values, records) in [
        ("consume from the start, 1 KiB", KIB, scaled(1_000_000)),
        ("consume from the start, 100 B", SMALL, scaled(3_000_000)),
    ] {
        let run = move |broker: &Broker| consume::from_start(broker, values, records, drop_caches);
        add(name, RATE, Box::new(run));
    }
    for (name, values, consumers, records) in [
        ("1 consumer at the tail, 1 KiB", KIB, 1, scaled(500_000)),
        ("1 consumer at the tail, 100 B", SMALL, 1, scaled(2_000_000)),
        ("10 consumers at the tail, 1 KiB", KIB, 10, scaled(200_000)),
        ("100 consumers at the tail, 1 KiB", KIB, 100, scaled(20_000)),
    ] {
        let run = move |broker: &Broker| consume::at_the_tail(broker, values, consumers, records);
        add(name, RATE, Box::new(run));
    }
    for (name, count, rounds) in
        [("1 partition at once", 1, scaled(5_000)), ("100 partitions at once", 100, scaled(200))]
    {
        add(name, RATE, Box::new(move |broker| produce::partitions(broker, count, rounds)));
    }
    all
}

/// By broker, the rounds of a workload; who begins changes with each round.
fn in_turn(
    brokers: &[Broker],
    rounds: usize,
    run: impl Fn(usize) -> anyhow::Result<Measured>,
) -> anyhow::Result<Vec<Vec<Measured>>> {
    let mut measured = vec![Vec::new(); brokers.len()];
    for round in 0..rounds {
        for turn in 0..brokers.len() {
            let index = (round + turn) % brokers.len();
            // What one broker leaves to the system to write is not to cost the other.
            rustix::fs::sync();
            measured[index].push(run(index).with_context(|| brokers[index].name)?);
        }
    }
    Ok(measured)
}

fn heading(brokers: &[Broker]) {
    print!("| work | figure |");
    brokers.iter().for_each(|broker| print!(" {} |", broker.name));
    if brokers.len() > 1 {
        print!(" ratio |");
    }
    brokers.iter().for_each(|broker| print!(" CPU s/M, {} |", broker.name));
    println!();
    println!("|---|---|{}", "---|".repeat(brokers.len() * 2 + usize::from(brokers.len() > 1)));
}

fn rows(name: &str, figures: &[&str], measured: &[Vec<Measured>]) {
    for (index, figure) in figures.iter().enumerate() {
        let of = |rounds: &Vec<Measured>| {
            median(rounds.iter().map(|round| round.figures[index]).collect())
        };
        let medians: Vec<f64> = measured.iter().map(of).collect();
        print!("| {name} | {figure} |");
        medians.iter().for_each(|value| print!(" {} |", shown(*value)));
        if let [ours, theirs] = medians[..] {
            print!(" {:.2} |", ours / theirs);
        }
        for rounds in measured {
            let cpu = rounds.iter().map(|round| round.cpu_s_per_million).collect();
            print!(" {:.2} |", median(cpu));
        }
        println!();
    }
}

fn shown(value: f64) -> String {
    match value {
        ..100.0 => format!("{value:.3}"),
        ..100_000.0 => format!("{value:.0}"),
        _ => format!("{:.0} k", value / 1e3),
    }
}

/// By how much each broker grows when it gets partitions to which nobody writes, and then a record
/// to each at once. Before all else, while no memory is left over from other work.
fn many_partitions(brokers: &[Broker], rounds: usize) -> anyhow::Result<()> {
    let (mut grown, mut topics) = (Vec::new(), Vec::new());
    for broker in brokers {
        let before = broker.usage().resident;
        topics.push(produce::spread(broker, MANY_PARTITIONS)?);
        let after = broker.usage().resident;
        grown.push(after.saturating_sub(before) as f64 / 1024.0 / f64::from(MANY_PARTITIONS));
    }
    resident_row("10,000 idle partitions", "KiB each", &grown);
    let measured =
        in_turn(brokers, rounds, |index| produce::to_each(&brokers[index], &topics[index], 2));
    rows("10,000 partitions at once", RATE, &measured?);
    drop(topics);
    if brokers.len() > 1 {
        std::thread::sleep(KAFKA_DELETES);
    }
    Ok(())
}

fn memory(brokers: &[Broker]) {
    let resident = brokers.iter().map(|broker| broker.usage().resident as f64 / 1e6);
    resident_row("resident memory afterwards", "MB", &resident.collect::<Vec<_>>());
}

fn resident_row(work: &str, figure: &str, values: &[f64]) {
    print!("| {work} | {figure} |");
    values.iter().for_each(|value| print!(" {} |", shown(*value)));
    if let [ours, theirs] = values[..] {
        print!(" {:.2} |", ours / theirs);
    }
    println!("{}", " |".repeat(values.len()));
}

/// What an append of the same size costs without any broker.
fn bare_append(folder: &Path, rounds: u64) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(folder.join("bare"))?;
    let data = [b'x'; 1_024];
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        file.write_all(&data)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    let (p50, p99) = (percentile_ms(&mut times, 50), percentile_ms(&mut times, 99));
    println!("bare append + fdatasync of 1 KiB: p50 {p50:.3} ms, p99 {p99:.3} ms\n");
    Ok(())
}
