//! A consumer group of two members over the topic "in". What a member reads counts once its commit
//! is there: within committed positions the group sees every record once. A commit without an
//! answer is there or not, which whoever has the partition next finds out.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use millstream::kafka::messages::{
    ErrorCode, HeartbeatRequest, JoinGroupRequest, JoinGroupRequestProtocol, LeaveGroupRequest,
    MemberIdentity, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetFetchRequest, OffsetFetchRequestGroup, Str, SyncGroupRequest, SyncGroupRequestAssignment,
};
use millstream::record::split_batches;

use super::{Alarm, PARTITIONS, World, found};
use crate::client::Client;
use crate::ledger::FoundRecord;

const GROUP: &str = "readers";
/// What a consumer that reads "in" sends: version, topics, user data.
const SUBSCRIPTION: &[u8] = b"\0\0\0\0\0\x01\0\x02in\xff\xff\xff\xff";
/// A member leaves after so many rounds, and comes back.
const ROUNDS: u32 = 60;

/// Records by offset, as a reader sees them.
type Read = Vec<(i64, Option<String>)>;

/// What the group has committed.
#[derive(Default)]
pub(super) struct Group {
    upto: BTreeMap<i32, i64>,
    /// Commits without an answer, by partition and member: from and up to where, and what was read
    /// for it.
    attempts: BTreeMap<(i32, usize), (i64, i64, Read)>,
    read: u64,
}

impl Group {
    pub(super) fn upto(&self, partition: i32) -> i64 {
        self.upto.get(&partition).copied().unwrap_or(0)
    }

    /// Records that were read within committed positions.
    pub(super) fn read(&self) -> u64 {
        self.read
    }
}

impl World {
    /// A commit is about to be sent.
    fn attempt(&self, (partition, member): (i32, usize), (from, upto): (i64, i64), read: Read) {
        self.told().group.attempts.insert((partition, member), (from, upto, read));
    }

    /// A commit was refused, and is not there.
    fn refused(&self, partition: i32, member: usize) {
        self.told().group.attempts.remove(&(partition, member));
    }

    /// The group's committed offset of a partition is known to be this.
    fn committed(&self, partition: i32, offset: i64) {
        let mut told = self.told();
        let from = told.group.upto(partition);
        // Less: another member has gone on since this one asked.
        if offset <= from {
            return;
        }
        let of_it = |((at, _), (begin, upto, _)): &(&(i32, usize), &(i64, i64, Read))| {
            (*at, *begin, *upto) == (partition, from, offset)
        };
        let attempt = told.group.attempts.iter().find(of_it).map(|(key, _)| *key);
        let attempt = attempt.and_then(|key| told.group.attempts.remove(&key));
        let Some((_, _, read)) = attempt else {
            panic!("partition {partition}: {offset} is committed, it was {from}");
        };
        told.group.read += read.len() as u64;
        told.group.upto.insert(partition, offset);
        let place = ("in".to_owned(), partition);
        told.ledger.consumed(&place, (from, offset), read).unwrap();
    }
}

/// A member.
struct Member {
    number: usize,
    /// Empty as long as the group has given it none.
    id: Str,
    /// Its generation, once it has joined.
    generation: Option<i32>,
    positions: BTreeMap<i32, i64>,
}

/// Why a round ends.
enum End {
    Connection,
    /// The group is another one now, or does not know the member.
    Membership(ErrorCode),
}

impl End {
    /// Good, or why not.
    fn check(code: ErrorCode) -> Result<(), Self> {
        if code == ErrorCode::None { Ok(()) } else { Err(Self::Membership(code)) }
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Connection
    }
}

/// Reads and commits until told to stop.
pub(super) fn run(world: &World, number: usize) {
    let _alarm = Alarm(world);
    let mut member =
        Member { number, id: Str::from(""), generation: None, positions: BTreeMap::new() };
    while !world.stop_reading.load(Ordering::Relaxed) {
        let Ok(mut client) = world.connect() else {
            std::thread::sleep(std::time::Duration::from_millis(1));
            continue;
        };
        if let Err(End::Membership(code)) = serve(world, &mut client, &mut member) {
            member.generation = None;
            if code == ErrorCode::UnknownMemberId {
                member.id = Str::from("");
            }
        }
    }
}

/// Joins if need be, then reads and commits as long as connection and membership last. After a
/// kill the member goes on as what it was.
fn serve(world: &World, client: &mut Client, member: &mut Member) -> Result<(), End> {
    let generation = match member.generation {
        Some(generation) => generation,
        None => join(client, member)?,
    };
    for (partition, offset) in committed(client)? {
        if member.positions.contains_key(&partition) {
            world.committed(partition, offset);
            member.positions.insert(partition, offset);
        }
    }
    let mut round = 0;
    while !world.stop_reading.load(Ordering::Relaxed) {
        for partition in member.positions.keys().copied().collect::<Vec<_>>() {
            read_on(world, client, (member, generation), partition)?;
        }
        let heartbeat = HeartbeatRequest {
            group_id: Str::from(GROUP),
            generation_id: generation,
            member_id: member.id.clone(),
            ..Default::default()
        };
        End::check(client.call(&heartbeat, 4)?.error_code)?;
        round += 1;
        if member.number == 1 && round == ROUNDS && !world.stop.load(Ordering::Relaxed) {
            let id = member.id.clone();
            let members = vec![MemberIdentity { member_id: id, ..Default::default() }];
            let leave =
                LeaveGroupRequest { group_id: Str::from(GROUP), members, ..Default::default() };
            client.call(&leave, 5)?;
            return Err(End::Membership(ErrorCode::UnknownMemberId));
        }
    }
    Ok(())
}

fn read_on(
    world: &World,
    client: &mut Client,
    (member, generation): (&mut Member, i32),
    partition: i32,
) -> Result<(), End> {
    let from = member.positions[&partition];
    let mut response = client.fetch("in", partition, from, 20)?;
    let data = response.responses.remove(0).partitions.remove(0);
    assert_eq!(data.error_code, ErrorCode::None, "{partition} from {from}");
    let mut read = Vec::new();
    for batch in split_batches(data.records.unwrap().into_bytes()) {
        for record in batch.unwrap().records().unwrap().map(Result::unwrap) {
            if record.offset >= from {
                let FoundRecord { offset, value, .. } = found(record);
                read.push((offset, value));
            }
        }
    }
    let Some((last, _)) = read.last() else { return Ok(()) };
    let upto = last + 1;
    world.attempt((partition, member.number), (from, upto), read);
    let commit = OffsetCommitRequest {
        group_id: Str::from(GROUP),
        generation_id_or_member_epoch: generation,
        member_id: member.id.clone(),
        topics: vec![OffsetCommitRequestTopic {
            name: Str::from("in"),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: upto,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    match client.call(&commit, 9)?.topics[0].partitions[0].error_code {
        ErrorCode::None => {
            world.committed(partition, upto);
            member.positions.insert(partition, upto);
            Ok(())
        }
        code => {
            world.refused(partition, member.number);
            Err(End::Membership(code))
        }
    }
}

/// The group's committed offsets; 0 where there is none.
pub(super) fn committed(client: &mut Client) -> io::Result<BTreeMap<i32, i64>> {
    let group = OffsetFetchRequestGroup { group_id: Str::from(GROUP), ..Default::default() };
    let request =
        OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() };
    let response = client.call(&request, 9)?;
    assert_eq!(response.groups[0].error_code, ErrorCode::None);
    let mut offsets: BTreeMap<i32, i64> = (0..PARTITIONS).map(|index| (index, 0)).collect();
    for partition in response.groups[0].topics.iter().flat_map(|topic| &topic.partitions) {
        offsets.insert(partition.partition_index, partition.committed_offset.max(0));
    }
    Ok(offsets)
}

/// Joins, and returns the generation. The leader gives the partitions out in turn.
fn join(client: &mut Client, member: &mut Member) -> Result<i32, End> {
    let protocol = JoinGroupRequestProtocol {
        name: Str::from("range"),
        metadata: Bytes::from_static(SUBSCRIPTION),
    };
    let request = JoinGroupRequest {
        group_id: Str::from(GROUP),
        session_timeout_ms: 6_000,
        rebalance_timeout_ms: 6_000,
        member_id: member.id.clone(),
        protocol_type: Str::from("consumer"),
        protocols: vec![protocol],
        ..Default::default()
    };
    let joined = client.call(&request, 3)?;
    End::check(joined.error_code)?;
    member.id = joined.member_id.clone();
    let assign = |(at, id): (usize, &Str)| {
        let mine = (0..PARTITIONS).filter(|p| *p as usize % joined.members.len() == at);
        let assignment: Vec<u8> = mine.map(|partition| partition as u8).collect();
        SyncGroupRequestAssignment { member_id: id.clone(), assignment: assignment.into() }
    };
    let ids = joined.members.iter().map(|member| &member.member_id);
    let sync = SyncGroupRequest {
        group_id: Str::from(GROUP),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: ids.enumerate().map(assign).collect(),
        ..Default::default()
    };
    let synced = client.call(&sync, 5)?;
    End::check(synced.error_code)?;
    member.positions = synced.assignment.iter().map(|at| (i32::from(*at), 0)).collect();
    member.generation = Some(joined.generation_id);
    Ok(joined.generation_id)
}
