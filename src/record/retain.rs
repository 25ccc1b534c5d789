//! A batch without some of its records, as compaction leaves it: base and last offset, producer,
//! sequences and what is left of the records stay as they were.

use super::batch::{
    ATTRIBUTES_AT, COUNT_AT, HEADER_BYTES, LENGTH_END, MAX_TIMESTAMP_AT, RecordBatch, TimestampType,
};
use super::compression::{Codec, Compression};
use super::error::BatchError;
use super::walk::Walk;
use crate::types::{Offset, TimestampMs};

/// What compaction looks at of a record.
#[derive(Debug, Clone, Copy)]
pub struct Sketch<'a> {
    /// Offset in its partition.
    pub offset: Offset,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// Whether it has no value: it deletes its key.
    pub is_tombstone: bool,
}

/// What is left of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retained {
    /// It is as it was.
    All,
    /// Nothing.
    Nothing,
    /// Some of its records.
    Some(RecordBatch),
}

impl RecordBatch {
    /// Looks at every record. Decompresses, within [`crate::limits::BATCH_DECOMPRESSED_BYTES`].
    pub fn for_each_sketch(&self, mut look: impl FnMut(Sketch<'_>)) -> Result<(), BatchError> {
        self.retain(|sketch| {
            look(sketch);
            true
        })
        .map(|_| ())
    }

    /// Keeps the records that `keep` says yes to.
    pub fn retain(&self, mut keep: impl FnMut(Sketch<'_>) -> bool) -> Result<Retained, BatchError> {
        let payload = self.payload()?;
        let mut walk = Walk::new(self.fields);
        let (mut kept, mut count) = (Vec::new(), 0_i32);
        let mut max_timestamp = TimestampMs::MIN;
        loop {
            let start = walk.at;
            let Some((raw, timestamp)) = walk.next(&payload, |_, _| {}).transpose()? else { break };
            let sketch = Sketch {
                offset: self.base_offset() + Offset::from(raw.offset_delta),
                key: raw.key.and_then(|key| payload.get(key)),
                is_tombstone: raw.value.is_none(),
            };
            if keep(sketch) {
                kept.push(start..walk.at);
                count += 1;
                max_timestamp = max_timestamp.max(timestamp);
            }
        }
        walk.finish(&payload)?;
        if count == self.record_count() {
            return Ok(Retained::All);
        }
        if count == 0 {
            return Ok(Retained::Nothing);
        }
        let mut records = Vec::with_capacity(kept.iter().map(ExactSizeIterator::len).sum());
        for range in kept {
            records.extend_from_slice(payload.get(range).unwrap_or_default());
        }
        self.with_records(&records, count, max_timestamp).map(Retained::Some)
    }

    /// This batch with other records, not compressed.
    fn with_records(
        &self,
        records: &[u8],
        count: i32,
        max_timestamp: TimestampMs,
    ) -> Result<RecordBatch, BatchError> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + records.len());
        bytes.extend_from_slice(&self.as_bytes()[..HEADER_BYTES]);
        match self.compression() {
            Compression::None => bytes.extend_from_slice(records),
            compression => Codec { compression, level: None }.compress(records, &mut bytes)?,
        }
        // Fewer records than before: only a codec that does worse than the producer's could.
        Self::check_size(bytes.len())?;
        let length = (bytes.len() - LENGTH_END) as i32;
        bytes[8..LENGTH_END].copy_from_slice(&length.to_be_bytes());
        if self.timestamp_type() == TimestampType::CreateTime {
            let at = MAX_TIMESTAMP_AT;
            bytes[at..at + 8].copy_from_slice(&max_timestamp.to_be_bytes());
        }
        bytes[COUNT_AT..HEADER_BYTES].copy_from_slice(&count.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
        bytes[17..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
        Self::parse(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::record::{BatchBuilder, Header, Record};
    use crate::types::ProducerId;

    fn batch(compression: Compression) -> RecordBatch {
        let mut builder = BatchBuilder::new(compression);
        builder.producer(ProducerId { id: 7, epoch: 3 }, 40);
        let headers = [Header { key: Bytes::from_static(b"h"), value: None }];
        for (i, timestamp) in [50, 90, 70, 60].into_iter().enumerate() {
            let (key, value) = (format!("k{i}"), format!("v{i}").repeat(50));
            let value = (i != 2).then_some(value.as_bytes());
            builder.push(timestamp, Some(key.as_bytes()), value, &headers).unwrap();
        }
        let mut bytes = Vec::new();
        builder.build().unwrap().write_assigned(&mut bytes, 1_000, 5);
        RecordBatch::parse(bytes.into()).unwrap()
    }

    fn records(batch: &RecordBatch) -> Vec<Record> {
        batch.records().unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn what_is_kept_is_as_it_was() {
        for codec in [Compression::None, Compression::Lz4, Compression::Zstd, Compression::Gzip] {
            let whole = batch(codec);
            let kept = whole.retain(|sketch| sketch.offset % 2 == 0).unwrap();
            let Retained::Some(kept) = kept else { panic!("{kept:?}") };
            let mut expected = records(&whole);
            expected.retain(|record| record.offset % 2 == 0);
            assert_eq!(records(&kept), expected);
            assert_eq!(kept.base_offset(), whole.base_offset());
            assert_eq!(kept.last_offset(), whole.last_offset());
            assert_eq!((kept.producer(), kept.base_sequence()), (whole.producer(), 40));
            assert_eq!(kept.last_sequence(), whole.last_sequence());
            assert_eq!((kept.leader_epoch(), kept.compression()), (5, codec));
            assert_eq!((kept.base_timestamp(), kept.max_timestamp()), (50, 70));
            let again = kept.retain(|_| true).unwrap();
            assert_eq!(again, Retained::All);
        }
    }

    #[test]
    fn all_and_nothing_are_told_apart() {
        let batch = batch(Compression::Snappy);
        assert_eq!(batch.retain(|_| true).unwrap(), Retained::All);
        assert_eq!(batch.retain(|_| false).unwrap(), Retained::Nothing);
    }

    #[test]
    fn a_sketch_has_key_and_tombstone() {
        let mut seen = Vec::new();
        let look = |s: Sketch<'_>| seen.push((s.offset, s.key.map(<[u8]>::to_vec), s.is_tombstone));
        batch(Compression::None).for_each_sketch(look).unwrap();
        assert_eq!(seen[2], (1_002, Some(b"k2".to_vec()), true));
        assert_eq!(seen[3], (1_003, Some(b"k3".to_vec()), false));
    }
}
