//! Writing a batch: what pipelines and the HTTP API produce.

use super::batch::{ATTRIBUTES_AT, HEADER_BYTES, MAGIC, RecordBatch};
use super::compression::{Codec, Compression};
use super::error::{BatchError, RecordProblem};
use super::record::{Header, put_varint, varint_len};
use crate::limits::{BATCH_DECOMPRESSED_BYTES, BATCH_RECORDS, RECORD_HEADERS};
use crate::types::{ProducerId, TimestampMs};

/// Collects records and makes one batch of them, with base offset 0 and leader epoch 0.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
    producer: ProducerId,
    base_sequence: i32,
    base_timestamp: TimestampMs,
    max_timestamp: TimestampMs,
    count: i32,
    /// Room for the batch's header, then the records, not compressed.
    buffer: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch, of no producer.
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            producer: ProducerId::NONE,
            base_sequence: -1,
            base_timestamp: -1,
            max_timestamp: -1,
            count: 0,
            buffer: vec![0; HEADER_BYTES],
        }
    }

    /// Sets whose batch it is, and the sequence number of its first record (KIP-98).
    pub fn producer(&mut self, producer: ProducerId, base_sequence: i32) {
        self.producer = producer;
        self.base_sequence = base_sequence;
    }

    /// Adds a record, or leaves the batch as it was: an error when the batch or the record passes
    /// a limit, or when the timestamp is too far from the first record's.
    pub fn push(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) -> Result<(), BatchError> {
        let index = self.count;
        let first = if index == 0 { timestamp } else { self.base_timestamp };
        let timestamp_delta = timestamp
            .checked_sub(first)
            .ok_or(BatchError::Record { index, problem: RecordProblem::Timestamp })?;
        let length = self.check(timestamp_delta, key, value, headers)?;

        let out = &mut self.buffer;
        out.reserve(length + 5);
        put_varint(out, length as i64);
        out.push(0);
        put_varint(out, timestamp_delta);
        put_varint(out, i64::from(index));
        put_nullable(out, key);
        put_nullable(out, value);
        put_varint(out, headers.len() as i64);
        for header in headers {
            put_nullable(out, Some(&header.key));
            put_nullable(out, header.value.as_deref());
        }

        self.base_timestamp = first;
        self.max_timestamp = if index == 0 { timestamp } else { self.max_timestamp.max(timestamp) };
        self.count += 1;
        Ok(())
    }

    /// Bytes so far, not compressed, with the batch's header.
    pub fn size_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Records so far.
    pub fn record_count(&self) -> usize {
        self.count as usize
    }

    /// Whether no record was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch: an error when it is empty or, compressed, larger than
    /// [`crate::limits::BATCH_BYTES_MAX`].
    pub fn build(self) -> Result<RecordBatch, BatchError> {
        if self.is_empty() {
            return Err(BatchError::Empty);
        }
        let header = self.header();
        let mut bytes = match self.compression {
            Compression::None => self.buffer,
            codec => {
                let (_, records) = self.buffer.split_at(HEADER_BYTES);
                compressed(records, codec.into())?
            }
        };
        RecordBatch::check_size(bytes.len())?;
        seal(&mut bytes, header);
        RecordBatch::parse(bytes.into())
    }

    /// The header's fields behind the checksum.
    fn header(&self) -> [u8; HEADER_BYTES - ATTRIBUTES_AT] {
        let mut fields = [0; HEADER_BYTES - ATTRIBUTES_AT];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            fields[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&self.compression.id().to_be_bytes());
        put(&(self.count - 1).to_be_bytes());
        put(&self.base_timestamp.to_be_bytes());
        put(&self.max_timestamp.to_be_bytes());
        put(&self.producer.id.to_be_bytes());
        put(&self.producer.epoch.to_be_bytes());
        put(&self.base_sequence.to_be_bytes());
        put(&self.count.to_be_bytes());
        fields
    }

    /// The length of the record, if nothing in it passes a limit.
    fn check(
        &self,
        timestamp_delta: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) -> Result<usize, BatchError> {
        let index = self.count;
        let refuse = |problem| BatchError::Record { index, problem };
        if self.record_count() >= BATCH_RECORDS {
            return Err(BatchError::TooLarge {
                what: "number of records in the batch",
                limit: "BATCH_RECORDS",
                found: BATCH_RECORDS + 1,
                max: BATCH_RECORDS,
            });
        }
        if headers.len() > RECORD_HEADERS {
            let (found, max) = (headers.len(), RECORD_HEADERS);
            return Err(refuse(RecordProblem::Headers { found, max }));
        }
        let mut length = 1
            + varint_len(timestamp_delta)
            + varint_len(i64::from(index))
            + varint_len(headers.len() as i64);
        length += nullable_len(key) + nullable_len(value);
        for header in headers {
            length += nullable_len(Some(&header.key)) + nullable_len(header.value.as_deref());
        }
        // Far below what the format's 32-bit lengths hold, so each field's fits too.
        let found = self.buffer.len().saturating_add(length);
        if found > BATCH_DECOMPRESSED_BYTES {
            return Err(BatchError::TooLarge {
                what: "batch in bytes, not compressed,",
                limit: "BATCH_DECOMPRESSED_BYTES",
                found,
                max: BATCH_DECOMPRESSED_BYTES,
            });
        }
        Ok(length)
    }
}

/// Room for a header, then the records, compressed.
fn compressed(records: &[u8], codec: Codec) -> Result<Vec<u8>, BatchError> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + records.len() / 2);
    bytes.resize(HEADER_BYTES, 0);
    codec.compress(records, &mut bytes)?;
    Ok(bytes)
}

/// A batch's bytes, its records with another codec; `records` are they, not compressed.
pub(super) fn recompressed(
    batch: &RecordBatch,
    records: &[u8],
    codec: Codec,
) -> Result<Vec<u8>, BatchError> {
    let mut bytes = compressed(records, codec)?;
    let header = &batch.as_bytes()[ATTRIBUTES_AT..HEADER_BYTES];
    let mut fields = [0; HEADER_BYTES - ATTRIBUTES_AT];
    fields.copy_from_slice(header);
    let attributes = batch.attributes().with_codec(codec.compression);
    fields[..2].copy_from_slice(&attributes.bits().to_be_bytes());
    RecordBatch::check_size(bytes.len())?;
    seal(&mut bytes, fields);
    Ok(bytes)
}

/// Writes the header of the batch whose records stand in `bytes` behind the room for it.
fn seal(bytes: &mut [u8], fields: [u8; HEADER_BYTES - ATTRIBUTES_AT]) {
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = MAGIC.cast_unsigned();
    bytes[ATTRIBUTES_AT..HEADER_BYTES].copy_from_slice(&fields);
    let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
    bytes[17..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

fn nullable_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_len(bytes.len() as i64) + bytes.len())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::limits::BATCH_BYTES_MAX;

    #[test]
    fn an_empty_batch_is_not_built() {
        assert_eq!(BatchBuilder::new(Compression::None).build().err(), Some(BatchError::Empty));
    }

    #[test]
    fn size_is_that_of_the_batch_when_not_compressed() {
        let mut builder = BatchBuilder::new(Compression::None);
        for number in 0..200_i64 {
            builder.push(number * 1_000, Some(b"key"), None, &[]).unwrap();
        }
        let size = builder.size_bytes();
        assert_eq!(builder.record_count(), 200);
        assert_eq!(builder.build().unwrap().len(), size);
    }

    #[test]
    fn producer_and_timestamps_stand_in_the_header() {
        let mut builder = BatchBuilder::new(Compression::Zstd);
        builder.producer(ProducerId { id: 12, epoch: 2 }, 40);
        for timestamp in [-5, -9, -7] {
            builder.push(timestamp, None, Some(b"v"), &[]).unwrap();
        }
        let batch = builder.build().unwrap();
        assert_eq!((batch.base_timestamp(), batch.max_timestamp()), (-5, -5));
        assert_eq!(batch.producer(), ProducerId { id: 12, epoch: 2 });
        assert_eq!((batch.base_sequence(), batch.last_sequence()), (40, 42));
        let times: Vec<_> = batch.records().unwrap().map(|r| r.unwrap().timestamp).collect();
        assert_eq!(times, [-5, -9, -7]);
        batch.validate().unwrap();
    }

    #[test]
    fn a_refused_record_leaves_the_batch_as_it_was() {
        let header = Header { key: Bytes::from_static(b"h"), value: None };
        let headers = vec![header; RECORD_HEADERS + 1];
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(i64::MAX, None, Some(b"v"), &headers[1..]).unwrap();
        let size = builder.size_bytes();
        let many = builder.push(0, None, None, &headers).unwrap_err();
        assert!(matches!(
            many,
            BatchError::Record { index: 1, problem: RecordProblem::Headers { .. } }
        ));
        let far = builder.push(-2, None, None, &[]).unwrap_err();
        assert_eq!(far, BatchError::Record { index: 1, problem: RecordProblem::Timestamp });
        let big = vec![0; BATCH_DECOMPRESSED_BYTES];
        let large = builder.push(0, None, Some(&big), &[]).unwrap_err();
        assert!(matches!(large, BatchError::TooLarge { .. }));
        assert_eq!((builder.size_bytes(), builder.record_count()), (size, 1));
        builder.build().unwrap().validate().unwrap();
    }

    #[test]
    fn a_batch_beyond_the_limit_is_not_built() {
        let value = vec![7; BATCH_BYTES_MAX];
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(0, None, Some(&value), &[]).unwrap();
        let error = builder.build().unwrap_err();
        assert!(matches!(error, BatchError::TooLarge { limit: "BATCH_BYTES_MAX", .. }), "{error}");
        let mut builder = BatchBuilder::new(Compression::Gzip);
        builder.push(0, None, Some(&value), &[]).unwrap();
        assert!(builder.build().unwrap().len() < BATCH_BYTES_MAX);
    }
}
