//! ApiVersions: which APIs the broker speaks, in which versions (KIP-35, KIP-511, KIP-584).

use super::errors::ErrorCode;
use super::message::message;
use super::wire::Str;

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
