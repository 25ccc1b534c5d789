//! The Kafka protocol: frames, messages, error codes. It turns requests into calls of the broker
//! and outcomes into responses; knows nothing of pipelines and stores nothing.
//!
//! An API family is a file: its messages, then what answers them. The table of the APIs is in
//! `api`, the one dispatch in `dispatch`, the one map from our errors to Kafka's codes in `errors`.

mod admission;
mod alter_configs;
mod api;
mod api_versions;
mod cluster;
mod config_values;
mod configs;
mod connection;
mod delete_records;
mod dispatch;
mod errors;
mod fetch;
mod fetch_session;
mod frames;
mod group_admin;
mod groups;
mod header;
mod leader_epochs;
mod list_offsets;
mod log_dirs;
mod message;
pub mod messages;
mod metadata;
mod offsets;
mod partitions;
mod produce;
mod producers;
mod quorum;
mod replicas;
mod schema;
mod service;
mod sessions;
mod topic_partitions;
mod topics;
mod wire;
mod writer;

pub use self::service::{Bounds, FixedSetting, Options, Service};
