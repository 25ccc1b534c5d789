//! A topic's settings as values: parsed once when they change, read on every produce.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::configs::TopicDefaults;
use super::settings::{check_setting, default_of};
use crate::record::{Codec, Compression, TimestampType};

/// What a topic's settings amount to, those left at their defaults included.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicConfig {
    /// How long records are kept, milliseconds; `None`: for ever. `retention.ms`
    pub retention_ms: Option<i64>,
    /// How many bytes a partition keeps; `None`: all. `retention.bytes`
    pub retention_bytes: Option<u64>,
    /// What becomes of old records. `cleanup.policy`
    pub cleanup_policy: CleanupPolicy,
    /// How long a tombstone stays after it was compacted, milliseconds. `delete.retention.ms`
    pub delete_retention_ms: i64,
    /// Least age of what is compacted, milliseconds. `min.compaction.lag.ms`
    pub min_compaction_lag_ms: i64,
    /// Age at which records are compacted in any case, milliseconds. `max.compaction.lag.ms`
    pub max_compaction_lag_ms: i64,
    /// Share of the log that must be new for it to be compacted, 0 to 1.
    /// `min.cleanable.dirty.ratio`
    pub min_cleanable_dirty_ratio: f64,
    /// Largest record batch, bytes. `max.message.bytes`
    pub max_message_bytes: usize,
    /// Whose time records carry. `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// How far a record's time may lie behind the broker's, milliseconds.
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max_ms: i64,
    /// How far it may lie ahead, milliseconds. `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// How batches are stored; `None`: as the producer sent them. `compression.type`
    pub compression: Option<Codec>,
    /// Age at which the active segment, which all topics share, is sealed if this topic has
    /// something in it to compact, milliseconds. `segment.ms`
    pub segment_ms: i64,
}

/// What becomes of old records; both at once is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// They are deleted by age and size.
    pub delete: bool,
    /// Of those with one key the last is kept.
    pub compact: bool,
}

impl TopicConfig {
    /// Parses settings. What is not set is as in `defaults`, else as in Kafka; so is what a newer
    /// or older version stored and this one does not take.
    pub(super) fn new(settings: &BTreeMap<String, String>, defaults: &TopicDefaults) -> Self {
        let values = Values { settings, defaults };
        Self {
            retention_ms: Some(values.number("retention.ms")).filter(|&ms| ms >= 0),
            retention_bytes: u64::try_from(values.number::<i64>("retention.bytes")).ok(),
            cleanup_policy: CleanupPolicy {
                delete: values.lists("cleanup.policy", "delete"),
                compact: values.lists("cleanup.policy", "compact"),
            },
            delete_retention_ms: values.number("delete.retention.ms"),
            min_compaction_lag_ms: values.number("min.compaction.lag.ms"),
            max_compaction_lag_ms: values.number("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio: values.number("min.cleanable.dirty.ratio"),
            max_message_bytes: values.number("max.message.bytes"),
            timestamp_type: match values.text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: values.number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: values.number("message.timestamp.after.max.ms"),
            compression: values.codec(),
            segment_ms: values.number("segment.ms"),
        }
    }
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self::new(&BTreeMap::new(), &TopicDefaults::new())
    }
}

struct Values<'a> {
    settings: &'a BTreeMap<String, String>,
    defaults: &'a TopicDefaults,
}

impl Values<'_> {
    fn text(&self, name: &str) -> &str {
        let said = [self.settings.get(name), self.defaults.get(name)].into_iter().flatten();
        let mut good = said.filter(|value| check_setting(name, value).is_ok());
        good.next().map_or_else(|| default_of(name), |value| value.trim())
    }

    fn number<T: FromStr + Default>(&self, name: &str) -> T {
        // What was checked parses; a test holds it for every default.
        self.text(name).parse().unwrap_or_default()
    }

    fn codec(&self) -> Option<Codec> {
        let (compression, level) = match self.text("compression.type") {
            "uncompressed" => (Compression::None, None),
            // -1 is gzip's own default.
            "gzip" => {
                let level = self.number("compression.gzip.level");
                (Compression::Gzip, Some(level).filter(|level| *level >= 0))
            }
            "snappy" => (Compression::Snappy, None),
            "lz4" => (Compression::Lz4, None),
            "zstd" => (Compression::Zstd, Some(self.number("compression.zstd.level"))),
            _ => return None,
        };
        Some(Codec { compression, level })
    }

    fn lists(&self, name: &str, wanted: &str) -> bool {
        self.text(name).split(',').any(|part| part.trim() == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: &[(&str, &str)]) -> TopicConfig {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        TopicConfig::new(&settings.iter().map(owned).collect(), &TopicDefaults::new())
    }

    #[test]
    fn without_settings_there_are_kafkas_defaults() {
        let expected = TopicConfig {
            retention_ms: Some(604_800_000),
            retention_bytes: None,
            cleanup_policy: CleanupPolicy { delete: true, compact: false },
            delete_retention_ms: 86_400_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compression: None,
            segment_ms: 604_800_000,
        };
        assert_eq!(TopicConfig::default(), expected);
    }

    #[test]
    fn settings_are_parsed() {
        let parsed = config(&[
            ("cleanup.policy", "compact, delete"),
            ("compression.type", "zstd"),
            ("message.timestamp.type", "LogAppendTime"),
            ("min.cleanable.dirty.ratio", "0.1"),
            ("retention.bytes", " 1000 "),
            ("retention.ms", "-1"),
        ]);
        let expected = TopicConfig {
            retention_ms: None,
            retention_bytes: Some(1_000),
            cleanup_policy: CleanupPolicy { delete: true, compact: true },
            min_cleanable_dirty_ratio: 0.1,
            timestamp_type: TimestampType::LogAppendTime,
            compression: Some(Codec { compression: Compression::Zstd, level: Some(3) }),
            ..TopicConfig::default()
        };
        assert_eq!(parsed, expected);
        let policy = config(&[("cleanup.policy", "compact")]).cleanup_policy;
        assert_eq!(policy, CleanupPolicy { delete: false, compact: true });
    }

    #[test]
    fn what_cannot_be_read_has_its_default() {
        let parsed = config(&[("retention.ms", "a week"), ("made.up", "1")]);
        assert_eq!(parsed, TopicConfig::default());
    }
}
