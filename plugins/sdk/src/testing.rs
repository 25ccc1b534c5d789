//! For the tests of a plugin, on the machine that you build on.
//!
//! ```
//! use millstream_plugin::{Filter, Record, Result, config, testing};
//!
//! struct AtLeast(usize);
//!
//! impl Filter for AtLeast {
//!     fn new() -> Result<Self> {
//!         Ok(Self(config::parse("bytes")?))
//!     }
//!
//!     fn keep(&mut self, record: Record<'_>) -> Result<bool> {
//!         Ok(record.value().is_some_and(|value| value.len() >= self.0))
//!     }
//! }
//!
//! testing::set_config(&[("bytes", "3")]);
//! let mut plugin = AtLeast::new().unwrap();
//! assert_eq!(plugin.keep(testing::record("abc").view()), Ok(true));
//! assert_eq!(plugin.keep(testing::record("ab").view()), Ok(false));
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::answer::{Answer, length, nullable};
use crate::batch::{FIXED, i64_at, u32_at};
use crate::output::{Output, Outputs};
use crate::record::Record;
use crate::{Result, Route, Transform};

thread_local! {
    static CONFIG: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
}

/// Sets what [`config`](crate::config) reads in this thread.
pub fn set_config(values: &[(&str, &str)]) {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    CONFIG.with(|config| *config.borrow_mut() = values.collect());
}

#[cfg(not(target_family = "wasm"))]
pub(crate) fn config(name: &str) -> Option<String> {
    CONFIG.with(|config| config.borrow().get(name).cloned())
}

/// What [`context`](crate::context) says where there is no broker.
#[cfg(not(target_family = "wasm"))]
pub(crate) mod context {
    pub(crate) fn pipeline() -> String {
        "test".to_owned()
    }

    pub(crate) fn step() -> String {
        "1-test".to_owned()
    }

    pub(crate) fn topic() -> String {
        "test".to_owned()
    }

    pub(crate) fn partition() -> u32 {
        0
    }
}

/// A record that is owned.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    bytes: Vec<u8>,
    /// The partition that a transformer has chosen.
    pub partition: Option<u32>,
}

/// A record with this value, without a key and headers, of timestamp and offset 0.
pub fn record(value: impl AsRef<[u8]>) -> OwnedRecord {
    OwnedRecord::new(None, Some(value.as_ref()))
}

impl OwnedRecord {
    /// A record of timestamp and offset 0, without headers.
    pub fn new(key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        let mut bytes = vec![0; FIXED];
        bytes[24..28].copy_from_slice(&nullable(key.map(<[u8]>::len)));
        bytes[28..32].copy_from_slice(&nullable(value.map(<[u8]>::len)));
        bytes.extend_from_slice(key.unwrap_or_default());
        bytes.extend_from_slice(value.unwrap_or_default());
        Self { bytes, partition: None }.sized()
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        let count = length(u32_at(&self.bytes, 4) + 1);
        self.bytes[4..8].copy_from_slice(&count);
        self.bytes.extend_from_slice(&length(name.len()));
        self.bytes.extend_from_slice(&nullable(value.map(<[u8]>::len)));
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.sized()
    }

    /// With this offset.
    pub fn offset(mut self, offset: i64) -> Self {
        self.bytes[8..16].copy_from_slice(&offset.to_le_bytes());
        self
    }

    /// With this timestamp.
    pub fn timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.bytes[16..24].copy_from_slice(&timestamp_ms.to_le_bytes());
        self
    }

    /// What a plugin is given.
    pub fn view(&self) -> Record<'_> {
        Record::new(&self.bytes)
    }

    fn sized(mut self) -> Self {
        let size = length(self.bytes.len());
        self.bytes[..4].copy_from_slice(&size);
        self
    }
}

impl std::fmt::Debug for OwnedRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnedRecord")
            .field("record", &self.view())
            .field("partition", &self.partition)
            .finish()
    }
}

/// What a transformer makes of a record. The new records have its offset.
///
/// # Errors
/// Its error.
pub fn transform(plugin: &mut impl Transform, record: &OwnedRecord) -> Result<Vec<OwnedRecord>> {
    let mut answer = Answer::with_capacity(0);
    let view = record.view();
    plugin.transform(view, &mut Output { answer: &mut answer, index: 0, record: view })?;
    let mut made = Vec::new();
    let mut rest = answer.bytes.as_slice();
    while let Some(entry) = rest.first() {
        if *entry == 1 {
            made.push(record.clone());
            rest = &rest[5..];
            continue;
        }
        let partition = u32_at(rest, 5);
        let new = Record::new(&rest[9..]);
        let owned = OwnedRecord { bytes: new.bytes().to_vec(), partition: None };
        let owned = owned.offset(i64_at(&record.bytes, 8));
        let partition = i32::try_from(partition).ok().and_then(|chosen| u32::try_from(chosen).ok());
        made.push(OwnedRecord { partition, ..owned });
        rest = &rest[9 + new.bytes().len()..];
    }
    Ok(made)
}

/// The outputs that a router sends a record to.
///
/// # Errors
/// Its error.
pub fn route(plugin: &mut impl Route, record: &OwnedRecord) -> Result<Vec<String>> {
    let mut answer = Answer::with_capacity(0);
    let mut outputs = Outputs { answer: &mut answer, index: 0, used: false };
    plugin.route(record.view(), &mut outputs)?;
    Ok(answer.routed())
}
