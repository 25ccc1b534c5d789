use std::fmt;

use crate::Result;
use crate::batch::{FIXED, header_at, i64_at, length_at, u32_at};

/// A record of the source topic, or what earlier steps made of one. Borrowed: nothing is copied.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// As in `processor.wit`, from its size to its last header.
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// Of bytes that begin with a record, as the broker wrote them.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: &bytes[..u32_at(bytes, 0)] }
    }

    /// The record as the broker wrote it.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its offset in the source topic, or that of the record which earlier steps made it of.
    pub fn offset(&self) -> i64 {
        i64_at(self.bytes, 8)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z. What a producer sent is not checked: it may be
    /// negative.
    pub fn timestamp_ms(&self) -> i64 {
        i64_at(self.bytes, 16)
    }

    /// The key. `None` is Kafka's null, which is not the same as a key of no bytes.
    pub fn key(&self) -> Option<&'a [u8]> {
        let length = length_at(self.bytes, 24)?;
        Some(&self.bytes[FIXED..FIXED + length])
    }

    /// The value. `None` is Kafka's null, which in a compacted topic deletes the key.
    pub fn value(&self) -> Option<&'a [u8]> {
        let length = length_at(self.bytes, 28)?;
        let start = FIXED + self.key_length();
        Some(&self.bytes[start..start + length])
    }

    /// The value as text.
    ///
    /// # Errors
    /// [`Error::BadMessage`](crate::Error::BadMessage) if there is none, or it is not UTF-8.
    pub fn text(&self) -> Result<&'a str> {
        Ok(std::str::from_utf8(self.required()?)?)
    }

    /// The value as JSON; what it borrows, it borrows from the record.
    ///
    /// # Errors
    /// [`Error::BadMessage`](crate::Error::BadMessage) if there is none, or it is no JSON of this
    /// type.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Deserialize<'a>>(&self) -> Result<T> {
        serde_json::from_slice(self.required()?).map_err(|error| {
            let what = if error.is_data() { "not the JSON expected" } else { "not JSON" };
            crate::Error::BadMessage(format!("{what}: {error}"))
        })
    }

    fn required(&self) -> Result<&'a [u8]> {
        self.value().ok_or_else(|| crate::Error::bad_message("the record has no value"))
    }

    /// The headers in their order, duplicates included.
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.header_bytes() }
    }

    /// The value of the last header of this name; the inner `None` is Kafka's null.
    pub fn header(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.headers().filter(|header| header.name == name).last().map(|header| header.value)
    }

    pub(crate) fn header_count(&self) -> usize {
        u32_at(self.bytes, 4)
    }

    pub(crate) fn header_bytes(&self) -> &'a [u8] {
        &self.bytes[FIXED + self.key_length() + length_at(self.bytes, 28).unwrap_or(0)..]
    }

    fn key_length(&self) -> usize {
        length_at(self.bytes, 24).unwrap_or(0)
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| bytes.escape_ascii().to_string());
        f.debug_struct("Record")
            .field("offset", &self.offset())
            .field("timestamp_ms", &self.timestamp_ms())
            .field("key", &text(self.key()))
            .field("value", &text(self.value()))
            .field("headers", &self.headers().collect::<Vec<_>>())
            .finish()
    }
}

/// One header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name: it may be empty, and several headers may share one.
    pub name: &'a str,
    /// The value. `None` is Kafka's null, which is not the same as a value of no bytes.
    pub value: Option<&'a [u8]>,
}

impl fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.map(|bytes| bytes.escape_ascii().to_string());
        write!(f, "{:?}: {value:?}", self.name)
    }
}

/// Iterates over the headers of a record.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let (header, rest) = header_at(self.rest);
        self.rest = rest;
        Some(header)
    }
}
