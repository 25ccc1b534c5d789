//! What comes of a record in a plugin: a verdict, or a failure with its reason.

use std::sync::Arc;

use crate::limits::PLUGIN_ERROR_BYTES;
use crate::record::Record;

use super::limits::LimitHit;

/// What a plugin decided about one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The record goes on as it is.
    Keep,
    /// The record ends here.
    Drop,
    /// These take the record's place, in this order. Never empty: that is [`Verdict::Drop`].
    Emit(Vec<Emitted>),
    /// The record goes to the outputs of these names: in the order given, each once, not checked
    /// against the manifest. Never empty: that is [`Verdict::Keep`].
    Route(Vec<Arc<str>>),
}

/// A record that a plugin made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// Its offset is that of the record it was made from.
    pub record: Record,
    /// The partition that the plugin chose; without it the key decides.
    pub partition: Option<u32>,
}

impl From<Record> for Emitted {
    fn from(record: Record) -> Self {
        Self { record, partition: None }
    }
}

/// What came of a batch: a verdict or a failure on each of its records from the first, in order.
///
/// Not on all of them, if need be: after a failure of a plugin that takes its records one by one (a
/// pipeline that stops need not have offered those behind it), after calls that were slow (there
/// has to be room for a shutdown), and after outputs that were large (they must not pile up in
/// memory). The caller offers the rest again.
pub type Processed = Vec<Result<Verdict, Failure>>;

/// Why a record has no verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub reason: FailureReason,
    /// For people; of a plugin's own text at most [`PLUGIN_ERROR_BYTES`].
    pub message: String,
}

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    /// The record is at fault: the plugin says so, or it cannot be offered to one. The instance
    /// is kept.
    BadMessage,
    /// The plugin says that it is at fault itself. The instance is kept.
    Failed,
    /// The plugin crashed, while it was called or while its instance was made.
    Trap,
    /// The call ran longer than the step allows.
    Timeout,
    /// The plugin asked for more than the step allows.
    Limit(LimitHit),
    /// The plugin returned what the contract does not allow.
    Contract,
    /// There is no room for an instance in this broker. The record was not offered and is not at
    /// fault: it must not be passed over, but offered again later.
    Unavailable,
}

impl FailureReason {
    /// One word, for metrics and dead letters. Never changes.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::BadMessage => "bad-message",
            Self::Failed => "failed",
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Limit(_) => "limit",
            Self::Contract => "contract",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Failure {
    pub(super) fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(PLUGIN_ERROR_BYTES));
        Self { reason, message }
    }

    pub(super) fn over(hit: LimitHit) -> Self {
        Self::new(FailureReason::Limit(hit), format!("the plugin hit a limit: {hit}"))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let failure = Failure::new(FailureReason::Failed, "x".to_owned() + &"ä".repeat(5_000));
        assert_eq!(failure.message.len(), PLUGIN_ERROR_BYTES - 1);
        assert!(failure.message.ends_with('ä'));
    }
}
