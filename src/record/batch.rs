//! A view of one record batch v2 (KIP-98; Kafka's protocol guide, "Record Batch"), over the bytes
//! as they came. It never rewrites them: only base offset and leader epoch change on append, and
//! these lie outside the checksum.
//!
//! | at | field | type |
//! |---|---|---|
//! | 0 | base offset | i64 |
//! | 8 | batch length, from here to the end | i32 |
//! | 12 | partition leader epoch | i32 |
//! | 16 | magic | i8 |
//! | 17 | CRC-32C of all that follows | u32 |
//! | 21 | attributes: codec 0–2, timestamp type 3, transactional 4, control 5 | i16 |
//! | 23 | last offset delta | i32 |
//! | 27, 35 | base timestamp, max timestamp | i64 |
//! | 43, 51 | producer id, producer epoch | i64, i16 |
//! | 53 | base sequence | i32 |
//! | 57 | record count | i32 |
//! | 61 | records | |

use std::fmt;

use bytes::{Buf, Bytes};

use super::compression::Compression;
use super::error::BatchError;
use super::walk::Records;
use crate::limits::{BATCH_BYTES_MAX, BATCH_RECORDS};
use crate::types::{Offset, ProducerId, TimestampMs};

pub(super) const HEADER_BYTES: usize = 61;
/// Where the checksum's range begins.
pub(super) const ATTRIBUTES_AT: usize = 21;
pub(super) const MAGIC: i8 = 2;
/// Base offset and length itself, which the length does not count.
pub(super) const LENGTH_END: usize = 12;
const EPOCH_END: usize = 16;

pub(super) const MAX_TIMESTAMP_AT: usize = 35;
pub(super) const COUNT_AT: usize = 57;

const CODEC_MASK: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;

/// The bits in a batch's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes(i16);

impl Attributes {
    pub(super) fn bits(self) -> i16 {
        self.0
    }

    fn has(self, bit: i16) -> bool {
        self.0 & bit != 0
    }

    pub(super) fn with_log_append_time(self, set: bool) -> Self {
        match set {
            true => Self(self.0 | LOG_APPEND_TIME_BIT),
            false => Self(self.0 & !LOG_APPEND_TIME_BIT),
        }
    }

    pub(super) fn with_codec(self, codec: Compression) -> Self {
        Self(self.0 & !CODEC_MASK | codec.id())
    }

    /// Without what a producer has no say in: the timestamp type, bits that mean nothing yet, and
    /// the one by which compaction marks its own.
    pub(super) fn of_producer(self) -> Self {
        Self(self.0 & (CODEC_MASK | TRANSACTIONAL_BIT | CONTROL_BIT))
    }
}

/// Who set the timestamps of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer, for each record.
    CreateTime,
    /// The broker: the batch's max timestamp is that of all its records.
    LogAppendTime,
}

/// One batch. That it exists proves size, length, format, checksum and the sanity of its header;
/// not that its records decode, which [`RecordBatch::accept`] finds out. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordBatch {
    bytes: Bytes,
    pub(super) fields: Fields,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) base_offset: Offset,
    pub(super) leader_epoch: i32,
    pub(super) crc: u32,
    pub(super) attributes: Attributes,
    pub(super) compression: Compression,
    pub(super) last_offset_delta: i32,
    pub(super) base_timestamp: TimestampMs,
    pub(super) max_timestamp: TimestampMs,
    pub(super) producer: ProducerId,
    pub(super) base_sequence: i32,
    pub(super) record_count: i32,
}

impl RecordBatch {
    /// Takes `bytes` as exactly one batch. One pass over them, no copy.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        Self::check_size(bytes.len())?;
        // The format first: older ones have shorter headers.
        let magic = bytes.get(EPOCH_END).map(|magic| magic.cast_signed());
        if let Some(magic) = magic.filter(|magic| *magic != MAGIC) {
            return Err(BatchError::UnsupportedMagic { magic });
        }
        let actual = bytes.len();
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Length { claimed: HEADER_BYTES as i64, actual });
        };
        let claimed = batch_bytes(header);
        if claimed != actual as i64 {
            return Err(BatchError::Length { claimed, actual });
        }
        let computed = crc32c::crc32c(bytes.get(ATTRIBUTES_AT..).unwrap_or_default());
        let fields = Fields::read(header, computed)?;
        Ok(Self { bytes, fields })
    }

    pub(super) fn check_size(found: usize) -> Result<(), BatchError> {
        if found > BATCH_BYTES_MAX {
            return Err(BatchError::TooLarge {
                what: "batch in bytes",
                limit: "BATCH_BYTES_MAX",
                found,
                max: BATCH_BYTES_MAX,
            });
        }
        Ok(())
    }

    /// Offset of the first record; what the producer wrote there until the batch is appended.
    pub fn base_offset(&self) -> Offset {
        self.fields.base_offset
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        self.fields.base_offset + Offset::from(self.fields.last_offset_delta)
    }

    /// Offset after the last record.
    pub fn next_offset(&self) -> Offset {
        self.last_offset() + 1
    }

    /// Records by the header; true once accepted.
    pub fn record_count(&self) -> i32 {
        self.fields.record_count
    }

    /// Whose batch it is; [`ProducerId::NONE`] without idempotence.
    pub fn producer(&self) -> ProducerId {
        self.fields.producer
    }

    /// Sequence number of the first record; -1 for none.
    pub fn base_sequence(&self) -> i32 {
        self.fields.base_sequence
    }

    /// Sequence number of the last record; after `i32::MAX` comes 0. -1 for none.
    pub fn last_sequence(&self) -> i32 {
        if self.fields.base_sequence < 0 {
            return self.fields.base_sequence;
        }
        self.fields.base_sequence.wrapping_add(self.fields.last_offset_delta) & i32::MAX
    }

    /// What the records' timestamps are counted from.
    pub fn base_timestamp(&self) -> TimestampMs {
        self.fields.base_timestamp
    }

    /// The largest timestamp, as the producer says.
    pub fn max_timestamp(&self) -> TimestampMs {
        self.fields.max_timestamp
    }

    /// Who set the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        self.fields.timestamp_type()
    }

    /// Codec of the records.
    pub fn compression(&self) -> Compression {
        self.fields.compression
    }

    /// Whether it belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.fields.has(TRANSACTIONAL_BIT)
    }

    /// Whether it is a transaction's marker and not data.
    pub fn is_control(&self) -> bool {
        self.fields.has(CONTROL_BIT)
    }

    /// Epoch of the leader that appended it; anything until then.
    pub fn leader_epoch(&self) -> i32 {
        self.fields.leader_epoch
    }

    /// CRC-32C of what neither base offset nor leader epoch touch; it held when parsed.
    pub fn crc(&self) -> u32 {
        self.fields.crc
    }

    /// The whole batch.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Bytes of the whole batch.
    #[expect(clippy::len_without_is_empty, reason = "a batch has at least its header")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The records, with their offsets. They are slices of the batch, or of one buffer if it is
    /// compressed. The iterator ends after its first error.
    pub fn records(&self) -> Result<Records, BatchError> {
        Ok(Records::new(self.fields, self.payload()?))
    }

    /// Appends the batch to `out` as appended at `base_offset` under `leader_epoch`; all else is
    /// byte for byte as it came.
    pub fn write_assigned(&self, out: &mut Vec<u8>, base_offset: Offset, leader_epoch: i32) {
        out.reserve(self.bytes.len());
        out.extend_from_slice(&base_offset.to_be_bytes());
        out.extend_from_slice(&self.bytes[8..LENGTH_END]);
        out.extend_from_slice(&leader_epoch.to_be_bytes());
        out.extend_from_slice(&self.bytes[EPOCH_END..]);
    }

    pub(super) fn fields(&self) -> &Fields {
        &self.fields
    }

    pub(super) fn attributes(&self) -> Attributes {
        self.fields.attributes
    }

    /// The records, not compressed.
    pub(super) fn payload(&self) -> Result<Bytes, BatchError> {
        self.fields.compression.decompress(self.bytes.slice(HEADER_BYTES..))
    }

    /// The same, unless it is larger than so many bytes.
    pub(super) fn payload_within(&self, most: usize) -> Result<Option<Bytes>, BatchError> {
        if self.bytes.len() - HEADER_BYTES > most {
            return Ok(None);
        }
        let payload = self.bytes.slice(HEADER_BYTES..);
        match self.fields.compression.decompress_within(payload, most) {
            Ok(payload) => Ok(Some(payload)),
            Err(BatchError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for RecordBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes.len();
        f.debug_struct("RecordBatch").field("bytes", &bytes).field("fields", &self.fields).finish()
    }
}

impl Fields {
    fn read(header: &[u8; HEADER_BYTES], computed: u32) -> Result<Self, BatchError> {
        let mut header = header.as_slice();
        let base_offset = header.get_i64();
        header.advance(4);
        let leader_epoch = header.get_i32();
        header.advance(1);
        let crc = header.get_u32();
        if crc != computed {
            return Err(BatchError::Corrupt { stored: crc, computed });
        }
        let attributes = header.get_i16();
        let fields = Self {
            base_offset,
            leader_epoch,
            crc,
            attributes: Attributes(attributes),
            compression: Compression::from_id((attributes & CODEC_MASK) as u8)?,
            last_offset_delta: header.get_i32(),
            base_timestamp: header.get_i64(),
            max_timestamp: header.get_i64(),
            producer: ProducerId { id: header.get_i64(), epoch: header.get_i16() },
            base_sequence: header.get_i32(),
            record_count: header.get_i32(),
        };
        fields.check()?;
        Ok(fields)
    }

    fn has(&self, bit: i16) -> bool {
        self.attributes.has(bit)
    }

    /// With the attributes that are a producer's to set.
    pub(super) fn of_producer(&self) -> Self {
        Self { attributes: self.attributes.of_producer(), ..*self }
    }

    pub(super) fn timestamp_type(&self) -> TimestampType {
        match self.has(LOG_APPEND_TIME_BIT) {
            true => TimestampType::LogAppendTime,
            false => TimestampType::CreateTime,
        }
    }

    /// What the arithmetic on offsets and the walk over the records rely on.
    fn check(&self) -> Result<(), BatchError> {
        let refuse = |field, value| Err(BatchError::Field { field, value });
        if self.last_offset_delta < 0 {
            return refuse("last offset delta", i64::from(self.last_offset_delta));
        }
        // The next offset must be one too.
        if !(0..i64::MAX - i64::from(i32::MAX)).contains(&self.base_offset) {
            return refuse("base offset", self.base_offset);
        }
        let Ok(found) = usize::try_from(self.record_count) else {
            return refuse("record count", i64::from(self.record_count));
        };
        if found > BATCH_RECORDS {
            return Err(BatchError::TooLarge {
                what: "number of records in the batch",
                limit: "BATCH_RECORDS",
                found,
                max: BATCH_RECORDS,
            });
        }
        Ok(())
    }
}

/// Bytes of the whole batch by its header.
fn batch_bytes(header: &[u8; HEADER_BYTES]) -> i64 {
    i64::from((&header[8..]).get_i32()) + LENGTH_END as i64
}

/// The batches that stand one after the other in `bytes`, without copying them. The iterator ends
/// after its first error; a batch cut off at the end is one.
pub fn split_batches(bytes: Bytes) -> impl Iterator<Item = Result<RecordBatch, BatchError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let batch = split_first(&mut rest).and_then(RecordBatch::parse);
        if batch.is_err() {
            rest.clear();
        }
        Some(batch)
    })
}

fn split_first(rest: &mut Bytes) -> Result<Bytes, BatchError> {
    let actual = rest.len();
    let Some(length) = rest.get(8..LENGTH_END).and_then(|length| length.first_chunk::<4>()) else {
        return Err(BatchError::Length { claimed: HEADER_BYTES as i64, actual });
    };
    let claimed = i64::from(i32::from_be_bytes(*length)) + LENGTH_END as i64;
    match usize::try_from(claimed) {
        Ok(size) if size >= LENGTH_END && size <= actual => Ok(rest.split_to(size)),
        _ => Err(BatchError::Length { claimed, actual }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::RecordProblem;
    use super::super::hostile::{batch_of, field, reseal};
    use super::*;

    fn plain() -> RecordBatch {
        batch_of(Compression::None, 3)
    }

    fn patched(at: usize, with: &[u8]) -> Result<RecordBatch, BatchError> {
        let mut bytes = plain().as_bytes().to_vec();
        bytes[at..at + with.len()].copy_from_slice(with);
        reseal(&mut bytes);
        RecordBatch::parse(bytes.into())
    }

    #[test]
    fn append_patches_two_fields_and_no_other_byte() {
        let batch = plain();
        let mut out = b"before".to_vec();
        batch.write_assigned(&mut out, 0x0102_0304_0506, 7);
        let written = Bytes::from(out.split_off(6));
        assert_eq!(out, b"before");
        assert_eq!(written[16..], batch.as_bytes()[16..]);
        let stored = RecordBatch::parse(written).unwrap();
        assert_eq!((stored.base_offset(), stored.leader_epoch()), (0x0102_0304_0506, 7));
        assert_eq!(stored.last_offset(), 0x0102_0304_0506 + 2);
        assert_eq!(stored.next_offset(), 0x0102_0304_0506 + 3);
        let offsets: Vec<_> = stored.records().unwrap().map(|r| r.unwrap().offset).collect();
        assert_eq!(offsets, [0x0102_0304_0506, 0x0102_0304_0507, 0x0102_0304_0508]);
    }

    #[test]
    fn records_of_a_plain_batch_are_its_own_bytes() {
        let batch = plain();
        let range = batch.as_bytes().as_ptr_range();
        for record in batch.records().unwrap() {
            let record = record.unwrap();
            assert!(range.contains(&record.value.unwrap().as_ptr()));
            assert!(range.contains(&record.headers[0].key.as_ptr()));
        }
    }

    #[test]
    fn size_is_checked_before_all_else() {
        let bytes = Bytes::from(vec![0xff; BATCH_BYTES_MAX + 1]);
        let error = RecordBatch::parse(bytes).unwrap_err();
        assert!(matches!(error, BatchError::TooLarge { limit: "BATCH_BYTES_MAX", .. }), "{error}");
        assert!(error.to_string().contains("BATCH_BYTES_MAX"));
    }

    #[test]
    fn older_formats_are_refused_by_name() {
        // The least message sets of formats 0 and 1: shorter than a batch's header.
        for magic in [0_i8, 1, 3, -1] {
            let mut bytes = vec![0; 34];
            bytes[16] = magic.cast_unsigned();
            let error = RecordBatch::parse(bytes.into()).unwrap_err();
            assert_eq!(error, BatchError::UnsupportedMagic { magic });
        }
    }

    #[test]
    fn a_changed_byte_is_corruption_and_a_changed_length_is_not() {
        let mut bytes = plain().as_bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        let error = RecordBatch::parse(bytes.clone().into()).unwrap_err();
        assert!(matches!(error, BatchError::Corrupt { .. }), "{error}");
        bytes.push(0);
        let error = RecordBatch::parse(bytes.into()).unwrap_err();
        assert!(matches!(error, BatchError::Length { .. }), "{error}");
    }

    #[test]
    fn header_fields_are_checked() {
        assert_eq!(patched(22, &[5]), Err(BatchError::UnsupportedCompression { id: 5 }));
        let negative = (-1_i32).to_be_bytes();
        let delta = patched(field::LAST_OFFSET_DELTA, &negative);
        assert_eq!(delta, Err(BatchError::Field { field: "last offset delta", value: -1 }));
        let count = patched(field::RECORD_COUNT, &negative);
        assert_eq!(count, Err(BatchError::Field { field: "record count", value: -1 }));
        let many = patched(field::RECORD_COUNT, &i32::MAX.to_be_bytes());
        assert!(matches!(many, Err(BatchError::TooLarge { limit: "BATCH_RECORDS", .. })));
        let offset = patched(0, &i64::MAX.to_be_bytes());
        assert!(matches!(offset, Err(BatchError::Field { field: "base offset", .. })));
    }

    #[test]
    fn counts_that_lie_are_found() {
        let more = patched(field::RECORD_COUNT, &4_i32.to_be_bytes()).unwrap();
        assert_eq!(more.validate(), Err(BatchError::Count { count: 4, offsets: 3 }));
        let error = more.records().unwrap().last().unwrap().unwrap_err();
        assert!(matches!(error, BatchError::Record { index: 3, .. }), "{error}");

        let fewer = patched(field::RECORD_COUNT, &2_i32.to_be_bytes()).unwrap();
        assert_eq!(fewer.validate(), Err(BatchError::Count { count: 2, offsets: 3 }));
        let items: Vec<_> = fewer.records().unwrap().collect();
        assert_eq!(items.len(), 3);
        assert!(matches!(items[2], Err(BatchError::TrailingBytes { count: 2, .. })));

        // Count and offsets agree, but the records are more or fewer than both.
        for (count, last) in [(4_i32, 3_i32), (2, 1)] {
            let mut bytes = plain().as_bytes().to_vec();
            bytes[field::RECORD_COUNT..][..4].copy_from_slice(&count.to_be_bytes());
            bytes[field::LAST_OFFSET_DELTA..][..4].copy_from_slice(&last.to_be_bytes());
            reseal(&mut bytes);
            let error = RecordBatch::parse(bytes.into()).unwrap().validate().unwrap_err();
            match error {
                BatchError::Record { index: 3, .. } => assert_eq!(count, 4),
                BatchError::TrailingBytes { count: 2, .. } => assert_eq!(count, 2),
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn offset_deltas_grow_and_end_with_the_headers() {
        // Behind the first record's length of two bytes, its attributes and its timestamp delta.
        let at = HEADER_BYTES + 4;
        assert_eq!(plain().as_bytes()[at], 0);
        // As zigzag: 1, which the second record has too, then 3 and -1.
        let problem = |delta, least| RecordProblem::OffsetDelta { delta, least, most: 2 };
        for (byte, index, problem) in
            [(2, 1, problem(1, 2)), (6, 0, problem(3, 0)), (1, 0, problem(-1, 0))]
        {
            let batch = patched(at, &[byte]).unwrap();
            assert_eq!(batch.validate(), Err(BatchError::Record { index, problem }));
            let error = batch.records().unwrap().find_map(Result::err);
            assert_eq!(error, Some(BatchError::Record { index, problem }));
        }
    }

    #[test]
    fn timestamps_do_not_wrap() {
        let batch = patched(field::BASE_TIMESTAMP, &i64::MAX.to_be_bytes()).unwrap();
        let problem = RecordProblem::Timestamp;
        assert_eq!(batch.validate(), Err(BatchError::Record { index: 1, problem }));
    }

    #[test]
    fn log_append_time_is_that_of_the_batch() {
        let batch = patched(21, &LOG_APPEND_TIME_BIT.to_be_bytes()).unwrap();
        assert_eq!(batch.timestamp_type(), TimestampType::LogAppendTime);
        for record in batch.records().unwrap() {
            assert_eq!(record.unwrap().timestamp, batch.max_timestamp());
        }
    }

    #[test]
    fn sequence_numbers_wrap_to_zero() {
        let batch = patched(field::BASE_SEQUENCE, &(i32::MAX - 1).to_be_bytes()).unwrap();
        assert_eq!((batch.base_sequence(), batch.last_sequence()), (i32::MAX - 1, 0));
        assert_eq!((plain().base_sequence(), plain().last_sequence()), (-1, -1));
    }

    #[test]
    fn batches_are_split_up_to_the_first_error() {
        let batch = batch_of(Compression::Lz4, 5);
        let mut bytes = Vec::new();
        batch.write_assigned(&mut bytes, 0, 0);
        plain().write_assigned(&mut bytes, 5, 0);
        let whole = Bytes::from(bytes);
        let all: Vec<_> = split_batches(whole.clone()).map(|batch| batch.unwrap()).collect();
        assert_eq!((all.len(), all[1].base_offset(), all[1].next_offset()), (2, 5, 8));
        assert_eq!(all[1].as_bytes().as_ptr_range().end, whole.as_ptr_range().end);

        for cut in 0..whole.len() {
            let items: Vec<_> = split_batches(whole.slice(..cut)).collect();
            let good = usize::from(cut >= batch.len());
            let rest = usize::from(cut > 0 && cut != batch.len());
            assert_eq!(items.len(), good + rest, "cut at {cut}");
            assert_eq!(items.iter().filter(|item| item.is_err()).count(), rest, "cut at {cut}");
        }
    }
}
