//! The places where bytes come in from outside, each as one function for a fuzzer. `fuzz/` runs
//! them on what it makes up; in every `cargo test` they are run on what it has kept in
//! `fuzz/corpus`. Each panics when something does not hold that must: what is accepted is read
//! without an error, and what is written again is read as the same.
//!
//! The rooms' own decoders are reached through the `fuzzing` module of each room. No part of the
//! library's interface.

mod config;
mod manifest;
mod request;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod tests;

use crate::limits::{BATCH_DECOMPRESSED_BYTES, MESSAGE_ARRAY_BYTES};
use crate::record::Record;
use crate::{http, plugin, record, storage};

pub use crate::plugin::fuzzing::{answer, show};

/// One of them.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of the fuzz target and of its corpus.
    pub name: &'static str,
    /// Takes what a fuzzer made up.
    pub run: fn(&[u8]),
    /// Most memory that it may take at one time: for each byte that it is given, and beside that.
    pub bytes: (usize, usize),
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// All that need nothing but this library.
pub const TARGETS: &[Target] = &[
    // A batch and its copies; what is compressed may grow to what a batch may be.
    Target { name: "batch", run: record::fuzzing::batch, bytes: (8, 5 * BATCH_DECOMPRESSED_BYTES) },
    Target { name: "config", run: config::run, bytes: (KIB, 256 * KIB) },
    Target { name: "http", run: http::fuzzing::body, bytes: (KIB, 256 * KIB) },
    Target { name: "manifest", run: manifest::run, bytes: (2 * KIB, 256 * KIB) },
    Target { name: "packed", run: plugin::fuzzing::packed, bytes: (64, 64 * KIB) },
    Target { name: "redo", run: storage::fuzzing::redo, bytes: (16, 256 * KIB) },
    // Read, written, read again.
    Target { name: "request", run: request::run, bytes: (400, 2 * MESSAGE_ARRAY_BYTES) },
    Target { name: "stored", run: storage_and_plugins, bytes: (64, 4 * MIB) },
];

/// What the data folder holds: the first byte says what the rest is read as.
fn storage_and_plugins(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind {
        0 => crate::pipeline::fuzzing::deployment(bytes),
        1 => plugin::fuzzing::compiled(bytes),
        kind => storage::fuzzing::row(*kind, bytes),
    }
}

/// Some records out of any bytes, for those who need records to begin with.
pub fn records(mut data: &[u8]) -> Vec<Record> {
    record::fuzzing::records(&mut data)
}
