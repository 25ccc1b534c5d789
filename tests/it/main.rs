//! The one integration binary: each further one links wasmtime again. One file a subject; `client`
//! and `util` are the harness.
#![allow(clippy::unwrap_used, reason = "a test that fails is to say where")]

mod admin;
mod architecture;
mod bombs;
mod bounds;
mod cli;
mod client;
mod compare;
mod components;
mod crash;
mod damage;
mod docs;
mod fetch_sessions;
mod folders;
mod format;
mod full_disk;
mod groups;
mod harm;
mod kafka_messages;
mod kafka_schema;
mod languages;
mod latency;
#[path = "../../src/simulation/ledger.rs"]
#[allow(dead_code, reason = "the simulation uses more of it")]
mod ledger;
mod manifests;
mod pipelines;
mod plugin_commands;
mod produce;
mod producers;
mod protocol;
mod readme;
mod recovery;
mod settings;
mod topic_settings;
mod turnover;
mod util;
mod worlds;
