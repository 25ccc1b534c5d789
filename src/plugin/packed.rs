//! The packed world's bytes, as `wit/processor.wit` says: records to a batch, and an answer to
//! verdicts. Pure; every answer that a guest can give ends as verdicts or as a [`Malformed`].

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::record::{Header, Record};

use super::contract::PluginKind;
use super::limits::{LimitHit, LimitKind, Limits, check_headers, record_bytes};
use super::outcome::{Emitted, Failure, FailureReason, Processed, Verdict};

mod batch;

pub(super) use batch::Batch;

/// Bytes of a record before its key.
const FIXED: usize = 32;
/// Least bytes of a header.
const HEADER: usize = 8;

/// Why an answer is not one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// It cannot be read.
    #[error("the plugin's answer cannot be read: at byte {at}, {what}")]
    Unreadable { at: usize, what: String },
    /// All its records together are more than even one of them may be.
    #[error("{0}")]
    TooLarge(LimitHit),
}

/// What a step lets a record become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) limits: &'a Limits,
    /// The step's kind; any answer is right without it.
    pub(super) kind: Option<PluginKind>,
}

/// Reads the answer to a batch of these records. Adds a verdict or a failure for each of them, and
/// says how many bytes they hold.
pub(super) fn decode(
    answer: Vec<u8>,
    records: &[Record],
    terms: Terms<'_>,
    out: &mut Processed,
) -> Result<usize, Malformed> {
    let answer = Bytes::from(answer);
    let mut reader = Reader { bytes: &answer, at: 0 };
    let mut decoder = Decoder { records, terms, outputs: Outputs::default(), total_bytes: 0 };
    let start = out.len();
    let result = decoder.run(&mut reader, start, out);
    if result.is_err() {
        out.truncate(start);
    }
    result.map(|()| decoder.total_bytes)
}

struct Decoder<'a> {
    records: &'a [Record],
    terms: Terms<'a>,
    outputs: Outputs,
    total_bytes: usize,
}

/// The names that an answer has declared. One given twice is the same output.
#[derive(Default)]
struct Outputs {
    /// By number: the name, and the number under which it was given first.
    names: Vec<(Arc<str>, usize)>,
    numbers: HashMap<Arc<str>, usize>,
    /// By number: 1 + the index of the last record that was sent there.
    sent: Vec<usize>,
}

/// What the entries of one record come to.
enum Entries {
    None,
    Kept,
    Emitted { records: Vec<Emitted>, bytes: usize },
    Forwarded { names: Vec<Arc<str>>, count: usize, bytes: usize },
    Failed(Failure),
    Over(LimitHit),
}

impl Decoder<'_> {
    fn run(
        &mut self,
        reader: &mut Reader<'_>,
        start: usize,
        out: &mut Processed,
    ) -> Result<(), Malformed> {
        let mut entries = Entries::None;
        while !reader.is_empty() {
            let at = reader.at;
            let entry = reader.u8()?;
            if entry == 5 {
                self.output(reader)?;
                continue;
            }
            if !(1..=4).contains(&entry) {
                return Err(unreadable(at, format!("there is no entry {entry}")));
            }
            let index = reader.u32()? as usize;
            let done = out.len() - start;
            if index < done || index >= self.records.len() {
                let what = match index.checked_sub(done) {
                    None => format!("index {index} is behind one that is larger"),
                    Some(_) => {
                        format!("index {index} in a batch of {} records", self.records.len())
                    }
                };
                return Err(unreadable(at, what));
            }
            while out.len() - start < index {
                let ended = std::mem::replace(&mut entries, Entries::None);
                out.push(self.verdict(ended, at)?);
            }
            self.entry((entry, index), reader, &mut entries, at)?;
        }
        while out.len() - start < self.records.len() {
            let ended = std::mem::replace(&mut entries, Entries::None);
            out.push(self.verdict(ended, reader.at)?);
        }
        Ok(())
    }

    fn output(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let name = Arc::<str>::from(reader.text()?);
        let number = self.outputs.names.len();
        if number >= self.terms.limits.output_records {
            let most = self.terms.limits.output_records;
            return Err(Malformed::TooLarge(LimitHit::new(
                LimitKind::OutputRecords,
                number + 1,
                most,
            )));
        }
        let first = *self.outputs.numbers.entry(Arc::clone(&name)).or_insert(number);
        self.outputs.names.push((name, first));
        self.outputs.sent.push(0);
        Ok(())
    }

    fn entry(
        &mut self,
        (entry, index): (u8, usize),
        reader: &mut Reader<'_>,
        entries: &mut Entries,
        at: usize,
    ) -> Result<(), Malformed> {
        self.allowed(entry, at)?;
        let limits = self.terms.limits;
        let source = self.records.get(index);
        let before = std::mem::replace(entries, Entries::None);
        *entries = match (entry, before) {
            (1, Entries::None) => Entries::Kept,
            (1, before @ (Entries::Kept | Entries::Emitted { .. })) => {
                let kept = source.cloned().map(Emitted::from);
                kept.map_or(Entries::None, |kept| emit(before, source, kept, limits))
            }
            (2, before @ (Entries::None | Entries::Kept | Entries::Emitted { .. })) => {
                match reader.emitted(source)? {
                    Ok(emitted) => emit(before, source, emitted, limits),
                    Err(hit) => Entries::Over(hit),
                }
            }
            (3, before @ (Entries::None | Entries::Forwarded { .. })) => {
                self.forward(index, before, reader, at)?
            }
            (4, Entries::None) => Entries::Failed(reader.failure()?),
            // What is over a limit stays so; the rest is read to be passed over.
            (1, over @ Entries::Over(_)) => over,
            (2, over @ Entries::Over(_)) => reader.emitted(source).map(|_| over)?,
            (3, over @ Entries::Over(_)) => reader.u32().map(|_| over)?,
            _ => return Err(unreadable(at, format!("entry {entry} of a record with others"))),
        };
        if let Entries::Emitted { bytes, .. } | Entries::Forwarded { bytes, .. } = entries {
            let most = limits.lift_bytes(size_of::<Emitted>());
            let total = self.total_bytes.saturating_add(*bytes);
            if total > most {
                return Err(Malformed::TooLarge(LimitHit::new(
                    LimitKind::OutputBytes,
                    total,
                    most,
                )));
            }
        }
        Ok(())
    }

    fn allowed(&self, entry: u8, at: usize) -> Result<(), Malformed> {
        let allowed = match (self.terms.kind, entry) {
            (None | Some(PluginKind::Processor), _) | (_, 1 | 4) => true,
            (Some(kind), 2) => kind == PluginKind::Transformer,
            (Some(kind), _) => kind == PluginKind::Router,
        };
        if allowed {
            return Ok(());
        }
        let step = self.terms.kind.map_or("", PluginKind::as_str);
        let what = if entry == 2 { "emits" } else { "forwards" };
        Err(unreadable(at, format!("a {step} {what}")))
    }

    fn forward(
        &mut self,
        index: usize,
        before: Entries,
        reader: &mut Reader<'_>,
        at: usize,
    ) -> Result<Entries, Malformed> {
        let number = reader.u32()? as usize;
        let Some((_, first)) = self.outputs.names.get(number) else {
            return Err(unreadable(at, format!("output {number} was not declared")));
        };
        let Some(((name, _), sent)) =
            self.outputs.names.get(*first).zip(self.outputs.sent.get_mut(*first))
        else {
            return Err(unreadable(at, format!("output {number} was not declared")));
        };
        let (mut names, count, mut bytes) = match before {
            Entries::Forwarded { names, count, bytes } => (names, count + 1, bytes),
            _ => (Vec::with_capacity(1), 1, 0),
        };
        bytes += name.len();
        let limits = self.terms.limits;
        if let Err(hit) = limits.check_records(count).and_then(|()| limits.check_bytes(bytes)) {
            return Ok(Entries::Over(hit));
        }
        if *sent != index + 1 {
            *sent = index + 1;
            names.push(Arc::clone(name));
        }
        Ok(Entries::Forwarded { names, count, bytes })
    }

    fn verdict(
        &mut self,
        entries: Entries,
        at: usize,
    ) -> Result<Result<Verdict, Failure>, Malformed> {
        Ok(match entries {
            Entries::None if self.terms.kind == Some(PluginKind::Router) => {
                let what = "a router names no output of a record and does not keep it";
                return Err(unreadable(at, what.to_owned()));
            }
            Entries::None => Ok(Verdict::Drop),
            Entries::Kept => Ok(Verdict::Keep),
            Entries::Emitted { records, bytes } => {
                self.total_bytes += bytes;
                Ok(Verdict::Emit(records))
            }
            Entries::Forwarded { names, bytes, .. } => {
                self.total_bytes += bytes;
                Ok(Verdict::Route(names))
            }
            Entries::Failed(failure) => Err(failure),
            Entries::Over(hit) => Err(Failure::over(hit)),
        })
    }
}

/// One more record in the place of another.
fn emit(before: Entries, source: Option<&Record>, emitted: Emitted, limits: &Limits) -> Entries {
    let (mut records, mut bytes) = match before {
        Entries::Emitted { records, bytes } => (records, bytes),
        // It was alone until now.
        Entries::Kept => {
            let kept: Vec<Emitted> = source.cloned().map(Emitted::from).into_iter().collect();
            let bytes = kept.iter().map(|kept| record_bytes(&kept.record)).sum();
            (kept, bytes)
        }
        _ => (Vec::with_capacity(1), 0),
    };
    bytes += record_bytes(&emitted.record);
    records.push(emitted);
    let checked = limits.check_records(records.len()).and_then(|()| limits.check_bytes(bytes));
    checked.map_or_else(Entries::Over, |()| Entries::Emitted { records, bytes })
}

fn unreadable(at: usize, what: String) -> Malformed {
    Malformed::Unreadable { at, what }
}

/// Reads from the answer, never beyond its end.
struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let chunk = rest.first_chunk().ok_or_else(|| self.ends(N))?;
        self.at += N;
        Ok(*chunk)
    }

    fn ends(&self, wanted: usize) -> Malformed {
        let left = self.bytes.len().saturating_sub(self.at);
        unreadable(self.at, format!("{wanted} bytes are to follow and {left} do"))
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.chunk().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.chunk().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        self.chunk().map(i32::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, Malformed> {
        self.chunk().map(i64::from_le_bytes)
    }

    /// A slice of the answer, not copied.
    fn take(&mut self, length: usize) -> Result<Bytes, Malformed> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.ends(length))?;
        let taken = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(taken)
    }

    fn take_nullable(&mut self, length: i32) -> Result<Option<Bytes>, Malformed> {
        match usize::try_from(length) {
            Ok(length) => self.take(length).map(Some),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(unreadable(self.at, format!("a length is {length}"))),
        }
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.u32()? as usize;
        let at = self.at;
        let end = at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.ends(length))?;
        self.at = end;
        let bytes = self.bytes.get(at..end).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| unreadable(at, "a text is not UTF-8".to_owned()))
    }

    fn failure(&mut self) -> Result<Failure, Malformed> {
        let at = self.at;
        let reason = match self.u8()? {
            0 => FailureReason::BadMessage,
            1 => FailureReason::Failed,
            other => return Err(unreadable(at, format!("there is no fault {other}"))),
        };
        Ok(Failure::new(reason, self.text()?))
    }

    /// The partition and the record of an entry. A record over a limit is passed over.
    fn emitted(&mut self, source: Option<&Record>) -> Result<Result<Emitted, LimitHit>, Malformed> {
        let at = self.at;
        let partition = match self.i32()? {
            -1 => None,
            chosen => Some(
                u32::try_from(chosen)
                    .map_err(|_| unreadable(at, format!("a partition is {chosen}")))?,
            ),
        };
        let at = self.at;
        let size = self.u32()? as usize;
        let end = at.checked_add(size).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| unreadable(at, format!("a record of {size} bytes")))?;
        let headers = self.u32()? as usize;
        let _offset = self.i64()?;
        let timestamp = self.i64()?;
        let (key, value) = (self.i32()?, self.i32()?);
        let (key, value) = (self.take_nullable(key)?, self.take_nullable(value)?);
        if let Err(hit) = check_headers(headers) {
            self.at = end;
            return Ok(Err(hit));
        }
        let mut read = Vec::with_capacity(headers.min(end.saturating_sub(self.at) / HEADER));
        for _ in 0..headers {
            read.push(self.header()?);
        }
        if self.at != end {
            let took = self.at - at;
            return Err(unreadable(at, format!("a record of {size} bytes takes {took}")));
        }
        let offset = source.map_or(0, |source| source.offset);
        let record = Record { offset, timestamp, key, value, headers: read };
        Ok(Ok(Emitted { record, partition }))
    }

    fn header(&mut self) -> Result<Header, Malformed> {
        let (name, value) = (self.u32()? as usize, self.i32()?);
        let at = self.at;
        let key = self.take(name)?;
        if std::str::from_utf8(&key).is_err() {
            return Err(unreadable(at, "the name of a header is not UTF-8".to_owned()));
        }
        Ok(Header { key, value: self.take_nullable(value)? })
    }
}

#[cfg(test)]
mod tests;
