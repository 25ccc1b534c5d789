//! AlterConfigs and IncrementalAlterConfigs. The two name their structures alike, so each has a
//! module of its own.

use std::collections::{HashMap, HashSet};

use super::configs::{BROKER, GROUP, TOPIC};
use super::dispatch::Caller;
use super::errors::ErrorCode;
use super::message::message;
use super::service::NODE_ID;
use super::wire::Str;
use crate::broker::{Alteration, Broker, ConfigScope, SettingChange, TopicError};
use crate::types::GroupId;

/// AlterConfigs: what is not named goes back to its default.
pub(super) mod whole {
    use super::{Str, message};

    message! {
        /// Resources and all their configurations.
        pub struct AlterConfigsRequest {
            resources: Vec<AlterConfigsResource>,
            validate_only: bool,
        }

        /// A topic (type 2) or broker (type 4).
        pub struct AlterConfigsResource {
            resource_type: i8,
            resource_name: Str,
            configs: Vec<AlterableConfig>,
        }

        /// A configuration.
        pub struct AlterableConfig {
            name: Str,
            value: Option<Str> [nullable],
        }
    }
}

/// IncrementalAlterConfigs (KIP-339): what is not named stays.
pub(super) mod incremental {
    use super::{Str, message};

    message! {
        /// Resources and changes of their configurations.
        pub struct IncrementalAlterConfigsRequest {
            resources: Vec<AlterConfigsResource>,
            validate_only: bool,
        }

        /// A topic (type 2) or broker (type 4).
        pub struct AlterConfigsResource {
            resource_type: i8,
            resource_name: Str,
            configs: Vec<AlterableConfig>,
        }

        /// A change of one configuration.
        pub struct AlterableConfig {
            name: Str,
            /// 0: set; 1: delete; 2: append; 3: subtract.
            config_operation: i8,
            value: Option<Str> [nullable],
        }
    }
}

message! {
    /// What became of each resource.
    pub struct AlterConfigsResponse {
        throttle_time_ms: i32,
        responses: Vec<AlterConfigsResourceResponse>,
    }

    /// What became of each resource.
    pub struct IncrementalAlterConfigsResponse {
        throttle_time_ms: i32,
        responses: Vec<AlterConfigsResourceResponse>,
    }

    /// What became of one resource.
    pub struct AlterConfigsResourceResponse {
        error_code: ErrorCode,
        error_message: Option<Str> [nullable],
        resource_type: i8,
        resource_name: Str,
    }
}

/// A resource and what is to become of its configurations, whichever API said so.
struct Asked {
    resource_type: i8,
    resource_name: Str,
    alteration: Result<Alteration, Refused>,
}

type Refused = (ErrorCode, String);

pub(super) async fn alter(
    caller: Caller<'_>,
    request: whole::AlterConfigsRequest,
) -> AlterConfigsResponse {
    let asked = request.resources.into_iter().map(|resource| Asked {
        alteration: replacement(&resource.configs),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
    });
    let responses = alter_all(&caller.context.broker, asked.collect(), request.validate_only).await;
    AlterConfigsResponse { responses, ..Default::default() }
}

pub(super) async fn alter_some(
    caller: Caller<'_>,
    request: incremental::IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let asked = request.resources.into_iter().map(|resource| Asked {
        alteration: changes(&resource.configs),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
    });
    let responses = alter_all(&caller.context.broker, asked.collect(), request.validate_only).await;
    IncrementalAlterConfigsResponse { responses, ..Default::default() }
}

fn replacement(configs: &[whole::AlterableConfig]) -> Result<Alteration, Refused> {
    unique(configs.iter().map(|config| &config.name))?;
    let settings = configs.iter().map(|config| {
        let value = config.value.as_ref().ok_or_else(|| no_value(&config.name))?;
        Ok((config.name.to_string(), value.trim().to_owned()))
    });
    Ok(Alteration::Replace(settings.collect::<Result<_, Refused>>()?))
}

fn changes(configs: &[incremental::AlterableConfig]) -> Result<Alteration, Refused> {
    unique(configs.iter().map(|config| &config.name))?;
    let changes = configs.iter().map(|config| {
        let incremental::AlterableConfig { name, config_operation, value } = config;
        let value =
            || value.as_ref().map(|value| value.trim().to_owned()).ok_or_else(|| no_value(name));
        let change = match config_operation {
            0 => SettingChange::Set(value()?),
            1 => SettingChange::Delete,
            2 => SettingChange::Append(value()?),
            3 => SettingChange::Subtract(value()?),
            other => {
                let message = format!("unknown operation {other} on {name}");
                return Err((ErrorCode::InvalidRequest, message));
            }
        };
        Ok((name.to_string(), change))
    });
    Ok(Alteration::Change(changes.collect::<Result<_, Refused>>()?))
}

fn no_value(name: &Str) -> Refused {
    (ErrorCode::InvalidRequest, format!("setting {name} has no value"))
}

fn unique<'a>(names: impl Iterator<Item = &'a Str>) -> Result<(), Refused> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            let message = format!("the request names setting {name} twice");
            return Err((ErrorCode::InvalidRequest, message));
        }
    }
    Ok(())
}

async fn alter_all(
    broker: &Broker,
    asked: Vec<Asked>,
    validate_only: bool,
) -> Vec<AlterConfigsResourceResponse> {
    let mut times: HashMap<(i8, Str), usize> = HashMap::new();
    for Asked { resource_type, resource_name, .. } in &asked {
        *times.entry((*resource_type, resource_name.clone())).or_default() += 1;
    }
    let mut responses = Vec::with_capacity(asked.len());
    for Asked { resource_type, resource_name, alteration } in asked {
        let resource = (resource_type, resource_name.clone());
        let altered = match alteration {
            _ if times.get(&resource).is_some_and(|&times| times > 1) => {
                let message = "the request names this resource more than once".to_owned();
                Err((ErrorCode::InvalidRequest, message))
            }
            Err(refused) => Err(refused),
            Ok(alteration) => alter_one(broker, resource, alteration, validate_only).await,
        };
        let (error_code, error_message) = match altered {
            Ok(()) => (ErrorCode::None, None),
            Err((code, message)) => (code, Some(Str::from(message))),
        };
        responses.push(AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type,
            resource_name,
        });
    }
    responses
}

async fn alter_one(
    broker: &Broker,
    (resource_type, name): (i8, Str),
    alteration: Alteration,
    validate_only: bool,
) -> Result<(), Refused> {
    let refused = |error: TopicError| (ErrorCode::from(&error), error.to_string());
    if resource_type != TOPIC {
        let scope = scope(resource_type, &name)?;
        if validate_only {
            return broker.check_settings_of(&scope, &alteration).map_err(refused);
        }
        return broker.alter_settings_of(scope, alteration).await.map_err(refused);
    }
    if name.is_empty() {
        return Err((ErrorCode::InvalidRequest, "a topic has a name".to_owned()));
    }
    let Some(topic) = broker.topic(&name) else {
        let message = "this topic does not exist".to_owned();
        return Err((ErrorCode::UnknownTopicOrPartition, message));
    };
    if validate_only {
        return broker.check_alteration(topic.id(), &alteration).map_err(refused);
    }
    broker.alter_topic(topic.id(), alteration).await.map(drop).map_err(refused)
}

fn scope(resource_type: i8, name: &str) -> Result<ConfigScope, Refused> {
    let invalid = |message: String| (ErrorCode::InvalidRequest, message);
    match resource_type {
        BROKER if name.is_empty() => Ok(ConfigScope::EveryBroker),
        BROKER if name.parse() == Ok(NODE_ID) => Ok(ConfigScope::ThisBroker),
        BROKER => Err(invalid(format!("this is broker {NODE_ID}, not {name:?}"))),
        GROUP if name.is_empty() => Err(invalid("a group has a name".to_owned())),
        GROUP => match GroupId::new(name) {
            Ok(group) => Ok(ConfigScope::Group(group)),
            Err(error) => Err(invalid(error.to_string())),
        },
        other => Err(invalid(format!("resources of type {other} cannot be configured"))),
    }
}
