//! The records that a plugin is tried with.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;

use super::project::Project;
use crate::cli::lines::{Line, Lines};
use crate::http::{NewRecord, RecordIn};
use crate::record::Record;

/// Where the records come from.
#[derive(Debug, Args)]
pub(super) struct InputArgs {
    /// Records, one a line: each line is a value, the key is null [default: the folder's].
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Each line is a record with key, value and headers, as `consume --json` prints them.
    #[arg(long)]
    records: bool,
}

/// A record and the line it stands in.
pub(super) struct Numbered {
    pub(super) line: u64,
    pub(super) record: Record,
}

impl InputArgs {
    /// Whether nothing was said about the input.
    pub(super) fn is_default(&self) -> bool {
        self.input.is_none()
    }

    /// Opens the input, if there is one. Its records come one by one, so that any file will do.
    pub(super) fn open(
        &self,
        project: Option<&Project>,
    ) -> anyhow::Result<Option<impl Iterator<Item = anyhow::Result<Numbered>> + use<>>> {
        let folders = |project: &Project| {
            let input = project.plugin.test.input.as_ref()?;
            Some(project.folder.join(input))
        };
        let Some(path) = self.input.clone().or_else(|| project.and_then(folders)) else {
            return Ok(None);
        };
        let cannot = || format!("cannot open {}", path.display());
        let lines = Lines::new(BufReader::new(File::open(&path).with_context(cannot)?));
        let records = self.records;
        Ok(Some(lines.map(move |line| {
            let line = line.with_context(|| path.display().to_string())?;
            numbered(line, records, &path)
        })))
    }
}

fn numbered(line: Line, records: bool, path: &Path) -> anyhow::Result<Numbered> {
    let number = line.number;
    let offset = i64::try_from(number).unwrap_or(i64::MAX).saturating_sub(1);
    let record = if records {
        let place = || format!("{}, line {number}", path.display());
        parse(&line.bytes, offset).with_context(place)?
    } else {
        let value = Some(Bytes::from(line.bytes));
        Record { offset, timestamp: 0, key: None, value, headers: Vec::new() }
    };
    Ok(Numbered { line: number, record })
}

/// Takes what `consume --json` prints: that has a topic, a partition and an offset as well.
fn parse(line: &[u8], offset: i64) -> anyhow::Result<Record> {
    let mut fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(line).context("not a record as JSON")?;
    for place in ["topic", "partition", "offset"] {
        fields.remove(place);
    }
    let record: RecordIn = serde_json::from_value(fields.into()).context("not a record as JSON")?;
    let record = NewRecord::try_from(record).map_err(anyhow::Error::msg)?;
    Ok(Record {
        offset,
        timestamp: record.timestamp.unwrap_or(0),
        key: record.key,
        value: record.value,
        headers: record.headers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_what_consume_prints() {
        let line = br#"{"topic":"t","partition":1,"offset":9,"timestamp":5,"key":"k",
            "value_base64":"/w==","headers":[{"key":"h"}]}"#;
        let record = parse(line, 3).unwrap();
        assert_eq!((record.offset, record.timestamp), (3, 5));
        assert_eq!(record.value.as_deref(), Some(&[0xff][..]));
        assert_eq!((record.headers.len(), record.headers[0].value.clone()), (1, None));
        for wrong in [&b"1"[..], b"{\"sauce\":1}", b"{\"value\":\"a\",\"value_base64\":\"YQ==\"}"] {
            assert!(parse(wrong, 0).is_err());
        }
    }
}
