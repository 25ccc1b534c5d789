//! The Kafka protocol: frames, messages, error codes. Knows nothing of pipelines.

mod api;
mod api_versions;
mod configs;
mod errors;
mod fetch;
mod groups;
mod header;
mod list_offsets;
mod message;
pub mod messages;
mod metadata;
mod offsets;
mod produce;
mod producers;
mod topics;
mod wire;
mod writer;
