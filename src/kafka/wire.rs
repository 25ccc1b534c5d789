//! The primitive types of the Kafka protocol, and a [`Reader`] that borrows them from a received
//! frame. How they are written stands in `writer.rs`, which fields a message has in `message.rs`.
//!
//! Nothing is allocated for a number that the peer wrote before the bytes it promises are there.
//! Format: the protocol guide's primitive types; compact ones and tagged fields from KIP-482.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use uuid::Uuid;

use crate::limits::MESSAGE_ARRAY_BYTES;

/// What is wrong with a message, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} at byte {position}: {fault}")]
pub struct WireError {
    /// The field, from the message's name inwards: `FetchRequest.topics[3].partitions`.
    pub path: String,
    /// How many bytes of the message come before, when reading or writing it.
    pub position: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// What can be wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The message ends too early.
    #[error("{needed} bytes wanted, {left} left")]
    Truncated {
        /// Bytes that the field takes.
        needed: usize,
        /// Bytes that there are.
        left: usize,
    },
    /// A length or a count below -1.
    #[error("negative length {length}")]
    NegativeLength {
        /// As read.
        length: i32,
    },
    /// Null, in a version that does not allow it.
    #[error("null is not allowed in version {version}")]
    Null {
        /// Version of the message.
        version: i16,
    },
    /// Text that is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// A varint of more than 32 bits.
    #[error("a varint of more than 32 bits")]
    Varint,
    /// More elements than the remaining bytes can hold.
    #[error("{count} elements do not fit into {left} bytes")]
    Count {
        /// Elements announced.
        count: usize,
        /// Bytes that there are.
        left: usize,
    },
    /// The arrays of the message would take more memory than one message is allowed.
    #[error("{count} elements exceed the {max} bytes that the arrays of a message may take")]
    ArrayMemory {
        /// Elements announced.
        count: usize,
        /// [`MESSAGE_ARRAY_BYTES`].
        max: usize,
    },
    /// A tagged field whose content is shorter than its size.
    #[error("tagged field {tag} has {left} bytes too many")]
    TagSize {
        /// Its tag.
        tag: u32,
        /// Bytes left over.
        left: usize,
    },
    /// An error code that we do not know.
    #[error("unknown error code {code}")]
    ErrorCode {
        /// As read.
        code: i16,
    },
    /// A version outside those that we speak.
    #[error("version {version} is not supported")]
    Version {
        /// As asked for.
        version: i16,
    },
    /// A value was set that this version cannot carry and that the reader must not miss.
    #[error("version {version} has no such field, but a value is set")]
    NoSuchField {
        /// Version of the message.
        version: i16,
    },
    /// More bytes or elements than the length prefix can say.
    #[error("{length} is too long")]
    TooLong {
        /// Bytes or elements.
        length: usize,
    },
}

impl WireError {
    pub(super) fn new(position: usize, fault: Fault) -> Self {
        Self { path: String::new(), position, fault }
    }

    /// Puts the enclosing field or message in front of the path.
    pub(super) fn within(mut self, name: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }

    /// Puts an array index in front of the path.
    pub(super) fn at_index(mut self, index: usize) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.path = format!("[{index}]{dot}{}", self.path);
        self
    }
}

/// UTF-8 text that shares the frame's memory.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Str(Bytes);

impl Str {
    /// Text that lives as long as the program; nothing is copied.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    pub(super) fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Checked when made. Checking again costs less than a copy would, and needs no unsafe code.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Deref for Str {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The bytes of record batches: one piece when received, any number when sent. Never copied
/// between the log and the socket.
#[derive(Debug, Clone, Default)]
pub struct Records(Vec<Bytes>);

impl Records {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn pieces(&self) -> &[Bytes] {
        &self.0
    }

    /// All bytes in one piece; copied only if there are several.
    pub fn into_bytes(self) -> Bytes {
        match <[Bytes; 1]>::try_from(self.0) {
            Ok([only]) => only,
            Err(pieces) => pieces.concat().into(),
        }
    }
}

impl PartialEq for Records {
    /// The same bytes, however they are cut into pieces.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.0.iter().flatten().eq(other.0.iter().flatten())
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Self(vec![bytes])
    }
}

impl From<Vec<Bytes>> for Records {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self(pieces)
    }
}

/// How wide a length is in the versions before KIP-482.
#[derive(Debug, Clone, Copy)]
pub(super) enum Prefix {
    /// Of a string: 16 bits.
    Short,
    /// Of bytes, records and arrays: 32 bits.
    Int,
}

/// Takes a message apart, in order, within its bounds.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    position: usize,
    end: usize,
    array_bytes: usize,
}

impl Reader {
    /// Reads `bytes` from the start.
    pub fn new(bytes: Bytes) -> Self {
        let end = bytes.len();
        Self { bytes, position: 0, end, array_bytes: MESSAGE_ARRAY_BYTES }
    }

    /// What has not been read.
    pub fn rest(self) -> Bytes {
        self.bytes.slice(self.position..self.end)
    }

    pub(super) fn remaining(&self) -> usize {
        self.end - self.position
    }

    pub(super) fn error(&self, fault: Fault) -> WireError {
        WireError::new(self.position, fault)
    }

    fn take(&mut self, len: usize) -> Result<Bytes, WireError> {
        let left = self.remaining();
        if len > left {
            return Err(self.error(Fault::Truncated { needed: len, left }));
        }
        let taken = self.bytes.slice(self.position..self.position + len);
        self.position += len;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let unread = self.bytes.get(self.position..self.end).unwrap_or_default();
        let Some(value) = unread.first_chunk::<N>() else {
            return Err(self.error(Fault::Truncated { needed: N, left: unread.len() }));
        };
        self.position += N;
        Ok(*value)
    }

    pub(super) fn bool(&mut self) -> Result<bool, WireError> {
        Ok(self.fixed::<1>()? != [0])
    }

    pub(super) fn i8(&mut self) -> Result<i8, WireError> {
        self.fixed().map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16, WireError> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        self.fixed().map(u16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, WireError> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, WireError> {
        self.fixed().map(i64::from_be_bytes)
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, WireError> {
        self.fixed().map(Uuid::from_bytes)
    }

    /// Seven bits a byte, the low ones first; at most five bytes.
    pub(super) fn uvarint(&mut self) -> Result<u32, WireError> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| self.error(Fault::Varint));
            }
        }
        Err(self.error(Fault::Varint))
    }

    /// A length or count; none for null.
    fn length(&mut self, flexible: bool, prefix: Prefix) -> Result<Option<usize>, WireError> {
        let length = match (flexible, prefix) {
            (true, _) => return Ok((self.uvarint()? as usize).checked_sub(1)),
            (false, Prefix::Short) => i32::from(self.i16()?),
            (false, Prefix::Int) => self.i32()?,
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(self.error(Fault::NegativeLength { length })),
        }
    }

    pub(super) fn string(&mut self, flexible: bool) -> Result<Option<Str>, WireError> {
        let Some(length) = self.length(flexible, Prefix::Short)? else { return Ok(None) };
        let start = self.position;
        let text = self.take(length)?;
        if std::str::from_utf8(&text).is_err() {
            return Err(WireError::new(start, Fault::NotUtf8));
        }
        Ok(Some(Str(text)))
    }

    pub(super) fn bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, WireError> {
        let Some(length) = self.length(flexible, Prefix::Int)? else { return Ok(None) };
        self.take(length).map(Some)
    }

    /// The count of an array whose elements take at least `min_bytes` here and `size` in memory.
    pub(super) fn count(
        &mut self,
        flexible: bool,
        min_bytes: usize,
        size: usize,
    ) -> Result<Option<usize>, WireError> {
        let Some(count) = self.length(flexible, Prefix::Int)? else { return Ok(None) };
        let left = self.remaining();
        if count > left / min_bytes.max(1) {
            return Err(self.error(Fault::Count { count, left }));
        }
        let budget = count.checked_mul(size).and_then(|bytes| self.array_bytes.checked_sub(bytes));
        self.array_bytes = budget
            .ok_or_else(|| self.error(Fault::ArrayMemory { count, max: MESSAGE_ARRAY_BYTES }))?;
        Ok(Some(count))
    }

    /// The tagged fields at the end of a structure. `known` reads those it knows and says so;
    /// the others are skipped.
    pub(super) fn tagged_fields(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool, WireError>,
    ) -> Result<(), WireError> {
        // Each takes two bytes at least, so the bytes that there are bound the loop.
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let left = self.remaining();
            if size > left {
                return Err(self.error(Fault::Truncated { needed: size, left }));
            }
            let outer = std::mem::replace(&mut self.end, self.position + size);
            if !known(self, tag)? {
                self.position = self.end;
            }
            if self.position < self.end {
                return Err(self.error(Fault::TagSize { tag, left: self.remaining() }));
            }
            self.end = outer;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(
        bytes: &[u8],
        f: impl FnOnce(&mut Reader) -> Result<T, WireError>,
    ) -> Result<T, Fault> {
        f(&mut Reader::new(Bytes::copy_from_slice(bytes))).map_err(|e| e.fault)
    }

    #[test]
    fn varints_end_at_32_bits() {
        assert_eq!(read(&[0xac, 0x02], Reader::uvarint), Ok(300));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f], Reader::uvarint), Ok(u32::MAX));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x1f], Reader::uvarint), Err(Fault::Varint));
        assert_eq!(read(&[0x80; 6], Reader::uvarint), Err(Fault::Varint));
        let truncated = Fault::Truncated { needed: 1, left: 0 };
        assert_eq!(read(&[0x80], Reader::uvarint), Err(truncated));
    }

    #[test]
    fn strings_are_borrowed_and_checked() {
        let frame = Bytes::from_static(b"\0\x02hi");
        let text = Reader::new(frame.clone()).string(false).unwrap().unwrap();
        assert_eq!(text, "hi");
        assert_eq!(text.0.as_ptr(), frame[2..].as_ptr());
        assert_eq!(read(&[0xff, 0xff], |r| r.string(false)), Ok(None));
        assert_eq!(read(&[0], |r| r.string(true)), Ok(None));
        assert_eq!(read(&[2, 0xff], |r| r.string(true)), Err(Fault::NotUtf8));
        let negative = Fault::NegativeLength { length: -2 };
        assert_eq!(read(&[0xff, 0xfe], |r| r.string(false)), Err(negative));
        let truncated = Fault::Truncated { needed: 5, left: 1 };
        assert_eq!(read(&[0, 5, b'x'], |r| r.string(false)), Err(truncated));
    }

    #[test]
    fn counts_are_held_against_the_bytes_that_are_there() {
        let two_billion = [0x7f, 0xff, 0xff, 0xff, 0, 0];
        let refused = Fault::Count { count: i32::MAX as usize, left: 2 };
        assert_eq!(read(&two_billion, |r| r.count(false, 1, 1)), Err(refused));
        assert_eq!(read(&[0, 0, 0, 2, 9, 9], |r| r.count(false, 1, 8)), Ok(Some(2)));
        let refused = Fault::Count { count: 2, left: 2 };
        assert_eq!(read(&[0, 0, 0, 2, 9, 9], |r| r.count(false, 2, 8)), Err(refused));
    }

    #[test]
    fn arrays_of_one_message_share_one_budget() {
        let half = MESSAGE_ARRAY_BYTES / 2 + 1;
        let bytes = [2, 2, 0, 0];
        let mut reader = Reader::new(Bytes::copy_from_slice(&bytes));
        assert_eq!(reader.count(true, 1, half), Ok(Some(1)));
        let refused = reader.count(true, 1, half).unwrap_err();
        assert_eq!(refused.position, 2);
        assert_eq!(refused.fault, Fault::ArrayMemory { count: 1, max: MESSAGE_ARRAY_BYTES });
    }

    #[test]
    fn unknown_tags_are_skipped_and_known_ones_bounded() {
        let known = |reader: &mut Reader, tag| {
            if tag == 1 { reader.i16().map(|_| true) } else { Ok(false) }
        };
        assert_eq!(read(&[2, 0, 3, 9, 9, 9, 1, 2, 0, 7], |r| r.tagged_fields(known)), Ok(()));
        let long = Fault::TagSize { tag: 1, left: 1 };
        assert_eq!(read(&[1, 1, 3, 0, 7, 9], |r| r.tagged_fields(known)), Err(long));
        let short = Fault::Truncated { needed: 2, left: 1 };
        assert_eq!(read(&[1, 1, 1, 0, 7], |r| r.tagged_fields(known)), Err(short));
        let beyond = Fault::Truncated { needed: 200, left: 0 };
        assert_eq!(read(&[1, 1, 0xc8, 1], |r| r.tagged_fields(known)), Err(beyond));
    }

    #[test]
    fn errors_name_the_path() {
        let error = WireError::new(9, Fault::NotUtf8).within("name").at_index(3).within("topics");
        let error = error.within("FetchRequest");
        assert_eq!(error.to_string(), "FetchRequest.topics[3].name at byte 9: not UTF-8");
    }
}
