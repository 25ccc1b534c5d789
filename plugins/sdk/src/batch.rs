//! Reading what the broker wrote, as `processor.wit` says. It is right or the broker is wrong, so
//! that anything else ends in a panic.

use crate::record::{Header, Record};

/// Bytes of a record before its key.
pub(crate) const FIXED: usize = 32;

/// The records of a batch.
pub(crate) fn records(batch: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let count = u32_at(batch, 0);
    let mut rest = &batch[4..];
    (0..count).map(move |_| {
        let record = Record::new(rest);
        rest = &rest[record.bytes().len()..];
        record
    })
}

/// The first header, and what is behind it.
pub(crate) fn header_at(bytes: &[u8]) -> (Header<'_>, &[u8]) {
    let (name, value) = (u32_at(bytes, 0), length_at(bytes, 4));
    let (name, rest) = bytes[8..].split_at(name);
    let (content, rest) = rest.split_at(value.unwrap_or(0));
    let name = std::str::from_utf8(name).expect("the broker checks it");
    (Header { name, value: value.map(|_| content) }, rest)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(chunk(bytes, at)) as usize
}

pub(crate) fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(chunk(bytes, at))
}

/// A length where -1 stands for null.
pub(crate) fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(i32::from_le_bytes(chunk(bytes, at))).ok()
}

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the broker's records are whole")
}
