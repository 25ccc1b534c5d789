//! What a declared message looks like in each version, as data: for the reader and writer of
//! `message.rs`, and for the test that holds the declarations against Kafka's schemas.

/// The version in which a message is read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub number: i16,
    /// Whether it has compact lengths and tagged fields (KIP-482).
    pub flexible: bool,
}

/// A range of versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The first.
    pub min: i16,
    /// The last; [`i16::MAX`] for an open end.
    pub max: i16,
}

impl Versions {
    /// Every version.
    pub const ALL: Self = Self { min: 0, max: i16::MAX };
    /// No version.
    pub const NONE: Self = Self { min: 1, max: 0 };

    /// Whether `version` is one of them.
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

/// Type of a field, in the words of Kafka's schemas.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Int64,
    Uuid,
    String,
    Bytes,
    Records,
    Array(&'static Type),
    Struct(&'static Schema),
}

/// A structure as declared.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// Its name; Kafka's.
    pub name: &'static str,
    /// Its fields, in wire order.
    pub fields: &'static [Field],
}

/// A field as declared.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name; Kafka's, in snake case.
    pub name: &'static str,
    /// Its type.
    pub ty: Type,
    /// The versions that have it.
    pub versions: Versions,
    /// The versions in which it may be null.
    pub nullable: Versions,
    /// Its tag, if it is a tagged field; it is then one in all its versions.
    pub tag: Option<u32>,
    /// Whether versions without it may drop its value.
    pub ignorable: bool,
    /// The default as written in the declaration; empty for the type's own.
    pub default: &'static str,
}

impl Field {
    pub(super) const fn new(name: &'static str, ty: Type) -> Self {
        let (versions, nullable) = (Versions::ALL, Versions::NONE);
        Self { name, ty, versions, nullable, tag: None, ignorable: false, default: "" }
    }

    pub(super) const fn versions(self, min: i16, max: i16) -> Self {
        Self { versions: Versions { min, max }, ..self }
    }

    pub(super) const fn nullable(self, min: i16, max: i16) -> Self {
        Self { nullable: Versions { min, max }, ..self }
    }

    pub(super) const fn tag(self, tag: u32) -> Self {
        Self { tag: Some(tag), ..self }
    }

    pub(super) const fn ignorable(self) -> Self {
        Self { ignorable: true, ..self }
    }

    pub(super) const fn default(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    /// Whether it stands among the untagged fields of this version.
    pub(super) const fn is_plain(&self, version: Version) -> bool {
        self.tag.is_none() && self.versions.contains(version.number)
    }
}
