//! How a message is declared, read and written: the [`message!`] macro over the primitives of
//! `wire.rs`. The declarations themselves stand beside their handlers, one API family a file, and
//! are held against Kafka's own schemas by `tests/it/kafka_schema.rs`.
//!
//! ```text
//! message! {
//!     /// The records of one topic.
//!     pub struct TopicProduceData {
//!         name: Str [0..=12, ignorable],                       // versions that have the field
//!         topic_id: Uuid [13.., ignorable],
//!         error_message: Option<Str> [8.., nullable],          // null wherever the field is
//!         rack: Option<Str> [1.., nullable 3..],
//!         throttle_time_ms: i32 [1.., ignorable, default 0],
//!         current_leader: LeaderIdAndEpoch [10.., tag 0],      // tagged field (KIP-482)
//!         partition_data: Vec<PartitionProduceData>,           // every version
//!     }
//! }
//! ```
//!
//! A field that a version lacks reads as its default. Writing such a version leaves it out if it
//! is `ignorable` or has its default value, and is an error otherwise. Absent `default`, numbers
//! are 0, texts and arrays empty, nullable fields null.

use bytes::Bytes;
use uuid::Uuid;

use super::schema::{Field, Type, Version};
use super::wire::{Fault, Prefix, Reader, Records, Str, WireError};
use super::writer::Writer;

impl Field {
    /// Reads it into `value`, if this version has it as an untagged field.
    pub(super) fn read<T: Wire>(
        &self,
        reader: &mut Reader,
        version: Version,
        value: &mut T,
    ) -> Result<(), WireError> {
        if self.is_plain(version) {
            self.read_value(reader, version, value)?;
        }
        Ok(())
    }

    /// Reads it into `value`, if this version has it under `tag`.
    pub(super) fn read_tagged<T: Wire>(
        &self,
        tag: u32,
        reader: &mut Reader,
        version: Version,
        value: &mut T,
    ) -> Result<bool, WireError> {
        if self.tag != Some(tag) || !self.versions.contains(version.number) {
            return Ok(false);
        }
        self.read_value(reader, version, value)?;
        Ok(true)
    }

    fn read_value<T: Wire>(
        &self,
        reader: &mut Reader,
        version: Version,
        value: &mut T,
    ) -> Result<(), WireError> {
        *value = T::read(reader, version).map_err(|error| error.within(self.name))?;
        if value.is_null() && !self.nullable.contains(version.number) {
            let fault = Fault::Null { version: version.number };
            return Err(reader.error(fault).within(self.name));
        }
        Ok(())
    }

    /// Writes it, if this version has it as an untagged field.
    pub(super) fn write<T: Wire>(
        &self,
        writer: &mut Writer,
        version: Version,
        value: &T,
        default: impl FnOnce() -> T,
    ) -> Result<(), WireError> {
        let number = version.number;
        if !self.versions.contains(number) {
            if self.ignorable || *value == default() {
                return Ok(());
            }
            let fault = Fault::NoSuchField { version: number };
            return Err(writer.error(fault).within(self.name));
        }
        if self.tag.is_some() {
            return Ok(());
        }
        if value.is_null() && !self.nullable.contains(number) {
            return Err(writer.error(Fault::Null { version: number }).within(self.name));
        }
        value.write(writer, version).map_err(|error| error.within(self.name))
    }

    /// Adds it to `tagged`, if this version has it as a tagged field and it is not the default.
    pub(super) fn write_tagged<T: Wire>(
        &self,
        tagged: &mut Vec<(u32, Writer)>,
        version: Version,
        value: &T,
        default: impl FnOnce() -> T,
    ) -> Result<(), WireError> {
        let Some(tag) = self.tag else { return Ok(()) };
        if self.versions.contains(version.number) && *value != default() {
            let mut content = Writer::default();
            value.write(&mut content, version).map_err(|error| error.within(self.name))?;
            tagged.push((tag, content));
        }
        Ok(())
    }
}

/// A value that can stand in a message.
pub trait Wire: Sized + PartialEq {
    /// Its type in Kafka's words.
    const TYPE: Type;

    /// Fewest bytes it takes.
    fn min_bytes(version: Version) -> usize;

    /// Takes it from the message.
    fn read(reader: &mut Reader, version: Version) -> Result<Self, WireError>;

    /// Adds it to the message.
    fn write(&self, writer: &mut Writer, version: Version) -> Result<(), WireError>;

    /// Whether it is null.
    fn is_null(&self) -> bool {
        false
    }
}

/// A value that can be null.
pub trait Nullable: Wire {
    /// Fewest bytes it takes where it may be null.
    fn min_nullable_bytes(version: Version) -> usize {
        Self::min_bytes(version)
    }

    /// Takes it from the message; none for null.
    fn read_nullable(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError>;

    /// Adds it to the message; none for null.
    fn write_nullable(
        value: Option<&Self>,
        writer: &mut Writer,
        version: Version,
    ) -> Result<(), WireError>;
}

impl<T: Nullable> Wire for Option<T> {
    const TYPE: Type = T::TYPE;

    fn min_bytes(version: Version) -> usize {
        T::min_nullable_bytes(version)
    }

    fn read(reader: &mut Reader, version: Version) -> Result<Self, WireError> {
        T::read_nullable(reader, version)
    }

    fn write(&self, writer: &mut Writer, version: Version) -> Result<(), WireError> {
        T::write_nullable(self.as_ref(), writer, version)
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

macro_rules! fixed {
    ($($rust:ty => $kafka:ident, $method:ident;)*) => {$(
        impl Wire for $rust {
            const TYPE: Type = Type::$kafka;

            fn min_bytes(_: Version) -> usize {
                size_of::<Self>()
            }

            fn read(reader: &mut Reader, _: Version) -> Result<Self, WireError> {
                reader.$method()
            }

            fn write(&self, writer: &mut Writer, _: Version) -> Result<(), WireError> {
                writer.$method(*self);
                Ok(())
            }
        }
    )*};
}

fixed! {
    bool => Bool, bool;
    i8 => Int8, i8;
    i16 => Int16, i16;
    u16 => Uint16, u16;
    i32 => Int32, i32;
    i64 => Int64, i64;
    Uuid => Uuid, uuid;
}

/// The `read` and `write` of a value that can be null, where it must not be.
macro_rules! not_null {
    () => {
        fn read(reader: &mut Reader, version: Version) -> Result<Self, WireError> {
            let value = Self::read_nullable(reader, version)?;
            value.ok_or_else(|| reader.error(Fault::Null { version: version.number }))
        }

        fn write(&self, writer: &mut Writer, version: Version) -> Result<(), WireError> {
            Self::write_nullable(Some(self), writer, version)
        }
    };
}

impl Wire for Str {
    const TYPE: Type = Type::String;

    fn min_bytes(version: Version) -> usize {
        if version.flexible { 1 } else { 2 }
    }

    not_null!();
}

impl Nullable for Str {
    fn read_nullable(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError> {
        reader.string(version.flexible)
    }

    fn write_nullable(
        value: Option<&Self>,
        writer: &mut Writer,
        version: Version,
    ) -> Result<(), WireError> {
        writer.string(version.flexible, value)
    }
}

impl Wire for Bytes {
    const TYPE: Type = Type::Bytes;

    fn min_bytes(version: Version) -> usize {
        if version.flexible { 1 } else { 4 }
    }

    not_null!();
}

impl Nullable for Bytes {
    fn read_nullable(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError> {
        reader.bytes(version.flexible)
    }

    fn write_nullable(
        value: Option<&Self>,
        writer: &mut Writer,
        version: Version,
    ) -> Result<(), WireError> {
        writer.bytes(version.flexible, value)
    }
}

impl Wire for Records {
    const TYPE: Type = Type::Records;

    fn min_bytes(version: Version) -> usize {
        Bytes::min_bytes(version)
    }

    not_null!();
}

impl Nullable for Records {
    fn read_nullable(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError> {
        Ok(reader.bytes(version.flexible)?.map(Self::from))
    }

    fn write_nullable(
        value: Option<&Self>,
        writer: &mut Writer,
        version: Version,
    ) -> Result<(), WireError> {
        writer.records(version.flexible, value)
    }
}

impl<T: Wire> Wire for Vec<T> {
    const TYPE: Type = Type::Array(&T::TYPE);

    fn min_bytes(version: Version) -> usize {
        if version.flexible { 1 } else { 4 }
    }

    not_null!();
}

impl<T: Wire> Nullable for Vec<T> {
    fn read_nullable(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError> {
        let min_bytes = T::min_bytes(version);
        let Some(count) = reader.count(version.flexible, min_bytes, size_of::<T>())? else {
            return Ok(None);
        };
        let mut elements = Vec::with_capacity(count);
        for index in 0..count {
            let element = T::read(reader, version).map_err(|error| error.at_index(index))?;
            elements.push(element);
        }
        Ok(Some(elements))
    }

    fn write_nullable(
        value: Option<&Self>,
        writer: &mut Writer,
        version: Version,
    ) -> Result<(), WireError> {
        writer.length(version.flexible, Prefix::Int, value.map(Vec::len))?;
        for (index, element) in value.into_iter().flatten().enumerate() {
            element.write(writer, version).map_err(|error| error.at_index(index))?;
        }
        Ok(())
    }
}

/// Declares structures; see the module's comment.
macro_rules! message {
    ($(
        $(#[$attribute:meta])*
        pub struct $name:ident {
            $( $(#[$field_attribute:meta])* $field:ident: $ty:ty $([$($spec:tt)*])?, )*
        }
    )*) => {$(
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $(
                $(#[$field_attribute])*
                #[doc = $crate::kafka::message::versions_doc!($($($spec)*)?)]
                pub $field: $ty,
            )*
        }

        const _: () = {
            use $crate::kafka::message::{Nullable, Wire, default, field};
            use $crate::kafka::schema::{Schema, Type, Version};
            use $crate::kafka::wire::{Reader, WireError};
            use $crate::kafka::writer::Writer;

            impl Default for $name {
                fn default() -> Self {
                    Self { $($field: default!($($($spec)*)?),)* }
                }
            }

            impl $name {
                /// The structure as declared.
                pub const SCHEMA: Schema = Schema {
                    name: stringify!($name),
                    fields: &[$(field!($field: $ty, $($($spec)*)?),)*],
                };
            }

            impl Wire for $name {
                const TYPE: Type = Type::Struct(&Self::SCHEMA);

                fn min_bytes(version: Version) -> usize {
                    let mut bytes = usize::from(version.flexible);
                    $(
                        if const { field!($field: $ty, $($($spec)*)?) }.is_plain(version) {
                            bytes += <$ty as Wire>::min_bytes(version);
                        }
                    )*
                    bytes
                }

                fn read(reader: &mut Reader, version: Version) -> Result<Self, WireError> {
                    let mut value = Self::default();
                    $(
                        const { field!($field: $ty, $($($spec)*)?) }
                            .read(reader, version, &mut value.$field)?;
                    )*
                    if version.flexible {
                        reader.tagged_fields(|_reader, _tag| {
                            Ok(false $(
                                || const { field!($field: $ty, $($($spec)*)?) }
                                    .read_tagged(_tag, _reader, version, &mut value.$field)?
                            )*)
                        })?;
                    }
                    Ok(value)
                }

                fn write(&self, writer: &mut Writer, version: Version) -> Result<(), WireError> {
                    let mut tagged = Vec::new();
                    $(
                        let field = const { field!($field: $ty, $($($spec)*)?) };
                        let default = || default!($($($spec)*)?);
                        field.write(writer, version, &self.$field, default)?;
                        field.write_tagged(&mut tagged, version, &self.$field, default)?;
                    )*
                    if version.flexible {
                        writer.tagged_fields(tagged)?;
                    }
                    Ok(())
                }
            }

            /// A byte in front says whether it is there.
            impl Nullable for $name {
                fn min_nullable_bytes(_: Version) -> usize {
                    1
                }

                fn read_nullable(
                    reader: &mut Reader,
                    version: Version,
                ) -> Result<Option<Self>, WireError> {
                    if reader.i8()? < 0 {
                        return Ok(None);
                    }
                    Self::read(reader, version).map(Some)
                }

                fn write_nullable(
                    value: Option<&Self>,
                    writer: &mut Writer,
                    version: Version,
                ) -> Result<(), WireError> {
                    writer.i8(if value.is_some() { 1 } else { -1 });
                    value.map_or(Ok(()), |value| value.write(writer, version))
                }
            }
        };
    )*};
}

/// The [`Field`] of one line of a declaration.
macro_rules! field {
    (@ $field:expr $(,)?) => { $field };
    (@ $field:expr, nullable $min:literal..=$max:literal $($rest:tt)*) => {
        $crate::kafka::message::field!(@ $field.nullable($min, $max) $($rest)*)
    };
    (@ $field:expr, nullable $min:literal.. $($rest:tt)*) => {
        $crate::kafka::message::field!(@ $field.nullable($min, i16::MAX) $($rest)*)
    };
    (@ $field:expr, nullable $($rest:tt)*) => {
        $crate::kafka::message::field!(@ $field.nullable(0, i16::MAX) $($rest)*)
    };
    (@ $field:expr, ignorable $($rest:tt)*) => {
        $crate::kafka::message::field!(@ $field.ignorable() $($rest)*)
    };
    (@ $field:expr, tag $tag:literal $($rest:tt)*) => {
        $crate::kafka::message::field!(@ $field.tag($tag) $($rest)*)
    };
    (@ $field:expr, default $default:literal $($rest:tt)*) => {
        $crate::kafka::message::field!(@ $field.default(stringify!($default)) $($rest)*)
    };
    (@ $field:expr, $min:literal..=$max:literal $($rest:tt)*) => {
        $crate::kafka::message::field!(@ $field.versions($min, $max) $($rest)*)
    };
    (@ $field:expr, $min:literal.. $($rest:tt)*) => {
        $crate::kafka::message::field!(@ $field.versions($min, i16::MAX) $($rest)*)
    };
    ($name:ident: $ty:ty, $($spec:tt)*) => {
        $crate::kafka::message::field!(
            @ $crate::kafka::schema::Field::new(
                stringify!($name),
                <$ty as $crate::kafka::message::Wire>::TYPE,
            ),
            $($spec)*
        )
    };
}

/// What the documentation says about one line of a declaration.
macro_rules! versions_doc {
    () => { "\n\nIn every version." };
    ($($spec:tt)*) => { concat!("\n\nVersions: `", stringify!($($spec)*), "`.") };
}

/// The default value of one line of a declaration.
macro_rules! default {
    () => { Default::default() };
    (default $default:literal $($rest:tt)*) => { $default };
    ($other:tt $($rest:tt)*) => { $crate::kafka::message::default!($($rest)*) };
}

pub(super) use {default, field, message, versions_doc};

#[cfg(test)]
#[allow(unreachable_pub, unused_imports, reason = "the macro is made for other files than this")]
mod tests {
    use bytes::Buf;

    use super::super::schema::Schema;
    use super::*;

    message! {
        /// A bit of everything.
        pub struct Sample {
            name: Option<Str> [nullable 1..],
            added: i32 [1.., default -1],
            dropped: i32 [0..=0, ignorable],
            tagged: i8 [2.., tag 5, default 7],
            parts: Vec<Part>,
            more: Option<Part> [3.., nullable],
        }

        /// A structure inside.
        pub struct Part {
            id: Uuid [1..],
            small: bool,
        }
    }

    fn version(number: i16) -> Version {
        Version { number, flexible: number >= 2 }
    }

    fn written(sample: &Sample, number: i16) -> Result<Bytes, WireError> {
        let mut writer = Writer::default();
        sample.write(&mut writer, version(number))?;
        let mut segments = writer.finish();
        Ok(segments.copy_to_bytes(segments.remaining()))
    }

    fn read(bytes: Bytes, number: i16) -> Result<Sample, WireError> {
        Sample::read(&mut Reader::new(bytes), version(number))
    }

    #[test]
    fn each_version_has_its_fields() {
        let named = Sample { name: Some("n".into()), dropped: 3, ..Default::default() };
        assert_eq!(&written(&named, 0).unwrap()[..], b"\0\x01n\0\0\0\x03\0\0\0\0");
        assert_eq!(&written(&named, 1).unwrap()[..], b"\0\x01n\xff\xff\xff\xff\0\0\0\0");
        assert_eq!(&written(&named, 2).unwrap()[..], b"\x02n\xff\xff\xff\xff\x01\0");
        let tagged = Sample { tagged: 8, ..named };
        let bytes = written(&tagged, 2).unwrap();
        assert_eq!(&bytes[..], b"\x02n\xff\xff\xff\xff\x01\x01\x05\x01\x08");
        assert_eq!(read(bytes, 2).unwrap(), Sample { dropped: 0, ..tagged });
    }

    #[test]
    fn what_a_version_cannot_say_is_an_error() {
        let mut sample = Sample { name: Some("n".into()), added: 0, ..Default::default() };
        let error = written(&sample, 0).unwrap_err();
        assert_eq!((&*error.path, error.fault), ("added", Fault::NoSuchField { version: 0 }));
        assert!(written(&sample, 1).is_ok());
        sample.added = -1;
        sample.parts = vec![Part::default(), Part { id: Uuid::max(), small: true }];
        let error = written(&sample, 0).unwrap_err();
        assert_eq!((&*error.path, error.position), ("parts[1].id", 12));
    }

    #[test]
    fn null_is_for_the_versions_that_allow_it() {
        let error = written(&Sample::default(), 0).unwrap_err();
        assert_eq!((&*error.path, error.fault), ("name", Fault::Null { version: 0 }));
        assert_eq!(read(written(&Sample::default(), 1).unwrap(), 1).unwrap(), Sample::default());
        let null = Bytes::from_static(b"\xff\xff\0\0\0\0\0\0\0\0");
        let error = read(null, 0).unwrap_err();
        assert_eq!((&*error.path, error.fault), ("name", Fault::Null { version: 0 }));
    }

    #[test]
    fn structures_can_be_null() {
        let null = Sample::default();
        let bytes = written(&null, 3).unwrap();
        assert_eq!(&bytes[..], b"\0\xff\xff\xff\xff\x01\xff\0");
        assert_eq!(read(bytes, 3).unwrap(), null);
        let there = Sample { more: Some(Part { id: Uuid::max(), small: true }), ..null };
        assert_eq!(read(written(&there, 3).unwrap(), 3).unwrap(), there);
    }

    #[test]
    fn elements_have_a_least_size() {
        assert_eq!([0, 1, 2].map(|number| Part::min_bytes(version(number))), [1, 17, 18]);
        assert_eq!([0, 1, 2, 3].map(|number| Sample::min_bytes(version(number))), [10, 10, 7, 8]);
        let two = Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\x03\x01\x01");
        let error = read(two, 0).unwrap_err();
        assert_eq!((&*error.path, error.fault), ("parts", Fault::Count { count: 3, left: 2 }));
    }

    #[test]
    fn schemas_say_what_was_declared() {
        let Schema { name, fields } = Sample::SCHEMA;
        let tagged = fields.iter().find(|field| field.tag == Some(5)).unwrap();
        assert_eq!((name, tagged.name, tagged.default), ("Sample", "tagged", "7"));
        assert_eq!((tagged.versions.min, tagged.versions.max), (2, i16::MAX));
    }
}
