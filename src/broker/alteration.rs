//! Changes of a topic's settings.

use std::collections::BTreeMap;

use super::settings::{SettingError, SettingKind, check_settings, find_setting};

/// What becomes of a topic's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alteration {
    /// These and no others are set from now on.
    Replace(BTreeMap<String, String>),
    /// One change after the other.
    Change(Vec<(String, SettingChange)>),
}

/// A change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingChange {
    /// This is its value.
    Set(String),
    /// It has its default again.
    Delete,
    /// These, separated by commas, are in the list as well.
    Append(String),
    /// These are no longer in the list.
    Subtract(String),
}

impl Alteration {
    /// The settings after the change, each one checked.
    pub(super) fn apply(
        &self,
        before: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, SettingError> {
        let after = self.apply_to(before, |name| {
            let setting = find_setting(name)?;
            let is_list = matches!(setting.kind, SettingKind::SomeOf(_) | SettingKind::Text);
            Ok((is_list, setting.default))
        })?;
        check_settings(&after)?;
        Ok(after)
    }

    /// The settings after the change, unchecked. `known` says of a setting whether it is a list
    /// and what its default is.
    pub(super) fn apply_to(
        &self,
        before: &BTreeMap<String, String>,
        known: impl Fn(&str) -> Result<(bool, &'static str), SettingError>,
    ) -> Result<BTreeMap<String, String>, SettingError> {
        let changes = match self {
            Self::Replace(settings) => return Ok(settings.clone()),
            Self::Change(changes) => changes,
        };
        let mut settings = before.clone();
        for (name, change) in changes {
            change.apply(name, &mut settings, &known)?;
        }
        Ok(settings)
    }
}

impl SettingChange {
    fn apply(
        &self,
        name: &str,
        settings: &mut BTreeMap<String, String>,
        known: impl Fn(&str) -> Result<(bool, &'static str), SettingError>,
    ) -> Result<(), SettingError> {
        let list = |settings: &BTreeMap<String, String>| -> Result<Vec<String>, SettingError> {
            let (is_list, default) = known(name)?;
            if !is_list {
                return Err(SettingError::NoList { name: name.to_owned() });
            }
            let value = settings.get(name).map_or(default, String::as_str);
            Ok(parts(value).map(ToOwned::to_owned).collect())
        };
        match self {
            Self::Set(value) => {
                settings.insert(name.to_owned(), value.clone());
            }
            Self::Delete => {
                settings.remove(name);
            }
            Self::Append(value) => {
                let mut list = list(settings)?;
                for part in parts(value) {
                    if !list.iter().any(|there| there == part) {
                        list.push(part.to_owned());
                    }
                }
                settings.insert(name.to_owned(), list.join(","));
            }
            Self::Subtract(value) => {
                let mut list = list(settings)?;
                list.retain(|there| !parts(value).any(|part| part == there));
                settings.insert(name.to_owned(), list.join(","));
            }
        }
        Ok(())
    }
}

fn parts(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::SettingChange::{Append, Delete, Set, Subtract};
    use super::*;

    fn map(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        settings.iter().map(owned).collect()
    }

    fn changed(
        before: &[(&str, &str)],
        changes: &[(&str, SettingChange)],
    ) -> Result<BTreeMap<String, String>, SettingError> {
        let owned = |(name, change): &(&str, SettingChange)| ((*name).to_owned(), change.clone());
        Alteration::Change(changes.iter().map(owned).collect()).apply(&map(before))
    }

    #[test]
    fn changes_come_one_after_the_other() {
        let changes = [
            ("retention.ms", Set("1".to_owned())),
            ("segment.ms", Delete),
            ("cleanup.policy", Append("compact,delete".to_owned())),
        ];
        let after = changed(&[("segment.ms", "5"), ("flush.ms", "6")], &changes).unwrap();
        let expected =
            [("retention.ms", "1"), ("flush.ms", "6"), ("cleanup.policy", "delete,compact")];
        assert_eq!(after, map(&expected));
        let changes = [("cleanup.policy", Subtract("delete".to_owned()))];
        let after = changed(&[("cleanup.policy", "delete,compact")], &changes).unwrap();
        assert_eq!(after, map(&[("cleanup.policy", "compact")]));
    }

    #[test]
    fn replacing_drops_what_is_not_named() {
        let replace = Alteration::Replace(map(&[("flush.ms", "6")]));
        assert_eq!(replace.apply(&map(&[("segment.ms", "5")])).unwrap(), map(&[("flush.ms", "6")]));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |name, change| changed(&[], &[(name, change)]).unwrap_err();
        let one = || "1".to_owned();
        let name = "retention.ms".to_owned();
        assert_eq!(refused("retention.ms", Append(one())), SettingError::NoList { name });
        let name = "made.up".to_owned();
        assert_eq!(refused("made.up", Subtract(one())), SettingError::Unknown { name });
        let wrong = refused("cleanup.policy", Append(one()));
        assert!(matches!(wrong, SettingError::Value { .. }), "{wrong}");
    }
}
