//! Requests of every API and version.

use std::fmt::Debug;

use bytes::{Buf, Bytes};

use crate::kafka::messages::{
    AlterConfigsRequest, AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, ApiKey,
    ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeGroupsRequest, DescribeLogDirsRequest, DescribeProducersRequest, DescribeQuorumRequest,
    DescribeTopicPartitionsRequest, ElectLeadersRequest, FetchRequest, FindCoordinatorRequest,
    HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest,
    LeaveGroupRequest, ListConfigResourcesRequest, ListGroupsRequest, ListOffsetsRequest,
    ListPartitionReassignmentsRequest, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, OffsetForLeaderEpochRequest, ProduceRequest, Request, RequestHeader,
    SyncGroupRequest, encode_request,
};

/// Calls a function with the request's type.
macro_rules! by_api {
    ($api:expr, $call:ident $arguments:tt) => {
        by_api!(
            @ $api, $call $arguments,
            Produce: ProduceRequest,
            Fetch: FetchRequest,
            ListOffsets: ListOffsetsRequest,
            Metadata: MetadataRequest,
            OffsetCommit: OffsetCommitRequest,
            OffsetFetch: OffsetFetchRequest,
            FindCoordinator: FindCoordinatorRequest,
            JoinGroup: JoinGroupRequest,
            Heartbeat: HeartbeatRequest,
            LeaveGroup: LeaveGroupRequest,
            SyncGroup: SyncGroupRequest,
            DescribeGroups: DescribeGroupsRequest,
            ListGroups: ListGroupsRequest,
            ApiVersions: ApiVersionsRequest,
            CreateTopics: CreateTopicsRequest,
            DeleteTopics: DeleteTopicsRequest,
            DeleteRecords: DeleteRecordsRequest,
            InitProducerId: InitProducerIdRequest,
            OffsetForLeaderEpoch: OffsetForLeaderEpochRequest,
            DescribeConfigs: DescribeConfigsRequest,
            AlterConfigs: AlterConfigsRequest,
            AlterReplicaLogDirs: AlterReplicaLogDirsRequest,
            DescribeLogDirs: DescribeLogDirsRequest,
            CreatePartitions: CreatePartitionsRequest,
            DeleteGroups: DeleteGroupsRequest,
            ElectLeaders: ElectLeadersRequest,
            IncrementalAlterConfigs: IncrementalAlterConfigsRequest,
            AlterPartitionReassignments: AlterPartitionReassignmentsRequest,
            ListPartitionReassignments: ListPartitionReassignmentsRequest,
            OffsetDelete: OffsetDeleteRequest,
            DescribeQuorum: DescribeQuorumRequest,
            DescribeCluster: DescribeClusterRequest,
            DescribeProducers: DescribeProducersRequest,
            ListConfigResources: ListConfigResourcesRequest,
            DescribeTopicPartitions: DescribeTopicPartitionsRequest
        )
    };
    (@ $api:expr, $call:ident $arguments:tt, $($name:ident: $request:ident),*) => {
        match $api {
            $(ApiKey::$name => $call::<$request> $arguments,)*
        }
    };
}

/// A frame, the length before it already taken off.
pub(super) fn run(data: &[u8]) {
    let Ok((header, body)) = RequestHeader::decode(Bytes::copy_from_slice(data)) else { return };
    let Some(api) = ApiKey::from_key(header.api_key) else { return };
    if !api.versions().contains(&header.api_version) {
        return;
    }
    by_api!(api, again(&header, body));
}

/// What is read is written, and read as the same.
fn again<R: Request + Debug>(header: &RequestHeader, body: Bytes) {
    let &RequestHeader { api_version, correlation_id, ref client_id, .. } = header;
    match R::decode(body, api_version) {
        Err(error) => assert!(error.to_string().starts_with(R::SCHEMA.name), "{error}"),
        Ok(request) => {
            let written = encode_request(&request, api_version, correlation_id, client_id.as_ref());
            let mut frame = written.unwrap_or_else(|error| panic!("{error}: {request:?}"));
            assert_eq!(usize::try_from(frame.get_i32()), Ok(frame.remaining()));
            let frame = frame.copy_to_bytes(frame.remaining());
            let (again, body) = RequestHeader::decode(frame).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(&again, header);
            assert_eq!(R::decode(body, api_version), Ok(request));
        }
    }
}

/// A request of each API and version in which all its fields may have their defaults.
#[cfg(test)]
pub(super) fn seeds() -> Vec<Vec<u8>> {
    fn seed<R: Request + Default>(version: i16) -> Option<Vec<u8>> {
        let mut frame = encode_request(&R::default(), version, 7, None).ok()?;
        frame.advance(4);
        Some(frame.copy_to_bytes(frame.remaining()).to_vec())
    }
    let of = |api: ApiKey| api.versions().filter_map(move |version| by_api!(api, seed(version)));
    ApiKey::ALL.iter().copied().flat_map(of).collect()
}
