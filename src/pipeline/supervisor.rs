//! All pipelines of a broker: deploys them, starts them again after a restart, says how they are,
//! stops them. They run on a runtime of their own, so that heavy plugins keep no client waiting.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::batch::checkpoint as checkpoint_change;
use super::deploy::{Bundle, Change, DeployError, Deployed, Stored, digest_bytes};
use super::graph::{
    ExistingTopic, KnownComponent, PipelinePlan, Plan, PlannedTopic, World, check, component_sizes,
};
use super::manifest::{Start, StepKind};
use super::outcome::{Counts, RecordFailure};
use super::runner::{Job, PipelineState, SharedState, checkpoint, counts, run, set};
use crate::broker::{Broker, Commit, CommitError, NewTopic};
use crate::limits::PIPELINE_FAILURES_TOLD;
use crate::plugin::{Engine, Plugin, PluginError, PluginKind};
use crate::types::{Offset, PartitionIndex, PipelineName, TopicName, TopicPartition};

/// The pipelines of a broker.
#[derive(Debug)]
pub struct Supervisor {
    broker: Broker,
    engine: Engine,
    pipelines: Mutex<BTreeMap<PipelineName, Running>>,
    /// Held by the one deployment that is under way.
    deploying: tokio::sync::Mutex<()>,
    /// Set by a shutdown; from then on nothing starts.
    stopped: AtomicBool,
    watchers: broadcast::Sender<RecordFailure>,
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

/// A deployed pipeline.
#[derive(Debug)]
struct Running {
    plan: PipelinePlan,
    digests: Vec<String>,
    state: SharedState,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

/// How a pipeline is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineStatus {
    /// Its name.
    pub name: PipelineName,
    /// Whether it runs.
    pub state: PipelineState,
    /// The topics it writes, dead letters included.
    pub targets: Vec<TopicName>,
    /// Its source partitions; those of a topic that is gone are missing.
    pub partitions: Vec<PartitionStatus>,
}

/// How far a pipeline is in a source partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The source topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next record that it reads; nothing before its first commit.
    pub checkpoint: Option<Offset>,
    /// Offset after the last record that there is.
    pub high_watermark: Offset,
    /// Records that it has not read yet.
    pub lag: u64,
    /// What it has done, as of the checkpoint.
    pub counts: Counts,
}

impl Supervisor {
    /// Nothing runs yet.
    ///
    /// # Errors
    /// The operating system gives no threads.
    pub fn new(broker: Broker, engine: Engine) -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.thread_name("pipeline").enable_time().build()?;
        Ok(Self {
            broker,
            engine,
            pipelines: Mutex::default(),
            deploying: tokio::sync::Mutex::default(),
            stopped: AtomicBool::new(false),
            watchers: broadcast::Sender::new(PIPELINE_FAILURES_TOLD),
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// Starts what is deployed. A pipeline that cannot be started is logged and shows as failed;
    /// the others run.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn restore(&self) -> Result<(), DeployError> {
        let _one = self.deploying.lock().await;
        let mut loaded = BTreeMap::new();
        for (name, bytes) in self.broker.deployments().await? {
            let stored: Stored = match serde_json::from_slice(&bytes) {
                Ok(stored) => stored,
                Err(error) => {
                    tracing::error!(pipeline = %name, "its deployment cannot be read: {error}");
                    continue;
                }
            };
            match self.stored_plugins(&stored, &mut loaded).await {
                Ok(plugins) => self.start(Job { plan: stored.plan, plugins })?,
                Err(reason) => {
                    tracing::error!(pipeline = %name, "not started: {reason}");
                    self.add_failed(stored, reason);
                }
            }
        }
        Ok(())
    }

    /// Checks a manifest, creates the topics it needs, stores it and starts its pipelines; those
    /// that run under the same names end after the batch at hand, and the new ones go on at their
    /// checkpoints. Pipelines that the manifest does not name are left alone. The same manifest
    /// again changes nothing, but starts what has failed.
    ///
    /// # Errors
    /// All that is wrong with the manifest, before anything is changed.
    pub async fn deploy(&self, bundle: Bundle) -> Result<Deployed, DeployError> {
        let _one = self.deploying.lock().await;
        if self.stopped.load(Ordering::SeqCst) {
            return Err(DeployError::Stopped);
        }
        let Bundle { manifest, file, components, unreadable } = bundle;
        let plugins = self.load(&manifest, components.clone()).await?;
        let world = self.world(&plugins, unreadable);
        let (plan, warnings) = check(&file, &manifest, &world).map_err(DeployError::Problems)?;
        let Plan { topics, pipelines } = plan;
        let mut deployed = Deployed { topics: Vec::new(), pipelines: Vec::new(), warnings };
        for topic in &topics {
            let name = topic.name.clone();
            match self.broker.create_topic(new_topic(topic)).await {
                Ok(_) => deployed.topics.push(name),
                Err(error) => return Err(DeployError::Create { name, error }),
            }
        }
        for plan in pipelines {
            let steps = plan.steps.iter().map(|step| plugins.get(&step.component));
            // Every component was there when the manifest was checked.
            let steps = steps.map(|plugin| plugin.and_then(|plugin| plugin.as_ref().ok()).cloned());
            let plugins: Vec<Plugin> = steps.collect::<Option<_>>().unwrap_or_default();
            let stored = Stored {
                file: file.clone(),
                manifest: manifest.clone(),
                digests: plugins.iter().map(|plugin| plugin.digest().to_owned()).collect(),
                plan: plan.clone(),
            };
            let name = plan.name.clone();
            let change = self.replace(stored, &components, Job { plan, plugins }).await?;
            deployed.pipelines.push((name, change));
        }
        Ok(deployed)
    }

    /// Ends a pipeline after the batch at hand and forgets its deployment; says whether there was
    /// one. Its topics stay, and its checkpoints: deployed again, it goes on where it ended.
    ///
    /// # Errors
    /// The removal could not be made durable; the pipeline runs as it did.
    pub async fn remove(&self, name: &PipelineName) -> Result<bool, DeployError> {
        let _one = self.deploying.lock().await;
        if !self.pipelines().contains_key(name) {
            return Ok(false);
        }
        self.broker.remove_deployment(name.to_string()).await?;
        let removed = self.pipelines().remove(name);
        if let Some(running) = removed {
            running.stop.send_replace(true);
            if let Some(task) = running.task {
                log_panic(task.await);
            }
        }
        Ok(true)
    }

    /// The records that steps fail on from now on, the first few of each batch. A watcher that is
    /// too slow misses some.
    pub fn failures(&self) -> broadcast::Receiver<RecordFailure> {
        self.watchers.subscribe()
    }

    /// How all pipelines are, by name.
    pub fn status(&self) -> Vec<PipelineStatus> {
        let pipelines = self.pipelines();
        pipelines.iter().map(|(name, running)| self.pipeline_status(name, running)).collect()
    }

    /// Stops all pipelines, each after the batch at hand, and deploys nothing more. May be given
    /// up while it waits: what still runs then ends with the supervisor.
    pub async fn shutdown(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _one = self.deploying.lock().await;
        let tasks: Vec<JoinHandle<()>> = self
            .pipelines()
            .values_mut()
            .filter_map(|running| {
                running.stop.send_replace(true);
                running.task.take()
            })
            .collect();
        for task in tasks {
            log_panic(task.await);
        }
        // Not before there is nothing left to wait for: a runtime that is dropped with this future
        // would panic.
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }

    /// Compiles the components that a manifest names, on a thread that may be busy for long.
    async fn load(
        &self,
        manifest: &str,
        components: BTreeMap<String, Bytes>,
    ) -> Result<BTreeMap<String, Result<Plugin, PluginError>>, DeployError> {
        let engine = self.engine.clone();
        let sizes = component_sizes(manifest);
        let wanted = components.into_iter().filter_map(move |(path, bytes)| {
            let most = *sizes.get(&path)?;
            Some((path, bytes, most))
        });
        let load = move |(path, bytes, most): (String, Bytes, usize)| {
            let plugin = check_size(bytes.len(), most).and_then(|()| engine.load(&bytes));
            (path, plugin)
        };
        let load = move || wanted.map(load).collect();
        self.handle.spawn_blocking(load).await.map_err(|_| DeployError::Stopped)
    }

    fn world(
        &self,
        plugins: &BTreeMap<String, Result<Plugin, PluginError>>,
        unreadable: BTreeMap<String, String>,
    ) -> World {
        let topics = self.broker.topics().into_iter().map(|topic| {
            let config = topic.settings().clone();
            (topic.name().clone(), ExistingTopic { partitions: topic.partitions(), config })
        });
        let components = plugins.iter().map(|(path, plugin)| {
            let known = plugin.as_ref().map(|plugin| KnownComponent {
                kind: step_kind(plugin.kind()),
                wasi_imports: plugin.wasi_imports().to_vec(),
            });
            (path.clone(), known.map_err(ToString::to_string))
        });
        let unreadable = unreadable
            .into_iter()
            .map(|(path, reason)| (path, Err(format!("it cannot be read: {reason}"))));
        World {
            topics: topics.collect(),
            components: unreadable.chain(components).collect(),
            deployed: self.pipelines().values().map(|running| running.plan.flow()).collect(),
            default_partitions: self.broker.default_partitions(),
        }
    }

    /// Stores a pipeline and puts it in the place of the one of the same name.
    async fn replace(
        &self,
        stored: Stored,
        components: &BTreeMap<String, Bytes>,
        job: Job,
    ) -> Result<Change, DeployError> {
        let name = job.plan.name.clone();
        let before = self.pipelines().get(&name).map(|running| {
            let same = running.plan == job.plan && running.digests == stored.digests;
            let state = running.state.lock().unwrap_or_else(PoisonError::into_inner);
            (same, same && !matches!(*state, PipelineState::Failed { .. }))
        });
        if matches!(before, Some((_, true))) {
            return Ok(Change::Unchanged);
        }
        self.fix_start(&job.plan).await?;
        let pieces = job.plan.steps.iter().zip(&stored.digests).filter_map(|(step, digest)| {
            Some((digest_bytes(digest)?, components.get(&step.component)?.clone()))
        });
        let pieces: BTreeMap<[u8; 32], Bytes> = pieces.collect();
        let bytes =
            serde_json::to_vec(&stored).map_err(|error| CommitError::Storage(error.to_string()))?;
        let pieces = pieces.into_iter().collect();
        self.broker.save_deployment(name.to_string(), bytes.into(), pieces).await?;
        let task = self.pipelines().get_mut(&name).and_then(|running| {
            running.stop.send_replace(true);
            running.task.take()
        });
        if let Some(task) = task {
            log_panic(task.await);
        }
        self.start(job)?;
        Ok(if before.is_some() { Change::Replaced } else { Change::Started })
    }

    /// "Latest" means now, not when the first record comes: where there is no checkpoint, one is
    /// made durable.
    async fn fix_start(&self, plan: &PipelinePlan) -> Result<(), DeployError> {
        if plan.start != Start::Latest {
            return Ok(());
        }
        for topic in plan.sources.iter().filter_map(|name| self.broker.topic(name.as_str())) {
            for index in 0..topic.partitions() {
                let source = TopicPartition { topic: topic.id(), partition: index };
                let Some(partition) = topic.partition(index) else { continue };
                if checkpoint(&self.broker, &plan.name, source).is_some() {
                    continue;
                }
                let now_ms = self.broker.clock().now_ms();
                let end = partition.high_watermark();
                let offsets = vec![checkpoint_change(&plan.name, source, -1, end, now_ms)];
                match self.broker.commit(Commit { offsets, ..Commit::default() }).await {
                    // Its predecessor has just committed its first.
                    Ok(_) | Err(CommitError::OffsetFenced { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    async fn stored_plugins(
        &self,
        stored: &Stored,
        loaded: &mut BTreeMap<String, Plugin>,
    ) -> Result<Vec<Plugin>, String> {
        let mut plugins = Vec::new();
        for digest in &stored.digests {
            if let Some(plugin) = loaded.get(digest) {
                plugins.push(plugin.clone());
                continue;
            }
            let key = digest_bytes(digest).ok_or_else(|| format!("{digest:?} is no digest"))?;
            let bytes = self.broker.component(key).await.map_err(|error| error.to_string())?;
            let bytes = bytes.ok_or_else(|| format!("component {digest} is not stored"))?;
            let engine = self.engine.clone();
            let load = self.handle.spawn_blocking(move || engine.load(&bytes)).await;
            let plugin = load.map_err(|error| error.to_string())?;
            let plugin = plugin.map_err(|error| error.to_string())?;
            loaded.insert(digest.clone(), plugin.clone());
            plugins.push(plugin);
        }
        if plugins.len() != stored.plan.steps.len() {
            return Err(format!("{} steps, {} components", stored.plan.steps.len(), plugins.len()));
        }
        Ok(plugins)
    }

    fn start(&self, job: Job) -> Result<(), DeployError> {
        if self.stopped.load(Ordering::SeqCst) {
            return Err(DeployError::Stopped);
        }
        let (stop, stopped) = watch::channel(false);
        let state = SharedState::new(Mutex::new(PipelineState::Running));
        let (name, plan) = (job.plan.name.clone(), job.plan.clone());
        let digests = job.plugins.iter().map(|plugin| plugin.digest().to_owned()).collect();
        let watchers = self.watchers.clone();
        let running =
            run(self.broker.clone(), Arc::new(job), Arc::clone(&state), watchers, stopped);
        let task = Some(self.handle.spawn(running));
        self.pipelines().insert(name, Running { plan, digests, state, stop, task });
        Ok(())
    }

    fn add_failed(&self, stored: Stored, reason: String) {
        let state = SharedState::new(Mutex::new(PipelineState::Running));
        set(&state, PipelineState::Failed { reason });
        let Stored { plan, digests, .. } = stored;
        let name = plan.name.clone();
        let (stop, _) = watch::channel(true);
        self.pipelines().insert(name, Running { plan, digests, state, stop, task: None });
    }

    fn pipeline_status(&self, name: &PipelineName, running: &Running) -> PipelineStatus {
        let sources = running.plan.sources.iter();
        let topics = sources.filter_map(|source| self.broker.topic(source.as_str()));
        let partitions = topics.flat_map(|topic| {
            let indexes = 0..topic.partitions();
            let status = indexes.filter_map(|index| {
                let partition = topic.partition(index)?;
                let source = TopicPartition { topic: topic.id(), partition: index };
                let checkpoint = checkpoint(&self.broker, &running.plan.name, source);
                let counts = counts(&self.broker, &running.plan.name, source).unwrap_or_default();
                let high_watermark = partition.high_watermark();
                let next = checkpoint.unwrap_or(0).max(partition.log_start_offset());
                Some(PartitionStatus {
                    topic: topic.name().clone(),
                    partition: index,
                    checkpoint,
                    high_watermark,
                    lag: u64::try_from(high_watermark - next).unwrap_or(0),
                    counts,
                })
            });
            status.collect::<Vec<_>>()
        });
        PipelineStatus {
            name: name.clone(),
            state: running.state.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            targets: running.plan.flow().targets,
            partitions: partitions.collect(),
        }
    }

    fn pipelines(&self) -> MutexGuard<'_, BTreeMap<PipelineName, Running>> {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Supervisor {
    /// A runtime must not be waited for by a thread of another one.
    fn drop(&mut self) {
        let runtime = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

fn new_topic(topic: &PlannedTopic) -> NewTopic {
    NewTopic {
        name: topic.name.clone(),
        partitions: Some(topic.partitions),
        config: topic.config.clone(),
    }
}

fn check_size(bytes: usize, max: usize) -> Result<(), PluginError> {
    if bytes > max { Err(PluginError::TooLarge { bytes, max }) } else { Ok(()) }
}

/// The kind of step that a plugin is for; none if it fits all.
fn step_kind(kind: PluginKind) -> Option<StepKind> {
    match kind {
        PluginKind::Filter => Some(StepKind::Filter),
        PluginKind::Transformer => Some(StepKind::Transform),
        PluginKind::Router => Some(StepKind::Route),
        PluginKind::Processor => None,
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a pipeline ended: {error}");
    }
}
