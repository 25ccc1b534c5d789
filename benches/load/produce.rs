//! Workloads of producers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;

use crate::batches::{Batch, Values};
use crate::broker::Broker;
use crate::client::Client;
use crate::measure::{Measured, Meter, Topic, percentile_ms, rate};

/// Produce requests that an idempotent producer has on the way.
const IN_FLIGHT: usize = 5;
/// Partitions of one topic at most; more are spread over several topics.
const TOPIC_PARTITIONS: i32 = 1_000;

/// One record at a time, each acknowledged before the next: p50 and p99, milliseconds.
pub(crate) fn synchronous(broker: &Broker, records: u64) -> anyhow::Result<Measured> {
    let topic = Topic::create(broker, 1)?;
    let mut client = Client::connect(&broker.address)?;
    let batch = Batch::new(Values::Letters(1_024), 1)?;
    let mut times = Vec::new();
    for _ in 0..records / 10 {
        one(&mut client, &topic, &batch)?;
    }
    let meter = Meter::start(broker);
    for _ in 0..records {
        times.push(one(&mut client, &topic, &batch)?);
    }
    let (_, cost) = meter.stop(records);
    Ok(Measured::new([percentile_ms(&mut times, 50), percentile_ms(&mut times, 99)], cost))
}

fn one(client: &mut Client, topic: &Topic, batch: &Batch) -> anyhow::Result<Duration> {
    let start = Instant::now();
    client.send_batches(&topic.name, [(0, batch.plain())].into_iter())?;
    client.acknowledged()?;
    Ok(start.elapsed())
}

/// One idempotent client, batches of up to 1 MB, five in flight: records per second.
pub(crate) fn pipelined(broker: &Broker, values: Values, records: u64) -> anyhow::Result<Measured> {
    let topic = Topic::create(broker, 1)?;
    let batch = Batch::new(values, records)?;
    let mut producer = Producer::new(broker)?;
    producer.send(&topic, &batch, records / 20)?;
    let meter = Meter::start(broker);
    let sent = producer.send(&topic, &batch, records)?;
    let (elapsed, cost) = meter.stop(sent);
    Ok(Measured::new([rate(sent, elapsed)], cost))
}

/// Many clients, each with a record a request and five requests in flight: records per second.
pub(crate) fn many_clients(
    broker: &Broker,
    clients: u64,
    records: u64,
) -> anyhow::Result<Measured> {
    let topic = Topic::create(broker, 4)?;
    let batch = Batch::new(Values::Letters(1_024), 1)?;
    let mut producers = Vec::new();
    for client in 0..clients {
        let mut producer = Producer::new(broker)?;
        producer.partition = i32::try_from(client % 4)?;
        producer.send(&topic, &batch, 20)?;
        producers.push(producer);
    }
    let each = records.div_ceil(clients);
    let meter = Meter::start(broker);
    std::thread::scope(|scope| {
        let running: Vec<_> = producers
            .iter_mut()
            .map(|producer| scope.spawn(|| producer.send(&topic, &batch, each)))
            .collect();
        running.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?.map(drop)
        })
    })?;
    let (elapsed, cost) = meter.stop(each * clients);
    Ok(Measured::new([rate(each * clients, elapsed)], cost))
}

/// One record to each of so many partitions, by one client in requests of up to a thousand
/// partitions, five in flight: records per second.
pub(crate) fn partitions(broker: &Broker, count: i32, rounds: u64) -> anyhow::Result<Measured> {
    to_each(broker, &spread(broker, count)?, rounds)
}

/// The same to topics that are there.
pub(crate) fn to_each(
    broker: &Broker,
    topics: &[(Topic, i32)],
    rounds: u64,
) -> anyhow::Result<Measured> {
    let batch = Batch::new(Values::Letters(1_024), 1)?.plain();
    let mut client = Client::connect(&broker.address)?;
    write_each(&mut client, topics, &batch, 1)?;
    let meter = Meter::start(broker);
    write_each(&mut client, topics, &batch, rounds)?;
    let partitions: i32 = topics.iter().map(|(_, partitions)| partitions).sum();
    let records = rounds * u64::try_from(partitions)?;
    let (elapsed, cost) = meter.stop(records);
    Ok(Measured::new([rate(records, elapsed)], cost))
}

/// Topics that have so many partitions together.
pub(crate) fn spread(broker: &Broker, count: i32) -> anyhow::Result<Vec<(Topic, i32)>> {
    let mut topics = Vec::new();
    let mut left = count;
    while left > 0 {
        let partitions = left.min(TOPIC_PARTITIONS);
        topics.push((Topic::create(broker, partitions)?, partitions));
        left -= partitions;
    }
    Ok(topics)
}

fn write_each(
    client: &mut Client,
    topics: &[(Topic, i32)],
    batch: &Bytes,
    rounds: u64,
) -> anyhow::Result<()> {
    let mut in_flight = 0;
    for _ in 0..rounds {
        for (topic, partitions) in topics {
            if in_flight == IN_FLIGHT {
                client.acknowledged()?;
                in_flight -= 1;
            }
            let batches = (0..*partitions).map(|partition| (partition, batch.clone()));
            client.send_batches(&topic.name, batches)?;
            in_flight += 1;
        }
    }
    (0..in_flight).try_for_each(|_| client.acknowledged())
}

/// An idempotent producer to one partition.
pub(crate) struct Producer {
    client: Client,
    id: millstream::types::ProducerId,
    sequence: i32,
    partition: i32,
}

impl Producer {
    pub(crate) fn new(broker: &Broker) -> anyhow::Result<Self> {
        let mut client = Client::connect(&broker.address)?;
        let id = client.producer_id()?;
        Ok(Self { client, id, sequence: 0, partition: 0 })
    }

    /// Sends whole batches until there are at least so many records, and waits until all are
    /// acknowledged: how many records that were.
    pub(crate) fn send(
        &mut self,
        topic: &Topic,
        batch: &Batch,
        records: u64,
    ) -> anyhow::Result<u64> {
        let mut sent = 0;
        let mut in_flight = VecDeque::with_capacity(IN_FLIGHT);
        while sent < records {
            if in_flight.len() == IN_FLIGHT {
                self.client.acknowledged()?;
                in_flight.pop_front();
            }
            let bytes = batch.sealed(self.id, self.sequence);
            self.client.send_batches(&topic.name, [(self.partition, bytes)].into_iter())?;
            in_flight.push_back(batch.records);
            let count = i32::try_from(batch.records).context("too many records")?;
            self.sequence = self.sequence.wrapping_add(count) & i32::MAX;
            sent += batch.records;
        }
        in_flight.iter().try_for_each(|_| self.client.acknowledged())?;
        Ok(sent)
    }
}
