//! The settings of a topic: Kafka's names, types and defaults (Kafka 4.3, topic configuration).

use std::collections::BTreeMap;

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// "true" or "false".
    Boolean,
    /// A whole number of 32 bits, at least the given one.
    Int(i32),
    /// A whole number of 64 bits, at least the given one.
    Long(i64),
    /// A number from 0 to 1.
    Ratio,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Some of these, separated by commas.
    SomeOf(&'static [&'static str]),
    /// Any text.
    Text,
}

/// A setting of a topic.
#[derive(Debug)]
pub struct Setting {
    /// Kafka's name.
    pub name: &'static str,
    /// Kafka's default.
    pub default: &'static str,
    /// What it takes.
    pub kind: SettingKind,
}

use SettingKind::{Boolean, Int, Long, OneOf, Ratio, SomeOf, Text};

const MAX: &str = "9223372036854775807";

const fn setting(name: &'static str, default: &'static str, kind: SettingKind) -> Setting {
    Setting { name, default, kind }
}

/// Every setting, by name.
pub const TOPIC_SETTINGS: &[Setting] = &[
    setting("cleanup.policy", "delete", SomeOf(&["compact", "delete"])),
    setting("compression.gzip.level", "-1", Int(-1)),
    setting("compression.lz4.level", "9", Int(1)),
    setting(
        "compression.type",
        "producer",
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
    ),
    setting("compression.zstd.level", "3", Int(-131_072)),
    setting("delete.retention.ms", "86400000", Long(0)),
    setting("file.delete.delay.ms", "60000", Long(0)),
    setting("flush.messages", MAX, Long(1)),
    setting("flush.ms", MAX, Long(0)),
    setting("follower.replication.throttled.replicas", "", Text),
    setting("index.interval.bytes", "4096", Int(0)),
    setting("leader.replication.throttled.replicas", "", Text),
    setting("local.retention.bytes", "-2", Long(-2)),
    setting("local.retention.ms", "-2", Long(-2)),
    setting("max.compaction.lag.ms", MAX, Long(1)),
    setting("max.message.bytes", "1048588", Int(0)),
    setting("message.timestamp.after.max.ms", "3600000", Long(0)),
    setting("message.timestamp.before.max.ms", MAX, Long(0)),
    setting("message.timestamp.type", "CreateTime", OneOf(&["CreateTime", "LogAppendTime"])),
    setting("min.cleanable.dirty.ratio", "0.5", Ratio),
    setting("min.compaction.lag.ms", "0", Long(0)),
    setting("min.insync.replicas", "1", Int(1)),
    setting("preallocate", "false", Boolean),
    setting("remote.log.copy.disable", "false", Boolean),
    setting("remote.log.delete.on.disable", "false", Boolean),
    setting("remote.storage.enable", "false", Boolean),
    setting("retention.bytes", "-1", Long(i64::MIN)),
    setting("retention.ms", "604800000", Long(-1)),
    setting("segment.bytes", "1073741824", Int(1_048_576)),
    setting("segment.index.bytes", "10485760", Int(4)),
    setting("segment.jitter.ms", "0", Long(0)),
    setting("segment.ms", "604800000", Long(1)),
    setting("unclean.leader.election.enable", "false", Boolean),
];

/// Why a setting was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No such setting.
    #[error("unknown topic setting {name:?}")]
    Unknown {
        /// What was given.
        name: String,
    },
    /// A setting that is what it is while the broker runs.
    #[error("{name} cannot be changed while the broker runs")]
    Fixed {
        /// The setting.
        name: String,
    },
    /// A setting with one value, to which nothing can be added.
    #[error("topic setting {name} is not a list")]
    NoList {
        /// The setting.
        name: String,
    },
    /// A value that the setting does not take.
    #[error("invalid value {value:?} for topic setting {name}: expected {expected}")]
    Value {
        /// The setting.
        name: String,
        /// What was given.
        value: String,
        /// What it takes.
        expected: String,
    },
}

/// Checks the settings of a new topic.
pub(super) fn check_settings(config: &BTreeMap<String, String>) -> Result<(), SettingError> {
    config.iter().try_for_each(|(name, value)| check_setting(name, value))
}

/// The setting of this name.
pub(super) fn find_setting(name: &str) -> Result<&'static Setting, SettingError> {
    let found = TOPIC_SETTINGS.iter().find(|setting| setting.name == name);
    found.ok_or_else(|| SettingError::Unknown { name: name.to_owned() })
}

/// The default of a setting that there is.
pub(super) fn default_of(name: &str) -> &'static str {
    find_setting(name).map_or("", |setting| setting.default)
}

/// Says whether there is such a setting and it takes the value.
pub fn check_setting(name: &str, value: &str) -> Result<(), SettingError> {
    let setting = find_setting(name)?;
    let value = value.trim();
    let (good, expected) = match setting.kind {
        Boolean => (matches!(value, "true" | "false"), "true or false".to_owned()),
        Int(min) => (
            value.parse::<i32>().is_ok_and(|v| v >= min),
            format!("a whole number from {min} to {}", i32::MAX),
        ),
        Long(min) => (
            value.parse::<i64>().is_ok_and(|v| v >= min),
            format!("a whole number from {min} to {}", i64::MAX),
        ),
        Ratio => (
            value.parse::<f64>().is_ok_and(|v| (0.0..=1.0).contains(&v)),
            "a number from 0 to 1".to_owned(),
        ),
        OneOf(allowed) => (allowed.contains(&value), format!("one of {}", allowed.join(", "))),
        SomeOf(allowed) => (
            value.is_empty() || value.split(',').all(|part| allowed.contains(&part.trim())),
            format!("some of {}", allowed.join(", ")),
        ),
        Text => (true, String::new()),
    };
    if good {
        return Ok(());
    }
    Err(SettingError::Value { name: name.to_owned(), value: value.to_owned(), expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_one_that_the_setting_takes() {
        for setting in TOPIC_SETTINGS {
            check_setting(setting.name, setting.default).unwrap();
        }
    }

    #[test]
    fn settings_are_sorted_and_unique() {
        assert!(TOPIC_SETTINGS.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn wrong_values_are_named() {
        assert_eq!(
            check_setting("retention.m", "1"),
            Err(SettingError::Unknown { name: "retention.m".into() })
        );
        for (name, value) in [
            ("retention.ms", "-2"),
            ("retention.ms", "a week"),
            ("cleanup.policy", "delete,burn"),
            ("preallocate", "yes"),
            ("min.cleanable.dirty.ratio", "NaN"),
        ] {
            assert!(
                matches!(check_setting(name, value), Err(SettingError::Value { .. })),
                "{name}={value}"
            );
        }
    }
}
