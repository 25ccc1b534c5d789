//! DescribeConfigs: what is configured, and where that comes from.

use std::collections::{BTreeMap, HashSet};

use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::service::{BrokerSetting, Context, NODE_ID};
use super::wire::Str;
use crate::broker::{Setting, SettingKind, TOPIC_SETTINGS};
use crate::limits::{FRAME_BYTES, OFFSET_METADATA_BYTES};

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

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// Where a value comes from, as the protocol numbers it.
pub(super) fn source(is_set: bool) -> i8 {
    if is_set { 1 } else { 5 }
}

/// Every topic setting with its value, and whether the topic sets it.
pub(super) fn topic_values(
    config: &BTreeMap<String, String>,
) -> impl Iterator<Item = (&'static str, String, bool)> {
    TOPIC_SETTINGS.iter().map(|setting| match config.get(setting.name) {
        Some(value) => (setting.name, value.clone(), true),
        None => (setting.name, setting.default.to_owned(), false),
    })
}

/// What has a configuration: each topic, and the one broker. Before version 1 the question was for
/// client metrics, which nobody configures here.
pub(super) async fn list_resources(
    caller: Caller<'_>,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    const KNOWN: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
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
    if wanted.contains(&TOPIC) {
        config_resources.extend(caller.context.broker.topics().iter().map(|topic| {
            let resource_name = Str::from(topic.name().as_str());
            ConfigResource { resource_name, resource_type: TOPIC }
        }));
    }
    for resource_type in [BROKER, BROKER_LOGGER] {
        if wanted.contains(&resource_type) {
            let resource_name = Str::from(NODE_ID.to_string());
            config_resources.push(ConfigResource { resource_name, resource_type });
        }
    }
    ListConfigResourcesResponse { config_resources, ..Default::default() }
}

pub(super) async fn describe(
    caller: Caller<'_>,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let synonyms = request.include_synonyms;
    let mut seen = HashSet::new();
    let once = |resource: &DescribeConfigsResource| {
        seen.insert((resource.resource_type, resource.resource_name.clone()))
    };
    let results = request.resources.into_iter().filter(once).map(|resource| {
        let DescribeConfigsResource { resource_type, resource_name, configuration_keys } = resource;
        let described = match resource_type {
            TOPIC => describe_topic(caller.context, &resource_name, synonyms),
            BROKER => describe_broker(caller.context, &resource_name),
            _ => Err((ErrorCode::InvalidRequest, "only topics and brokers are configured")),
        };
        let wanted = |config: &DescribeConfigsResourceResult| {
            configuration_keys.as_ref().is_none_or(|keys| keys.contains(&config.name))
        };
        let mut result =
            DescribeConfigsResult { resource_type, resource_name, ..Default::default() };
        match described {
            Ok(configs) => result.configs = configs.into_iter().filter(wanted).collect(),
            Err((code, message)) => {
                result.error_code = code;
                result.error_message = Some(Str::from_static(message));
            }
        }
        result
    });
    DescribeConfigsResponse { results: results.collect(), ..Default::default() }
}

type Described = Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, &'static str)>;

fn describe_topic(context: &Context, name: &str, synonyms: bool) -> Described {
    let Some(topic) = context.broker.topic(name) else {
        return Err((ErrorCode::UnknownTopicOrPartition, "this topic does not exist"));
    };
    let describe = |(setting, (name, value, is_set)): (&Setting, (&'static str, String, bool))| {
        let of_broker = set_by_broker(context, name).filter(|_| !is_set);
        let (synonym, value, config_source) = match of_broker {
            Some(setting) => (setting.name, Str::from(setting.value.clone()), 4),
            None => (name, Str::from(value), source(is_set)),
        };
        let synonym = DescribeConfigsSynonym {
            name: Str::from_static(synonym),
            value: Some(value.clone()),
            source: config_source,
        };
        DescribeConfigsResourceResult {
            name: Str::from_static(name),
            value: Some(value),
            config_source,
            synonyms: synonyms.then_some(synonym).into_iter().collect(),
            config_type: config_type(setting.kind),
            ..Default::default()
        }
    };
    Ok(TOPIC_SETTINGS.iter().zip(topic_values(topic.settings())).map(describe).collect())
}

/// What the broker was set to for topics that do not say so themselves.
fn set_by_broker<'a>(context: &'a Context, name: &str) -> Option<&'a BrokerSetting> {
    let of_broker = match name {
        "retention.bytes" => "log.retention.bytes",
        "retention.ms" => "log.retention.ms",
        _ => return None,
    };
    let settings = &context.options.settings;
    settings.iter().find(|setting| setting.name == of_broker && setting.is_set)
}

fn config_type(kind: SettingKind) -> i8 {
    match kind {
        SettingKind::Boolean => 1,
        SettingKind::OneOf(_) => 2,
        SettingKind::Int(_) => 3,
        SettingKind::Long(_) => 5,
        SettingKind::Ratio => 6,
        SettingKind::SomeOf(_) | SettingKind::Text => 7,
    }
}

/// What clients ask a broker for; all of it fixed while it runs.
fn describe_broker(context: &Context, name: &str) -> Described {
    if !name.is_empty() && name.parse() != Ok(NODE_ID) {
        return Err((ErrorCode::InvalidRequest, "there is no such broker"));
    }
    let setting = |name, value: String, config_type| DescribeConfigsResourceResult {
        name: Str::from_static(name),
        value: Some(Str::from(value)),
        read_only: true,
        config_source: 4,
        config_type,
        ..Default::default()
    };
    let mut described = vec![
        setting("broker.id", NODE_ID.to_string(), 3),
        setting("default.replication.factor", "1".to_owned(), 3),
        setting("node.id", NODE_ID.to_string(), 3),
        setting("offset.metadata.max.bytes", OFFSET_METADATA_BYTES.to_string(), 3),
        setting("socket.request.max.bytes", FRAME_BYTES.to_string(), 3),
    ];
    // What is set of this broker goes before what every broker says of itself.
    for BrokerSetting { name, value, is_set } in &context.options.settings {
        described.retain(|known| known.name != *name);
        let config_source = if *is_set { 4 } else { 5 };
        let config_type = match (*name, value.as_str()) {
            (_, "true" | "false") => 1,
            ("connections.max.idle.ms" | "log.retention.bytes" | "log.retention.ms", _)
            | ("queued.max.request.bytes", _) => 5,
            (_, value) if value.parse::<i64>().is_ok() => 3,
            _ => 2,
        };
        let set = setting(name, value.clone(), config_type);
        described.push(DescribeConfigsResourceResult { config_source, ..set });
    }
    described.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(described)
}
