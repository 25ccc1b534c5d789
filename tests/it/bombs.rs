//! Components made to break a compiler: a broker refuses them, and serves on meanwhile.

use std::fmt::Write;
use std::path::Path;
use std::thread;

use millstream::kafka::messages::ErrorCode;

use crate::client::{Client, batch};
use crate::util::{Broker, run, stderr};

/// Loops in loops, and in the innermost one all the locals there can be: each loop passes each of
/// them on, which makes a hundred million values of a few hundred kilobytes.
fn function() -> String {
    let (locals, depth) = (49_000, 2_000);
    let mut text = format!("(component (core module (func (local{})", " i32".repeat(locals));
    text += &" loop".repeat(depth);
    for local in 0..locals {
        write!(text, " local.get {local} i32.const 1 i32.add local.set {local}").unwrap();
    }
    text + &" local.get 0 br_if 0 end".repeat(depth) + ")))"
}

/// A type in a type in a type.
fn types() -> String {
    let mut text = "(component (type (list u8))".to_owned();
    for inner in 0..10_000 {
        write!(text, " (type (list {inner}))").unwrap();
    }
    text + ")"
}

fn deploy(broker: &Broker, folder: &Path, bomb: &[u8]) -> String {
    std::fs::write(folder.join("bomb.wasm"), bomb).unwrap();
    let manifest = folder.join("bomb.toml");
    let text = "[plugin]\nbomb.component = 'bomb.wasm'\n[[topic]]\nname = 'in'\n\
                [[pipeline]]\nname = 'bomb'\nsource = 'in'\noutput = 'out'\n\
                [[pipeline.step]]\nfilter = 'bomb'\n";
    std::fs::write(&manifest, text).unwrap();
    let refused = run(&["deploy", "--server", broker.http(), manifest.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    stderr(&refused)
}

#[test]
fn a_component_that_breaks_the_compiler_costs_nobody_else_anything() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.create_topic("t", &[]);
    let bombs = [types(), function()].map(|text| wat::parse_str(text).unwrap());
    let refusals = thread::scope(|scope| {
        let deploying = scope.spawn(|| bombs.map(|bomb| deploy(&broker, folder.path(), &bomb)));
        let mut produced = 0;
        while !deploying.is_finished() {
            let records = batch(&[format!("{produced}")], None);
            let acknowledged = client.produce("t", 0, &records).unwrap();
            assert_eq!(acknowledged.error_code, ErrorCode::None);
            produced += 1;
        }
        assert!(produced > 0);
        deploying.join().unwrap()
    });
    for refusal in &refusals {
        assert!(refusal.contains("the component does not compile: "), "{refusal}");
    }
    let broken = "the compiler broke on it (signal: 6 (SIGABRT)); it may take 3072 MiB";
    assert!(refusals[1].contains(broken), "{}", refusals[1]);
}
