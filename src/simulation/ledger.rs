//! The checker, one for the simulation and for the real process (`tests/it` has this file by its
//! path): what clients sent and were told, held against what is found afterwards. Knows no broker.
//!
//! Values are unique and name their producer and their number, so that a record is recognized
//! wherever it turns up.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A topic and a partition of it.
pub(crate) type Place = (String, i32);

/// What a topic keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Everything.
    Keep,
    /// What is not too old or too much: its log may start anywhere.
    Retained,
    /// The last record of each key at least.
    Compacted,
}

/// A record as a producer sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) key: Option<String>,
    /// `None` is a tombstone: it is told apart by its offset alone.
    pub(crate) value: Option<String>,
}

/// What became of a batch, as far as its producer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unsure,
    /// Its first record has this offset.
    Acknowledged(i64),
    /// It was acknowledged after the moment that is looked at: its first record has this offset if
    /// its partition reached as far.
    Later(i64),
    /// It was not done and is not to be found.
    Refused,
}

#[derive(Debug, Clone)]
struct Batch {
    place: Place,
    producer: u64,
    records: Vec<Sent>,
    fate: Fate,
}

/// Offset and value of a record that a group has read.
type Consumed = (i64, Option<String>);

/// What was sent, what was told, what was seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    batches: Vec<Batch>,
    /// Where each value was sent: its batch and index there.
    by_value: HashMap<String, (usize, usize)>,
    policies: BTreeMap<String, Policy>,
    /// Values that readers saw.
    seen: BTreeMap<Place, BTreeMap<i64, String>>,
    /// Up to where a group has committed, and what it has read for it.
    consumed: BTreeMap<Place, (i64, Vec<Consumed>)>,
    /// Up to where records were deleted on demand: for sure, and perhaps.
    deleted: BTreeMap<Place, (i64, i64)>,
}

/// A record as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundRecord {
    pub(crate) offset: i64,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
}

/// A partition as it is found.
#[derive(Debug, Clone, Default)]
pub(crate) struct FoundPartition {
    /// Log start and end offset.
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) records: Vec<FoundRecord>,
    /// Stretches that the broker says it cannot read: first offset and the one after.
    pub(crate) unreadable: Vec<(i64, i64)>,
}

impl FoundPartition {
    fn at(&self, offset: i64) -> Option<&FoundRecord> {
        let at = self.records.binary_search_by_key(&offset, |record| record.offset);
        at.ok().map(|at| &self.records[at])
    }

    fn is_unreadable(&self, offset: i64) -> bool {
        self.unreadable.iter().any(|(from, end)| (*from..*end).contains(&offset))
    }
}

/// Offsets by place and key.
type LastOfKeys<'a> = BTreeMap<(&'a Place, Option<&'a str>), i64>;

/// Everything that is found.
pub(crate) type Found = BTreeMap<Place, FoundPartition>;

/// What a check has counted and what it objects to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    pub(crate) acknowledged: u64,
    pub(crate) found: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) misordered: u64,
    pub(crate) half_applied: u64,
    pub(crate) objections: Vec<String>,
    /// Batches of unsure fate that are there, with the offset of their first record.
    applied: BTreeMap<usize, i64>,
}

impl Verdict {
    /// One objection, of something that is lost.
    pub(crate) fn unreadable(objection: String) -> Self {
        Self { objections: vec![objection], lost: 1, ..Self::default() }
    }

    fn object(&mut self, count: fn(&mut Self) -> &mut u64, text: String) {
        *count(self) += 1;
        // The first few say it all.
        if self.objections.len() < 10 {
            // Values are padded with dots.
            let dots = |(a, b): (char, char)| (a != '.' || b != '.').then_some(a);
            let next = text.chars().skip(1).chain([' ']);
            self.objections.push(text.chars().zip(next).filter_map(dots).collect());
        }
    }
}

impl Ledger {
    /// Says what a topic keeps; one that is not told of is not looked at.
    pub(crate) fn topic(&mut self, name: &str, policy: Policy) {
        self.policies.insert(name.to_owned(), policy);
    }

    /// Takes note of a batch that is about to be sent, and returns its number.
    pub(crate) fn send(&mut self, place: Place, producer: u64, records: Vec<Sent>) -> usize {
        let batch = self.batches.len();
        for (index, record) in records.iter().enumerate() {
            if let Some(value) = &record.value {
                let before = self.by_value.insert(value.clone(), (batch, index));
                assert!(before.is_none(), "{value} is sent twice");
            }
        }
        self.batches.push(Batch { place, producer, records, fate: Fate::Unsure });
        batch
    }

    /// Takes note of an acknowledgement; an objection if it is not what was told before.
    pub(crate) fn acknowledge(&mut self, batch: usize, base_offset: i64) -> Result<(), String> {
        let batch = &mut self.batches[batch];
        let told = Fate::Acknowledged(base_offset);
        match batch.fate {
            Fate::Unsure => batch.fate = told,
            fate if fate == told => {}
            fate => {
                let Batch { place, producer, .. } = batch;
                return Err(format!("{place:?}: producer {producer} was told {told:?}, {fate:?}"));
            }
        }
        Ok(())
    }

    /// Takes note that a batch was not done and never will be.
    pub(crate) fn refuse(&mut self, batch: usize) {
        self.batches[batch].fate = Fate::Refused;
    }

    /// Takes note of a record that a reader saw.
    pub(crate) fn saw(&mut self, place: &Place, offset: i64, value: &str) -> Result<(), String> {
        let seen = self.seen.entry(place.clone()).or_default();
        match seen.insert(offset, value.to_owned()) {
            Some(before) if before != value => {
                Err(format!("{place:?}: {before} was seen at {offset}, now {value}"))
            }
            _ => Ok(()),
        }
    }

    /// Takes note of what a group has read, in order, between the offset that it had committed and
    /// the one that it has.
    pub(crate) fn consumed(
        &mut self,
        place: &Place,
        (from, upto): (i64, i64),
        records: Vec<Consumed>,
    ) -> Result<(), String> {
        let (end, read) = self.consumed.entry(place.clone()).or_default();
        if from != *end {
            return Err(format!("{place:?}: the group reads from {from}, it was at {end}"));
        }
        *end = upto;
        read.extend(records);
        Ok(())
    }

    /// Takes note that records are to be deleted up to an offset.
    pub(crate) fn deleting(&mut self, place: &Place, upto: i64) {
        let (_, perhaps) = self.deleted.entry(place.clone()).or_default();
        *perhaps = upto.max(*perhaps);
    }

    /// Takes note that they are.
    pub(crate) fn deleted(&mut self, place: &Place, upto: i64) {
        self.deleting(place, upto);
        let (surely, _) = self.deleted.entry(place.clone()).or_default();
        *surely = upto.max(*surely);
    }

    /// This ledger as of an earlier moment, but with all that was sent since: it may be there, and
    /// nobody was told of it.
    pub(crate) fn told_before(&self, before: &Self) -> Self {
        let mut told = Self { consumed: before.consumed.clone(), ..self.clone() };
        told.seen = before.seen.clone();
        for (number, batch) in told.batches.iter_mut().enumerate() {
            let fate = before.batches.get(number).map_or(Fate::Unsure, |batch| batch.fate);
            batch.fate = match (fate, batch.fate) {
                (Fate::Unsure, Fate::Acknowledged(base)) => Fate::Later(base),
                _ => fate,
            };
        }
        told
    }

    /// What was unsure is known after a check; what is not there will not come any more, unless it
    /// is `sent_again`.
    pub(crate) fn settle(&mut self, verdict: &Verdict, sent_again: &BTreeSet<usize>) {
        for (number, batch) in self.batches.iter_mut().enumerate() {
            if batch.fate == Fate::Unsure {
                match verdict.applied.get(&number) {
                    Some(base) => batch.fate = Fate::Acknowledged(*base),
                    None if sent_again.contains(&number) => {}
                    None => batch.fate = Fate::Refused,
                }
            }
        }
        for (surely, perhaps) in self.deleted.values_mut() {
            *perhaps = *surely;
        }
    }

    /// Holds the ledger against what is found.
    pub(crate) fn check(&self, found: &Found) -> Verdict {
        let mut verdict = Verdict::default();
        for (place, partition) in found {
            if let Some(policy) = self.policies.get(&place.0) {
                self.check_found(place, *policy, partition, &mut verdict);
            }
        }
        let last_of_keys = self.last_of_keys(found, &verdict);
        for number in 0..self.batches.len() {
            self.check_batch(number, found, &last_of_keys, &mut verdict);
        }
        self.check_keys(found, &last_of_keys, &mut verdict);
        for (place, seen) in &self.seen {
            self.check_seen(place, seen, found.get(place), &mut verdict);
        }
        for (place, (upto, read)) in &self.consumed {
            if let Some(partition) = found.get(place) {
                check_consumed(place, *upto, read, partition, &mut verdict);
            }
        }
        verdict
    }

    /// Everything that is there must have been sent there, once, in order, without a gap.
    fn check_found(
        &self,
        place: &Place,
        policy: Policy,
        partition: &FoundPartition,
        verdict: &mut Verdict,
    ) {
        let FoundPartition { start, end, records, unreadable } = partition;
        let mut next = *start;
        let mut last: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
        for record in records {
            let offset = record.offset;
            let jumps =
                policy == Policy::Compacted || unreadable.iter().any(|(_, end)| *end > next);
            if offset < next || offset > next && !jumps {
                verdict.object(|v| &mut v.lost, format!("{place:?}: {offset} follows {next}"));
            }
            next = offset + 1;
            verdict.found += 1;
            let Some(value) = &record.value else { continue };
            let Some(&(number, index)) = self.by_value.get(value) else {
                let text = format!("{place:?} {offset}: nobody sent {value}");
                verdict.object(|v| &mut v.duplicated, text);
                continue;
            };
            let batch = &self.batches[number];
            let base = offset - index as i64;
            let expected = match batch.fate {
                Fate::Acknowledged(expected) | Fate::Later(expected) => Some(expected),
                Fate::Unsure => Some(*verdict.applied.entry(number).or_insert(base)),
                Fate::Refused => None,
            };
            if batch.place != *place
                || expected != Some(base)
                || record.key != batch.records[index].key
            {
                let text = format!(
                    "{place:?} {offset}: {value} belongs to {:?} {expected:?}",
                    batch.place
                );
                verdict.object(|v| &mut v.duplicated, text);
            } else if let Some(before) = last.insert(batch.producer, (number, index))
                && before >= (number, index)
            {
                let text = format!("{place:?} {offset}: {value} comes too late");
                verdict.object(|v| &mut v.misordered, text);
            }
        }
        let read_to = unreadable.iter().map(|(_, end)| *end).max().unwrap_or(0).max(next);
        if read_to != *end && !(policy == Policy::Compacted && read_to < *end) {
            let text = format!("{place:?}: it ends at {end}, its records at {next}");
            verdict.object(|v| &mut v.lost, text);
        }
        let (surely, perhaps) = self.deleted.get(place).copied().unwrap_or_default();
        let wrong = *start < surely || policy != Policy::Retained && *start > perhaps;
        if wrong {
            let text = format!("{place:?} starts at {start}, deleted up to {surely}..{perhaps}");
            verdict.object(|v| &mut v.lost, text);
        }
    }

    /// A batch is there at its offset with all its records, but for those that its topic may have
    /// dropped; or not at all, if nobody was told that it is.
    fn check_batch(
        &self,
        number: usize,
        found: &Found,
        last_of_keys: &LastOfKeys<'_>,
        verdict: &mut Verdict,
    ) {
        let batch = &self.batches[number];
        let acknowledged = matches!(batch.fate, Fate::Acknowledged(_));
        let Some(base) = self.base(number, found, verdict) else { return };
        let Some(policy) = self.policies.get(&batch.place.0) else { return };
        let kind: fn(&mut Verdict) -> &mut u64 =
            if acknowledged { |v| &mut v.lost } else { |v| &mut v.half_applied };
        let Some(partition) = found.get(&batch.place) else {
            verdict.object(kind, format!("{:?} is not there", batch.place));
            return;
        };
        for (offset, record) in (base..).zip(&batch.records) {
            verdict.acknowledged += u64::from(acknowledged);
            if offset < partition.start || partition.is_unreadable(offset) {
                continue;
            }
            let same =
                |found: &&FoundRecord| found.value == record.value && found.key == record.key;
            let is_there = partition.at(offset).filter(same).is_some();
            let may_be_gone = || {
                let last = last_of_keys.get(&(&batch.place, record.key.as_deref()));
                // A later record has its key; or it is a tombstone whose time was over.
                last.is_some_and(|last| offset < *last) || record.value.is_none()
            };
            let is_gone = *policy == Policy::Compacted && may_be_gone();
            if !is_there && !is_gone {
                let text = format!("{:?} {offset}: {record:?} is not there", batch.place);
                verdict.object(kind, text);
            }
        }
    }

    /// The offset of a batch's first record, if it is known that it was written.
    fn base(&self, number: usize, found: &Found, verdict: &Verdict) -> Option<i64> {
        let batch = &self.batches[number];
        match batch.fate {
            Fate::Acknowledged(base) => Some(base),
            Fate::Later(base) => {
                found.get(&batch.place).is_some_and(|found| base < found.end).then_some(base)
            }
            Fate::Unsure => verdict.applied.get(&number).copied(),
            Fate::Refused => None,
        }
    }

    /// The last offset of each key in compacted topics, as far as it is known that it was written.
    fn last_of_keys(&self, found: &Found, verdict: &Verdict) -> LastOfKeys<'_> {
        let mut last = LastOfKeys::new();
        for (number, batch) in self.batches.iter().enumerate() {
            let Some(base) = self.base(number, found, verdict) else { continue };
            if self.policies.get(&batch.place.0) == Some(&Policy::Compacted) {
                for (offset, record) in (base..).zip(&batch.records) {
                    let last = last.entry((&batch.place, record.key.as_deref())).or_default();
                    *last = offset.max(*last);
                }
            }
        }
        last
    }

    /// What a later record has taken the place of must not be what is left of its key.
    fn check_keys(&self, found: &Found, last_of_keys: &LastOfKeys<'_>, verdict: &mut Verdict) {
        for (place, partition) in found {
            if self.policies.get(&place.0) != Some(&Policy::Compacted) {
                continue;
            }
            let keys: BTreeMap<&str, i64> = partition
                .records
                .iter()
                .filter_map(|record| Some((record.key.as_deref()?, record.offset)))
                .collect();
            for (key, offset) in keys {
                let last = last_of_keys.get(&(place, Some(key))).copied().unwrap_or(-1);
                if offset < last && !partition.is_unreadable(last) {
                    let text = format!("{place:?}: of {key} {offset} is left, {last} was written");
                    verdict.object(|v| &mut v.lost, text);
                }
            }
        }
    }

    /// What a reader saw is there, unless it may have been dropped since.
    fn check_seen(
        &self,
        place: &Place,
        seen: &BTreeMap<i64, String>,
        partition: Option<&FoundPartition>,
        verdict: &mut Verdict,
    ) {
        let Some(partition) = partition else { return };
        if self.policies.get(&place.0) == Some(&Policy::Compacted) {
            return;
        }
        for (offset, value) in seen.range(partition.start..) {
            let found = partition.at(*offset).and_then(|record| record.value.as_ref());
            if partition.is_unreadable(*offset) {
                continue;
            }
            if found != Some(value) {
                let text = format!("{place:?} {offset}: {value} was seen, {found:?} is there");
                verdict.object(|v| &mut v.lost, text);
            }
        }
    }

    /// Holds what a pipeline wrote against its inputs before its checkpoint in a source partition:
    /// `places` says which topics get a record of such a value, in order. Outputs have no key, so
    /// they are in the partition of their source's number.
    pub(crate) fn check_outputs(
        &self,
        source: &Place,
        checkpoint: i64,
        places: impl Fn(&str) -> Vec<&'static str>,
        found: &Found,
        verdict: &mut Verdict,
    ) {
        let mut expected: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let Some(inputs) = found.get(source) else { return };
        for input in inputs.records.iter().take_while(|record| record.offset < checkpoint) {
            let Some(value) = input.value.as_deref() else { continue };
            places(value).into_iter().for_each(|to| expected.entry(to).or_default().push(value));
        }
        let topics: BTreeSet<&str> = found.keys().map(|(topic, _)| topic.as_str()).collect();
        let outputs = topics.into_iter().filter(|topic| {
            !self.policies.contains_key(*topic)
                && found.contains_key(&((*topic).to_owned(), source.1))
        });
        for topic in outputs {
            let partition = &found[&(topic.to_owned(), source.1)];
            let written: Vec<&str> =
                partition.records.iter().filter_map(|record| record.value.as_deref()).collect();
            verdict.found += written.len() as u64;
            let expected = expected.remove(topic).unwrap_or_default();
            compare(topic, source, &written, &expected, verdict);
        }
        for (topic, expected) in expected {
            let text = format!("{source:?}: {} records of {topic} are missing", expected.len());
            verdict.object(|v| &mut v.lost, text);
        }
    }
}

/// Within its committed position a group has read every record once, in order. For topics that keep
/// everything.
fn check_consumed(
    place: &Place,
    upto: i64,
    read: &[Consumed],
    partition: &FoundPartition,
    verdict: &mut Verdict,
) {
    let there = partition.records.iter().take_while(|record| record.offset < upto);
    let mut next = there.map(|record| (record.offset, &record.value)).peekable();
    for (offset, value) in read {
        while let Some((skipped, _)) = next.next_if(|(there, _)| there < offset) {
            let text = format!("{place:?} {skipped}: the group has not read it");
            verdict.object(|v| &mut v.lost, text);
        }
        if next.next_if(|(there, found)| there == offset && *found == value).is_none() {
            let text = format!("{place:?} {offset}: the group has read {value:?}, or once more");
            verdict.object(|v| &mut v.duplicated, text);
        }
    }
    if let Some((skipped, _)) = next.next() {
        let text = format!("{place:?} {skipped} and on: the group has not read it");
        verdict.object(|v| &mut v.lost, text);
    }
}

/// Two sequences that must be the same; says how they differ.
fn compare(
    topic: &str,
    source: &Place,
    written: &[&str],
    expected: &[&str],
    verdict: &mut Verdict,
) {
    if written == expected {
        return;
    }
    let count = |values: &[&str]| {
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        values.iter().for_each(|value| *counts.entry((*value).to_owned()).or_default() += 1);
        counts
    };
    let (mut surplus, wanted) = (count(written), count(expected));
    wanted.iter().for_each(|(value, n)| *surplus.entry(value.clone()).or_default() -= n);
    let mut parts = false;
    for (value, count) in surplus.into_iter().filter(|(_, count)| *count != 0) {
        parts = true;
        let text = format!("{topic} of {source:?}: {value} is there {count:+} times");
        let kind: fn(&mut Verdict) -> &mut u64 = match count {
            ..0 => |v| &mut v.lost,
            // Nothing of it should be there: its checkpoint is not.
            _ if !wanted.contains_key(&value) => |v| &mut v.half_applied,
            _ => |v| &mut v.duplicated,
        };
        verdict.object(kind, text);
    }
    if !parts {
        let at = written.iter().zip(expected).position(|(a, b)| a != b);
        let text = format!("{topic} of {source:?}: out of order at its record {at:?}");
        verdict.object(|v| &mut v.misordered, text);
    }
}
