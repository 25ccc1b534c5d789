//! Pipelines: a manifest read and checked, its steps run over source partitions, outputs and
//! checkpoint in one commit. Never names a Kafka message, a table of the storage or wasmtime.

mod batch;
mod cycle;
mod dead_letter;
mod deploy;
mod fields;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod graph;
mod manifest;
mod outcome;
mod pass;
mod placed;
mod problem;
mod runner;
mod step;
#[cfg(test)]
mod stepped;
mod supervisor;

pub use deploy::{Bundle, Change, DeployError, Deployed};
pub use graph::{
    ExistingTopic, Flow, KnownComponent, PipelinePlan, Plan, PlannedTopic, StepPlan, World, check,
    component_paths,
};
pub use manifest::{OnError, Retry, Start, StepKind, StepLimits};
pub use outcome::{Counts, RecordFailure};
pub use problem::{Problem, Severity};
pub use runner::PipelineState;
#[cfg(test)]
pub(crate) use stepped::Stepped;
pub use supervisor::{PartitionStatus, PipelineStatus, Supervisor};
