//! The record batch, Kafka's v2 format: view, validate, build, compress. It is the wire format and
//! the storage format at once, so a batch's bytes pass through the broker as the producer sent
//! them.
//!
//! Plain data: no I/O, no clock, no Kafka error codes. Formats 0 and 1 are refused (KIP-724).

mod accept;
mod batch;
mod builder;
mod compression;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod partitioner;
#[expect(clippy::module_inception, reason = "one record of the room of records")]
mod record;
mod retain;
mod stamp;
mod stretch;
mod walk;

#[cfg(test)]
mod hostile;

pub use accept::{Terms, Timestamps};
pub use batch::{RecordBatch, TimestampType, split_batches};
pub use builder::BatchBuilder;
pub use compression::{Codec, Compression};
pub use error::{BatchError, RecordProblem, RefusedRecord};
#[cfg(test)]
pub(crate) use hostile::resealed;
pub use partitioner::partition_for_key;
pub use record::{Header, Record, bytes_in_batch};
pub use retain::{Retained, Sketch};
pub use stretch::batches_from;
pub use walk::Records;

/// CRC-32C, as record batches have it (RFC 3720, appendix B.4).
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The CRC-32C of some bytes with others behind them, from that of the first.
pub fn crc32c_append(first: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(first, bytes)
}
