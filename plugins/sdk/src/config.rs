//! The step's `config` table in the manifest. Its values are text and do not change as long as the
//! instance lives: read them in `new`.

use std::fmt::Display;
use std::str::FromStr;

use crate::{Error, Result};

/// The value of this name, if the manifest gives it.
pub fn get(name: &str) -> Option<String> {
    #[cfg(target_family = "wasm")]
    return crate::bindings::millstream::plugin::config::get(name);
    #[cfg(not(target_family = "wasm"))]
    return crate::testing::config(name);
}

/// The value of this name, which the manifest must give.
///
/// # Errors
/// [`Error::Failed`] if it is missing, or is none of `T`.
///
/// ```
/// # use millstream_plugin::{config, testing};
/// testing::set_config(&[("minimum", "2.5"), ("digits", "many")]);
/// assert_eq!(config::parse("minimum"), Ok(2.5));
/// assert!(config::parse::<u8>("digits").is_err());
/// assert!(config::parse::<u8>("other").is_err());
/// ```
pub fn parse<T: FromStr<Err: Display>>(name: &str) -> Result<T> {
    match get(name) {
        Some(text) => parse_text(name, &text),
        None => Err(Error::Failed(format!("config `{name}` is missing"))),
    }
}

/// The value of this name, or `default` if the manifest does not give it.
///
/// # Errors
/// [`Error::Failed`] if it is none of `T`.
pub fn parse_or<T: FromStr<Err: Display>>(name: &str, default: T) -> Result<T> {
    get(name).map_or(Ok(default), |text| parse_text(name, &text))
}

fn parse_text<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T> {
    text.trim()
        .parse()
        .map_err(|error| Error::Failed(format!("config `{name}` is {text:?}: {error}")))
}
