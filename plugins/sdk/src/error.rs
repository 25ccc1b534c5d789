use std::fmt;

/// Why a record has no result. The text is kept with the record and shown to people; the broker
/// cuts it at 4096 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The record is at fault: it is not what this plugin can read.
    BadMessage(String),
    /// The plugin is at fault, or its configuration.
    Failed(String),
}

/// What the functions of a plugin return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The record is at fault.
    pub fn bad_message(text: impl fmt::Display) -> Self {
        Self::BadMessage(text.to_string())
    }

    /// The plugin is at fault, or its configuration.
    pub fn failed(text: impl fmt::Display) -> Self {
        Self::Failed(text.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadMessage(text) => write!(f, "bad message: {text}"),
            Self::Failed(text) => write!(f, "failed: {text}"),
        }
    }
}

impl std::error::Error for Error {}

/// A text that is not UTF-8 is the record's fault.
impl From<std::str::Utf8Error> for Error {
    fn from(error: std::str::Utf8Error) -> Self {
        Self::BadMessage(format!("not UTF-8: {error}"))
    }
}
