//! A pipeline at work: a task for each source partition, and the task that starts them, sees them
//! fail and starts them again. All waiting is here; what is done to records is in `batch`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::batch::{AssembleError, Target, Worker, counts_key};
use super::dead_letter::Origin;
use super::graph::{PipelinePlan, StepPlan};
use super::outcome::{Counts, FailedRecord, Halt, RecordFailure};
use super::pass::Pace;
use super::placed::AllTerms;
use super::step::{Chain, Step};
use crate::broker::{
    Broker, CommitError, NewTopic, PendingCommit, ReadError, StorageError, Topic, TopicError,
};
use crate::limits::{
    PIPELINE_BATCH_BYTES, PIPELINE_COMMITS_IN_FLIGHT, PIPELINE_FAILURES_LOGGED,
    PIPELINE_RESTART_MS, PIPELINE_RESTART_MS_MAX,
};
use crate::plugin::{Plugin, Settings};
use crate::types::{
    Offset, OffsetOwner, PartitionIndex, PipelineName, TimestampMs, TopicName, TopicPartition,
};

/// A pipeline's plan and the plugins of its steps, in order.
pub(super) struct Job {
    pub(super) plan: PipelinePlan,
    pub(super) plugins: Vec<Plugin>,
}

/// Whether a pipeline runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PipelineState {
    /// It takes records as they come.
    Running,
    /// Something around it failed; it starts again by itself.
    Restarting {
        /// What failed.
        reason: String,
    },
    /// A step failed on a record and its policy is to stop there. Deploying it starts it again at
    /// that record.
    Failed {
        /// Which step, which record, and why.
        reason: String,
    },
    /// It was told to stop.
    Stopped,
}

/// Where a pipeline's state can be looked at.
pub(super) type SharedState = Arc<Mutex<PipelineState>>;

/// Why the tasks of a pipeline end.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error("{source_topic}, partition {partition}: {record}")]
    Record { source_topic: TopicName, partition: PartitionIndex, record: FailedRecord },
    #[error("{0}")]
    Unavailable(FailedRecord),
    #[error("topic {0} is not there")]
    NoTopic(TopicName),
    #[error("topic {name} cannot be created: {error}")]
    Create { name: TopicName, error: TopicError },
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    State(#[from] StorageError),
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    #[error("a task of the pipeline ended: {0}")]
    Task(String),
}

/// Runs a pipeline until it is told to stop or a step says so. Ends between two batches, when all
/// its commits are durable or refused. Who watches is told of records that steps fail on.
pub(super) async fn run(
    broker: Broker,
    job: Arc<Job>,
    state: SharedState,
    watchers: broadcast::Sender<RecordFailure>,
    mut stop: watch::Receiver<bool>,
) {
    let name = &job.plan.name;
    let mut wait = Duration::from_millis(PIPELINE_RESTART_MS);
    while !*stop.borrow() {
        set(&state, PipelineState::Running);
        let started = broker.clock().monotonic();
        match run_once(&broker, &job, &watchers, &stop).await {
            Ok(()) => break,
            Err(error @ RunError::Record { .. }) => {
                tracing::error!(pipeline = %name, "stopped: {error}");
                set(&state, PipelineState::Failed { reason: error.to_string() });
                return;
            }
            Err(error) => {
                let longest = Duration::from_millis(PIPELINE_RESTART_MS_MAX);
                if broker.clock().monotonic().saturating_sub(started) > longest {
                    wait = Duration::from_millis(PIPELINE_RESTART_MS);
                }
                tracing::warn!(pipeline = %name, "restarts in {wait:?}: {error}");
                set(&state, PipelineState::Restarting { reason: error.to_string() });
                or_stop(&mut stop, tokio::time::sleep(wait)).await;
                wait = (wait * 2).min(longest);
            }
        }
    }
    set(&state, PipelineState::Stopped);
}

pub(super) fn set(state: &SharedState, to: PipelineState) {
    *state.lock().unwrap_or_else(PoisonError::into_inner) = to;
}

/// One task for each source partition, from the checkpoints as they are, until all have ended. If
/// one fails, the others are told to stop; the first failure counts.
async fn run_once(
    broker: &Broker,
    job: &Arc<Job>,
    watchers: &broadcast::Sender<RecordFailure>,
    stop: &watch::Receiver<bool>,
) -> Result<(), RunError> {
    let sources: Vec<Arc<Topic>> = job
        .plan
        .sources
        .iter()
        .map(|name| broker.topic(name.as_str()).ok_or_else(|| RunError::NoTopic(name.clone())))
        .collect::<Result<_, _>>()?;
    let targets = targets(broker, &job.plan, &sources).await?;
    let (halt, halted) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for source in &sources {
        for partition in 0..source.partitions() {
            let task = PartitionTask {
                broker: broker.clone(),
                job: Arc::clone(job),
                topic: source.name().clone(),
                source: TopicPartition { topic: source.id(), partition },
                watchers: watchers.clone(),
                stop: halted.clone(),
            };
            tasks.spawn(task.run(targets.clone()));
        }
    }
    let mut stop = stop.clone();
    let mut result = Ok(());
    loop {
        let ended = tokio::select! {
            ended = tasks.join_next() => ended,
            _ = stop.wait_for(|stop| *stop), if !*halt.borrow() => {
                halt.send_replace(true);
                continue;
            }
        };
        let Some(ended) = ended else { return result };
        let ended = ended.unwrap_or_else(|error| Err(RunError::Task(error.to_string())));
        if ended.is_err() {
            halt.send_replace(true);
            // A record that stops the pipeline outweighs what may pass.
            if result.is_ok() || matches!(ended, Err(RunError::Record { .. })) {
                result = ended;
            }
        }
    }
}

/// The topics that a pipeline writes. One that is gone is made again, as a deployment would.
async fn targets(
    broker: &Broker,
    plan: &PipelinePlan,
    sources: &[Arc<Topic>],
) -> Result<BTreeMap<TopicName, Target>, RunError> {
    let partitions = sources.iter().map(|source| source.partitions()).max();
    let mut targets = BTreeMap::new();
    for name in plan.flow().targets {
        let new = NewTopic { name: name.clone(), partitions, config: BTreeMap::new() };
        let topic = broker.topic_or_create(new).await;
        let topic = topic.map_err(|error| RunError::Create { name: name.clone(), error })?;
        targets.insert(name, Target { id: topic.id(), partitions: topic.partitions() });
    }
    Ok(targets)
}

/// The work on one source partition.
struct PartitionTask {
    broker: Broker,
    job: Arc<Job>,
    topic: TopicName,
    source: TopicPartition,
    watchers: broadcast::Sender<RecordFailure>,
    stop: watch::Receiver<bool>,
}

impl PartitionTask {
    /// Ends when all its commits are durable or refused.
    async fn run(mut self, targets: BTreeMap<TopicName, Target>) -> Result<(), RunError> {
        let mut commits = VecDeque::new();
        let result = self.work(targets, &mut commits).await;
        let settled = settle(&mut commits, 0).await;
        // Those behind one that was refused are refused as well.
        for commit in commits {
            let _ = commit.await;
        }
        result.and(settled)
    }

    /// Up to two batches are under way: while one becomes durable, the next is made. It expects
    /// the checkpoint of the first, so it is refused if the first one is.
    async fn work(
        &mut self,
        targets: BTreeMap<TopicName, Target>,
        commits: &mut VecDeque<PendingCommit>,
    ) -> Result<(), RunError> {
        let names: Vec<TopicName> = targets.keys().cloned().collect();
        let mut worker = self.worker(targets.clone())?;
        while !*self.stop.borrow() {
            if let Some(offset) = worker.wants() {
                if !self.wait_for_records(offset, commits).await? {
                    break;
                }
                match self.broker.read(self.source, offset, PIPELINE_BATCH_BYTES).await {
                    Ok(read) => worker.feed(read),
                    Err(ReadError::OffsetOutOfRange { log_start_offset, .. })
                        if offset < log_start_offset =>
                    {
                        // What it was to read is deleted: from the log's start on.
                        settle(commits, 0).await?;
                        worker = self.worker(targets.clone())?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            let now_ms = self.broker.clock().now_ms();
            worker.agree(self.terms(&names, now_ms));
            let prepared = {
                let (clock, stop) = (self.broker.clock(), &self.stop);
                let elapsed = || clock.monotonic();
                let pace = Pace { elapsed: &elapsed, stopping: &|| *stop.borrow() };
                tokio::task::block_in_place(|| worker.prepare(now_ms, &pace))?
            };
            self.log(&prepared.failed);
            if let Some(commit) = prepared.commit {
                commits.push_back(self.broker.submit(commit).await);
            }
            let keep = if prepared.halt.is_some() { 0 } else { PIPELINE_COMMITS_IN_FLIGHT - 1 };
            settle(commits, keep).await?;
            match prepared.halt {
                None => {}
                Some(Halt::Retry(record, wait)) => {
                    let pipeline = &self.job.plan.name;
                    tracing::warn!(%pipeline, "tries again in {wait:?}: {record}");
                    self.tell(&record);
                    or_stop(&mut self.stop, tokio::time::sleep(wait)).await;
                }
                Some(Halt::Unavailable(record)) => return Err(RunError::Unavailable(record)),
                Some(Halt::Stop(record)) => {
                    self.tell(&record);
                    let source_topic = self.topic.clone();
                    let partition = self.source.partition;
                    return Err(RunError::Record { source_topic, partition, record });
                }
            }
        }
        Ok(())
    }

    /// What the topics to write ask of records now: settings change while the pipeline runs.
    fn terms(&self, names: &[TopicName], now_ms: TimestampMs) -> AllTerms {
        let terms = |name: &TopicName| {
            let topic = self.broker.topic(name.as_str())?;
            Some((name.clone(), topic.terms(now_ms)))
        };
        names.iter().filter_map(terms).collect()
    }

    /// Waits for records, and meanwhile for the commits: one that is refused must not go unnoticed
    /// until the next record comes. Says whether there are records; if not, it is time to stop.
    async fn wait_for_records(
        &mut self,
        offset: Offset,
        commits: &mut VecDeque<PendingCommit>,
    ) -> Result<bool, RunError> {
        loop {
            let records = self.broker.wait_for_records(self.source, offset);
            let Some(oldest) = commits.front_mut() else {
                return Ok(or_stop(&mut self.stop, records).await);
            };
            tokio::select! {
                () = records => return Ok(true),
                outcome = oldest => {
                    commits.pop_front();
                    outcome?;
                }
                _ = self.stop.wait_for(|stop| *stop) => return Ok(false),
            }
        }
    }

    fn worker(&self, targets: BTreeMap<TopicName, Target>) -> Result<Worker, RunError> {
        worker_at_checkpoint(&self.broker, self.source, self.chain(), targets)
    }

    fn chain(&self) -> Chain {
        let plan = &self.job.plan;
        let origin = Origin {
            pipeline: plan.name.clone(),
            topic: self.topic.clone(),
            partition: self.source.partition,
        };
        let steps = plan.steps.iter().zip(&self.job.plugins).enumerate();
        let steps = steps.map(|(index, (step, plugin))| self.step(index, step, plugin)).collect();
        Chain::new(origin, steps, plan.output.clone(), plan.dead_letter.clone())
    }

    fn step(&self, index: usize, step: &StepPlan, plugin: &Plugin) -> Step {
        let settings = Settings {
            pipeline: self.job.plan.name.to_string(),
            step: format!("{}-{}", index + 1, step.plugin),
            topic: self.topic.to_string(),
            partition: self.source.partition,
            kind: Some(step.kind.plugin_kind()),
            config: step.config.clone(),
            limits: step.limits.plugin(),
            wasi: step.wasi,
        };
        let mut instance = plugin.instance(settings);
        Step {
            plugin: step.plugin.to_string(),
            digest: plugin.digest().to_owned(),
            on_error: step.on_error,
            outputs: step.outputs.clone(),
            process: Box::new(move |batch| instance.process(batch)),
        }
    }

    /// Tells who watches, if anyone does.
    fn tell(&self, record: &FailedRecord) {
        let FailedRecord { offset, step, failure } = record.clone();
        let (pipeline, topic) = (self.job.plan.name.clone(), self.topic.clone());
        let source = self.source;
        let _ =
            self.watchers.send(RecordFailure { pipeline, topic, source, offset, step, failure });
    }

    /// A topic full of bad records must not fill the log.
    fn log(&self, failed: &[FailedRecord]) {
        let name = &self.job.plan.name;
        for record in failed.iter().take(PIPELINE_FAILURES_LOGGED) {
            self.tell(record);
            tracing::warn!(
                pipeline = %name, topic = %self.topic, partition = self.source.partition,
                "{record}"
            );
        }
        if let Some(more) = failed.len().checked_sub(PIPELINE_FAILURES_LOGGED).filter(|n| *n > 0) {
            tracing::warn!(pipeline = %name, topic = %self.topic, "and {more} more in this batch");
        }
    }
}

/// A worker that goes on where the last commit of its pipeline has ended.
pub(super) fn worker_at_checkpoint(
    broker: &Broker,
    source: TopicPartition,
    chain: Chain,
    targets: BTreeMap<TopicName, Target>,
) -> Result<Worker, RunError> {
    let name = chain.origin.pipeline.clone();
    let checkpoint = checkpoint(broker, &name, source);
    let position = position(broker, source, &chain.origin, checkpoint)?;
    let mut counts = counts(broker, &name, source)?;
    // Kept with the next commit; until then the checkpoint says so again.
    counts.lost += checkpoint.map_or(0, |from| position.abs_diff(from));
    let from = (checkpoint.unwrap_or(-1), position);
    Ok(Worker::new(name, source, chain, targets, from, counts))
}

/// Where to begin: at the checkpoint, unless there is none or retention has passed it.
fn position(
    broker: &Broker,
    source: TopicPartition,
    origin: &Origin,
    checkpoint: Option<Offset>,
) -> Result<Offset, RunError> {
    let no_topic = || RunError::NoTopic(origin.topic.clone());
    let topic = broker.topic_by_id(source.topic).ok_or_else(no_topic)?;
    let partition = topic.partition(source.partition).ok_or_else(no_topic)?;
    let first = partition.log_start_offset();
    // A start at the latest record is a checkpoint since the deployment. Where there is none,
    // the topic was made again after it, and all that it holds is new.
    let Some(checkpoint) = checkpoint else { return Ok(first) };
    if checkpoint < first {
        tracing::warn!(
            pipeline = %origin.pipeline, topic = %origin.topic, partition = source.partition,
            "retention removed {} records before they were read", first - checkpoint
        );
    }
    Ok(checkpoint.max(first))
}

/// The checkpoint of a pipeline in a source partition.
pub(super) fn checkpoint(
    broker: &Broker,
    pipeline: &PipelineName,
    source: TopicPartition,
) -> Option<Offset> {
    let committed = broker.committed(&OffsetOwner::Pipeline(pipeline.clone()));
    committed.get(&source).map(|committed| committed.offset)
}

/// What a pipeline has done with a source partition, as of its checkpoint.
pub(super) fn counts(
    broker: &Broker,
    pipeline: &PipelineName,
    source: TopicPartition,
) -> Result<Counts, StorageError> {
    let bytes = broker.state(&counts_key(pipeline, source))?;
    // Counts that cannot be read are no reason not to run.
    Ok(bytes.and_then(|bytes| postcard::from_bytes(&bytes).ok()).unwrap_or_default())
}

/// Waits for the oldest commits until at most `keep` are under way.
async fn settle(commits: &mut VecDeque<PendingCommit>, keep: usize) -> Result<(), RunError> {
    while commits.len() > keep {
        let Some(commit) = commits.pop_front() else { break };
        commit.await?;
    }
    Ok(())
}

/// Waits for `work` or for the word to stop; says whether the work was done.
async fn or_stop(stop: &mut watch::Receiver<bool>, work: impl Future<Output = ()> + Send) -> bool {
    tokio::select! {
        () = work => true,
        // A sender that is gone is a supervisor that is gone.
        _ = stop.wait_for(|stop| *stop) => false,
    }
}
