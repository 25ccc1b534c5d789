//! The rules of the house that a machine can hold: imports run downwards, each heavy dependency
//! has one owner, files, functions and lines stay short.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;
const LINE_COLUMNS: usize = 100;

/// What each room may name of the others; of those on a line above, everything.
const LAYERS: &[(&str, &[&str])] = &[
    ("types", &["limits", "random"]),
    ("limits", &[]),
    ("random", &[]),
    ("planted", &[]),
    ("clock", &["types"]),
    ("record", &["types", "limits", "clock"]),
    ("storage", &["types", "limits", "clock", "record", "random", "planted"]),
    ("plugin", &["types", "limits", "clock", "record", "random"]),
    ("broker", &["types", "limits", "clock", "record", "storage", "planted"]),
    ("kafka", &["types", "limits", "clock", "record", "broker"]),
    ("pipeline", &["types", "limits", "clock", "record", "plugin", "broker"]),
    (
        "simulation",
        &[
            "types", "limits", "clock", "record", "random", "planted", "plugin", "storage",
            "broker", "pipeline",
        ],
    ),
    ("http", &["types", "limits", "clock", "record", "broker", "pipeline"]),
    (
        "fuzzing",
        &["types", "limits", "record", "plugin", "storage", "kafka", "pipeline", "http", "config"],
    ),
    ("config", &["types", "limits", "clock", "kafka"]),
    (
        "server",
        &["types", "limits", "clock", "broker", "plugin", "kafka", "pipeline", "http", "config"],
    ),
    (
        "cli",
        &[
            "types", "limits", "clock", "record", "plugin", "broker", "pipeline", "config",
            "server", "http",
        ],
    ),
];

/// Who alone names a dependency.
const OWNERS: &[(&str, &[&str])] = &[
    ("redb", &["storage"]),
    ("wasmtime", &["plugin"]),
    ("axum", &["http"]),
    ("clap", &["cli"]),
    ("ureq", &["cli"]),
    ("indicatif", &["cli"]),
    ("notify", &["cli"]),
    ("toml", &["pipeline", "config", "cli"]),
    ("wasi_preview1_component_adapter_provider", &["cli"]),
    ("wit_component", &["cli"]),
    ("wit_parser", &["cli"]),
    ("wasm_encoder", &["cli"]),
    ("wat", &["cli", "plugin"]),
    ("crc32c", &["record"]),
    ("flate2", &["record"]),
    ("lz4_flex", &["record"]),
    ("snap", &["record"]),
    ("zstd", &["record"]),
    ("postcard", &["storage", "pipeline"]),
    ("rustix", &["storage", "plugin", "broker"]),
];

/// Rooms without a runtime.
const SYNCHRONOUS: &[&str] = &["types", "limits", "clock", "record", "storage", "plugin", "config"];

struct Source {
    path: PathBuf,
    room: String,
    text: String,
}

fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Guests have a house of their own, foreign clients are foreign.
                if !["target", "clients"].iter().any(|name| path.ends_with(name)) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inner = path.strip_prefix(&root).unwrap();
                let room = inner.iter().next().unwrap().to_str().unwrap();
                let room = room.trim_end_matches(".rs").to_owned();
                sources.push(Source { text: fs::read_to_string(&path).unwrap(), path, room });
            }
        }
    }
    assert!(!sources.is_empty());
    sources
}

/// Lines with their numbers, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The words of a line that are followed by `::`, preceded by no part of a path.
fn path_heads(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("::").filter_map(move |(at, _)| {
        let head = &line[..at];
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let start = head.rfind(|c| !word(c)).map_or(0, |i| i + 1);
        (!head[..start].ends_with("::")).then_some(&head[start..])
    })
}

#[test]
fn imports_run_downwards() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for Source { path, room, text } in sources("src") {
        if room == "main" || room == "lib" {
            continue;
        }
        let Some(allowed) = layers.get(room.as_str()) else {
            panic!("{} stands in no layer", path.display());
        };
        for (number, line) in code(&text) {
            for (at, _) in line.match_indices("crate::") {
                let named = line[at + 7..].split(|c: char| !c.is_alphanumeric() && c != '_').next();
                let named = named.unwrap();
                if layers.contains_key(named) && named != room && !allowed.contains(&named) {
                    wrong.push(format!("{}:{number}: {room} names {named}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_heavy_dependency_has_its_owner() {
    let mut wrong = Vec::new();
    for Source { path, room, text } in sources("src") {
        for (number, line) in code(&text) {
            for head in path_heads(line) {
                let owners = OWNERS.iter().find(|(name, _)| *name == head);
                if owners.is_some_and(|(_, owners)| !owners.contains(&room.as_str())) {
                    wrong.push(format!("{}:{number}: {room} names {head}", path.display()));
                }
                if head == "tokio" && SYNCHRONOUS.contains(&room.as_str()) {
                    wrong.push(format!("{}:{number}: {room} is synchronous", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_functions_and_lines_are_short() {
    let mut wrong = Vec::new();
    for Source { path, text, .. } in sources("src").into_iter().chain(sources("tests")) {
        let path = path.display();
        let lines = text.lines().count();
        if lines > FILE_LINES {
            wrong.push(format!("{path}: {lines} lines"));
        }
        let mut function = None;
        for (number, line) in (1..).zip(text.lines()) {
            if line.chars().count() > LINE_COLUMNS {
                wrong.push(format!("{path}:{number}: {} columns", line.chars().count()));
            }
            let indent = line.len() - line.trim_start().len();
            let is_function = ["fn ", "async fn ", "const fn "].iter().any(|start| {
                let line = line.trim_start();
                let line = line.strip_prefix("pub").map_or(line, |rest| match rest.find(") ") {
                    Some(end) if rest.starts_with('(') => &rest[end + 2..],
                    _ => rest.trim_start(),
                });
                line.starts_with(start)
            });
            match function {
                None if is_function && !line.ends_with('}') && !line.ends_with(';') => {
                    function = Some((number, indent));
                }
                Some((start, at)) if indent == at && line.trim() == "}" => {
                    if number - start > FUNCTION_LINES {
                        wrong.push(format!("{path}:{start}: {} lines", number - start));
                    }
                    function = None;
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn facades_name_what_they_show() {
    for Source { path, text, .. } in sources("src") {
        for (number, line) in code(&text) {
            let glob = line.trim_start().starts_with("pub use") && line.contains('*');
            assert!(!glob, "{}:{number}: {line}", path.display());
        }
    }
}
