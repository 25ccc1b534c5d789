//! What administrators change through the protocol acts at once and survives the broker.

use millstream::kafka::messages::{
    CreatePartitionsRequest, CreatePartitionsTopic, DescribeConfigsRequest,
    DescribeConfigsResource, DescribeTopicPartitionsRequest, ErrorCode,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource, IncrementalAlterableConfig,
    Str,
};

use super::client::{Client, batch};
use super::util::Broker;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn set(client: &mut Client, kind: i8, name: &str, setting: &str, value: &str) -> ErrorCode {
    let config = IncrementalAlterableConfig {
        name: Str::from(setting),
        config_operation: 0,
        value: Some(Str::from(value)),
    };
    let resource = IncrementalAlterConfigsResource {
        resource_type: kind,
        resource_name: Str::from(name),
        configs: vec![config],
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    client.call(&request, 1).unwrap().responses[0].error_code
}

/// Value and source of a setting.
fn described(client: &mut Client, kind: i8, name: &str, setting: &str) -> (String, i8) {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: Str::from(name),
        configuration_keys: Some(vec![Str::from(setting)]),
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let config = client.call(&request, 4).unwrap().results.remove(0).configs.remove(0);
    (config.value.unwrap().to_string(), config.config_source)
}

#[test]
fn settings_act_at_once_and_survive() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start_in(folder.path(), &["--retention-hours", "5"]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    let records = batch(&["v".repeat(100)], None);
    assert_eq!(client.produce("t", 0, &records).unwrap().error_code, ErrorCode::None);
    assert_eq!(set(&mut client, TOPIC, "t", "max.message.bytes", "100"), ErrorCode::None);
    assert_eq!(client.produce("t", 0, &records).unwrap().error_code, ErrorCode::MessageTooLarge);
    let hours = |hours: i64| (hours * 3_600_000).to_string();
    assert_eq!(described(&mut client, TOPIC, "t", "retention.ms"), (hours(5), 4));
    assert_eq!(set(&mut client, BROKER, "", "log.retention.ms", &hours(6)), ErrorCode::None);
    assert_eq!(set(&mut client, BROKER, "1", "node.id", "2"), ErrorCode::InvalidRequest);
    broker.kill();
    let broker = Broker::start_in(folder.path(), &["--retention-hours", "5"]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    assert_eq!(described(&mut client, TOPIC, "t", "max.message.bytes"), ("100".to_owned(), 1));
    assert_eq!(described(&mut client, TOPIC, "t", "retention.ms"), (hours(6), 3));
    assert_eq!(client.produce("t", 0, &records).unwrap().error_code, ErrorCode::MessageTooLarge);
}

#[test]
fn a_topic_grows_and_is_described_page_by_page() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    let topic = CreatePartitionsTopic { name: Str::from("t"), count: 5, assignments: None };
    let grow = CreatePartitionsRequest { topics: vec![topic], ..Default::default() };
    let grown = client.call(&grow, 3).unwrap().results.remove(0);
    assert_eq!(grown.error_code, ErrorCode::None);
    let records = batch(&["value".to_owned()], None);
    assert_eq!(client.produce("t", 4, &records).unwrap().base_offset, 0);
    let (mut cursor, mut pages) = (None, Vec::new());
    loop {
        let request = DescribeTopicPartitionsRequest {
            response_partition_limit: 2,
            cursor,
            ..Default::default()
        };
        let page = client.call(&request, 0).unwrap();
        let topic = &page.topics[0];
        pages.push(topic.partitions.iter().map(|p| p.partition_index).collect::<Vec<_>>());
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(pages, [vec![0, 1], vec![2, 3], vec![4]]);
}
