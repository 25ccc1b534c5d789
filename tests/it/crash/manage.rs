//! What is managed meanwhile: topics that come and go, and a pipeline that is deployed anew.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::kafka::messages::{
    CreatableTopic, CreateTopicsRequest, DeleteTopicsRequest, ErrorCode, MetadataRequest, Str,
};
use millstream::record::Compression;

use super::produce::build;
use super::{Alarm, TOPICS, World};
use crate::client::Client;
use crate::ledger::{Policy, Sent};
use crate::util::{Broker, run, succeeded, until};

/// Every fourth topic stays.
const STAYS: u64 = 4;
/// Producers that write topics which come and go have numbers from here on.
const PRODUCER: u64 = 1_000;

static DEPLOYMENTS: AtomicU64 = AtomicU64::new(0);

/// How often the pipeline was deployed.
pub(super) fn deployments() -> u64 {
    DEPLOYMENTS.load(Ordering::Relaxed)
}

fn manifest(version: u64) -> String {
    let topic = |name: &str| {
        format!(
            "[[topic]]\nname = \"{name}\"\npartitions = 2\nconfig = {{ \"retention.ms\" = -1 }}\n\n"
        )
    };
    let topics: String = ["in", "out", "side", "bad"].map(topic).concat();
    format!(
        r#"{topics}
[plugin]
present.component = "filter.wasm"
obey.component = "faults.wasm"
letter.component = "router.wasm"

[[pipeline]]
name = "work"
source = "in"
dead-letter = "bad"

[[pipeline.step]]
filter = "present"

[[pipeline.step]]
transform = "obey"
on-error = "dead-letter"
config = {{ c = "{version}" }}

[[pipeline.step]]
route = "letter"
outputs = {{ x = "out", "2" = "out", y = "side" }}
"#
    )
}

/// Makes the topics and deploys the pipeline, with its components built from text.
pub(super) fn set_up(world: &World, folder: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plugins");
    for name in ["filter", "faults", "router"] {
        let path = fixtures.join(format!("{name}.wat"));
        let mut text = std::fs::read_to_string(path).unwrap();
        if name == "router" {
            // By the first letter alone.
            let length = "(local.get $value-length)";
            text = text
                .replace(&format!("$index) {length}"), "$index) (i32.const 1)")
                .replace(&format!("(i32.const 24) {length}"), "(i32.const 24) (i32.const 1)");
        }
        let component = wat::parse_str(text).unwrap();
        std::fs::write(folder.join(format!("{name}.wasm")), component).unwrap();
    }
    deploy(world, folder, 0).unwrap();
    let mut client = world.connect().unwrap();
    client.create_topic("short", &[("retention.bytes", "200000"), ("retention.ms", "-1")]);
    let table = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.1"),
        ("delete.retention.ms", "100"),
    ];
    client.create_topic("table", &table);
    let mut told = world.told();
    for (name, _, policy) in TOPICS {
        if let Some(policy) = policy {
            told.ledger.topic(name, policy);
        }
    }
}

/// Deploys a version of the pipeline; returns what came of it.
fn deploy(world: &World, folder: &Path, version: u64) -> io::Result<String> {
    let path = folder.join(format!("work-{version}.toml"));
    std::fs::write(&path, manifest(version))?;
    let http = world.http.lock().unwrap().clone();
    let output = run(&["deploy", path.to_str().unwrap(), "--server", &http]);
    std::fs::remove_file(path)?;
    if output.status.success() {
        DEPLOYMENTS.fetch_add(1, Ordering::Relaxed);
        return Ok(succeeded(&output));
    }
    Err(io::Error::other(format!("{output:?}")))
}

/// Replaces the pipeline at work by one of another config, again and again; the last one that was
/// acknowledged is the one that is there.
pub(super) fn deploy_again_and_again(world: &World, folder: &Path) {
    let _alarm = Alarm(world);
    let mut version = 0;
    while !world.stop.load(Ordering::Relaxed) {
        version += 1;
        // It may be there before the answer is lost, and unchanged then.
        let done = world.persist("a deployment", || deploy(world, folder, version));
        assert!(done.is_some(), "version {version}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let again = deploy(world, folder, version).unwrap();
    assert!(again.contains("unchanged"), "version {version}: {again}");
}

/// Names of all topics, in order.
pub(super) fn topics(client: &mut Client) -> io::Result<Vec<String>> {
    let response = client.call(&MetadataRequest::default(), 12)?;
    let names = response.topics.iter().map(|topic| topic.name.as_ref().unwrap().to_string());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    Ok(names)
}

/// Makes topics, writes to them, and deletes most of them.
pub(super) fn come_and_go(world: &World) {
    let _alarm = Alarm(world);
    let mut number = 0;
    while !world.stop.load(Ordering::Relaxed) {
        number += 1;
        let name = format!("topic-{number}");
        let stays = number % STAYS == 0;
        let created = world.persist("a topic is not made", || create(world, &name));
        let value = format!("x of topic {number}");
        let records = vec![Sent { key: None, value: Some(value) }; 1];
        if stays {
            let mut told = world.told();
            told.ledger.topic(&name, Policy::Keep);
            told.kept.push(name.clone());
        }
        // A plain batch: it is there or not.
        let place = (name.clone(), 0);
        let batch = stays.then(|| world.told().send(place, PRODUCER + number, &records));
        let produced = world.connect().and_then(|mut client| {
            client.produce(&name, 0, &build(&records, None, Compression::None))
        });
        if let Ok(answer) = produced {
            assert_eq!(answer.error_code, ErrorCode::None, "{name}");
            if let Some(batch) = batch {
                world.told().ledger.acknowledge(batch, answer.base_offset).unwrap();
            }
        }
        if !stays {
            let deleted = world.persist("a topic is not deleted", || delete(world, &name));
            assert!(deleted.is_some());
        }
        assert!(created.is_some());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn create(world: &World, name: &str) -> io::Result<()> {
    let topic = CreatableTopic {
        name: Str::from(name),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let response = world.connect()?.call(&request, 7)?;
    // It may have been made before the answer was lost.
    let code = response.topics[0].error_code;
    assert!(matches!(code, ErrorCode::None | ErrorCode::TopicAlreadyExists), "{name}: {code:?}");
    Ok(())
}

fn delete(world: &World, name: &str) -> io::Result<()> {
    let request = DeleteTopicsRequest {
        topic_names: vec![Str::from(name)],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let response = world.connect()?.call(&request, 4)?;
    let code = response.responses[0].error_code;
    let done = matches!(code, ErrorCode::None | ErrorCode::UnknownTopicOrPartition);
    assert!(done, "{name}: {code:?}");
    Ok(())
}

/// Waits until the pipeline has taken everything; it is asked, not timed.
pub(super) fn caught_up(broker: &Broker) {
    until(|| {
        let text = succeeded(&broker.run(&["pipelines", "--json"]));
        let status: serde_json::Value = serde_json::from_str(&text).unwrap();
        let pipeline = &status[0];
        assert_eq!(pipeline["state"], "running", "{text}");
        let partitions = pipeline["partitions"].as_array().unwrap();
        partitions.iter().all(|partition| partition["lag"] == 0)
    });
}
