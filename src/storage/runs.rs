//! Where each partition's records are: stretches of offsets, each in one segment. In memory, pure.
//!
//! A run is bounded ([`RUN_BYTES`], [`RUN_SPAN_MS`]), so that the list of them is a sparse index
//! by offset and by time: a lookup is a binary search here and a look at one run there. A moved or
//! compacted stretch takes the place of what it was made from, so the runs of a partition are in
//! order of offsets, in any order of segments.

use std::collections::{BTreeMap, HashMap};

use super::journal::{Extent, Gaps};
use crate::limits::{RUN_BYTES, RUN_SPAN_MS};
use crate::types::{Offset, TimestampMs, TopicPartition};

/// A stretch of a partition that lies in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The segment.
    pub segment: u64,
    /// Offset of its first record that is not deleted.
    pub first_offset: Offset,
    /// Offset after its last record.
    pub end_offset: Offset,
    /// Bytes of its record batches.
    pub bytes: u64,
    /// What they take on disk, about.
    pub disk_bytes: u64,
    /// Greatest timestamp of its records; if it is cut, of those that there were.
    pub max_timestamp: TimestampMs,
    /// Whether it is a part of what was written as one.
    pub cut: bool,
    /// Where records may be missing between its offsets.
    pub gaps: Gaps,
    /// When its tombstones may go; [`TimestampMs::MAX`] if it is not known to have any.
    pub horizon_ms: TimestampMs,
    /// Greatest timestamp of this run and all before it.
    max_so_far: TimestampMs,
    /// Greatest timestamp when it began.
    since: TimestampMs,
}

/// What is appended to or placed in a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) segment: u64,
    pub(super) extent: Extent,
    pub(super) disk_bytes: u64,
    pub(super) gaps: Gaps,
    pub(super) horizon_ms: TimestampMs,
}

impl Run {
    fn new(placed: &Placed) -> Self {
        let Placed { segment, extent, disk_bytes, gaps, horizon_ms } = *placed;
        Self {
            segment,
            first_offset: extent.first_offset,
            end_offset: extent.end_offset,
            bytes: extent.bytes,
            disk_bytes,
            max_timestamp: extent.max_timestamp,
            cut: false,
            gaps,
            horizon_ms,
            max_so_far: extent.max_timestamp,
            since: extent.max_timestamp,
        }
    }

    /// A run for tests of what decides about runs.
    #[cfg(test)]
    pub(crate) fn of_test(
        (first_offset, end_offset): (Offset, Offset),
        bytes: u64,
        max_timestamp: TimestampMs,
    ) -> Self {
        let topic = crate::types::TopicId::from_bytes([0; 16]);
        let partition = TopicPartition { topic, partition: 0 };
        let extent = Extent { partition, first_offset, end_offset, bytes, max_timestamp };
        Self::new(&Placed {
            segment: 1,
            extent,
            disk_bytes: bytes,
            gaps: Gaps::None,
            horizon_ms: i64::MAX,
        })
    }

    /// Whether what follows at once is better added than made a run of its own.
    fn takes(&self, next: &Placed) -> bool {
        let span = next.extent.max_timestamp.saturating_sub(self.since);
        // A long time makes a run only if that is worth its entry in the index.
        let spans = span > RUN_SPAN_MS && self.disk_bytes >= RUN_BYTES / 16;
        self.segment == next.segment
            && self.end_offset == next.extent.first_offset
            && self.gaps == next.gaps
            && (self.horizon_ms == TimestampMs::MAX) == (next.horizon_ms == TimestampMs::MAX)
            && self.disk_bytes + next.disk_bytes <= RUN_BYTES
            && !spans
    }

    fn take(&mut self, next: &Placed) {
        self.end_offset = next.extent.end_offset;
        self.bytes += next.extent.bytes;
        self.disk_bytes += next.disk_bytes;
        self.horizon_ms = self.horizon_ms.max(next.horizon_ms);
        self.max_timestamp = self.max_timestamp.max(next.extent.max_timestamp);
        self.max_so_far = self.max_so_far.max(self.max_timestamp);
    }

    /// What is left of it between two offsets; its bytes by the share of its offsets.
    fn between(&self, from: Offset, until: Offset) -> Option<Self> {
        let first_offset = self.first_offset.max(from);
        let end_offset = self.end_offset.min(until);
        if first_offset >= end_offset {
            return None;
        }
        let cut = self.cut || (first_offset, end_offset) != (self.first_offset, self.end_offset);
        let part = u128::from(first_offset.abs_diff(end_offset));
        let whole = u128::from(self.first_offset.abs_diff(self.end_offset));
        let share = |bytes: u64| u64::try_from(u128::from(bytes) * part / whole).unwrap_or(bytes);
        let (bytes, disk_bytes) = (share(self.bytes), share(self.disk_bytes));
        Some(Self { first_offset, end_offset, bytes, disk_bytes, cut, ..*self })
    }
}

/// The runs of all partitions.
#[derive(Debug, Default)]
pub(super) struct Runs {
    by_partition: HashMap<TopicPartition, Vec<Run>>,
    live: Live,
}

/// How many runs are in each segment, and their bytes on disk.
#[derive(Debug, Default)]
struct Live(BTreeMap<u64, (usize, u64)>);

impl Live {
    fn add(&mut self, run: &Run) {
        let (count, bytes) = self.0.entry(run.segment).or_default();
        (*count, *bytes) = (*count + 1, *bytes + run.disk_bytes);
    }

    fn remove(&mut self, run: &Run) {
        if let Some((count, bytes)) = self.0.get_mut(&run.segment) {
            (*count, *bytes) = (*count - 1, *bytes - run.disk_bytes);
            if *count == 0 {
                self.0.remove(&run.segment);
            }
        }
    }
}

impl Runs {
    /// Takes in what was appended at the end of its partition.
    pub(super) fn append(&mut self, placed: &Placed) {
        let runs = self.by_partition.entry(placed.extent.partition).or_default();
        match runs.last_mut() {
            Some(last) if last.takes(placed) => {
                self.live.remove(last);
                last.take(placed);
                self.live.add(last);
            }
            last => {
                let mut run = Run::new(placed);
                self.live.add(&run);
                if let Some(last) = last {
                    run.max_so_far = run.max_so_far.max(last.max_so_far);
                }
                runs.push(run);
            }
        }
    }

    /// Takes in a stretch that takes the place of what has its offsets.
    pub(super) fn place(&mut self, placed: &Placed) {
        let Extent { partition, first_offset, end_offset, .. } = placed.extent;
        let runs = self.by_partition.entry(partition).or_default();
        let from = runs.partition_point(|run| run.end_offset <= first_offset);
        let until = runs.partition_point(|run| run.first_offset < end_offset).max(from);
        let before = runs.get(from).and_then(|run| run.between(Offset::MIN, first_offset));
        let last = until.checked_sub(1).filter(|last| *last >= from);
        let after = last.and_then(|last| runs[last].between(end_offset, Offset::MAX));
        let mut new = Vec::with_capacity(3);
        new.extend(before);
        // Pieces of one partition are placed in order: they make runs as appends do.
        let mut from = from;
        if new.is_empty()
            && let Some(last) = from.checked_sub(1).filter(|at| runs[*at].takes(placed))
        {
            from = last;
            new.push(runs[last]);
        }
        match new.last_mut() {
            Some(last) if last.takes(placed) => last.take(placed),
            _ => new.push(Run::new(placed)),
        }
        new.extend(after);
        new.iter().for_each(|run| self.live.add(run));
        runs.splice(from..until, new).for_each(|run| self.live.remove(&run));
        let changed = from.saturating_sub(1);
        let before = changed.checked_sub(1).map(|at| runs[at].max_so_far);
        count_times(&mut runs[changed..], before);
    }

    /// Forgets what lies before a partition's first offset.
    pub(super) fn trim(&mut self, partition: TopicPartition, start: Offset) {
        let Some(runs) = self.by_partition.get_mut(&partition) else { return };
        let gone = runs.partition_point(|run| run.end_offset <= start);
        let cut = runs.get(gone).filter(|run| run.first_offset < start);
        let cut = cut.and_then(|run| run.between(start, Offset::MAX));
        if gone == 0 && cut.is_none() {
            return;
        }
        runs.drain(..gone).for_each(|run| self.live.remove(&run));
        if let (Some(first), Some(cut)) = (runs.first_mut(), cut) {
            self.live.add(&cut);
            self.live.remove(first);
            *first = cut;
        }
        count_times(runs, None);
    }

    /// Forgets partitions.
    pub(super) fn retain(&mut self, mut lives: impl FnMut(TopicPartition) -> bool) {
        self.by_partition.retain(|partition, runs| {
            let keep = lives(*partition);
            if !keep {
                runs.iter().for_each(|run| self.live.remove(run));
            }
            keep
        });
    }

    /// The partitions that have runs.
    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.by_partition.keys().copied().collect()
    }

    /// The runs of a partition, in order of offsets.
    pub(super) fn of(&self, partition: TopicPartition) -> &[Run] {
        self.by_partition.get(&partition).map_or(&[], Vec::as_slice)
    }

    /// The run that contains an offset, or the first after it.
    pub(super) fn at(&self, partition: TopicPartition, offset: Offset) -> Option<Run> {
        let runs = self.of(partition);
        runs.get(runs.partition_point(|run| run.end_offset <= offset)).copied()
    }

    /// All that can be read at once from an offset on: the run that contains it, and those that
    /// follow it in its segment, as far as so many bytes go.
    pub(super) fn stretch(
        &self,
        partition: TopicPartition,
        from: Offset,
        max_bytes: usize,
    ) -> Option<Run> {
        let runs = self.of(partition);
        let at = runs.partition_point(|run| run.end_offset <= from);
        let (first, rest) = runs.get(at..)?.split_first()?;
        let mut stretch = *first;
        // The first run may begin long before the offset.
        let mut bytes = 0;
        for run in rest {
            let follows = run.segment == first.segment && run.first_offset == stretch.end_offset;
            if !follows || bytes >= max_bytes as u64 {
                break;
            }
            bytes += run.bytes;
            stretch.end_offset = run.end_offset;
            stretch.gaps = stretch.gaps.max(run.gaps);
        }
        Some(stretch)
    }

    /// The first run from an offset on that may have a record at or after a time.
    pub(super) fn at_time(
        &self,
        partition: TopicPartition,
        timestamp: TimestampMs,
        from: Offset,
    ) -> Option<Run> {
        let runs = self.of(partition);
        let by_offset = runs.partition_point(|run| run.end_offset <= from);
        let by_time = runs.partition_point(|run| run.max_so_far < timestamp);
        // Beyond where the time is first reached, a run's own greatest timestamp decides: it is
        // the first one for who asks from the log's start.
        let rest = runs.get(by_offset.max(by_time)..).unwrap_or_default();
        rest.iter().find(|run| run.max_timestamp >= timestamp).copied()
    }

    /// The first run that has the greatest timestamp of its partition.
    pub(super) fn at_max_timestamp(&self, partition: TopicPartition) -> Option<Run> {
        let runs = self.of(partition);
        let max = runs.last()?.max_so_far;
        runs.get(runs.partition_point(|run| run.max_so_far < max)).copied()
    }

    /// What lives in a segment, by partition and offset.
    pub(super) fn of_segment(&self, segment: u64) -> Vec<(TopicPartition, Run)> {
        let mut found = Vec::new();
        for (partition, runs) in &self.by_partition {
            let here = runs.iter().filter(|run| run.segment == segment);
            found.extend(here.map(|run| (*partition, *run)));
        }
        found.sort_unstable_by_key(|(partition, run)| (*partition, run.first_offset));
        found
    }

    /// Live bytes on disk of a segment; `None` if no run is in it, not even an empty one.
    pub(super) fn live_bytes(&self, segment: u64) -> Option<u64> {
        self.live.0.get(&segment).map(|(_, bytes)| *bytes)
    }
}

/// Counts the greatest timestamp so far anew, after what was `before`.
fn count_times(runs: &mut [Run], before: Option<TimestampMs>) {
    let mut max = before.unwrap_or(TimestampMs::MIN);
    for run in runs {
        max = max.max(run.max_timestamp);
        run.max_so_far = max;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TopicId;

    fn partition() -> TopicPartition {
        TopicPartition { topic: TopicId::from_bytes([1; 16]), partition: 0 }
    }

    fn placed(segment: u64, first_offset: Offset, end_offset: Offset) -> Placed {
        let bytes = first_offset.abs_diff(end_offset) * 100;
        let max_timestamp = end_offset * 10;
        let partition = partition();
        Placed {
            segment,
            extent: Extent { partition, first_offset, end_offset, bytes, max_timestamp },
            disk_bytes: bytes * 2,
            gaps: Gaps::None,
            horizon_ms: TimestampMs::MAX,
        }
    }

    /// Segment, first and end offset of all runs.
    fn shape(runs: &Runs) -> Vec<(u64, Offset, Offset)> {
        let of = |run: &Run| (run.segment, run.first_offset, run.end_offset);
        runs.of(partition()).iter().map(of).collect()
    }

    #[test]
    fn appends_join_within_a_segment_up_to_the_bounds() {
        let mut runs = Runs::default();
        runs.append(&placed(1, 0, 10));
        runs.append(&placed(1, 10, 20));
        runs.append(&placed(2, 20, 30));
        assert_eq!(shape(&runs), [(1, 0, 20), (2, 20, 30)]);
        let many = i64::try_from(RUN_BYTES / 200).unwrap();
        runs.append(&placed(2, 30, 30 + many));
        assert_eq!(runs.of(partition()).len(), 3, "by bytes");
        let mut runs = Runs::default();
        let some = many / 16 + 1;
        let mut late = placed(1, some, some + 1);
        late.extent.max_timestamp = some * 10 + RUN_SPAN_MS + 1;
        runs.append(&placed(1, 0, some));
        runs.append(&late);
        assert_eq!(runs.of(partition()).len(), 2, "by time");
        let mut runs = Runs::default();
        runs.append(&placed(1, some - 1, some));
        runs.append(&late);
        assert_eq!(runs.of(partition()).len(), 1, "not for a single record");
    }

    #[test]
    fn a_placed_stretch_takes_the_place_of_what_was_there() {
        let mut runs = Runs::default();
        runs.append(&placed(1, 0, 100));
        runs.append(&placed(2, 100, 200));
        runs.place(&placed(3, 20, 50));
        assert_eq!(shape(&runs), [(1, 0, 20), (3, 20, 50), (1, 50, 100), (2, 100, 200)]);
        let bytes: u64 = runs.of(partition()).iter().map(|run| run.bytes).sum();
        assert_eq!(bytes, 200 * 100);
        runs.place(&placed(3, 50, 100));
        assert_eq!(shape(&runs), [(1, 0, 20), (3, 20, 100), (2, 100, 200)]);
        runs.place(&placed(4, 0, 200));
        assert_eq!(shape(&runs), [(4, 0, 200)]);
        runs.place(&placed(5, 200, 210));
        assert_eq!(shape(&runs), [(4, 0, 200), (5, 200, 210)]);
    }

    #[test]
    fn a_run_that_lies_around_a_placed_stretch_is_cut_in_two() {
        let mut runs = Runs::default();
        runs.append(&placed(1, 0, 100));
        runs.place(&placed(2, 40, 60));
        assert_eq!(shape(&runs), [(1, 0, 40), (2, 40, 60), (1, 60, 100)]);
        assert_eq!([1, 2, 3].map(|s| runs.live_bytes(s)), [Some(16_000), Some(4_000), None]);
        assert_eq!(runs.of_segment(1).len(), 2);
    }

    #[test]
    fn what_is_trimmed_is_found_no_more() {
        let mut runs = Runs::default();
        runs.append(&placed(1, 0, 100));
        runs.append(&placed(2, 100, 200));
        runs.trim(partition(), 0);
        assert_eq!(shape(&runs), [(1, 0, 100), (2, 100, 200)]);
        runs.trim(partition(), 150);
        assert_eq!(shape(&runs), [(2, 150, 200)]);
        assert_eq!(runs.of(partition())[0].bytes, 5_000);
        runs.trim(partition(), 200);
        assert_eq!(runs.at(partition(), 0), None);
        runs.append(&placed(3, 200, 210));
        assert_eq!(shape(&runs), [(3, 200, 210)]);
    }

    #[test]
    fn times_are_found_however_they_go_up_and_down() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let mut runs = Runs::default();
            let mut end = 0;
            for segment in 0..20 {
                let mut next = placed(segment, end, end + 10);
                next.extent.max_timestamp = random.i64(0..30);
                runs.append(&next);
                end += 10;
            }
            for _ in 0..3 {
                let at = random.i64(0..19) * 10;
                let mut moved = placed(50, at, at + 10);
                moved.extent.max_timestamp = random.i64(0..30);
                runs.place(&moved);
            }
            runs.trim(partition(), random.i64(0..100));
            for _ in 0..20 {
                let (from, timestamp) = (random.i64(0..210), random.i64(0..35));
                let all = runs.of(partition()).iter();
                let mut all = all.filter(|run| run.end_offset > from);
                let expected = all.find(|run| run.max_timestamp >= timestamp).copied();
                assert_eq!(runs.at_time(partition(), timestamp, from), expected);
            }
            for segment in 0..=50 {
                let here = runs.of(partition()).iter().filter(|run| run.segment == segment);
                let bytes: Vec<u64> = here.map(|run| run.disk_bytes).collect();
                let live = (!bytes.is_empty()).then(|| bytes.iter().sum());
                assert_eq!(runs.live_bytes(segment), live);
            }
            let max = runs.of(partition()).iter().map(|run| run.max_timestamp).max();
            let found = runs.at_max_timestamp(partition()).map(|run| run.max_timestamp);
            assert_eq!(found, max);
        }
    }
}
