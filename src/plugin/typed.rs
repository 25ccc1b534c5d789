//! The typed worlds: one record a call, lowered from borrowed bytes and lifted into owned ones.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::record::{Header, Record};

use super::contract::PluginKind;
use super::contract::bindings::exports::millstream::plugin::{filter, router, transformer};
use super::contract::bindings::millstream::plugin::types::{
    Error, HeaderParam, HeaderResult, MessageParam, MessageResult,
};
use super::imports::Host;
use super::limits::{LimitHit, Limits, check_headers, record_bytes};
use super::outcome::{Emitted, Failure, FailureReason, Verdict};

/// What lifting one output record takes beside its bytes.
pub(super) const RECORD_SIZE: usize = size_of::<MessageResult>();

/// Where a component's function is found; looked up once a plugin.
pub(super) enum Exports {
    Filter(filter::GuestIndices),
    Transformer(transformer::GuestIndices),
    Router(router::GuestIndices),
}

impl Exports {
    /// Nothing for a processor, which is none of the typed worlds.
    pub(super) fn new(kind: PluginKind, pre: &InstancePre<Host>) -> wasmtime::Result<Option<Self>> {
        Ok(Some(match kind {
            PluginKind::Filter => Self::Filter(filter::GuestIndices::new(pre)?),
            PluginKind::Transformer => Self::Transformer(transformer::GuestIndices::new(pre)?),
            PluginKind::Router => Self::Router(router::GuestIndices::new(pre)?),
            PluginKind::Processor => return Ok(None),
        }))
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
pub(super) enum Called<T> {
    /// What it was called for.
    Answered(T),
    /// A failure after which the instance is as good as before.
    Refused(Failure),
    /// An error after which the instance is not to be used again.
    Broken(wasmtime::Error),
    /// The same, where the reason is known already: a limit.
    BrokenLimit(LimitHit),
    /// The same: what is no answer.
    BrokenContract(String),
}

/// A verdict, with the bytes that it holds.
type Counted = (Verdict, usize);

impl Guest {
    pub(super) fn call(&self, store: &mut Store<Host>, record: &Record) -> Called<Counted> {
        let headers = match record.headers.iter().map(lower_header).collect::<Result<Vec<_>, _>>() {
            Ok(headers) => headers,
            Err(failure) => return Called::Refused(failure),
        };
        let message = MessageParam {
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
            timestamp_ms: record.timestamp,
            partition: None,
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
    Ok(HeaderParam { name: header_name(header)?, value: header.value.as_deref() })
}

/// A header's name, if a plugin can be shown it.
pub(super) fn header_name(header: &Header) -> Result<&str, Failure> {
    std::str::from_utf8(&header.key).map_err(|_| {
        let shown = header.key[..header.key.len().min(64)].escape_ascii();
        let message = format!("the name of a header is not UTF-8: b\"{shown}\"");
        Failure::new(FailureReason::BadMessage, message)
    })
}

fn lift<T>(
    called: wasmtime::Result<Result<T, Error>>,
    verdict: impl FnOnce(T) -> Result<Counted, LimitHit>,
) -> Called<Counted> {
    match called {
        Ok(Ok(value)) => match verdict(value) {
            Ok(counted) => Called::Answered(counted),
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
) -> Result<Counted, LimitHit> {
    limits.check_records(messages.len())?;
    let mut bytes = 0;
    let mut records = Vec::with_capacity(messages.len());
    for message in messages {
        check_headers(message.headers.len())?;
        let record = Record {
            offset: source.offset,
            timestamp: message.timestamp_ms,
            key: message.key.map(Bytes::from),
            value: message.value.map(Bytes::from),
            headers: message.headers.into_iter().map(lift_header).collect(),
        };
        bytes += record_bytes(&record);
        records.push(Emitted { record, partition: message.partition });
    }
    limits.check_bytes(bytes)?;
    Ok((if records.is_empty() { Verdict::Drop } else { Verdict::Emit(records) }, bytes))
}

fn route(names: Vec<String>, limits: &Limits) -> Result<Counted, LimitHit> {
    limits.check_records(names.len())?;
    let bytes = names.iter().map(String::len).sum();
    limits.check_bytes(bytes)?;
    let mut seen = HashSet::with_capacity(names.len());
    let names: Vec<Arc<str>> = names
        .iter()
        .filter(|name| seen.insert(name.as_str()))
        .map(|name| Arc::from(name.as_str()))
        .collect();
    Ok((if names.is_empty() { Verdict::Keep } else { Verdict::Route(names) }, bytes))
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
        assert_eq!(verdict, Verdict::Route(["b", "a", "c"].map(Arc::from).to_vec()));
        assert_eq!(route(Vec::new(), &Limits::default()), Ok((Verdict::Keep, 0)));
    }
}
