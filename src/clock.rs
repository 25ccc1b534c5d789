//! The one clock. Everything that needs the time is given a [`Clock`], so that a simulation can
//! turn it.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::types::TimestampMs;

/// Wall time for what users see, monotonic time for what waits.
pub trait Clock: Debug + Send + Sync {
    /// Wall clock, milliseconds since the Unix epoch. May jump either way.
    fn now_ms(&self) -> TimestampMs;

    /// Time since this clock was made. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> TimestampMs {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock {
    times: Mutex<(TimestampMs, Duration)>,
}

impl ManualClock {
    /// A clock that stands at `now_ms`.
    pub fn new(now_ms: TimestampMs) -> Self {
        Self { times: Mutex::new((now_ms, Duration::ZERO)) }
    }

    /// Moves both times forward.
    pub fn advance(&self, by: Duration) {
        let mut times = self.lock();
        times.0 = times.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
        times.1 += by;
    }

    /// Sets the wall clock alone, as an administrator or NTP does.
    pub fn jump_to(&self, now_ms: TimestampMs) {
        self.lock().0 = now_ms;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (TimestampMs, Duration)> {
        self.times.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> TimestampMs {
        self.lock().0
    }

    fn monotonic(&self) -> Duration {
        self.lock().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_leaves_monotonic_time_alone() {
        let clock = ManualClock::new(1_000);
        clock.advance(Duration::from_millis(5));
        clock.jump_to(7);
        assert_eq!((clock.now_ms(), clock.monotonic()), (7, Duration::from_millis(5)));
    }
}
