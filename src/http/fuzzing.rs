//! Bodies and queries for a fuzzer; see `crate::fuzzing`.

use axum::body::Bytes;
use axum::extract::Query;
use axum::http::Uri;

use super::deployments;
use super::error::parse;
use super::records::{ConsumeQuery, parse_records};
use super::shapes::{Backup, TopicNew};
use crate::limits::HTTP_RECORDS;
use crate::pipeline::component_paths;
use crate::record::{BatchBuilder, Compression, Header};
use crate::types::TopicName;

/// The first byte says what the rest is sent to.
pub(crate) fn body(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let body = Bytes::copy_from_slice(rest);
    match kind {
        0 => produced(&body),
        1 => {
            if let Ok(TopicNew { name, .. }) = parse(&body) {
                let _ = TopicName::new(&name);
            }
        }
        2 => {
            if let Ok(bundle) = deployments::read(&body) {
                let _ = component_paths(&bundle.manifest);
            }
        }
        3 => {
            if let Ok(Backup { to }) = parse(&body) {
                assert!(to.len() <= body.len());
            }
        }
        _ => {
            let Ok(query) = std::str::from_utf8(rest) else { return };
            let Ok(uri) = Uri::try_from(format!("/v1/topics/t/records?{query}")) else { return };
            let _ = Query::<ConsumeQuery>::try_from_uri(&uri);
        }
    }
}

/// What is taken as records is what ends up in a batch.
fn produced(body: &Bytes) {
    let Ok(records) = parse_records(body) else { return };
    assert!(records.len() <= HTTP_RECORDS);
    let mut builder = BatchBuilder::new(Compression::None);
    let mut pushed = Vec::new();
    for record in records {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let timestamp = record.timestamp.unwrap_or(0);
        // Timestamps may lie too far apart for one batch.
        if builder.push(timestamp, key, value, &record.headers).is_ok() {
            pushed.push((timestamp, record));
        }
    }
    if pushed.is_empty() {
        return;
    }
    let batch = builder.build().unwrap_or_else(|error| panic!("{error}"));
    let read = batch.records().into_iter().flatten().map_while(Result::ok);
    let read = read.map(|record| (record.timestamp, record.key, record.value, record.headers));
    let sent = pushed.into_iter();
    type Sent = (i64, Option<Bytes>, Option<Bytes>, Vec<Header>);
    let sent = sent.map(|(at, record)| -> Sent { (at, record.key, record.value, record.headers) });
    assert!(read.eq(sent), "what is sent is what is stored");
}
