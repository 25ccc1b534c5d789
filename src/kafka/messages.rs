//! The protocol's messages in the open, for whoever speaks Kafka as a client: our own tests above
//! all. Reading and writing go through [`Message`]; whole frames through [`encode_request`],
//! [`decode_response`] and their counterparts.

pub use super::alter_configs::incremental::{
    AlterConfigsResource as IncrementalAlterConfigsResource,
    AlterableConfig as IncrementalAlterableConfig, IncrementalAlterConfigsRequest,
};
pub use super::alter_configs::whole::{AlterConfigsRequest, AlterConfigsResource, AlterableConfig};
pub use super::alter_configs::{
    AlterConfigsResourceResponse, AlterConfigsResponse, IncrementalAlterConfigsResponse,
};
pub use super::api::{ApiKey, Message, Request};
pub use super::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
pub use super::cluster::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse};
pub use super::configs::{
    ConfigResource, DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
    ListConfigResourcesRequest, ListConfigResourcesResponse,
};
pub use super::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteRecordsTopic, DeleteRecordsTopicResult,
};
pub use super::errors::ErrorCode;
pub use super::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
    FetchableTopicResponse, ForgottenTopic, PartitionData, ReplicaState, SnapshotId,
};
pub use super::group_admin::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, DescribedGroup, DescribedGroupMember, ListGroupsRequest,
    ListGroupsResponse, ListedGroup, OffsetDeleteRequest, OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};
pub use super::groups::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest,
    HeartbeatResponse, JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
    JoinGroupResponseMember, LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};
pub use super::header::{RequestHeader, decode_response, encode_request, encode_response};
pub use super::leader_epochs::{
    EpochEndOffset as LeaderEpochEndOffset, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, OffsetForLeaderPartition, OffsetForLeaderTopic,
    OffsetForLeaderTopicResult,
};
pub use super::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic, ListOffsetsTopicResponse,
};
pub use super::log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopic,
    AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse,
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
pub use super::metadata::{
    LeaderIdAndEpoch, MetadataRequest, MetadataRequestTopic, MetadataResponse,
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic, NodeEndpoint,
};
pub use super::offsets::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
pub use super::partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsResponse,
    CreatePartitionsTopic, CreatePartitionsTopicResult,
};
pub use super::produce::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceData, TopicProduceResponse,
};
pub use super::producers::{
    DescribeProducersRequest, DescribeProducersResponse, InitProducerIdRequest,
    InitProducerIdResponse, PartitionResponse, ProducerState,
    TopicRequest as ProducersTopicRequest, TopicResponse as ProducersTopicResponse,
};
pub use super::quorum::answered::{
    DescribeQuorumResponse, Listener as QuorumListener, Node as QuorumNode,
    PartitionData as QuorumPartition, ReplicaState as QuorumReplicaState, TopicData as QuorumTopic,
};
pub use super::quorum::asked::{
    DescribeQuorumRequest, PartitionData as DescribeQuorumPartition,
    TopicData as DescribeQuorumTopic,
};
pub use super::replicas::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ElectLeadersRequest,
    ElectLeadersResponse, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    ListPartitionReassignmentsTopics, OngoingPartitionReassignment, OngoingTopicReassignment,
    PartitionResult, ReassignablePartition, ReassignablePartitionResponse, ReassignableTopic,
    ReassignableTopicResponse, ReplicaElectionResult, TopicPartitions,
};
pub use super::schema::{Field, Schema, Type, Versions};
pub use super::topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, TopicRequest,
};
pub use super::topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicConfigs,
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse, DeletableTopicResult,
    DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
pub use super::wire::{Fault, Records, Str, WireError};
pub use super::writer::Segments;
