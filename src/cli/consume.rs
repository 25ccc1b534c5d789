//! `millstream consume`

use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::Context;
use clap::Args;

use super::client::{Client, ClientError, ServerArgs};
use super::output::Out;
use super::runtime;
use crate::http::{Binary, Consumed, Position, RecordView};
use crate::limits::{HTTP_RECORDS, HTTP_WAIT_MS};
use crate::server::termination;
use crate::types::{PartitionIndex, TopicName};

/// Consume records of a topic, those to come unless told otherwise.
///
/// Prints one value a line as it was produced, or with --json one record a line with all there is
/// about it. Goes on until Ctrl-C, or until --max.
#[derive(Debug, Args)]
pub(super) struct Consume {
    /// The topic.
    topic: TopicName,

    /// Begin with the first record that there is.
    #[arg(long)]
    from_beginning: bool,

    /// End after so many records.
    #[arg(long, value_name = "N")]
    max: Option<u64>,

    /// Only this partition; all if not given.
    #[arg(long, value_name = "N")]
    partition: Option<PartitionIndex>,

    /// Print each record's key and this before its value.
    #[arg(long, value_name = "S")]
    key_separator: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

/// What the printing thread is told.
enum Event {
    Records(Vec<RecordView>),
    Failed(ClientError),
    Interrupted,
}

impl Consume {
    pub(super) fn run(self, mut out: Out) -> anyhow::Result<()> {
        if self.max == Some(0) {
            return Ok(());
        }
        // Little is read ahead of what is printed.
        let (sender, events) = sync_channel(1);
        let runtime = runtime().context("cannot start threads")?;
        let interrupted = {
            let _inside = runtime.enter();
            termination()?
        };
        let interrupt = sender.clone();
        runtime.spawn(async move {
            interrupted.await;
            // May wait for the printing thread; nothing else runs here.
            let _ = interrupt.send(Event::Interrupted);
        });
        let tail = Tail {
            client: Client::new(&self.server),
            path: format!("/v1/topics/{}/records", self.topic),
            max: self.max,
        };
        let start = self.start();
        std::thread::spawn(move || tail.run(start, &sender));

        let mut left = self.max;
        while let Ok(event) = events.recv() {
            match event {
                Event::Records(records) => {
                    for record in &records {
                        self.print(&mut out, record)?;
                    }
                    out.flush()?;
                    if let Some(left) = &mut left {
                        *left = left.saturating_sub(records.len() as u64);
                        if *left == 0 {
                            break;
                        }
                    }
                }
                Event::Failed(error) => return Err(error.into()),
                Event::Interrupted => break,
            }
        }
        // The reading thread ends with the process.
        runtime.shutdown_background();
        out.flush()
    }

    /// The first question's query.
    fn start(&self) -> Vec<(&'static str, String)> {
        let offset = if self.from_beginning { "earliest" } else { "latest" };
        let mut query = vec![("offset", offset.to_owned())];
        query.extend(self.partition.map(|partition| ("partition", partition.to_string())));
        query
    }

    fn print(&self, out: &mut Out, record: &RecordView) -> anyhow::Result<()> {
        if out.is_json() {
            return out.json(record);
        }
        let field = |text: &Option<String>, base64: &Option<String>| {
            let bytes = Binary { text: text.clone(), base64: base64.clone() }.decode("field");
            bytes.map_err(anyhow::Error::msg).context("the broker's answer is not as expected")
        };
        let mut line = Vec::new();
        if let Some(separator) = &self.key_separator {
            let key = field(&record.key, &record.key_base64)?;
            line.extend_from_slice(&key.unwrap_or_default());
            line.extend_from_slice(separator.as_bytes());
        }
        let value = field(&record.value, &record.value_base64)?;
        line.extend_from_slice(&value.unwrap_or_default());
        out.bytes(&line)
    }
}

/// Follows the end of a topic.
struct Tail {
    client: Client,
    path: String,
    max: Option<u64>,
}

impl Tail {
    fn run(self, start: Vec<(&'static str, String)>, sender: &SyncSender<Event>) {
        // Positions first: what comes between two questions must not be missed.
        let mut query = start;
        let mut left = self.max;
        let mut wait_ms = 0;
        loop {
            query.push(("wait_ms", wait_ms.to_string()));
            let most = left.unwrap_or(u64::MAX).min(HTTP_RECORDS as u64);
            query.push(("max", most.to_string()));
            let Consumed { records, positions } = match self.client.get(&self.path, &query) {
                Ok(consumed) => consumed,
                Err(error) => {
                    // The printing thread may have ended.
                    let _ = sender.send(Event::Failed(error));
                    return;
                }
            };
            left = left.map(|left| left.saturating_sub(records.len() as u64));
            if !records.is_empty() && sender.send(Event::Records(records)).is_err() {
                return;
            }
            if left == Some(0) {
                return;
            }
            query = vec![("from", from(positions))];
            wait_ms = HTTP_WAIT_MS;
        }
    }
}

/// Where to go on. Partitions with more to read come first, so that none waits for ever behind a
/// busy one.
fn from(mut positions: Vec<Position>) -> String {
    positions.sort_by_key(|at| std::cmp::Reverse(at.high_watermark - at.next_offset));
    let parts = positions.iter().map(|at| format!("{}:{}", at.partition, at.next_offset));
    parts.collect::<Vec<_>>().join(",")
}
