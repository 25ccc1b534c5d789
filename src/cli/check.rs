//! `millstream check`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::output::{Out, Side, number};
use crate::broker::{Checked, CheckedPartition, Repaired, check_folder, repair_folder};

/// Look over a data folder or a backup that no broker has open: every file, every record.
///
/// Nothing is changed without --repair. The exit code is 1 if anything is not as it was written.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The folder.
    data: PathBuf,

    /// Put what can be read into the place of what is damaged, and say what was lost. The damaged
    /// files are kept under `damaged/`.
    #[arg(long)]
    repair: bool,
}

/// The folder is damaged; the report has told.
#[derive(Debug, thiserror::Error)]
#[error("the folder is damaged")]
struct Damaged;

#[derive(Serialize)]
struct Report {
    whole: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    damaged: Vec<File>,
    foreign: Vec<String>,
    replaced: Vec<String>,
    lost: Vec<String>,
    partitions: Vec<Partition>,
    offsets: u64,
}

#[derive(Serialize)]
struct File {
    file: String,
    reason: String,
}

#[derive(Serialize)]
struct Partition {
    topic: String,
    partition: i32,
    start: i64,
    end: i64,
    records: u64,
    bytes: u64,
    unreadable: Vec<Stretch>,
    missing: Vec<Stretch>,
}

#[derive(Serialize)]
struct Stretch {
    offset: i64,
    end_offset: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

impl Check {
    pub(super) fn run(self, mut out: Out) -> anyhow::Result<()> {
        let mut checked = check_folder(&self.data)?;
        let mut repaired = Repaired::default();
        let was_whole = checked.is_whole();
        if self.repair && !was_whole {
            repaired = repair_folder(&self.data, &checked)?;
            let before = std::mem::replace(&mut checked, check_folder(&self.data)?);
            keep_lost(&mut checked, before);
        }
        let report = report(&checked, repaired);
        if out.is_json() {
            out.json(&report)?;
        } else {
            print(&mut out, &report)?;
        }
        out.flush()?;
        let fine = was_whole || self.repair && checked.failure.is_none();
        if fine { Ok(()) } else { Err(Damaged.into()) }
    }
}

/// What was unreadable before a repair is lost after it.
fn keep_lost(checked: &mut Checked, before: Checked) {
    for old in before.partitions {
        let same =
            |new: &&mut CheckedPartition| new.topic == old.topic && new.partition == old.partition;
        if let Some(new) = checked.partitions.iter_mut().find(same) {
            let known = |from: i64| new.missing.iter().any(|(a, b)| (*a..*b).contains(&from));
            let lost: Vec<_> = old.unreadable.into_iter().filter(|u| !known(u.0)).collect();
            new.unreadable.extend(lost);
        }
    }
}

fn report(checked: &Checked, repaired: Repaired) -> Report {
    let stretch = |(offset, end_offset, reason): &(i64, i64, String)| Stretch {
        offset: *offset,
        end_offset: *end_offset,
        reason: reason.clone(),
    };
    let missing = |(offset, end_offset): &(i64, i64)| Stretch {
        offset: *offset,
        end_offset: *end_offset,
        reason: String::new(),
    };
    let partition = |p: &CheckedPartition| Partition {
        topic: p.topic.to_string(),
        partition: p.partition,
        start: p.start,
        end: p.end,
        records: p.records,
        bytes: p.bytes,
        unreadable: p.unreadable.iter().map(stretch).collect(),
        missing: p.missing.iter().map(missing).collect(),
    };
    let file =
        |(file, reason): &(String, String)| File { file: file.clone(), reason: reason.clone() };
    Report {
        whole: checked.is_whole(),
        failure: checked.failure.clone(),
        damaged: checked.damaged.iter().map(file).collect(),
        foreign: checked.foreign.clone(),
        replaced: repaired.replaced,
        lost: repaired.lost,
        partitions: checked.partitions.iter().map(partition).collect(),
        offsets: checked.offsets,
    }
}

fn print(out: &mut Out, report: &Report) -> anyhow::Result<()> {
    use Side::{Left, Right};
    let columns = [
        ("partition", Left),
        ("start", Right),
        ("end", Right),
        ("records", Right),
        ("bytes", Right),
        ("lost", Right),
    ];
    let rows: Vec<Vec<String>> = report.partitions.iter().map(row).collect();
    if !rows.is_empty() {
        out.table("", &columns, &rows)?;
    }
    for Partition { topic, partition, unreadable, missing, .. } in &report.partitions {
        for Stretch { offset, end_offset, reason } in unreadable {
            out.line(format!(
                "{topic}/{partition}: offsets {offset} to before {end_offset} cannot be read: \
                 {reason}"
            ))?;
        }
        for Stretch { offset, end_offset, .. } in missing {
            out.line(format!(
                "{topic}/{partition}: offsets {offset} to before {end_offset} are not there"
            ))?;
        }
    }
    for File { file, reason } in &report.damaged {
        out.line(format!("{file} is damaged: {reason}"))?;
    }
    for file in &report.foreign {
        out.line(format!("{file} is not the store's, and left alone"))?;
    }
    for file in &report.replaced {
        out.line(format!("{file} is replaced by what could be read of it"))?;
    }
    for what in &report.lost {
        out.line(format!("lost: {what}"))?;
    }
    if let Some(failure) = &report.failure {
        out.line(format!("a broker does not start with this folder: {failure}"))?;
    }
    if report.whole {
        out.line("everything is as it was written")?;
    }
    Ok(())
}

fn row(at: &Partition) -> Vec<String> {
    let lost: i64 = at.unreadable.iter().chain(&at.missing).map(|s| s.end_offset - s.offset).sum();
    let mut row = vec![format!("{}/{}", at.topic, at.partition)];
    row.extend([at.start, at.end].map(|offset| number(u64::try_from(offset).unwrap_or(0))));
    row.extend([at.records, at.bytes, u64::try_from(lost).unwrap_or(0)].map(number));
    row
}
