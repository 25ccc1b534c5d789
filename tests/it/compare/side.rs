//! One of the two brokers, as the test sees it.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use millstream::kafka::messages::{
    ApiKey, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, DescribeGroupsRequest,
    DescribeLogDirsRequest, ErrorCode, Fault, FindCoordinatorRequest, InitProducerIdRequest,
    Message, MetadataRequest, Request, Str, encode_request,
};
use serde_json::Value;
use uuid::Uuid;

use super::super::client::Client;
use super::value;

/// The id of a topic that was made on the way, unless it is one that the test made up.
fn unknown_id(id: &str) -> String {
    if id.starts_with("00000000-0000-0000") { id.to_owned() } else { "<new id>".to_owned() }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// The version cannot say what the request is to say.
    Unspeakable,
    /// The connection was closed.
    Closed,
    Answer(Value),
}

/// A broker and what was learned of it.
pub(super) struct Side {
    address: String,
    client: Client,
    /// What stands for something that differs from broker to broker: its words, our word.
    names: BTreeMap<String, String>,
    topics: BTreeMap<String, Uuid>,
    /// What a later request needs of an earlier answer.
    pub(super) memory: BTreeMap<String, String>,
}

impl Side {
    pub(super) fn connect(address: &str) -> Self {
        let client = Client::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        let mut side = Self {
            address: address.to_owned(),
            client,
            names: BTreeMap::new(),
            topics: BTreeMap::new(),
            memory: BTreeMap::new(),
        };
        let port = address.rsplit(':').next().unwrap().to_owned();
        side.name(port, "<port>");
        let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        let answer = side.client.call(&request, 12).unwrap();
        side.name(answer.cluster_id.unwrap().to_string(), "<cluster>");
        let folders = side.client.call(&DescribeLogDirsRequest::default(), 4).unwrap().results;
        side.name(folders[0].log_dir.to_string(), "<folder>");
        side
    }

    /// Has `word` stand for `text` in answers.
    pub(super) fn name(&mut self, text: String, word: &str) {
        self.names.insert(text, word.to_owned());
    }

    /// Makes a topic and learns its id.
    pub(super) fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
            name: Str::from(*name),
            value: Some(Str::from(*value)),
        };
        let topic = CreatableTopic {
            name: Str::from(name),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.iter().map(config).collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let made = self.client.call(&request, 7).unwrap().topics.remove(0);
        assert_eq!(made.error_code, ErrorCode::None, "{}: {name}: {made:?}", self.address);
        self.topics.insert(name.to_owned(), made.topic_id);
        self.name(made.topic_id.to_string(), &format!("<id of {name}>"));
    }

    /// Waits until the broker knows its topics and coordinates; Kafka takes a moment after it has
    /// been asked to.
    pub(super) fn settle(&mut self) {
        let producer = InitProducerIdRequest::default();
        while self.client.call(&producer, 4).unwrap().error_code != ErrorCode::None {}
        self.coordinates();
        let request = MetadataRequest { topics: None, ..Default::default() };
        loop {
            let answer = self.client.call(&request, 12).unwrap();
            let led = |name: &String| {
                let name = Some(Str::from(name.clone()));
                answer.topics.iter().any(|topic| {
                    let led = topic.partitions.iter().all(|p| p.error_code == ErrorCode::None);
                    topic.name == name && !topic.partitions.is_empty() && led
                })
            };
            if self.topics.keys().all(led) {
                return;
            }
        }
    }

    fn coordinates(&mut self) {
        let group = Str::from_static("first");
        let coordinator =
            FindCoordinatorRequest { coordinator_keys: vec![group.clone()], ..Default::default() };
        let groups = DescribeGroupsRequest { groups: vec![group], ..Default::default() };
        loop {
            let found = self.client.call(&coordinator, 4).unwrap().coordinators.remove(0);
            let described = self.client.call(&groups, 5).unwrap().groups.remove(0);
            if [found.error_code, described.error_code] == [ErrorCode::None; 2] {
                return;
            }
        }
    }

    /// Id of a topic that was made by [`Self::create_topic`].
    pub(super) fn topic_id(&self, name: &str) -> Uuid {
        self.topics[name]
    }

    /// Sends a request and takes what comes.
    pub(super) fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Outcome {
        let frame = match encode_request(request, version, 7, Some(&Str::from_static("compare"))) {
            Ok(mut frame) => frame.copy_to_bytes(frame.remaining()),
            Err(error) if matches!(error.fault, Fault::NoSuchField { .. } | Fault::Null { .. }) => {
                return Outcome::Unspeakable;
            }
            Err(error) => panic!("{error}"),
        };
        self.exchange_raw(R::API, version, R::Response::SCHEMA, &frame)
    }

    /// The same with bytes that need not be a request of ours.
    pub(super) fn exchange_raw(
        &mut self,
        api: ApiKey,
        version: i16,
        response: millstream::kafka::messages::Schema,
        frame: &Bytes,
    ) -> Outcome {
        let answer = self.client.send_frame(frame).and_then(|()| self.client.receive_frame());
        let Ok(mut answer) = answer else {
            self.client = Client::connect(&self.address).unwrap();
            return Outcome::Closed;
        };
        assert_eq!(answer.get_i32(), 7, "the correlation id");
        let flexible = version >= api.first_flexible();
        if flexible && api != ApiKey::ApiVersions {
            assert_eq!(answer.get_u8(), 0, "tagged fields in the header");
        }
        let answer = value::read(&response, version, flexible, &answer);
        Outcome::Answer(self.plain(answer))
    }

    /// The answer with everybody's words for what differs.
    fn plain(&self, value: Value) -> Value {
        let named = |text: &str| self.names.get(text).cloned();
        match value {
            Value::String(text) => named(&text).unwrap_or(text).into(),
            Value::Array(elements) => elements.into_iter().map(|v| self.plain(v)).collect(),
            Value::Object(fields) => {
                let plain = |(key, value): (String, Value)| {
                    let value = match (&*key, value) {
                        ("port", port) => named(&port.to_string()).map_or(port, Value::from),
                        // Each broker has texts of its own, or none.
                        ("error_message" | "batch_index_error_message", _) => Value::Null,
                        ("throttle_time_ms", _) => Value::Null,
                        ("total_bytes" | "usable_bytes", bytes) if bytes.as_i64() > Some(0) => {
                            "<room>".into()
                        }
                        ("log_append_time_ms", time) if time.as_i64() > Some(0) => "<now>".into(),
                        // Those that a broker gives out; the test's own are a million and more.
                        ("producer_id", id) if (0..1_000_000).contains(&id.as_i64().unwrap()) => {
                            "<producer>".into()
                        }
                        ("topic_id", Value::String(id)) => {
                            named(&id).unwrap_or_else(|| unknown_id(&id)).into()
                        }
                        (_, value) => self.plain(value),
                    };
                    (key, value)
                };
                fields.into_iter().map(plain).collect()
            }
            other => other,
        }
    }
}
