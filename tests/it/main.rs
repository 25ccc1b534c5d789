//! The one integration binary.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kafka_messages;
mod kafka_schema;
