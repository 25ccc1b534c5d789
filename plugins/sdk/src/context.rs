//! Where the records come from. It stays the same as long as the instance lives.

#[cfg(target_family = "wasm")]
use crate::bindings::millstream::plugin::context as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::context as host;

/// The pipeline's name in the manifest.
pub fn pipeline() -> String {
    host::pipeline()
}

/// The step's number, counted from 1, and its plugin's name in the manifest, as in `2-flatten`.
pub fn step() -> String {
    host::step()
}

/// The source topic of the pipeline.
pub fn topic() -> String {
    host::topic()
}

/// The partition of that topic.
pub fn partition() -> u32 {
    host::partition()
}
