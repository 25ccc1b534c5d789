//! The words of the product as validated types. Validated once, at the border; inside, a value of
//! one of these types is the proof.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::{GROUP_ID_BYTES, NAME_BYTES};

/// Position of a record in its partition. The first is 0; each record's is one more than its
/// predecessor's.
pub type Offset = i64;

/// Index of a partition in its topic, from 0.
pub type PartitionIndex = i32;

/// Milliseconds since the Unix epoch.
pub type TimestampMs = i64;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("{what} must not be empty")]
    Empty {
        /// What the name is for, as "topic name".
        what: &'static str,
    },
    /// More bytes than allowed.
    #[error("{what} is {bytes} bytes long, at most {max} are allowed")]
    TooLong {
        /// What the name is for.
        what: &'static str,
        /// Length given.
        bytes: usize,
        /// Length allowed.
        max: usize,
    },
    /// A character outside the allowed set.
    #[error("{what} {name:?} contains {found:?}; allowed are letters, digits, '.', '_' and '-'")]
    Character {
        /// What the name is for.
        what: &'static str,
        /// The name given.
        name: String,
        /// The first offending character.
        found: char,
    },
    /// "." or "..".
    #[error("{what} must not be {name:?}")]
    Reserved {
        /// What the name is for.
        what: &'static str,
        /// The name given.
        name: String,
    },
}

/// Kafka's rule for topic names, which serves pipelines and plugins as well: they become folder
/// names, metric labels and header values.
fn check_name(what: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
    if name.len() > NAME_BYTES {
        return Err(NameError::TooLong { what, bytes: name.len(), max: NAME_BYTES });
    }
    if name == "." || name == ".." {
        return Err(NameError::Reserved { what, name: name.to_owned() });
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name.chars().find(|c| !allowed(c)) {
        Some(found) => Err(NameError::Character { what, name: name.to_owned(), found }),
        None => Ok(()),
    }
}

fn check_group_id(what: &'static str, name: &str) -> Result<(), NameError> {
    if name.len() > GROUP_ID_BYTES {
        return Err(NameError::TooLong { what, bytes: name.len(), max: GROUP_ID_BYTES });
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `name` and takes a copy of it.
            pub fn new(name: &str) -> Result<Self, NameError> {
                $check($what, name)?;
                Ok(Self(name.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(&name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.as_str().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name_type!(
    /// Name of a topic: 1 to 249 ASCII letters, digits, `.`, `_`, `-`, and neither `.` nor `..`.
    TopicName, "topic name", check_name
);
name_type!(
    /// Name of a pipeline; the same rule as for topics.
    PipelineName, "pipeline name", check_name
);
name_type!(
    /// Name of a plugin in a manifest; the same rule as for topics.
    PluginName, "plugin name", check_name
);
name_type!(
    /// Id of a consumer group: any text. Kafka allows an empty one, which can hold offsets but
    /// have no members.
    GroupId, "group id", check_group_id
);

/// A topic's identity, a random UUID (KIP-516). A topic deleted and made again under the same name
/// has another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicId(uuid::Uuid);

impl TopicId {
    /// A new id. Never nil, which on the wire means "no id".
    pub fn random() -> Self {
        Self(crate::random::id())
    }

    /// The id of these bytes, as on the wire and on disk.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    /// The bytes, as on the wire and on disk.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition in it.
    pub partition: PartitionIndex,
}

/// A producer's identity with its epoch (KIP-98). A batch without one has id -1 and epoch -1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProducerId {
    /// Assigned by InitProducerId; -1 for none.
    pub id: i64,
    /// Grows when the producer starts over; -1 for none.
    pub epoch: i16,
}

impl ProducerId {
    /// What a producer without idempotence sends.
    pub const NONE: Self = Self { id: -1, epoch: -1 };
}

/// Whose position an offset is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OffsetOwner {
    /// A consumer group's committed offset.
    Group(GroupId),
    /// A pipeline's checkpoint.
    Pipeline(PipelineName),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        for good in ["a", "quakes.flat", "A_b-C.9", "..."] {
            assert_eq!(TopicName::new(good).unwrap().as_str(), good);
        }
        assert_eq!(TopicName::new(""), Err(NameError::Empty { what: "topic name" }));
        assert!(matches!(TopicName::new(".."), Err(NameError::Reserved { .. })));
        assert!(matches!(TopicName::new("a/b"), Err(NameError::Character { found: '/', .. })));
        assert!(TopicName::new(&"x".repeat(249)).is_ok());
        assert!(matches!(
            TopicName::new(&"x".repeat(250)),
            Err(NameError::TooLong { bytes: 250, max: 249, .. })
        ));
    }

    #[test]
    fn group_ids_are_free_text() {
        assert!(GroupId::new("my group/ä").is_ok());
        assert!(GroupId::new("").is_ok());
        assert!(GroupId::new(&"x".repeat(GROUP_ID_BYTES + 1)).is_err());
    }

    #[test]
    fn topic_ids_keep_their_bytes() {
        let id = TopicId::random();
        assert_eq!(TopicId::from_bytes(id.to_bytes()), id);
    }
}
