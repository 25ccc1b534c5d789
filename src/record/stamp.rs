//! Changing what stands in a batch's header within its checksum, without reading its records: the
//! checksum is mended by what it is of the header before and after.

use bytes::Bytes;

use super::batch::{ATTRIBUTES_AT, Attributes, HEADER_BYTES, RecordBatch};
use crate::types::{Offset, TimestampMs};

/// Where the checksum stands, up to [`ATTRIBUTES_AT`].
const CRC_AT: usize = 17;
const MAX_TIMESTAMP_AT: usize = 35;

impl RecordBatch {
    /// Appends the batch to `out` as [`RecordBatch::write_assigned`] does, with the broker's time
    /// in place of its records'.
    pub fn write_stamped(
        &self,
        out: &mut Vec<u8>,
        base_offset: Offset,
        leader_epoch: i32,
        log_append_time: TimestampMs,
    ) {
        let start = out.len();
        self.write_assigned(out, base_offset, leader_epoch);
        let attributes = self.attributes().with_log_append_time(true);
        restamp(&mut out[start..], attributes, log_append_time);
    }

    /// A copy with these attributes and this greatest timestamp.
    pub(super) fn restamped(&self, attributes: Attributes, max_timestamp: TimestampMs) -> Bytes {
        let mut bytes = self.as_bytes().to_vec();
        restamp(&mut bytes, attributes, max_timestamp);
        bytes.into()
    }
}

fn restamp(batch: &mut [u8], attributes: Attributes, max_timestamp: TimestampMs) {
    let records_bytes = batch.len() - HEADER_BYTES;
    let header = &mut batch[..HEADER_BYTES];
    let mut crc = [0; 4];
    crc.copy_from_slice(&header[CRC_AT..ATTRIBUTES_AT]);
    let before = crc32c::crc32c(&header[ATTRIBUTES_AT..]);
    header[ATTRIBUTES_AT..][..2].copy_from_slice(&attributes.bits().to_be_bytes());
    header[MAX_TIMESTAMP_AT..][..8].copy_from_slice(&max_timestamp.to_be_bytes());
    let after = crc32c::crc32c(&header[ATTRIBUTES_AT..]);
    // To combine is to shift the first and add the second, and to add is to take away: the first
    // call leaves the checksum of the records alone.
    let records = crc32c::crc32c_combine(before, u32::from_be_bytes(crc), records_bytes);
    let crc = crc32c::crc32c_combine(after, records, records_bytes);
    header[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::hostile::batch_of;
    use super::super::{Compression, RecordBatch, TimestampType};

    #[test]
    fn a_stamped_batch_has_the_brokers_time_and_a_checksum_that_holds() {
        for (codec, records) in [(Compression::None, 1), (Compression::Gzip, 100)] {
            let batch = batch_of(codec, records);
            let mut out = b"before".to_vec();
            batch.write_stamped(&mut out, 7, 3, 1_234);
            let stored = RecordBatch::parse(out.split_off(6).into()).unwrap();
            assert_eq!(stored.timestamp_type(), TimestampType::LogAppendTime);
            assert_eq!((stored.base_offset(), stored.leader_epoch()), (7, 3));
            assert_eq!((stored.max_timestamp(), stored.compression()), (1_234, codec));
            assert_eq!(stored.as_bytes()[61..], batch.as_bytes()[61..]);
            for record in stored.records().unwrap() {
                assert_eq!(record.unwrap().timestamp, 1_234);
            }
        }
    }

    #[test]
    fn a_batch_without_records_is_stamped_too() {
        // Compaction leaves such batches.
        let mut bytes = batch_of(Compression::None, 1).as_bytes()[..61].to_vec();
        super::super::hostile::reseal(&mut bytes);
        let batch = RecordBatch::parse(bytes.into()).unwrap();
        let mut out = Vec::new();
        batch.write_stamped(&mut out, 0, 0, 9);
        assert_eq!(RecordBatch::parse(out.into()).unwrap().max_timestamp(), 9);
    }
}
