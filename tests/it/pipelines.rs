//! Pipelines on a real broker in a folder of its own, with plugins written in text: deployed,
//! replaced, restarted, and met with every kind of failure.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use millstream::broker::{Append, Broker, Commit, DiskFiles, NewTopic, StoreOptions};
use millstream::clock::SystemClock;
use millstream::pipeline::{
    Bundle, Change, Counts, DeployError, Deployed, PipelineState, PipelineStatus, Supervisor,
};
use millstream::plugin::Engine;
use millstream::record::{BatchBuilder, Compression, Header, Record, partition_for_key};
use millstream::types::TopicPartition;

/// One for all tests: each takes TiB of address space.
fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new().unwrap()).clone()
}

pub(crate) struct Rig {
    broker: Broker,
    supervisor: Supervisor,
}

impl Rig {
    pub(crate) fn open(folder: &Path) -> Self {
        let files = Arc::new(DiskFiles::open(folder).unwrap());
        let clock = Arc::new(SystemClock::new());
        let broker = Broker::open(files, &StoreOptions::default(), clock).unwrap();
        let supervisor = Supervisor::new(broker.clone(), engine()).unwrap();
        Self { broker, supervisor }
    }

    pub(crate) async fn close(self) {
        self.supervisor.shutdown().await;
        self.broker.close().await.unwrap();
    }

    async fn deploy(&self, manifest: &str) -> Result<Deployed, DeployError> {
        let text = |name: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plugins");
            Bytes::from(wat::parse_file(path.join(name)).unwrap())
        };
        let components = ["filter.wat", "router.wat", "faults.wat", "processor.wat"];
        let components = components.map(|name| (name.to_owned(), text(name)));
        self.deploy_with(manifest, components.into()).await
    }

    pub(crate) async fn deploy_with(
        &self,
        manifest: &str,
        components: BTreeMap<String, Bytes>,
    ) -> Result<Deployed, DeployError> {
        let bundle = Bundle {
            manifest: manifest.to_owned(),
            file: "test.toml".to_owned(),
            components,
            unreadable: [("folder.wat".to_owned(), "is a directory".to_owned())].into(),
        };
        self.supervisor.deploy(bundle).await
    }

    pub(crate) async fn produce(&self, topic: &str, partition: i32, records: &[Record]) {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        for Record { timestamp, key, value, headers, .. } in records {
            builder.push(*timestamp, key.as_deref(), value.as_deref(), headers).unwrap();
        }
        let topic = self.broker.topic(topic).unwrap().id();
        let partition = TopicPartition { topic, partition };
        let batch = builder.build().unwrap();
        let appends = vec![Append { partition, batch }];
        self.broker.commit(Commit { appends, ..Commit::default() }).await.unwrap();
    }

    /// All records of a partition.
    pub(crate) async fn consume(&self, topic: &str, partition: i32) -> Vec<Record> {
        let topic = self.broker.topic(topic).unwrap().id();
        let partition = TopicPartition { topic, partition };
        let mut records: Vec<Record> = Vec::new();
        loop {
            let from = records.last().map_or(0, |last| last.offset + 1);
            let read = self.broker.read(partition, from, 1 << 20).await.unwrap();
            let more = read.records(from).unwrap();
            if more.is_empty() {
                return records;
            }
            records.extend(more);
        }
    }

    async fn values(&self, topic: &str) -> Vec<String> {
        self.consume(topic, 0).await.iter().map(text).collect()
    }

    fn status(&self, pipeline: &str) -> PipelineStatus {
        let all = self.supervisor.status();
        all.into_iter().find(|status| status.name.as_str() == pipeline).unwrap()
    }

    pub(crate) fn counts(&self, pipeline: &str) -> Counts {
        let mut sum = Counts::default();
        for Counts { input, output, dropped, skipped, dead_lettered, lost } in
            self.status(pipeline).partitions.into_iter().map(|partition| partition.counts)
        {
            sum.input += input;
            sum.output += output;
            sum.dropped += dropped;
            sum.skipped += skipped;
            sum.dead_lettered += dead_lettered;
            sum.lost += lost;
        }
        sum
    }

    async fn until(&self, pipeline: &str, done: impl Fn(&PipelineStatus) -> bool) {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        let poll = async {
            while !done(&self.status(pipeline)) {
                ticks.tick().await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(60), poll).await.is_err() {
            panic!("{:#?}", self.status(pipeline));
        }
    }

    pub(crate) async fn until_through(&self, pipeline: &str) {
        self.until(pipeline, |status| status.partitions.iter().all(|part| part.lag == 0)).await;
    }

    pub(crate) async fn until_failed(&self, pipeline: &str) -> String {
        self.until(pipeline, |status| matches!(status.state, PipelineState::Failed { .. })).await;
        match self.status(pipeline).state {
            PipelineState::Failed { reason } => reason,
            other => panic!("{other:?}"),
        }
    }
}

fn record(key: Option<&str>, value: Option<&str>) -> Record {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Record {
        offset: 0,
        timestamp: 1_700_000_000_000,
        key: key.map(bytes),
        value: value.map(bytes),
        headers: Vec::new(),
    }
}

fn plain(values: &[&str]) -> Vec<Record> {
    values.iter().map(|value| record(None, Some(value))).collect()
}

fn text(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap_or_default().to_vec()).unwrap()
}

/// A topic `in` of one partition, and a pipeline `p` from it to `out` with one step.
fn one_step(step: &str) -> String {
    format!(
        "[plugin]\nkeep.component = 'filter.wat'\nroute.component = 'router.wat'\n\
         faults.component = 'faults.wat'\nprocessor.component = 'processor.wat'\n\
         [[topic]]\nname = 'in'\n\
         [[pipeline]]\nname = 'p'\nsource = 'in'\noutput = 'out'\ndead-letter = 'bad'\n\
         [[pipeline.step]]\n{step}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn records_keep_what_they_are_and_go_where_kafka_would_put_them() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    let manifest = "[plugin]\nkeep.component = 'filter.wat'\nroute.component = 'router.wat'\n\
        [[topic]]\nname = 'in'\npartitions = 3\n[[topic]]\nname = 'to.a'\npartitions = 5\n\
        [[pipeline]]\nname = 'p'\nsource = 'in'\noutput = 'rest'\ndead-letter = 'bad'\n\
        [[pipeline.step]]\nfilter = 'keep'\n\
        [[pipeline.step]]\nroute = 'route'\non-error = 'dead-letter'\n\
        outputs = { a = 'to.a', b = 'to.b' }\n";
    let deployed = rig.deploy(manifest).await.unwrap();
    let topics: Vec<&str> = deployed.topics.iter().map(|topic| topic.as_str()).collect();
    assert_eq!(topics, ["bad", "in", "rest", "to.a", "to.b"]);

    let header = |value: Option<&'static str>| Header {
        key: Bytes::from_static(b"same"),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
    };
    for partition in 0..3 {
        let mut records = Vec::new();
        for i in 0..50 {
            let mut kept = record(Some(&format!("key-{i}")), Some("ab"));
            kept.timestamp += i;
            kept.headers = vec![header(Some("1")), header(None), header(Some(""))];
            records.extend([kept, record(None, Some("a")), record(None, Some(""))]);
            records.extend([record(Some("gone"), None), record(Some("bad"), Some("ax"))]);
        }
        rig.produce("in", partition, &records).await;
    }
    rig.until_through("p").await;

    let counts =
        Counts { input: 750, output: 600, dropped: 150, dead_lettered: 150, ..Counts::default() };
    assert_eq!(rig.counts("p"), counts);
    for partition in 0..5 {
        let records = rig.consume("to.a", partition).await;
        let keyed = records.iter().filter_map(|record| record.key.clone().map(|key| (key, record)));
        let mut last: BTreeMap<Bytes, i64> = BTreeMap::new();
        for (key, record) in keyed {
            assert_eq!(partition_for_key(&key, 5), partition);
            assert_eq!(record.headers, [header(Some("1")), header(None), header(Some(""))]);
            let number: i64 = String::from_utf8(key[4..].to_vec()).unwrap().parse().unwrap();
            assert_eq!(record.timestamp, 1_700_000_000_000 + number);
            *last.entry(key).or_default() += 1;
        }
        assert!(last.values().all(|times| *times == 3), "{last:?}");
        // Without a key: the source partition modulo five.
        let keyless = records.iter().filter(|record| record.key.is_none()).count();
        assert_eq!(keyless, if partition < 3 { 50 } else { 0 });
    }
    let letters = rig.consume("bad", partition_for_key(b"bad", 3)).await;
    assert_eq!(letters.len(), 150);
    let kind = &letters[0].headers[7];
    assert_eq!(kind.key, "millstream.error.kind");
    assert_eq!(kind.value.as_deref(), Some(b"contract".as_slice()));
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_takes_effect_once_through_deploys_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..6 {
        let rig = Rig::open(folder.path());
        rig.supervisor.restore().await.unwrap();
        // The config changes every other round, so that a pipeline is replaced at work.
        let manifest = one_step(&format!("filter = 'keep'\nconfig = {{ c = {} }}", round / 2));
        let before = rig.deploy(&manifest).await.unwrap().pipelines[0].1;
        let change = match round {
            0 => Change::Started,
            2 | 4 => Change::Replaced,
            _ => Change::Unchanged,
        };
        assert_eq!(before, change, "round {round}");
        for batch in 0..20 {
            let values: Vec<String> = (0..50).map(|i| format!("{round}/{batch}/{i}")).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            rig.produce("in", 0, &plain(&values)).await;
            expected.extend(values.into_iter().map(str::to_owned));
            if batch == 10 {
                let manifest = one_step(&format!("filter = 'keep'\nconfig = {{ r = {round} }}"));
                assert_eq!(rig.deploy(&manifest).await.unwrap().pipelines[0].1, Change::Replaced);
                let manifest =
                    one_step(&format!("filter = 'keep'\nconfig = {{ c = {} }}", round / 2));
                assert_eq!(rig.deploy(&manifest).await.unwrap().pipelines[0].1, Change::Replaced);
            }
        }
        // Closed at once, with work under way.
        rig.close().await;
    }
    let rig = Rig::open(folder.path());
    rig.supervisor.restore().await.unwrap();
    rig.until_through("p").await;
    assert_eq!(rig.values("out").await, expected);
    let total = expected.len() as u64;
    assert_eq!(rig.counts("p"), Counts { input: total, output: total, ..Counts::default() });
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_a_key_for_a_compacted_topic_is_the_steps_failure() {
    let records = [
        record(Some("k"), Some("first")),
        record(None, Some("keyless")),
        record(Some("k"), Some("last")),
    ];
    let compacted = "[[topic]]\nname = 'out'\n\
                     config = { 'cleanup.policy' = 'compact' }\n[[pipeline]]";
    let said = "topic out does not accept the record: has no key, and the topic is compacted";
    for on_error in ["skip", "dead-letter", "stop"] {
        let folder = tempfile::tempdir().unwrap();
        let rig = Rig::open(folder.path());
        let manifest = one_step(&format!("filter = 'keep'\non-error = '{on_error}'"));
        rig.deploy(&manifest.replace("[[pipeline]]", compacted)).await.unwrap();
        rig.produce("in", 0, &records).await;
        if on_error == "stop" {
            let reason = rig.until_failed("p").await;
            assert!(reason.contains(said) && reason.contains("failed on offset 1"), "{reason}");
            assert_eq!(rig.values("out").await, ["first"]);
        } else {
            rig.until_through("p").await;
            assert_eq!(rig.values("out").await, ["first", "last"]);
        }
        let letters = rig.consume("bad", 0).await;
        let counts = rig.counts("p");
        match on_error {
            "skip" => assert_eq!((counts.skipped, letters.len()), (1, 0)),
            "dead-letter" => {
                assert_eq!((counts.dead_lettered, text(&letters[0])), (1, "keyless".to_owned()));
                let message = letters[0].headers[8].value.clone().unwrap();
                assert_eq!(message, said);
            }
            _ => assert!(letters.is_empty()),
        }
        rig.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_its_topic_does_not_take_stops_the_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    let manifest = one_step("transform = 'faults'\non-error = 'dead-letter'");
    let compacted = "[[topic]]\nname = 'bad'\n\
                     config = { 'cleanup.policy' = 'compact' }\n[[pipeline]]";
    rig.deploy(&manifest.replace("[[pipeline]]", compacted)).await.unwrap();
    rig.produce("in", 0, &[record(Some("k"), Some("trap")), record(None, Some("trap"))]).await;
    let reason = rig.until_failed("p").await;
    assert!(reason.contains("no dead letter can be made of it"), "{reason}");
    assert!(reason.contains("has no key, and the topic is compacted"), "{reason}");
    assert_eq!(rig.consume("bad", 0).await.len(), 1, "what came before is written");
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_batch_keeps_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    rig.deploy("[[topic]]\nname = 'in'\n[[pipeline]]\nname = 'p'\nsource = 'in'\noutput = 'out'\n")
        .await
        .unwrap();
    let values: Vec<String> = (0..60_000).map(|i| format!("{i}-{}", "x".repeat(i % 97))).collect();
    for chunk in values.chunks(25_000) {
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        rig.produce("in", 0, &plain(&chunk)).await;
    }
    rig.until_through("p").await;
    assert_eq!(rig.values("out").await, values);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_the_moment_of_the_deployment() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    rig.deploy("[[topic]]\nname = 'in'\n").await.unwrap();
    rig.produce("in", 0, &plain(&["before"])).await;
    let manifest = one_step("filter = 'keep'").replace("output", "start = 'latest'\noutput");
    rig.deploy(&manifest).await.unwrap();
    // Whether it runs or not when the next record comes.
    rig.supervisor.shutdown().await;
    rig.produce("in", 0, &plain(&["after"])).await;
    rig.close().await;
    let rig = Rig::open(folder.path());
    rig.supervisor.restore().await.unwrap();
    rig.until_through("p").await;
    assert_eq!(rig.values("out").await, ["after"]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_loses_nothing_of_a_source_that_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    rig.deploy("[[topic]]\nname = 'in'\n").await.unwrap();
    rig.produce("in", 0, &plain(&["before"])).await;
    let manifest = one_step("filter = 'keep'").replace("output", "start = 'latest'\noutput");
    rig.deploy(&manifest).await.unwrap();
    rig.supervisor.shutdown().await;
    rig.broker.delete_topic(rig.broker.topic("in").unwrap().id()).await.unwrap();
    let again = NewTopic { name: "in".parse().unwrap(), partitions: None, config: BTreeMap::new() };
    rig.broker.create_topic(again).await.unwrap();
    rig.produce("in", 0, &plain(&["after"])).await;
    rig.close().await;
    let rig = Rig::open(folder.path());
    rig.supervisor.restore().await.unwrap();
    rig.until_through("p").await;
    assert_eq!(rig.values("out").await, ["after"]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_is_cut_short_leaves_a_store_that_closes() {
    let manifest = one_step("transform = 'faults'\nlimits = { call-ms = 500 }");
    // A stop that comes before the pipeline has taken up the record cuts nothing short.
    for _ in 0..50 {
        let folder = tempfile::tempdir().unwrap();
        let rig = Rig::open(folder.path());
        rig.deploy(&manifest).await.unwrap();
        rig.produce("in", 0, &plain(&["s"])).await;
        let cut = tokio::time::timeout(Duration::ZERO, rig.supervisor.shutdown()).await;
        assert!(matches!(rig.deploy(&manifest).await, Err(DeployError::Stopped)));
        rig.close().await;
        if cut.is_err() {
            return;
        }
    }
    panic!("no stop fell into a call");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_only_loops_does_not_hold_up_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    let step = "transform = 'faults'\non-error = 'skip'\nlimits = { call-ms = 100 }";
    rig.deploy(&one_step(step)).await.unwrap();
    rig.produce("in", 0, &plain(&["s"; 1_000])).await;
    // Not all of them at once, so that there is a first batch to see.
    rig.until("p", |status| status.partitions[0].checkpoint.is_some()).await;
    tokio::time::timeout(Duration::from_secs(10), rig.supervisor.shutdown()).await.unwrap();
    assert!(rig.status("p").partitions[0].lag > 0);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_pipeline_stays_away_and_comes_back_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    let manifest = one_step("filter = 'keep'");
    let name = "p".parse().unwrap();
    rig.deploy(&manifest).await.unwrap();
    rig.produce("in", 0, &plain(&["1"])).await;
    rig.until_through("p").await;
    assert!(rig.supervisor.remove(&name).await.unwrap());
    assert!(!rig.supervisor.remove(&name).await.unwrap());
    assert!(rig.supervisor.status().is_empty());
    rig.close().await;
    let rig = Rig::open(folder.path());
    rig.supervisor.restore().await.unwrap();
    assert!(rig.supervisor.status().is_empty());
    rig.produce("in", 0, &plain(&["2"])).await;
    rig.deploy(&manifest).await.unwrap();
    rig.until_through("p").await;
    assert_eq!(rig.values("out").await, ["1", "2"]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_pipeline_is_where_it_failed_and_goes_on_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    rig.deploy(&one_step("transform = 'faults'")).await.unwrap();
    rig.produce("in", 0, &plain(&["x1", "x2", "t", "x3"])).await;
    let reason = rig.until_failed("p").await;
    assert!(reason.starts_with("in, partition 0: step 1 (faults) failed on offset 2: trap"));
    assert_eq!(rig.values("out").await, ["x1", "x2"]);
    assert_eq!(rig.status("p").partitions[0].checkpoint, Some(2));
    // The same again meets the same record.
    let again = rig.deploy(&one_step("transform = 'faults'")).await.unwrap();
    assert_eq!(again.pipelines[0].1, Change::Replaced);
    rig.until_failed("p").await;
    rig.deploy(&one_step("transform = 'faults'\non-error = 'skip'")).await.unwrap();
    rig.until_through("p").await;
    assert_eq!(rig.values("out").await, ["x1", "x2", "x3"]);
    let counts = Counts { input: 4, output: 3, skipped: 1, ..Counts::default() };
    assert_eq!(rig.counts("p"), counts);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_costs_its_record_and_no_other_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    let step = "transform = 'faults'\non-error = 'dead-letter'\n\
                limits = { call-ms = 50, memory-mib = 8 }";
    let other = "[[pipeline]]\nname = 'other'\nsource = 'in'\noutput = 'copy'\n";
    rig.deploy(&(one_step(step) + other)).await.unwrap();
    let faults = ["s", "t", "r", "m", "e", "b", "B", "H", "O", "u", "w", "p"];
    let values: Vec<&str> = faults.iter().flat_map(|fault| [*fault, "x"]).collect();
    rig.produce("in", 0, &plain(&values)).await;
    rig.until_through("other").await;
    rig.until_through("p").await;
    assert_eq!(rig.values("copy").await, values);
    assert_eq!(rig.values("bad").await, faults);
    assert_eq!(rig.values("out").await, ["x"; 12]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_end() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    let step = "transform = 'faults'\non-error = 'retry'\nretry = { attempts = 3, backoff-ms = 1 }";
    rig.deploy(&one_step(step)).await.unwrap();
    rig.produce("in", 0, &plain(&["x", "e"])).await;
    let reason = rig.until_failed("p").await;
    assert!(reason.contains("offset 1: failed: broken"), "{reason}");
    assert_eq!(rig.values("out").await, ["x"]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_topic_that_was_deleted_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    rig.deploy(&one_step("filter = 'keep'")).await.unwrap();
    rig.produce("in", 0, &plain(&["1"])).await;
    rig.until_through("p").await;
    let out = rig.broker.topic("out").unwrap().id();
    rig.broker.delete_topic(out).await.unwrap();
    rig.produce("in", 0, &plain(&["2"])).await;
    rig.until_through("p").await;
    assert_eq!(rig.values("out").await, ["2"]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_before_it_was_read_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    rig.deploy(&one_step("filter = 'keep'")).await.unwrap();
    rig.produce("in", 0, &plain(&["1"])).await;
    rig.until_through("p").await;
    rig.supervisor.shutdown().await;
    rig.produce("in", 0, &plain(&["2", "3", "4"])).await;
    let source = TopicPartition { topic: rig.broker.topic("in").unwrap().id(), partition: 0 };
    assert_eq!(rig.broker.delete_records(vec![(source, 3)]).await, [Ok(3)]);
    let supervisor = Supervisor::new(rig.broker.clone(), engine()).unwrap();
    supervisor.restore().await.unwrap();
    let rig = Rig { supervisor, ..rig };
    rig.until_through("p").await;
    assert_eq!(rig.values("out").await, ["1", "4"]);
    assert_eq!((rig.counts("p").lost, rig.counts("p").input), (2, 2));
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_with_mistakes_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::open(folder.path());
    let manifest = one_step("route = 'keep'\noutputs = { a = 'a' }")
        .replace("router.wat", "no.wat")
        .replace("faults.wat", "folder.wat")
        + "[[pipeline]]\nname = 'q'\nsource = 'nowhere'\noutput = 'b'\n";
    let error = rig.deploy(&manifest).await.unwrap_err();
    let told = error.to_string();
    for part in [
        "test.toml:3:19: component `no.wat` is not there",
        "test.toml:4:20: component `folder.wat` cannot be used: it cannot be read: is a directory",
        "plugin `keep` is a filter and cannot be used as a router; write `filter = \"keep\"`",
        "source `nowhere` is neither declared nor in the broker",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert!(rig.broker.topics().is_empty());
    assert!(rig.supervisor.status().is_empty());
    // A setting that no topic takes is found before the first topic is made.
    let manifest = one_step("filter = 'keep'").replace("'in'\n[", "'in'\nconfig.a = 1\n[");
    let told = rig.deploy(&manifest).await.unwrap_err().to_string();
    assert!(told.contains("unknown topic setting \"a\""), "{told}");
    assert!(rig.broker.topics().is_empty());
    rig.close().await;
}
