//! A Kafka client of a few lines over one blocking connection. It is cheap on purpose: what the
//! table compares is the brokers, not what a client does with records.

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::{Buf, Bytes};
use millstream::kafka::messages::{
    CreatableTopic, CreateTopicsRequest, DeleteTopicState, DeleteTopicsRequest, ErrorCode,
    FetchPartition, FetchRequest, FetchTopic, InitProducerIdRequest, ListOffsetsPartition,
    ListOffsetsRequest, ListOffsetsTopic, PartitionProduceData, ProduceRequest, Records, Request,
    Str, TopicProduceData, decode_response, encode_request,
};
use millstream::types::ProducerId;

/// Versions that name topics, which Millstream and Kafka both speak.
const PRODUCE: i16 = 9;
const FETCH: i16 = 12;
/// The offset after the last record, as a time.
const LATEST: i64 = -1;
/// Longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// What real consumers ask for at most from a partition, and in all.
const PARTITION_BYTES: i32 = 1 << 20;
const FETCH_BYTES: i32 = 50 << 20;

pub(crate) struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub(crate) fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("no {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation_id: 0 })
    }

    /// The same connection, for a thread that only receives.
    pub(crate) fn receiver(&self) -> anyhow::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, correlation_id: 0 })
    }

    fn send<R: Request>(&mut self, request: &R, version: i16) -> anyhow::Result<()> {
        self.correlation_id += 1;
        let client = Str::from("load");
        let mut frame = encode_request(request, version, self.correlation_id, Some(&client))?;
        while frame.has_remaining() {
            let mut pieces = [IoSlice::new(&[]); 64];
            let filled = frame.chunks_vectored(&mut pieces);
            let written = self.stream.write_vectored(&pieces[..filled])?;
            ensure!(written > 0, "the connection was closed");
            frame.advance(written);
        }
        Ok(())
    }

    fn receive<R: Request>(&mut self, version: i16) -> anyhow::Result<R::Response> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(size))?];
        self.stream.read_exact(&mut frame)?;
        Ok(decode_response::<R::Response>(Bytes::from(frame), version)?.1)
    }

    fn call<R: Request>(&mut self, request: &R, version: i16) -> anyhow::Result<R::Response> {
        self.send(request, version)?;
        self.receive::<R>(version)
    }

    pub(crate) fn create_topic(&mut self, name: &str, partitions: i32) -> anyhow::Result<()> {
        let topic = CreatableTopic {
            name: Str::from(name),
            num_partitions: partitions,
            replication_factor: 1,
            ..Default::default()
        };
        let request =
            CreateTopicsRequest { topics: vec![topic], timeout_ms: 60_000, ..Default::default() };
        let made = self.call(&request, 7)?.topics.remove(0);
        ensure!(made.error_code == ErrorCode::None, "{name}: {:?}", made.error_code);
        self.await_leaders(name, partitions)
    }

    /// Kafka makes a topic known before its partitions can be written to.
    fn await_leaders(&mut self, name: &str, partitions: i32) -> anyhow::Result<()> {
        let asked = |partition_index| ListOffsetsPartition {
            partition_index,
            timestamp: LATEST,
            ..Default::default()
        };
        let topic = ListOffsetsTopic {
            name: Str::from(name),
            partitions: (0..partitions).map(asked).collect(),
        };
        let request =
            ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let patience = Instant::now() + PATIENCE;
        while Instant::now() < patience {
            let answer = self.call(&request, 7)?;
            let mut led = answer.topics.iter().flat_map(|topic| &topic.partitions);
            if led.all(|partition| partition.error_code == ErrorCode::None) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{name}: no leaders")
    }

    pub(crate) fn delete_topic(&mut self, name: &str) -> anyhow::Result<()> {
        let topic = DeleteTopicState { name: Some(Str::from(name)), ..Default::default() };
        let request =
            DeleteTopicsRequest { topics: vec![topic], timeout_ms: 60_000, ..Default::default() };
        let gone = self.call(&request, 6)?.responses.remove(0);
        ensure!(gone.error_code == ErrorCode::None, "{name}: {:?}", gone.error_code);
        Ok(())
    }

    pub(crate) fn producer_id(&mut self) -> anyhow::Result<ProducerId> {
        let patience = Instant::now() + PATIENCE;
        while Instant::now() < patience {
            let given = self.call(&InitProducerIdRequest::default(), 4)?;
            if given.error_code == ErrorCode::None {
                return Ok(ProducerId { id: given.producer_id, epoch: given.producer_epoch });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("no producer id")
    }

    /// Sends one batch to each of these partitions of a topic.
    pub(crate) fn send_batches(
        &mut self,
        topic: &str,
        batches: impl Iterator<Item = (i32, Bytes)>,
    ) -> anyhow::Result<()> {
        let data =
            |(index, bytes)| PartitionProduceData { index, records: Some(Records::from(bytes)) };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![TopicProduceData {
                name: Str::from(topic),
                partition_data: batches.map(data).collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        self.send(&request, PRODUCE)
    }

    /// The answer to the oldest of the produce requests; an error if a batch was refused.
    pub(crate) fn acknowledged(&mut self) -> anyhow::Result<()> {
        let answer = self.receive::<ProduceRequest>(PRODUCE)?;
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
        for partition in partitions {
            let code = partition.error_code;
            ensure!(code == ErrorCode::None, "partition {}: {code:?}", partition.index);
        }
        Ok(())
    }

    pub(crate) fn send_fetch(
        &mut self,
        topic: &str,
        offset: i64,
        wait_ms: i32,
    ) -> anyhow::Result<()> {
        let partition = FetchPartition {
            fetch_offset: offset,
            partition_max_bytes: PARTITION_BYTES,
            ..Default::default()
        };
        let request = FetchRequest {
            max_wait_ms: wait_ms,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            topics: vec![FetchTopic {
                topic: Str::from(topic),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        self.send(&request, FETCH)
    }

    /// The record batches that came; empty when there was nothing new.
    pub(crate) fn fetched(&mut self) -> anyhow::Result<Bytes> {
        let mut answer = self.receive::<FetchRequest>(FETCH)?;
        ensure!(answer.error_code == ErrorCode::None, "fetch: {:?}", answer.error_code);
        let Some(mut topic) = answer.responses.pop() else { return Ok(Bytes::new()) };
        let partition = topic.partitions.pop().context("a topic without partitions")?;
        ensure!(partition.error_code == ErrorCode::None, "fetch: {:?}", partition.error_code);
        Ok(partition.records.map(Records::into_bytes).unwrap_or_default())
    }
}
