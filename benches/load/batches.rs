//! Record batches made before the clock starts, and sealed again for each request: a producer's
//! sequence numbers stand under the batch's checksum.

use anyhow::ensure;
use bytes::Bytes;
use millstream::record::{BatchBuilder, Compression};
use millstream::types::ProducerId;

/// Where the fields of a batch's header start (Kafka's format v2).
const BATCH_LENGTH: usize = 8;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;
const HEADER: usize = 61;

/// Largest batch that is made, bytes before compression; what clients send by default at most.
const BATCH_BYTES: usize = 1_000_000;

/// What the records of a workload are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Values {
    /// So many random letters.
    Letters(usize),
    /// JSON documents of about 310 bytes, in batches compressed with lz4.
    JsonLz4,
}

impl Values {
    fn compression(self) -> Compression {
        match self {
            Self::Letters(_) => Compression::None,
            Self::JsonLz4 => Compression::Lz4,
        }
    }

    fn value(self, random: &mut fastrand::Rng) -> Vec<u8> {
        match self {
            Self::Letters(bytes) => (0..bytes).map(|_| random.alphabetic() as u8).collect(),
            Self::JsonLz4 => document(random).into_bytes(),
        }
    }
}

fn document(random: &mut fastrand::Rng) -> String {
    let word = |random: &mut fastrand::Rng| (0..8).map(|_| random.lowercase()).collect::<String>();
    format!(
        r#"{{"id":"{:016x}","time":"2026-01-{:02}T{:02}:{:02}:{:02}.{:03}Z","user":"{}","session":"{:08x}","event":"page_view","path":"/shop/{}/{}","referrer":"https://www.example.com/{}","agent":"Mozilla/5.0 (X11; Linux x86_64)","country":"{}","price":{}.{:02},"ok":{}}}"#,
        random.u64(..),
        random.u8(1..29),
        random.u8(..24),
        random.u8(..60),
        random.u8(..60),
        random.u16(..1000),
        word(random),
        random.u32(..),
        word(random),
        random.u32(..100_000),
        word(random),
        ["de", "fr", "us", "jp"][random.usize(..4)],
        random.u16(..1000),
        random.u8(..100),
        random.bool(),
    )
}

/// A batch to be sent again and again.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Records in it.
    pub(crate) records: u64,
}

impl Batch {
    /// A batch of so many records, or of as many as it may hold.
    pub(crate) fn new(values: Values, most: u64) -> anyhow::Result<Self> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut builder = BatchBuilder::new(values.compression());
        let mut records = 0;
        while records < most {
            let value = values.value(&mut random);
            if records > 0 && builder.size_bytes() + value.len() + 16 > BATCH_BYTES {
                break;
            }
            builder.push(now_ms(), None, Some(&value), &[])?;
            records += 1;
        }
        Ok(Self { bytes: builder.build()?.as_bytes().to_vec(), records })
    }

    /// A batch of one record.
    pub(crate) fn of(value: &[u8]) -> anyhow::Result<Bytes> {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(now_ms(), None, Some(value), &[])?;
        Ok(builder.build()?.as_bytes().clone())
    }

    /// Its bytes as they are, of no producer.
    pub(crate) fn plain(&self) -> Bytes {
        self.bytes.clone().into()
    }

    /// Its bytes as a producer's next batch.
    pub(crate) fn sealed(&self, producer: ProducerId, sequence: i32) -> Bytes {
        let mut bytes = self.bytes.clone();
        bytes[PRODUCER_ID..PRODUCER_EPOCH].copy_from_slice(&producer.id.to_be_bytes());
        bytes[PRODUCER_EPOCH..BASE_SEQUENCE].copy_from_slice(&producer.epoch.to_be_bytes());
        bytes[BASE_SEQUENCE..BASE_SEQUENCE + 4].copy_from_slice(&sequence.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[ATTRIBUTES..]);
        bytes[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
        bytes.into()
    }
}

/// Whole batches at the front of these bytes: the offset after them. Batches must follow without a
/// gap from `expected` on; only the first one may start before it.
pub(crate) fn next_offset(bytes: &[u8], expected: i64) -> anyhow::Result<i64> {
    let mut next = expected;
    each_batch(bytes, |base, batch| {
        ensure!(base <= next, "offset {base} after {next}");
        let delta = i32::from_be_bytes(batch[LAST_OFFSET_DELTA..][..4].try_into()?);
        next = base + i64::from(delta) + 1;
        Ok(())
    })?;
    Ok(next)
}

/// Calls with base offset and bytes of each whole batch; the last one may be cut off.
pub(crate) fn each_batch(
    mut bytes: &[u8],
    mut each: impl FnMut(i64, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    while bytes.len() >= HEADER {
        let length = i32::from_be_bytes(bytes[BATCH_LENGTH..][..4].try_into()?);
        let length = usize::try_from(length)? + BATCH_LENGTH + 4;
        if bytes.len() < length {
            break;
        }
        let (batch, rest) = bytes.split_at(length);
        each(i64::from_be_bytes(batch[..8].try_into()?), batch)?;
        bytes = rest;
    }
    Ok(())
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(0))
}
