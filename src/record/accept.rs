//! What a topic accepts: the check of a batch that somebody wants appended, and the batch as it is
//! to be stored. Kafka's checks (`LogValidator`), in its order.
//!
//! One pass over the records, no allocation for a record that is good.

use bytes::Bytes;

use super::batch::{LENGTH_END, MAGIC, RecordBatch, TimestampType};
use super::builder::recompressed;
use super::compression::Codec;
use super::error::{BatchError, RecordProblem, RefusedRecord};
use super::walk::Walk;
use crate::limits::{BATCH_BYTES, CHECK_AT_ONCE_BYTES, RECOMPRESS_AT_ONCE_BYTES, REFUSED_RECORDS};
use crate::types::{Offset, TimestampMs};

/// Length field of the least message of any format.
const LENGTH_MIN: i64 = 14;
/// Up to the format, which stands there in every format.
const MAGIC_END: usize = 17;

/// What a topic asks of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Most bytes of a batch.
    pub max_bytes: usize,
    /// Every record has a key.
    pub keys: bool,
    /// Who sets the timestamps, and how far the producer's may be off.
    pub timestamps: Timestamps,
    /// How the records are stored; `None`: as they come.
    pub codec: Option<Codec>,
}

/// Who sets the timestamps of a topic's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timestamps {
    /// The producer, within these bounds; -1 stands for no time and is always accepted.
    Create {
        /// The least that is accepted.
        earliest: TimestampMs,
        /// The greatest that is accepted.
        latest: TimestampMs,
    },
    /// The broker, when it appends.
    LogAppend,
}

impl Default for Terms {
    /// Those of a topic without settings, but for the time: any is accepted.
    fn default() -> Self {
        let timestamps =
            Timestamps::Create { earliest: TimestampMs::MIN, latest: TimestampMs::MAX };
        Self { max_bytes: BATCH_BYTES, keys: false, timestamps, codec: None }
    }
}

impl Terms {
    /// The same for records whose times have been judged.
    #[must_use]
    pub fn at_any_time(&self) -> Self {
        let timestamps = match self.timestamps {
            Timestamps::Create { .. } => Self::default().timestamps,
            Timestamps::LogAppend => Timestamps::LogAppend,
        };
        Self { timestamps, ..self.clone() }
    }

    /// Why a record of this time and key would be refused, if it would.
    pub fn refusal(&self, timestamp: TimestampMs, has_key: bool) -> Option<RecordProblem> {
        if self.keys && !has_key {
            return Some(RecordProblem::NoKey);
        }
        match self.timestamps {
            Timestamps::Create { earliest, latest }
                if timestamp != NO_TIMESTAMP && !(earliest..=latest).contains(&timestamp) =>
            {
                Some(RecordProblem::Untimely { timestamp, earliest, latest })
            }
            _ => None,
        }
    }
}

impl RecordBatch {
    /// Takes the one batch that a producer may send for a partition. As Kafka does, passes over an
    /// end too short to be a batch.
    pub fn produced(bytes: Bytes, max_bytes: usize) -> Result<Self, BatchError> {
        let actual = bytes.len();
        let Some(size) = first_batch(&bytes)? else {
            return Err(BatchError::Incomplete { actual });
        };
        if let Some(magic @ (0 | 1)) = bytes.get(MAGIC_END - 1) {
            return Err(BatchError::UnsupportedMagic { magic: magic.cast_signed() });
        }
        if first_batch(&bytes[size..])?.is_some() {
            return Err(BatchError::Several);
        }
        check_size(size, max_bytes)?;
        Self::parse(bytes.slice(..size))
    }

    /// Checks all that `terms` and the format ask of a batch to append, and returns the batch to
    /// store: this one, unless its header says what its records do not, or it is to be stored with
    /// another codec. Decompresses, within [`crate::limits::BATCH_DECOMPRESSED_BYTES`].
    pub fn accept(self, terms: &Terms) -> Result<Self, BatchError> {
        self.check_whole(terms)?;
        let payload = self.payload()?;
        self.accept_records(&payload, terms)
    }

    /// [`RecordBatch::accept`], unless that takes much work: more than [`CHECK_AT_ONCE_BYTES`] of
    /// records, or [`RECOMPRESS_AT_ONCE_BYTES`] if they are to have another codec.
    pub fn accept_at_once(&self, terms: &Terms) -> Option<Result<Self, BatchError>> {
        if let Err(error) = self.check_whole(terms) {
            return Some(Err(error));
        }
        let most = match self.codec_to_be(terms) {
            Some(_) => RECOMPRESS_AT_ONCE_BYTES,
            None => CHECK_AT_ONCE_BYTES,
        };
        let payload = self.payload_within(most).transpose()?;
        Some(payload.and_then(|payload| self.clone().accept_records(&payload, terms)))
    }

    /// What can be said without the records.
    fn check_whole(&self, terms: &Terms) -> Result<(), BatchError> {
        check_size(self.len(), terms.max_bytes)?;
        self.check_header()
    }

    /// The codec that it does not have yet.
    fn codec_to_be(&self, terms: &Terms) -> Option<Codec> {
        terms.codec.filter(|codec| codec.compression != self.compression())
    }

    fn accept_records(self, payload: &Bytes, terms: &Terms) -> Result<Self, BatchError> {
        let max_timestamp = self.check_records(payload, terms)?;
        let accepted = match self.codec_to_be(terms) {
            Some(codec) => {
                let batch = Self::parse(recompressed(&self, payload, codec)?.into())?;
                check_size(batch.len(), terms.max_bytes)?;
                batch
            }
            None => self,
        };
        let attributes = accepted.attributes().of_producer();
        let true_header =
            max_timestamp == accepted.max_timestamp() || terms.timestamps == Timestamps::LogAppend;
        if attributes == accepted.attributes() && true_header {
            return Ok(accepted);
        }
        // Lookups by time go by the header, which is to be no mere claim.
        Self::parse(accepted.restamped(attributes, max_timestamp))
    }

    /// [`RecordBatch::accept`] by the format alone.
    pub fn validate(&self) -> Result<(), BatchError> {
        self.check_header()?;
        self.check_records(&self.payload()?, &Terms::default()).map(drop)
    }

    /// What can be said of a batch to append without reading its records.
    fn check_header(&self) -> Result<(), BatchError> {
        if self.base_offset() != 0 {
            return Err(BatchError::Field { field: "base offset", value: self.base_offset() });
        }
        let count = self.record_count();
        if count == 0 {
            return Err(BatchError::Empty);
        }
        // From offset 0.
        let offsets = self.next_offset();
        if offsets != Offset::from(count) {
            return Err(BatchError::Count { count, offsets });
        }
        if self.is_control() {
            return Err(BatchError::Control);
        }
        if self.producer().id >= 0 && self.base_sequence() < 0 {
            let value = i64::from(self.base_sequence());
            return Err(BatchError::Field { field: "base sequence", value });
        }
        Ok(())
    }

    /// Checks the records and returns their greatest timestamp.
    fn check_records(&self, payload: &Bytes, terms: &Terms) -> Result<TimestampMs, BatchError> {
        let stamped = terms.timestamps == Timestamps::LogAppend
            && self.timestamp_type() == TimestampType::LogAppendTime;
        let mut walk = Walk::new(self.fields().of_producer());
        let mut max_timestamp = TimestampMs::MIN;
        let mut refused = Refused::default();
        let mut index = 0;
        // Each delta is above the one before and none above the last: with as many records as
        // offsets, each is its record's index.
        while let Some((record, timestamp)) = walk.next(payload, |_, _| {}).transpose()? {
            max_timestamp = max_timestamp.max(timestamp);
            if let Some(problem) = terms.refusal(timestamp, record.key.is_some()) {
                refused.add(index, problem);
            } else if stamped {
                refused.add(index, RecordProblem::LogAppendTime);
            }
            index += 1;
        }
        walk.finish(payload)?;
        refused.result()?;
        Ok(max_timestamp)
    }
}

/// What a record has for a timestamp that has none.
const NO_TIMESTAMP: TimestampMs = -1;

/// The records of a batch that were refused.
#[derive(Default)]
struct Refused {
    records: Vec<RefusedRecord>,
    count: usize,
}

impl Refused {
    #[cold]
    fn add(&mut self, index: i32, problem: RecordProblem) {
        self.count += 1;
        if self.records.len() < REFUSED_RECORDS {
            self.records.push(RefusedRecord { index, problem });
        }
    }

    fn result(self) -> Result<(), BatchError> {
        match self.records.is_empty() {
            true => Ok(()),
            false => Err(BatchError::Refused { records: self.records, count: self.count }),
        }
    }
}

fn check_size(found: usize, max: usize) -> Result<(), BatchError> {
    if found > max {
        let (what, limit) = ("batch in bytes", "max.message.bytes");
        return Err(BatchError::TooLarge { what, limit, found, max });
    }
    Ok(())
}

/// Bytes of the first batch or message, of whatever format; `None` if there is no whole one.
fn first_batch(bytes: &[u8]) -> Result<Option<usize>, BatchError> {
    let length = bytes.get(LENGTH_END - 4..LENGTH_END).and_then(|length| length.first_chunk());
    let Some(length) = length else { return Ok(None) };
    let length = i64::from(i32::from_be_bytes(*length));
    let claimed = length + LENGTH_END as i64;
    if length < LENGTH_MIN {
        return Err(BatchError::Length { claimed, actual: bytes.len() });
    }
    let Some(magic) = bytes.get(MAGIC_END - 1) else { return Ok(None) };
    let magic = magic.cast_signed();
    if !(0..=MAGIC).contains(&magic) {
        return Err(BatchError::UnsupportedMagic { magic });
    }
    Ok(usize::try_from(claimed).ok().filter(|claimed| *claimed <= bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::super::batch::HEADER_BYTES;
    use super::super::hostile::{batch_of, field, reseal};
    use super::super::{BatchBuilder, Compression, split_batches};
    use super::*;

    const NOW: TimestampMs = 1_700_000_000_000;

    fn of(records: &[(TimestampMs, Option<&[u8]>)], codec: Compression) -> RecordBatch {
        let mut builder = BatchBuilder::new(codec);
        for (timestamp, key) in records {
            builder.push(*timestamp, *key, Some(b"v"), &[]).unwrap();
        }
        builder.build().unwrap()
    }

    fn patched(at: usize, with: &[u8]) -> RecordBatch {
        let mut bytes = batch_of(Compression::None, 3).as_bytes().to_vec();
        bytes[at..at + with.len()].copy_from_slice(with);
        reseal(&mut bytes);
        RecordBatch::parse(bytes.into()).unwrap()
    }

    fn refused(batch: RecordBatch, terms: &Terms) -> Vec<(i32, RecordProblem)> {
        match batch.accept(terms) {
            Err(BatchError::Refused { records, count }) => {
                assert_eq!(records.len(), count);
                records.into_iter().map(|record| (record.index, record.problem)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn much_work_is_left_undone() {
        let of_bytes = |bytes, compression| {
            let mut builder = BatchBuilder::new(compression);
            builder.push(NOW, None, Some(&vec![7; bytes]), &[]).unwrap();
            builder.build().unwrap()
        };
        let codec = Some(Codec::from(Compression::Zstd));
        let (as_it_comes, zstd) = (Terms::default(), Terms { codec, ..Terms::default() });
        for compression in Compression::ALL {
            let small = of_bytes(RECOMPRESS_AT_ONCE_BYTES / 2, compression);
            let middle = of_bytes(CHECK_AT_ONCE_BYTES / 2, compression);
            let large = of_bytes(CHECK_AT_ONCE_BYTES, compression);
            let at_once = |batch: &RecordBatch, terms: &Terms| batch.accept_at_once(terms);
            let accepted = small.clone().accept(&zstd).unwrap();
            assert_eq!(at_once(&small, &zstd).unwrap().unwrap().as_bytes(), accepted.as_bytes());
            assert!(at_once(&middle, &as_it_comes).unwrap().is_ok());
            assert_eq!(at_once(&middle, &zstd).is_some(), compression == Compression::Zstd);
            assert!(at_once(&large, &as_it_comes).is_none(), "{compression}");
        }
        // Whatever its size, a batch that is refused by its header alone is refused at once.
        let small = Terms { max_bytes: 100, ..Terms::default() };
        let large = of_bytes(CHECK_AT_ONCE_BYTES, Compression::None);
        assert!(matches!(large.accept_at_once(&small), Some(Err(BatchError::TooLarge { .. }))));
        // So is one whose records are no records.
        let mut broken = of_bytes(100, Compression::Zstd).as_bytes().to_vec();
        let at = broken.len() - 10;
        broken.truncate(at);
        let length = (at as u32 - LENGTH_END as u32).to_be_bytes();
        broken[LENGTH_END - 4..LENGTH_END].copy_from_slice(&length);
        reseal(&mut broken);
        let broken = RecordBatch::parse(broken.into()).unwrap();
        let refused = broken.accept_at_once(&Terms::default());
        assert!(matches!(refused, Some(Err(BatchError::Decompress { .. }))), "{refused:?}");
    }

    #[test]
    fn a_good_batch_is_stored_as_it_came() {
        for codec in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let batch = batch_of(codec, 5);
            let accepted = batch.clone().accept(&Terms::default()).unwrap();
            assert_eq!(accepted.as_bytes().as_ptr(), batch.as_bytes().as_ptr());
        }
    }

    #[test]
    fn every_record_without_a_key_is_named() {
        let records = [(1, None), (2, Some(&b"k"[..])), (3, Some(&b""[..])), (4, None)];
        let terms = Terms { keys: true, ..Terms::default() };
        for codec in [Compression::None, Compression::Lz4] {
            let named = refused(of(&records, codec), &terms);
            assert_eq!(named, [(0, RecordProblem::NoKey), (3, RecordProblem::NoKey)]);
        }
        of(&records[1..3], Compression::None).accept(&terms).unwrap();
    }

    #[test]
    fn not_all_of_very_many_are_named() {
        let many = vec![(0, None); REFUSED_RECORDS + 5];
        let terms = Terms { keys: true, ..Terms::default() };
        let error = of(&many, Compression::None).accept(&terms).unwrap_err();
        let BatchError::Refused { records, count } = &error else { panic!("{error}") };
        assert_eq!((records.len(), *count), (REFUSED_RECORDS, REFUSED_RECORDS + 5));
        assert!(error.to_string().contains("record 0: has no key"), "{error}");
    }

    #[test]
    fn timestamps_stay_within_their_bounds() {
        let (earliest, latest) = (NOW - 10, NOW + 10);
        let timestamps = Timestamps::Create { earliest, latest };
        let terms = Terms { timestamps, ..Terms::default() };
        let times = [NOW, NOW - 11, -1, NOW - 10, NOW + 10, NOW + 11].map(|time| (time, None));
        let named = refused(of(&times, Compression::None), &terms);
        let untimely = |timestamp| RecordProblem::Untimely { timestamp, earliest, latest };
        assert_eq!(named, [(1, untimely(NOW - 11)), (5, untimely(NOW + 11))]);
    }

    #[test]
    fn a_greatest_timestamp_that_is_none_is_mended() {
        for lie in [0, NOW - 1, NOW + 1_000_000] {
            let batch = patched(35, &i64::to_be_bytes(lie));
            let greatest = batch.records().unwrap().map(|r| r.unwrap().timestamp).max().unwrap();
            let accepted = batch.clone().accept(&Terms::default()).unwrap();
            assert_eq!((accepted.max_timestamp(), batch.max_timestamp()), (greatest, lie));
            assert_eq!(accepted.as_bytes()[HEADER_BYTES..], batch.as_bytes()[HEADER_BYTES..]);
        }
    }

    #[test]
    fn the_timestamp_type_is_the_topics() {
        let claims = patched(22, &[0x08]);
        let accepted = claims.clone().accept(&Terms::default()).unwrap();
        assert_eq!(accepted.timestamp_type(), TimestampType::CreateTime);
        let terms = Terms { timestamps: Timestamps::LogAppend, ..Terms::default() };
        let named = refused(claims, &terms);
        assert_eq!(named, [0, 1, 2].map(|index| (index, RecordProblem::LogAppendTime)));
        // What the producer says of time is of no interest there.
        of(&[(TimestampMs::MIN, None)], Compression::None).accept(&terms).unwrap();
    }

    #[test]
    fn bits_that_are_not_a_producers_are_taken_off() {
        // The delete horizon of compaction, and one that means nothing.
        let accepted = patched(21, &[0x01, 0x40]).accept(&Terms::default()).unwrap();
        assert_eq!(accepted.attributes().bits(), 0);
    }

    #[test]
    fn records_are_stored_with_the_topics_codec() {
        for from in Compression::ALL {
            for to in Compression::ALL {
                let batch = batch_of(from, 50);
                let terms = Terms { codec: Some(to.into()), ..Terms::default() };
                let stored = batch.clone().accept(&terms).unwrap();
                assert_eq!(stored.compression(), to);
                assert_eq!(stored == batch, from == to);
                let read = |batch: &RecordBatch| -> Vec<_> {
                    batch.records().unwrap().map(Result::unwrap).collect()
                };
                assert_eq!(read(&stored), read(&batch), "{from} to {to}");
                assert_eq!(stored.max_timestamp(), batch.max_timestamp());
            }
        }
        // It must still fit.
        let batch = of(&[(0, None); 1_000], Compression::Gzip);
        let max_bytes = batch.len();
        let codec = Some(Compression::None.into());
        let error = batch.accept(&Terms { max_bytes, codec, ..Terms::default() }).unwrap_err();
        assert!(matches!(error, BatchError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn what_producers_may_not_send() {
        let control = patched(22, &[0x20]);
        assert!(control.is_control());
        assert_eq!(control.validate(), Err(BatchError::Control));
        let nameless = patched(field::PRODUCER_ID, &5_i64.to_be_bytes());
        let field = "base sequence";
        assert_eq!(nameless.validate(), Err(BatchError::Field { field, value: -1 }));
        let later = patched(0, &5_i64.to_be_bytes());
        let field = "base offset";
        assert_eq!(later.validate(), Err(BatchError::Field { field, value: 5 }));
        let transactional = patched(22, &[0x10]);
        assert!(transactional.is_transactional());
        assert_eq!(transactional.validate(), Ok(()));
    }

    #[test]
    fn one_batch_is_taken_and_no_more() {
        let batch = batch_of(Compression::None, 3);
        let taken = |bytes: &[&[u8]], max| {
            RecordBatch::produced(Bytes::from(bytes.concat()), max).map(|batch| batch.len())
        };
        let one = &batch.as_bytes()[..];
        let good = Ok(one.len());
        assert_eq!(taken(&[one], one.len()), good);
        assert_eq!(taken(&[one, &[0; 11]], one.len()), good, "too short to be a batch");
        assert_eq!(taken(&[one, &one[..one.len() - 1]], one.len()), good, "cut short");
        assert_eq!(taken(&[one, one], one.len()), Err(BatchError::Several));
        for cut in 0..one.len() {
            let error = taken(&[&one[..cut]], one.len());
            assert_eq!(error, Err(BatchError::Incomplete { actual: cut }));
        }
        let error = taken(&[one], one.len() - 1).unwrap_err();
        assert!(matches!(error, BatchError::TooLarge { limit: "max.message.bytes", .. }));
        let mut short = one.to_vec();
        short[8..12].copy_from_slice(&13_i32.to_be_bytes());
        assert!(matches!(taken(&[&short], 1_000), Err(BatchError::Length { .. })));
    }

    #[test]
    fn older_formats_are_known_by_their_number() {
        for magic in [0, 1, 3, -1_i8] {
            // The least message of format 0, of null key and value.
            let mut bytes = vec![0; 26];
            bytes[11] = 14;
            bytes[16] = magic.cast_unsigned();
            let error = RecordBatch::produced(bytes.into(), BATCH_BYTES).unwrap_err();
            assert_eq!(error, BatchError::UnsupportedMagic { magic });
        }
    }

    #[test]
    fn what_is_accepted_is_read_back() {
        let mut out = Vec::new();
        let batch = batch_of(Compression::Snappy, 9).accept(&Terms::default()).unwrap();
        batch.write_assigned(&mut out, 40, 0);
        let stored: Vec<_> = split_batches(out.into()).map(Result::unwrap).collect();
        assert_eq!((stored.len(), stored[0].next_offset()), (1, 49));
    }
}
