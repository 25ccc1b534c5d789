//! The committed example plugins: do they do what they say, and do rebuilt ones do the same? Not a
//! test of the host, which has its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::{env, fs, slice};

use bytes::Bytes;
use millstream::plugin::{Emitted, Engine, Failure, FailureReason, Instance, Settings, Verdict};
use millstream::record::{Header, Record};

type Outcome = Result<Verdict, Failure>;

/// One for all tests: it keeps what it compiled for as long as anyone uses it.
static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new().expect("an engine"));

const STRONG: Example = Example { name: "strong", config: &[("minimum", "2.5")] };
const FLATTEN: Example = Example { name: "flatten", config: &[("digits", "1")] };
const BY_REGION: Example = Example {
    name: "by-region",
    config: &[("regions", "alaska, california,puerto-rico"), ("major", "5.0")],
};

/// An example plugin with a config to try it with.
struct Example {
    name: &'static str,
    config: &'static [(&'static str, &'static str)],
}

impl Example {
    fn committed(&self) -> Instance {
        self.configured(self.config)
    }

    fn configured(&self, config: &[(&str, &str)]) -> Instance {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(self.name);
        let config = config.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        load(&folder, self.name, &config.collect())
    }
}

fn load(folder: &Path, name: &str, config: &BTreeMap<String, String>) -> Instance {
    let path = folder.join(name).with_extension("wasm");
    let component = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let plugin = ENGINE.load(&component).expect(name);
    plugin.instance(Settings {
        step: name.to_owned(),
        config: config.clone(),
        ..Settings::default()
    })
}

fn record(value: impl Into<Bytes>) -> Record {
    Record { offset: 7, timestamp: 1, key: None, value: Some(value.into()), headers: Vec::new() }
}

/// Every line of the example's input, malformed ones included, and what no line can be.
fn input() -> Vec<Record> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/earthquakes");
    let mut records = Vec::new();
    for file in ["earthquakes.ndjson", "malformed.ndjson"] {
        let lines = fs::read_to_string(folder.join(file)).expect(file);
        records.extend(lines.lines().map(|line| record(line.to_owned())));
    }
    assert_eq!(records.len(), 1_712, "the examples' input");
    records.push(Record { value: None, ..record("") });
    records.push(record(""));
    records.push(record(vec![b'"', 0xff, b'"']));
    records
}

fn process(instance: &mut Instance, record: &Record) -> Outcome {
    instance.process(slice::from_ref(record)).pop().expect("a result")
}

fn process_all(instance: &mut Instance, records: &[Record]) -> Vec<Outcome> {
    records.iter().map(|record| process(instance, record)).collect()
}

/// What a bad message is told.
fn complaint(outcome: Outcome) -> String {
    let failure = outcome.expect_err("a failure");
    assert_eq!(failure.reason, FailureReason::BadMessage, "{failure}");
    failure.message
}

fn feature(magnitude: &str, place: &str) -> Record {
    record(format!(
        r#"{{"type":"Feature","id":"ak1","properties":{{"mag":{magnitude},"magType":"ml",
            "place":"{place}","time":1517364031826,"tsunami":1,"felt":null,"url":"http://é"}},
            "geometry":{{"type":"Point","coordinates":[-150.0625,61.25,-0.04]}}}}"#
    ))
}

#[test]
fn strong_drops_weak_earthquakes() {
    let mut strong = STRONG.committed();
    for (magnitude, verdict) in [
        ("2.5", Verdict::Keep),
        ("7", Verdict::Keep),
        ("2.49", Verdict::Drop),
        ("-0.3", Verdict::Drop),
        ("null", Verdict::Drop),
    ] {
        assert_eq!(process(&mut strong, &feature(magnitude, "sea")), Ok(verdict), "{magnitude}");
    }
    assert!(complaint(process(&mut strong, &record("hello"))).contains("not JSON"));
    assert!(complaint(process(&mut strong, &feature("\"big\"", "sea"))).contains("\"big\""));

    let outcomes = process_all(&mut strong, &input());
    let count = |wanted: &Verdict| outcomes.iter().flatten().filter(|v| *v == wanted).count();
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!((count(&Verdict::Keep), count(&Verdict::Drop), failed), (297, 1_410, 5 + 3));
}

#[test]
fn a_plugin_with_a_wrong_config_says_so() {
    for (example, name, wrong) in
        [(STRONG, "minimum", "weak"), (FLATTEN, "digits", "1.5"), (BY_REGION, "major", "big")]
    {
        let mut instance = example.configured(&[(name, wrong)]);
        let value = if example.name == "by-region" {
            record(r#"{"region":"sea","magnitude":1}"#)
        } else {
            feature("5", "sea")
        };
        let failure = process(&mut instance, &value).expect_err(example.name);
        assert_eq!(failure.reason, FailureReason::Failed, "{failure}");
        assert!(failure.message.contains(&format!("config `{name}`")), "{failure}");
    }
}

#[test]
fn flatten_makes_a_flat_record() {
    let mut flatten = FLATTEN.committed();
    let header = |name: &'static str, value: Option<&'static str>| Header {
        key: Bytes::from(name),
        value: value.map(Bytes::from),
    };
    let headers = vec![header("a", Some("1")), header("a", None), header("", Some(""))];
    let quake = Record { headers: headers.clone(), ..feature("5.25", "9km N of Île, Réunion") };

    let Ok(Verdict::Emit(records)) = process(&mut flatten, &quake) else { panic!("no record") };
    let [Emitted { record: flat, partition: None }] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(flat.key.as_deref(), Some(&b"ak1"[..]));
    assert_eq!(flat.timestamp, 1_517_364_031_826);
    assert_eq!(flat.headers, headers);
    let text = std::str::from_utf8(flat.value.as_deref().unwrap()).unwrap();
    let expected = r#"{"id":"ak1","time":"2018-01-31T02:00:31.826Z","magnitude":5.25,"#.to_owned()
        + r#""magnitude_type":"ml","place":"9km N of Île, Réunion","region":"Réunion","#
        + r#""longitude":-150.1,"latitude":61.3,"depth_km":0,"tsunami":true,"felt":null,"#
        + r#""url":"http://é"}"#;
    assert_eq!(text, expected);

    for (place, region) in [
        ("South of the Fiji Islands", "South of the Fiji Islands"),
        ("8km SW of Anza, CA", "California"),
        ("10km E of X, Y, Alaska", "Alaska"),
    ] {
        let verdict = process(&mut flatten, &feature("5", place)).unwrap();
        assert!(format!("{verdict:?}").contains(&format!(r#"\"region\":\"{region}\""#)), "{place}");
    }
    assert!(complaint(process(&mut flatten, &record("{}"))).contains("not a GeoJSON feature"));
}

#[test]
fn by_region_knows_the_listed_regions() {
    let mut by_region = BY_REGION.committed();
    for (value, outputs) in [
        (r#"{"region":"Alaska","magnitude":4.9}"#, &["alaska"][..]),
        (r#"{"region":"Puerto Rico","magnitude":5}"#, &["puerto-rico", "major"]),
        (r#"{"region":"Gulf of Alaska","magnitude":null}"#, &["elsewhere"]),
        (r#"{"id":"x","region":null,"magnitude":9.5,"felt":[1]}"#, &["elsewhere", "major"]),
    ] {
        let outputs = outputs.iter().map(|name| Arc::from(*name)).collect();
        assert_eq!(process(&mut by_region, &record(value)), Ok(Verdict::Route(outputs)), "{value}");
    }
    assert!(complaint(process(&mut by_region, &feature("5", "sea"))).contains("region"));
}

/// The names of the plugins whose components are committed.
fn committed() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
    let entries = fs::read_dir(folder).expect("plugins");
    let folders = entries.map(|entry| entry.expect("an entry").path());
    let folders = folders.filter(|folder| folder.join("component.lock").exists());
    folders.map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The configuration that a plugin is tested with, and its records.
fn own_test(name: &str) -> (BTreeMap<String, String>, Vec<Record>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(name);
    let about = fs::read_to_string(folder.join("plugin.toml")).expect(name);
    let about: toml::Table = about.parse().expect(name);
    let test = about["test"].as_table().expect(name);
    let config = test.get("config").and_then(toml::Value::as_table).into_iter().flatten();
    let config = config.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
    let lines = fs::read_to_string(folder.join("tests/input.ndjson")).expect(name);
    (config.collect(), lines.lines().map(|line| record(line.to_owned())).collect())
}

#[test]
#[ignore = "needs rebuilt components: MILLSTREAM_REBUILT names a folder"]
fn rebuilt_components_behave_like_the_committed_ones() {
    let folder = env::var_os("MILLSTREAM_REBUILT").expect("MILLSTREAM_REBUILT names a folder");
    let folder = PathBuf::from(folder);

    // Everything that any of them is tested with: most of it is what the others do not expect.
    let mut records = input();
    let flat = process_all(&mut FLATTEN.committed(), &records);
    let emitted = flat.into_iter().flatten().filter_map(|verdict| match verdict {
        Verdict::Emit(records) => Some(records),
        _ => None,
    });
    records.extend(emitted.flatten().map(|emitted| emitted.record));
    for name in committed() {
        records.extend(own_test(&name).1);
    }

    let mut compared = 0;
    for name in committed() {
        if !folder.join(&name).with_extension("wasm").exists() {
            continue;
        }
        let (config, _) = own_test(&name);
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
        let mut committed = load(&plugins.join(&name), &name, &config);
        let mut rebuilt = load(&folder, &name, &config);
        for record in &records {
            assert_eq!(
                process(&mut rebuilt, record),
                process(&mut committed, record),
                "{name} (left: rebuilt) on {record:?}"
            );
            compared += 1;
        }
    }
    assert!(compared > 0, "no component in {}", folder.display());
    println!("{compared} records compared");
}
