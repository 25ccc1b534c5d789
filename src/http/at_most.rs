//! JSON arrays that are given up at the first item too many, not after all of them were built.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::shapes::HeaderView;
use crate::limits::RECORD_HEADERS;

/// Reads an array into `items`; if it is too long, with one item more than `most` and an error.
pub(super) struct AtMost<'a, T> {
    pub(super) most: usize,
    pub(super) items: &'a mut Vec<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtMost<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {} items", self.most)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element()? {
            self.items.push(item);
            if self.items.len() > self.most {
                return Err(A::Error::custom(format!("more than {} items", self.most)));
            }
        }
        Ok(())
    }
}

/// The headers of a record.
pub(super) fn headers<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<HeaderView>, D::Error> {
    let mut items = Vec::new();
    json.deserialize_seq(AtMost { most: RECORD_HEADERS, items: &mut items })?;
    Ok(items)
}
