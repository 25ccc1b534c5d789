//! Settings of the broker: where they may come from, and that they act.

use std::path::Path;

use millstream::kafka::messages::{
    DescribeConfigsRequest, DescribeConfigsResource, MetadataRequest, MetadataResponseTopic, Str,
};

use crate::client::Client;
use crate::util::{Broker, millstream, run, stderr};

/// Value and source of a broker's setting, by Kafka's name.
fn described(client: &mut Client, name: &str) -> (String, i8) {
    described_of(client, (4, "1"), name)
}

pub(crate) fn described_of(
    client: &mut Client,
    (kind, of): (i8, &str),
    name: &str,
) -> (String, i8) {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: Str::from(of),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let response = client.call(&request, 4).unwrap();
    let configs = &response.results[0].configs;
    let found = configs.iter().find(|config| *config.name == *name);
    let found = found.unwrap_or_else(|| panic!("{name} is not described"));
    (found.value.as_deref().unwrap_or_default().to_owned(), found.config_source)
}

fn write(folder: &Path, text: &str) -> String {
    let path = folder.join("millstream.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_command_line_goes_before_the_file_and_the_file_before_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(
        folder.path(),
        "default-partitions = 3\nretention-hours = -1\nconnections-max-idle-ms = 50000\n",
    );
    let data = folder.path().join("data");
    let broker = Broker::start_in(&data, &["--config", &file, "--default-partitions", "5"]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    assert_eq!(described(&mut client, "num.partitions"), ("5".to_owned(), 4));
    assert_eq!(described(&mut client, "log.retention.ms"), ("-1".to_owned(), 4));
    assert_eq!(described(&mut client, "connections.max.idle.ms"), ("50000".to_owned(), 4));
    assert_eq!(described(&mut client, "offsets.retention.minutes"), ("10080".to_owned(), 5));
    client.auto_create("t").unwrap();
    let of_topic = described_of(&mut client, (2, "t"), "retention.ms");
    assert_eq!(of_topic, ("-1".to_owned(), 4), "the broker's, where the topic has none");
    let response = client.call(&MetadataRequest::default(), 12).unwrap();
    assert_eq!(response.topics[0].partitions.len(), 5);
}

#[test]
fn what_cannot_be_set_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "# first\ntail-sizes = \"1MiB\"\n");
    let output = run(&["serve", "--config", &file]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("millstream.toml") && said.contains("line 2"), "{said}");
    assert!(said.contains("tail-sizes") && said.contains("tail-size"), "{said}");

    let missing = run(&["serve", "--config", "not-there.toml"]);
    assert!(!missing.status.success() && stderr(&missing).contains("not-there.toml"));

    let environment = millstream()
        .args(["serve", "--data", folder.path().to_str().unwrap()])
        .env("MILLSTREAM_TAIL_SIZE", "1 parsec")
        .output()
        .unwrap();
    let said = stderr(&environment);
    assert_eq!(environment.status.code(), Some(2), "{said}");
    assert!(said.contains("--tail-size 1 parsec"), "{said}");
}

#[test]
fn a_manifests_topics_have_the_brokers_partitions_unless_it_says_how_many() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("pipeline.toml");
    let text = "[[topic]]\nname = 'in'\n[[topic]]\nname = 'said'\npartitions = 2\n\
                [[pipeline]]\nname = 'p'\nsource = 'in'\noutput = 'out'\n\
                [[pipeline]]\nname = 'q'\nsource = 'said'\noutput = 'of-said'\n";
    std::fs::write(&manifest, text).unwrap();
    let args = ["--default-partitions", "3", manifest.to_str().unwrap()];
    let broker = Broker::start_in(&folder.path().join("data"), &args);
    let mut client = Client::connect(broker.kafka()).unwrap();
    let request = MetadataRequest { topics: None, ..Default::default() };
    let topics = client.call(&request, 12).unwrap().topics;
    let counted = |topic: &MetadataResponseTopic| {
        (topic.name.clone().unwrap_or_default().to_string(), topic.partitions.len())
    };
    let mut counts: Vec<_> = topics.iter().map(counted).collect();
    counts.sort();
    let expected = [("in", 3), ("of-said", 2), ("out", 3), ("said", 2)];
    assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)));
}

#[test]
fn clients_are_told_the_name_that_they_were_to_connect_to() {
    for (listen, told) in [("localhost:0", "localhost"), ("127.0.0.1:0", "127.0.0.1")] {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start_at(listen, &folder.path().join("data"), &[]);
        for address in broker.kafka_addresses() {
            let mut client = Client::connect(address).unwrap();
            let answer = client.call(&MetadataRequest::default(), 12).unwrap();
            let port: i32 = address.rsplit(':').next().unwrap().parse().unwrap();
            assert_eq!((&*answer.brokers[0].host, answer.brokers[0].port), (told, port));
        }
    }
}
