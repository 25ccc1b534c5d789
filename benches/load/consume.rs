//! Workloads of consumers, and the way from producer to consumer.

use std::fs;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};

use crate::batches::{Batch, Values, each_batch, next_offset};
use crate::broker::Broker;
use crate::client::Client;
use crate::measure::{Measured, Meter, Topic, percentile_ms, rate};
use crate::produce::Producer;

/// Longest that a fetch waits for records, milliseconds; what clients have by default.
const WAIT_MS: i32 = 500;

/// What was written before is read from the first record on: records per second.
pub(crate) fn from_start(
    broker: &Broker,
    values: Values,
    records: u64,
    drop_caches: bool,
) -> anyhow::Result<Measured> {
    let topic = Topic::create(broker, 1)?;
    let batch = Batch::new(values, records)?;
    let written = Producer::new(broker)?.send(&topic, &batch, records)?;
    if drop_caches {
        // Without this the operating system still has what was just written in memory.
        sync();
        fs::write("/proc/sys/vm/drop_caches", "3").context("caches can only be dropped by root")?;
    }
    let mut client = Client::connect(&broker.address)?;
    let meter = Meter::start(broker);
    read(&mut client, &topic, 0, written)?;
    let (elapsed, cost) = meter.stop(written);
    Ok(Measured::new([rate(written, elapsed)], cost))
}

fn sync() {
    // A file system is synced by any of its files; the command does all of them.
    let _ = std::process::Command::new("sync").status();
}

/// Consumers that wait for records while one producer writes as fast as it can: records per
/// second, of all consumers together.
pub(crate) fn at_the_tail(
    broker: &Broker,
    values: Values,
    consumers: u64,
    records: u64,
) -> anyhow::Result<Measured> {
    let topic = Topic::create(broker, 1)?;
    let batch = Batch::new(values, records)?;
    let warm = Producer::new(broker)?.send(&topic, &batch, batch.records)?;
    // Whole batches are sent.
    let records = records.next_multiple_of(batch.records);
    let start = Barrier::new(usize::try_from(consumers)? + 1);
    let mut producer = Producer::new(broker)?;
    let (elapsed, cost) = std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..consumers)
            .map(|_| {
                scope.spawn(|| {
                    let client = Client::connect(&broker.address);
                    start.wait();
                    read(&mut client?, &topic, i64::try_from(warm)?, records)
                })
            })
            .collect();
        start.wait();
        let meter = Meter::start(broker);
        let sent = producer.send(&topic, &batch, records);
        for thread in waiting {
            thread.join().map_err(|_| anyhow!("a consumer panicked"))??;
        }
        ensure!(sent? == records, "not all was sent");
        Ok(meter.stop(records * consumers))
    })?;
    Ok(Measured::new([rate(records * consumers, elapsed)], cost))
}

/// Reads so many records from an offset on; the next fetch is on the way while one is looked at.
fn read(client: &mut Client, topic: &Topic, from: i64, records: u64) -> anyhow::Result<()> {
    let mut next = from;
    let end = from + i64::try_from(records)?;
    client.send_fetch(&topic.name, next, WAIT_MS)?;
    loop {
        next = next_offset(&client.fetched()?, next)?;
        if next >= end {
            return Ok(());
        }
        client.send_fetch(&topic.name, next, WAIT_MS)?;
    }
}

/// One record each so often, whether or not the earlier ones have arrived: p50 and p99 of the time
/// from when a record was due to be sent until a consumer has it, milliseconds.
pub(crate) fn end_to_end(
    broker: &Broker,
    per_second: u64,
    seconds: f64,
) -> anyhow::Result<Measured> {
    let topic = Topic::create(broker, 1)?;
    let warm = per_second;
    let measured = (per_second as f64 * seconds) as u64;
    let total = warm + measured;
    let origin = Instant::now() + Duration::from_millis(50);
    let mut producer = Client::connect(&broker.address)?;
    let mut acknowledgements = producer.receiver()?;
    let mut consumer = Client::connect(&broker.address)?;
    consumer.send_fetch(&topic.name, 0, WAIT_MS)?;
    let (mut times, cost) = std::thread::scope(|scope| {
        let sending =
            scope.spawn(|| send_on_time(&mut producer, &topic, origin, per_second, total));
        let acknowledging =
            scope.spawn(move || (0..total).try_for_each(|_| acknowledgements.acknowledged()));
        let meter = Meter::start(broker);
        let times = receive_all(&mut consumer, &topic, origin, total);
        let (_, cost) = meter.stop(total);
        sending.join().map_err(|_| anyhow!("the producer panicked"))??;
        acknowledging.join().map_err(|_| anyhow!("the producer panicked"))??;
        anyhow::Ok((times?, cost))
    })?;
    times.drain(..usize::try_from(warm)?);
    Ok(Measured::new([percentile_ms(&mut times, 50), percentile_ms(&mut times, 99)], cost))
}

fn send_on_time(
    client: &mut Client,
    topic: &Topic,
    origin: Instant,
    per_second: u64,
    total: u64,
) -> anyhow::Result<()> {
    let mut value = vec![b'x'; 1_024];
    for record in 0..total {
        let due_ns = record * 1_000_000_000 / per_second;
        value[..8].copy_from_slice(&due_ns.to_be_bytes());
        let batch = Batch::of(&value)?;
        let due = origin + Duration::from_nanos(due_ns);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        client.send_batches(&topic.name, [(0, batch)].into_iter())?;
    }
    Ok(())
}

fn receive_all(
    client: &mut Client,
    topic: &Topic,
    origin: Instant,
    total: u64,
) -> anyhow::Result<Vec<Duration>> {
    /// Where the value of the only record of a batch starts: behind the batch's header, the
    /// record's length (2 bytes), attributes, two deltas, key length and value length (2 bytes).
    const VALUE: usize = 61 + 2 + 1 + 1 + 1 + 1 + 2;
    let mut times = Vec::new();
    let mut next = 0;
    while (times.len() as u64) < total {
        let bytes = client.fetched()?;
        let now = Instant::now();
        each_batch(&bytes, |base, batch| {
            if base == next {
                let due = u64::from_be_bytes(batch[VALUE..][..8].try_into()?);
                let due = origin + Duration::from_nanos(due);
                times.push(now.saturating_duration_since(due));
                next += 1;
            }
            Ok(())
        })?;
        client.send_fetch(&topic.name, next, WAIT_MS)?;
    }
    Ok(times)
}
