//! One record, and how it lies in a batch: varint length, attributes, timestamp and offset as
//! deltas, key, value, headers (Kafka's protocol guide, "Record"). Everything read here comes from
//! outside.

use std::ops::Range;

use bytes::Bytes;

use super::error::RecordProblem;
use crate::limits::RECORD_HEADERS;
use crate::types::{Offset, TimestampMs};

/// One header. Keys stay bytes: duplicates, order and what is not UTF-8 survive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Header {
    /// The key; may be empty, and may occur again.
    pub key: Bytes,
    /// The value; null is not empty.
    pub value: Option<Bytes>,
}

/// One record. Its bytes are slices of the batch it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Offset in its partition.
    pub offset: Offset,
    /// When it was created, or appended if its batch says so.
    pub timestamp: TimestampMs,
    /// The key; null is not empty.
    pub key: Option<Bytes>,
    /// The value; null is not empty.
    pub value: Option<Bytes>,
    /// Headers in the order in which the producer set them.
    pub headers: Vec<Header>,
}

impl Record {
    /// [`bytes_in_batch`] of this one.
    pub fn bytes_in_batch(&self) -> usize {
        bytes_in_batch(self.key.as_ref(), self.value.as_ref(), &self.headers)
    }
}

/// At most what a record takes in a batch that is not compressed, bytes.
pub fn bytes_in_batch(key: Option<&Bytes>, value: Option<&Bytes>, headers: &[Header]) -> usize {
    /// Longest varints: of the record and of a header.
    const FIXED: usize = 40;
    const HEADER: usize = 10;
    let len = |bytes: Option<&Bytes>| bytes.map_or(0, Bytes::len);
    let header = |header: &Header| HEADER + header.key.len() + len(header.value.as_ref());
    FIXED + len(key) + len(value) + headers.iter().map(header).sum::<usize>()
}

/// A record's fixed part, with its key and value as places in the batch.
#[derive(Debug)]
pub(super) struct RawRecord {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<Range<usize>>,
    pub(super) value: Option<Range<usize>>,
}

/// Reads the record at `at` of `bytes`: what it is, and the place after it. `on_header` is called
/// with the places of each header's key and value.
pub(super) fn read_record(
    bytes: &[u8],
    at: usize,
    mut on_header: impl FnMut(Range<usize>, Option<Range<usize>>),
) -> Result<(RawRecord, usize), RecordProblem> {
    let mut outer = Cursor { bytes, at };
    let Range { start, end } = outer.present("length")?;
    // No field may reach into the next record.
    let within = bytes.get(..end).unwrap_or_default();
    let mut cursor = Cursor { bytes: within, at: start };
    cursor.byte("attributes")?;
    let timestamp_delta = cursor.varlong("timestamp delta")?;
    let offset_delta = cursor.varint("offset delta")?;
    let key = cursor.nullable("key")?;
    let value = cursor.nullable("value")?;
    let headers = cursor.varint("header count")?;
    let count = usize::try_from(headers)
        .map_err(|_| RecordProblem::Negative { field: "header count", value: headers })?;
    if count > RECORD_HEADERS {
        return Err(RecordProblem::Headers { found: count, max: RECORD_HEADERS });
    }
    for _ in 0..count {
        let key = cursor.present("header key")?;
        on_header(key, cursor.nullable("header value")?);
    }
    if cursor.at != end {
        return Err(RecordProblem::TrailingBytes { bytes: end - cursor.at });
    }
    Ok((RawRecord { timestamp_delta, offset_delta, key, value }, end))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    #[inline]
    fn byte(&mut self, field: &'static str) -> Result<u8, RecordProblem> {
        let byte = *self.bytes.get(self.at).ok_or(RecordProblem::Truncated { field })?;
        self.at += 1;
        Ok(byte)
    }

    /// Little-endian groups of seven bits, then zigzag. `BITS` is the width of the result.
    #[inline]
    fn unsigned<const BITS: u32>(&mut self, field: &'static str) -> Result<u64, RecordProblem> {
        let first = self.byte(field)?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            let room = BITS - shift;
            if room < 7 && bits >> room != 0 {
                return Err(RecordProblem::Overlong { field });
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
            if shift >= BITS {
                return Err(RecordProblem::Overlong { field });
            }
        }
    }

    #[inline]
    fn varint(&mut self, field: &'static str) -> Result<i32, RecordProblem> {
        let raw = self.unsigned::<32>(field)? as u32;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    #[inline]
    fn varlong(&mut self, field: &'static str) -> Result<i64, RecordProblem> {
        let raw = self.unsigned::<64>(field)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// Bytes behind their length, which is 0 or more.
    #[inline]
    fn present(&mut self, field: &'static str) -> Result<Range<usize>, RecordProblem> {
        let length = self.varint(field)?;
        self.span(length, field)
    }

    /// Bytes behind their length, of which -1 means null.
    #[inline]
    fn nullable(&mut self, field: &'static str) -> Result<Option<Range<usize>>, RecordProblem> {
        match self.varint(field)? {
            -1 => Ok(None),
            length => self.span(length, field).map(Some),
        }
    }

    #[inline]
    fn span(&mut self, length: i32, field: &'static str) -> Result<Range<usize>, RecordProblem> {
        let length = usize::try_from(length)
            .map_err(|_| RecordProblem::Negative { field, value: length })?;
        if length > self.bytes.len() - self.at {
            return Err(RecordProblem::Truncated { field });
        }
        let start = self.at;
        self.at += length;
        Ok(start..self.at)
    }
}

/// Appends `value` as Kafka writes a varint or a varlong; they are the same for the same number.
pub(super) fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut raw = zigzag(value);
    while raw >= 0x80 {
        out.push((raw & 0x7f) as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Bytes that [`put_varint`] takes for `value`.
pub(super) fn varint_len(value: i64) -> usize {
    (64 - (zigzag(value) | 1).leading_zeros()).div_ceil(7) as usize
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<(RawRecord, usize), RecordProblem> {
        read_record(bytes, 0, |_, _| {})
    }

    #[test]
    fn varints_come_back_and_have_the_length_that_is_said() {
        let numbers =
            [0, -1, 1, 63, -64, 64, 8_191, 8_192, i64::from(i32::MIN), i64::MAX, i64::MIN];
        for number in numbers {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            assert_eq!(bytes.len(), varint_len(number), "{number}");
            let mut cursor = Cursor { bytes: &bytes, at: 0 };
            assert_eq!(cursor.varlong("n"), Ok(number));
            let narrow = Cursor { bytes: &bytes, at: 0 }.varint("n");
            match i32::try_from(number) {
                Ok(number) => assert_eq!(narrow, Ok(number)),
                Err(_) => assert_eq!(narrow, Err(RecordProblem::Overlong { field: "n" })),
            }
        }
        // 300 and -1 as Kafka writes them.
        let mut bytes = Vec::new();
        put_varint(&mut bytes, 300);
        put_varint(&mut bytes, -1);
        assert_eq!(bytes, [0xd8, 0x04, 0x01]);
    }

    #[test]
    fn overlong_varints_are_refused() {
        let overlong = Err(RecordProblem::Overlong { field: "n" });
        let int = |bytes: &[u8]| Cursor { bytes, at: 0 }.varint("n");
        let long = |bytes: &[u8]| Cursor { bytes, at: 0 }.varlong("n");
        assert_eq!(int(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(i32::MIN));
        assert_eq!(int(&[0xff, 0xff, 0xff, 0xff, 0x10]), overlong);
        assert_eq!(int(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), overlong);
        let mut bytes = [0xff; 10];
        bytes[9] = 0x01;
        assert_eq!(long(&bytes), Ok(i64::MIN));
        bytes[9] = 0x02;
        assert_eq!(long(&bytes), Err(RecordProblem::Overlong { field: "n" }));
        assert_eq!(long(&[0x80; 11]), Err(RecordProblem::Overlong { field: "n" }));
        assert_eq!(int(&[0x80]), Err(RecordProblem::Truncated { field: "n" }));
    }

    #[test]
    fn null_is_not_empty() {
        // length 6: attributes, deltas, null key, empty value, no headers
        let (record, end) = read(&[12, 0, 0, 0, 1, 0, 0]).unwrap();
        assert_eq!((record.key, record.value, end), (None, Some(6..6), 7));
    }

    #[test]
    fn negative_lengths_are_refused() {
        let negative = |field, value| Err(RecordProblem::Negative { field, value });
        let problem = |bytes: &[u8]| read(bytes).map(|_| ());
        assert_eq!(problem(&[1]), negative("length", -1));
        assert_eq!(problem(&[12, 0, 0, 0, 3, 0, 0]), negative("key", -2));
        assert_eq!(problem(&[12, 0, 0, 0, 1, 5, 0]), negative("value", -3));
        assert_eq!(problem(&[12, 0, 0, 0, 1, 1, 1]), negative("header count", -1));
        assert_eq!(problem(&[16, 0, 0, 0, 1, 1, 2, 1, 1]), negative("header key", -1));
        assert_eq!(problem(&[16, 0, 0, 0, 1, 1, 2, 0, 3]), negative("header value", -2));
    }

    #[test]
    fn no_field_reaches_past_its_record() {
        // The key says 3 bytes, its record ends before them; the bytes are there.
        let key = read(&[12, 0, 0, 0, 6, 1, 1, 9, 9, 9, 9]).map(|_| ());
        assert_eq!(key, Err(RecordProblem::Truncated { field: "key" }));
        let length = read(&[100, 0, 0, 0, 1, 1, 0]).map(|_| ());
        assert_eq!(length, Err(RecordProblem::Truncated { field: "length" }));
        let trailing = read(&[16, 0, 0, 0, 1, 1, 0, 9, 9]).map(|_| ());
        assert_eq!(trailing, Err(RecordProblem::TrailingBytes { bytes: 2 }));
    }

    #[test]
    fn header_counts_are_bounded_before_they_are_followed() {
        let mut bytes = vec![0, 0, 0, 0, 1, 1];
        put_varint(&mut bytes, i64::from(i32::MAX));
        bytes[0] = ((bytes.len() - 1) * 2) as u8;
        let found = i32::MAX as usize;
        let problem = read(&bytes).map(|_| ());
        assert_eq!(problem, Err(RecordProblem::Headers { found, max: RECORD_HEADERS }));
    }
}
