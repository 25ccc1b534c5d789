//! A component of C's library on WASI, in steps with and without.

use std::time::{SystemTime, UNIX_EPOCH};

use super::super::fixtures::{engine, logged, record};
use super::super::{Failure, FailureReason, Instance, Limits, Plugin, Settings, Verdict};

fn guest() -> Plugin {
    let path = "tests/fixtures/plugins/guest/guest.wasm";
    engine().load(&std::fs::read(path).unwrap()).unwrap()
}

fn instance(call_ms: u64) -> Instance {
    let limits = Limits { call_ms, ..Limits::default() };
    let (pipeline, step) = ("quakes".to_owned(), "1-guest".to_owned());
    guest().instance(Settings { pipeline, step, limits, wasi: true, ..Settings::default() })
}

/// The value that comes of one.
fn value(instance: &mut Instance, of: &'static str) -> Result<String, Failure> {
    match instance.process(&[record(of)]).remove(0)? {
        Verdict::Emit(records) => {
            let value = records[0].record.value.clone().unwrap();
            Ok(String::from_utf8(value.to_vec()).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_guest_has_clocks_and_random_numbers_and_no_files() {
    let mut guest = instance(10_000);
    let now_ms = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let before = now_ms();
    let told: u128 = value(&mut guest, "time").unwrap().parse().unwrap();
    assert!((before..=now_ms()).contains(&told), "{told}");
    assert_eq!(value(&mut guest, "sleep").unwrap(), "slept");
    let random = [(); 3].map(|()| value(&mut guest, "random").unwrap());
    assert!(random[0] != random[1] && random[1] != random[2], "{random:?}");
    assert_ne!(value(&mut instance(10_000), "random").unwrap(), random[0]);
    assert_eq!(value(&mut guest, "file").unwrap(), "no file, stdin -1");
}

#[test]
fn what_a_guest_prints_is_logged_a_line_a_line() {
    let text = logged(|| {
        assert_eq!(value(&mut instance(10_000), "output").unwrap(), "printed");
    });
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "INFO millstream::plugin::imports: to standard output step=\"quakes/1-guest\"",
            "WARN millstream::plugin::imports: to standard error: no home step=\"quakes/1-guest\"",
            "INFO millstream::plugin::imports: and on step=\"quakes/1-guest\"",
        ],
        "{text}"
    );
}

#[test]
fn a_guest_that_sleeps_too_long_or_ends_itself_fails_its_record_only() {
    let mut guest = instance(100);
    let failure = value(&mut guest, "long").unwrap_err();
    assert_eq!(failure.reason, FailureReason::Timeout);
    let mut guest = instance(10_000);
    let failure = value(&mut guest, "x").unwrap_err();
    assert_eq!(failure.reason, FailureReason::Trap);
    assert_eq!(failure.message, "the plugin ended itself: it called `exit`");
    assert_eq!(value(&mut guest, "sleep").unwrap(), "slept");
}

#[test]
fn a_step_without_wasi_does_not_run_it() {
    let plugin = guest();
    let imports = plugin.wasi_imports();
    assert!(imports.iter().any(|name| name.starts_with("wasi:clocks/wall-clock@0.2.")));
    let failure = value(&mut plugin.instance(Settings::default()), "time").unwrap_err();
    assert_eq!(failure.reason, FailureReason::Contract);
    assert!(failure.message.ends_with("has no `wasi = true`"), "{failure}");
}
