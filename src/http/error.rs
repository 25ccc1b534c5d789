//! What a request that cannot be served is told: a status and `{error, problems?}`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::shapes::{ErrorView, ProblemView};
use crate::broker::{CommitError, ReadError, StorageError, TopicError};

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    body: ErrorView,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, error: impl ToString) -> Self {
        Self { status, body: ErrorView { error: error.to_string(), problems: Vec::new() } }
    }

    pub(super) fn bad_request(error: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(super) fn not_found(error: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    pub(super) fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "this path takes other methods")
    }

    pub(super) fn unknown_topic(name: &str) -> Self {
        Self::not_found(format!("unknown topic {name}"))
    }

    /// A manifest with mistakes.
    pub(super) fn problems(error: impl ToString, problems: Vec<ProblemView>) -> Self {
        let body = ErrorView { error: error.to_string(), problems };
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, body }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl From<TopicError> for ApiError {
    fn from(error: TopicError) -> Self {
        let status = match error {
            TopicError::Exists(_) | TopicError::Collides { .. } => StatusCode::CONFLICT,
            TopicError::Unknown(_) => StatusCode::NOT_FOUND,
            TopicError::Partitions { .. }
            | TopicError::NotMorePartitions { .. }
            | TopicError::Setting(_) => StatusCode::BAD_REQUEST,
            TopicError::TooMany => StatusCode::INSUFFICIENT_STORAGE,
            TopicError::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
            TopicError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error)
    }
}

impl From<CommitError> for ApiError {
    fn from(error: CommitError) -> Self {
        let status = match error {
            // The topic was deleted in between.
            CommitError::UnknownPartition(_) => StatusCode::NOT_FOUND,
            CommitError::OutOfOrderSequence { .. }
            | CommitError::InvalidProducerEpoch { .. }
            | CommitError::OffsetFenced { .. } => StatusCode::CONFLICT,
            CommitError::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
            CommitError::Stopped | CommitError::OffsetsFull => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error)
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let status = match error {
            ReadError::UnknownPartition(_) => StatusCode::NOT_FOUND,
            ReadError::OffsetOutOfRange { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            ReadError::Corrupt(_) | ReadError::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

/// A body as JSON of a known shape.
pub(super) fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| not_as_expected(&error))
}

/// A body that is no JSON, or of another shape.
pub(super) fn not_as_expected(error: &serde_json::Error) -> ApiError {
    ApiError::bad_request(format!("the body is not as expected: {error}"))
}
