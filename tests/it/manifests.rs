//! Golden pairs in `tests/manifests`: a manifest, and beside it what it must be told. The world
//! that a manifest meets stands in its first comments:
//!
//! ```text
//! # broker: TOPIC PARTITIONS
//! # component: PATH filter|transform|route|error: REASON [wasi:IMPORT…]
//! # deployed: PIPELINE SOURCE… -> TARGET…
//! ```
//!
//! With `UPDATE_MANIFESTS=1` the expected files are written anew; look at the difference.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use millstream::pipeline::{self, ExistingTopic, Flow, KnownComponent, Plan, StepKind, World};
use millstream::types::{PipelineName, TopicName};

#[test]
fn manifests_are_told_what_is_wrong_with_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests");
    let mut manifests = files(&folder, "toml");
    manifests.sort();
    assert!(!manifests.is_empty());
    let update = std::env::var_os("UPDATE_MANIFESTS").is_some();
    let mut wrong = String::new();
    for path in &manifests {
        let told = tell(path);
        let golden = path.with_extension("txt");
        if update {
            std::fs::write(&golden, &told).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if told != expected {
            write!(wrong, "{}:\n--- expected\n{expected}\n--- told\n{told}\n", path.display())
                .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(files(&folder, "txt").len(), manifests.len(), "an expectation without a manifest");
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn tell(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let file = path.file_name().unwrap().to_str().unwrap();
    let (plan, problems) = match pipeline::check(file, &text, &world(&text)) {
        Ok((plan, warnings)) => (describe(&plan), warnings),
        Err(problems) => (String::new(), problems),
    };
    let lines: Vec<String> = problems.iter().map(|problem| format!("{problem}\n")).collect();
    lines.join("\n") + &plan
}

fn world(text: &str) -> World {
    let mut world = World::default();
    for line in text.lines().take_while(|line| line.starts_with('#')) {
        let Some((kind, rest)) = line.trim_start_matches("# ").split_once(": ") else { continue };
        match kind {
            "broker" => {
                let (name, partitions) = rest.split_once(' ').unwrap();
                let partitions = partitions.parse().unwrap();
                let topic = ExistingTopic { partitions, ..ExistingTopic::default() };
                world.topics.insert(TopicName::new(name).unwrap(), topic);
            }
            "component" => {
                let (path, kind) = rest.split_once(' ').unwrap();
                // What is imported of WASI stands behind the kind.
                let (kind, wasi) = kind.split_once(" wasi:").unwrap_or((kind, ""));
                let wasi_imports =
                    wasi.split_terminator(' ').map(|name| format!("wasi:{name}")).collect();
                let known = |kind| Ok(KnownComponent { kind: Some(kind), wasi_imports });
                let known = match kind {
                    "filter" => known(StepKind::Filter),
                    "transform" => known(StepKind::Transform),
                    "route" => known(StepKind::Route),
                    other => Err(other.strip_prefix("error: ").unwrap().to_owned()),
                };
                world.components.insert(path.to_owned(), known);
            }
            "deployed" => {
                let (from, to) = rest.split_once(" -> ").unwrap();
                let (pipeline, sources) = from.split_once(' ').unwrap();
                let topics = |names: &str| {
                    names.split(' ').map(|name| TopicName::new(name).unwrap()).collect()
                };
                world.deployed.push(Flow {
                    pipeline: PipelineName::new(pipeline).unwrap(),
                    sources: topics(sources),
                    targets: topics(to),
                });
            }
            _ => {}
        }
    }
    world
}

fn describe(plan: &Plan) -> String {
    let mut out = String::new();
    for topic in &plan.topics {
        writeln!(out, "create {} x{} {:?}", topic.name, topic.partitions, topic.config).unwrap();
    }
    for pipeline in &plan.pipelines {
        writeln!(
            out,
            "pipeline {}: {:?} -> {:?}, dead letters {:?}, {:?}",
            pipeline.name, pipeline.sources, pipeline.output, pipeline.dead_letter, pipeline.start
        )
        .unwrap();
        for step in &pipeline.steps {
            writeln!(
                out,
                "  {} {} ({}) {:?} {:?} {:?} {:?}{}",
                step.kind,
                step.plugin,
                step.component,
                step.config,
                step.on_error,
                step.outputs,
                step.limits,
                if step.wasi { " wasi" } else { "" }
            )
            .unwrap();
        }
    }
    out
}
