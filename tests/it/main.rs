//! The one integration binary: each further one would link wasmtime again.

#![allow(clippy::unwrap_used)]

mod manifests;
mod pipelines;
