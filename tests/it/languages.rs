//! One pipeline whose steps are written in ten languages, through the real binary: what is
//! committed here, all ten where the large components have been built.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::util::{run, succeeded};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The plugins whose components are too large to be committed.
const LARGE: [&str; 2] = ["units", "validate"];

/// The manifest of the example, with the paths of its components made absolute.
fn manifest() -> String {
    let path = Path::new(ROOT).join("examples/languages/languages.toml");
    std::fs::read_to_string(path).unwrap().replace("../..", ROOT)
}

/// The manifest without what has to do with these plugins. Its parts are divided by empty lines.
fn without(manifest: &str, plugins: &[&str]) -> String {
    let names = |part: &&str| {
        let quoted = |plugin| part.contains(&format!(" = \"{plugin}\""));
        plugins.iter().any(|plugin| part.contains(&format!("[plugin.{plugin}]")) || quoted(plugin))
    };
    let parts: Vec<&str> = manifest.split("\n\n").filter(|part| !names(part)).collect();
    parts.join("\n\n")
}

/// The languages of the plugins that a manifest names.
fn languages(manifest: &str) -> BTreeSet<String> {
    let plugins = manifest.lines().filter_map(|line| {
        let name = line.strip_prefix("[plugin.")?;
        name.split(']').next()
    });
    let language = |plugin: &str| {
        let path = Path::new(ROOT).join("plugins").join(plugin).join("plugin.toml");
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("language = ")).unwrap();
        line.trim_matches('"').to_owned()
    };
    plugins.map(language).collect()
}

/// What the plugin `sample` says of a key, computed anew.
fn is_sampled(key: &str, percent: u64) -> bool {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (hash ^ (hash >> 33)) % 1_000_000 < percent * 10_000
}

/// Ids of the earthquakes from a magnitude of 2.5 on, all of them, and those from 5 on.
fn sampled(names: &[&str]) -> (u64, u64) {
    let (mut all, mut major) = (0, 0);
    for name in names {
        let text = std::fs::read_to_string(Path::new(ROOT).join("examples").join(name)).unwrap();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let quake: Value = serde_json::from_str(line).unwrap();
            let magnitude = quake["properties"]["mag"].as_f64().unwrap_or(0.0);
            let strong = (2.5..=10.0).contains(&magnitude);
            if strong && is_sampled(quake["id"].as_str().unwrap(), 50) {
                all += 1;
                major += u64::from(magnitude >= 5.0);
            }
        }
    }
    (all, major)
}

/// Feeds the pipeline, and compares what comes out with what was computed without it. `depth` is
/// the depth of the made-up earthquake in the end.
fn comes_out_as_computed(manifest: &str, depth: &str, too_strong_is_bad: bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.toml");
    std::fs::write(&path, manifest).unwrap();
    let files = ["earthquakes/earthquakes.ndjson", "languages/made-up.ndjson"];
    let inputs = files.map(|name| format!("--input=quakes={ROOT}/examples/{name}"));
    let dev = ["dev", path.to_str().unwrap(), "--once", "--json", "--show", "all"];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let events = succeeded(&run(&[&dev[..], &inputs].concat()));
    let events: Vec<Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();

    let topics = &events.last().unwrap()["topics"];
    let (all, major) = sampled(&files);
    let count = |topic: &str| topics[format!("quakes.{topic}")].as_u64().unwrap();
    let unsampled = u64::from(!too_strong_is_bad && is_sampled("made-up-2", 50));
    assert_eq!(count("alaska") + count("california") + count("elsewhere"), all + unsampled);
    assert_eq!(count("major"), major + unsampled);
    assert_eq!(count("bad"), u64::from(too_strong_is_bad));
    assert!(all > 100 && major > 10, "{all}, {major}");

    let record = events
        .iter()
        .find(|event| event["topic"] == "quakes.alaska" && event["record"]["key"] == "made-up-1")
        .expect("the made-up earthquake");
    let expected = r#"{"id":"made-up-1","time":"2018-01-31T02:00:31.826Z","magnitude":6.1,"#
        .to_owned()
        + r#""magnitude_type":"mw","place":"5km N of [email], Alaska","region":"Alaska","#
        + &format!(r#""longitude":-150.06,"latitude":61.25,{depth},"tsunami":false,"#)
        + r#""felt":null,"url":"***"}"#;
    assert_eq!(record["record"]["value"], expected);
}

#[test]
fn a_pipeline_of_all_languages_that_are_committed() {
    let manifest = without(&manifest(), &LARGE);
    assert_eq!(languages(&manifest).len(), 8, "{:?}", languages(&manifest));
    comes_out_as_computed(&manifest, "\"depth_km\":10", false);
}

#[test]
#[ignore = "needs the large components: plugins/build.sh units validate"]
fn a_pipeline_of_ten_languages() {
    let manifest = manifest();
    assert_eq!(languages(&manifest).len(), 10, "{:?}", languages(&manifest));
    comes_out_as_computed(&manifest, "\"depth_mi\":6.21", true);
}
