//! The manifest as written: TOML to types, every mistake that shows in one place noted. What one
//! entry says of another (names, kinds, cycles) is `graph`'s matter.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::DeTable;

use super::fields::{Fields, list};
use super::problem::{Report, Span};
use crate::limits::{
    COMPONENT_BYTES, MANIFEST_BYTES, PARTITIONS, PIPELINE_STEPS, PIPELINES, RETRY_ATTEMPTS,
    RETRY_ATTEMPTS_DEFAULT, RETRY_BACKOFF_MS, RETRY_BACKOFF_MS_DEFAULT, RETRY_BACKOFF_MS_MAX,
    STEP_CALL_MS, STEP_COMPONENT_MIB, STEP_MEMORY_MIB, STEP_OUTPUT_KIB, STEP_OUTPUT_RECORDS_RANGE,
};
use crate::plugin::{Limits, PluginKind};
use crate::types::{PipelineName, PluginName, TopicName};

/// What could be read of a manifest. A field is `None` or empty where it is missing or wrong; the
/// report says so if that is a mistake.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    pub(super) topics: Vec<TopicEntry>,
    pub(super) plugins: Vec<PluginEntry>,
    pub(super) pipelines: Vec<PipelineEntry>,
}

/// `[[topic]]`
#[derive(Debug)]
pub(super) struct TopicEntry {
    pub(super) name: Option<Spanned<TopicName>>,
    pub(super) partitions: Option<Spanned<i32>>,
    pub(super) config: BTreeMap<String, Spanned<String>>,
}

/// `[plugin.NAME]`
#[derive(Debug)]
pub(super) struct PluginEntry {
    pub(super) name: Spanned<PluginName>,
    pub(super) component: Option<Spanned<String>>,
}

/// `[[pipeline]]`
#[derive(Debug)]
pub(super) struct PipelineEntry {
    pub(super) span: Span,
    pub(super) name: Option<Spanned<PipelineName>>,
    pub(super) sources: Vec<Spanned<TopicName>>,
    pub(super) output: Option<Spanned<TopicName>>,
    /// Whether `output` is there, right or wrong.
    pub(super) has_output: bool,
    pub(super) dead_letter: Option<Spanned<TopicName>>,
    /// Whether `dead-letter` is there, right or wrong.
    pub(super) has_dead_letter: bool,
    pub(super) start: Start,
    pub(super) steps: Vec<StepEntry>,
}

/// `[[pipeline.step]]`
#[derive(Debug)]
pub(super) struct StepEntry {
    /// One, unless the step is wrong.
    pub(super) plugins: Vec<(StepKind, Spanned<PluginName>)>,
    /// Whether the step is written as a router, right or wrong.
    pub(super) has_route: bool,
    pub(super) config: BTreeMap<String, String>,
    pub(super) on_error: Spanned<OnError>,
    pub(super) outputs: BTreeMap<String, Spanned<TopicName>>,
    pub(super) limits: StepLimits,
    pub(super) wasi: bool,
}

/// Where a pipeline begins in a source partition that it has no checkpoint for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Start {
    /// At the log start offset. The default: nothing that is there is passed over.
    #[default]
    Earliest,
    /// At the high watermark of the moment of its first deployment.
    Latest,
}

/// What a step does with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StepKind {
    /// Keeps or drops it.
    Filter,
    /// Makes zero or more records of it.
    Transform,
    /// Names the outputs that it goes to.
    Route,
}

impl StepKind {
    const ALL: [Self; 3] = [Self::Filter, Self::Transform, Self::Route];

    /// The manifest's word for such a step.
    pub fn word(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Transform => "transform",
            Self::Route => "route",
        }
    }

    /// What such a step's plugin is for.
    pub(super) fn plugin_kind(self) -> PluginKind {
        match self {
            Self::Filter => PluginKind::Filter,
            Self::Transform => PluginKind::Transformer,
            Self::Route => PluginKind::Router,
        }
    }

    /// The word for such a plugin, with its article.
    pub(super) fn plugin(self) -> &'static str {
        match self {
            Self::Filter => "a filter",
            Self::Transform => "a transformer",
            Self::Route => "a router",
        }
    }
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What becomes of a record that a step failed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnError {
    /// The pipeline stops before it.
    #[default]
    Stop,
    /// It is passed over, counted and logged.
    Skip,
    /// It goes to the dead-letter topic as it came from the source.
    DeadLetter,
    /// It is tried again; when the attempts are used up, the pipeline stops before it.
    Retry(Retry),
}

impl OnError {
    const WORDS: [&'static str; 4] = ["stop", "skip", "dead-letter", "retry"];
}

/// How often a failed record is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts after the first failure; 5 unless the manifest says otherwise.
    pub attempts: u32,
    /// Wait before the first of them, milliseconds; 100 unless the manifest says otherwise.
    pub backoff_ms: u64,
}

impl Retry {
    /// The wait before an attempt, of which the first is 0: doubled each time, up to a minute.
    pub(super) fn wait(&self, attempt: u32) -> Duration {
        let factor = 1_u64.checked_shl(attempt).unwrap_or(u64::MAX);
        Duration::from_millis(self.backoff_ms.saturating_mul(factor).min(RETRY_BACKOFF_MS_MAX))
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: RETRY_ATTEMPTS_DEFAULT, backoff_ms: RETRY_BACKOFF_MS_DEFAULT }
    }
}

/// A step's own limits; without them those of `limits.rs` hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StepLimits {
    /// Linear memory of an instance, mebibytes.
    pub memory_mib: Option<u32>,
    /// Time of a call, milliseconds.
    pub call_ms: Option<u64>,
    /// Records that one record may become, or outputs that it may be sent to.
    pub output_records: Option<u32>,
    /// Bytes that one record may become, kibibytes.
    pub output_kib: Option<u32>,
    /// Size of the component, mebibytes.
    pub component_mib: Option<u32>,
}

impl StepLimits {
    /// What a plugin in this step may use.
    pub(super) fn plugin(&self) -> Limits {
        let or = |given: Option<u32>, unit: usize, default: usize| {
            given.map_or(default, |number| number as usize * unit)
        };
        let default = Limits::default();
        Limits {
            memory_bytes: or(self.memory_mib, 1024 * 1024, default.memory_bytes),
            call_ms: self.call_ms.unwrap_or(default.call_ms),
            output_records: or(self.output_records, 1, default.output_records),
            output_bytes: or(self.output_kib, 1024, default.output_bytes),
        }
    }

    /// How large its component may be, bytes.
    pub(super) fn component_bytes(&self) -> usize {
        self.component_mib.map_or(COMPONENT_BYTES, |mib| mib as usize * 1024 * 1024)
    }
}

/// Reads the report's text, as far as it can be read.
pub(super) fn read(report: &Report<'_>) -> Manifest {
    let text = report.text();
    if text.len() > MANIFEST_BYTES {
        let bytes = text.len();
        let message = format!("manifest of {bytes} bytes, at most {MANIFEST_BYTES} are allowed");
        report.error(0..0, message);
        return Manifest::default();
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut broken = false;
    for error in &errors {
        let span = error.span().unwrap_or_default();
        let repeated = error.message() == "duplicate key";
        let message = match text.get(span.clone()).filter(|_| repeated) {
            Some(key) => format!("`{key}` is given a second time"),
            None => error.message().to_owned(),
        };
        report.error(span, message);
        broken |= !repeated;
    }
    // What follows a syntax error may have been read as something else than was meant; mistakes
    // found there would lead astray.
    if broken {
        return Manifest::default();
    }
    read_document(document.get_ref(), report)
}

fn read_document<'t>(document: &'t DeTable<'t>, report: &'t Report<'t>) -> Manifest {
    let root =
        Fields::new((document, 0..0), "a manifest", &["topic", "plugin", "pipeline"], report);
    let pipelines = root.tables("pipeline", "[[pipeline]]");
    if let Some((_, span)) = pipelines.get(PIPELINES) {
        report.error(span.clone(), format!("at most {PIPELINES} pipelines are allowed"));
    }
    let topics = root.tables("topic", "[[topic]]");
    Manifest {
        topics: topics.into_iter().map(|table| read_topic(table, report)).collect(),
        plugins: read_plugins(&root, report),
        pipelines: pipelines.into_iter().map(|table| read_pipeline(table, report)).collect(),
    }
}

fn read_topic<'t>(table: (&'t DeTable<'t>, Span), report: &'t Report<'t>) -> TopicEntry {
    let fields = Fields::new(table, "a topic", &["name", "partitions", "config"], report);
    fields.require("name", "name = \"events\"");
    let partitions = fields.integer("partitions", 1..=i64::from(PARTITIONS));
    TopicEntry {
        name: fields.name("name"),
        partitions: partitions.and_then(|number| {
            i32::try_from(*number.get_ref()).ok().map(|value| Spanned::new(number.span(), value))
        }),
        config: fields.settings("config"),
    }
}

fn read_plugins<'t>(root: &Fields<'t>, report: &'t Report<'t>) -> Vec<PluginEntry> {
    let Some((plugins, _)) = root.table("plugin", "[plugin.NAME]") else { return Vec::new() };
    let entries = plugins.iter().filter_map(|(key, value)| {
        let name = match PluginName::new(key.get_ref()) {
            Ok(name) => Spanned::new(key.span(), name),
            Err(error) => {
                report.error(key.span(), error.to_string());
                return None;
            }
        };
        let Some(table) = value.get_ref().as_table() else {
            let message = format!(
                "`plugin.{key}` must be a table: \
                 write `[plugin.NAME]` and below it `component = \"….wasm\"`"
            );
            report.error(key.span(), message);
            return None;
        };
        let fields = Fields::new((table, value.span()), "a plugin", &["component"], report);
        fields.require("component", "component = \"strong.wasm\"");
        let component = fields.text("component");
        if let Some(path) = component.as_ref().filter(|path| path.get_ref().is_empty()) {
            report.error(path.span(), "`component` must be the path of a component");
        }
        let owned = component.map(|path| Spanned::new(path.span(), (*path.get_ref()).to_owned()));
        Some(PluginEntry { name, component: owned.filter(|path| !path.get_ref().is_empty()) })
    });
    entries.collect()
}

fn read_pipeline<'t>(table: (&'t DeTable<'t>, Span), report: &'t Report<'t>) -> PipelineEntry {
    let allowed = ["name", "source", "output", "dead-letter", "start", "step"];
    let fields = Fields::new(table, "a pipeline", &allowed, report);
    fields.require("name", "name = \"clean\"");
    fields.require("source", "source = \"events\"");
    let steps = fields.tables("step", "[[pipeline.step]]");
    if let Some((_, span)) = steps.get(PIPELINE_STEPS) {
        let message = format!("at most {PIPELINE_STEPS} steps are allowed in a pipeline");
        report.error(span.clone(), message);
    }
    let words = [("earliest", Start::Earliest), ("latest", Start::Latest)];
    PipelineEntry {
        span: fields.span(),
        name: fields.name("name"),
        sources: fields.names("source"),
        output: fields.name("output"),
        has_output: fields.has("output"),
        dead_letter: fields.name("dead-letter"),
        has_dead_letter: fields.has("dead-letter"),
        start: read_word(&fields, "start", &words, report).unwrap_or_default(),
        steps: steps.into_iter().map(|table| read_step(table, report)).collect(),
    }
}

/// One of a few words; a mistake is noted.
fn read_word<T: Copy>(
    fields: &Fields<'_>,
    field: &str,
    words: &[(&'static str, T)],
    report: &Report<'_>,
) -> Option<T> {
    let text = fields.text(field)?;
    let given = *text.get_ref();
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == given) {
        return Some(*value);
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let hint = report.did_you_mean(given, names.iter().copied()).unwrap_or_default();
    let message = format!("`{field}` must be one of {}, not {given:?}{hint}", list(&names));
    report.error(text.span(), message);
    None
}

fn read_step<'t>(table: (&'t DeTable<'t>, Span), report: &'t Report<'t>) -> StepEntry {
    let allowed = [
        "filter",
        "transform",
        "route",
        "config",
        "on-error",
        "outputs",
        "retry",
        "limits",
        "wasi",
    ];
    let fields = Fields::new(table, "a step", &allowed, report);
    let kinds: Vec<StepKind> =
        StepKind::ALL.into_iter().filter(|kind| fields.has(kind.word())).collect();
    match kinds.as_slice() {
        [_] => {}
        [] => report.error(
            fields.span(),
            "a step needs one of `filter`, `transform` and `route`, as in `filter = \"strong\"`",
        ),
        [_, second, ..] => {
            let given: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
            let message = format!(
                "a step is one of `filter`, `transform` and `route`, this one is {}; \
                 write a step for each",
                list(&given)
            );
            report.error(fields.key_span(second.word()), message);
        }
    }
    let has_route = kinds.contains(&StepKind::Route);
    let named = |kind: &StepKind| Some((*kind, fields.name(kind.word())?));
    let config = fields.settings("config");
    StepEntry {
        plugins: kinds.iter().filter_map(named).collect(),
        has_route,
        config: config.into_iter().map(|(key, value)| (key, value.into_inner())).collect(),
        on_error: read_on_error(&fields, report),
        outputs: read_outputs(&fields, &kinds, report),
        limits: read_limits(&fields, report),
        wasi: fields.boolean("wasi").unwrap_or_default(),
    }
}

fn read_outputs<'t>(
    fields: &Fields<'t>,
    kinds: &[StepKind],
    report: &'t Report<'t>,
) -> BTreeMap<String, Spanned<TopicName>> {
    let example = "outputs = { name = \"topic\" }";
    let only_route = kinds == [StepKind::Route];
    match kinds {
        [kind] if !only_route && fields.has("outputs") => report.error(
            fields.key_span("outputs"),
            format!("only a `route` step has `outputs`, this is a `{kind}` step"),
        ),
        _ if only_route && !fields.has("outputs") => report
            .error(fields.span(), format!("a `route` step needs `outputs`, as in `{example}`")),
        _ => {}
    }
    let Some((table, span)) = fields.table("outputs", example) else { return BTreeMap::new() };
    if table.is_empty() {
        report.error(span.clone(), format!("`outputs` names no topic; write `{example}`"));
    }
    let outputs = Fields::free((table, span), "outputs", report);
    let read = table
        .keys()
        .filter_map(|key| Some((key.get_ref().to_string(), outputs.name(key.get_ref())?)));
    read.collect()
}

fn read_on_error<'t>(fields: &Fields<'t>, report: &'t Report<'t>) -> Spanned<OnError> {
    let retry = read_retry(fields, report);
    let [stop, skip, dead_letter, again] = OnError::WORDS;
    let words = [
        (stop, OnError::Stop),
        (skip, OnError::Skip),
        (dead_letter, OnError::DeadLetter),
        (again, OnError::Retry(retry.unwrap_or_default())),
    ];
    let policy = read_word(fields, "on-error", &words, report);
    let other = policy.or((!fields.has("on-error")).then_some(OnError::Stop));
    if retry.is_some() && other.is_some_and(|other| !matches!(other, OnError::Retry(_))) {
        let message = "`retry` has a meaning only with `on-error = \"retry\"`";
        report.error(fields.key_span("retry"), message);
    }
    Spanned::new(fields.key_span("on-error"), policy.unwrap_or_default())
}

fn read_retry<'t>(fields: &Fields<'t>, report: &'t Report<'t>) -> Option<Retry> {
    let table = fields.table("retry", "retry = { attempts = 5, backoff-ms = 100 }")?;
    let retry = Fields::new(table, "retry", &["attempts", "backoff-ms"], report);
    let attempts = retry.integer("attempts", RETRY_ATTEMPTS).map(Spanned::into_inner);
    let backoff_ms = retry.integer("backoff-ms", RETRY_BACKOFF_MS).map(Spanned::into_inner);
    Some(Retry {
        attempts: attempts
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(RETRY_ATTEMPTS_DEFAULT),
        backoff_ms: backoff_ms
            .and_then(|number| u64::try_from(number).ok())
            .unwrap_or(RETRY_BACKOFF_MS_DEFAULT),
    })
}

fn read_limits<'t>(fields: &Fields<'t>, report: &'t Report<'t>) -> StepLimits {
    let example = "limits = { memory-mib = 64, call-ms = 500 }";
    let Some(table) = fields.table("limits", example) else { return StepLimits::default() };
    let allowed = ["memory-mib", "call-ms", "output-records", "output-kib", "component-mib"];
    let limits = Fields::new(table, "limits", &allowed, report);
    let number = |name, range| {
        let number = limits.integer(name, range).map(Spanned::into_inner);
        number.and_then(|number| u32::try_from(number).ok())
    };
    StepLimits {
        memory_mib: number("memory-mib", STEP_MEMORY_MIB),
        call_ms: number("call-ms", STEP_CALL_MS).map(u64::from),
        output_records: number("output-records", STEP_OUTPUT_RECORDS_RANGE),
        output_kib: number("output-kib", STEP_OUTPUT_KIB),
        component_mib: number("component-mib", STEP_COMPONENT_MIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute() {
        let retry = Retry { attempts: 100, backoff_ms: 100 };
        let ms = |attempt| retry.wait(attempt).as_millis();
        assert_eq!([ms(0), ms(1), ms(2), ms(9)], [100, 200, 400, 51_200]);
        assert_eq!([ms(10), ms(63), ms(64), ms(99)], [60_000; 4]);
    }

    #[test]
    fn an_overlong_manifest_is_refused_unread() {
        let text = "#".repeat(MANIFEST_BYTES + 1);
        let report = Report::new("m.toml", &text);
        read(&report);
        let problems = report.into_problems();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.contains("at most 1048576"), "{}", problems[0].message);
    }
}
