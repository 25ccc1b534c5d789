//! Whole pipelines: a topic of four partitions with records that wait, one or two steps, durable
//! outputs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use millstream::broker::{Append, Broker, Commit, DiskFiles, StoreOptions};
use millstream::clock::SystemClock;
use millstream::pipeline::{Bundle, Supervisor};
use millstream::plugin::Engine;
use millstream::record::{BatchBuilder, Compression, Record};
use millstream::types::TopicPartition;

use super::{component, records};

const RECORDS: usize = 200_000;
const PARTITIONS: i32 = 4;

struct Rig {
    broker: Broker,
    supervisor: Supervisor,
    runs: usize,
}

const FILTER: &str = "[[pipeline.step]]\nfilter = 'filter'\n";
const IDENTITY: &str = "[[pipeline.step]]\nfilter = 'filter'\nconfig = { work = 'identity' }\n";
const COPY: &str = "[[pipeline.step]]\ntransform = 'transformer'\nconfig = { work = 'copy' }\n";
const MASK: &str = "[[pipeline.step]]\ntransform = 'transformer'\n";

pub(crate) fn run(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let mut rig = runtime.block_on(Rig::open(folder.path()));
    for codec in [Compression::None, Compression::Lz4] {
        runtime.block_on(rig.fill(codec));
        let mut group = criterion.benchmark_group(format!("pipeline from {codec}"));
        group.sample_size(10).throughput(Throughput::Elements(RECORDS as u64));
        let steps = [
            ("no step", String::new()),
            ("identity", IDENTITY.to_owned()),
            ("two identities", IDENTITY.repeat(2)),
            ("copy", COPY.to_owned()),
            ("two copies", COPY.repeat(2)),
            ("filter and mask", FILTER.to_owned() + MASK),
        ];
        for world in ["packed", "typed"] {
            for (name, steps) in &steps {
                group.bench_function(format!("{world}, {name}"), |b| {
                    b.iter_custom(|times| {
                        let once = |_| runtime.block_on(rig.once(codec, world, steps));
                        (0..times).map(once).sum()
                    });
                });
            }
        }
        group.finish();
    }
    runtime.block_on(rig.close());
}

impl Rig {
    async fn open(folder: &std::path::Path) -> Self {
        let files = Arc::new(DiskFiles::open(folder).expect("a data folder"));
        let clock = Arc::new(SystemClock::new());
        let broker = Broker::open(files, &StoreOptions::default(), clock).expect("a broker");
        let engine = Engine::new().expect("an engine");
        let supervisor = Supervisor::new(broker.clone(), engine).expect("a supervisor");
        Self { broker, supervisor, runs: 0 }
    }

    async fn close(self) {
        self.supervisor.shutdown().await;
        self.broker.close().await.expect("closed");
    }

    /// Puts records into the topic that is named after the codec.
    async fn fill(&self, codec: Compression) {
        let manifest = format!("[[topic]]\nname = 'in.{codec}'\npartitions = {PARTITIONS}\n");
        self.deploy(&manifest, BTreeMap::new()).await;
        let topic = self.broker.topic(&format!("in.{codec}")).expect("the topic").id();
        for (i, chunk) in records(RECORDS).chunks(1_000).enumerate() {
            let mut builder = BatchBuilder::new(codec);
            for Record { timestamp, key, value, headers, .. } in chunk {
                let pushed = builder.push(*timestamp, key.as_deref(), value.as_deref(), headers);
                pushed.expect("a record that fits");
            }
            let partition = TopicPartition { topic, partition: i as i32 % PARTITIONS };
            let batch = builder.build().expect("a batch that fits");
            let appends = vec![Append { partition, batch }];
            self.broker.commit(Commit { appends, ..Commit::default() }).await.expect("durable");
        }
    }

    /// A pipeline from the first record to the last.
    async fn once(&mut self, codec: Compression, world: &str, steps: &str) -> Duration {
        self.runs += 1;
        let name = format!("p{}", self.runs);
        let manifest = format!(
            "[plugin]\nfilter.component = 'filter'\ntransformer.component = 'transformer'\n\
             [[topic]]\nname = '{name}'\npartitions = {PARTITIONS}\n\
             [[pipeline]]\nname = '{name}'\nsource = 'in.{codec}'\noutput = '{name}'\n{steps}"
        );
        let components = ["filter", "transformer"]
            .map(|kind| (kind.to_owned(), component(&format!("{world}-{kind}")).into()));
        let started = Instant::now();
        self.deploy(&manifest, components.into()).await;
        loop {
            let status = self.supervisor.status();
            let status = status.into_iter().find(|status| status.name.as_str() == name);
            if status.expect("the pipeline").partitions.iter().all(|part| part.lag == 0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let taken = started.elapsed();
        let name = millstream::types::PipelineName::new(&name).expect("a name");
        self.supervisor.remove(&name).await.expect("removed");
        let topic = self.broker.topic(name.as_str()).expect("the output").id();
        self.broker.delete_topic(topic).await.expect("deleted");
        taken
    }

    async fn deploy(&self, manifest: &str, components: BTreeMap<String, Bytes>) {
        let (manifest, file) = (manifest.to_owned(), "bench".to_owned());
        let bundle = Bundle { manifest, file, components, unreadable: BTreeMap::new() };
        self.supervisor.deploy(bundle).await.expect("deployed");
    }
}
