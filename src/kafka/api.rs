//! The table of the APIs: key, versions, messages. What Kafka 4.3 advertises for the same keys.

use std::ops::RangeInclusive;

use bytes::Bytes;

use super::alter_configs::incremental::IncrementalAlterConfigsRequest;
use super::alter_configs::whole::AlterConfigsRequest;
use super::alter_configs::{AlterConfigsResponse, IncrementalAlterConfigsResponse};
use super::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use super::cluster::{DescribeClusterRequest, DescribeClusterResponse};
use super::configs::{
    DescribeConfigsRequest, DescribeConfigsResponse, ListConfigResourcesRequest,
    ListConfigResourcesResponse,
};
use super::delete_records::{DeleteRecordsRequest, DeleteRecordsResponse};
use super::fetch::{FetchRequest, FetchResponse};
use super::group_admin::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    ListGroupsRequest, ListGroupsResponse, OffsetDeleteRequest, OffsetDeleteResponse,
};
use super::groups::{
    FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use super::leader_epochs::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use super::list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
use super::log_dirs::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, DescribeLogDirsRequest,
    DescribeLogDirsResponse,
};
use super::message::Wire;
use super::metadata::{MetadataRequest, MetadataResponse};
use super::offsets::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use super::partitions::{CreatePartitionsRequest, CreatePartitionsResponse};
use super::produce::{ProduceRequest, ProduceResponse};
use super::producers::{
    DescribeProducersRequest, DescribeProducersResponse, InitProducerIdRequest,
    InitProducerIdResponse,
};
use super::quorum::answered::DescribeQuorumResponse;
use super::quorum::asked::DescribeQuorumRequest;
use super::replicas::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ElectLeadersRequest,
    ElectLeadersResponse, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use super::schema::{Schema, Version};
use super::topic_partitions::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use super::topics::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};
use super::wire::{Fault, Reader, WireError};
use super::writer::{Segments, Writer};

/// A request or response.
pub trait Message: Wire {
    /// The API that it belongs to.
    const API: ApiKey;

    /// Its structure as declared.
    const SCHEMA: Schema;

    /// Reads one from its bytes, without a header. Bytes after its last field are ignored, as
    /// Kafka does.
    fn decode(bytes: Bytes, version: i16) -> Result<Self, WireError> {
        let checked = Self::API.version(version);
        let read = checked.and_then(|version| Self::read(&mut Reader::new(bytes), version));
        read.map_err(|error| error.within(Self::SCHEMA.name))
    }

    /// Its bytes, without a header.
    fn encode(&self, version: i16) -> Result<Segments, WireError> {
        let mut writer = Writer::default();
        self.encode_into(&mut writer, version)?;
        Ok(writer.finish())
    }

    /// Appends its bytes.
    fn encode_into(&self, writer: &mut Writer, version: i16) -> Result<(), WireError> {
        let checked = Self::API.version(version);
        let written = checked.and_then(|version| self.write(writer, version));
        written.map_err(|error| error.within(Self::SCHEMA.name))
    }
}

/// A request, which knows its response.
pub trait Request: Message {
    /// What answers it.
    type Response: Message;
}

macro_rules! apis {
    ($(
        $name:ident = $key:literal, $min:literal..=$max:literal, flexible $flexible:literal..,
        $request:ident => $response:ident;
    )*) => {
        /// An API of the Kafka protocol that Millstream speaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("Versions ", $min, " to ", $max, ".")]
                $name = $key,
            )*
        }

        impl ApiKey {
            /// All of them, by ascending key.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The API of this key, if we speak it.
            pub fn from_key(key: i16) -> Option<Self> {
                match key {
                    $($key => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The versions that we speak.
            pub fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $(Self::$name => $min..=$max,)*
                }
            }

            /// The first version with compact lengths and tagged fields (KIP-482).
            pub fn first_flexible(self) -> i16 {
                match self {
                    $(Self::$name => $flexible,)*
                }
            }

            /// The request as declared.
            pub fn request(self) -> &'static Schema {
                match self {
                    $(Self::$name => &$request::SCHEMA,)*
                }
            }

            /// The response as declared.
            pub fn response(self) -> &'static Schema {
                match self {
                    $(Self::$name => &$response::SCHEMA,)*
                }
            }
        }

        $(
            impl Message for $request {
                const API: ApiKey = ApiKey::$name;
                const SCHEMA: Schema = $request::SCHEMA;
            }

            impl Message for $response {
                const API: ApiKey = ApiKey::$name;
                const SCHEMA: Schema = $response::SCHEMA;
            }

            impl Request for $request {
                type Response = $response;
            }
        )*
    };
}

apis! {
    Produce = 0, 3..=13, flexible 9.., ProduceRequest => ProduceResponse;
    Fetch = 1, 4..=18, flexible 12.., FetchRequest => FetchResponse;
    ListOffsets = 2, 1..=11, flexible 6.., ListOffsetsRequest => ListOffsetsResponse;
    Metadata = 3, 0..=13, flexible 9.., MetadataRequest => MetadataResponse;
    OffsetCommit = 8, 2..=10, flexible 8.., OffsetCommitRequest => OffsetCommitResponse;
    OffsetFetch = 9, 1..=10, flexible 6.., OffsetFetchRequest => OffsetFetchResponse;
    FindCoordinator = 10, 0..=6, flexible 3.., FindCoordinatorRequest => FindCoordinatorResponse;
    JoinGroup = 11, 0..=9, flexible 6.., JoinGroupRequest => JoinGroupResponse;
    Heartbeat = 12, 0..=4, flexible 4.., HeartbeatRequest => HeartbeatResponse;
    LeaveGroup = 13, 0..=5, flexible 4.., LeaveGroupRequest => LeaveGroupResponse;
    SyncGroup = 14, 0..=5, flexible 4.., SyncGroupRequest => SyncGroupResponse;
    DescribeGroups = 15, 0..=6, flexible 5.., DescribeGroupsRequest => DescribeGroupsResponse;
    ListGroups = 16, 0..=5, flexible 3.., ListGroupsRequest => ListGroupsResponse;
    ApiVersions = 18, 0..=4, flexible 3.., ApiVersionsRequest => ApiVersionsResponse;
    CreateTopics = 19, 2..=7, flexible 5.., CreateTopicsRequest => CreateTopicsResponse;
    DeleteTopics = 20, 1..=6, flexible 4.., DeleteTopicsRequest => DeleteTopicsResponse;
    DeleteRecords = 21, 0..=2, flexible 2.., DeleteRecordsRequest => DeleteRecordsResponse;
    InitProducerId = 22, 0..=5, flexible 2.., InitProducerIdRequest => InitProducerIdResponse;
    OffsetForLeaderEpoch = 23, 2..=4, flexible 4..,
        OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse;
    DescribeConfigs = 32, 1..=4, flexible 4.., DescribeConfigsRequest => DescribeConfigsResponse;
    AlterConfigs = 33, 0..=2, flexible 2.., AlterConfigsRequest => AlterConfigsResponse;
    AlterReplicaLogDirs = 34, 1..=2, flexible 2..,
        AlterReplicaLogDirsRequest => AlterReplicaLogDirsResponse;
    DescribeLogDirs = 35, 1..=5, flexible 2.., DescribeLogDirsRequest => DescribeLogDirsResponse;
    CreatePartitions = 37, 0..=3, flexible 2..,
        CreatePartitionsRequest => CreatePartitionsResponse;
    DeleteGroups = 42, 0..=2, flexible 2.., DeleteGroupsRequest => DeleteGroupsResponse;
    ElectLeaders = 43, 0..=2, flexible 2.., ElectLeadersRequest => ElectLeadersResponse;
    IncrementalAlterConfigs = 44, 0..=1, flexible 1..,
        IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse;
    AlterPartitionReassignments = 45, 0..=1, flexible 0..,
        AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse;
    ListPartitionReassignments = 46, 0..=0, flexible 0..,
        ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse;
    // Has no flexible version.
    OffsetDelete = 47, 0..=0, flexible 32_767.., OffsetDeleteRequest => OffsetDeleteResponse;
    DescribeQuorum = 55, 0..=2, flexible 0.., DescribeQuorumRequest => DescribeQuorumResponse;
    DescribeCluster = 60, 0..=2, flexible 0.., DescribeClusterRequest => DescribeClusterResponse;
    DescribeProducers = 61, 0..=0, flexible 0..,
        DescribeProducersRequest => DescribeProducersResponse;
    ListConfigResources = 74, 0..=1, flexible 0..,
        ListConfigResourcesRequest => ListConfigResourcesResponse;
    DescribeTopicPartitions = 75, 0..=0, flexible 0..,
        DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse;
}

impl ApiKey {
    /// Its number in the protocol.
    pub fn key(self) -> i16 {
        self as i16
    }

    /// The versions that ApiVersions tells. Produce is told from 0, though 0 to 2 are refused:
    /// librdkafka before 2.11.1 drops compression otherwise (KAFKA-18659).
    pub fn advertised(self) -> RangeInclusive<i16> {
        let versions = self.versions();
        if self == Self::Produce { 0..=*versions.end() } else { versions }
    }

    /// Whether messages of this version, ours or not, have tagged fields.
    pub(super) fn is_flexible(self, version: i16) -> bool {
        version >= self.first_flexible()
    }

    /// Whether the header of a response has tagged fields. Never that of ApiVersions, which a
    /// client reads before it knows which versions the broker speaks (KIP-511).
    pub(super) fn has_flexible_response_header(self, version: i16) -> bool {
        self != Self::ApiVersions && self.is_flexible(version)
    }

    /// Whether an answer may be far longer than its request, and is made without waiting for other
    /// clients. What a Fetch brings is counted as it is read, and what members of a group are told
    /// is the group's memory.
    pub(super) fn may_answer_at_length(self) -> bool {
        use ApiKey as A;
        matches!(
            self,
            A::ListOffsets
                | A::Metadata
                | A::OffsetFetch
                | A::DescribeGroups
                | A::ListGroups
                | A::DescribeConfigs
                | A::DescribeLogDirs
                | A::ElectLeaders
                | A::DescribeProducers
                | A::ListConfigResources
                | A::DescribeTopicPartitions
        )
    }

    fn version(self, number: i16) -> Result<Version, WireError> {
        if !self.versions().contains(&number) {
            return Err(WireError::new(0, Fault::Version { version: number }));
        }
        Ok(Version { number, flexible: self.is_flexible(number) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_reads_back() {
        assert!(ApiKey::ALL.is_sorted());
        for &api in ApiKey::ALL {
            assert_eq!(ApiKey::from_key(api.key()), Some(api));
        }
        assert_eq!(ApiKey::from_key(4), None);
    }

    #[test]
    fn only_produce_advertises_more_than_it_speaks() {
        for &api in ApiKey::ALL {
            assert_eq!(api.advertised() == api.versions(), api != ApiKey::Produce);
        }
        assert_eq!(ApiKey::Produce.advertised(), 0..=13);
        let refused = ProduceRequest::decode(Bytes::new(), 2).unwrap_err();
        assert_eq!(refused.fault, Fault::Version { version: 2 });
        assert_eq!(refused.path, "ProduceRequest");
    }
}
