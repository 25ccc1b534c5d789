//! Feeding files to topics: line by line, a bounded batch at a time, each durable before the next.

use std::fs::File;
use std::io::BufReader;

use anyhow::Context;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Input;
use crate::broker::{Broker, NewTopic};
use crate::cli::lines::Lines;
use crate::http::{NewRecord, append};
use crate::limits::{FEED_BYTES, FEED_RECORDS};
use crate::types::TopicName;

/// How feeding goes.
#[derive(Debug)]
pub(super) enum Fed {
    /// So many bytes of the files are in their topics.
    Bytes(u64),
    /// A file is.
    File { topic: TopicName, records: u64 },
    /// All files are, or one could not be read on.
    End(anyhow::Result<()>),
}

/// Bytes of all files, as far as it is known.
pub(super) fn total_bytes(inputs: &[Input]) -> u64 {
    inputs.iter().filter_map(|input| std::fs::metadata(&input.file).ok()).map(|m| m.len()).sum()
}

/// Feeds the files one after the other, from a thread that may block.
pub(super) fn start(broker: Broker, inputs: Vec<Input>) -> mpsc::Receiver<Fed> {
    let (sender, fed) = mpsc::channel(16);
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || {
        let ended = inputs.iter().try_for_each(|input| {
            let fed = feed(&handle, &broker, input, &sender);
            fed.with_context(|| {
                format!("{} cannot be fed to {}", input.file.display(), input.topic)
            })
        });
        // Nobody waits any more when the session has ended.
        let _ = sender.blocking_send(Fed::End(ended));
    });
    fed
}

fn feed(
    handle: &Handle,
    broker: &Broker,
    input: &Input,
    sender: &mpsc::Sender<Fed>,
) -> anyhow::Result<()> {
    let name = input.topic.clone();
    let new = NewTopic { name, partitions: None, config: Default::default() };
    let topic = handle.block_on(broker.topic_or_create(new))?;
    let mut lines = Lines::new(BufReader::new(File::open(&input.file)?)).peekable();
    let mut total = 0;
    while lines.peek().is_some() {
        let (mut records, mut bytes) = (Vec::new(), 0);
        for line in lines.by_ref() {
            let line = line?;
            bytes += line.length;
            let value = Some(Bytes::from(line.bytes));
            records.push(NewRecord { value, ..NewRecord::default() });
            if records.len() >= FEED_RECORDS || bytes >= FEED_BYTES as u64 {
                break;
            }
        }
        total += records.len() as u64;
        handle.block_on(append(broker, &topic, records))?;
        if sender.blocking_send(Fed::Bytes(bytes)).is_err() {
            return Ok(());
        }
    }
    // As above.
    let _ = sender.blocking_send(Fed::File { topic: input.topic.clone(), records: total });
    Ok(())
}
