//! `millstream produce`

use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::client::{Client, ServerArgs};
use super::lines::{Line, LineError, Lines};
use super::output::{Out, count};
use crate::http::{Binary, Produced, RecordIn};
use crate::limits::{FEED_BYTES, FEED_RECORDS};
use crate::types::TopicName;

/// Produce records to a topic, one a line.
///
/// Lines are sent as they come, together where they come fast. Records with a key go to the
/// partition that Kafka's clients would choose, others to the partitions in turn.
#[derive(Debug, Args)]
pub(super) struct Produce {
    /// The topic.
    topic: TopicName,

    /// The file to read; - is standard input.
    #[arg(default_value = "-")]
    file: PathBuf,

    /// Each line is a key, this, and a value.
    #[arg(long, value_name = "S", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key_separator: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

impl Produce {
    pub(super) fn run(self, mut out: Out) -> anyhow::Result<()> {
        let client = Client::new(&self.server);
        let path = format!("/v1/topics/{}/records", self.topic);
        let lines = read(&self.file)?;
        let mut sent = 0_u64;
        let mut failure = None;
        while failure.is_none() {
            let (batch, ended) = next_batch(&lines, self.key_separator.as_deref());
            if !batch.is_empty() {
                let produced: Produced = client
                    .post(&path, &batch)
                    .with_context(|| format!("{} sent before that", count(sent, "record")))?;
                sent += produced.offsets.len() as u64;
            }
            match ended {
                Some(Ok(())) => break,
                Some(Err(error)) => failure = Some(error),
                None => {}
            }
        }
        if let Some(error) = failure {
            let sent = format!("{} sent before that", count(sent, "record"));
            return Err(anyhow::Error::new(error).context(sent));
        }
        if out.is_json() {
            out.json(&json!({ "topic": self.topic, "records": sent }))?;
        } else {
            out.line(format!("{} to {}", count(sent, "record"), self.topic))?;
        }
        out.flush()
    }
}

type LineResult = Result<Line, LineError>;

/// The lines of a file from a thread of its own, so that what has come can be sent while the next
/// line is not there yet.
fn read(file: &Path) -> anyhow::Result<Receiver<LineResult>> {
    let (sender, lines) = sync_channel(FEED_RECORDS);
    if file == Path::new("-") {
        std::thread::spawn(move || forward(stdin().lock(), &sender));
    } else {
        let open = || format!("cannot open {}", file.display());
        let input = BufReader::new(File::open(file).with_context(open)?);
        std::thread::spawn(move || forward(input, &sender));
    }
    Ok(lines)
}

fn forward(input: impl BufRead, sender: &SyncSender<LineResult>) {
    for line in Lines::new(input) {
        let last = line.is_err();
        if sender.send(line).is_err() || last {
            return;
        }
    }
}

/// Waits for a line and takes those that are there already. With the end comes how it ended.
fn next_batch(
    lines: &Receiver<LineResult>,
    separator: Option<&str>,
) -> (Vec<RecordIn>, Option<Result<(), LineError>>) {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let Ok(mut line) = lines.recv() else { return (batch, Some(Ok(()))) };
    loop {
        let record = line.and_then(|line| {
            bytes += line.bytes.len();
            record(line, separator)
        });
        match record {
            Ok(record) => batch.push(record),
            Err(error) => return (batch, Some(Err(error))),
        }
        if batch.len() >= FEED_RECORDS || bytes >= FEED_BYTES {
            return (batch, None);
        }
        // Nothing there, or the end: the next call tells which.
        let Ok(next) = lines.try_recv() else { return (batch, None) };
        line = next;
    }
}

fn record(line: Line, separator: Option<&str>) -> Result<RecordIn, LineError> {
    let (key, value) = match separator {
        None => (None, line.bytes),
        Some(separator) => {
            let (key, value) = line.split(separator)?;
            (Some(Bytes::from(key)), value)
        }
    };
    let key = Binary::encode(key.as_ref());
    let value = Binary::encode(Some(&Bytes::from(value)));
    Ok(RecordIn {
        key: key.text,
        key_base64: key.base64,
        value: value.text,
        value_base64: value.base64,
        ..RecordIn::default()
    })
}
