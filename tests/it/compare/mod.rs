//! Millstream against a real Kafka: the same requests to both, their answers field by field. The
//! requests are in the tables, the differences that we want in `wanted`; any other fails.

mod admin;
mod configs;
mod data;
mod groups;
mod side;
mod topics;
mod value;
mod wanted;

use std::collections::BTreeSet;

use millstream::kafka::messages::{ApiKey, Request, Str};

use self::side::{Outcome, Side};
use self::wanted::WANTED;
use super::util::Broker;

/// Requests in the order in which they are sent.
#[derive(Default)]
struct Table(Vec<Step>);

type Exchange = Box<dyn Fn(&mut Side) -> Outcome>;

struct Step {
    api: ApiKey,
    /// What is special about the request.
    name: String,
    version: i16,
    exchange: Exchange,
}

impl Table {
    /// A request in every version that can say it.
    fn each<R: Request>(&mut self, name: &str, build: impl Fn(&mut Side) -> R + Clone + 'static) {
        self.each_version(name, move |side, _| build(side));
    }

    /// The same, where the version makes a difference.
    fn each_version<R: Request>(
        &mut self,
        name: &str,
        build: impl Fn(&mut Side, i16) -> R + Clone + 'static,
    ) {
        for version in R::API.versions() {
            let build = build.clone();
            self.step(R::API, name, version, move |side| {
                let request = build(side, version);
                side.exchange(&request, version)
            });
        }
    }

    /// Whatever it is.
    fn step(
        &mut self,
        api: ApiKey,
        name: &str,
        version: i16,
        exchange: impl Fn(&mut Side) -> Outcome + 'static,
    ) {
        let exchange = Box::new(exchange);
        self.0.push(Step { api, name: name.to_owned(), version, exchange });
    }
}

/// Name and value.
type Setting = (&'static str, &'static str);

/// Topics that are there before the first request: name, partitions, settings. The records are old.
const TOPICS: [(&str, i32, &[Setting]); 7] = [
    ("small", 1, &[("max.message.bytes", "100")]),
    ("records", 2, &[("retention.ms", "-1")]),
    ("empty", 1, &[("retention.ms", "-1"), ("cleanup.policy", "compact,delete")]),
    ("written", 1, &[("retention.ms", "-1")]),
    ("compacted", 1, &[("retention.ms", "-1"), ("cleanup.policy", "compact")]),
    ("begun", 1, &[("retention.ms", "-1")]),
    ("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]),
];

#[test]
#[ignore = "needs a fresh Kafka at MILLSTREAM_COMPARE_KAFKA; .ci/with-kafka starts one"]
fn answers_are_kafkas() {
    let kafka = std::env::var("MILLSTREAM_COMPARE_KAFKA").expect("MILLSTREAM_COMPARE_KAFKA");
    let broker = Broker::start();
    let mut sides = [Side::connect(broker.kafka()), Side::connect(&kafka)];
    for side in &mut sides {
        for (name, partitions, configs) in TOPICS {
            side.create_topic(name, partitions, configs);
        }
        side.settle();
    }
    let table = table();
    let mut used = BTreeSet::new();
    let mut unwanted = Vec::new();
    let mut spoken = BTreeSet::new();
    for step in &table.0 {
        let [ours, theirs] = &mut sides;
        let outcomes = ((step.exchange)(ours), (step.exchange)(theirs));
        if outcomes.0 != Outcome::Unspeakable {
            spoken.insert((step.api, step.version));
        }
        for (path, ours, theirs) in differences(outcomes) {
            let wanted = WANTED.iter().position(|wanted| wanted.covers(step, &path));
            match wanted {
                Some(index) => drop(used.insert(index)),
                None => unwanted.push(format!(
                    "{:?} {} {}: {path}: we say {ours}, Kafka {theirs}",
                    step.api, step.version, step.name
                )),
            }
        }
    }
    println!("{} requests, {} unwanted differences", table.0.len(), unwanted.len());
    for (index, wanted) in WANTED.iter().enumerate() {
        if !used.contains(&index) {
            unwanted.push(format!("this difference is no more: {wanted:?}"));
        }
    }
    for &api in ApiKey::ALL {
        for version in api.versions().filter(|version| !spoken.contains(&(api, *version))) {
            unwanted.push(format!("{api:?} {version} was not tried"));
        }
    }
    assert!(unwanted.is_empty(), "{}", unwanted.join("\n"));
    assert!(!broker.log().contains("panicked"), "{}", broker.log());
}

fn table() -> Table {
    let mut table = Table::default();
    topics::metadata(&mut table);
    data::requests(&mut table);
    topics::requests(&mut table);
    configs::requests(&mut table);
    admin::requests(&mut table);
    groups::requests(&mut table);
    table
}

/// Path, ours, theirs.
fn differences(outcomes: (Outcome, Outcome)) -> Vec<(String, String, String)> {
    match outcomes {
        (Outcome::Answer(ours), Outcome::Answer(theirs)) => {
            value::differences(&value::settle(ours), &value::settle(theirs))
        }
        (ours, theirs) if ours == theirs => Vec::new(),
        (ours, theirs) => vec![(String::new(), format!("{ours:?}"), format!("{theirs:?}"))],
    }
}

/// A text of a message.
fn s(text: &str) -> Str {
    Str::from(text)
}

/// A text that may be null.
fn some(text: &str) -> Option<Str> {
    Some(s(text))
}
