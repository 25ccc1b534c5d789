//! A filter, a transformer and a router, each in its typed world and in the packed one, with the
//! same work to do: `benches/plugins.rs` measures what the worlds cost, and a test that they make
//! the same of the same records.

#![cfg_attr(not(any(feature = "typed", feature = "packed")), allow(dead_code))]

#[cfg(feature = "packed")]
mod packed;
#[cfg(feature = "typed")]
mod typed;
#[cfg_attr(feature = "filter", allow(dead_code))]
#[cfg_attr(feature = "transformer", allow(dead_code))]
#[cfg_attr(feature = "router", allow(dead_code))]
mod work;
