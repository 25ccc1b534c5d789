//! The four codecs behind one enum. Decompression streams into a buffer that grows with what has
//! really come out and ends at [`BATCH_DECOMPRESSED_BYTES`]; a size that the data claims for itself
//! is never believed.

use std::fmt;
use std::io::{self, Read, Write};

use bytes::Bytes;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::error::BatchError;
use crate::limits::BATCH_DECOMPRESSED_BYTES;

/// Start of the framing that the Java client and most others put around Snappy blocks (that of
/// xerial's snappy-java): this, two 32-bit version numbers, then blocks behind 32-bit lengths.
const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const XERIAL_VERSIONS: &[u8; 8] = b"\0\0\0\x01\0\0\0\x01";
/// What snappy-java puts into one block, bytes.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// No Snappy element makes more than 64 bytes of 3, so a claim beyond this ratio is a lie.
const SNAPPY_RATIO_MAX: usize = 22;

const LZ4_MAGIC: &[u8; 4] = &0x184D_2204_u32.to_le_bytes();
/// In the byte behind the magic: no block refers to the ones before it.
const LZ4_INDEPENDENT_BIT: u8 = 0x20;

/// Level 3 is Kafka's default, and zstd's own.
const ZSTD_LEVEL: i32 = 3;
/// 128 MiB, the window of level 22, which producers may choose. The decoder reserves the window
/// that the frame asks for, but touches of it only what it writes, and that ends at our limit.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Codec of a batch's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// Gzip (RFC 1952).
    Gzip,
    /// Snappy blocks, in xerial's framing or bare.
    Snappy,
    /// One LZ4 frame.
    Lz4,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];
}

/// A codec and how hard it is to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codec {
    /// The codec.
    pub compression: Compression,
    /// Its level, for gzip and zstd; the codec's own default if not said. Others have one only.
    pub level: Option<i32>,
}

impl From<Compression> for Codec {
    fn from(compression: Compression) -> Self {
        Self { compression, level: None }
    }
}

impl Codec {
    /// Appends `data`, compressed, to `out`.
    pub(super) fn compress(self, data: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
        let done = match self.compression {
            Compression::None => out.write_all(data),
            Compression::Gzip => compress_gzip(data, self.level, out),
            Compression::Snappy => compress_snappy(data, out),
            Compression::Lz4 => compress_lz4(data, out),
            Compression::Zstd => {
                zstd::stream::copy_encode(data, out, self.level.unwrap_or(ZSTD_LEVEL))
            }
        };
        done.map_err(|error| self.compression.failed(error))
    }
}

impl Compression {
    /// The id in a batch's attributes, bits 0 to 2.
    pub(super) fn id(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    pub(super) fn from_id(id: u8) -> Result<Self, BatchError> {
        match id {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            id => Err(BatchError::UnsupportedCompression { id }),
        }
    }

    /// The codec's name in Kafka's configuration, as "lz4".
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// What `data` holds; a slice of it when it is not compressed.
    pub(super) fn decompress(self, data: Bytes) -> Result<Bytes, BatchError> {
        self.decompress_within(data, BATCH_DECOMPRESSED_BYTES)
    }

    pub(super) fn decompress_within(self, data: Bytes, max: usize) -> Result<Bytes, BatchError> {
        match self {
            Self::None => Ok(data),
            Self::Gzip => {
                let mut decoder = flate2::bufread::MultiGzDecoder::new(&*data);
                self.read_within(&mut decoder, data.len(), max)
            }
            Self::Snappy => self.decompress_snappy(&data, max),
            Self::Lz4 => self.decompress_lz4(&data, max),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(&*data)
                    .map_err(|error| self.failed(error))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| self.failed(error))?;
                self.read_within(&mut decoder, data.len(), max)
            }
        }
    }

    fn read_within(
        self,
        decoder: &mut dyn Read,
        compressed_bytes: usize,
        max: usize,
    ) -> Result<Bytes, BatchError> {
        let mut out = Vec::with_capacity(compressed_bytes.saturating_mul(2).min(max));
        let mut bounded = decoder.take(max as u64 + 1);
        bounded.read_to_end(&mut out).map_err(|error| self.failed(error))?;
        if out.len() > max {
            return Err(too_large(out.len(), max));
        }
        Ok(out.into())
    }

    fn decompress_lz4(self, data: &[u8], max: usize) -> Result<Bytes, BatchError> {
        // The library also knows the legacy frame, which Kafka does not.
        if !data.starts_with(LZ4_MAGIC) {
            return Err(self.failed("not an lz4 frame"));
        }
        // Kafka refuses them, since the Java client cannot read them.
        if data.get(LZ4_MAGIC.len()).is_none_or(|flags| flags & LZ4_INDEPENDENT_BIT == 0) {
            return Err(self.failed("the frame's blocks depend on each other"));
        }
        let mut decoder = FrameDecoder::new(data);
        let out = self.read_within(&mut decoder, data.len(), max)?;
        match decoder.into_inner() {
            [] => Ok(out),
            rest => Err(self.failed(format!("{} bytes follow the frame", rest.len()))),
        }
    }

    fn decompress_snappy(self, data: &[u8], max: usize) -> Result<Bytes, BatchError> {
        let mut out = Vec::new();
        if !data.starts_with(XERIAL_MAGIC) {
            self.snappy_block(data, &mut out, max)?;
            return Ok(out.into());
        }
        let mut rest = data;
        while !rest.is_empty() {
            // At the beginning, and again where streams were put one behind the other.
            if let Some(framed) = rest.strip_prefix(XERIAL_MAGIC) {
                rest = framed
                    .get(XERIAL_VERSIONS.len()..)
                    .ok_or_else(|| self.failed("ends within its framing header"))?;
                continue;
            }
            let (length, blocks) = rest
                .split_first_chunk::<4>()
                .ok_or_else(|| self.failed("ends within a block length"))?;
            let length = u32::from_be_bytes(*length) as usize;
            let (block, after) = blocks
                .split_at_checked(length)
                .ok_or_else(|| self.failed("ends within a block"))?;
            self.snappy_block(block, &mut out, max)?;
            rest = after;
        }
        Ok(out.into())
    }

    fn snappy_block(self, block: &[u8], out: &mut Vec<u8>, max: usize) -> Result<(), BatchError> {
        let claimed = snap::raw::decompress_len(block).map_err(|error| self.failed(error))?;
        if claimed > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
            return Err(self.failed(format!("{} bytes claim to hold {claimed}", block.len())));
        }
        let start = out.len();
        let end = start.saturating_add(claimed);
        if end > max {
            return Err(too_large(end, max));
        }
        out.resize(end, 0);
        let room = out.get_mut(start..).unwrap_or_default();
        snap::raw::Decoder::new().decompress(block, room).map_err(|error| self.failed(error))?;
        Ok(())
    }

    fn failed(self, reason: impl fmt::Display) -> BatchError {
        BatchError::Decompress { codec: self, reason: reason.to_string() }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn too_large(found: usize, max: usize) -> BatchError {
    BatchError::TooLarge {
        what: "decompressed batch in bytes",
        limit: "BATCH_DECOMPRESSED_BYTES",
        found,
        max,
    }
}

fn compress_gzip(data: &[u8], level: Option<i32>, out: &mut Vec<u8>) -> io::Result<()> {
    let level = level.and_then(|level| u32::try_from(level).ok()).filter(|level| *level <= 9);
    let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
    let mut encoder = flate2::write::GzEncoder::new(out, level);
    encoder.write_all(data)?;
    encoder.finish().map(drop)
}

fn compress_snappy(data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(XERIAL_MAGIC);
    out.extend_from_slice(XERIAL_VERSIONS);
    let mut encoder = snap::raw::Encoder::new();
    for block in data.chunks(XERIAL_BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block)?;
        let length = u32::try_from(compressed.len()).map_err(io::Error::other)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(())
}

fn compress_lz4(data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    // The Java client reads independent blocks only.
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(data)?;
    encoder.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Compression; 4] =
        [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn text(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| b"millstream"[at % 10] ^ (at / 1000) as u8).collect()
    }

    fn compressed(codec: Compression, data: &[u8]) -> Bytes {
        let mut out = Vec::new();
        Codec::from(codec).compress(data, &mut out).unwrap();
        out.into()
    }

    #[test]
    fn what_is_compressed_comes_back() {
        for codec in CODECS {
            for size in [1, 1_000, XERIAL_BLOCK_BYTES, 300_000] {
                let data = text(size);
                let packed = compressed(codec, &data);
                assert_eq!(codec.decompress(packed).unwrap(), data, "{codec}, {size}");
            }
        }
    }

    #[test]
    fn ids_are_kafkas() {
        for (id, name) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
            let codec = Compression::from_id(id as u8).unwrap();
            assert_eq!((codec.name(), codec.id()), (name, id as i16));
        }
        for id in 5..8 {
            assert_eq!(Compression::from_id(id), Err(BatchError::UnsupportedCompression { id }));
        }
    }

    #[test]
    fn the_limit_is_exact() {
        for codec in CODECS {
            let packed = compressed(codec, &text(100_000));
            assert!(codec.decompress_within(packed.clone(), 100_000).is_ok(), "{codec}");
            let error = codec.decompress_within(packed, 99_999).unwrap_err();
            assert!(
                matches!(error, BatchError::TooLarge { found: 100_000, max: 99_999, .. }),
                "{codec}: {error}"
            );
        }
    }

    #[test]
    fn bare_snappy_is_read() {
        let data = text(100_000);
        let bare = snap::raw::Encoder::new().compress_vec(&data).unwrap();
        assert_eq!(Compression::Snappy.decompress(bare.into()).unwrap(), data);
    }

    #[test]
    fn snappy_claims_are_not_believed() {
        // The length 2^32 - 1, then one literal byte.
        let bare = Bytes::from_static(b"\xff\xff\xff\xff\x0f\x00a");
        let error = Compression::Snappy.decompress(bare).unwrap_err();
        assert!(error.to_string().contains("claim to hold 4294967295"), "{error}");

        let mut framed = XERIAL_MAGIC.to_vec();
        framed.extend_from_slice(XERIAL_VERSIONS);
        framed.extend_from_slice(&u32::MAX.to_be_bytes());
        let error = Compression::Snappy.decompress(framed.into()).unwrap_err();
        assert!(error.to_string().contains("ends within a block"), "{error}");
    }

    #[test]
    fn snappy_never_beats_the_ratio_that_is_assumed() {
        let data = vec![0; XERIAL_BLOCK_BYTES];
        let block = snap::raw::Encoder::new().compress_vec(&data).unwrap();
        assert!(data.len() <= block.len() * SNAPPY_RATIO_MAX);
        assert_eq!(Compression::Snappy.decompress(block.into()).unwrap(), data);
    }

    fn lz4_frame(data: &[u8], mode: BlockMode) -> Bytes {
        let info = FrameInfo::new()
            .block_mode(mode)
            .block_size(BlockSize::Max64KB)
            .block_checksums(true)
            .content_checksum(true);
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn lz4_checksums_are_read_and_linked_blocks_are_not() {
        let data = text(300_000);
        let frame = lz4_frame(&data, BlockMode::Independent);
        assert_eq!(Compression::Lz4.decompress(frame).unwrap(), data);
        let error = Compression::Lz4.decompress(lz4_frame(&data, BlockMode::Linked)).unwrap_err();
        assert!(error.to_string().contains("depend on each other"), "{error}");
    }

    #[test]
    fn streams_one_behind_the_other_are_one() {
        let data = text(100_000);
        let (first, second) = data.split_at(40_000);
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Zstd] {
            let both = [compressed(codec, first), compressed(codec, second)].concat();
            let whole = codec.decompress_within(both.clone().into(), 100_000);
            assert_eq!(whole.unwrap(), data, "{codec}");
            let over = codec.decompress_within(both.into(), 99_999);
            assert!(matches!(over, Err(BatchError::TooLarge { .. })), "{codec}");
        }
    }

    #[test]
    fn levels_are_the_codecs() {
        let data = text(100_000);
        for (compression, least, most) in
            [(Compression::Gzip, Some(1), Some(9)), (Compression::Zstd, Some(-7), Some(19))]
        {
            let size = |level| {
                let mut out = Vec::new();
                Codec { compression, level }.compress(&data, &mut out).unwrap();
                assert_eq!(compression.decompress(out.clone().into()).unwrap(), data);
                out.len()
            };
            assert!(size(most) < size(least), "{compression}");
            size(None);
        }
    }

    #[test]
    fn truncated_or_followed_data_is_an_error() {
        for codec in CODECS {
            let whole = compressed(codec, &text(1_000));
            // Without its last four bytes an lz4 frame lacks only its end mark.
            let cut = codec.decompress(whole.slice(..whole.len() - 5));
            assert!(matches!(cut, Err(BatchError::Decompress { .. })), "{codec}: {cut:?}");
            let followed = [&*whole, b"rest"].concat();
            let followed = codec.decompress(followed.into());
            assert!(matches!(followed, Err(BatchError::Decompress { .. })), "{codec}");
        }
    }

    #[test]
    fn the_window_of_the_highest_zstd_level_is_accepted() {
        let data = text(10_000);
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 22).unwrap();
        encoder.write_all(&data).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(Compression::Zstd.decompress(packed.into()).unwrap(), data);
    }
}
