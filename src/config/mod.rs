//! Settings: what the user typed, checked once and turned into what the server runs on. Opens
//! nothing; the one thing it asks the system is what a host name means.
//!
//! A setting has one name everywhere: `--tail-size` on the command line, `MILLSTREAM_TAIL_SIZE` in
//! the environment, `tail-size` in the file that `--config` names. The command line goes before
//! the environment, the environment before the file, the file before the default.

mod error;
mod listen;
mod settings;
mod value;

pub use error::{ConfigError, Flag};
pub use listen::Listen;
pub use settings::{Clients, Config, DEFAULT_DATA, DEFAULT_HTTP, DEFAULT_KAFKA, Keeping, Settings};
