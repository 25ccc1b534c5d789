//! Health, topics and consumer groups.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::error::{ApiError, parse};
use super::shapes::{
    BrokerView, GroupView, Health, MemberView, OffsetView, PartitionView, TopicNew, TopicView,
    UnreadableView,
};
use crate::broker::{Broker, GroupListing, GroupState, NewTopic, Topic};
use crate::types::{OffsetOwner, TopicName};

/// `GET /health`
pub(super) async fn health(State(api): State<Api>) -> Response {
    let broker = &api.service.broker;
    let reason = broker.outage();
    let (status, word) = match reason {
        None => (StatusCode::OK, "ok"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
    };
    let health = Health {
        status: word.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster_id: broker.cluster_id().to_owned(),
        reason,
    };
    (status, Json(health)).into_response()
}

/// `GET /v1/broker`
pub(super) async fn broker(State(api): State<Api>) -> Json<BrokerView> {
    let counters = api.service.broker.counters();
    let unreadable = counters.unreadable_places().into_iter().map(|place| UnreadableView {
        topic: place.topic.to_string(),
        partition: place.partition,
        offset: place.offset,
        end_offset: place.end_offset,
        reason: place.reason,
    });
    let unreadable = unreadable.collect();
    let counters = counters.all().map(|(name, count)| (name.to_owned(), count)).into();
    Json(BrokerView { counters, unreadable })
}

/// `GET /v1/topics`
pub(super) async fn list(State(api): State<Api>) -> Json<Vec<TopicView>> {
    Json(api.service.broker.topics().iter().map(|topic| view(topic)).collect())
}

/// `POST /v1/topics`
pub(super) async fn create(
    State(api): State<Api>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<TopicView>), ApiError> {
    let TopicNew { name, partitions, config } = parse(&body?)?;
    let name = TopicName::new(&name).map_err(ApiError::bad_request)?;
    let topic = api.service.broker.create_topic(NewTopic { name, partitions, config }).await?;
    Ok((StatusCode::CREATED, Json(view(&topic))))
}

/// `DELETE /v1/topics/{topic}`
pub(super) async fn remove(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let broker = &api.service.broker;
    let topic = broker.topic(&name).ok_or_else(|| ApiError::unknown_topic(&name))?;
    broker.delete_topic(topic.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/groups`
pub(super) async fn groups(State(api): State<Api>) -> Json<Vec<GroupView>> {
    let broker = &api.service.broker;
    Json(broker.list_groups().into_iter().map(|listing| group(broker, listing)).collect())
}

fn view(topic: &Topic) -> TopicView {
    let partitions = (0..topic.partitions()).filter_map(|index| {
        topic.partition(index).map(|partition| PartitionView {
            partition: index,
            log_start_offset: partition.log_start_offset(),
            high_watermark: partition.high_watermark(),
        })
    });
    TopicView {
        name: topic.name().to_string(),
        id: topic.id().to_string(),
        created_ms: topic.created_ms(),
        partitions: partitions.collect(),
        config: topic.settings().clone(),
    }
}

fn group(broker: &Broker, listing: GroupListing) -> GroupView {
    let description = broker.describe_group(&listing.group);
    let (generation, members) = match description {
        None => (0, Vec::new()),
        Some(description) => (description.generation, description.members),
    };
    let members = members.into_iter().map(|member| MemberView {
        member_id: member.member_id,
        client_id: member.client_id,
        client_host: member.client_host,
    });
    GroupView {
        state: state_word(listing.state).to_owned(),
        generation,
        members: members.collect(),
        offsets: offsets(broker, &OffsetOwner::Group(listing.group.clone())),
        group: listing.group.to_string(),
    }
}

/// By topic and partition.
fn offsets(broker: &Broker, owner: &OffsetOwner) -> Vec<OffsetView> {
    let mut sorted = BTreeMap::new();
    for (at, committed) in broker.committed(owner) {
        let Some(topic) = broker.topic_by_id(at.topic) else { continue };
        let end = topic.partition(at.partition).map_or(0, |p| p.high_watermark());
        let name = topic.name().to_string();
        let offset = committed.offset;
        let lag = end.saturating_sub(offset).max(0);
        let view = OffsetView { topic: name.clone(), partition: at.partition, offset, lag };
        sorted.insert((name, at.partition), view);
    }
    sorted.into_values().collect()
}

fn state_word(state: GroupState) -> &'static str {
    match state {
        GroupState::Empty => "empty",
        GroupState::PreparingRebalance => "preparing-rebalance",
        GroupState::CompletingRebalance => "completing-rebalance",
        GroupState::Stable => "stable",
        GroupState::Dead => "dead",
    }
}
