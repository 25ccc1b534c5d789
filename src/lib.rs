//! Millstream: a streaming broker in one binary. Kafka clients outside, WebAssembly pipelines
//! inside, every effect of a batch durable in one redb transaction.
//!
//! # Code map
//!
//! The tree is the data path. Imports run downwards only; `tests/it/architecture.rs` holds it.
//!
//! | layer | module | what it is for | what it never does |
//! |---|---|---|---|
//! | 0 | [`types`], [`limits`], [`clock`], [`random`] | names, caps, time, ids | I/O |
//! | 0 | [`record`] | the record batch v2: view, validate, build, compress | I/O |
//! | 1 | [`storage`] | segments, journal, meta on redb | name tokio, Kafka messages, plugins |
//! | 1 | [`plugin`] | the wasmtime host: compile, check, call, limit | name broker or storage |
//! | 2 | [`broker`] | topics, groups, producers, the committer, the cleaner | parse a wire format |
//! | 3 | [`kafka`] | the Kafka protocol: frames, messages, codes | know that pipelines exist |
//! | 3 | [`pipeline`] | manifest, graph, runner | name a Kafka message or a redb table |
//! | 4 | [`http`] | the admin API; JSON shapes live here only | decide anything |
//! | 5 | [`config`], [`server`] | valid settings; the composition root | decide about records |
//! | 5 | `fuzzing` | for `fuzz/` and tests: the decoders of outside bytes | exist in a release |
//! | 6 | [`cli`] | one struct a command | touch a data folder that a broker has open |
//!
//! # Invariants
//!
//! - Every durable change is one [`broker::Commit`] or one of the rare admin changes; the
//!   committer thread is the only writer.
//! - Nothing is visible before it is durable: the high watermark, pipeline reads and
//!   acknowledgements move after its fsync returned.
//! - Nothing read back from disk is trusted: a batch's CRC-32C is checked again on read.
//! - What is not deleted is in one place that a crash leaves: moving, compacting and unlinking
//!   change the log a run at a time, each in one transaction.
//! - Every file operation goes through [`storage::Files`], apart from compiled plugins, which may
//!   be lost and are made again; every look at the time through [`clock::Clock`], every id out of
//!   nothing from [`random`]. `simulation` (tests only) steps storage, broker and pipelines in one
//!   thread from a seed.
//! - Every queue, frame, batch and wait has a cap in [`limits`].

pub mod broker;
pub mod cli;
pub mod clock;
pub mod config;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod kafka;
pub mod limits;
pub mod pipeline;
#[cfg(test)]
pub(crate) mod planted;
pub mod plugin;
pub mod random;
pub mod record;
pub mod server;
#[cfg(test)]
mod simulation;
pub mod storage;
pub mod types;
