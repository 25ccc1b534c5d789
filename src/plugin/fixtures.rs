//! What the tests of this room share: one engine, and components compiled from text.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;

use crate::record::{Header, Record};

use super::{Engine, Instance, Limits, Plugin, PluginError, Settings};

pub(super) const FAULTS: &str = include_str!("../../tests/fixtures/plugins/faults.wat");
pub(super) const FILTER: &str = include_str!("../../tests/fixtures/plugins/filter.wat");
pub(super) const ROUTER: &str = include_str!("../../tests/fixtures/plugins/router.wat");
pub(super) const PROCESSOR: &str = include_str!("../../tests/fixtures/plugins/processor.wat");
pub(super) const WASI: &str = include_str!("../../tests/fixtures/plugins/wasi.wat");
pub(super) const NO_PLUGIN: &str = include_str!("../../tests/fixtures/plugins/no-plugin.wat");
pub(super) const COMPOSED: &str = include_str!("../../tests/fixtures/plugins/composed.wat");

/// One for all tests: each takes TiB of address space.
pub(super) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new().unwrap())
}

pub(super) fn load(text: &str) -> Result<Plugin, PluginError> {
    engine().load(&wat::parse_str(text).unwrap())
}

/// The text with one place changed.
pub(super) fn with(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from}");
    text.replace(from, to)
}

/// A text of one module with a start function.
pub(super) fn with_start(text: &str, body: &str) -> String {
    let start = format!("(func $start {body}) (start $start)\n    (memory (export");
    with(text, "(memory (export", &start)
}

pub(super) fn instance(text: &str, limits: Limits) -> Instance {
    let config = [("c".to_owned(), "configured".to_owned())].into();
    load(text).unwrap().instance(Settings {
        pipeline: "quakes".to_owned(),
        step: "strong".to_owned(),
        topic: "raw".to_owned(),
        partition: 3,
        kind: None,
        config,
        limits,
        ..Settings::default()
    })
}

pub(super) fn record(value: &'static str) -> Record {
    Record {
        offset: 7,
        timestamp: 1_700_000_000_123,
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(value.as_bytes())),
        headers: vec![
            Header { key: Bytes::from_static(b"h"), value: Some(Bytes::from_static(b"1")) },
            Header { key: Bytes::from_static("ä".as_bytes()), value: None },
            Header { key: Bytes::from_static(b"h"), value: Some(Bytes::new()) },
        ],
    }
}

/// What the log holds after `work`.
pub(super) fn logged(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .without_time()
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
}
