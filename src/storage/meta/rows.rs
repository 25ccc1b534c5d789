//! The values of `meta.redb`. Each has behind it the CRC-32C of its table's name, of its key and of
//! itself: redb's checksums say that a file is damaged, these say which rows are not.

use redb::{Key, ReadableTable, Table, TableDefinition, TableHandle};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::record::{crc32c, crc32c_append};
use crate::storage::StorageError;
use crate::storage::tables::{COUNTERS, PARTITIONS};
use crate::types::{GroupId, Offset, OffsetOwner, PipelineName, TopicPartition};

fn crc<K: Key>(table: &str, key: &K::SelfType<'_>, value: &[u8]) -> u32 {
    let crc = crc32c(table.as_bytes());
    crc32c_append(crc32c_append(crc, K::as_bytes(key).as_ref()), value)
}

fn broken(table: &str) -> redb::Error {
    redb::Error::Corrupted(format!("a row of {table} is not as it was written"))
}

/// A value with its checksum.
pub(in crate::storage) fn sealed<K: Key + 'static>(
    table: TableDefinition<'_, K, &'static [u8]>,
    key: &K::SelfType<'_>,
    value: &[u8],
) -> Vec<u8> {
    let crc = crc::<K>(table.name(), key, value);
    [value, &crc.to_le_bytes()].concat()
}

/// A value whose checksum holds.
pub(in crate::storage) fn unsealed<'v, K: Key + 'static>(
    table: TableDefinition<'_, K, &'static [u8]>,
    key: &K::SelfType<'_>,
    value: &'v [u8],
) -> Result<&'v [u8], redb::Error> {
    let good = value.split_last_chunk();
    let good =
        good.filter(|(value, sum)| crc::<K>(table.name(), key, value).to_le_bytes() == **sum);
    good.map(|(value, _)| value).ok_or_else(|| broken(table.name()))
}

/// A counter; 0 if it was never set.
pub(in crate::storage) fn counter(
    table: &impl ReadableTable<&'static str, (u64, u32)>,
    name: &str,
) -> Result<u64, redb::Error> {
    table.get(name)?.map_or(Ok(0), |row| checked_counter(name, row.value()))
}

pub(in crate::storage) fn checked_counter(
    name: &str,
    (count, sum): (u64, u32),
) -> Result<u64, redb::Error> {
    let good = sum == crc::<&str>(COUNTERS.name(), &name, &count.to_le_bytes());
    if good { Ok(count) } else { Err(broken(COUNTERS.name())) }
}

pub(in crate::storage) fn set_counter(
    table: &mut Table<'_, &'static str, (u64, u32)>,
    name: &str,
    count: u64,
) -> Result<(), redb::Error> {
    let sum = crc::<&str>(COUNTERS.name(), &name, &count.to_le_bytes());
    table.insert(name, (count, sum))?;
    Ok(())
}

/// The value of a partition's row.
pub(in crate::storage) fn ends_row(
    TopicPartition { topic, partition }: TopicPartition,
    (start, end): (Offset, Offset),
) -> (i64, i64, u32) {
    let value = [start.to_le_bytes(), end.to_le_bytes()].concat();
    let topic = topic.to_bytes();
    (start, end, crc::<(&[u8; 16], i32)>(PARTITIONS.name(), &(&topic, partition), &value))
}

/// A partition's log start and log end offset.
pub(in crate::storage) fn ends(
    partition: TopicPartition,
    row: (i64, i64, u32),
) -> Result<(Offset, Offset), redb::Error> {
    let ends = (row.0, row.1);
    if ends_row(partition, ends) == row { Ok(ends) } else { Err(broken(PARTITIONS.name())) }
}

pub(in crate::storage) fn owner_parts(owner: &OffsetOwner) -> (u8, &str) {
    match owner {
        OffsetOwner::Group(group) => (0, group.as_str()),
        OffsetOwner::Pipeline(pipeline) => (1, pipeline.as_str()),
    }
}

pub(in crate::storage) fn owner_from_parts(
    kind: u8,
    name: &str,
) -> Result<OffsetOwner, StorageError> {
    let owner = match kind {
        0 => GroupId::new(name).map(OffsetOwner::Group).ok(),
        1 => PipelineName::new(name).map(OffsetOwner::Pipeline).ok(),
        _ => None,
    };
    owner.ok_or_else(|| StorageError::Row { what: "the owner of an offset", reason: name.into() })
}

pub(in crate::storage) fn encode<T: Serialize>(
    what: &'static str,
    value: &T,
) -> Result<Vec<u8>, StorageError> {
    postcard::to_stdvec(value).map_err(|error| StorageError::Encode { what, error })
}

pub(in crate::storage) fn decode<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, StorageError> {
    postcard::from_bytes(bytes)
        .map_err(|error| StorageError::Row { what, reason: error.to_string() })
}
