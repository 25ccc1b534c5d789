//! Settings beyond those of single topics: what clients have altered for the broker or for a group.
//! Those that are a topic's default act on every topic that does not say otherwise; the others are
//! kept and told, no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use super::alteration::Alteration;
use super::broker_settings::{
    TOPIC_SETTING_NOTES, TopicSettingNote, ValueType, broker_setting, group_setting,
};
use super::committer::Committer;
use super::config::DefaultRetention;
use super::settings::{SettingError, check_setting};
use super::topics::TopicError;
use super::{Broker, Shared};
use crate::limits::CONFIGURED_GROUPS;
use crate::storage::{SettingsKey, SettingsRow};
use crate::types::GroupId;

/// Whom altered settings are for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigScope {
    /// Every broker of the cluster; there is one.
    EveryBroker,
    /// This broker, before what is said for every one.
    ThisBroker,
    /// A consumer group.
    Group(GroupId),
}

/// All settings beyond those of topics.
#[derive(Debug, Clone, Default)]
pub struct Configs {
    altered: BTreeMap<ConfigScope, BTreeMap<String, String>>,
}

/// Defaults of topics that are not Kafka's, by the topic's setting.
pub(super) type TopicDefaults = BTreeMap<String, String>;

impl Configs {
    /// What was altered of a setting.
    pub fn altered(&self, scope: &ConfigScope, name: &str) -> Option<&str> {
        self.altered.get(scope)?.get(name).map(String::as_str)
    }

    /// For whom something was altered.
    pub fn scopes(&self) -> impl Iterator<Item = &ConfigScope> {
        self.altered.keys()
    }

    pub(super) fn from_rows(rows: Vec<SettingsRow>) -> Self {
        let scoped = rows.into_iter().map(|(key, settings)| (ConfigScope::of(key), settings));
        Self { altered: scoped.collect() }
    }

    /// What has been altered since `before`, by scope; nothing set any more is empty.
    pub(super) fn changes_since(&self, before: &Self) -> Vec<SettingsRow> {
        let scopes: BTreeSet<_> = self.altered.keys().chain(before.altered.keys()).collect();
        let changed =
            scopes.into_iter().filter(|scope| self.altered.get(scope) != before.altered.get(scope));
        let now = |scope: &ConfigScope| self.altered.get(scope).cloned().unwrap_or_default();
        changed.map(|scope| (scope.key(), now(scope))).collect()
    }

    /// What topics have that say nothing themselves, where it is not Kafka's default.
    pub(super) fn topic_defaults(&self, retention: DefaultRetention) -> TopicDefaults {
        let DefaultRetention { ms, bytes } = retention;
        let bytes = bytes.map_or("-1".to_owned(), |bytes| bytes.to_string());
        let mut defaults = TopicDefaults::from([
            ("retention.ms".to_owned(), ms.unwrap_or(-1).to_string()),
            ("retention.bytes".to_owned(), bytes),
        ]);
        for TopicSettingNote { name, synonym, .. } in TOPIC_SETTING_NOTES.iter() {
            let value = self.altered(&ConfigScope::ThisBroker, synonym);
            let value = value.or_else(|| self.altered(&ConfigScope::EveryBroker, synonym));
            if let Some(value) = value {
                defaults.insert((*name).to_owned(), value.to_owned());
            }
        }
        defaults
    }

    /// The settings of a scope after a change, each one checked.
    fn changed(
        &self,
        scope: &ConfigScope,
        alteration: &Alteration,
    ) -> Result<BTreeMap<String, String>, TopicError> {
        let groups = self.altered.keys().filter(|scope| matches!(scope, ConfigScope::Group(_)));
        let before = self.altered.get(scope);
        if before.is_none()
            && matches!(scope, ConfigScope::Group(_))
            && groups.count() >= CONFIGURED_GROUPS
        {
            return Err(TopicError::TooMany);
        }
        let after = alteration.apply_to(&before.cloned().unwrap_or_default(), |name| {
            let found = scope.setting_type(name)?;
            Ok((found.0 == ValueType::List, found.1.unwrap_or_default()))
        })?;
        let changed = |(name, value): &(&String, &String)| {
            before.and_then(|before| before.get(*name)) != Some(*value)
        };
        after.iter().filter(changed).try_for_each(|(name, value)| scope.check(name, value))?;
        Ok(after)
    }
}

impl ConfigScope {
    /// Type and default of one of its settings.
    fn setting_type(&self, name: &str) -> Result<(ValueType, Option<&'static str>), SettingError> {
        let found = match self {
            Self::EveryBroker | Self::ThisBroker => broker_setting(name),
            Self::Group(_) => group_setting(name),
        };
        let found = found.ok_or_else(|| SettingError::Unknown { name: name.to_owned() })?;
        if !found.is_dynamic {
            return Err(SettingError::Fixed { name: name.to_owned() });
        }
        Ok((found.value_type, found.default))
    }

    fn check(&self, name: &str, value: &str) -> Result<(), SettingError> {
        let (value_type, _) = self.setting_type(name)?;
        value_type.check(value).map_err(|expected| SettingError::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            expected: expected.to_owned(),
        })?;
        // A default of topics must be a value that a topic can have.
        let topic = TOPIC_SETTING_NOTES.iter().find(|note| note.synonym == name);
        match (self, topic) {
            (Self::EveryBroker | Self::ThisBroker, Some(topic)) => check_setting(topic.name, value),
            _ => Ok(()),
        }
    }

    fn key(&self) -> SettingsKey {
        match self {
            Self::EveryBroker => SettingsKey::EveryBroker,
            Self::ThisBroker => SettingsKey::ThisBroker,
            Self::Group(group) => SettingsKey::Group(group.clone()),
        }
    }

    fn of(key: SettingsKey) -> Self {
        match key {
            SettingsKey::EveryBroker => Self::EveryBroker,
            SettingsKey::ThisBroker => Self::ThisBroker,
            SettingsKey::Group(group) => Self::Group(group),
        }
    }
}

impl Broker {
    /// All settings beyond those of topics, as they are now.
    pub fn configs(&self) -> Arc<Configs> {
        self.shared.configs()
    }

    /// Says whether settings could be changed, and changes nothing.
    pub fn check_settings_of(
        &self,
        scope: &ConfigScope,
        alteration: &Alteration,
    ) -> Result<(), TopicError> {
        self.configs().changed(scope, alteration).map(drop)
    }

    /// Changes settings beyond those of topics, whole or not at all. Durable when it returns.
    pub async fn alter_settings_of(
        &self,
        scope: ConfigScope,
        alteration: Alteration,
    ) -> Result<(), TopicError> {
        self.admin(move |committer| committer.alter_settings_of(scope, &alteration))
            .await
            .unwrap_or(Err(TopicError::Stopped))
    }
}

impl Committer {
    /// Changes settings beyond those of topics. Durable and visible when it returns.
    pub fn alter_settings_of(
        &mut self,
        scope: ConfigScope,
        alteration: &Alteration,
    ) -> Result<(), TopicError> {
        let configs = self.shared.configs();
        let settings = configs.changed(&scope, alteration)?;
        let key = scope.key();
        self.admin(|store| store.put_settings(&key, &settings)).map_err(TopicError::Storage)?;
        let mut configs = Configs::clone(&configs);
        if settings.is_empty() {
            configs.altered.remove(&scope);
        } else {
            configs.altered.insert(scope, settings);
        }
        self.shared.publish_configs(configs);
        Ok(())
    }
}

impl Shared {
    pub(super) fn configs(&self) -> Arc<Configs> {
        Arc::clone(&self.configs.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn publish_configs(&self, configs: Configs) {
        let defaults = Arc::new(configs.topic_defaults(self.config.retention));
        *self.configs.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(configs);
        self.topics_mut().set_defaults(&defaults);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::SettingChange;
    use super::super::world::World;
    use super::*;

    fn set(name: &str, value: &str) -> Alteration {
        let change = SettingChange::Set(value.to_owned());
        Alteration::Change(vec![(name.to_owned(), change)])
    }

    fn retention(world: &World) -> Option<i64> {
        world.broker.topic("t").unwrap().config().retention_ms
    }

    #[test]
    fn what_is_said_nearer_to_a_topic_holds() {
        let mut world = World::new(1);
        assert_eq!(retention(&world), Some(604_800_000));
        for (scope, ms) in [(ConfigScope::EveryBroker, 2_000), (ConfigScope::ThisBroker, 3_000)] {
            let alteration = set("log.retention.ms", &ms.to_string());
            world.committer.alter_settings_of(scope, &alteration).unwrap();
            assert_eq!(retention(&world), Some(ms));
        }
        world.committer.alter_topic(world.topic.id(), &set("retention.ms", "4000")).unwrap();
        assert_eq!(retention(&world), Some(4_000));
    }

    #[test]
    fn altered_settings_survive_and_go_back() {
        let mut world = World::new(1);
        let scope = ConfigScope::EveryBroker;
        let alteration = set("log.retention.ms", "-1");
        world.committer.alter_settings_of(scope.clone(), &alteration).unwrap();
        let group = ConfigScope::Group(GroupId::new("g").unwrap());
        let alteration = set("consumer.session.timeout.ms", "50000");
        world.committer.alter_settings_of(group.clone(), &alteration).unwrap();
        world.pass(Duration::from_secs(1));
        world.reopen();
        assert_eq!(retention(&world), None);
        let configs = world.broker.configs();
        assert_eq!(configs.altered(&group, "consumer.session.timeout.ms"), Some("50000"));
        let nothing = Alteration::Replace(BTreeMap::new());
        world.committer.alter_settings_of(scope, &nothing).unwrap();
        assert_eq!(retention(&world), Some(604_800_000));
        assert_eq!(world.broker.configs().scopes().count(), 1);
    }

    #[test]
    fn what_failed_was_not_altered() {
        let mut world = World::new(1);
        world.files.fail_at(world.files.operations());
        let alteration = set("log.retention.ms", "1000");
        let scope = ConfigScope::EveryBroker;
        let failed = world.committer.alter_settings_of(scope.clone(), &alteration).unwrap_err();
        assert!(matches!(failed, TopicError::Storage(_)), "{failed}");
        assert_eq!(retention(&world), Some(604_800_000));
        world.pass(Duration::from_millis(crate::limits::OUTAGE_MS));
        assert!(world.committer.maintain());
        world.reopen();
        assert_eq!(retention(&world), Some(604_800_000));
        world.committer.alter_settings_of(scope, &alteration).unwrap();
        assert_eq!(retention(&world), Some(1_000));
    }

    #[test]
    fn what_cannot_be_altered_is_refused() {
        let mut world = World::new(1);
        let mut refused = |name: &str, value: &str| {
            let alteration = set(name, value);
            world.committer.alter_settings_of(ConfigScope::ThisBroker, &alteration).unwrap_err()
        };
        let fixed = SettingError::Fixed { name: "node.id".to_owned() };
        assert_eq!(refused("node.id", "2"), TopicError::Setting(fixed));
        for (name, value) in [("made.up", "1"), ("log.retention.ms", "-2"), ("num.io.threads", "x")]
        {
            assert!(matches!(refused(name, value), TopicError::Setting(_)), "{name}={value}");
        }
    }
}
