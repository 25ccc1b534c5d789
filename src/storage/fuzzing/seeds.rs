//! One good example of everything that is read back from the disk.

use std::time::Duration;

use bytes::Bytes;

use super::place;
use crate::record::{BatchBuilder, Compression};
use crate::storage::files::{Files, OpenMode};
use crate::storage::journal::{Effects, Extent, Gaps, Moved};
use crate::storage::memory::MemoryFiles;
use crate::storage::meta::rows::encode;
use crate::storage::redo::{self, RedoLog};
use crate::storage::seal;
use crate::storage::segment::{LoggedChunk, LoggedGroup};
use crate::storage::tables::{
    CommittedOffset, GroupRow, MemberRow, OffsetKey, ProducedBatch, ProducerKey, ProducerState,
    StateKey, TopicRow,
};
use crate::types::{GroupId, OffsetOwner, PipelineName, TopicName};

/// A row of each table.
pub(crate) fn rows() -> Vec<Vec<u8>> {
    let (entry, batch) = (effects().encode().unwrap(), batch());
    let topic = TopicRow {
        name: TopicName::new("t").unwrap(),
        id: place().topic,
        partitions: 3,
        config: [("cleanup.policy".to_owned(), "compact".to_owned())].into(),
        created_ms: 1,
    };
    let sealed = [&batch[..], &seal::seals(place(), (0, 1), &batch)].concat();
    let rows = [
        (2, entry),
        (3, encode("a topic", &topic).unwrap()),
        (4, encode("an offset", &committed()).unwrap()),
        (5, encode("a group", &group()).unwrap()),
        (6, encode("a producer", &producer()).unwrap()),
        (7, encode("settings", &topic.config).unwrap()),
        (8, batch.to_vec()),
        (9, sealed),
        (10, b"0000000001.redb.new".to_vec()),
    ];
    rows.into_iter().map(|(table, value)| [vec![table], value].concat()).collect()
}

/// Redo files.
pub(crate) fn redo_files() -> Vec<Vec<u8>> {
    let files = MemoryFiles::new();
    let log = RedoLog::open(&files, 0, true).unwrap();
    for sequence in 1..3 {
        let (partition, bytes) = (place(), batch());
        let chunk = LoggedChunk { partition, first_offset: 0, end_offset: 1, bytes };
        let entry = effects().encode().unwrap().into();
        log.append(&LoggedGroup { sequence, entry, chunks: vec![chunk] }).unwrap();
    }
    let mut file = vec![0; 2 * 4096];
    files.open(redo::FILE, OpenMode::Existing).unwrap().read(0, &mut file).unwrap();
    [0, 1].map(|how| [&[how], &file[..]].concat()).to_vec()
}

fn batch() -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(5, Some(b"k"), Some(b"v"), &[]).unwrap();
    builder.build().unwrap().as_bytes().clone()
}

fn committed() -> CommittedOffset {
    let metadata = "m".to_owned();
    CommittedOffset { offset: 9, leader_epoch: 0, metadata, commit_time_ms: 1 }
}

fn producer() -> ProducerState {
    let produced =
        ProducedBatch { base_sequence: 0, last_sequence: 4, base_offset: 9, timestamp_ms: 1 };
    ProducerState { epoch: 1, last_append_ms: 3, batches: vec![produced] }
}

fn group() -> GroupRow {
    let member = MemberRow {
        id: "member".to_owned(),
        instance_id: Some("i".to_owned()),
        client_id: "c".to_owned(),
        client_host: "/h".to_owned(),
        session_timeout: Duration::from_secs(9),
        rebalance_timeout: Duration::from_millis(9),
        protocols: vec![("range".to_owned(), Bytes::from_static(b"meta"))],
        assignment: Bytes::from_static(b"assigned"),
    };
    GroupRow {
        protocol_type: "consumer".to_owned(),
        protocol_name: "range".to_owned(),
        generation: 3,
        leader: Some("member".to_owned()),
        members: vec![member],
        empty_since_ms: None,
    }
}

/// Some of everything.
fn effects() -> Effects {
    let partition = place();
    let bytes = batch().len() as u64;
    let extent = Extent { partition, first_offset: 0, end_offset: 1, bytes, max_timestamp: 5 };
    let owner = OffsetOwner::Group(GroupId::new("g").unwrap());
    let state = StateKey {
        pipeline: PipelineName::new("p").unwrap(),
        step: 0,
        source: partition,
        key: Bytes::from_static(b"k"),
    };
    let gaps = Gaps::Records;
    Effects {
        extents: vec![extent],
        producers: vec![(ProducerKey { partition, producer_id: 5 }, Some(producer()))],
        offsets: vec![(OffsetKey { owner, partition }, Some(committed()))],
        state: vec![(state, Some(Bytes::from_static(b"v")))],
        starts: vec![(partition, 7)],
        compacted: vec![(partition, 8)],
        moved: vec![Moved { extent, disk_bytes: 4096, gaps, horizon_ms: 7 }],
        groups: vec![(GroupId::new("g").unwrap(), Some(group()))],
    }
}
