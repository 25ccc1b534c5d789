//! What `dev` shows. Standard output has the records and the summary; standard error a progress
//! bar, if it is a terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::Show;
use super::tail::{Records, has_ended};
use crate::cli::deploy::changes;
use crate::cli::listen::Addresses;
use crate::cli::output::{Out, Side, bold, count, dim, number, printable};
use crate::http::{Binary, DeploymentDone, ErrorView, PipelineView, RecordView};
use crate::pipeline::RecordFailure;
use crate::record::Record;
use crate::types::TopicName;

/// Records of each topic that a sample shows.
const SAMPLE: usize = 3;
const INDENT: &str = "  ";
/// How often a spinner turns.
const SPIN: Duration = Duration::from_millis(100);

/// The screen.
pub(super) struct Screen {
    out: Out,
    show: Show,
    bar: ProgressBar,
    /// The bar is a spinner.
    busy: bool,
    samples: BTreeMap<TopicName, Vec<String>>,
}

impl Screen {
    pub(super) fn new(out: Out, show: Show) -> Self {
        Self { out, show, bar: ProgressBar::hidden(), busy: false, samples: BTreeMap::new() }
    }

    /// The first lines: what runs where.
    pub(super) fn start(&mut self, manifest: &str, addresses: &Addresses) -> anyhow::Result<()> {
        if !self.out.is_json() {
            let version = env!("CARGO_PKG_VERSION");
            self.line(format!(
                "{} {}",
                bold("millstream"),
                dim(&format!("{version}  {manifest}"))
            ))?;
            self.line("")?;
        }
        addresses.print(&mut self.out, INDENT)
    }

    /// How to look at it with another client.
    pub(super) fn hint(&mut self, kafka: &str, topic: Option<&String>) -> anyhow::Result<()> {
        let (false, Some(topic)) = (self.out.is_json(), topic) else { return Ok(()) };
        self.line(dim("  with your own client, or any other for Kafka:"))?;
        self.line(format!("    kcat -b {kafka} -C -t {topic}"))?;
        self.line("")?;
        self.line(dim("  edits are deployed at once; Ctrl-C ends it"))?;
        self.line("")
    }

    /// What a deployment changed, and what runs now.
    pub(super) fn deployed(
        &mut self,
        done: &DeploymentDone,
        pipelines: &[PipelineView],
        again: bool,
    ) -> anyhow::Result<()> {
        if self.out.is_json() {
            return self.event(json!({ "event": "deployed", "deployment": done }));
        }
        for warning in &done.warnings {
            self.line(&warning.rendered)?;
        }
        if again {
            return self.line(format!("{}  {}", bold("redeployed"), changes(done).join(", ")));
        }
        self.line("")?;
        let width = pipelines.iter().map(|pipeline| pipeline.name.len()).max().unwrap_or(0);
        for PipelineView { name, sources, outputs, .. } in pipelines {
            let name = bold(&format!("{name:<width$}"));
            let flow = format!("{} → {}", sources.join(", "), outputs.join(", "));
            self.line(format!("{INDENT}{name}  {flow}"))?;
        }
        self.line("")
    }

    /// That a pipeline was ended, since the manifest does not name it any more.
    pub(super) fn removed(&mut self, pipeline: &str) -> anyhow::Result<()> {
        if self.out.is_json() {
            return self.event(json!({ "event": "removed", "pipeline": pipeline }));
        }
        self.line(format!("{}  {pipeline}", bold("removed")))
    }

    /// Why an edit was not deployed.
    pub(super) fn refused(&mut self, view: &ErrorView) -> anyhow::Result<()> {
        if self.out.is_json() {
            return self.event(json!({ "event": "refused", "reason": view }));
        }
        self.line(format!("{}; {}", bold("not deployed"), view.error))?;
        view.problems.iter().try_for_each(|problem| self.line(&problem.rendered))
    }

    /// That a pipeline does not run, and why.
    pub(super) fn halted(&mut self, pipeline: &PipelineView) -> anyhow::Result<()> {
        if self.out.is_json() {
            return self.event(json!({ "event": "pipeline", "pipeline": pipeline }));
        }
        let PipelineView { name, state, reason, .. } = pipeline;
        let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        self.line(format!("pipeline {name} {state}{}", printable(&reason)))
    }

    /// That a step failed on a record; the record under it, if it is still there.
    pub(super) fn failed(
        &mut self,
        failure: &RecordFailure,
        record: Option<&Record>,
    ) -> anyhow::Result<()> {
        let RecordFailure { pipeline, topic, source, offset, step, failure } = failure;
        let view = record.map(|record| RecordView::new(source.partition, record));
        if self.out.is_json() {
            return self.event(json!({
                "event": "failed", "pipeline": pipeline, "topic": topic,
                "partition": source.partition, "offset": offset, "step": step,
                "reason": failure.reason.as_str(), "message": failure.message, "record": view,
            }));
        }
        let place = dim(&format!("{topic}/{}@{offset}", source.partition));
        let reason = printable(&failure.to_string());
        self.line(format!("{place}  {}  {pipeline}, {step}: {reason}", bold("failed")))?;
        let Some(view) = view else { return Ok(()) };
        let key = shown(view.key.as_deref(), view.key_base64.as_deref());
        let value = shown(view.value.as_deref(), view.value_base64.as_deref());
        let out = &mut self.out;
        self.bar.suspend(|| out.short_line(&format!("    {key}  {value}")))
    }

    /// That more failed than could be shown.
    pub(super) fn missed(&mut self, records: u64) -> anyhow::Result<()> {
        if self.out.is_json() {
            return self.event(json!({ "event": "missed", "failures": records }));
        }
        self.line(dim(&format!("{} more failed", count(records, "record"))))
    }

    /// What takes its time, until something else is said about progress.
    pub(super) fn busy(&mut self, message: String) {
        if !self.busy {
            self.busy = true;
            self.bar.finish_and_clear();
            self.bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}") {
                self.bar.set_style(style);
            }
            self.bar.enable_steady_tick(SPIN);
        }
        self.bar.set_message(message);
    }

    /// Nothing takes its time.
    pub(super) fn idle(&mut self) {
        self.busy = false;
        self.bar.finish_and_clear();
    }

    /// Feeding begins.
    pub(super) fn feeding(&mut self, total_bytes: u64) {
        self.idle();
        if total_bytes == 0 {
            return;
        }
        self.bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr());
        let style = "  {msg} {bar:32} {percent:>3}%  {bytes} of {total_bytes}";
        // What does not parse leaves the bar with the usual style.
        if let Ok(style) = ProgressStyle::with_template(style) {
            self.bar.set_style(style.progress_chars("━━╌"));
        }
        self.bar.set_message("feeding");
    }

    /// So many bytes more are in.
    pub(super) fn fed(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// A file is in.
    pub(super) fn fed_file(&mut self, topic: &TopicName, records: u64) -> anyhow::Result<()> {
        if self.out.is_json() {
            return self.event(json!({ "event": "fed", "topic": topic, "records": records }));
        }
        self.line(format!("{INDENT}{} fed to {topic}", count(records, "record")))
    }

    /// Records that came out.
    pub(super) fn records(&mut self, found: &[Records]) -> anyhow::Result<()> {
        for Records { topic, partition, records } in found {
            for record in records {
                self.record(topic, partition.partition, record)?;
            }
        }
        let out = &mut self.out;
        self.bar.suspend(|| out.flush())
    }

    fn record(&mut self, topic: &TopicName, index: i32, record: &Record) -> anyhow::Result<()> {
        let sampled = self.samples.get(topic).map_or(0, Vec::len);
        match self.show {
            Show::None => return Ok(()),
            Show::Sample if sampled >= SAMPLE => return Ok(()),
            Show::Sample | Show::All => {}
        }
        let view = RecordView::new(index, record);
        if self.out.is_json() {
            if self.show == Show::Sample {
                self.samples.entry(topic.clone()).or_default().push(String::new());
            }
            return self.event(json!({ "event": "record", "topic": topic, "record": view }));
        }
        let key = shown(view.key.as_deref(), view.key_base64.as_deref());
        let value = shown(view.value.as_deref(), view.value_base64.as_deref());
        if self.show == Show::All {
            let place = dim(&format!("{topic}/{index}@{}", record.offset));
            let line = format!("{place}  {key}  {value}");
            let out = &mut self.out;
            return self.bar.suspend(|| out.short_line(&line));
        }
        let place = dim(&format!("/{index}@{}", record.offset));
        let line = format!("{place}  {key}  {value}");
        self.samples.entry(topic.clone()).or_default().push(line);
        Ok(())
    }

    /// The last lines: what came out where.
    pub(super) fn summary(
        &mut self,
        topics: &[(String, u64)],
        pipelines: &[PipelineView],
        took: Duration,
    ) -> anyhow::Result<()> {
        self.idle();
        if self.out.is_json() {
            let counts: BTreeMap<_, _> = topics.iter().cloned().collect();
            self.event(json!({
                "event": "summary",
                "topics": counts,
                "pipelines": pipelines,
                "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            }))?;
            return self.out.flush();
        }
        self.print_samples(topics)?;
        self.line("")?;
        self.pipeline_table(pipelines)?;
        self.line("")?;
        let columns = [("topic", Side::Left), ("records", Side::Right)];
        let rows: Vec<_> =
            topics.iter().map(|(topic, records)| vec![topic.clone(), number(*records)]).collect();
        self.out.table(INDENT, &columns, &rows)?;
        self.line("")?;
        let word = if pipelines.iter().any(has_ended) { "stopped after" } else { "through in" };
        self.line(format!("{INDENT}{word} {:.1} s", took.as_secs_f64()))?;
        self.out.flush()
    }

    fn print_samples(&mut self, topics: &[(String, u64)]) -> anyhow::Result<()> {
        for (topic, lines) in std::mem::take(&mut self.samples) {
            let all = topics.iter().find(|(name, _)| name == topic.as_str()).map_or(0, |(_, n)| *n);
            self.line("")?;
            self.line(format!("{INDENT}{}  {}", bold(topic.as_str()), dim(&count(all, "record"))))?;
            for line in &lines {
                self.out.sample_line(&format!("    {line}"))?;
            }
            let more = all.saturating_sub(lines.len() as u64);
            if more > 0 {
                self.line(dim(&format!("    … {} more", number(more))))?;
            }
        }
        Ok(())
    }

    fn pipeline_table(&mut self, pipelines: &[PipelineView]) -> anyhow::Result<()> {
        use Side::{Left, Right};
        let columns = [
            ("pipeline", Left),
            ("in", Right),
            ("out", Right),
            ("dropped", Right),
            ("skipped", Right),
            ("dead letters", Right),
        ];
        let row = |pipeline: &PipelineView| {
            let counts = pipeline.counts();
            let numbers =
                [counts.input, counts.output, counts.dropped, counts.skipped, counts.dead_lettered];
            let numbers = numbers.map(number);
            std::iter::once(pipeline.name.clone()).chain(numbers).collect::<Vec<_>>()
        };
        let rows: Vec<_> = pipelines.iter().map(row).collect();
        self.out.table(INDENT, &columns, &rows)
    }

    fn line(&mut self, line: impl AsRef<str>) -> anyhow::Result<()> {
        let out = &mut self.out;
        self.bar.suspend(|| {
            out.line(line)?;
            out.flush()
        })
    }

    fn event(&mut self, event: serde_json::Value) -> anyhow::Result<()> {
        let out = &mut self.out;
        self.bar.suspend(|| {
            out.json(&event)?;
            out.flush()
        })
    }
}

/// A key or value on one line.
fn shown(text: Option<&str>, base64: Option<&str>) -> String {
    Binary::show(text, base64).map_or_else(|| "-".to_owned(), |text| printable(&text))
}
