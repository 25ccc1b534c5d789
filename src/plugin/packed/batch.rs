//! A batch for a processor, written straight into the memory of its instance: a record's bytes are
//! copied once on their way in, from wherever its source or the step before has left them.
//!
//! wasmtime lowers a `list<u8>` from bytes that lie in a row, which records do not. So [`Batch`] is
//! a type of its own for it, made of the traits that wasmtime's macros implement and that it does
//! not promise to keep. What they ask for stands beside each; another version of wasmtime that asks
//! for something else does not compile, and the examples in `tests/fixtures/packed.json` would not
//! come out.

use std::mem::MaybeUninit;

use bytes::Bytes;
use wasmtime::ValRaw;
use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext,
};
use wasmtime::component::{ComponentType, Lower};

use crate::record::Record;

use super::super::outcome::Failure;
use super::super::typed::header_name;
use super::{FIXED, HEADER};

/// Bytes of the number of records.
const COUNT: usize = 4;

/// Records as `wit/processor.wit` lays them out.
pub(in super::super) struct Batch<'a> {
    records: &'a [Record],
    bytes: usize,
}

impl<'a> Batch<'a> {
    /// The first records, up to so many and so many bytes; at least one. Fewer if one follows that
    /// no plugin can be shown.
    ///
    /// # Errors
    /// The first record is such a one.
    pub(in super::super) fn of(
        records: &'a [Record],
        (most, most_bytes): (usize, usize),
    ) -> Result<Self, Failure> {
        let (mut count, mut bytes) = (0, COUNT);
        for record in records.iter().take(most) {
            match shown_bytes(record) {
                Ok(more) if count == 0 || bytes + more <= most_bytes => bytes += more,
                Err(failure) if count == 0 => return Err(failure),
                _ => break,
            }
            count += 1;
        }
        Ok(Self { records: records.get(..count).unwrap_or_default(), bytes })
    }

    pub(in super::super) fn records(&self) -> &'a [Record] {
        self.records
    }

    /// Writes it; `out` has as many bytes as it takes.
    fn write(&self, out: &mut [u8]) {
        let mut out = Writer(out);
        out.put(&length(self.records.len()));
        for record in self.records {
            write_record(record, &mut out);
        }
        debug_assert!(out.0.is_empty(), "{} bytes too many", out.0.len());
    }

    /// Asks the instance for room and writes it there. Where it lies.
    fn store<T>(&self, cx: &mut LowerContext<'_, T>) -> wasmtime::Result<usize> {
        let at = cx.realloc(0, 0, 1, self.bytes)?;
        let room = cx.as_slice_mut().get_mut(at..).and_then(|rest| rest.get_mut(..self.bytes));
        let room = room.ok_or_else(|| wasmtime::Error::msg("realloc: beyond the memory's end"))?;
        self.write(room);
        Ok(at)
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(in super::super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0xaa; self.bytes];
        self.write(&mut bytes);
        bytes
    }
}

#[expect(unsafe_code, reason = "wasmtime's own list of bytes wants them in a row")]
// SAFETY: all is that of a list of bytes: how it is passed, its size and alignment, and the types
// that it is accepted for.
unsafe impl ComponentType for Batch<'_> {
    type Lower = <[u8] as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = <[u8] as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        <[u8] as ComponentType>::typecheck(ty, types)
    }
}

#[expect(unsafe_code, reason = "wasmtime's own list of bytes wants them in a row")]
// SAFETY: both values of `Lower` are written in full, as the address and the length of bytes that
// the instance has given room for; an address in a 32-bit memory, in the low half, the high half
// being zero. `store` writes through a slice, which checks each bound.
unsafe impl Lower for Batch<'_> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        _: InterfaceType,
        dst: &mut MaybeUninit<[ValRaw; 2]>,
    ) -> wasmtime::Result<()> {
        let at = self.store(cx)?;
        dst.write([at, self.bytes].map(|word| ValRaw::u64(word as u64)));
        Ok(())
    }

    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        _: InterfaceType,
        offset: usize,
    ) -> wasmtime::Result<()> {
        let at = self.store(cx)?;
        *cx.get(offset) = u32::try_from(at)?.to_le_bytes();
        *cx.get(offset + 4) = u32::try_from(self.bytes)?.to_le_bytes();
        Ok(())
    }
}

/// How many bytes a record takes, if a plugin can be shown it.
fn shown_bytes(record: &Record) -> Result<usize, Failure> {
    record.headers.iter().try_for_each(|header| header_name(header).map(drop))?;
    Ok(bytes_of(record))
}

fn bytes_of(record: &Record) -> usize {
    let value = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers = record.headers.iter().map(|h| HEADER + h.key.len() + value(&h.value));
    FIXED + value(&record.key) + value(&record.value) + headers.sum::<usize>()
}

fn write_record(record: &Record, out: &mut Writer<'_>) {
    let mut fixed = [0; FIXED];
    fixed[..4].copy_from_slice(&length(bytes_of(record)));
    fixed[4..8].copy_from_slice(&length(record.headers.len()));
    fixed[8..16].copy_from_slice(&record.offset.to_le_bytes());
    fixed[16..24].copy_from_slice(&record.timestamp.to_le_bytes());
    fixed[24..28].copy_from_slice(&nullable(record.key.as_ref()));
    fixed[28..].copy_from_slice(&nullable(record.value.as_ref()));
    out.put(&fixed);
    for bytes in [&record.key, &record.value].into_iter().flatten() {
        out.put(bytes);
    }
    for header in &record.headers {
        out.put(&length(header.key.len()));
        out.put(&nullable(header.value.as_ref()));
        out.put(&header.key);
        out.put(header.value.as_deref().unwrap_or_default());
    }
}

/// No record is as long as an `i32` can say: it came out of one batch.
fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).unwrap_or(i32::MAX).to_le_bytes()
}

fn nullable(bytes: Option<&Bytes>) -> [u8; 4] {
    bytes.map_or((-1_i32).to_le_bytes(), |bytes| length(bytes.len()))
}

/// What is left of the room.
struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (place, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        place.copy_from_slice(bytes);
        self.0 = rest;
    }
}
