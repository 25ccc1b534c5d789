//! The one dispatch: from an API key to what answers it.

use bytes::{Buf, Bytes};

use super::api::{ApiKey, Request};
use super::connection::{ConnectionError, PendingResponse};
use super::header::{RequestHeader, encode_response};
use super::service::Context;
use super::writer::Segments;
use super::{
    alter_configs, api_versions, cluster, configs, delete_records, fetch, group_admin, groups,
    leader_epochs, list_offsets, log_dirs, metadata, offsets, partitions, produce, producers,
    quorum, replicas, topic_partitions, topics,
};
use crate::broker::AnswerMemory;
use crate::limits::ANSWER_OWN_BYTES;

/// A request that was taken up.
pub(super) enum Call {
    /// Its response, and the memory that it holds if it is long.
    Done(Segments, Option<AnswerMemory>),
    /// What will be its response; the next request need not wait for it. `None` for a request
    /// that has none.
    Pending(PendingResponse),
}

/// Handles one request. Requests of APIs that are still to come (transactions, KIP-848 groups,
/// share groups) get their arm here.
pub(super) async fn dispatch(
    context: &Context,
    header: RequestHeader,
    body: Bytes,
) -> Result<Call, ConnectionError> {
    let Some(api) = ApiKey::from_key(header.api_key) else {
        return Err(ConnectionError::UnsupportedApi { key: header.api_key });
    };
    if !api.versions().contains(&header.api_version) {
        return match api {
            ApiKey::ApiVersions => Ok(Call::Done(api_versions::unsupported(&header)?, None)),
            _ => Err(ConnectionError::UnsupportedVersion { api, version: header.api_version }),
        };
    }
    let exchange = Exchange { context, header, body };
    match api {
        ApiKey::Produce => {
            let Exchange { context, header, body } = exchange;
            Ok(Call::Pending(produce::submit(context, header, body).await?))
        }
        ApiKey::Fetch => exchange.answer(fetch::answer).await,
        ApiKey::ListOffsets => exchange.answer(list_offsets::answer).await,
        ApiKey::Metadata => exchange.answer(metadata::answer).await,
        ApiKey::OffsetCommit => exchange.answer(offsets::commit).await,
        ApiKey::OffsetFetch => exchange.answer(offsets::fetch).await,
        ApiKey::FindCoordinator => exchange.answer(groups::find_coordinator).await,
        ApiKey::JoinGroup => exchange.answer(groups::join).await,
        ApiKey::Heartbeat => exchange.answer(groups::heartbeat).await,
        ApiKey::LeaveGroup => exchange.answer(groups::leave).await,
        ApiKey::SyncGroup => exchange.answer(groups::sync).await,
        ApiKey::DescribeGroups => exchange.answer(group_admin::describe).await,
        ApiKey::ListGroups => exchange.answer(group_admin::list).await,
        ApiKey::ApiVersions => exchange.answer(api_versions::answer).await,
        ApiKey::CreateTopics => exchange.answer(topics::create).await,
        ApiKey::DeleteTopics => exchange.answer(topics::delete).await,
        ApiKey::DeleteRecords => exchange.answer(delete_records::answer).await,
        ApiKey::InitProducerId => exchange.answer(producers::init).await,
        ApiKey::OffsetForLeaderEpoch => exchange.answer(leader_epochs::answer).await,
        ApiKey::DescribeConfigs => exchange.answer(configs::describe).await,
        ApiKey::AlterConfigs => exchange.answer(alter_configs::alter).await,
        ApiKey::AlterReplicaLogDirs => exchange.answer(log_dirs::alter).await,
        ApiKey::DescribeLogDirs => exchange.answer(log_dirs::describe).await,
        ApiKey::CreatePartitions => exchange.answer(partitions::create).await,
        ApiKey::ElectLeaders => exchange.answer(replicas::elect).await,
        ApiKey::IncrementalAlterConfigs => exchange.answer(alter_configs::alter_some).await,
        ApiKey::AlterPartitionReassignments => exchange.answer(replicas::reassign).await,
        ApiKey::ListPartitionReassignments => exchange.answer(replicas::list_reassignments).await,
        ApiKey::DescribeQuorum => exchange.answer(quorum::describe).await,
        ApiKey::DescribeCluster => exchange.answer(cluster::describe).await,
        ApiKey::ListConfigResources => exchange.answer(configs::list_resources).await,
        ApiKey::DescribeTopicPartitions => exchange.answer(topic_partitions::describe).await,
        ApiKey::DeleteGroups => exchange.answer(group_admin::delete).await,
        ApiKey::OffsetDelete => exchange.answer(group_admin::delete_offsets).await,
        ApiKey::DescribeProducers => exchange.answer(producers::describe).await,
    }
}

/// What a handler is told beside the request itself.
pub(super) struct Caller<'a> {
    pub(super) context: &'a Context,
    pub(super) version: i16,
    pub(super) client_id: &'a str,
}

struct Exchange<'a> {
    context: &'a Context,
    header: RequestHeader,
    body: Bytes,
}

impl Exchange<'_> {
    /// Parse, call, reply.
    async fn answer<R: Request>(
        self,
        handler: impl AsyncFnOnce(Caller<'_>, R) -> R::Response,
    ) -> Result<Call, ConnectionError> {
        let Self { context, header, body } = self;
        let RequestHeader { api_version: version, correlation_id, client_id, .. } = header;
        let request = R::decode(body, version)?;
        let client_id = client_id.as_deref().unwrap_or_default();
        let caller = Caller { context, version, client_id };
        if !R::API.may_answer_at_length() {
            let response = handler(caller, request).await;
            return Ok(Call::Done(encode_response(&response, version, correlation_id)?, None));
        }
        // However many ask, so many answers are made at a time: what is made while it waits for
        // memory would not be bounded otherwise. The semaphore is never closed.
        let _turn = context.long_answers.acquire().await;
        let response = encode_response(&handler(caller, request).await, version, correlation_id)?;
        let memory = match response.remaining() {
            ..=ANSWER_OWN_BYTES => None,
            bytes => Some(context.broker.answer_memory(bytes).await),
        };
        Ok(Call::Done(response, memory))
    }
}
