//! The Kafka protocol: frames, messages, error codes. It turns requests into calls of the broker
//! and outcomes into responses; knows nothing of pipelines and stores nothing.
//!
//! An API family is a file: its messages, then what answers them. The table of the APIs is in
//! `api`, the one dispatch in `dispatch`, the one map from our errors to Kafka's codes in `errors`.

mod admission;
mod api;
mod api_versions;
mod configs;
mod connection;
mod dispatch;
mod errors;
mod fetch;
mod frames;
mod groups;
mod header;
mod leader_epochs;
mod list_offsets;
mod message;
pub mod messages;
mod metadata;
mod offsets;
mod produce;
mod producers;
mod schema;
mod service;
mod topics;
mod wire;
mod writer;

pub use self::service::{Bounds, Options, Service};
