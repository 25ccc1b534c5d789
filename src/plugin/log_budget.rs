//! How much a plugin may log in a second, over all its calls and instances.

use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;
use crate::limits::PLUGIN_LOG_BYTES_PER_SECOND;

/// What a line takes beside its text, bytes.
const LINE_BYTES: usize = 64;

/// The budget of one step and source partition; clones share it.
#[derive(Debug, Clone)]
pub(super) struct LogBudget {
    clock: Arc<dyn Clock>,
    spent: Arc<Mutex<Spent>>,
}

#[derive(Debug, Default)]
struct Spent {
    second: u64,
    bytes: usize,
    refused: u64,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Written,
    /// Not written, the first of its second: that is to be told.
    FirstRefused,
    Refused,
}

impl LogBudget {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, spent: Arc::default() }
    }

    /// Takes a line of so many bytes, if there is room for it. Also how many lines of an earlier
    /// second were refused, once, for whoever tells.
    pub(super) fn take(&self, bytes: usize) -> (Line, Option<u64>) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let second = self.clock.monotonic().as_secs();
        let mut before = None;
        if spent.second != second {
            before = Some(spent.refused).filter(|refused| *refused > 0);
            *spent = Spent { second, ..Spent::default() };
        }
        let asked = spent.bytes.saturating_add(bytes).saturating_add(LINE_BYTES);
        let line = if asked <= PLUGIN_LOG_BYTES_PER_SECOND {
            spent.bytes = asked;
            Line::Written
        } else {
            spent.refused += 1;
            if spent.refused == 1 { Line::FirstRefused } else { Line::Refused }
        };
        (line, before)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_second_has_so_many_bytes_and_the_next_as_many() {
        let clock = Arc::new(ManualClock::new(0));
        let budget = LogBudget::new(clock.clone());
        let lines = PLUGIN_LOG_BYTES_PER_SECOND / (1_000 + LINE_BYTES);
        for _ in 0..lines {
            assert_eq!(budget.take(1_000), (Line::Written, None));
        }
        assert_eq!(budget.clone().take(1_000), (Line::FirstRefused, None));
        assert_eq!(budget.take(1_000), (Line::Refused, None));
        clock.advance(Duration::from_secs(1));
        assert_eq!(budget.take(1_000), (Line::Written, Some(2)));
        assert_eq!(budget.take(usize::MAX), (Line::FirstRefused, None));
    }
}
