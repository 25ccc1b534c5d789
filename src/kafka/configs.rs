//! DescribeConfigs: what is configured, and where that comes from; ListConfigResources: for what.

use std::collections::HashSet;

use super::config_values::{
    Configured, broker_values, every_broker_values, group_values, logger_values, topic_values,
};
use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::service::{Context, NODE_ID};
use super::wire::Str;
use crate::broker::ConfigScope;
use crate::types::{GroupId, TopicName};

message! {
    /// Asks for configurations.
    pub struct DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource>,
        include_synonyms: bool [1.., default false],
        include_documentation: bool [3.., default false],
    }

    /// A topic (type 2), broker (4), its loggers (8), client metrics (16) or a group (32). Without
    /// keys, all.
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
        /// 1: topic; 2: altered for the broker; 3: altered for every broker; 4: set where the
        /// broker is run; 5: default; 6: logger; 8: group.
        config_source: i8 [1.., ignorable, default -1],
        is_sensitive: bool,
        synonyms: Vec<DescribeConfigsSynonym> [1.., ignorable],
        /// 1: boolean; 2: string; 3: int; 4: short; 5: long; 6: double; 7: list; 8: class;
        /// 9: password.
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

message! {
    /// Asks which resources there are to configure; no types are all.
    pub struct ListConfigResourcesRequest {
        resource_types: Vec<i8> [1..],
    }

    /// The resources.
    pub struct ListConfigResourcesResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        config_resources: Vec<ConfigResource>,
    }

    /// A resource.
    pub struct ConfigResource {
        resource_name: Str,
        resource_type: i8 [1.., ignorable, default 16],
    }
}

pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
pub(super) const BROKER_LOGGER: i8 = 8;
pub(super) const CLIENT_METRICS: i8 = 16;
pub(super) const GROUP: i8 = 32;

/// What has a configuration: each topic, the one broker, and what has altered settings. Before
/// version 1 the question was for client metrics, which nobody configures here.
pub(super) async fn list_resources(
    caller: Caller<'_>,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    const KNOWN: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    let broker = &caller.context.broker;
    let wanted = match caller.version {
        0 => vec![CLIENT_METRICS],
        _ if request.resource_types.is_empty() => KNOWN.to_vec(),
        _ => request.resource_types,
    };
    if !wanted.iter().all(|wanted| KNOWN.contains(wanted)) {
        let error_code = ErrorCode::UnsupportedVersion;
        return ListConfigResourcesResponse { error_code, ..Default::default() };
    }
    let mut config_resources = Vec::new();
    let mut add = |resource_type: i8, names: Vec<Str>| {
        if wanted.contains(&resource_type) {
            let named = |resource_name| ConfigResource { resource_name, resource_type };
            config_resources.extend(names.into_iter().map(named));
        }
    };
    add(TOPIC, broker.topics().iter().map(|topic| Str::from(topic.name().as_str())).collect());
    add(BROKER, vec![Str::from(NODE_ID.to_string())]);
    add(BROKER_LOGGER, vec![Str::from(NODE_ID.to_string())]);
    let configs = broker.configs();
    let groups = configs.scopes().filter_map(|scope| match scope {
        ConfigScope::Group(group) => Some(Str::from(group.as_str())),
        ConfigScope::EveryBroker | ConfigScope::ThisBroker => None,
    });
    add(GROUP, groups.collect());
    ListConfigResourcesResponse { config_resources, ..Default::default() }
}

pub(super) async fn describe(
    caller: Caller<'_>,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let DescribeConfigsRequest { resources, include_synonyms, include_documentation } = request;
    let mut seen = HashSet::new();
    let mut results = Vec::new();
    for resource in resources {
        let DescribeConfigsResource { resource_type, resource_name, configuration_keys } = resource;
        // Once each: an answer is far larger than its question.
        if !seen.insert((resource_type, resource_name.clone())) {
            continue;
        }
        let described = values(caller.context, resource_type, &resource_name).await;
        let wanted = |configured: &Configured| {
            let keys = configuration_keys.as_ref();
            keys.is_none_or(|keys| {
                keys.is_empty() || keys.iter().any(|key| key.as_str() == configured.name)
            })
        };
        let mut result =
            DescribeConfigsResult { resource_type, resource_name, ..Default::default() };
        match described {
            Ok(values) => {
                let values = values.into_iter().filter(wanted);
                let told = values.map(|v| tell(v, include_synonyms, include_documentation));
                result.configs = told.collect();
                // Empty, not null: as Kafka.
                result.error_message = Some(Str::default());
            }
            Err((code, message)) => {
                result.error_code = code;
                result.error_message = Some(Str::from_static(message));
            }
        }
        results.push(result);
    }
    DescribeConfigsResponse { results, ..Default::default() }
}

async fn values(
    context: &Context,
    resource_type: i8,
    name: &str,
) -> Result<Vec<Configured>, (ErrorCode, &'static str)> {
    let is_here = name.parse() == Ok(NODE_ID);
    match resource_type {
        TOPIC => match context.broker.topic(name) {
            Some(topic) => Ok(topic_values(context, topic.settings())),
            None if TopicName::new(name).is_err() => {
                Err((ErrorCode::InvalidTopicException, "this cannot be a topic"))
            }
            None => Err((ErrorCode::UnknownTopicOrPartition, "this topic does not exist")),
        },
        BROKER if name.is_empty() => Ok(every_broker_values(&context.broker.configs())),
        BROKER if is_here => {
            let place = context.broker.place().await;
            Ok(broker_values(context, &place.path))
        }
        BROKER_LOGGER if is_here => Ok(logger_values()),
        BROKER | BROKER_LOGGER => Err((ErrorCode::InvalidRequest, "there is no such broker")),
        CLIENT_METRICS if !name.is_empty() => Ok(Vec::new()),
        GROUP => match GroupId::new(name) {
            Ok(group) if !name.is_empty() => Ok(group_values(context, group)),
            _ => Err((ErrorCode::InvalidRequest, "this cannot be a group")),
        },
        _ => Err((ErrorCode::InvalidRequest, "there is nothing to configure")),
    }
}

fn tell(
    configured: Configured,
    synonyms: bool,
    documentation: bool,
) -> DescribeConfigsResourceResult {
    let Configured { name, value_type, is_read_only, is_sensitive, values, documentation: text } =
        configured;
    let (value, config_source) =
        values.first().map_or((None, 5), |said| (said.value.clone(), said.source));
    let told = |value: Option<String>| value.filter(|_| !is_sensitive).map(Str::from);
    let synonym = |said: super::config_values::Said| DescribeConfigsSynonym {
        name: Str::from(said.name),
        source: said.source,
        value: told(said.value),
    };
    let is_synonym = |said: &super::config_values::Said| synonyms && said.is_synonym;
    DescribeConfigsResourceResult {
        name: Str::from(name),
        value: told(value),
        read_only: is_read_only,
        config_source,
        is_sensitive,
        synonyms: values.into_iter().filter(is_synonym).map(synonym).collect(),
        config_type: value_type,
        documentation: documentation.then(|| Str::from_static(text)),
    }
}
