//! What is found in a broker, held against what its clients were told.

use std::collections::BTreeMap;

use super::ledger::{Found, FoundPartition, FoundRecord, Verdict};
use super::run::Told;
use crate::broker::{Broker, Committer, Files, ReadError, Topic};
use crate::pipeline::Stepped;
use crate::record::Record;
use crate::storage::MemoryFiles;
use crate::types::{GroupId, OffsetOwner, PipelineName, TopicPartition};

/// Bytes that are read at a time.
const READ_BYTES: usize = 1 << 20;

/// Everything in these topics.
pub(super) fn find(broker: &Broker, topics: &[&str]) -> Result<Found, String> {
    let mut found = Found::new();
    for name in topics {
        let Some(topic) = broker.topic(name) else { continue };
        for index in 0..topic.partitions() {
            let partition = read(broker, &topic, index)?;
            found.insert(((*name).to_owned(), index), partition);
        }
    }
    Ok(found)
}

fn read(broker: &Broker, topic: &Topic, index: i32) -> Result<FoundPartition, String> {
    let progress = topic.partition(index).ok_or("a partition is not there")?;
    let (start, end) = (progress.log_start_offset(), progress.high_watermark());
    let place = TopicPartition { topic: topic.id(), partition: index };
    let mut found = FoundPartition { start, end, ..FoundPartition::default() };
    let mut next = start;
    while next < end {
        let read = match broker.read_blocking(place, next, READ_BYTES) {
            Ok(read) => read,
            Err(ReadError::Corrupt(reason)) => {
                let places = broker.counters().unreadable_places();
                let known = places.iter().find(|place| {
                    place.topic == *topic.name()
                        && place.partition == index
                        // It may begin before a start in the middle of a batch.
                        && place.end_offset > next
                });
                let known = known.ok_or(format!("unreadable, and not counted: {reason}"))?;
                let behind = known.end_offset.min(end);
                found.unreadable.push((next, behind));
                next = behind;
                continue;
            }
            Err(error) => return Err(format!("{} {index} from {next}: {error}", topic.name())),
        };
        let records = read.records(next).map_err(|error| error.to_string())?;
        found.records.extend(records.into_iter().map(record));
        if read.batches.is_empty() {
            // Compacted away up to the end.
            break;
        }
        next = read.next_offset(next).map_err(|error| error.to_string())?;
    }
    Ok(found)
}

pub(super) fn record(record: Record) -> FoundRecord {
    let text = |bytes: bytes::Bytes| String::from_utf8_lossy(&bytes).into_owned();
    FoundRecord { offset: record.offset, key: record.key.map(text), value: record.value.map(text) }
}

/// Holds a broker that was opened just now against everything that clients were told.
pub(super) fn check(
    told: &Told,
    broker: &Broker,
    committer: &mut Committer,
    files: &MemoryFiles,
) -> Verdict {
    let found = match find(broker, &Told::topics()) {
        Ok(found) => found,
        Err(error) => return Verdict::unreadable(error),
    };
    let mut verdict = told.ledger.check(&found);
    for partition in 0..2 {
        let place = ("in".to_owned(), partition);
        let checkpoint = checkpoint(broker, partition);
        let places = |value: &str| Stepped::places(value).to_vec();
        told.ledger.check_outputs(&place, checkpoint, places, &found, &mut verdict);
        let counted = Stepped::counted(broker, "in", partition);
        if counted != u64::try_from(checkpoint).ok() {
            let text = format!("checkpoint {checkpoint} of {partition}, counted {counted:?}");
            verdict.objections.push(text);
            verdict.half_applied += 1;
        }
    }
    let mut wrong = check_group(told, broker);
    wrong.extend(check_admin(told, broker, committer));
    wrong.extend(check_files(committer, files));
    verdict.lost += wrong.len() as u64;
    verdict.objections.extend(wrong);
    verdict
}

pub(super) fn checkpoint(broker: &Broker, partition: i32) -> i64 {
    let Ok(name) = PipelineName::new(Stepped::NAME) else { return 0 };
    offset(broker, &OffsetOwner::Pipeline(name), partition).unwrap_or(0)
}

fn offset(broker: &Broker, owner: &OffsetOwner, partition: i32) -> Option<i64> {
    let topic = broker.topic("in")?.id();
    let committed = broker.committed(owner);
    committed.get(&TopicPartition { topic, partition }).map(|committed| committed.offset)
}

pub(super) fn group_offsets(broker: &Broker) -> BTreeMap<i32, i64> {
    let Ok(group) = GroupId::new("readers") else { return BTreeMap::new() };
    let owner = OffsetOwner::Group(group);
    (0..2).filter_map(|p| Some((p, offset(broker, &owner, p)?))).collect()
}

/// A committed offset is the last that was acknowledged or one that was under way.
fn check_group(told: &Told, broker: &Broker) -> Vec<String> {
    let found = group_offsets(broker);
    let mut wrong = Vec::new();
    for partition in 0..2 {
        let allowed = told.committed.get(&partition).cloned().unwrap_or_default();
        let found = found.get(&partition).copied();
        if !(allowed.contains(&found) || found.is_none() && allowed.is_empty()) {
            wrong.push(format!("group offset of {partition}: {found:?}, allowed {allowed:?}"));
        }
    }
    wrong
}

fn check_admin(told: &Told, broker: &Broker, committer: &mut Committer) -> Vec<String> {
    let mut wrong = Vec::new();
    let temp = broker.topic("temp").map(|topic| topic.id());
    if !(told.temp.contains(&temp) || temp.is_some() && told.temp_is_new) {
        wrong.push(format!("topic temp is {temp:?}, allowed {:?}", told.temp));
    }
    let deployments = committer.admin(|store| {
        let reader = store.reader();
        let mut versions = Vec::new();
        for (_, bytes) in reader.deployments()? {
            let version = bytes.first().copied().unwrap_or(0);
            let component = reader.component(&[version; 32])?;
            versions.push((version, component.is_some_and(|c| c[..] == [version; 100])));
        }
        Ok(versions)
    });
    let version = match deployments.as_deref() {
        Ok([]) => Some(0),
        Ok([(version, true)]) => Some(*version),
        _ => None,
    };
    if !version.is_some_and(|version| told.deployed.contains(&version)) {
        wrong.push(format!("deployments {deployments:?}, allowed {:?}", told.deployed));
    }
    wrong
}

/// No file is missing and none is left over.
fn check_files(committer: &mut Committer, files: &MemoryFiles) -> Vec<String> {
    let segments = committer.admin(|store| Ok(store.reader().segments()));
    let segments = segments.unwrap_or_default();
    let names: Vec<String> = segments.iter().map(|s| format!("{:010}.redb", s.segment)).collect();
    let mut present = files.list("segments").unwrap_or_default();
    present.sort();
    if present == names { Vec::new() } else { vec![format!("files {present:?}, not {names:?}")] }
}
