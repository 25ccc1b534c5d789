//! Plugins for [Millstream] pipelines in Rust: filters, transformers and routers.
//!
//! A plugin is a function on a borrowed [`Record`]. It is called for one record at a time; below
//! it, records come and go in batches, so a call from the broker costs some ten nanoseconds a
//! record, and a record that is kept or routed is not copied out at all.
//!
//! ```
//! use millstream_plugin::{Record, Result, config, filter};
//!
//! /// Keeps the records whose value contains the configured `word`.
//! struct Containing {
//!     word: String,
//! }
//!
//! impl millstream_plugin::Filter for Containing {
//!     fn new() -> Result<Self> {
//!         Ok(Self { word: config::parse("word")? })
//!     }
//!
//!     fn keep(&mut self, record: Record<'_>) -> Result<bool> {
//!         Ok(record.text()?.contains(&self.word))
//!     }
//! }
//!
//! filter!(struct Containing);
//! ```
//!
//! A plugin without a configuration is a function:
//!
//! ```
//! # use millstream_plugin::{Record, Result};
//! fn keep(record: Record<'_>) -> Result<bool> {
//!     Ok(record.value().is_some())
//! }
//!
//! millstream_plugin::filter!(keep);
//! ```
//!
//! [`transform!`] and [`route!`] are the same for the other kinds, with [`Transform`] and
//! [`Route`].
//!
//! # Building
//!
//! The crate is a `cdylib`. With the target `wasm32-unknown-unknown` cargo leaves a core module,
//! of which `wasm-tools component new` makes a component:
//!
//! ```text
//! cargo build --release --target wasm32-unknown-unknown
//! wasm-tools component new target/wasm32-unknown-unknown/release/NAME.wasm -o NAME.wasm
//! ```
//!
//! With `wasm32-wasip2` cargo makes the component itself. Such a component imports parts of WASI
//! when its code uses them, and a step gives it those with `wasi = true`: clocks, random numbers
//! and output, but no file. With `wasm32-unknown-unknown` there are none.
//!
//! # Errors, panics, logs
//!
//! An [`Error`] fails its record; what becomes of it is the step's `on-error` in the manifest. A
//! panic is logged, ends the instance and fails the record that it happened on, alone of its
//! batch. The functions in [`log`] write to the broker's log.
//!
//! # What a plugin can rely on
//!
//! An instance serves one step for one partition of a source topic ([`context`]). Its records come
//! in the order of their offsets, and may come again: after a crash, by the step's `on-error`, or
//! when the broker looks for the record that a batch failed on. What a plugin keeps in memory is a
//! cache.
//!
//! # Testing
//!
//! Everything works in ordinary tests on the machine that you build on: [`testing`] makes records
//! and sets the configuration.
//!
//! # Features
//!
//! `json`: [`Record::json`] and [`Output::json`], with serde. Off unless you ask for it.
//!
//! [Millstream]: https://github.com/millstream/millstream

// The README's examples are compiled as tests.
#[cfg(all(doctest, feature = "json"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod answer;
mod batch;
pub mod config;
pub mod context;
mod error;
pub mod log;
mod output;
mod record;
mod run;
pub mod testing;

#[doc(hidden)]
pub mod bindings {
    //! The world, as the component tools see it.
    #![allow(missing_docs, clippy::all)]

    wit_bindgen::generate!({
        world: "processor-plugin",
        path: "wit",
        pub_export_macro: true,
        export_macro_name: "export_processor",
        default_bindings_module: "millstream_plugin::bindings",
    });
}

pub use error::{Error, Result};
pub use output::{Message, Output, Outputs};
pub use record::{Header, Headers, Record};
pub use run::{Filter, Route, Transform};

#[doc(hidden)]
pub use run::{Filtering, Routing, Slot, Transforming};

/// Makes the crate a filter: of a function `fn(Record<'_>) -> Result<bool>`, or of a type that is a
/// [`Filter`], as in `filter!(struct Name)`.
#[macro_export]
macro_rules! filter {
    (struct $plugin:ty) => {
        $crate::__plugin!($crate::Filtering<$plugin>);
    };
    ($function:path) => {
        const _: () = {
            struct Function;

            impl $crate::Filter for Function {
                fn new() -> $crate::Result<Self> {
                    Ok(Function)
                }

                fn keep(&mut self, record: $crate::Record<'_>) -> $crate::Result<bool> {
                    $function(record)
                }
            }

            $crate::__plugin!($crate::Filtering<Function>);
        };
    };
}

/// Makes the crate a transformer: of a function `fn(Record<'_>, &mut Output<'_>) -> Result<()>`, or
/// of a type that is a [`Transform`], as in `transform!(struct Name)`.
///
/// ```
/// use millstream_plugin::{Output, Record, Result};
///
/// /// Makes a record of each line.
/// fn lines(record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
///     for line in record.text()?.lines() {
///         out.value(line);
///     }
///     Ok(())
/// }
///
/// millstream_plugin::transform!(lines);
/// ```
#[macro_export]
macro_rules! transform {
    (struct $plugin:ty) => {
        $crate::__plugin!($crate::Transforming<$plugin>);
    };
    ($function:path) => {
        const _: () = {
            struct Function;

            impl $crate::Transform for Function {
                fn new() -> $crate::Result<Self> {
                    Ok(Function)
                }

                fn transform(
                    &mut self,
                    record: $crate::Record<'_>,
                    out: &mut $crate::Output<'_>,
                ) -> $crate::Result<()> {
                    $function(record, out)
                }
            }

            $crate::__plugin!($crate::Transforming<Function>);
        };
    };
}

/// Makes the crate a router: of a function `fn(Record<'_>, &mut Outputs<'_>) -> Result<()>`, or of
/// a type that is a [`Route`], as in `route!(struct Name)`.
///
/// ```
/// use millstream_plugin::{Outputs, Record, Result};
///
/// /// Large records go to an output of their own.
/// fn by_size(record: Record<'_>, outputs: &mut Outputs<'_>) -> Result<()> {
///     let size = record.value().map_or(0, <[u8]>::len);
///     outputs.to(if size > 10_000 { "large" } else { "small" });
///     Ok(())
/// }
///
/// millstream_plugin::route!(by_size);
/// ```
#[macro_export]
macro_rules! route {
    (struct $plugin:ty) => {
        $crate::__plugin!($crate::Routing<$plugin>);
    };
    ($function:path) => {
        const _: () = {
            struct Function;

            impl $crate::Route for Function {
                fn new() -> $crate::Result<Self> {
                    Ok(Function)
                }

                fn route(
                    &mut self,
                    record: $crate::Record<'_>,
                    outputs: &mut $crate::Outputs<'_>,
                ) -> $crate::Result<()> {
                    $function(record, outputs)
                }
            }

            $crate::__plugin!($crate::Routing<Function>);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __plugin {
    ($plugin:ty) => {
        const _: () = {
            struct Exported;

            impl $crate::bindings::exports::millstream::plugin::processor::Guest for Exported {
                fn process(batch: Vec<u8>) -> Vec<u8> {
                    ::std::thread_local! {
                        static SLOT: $crate::Slot<$plugin> = const { $crate::Slot::new() };
                    }
                    SLOT.with(|slot| slot.process(&batch))
                }
            }

    $crate::bindings::export_processor!(Exported with_types_in $crate::bindings);
        };
    };
}
