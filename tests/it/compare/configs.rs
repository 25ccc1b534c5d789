//! Configurations: DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources.

use millstream::kafka::messages::{
    AlterConfigsRequest, AlterConfigsResource, AlterableConfig, DescribeConfigsRequest,
    DescribeConfigsResource, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource,
    IncrementalAlterableConfig, ListConfigResourcesRequest,
};

use super::{Table, s};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const METRICS: i8 = 16;
const GROUP: i8 = 32;

pub(super) fn requests(table: &mut Table) {
    describe(table);
    alter(table);
    alter_some(table);
    table.each("all", |_| ListConfigResourcesRequest::default());
    for kind in [0, TOPIC, 3, BROKER, LOGGER, METRICS, GROUP, 64] {
        table.each(&format!("of type {kind}"), move |_| ListConfigResourcesRequest {
            resource_types: vec![kind],
        });
    }
}

fn resource(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    DescribeConfigsResource {
        resource_type: kind,
        resource_name: s(name),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| s(key)).collect()),
    }
}

fn describe_one(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    DescribeConfigsRequest { resources: vec![resource(kind, name, keys)], ..Default::default() }
}

fn describe(table: &mut Table) {
    table.each("nothing", |_| DescribeConfigsRequest::default());
    table.each("a topic", |_| describe_one(TOPIC, "records", None));
    table.each("a topic with settings", |_| describe_one(TOPIC, "empty", None));
    table.each("a topic with synonyms", |_| DescribeConfigsRequest {
        include_synonyms: true,
        ..describe_one(TOPIC, "empty", None)
    });
    table.each("documentation", |_| DescribeConfigsRequest {
        include_documentation: true,
        ..describe_one(TOPIC, "empty", Some(&["retention.ms"]))
    });
    let some: &[&str] = &["retention.ms", "made.up", "retention.ms"];
    table.each("some keys", move |_| describe_one(TOPIC, "empty", Some(some)));
    table.each("an empty list of keys", |_| describe_one(TOPIC, "empty", Some(&[])));
    table.each("a topic that is not there", |_| describe_one(TOPIC, "nowhere", None));
    table.each("a topic that cannot be", |_| describe_one(TOPIC, "a b", None));
    table.each("a topic without name", |_| describe_one(TOPIC, "", None));
    table.each("a topic twice and another", |_| DescribeConfigsRequest {
        resources: vec![
            resource(TOPIC, "empty", Some(&["retention.ms"])),
            resource(TOPIC, "empty", Some(&["retention.bytes"])),
            resource(TOPIC, "nowhere", None),
        ],
        ..Default::default()
    });
    table.each("the broker", |_| describe_one(BROKER, "1", None));
    table.each("the broker with synonyms", |_| DescribeConfigsRequest {
        include_synonyms: true,
        ..describe_one(BROKER, "1", None)
    });
    table.each("all brokers", |_| describe_one(BROKER, "", None));
    for name in ["99", "x", "-1"] {
        table.each(&format!("broker {name}"), move |_| describe_one(BROKER, name, None));
    }
    table.each("a logger", |_| describe_one(LOGGER, "1", Some(&["root"])));
    table.each("loggers of no broker", |_| describe_one(LOGGER, "", None));
    table.each("client metrics", |_| describe_one(METRICS, "nothing", None));
    table.each("a group", |_| describe_one(GROUP, "nobody", None));
    table.each("a group without name", |_| describe_one(GROUP, "", None));
    for kind in [0, 1, 3, 64] {
        table.each(&format!("type {kind}"), move |_| describe_one(kind, "records", None));
    }
}

type Setting = (&'static str, Option<&'static str>);

fn whole(kind: i8, name: &str, configs: &[Setting]) -> AlterConfigsResource {
    let config = |(name, value): &Setting| AlterableConfig { name: s(name), value: value.map(s) };
    AlterConfigsResource {
        resource_type: kind,
        resource_name: s(name),
        configs: configs.iter().map(config).collect(),
    }
}

/// Settings that are good and bad, in turn.
const SETTINGS: [&[Setting]; 12] = [
    &[("retention.ms", Some("5000")), ("max.message.bytes", Some("2000000"))],
    &[],
    &[("retention.ms", Some(" 6000 "))],
    &[("cleanup.policy", Some("compact"))],
    &[("cleanup.policy", Some("compact,delete"))],
    &[("made.up", Some("1"))],
    &[("retention.ms", None)],
    &[("retention.ms", Some("soon"))],
    &[("retention.ms", Some("-2"))],
    &[("cleanup.policy", Some("burn"))],
    &[("retention.ms", Some("1")), ("retention.ms", Some("2"))],
    &[("", Some("1"))],
];

fn alter(table: &mut Table) {
    let one = |resource| AlterConfigsRequest { resources: vec![resource], ..Default::default() };
    table.each("nothing", |_| AlterConfigsRequest::default());
    for (index, settings) in SETTINGS.iter().enumerate() {
        table.each(&format!("settings {index}"), move |_| one(whole(TOPIC, "empty", settings)));
        let name = format!("as settings {index} left it");
        table.each(&name, |_| describe_one(TOPIC, "empty", None));
    }
    table.each("only checked", move |_| AlterConfigsRequest {
        validate_only: true,
        ..one(whole(TOPIC, "empty", &[("retention.ms", Some("7000"))]))
    });
    table.each("only checked, and bad", move |_| AlterConfigsRequest {
        validate_only: true,
        ..one(whole(TOPIC, "empty", &[("retention.ms", Some("soon"))]))
    });
    table.each("as it was before", |_| describe_one(TOPIC, "empty", None));
    let good: &[Setting] = &[("retention.ms", Some("1"))];
    for (kind, name) in [
        (TOPIC, "nowhere"),
        (TOPIC, ""),
        (BROKER, "99"),
        (BROKER, "x"),
        (LOGGER, "1"),
        (METRICS, "m"),
        (GROUP, "nobody"),
        (GROUP, ""),
        (0, "empty"),
        (64, "empty"),
    ] {
        table.each(&format!("type {kind} {name:?}"), move |_| one(whole(kind, name, good)));
    }
    // A resource named twice has Kafka answer nothing at all.
}

type Change = (&'static str, i8, Option<&'static str>);

fn part(kind: i8, name: &str, changes: &[Change]) -> IncrementalAlterConfigsResource {
    let change = |&(name, config_operation, value): &Change| IncrementalAlterableConfig {
        name: s(name),
        config_operation,
        value: value.map(s),
    };
    IncrementalAlterConfigsResource {
        resource_type: kind,
        resource_name: s(name),
        configs: changes.iter().map(change).collect(),
    }
}

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Changes that are good and bad, in turn.
const CHANGES: [&[Change]; 24] = [
    &[("retention.ms", SET, Some("5000")), ("segment.ms", SET, Some("1000"))],
    &[("retention.ms", DELETE, None)],
    &[("retention.ms", DELETE, Some("1"))],
    &[("segment.ms", DELETE, None), ("flush.ms", SET, Some("7"))],
    &[],
    &[("cleanup.policy", APPEND, Some("compact"))],
    &[("cleanup.policy", APPEND, Some("compact"))],
    &[("cleanup.policy", SUBTRACT, Some("delete"))],
    &[("cleanup.policy", SUBTRACT, Some("delete"))],
    &[("cleanup.policy", SUBTRACT, Some("compact"))],
    &[("cleanup.policy", DELETE, None)],
    &[("cleanup.policy", SET, Some("delete,compact"))],
    &[("made.up", SET, Some("1"))],
    &[("made.up", DELETE, None)],
    &[("made.up", APPEND, Some("1"))],
    &[("retention.ms", SET, None)],
    &[("retention.ms", SET, Some("soon"))],
    &[("retention.ms", APPEND, Some("1"))],
    &[("retention.ms", SUBTRACT, Some("1"))],
    &[("retention.ms", 4, Some("1"))],
    &[("retention.ms", -1, Some("1"))],
    &[("cleanup.policy", APPEND, None)],
    &[("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)],
    &[("leader.replication.throttled.replicas", APPEND, Some("0:1,1:1"))],
];

fn alter_some(table: &mut Table) {
    let one = |resource| IncrementalAlterConfigsRequest {
        resources: vec![resource],
        ..Default::default()
    };
    table.each("nothing", |_| IncrementalAlterConfigsRequest::default());
    for (index, changes) in CHANGES.iter().enumerate() {
        table.each(&format!("changes {index}"), move |_| one(part(TOPIC, "written", changes)));
        let name = format!("as changes {index} left it");
        table.each(&name, |_| describe_one(TOPIC, "written", None));
    }
    table.each("only checked", move |_| IncrementalAlterConfigsRequest {
        validate_only: true,
        ..one(part(TOPIC, "written", &[("retention.ms", SET, Some("7000"))]))
    });
    table.each("only checked, and bad", move |_| IncrementalAlterConfigsRequest {
        validate_only: true,
        ..one(part(TOPIC, "written", &[("retention.ms", SET, Some("soon"))]))
    });
    table.each("as it was before", |_| describe_one(TOPIC, "written", None));
    let good: &[Change] = &[("retention.ms", SET, Some("1"))];
    for (kind, name) in [
        (TOPIC, "nowhere"),
        (TOPIC, ""),
        (BROKER, "99"),
        (BROKER, "x"),
        (BROKER, "1"),
        (LOGGER, "1"),
        (METRICS, "m"),
        (GROUP, "nobody"),
        (GROUP, ""),
        (0, "written"),
        (64, "written"),
    ] {
        table.each(&format!("type {kind} {name:?}"), move |_| one(part(kind, name, good)));
    }
    table.each("one topic twice", move |_| IncrementalAlterConfigsRequest {
        resources: vec![
            part(TOPIC, "written", good),
            part(TOPIC, "written", &[]),
            part(TOPIC, "nowhere", good),
        ],
        ..Default::default()
    });
}
