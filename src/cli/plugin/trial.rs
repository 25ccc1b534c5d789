//! `millstream plugin test`: named for what it does, since `test` is taken.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::input::{InputArgs, Numbered};
use super::inspect::mebibytes;
use super::loaded::{Loaded, StepArgs};
use super::outcome::{Outcome, What};
use crate::cli::lines::Lines;
use crate::cli::output::{Out, count, dim, number};
use crate::plugin::{Engine, Instance};

/// Run records through a plugin, without a broker.
///
/// In the real plugin engine, with the limits that a step gives. Prints what came of each record,
/// the lines that the plugin logs (to standard error), time per record and memory. Ends with 1 if
/// a record fails or, with --expect, if anything comes out otherwise than the file says.
#[derive(Debug, Args)]
pub(super) struct Test {
    /// The component, or the folder of a plugin, which says itself what it is tested with.
    #[arg(default_value = ".")]
    component: PathBuf,

    #[command(flatten)]
    input: InputArgs,

    /// What is to come of the records, as --write left it [default: the folder's].
    #[arg(long, value_name = "FILE", conflicts_with = "write")]
    expect: Option<PathBuf>,

    /// Write what comes of the records to a file, for --expect.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,

    #[command(flatten)]
    step: StepArgs,
}

impl Test {
    pub(super) fn run(self, mut out: Out) -> anyhow::Result<()> {
        let loaded = Loaded::load(&Engine::new()?, &self.component)?;
        let project = loaded.project.as_ref();
        let records = self.input.open(project)?.context("no records to try: give --input FILE")?;
        let mut judge = Judge::new(self.expectation(&loaded))?;
        let mut written = self.write.as_deref().map(Written::create).transpose()?;
        let mut trial = Trial::new(loaded.instance(&self.step));
        for numbered in records {
            let outcome = trial.offer(&numbered?, &mut out)?;
            if let Some(written) = &mut written {
                written.line(&outcome)?;
            }
            judge.compare(&outcome, &mut out)?;
        }
        judge.finish(&mut out)?;
        if let Some(written) = written {
            written.finish()?;
        }
        trial.summary(&loaded, &judge, &mut out)?;
        // What is written is meant to be looked at.
        if self.write.is_some() { Ok(()) } else { judge.verdict(trial.counts.failed) }
    }

    /// The file that says what is to come.
    fn expectation(&self, loaded: &Loaded) -> Option<PathBuf> {
        // Other records than the folder's own would be measured by what those become.
        let own = self.input.is_default() && self.write.is_none();
        let project = loaded.project.as_ref().filter(|_| own);
        let folders = project.and_then(|project| {
            let expect = project.plugin.test.expect.as_ref()?;
            Some(project.folder.join(expect))
        });
        self.expect.clone().or(folders)
    }
}

/// The file of --write.
struct Written {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Written {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        let file = BufWriter::new(File::create(path).with_context(cannot)?);
        Ok(Self { path: path.to_owned(), file })
    }

    fn line(&mut self, outcome: &Outcome) -> anyhow::Result<()> {
        let cannot = || format!("cannot write {}", self.path.display());
        writeln!(self.file, "{}", outcome.to_json()?).with_context(cannot)
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.file.flush().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// What became of the records, counted.
#[derive(Debug, Default)]
struct Counts {
    kept: u64,
    dropped: u64,
    emitting: u64,
    emitted: u64,
    routed: u64,
    failed: u64,
}

/// The plugin at work, and what it took.
struct Trial {
    instance: Instance,
    counts: Counts,
    /// The first call, which makes the instance.
    first: Option<Duration>,
    /// The others.
    times: Vec<Duration>,
    memory_bytes: usize,
}

impl Trial {
    fn new(instance: Instance) -> Self {
        let (first, times, memory_bytes) = (None, Vec::new(), 0);
        Self { instance, counts: Counts::default(), first, times, memory_bytes }
    }

    fn offer(&mut self, numbered: &Numbered, out: &mut Out) -> anyhow::Result<Outcome> {
        // What the plugin logs comes after what came of the record before.
        out.flush()?;
        let begun = Instant::now();
        let mut processed = self.instance.process(std::slice::from_ref(&numbered.record));
        let took = begun.elapsed();
        match self.first {
            None => self.first = Some(took),
            Some(_) => self.times.push(took),
        }
        self.memory_bytes = self.memory_bytes.max(self.instance.memory_bytes());
        let result = processed.pop().context("the plugin engine said nothing of a record")?;
        let outcome = Outcome::new(numbered.line, result);
        self.count(&outcome.what);
        Ok(outcome)
    }

    fn count(&mut self, what: &What) {
        let counts = &mut self.counts;
        match what {
            What::Keep => counts.kept += 1,
            What::Drop => counts.dropped += 1,
            What::Emit { records } => {
                counts.emitting += 1;
                counts.emitted += records.len() as u64;
            }
            What::Route { .. } => counts.routed += 1,
            What::Fail { .. } => counts.failed += 1,
        }
    }

    fn summary(&mut self, loaded: &Loaded, judge: &Judge, out: &mut Out) -> anyhow::Result<()> {
        self.times.sort_unstable();
        let at = |share: usize| self.times.get((self.times.len().max(1) - 1) * share / 100);
        let Counts { kept, dropped, emitting, emitted, routed, failed } = self.counts;
        let all = kept + dropped + emitting + routed + failed;
        if out.is_json() {
            let micros = |time: Option<&Duration>| time.map(|time| time.as_secs_f64() * 1e6);
            out.json(&json!({ "summary": {
                "records": all, "kept": kept, "dropped": dropped, "replaced": emitting,
                "emitted": emitted, "routed": routed, "failed": failed,
                "differences": judge.differences,
                "compile_ms": loaded.compiled_in.as_secs_f64() * 1e3,
                "first_us": micros(self.first.as_ref()),
                "median_us": micros(at(50)),
                "max_us": micros(at(100)),
                "memory_bytes": self.memory_bytes,
            }}))?;
            return out.flush();
        }
        let parts = [
            (kept, "kept".to_owned()),
            (dropped, "dropped".to_owned()),
            (emitting, format!("became {}", number(emitted))),
            (routed, "routed".to_owned()),
            (failed, "failed".to_owned()),
        ];
        let parts = parts.into_iter().filter(|(n, _)| *n > 0);
        let parts: Vec<String> = parts.map(|(n, what)| format!("{} {what}", number(n))).collect();
        out.line(format!("{}: {}", count(all, "record"), parts.join(", ")))?;
        let times = [(Some("half of the calls within"), at(50)), (Some("all within"), at(100))];
        let first = self.first.map(|first| format!("the first call took {}", short(first)));
        let told = times.into_iter().filter_map(|(what, time)| Some((what?, *time?)));
        let told = told.map(|(what, time)| format!("{what} {}", short(time)));
        let told: Vec<String> = first.into_iter().chain(told).collect();
        let compiled = short(loaded.compiled_in);
        out.line(dim(&format!(
            "compiled in {compiled}; {}; {} of memory at most",
            told.join(", "),
            mebibytes(self.memory_bytes as u64)
        )))?;
        out.flush()
    }
}

/// A time as people read it.
pub(super) fn short(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..10.0 => format!("{micros:.1} µs"),
        ..1e3 => format!("{micros:.0} µs"),
        ..1e4 => format!("{:.1} ms", micros / 1e3),
        ..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.1} s", micros / 1e6),
    }
}

/// Compares what came with what was to come, if anyone said.
struct Judge {
    expected: Option<(PathBuf, VecDeque<Value>)>,
    differences: u64,
}

impl Judge {
    fn new(path: Option<PathBuf>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self { expected: None, differences: 0 }) };
        let cannot = || format!("cannot open {}", path.display());
        let lines = Lines::new(BufReader::new(File::open(&path).with_context(cannot)?));
        let mut expected = VecDeque::new();
        for line in lines {
            let line = line.with_context(|| path.display().to_string())?;
            let place = || format!("{}, line {}, is not JSON", path.display(), line.number);
            expected.push_back(serde_json::from_slice(&line.bytes).with_context(place)?);
        }
        Ok(Self { expected: Some((path, expected)), differences: 0 })
    }

    /// Prints the outcome, or how it differs.
    fn compare(&mut self, outcome: &Outcome, out: &mut Out) -> anyhow::Result<()> {
        let Some((_, expected)) = &mut self.expected else {
            if out.is_json() {
                return out.json(outcome);
            }
            return outcome.lines().iter().try_for_each(|line| out.short_line(line));
        };
        let found = outcome.to_json()?;
        let wanted = expected.pop_front();
        if wanted.as_ref() == Some(&found) {
            return Ok(());
        }
        self.difference(outcome.line, wanted.as_ref(), Some(&found), out)
    }

    /// What was to come and did not.
    fn finish(&mut self, out: &mut Out) -> anyhow::Result<()> {
        let Some((_, expected)) = &mut self.expected else { return Ok(()) };
        for missing in std::mem::take(expected) {
            let line = missing.get("line").and_then(Value::as_u64).unwrap_or(0);
            self.difference(line, Some(&missing), None, out)?;
        }
        Ok(())
    }

    fn difference(
        &mut self,
        line: u64,
        expected: Option<&Value>,
        found: Option<&Value>,
        out: &mut Out,
    ) -> anyhow::Result<()> {
        self.differences += 1;
        if out.is_json() {
            return out.json(&json!({ "line": line, "expected": expected, "found": found }));
        }
        let shown = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
        out.line(format!("{line:>5}  expected  {}", shown(expected)))?;
        out.line(format!("       found     {}", shown(found)))
    }

    fn verdict(&self, failed: u64) -> anyhow::Result<()> {
        match &self.expected {
            Some((path, _)) => anyhow::ensure!(
                self.differences == 0,
                "{} from {}",
                count(self.differences, "difference"),
                path.display()
            ),
            None => anyhow::ensure!(failed == 0, "{} failed", count(failed, "record")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_or_three_digits() {
        let shown = [700, 34_567, 1_234_567, 45_000_000, 2_345_000_000]
            .map(|nanos| short(Duration::from_nanos(nanos)));
        assert_eq!(shown, ["0.7 µs", "35 µs", "1.2 ms", "45 ms", "2.3 s"]);
    }
}
