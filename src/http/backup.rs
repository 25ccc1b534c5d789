//! A copy of the whole store.

use std::path::PathBuf;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;

use super::Api;
use super::error::{ApiError, parse};
use super::shapes::{Backup, BackupDone};
use crate::broker::FolderError;

/// `POST /v1/backups`
pub(super) async fn make(
    State(api): State<Api>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<BackupDone>), ApiError> {
    let Backup { to } = parse(&body?)?;
    let copied = api.service.broker.back_up(PathBuf::from(to)).await?;
    let done = BackupDone { segments: copied.segments, bytes: copied.bytes };
    Ok((StatusCode::CREATED, Json(done)))
}

impl From<FolderError> for ApiError {
    fn from(error: FolderError) -> Self {
        let status = match error {
            FolderError::Relative(_) => StatusCode::BAD_REQUEST,
            FolderError::NotEmpty(_) => StatusCode::CONFLICT,
            FolderError::Outage(_) | FolderError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}
