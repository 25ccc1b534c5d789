//! What each setting's value is and where it comes from, the nearest first.

use std::collections::BTreeMap;

use super::service::{Context, FixedSetting, NODE_ID};
use crate::broker::{
    BROKER_SETTINGS, BrokerSetting, ConfigScope, Configs, GROUP_SETTINGS, SettingKind,
    TOPIC_SETTING_NOTES, TOPIC_SETTINGS, ValueType,
};
use crate::types::GroupId;

// Where a value comes from, as the protocol numbers it.
const OF_TOPIC: i8 = 1;
const OF_THIS_BROKER: i8 = 2;
const OF_EVERY_BROKER: i8 = 3;
const FIXED: i8 = 4;
const DEFAULT: i8 = 5;
const OF_LOGGER: i8 = 6;
const OF_GROUP: i8 = 8;

/// A setting.
pub(super) struct Configured {
    pub(super) name: String,
    /// As the protocol numbers it.
    pub(super) value_type: i8,
    pub(super) is_read_only: bool,
    pub(super) is_sensitive: bool,
    /// What was said of it; the first holds.
    pub(super) values: Vec<Said>,
    pub(super) documentation: &'static str,
}

/// What was said of a setting, by some name.
pub(super) struct Said {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) source: i8,
    /// Clients that ask for synonyms are told; not a default that is only implied.
    pub(super) is_synonym: bool,
}

fn said(name: &str, value: &str, source: i8) -> Said {
    Said { name: name.to_owned(), value: Some(value.to_owned()), source, is_synonym: true }
}

/// Every setting of a topic.
pub(super) fn topic_values(context: &Context, own: &BTreeMap<String, String>) -> Vec<Configured> {
    let configs = context.broker.configs();
    let topic = TOPIC_SETTINGS.iter().zip(TOPIC_SETTING_NOTES.iter()).map(|(setting, note)| {
        let own = own.get(setting.name).map(|value| said(setting.name, value, OF_TOPIC));
        let mut values: Vec<Said> = own.into_iter().collect();
        let broker = BROKER_SETTINGS.iter().find(|broker| broker.name == note.synonym);
        values.extend(broker.into_iter().flat_map(|broker| broker_said(context, &configs, broker)));
        if broker.is_none_or(|broker| broker.default.is_none()) {
            let implied = said(setting.name, setting.default, DEFAULT);
            values.push(Said { is_synonym: false, ..implied });
        }
        Configured {
            name: setting.name.to_owned(),
            value_type: topic_type(setting.kind),
            is_read_only: false,
            is_sensitive: false,
            values,
            documentation: note.documentation,
        }
    });
    topic.collect()
}

/// What was said of a setting of the broker, by whoever runs it and by clients.
fn broker_said(context: &Context, configs: &Configs, setting: &BrokerSetting) -> Vec<Said> {
    let name = setting.name;
    let mut values = Vec::new();
    for (scope, source) in
        [(ConfigScope::ThisBroker, OF_THIS_BROKER), (ConfigScope::EveryBroker, OF_EVERY_BROKER)]
    {
        values.extend(configs.altered(&scope, name).map(|value| said(name, value, source)));
    }
    let fixed = fixed(context, name);
    values.extend(fixed.filter(|fixed| fixed.is_set).map(|f| said(name, &f.value, FIXED)));
    // Ours, where it is not Kafka's.
    let own_default = fixed.filter(|fixed| !fixed.is_set).map(|fixed| fixed.value.as_str());
    let default = setting.default.map(|default| own_default.unwrap_or(default));
    values.extend(default.map(|default| said(name, default, DEFAULT)));
    values
}

/// What whoever runs the broker has said.
fn fixed<'a>(context: &'a Context, name: &str) -> Option<&'a FixedSetting> {
    context.options.settings.iter().find(|setting| setting.name == name)
}

/// Every setting of the broker.
pub(super) fn broker_values(context: &Context, folder: &str) -> Vec<Configured> {
    let configs = context.broker.configs();
    let values = BROKER_SETTINGS.iter().map(|setting| {
        let mut values = broker_said(context, &configs, setting);
        if let Some(value) = of_this_node(context, folder, setting.name) {
            values.retain(|said| said.source != FIXED);
            values.insert(0, said(setting.name, &value, FIXED));
        }
        configured(setting, values)
    });
    values.collect()
}

/// What no flag says and yet is not Kafka's default.
fn of_this_node(context: &Context, folder: &str, name: &str) -> Option<String> {
    Some(match name {
        "advertised.listeners" | "listeners" => {
            format!("PLAINTEXT://{}:{}", context.host, context.port)
        }
        "broker.id" | "node.id" => NODE_ID.to_string(),
        "log.dirs" => folder.to_owned(),
        "process.roles" => "broker,controller".to_owned(),
        _ => return None,
    })
}

/// What was altered for every broker.
pub(super) fn every_broker_values(configs: &Configs) -> Vec<Configured> {
    let altered = BROKER_SETTINGS.iter().filter_map(|setting| {
        let value = configs.altered(&ConfigScope::EveryBroker, setting.name)?;
        Some(configured(setting, vec![said(setting.name, value, OF_EVERY_BROKER)]))
    });
    altered.collect()
}

/// Every setting of a group.
pub(super) fn group_values(context: &Context, group: GroupId) -> Vec<Configured> {
    let configs = context.broker.configs();
    let scope = ConfigScope::Group(group);
    let values = GROUP_SETTINGS.iter().map(|setting| {
        let name = setting.name;
        let own = configs.altered(&scope, name).map(|value| said(name, value, OF_GROUP));
        let fixed = fixed(context, setting.synonym).filter(|fixed| fixed.is_set);
        let fixed = fixed.map(|fixed| said(setting.synonym, &fixed.value, FIXED));
        let default = setting.default.map(|default| said(setting.synonym, default, DEFAULT));
        configured(setting, own.into_iter().chain(fixed).chain(default).collect())
    });
    values.collect()
}

/// There is one logger, and its level is fixed.
pub(super) fn logger_values() -> Vec<Configured> {
    let level = tracing::level_filters::LevelFilter::current().to_string().to_uppercase();
    let value = Said { is_synonym: false, ..said("root", &level, OF_LOGGER) };
    vec![Configured {
        name: "root".to_owned(),
        value_type: 0,
        is_read_only: true,
        is_sensitive: false,
        values: vec![value],
        documentation: "",
    }]
}

fn configured(setting: &BrokerSetting, values: Vec<Said>) -> Configured {
    Configured {
        name: setting.name.to_owned(),
        value_type: broker_type(setting.value_type),
        is_read_only: !setting.is_dynamic,
        is_sensitive: setting.value_type == ValueType::Password,
        values,
        documentation: setting.documentation,
    }
}

fn topic_type(kind: SettingKind) -> i8 {
    broker_type(match kind {
        SettingKind::Boolean => ValueType::Boolean,
        SettingKind::OneOf(_) => ValueType::String,
        SettingKind::Int(_) => ValueType::Int,
        SettingKind::Long(_) => ValueType::Long,
        SettingKind::Ratio => ValueType::Double,
        SettingKind::SomeOf(_) | SettingKind::Text => ValueType::List,
    })
}

fn broker_type(value_type: ValueType) -> i8 {
    match value_type {
        ValueType::Boolean => 1,
        ValueType::String => 2,
        ValueType::Int => 3,
        ValueType::Short => 4,
        ValueType::Long => 5,
        ValueType::Double => 6,
        ValueType::List => 7,
        ValueType::Class => 8,
        ValueType::Password => 9,
    }
}
