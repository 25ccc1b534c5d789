//! What the entries of a manifest say of each other and of the broker: names resolved, kinds and
//! cycles checked, partitions counted. Changes nothing; the outcome is a plan.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::cycle::Graph;
use super::fields::list;
use super::manifest::{
    self, Manifest, OnError, PipelineEntry, PluginEntry, Start, StepEntry, StepKind, StepLimits,
    TopicEntry,
};
use super::problem::{Problem, Report, Severity};
use crate::broker::{SettingError, TOPIC_SETTINGS, check_setting};
use crate::limits::{COMPONENT_BYTES, DEFAULT_PARTITIONS, PIPELINES, TOPICS};
use crate::types::{PipelineName, PluginName, TopicName};

/// What a manifest is checked against.
#[derive(Debug, Clone)]
pub struct World {
    /// The broker's topics.
    pub topics: BTreeMap<TopicName, ExistingTopic>,
    /// What is known of each component, by its path as written in the manifest; or why it cannot be
    /// used.
    pub components: BTreeMap<String, Result<KnownComponent, String>>,
    /// The deployed pipelines. One of a name that the manifest has too is about to be replaced.
    pub deployed: Vec<Flow>,
    /// Partitions of a topic of which nothing says how many.
    pub default_partitions: i32,
}

impl Default for World {
    fn default() -> Self {
        Self {
            topics: BTreeMap::new(),
            components: BTreeMap::new(),
            deployed: Vec::new(),
            default_partitions: DEFAULT_PARTITIONS,
        }
    }
}

/// A component that can be used.
#[derive(Debug, Clone, Default)]
pub struct KnownComponent {
    /// The kind of step that it is for, none if it fits all.
    pub kind: Option<StepKind>,
    /// What it imports that only a step with `wasi = true` gives it.
    pub wasi_imports: Vec<String>,
}

/// A topic that the broker has.
#[derive(Debug, Clone, Default)]
pub struct ExistingTopic {
    /// Its partitions.
    pub partitions: i32,
    /// Its configuration as it was given.
    pub config: BTreeMap<String, String>,
}

/// Between which topics a pipeline moves records.
#[derive(Debug, Clone)]
pub struct Flow {
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The topics it reads.
    pub sources: Vec<TopicName>,
    /// The topics it writes, dead letters included.
    pub targets: Vec<TopicName>,
}

/// A manifest that can be deployed as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The topics that the broker does not have yet.
    pub topics: Vec<PlannedTopic>,
    /// The pipelines, in the order of the manifest.
    pub pipelines: Vec<PipelinePlan>,
}

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTopic {
    /// Its name.
    pub name: TopicName,
    /// As declared, else as many as the topics have that its records come from, else the broker's
    /// default.
    pub partitions: i32,
    /// Its configuration, as declared.
    pub config: BTreeMap<String, String>,
}

/// A pipeline to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelinePlan {
    /// Its name.
    pub name: PipelineName,
    /// The topics it reads; at least one, none twice.
    pub sources: Vec<TopicName>,
    /// Where records go that no router sent elsewhere; without it they are dropped.
    pub output: Option<TopicName>,
    /// Where records go that a step with `on-error = "dead-letter"` failed on.
    pub dead_letter: Option<TopicName>,
    /// Where it begins.
    pub start: Start,
    /// Its steps, in order.
    pub steps: Vec<StepPlan>,
}

impl PipelinePlan {
    /// Between which topics it moves records.
    pub fn flow(&self) -> Flow {
        let routed = self.steps.iter().flat_map(|step| step.outputs.values());
        let targets = routed.chain(&self.output).chain(&self.dead_letter);
        Flow {
            pipeline: self.name.clone(),
            sources: self.sources.clone(),
            targets: targets.cloned().collect::<BTreeSet<_>>().into_iter().collect(),
        }
    }
}

/// A step to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPlan {
    /// What it does.
    pub kind: StepKind,
    /// The plugin's name in the manifest.
    pub plugin: PluginName,
    /// The path of the plugin's component as written in the manifest.
    pub component: String,
    /// What the plugin is told.
    pub config: BTreeMap<String, String>,
    /// What becomes of a record that it fails on.
    pub on_error: OnError,
    /// A router's names and their topics.
    pub outputs: BTreeMap<String, TopicName>,
    /// Its own limits.
    pub limits: StepLimits,
    /// Whether the plugin has WASI.
    #[serde(default)]
    pub wasi: bool,
}

/// Checks a manifest's text as a whole. `file` is its name in the problems.
///
/// # Errors
/// Every problem found, warnings among them; at least one is an error.
pub fn check(file: &str, text: &str, world: &World) -> Result<(Plan, Vec<Problem>), Vec<Problem>> {
    let report = Report::new(file, text);
    let manifest = manifest::read(&report);
    let plan = Checker::new(&manifest, world, &report).run();
    let problems = report.into_problems();
    match plan {
        Some(plan) if problems.iter().all(|p| p.severity == Severity::Warning) => {
            Ok((plan, problems))
        }
        _ => Err(problems),
    }
}

/// The paths of the components that a manifest names, as written; of a manifest with mistakes
/// those that can be read.
pub fn component_paths(text: &str) -> BTreeSet<String> {
    let manifest = manifest::read(&Report::new("", text));
    let paths = manifest.plugins.into_iter().filter_map(|plugin| plugin.component);
    paths.map(Spanned::into_inner).collect()
}

/// How large each of these may be, bytes: what the step that gives it most says. One that no step
/// uses may have the default.
pub(super) fn component_sizes(text: &str) -> BTreeMap<String, usize> {
    let manifest = manifest::read(&Report::new("", text));
    let mut allowed: BTreeMap<&PluginName, usize> = BTreeMap::new();
    for step in manifest.pipelines.iter().flat_map(|pipeline| &pipeline.steps) {
        for (_, name) in &step.plugins {
            let most = allowed.entry(name.get_ref()).or_default();
            *most = step.limits.component_bytes().max(*most);
        }
    }
    let plugins = manifest.plugins.iter().filter_map(|plugin| {
        let most = allowed.get(plugin.name.get_ref()).copied().unwrap_or(COMPONENT_BYTES);
        Some((plugin.component.as_ref()?.get_ref().clone(), most))
    });
    let mut sizes = BTreeMap::new();
    for (path, most) in plugins {
        let size = sizes.entry(path).or_insert(most);
        *size = most.max(*size);
    }
    sizes
}

struct Checker<'a> {
    manifest: &'a Manifest,
    world: &'a World,
    report: &'a Report<'a>,
    declared: BTreeSet<&'a TopicName>,
    written: BTreeSet<&'a TopicName>,
    plugins: BTreeMap<&'a PluginName, &'a PluginEntry>,
}

impl<'a> Checker<'a> {
    fn new(manifest: &'a Manifest, world: &'a World, report: &'a Report<'a>) -> Self {
        let declared = manifest.topics.iter().filter_map(|topic| topic.name.as_ref());
        let written = manifest.pipelines.iter().flat_map(targets);
        let plugins = manifest.plugins.iter().map(|plugin| (plugin.name.get_ref(), plugin));
        Self {
            manifest,
            world,
            report,
            declared: declared.map(Spanned::get_ref).collect(),
            written: written.map(Spanned::get_ref).collect(),
            plugins: plugins.collect(),
        }
    }

    fn run(&self) -> Option<Plan> {
        let Manifest { topics, plugins, pipelines } = self.manifest;
        if topics.is_empty() && plugins.is_empty() && pipelines.is_empty() {
            self.empty();
            return None;
        }
        self.topics();
        self.topic_count();
        self.collisions();
        self.pipeline_names();
        self.plugins();
        for pipeline in &self.manifest.pipelines {
            self.sources(pipeline);
            self.outputs(pipeline);
            self.dead_letters(pipeline);
            pipeline.steps.iter().for_each(|step| self.step(step));
        }
        self.cycles();
        if self.report.has_errors() { None } else { self.plan() }
    }

    /// Either there is nothing, or what is there could not be read.
    fn empty(&self) {
        if !self.report.has_errors() {
            let message = "nothing to deploy; a pipeline begins with `[[pipeline]]`";
            self.report.error(0..0, message);
        }
    }

    fn topics(&self) {
        let mut seen = BTreeSet::new();
        for topic in &self.manifest.topics {
            let Some(name) = &topic.name else { continue };
            if !seen.insert(name.get_ref()) {
                let message = format!("topic `{name}` is declared a second time");
                self.report.error(name.span(), message);
            }
            match self.world.topics.get(name.get_ref()) {
                Some(existing) => self.existing_topic(topic, name, existing),
                None => self.settings(topic),
            }
        }
    }

    fn settings(&self, topic: &TopicEntry) {
        for (key, value) in &topic.config {
            let Err(error) = check_setting(key, value.get_ref()) else { continue };
            let hint = match &error {
                SettingError::Unknown { name } => {
                    let known = TOPIC_SETTINGS.iter().map(|setting| setting.name);
                    self.report.did_you_mean(name, known)
                }
                _ => None,
            };
            self.report.error(value.span(), format!("{error}{}", hint.unwrap_or_default()));
        }
    }

    fn topic_count(&self) {
        let declared = self.manifest.topics.iter().filter_map(|topic| topic.name.as_ref());
        let mut all: BTreeSet<&TopicName> = self.world.topics.keys().collect();
        for name in declared.chain(self.manifest.pipelines.iter().flat_map(targets)) {
            if all.insert(name.get_ref()) && all.len() == TOPICS + 1 {
                let message = format!("a broker has at most {TOPICS} topics");
                self.report.error(name.span(), message);
            }
        }
    }

    fn existing_topic(
        &self,
        topic: &TopicEntry,
        name: &Spanned<TopicName>,
        existing: &ExistingTopic,
    ) {
        let wanted = topic.partitions.as_ref();
        if let Some(wanted) = wanted.filter(|wanted| *wanted.get_ref() != existing.partitions) {
            let message = format!(
                "topic `{name}` exists with {} partitions and cannot be given {wanted}",
                existing.partitions
            );
            self.report.error(wanted.span(), message);
        }
        for (key, value) in &topic.config {
            if existing.config.get(key) != Some(value.get_ref()) {
                let message = format!("topic `{name}` exists; its `{key}` stays as it is");
                self.report.warning(value.span(), message);
            }
        }
    }

    /// Kafka's rule: metrics write '.' as '_', so no two topics may differ in these alone.
    fn collisions(&self) {
        let folded = |name: &TopicName| name.as_str().replace('.', "_");
        let existing = self.world.topics.keys();
        let mut seen: BTreeMap<String, &TopicName> =
            existing.map(|name| (folded(name), name)).collect();
        let declared = self.manifest.topics.iter().filter_map(|topic| topic.name.as_ref());
        for name in declared.chain(self.manifest.pipelines.iter().flat_map(targets)) {
            let first = *seen.entry(folded(name.get_ref())).or_insert(name.get_ref());
            if first != name.get_ref() && !self.world.topics.contains_key(name.get_ref()) {
                let message = format!(
                    "topic `{name}` collides with `{first}`: '.' and '_' count as the same"
                );
                self.report.error(name.span(), message);
            }
        }
    }

    fn pipeline_names(&self) {
        let mut seen = BTreeSet::new();
        let deployed = self.world.deployed.iter().map(|flow| &flow.pipeline);
        let mut all: BTreeSet<&PipelineName> = deployed.collect();
        for name in self.manifest.pipelines.iter().filter_map(|pipeline| pipeline.name.as_ref()) {
            if !seen.insert(name.get_ref()) {
                let message = format!("there is a second pipeline `{name}`");
                self.report.error(name.span(), message);
            }
            if all.insert(name.get_ref()) && all.len() == PIPELINES + 1 {
                let message = format!("a broker runs at most {PIPELINES} pipelines");
                self.report.error(name.span(), message);
            }
        }
    }

    fn plugins(&self) {
        let steps = self.manifest.pipelines.iter().flat_map(|pipeline| &pipeline.steps);
        let used: BTreeSet<&PluginName> =
            steps.flat_map(|step| &step.plugins).map(|(_, name)| name.get_ref()).collect();
        for plugin in &self.manifest.plugins {
            let name = &plugin.name;
            if !used.contains(name.get_ref()) {
                self.report.warning(name.span(), format!("plugin `{name}` is used by no step"));
            }
            let Some(path) = &plugin.component else { continue };
            match self.world.components.get(path.get_ref()) {
                Some(Ok(_)) => {}
                Some(Err(reason)) => {
                    let message = format!("component `{path}` cannot be used: {reason}");
                    self.report.error(path.span(), message);
                }
                None => {
                    let message =
                        format!("component `{path}` is not there, seen from the manifest");
                    self.report.error(path.span(), message);
                }
            }
        }
    }

    fn sources(&self, pipeline: &PipelineEntry) {
        let Self { declared, written, .. } = self;
        let mut seen = BTreeSet::new();
        for source in &pipeline.sources {
            let name = source.get_ref();
            if !seen.insert(name) {
                self.report.error(source.span(), format!("source `{name}` is given twice"));
            }
            let exists = self.world.topics.contains_key(name);
            if exists || declared.contains(name) || written.contains(name) {
                continue;
            }
            let known = declared.iter().chain(written).copied().chain(self.world.topics.keys());
            let hint = self.report.did_you_mean(name.as_str(), known.map(TopicName::as_str));
            let hint = hint.unwrap_or_else(|| {
                format!("; declare it: `[[topic]]` and below it `name = \"{name}\"`")
            });
            let message = format!("source `{name}` is neither declared nor in the broker{hint}");
            self.report.error(source.span(), message);
        }
    }

    fn outputs(&self, pipeline: &PipelineEntry) {
        let ends_in_route = pipeline.steps.last().is_some_and(|step| step.has_route);
        if !pipeline.has_output && !ends_in_route {
            let message = "a pipeline needs an `output`, unless its last step is a `route`";
            self.report.error(pipeline.span.clone(), message);
        }
    }

    fn dead_letters(&self, pipeline: &PipelineEntry) {
        let mut used = false;
        for step in &pipeline.steps {
            let wants = *step.on_error.get_ref() == OnError::DeadLetter;
            used |= wants;
            if wants && !pipeline.has_dead_letter {
                let message = "`on-error = \"dead-letter\"` needs a topic: \
                               give the pipeline `dead-letter = \"…\"`";
                self.report.error(step.on_error.span(), message);
            }
        }
        if let Some(topic) = pipeline.dead_letter.as_ref().filter(|_| !used) {
            let message =
                format!("no record will go to `{topic}`: no step has `on-error = \"dead-letter\"`");
            self.report.warning(topic.span(), message);
        }
    }

    fn step(&self, step: &StepEntry) {
        for (kind, name) in &step.plugins {
            let Some(plugin) = self.plugins.get(name.get_ref()) else {
                self.undefined_plugin(name);
                continue;
            };
            let path = plugin.component.as_ref().map(Spanned::get_ref);
            let known = path.and_then(|path| self.world.components.get(path));
            let Some(Ok(known)) = known else { continue };
            if let Some(first) = known.wasi_imports.first().filter(|_| !step.wasi) {
                let more = match known.wasi_imports.len() {
                    1 => String::new(),
                    all => format!(" and {} more", all - 1),
                };
                let message = format!(
                    "plugin `{name}` imports `{first}`{more}, which a step gives it only with \
                     `wasi = true`"
                );
                self.report.error(name.span(), message);
            }
            if let Some(found) = known.kind.filter(|found| found != kind) {
                let message = format!(
                    "plugin `{name}` is {} and cannot be used as {}; write `{found} = \"{name}\"`",
                    found.plugin(),
                    kind.plugin(),
                );
                self.report.error(name.span(), message);
            }
        }
    }

    fn undefined_plugin(&self, name: &Spanned<PluginName>) {
        let defined: Vec<&str> =
            self.manifest.plugins.iter().map(|plugin| plugin.name.get_ref().as_str()).collect();
        let hint = self.report.did_you_mean(name.get_ref().as_str(), defined.iter().copied());
        let hint = hint.unwrap_or_else(|| match defined.len() {
            0 => format!("; define it: `[plugin.{name}]` and below it `component = \"….wasm\"`"),
            1..=5 => format!("; defined are {}", list(&defined)),
            _ => String::new(),
        });
        self.report.error(name.span(), format!("plugin `{name}` is not defined{hint}"));
    }

    fn cycles(&self) {
        let mut graph = Graph::default();
        let mut replaced = BTreeSet::new();
        for (i, pipeline) in self.manifest.pipelines.iter().enumerate() {
            replaced.extend(pipeline.name.as_ref().map(Spanned::get_ref));
            let name = pipeline.name.as_ref().map(|name| name.get_ref().as_str());
            let sources = pipeline.sources.iter().map(|source| source.get_ref());
            let targets = targets(pipeline).map(|to| (to.get_ref(), Some(to.span())));
            graph.add(i, name.unwrap_or("without a name"), sources, targets);
        }
        let rest = self.world.deployed.iter().filter(|flow| !replaced.contains(&flow.pipeline));
        for (i, flow) in rest.enumerate() {
            let targets = flow.targets.iter().map(|target| (target, None));
            let id = self.manifest.pipelines.len() + i;
            graph.add(id, flow.pipeline.as_str(), flow.sources.iter(), targets);
        }
        for cycle in graph.cycles() {
            self.report.error(cycle.span, cycle.message);
        }
    }

    /// Only for a manifest without errors; `None` would be one that was overlooked.
    fn plan(&self) -> Option<Plan> {
        let pipelines = self.manifest.pipelines.iter().map(|entry| self.plan_pipeline(entry));
        let pipelines: Vec<PipelinePlan> = pipelines.collect::<Option<_>>()?;
        Some(Plan { topics: self.plan_topics(&pipelines), pipelines })
    }

    fn plan_pipeline(&self, entry: &PipelineEntry) -> Option<PipelinePlan> {
        let steps = entry.steps.iter().map(|step| self.plan_step(step));
        Some(PipelinePlan {
            name: entry.name.clone()?.into_inner(),
            sources: entry.sources.iter().map(|source| source.get_ref().clone()).collect(),
            output: entry.output.clone().map(Spanned::into_inner),
            dead_letter: entry.dead_letter.clone().map(Spanned::into_inner),
            start: entry.start,
            steps: steps.collect::<Option<_>>()?,
        })
    }

    fn plan_step(&self, entry: &StepEntry) -> Option<StepPlan> {
        let (kind, name) = entry.plugins.first()?;
        let plugin = self.plugins.get(name.get_ref())?;
        let outputs = entry.outputs.iter();
        Some(StepPlan {
            kind: *kind,
            plugin: name.get_ref().clone(),
            component: plugin.component.clone()?.into_inner(),
            config: entry.config.clone(),
            on_error: *entry.on_error.get_ref(),
            outputs: outputs.map(|(name, to)| (name.clone(), to.get_ref().clone())).collect(),
            limits: entry.limits,
            wasi: entry.wasi,
        })
    }

    fn plan_topics(&self, pipelines: &[PipelinePlan]) -> Vec<PlannedTopic> {
        let flows: Vec<Flow> = pipelines.iter().map(PipelinePlan::flow).collect();
        let partitions = self.partitions(&flows);
        let mut topics: BTreeMap<&TopicName, BTreeMap<String, String>> = BTreeMap::new();
        for topic in &self.manifest.topics {
            let Some(name) = &topic.name else { continue };
            let config = topic.config.iter();
            let config = config.map(|(key, value)| (key.clone(), value.get_ref().clone()));
            topics.insert(name.get_ref(), config.collect());
        }
        for name in flows.iter().flat_map(|flow| &flow.targets) {
            topics.entry(name).or_default();
        }
        let missing = topics.into_iter().filter(|(name, _)| !self.world.topics.contains_key(*name));
        let planned = missing.map(|(name, config)| PlannedTopic {
            name: name.clone(),
            partitions: partitions.get(name).copied().unwrap_or(self.world.default_partitions),
            config,
        });
        planned.collect()
    }

    /// What the broker has and the manifest declares; from there along the flows, which have no
    /// cycle: as many as the largest topic that a topic's records come from.
    fn partitions<'t>(&'t self, flows: &'t [Flow]) -> BTreeMap<&'t TopicName, i32> {
        let existing = self.world.topics.iter().map(|(name, topic)| (name, topic.partitions));
        let declared = self.manifest.topics.iter().filter_map(|topic| {
            Some((topic.name.as_ref()?.get_ref(), *topic.partitions.as_ref()?.get_ref()))
        });
        let fixed: BTreeMap<&TopicName, i32> = declared.chain(existing).collect();
        let mut counted = fixed.clone();
        loop {
            let mut changed = false;
            for flow in flows {
                let known = flow.sources.iter().map(|source| counted.get(source).copied());
                let most = known.map(|count| count.unwrap_or(self.world.default_partitions)).max();
                let most = most.unwrap_or(self.world.default_partitions);
                for target in flow.targets.iter().filter(|target| !fixed.contains_key(target)) {
                    let count = counted.entry(target).or_insert(0);
                    changed |= *count < most;
                    *count = most.max(*count);
                }
            }
            if !changed {
                return counted;
            }
        }
    }
}

/// Every topic that a pipeline writes, as far as it can be read.
fn targets(pipeline: &PipelineEntry) -> impl Iterator<Item = &Spanned<TopicName>> {
    let routed = pipeline.steps.iter().flat_map(|step| step.outputs.values());
    routed.chain(&pipeline.output).chain(&pipeline.dead_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_full_takes_no_more_topics() {
        let topic =
            |i: usize| (TopicName::new(&format!("t{i}")).unwrap(), ExistingTopic::default());
        let world = World { topics: (1..TOPICS).map(topic).collect(), ..World::default() };
        let declare = |name: &str| format!("[[topic]]\nname = \"{name}\"\n");
        let fits = declare("t1") + &declare("new");
        assert!(check("m.toml", &fits, &world).is_ok());
        let problems = check("m.toml", &(fits + &declare("more")), &world).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!((problems[0].line, problems[0].column), (6, 8));
    }
}
