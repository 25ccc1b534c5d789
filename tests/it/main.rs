//! The one integration binary: each further one links wasmtime again.

mod components;
mod manifests;
mod pipelines;
