//! How many records a packed call takes: more as long as calls are quick, one by one after a call
//! has failed, until the record that it failed on is found.

use crate::limits::{PLUGIN_PACKED_RECORDS, PLUGIN_TICK_MS};

/// A call that took no longer is quick, ticks; two of [`PLUGIN_TICK_MS`] are what one tick may be.
const QUICK_TICKS: u64 = 2;
/// Records of the first calls, and of the next ones after a record was found.
const FEW: usize = 8;

/// Grows and shrinks with what came of the calls.
#[derive(Debug)]
pub(super) struct Sizing {
    size: usize,
    /// More failed though none of its records did.
    most: usize,
    /// Records of a failed call that are still to be offered one by one, and how many it had.
    suspects: usize,
    failed: usize,
}

impl Default for Sizing {
    fn default() -> Self {
        Self { size: FEW, most: PLUGIN_PACKED_RECORDS, suspects: 0, failed: 0 }
    }
}

impl Sizing {
    /// Records of the next call, at most.
    pub(super) fn next(&self) -> usize {
        if self.suspects > 0 { 1 } else { self.size }
    }

    /// A call was answered, however its records fared.
    pub(super) fn answered(&mut self, records: usize, ticks: u64) {
        if self.suspects > 0 {
            self.suspects = self.suspects.saturating_sub(records);
            if self.suspects == 0 {
                // Together they are too much, not one of them.
                self.most = (self.failed / 2).max(1);
                self.size = self.size.min(self.most);
            }
        } else if ticks > QUICK_TICKS {
            self.size = (records / 2).max(1);
        } else if records >= self.size {
            self.size = (self.size * 2).min(self.most);
        }
    }

    /// A call of several records failed, on whichever of them.
    pub(super) fn failed_together(&mut self, records: usize) {
        self.suspects = records;
        self.failed = records;
    }

    /// A call of one record failed: it is the one.
    pub(super) fn failed_alone(&mut self) {
        self.suspects = 0;
        self.size = self.size.min(FEW);
    }
}

const _: () = assert!(QUICK_TICKS * PLUGIN_TICK_MS < crate::limits::PLUGIN_PACKED_CALL_MS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_calls_grow_and_slow_ones_shrink() {
        let mut sizing = Sizing::default();
        for _ in 0..20 {
            let size = sizing.next();
            sizing.answered(size, 0);
        }
        assert_eq!(sizing.next(), PLUGIN_PACKED_RECORDS);
        // A batch that ends early says nothing.
        sizing.answered(3, 0);
        assert_eq!(sizing.next(), PLUGIN_PACKED_RECORDS);
        sizing.answered(PLUGIN_PACKED_RECORDS, QUICK_TICKS + 1);
        assert_eq!(sizing.next(), PLUGIN_PACKED_RECORDS / 2);
        for _ in 0..20 {
            let size = sizing.next();
            sizing.answered(size, 1_000);
        }
        assert_eq!(sizing.next(), 1);
    }

    #[test]
    fn after_a_failure_records_come_one_by_one_until_it_is_found() {
        let mut sizing = Sizing { size: 64, ..Sizing::default() };
        sizing.failed_together(64);
        assert_eq!(sizing.next(), 1);
        sizing.answered(1, 0);
        assert_eq!(sizing.next(), 1);
        sizing.failed_alone();
        assert_eq!(sizing.next(), FEW);
    }

    #[test]
    fn a_failure_that_no_record_is_to_blame_for_makes_calls_smaller_for_good() {
        let mut sizing = Sizing { size: 64, ..Sizing::default() };
        sizing.failed_together(64);
        (0..64).for_each(|_| sizing.answered(1, 0));
        assert_eq!(sizing.next(), 32);
        sizing.answered(32, 0);
        assert_eq!(sizing.next(), 32);
    }
}
