//! Reading record batches of one partition from a segment, each one checked.

use bytes::Bytes;
use redb::{AccessGuard, Database, ReadOnlyDatabase, ReadableDatabase};

use super::{LoggedChunk, file_name};
use crate::record::{RecordBatch, split_batches};
use crate::storage::journal::Gaps;
use crate::storage::seal::{self, Seals};
use crate::storage::tables::CHUNKS;
use crate::storage::{StorageError, at};
use crate::types::{Offset, TimestampMs, TopicPartition};

/// What to read of one partition.
#[derive(Debug, Clone, Copy)]
pub(in crate::storage) struct ReadRange {
    pub(in crate::storage) partition: TopicPartition,
    /// First record wanted; the batch that contains it comes whole.
    pub(in crate::storage) from: Offset,
    /// Nothing at or beyond it is returned.
    pub(in crate::storage) until: Offset,
    /// The first batch comes whatever its size, further ones as long as they fit.
    pub(in crate::storage) max_bytes: usize,
    /// Where records may be missing between its offsets.
    pub(in crate::storage) gaps: Gaps,
}

/// Where chunks are read.
#[derive(Clone, Copy)]
pub(in crate::storage) enum Source<'a> {
    /// A segment that is written.
    Active(&'a Database),
    Sealed(&'a ReadOnlyDatabase),
    /// Chunks of the one partition that is wanted, in order.
    Memory(&'a [LoggedChunk]),
}

/// Reads batches of a partition, each one's CRC and place checked: stretches of one or more
/// batches. What is good before something unreadable is returned; an error is its own read.
pub(in crate::storage) fn read(
    source: Source<'_>,
    number: u64,
    range: ReadRange,
) -> Result<Vec<Bytes>, StorageError> {
    let mut stretches = Vec::new();
    let mut budget = range.max_bytes;
    let looked = for_each_chunk(source, number, range, |first_offset, chunk, seals| {
        let mut taken = 0..0;
        for batch in checked(number, range, first_offset, chunk.clone(), seals) {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) if stretches.is_empty() && taken.is_empty() => return Err(error),
                Err(_) => break,
            };
            let end = taken.end + batch.len();
            if batch.last_offset() < range.from {
                taken = end..end;
            } else if batch.len() > budget && !(stretches.is_empty() && taken.is_empty()) {
                break;
            } else {
                budget = budget.saturating_sub(batch.len());
                taken.end = end;
            }
        }
        let whole = taken.end == chunk.len();
        if !taken.is_empty() {
            stretches.push(chunk.slice(taken));
        }
        Ok(whole && budget > 0)
    });
    match looked {
        Err(error) if stretches.is_empty() => Err(error),
        _ => Ok(stretches),
    }
}

/// The first batch of the range that has a record at or after `timestamp`.
pub(in crate::storage) fn find_timestamp(
    source: Source<'_>,
    number: u64,
    range: ReadRange,
    timestamp: TimestampMs,
) -> Result<Option<RecordBatch>, StorageError> {
    let mut found = None;
    for_each_chunk(source, number, range, |first_offset, chunk, seals| {
        for batch in checked(number, range, first_offset, chunk, seals) {
            let batch = batch?;
            if batch.last_offset() >= range.from && batch.max_timestamp() >= timestamp {
                found = Some(batch);
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    Ok(found)
}

/// Hands over chunks from the one that contains `range.from`, with the offset at which each begins;
/// `take` says whether to go on. One that is not there is an error, as is one that `take` cannot
/// read.
fn for_each_chunk(
    source: Source<'_>,
    number: u64,
    range: ReadRange,
    mut take: impl FnMut(Offset, Bytes, Seals) -> Result<bool, StorageError>,
) -> Result<(), StorageError> {
    let (database, is_sealed): (&dyn ReadableDatabase, bool) = match source {
        Source::Active(database) => (database, false),
        Source::Sealed(database) => (database, true),
        Source::Memory(chunks) => return for_each_pending(chunks, take),
    };
    let name = file_name(number);
    let ReadRange { partition: place, from, until, gaps, .. } = range;
    let (topic, partition) = (place.topic.to_bytes(), place.partition);
    let corrupt = |places, reason: &str| corrupt(number, place, places, reason.to_owned());
    let transaction = database.begin_read().map_err(at(&name))?;
    let table = transaction.open_table(CHUNKS).map_err(at(&name))?;
    let first = table
        .range((&topic, partition, 0)..=(&topic, partition, from))
        .map_err(at(&name))?
        .next_back()
        .transpose()
        .map_err(at(&name))?;
    let first = first.map_or(from, |(key, _)| key.value().2);
    let chunks =
        table.range((&topic, partition, first)..(&topic, partition, until)).map_err(at(&name))?;
    let mut expected = from;
    for chunk in chunks {
        let (key, value) = chunk.map_err(at(&name))?;
        let first_offset = key.value().2;
        if first_offset >= until {
            // Where a page is damaged, the range may go on to what was replaced long ago.
            break;
        }
        if first_offset > expected && gaps != Gaps::Chunks {
            return Err(corrupt((expected, first_offset), NOTHING));
        }
        let whole = seal::split(place, first_offset, bytes_of(value, is_sealed));
        let taken = match whole {
            Some((chunk, seals)) => {
                expected = expected.max(seals.end_offset);
                take(first_offset, chunk, seals)
            }
            None => {
                let places = (first_offset.max(from), Offset::MAX);
                Err(corrupt(places, "a value is no chunk of this place"))
            }
        };
        match taken {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(StorageError::Corrupt { offset, reason, .. }) => {
                let after = (&topic, partition, first_offset + 1);
                let next = table.range(after..(&topic, partition, until));
                let next = next.map_err(at(&name))?.next().transpose().map_err(at(&name))?;
                let end_offset = next.map_or(until, |(key, _)| key.value().2);
                // Where a key is damaged as well, who reads on must get on.
                let places = match end_offset > from {
                    true => (offset, end_offset.max(offset + 1)),
                    false => (from, from + 1),
                };
                return Err(corrupt(places, &reason));
            }
            Err(error) => return Err(error),
        }
    }
    match expected < until && gaps != Gaps::Chunks {
        true => Err(corrupt((expected, until), NOTHING)),
        false => Ok(()),
    }
}

/// The bytes of a value, copied unless the segment is sealed: where pages come and go none must be
/// pinned by what becomes of its bytes.
fn bytes_of(value: Value, is_sealed: bool) -> Bytes {
    match is_sealed {
        true => Bytes::from_owner(SealedValue(value)),
        false => Bytes::copy_from_slice(value.value()),
    }
}

/// A value in the memory into which it was read.
struct SealedValue(Value);

type Value = AccessGuard<'static, &'static [u8]>;

impl AsRef<[u8]> for SealedValue {
    fn as_ref(&self) -> &[u8] {
        self.0.value()
    }
}

fn for_each_pending(
    chunks: &[LoggedChunk],
    mut take: impl FnMut(Offset, Bytes, Seals) -> Result<bool, StorageError>,
) -> Result<(), StorageError> {
    for LoggedChunk { partition, first_offset, end_offset, bytes } in chunks {
        let seals = Seals::of(*partition, (*first_offset, *end_offset), bytes);
        if !take(*first_offset, bytes.clone(), seals)? {
            break;
        }
    }
    Ok(())
}

/// Where a chunk is missing.
const NOTHING: &str = "nothing is there";

fn corrupt(
    segment: u64,
    partition: TopicPartition,
    (offset, end_offset): (Offset, Offset),
    reason: String,
) -> StorageError {
    StorageError::Corrupt { segment, partition, offset, end_offset, reason }
}

/// The batches of a chunk, each one's CRC checked, and that it is where it belongs.
pub(in crate::storage) fn checked(
    segment: u64,
    ReadRange { partition, gaps, .. }: ReadRange,
    first_offset: Offset,
    chunk: Bytes,
    mut seals: Seals,
) -> impl Iterator<Item = Result<RecordBatch, StorageError>> {
    let mut offset = first_offset;
    #[cfg(test)]
    let chunk = if crate::planted::is(crate::planted::Bug::NoCrcCheck) {
        crate::record::resealed(&chunk)
    } else {
        chunk
    };
    split_batches(chunk).map(move |batch| {
        // Up to where is known to who goes over the chunks.
        let corrupt = |reason| corrupt(segment, partition, (offset, Offset::MAX), reason);
        let batch = batch.map_err(|error| corrupt(error.to_string()))?;
        let found = batch.base_offset();
        if found < offset || found > offset && gaps == Gaps::None {
            return Err(corrupt(format!("found the batch of offset {found}")));
        }
        let fits = seals.fit(partition, first_offset, batch.as_bytes());
        #[cfg(test)]
        let fits = fits || crate::planted::is(crate::planted::Bug::NoCrcCheck);
        if !fits {
            return Err(corrupt("its seal is broken".to_owned()));
        }
        offset = batch.next_offset();
        Ok(batch)
    })
}
