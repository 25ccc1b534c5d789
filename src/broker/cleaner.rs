//! The cleaner: what happens to the log behind everybody's back. It moves log start offsets up by
//! retention, removes segments in which nothing is left, moves what lives out of segments that are
//! mostly dead, and compacts. It reads and decides on its own thread; whatever it changes, the
//! committer writes between two groups, a run at a time.
//!
//! [`Cleaner::step`] is all of it, without a thread, so that a simulation can step it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::committer::{Committer, Request};
use super::compaction::{Need, Pass, PassError, Work, need};
use super::retention::{AgeClock, Mark, log_start};
use super::topics::Topic;
use super::{Shared, ask};
use crate::limits::{
    CLEAN_BYTES_PER_SECOND, CLEAN_ROUND_MS, GROUP_BYTES, RUN_BYTES, SEGMENT_AGE_MIN_MS,
    SMALL_SEGMENTS,
};
use crate::storage::{Effects, Group, Piece, Replaced, Run, SegmentUse};
use crate::types::{Offset, TimestampMs, TopicPartition};

/// Who cleans.
#[derive(Debug)]
pub struct Cleaner {
    shared: Arc<Shared>,
    age: AgeClock,
    marks: HashMap<TopicPartition, Mark>,
    next_round: Duration,
    /// The active segment, and when it was first seen.
    active: (u64, Duration),
    /// The segment that is being emptied, and what is to be moved out of it.
    emptying: Option<(u64, VecDeque<(TopicPartition, Run)>)>,
    /// Whether so much of the disk is dead that moving goes as fast as it can.
    urgent: bool,
    pass: Option<Pass>,
    /// Offsets up to which partitions are compacted.
    compacted: HashMap<TopicPartition, Offset>,
    /// Segments and partitions that cannot be read; left alone until the next start.
    unreadable: (HashSet<u64>, HashSet<TopicPartition>),
}

/// The way to the committer.
enum Hand<'a> {
    Here(&'a mut Committer),
    Queue(&'a Sender<Request>),
}

impl Hand<'_> {
    /// Runs a change on the committer's thread, in its turn. `None`: the broker has stopped.
    fn run<T: Send + 'static>(
        &mut self,
        change: impl FnOnce(&mut Committer) -> T + Send + 'static,
    ) -> Option<T> {
        match self {
            Self::Here(committer) => Some(change(committer)),
            Self::Queue(queue) => ask(queue, change)?.blocking_recv().ok(),
        }
    }
}

impl Committer {
    /// Puts pieces in the place of their runs, and does what may follow: there may be no group
    /// for a long time that would.
    fn rewrite(&mut self, pieces: Vec<Piece>) -> Result<Replaced, String> {
        let written = self.admin(|store| store.replace(pieces))?;
        self.maintain();
        Ok(written)
    }

    /// Drops what memory has of a partition before an offset: the disk has less of it now, and
    /// that is what is to be read.
    fn forget_tail(&mut self, partition: TopicPartition, end_offset: Offset) {
        let topic = self.shared.partition(partition);
        if let Some(partition) = topic.as_ref().and_then(|t| t.partition(partition.partition)) {
            self.tails.trim(&partition.tail, end_offset);
        }
    }
}

impl Cleaner {
    pub(super) fn new(shared: Arc<Shared>, compacted: HashMap<TopicPartition, Offset>) -> Self {
        let (wall_ms, now) = (shared.clock.now_ms(), shared.clock.monotonic());
        Self {
            shared,
            age: AgeClock::new(wall_ms, now),
            marks: HashMap::new(),
            next_round: now,
            active: (0, now),
            emptying: None,
            urgent: false,
            pass: None,
            compacted,
            unreadable: Default::default(),
        }
    }

    /// Cleans until the other end of `stop` is gone.
    pub(super) fn run(mut self, queue: &Sender<Request>, stop: &Receiver<()>) {
        let mut wait = Duration::ZERO;
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(wait) {
            wait = self.take_step(&mut Hand::Queue(queue));
        }
    }

    /// Does a bounded piece of work, the committer's part in it on this thread. Returns how long
    /// it would wait until the next.
    pub fn step(&mut self, committer: &mut Committer) -> Duration {
        self.take_step(&mut Hand::Here(committer))
    }

    fn take_step(&mut self, hand: &mut Hand<'_>) -> Duration {
        let started = self.shared.clock.monotonic();
        let may_write = self.shared.outage().is_none();
        if started >= self.next_round {
            self.next_round = started + Duration::from_millis(CLEAN_ROUND_MS);
            if may_write {
                self.round(hand, started);
            }
            if let Err(error) = self.shared.store.remove_unlinked() {
                tracing::warn!(%error, "a segment's file is still there, tried again later");
            }
        }
        if may_write {
            let written = match (&self.emptying, &self.pass) {
                (Some(_), _) => self.empty(hand),
                (None, Some(_)) => self.compact(hand),
                (None, None) => None,
            };
            if let Some(bytes) = written {
                if self.emptying.is_none() && self.pass.is_none() {
                    // There may be more to do.
                    self.next_round = started;
                }
                // As long again as it took, so that the committer is others' half of the time.
                let took = self.shared.clock.monotonic().saturating_sub(started);
                let due = Duration::from_secs_f64(bytes as f64 / CLEAN_BYTES_PER_SECOND as f64);
                return match (bytes, self.urgent) {
                    (0, _) => Duration::ZERO,
                    (_, true) => took,
                    (_, false) => due.max(took),
                };
            }
        }
        let left = self.next_round.saturating_sub(self.shared.clock.monotonic());
        left.max(Duration::from_millis(1))
    }

    /// Looks at everything and decides what is to be done.
    fn round(&mut self, hand: &mut Hand<'_>, now: Duration) {
        let now_ms = self.age.tick(self.shared.clock.now_ms(), now);
        let topics = self.shared.topics().all();
        self.retain(hand, &topics, now_ms, now);
        let segments = self.shared.store.segments();
        let is_empty = |s: &SegmentUse| s.live_bytes.is_none();
        #[cfg(test)]
        let oldest = segments.first().map(|s| s.segment);
        #[cfg(test)]
        let is_empty = |s: &SegmentUse| {
            let planted = crate::planted::is(crate::planted::Bug::UnlinkEarly);
            is_empty(s) || planted && segments.len() > 4 && Some(s.segment) == oldest
        };
        for gone in segments.iter().filter(|s| is_empty(s) && !s.active) {
            let segment = gone.segment;
            let _ = hand.run(move |committer| committer.admin(|store| store.unlink(segment)));
        }
        // Two are active as long as the first is full and not sealed yet: that is to come first.
        let is_sealing = segments.iter().filter(|s| s.active).count() > 1;
        if is_sealing {
            let _ = hand.run(|committer| committer.maintain());
        } else {
            self.roll_if_due(hand, &segments, &topics, now);
        }
        let is_short = self.shared.look_at_room().is_some();
        if is_short {
            // Begun before; what is chosen now fits in what is left.
            (self.emptying, self.pass) = (None, None);
        }
        if self.emptying.is_some() || self.pass.is_some() {
            return;
        }
        let segment_bytes = self.shared.store.segment_bytes();
        let readable = |s: &&SegmentUse| !self.unreadable.0.contains(&s.segment);
        let room = self.shared.store.room().map_or(u64::MAX, |(_, free)| free);
        let fits = |s: &&SegmentUse| s.live_bytes.unwrap_or(0) <= room / 2;
        let sealed: Vec<_> = segments.iter().filter(readable).filter(fits).copied().collect();
        self.urgent = excess_bytes(&sealed) > segment_bytes;
        if let Some(segment) = to_empty(&sealed, segment_bytes) {
            self.emptying = Some((segment, self.shared.store.runs_of_segment(segment).into()));
        } else if !is_short && !is_sealing {
            let active = segments.iter().find(|s| s.active).map_or(0, |s| s.segment);
            self.choose_pass(hand, &topics, active, now_ms);
        }
    }

    /// Moves log start offsets up.
    fn retain(
        &mut self,
        hand: &mut Hand<'_>,
        topics: &[Arc<Topic>],
        now_ms: TimestampMs,
        now: Duration,
    ) {
        let mut starts = Vec::new();
        let mut marks = HashMap::new();
        for topic in topics.iter().filter(|topic| topic.config().cleanup_policy.delete) {
            let config = topic.config();
            for index in 0..topic.partitions() {
                let Some(state) = topic.partition(index) else { continue };
                let partition = TopicPartition { topic: topic.id(), partition: index };
                let (start, end) = (state.log_start_offset(), state.high_watermark());
                let mut mark = self.marks.remove(&partition).unwrap_or_default();
                let aged = mark.aged(config, end, now);
                marks.insert(partition, mark);
                let store = &self.shared.store;
                let new =
                    store.with_runs(partition, |runs| log_start(runs, start, config, now_ms, aged));
                if new > start {
                    starts.push((partition, new.min(end)));
                }
            }
        }
        // Without those of partitions that are no more.
        self.marks = marks;
        if !starts.is_empty() {
            // A failure is the broker's, and known to all.
            let _ = hand.run(move |committer| committer.move_starts(starts));
        }
    }

    /// Seals an active segment that is old, if something in it waits for that.
    fn roll_if_due(
        &mut self,
        hand: &mut Hand<'_>,
        segments: &[SegmentUse],
        topics: &[Arc<Topic>],
        now: Duration,
    ) {
        let Some(active) = segments.iter().find(|s| s.active && s.disk_bytes > 0) else { return };
        if self.active.0 != active.segment {
            self.active = (active.segment, now);
        }
        let age = now.saturating_sub(self.active.1);
        if age < Duration::from_millis(SEGMENT_AGE_MIN_MS) {
            return;
        }
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let store = &self.shared.store;
        let waits = |topic: &&Arc<Topic>| {
            let config = topic.config();
            let due_ms = config.segment_ms.min(config.max_compaction_lag_ms);
            config.cleanup_policy.compact
                && age_ms >= due_ms
                && (0..topic.partitions()).any(|partition| {
                    let partition = TopicPartition { topic: topic.id(), partition };
                    let compacted = self.compacted.get(&partition).copied().unwrap_or(0);
                    store.with_runs(partition, |runs| {
                        let dirty = runs.last().filter(|run| run.end_offset > compacted);
                        dirty.is_some_and(|run| run.segment == active.segment)
                    })
                })
        };
        let to_compact = topics.iter().any(|topic| waits(&topic));
        let live = active.live_bytes.unwrap_or(0);
        let mostly_dead = live <= active.disk_bytes / 4
            && active.disk_bytes >= self.shared.store.segment_bytes() / 16;
        if to_compact || mostly_dead {
            self.seal(hand);
        }
    }

    fn seal(&self, hand: &mut Hand<'_>) {
        let _ = hand.run(|committer| committer.admin(|store| store.roll()));
    }

    /// Moves one run's worth, or a group's, out of the segment that is being emptied. Returns the
    /// bytes written.
    fn empty(&mut self, hand: &mut Hand<'_>) -> Option<u64> {
        let (segment, runs) = self.emptying.as_mut()?;
        let segment = *segment;
        // Behind a busy committer each change waits for a group: as much as a group, if it must be.
        let most = if self.urgent { GROUP_BYTES as u64 } else { RUN_BYTES };
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        while let Some((partition, run)) = runs.front().copied()
            && (pieces.is_empty() || bytes + run.bytes <= most)
        {
            runs.pop_front();
            match self.shared.store.read_run(partition, &run) {
                Ok(batches) => pieces.push(Piece::moved(partition, run, &batches)),
                Err(error) => {
                    // It stays, and the segment with it.
                    let error = self.shared.unreadable(error);
                    tracing::warn!(segment, %error, "what cannot be read is not moved");
                    self.unreadable.0.insert(segment);
                }
            }
            bytes += run.bytes;
        }
        if runs.is_empty() {
            self.emptying = None;
        }
        // What is empty then goes with the next round, which is at once.
        let written = hand.run(move |committer| committer.rewrite(pieces));
        Some(written.and_then(Result::ok).map_or(0, |written| written.bytes))
    }

    /// Finds the partition that needs compaction most.
    fn choose_pass(
        &mut self,
        hand: &mut Hand<'_>,
        topics: &[Arc<Topic>],
        active: u64,
        now_ms: TimestampMs,
    ) {
        let (mut most, mut seal) = (None, false);
        for topic in topics.iter().filter(|topic| topic.config().cleanup_policy.compact) {
            let config = topic.config();
            for index in 0..topic.partitions() {
                let partition = TopicPartition { topic: topic.id(), partition: index };
                if self.unreadable.1.contains(&partition) {
                    continue;
                }
                let compacted = self.compacted.get(&partition).copied().unwrap_or(0);
                let store = &self.shared.store;
                let needs = store
                    .with_runs(partition, |runs| need(runs, compacted, active, config, now_ms));
                match needs {
                    Need::Nothing => {}
                    Need::Seal => seal = true,
                    Need::Pass { upto, dirty_ratio } => {
                        if most.as_ref().is_none_or(|(ratio, _)| *ratio < dirty_ratio) {
                            let end = topic.partition(index).map_or(0, |p| p.high_watermark());
                            let range = (compacted, upto);
                            let pass = Pass::new(partition, range, end, config, now_ms);
                            most = Some((dirty_ratio, pass));
                        }
                    }
                }
            }
        }
        self.pass = most.map(|(_, pass)| pass);
        if self.pass.is_none() && seal {
            self.seal(hand);
        }
    }

    /// Takes the pass one step on. Returns the bytes written.
    fn compact(&mut self, hand: &mut Hand<'_>) -> Option<u64> {
        let pass = self.pass.as_mut()?;
        let partition = pass.partition;
        match pass.step(&self.shared.store) {
            Ok(Work::More) => Some(0),
            Ok(Work::Pieces(pieces)) => {
                let end_offset = pieces.last().map_or(0, Piece::end_offset);
                let written = hand.run(move |committer| {
                    let written = committer.rewrite(pieces)?;
                    committer.forget_tail(partition, end_offset);
                    Ok::<_, String>(written)
                });
                let Some(Ok(written)) = written else {
                    self.pass = None;
                    return Some(0);
                };
                if written.refused > 0 {
                    // The partition changed under it: another pass finds it as it is then.
                    self.pass = None;
                }
                Some(written.bytes)
            }
            Ok(Work::Done(upto)) => {
                self.pass = None;
                let effects = Effects { compacted: vec![(partition, upto)], ..Effects::default() };
                let group = Group { effects, ..Group::default() };
                let done = hand.run(move |committer| {
                    // A topic that is gone meanwhile is to leave no trace.
                    let is_there = committer.shared.partition(partition).is_some();
                    is_there && committer.admin(|store| store.commit(group)).is_ok()
                });
                if done == Some(true) {
                    self.compacted.insert(partition, upto);
                }
                Some(0)
            }
            Err(error) => {
                let error = match error {
                    PassError::Storage(error) => self.shared.unreadable(error).to_string(),
                    PassError::Batch(error) => error.to_string(),
                };
                tracing::warn!(?partition, %error, "not compacted until the next start");
                self.pass = None;
                self.unreadable.1.insert(partition);
                Some(0)
            }
        }
    }
}

/// The segment to be emptied: the one that is dead the most, when half of all sealed ones is dead,
/// so that disk use stays below twice what lives. Or else the smallest, when there are too many
/// small ones.
fn to_empty(segments: &[SegmentUse], segment_bytes: u64) -> Option<u64> {
    let sealed = || segments.iter().filter(|s| !s.active && s.live_bytes.is_some());
    let live = |s: &SegmentUse| s.live_bytes.unwrap_or(0);
    // A little more, or the journal of a few small commits would be moved for ever.
    if excess_bytes(segments) > segment_bytes / 8 {
        let share =
            |s: &&SegmentUse| u128::from(live(s)) * 1_000_000 / u128::from(s.disk_bytes.max(1));
        return sealed().min_by_key(share).map(|s| s.segment);
    }
    let small = || sealed().filter(|s| s.disk_bytes < segment_bytes / 8);
    if small().count() > SMALL_SEGMENTS {
        return small().min_by_key(|s| s.disk_bytes).map(|s| s.segment);
    }
    None
}

/// How much more than twice what lives in them the sealed segments take; those in which nothing is
/// left are about to go.
fn excess_bytes(segments: &[SegmentUse]) -> u64 {
    let sealed = segments.iter().filter(|s| !s.active && s.live_bytes.is_some());
    let (disk, live) = sealed.fold((0, 0), |(disk, live), segment| {
        (disk + segment.disk_bytes, live + segment.live_bytes.unwrap_or(0))
    });
    u64::saturating_sub(disk, live * 2)
}

#[cfg(test)]
mod tests;
