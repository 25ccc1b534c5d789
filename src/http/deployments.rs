//! Pipelines: how they are, and deploying them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;

use super::Api;
use super::binary::decode;
use super::error::{ApiError, parse};
use super::shapes::{
    CountsView, Deployment, DeploymentDone, PipelineChange, PipelinePartition, PipelineView,
    ProblemView,
};
use crate::limits::{FRAME_READ_MS, HTTP_BODY_BYTES};
use crate::pipeline::{
    Bundle, Change, Counts, DeployError, Deployed, PartitionStatus, PipelineState, PipelineStatus,
    Problem, Severity,
};
use crate::types::{Offset, PipelineName};

/// `GET /v1/pipelines`
pub(super) async fn pipelines(State(api): State<Api>) -> Json<Vec<PipelineView>> {
    Json(api.service.pipelines.status().into_iter().map(PipelineView::from).collect())
}

/// `DELETE /v1/pipelines/{pipeline}`
pub(super) async fn remove(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let unknown = || ApiError::not_found(format!("unknown pipeline {name}"));
    let pipeline = PipelineName::new(&name).map_err(|_| unknown())?;
    let found = api.service.pipelines.remove(&pipeline).await?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(unknown()) }
}

/// `POST /v1/deployments`
pub(super) async fn deploy(
    State(api): State<Api>,
    request: Request,
) -> Result<Json<DeploymentDone>, ApiError> {
    let failed = |error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error);
    let body = receive(request.into_body()).await?;
    let one = Arc::clone(&api.service.deploying).acquire_owned().await;
    let one = one.map_err(|error| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error))?;
    // Base64 of this size takes its time.
    let bundle = tokio::task::spawn_blocking(move || read(&body)).await.map_err(failed)??;
    let pipelines = Arc::clone(&api.service.pipelines);
    // A client that leaves ends this handler, but no pipeline is left half replaced.
    let deployment = tokio::spawn(async move {
        let _one = one;
        pipelines.deploy(bundle).await
    });
    Ok(Json(deployment.await.map_err(failed)??.into()))
}

async fn receive(body: Body) -> Result<Bytes, ApiError> {
    let time = Duration::from_millis(FRAME_READ_MS);
    match tokio::time::timeout(time, to_bytes(body, HTTP_BODY_BYTES)).await {
        Ok(body) => body.map_err(|error| ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error)),
        Err(_) => {
            let error = format!("the body took longer than {FRAME_READ_MS} ms");
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, error))
        }
    }
}

pub(super) fn read(body: &Bytes) -> Result<Bundle, ApiError> {
    let Deployment { file, manifest, components, unreadable } = parse(body)?;
    let components = components.into_iter().map(|(path, base64)| {
        let bad = |error| ApiError::bad_request(format!("component {path} is not base64: {error}"));
        let bytes = decode(&base64).map_err(bad)?;
        Ok((path, bytes))
    });
    let components = components.collect::<Result<_, ApiError>>()?;
    Ok(Bundle { manifest, file, components, unreadable })
}

impl From<DeployError> for ApiError {
    fn from(error: DeployError) -> Self {
        let status = match &error {
            DeployError::Problems(problems) => {
                let views = problems.iter().map(ProblemView::from).collect();
                return Self::problems("the manifest cannot be deployed", views);
            }
            DeployError::Create { .. } => StatusCode::CONFLICT,
            DeployError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            DeployError::Read { .. } | DeployError::Commit(_) | DeployError::Storage(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, error)
    }
}

impl From<&Problem> for ProblemView {
    fn from(problem: &Problem) -> Self {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        Self {
            severity: severity.to_owned(),
            file: problem.file.clone(),
            line: problem.line,
            column: problem.column,
            message: problem.message.clone(),
            rendered: problem.to_string(),
        }
    }
}

impl From<Deployed> for DeploymentDone {
    fn from(deployed: Deployed) -> Self {
        let pipelines = deployed.pipelines.into_iter().map(|(name, change)| {
            let change = match change {
                Change::Started => "started",
                Change::Replaced => "replaced",
                Change::Unchanged => "unchanged",
            };
            PipelineChange { name: name.to_string(), change: change.to_owned() }
        });
        Self {
            topics: deployed.topics.iter().map(ToString::to_string).collect(),
            pipelines: pipelines.collect(),
            warnings: deployed.warnings.iter().map(ProblemView::from).collect(),
        }
    }
}

impl From<PipelineStatus> for PipelineView {
    fn from(status: PipelineStatus) -> Self {
        let (state, reason) = match status.state {
            PipelineState::Running => ("running", None),
            PipelineState::Restarting { reason } => ("restarting", Some(reason)),
            PipelineState::Stopped => ("stopped", None),
            PipelineState::Failed { reason } => ("failed", Some(reason)),
        };
        let mut sources: Vec<String> = Vec::new();
        for partition in &status.partitions {
            if sources.last().is_none_or(|last| last != partition.topic.as_str()) {
                sources.push(partition.topic.to_string());
            }
        }
        Self {
            name: status.name.to_string(),
            state: state.to_owned(),
            reason,
            sources,
            outputs: status.targets.iter().map(ToString::to_string).collect(),
            partitions: status.partitions.into_iter().map(PipelinePartition::from).collect(),
        }
    }
}

impl From<PartitionStatus> for PipelinePartition {
    fn from(status: PartitionStatus) -> Self {
        Self {
            topic: status.topic.to_string(),
            partition: status.partition,
            checkpoint: status.checkpoint,
            high_watermark: status.high_watermark,
            lag: Offset::try_from(status.lag).unwrap_or(Offset::MAX),
            counts: status.counts.into(),
        }
    }
}

impl From<Counts> for CountsView {
    fn from(counts: Counts) -> Self {
        Self {
            input: counts.input,
            output: counts.output,
            dropped: counts.dropped,
            skipped: counts.skipped,
            dead_lettered: counts.dead_lettered,
            lost: counts.lost,
        }
    }
}
