//! What can be wrong with a record batch. Which Kafka code that is, others decide.

use super::compression::Compression;
use crate::types::TimestampMs;

/// Why a batch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// More than a limit allows.
    #[error("{what} is {found}, the limit {limit} allows {max}")]
    TooLarge {
        /// What was measured, with its unit.
        what: &'static str,
        /// The constant of `limits` that was hit.
        limit: &'static str,
        /// What was found; for decompressed data the least it can be.
        found: usize,
        /// What is allowed.
        max: usize,
    },
    /// Fewer or more bytes than the batch's length says.
    #[error("batch says it has {claimed} bytes, there are {actual}")]
    Length {
        /// Bytes by the length field, or the least that a batch needs; the field may be negative.
        claimed: i64,
        /// Bytes that are there.
        actual: usize,
    },
    /// Not format 2.
    #[error("record format {magic} is not supported, only 2 is")]
    UnsupportedMagic {
        /// The format found.
        magic: i8,
    },
    /// The checksum does not fit: the bytes changed on their way or on disk.
    #[error("batch is corrupt: its crc-32c is {computed:#010x}, it says {stored:#010x}")]
    Corrupt {
        /// Checksum in the header.
        stored: u32,
        /// Checksum of the bytes.
        computed: u32,
    },
    /// A codec that nobody knows.
    #[error("compression codec {id} is unknown")]
    UnsupportedCompression {
        /// The id in the batch's attributes.
        id: u8,
    },
    /// A header field with a value that no batch may have.
    #[error("batch header has {field} {value}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// The number of records is not that of the offsets taken.
    #[error("batch says it has {count} records, its offsets are for {offsets}")]
    Count {
        /// Records by the header.
        count: i32,
        /// Last offset minus first, plus one.
        offsets: i64,
    },
    /// The compressed data does not decompress.
    #[error("{codec} data does not decompress: {reason}")]
    Decompress {
        /// The codec.
        codec: Compression,
        /// What the codec says.
        reason: String,
    },
    /// One record is malformed.
    #[error("record {index} of the batch: {problem}")]
    Record {
        /// Index in the batch, from 0.
        index: i32,
        /// What is wrong with it.
        problem: RecordProblem,
    },
    /// Bytes after the last record.
    #[error("{bytes} bytes follow the last of {count} records")]
    TrailingBytes {
        /// How many.
        bytes: usize,
        /// Records by the header.
        count: i32,
    },
    /// A control batch where only data may stand.
    #[error("control batches are not for producers to send")]
    Control,
    /// No record.
    #[error("batch has no record")]
    Empty,
    /// Not one whole batch.
    #[error("there is no whole batch in {actual} bytes")]
    Incomplete {
        /// Bytes that are there.
        actual: usize,
    },
    /// More than the one batch that a producer may send.
    #[error("there is more than one batch for the partition")]
    Several,
    /// Records that are well-formed, but not what the topic accepts.
    #[error("{count} of the batch's records were refused; {}", first(.records))]
    Refused {
        /// Which and why; at most [`crate::limits::REFUSED_RECORDS`].
        records: Vec<RefusedRecord>,
        /// How many in all.
        count: usize,
    },
}

/// A record that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedRecord {
    /// Index in the batch, from 0.
    pub index: i32,
    /// Why.
    pub problem: RecordProblem,
}

fn first(records: &[RefusedRecord]) -> String {
    records.first().map_or_else(String::new, |first| {
        let RefusedRecord { index, problem } = first;
        format!("record {index}: {problem}")
    })
}

/// What is wrong with one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordProblem {
    /// The record ends within a field.
    #[error("ends within its {field}")]
    Truncated {
        /// The field.
        field: &'static str,
    },
    /// A variable-length integer with more bits than its type.
    #[error("{field} is an overlong integer")]
    Overlong {
        /// The field.
        field: &'static str,
    },
    /// A length or count below zero, or below -1 where -1 means null.
    #[error("{field} is {value}")]
    Negative {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i32,
    },
    /// Its fields end before the record does.
    #[error("has {bytes} bytes after its last field")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// Offsets within a batch grow, and end with the last one of the header.
    #[error("offset delta {delta} is not between {least} and {most}")]
    OffsetDelta {
        /// The delta found.
        delta: i32,
        /// One more than the predecessor's.
        least: i64,
        /// The batch's last.
        most: i32,
    },
    /// Base timestamp and delta leave the range of a timestamp.
    #[error("timestamp is out of range")]
    Timestamp,
    /// Further from the broker's time than the topic accepts.
    #[error("timestamp {timestamp} is not within {earliest} and {latest}")]
    Untimely {
        /// The record's.
        timestamp: TimestampMs,
        /// The least that is accepted.
        earliest: TimestampMs,
        /// The greatest that is accepted.
        latest: TimestampMs,
    },
    /// A claim to have been timestamped by the broker, where the broker does so.
    #[error("the timestamp type log-append-time is not for producers to set")]
    LogAppendTime,
    /// No key in a topic that is compacted.
    #[error("has no key, and the topic is compacted")]
    NoKey,
    /// More headers than [`crate::limits::RECORD_HEADERS`].
    #[error("has {found} headers, the limit RECORD_HEADERS allows {max}")]
    Headers {
        /// Headers found.
        found: usize,
        /// Headers allowed.
        max: usize,
    },
}
