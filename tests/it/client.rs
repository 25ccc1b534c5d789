//! A Kafka client of a few lines over the protocol's messages: for tests that say exactly what is
//! sent and look at exactly what comes back.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Buf, Bytes};
use millstream::kafka::messages::{
    ApiKey, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, ErrorCode, FetchPartition,
    FetchRequest, FetchResponse, FetchTopic, InitProducerIdRequest, ListOffsetsPartition,
    ListOffsetsRequest, ListOffsetsTopic, MetadataRequest, MetadataRequestTopic,
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, Records, Request, Str,
    TopicProduceData, decode_response, encode_request,
};
use millstream::record::{BatchBuilder, Compression, Record, RecordBatch, split_batches};
use millstream::types::ProducerId;

/// Longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub(crate) fn connect(address: &str) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    /// A client on a connection that is there already.
    pub(crate) fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation_id: 0 })
    }

    /// Sends a request and waits for its response.
    pub(crate) fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> io::Result<R::Response> {
        self.send(request, version)?;
        self.receive::<R>(version)
    }

    /// Sends a request alone.
    pub(crate) fn send<R: Request>(&mut self, request: &R, version: i16) -> io::Result<()> {
        self.correlation_id += 1;
        let client = Str::from("test");
        let mut frame =
            encode_request(request, version, self.correlation_id, Some(&client)).unwrap();
        self.send_frame(&frame.copy_to_bytes(frame.remaining()))
    }

    /// Sends bytes.
    pub(crate) fn send_frame(&mut self, frame: &Bytes) -> io::Result<()> {
        self.stream.write_all(frame)
    }

    /// The response to the oldest request that is without.
    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> io::Result<R::Response> {
        Ok(decode_response::<R::Response>(self.receive_frame()?, version).unwrap().1)
    }

    /// The next response's bytes, without their size.
    pub(crate) fn receive_frame(&mut self) -> io::Result<Bytes> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
        self.stream.read_exact(&mut frame)?;
        Ok(Bytes::from(frame))
    }

    /// Makes a topic by asking for it.
    pub(crate) fn auto_create(&mut self, topic: &str) -> io::Result<()> {
        let asked = MetadataRequestTopic { name: Some(Str::from(topic)), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![asked]), ..Default::default() };
        let mut response = self.call(&request, 12)?;
        if response.topics[0].error_code == ErrorCode::UnknownTopicOrPartition {
            // It is there from now on.
            response = self.call(&request, 12)?;
        }
        assert_eq!(response.topics[0].error_code, ErrorCode::None);
        Ok(())
    }

    /// Makes a topic of one partition with these settings.
    pub(crate) fn create_topic(&mut self, name: &str, settings: &[(&str, &str)]) {
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
            name: Str::from(*name),
            value: Some(Str::from(*value)),
        };
        let topic = CreatableTopic {
            name: Str::from(name),
            num_partitions: 1,
            replication_factor: 1,
            configs: settings.iter().map(config).collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let response = self.call(&request, 7).unwrap();
        assert_eq!(response.topics[0].error_code, ErrorCode::None, "{settings:?}");
    }

    pub(crate) fn producer_id(&mut self) -> io::Result<ProducerId> {
        let response = self.call(&InitProducerIdRequest::default(), 4)?;
        assert_eq!(response.error_code, ErrorCode::None);
        Ok(ProducerId { id: response.producer_id, epoch: response.producer_epoch })
    }

    /// Produces one batch and returns what became of it.
    pub(crate) fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: &RecordBatch,
    ) -> io::Result<PartitionProduceResponse> {
        let mut response = self.call(&produce_request(topic, partition, batch.as_bytes()), 9)?;
        Ok(response.responses.remove(0).partition_responses.remove(0))
    }

    pub(crate) fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        wait_ms: i32,
    ) -> io::Result<FetchResponse> {
        self.call(&fetch_request(topic, partition, offset, wait_ms), 12)
    }

    /// The offset that belongs to a timestamp, or to -1 for the end and -2 for the start.
    pub(crate) fn offset_at(&mut self, topic: &str, partition: i32, timestamp: i64) -> i64 {
        let asked = ListOffsetsPartition {
            partition_index: partition,
            timestamp,
            current_leader_epoch: -1,
        };
        let topic = ListOffsetsTopic { name: Str::from(topic), partitions: vec![asked] };
        let request =
            ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        self.call(&request, 7).unwrap().topics[0].partitions[0].offset
    }

    /// All records of a partition that there are now.
    pub(crate) fn read_all(&mut self, topic: &str, partition: i32) -> io::Result<Vec<Record>> {
        let (records, end) = self.read_from(topic, partition, 0)?;
        assert_eq!(records.last().map_or(0, |last| last.offset + 1), end);
        Ok(records)
    }

    /// All records of a partition from an offset on, and its end offset.
    pub(crate) fn read_from(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> io::Result<(Vec<Record>, i64)> {
        let (mut records, mut from): (Vec<Record>, _) = (Vec::new(), offset);
        loop {
            let mut response = self.fetch(topic, partition, from, 0)?;
            let data = response.responses.remove(0).partitions.remove(0);
            assert_eq!(data.error_code, ErrorCode::None);
            let bytes = data.records.unwrap().into_bytes();
            if bytes.is_empty() {
                return Ok((records, data.high_watermark));
            }
            for batch in split_batches(bytes) {
                let batch = batch.unwrap();
                let read = batch.records().unwrap().map(Result::unwrap);
                records.extend(read.filter(|record| record.offset >= from));
                // Of a batch that was compacted the last records may be gone.
                from = batch.next_offset();
            }
        }
    }
}

pub(crate) fn produce_request(topic: &str, index: i32, records: &Bytes) -> ProduceRequest {
    let records = Some(Records::from(records.clone()));
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: Str::from(topic),
            partition_data: vec![PartitionProduceData { index, records }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) fn fetch_request(
    topic: &str,
    partition: i32,
    fetch_offset: i64,
    max_wait_ms: i32,
) -> FetchRequest {
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 50 << 20,
        topics: vec![FetchTopic {
            topic: Str::from(topic),
            partitions: vec![FetchPartition {
                partition,
                fetch_offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A batch of these values, of a producer at a sequence number, or of none.
pub(crate) fn batch(values: &[String], producer: Option<(ProducerId, i32)>) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    if let Some((producer, base_sequence)) = producer {
        builder.producer(producer, base_sequence);
    }
    for value in values {
        builder.push(1_700_000_000_000, None, Some(value.as_bytes()), &[]).unwrap();
    }
    builder.build().unwrap()
}

/// The head of a request of any API, without a body.
pub(crate) fn request_head(api: ApiKey, version: i16) -> Vec<u8> {
    let mut head = Vec::new();
    head.extend(api.key().to_be_bytes());
    head.extend(version.to_be_bytes());
    head.extend(7_i32.to_be_bytes());
    head.extend([0, 1, b'c']);
    // No tagged fields, in versions that have them; a byte of the body in the others.
    head.push(0);
    head
}
