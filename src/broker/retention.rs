//! Retention: from when on records are kept. Pure: runs, a topic's settings and the time give the
//! new log start offset.

use std::time::Duration;

use super::topic_config::TopicConfig;
use crate::limits::RETENTION_LEAST_MS;
use crate::storage::Run;
use crate::types::{Offset, TimestampMs};

/// The log start offset that retention asks for: whole runs are kept or deleted, from the oldest
/// on. A run is as old as its youngest record, and too old only if it is among those before
/// `aged`, which are known to have been here for a while.
pub(super) fn log_start(
    runs: &[Run],
    start: Offset,
    config: &TopicConfig,
    now_ms: TimestampMs,
    aged: Offset,
) -> Offset {
    if !config.cleanup_policy.delete {
        return start;
    }
    let mut bytes: u64 = match config.retention_bytes {
        None => 0,
        Some(_) => runs.iter().map(|run| run.bytes).sum(),
    };
    let mut start = start;
    for run in runs {
        let age_ms = now_ms.saturating_sub(run.max_timestamp);
        let too_old = config.retention_ms.is_some_and(|limit| age_ms > limit);
        let too_old = too_old && run.end_offset <= aged;
        let keeps = bytes.saturating_sub(run.bytes);
        let too_many = config.retention_bytes.is_some_and(|limit| keeps >= limit);
        if !(too_old || too_many && run.bytes > 0) {
            break;
        }
        bytes = keeps;
        start = start.max(run.end_offset);
    }
    start
}

/// Up to where a partition's records have been here for a while, by the monotonic clock: what was
/// produced a moment ago with a timestamp of last year is to be read before it goes, as it is in
/// Kafka, which looks every five minutes.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Mark {
    aged: Offset,
    seen: Option<(Offset, Duration)>,
}

impl Mark {
    /// The offset, given the partition's end now.
    pub(super) fn aged(
        &mut self,
        config: &TopicConfig,
        end_offset: Offset,
        now: Duration,
    ) -> Offset {
        let retention_ms = config.retention_ms.and_then(|ms| u64::try_from(ms).ok());
        let while_ms = retention_ms.unwrap_or(u64::MAX).min(RETENTION_LEAST_MS);
        let (seen, at) = *self.seen.get_or_insert((end_offset, now));
        if now.saturating_sub(at) >= Duration::from_millis(while_ms) {
            self.aged = seen;
            self.seen = Some((end_offset, now));
        }
        self.aged
    }
}

/// The time by which records age: the wall clock, unless that runs ahead of the monotonic one. A
/// jump forward is believed in no faster than twice the time that passes, so that it expires
/// nothing that is young; a jump back is believed at once.
#[derive(Debug)]
pub(super) struct AgeClock {
    now_ms: TimestampMs,
    monotonic: Duration,
}

impl AgeClock {
    pub(super) fn new(wall_ms: TimestampMs, monotonic: Duration) -> Self {
        Self { now_ms: wall_ms, monotonic }
    }

    /// The time, given what both clocks show.
    pub(super) fn tick(&mut self, wall_ms: TimestampMs, monotonic: Duration) -> TimestampMs {
        let passed = monotonic.saturating_sub(self.monotonic).saturating_mul(2);
        let passed_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        self.now_ms = wall_ms.min(self.now_ms.saturating_add(passed_ms));
        self.monotonic = monotonic;
        self.now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::CleanupPolicy;

    /// For ever.
    fn keep() -> TopicConfig {
        TopicConfig { retention_ms: None, ..TopicConfig::default() }
    }

    /// Runs of ten records and 100 bytes with these greatest timestamps.
    fn runs(timestamps: &[TimestampMs]) -> Vec<Run> {
        let run = |(at, timestamp): (i64, &TimestampMs)| {
            Run::of_test((at * 10, at * 10 + 10), 100, *timestamp)
        };
        (0..).zip(timestamps).map(run).collect()
    }

    #[test]
    fn what_is_old_goes_up_to_the_first_that_is_not() {
        let runs = runs(&[100, 200, 150, 300]);
        let config = TopicConfig { retention_ms: Some(50), ..TopicConfig::default() };
        let start = |now_ms| log_start(&runs, 3, &config, now_ms, Offset::MAX);
        assert_eq!(start(150), 3);
        assert_eq!(start(151), 10);
        assert_eq!(start(250), 10);
        assert_eq!(start(251), 30, "150 is behind 200 and goes with it");
        assert_eq!(start(i64::MAX), 40);
        assert_eq!(start(i64::MIN), 3);
        assert_eq!(log_start(&runs, 3, &config, i64::MAX, 29), 20, "the others came just now");
    }

    #[test]
    fn bytes_beyond_the_limit_go_and_no_more() {
        let runs = runs(&[0, 0, 0, 0]);
        let start =
            |limit| log_start(&runs, 0, &TopicConfig { retention_bytes: limit, ..keep() }, 0, 0);
        assert_eq!(start(None), 0);
        assert_eq!(start(Some(400)), 0);
        assert_eq!(start(Some(301)), 0);
        assert_eq!(start(Some(300)), 10);
        assert_eq!(start(Some(0)), 40);
    }

    #[test]
    fn a_compacted_topic_keeps_what_is_old() {
        let cleanup_policy = CleanupPolicy { delete: false, compact: true };
        let old = TopicConfig {
            cleanup_policy,
            retention_ms: Some(0),
            retention_bytes: Some(0),
            ..TopicConfig::default()
        };
        assert_eq!(log_start(&runs(&[0, 0]), 5, &old, 1_000, 20), 5);
    }

    #[test]
    fn what_has_just_come_is_not_old() {
        let config = TopicConfig { retention_ms: Some(1_000), ..TopicConfig::default() };
        let mut mark = Mark::default();
        let seconds = Duration::from_secs;
        let seen: Vec<Offset> = [(10, 50), (20, 51), (30, 52), (30, 53)]
            .into_iter()
            .map(|(end_offset, at)| mark.aged(&config, end_offset, seconds(at)))
            .collect();
        assert_eq!(seen, [0, 10, 20, 30]);
        let mut mark = Mark::default();
        let week = TopicConfig::default();
        let seen = [(10, 400), (20, 699), (20, 700)]
            .map(|(end_offset, at)| mark.aged(&week, end_offset, seconds(at)));
        assert_eq!(seen, [0, 0, 10]);
    }

    #[test]
    fn a_jump_of_the_clock_makes_nothing_old() {
        let mut clock = AgeClock::new(1_000, Duration::ZERO);
        assert_eq!(clock.tick(1_010, Duration::from_millis(10)), 1_010);
        let ten_years = 315_360_000_000;
        assert_eq!(clock.tick(ten_years, Duration::from_millis(20)), 1_030);
        assert_eq!(clock.tick(1_040, Duration::from_millis(30)), 1_040, "it jumped back");
        assert_eq!(clock.tick(-ten_years, Duration::from_millis(40)), -ten_years);
        // It was an hour behind and is set right: believed within the hour.
        assert_eq!(clock.tick(0, Duration::from_secs(1)), -ten_years + 1_920);
    }
}
