//! The wasmtime host: compiles components, checks them against the contract in `wit/`, calls them
//! and holds them to their limits. The only room that names wasmtime.
//!
//! It knows records and nothing else of the broker: no topic, no offset to commit, no policy for
//! failed records. It is synchronous; a call may take as long as [`Limits::call_ms`] allows, so it
//! belongs on a thread that may block, with at least 1 MiB of stack.
//!
//! What a plugin can cost: its record, and its own instance. Never the caller: whatever comes from
//! a component, before and after it runs, is bounded and ends as a [`Failure`] or a
//! [`PluginError`].

mod cache;
mod compiler;
mod contract;
mod engine;
#[cfg(test)]
mod fixtures;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod imports;
mod instance;
mod limits;
mod log_budget;
mod nesting;
mod outcome;
mod packed;
mod sizing;
mod typed;
mod wasi;

pub use compiler::{COMPILE_COMMAND, Compiling, compile_apart};
pub use contract::{CONTRACT_VERSION, PluginKind};
pub use engine::Engine;
pub use instance::{Instance, Plugin, Settings};
pub use limits::{LimitHit, LimitKind, Limits};
pub use outcome::{Emitted, Failure, FailureReason, Processed, Verdict};

/// Why a component was refused, or the engine not made.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The bytes are no component.
    #[error("this is {found}, not a WebAssembly component")]
    NotComponent {
        /// What the bytes look like.
        found: &'static str,
    },
    /// More bytes than allowed.
    #[error("the component is {bytes} bytes long, at most {max} are allowed")]
    TooLarge {
        /// Length of the component.
        bytes: usize,
        /// Length allowed.
        max: usize,
    },
    /// What stands in each other in it stands too deep for the compiler.
    #[error("it has {what} in each other, more than {max} deep")]
    TooDeep {
        /// What.
        what: &'static str,
        /// How deep it may be.
        max: usize,
    },
    /// It is damaged, uses a WebAssembly feature that is off, or needs more than the pool gives.
    #[error("the component does not compile: {reason}")]
    Compile {
        /// What the compiler says.
        reason: String,
    },
    /// It exports none of the interfaces that make a plugin.
    #[error("the component is no plugin: it exports {exports}; expected is one of {expected}")]
    NotPlugin {
        /// What it exports.
        exports: String,
        /// What a plugin exports.
        expected: String,
    },
    /// It is built on another version of the contract.
    #[error(
        "the component is built on another version of the plugin contract: it has {found}; \
         this Millstream speaks version {CONTRACT_VERSION}"
    )]
    Version {
        /// The names in which the version shows.
        found: String,
    },
    /// It exports more than one of the interfaces that make a plugin.
    #[error("the component is several plugins at once: it exports {exports}; expected is one")]
    SeveralKinds {
        /// What it exports.
        exports: String,
    },
    /// It exports the interface, but not as the contract has it.
    #[error("the component's {name} is {found}; expected is {expected}")]
    Signature {
        /// Interface and function.
        name: String,
        /// Its type.
        found: String,
        /// The type in the contract.
        expected: String,
    },
    /// It imports what plugins are not given.
    #[error(
        "the component imports {imports}; a plugin can import {offered} and, in a step with \
         `wasi = true`, clocks, random numbers and output of WASI 0.2, and nothing else"
    )]
    UnknownImport {
        /// What it imports beyond the contract.
        imports: String,
        /// What there is.
        offered: String,
    },
    /// It imports an interface of the contract, but not as the contract has it.
    #[error("the component's imports do not fit the plugin contract: {reason}")]
    Import {
        /// What does not fit.
        reason: String,
    },
    /// The engine could not be made on this machine.
    #[error("the plugin engine cannot be started: {reason}")]
    Engine {
        /// What is missing.
        reason: String,
    },
}
