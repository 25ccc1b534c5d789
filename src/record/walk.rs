//! Going over a batch's records in order. What is read is held against the batch's header; nothing
//! is copied.

use std::iter::FusedIterator;
use std::ops::Range;

use bytes::Bytes;

use super::batch::{Fields, TimestampType};
use super::error::{BatchError, RecordProblem};
use super::record::{Header, RawRecord, Record, read_record};
use crate::types::{Offset, TimestampMs};

/// Goes over a batch's records and holds them against its header.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    fields: Fields,
    /// Where in the payload the next record begins.
    pub(super) at: usize,
    /// Records read.
    index: i32,
    /// Least offset delta that the next record may have.
    least_delta: i64,
}

impl Walk {
    pub(super) fn new(fields: Fields) -> Self {
        Self { fields, at: 0, index: 0, least_delta: 0 }
    }

    /// The next record's places in the payload and its timestamp.
    #[inline]
    pub(super) fn next(
        &mut self,
        payload: &[u8],
        on_header: impl FnMut(Range<usize>, Option<Range<usize>>),
    ) -> Option<Result<(RawRecord, TimestampMs), BatchError>> {
        if self.index == self.fields.record_count {
            return None;
        }
        let index = self.index;
        let result = self.step(payload, on_header);
        self.index += 1;
        Some(result.map_err(|problem| BatchError::Record { index, problem }))
    }

    #[inline]
    fn step(
        &mut self,
        payload: &[u8],
        on_header: impl FnMut(Range<usize>, Option<Range<usize>>),
    ) -> Result<(RawRecord, TimestampMs), RecordProblem> {
        let (raw, end) = read_record(payload, self.at, on_header)?;
        let (delta, most) = (raw.offset_delta, self.fields.last_offset_delta);
        let least = self.least_delta;
        if i64::from(delta) < least || delta > most {
            return Err(RecordProblem::OffsetDelta { delta, least, most });
        }
        let created = self.fields.base_timestamp.checked_add(raw.timestamp_delta);
        let timestamp = match self.fields.timestamp_type() {
            TimestampType::CreateTime => created.ok_or(RecordProblem::Timestamp)?,
            TimestampType::LogAppendTime => self.fields.max_timestamp,
        };
        self.at = end;
        self.least_delta = i64::from(delta) + 1;
        Ok((raw, timestamp))
    }

    /// After the last record nothing may follow.
    pub(super) fn finish(&self, payload: &[u8]) -> Result<(), BatchError> {
        match payload.len() - self.at {
            0 => Ok(()),
            bytes => Err(BatchError::TrailingBytes { bytes, count: self.fields.record_count }),
        }
    }
}

/// Iterator over a batch's records; see [`super::RecordBatch::records`]. It owns what it reads.
#[derive(Debug, Clone)]
pub struct Records {
    payload: Bytes,
    walk: Walk,
    done: bool,
}

impl Records {
    pub(super) fn new(fields: Fields, payload: Bytes) -> Self {
        Self { payload, walk: Walk::new(fields), done: false }
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let payload = &self.payload;
        let mut headers = Vec::new();
        let next = self.walk.next(payload, |key, value| {
            let value = value.map(|value| payload.slice(value));
            headers.push(Header { key: payload.slice(key), value });
        });
        let item = match next {
            None => self.walk.finish(payload).err().map(Err),
            Some(result) => Some(result.map(|(raw, timestamp)| Record {
                offset: self.walk.fields.base_offset + Offset::from(raw.offset_delta),
                timestamp,
                key: raw.key.map(|key| payload.slice(key)),
                value: raw.value.map(|value| payload.slice(value)),
                headers,
            })),
        };
        self.done = !matches!(item, Some(Ok(_)));
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.done {
            return (0, Some(0));
        }
        // One more for the error that may end it.
        let left = (self.walk.fields.record_count - self.walk.index) as usize;
        (0, Some(left + 1))
    }
}

impl FusedIterator for Records {}
