//! Topics: Metadata, CreateTopics, DeleteTopics, CreatePartitions, DescribeTopicPartitions.

use millstream::kafka::messages::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatePartitionsAssignment,
    CreatePartitionsRequest, CreatePartitionsTopic, CreateTopicsRequest, Cursor, DeleteTopicState,
    DeleteTopicsRequest, DescribeTopicPartitionsRequest, MetadataRequest, MetadataRequestTopic,
    TopicRequest,
};
use uuid::Uuid;

use super::{Table, s, some};

/// Asked first, while both have the same topics.
pub(super) fn metadata(table: &mut Table) {
    let named = |names: &'static [&'static str], create: bool| {
        let topic = |name: &&str| MetadataRequestTopic { name: some(name), ..Default::default() };
        move |_: &mut _| MetadataRequest {
            topics: Some(names.iter().map(topic).collect()),
            allow_auto_topic_creation: create,
            ..Default::default()
        }
    };
    table.each("all topics", |_| MetadataRequest { topics: None, ..Default::default() });
    table.each("an empty list", |_| MetadataRequest {
        topics: Some(Vec::new()),
        ..Default::default()
    });
    table.each("two topics", named(&["records", "empty"], true));
    table.each("twice the same topic", named(&["records", "records"], true));
    table.each("a topic that is not there", named(&["nowhere"], false));
    table.each("names that cannot be", named(&["", ".", "..", "a b", "ü"], true));
    table.each_version("a topic to be made", |_, version| {
        let name = some(&format!("made-by-asking-{version}"));
        let topic = MetadataRequestTopic { name, ..Default::default() };
        MetadataRequest { topics: Some(vec![topic]), ..Default::default() }
    });
    table.each("topic ids", |side| {
        let topic = |topic_id| MetadataRequestTopic { topic_id, name: None };
        let topics = vec![topic(side.topic_id("records")), topic(Uuid::from_u128(5))];
        MetadataRequest {
            topics: Some(topics),
            allow_auto_topic_creation: false,
            ..Default::default()
        }
    });
    table.each("authorized operations", |_| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: some("records"), ..Default::default() }]),
        include_topic_authorized_operations: true,
        ..Default::default()
    });
}

pub(super) fn requests(table: &mut Table) {
    create(table);
    create_badly(table);
    grow(table);
    describe(table);
    delete(table);
}

fn new(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic { name: s(name), num_partitions, replication_factor, ..Default::default() }
}

fn create_one(topic: CreatableTopic) -> CreateTopicsRequest {
    CreateTopicsRequest { topics: vec![topic], ..Default::default() }
}

fn config(name: &str, value: Option<&str>) -> CreatableTopicConfig {
    CreatableTopicConfig { name: s(name), value: value.map(s) }
}

fn assignment(partition_index: i32, broker_ids: &[i32]) -> CreatableReplicaAssignment {
    CreatableReplicaAssignment { partition_index, broker_ids: broker_ids.to_vec() }
}

fn create(table: &mut Table) {
    table.each("no topic", |_| CreateTopicsRequest::default());
    table.each_version("three partitions", |_, v| create_one(new(&format!("three-{v}"), 3, 1)));
    table.each_version("the same again", |_, v| create_one(new(&format!("three-{v}"), 3, 1)));
    table.each_version("defaults", |_, v| create_one(new(&format!("defaults-{v}"), -1, -1)));
    table.each_version("settings", |_, version| {
        let configs = vec![
            config("retention.ms", Some("1000")),
            config("cleanup.policy", Some("compact, delete")),
            config("compression.type", Some("lz4")),
        ];
        create_one(CreatableTopic { configs, ..new(&format!("settings-{version}"), 1, 1) })
    });
    table.each_version("assigned", |_, version| {
        let assignments = vec![assignment(0, &[1]), assignment(1, &[1])];
        create_one(CreatableTopic { assignments, ..new(&format!("assigned-{version}"), -1, -1) })
    });
    table.each("only checked", |_| CreateTopicsRequest {
        validate_only: true,
        ..create_one(new("only-checked", 2, 1))
    });
    table.each("only checked, and there", |_| CreateTopicsRequest {
        validate_only: true,
        ..create_one(new("records", 2, 1))
    });
    table.each_version("good ones and bad ones", |_, version| CreateTopicsRequest {
        topics: vec![new(&format!("good-{version}"), 1, 1), new("bad name", 1, 1)],
        ..Default::default()
    });
}

fn create_badly(table: &mut Table) {
    for (index, name) in ["", ".", "..", "a/b", "ü"].into_iter().enumerate() {
        table.each(&format!("name {index} that cannot be"), move |_| create_one(new(name, 1, 1)));
    }
    table.each("a name too long", |_| create_one(new(&"n".repeat(250), 1, 1)));
    table.each_version("names that differ by . and _", |_, version| {
        create_one(new(&format!("three_{version}").replace('-', "."), 1, 1))
    });
    table.each("a name like another", |_| CreateTopicsRequest {
        topics: vec![new("like.this", 1, 1), new("like_this", 1, 1)],
        validate_only: true,
        ..Default::default()
    });
    table.each("one topic twice", |_| CreateTopicsRequest {
        topics: vec![new("twice", 1, 1), new("twice", 2, 1), new("once", 1, 1)],
        validate_only: true,
        ..Default::default()
    });
    for partitions in [0, -2] {
        let name = format!("{partitions} partitions");
        table.each(&name, move |_| create_one(new("wrong", partitions, 1)));
    }
    for replicas in [0, 2, -2] {
        let name = format!("{replicas} replicas");
        table.each(&name, move |_| create_one(new("wrong", 1, replicas)));
    }
    let settings: [(&str, Option<&str>); 10] = [
        ("made.up", Some("1")),
        ("retention.ms", None),
        ("retention.ms", Some("soon")),
        ("retention.ms", Some("-2")),
        ("retention.ms", Some("")),
        ("cleanup.policy", Some("burn")),
        ("cleanup.policy", Some("")),
        ("compression.type", Some("zip")),
        ("max.message.bytes", Some("-1")),
        ("min.insync.replicas", Some("0")),
    ];
    for (index, (setting, value)) in settings.into_iter().enumerate() {
        table.each(&format!("setting {index} that cannot be"), move |_| {
            let configs = vec![config(setting, value)];
            create_one(CreatableTopic { configs, ..new(&format!("wrong-{index}"), 1, 1) })
        });
    }
    type Assigned = (i32, &'static [i32]);
    let assignments: [(i32, i16, &[Assigned]); 6] = [
        (1, 1, &[(0, &[1])]),
        (-1, -1, &[(0, &[2])]),
        (-1, -1, &[(1, &[1])]),
        (-1, -1, &[(0, &[])]),
        (-1, -1, &[(0, &[1, 1])]),
        (-1, -1, &[(0, &[1]), (0, &[1])]),
    ];
    for (index, (partitions, replicas, assigned)) in assignments.into_iter().enumerate() {
        table.each(&format!("assignment {index} that cannot be"), move |_| {
            let assignments = assigned.iter().map(|(index, ids)| assignment(*index, ids));
            let assignments = assignments.collect();
            create_one(CreatableTopic { assignments, ..new("wrong", partitions, replicas) })
        });
    }
}

fn more(name: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic { name: s(name), count, assignments: None }
}

fn grow_one(topic: CreatePartitionsTopic) -> CreatePartitionsRequest {
    CreatePartitionsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() }
}

fn grow(table: &mut Table) {
    table.each("no topic", |_| CreatePartitionsRequest::default());
    table.each_version("one more", |_, version| {
        grow_one(more(&format!("three-{}", version + 2), 4))
    });
    table.each_version("two more, assigned", |_, version| {
        let here = CreatePartitionsAssignment { broker_ids: vec![1] };
        let assignments = Some(vec![here.clone(), here]);
        let topic = more(&format!("three-{}", version + 2), 6);
        grow_one(CreatePartitionsTopic { assignments, ..topic })
    });
    for count in [6, 3, 0, -1] {
        table.each(&format!("{count} altogether"), move |_| grow_one(more("three-2", count)));
    }
    table.each("only checked", |_| CreatePartitionsRequest {
        validate_only: true,
        ..grow_one(more("records", 7))
    });
    table.each("a topic that is not there", |_| grow_one(more("nowhere", 2)));
    table.each("one topic twice", |_| CreatePartitionsRequest {
        topics: vec![more("records", 3), more("records", 4), more("nowhere", 4)],
        timeout_ms: 10_000,
        ..Default::default()
    });
    let assignments: [&[&[i32]]; 4] = [&[], &[&[2]], &[&[]], &[&[1], &[1]]];
    for (index, assigned) in assignments.into_iter().enumerate() {
        table.each(&format!("assignment {index} that cannot be"), move |_| {
            let one = |ids: &&[i32]| CreatePartitionsAssignment { broker_ids: ids.to_vec() };
            let assignments = Some(assigned.iter().map(one).collect());
            grow_one(CreatePartitionsTopic { assignments, ..more("records", 3) })
        });
    }
}

fn describe(table: &mut Table) {
    let asked = |names: &'static [&'static str], limit, cursor: Option<(&'static str, i32)>| {
        let topic = |name: &&str| TopicRequest { name: s(name) };
        move |_: &mut _| DescribeTopicPartitionsRequest {
            topics: names.iter().map(topic).collect(),
            response_partition_limit: limit,
            cursor: cursor.map(|(topic_name, partition_index)| Cursor {
                topic_name: s(topic_name),
                partition_index,
            }),
        }
    };
    let all = &["three-3", "records", "nowhere", "three-2", "a b"];
    table.each("some topics", asked(all, 2_000, None));
    table.each("one topic twice", asked(&["records", "records"], 2_000, None));
    for limit in [8, 7, 2, 1, 0, -1] {
        table.each(&format!("at most {limit} partitions"), asked(all, limit, None));
    }
    let cursors = [
        ("three-2", 0),
        ("three-2", 2),
        ("three-2", 6),
        ("three-2", 99),
        ("three-2", -1),
        ("nowhere", 0),
        ("q", 1),
        ("zzz", 0),
        ("", 0),
    ];
    for (name, index) in cursors {
        let from = Some((name, index));
        table.each(&format!("from {name:?} {index}"), asked(all, 2_000, from));
        table.each(&format!("one from {name:?} {index}"), asked(all, 1, from));
    }
}

fn delete(table: &mut Table) {
    let named = |names: &[&str]| {
        let by_name = |name: &&str| DeleteTopicState { name: some(name), ..Default::default() };
        DeleteTopicsRequest {
            topics: names.iter().map(by_name).collect(),
            topic_names: names.iter().map(|name| s(name)).collect(),
            timeout_ms: 10_000,
        }
    };
    let delete = move |version: i16, names: &[&str]| {
        let DeleteTopicsRequest { topics, topic_names, timeout_ms } = named(names);
        match version {
            ..=5 => DeleteTopicsRequest { topic_names, timeout_ms, ..Default::default() },
            _ => DeleteTopicsRequest { topics, timeout_ms, ..Default::default() },
        }
    };
    table.each_version("no topic", move |_, version| delete(version, &[]));
    table.each_version("one topic", move |_, version| {
        delete(version, &[&*format!("settings-{}", version + 1)])
    });
    table.each_version("a topic that is not there", move |_, v| delete(v, &["nowhere"]));
    table.each_version("one topic twice", move |_, version| {
        delete(version, &["assigned-2", "assigned-2"])
    });
    table.each_version("a topic that is there and one that is not", move |_, version| {
        delete(version, &["nowhere", &*format!("defaults-{}", version + 1)])
    });
    let by_id = |name: Option<&'static str>, topic_id: u128| {
        move |_: &mut _| {
            let (name, topic_id) = (name.map(s), Uuid::from_u128(topic_id));
            let topics = vec![DeleteTopicState { name, topic_id }];
            DeleteTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() }
        }
    };
    table.each("an id that is not there", by_id(None, 5));
    table.each("neither name nor id", by_id(None, 0));
    table.each("name and id", by_id(Some("nowhere"), 5));
}
