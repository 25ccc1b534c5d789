//! `millstream plugin`, as the author of a plugin meets it. Only the languages that need no
//! toolchain are built here; `plugins/check.sh --new` does the same with all of them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::util::{millstream, run, stderr, stdout, succeeded};

const PLUGINS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins");

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Runs `millstream plugin`.
fn plugin(args: &[&str]) -> std::process::Output {
    run(&[&["plugin"], args].concat())
}

/// A new plugin in a folder of its own, not built yet.
fn new(kind: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine").to_str().unwrap().to_owned();
    succeeded(&plugin(&["new", "mine", "--language", "wat", "--kind", kind, "--folder", &path]));
    (folder, path)
}

/// A component of one of the host's fixtures, in a folder.
fn fixture(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plugins").join(name);
    let path = folder.path().join("fixture.wasm");
    std::fs::write(&path, wat::parse_file(text).unwrap()).unwrap();
    (folder, path)
}

#[test]
fn a_new_plugin_builds_and_passes_its_test_at_once() {
    for kind in ["filter", "transform", "route"] {
        let (_folder, path) = new(kind);
        let output = plugin(&["test", &path]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("plugin build"), "{}", stderr(&output));
        succeeded(&plugin(&["build", &path]));
        let said = succeeded(&plugin(&["test", &path]));
        assert!(said.starts_with("4 records: "), "{said}");
        assert!(said.contains("compiled in") && said.contains("MiB of memory"), "{said}");
        if kind == "transform" {
            let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/plugins");
            let (input, expect) = ("records.ndjson", "records-shouted.ndjson");
            let files = [input, expect].map(|name| format!("{fixtures}/{name}"));
            let test = ["test", &path, "--records", "--input", &files[0], "--expect", &files[1]];
            succeeded(&plugin(&test));
        }
    }
}

#[test]
fn nothing_that_is_there_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("work"), "of somebody").unwrap();
    let path = folder.path().to_str().unwrap();
    let new = ["new", "mine", "--language", "c", "--kind", "filter", "--folder", path];
    let output = plugin(&new);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is not empty"), "{}", stderr(&output));
    for wrong in [
        &["new", "Mine", "--language", "c", "--kind", "filter"][..],
        &["new", "mine", "--language", "cobol", "--kind", "filter"],
        &["new", "mine", "--language", "c"],
        &["test", "--config", "minimum"],
        &["bench", "--time-ms", "0"],
    ] {
        assert_eq!(plugin(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_source_that_does_not_compile_is_shown_with_its_place() {
    let (_folder, path) = new("filter");
    std::fs::write(format!("{path}/mine.wat"), "(module\n  (memry 1))").unwrap();
    let output = plugin(&["build", &path]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("mine.wat:2") && said.contains("memry"), "{said}");
    std::fs::write(format!("{path}/mine.wat"), "(module)").unwrap();
    let said = stderr(&plugin(&["build", &path]));
    assert!(said.contains("no component can be made"), "{said}");
}

#[test]
fn a_toolchain_that_is_missing_is_named_with_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    for (language, says) in [
        ("rust", "cargo is not installed; see https://rustup.rs"),
        ("go", "go is not installed; see https://go.dev"),
        ("c", "zig or python-zig is not installed; `pip install"),
        ("python", "componentize-py is not installed; `pip install"),
        ("typescript", "npm is not installed; it comes with Node.js"),
    ] {
        let path = folder.path().join(language);
        let path = path.to_str().unwrap();
        let new = ["new", "mine", "--language", language, "--kind", "filter", "--folder", path];
        succeeded(&plugin(&new));
        let output = millstream().args(["plugin", "build", path]).env("PATH", "").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
}

#[test]
fn a_difference_is_shown_and_fails() {
    let (_folder, path) = new("route");
    succeeded(&plugin(&["build", &path]));
    let expect = format!("{path}/tests/expect.ndjson");
    let expected = std::fs::read_to_string(&expect).unwrap().replacen("json", "yaml", 1);
    std::fs::write(&expect, expected + "{\"line\":5,\"outcome\":\"keep\"}\n").unwrap();
    let output = plugin(&["test", &path]);
    assert_eq!(output.status.code(), Some(1));
    let said = stdout(&output);
    assert!(
        said.contains(r#"expected  {"line":1,"outcome":"route","outputs":["yaml"]}"#),
        "{said}"
    );
    assert!(
        said.contains(r#"found     {"line":1,"outcome":"route","outputs":["json"]}"#),
        "{said}"
    );
    assert!(said.contains("found     nothing"), "{said}");
    assert!(stderr(&output).contains("2 differences from"), "{}", stderr(&output));

    let output = plugin(&["test", &path, "--json"]);
    let lines: Vec<Value> = stdout(&output).lines().map(json).collect();
    assert_eq!(lines[0]["expected"]["outputs"][0], "yaml");
    assert_eq!(lines[2]["summary"]["differences"], 2);

    succeeded(&plugin(&["test", &path, "--write", &expect]));
    succeeded(&plugin(&["test", &path]));
}

#[test]
fn what_comes_of_each_record_is_printed() {
    let strong = format!("{PLUGINS}/strong/strong.wasm");
    let input = format!("{PLUGINS}/strong/tests/input.ndjson");
    let test = ["test", &strong, "--input", &input];
    let output = plugin(&[&test[..], &["--config", "minimum=2.5"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = stdout(&output);
    assert!(
        said.contains("    1  drop\n") && said.contains("  FAIL bad-message: not JSON"),
        "{said}"
    );
    assert!(stderr(&output).ends_with("records failed\n"), "{}", stderr(&output));

    let output = plugin(&[&test[..], &["--json"]].concat());
    let lines: Vec<Value> = stdout(&output).lines().map(json).collect();
    assert_eq!((&lines[0]["outcome"], &lines[0]["reason"]), (&"fail".into(), &"failed".into()));
    let summary = &lines.last().unwrap()["summary"];
    assert_eq!(summary["failed"], summary["records"]);
    assert!(summary["memory_bytes"].as_u64().unwrap() > 65_536, "{summary}");
}

#[test]
fn a_plugin_is_tried_with_whole_records_its_limits_and_its_log() {
    let (folder, component) = fixture("faults.wat");
    let component = component.to_str().unwrap();
    let input = folder.path().join("in");
    let records = r#"{"key":"k","value":"x","headers":[{"key":"h","value":"1"}],"timestamp":5,
"topic":"t","partition":0,"offset":3}"#;
    let records = records.replace('\n', "") + "\n{\"value\":\"L\"}\n";
    std::fs::write(&input, records).unwrap();
    let input = input.to_str().unwrap();
    let output = plugin(&["test", component, "--input", input, "--records"]);
    let said = succeeded(&output);
    assert!(said.contains("    1  emit 1 record\n         k  x  h: 1  @5\n"), "{said}");
    assert!(stderr(&output).contains("broken step="), "{}", stderr(&output));
    std::fs::write(input, "{\"value\":\"s\"}\n{\"sauce\":1}\n").unwrap();
    let output = plugin(&["test", component, "--input", input, "--records", "--call-ms", "50"]);
    assert!(stdout(&output).contains("FAIL timeout: the plugin ran longer than 50 ms"));
    assert!(stderr(&output).contains("line 2: not a record"), "{}", stderr(&output));
}

#[test]
fn inspect_tells_what_a_component_is() {
    let strong = format!("{PLUGINS}/strong/strong.wasm");
    let said = succeeded(&plugin(&["inspect", &strong]));
    for part in
        ["processor-plugin, contract 0.1.0", "millstream:plugin/config@0.1.0", "sha-256", "MiB"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    let told = json(&succeeded(&plugin(&["inspect", &format!("{PLUGINS}/by-region"), "--json"])));
    assert_eq!((&told["kind"], &told["world"]), (&"router".into(), &"router-plugin".into()));
    let length = std::fs::metadata(format!("{PLUGINS}/by-region/by-region.wasm")).unwrap().len();
    assert_eq!(told["bytes"], length);

    let (folder, no_plugin) = fixture("no-plugin.wat");
    let output = plugin(&["inspect", no_plugin.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is no plugin"), "{}", stderr(&output));
    let module = folder.path().join("module.wasm");
    std::fs::write(&module, wat::parse_str("(module)").unwrap()).unwrap();
    let output = plugin(&["inspect", module.to_str().unwrap()]);
    assert!(stderr(&output).contains("a core WebAssembly module"), "{}", stderr(&output));
}

#[test]
fn bench_measures_beside_a_plugin_that_does_nothing() {
    let strong = format!("{PLUGINS}/strong");
    let bench = ["bench", &strong, "--time-ms", "20"];
    let lines = succeeded(&plugin(&[&bench[..], &["--json"]].concat()));
    let lines: Vec<Value> = lines.lines().map(json).collect();
    assert_eq!((&lines[0]["plugin"], &lines[0]["language"]), (&"strong".into(), &"rust".into()));
    assert_eq!((lines.len(), &lines[1]["plugin"]), (2, &"(identity)".into()));
    for measured in &lines {
        assert!(measured["records_per_second"].as_f64().unwrap() > 1.0, "{measured}");
        assert!(measured["memory_bytes"].as_u64().unwrap() >= 65_536, "{measured}");
    }
    let said = succeeded(&plugin(&bench));
    assert!(said.contains("(identity)") && said.contains("of the records failed"), "{said}");
}

#[test]
fn the_committed_plugins_pass_their_own_tests() {
    let mut tested = 0;
    for entry in std::fs::read_dir(PLUGINS).unwrap() {
        let folder = entry.unwrap().path();
        let path = folder.to_str().unwrap();
        // The large ones are tested where they are built: plugins/check.sh --large.
        if folder.join("plugin.toml").exists() && folder.join("component.lock").exists() {
            let said = succeeded(&plugin(&["test", path]));
            assert!(said.contains(" records: "), "{said}");
            tested += 1;
        }
    }
    assert!(tested >= 8, "{tested}");
}
