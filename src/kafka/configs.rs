//! DescribeConfigs: what is configured, and where that comes from.

use super::errors::ErrorCode;
use super::message::message;
use super::wire::Str;

message! {
    /// Asks for configurations.
    pub struct DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource>,
        include_synonyms: bool [1.., default false],
        include_documentation: bool [3.., default false],
    }

    /// A topic (type 2) or broker (type 4). Null keys are all.
    pub struct DescribeConfigsResource {
        resource_type: i8,
        resource_name: Str,
        configuration_keys: Option<Vec<Str>> [nullable],
    }

    /// Configurations by resource.
    pub struct DescribeConfigsResponse {
        throttle_time_ms: i32,
        results: Vec<DescribeConfigsResult>,
    }

    /// Configurations of one resource.
    pub struct DescribeConfigsResult {
        error_code: ErrorCode,
        error_message: Option<Str> [nullable],
        resource_type: i8,
        resource_name: Str,
        configs: Vec<DescribeConfigsResourceResult>,
    }

    /// One configuration.
    pub struct DescribeConfigsResourceResult {
        name: Str,
        value: Option<Str> [nullable],
        read_only: bool,
        /// 1: topic; 4: static broker setting; 5: default.
        config_source: i8 [1.., ignorable, default -1],
        is_sensitive: bool,
        synonyms: Vec<DescribeConfigsSynonym> [1.., ignorable],
        /// 1: boolean; 2: string; 3: int; 5: long; 7: list.
        config_type: i8 [3.., ignorable, default 0],
        documentation: Option<Str> [3.., nullable, ignorable],
    }

    /// Where else the value could have come from.
    pub struct DescribeConfigsSynonym {
        name: Str,
        value: Option<Str> [nullable],
        source: i8,
    }
}
