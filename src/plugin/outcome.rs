//! What comes of a record in a plugin: a verdict, or a failure with its reason.

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
    /// These take the record's place, in this order. Their offset is that of the record they were
    /// made from. Never empty: that is [`Verdict::Drop`].
    Emit(Vec<Record>),
    /// The record goes to the outputs of these names: in the order given, each once, not checked
    /// against the manifest. Never empty: that is [`Verdict::Keep`].
    Route(Vec<String>),
}

/// What came of a batch: the verdicts on its first records, and the failure of the record after
/// them, if that is what ended it.
///
/// Not all of the batch, then: a failure decides what becomes of the records behind it (a pipeline
/// that stops must not have offered them; one that retries must keep their order), a batch of
/// slow calls has to leave room for a shutdown, and one of large outputs must not pile up in
/// memory. The caller offers the rest again: from `verdicts.len()`, or, to skip a failed record,
/// from one further.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Processed {
    /// Of the records from the first, in order.
    pub verdicts: Vec<Verdict>,
    /// Of record `verdicts.len()`.
    pub failure: Option<Failure>,
}

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
