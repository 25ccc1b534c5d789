//! One run: lives that end in a crash, images of what it leaves, and the check of each.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::check::{check, find};
use super::disk::{change_text, crashed};
use super::ledger::{Ledger, Policy, Verdict};
use super::producer::Producer;
use super::work::Life;
use super::{Plan, Report};
use crate::broker::{Broker, Cleaner, Committer, StoreOptions};
use crate::clock::ManualClock;
use crate::storage::MemoryFiles;
use crate::types::TopicId;

const SEGMENT_BYTES: u64 = 64 << 10;
/// When a run begins, milliseconds since 1970.
const BEGIN_MS: i64 = 1_700_000_000_000;

/// Settings of topics that pipelines write: they keep everything. They have bounds for times as any
/// topic has, and the clock jumps: that must stop no pipeline.
const OUTPUT: &[(&str, &str)] = &[("retention.ms", "-1")];

/// Name, partitions, settings, and what it keeps; nothing if pipelines write it.
type TopicPlan = (&'static str, i32, &'static [(&'static str, &'static str)], Option<Policy>);

/// What clients were told: what must be found, whatever happens.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub(super) ledger: Ledger,
    /// By partition, the group's offsets that may be found: the last acknowledged one first, then
    /// those that are under way.
    pub(super) committed: BTreeMap<i32, Vec<Option<i64>>>,
    /// The topic that comes and goes; what it may be.
    pub(super) temp: Vec<Option<TopicId>>,
    /// Whether it may also be a new one, of an id that nobody was told.
    pub(super) temp_is_new: bool,
    /// Versions of the deployment that may be found.
    pub(super) deployed: Vec<u8>,
    /// Least producer id that was not handed out.
    pub(super) next_id: i64,
}

impl Told {
    /// Topics that are looked at.
    pub(super) const TOPICS: [TopicPlan; 6] = [
        ("in", 2, &[("retention.ms", "-1")], Some(Policy::Keep)),
        ("out", 2, OUTPUT, None),
        ("side", 2, OUTPUT, None),
        ("bad", 2, OUTPUT, None),
        ("short", 1, &[("retention.bytes", "60000")], Some(Policy::Retained)),
        (
            "table",
            1,
            &[
                ("cleanup.policy", "compact"),
                ("min.cleanable.dirty.ratio", "0.1"),
                ("segment.ms", "3000"),
                ("delete.retention.ms", "5000"),
            ],
            Some(Policy::Compacted),
        ),
    ];

    pub(super) fn topics() -> Vec<&'static str> {
        Self::TOPICS.iter().map(|(name, ..)| *name).collect()
    }
}

/// A broker whose threads are stepped.
pub(super) type Opened = (Broker, Committer, Cleaner);

pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) random: fastrand::Rng,
    pub(super) files: MemoryFiles,
    pub(super) clock: Arc<ManualClock>,
    pub(super) told: Told,
    pub(super) producers: Vec<Producer>,
    /// Number of the next value.
    pub(super) number: u64,
    pub(super) report: Report,
    trace: DefaultHasher,
    tells: bool,
}

impl Run {
    pub(super) fn new(seed: u64, plan: Plan) -> Self {
        Self {
            plan,
            random: fastrand::Rng::with_seed(seed),
            files: MemoryFiles::new(),
            clock: Arc::new(ManualClock::new(BEGIN_MS)),
            told: Told { temp: vec![None], deployed: vec![0], ..Told::default() },
            producers: Vec::new(),
            number: 0,
            report: Report { seed, ..Report::default() },
            trace: DefaultHasher::new(),
            tells: std::env::var_os("MILLSTREAM_SEED").is_some(),
        }
    }

    /// Runs to the end, or to the first objection.
    pub(super) fn go(mut self) -> Report {
        if let Err(objection) = self.live() {
            self.report.objections.push(objection);
        }
        self.report.trace = self.trace.finish();
        self.report
    }

    /// Takes note of what happens, for the eyes of who repeats a run and for its trace.
    pub(super) fn trace(&mut self, event: &dyn std::fmt::Debug) {
        let line = format!("{} {event:?}", self.files.operations());
        line.hash(&mut self.trace);
        if self.tells {
            println!("{line}");
        }
    }

    pub(super) fn live(&mut self) -> Result<(), String> {
        let opened = self.open(&self.files.clone())?;
        let mut life = Life::begin(self, opened)?;
        for number in 0..self.plan.crashes {
            life.work(self)?;
            self.trace(&("crash", number));
            self.report.crashes += 1;
            life.end(self);
            life = self.recover()?;
        }
        self.files.power_off_at(u64::MAX);
        self.files.fail_at(u64::MAX);
        self.files.fill_up(false);
        let segments = life.committer.admin(|store| Ok(store.reader().segments()))?;
        self.report.segments = segments.last().map_or(0, |last| last.segment);
        self.report.unlinked = self.report.segments - segments.len() as u64;
        let Life { broker, committer, .. } = life;
        committer.close().map_err(|error| format!("it does not close: {error}"))?;
        drop(broker);
        self.damage()
    }

    pub(super) fn open(&self, files: &MemoryFiles) -> Result<Opened, String> {
        let options = StoreOptions { segment_bytes: SEGMENT_BYTES, new_cluster_id: "c".to_owned() };
        let files = Arc::new(files.clone());
        let opened = Broker::open_stepped_with_cleaner(files, &options, self.clock.clone());
        opened.map_err(|error| error.to_string())
    }

    /// Opens and checks many images of what the crash leaves, and lives on in the last one.
    fn recover(&mut self) -> Result<Life, String> {
        let left = self.files.clone();
        for number in 0..self.plan.images {
            let mut image = crashed(&left, &mut self.random);
            // A tenth crashes again while it is opened.
            if self.random.u8(..10) == 0 {
                self.report.crashed_again += 1;
                image.power_off_at(self.random.u64(..60));
                drop(self.open(&image));
                image = crashed(&image, &mut self.random);
            }
            let started = Instant::now();
            let opened = self.open(&image);
            let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.report.opened_us.push(took);
            self.report.images += 1;
            let (broker, mut committer, cleaner) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    self.report.unopenable += 1;
                    return Err(format!("image {number} does not open: {error}"));
                }
            };
            let verdict = check(&self.told, &broker, &mut committer, &image);
            self.count(&verdict)?;
            if number + 1 == self.plan.images {
                self.trace(&("image", number, verdict.found));
                self.files = image;
                let again: BTreeSet<usize> =
                    self.producers.iter().flat_map(Producer::unacknowledged).collect();
                self.told.ledger.settle(&verdict, &again);
                return Life::begin(self, (broker, committer, cleaner));
            }
        }
        Err("no image to go on with".to_owned())
    }

    pub(super) fn count(&mut self, verdict: &Verdict) -> Result<(), String> {
        let report = &mut self.report;
        report.acknowledged += verdict.acknowledged;
        report.found += verdict.found;
        report.lost += verdict.lost;
        report.duplicated += verdict.duplicated;
        report.misordered += verdict.misordered;
        report.half_applied += verdict.half_applied;
        report.objections.extend(verdict.objections.iter().cloned());
        if report.objections.is_empty() { Ok(()) } else { Err("so much for this image".to_owned()) }
    }

    /// Changes a record on a disk at rest: it is told to be unreadable, and all others are served.
    fn damage(&mut self) -> Result<(), String> {
        let opened = self.open(&self.files.copy())?;
        let found = find(&opened.0, &Told::topics())?;
        let values: Vec<&str> = found
            .iter()
            .filter(|((topic, _), _)| topic == "in" || topic == "short")
            .flat_map(|(_, partition)| &partition.records)
            .filter_map(|record| record.value.as_deref())
            .collect();
        for _ in 0..self.plan.damaged {
            if values.is_empty() {
                break;
            }
            let image = self.files.copy();
            let value = values[self.random.usize(..values.len())];
            if change_text(&image, value.as_bytes(), &mut self.random) == 0 {
                continue;
            }
            self.report.damaged += 1;
            let (broker, ..) = self.open(&image)?;
            let found = find(&broker, &Told::topics())?;
            let mut verdict = self.told.ledger.check(&found);
            verdict.acknowledged = 0;
            self.count(&verdict)?;
            for ((topic, index), partition) in &found {
                let text = |record: &super::ledger::FoundRecord| record.value.clone();
                let known = |value: String| {
                    values.contains(&value.as_str()) || topic != "in" && topic != "short"
                };
                if !partition.records.iter().filter_map(text).all(known) {
                    return Err(format!("{topic} {index} serves what nobody wrote"));
                }
            }
        }
        Ok(())
    }

    /// Lets time pass.
    pub(super) fn pass(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }
}
