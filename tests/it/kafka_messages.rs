//! The Kafka messages on the wire: round trips through another implementation, and what rubbish
//! does to the decoder. Bytes of valid messages are made from the declarations and a seed.

use std::fmt::Debug;

use bytes::{Buf, Bytes, BytesMut};
use fastrand::Rng;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use millstream::kafka::messages::{
    self as ours, ApiKey, ErrorCode, Fault, Field, Message, Schema, Segments, Type, encode_request,
};

/// What the other implementation does not know yet.
const SINCE_KAFKA_4_2: [(ApiKey, i16); 4] = [
    (ApiKey::ListOffsets, 11),
    (ApiKey::OffsetCommit, 10),
    (ApiKey::OffsetFetch, 10),
    (ApiKey::DescribeLogDirs, 5),
];

/// More than any frame holds.
const TWO_BILLION: u32 = 2_000_000_000;

/// A message of ours, and the same of the other implementation.
trait Twin: Message + Debug {
    type Theirs: kafka_protocol::protocol::Message + Decodable + Encodable + Debug;
}

macro_rules! twins {
    ($($name:ident,)*) => {
        $(
            impl Twin for ours::$name {
                type Theirs = theirs::$name;
            }
        )*

        /// Calls a function for every message.
        macro_rules! for_each_message {
            ($function:ident) => {
                let mut rng = seeded();
                let calls = [$($function::<ours::$name>,)*];
                assert_eq!(calls.len(), ApiKey::ALL.len() * 2, "every message is tried");
                calls.iter().for_each(|call: &fn(&mut Rng)| call(&mut rng));
            };
        }
    };
}

twins! {
    ProduceRequest, ProduceResponse, FetchRequest, FetchResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, JoinGroupRequest, JoinGroupResponse, HeartbeatRequest,
    HeartbeatResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
    ApiVersionsRequest, ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    InitProducerIdRequest, InitProducerIdResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, DescribeConfigsRequest,
    DescribeConfigsResponse, AlterConfigsRequest, AlterConfigsResponse, DescribeLogDirsRequest,
    DescribeLogDirsResponse, CreatePartitionsRequest, CreatePartitionsResponse,
    ElectLeadersRequest, ElectLeadersResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse, DescribeClusterRequest, DescribeClusterResponse,
    ListConfigResourcesRequest, ListConfigResourcesResponse, DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse, ListGroupsRequest, ListGroupsResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, DeleteGroupsRequest, DeleteGroupsResponse, OffsetDeleteRequest,
    OffsetDeleteResponse, DescribeProducersRequest, DescribeProducersResponse,
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse,
    DescribeQuorumRequest, DescribeQuorumResponse,
}

#[test]
fn messages_round_trip_through_another_implementation() {
    for_each_message!(round_trip);
}

fn round_trip<M: Twin>(rng: &mut Rng) {
    for version in M::API.versions() {
        for _ in 0..20 {
            let name = format!("{} version {version}", M::SCHEMA.name);
            let bytes = Generator::new(rng, version).message::<M>();
            let ours = M::decode(bytes.clone(), version).unwrap();
            let sent = whole(ours.encode(version).unwrap());
            assert_eq!(sent, bytes, "{name}: {ours:?}");
            // They end at Kafka 4.1.
            if version > <M::Theirs as kafka_protocol::protocol::Message>::VERSIONS.max {
                assert!(SINCE_KAFKA_4_2.contains(&(M::API, version)), "{name}");
                continue;
            }
            let mut received = sent.clone();
            let theirs = M::Theirs::decode(&mut received, version)
                .unwrap_or_else(|error| panic!("{name}: {error}: {ours:?}"));
            assert!(received.is_empty(), "{name}: {received:?} left of {ours:?}");
            let mut back = BytesMut::new();
            theirs.encode(&mut back, version).unwrap();
            assert_eq!(back, sent, "{name}: {theirs:?}");
            assert_eq!(M::decode(back.freeze(), version).unwrap(), ours, "{name}");
        }
    }
}

#[test]
fn request_headers_are_read_by_another_implementation() {
    let request = ours::MetadataRequest::default();
    for version in 1..=13 {
        let client_id = ours::Str::from("millstream");
        let frame = encode_request(&request, version, 77, Some(&client_id)).unwrap();
        let mut frame = whole(frame);
        assert_eq!(frame.get_i32() as usize, frame.len());
        let (header, body) = ours::RequestHeader::decode(frame.clone()).unwrap();
        assert_eq!((header.api_version, header.client_id), (version, Some(client_id)));
        let header_version = theirs::ApiKey::Metadata.request_header_version(version);
        let header = theirs::RequestHeader::decode(&mut frame, header_version).unwrap();
        assert_eq!((header.request_api_key, header.request_api_version), (3, version));
        assert_eq!(header.correlation_id, 77);
        assert_eq!(header.client_id.as_deref(), Some("millstream"));
        assert_eq!(frame, body);
    }
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    for_each_message!(skips_unknown_tags);
}

fn skips_unknown_tags<M: Twin>(rng: &mut Rng) {
    for version in M::API.first_flexible()..=*M::API.versions().end() {
        let seed = rng.u64(..);
        let bytes = Generator::new(&mut Rng::with_seed(seed), version).message::<M>();
        let mut again = Rng::with_seed(seed);
        let more =
            Generator { unknown_tags: true, ..Generator::new(&mut again, version) }.message::<M>();
        assert!(more.len() > bytes.len());
        assert_eq!(M::decode(more, version).unwrap(), M::decode(bytes, version).unwrap());
    }
}

#[test]
fn truncated_messages_are_refused() {
    for_each_message!(refuses_truncation);
}

fn refuses_truncation<M: Twin>(rng: &mut Rng) {
    for version in M::API.versions() {
        let bytes = Generator::new(rng, version).message::<M>();
        for end in 0..bytes.len() {
            let error = M::decode(bytes.slice(..end), version).unwrap_err();
            assert!(error.path.starts_with(M::SCHEMA.name), "{error}");
            assert!(error.position <= end, "{error}");
        }
    }
}

#[test]
fn announced_lengths_are_held_against_the_bytes_that_came() {
    for_each_message!(refuses_huge_arrays);
}

fn refuses_huge_arrays<M: Twin>(rng: &mut Rng) {
    for version in M::API.versions() {
        let seed = rng.u64(..);
        for nth in 1.. {
            let mut rng = Rng::with_seed(seed);
            let mut generator = Generator { huge_array: nth, ..Generator::new(&mut rng, version) };
            let bytes = generator.message::<M>();
            if generator.arrays < nth {
                break;
            }
            let error = M::decode(bytes, version).unwrap_err();
            let count = TWO_BILLION as usize;
            assert!(matches!(error.fault, Fault::Count { count: c, .. } if c == count), "{error}");
        }
    }
}

#[test]
fn many_small_elements_are_refused_before_they_are_allocated() {
    // One byte each on the wire, 32 in memory.
    let count = 600_000;
    let mut body = Vec::new();
    Generator::uvarint(&mut body, count + 1);
    body.resize(body.len() + count as usize, 1);
    body.extend([0; 5]);
    let error = ours::DeleteTopicsRequest::decode(body.into(), 5).unwrap_err();
    assert!(matches!(error.fault, Fault::ArrayMemory { count: 600_000, .. }), "{error}");
    assert_eq!(error.path, "DeleteTopicsRequest.topic_names");
}

#[test]
fn mutated_messages_decode_or_fail() {
    for_each_message!(survives_mutation);
}

fn survives_mutation<M: Twin>(rng: &mut Rng) {
    for version in M::API.versions() {
        let bytes = Generator::new(rng, version).message::<M>();
        for _ in 0..200 {
            let mut mutated = bytes.to_vec();
            for _ in 0..rng.usize(1..4) {
                mutate(&mut mutated, rng);
            }
            // What can be read can be written, and reads the same again.
            if let Ok(message) = M::decode(mutated.into(), version) {
                let again = whole(message.encode(version).unwrap());
                assert_eq!(M::decode(again, version).unwrap(), message);
            }
        }
    }
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.usize(..=bytes.len());
    match rng.u8(..4) {
        0 => bytes.insert(at, rng.u8(..)),
        1 if at < bytes.len() => drop(bytes.remove(at)),
        2 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
        _ => {
            let extremes = [[0xff; 4], [0x7f, 0xff, 0xff, 0xff], [0x80, 0, 0, 0], [0; 4]];
            let extreme = extremes[rng.usize(..extremes.len())];
            for (byte, new) in bytes.iter_mut().skip(at).zip(extreme) {
                *byte = new;
            }
        }
    }
}

/// A run can be repeated with MILLSTREAM_SEED.
fn seeded() -> Rng {
    let given = std::env::var("MILLSTREAM_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a seed"));
    println!("MILLSTREAM_SEED={seed}");
    Rng::with_seed(seed)
}

fn whole(mut segments: Segments) -> Bytes {
    segments.copy_to_bytes(segments.remaining())
}

/// Writes the bytes of random messages from their declarations. Knows nothing of our encoder.
struct Generator<'a> {
    rng: &'a mut Rng,
    version: i16,
    flexible: bool,
    /// Adds a tag that nobody knows to every structure.
    unknown_tags: bool,
    /// The array, counted from 1, that announces two billion elements; 0 for none.
    huge_array: usize,
    arrays: usize,
}

impl<'a> Generator<'a> {
    fn new(rng: &'a mut Rng, version: i16) -> Self {
        let (unknown_tags, huge_array, arrays) = (false, 0, 0);
        Self { rng, version, flexible: false, unknown_tags, huge_array, arrays }
    }

    fn message<M: Message>(&mut self) -> Bytes {
        self.flexible = self.version >= M::API.first_flexible();
        let mut out = Vec::new();
        self.structure(&M::SCHEMA, &mut out);
        out.into()
    }

    fn structure(&mut self, schema: &Schema, out: &mut Vec<u8>) {
        let present = |field: &&Field| field.versions.contains(self.version);
        let fields: Vec<_> = schema.fields.iter().filter(present).collect();
        for field in fields.iter().filter(|field| field.tag.is_none()) {
            self.field(field, out);
        }
        if !self.flexible {
            return;
        }
        let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
        for field in &fields {
            let Some(tag) = field.tag.filter(|_| self.rng.bool()) else { continue };
            let mut content = Vec::new();
            self.field(field, &mut content);
            // A default is not sent.
            if content != default_bytes(field.ty, field) {
                tagged.push((tag, content));
            }
        }
        if self.unknown_tags {
            tagged.push((1_000, vec![0xff; 3]));
        }
        Self::uvarint(out, tagged.len() as u32);
        for (tag, content) in tagged {
            Self::uvarint(out, tag);
            Self::uvarint(out, content.len() as u32);
            out.extend(content);
        }
    }

    fn field(&mut self, field: &Field, out: &mut Vec<u8>) {
        let null = field.nullable.contains(self.version) && self.rng.u8(..4) == 0;
        if field.name.ends_with("error_code") {
            let code = ErrorCode::ALL[self.rng.usize(..ErrorCode::ALL.len())];
            out.extend((code as i16).to_be_bytes());
        } else if null {
            match (self.flexible, field.ty) {
                (_, Type::Struct(_)) => out.push(0xff),
                (true, _) => out.push(0),
                (false, Type::String) => out.extend([0xff; 2]),
                (false, _) => out.extend([0xff; 4]),
            }
        } else {
            if let Type::Struct(_) = field.ty
                && field.nullable.contains(self.version)
            {
                out.push(1);
            }
            self.value(field.ty, out);
        }
    }

    fn value(&mut self, ty: Type, out: &mut Vec<u8>) {
        match ty {
            Type::Bool => out.push(u8::from(self.rng.bool())),
            Type::Int8 => out.push(self.rng.u8(..)),
            Type::Int16 => out.extend(self.rng.i16(..).to_be_bytes()),
            Type::Uint16 => out.extend(self.rng.u16(..).to_be_bytes()),
            Type::Int32 => out.extend(self.rng.i32(..).to_be_bytes()),
            Type::Int64 => out.extend(self.rng.i64(..).to_be_bytes()),
            Type::Uuid => out.extend(self.rng.u128(..).to_be_bytes()),
            Type::String => {
                let text: String = (0..self.rng.u8(..9)).map(|_| self.rng.char(..)).collect();
                if self.flexible {
                    Self::uvarint(out, text.len() as u32 + 1);
                } else {
                    out.extend((text.len() as i16).to_be_bytes());
                }
                out.extend(text.bytes());
            }
            Type::Bytes | Type::Records => {
                let most = if self.rng.u8(..4) == 0 { 2_000 } else { 20 };
                let length = self.rng.usize(..most);
                self.length(length as u32, out);
                out.extend((0..length).map(|_| self.rng.u8(..)));
            }
            Type::Array(element) => {
                let count = self.rng.u32(..4);
                self.arrays += 1;
                let huge = self.arrays == self.huge_array;
                self.length(if huge { TWO_BILLION } else { count }, out);
                for _ in 0..count {
                    self.value(*element, out);
                }
            }
            Type::Struct(schema) => self.structure(schema, out),
        }
    }

    fn length(&self, length: u32, out: &mut Vec<u8>) {
        if self.flexible {
            Self::uvarint(out, length + 1);
        } else {
            out.extend(length.to_be_bytes());
        }
    }

    fn uvarint(out: &mut Vec<u8>, mut value: u32) {
        while value > 0x7f {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
}

/// The bytes of a tagged field's default.
fn default_bytes(ty: Type, field: &Field) -> Vec<u8> {
    let number = field.default.parse::<i64>().unwrap_or(0).to_be_bytes();
    match ty {
        Type::Bool => vec![u8::from(field.default == "true")],
        Type::Int8 => number[7..].to_vec(),
        Type::Int16 | Type::Uint16 => number[6..].to_vec(),
        Type::Int32 => number[4..].to_vec(),
        Type::Int64 => number.to_vec(),
        Type::Uuid => vec![0; 16],
        Type::String | Type::Bytes | Type::Records | Type::Array(_) => {
            vec![u8::from(field.nullable.max < field.nullable.min)]
        }
        Type::Struct(schema) => {
            let fields = schema.fields.iter().flat_map(|inner| default_bytes(inner.ty, inner));
            fields.chain([0]).collect()
        }
    }
}
