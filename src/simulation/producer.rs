//! Clients that produce, and the batches that they make.

use super::ledger::{Place, Sent};
use super::run::Run;
use crate::clock::Clock;
use crate::record::{BatchBuilder, Compression, RecordBatch};
use crate::types::ProducerId;

/// A client that produces.
#[derive(Debug, Clone, Default)]
pub(super) struct Producer {
    pub(super) place: Place,
    pub(super) number: u64,
    /// Nothing for a plain one.
    pub(super) id: Option<ProducerId>,
    pub(super) sequence: i32,
    pub(super) made: usize,
    /// Batches that it has not been told of, oldest first.
    pub(super) pending: Vec<Pending>,
}

#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) number: usize,
    pub(super) batch: usize,
    pub(super) bytes: RecordBatch,
    pub(super) queued: bool,
}

impl Producer {
    /// Batches that it will send again until they are acknowledged.
    pub(super) fn unacknowledged(&self) -> impl Iterator<Item = usize> {
        let again = if self.id.is_some() { &self.pending[..] } else { &[] };
        again.iter().map(|pending| pending.batch)
    }
}

/// Its next batch, which is under way from now on.
pub(super) fn new_batch(run: &mut Run, index: usize) -> Pending {
    let producer = &run.producers[index];
    let (place, who, id) = (producer.place.clone(), producer.number, producer.id);
    let keyed = place.0 == "table";
    let compression = match place.0.as_str() {
        "short" => [Compression::None, Compression::Lz4, Compression::Zstd][run.random.usize(..3)],
        _ => Compression::None,
    };
    let mut builder = BatchBuilder::new(compression);
    if let Some(id) = id {
        builder.producer(id, producer.sequence);
    }
    let mut records = Vec::new();
    for at in 0..run.random.usize(1..6) {
        let letter = ["x", "x", "d", "n", "2", "e", "b", "s"][run.random.usize(..8)];
        let padding = match run.random.u8(..20) {
            0 => run.random.usize(..12_000),
            1..5 => run.random.usize(..2_000),
            _ => run.random.usize(..100),
        };
        let value = format!("{letter} {who}.{} {:.<padding$}", run.number, "");
        run.number += 1;
        let key = keyed.then(|| format!("key-{}", run.random.u8(..8)));
        // The first has a value, so that the batch is recognized.
        let is_tombstone = keyed && at > 0 && run.random.u8(..4) == 0;
        let value = (!is_tombstone).then_some(value);
        let bytes = value.as_ref().map(String::as_bytes);
        let pushed =
            builder.push(run.clock.now_ms(), key.as_ref().map(String::as_bytes), bytes, &[]);
        // The clock may jump further than a batch's times may lie apart.
        if pushed.is_ok() {
            records.push(Sent { key, value });
        }
    }
    let count = i32::try_from(records.len()).unwrap_or(0);
    let batch = run.told.ledger.send(place, who, records);
    let producer = &mut run.producers[index];
    producer.sequence += count;
    producer.made += 1;
    let bytes = builder.build().unwrap_or_else(|error| panic!("a batch is not made: {error}"));
    Pending { number: producer.made - 1, batch, bytes, queued: false }
}
