//! The one integration binary. One file a subject; `util` holds the harness.
#![allow(clippy::unwrap_used, reason = "a test that fails is to say where")]

mod manifests;
mod pipelines;
mod util;
