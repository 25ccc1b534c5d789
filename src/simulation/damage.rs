//! Damage at rest: what a disk, a copy or a hand may do to the files of a broker that does not
//! run. Whatever it is, nothing wrong is served, nothing panics through, no file is removed, and
//! what is not damaged is read; or the broker does not start, and says which file it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Plan;
use super::check::{check as check_all, find};
use super::ledger::{Found, FoundRecord};
use super::run::{Run, Told};
use crate::storage::{Files, MemoryFiles, OpenMode, check, repair};

const PAGE: usize = 4096;

/// What came of damaged copies.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) copies: u64,
    /// Copies that are served whole, in part, or not at all.
    pub(super) whole: u64,
    pub(super) part: u64,
    pub(super) refused: u64,
    /// Copies that were repaired; those of them of which meta.redb was made anew, and those whose
    /// meta.redb has lost nothing by it.
    pub(super) repairs: u64,
    pub(super) rebuilt: u64,
    pub(super) rebuilt_whole: u64,
    /// Records that were served, and those that were told to be unreadable.
    pub(super) served: u64,
    pub(super) unreadable: u64,
    /// What must not be.
    pub(super) wrong: Vec<String>,
    /// By file and kind of damage: copies, and those of them that were refused.
    pub(super) kinds: BTreeMap<String, (u64, u64)>,
}

/// Makes a store from a seed, and tries so many damaged copies of it.
pub(super) fn try_copies(seed: u64, copies: u64, tally: &mut Tally) {
    let plan = Plan { crashes: 6, images: 1, damaged: 0, bug: None };
    crate::random::seed(Some(seed));
    let mut run = Run::new(seed, plan);
    run.live().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    crate::random::seed(None);
    let whole = run.files.copy();
    let (broker, ..) = run.open(&whole.copy()).unwrap_or_else(|error| panic!("{error}"));
    let written = find(&broker, &Told::topics()).unwrap_or_else(|error| panic!("{error}"));
    for number in 0..copies {
        let copy = whole.copy();
        let kind = damage(&copy, &mut run.random);
        let before = copy.names();
        let context = format!("seed {seed}, copy {number}, {kind}");
        tally.copies += 1;
        let counts = tally.kinds.entry(kind).or_default();
        counts.0 += 1;
        match run.open(&copy) {
            Err(error) => {
                counts.1 += 1;
                tally.refused += 1;
                // Which file, or what of the whole is missing.
                if !error.contains("redb") && !error.contains("redo") && !error.contains("journal")
                {
                    tally.wrong.push(format!("{context}: refused without a name: {error}"));
                }
            }
            Ok((broker, ..)) => match find(&broker, &Told::topics()) {
                Err(error) => tally.wrong.push(format!("{context}: {error}")),
                Ok(found) => compare(&context, &written, &found, tally),
            },
        }
        if number % 4 == 0 {
            try_repair(&context, &run, &copy, &written, tally);
            continue;
        }
        let gone: Vec<_> = before.iter().filter(|name| !copy.names().contains(name)).collect();
        if !gone.is_empty() {
            tally.wrong.push(format!("{context}: {gone:?} are removed"));
        }
    }
}

/// What is put into place is served, and nothing is left that cannot be read; or it is said why
/// nothing can be done.
fn try_repair(context: &str, run: &Run, copy: &MemoryFiles, written: &Found, tally: &mut Tally) {
    let files: Arc<dyn Files> = Arc::new(copy.clone());
    let look = || check(Arc::clone(&files), run.clock.clone());
    let before = copy.operations();
    let checked = match look() {
        Ok(checked) => checked,
        Err(error) => return tally.wrong.push(format!("{context}: not checked: {error}")),
    };
    if copy.operations() != before {
        tally.wrong.push(format!("{context}: the check has written"));
    }
    if checked.is_whole() {
        return;
    }
    tally.repairs += 1;
    let repaired = match repair(&files, &checked) {
        Ok(repaired) => repaired,
        Err(error) => return tally.wrong.push(format!("{context}: not repaired: {error}")),
    };
    let lost = &repaired.lost;
    if repaired.replaced.iter().any(|name| name == "meta.redb") {
        tally.rebuilt += 1;
        tally.rebuilt_whole += u64::from(lost.is_empty());
    }
    match look() {
        Ok(after) if after.failure.is_none() && after.damaged.is_empty() => {
            if let Some(left) = after.partitions.iter().find(|p| !p.unreadable.is_empty()) {
                tally.wrong.push(format!("{context}: after the repair: {left:?}"));
            }
        }
        after => {
            let text = format!("{context}: {checked:?}, after the repair: {after:?}");
            tally.wrong.push(text);
        }
    }
    let found = run.open(copy).and_then(|(broker, ..)| find(&broker, &Told::topics()));
    match found {
        Ok(found) => {
            for (place, partition) in &found {
                let expected = &written[place].records;
                // What compaction had dropped may be what is left of its key; where the log began
                // may be lost with its row.
                let told = lost.iter().any(|lost| lost.contains("partitions"));
                let all = partition.records.iter().filter(|_| place.0 != "table" && !told);
                for record in all {
                    if expected.binary_search_by_key(&record.offset, |r| r.offset).is_err() {
                        let text = format!("{context}: {place:?} has {record:?} since its repair");
                        tally.wrong.push(text);
                    }
                }
            }
        }
        Err(error) => tally.wrong.push(format!("{context}: repaired, but {error}")),
    }
    if repaired.replaced == ["meta.redb"] {
        let told = lost.iter().any(|lost| lost.contains("topic") || lost.contains("journal"));
        if !told {
            no_record_is_lost(context, run, copy, written, tally);
        }
        if lost.is_empty() {
            nothing_is_lost(context, run, copy, tally);
        }
    }
}

/// The segments were whole, so that all records are there.
fn no_record_is_lost(
    context: &str,
    run: &Run,
    copy: &MemoryFiles,
    written: &Found,
    tally: &mut Tally,
) {
    let found = run.open(copy).and_then(|(broker, ..)| find(&broker, &Told::topics()));
    let found = found.unwrap_or_default();
    for (place, expected) in written {
        let records = found.get(place).map_or(&[][..], |found| &found.records[..]);
        if !expected.records.iter().all(|record| records.contains(record)) {
            tally.wrong.push(format!("{context}: records of {place:?} are gone, and nobody says"));
        }
    }
}

/// All is as the clients were told, offsets, checkpoints, topics and deployments too.
fn nothing_is_lost(context: &str, run: &Run, copy: &MemoryFiles, tally: &mut Tally) {
    match run.open(copy) {
        Ok((broker, mut committer, _)) => {
            let verdict = check_all(&run.told, &broker, &mut committer, copy);
            for objection in verdict.objections {
                tally.wrong.push(format!("{context}: nothing is lost, but {objection}"));
            }
        }
        Err(error) => tally.wrong.push(format!("{context}: repaired, but {error}")),
    }
}

/// Damages one file. Returns which and how.
fn damage(files: &MemoryFiles, random: &mut fastrand::Rng) -> String {
    let names = files.names();
    let name = names[random.usize(..names.len())].clone();
    let room = match name.as_str() {
        "meta.redb" | "redo" => name.as_str(),
        _ => "a segment",
    };
    let kind = ["bit flips", "a zeroed page", "swapped pages", "truncated", "a foreign file"]
        [random.usize(..5)];
    if kind == "a foreign file" {
        let foreign = ["segments/notes.txt", "segments/7.redb", "stray", "segments/x.redb.new"]
            [random.usize(..4)];
        if let Ok(file) = files.open(foreign, OpenMode::New) {
            let _ = file.write(0, &vec![random.u8(..); random.usize(..10_000)]);
        }
        return kind.to_owned();
    }
    files.damage(&name, |bytes| {
        let pages = bytes.len() / PAGE;
        let mut page = || random.usize(..pages.max(1)) * PAGE;
        let (one, other) = (page(), page());
        match kind {
            "bit flips" => {
                for _ in 0..random.usize(1..8) {
                    // Where something is: most of a young file is empty.
                    let used: usize = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
                    let at = random.usize(..used);
                    bytes[at] ^= 1 << random.u8(..8);
                }
            }
            "a zeroed page" => bytes[one..one + PAGE].fill(0),
            "swapped pages" => {
                let page = bytes[one..one + PAGE].to_vec();
                bytes.copy_within(other..other + PAGE, one);
                bytes[other..other + PAGE].copy_from_slice(&page);
            }
            _ => bytes.truncate(random.usize(..bytes.len())),
        }
    });
    format!("{kind} in {room}")
}

/// What is found must have been written, where it is; what is not found must be told.
fn compare(context: &str, written: &Found, found: &Found, tally: &mut Tally) {
    let mut unreadable = 0;
    for (place, expected) in written {
        let Some(found) = found.get(place) else {
            tally.wrong.push(format!("{context}: {place:?} is not there"));
            continue;
        };
        if (found.start, found.end) != (expected.start, expected.end) {
            let text = format!("{context}: {place:?} is {}..{}", found.start, found.end);
            tally.wrong.push(text);
        }
        tally.served += found.records.len() as u64;
        let by_offset: BTreeMap<i64, &FoundRecord> =
            found.records.iter().map(|record| (record.offset, record)).collect();
        for record in &found.records {
            let at = expected.records.binary_search_by_key(&record.offset, |r| r.offset);
            if at.ok().map(|at| &expected.records[at]) != Some(record) {
                tally.wrong.push(format!("{context}: {place:?} serves {record:?}"));
            }
        }
        for record in &expected.records {
            let told = found.unreadable.iter().any(|(a, b)| (*a..*b).contains(&record.offset));
            if !by_offset.contains_key(&record.offset) {
                unreadable += 1;
                if !told {
                    let text = format!("{context}: {place:?} {} is missing", record.offset);
                    tally.wrong.push(text);
                }
            }
        }
    }
    tally.unreadable += unreadable;
    if unreadable == 0 { tally.whole += 1 } else { tally.part += 1 }
}
