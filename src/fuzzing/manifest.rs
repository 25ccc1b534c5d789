//! The manifest: text to a plan.

use std::collections::BTreeMap;

use crate::limits::MANIFEST_PROBLEMS;
use crate::pipeline::{
    self, ExistingTopic, Flow, KnownComponent, PipelinePlan, Severity, StepKind, World,
    component_paths,
};
use crate::types::{PipelineName, TopicName};

/// Text that may be a manifest, in a world that has something of everything.
pub(super) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let is = |severity| move |problem: &pipeline::Problem| problem.severity == severity;
    match pipeline::check("m.toml", text, &world(text)) {
        Ok((plan, warnings)) => {
            assert!(warnings.iter().all(is(Severity::Warning)), "{warnings:?}");
            assert!(!plan.pipelines.is_empty() || !plan.topics.is_empty() || !text.is_empty());
            for pipeline in &plan.pipelines {
                let flow = pipeline.flow();
                assert!(!flow.sources.is_empty());
                assert!(flow.sources.iter().all(|source| !flow.targets.contains(source)));
                let json = serde_json::to_vec(pipeline).unwrap_or_default();
                let read: Result<PipelinePlan, _> = serde_json::from_slice(&json);
                assert_eq!(read.ok().as_ref(), Some(pipeline), "as it is stored");
            }
        }
        Err(problems) => {
            assert!(problems.iter().any(is(Severity::Error)), "{problems:?}");
            assert!(problems.len() <= MANIFEST_PROBLEMS + 1, "{} problems", problems.len());
            for problem in &problems {
                assert!(problem.to_string().contains("m.toml"), "{problem}");
            }
        }
    }
}

/// Topics "a" and "b", of which a pipeline moves records from the one to the other; every
/// component is there, of a kind that its path says.
fn world(text: &str) -> World {
    let topic = |name| TopicName::new(name).ok();
    let mut topics = BTreeMap::new();
    for (name, partitions) in [("a", 1), ("b", 3)] {
        let existing = ExistingTopic { partitions, ..ExistingTopic::default() };
        topics.extend(topic(name).map(|name| (name, existing)));
    }
    let kind = |path: &str| match path.len() % 5 {
        0 => Ok(Some(StepKind::Filter)),
        1 => Ok(Some(StepKind::Transform)),
        2 => Ok(Some(StepKind::Route)),
        3 => Ok(None),
        _ => Err("no component".to_owned()),
    };
    let components = component_paths(text).into_iter().map(|path| {
        let wasi_imports =
            if path.len() % 7 == 0 { vec!["wasi:random/random".to_owned()] } else { Vec::new() };
        let known = kind(&path).map(|kind| KnownComponent { kind, wasi_imports });
        (path, known)
    });
    let deployed = PipelineName::new("p").into_iter().map(|pipeline| Flow {
        pipeline,
        sources: topic("a").into_iter().collect(),
        targets: topic("b").into_iter().collect(),
    });
    let (components, deployed) = (components.collect(), deployed.collect());
    World { topics, components, deployed, ..World::default() }
}
