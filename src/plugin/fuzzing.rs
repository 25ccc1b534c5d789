//! A guest's answers and compiled components for a fuzzer; see `crate::fuzzing`.

use std::cell::OnceCell;
use std::path::PathBuf;

use bytes::Bytes;

use super::cache::Cache;
use super::contract::PluginKind;
use super::limits::Limits;
use super::outcome::{Emitted, Processed, Verdict};
use super::packed::{self, Batch, Terms};
use crate::record::Record;

const KINDS: [Option<PluginKind>; 4] =
    [None, Some(PluginKind::Filter), Some(PluginKind::Transformer), Some(PluginKind::Router)];

/// How many records there are and what is asked of their step; then a guest's answer.
pub(crate) fn packed(data: &[u8]) {
    let Some((&[how, count], bytes)) = data.split_first_chunk() else { return };
    let kind = KINDS[usize::from(how & 3)];
    let limits = match how & 4 {
        0 => Limits::default(),
        _ => Limits { output_records: 3, output_bytes: 200, ..Limits::default() },
    };
    let record = |offset| Record {
        offset,
        timestamp: 1,
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(b"value")),
        headers: Vec::new(),
    };
    let records: Vec<Record> = (0..i64::from(count & 31)).map(record).collect();
    let mut out = vec![Ok(Verdict::Drop)];
    let terms = Terms { limits: &limits, kind };
    match packed::decode(bytes.to_vec(), &records, terms, &mut out) {
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert_eq!(out, [Ok(Verdict::Drop)], "nothing is left of an answer that is none");
        }
        Ok(bytes) => {
            assert_eq!(out.len(), 1 + records.len());
            assert!(bytes <= limits.lift_bytes(size_of::<Emitted>()), "{bytes} bytes");
            for (result, record) in out[1..].iter().zip(&records) {
                within(result.as_ref().ok(), record, &limits);
            }
        }
    }
}

fn within(verdict: Option<&Verdict>, source: &Record, limits: &Limits) {
    match verdict {
        Some(Verdict::Emit(emitted)) => {
            assert!((1..=limits.output_records).contains(&emitted.len()));
            assert!(emitted.iter().all(|emitted| emitted.record.offset == source.offset));
        }
        Some(Verdict::Route(names)) => {
            assert!((1..=limits.output_records).contains(&names.len()));
            let others = |at: usize| &names[at + 1..];
            let twice = |at: usize| others(at).contains(&names[at]);
            assert!(!(0..names.len()).any(twice), "each name once: {names:?}");
        }
        _ => {}
    }
}

/// The batch that a guest is given of as many of these records as can be shown to one.
pub fn show(records: &[Record]) -> Option<(usize, Vec<u8>)> {
    let batch = Batch::of(records, (usize::MAX, usize::MAX)).ok()?;
    Some((batch.records().len(), batch.to_vec()))
}

/// What a guest's answer to these records comes to; what is wrong with it, if it is none.
pub fn answer(answer: Vec<u8>, records: &[Record]) -> Result<Processed, String> {
    let (limits, mut out) = (Limits::default(), Vec::new());
    let terms = Terms { limits: &limits, kind: None };
    packed::decode(answer, records, terms, &mut out).map_err(|error| error.to_string())?;
    Ok(out)
}

/// A file of the folder of compiled components, which is machine code: whatever it holds, what is
/// not this broker's is not loaded.
pub(crate) fn compiled(file: &[u8]) {
    thread_local! {
        static CACHE: OnceCell<(tempfile::TempDir, Cache)> = const { OnceCell::new() };
    }
    CACHE.with(|cell| {
        let (_, cache) = cell.get_or_init(|| {
            let made = || {
                let folder = tempfile::tempdir()?;
                let cache = Cache::open(folder.path(), &wasmtime::Engine::default())?;
                std::io::Result::Ok((folder, cache))
            };
            made().unwrap_or_else(|error| panic!("{error}"))
        });
        let path: PathBuf = cache.path("00");
        let written = std::fs::write(&path, file);
        written.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(cache.load("00"), None);
        cache.store("00", file);
        assert_eq!(cache.load("00").as_deref(), Some(file));
    });
}
