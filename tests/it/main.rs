//! The one integration binary.

mod kafka_messages;
mod kafka_schema;
