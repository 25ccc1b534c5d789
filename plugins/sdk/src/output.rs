#[cfg(feature = "json")]
use crate::Error;
use crate::Result;
use crate::answer::{Answer, length, nullable};
use crate::batch::FIXED;
use crate::record::{Header, Record};

/// Takes the records that take a record's place, in their order. Without any, it is dropped.
pub struct Output<'a> {
    pub(crate) answer: &'a mut Answer,
    pub(crate) index: u32,
    pub(crate) record: Record<'a>,
}

impl<'a> Output<'a> {
    /// The record as it came, byte for byte; not copied.
    pub fn keep(&mut self) {
        self.answer.keep(self.index);
    }

    /// The record with another value.
    pub fn value(&mut self, value: impl AsRef<[u8]>) {
        self.emit(&Message::of(self.record).value(value.as_ref()));
    }

    /// A record.
    pub fn emit(&mut self, message: &Message<'_>) {
        let place = self.begin(message);
        self.answer.bytes.extend_from_slice(message.value.unwrap_or_default());
        self.end(message, place, message.value.is_some());
    }

    /// A record whose value is written at its place, in place of the message's own.
    ///
    /// # Errors
    /// That of `write`; nothing is emitted then.
    pub fn emit_with(
        &mut self,
        message: &Message<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let mark = self.answer.mark();
        let place = self.begin(message);
        match write(&mut self.answer.bytes) {
            Ok(()) => self.end(message, place, true),
            Err(error) => {
                self.answer.back_to(mark);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The record with a JSON text as its value.
    ///
    /// # Errors
    /// [`Error::Failed`] if `value` cannot be written as JSON.
    #[cfg(feature = "json")]
    pub fn json(&mut self, value: &impl serde::Serialize) -> Result<()> {
        self.emit_json(&Message::of(self.record), value)
    }

    /// A record with a JSON text as its value, in place of the message's own.
    ///
    /// # Errors
    /// [`Error::Failed`] if `value` cannot be written as JSON.
    #[cfg(feature = "json")]
    pub fn emit_json(
        &mut self,
        message: &Message<'_>,
        value: &impl serde::Serialize,
    ) -> Result<()> {
        self.emit_with(message, |out| {
            serde_json::to_writer(out, value).map_err(|error| Error::Failed(error.to_string()))
        })
    }

    /// Writes what is before the value.
    fn begin(&mut self, message: &Message<'_>) -> Place {
        // No topic has a partition beyond, so the broker refuses it.
        let partition = message.partition.map_or(-1, |p| i32::try_from(p).unwrap_or(i32::MAX));
        self.answer.begin_emit(self.index);
        let bytes = &mut self.answer.bytes;
        bytes.extend_from_slice(&partition.to_le_bytes());
        let record = bytes.len();
        let mut fixed = [0; FIXED];
        fixed[4..8].copy_from_slice(&length(message.kept.0 + message.added.len()));
        fixed[16..24].copy_from_slice(&message.timestamp_ms.to_le_bytes());
        fixed[24..28].copy_from_slice(&nullable(message.key.map(<[u8]>::len)));
        bytes.extend_from_slice(&fixed);
        bytes.extend_from_slice(message.key.unwrap_or_default());
        Place { record, value: bytes.len() }
    }

    /// Writes what is behind the value, and what only now is known.
    fn end(&mut self, message: &Message<'_>, place: Place, some: bool) {
        let bytes = &mut self.answer.bytes;
        let value = nullable(some.then_some(bytes.len() - place.value));
        bytes[place.record + 28..place.record + FIXED].copy_from_slice(&value);
        bytes.extend_from_slice(message.kept.1);
        for header in &message.added {
            bytes.extend_from_slice(&length(header.name.len()));
            bytes.extend_from_slice(&nullable(header.value.map(<[u8]>::len)));
            bytes.extend_from_slice(header.name.as_bytes());
            bytes.extend_from_slice(header.value.unwrap_or_default());
        }
        let size = length(bytes.len() - place.record);
        bytes[place.record..place.record + 4].copy_from_slice(&size);
    }
}

/// Where a record begins in an answer, and its value.
struct Place {
    record: usize,
    value: usize,
}

/// A record to be made: of another one with changes, or from nothing.
///
/// ```
/// # use millstream_plugin::{Message, Output, Record};
/// fn emit(record: Record<'_>, out: &mut Output<'_>) {
///     out.emit(&Message::of(record).key(b"new").header("from", Some(b"here")));
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Message<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    /// Headers of another record: how many, and as they stand in it.
    kept: (usize, &'a [u8]),
    added: Vec<Header<'a>>,
    timestamp_ms: i64,
    partition: Option<u32>,
}

impl<'a> Message<'a> {
    /// Key, value, headers and timestamp of this record.
    pub fn of(record: Record<'a>) -> Self {
        Self {
            key: record.key(),
            value: record.value(),
            kept: (record.header_count(), record.header_bytes()),
            added: Vec::new(),
            timestamp_ms: record.timestamp_ms(),
            partition: None,
        }
    }

    /// A record without key, value and headers.
    pub fn new(timestamp_ms: i64) -> Self {
        let kept = (0, &[][..]);
        Self { key: None, value: None, kept, added: Vec::new(), timestamp_ms, partition: None }
    }

    /// With this key.
    pub fn key(mut self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// With this value.
    pub fn value(mut self, value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    /// Without a key: Kafka's null.
    pub fn no_key(mut self) -> Self {
        self.key = None;
        self
    }

    /// Without a value: Kafka's null, which in a compacted topic deletes the key.
    pub fn no_value(mut self) -> Self {
        self.value = None;
        self
    }

    /// With one more header, behind the others.
    pub fn header(mut self, name: &'a str, value: Option<&'a [u8]>) -> Self {
        self.added.push(Header { name, value });
        self
    }

    /// Without the headers that it has so far.
    pub fn no_headers(mut self) -> Self {
        self.kept = (0, &[]);
        self.added.clear();
        self
    }

    /// With this timestamp, milliseconds since 1970-01-01T00:00:00Z.
    pub fn timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = timestamp_ms;
        self
    }

    /// To this partition of whatever topic it ends up in. Otherwise the key decides.
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }
}

/// Takes the names of the outputs that a record goes to, as it came. Without any, it stays on its
/// way: to the next step and, after the last, to the pipeline's `output`.
pub struct Outputs<'a> {
    pub(crate) answer: &'a mut Answer,
    pub(crate) index: u32,
    pub(crate) used: bool,
}

impl Outputs<'_> {
    /// One more, by its name in the step's `outputs`.
    pub fn to(&mut self, name: &str) {
        self.used = true;
        self.answer.forward(self.index, name);
    }
}
