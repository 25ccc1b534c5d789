//! The typed worlds: one record a call, lowered from borrowed bytes and lifted into owned ones.

use std::collections::HashSet;

use bytes::Bytes;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::limits::RECORD_HEADERS;
use crate::record::{Header, Record};

use super::contract::PluginKind;
use super::contract::bindings::exports::millstream::plugin::{filter, router, transformer};
use super::contract::bindings::millstream::plugin::types::{
    Error, HeaderParam, HeaderResult, MessageParam, MessageResult,
};
use super::imports::Host;
use super::limits::{LimitHit, LimitKind, Limits};
use super::outcome::{Failure, FailureReason, Verdict};

/// What lifting one output record takes beside its bytes.
pub(super) const RECORD_SIZE: usize = size_of::<MessageResult>();

/// Where a component's function is found; looked up once a plugin.
pub(super) enum Exports {
    Filter(filter::GuestIndices),
    Transformer(transformer::GuestIndices),
    Router(router::GuestIndices),
}

impl Exports {
    pub(super) fn new(kind: PluginKind, pre: &InstancePre<Host>) -> wasmtime::Result<Self> {
        Ok(match kind {
            PluginKind::Filter => Self::Filter(filter::GuestIndices::new(pre)?),
            PluginKind::Transformer => Self::Transformer(transformer::GuestIndices::new(pre)?),
            PluginKind::Router => Self::Router(router::GuestIndices::new(pre)?),
        })
    }

    pub(super) fn load(
        &self,
        store: &mut Store<Host>,
        instance: &Instance,
    ) -> wasmtime::Result<Guest> {
        Ok(match self {
            Self::Filter(exports) => Guest::Filter(exports.load(store, instance)?),
            Self::Transformer(exports) => Guest::Transformer(exports.load(store, instance)?),
            Self::Router(exports) => Guest::Router(exports.load(store, instance)?),
        })
    }
}

/// An instance's function; looked up once an instance.
pub(super) enum Guest {
    Filter(filter::Guest),
    Transformer(transformer::Guest),
    Router(router::Guest),
}

/// What came of a call.
pub(super) enum Called {
    /// A verdict, with the bytes that it holds.
    Verdict(Verdict, usize),
    /// A failure after which the instance is as good as before.
    Refused(Failure),
    /// An error after which the instance is not to be used again.
    Broken(wasmtime::Error),
    /// The same, where the reason is known already.
    BrokenLimit(LimitHit),
}

impl Guest {
    pub(super) fn call(&self, store: &mut Store<Host>, record: &Record) -> Called {
        let headers = match record.headers.iter().map(lower_header).collect::<Result<Vec<_>, _>>() {
            Ok(headers) => headers,
            Err(failure) => return Called::Refused(failure),
        };
        let message = MessageParam {
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
            timestamp_ms: record.timestamp,
        };
        let limits = store.data().settings.limits;
        match self {
            Self::Filter(guest) => lift(guest.call_keep(store, message), |keep| {
                Ok((if keep { Verdict::Keep } else { Verdict::Drop }, 0))
            }),
            Self::Transformer(guest) => lift(guest.call_transform(store, message), |messages| {
                emit(record, messages, &limits)
            }),
            Self::Router(guest) => {
                lift(guest.call_route(store, message), |names| route(names, &limits))
            }
        }
    }
}

fn lower_header(header: &Header) -> Result<HeaderParam<'_>, Failure> {
    let name = std::str::from_utf8(&header.key).map_err(|_| {
        let shown = header.key[..header.key.len().min(64)].escape_ascii();
        let message = format!("the name of a header is not UTF-8: b\"{shown}\"");
        Failure::new(FailureReason::BadMessage, message)
    })?;
    Ok(HeaderParam { name, value: header.value.as_deref() })
}

fn lift<T>(
    called: wasmtime::Result<Result<T, Error>>,
    verdict: impl FnOnce(T) -> Result<(Verdict, usize), LimitHit>,
) -> Called {
    match called {
        Ok(Ok(value)) => match verdict(value) {
            Ok((verdict, bytes)) => Called::Verdict(verdict, bytes),
            Err(hit) => Called::BrokenLimit(hit),
        },
        Ok(Err(Error::BadMessage(text))) => {
            Called::Refused(Failure::new(FailureReason::BadMessage, text))
        }
        Ok(Err(Error::Failed(text))) => Called::Refused(Failure::new(FailureReason::Failed, text)),
        Err(error) => Called::Broken(error),
    }
}

fn emit(
    source: &Record,
    messages: Vec<MessageResult>,
    limits: &Limits,
) -> Result<(Verdict, usize), LimitHit> {
    check_count(messages.len(), limits)?;
    let mut bytes = 0;
    let mut records = Vec::with_capacity(messages.len());
    for message in messages {
        let count = message.headers.len();
        if count > RECORD_HEADERS {
            return Err(LimitHit::new(LimitKind::OutputHeaders, count, RECORD_HEADERS));
        }
        bytes += message_bytes(&message);
        records.push(Record {
            offset: source.offset,
            timestamp: message.timestamp_ms,
            key: message.key.map(Bytes::from),
            value: message.value.map(Bytes::from),
            headers: message.headers.into_iter().map(lift_header).collect(),
        });
    }
    check_bytes(bytes, limits)?;
    Ok((if records.is_empty() { Verdict::Drop } else { Verdict::Emit(records) }, bytes))
}

fn route(names: Vec<String>, limits: &Limits) -> Result<(Verdict, usize), LimitHit> {
    check_count(names.len(), limits)?;
    let bytes = names.iter().map(String::len).sum();
    check_bytes(bytes, limits)?;
    let mut seen = HashSet::with_capacity(names.len());
    let first: Vec<bool> = names.iter().map(|name| seen.insert(name.as_str())).collect();
    let mut first = first.into_iter();
    let mut names = names;
    names.retain(|_| first.next().unwrap_or(true));
    Ok((if names.is_empty() { Verdict::Keep } else { Verdict::Route(names) }, bytes))
}

fn check_count(count: usize, limits: &Limits) -> Result<(), LimitHit> {
    if count > limits.output_records {
        return Err(LimitHit::new(LimitKind::OutputRecords, count, limits.output_records));
    }
    Ok(())
}

fn check_bytes(bytes: usize, limits: &Limits) -> Result<(), LimitHit> {
    if bytes > limits.output_bytes {
        return Err(LimitHit::new(LimitKind::OutputBytes, bytes, limits.output_bytes));
    }
    Ok(())
}

/// What a message takes here, so that one without contents is not free.
fn message_bytes(message: &MessageResult) -> usize {
    let value = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
    let header =
        |header: &HeaderResult| size_of::<Header>() + header.name.len() + value(&header.value);
    let headers: usize = message.headers.iter().map(header).sum();
    size_of::<Record>() + value(&message.key) + value(&message.value) + headers
}

fn lift_header(header: HeaderResult) -> Header {
    Header { key: Bytes::from(header.name), value: header.value.map(Bytes::from) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_named_twice_count_once_and_keep_their_order() {
        let names = ["b", "a", "b", "c", "a"].map(str::to_owned).to_vec();
        let (verdict, _) = route(names, &Limits::default()).unwrap();
        assert_eq!(verdict, Verdict::Route(["b", "a", "c"].map(str::to_owned).to_vec()));
        assert_eq!(route(Vec::new(), &Limits::default()), Ok((Verdict::Keep, 0)));
    }

    #[test]
    fn a_message_without_contents_is_not_free() {
        let header = || HeaderResult { name: String::new(), value: None };
        let mut message =
            MessageResult { key: None, value: None, headers: Vec::new(), timestamp_ms: 0 };
        assert_eq!(message_bytes(&message), size_of::<Record>());
        message.headers = vec![header(), header()];
        let expected = size_of::<Record>() + 2 * size_of::<Header>();
        assert_eq!(message_bytes(&message), expected);
    }
}
