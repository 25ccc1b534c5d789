//! What came of a record, as a line: what `plugin test` prints, writes and compares.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::cli::output::{count, printable};
use crate::http::{Binary, HeaderView, RecordIn};
use crate::plugin::{Emitted, Failure, Verdict};

/// What came of one record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Outcome {
    /// The record's line in the input, from 1.
    pub(super) line: u64,
    #[serde(flatten)]
    pub(super) what: What,
}

/// What a plugin made of a record.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub(super) enum What {
    /// It goes on as it is.
    Keep,
    /// It ends here.
    Drop,
    /// These take its place.
    Emit {
        /// As a broker takes them.
        #[serde(serialize_with = "as_records")]
        records: Vec<Emitted>,
    },
    /// It goes to these outputs.
    Route {
        /// Their names.
        outputs: Vec<Arc<str>>,
    },
    /// It failed.
    Fail {
        /// The kind of failure.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

impl Outcome {
    pub(super) fn new(line: u64, result: Result<Verdict, Failure>) -> Self {
        let what = match result {
            Ok(Verdict::Keep) => What::Keep,
            Ok(Verdict::Drop) => What::Drop,
            Ok(Verdict::Emit(records)) => What::Emit { records },
            Ok(Verdict::Route(outputs)) => What::Route { outputs },
            Err(failure) => {
                What::Fail { reason: failure.reason.as_str(), message: failure.message }
            }
        };
        Self { line, what }
    }

    /// The outcome as it stands in a file.
    pub(super) fn to_json(&self) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(self)?)
    }

    /// The outcome for people, a line and one for each record made.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = self.line;
        match &self.what {
            What::Keep => vec![format!("{line:>5}  keep")],
            What::Drop => vec![format!("{line:>5}  drop")],
            What::Route { outputs } => vec![format!("{line:>5}  route to {}", outputs.join(", "))],
            What::Fail { reason, message } => {
                vec![format!("{line:>5}  FAIL {reason}: {}", printable(message))]
            }
            What::Emit { records } => {
                let head = format!("{line:>5}  emit {}", count(records.len() as u64, "record"));
                std::iter::once(head).chain(records.iter().map(record_line)).collect()
            }
        }
    }
}

fn record_line(record: &Emitted) -> String {
    let RecordIn { key, key_base64, value, value_base64, headers, partition, timestamp } =
        view(record);
    let shown = |text: Option<String>, base64: Option<String>| {
        let shown = Binary::show(text.as_deref(), base64.as_deref());
        shown.map_or_else(|| "null".to_owned(), |text| printable(&text))
    };
    let mut line = format!("         {}  {}", shown(key, key_base64), shown(value, value_base64));
    for HeaderView { key, key_base64, value, value_base64 } in headers {
        line += &format!("  {}: {}", shown(key, key_base64), shown(value, value_base64));
    }
    if let Some(partition) = partition {
        line += &format!("  to partition {partition}");
    }
    if let Some(timestamp) = timestamp.filter(|timestamp| *timestamp != 0) {
        line += &format!("  @{timestamp}");
    }
    line
}

fn as_records<S: serde::Serializer>(records: &[Emitted], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(records.iter().map(view))
}

/// A record in the shape in which the API takes them: what is null is left out.
fn view(emitted: &Emitted) -> RecordIn {
    let record = &emitted.record;
    let key = Binary::encode(record.key.as_ref());
    let value = Binary::encode(record.value.as_ref());
    RecordIn {
        key: key.text,
        key_base64: key.base64,
        value: value.text,
        value_base64: value.base64,
        headers: record.headers.iter().map(HeaderView::from).collect(),
        partition: emitted.partition.and_then(|partition| partition.try_into().ok()),
        timestamp: Some(record.timestamp),
    }
}
