//! What a plugin may use, who counts it, and which limit was hit by how much.

use std::fmt;

use bytes::Bytes;
use wasmtime::ResourceLimiter;

use crate::limits::{
    PLUGIN_CALL_MS, PLUGIN_CALL_MS_MAX, PLUGIN_CORE_INSTANCES, PLUGIN_MEMORIES,
    PLUGIN_MEMORY_BYTES, PLUGIN_MEMORY_BYTES_MAX, PLUGIN_MEMORY_MARK_PERCENT, PLUGIN_OUTPUT_BYTES,
    PLUGIN_OUTPUT_RECORDS, PLUGIN_TABLE_ELEMENTS, PLUGIN_TABLES, PLUGIN_TICK_MS, RECORD_HEADERS,
};
use crate::record::{Header, Record};

/// What a step allows its plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance, all its memories together, bytes. More than
    /// [`PLUGIN_MEMORY_BYTES_MAX`] is taken as that.
    pub memory_bytes: usize,
    /// Time of one call, and of making an instance, milliseconds; exact to two ticks of
    /// [`PLUGIN_TICK_MS`]. More than [`PLUGIN_CALL_MS_MAX`] is taken as that.
    pub call_ms: u64,
    /// Records that one record may become, or outputs that it may be routed to.
    pub output_records: usize,
    /// Bytes that one record may become: keys, values and headers.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: PLUGIN_MEMORY_BYTES,
            call_ms: PLUGIN_CALL_MS,
            output_records: PLUGIN_OUTPUT_RECORDS,
            output_bytes: PLUGIN_OUTPUT_BYTES,
        }
    }
}

impl Limits {
    /// The same limits, none above what the engine can hold.
    pub(super) fn clamped(self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(PLUGIN_MEMORY_BYTES_MAX),
            call_ms: self.call_ms.min(PLUGIN_CALL_MS_MAX),
            ..self
        }
    }

    pub(super) fn check_records(&self, count: usize) -> Result<(), LimitHit> {
        if count > self.output_records {
            return Err(LimitHit::new(LimitKind::OutputRecords, count, self.output_records));
        }
        Ok(())
    }

    pub(super) fn check_bytes(&self, bytes: usize) -> Result<(), LimitHit> {
        if bytes > self.output_bytes {
            return Err(LimitHit::new(LimitKind::OutputBytes, bytes, self.output_bytes));
        }
        Ok(())
    }

    /// Host memory that lifting one result may take, bytes. A result over the limits should
    /// arrive, so that it can be counted; one that is far over must not.
    pub(super) fn lift_bytes(&self, record_size: usize) -> usize {
        let records = self.output_records.saturating_mul(record_size);
        self.output_bytes.saturating_add(records).saturating_mul(2)
    }
}

/// Something that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// Linear memory of one instance, bytes.
    Memory,
    /// Table elements of one instance.
    TableElements,
    /// Records that one record became, or outputs that it was routed to.
    OutputRecords,
    /// Bytes that one record became.
    OutputBytes,
    /// Headers of one output record.
    OutputHeaders,
}

/// A limit that was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitHit {
    /// Which.
    pub limit: LimitKind,
    /// How much was asked for; at least, if nobody counted to the end.
    pub asked: u64,
    /// How much is allowed.
    pub allowed: u64,
}

impl LimitHit {
    pub(super) fn new(limit: LimitKind, asked: usize, allowed: usize) -> Self {
        Self { limit, asked: asked as u64, allowed: allowed as u64 }
    }
}

impl fmt::Display for LimitHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.limit {
            LimitKind::Memory => "bytes of memory",
            LimitKind::TableElements => "table elements",
            LimitKind::OutputRecords => "outputs of one record",
            LimitKind::OutputBytes => "bytes of output of one record",
            LimitKind::OutputHeaders => "headers on one output record",
        };
        write!(f, "{} {what} asked for, {} allowed", self.asked, self.allowed)?;
        match self.limit {
            LimitKind::Memory => write!(f, " (limits.memory-mib)"),
            LimitKind::OutputRecords => write!(f, " (limits.output-records)"),
            LimitKind::OutputBytes => write!(f, " (limits.output-kib)"),
            LimitKind::TableElements | LimitKind::OutputHeaders => Ok(()),
        }
    }
}

/// Ticks after which a call of that time is ended. One more than asked for: the first is under way
/// already.
pub(super) fn call_ticks(call_ms: u64) -> u64 {
    call_ms.div_ceil(PLUGIN_TICK_MS) + 1
}

pub(super) fn check_headers(count: usize) -> Result<(), LimitHit> {
    if count > RECORD_HEADERS {
        return Err(LimitHit::new(LimitKind::OutputHeaders, count, RECORD_HEADERS));
    }
    Ok(())
}

/// What an output record takes here, so that one without contents is not free.
pub(super) fn record_bytes(record: &Record) -> usize {
    let value = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
    let header = |header: &Header| size_of::<Header>() + header.key.len() + value(&header.value);
    let headers: usize = record.headers.iter().map(header).sum();
    size_of::<Record>() + value(&record.key) + value(&record.value) + headers
}

/// Counts what one instance holds. Refuses growth over the limit and remembers that it did: to the
/// guest a refusal is an ordinary answer, to which most of them react with a trap.
#[derive(Debug)]
pub(super) struct Limiter {
    memory: Meter,
    tables: Meter,
    hit: Option<LimitHit>,
}

impl Limiter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            memory: Meter { kind: LimitKind::Memory, used: 0, allowed: limits.memory_bytes },
            tables: Meter {
                kind: LimitKind::TableElements,
                used: 0,
                allowed: PLUGIN_TABLE_ELEMENTS,
            },
            hit: None,
        }
    }

    /// The limit that was hit since this was last asked.
    pub(super) fn take_hit(&mut self) -> Option<LimitHit> {
        self.hit.take()
    }

    /// Whether so much memory is used that a leak is likely.
    pub(super) fn past_mark(&self) -> bool {
        self.memory.used > self.memory.allowed / 100 * PLUGIN_MEMORY_MARK_PERCENT
    }

    fn note(&mut self, grown: Result<bool, LimitHit>) -> wasmtime::Result<bool> {
        self.hit = grown.err().or(self.hit);
        Ok(grown.unwrap_or(false))
    }

    /// Linear memory in use, bytes.
    pub(super) fn memory_used(&self) -> usize {
        self.memory.used
    }
}

#[derive(Debug)]
struct Meter {
    kind: LimitKind,
    used: usize,
    allowed: usize,
}

impl Meter {
    /// Whether to grow by so much. `maximum` is what the memory or table declares itself.
    fn grow(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, LimitHit> {
        let asked = self.used.saturating_add(desired.saturating_sub(current));
        if asked > self.allowed {
            return Err(LimitHit::new(self.kind, asked, self.allowed));
        }
        // It fails to grow beyond that whatever we say, so it must not be counted.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.used = asked;
        Ok(true)
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = self.memory.grow(current, desired, maximum);
        self.note(grown)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = self.tables.grow(current, desired, maximum);
        self.note(grown)
    }

    fn instances(&self) -> usize {
        PLUGIN_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        PLUGIN_TABLES as usize
    }

    fn memories(&self) -> usize {
        PLUGIN_MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_memories_share_one_limit() {
        let mut limiter = Limiter::new(&Limits { memory_bytes: 1_000, ..Limits::default() });
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.memory_growing(0, 500, None).unwrap());
        assert!(limiter.take_hit().is_none());
        assert!(!limiter.memory_growing(400, 600, None).unwrap());
        let hit = LimitHit { limit: LimitKind::Memory, asked: 1_100, allowed: 1_000 };
        assert_eq!(limiter.take_hit(), Some(hit));
        assert_eq!(limiter.take_hit(), None);
        assert!(limiter.memory_growing(400, 500, None).unwrap(), "a refusal counts for nothing");
        assert_eq!(limiter.memory_used(), 1_000);
    }

    #[test]
    fn a_maximum_of_its_own_is_no_limit_of_ours() {
        let mut limiter = Limiter::new(&Limits::default());
        assert!(!limiter.memory_growing(0, 200, Some(100)).unwrap());
        assert!(!limiter.table_growing(0, 200, Some(100)).unwrap());
        assert_eq!((limiter.take_hit(), limiter.memory_used()), (None, 0));
    }

    #[test]
    fn a_record_without_contents_is_not_free() {
        let header = Header { key: Bytes::new(), value: None };
        let mut record =
            Record { offset: 0, timestamp: 0, key: None, value: None, headers: Vec::new() };
        assert_eq!(record_bytes(&record), size_of::<Record>());
        record.headers = vec![header.clone(), header];
        assert_eq!(record_bytes(&record), size_of::<Record>() + 2 * size_of::<Header>());
    }

    #[test]
    fn limits_end_at_what_the_engine_holds() {
        let limits = Limits {
            memory_bytes: usize::MAX,
            call_ms: u64::MAX,
            output_records: usize::MAX,
            output_bytes: usize::MAX,
        };
        let clamped = limits.clamped();
        assert_eq!(clamped.memory_bytes, PLUGIN_MEMORY_BYTES_MAX);
        assert_eq!(call_ticks(clamped.call_ms), PLUGIN_CALL_MS_MAX / PLUGIN_TICK_MS + 1);
        assert_eq!(clamped.lift_bytes(100), usize::MAX);
    }
}
