//! The settings of a broker and of groups, and what is said of those of topics: Kafka 4.3's names,
//! types, defaults and first sentences, from tables beside this file.

use std::sync::LazyLock;

/// What a setting's value is, in Kafka's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ValueType {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

/// A setting of a broker or a group.
#[derive(Debug)]
pub struct BrokerSetting {
    /// Kafka's name.
    pub name: &'static str,
    /// What it takes.
    pub value_type: ValueType,
    /// Kafka lets clients alter it.
    pub is_dynamic: bool,
    /// For a group's: the broker's setting with its default, or nothing.
    pub synonym: &'static str,
    /// Kafka's default; `None` for no value.
    pub default: Option<&'static str>,
    /// What it is for.
    pub documentation: &'static str,
}

/// What there is to say of a topic's setting.
#[derive(Debug)]
pub struct TopicSettingNote {
    /// Its name.
    pub name: &'static str,
    /// The broker's setting that is its default, or nothing.
    pub synonym: &'static str,
    /// What it is for.
    pub documentation: &'static str,
}

/// Every setting of a broker, by name.
pub static BROKER_SETTINGS: LazyLock<Vec<BrokerSetting>> = LazyLock::new(|| {
    let row = |[name, value_type, change, default, documentation]: [&'static str; 5]| {
        let (is_dynamic, synonym) = (change == "dynamic", "");
        setting(name, value_type, is_dynamic, synonym, default, documentation)
    };
    rows(include_str!("broker-settings.tsv")).map(row).collect()
});

/// Every setting of a group, by name.
pub static GROUP_SETTINGS: LazyLock<Vec<BrokerSetting>> = LazyLock::new(|| {
    let row = |[name, value_type, synonym, default, documentation]: [&'static str; 5]| {
        setting(name, value_type, true, synonym, default, documentation)
    };
    rows(include_str!("group-settings.tsv")).map(row).collect()
});

/// One note a setting of topics, by name.
pub static TOPIC_SETTING_NOTES: LazyLock<Vec<TopicSettingNote>> = LazyLock::new(|| {
    let row = |[name, synonym, documentation]: [&'static str; 3]| TopicSettingNote {
        name,
        synonym,
        documentation,
    };
    rows(include_str!("topic-settings.tsv")).map(row).collect()
});

fn setting(
    name: &'static str,
    value_type: &str,
    is_dynamic: bool,
    synonym: &'static str,
    default: &'static str,
    documentation: &'static str,
) -> BrokerSetting {
    let value_type = match value_type {
        "boolean" => ValueType::Boolean,
        "int" => ValueType::Int,
        "short" => ValueType::Short,
        "long" => ValueType::Long,
        "double" => ValueType::Double,
        "list" => ValueType::List,
        "class" => ValueType::Class,
        "password" => ValueType::Password,
        _ => ValueType::String,
    };
    let default = (default != "null").then_some(default);
    BrokerSetting { name, value_type, is_dynamic, synonym, default, documentation }
}

/// A row a line, its fields separated by tabs; a missing field is empty.
fn rows<const N: usize>(table: &'static str) -> impl Iterator<Item = [&'static str; N]> {
    table.lines().map(|line| {
        let mut fields = line.splitn(N, '\t');
        std::array::from_fn(|_| fields.next().unwrap_or_default())
    })
}

impl ValueType {
    /// Says whether the text is such a value.
    pub(super) fn check(self, value: &str) -> Result<(), &'static str> {
        let value = value.trim();
        let (good, expected) = match self {
            Self::Boolean => (matches!(value, "true" | "false"), "true or false"),
            Self::Int => (value.parse::<i32>().is_ok(), "a whole number of 32 bits"),
            Self::Short => (value.parse::<i16>().is_ok(), "a whole number of 16 bits"),
            Self::Long => (value.parse::<i64>().is_ok(), "a whole number of 64 bits"),
            Self::Double => (value.parse::<f64>().is_ok_and(f64::is_finite), "a number"),
            Self::String | Self::List | Self::Class | Self::Password => (true, ""),
        };
        if good { Ok(()) } else { Err(expected) }
    }
}

/// The broker's setting of this name.
pub(super) fn broker_setting(name: &str) -> Option<&'static BrokerSetting> {
    find(&BROKER_SETTINGS, name)
}

/// The setting of groups of this name.
pub(super) fn group_setting(name: &str) -> Option<&'static BrokerSetting> {
    find(&GROUP_SETTINGS, name)
}

fn find(table: &'static [BrokerSetting], name: &str) -> Option<&'static BrokerSetting> {
    let at = table.binary_search_by_key(&name, |setting| setting.name).ok()?;
    table.get(at)
}

#[cfg(test)]
mod tests {
    use super::super::settings::TOPIC_SETTINGS;
    use super::*;

    #[test]
    fn the_tables_are_whole_and_in_order() {
        assert_eq!((BROKER_SETTINGS.len(), GROUP_SETTINGS.len()), (340, 17));
        for table in [&BROKER_SETTINGS, &GROUP_SETTINGS] {
            assert!(table.is_sorted_by(|a, b| a.name < b.name));
            for setting in table.iter() {
                assert!(!setting.documentation.is_empty(), "{setting:?}");
                let default = setting.default.map_or(Ok(()), |text| setting.value_type.check(text));
                assert_eq!(default, Ok(()), "{setting:?}");
            }
        }
        assert_eq!(broker_setting("log.retention.ms").unwrap().default, None);
        assert_eq!(broker_setting("authorizer.class.name").unwrap().default, Some(""));
        assert!(broker_setting("made.up").is_none());
    }

    #[test]
    fn each_topic_setting_has_its_note() {
        let names = TOPIC_SETTINGS.iter().map(|setting| setting.name);
        assert!(names.eq(TOPIC_SETTING_NOTES.iter().map(|note| note.name)));
        for TopicSettingNote { synonym, documentation, .. } in TOPIC_SETTING_NOTES.iter() {
            assert!(synonym.is_empty() || broker_setting(synonym).is_some(), "{synonym}");
            assert!(!documentation.is_empty());
        }
    }
}
