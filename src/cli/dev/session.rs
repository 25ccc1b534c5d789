//! The course of a `dev` command, from the broker's start to its end.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot};
use tokio::time::MissedTickBehavior;

use super::feed::{self, Fed};
use super::screen::Screen;
use super::tail::{Tail, all_through, has_ended, outputs, pipelines, record_at};
use super::watch::Watch;
use super::{Input, Show};
use crate::broker::Broker;
use crate::cli::listen::Addresses;
use crate::cli::output::{Out, count};
use crate::config::Config;
use crate::http::{DeploymentDone, ErrorView, PipelineView, ProblemView};
use crate::pipeline::{Bundle, DeployError, RecordFailure, Supervisor};
use crate::server::{Server, termination};
use crate::types::PipelineName;

/// How often it is looked whether everything is through.
const LOOK_THROUGH: Duration = Duration::from_millis(25);
/// How often it is looked whether a pipeline runs.
const LOOK_RUNNING: Duration = Duration::from_millis(500);

/// What the user asked for.
pub(super) struct Session {
    pub(super) manifest: PathBuf,
    pub(super) inputs: Vec<Input>,
    pub(super) once: bool,
    pub(super) show: Show,
}

/// What is at work while the session lasts.
struct Work {
    session: Session,
    broker: Broker,
    supervisor: Arc<Supervisor>,
    screen: Screen,
    tail: Tail,
    failures: broadcast::Receiver<RecordFailure>,
    watch: Option<Watch>,
    /// What was loaded last, deployed or not.
    bundle: Option<Bundle>,
    /// The pipelines of the manifest that was deployed last.
    named: Vec<PipelineName>,
    /// Pipelines of which it was said that they are in a state.
    told: Vec<(String, String)>,
}

impl Session {
    pub(super) async fn run(self, config: Config, out: Out) -> anyhow::Result<()> {
        let mut interrupted = pin!(termination()?);
        let started = tokio::select! {
            started = Box::pin(Server::start(config)) => started,
            () = &mut interrupted => return Ok(()),
        };
        let server = started?;
        let addresses = Addresses::of(&server);
        let work = Work {
            broker: server.broker().clone(),
            supervisor: Arc::clone(server.pipelines()),
            screen: Screen::new(out, self.show),
            tail: Tail::new(server.broker().clone()),
            failures: server.pipelines().failures(),
            watch: if self.once { None } else { Some(self.watch()?) },
            bundle: None,
            named: Vec::new(),
            told: Vec::new(),
            session: self,
        };
        let (stop, stopping) = oneshot::channel::<()>();
        let mut running = tokio::spawn(server.run(async move {
            // Told, or forgotten about: both mean stop.
            let _ = stopping.await;
        }));
        let outcome = tokio::select! {
            outcome = Box::pin(work.run(&addresses)) => outcome,
            () = interrupted => Ok(()),
            ended = &mut running => {
                ended.context("the broker ended")??;
                anyhow::bail!("the broker ended by itself");
            }
        };
        drop(stop);
        running.await.context("the broker ended")??;
        outcome
    }

    fn watch(&self) -> anyhow::Result<Watch> {
        Watch::new(&self.manifest)
            .with_context(|| format!("cannot watch {}", self.manifest.display()))
    }
}

impl Work {
    async fn run(mut self, addresses: &Addresses) -> anyhow::Result<()> {
        let begun = Instant::now();
        self.screen.start(&self.session.manifest.display().to_string(), addresses)?;
        self.deploy_first().await?;
        if !self.session.once {
            let views = pipelines(&self.supervisor);
            let topic = outputs(&views).into_iter().next();
            self.screen.hint(&addresses.first_kafka(), topic)?;
        }
        let inputs = self.session.inputs.clone();
        self.screen.feeding(feed::total_bytes(&inputs));
        let mut fed = feed::start(self.broker.clone(), inputs);
        let mut feeding = true;
        let mut look =
            tokio::time::interval(if self.session.once { LOOK_THROUGH } else { LOOK_RUNNING });
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                found = self.tail.next() => self.screen.records(&found?)?,
                failure = self.failures.recv() => self.failed(failure).await?,
                progress = fed.recv(), if feeding => feeding = self.fed(progress)?,
                bundle = edited(&mut self.watch, &self.session.manifest) => {
                    self.redeploy(bundle).await?;
                }
                _ = look.tick() => {
                    self.tell_halted()?;
                    let through = self.session.once
                        && !feeding
                        && all_through(&self.broker, &self.supervisor)
                        && self.tail.is_through();
                    if through {
                        return self.finish(begun.elapsed());
                    }
                    if self.session.once && !feeding {
                        self.tell_lag();
                    }
                }
            }
        }
    }

    /// The first deployment must do with --once; else an edit may mend it.
    async fn deploy_first(&mut self) -> anyhow::Result<()> {
        let loaded = Bundle::load(&self.session.manifest);
        if self.session.once {
            let deployed = self.deploy(loaded?, false).await?;
            return deployed.map_err(anyhow::Error::from);
        }
        self.redeploy(loaded).await
    }

    /// Deploys an edit, or says why not.
    async fn redeploy(&mut self, loaded: Result<Bundle, DeployError>) -> anyhow::Result<()> {
        let again = self.bundle.is_some();
        let bundle = match loaded {
            Ok(bundle) => bundle,
            Err(error) => return self.refused(error),
        };
        if self.bundle.as_ref().is_some_and(|last| same(last, &bundle)) {
            return Ok(());
        }
        match self.deploy(bundle, again).await? {
            Ok(()) => Ok(()),
            Err(error) => self.refused(error),
        }
    }

    async fn deploy(
        &mut self,
        bundle: Bundle,
        again: bool,
    ) -> anyhow::Result<Result<(), DeployError>> {
        if let Some(watch) = &mut self.watch {
            watch.follow(&bundle);
        }
        self.bundle = Some(bundle.clone());
        self.screen.busy("compiling the plugins".to_owned());
        let deployed = self.supervisor.deploy(bundle).await;
        self.screen.idle();
        let deployed = match deployed {
            Ok(deployed) => deployed,
            Err(error) => return Ok(Err(error)),
        };
        let named = deployed.pipelines.iter().map(|(name, _)| name.clone()).collect();
        let done = DeploymentDone::from(deployed);
        self.told.clear();
        if let Err(error) = self.remove_unnamed(named).await? {
            return Ok(Err(error));
        }
        let views = pipelines(&self.supervisor);
        self.tail.follow(outputs(&views));
        self.screen.deployed(&done, &views, again)?;
        Ok(Ok(()))
    }

    /// Ends the pipelines that the manifest named before and does not name now.
    async fn remove_unnamed(
        &mut self,
        named: Vec<PipelineName>,
    ) -> anyhow::Result<Result<(), DeployError>> {
        let before = std::mem::replace(&mut self.named, named);
        for name in before {
            if self.named.contains(&name) {
                continue;
            }
            match self.supervisor.remove(&name).await {
                Ok(true) => self.screen.removed(name.as_str())?,
                Ok(false) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }

    fn refused(&mut self, error: DeployError) -> anyhow::Result<()> {
        let view = match error {
            DeployError::Problems(problems) => ErrorView {
                error: "the manifest has mistakes".to_owned(),
                problems: problems.iter().map(ProblemView::from).collect(),
            },
            error => ErrorView { error: error.to_string(), problems: Vec::new() },
        };
        self.screen.refused(&view)
    }

    /// Shows a record that a step failed on. With --once the summary counts them.
    async fn failed(&mut self, told: Result<RecordFailure, RecvError>) -> anyhow::Result<()> {
        match told {
            Ok(failure) if !self.session.once || self.session.show == Show::All => {
                let record = record_at(&self.broker, failure.source, failure.offset).await;
                self.screen.failed(&failure, record.as_ref())
            }
            Err(RecvError::Lagged(missed)) if !self.session.once => self.screen.missed(missed),
            _ => Ok(()),
        }
    }

    /// Shows how feeding goes; false at its end.
    fn fed(&mut self, progress: Option<Fed>) -> anyhow::Result<bool> {
        match progress {
            Some(Fed::Bytes(bytes)) => self.screen.fed(bytes),
            Some(Fed::File { topic, records }) => self.screen.fed_file(&topic, records)?,
            Some(Fed::End(ended)) => {
                self.screen.idle();
                ended?;
                return Ok(false);
            }
            None => anyhow::bail!("feeding the files broke off"),
        }
        Ok(true)
    }

    /// Says once of each pipeline that it does not run.
    fn tell_halted(&mut self) -> anyhow::Result<()> {
        for view in pipelines(&self.supervisor) {
            let halt = (view.name.clone(), view.state.clone());
            if view.reason.is_some() && !self.told.contains(&halt) {
                self.screen.halted(&view)?;
                self.told.push(halt);
            }
        }
        Ok(())
    }

    /// Shows how much is still to do.
    fn tell_lag(&mut self) {
        let lag: i64 = pipelines(&self.supervisor).iter().map(PipelineView::lag).sum();
        if lag > 0 {
            self.screen.busy(format!("{} to go", count(lag.unsigned_abs(), "record")));
        }
    }

    fn finish(mut self, took: Duration) -> anyhow::Result<()> {
        self.tell_halted()?;
        let views = pipelines(&self.supervisor);
        let mut names: Vec<String> =
            self.session.inputs.iter().map(|input| input.topic.to_string()).collect();
        names.extend(views.iter().flat_map(|view| view.sources.iter().cloned()));
        names.extend(outputs(&views).into_iter().cloned());
        let mut topics: Vec<(String, u64)> = Vec::new();
        for name in names {
            if topics.iter().all(|(known, _)| *known != name) {
                let records = self.tail.new_records(&name);
                topics.push((name, records));
            }
        }
        self.screen.summary(&topics, &views, took)?;
        let ended = views.iter().filter(|view| has_ended(view));
        let ended: Vec<&str> = ended.map(|view| view.name.as_str()).collect();
        anyhow::ensure!(
            ended.is_empty(),
            "not all records are through: {} failed",
            ended.join(", ")
        );
        Ok(())
    }
}

/// Waits for an edit, and loads what it made. Never with --once.
async fn edited(
    watch: &mut Option<Watch>,
    manifest: &std::path::Path,
) -> Result<Bundle, DeployError> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
    Bundle::load(manifest)
}

fn same(one: &Bundle, other: &Bundle) -> bool {
    one.manifest == other.manifest && one.components == other.components
}
