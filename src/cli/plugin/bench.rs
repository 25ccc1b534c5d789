//! `millstream plugin bench`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde::Serialize;

use super::build::identity;
use super::input::InputArgs;
use super::inspect::mebibytes;
use super::loaded::{Loaded, StepArgs};
use crate::cli::output::{Out, Side, number};
use crate::limits::{BENCH_BYTES, BENCH_RECORDS};
use crate::plugin::{Engine, Instance};
use crate::record::Record;

/// Measure how many records a second a plugin takes, beside one that does nothing.
///
/// On one thread, without a broker. The plugin that does nothing is a transformer that gives each
/// record back as it came: what any plugin costs. The median of five runs is told.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// Components or folders of plugins. Of a folder, its test's records are taken.
    #[arg(default_value = ".")]
    components: Vec<PathBuf>,

    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    step: StepArgs,

    /// How long to measure each, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1_000,
        value_parser = clap::value_parser!(u64).range(10..=60_000))]
    time_ms: u64,
}

/// Runs of which the median counts.
const RUNS: u32 = 5;

/// What was measured of one plugin.
#[derive(Debug, Serialize)]
struct Measured {
    plugin: String,
    language: Option<String>,
    kind: &'static str,
    component_bytes: usize,
    compile_ms: f64,
    records_per_second: f64,
    ns_per_record: f64,
    value_bytes: usize,
    memory_bytes: usize,
    /// Share of the records that failed; a plugin that refuses them is fast.
    failed: f64,
}

impl Bench {
    pub(super) fn run(self, mut out: Out) -> anyhow::Result<()> {
        let engine = Engine::new()?;
        let run = Duration::from_millis(self.time_ms) / RUNS;
        let mut all = Vec::new();
        for component in &self.components {
            let loaded = Loaded::load(&engine, component)?;
            let records = self.records(&loaded)?;
            let mut instance = loaded.instance(&self.step);
            let pace = measure(&mut instance, &records, run)?;
            all.push(Measured {
                language: loaded.project.as_ref().map(|p| p.plugin.language.to_string()),
                component_bytes: loaded.bytes,
                compile_ms: loaded.compiled_in.as_secs_f64() * 1e3,
                ..Measured::new(&loaded.name, loaded.plugin.kind().as_str(), &pace, &records)
            });
        }
        let bytes = identity()?;
        let plugin = engine.load(&bytes)?;
        let records = match self.input.open(None)? {
            Some(records) => records.map(|r| Ok(r?.record)).collect::<anyhow::Result<_>>()?,
            None => some_records(),
        };
        let mut instance = plugin.instance(self.step.settings("identity", None));
        let pace = measure(&mut instance, &records, run)?;
        all.push(Measured {
            component_bytes: bytes.len(),
            ..Measured::new("(identity)", plugin.kind().as_str(), &pace, &records)
        });
        print(&all, &mut out)
    }

    fn records(&self, loaded: &Loaded) -> anyhow::Result<Vec<Record>> {
        let Some(found) = self.input.open(loaded.project.as_ref())? else {
            return Ok(some_records());
        };
        let mut records = Vec::new();
        let mut bytes = 0;
        for numbered in found {
            let record = numbered?.record;
            bytes += record.value.as_ref().map_or(0, Bytes::len);
            records.push(record);
            if records.len() >= BENCH_RECORDS || bytes >= BENCH_BYTES {
                break;
            }
        }
        anyhow::ensure!(!records.is_empty(), "the input has no records");
        Ok(records)
    }
}

impl Measured {
    fn new(plugin: &str, kind: &'static str, pace: &Pace, records: &[Record]) -> Self {
        let values = records.iter().map(|record| record.value.as_ref().map_or(0, Bytes::len));
        Self {
            plugin: plugin.to_owned(),
            language: None,
            kind,
            component_bytes: 0,
            compile_ms: 0.0,
            records_per_second: 1e9 / pace.ns_per_record,
            ns_per_record: pace.ns_per_record,
            value_bytes: values.sum::<usize>() / records.len().max(1),
            memory_bytes: pace.memory_bytes,
            failed: pace.failed,
        }
    }
}

fn print(all: &[Measured], out: &mut Out) -> anyhow::Result<()> {
    if out.is_json() {
        all.iter().try_for_each(|measured| out.json(measured))?;
        return out.flush();
    }
    let columns = [
        ("plugin", Side::Left),
        ("language", Side::Left),
        ("kind", Side::Left),
        ("size", Side::Right),
        ("value", Side::Right),
        ("records/s", Side::Right),
        ("per record", Side::Right),
        ("memory", Side::Right),
    ];
    let rows: Vec<Vec<String>> = all.iter().map(Measured::row).collect();
    out.table("", &columns, &rows)?;
    for measured in all.iter().filter(|measured| measured.failed > 0.0) {
        let share = measured.failed * 100.0;
        out.line(format!("{}: {share:.0} % of the records failed", measured.plugin))?;
    }
    out.flush()
}

impl Measured {
    fn row(&self) -> Vec<String> {
        vec![
            self.plugin.clone(),
            self.language.clone().unwrap_or_default(),
            self.kind.to_owned(),
            format!("{} B", number(self.component_bytes as i128)),
            format!("{} B", number(self.value_bytes as i128)),
            number(self.records_per_second as i64),
            format!("{} ns", number(self.ns_per_record as i64)),
            mebibytes(self.memory_bytes as u64),
        ]
    }
}

/// How a plugin went.
struct Pace {
    ns_per_record: f64,
    memory_bytes: usize,
    failed: f64,
}

fn measure(instance: &mut Instance, records: &[Record], run: Duration) -> anyhow::Result<Pace> {
    let mut memory_bytes = 0;
    // To warm up: the instance is made, the guest has its memory.
    pass(instance, records, run / 10)?;
    let (mut offered, mut failed) = (0, 0);
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let done = pass(instance, records, run)?;
        runs.push(begun.elapsed().as_nanos() as f64 / done.offered as f64);
        offered += done.offered;
        failed += done.failed;
        memory_bytes = memory_bytes.max(instance.memory_bytes());
    }
    runs.sort_by(f64::total_cmp);
    let ns_per_record = runs.get(runs.len() / 2).copied().context("nothing was measured")?;
    Ok(Pace { ns_per_record, memory_bytes, failed: failed as f64 / offered as f64 })
}

struct Passed {
    offered: u64,
    failed: u64,
}

/// Offers the records over and over until the time is up; all of them at least once.
fn pass(instance: &mut Instance, records: &[Record], time: Duration) -> anyhow::Result<Passed> {
    let begun = Instant::now();
    let mut passed = Passed { offered: 0, failed: 0 };
    loop {
        let mut rest = records;
        while !rest.is_empty() {
            let processed = instance.process(rest);
            let failed = processed.iter().filter(|result| result.is_err()).count();
            let done = processed.len();
            anyhow::ensure!(done > 0, "the plugin engine did nothing with a batch");
            passed.offered += done as u64;
            passed.failed += failed as u64;
            rest = rest.get(done..).unwrap_or_default();
        }
        if begun.elapsed() >= time {
            return Ok(passed);
        }
    }
}

/// Records of about 300 bytes of JSON, for a component of which nobody said what it reads.
fn some_records() -> Vec<Record> {
    let text = |n: i64| {
        format!(
            r#"{{"id":"order-{n:06}","time":"2024-05-07T08:{:02}:11.250Z","customer":{{"name":"#,
            n % 60
        ) + &format!(
            r#""Ada Example","email":"ada{n}@example.com","country":"PT"}},"items":[{{"sku":"#
        ) + &format!(
            r#""A-{}","quantity":2,"price":19.99}},{{"sku":"B-7","quantity":1,"price":{}.5}}],"#,
            n % 97,
            n % 31
        ) + r#""currency":"EUR","total":53.48,"note":"leave at the door","test":false}"#
    };
    let record = |n: i64| Record {
        offset: n,
        timestamp: n,
        key: Some(Bytes::from(format!("order-{n:06}"))),
        value: Some(Bytes::from(text(n))),
        headers: Vec::new(),
    };
    (0..1_000).map(record).collect()
}
