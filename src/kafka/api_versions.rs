//! ApiVersions: which APIs the broker speaks, in which versions (KIP-35, KIP-511, KIP-584).

use super::api::ApiKey;
use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::header::{RequestHeader, encode_response};
use super::message::message;
use super::wire::Str;
use super::wire::WireError;
use super::writer::Segments;

message! {
    /// Asks which APIs and versions the broker speaks.
    pub struct ApiVersionsRequest {
        client_software_name: Str [3.., ignorable],
        client_software_version: Str [3.., ignorable],
    }

    /// The broker's APIs and features.
    pub struct ApiVersionsResponse {
        error_code: ErrorCode,
        api_keys: Vec<ApiVersion>,
        throttle_time_ms: i32 [1.., ignorable],
        supported_features: Vec<SupportedFeatureKey> [3.., tag 0, ignorable],
        finalized_features_epoch: i64 [3.., tag 1, ignorable, default -1],
        finalized_features: Vec<FinalizedFeatureKey> [3.., tag 2, ignorable],
        zk_migration_ready: bool [3.., tag 3, ignorable, default false],
    }

    /// One API.
    pub struct ApiVersion {
        api_key: i16,
        min_version: i16,
        max_version: i16,
    }

    /// A feature that the broker could have.
    pub struct SupportedFeatureKey {
        name: Str,
        min_version: i16,
        max_version: i16,
    }

    /// A feature that the cluster has settled on.
    pub struct FinalizedFeatureKey {
        name: Str,
        max_version_level: i16,
        min_version_level: i16,
    }
}

fn entry(api: ApiKey) -> ApiVersion {
    let versions = api.advertised();
    ApiVersion { api_key: api.key(), min_version: *versions.start(), max_version: *versions.end() }
}

pub(super) async fn answer(caller: Caller<'_>, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let names = [&request.client_software_name, &request.client_software_version];
    if caller.version >= 3 && !names.into_iter().all(|name| is_software_name(name)) {
        return ApiVersionsResponse { error_code: ErrorCode::InvalidRequest, ..Default::default() };
    }
    let api_keys = ApiKey::ALL.iter().copied().map(entry).collect();
    // No features: `transaction.version` would promise transactions of KIP-890.
    ApiVersionsResponse { api_keys, finalized_features_epoch: 0, ..Default::default() }
}

/// The answer to a version that we do not speak: version 0, and what we do speak (KIP-511).
pub(super) fn unsupported(header: &RequestHeader) -> Result<Segments, WireError> {
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion,
        api_keys: vec![entry(ApiKey::ApiVersions)],
        ..Default::default()
    };
    encode_response(&response, 0, header.correlation_id)
}

/// KIP-511: letters and digits, in between also `-` and `.`.
fn is_software_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.chars().all(inner) && outer(name.chars().next()) && outer(name.chars().next_back())
}
