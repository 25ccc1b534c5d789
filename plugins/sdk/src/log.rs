//! Lines in the broker's log, with the names of pipeline and step. Of one batch's lines those
//! beyond the 100th are counted, not written.

/// Something is wrong.
pub fn error(text: &str) {
    write(Level::Error, text);
}

/// Something is wrong, and the plugin goes on.
pub fn warn(text: &str) {
    write(Level::Warn, text);
}

/// Worth knowing.
pub fn info(text: &str) {
    write(Level::Info, text);
}

/// For whoever works on the plugin.
pub fn debug(text: &str) {
    write(Level::Debug, text);
}

use crate::bindings::millstream::plugin::logging::Level;

#[cfg(target_family = "wasm")]
fn write(level: Level, text: &str) {
    crate::bindings::millstream::plugin::logging::log(level, text);
}

#[cfg(not(target_family = "wasm"))]
fn write(level: Level, text: &str) {
    eprintln!("{level:?}: {text}");
}
