//! The SDK for plugins in Rust as this binary carries it, a crate like any other: nothing has to be
//! had from a registry or a checkout, and it fits the contract that this binary speaks.

use super::bindings::WIT;

/// Where it is put, in `gen/`.
const FOLDER: &str = "millstream-plugin";
const MANIFEST: &str = include_str!("../../../../plugins/sdk/Cargo.toml");
/// The files of its `src`, but for tests.
const SOURCES: &[(&str, &str)] = &[
    ("answer.rs", include_str!("../../../../plugins/sdk/src/answer.rs")),
    ("batch.rs", include_str!("../../../../plugins/sdk/src/batch.rs")),
    ("config.rs", include_str!("../../../../plugins/sdk/src/config.rs")),
    ("context.rs", include_str!("../../../../plugins/sdk/src/context.rs")),
    ("error.rs", include_str!("../../../../plugins/sdk/src/error.rs")),
    ("lib.rs", include_str!("../../../../plugins/sdk/src/lib.rs")),
    ("log.rs", include_str!("../../../../plugins/sdk/src/log.rs")),
    ("output.rs", include_str!("../../../../plugins/sdk/src/output.rs")),
    ("record.rs", include_str!("../../../../plugins/sdk/src/record.rs")),
    ("run.rs", include_str!("../../../../plugins/sdk/src/run.rs")),
    ("testing.rs", include_str!("../../../../plugins/sdk/src/testing.rs")),
];
/// What it has from the workspace that it is developed in.
const FROM_WORKSPACE: [(&str, &str); 4] = [
    ("version.workspace = true", concat!("version = \"", env!("CARGO_PKG_VERSION"), "\"")),
    ("edition.workspace = true", "edition = \"2024\""),
    ("license.workspace = true", "license = \"Apache-2.0\""),
    ("publish.workspace = true", "publish = false"),
];

/// Its files, by their paths in `gen/`.
pub(super) fn files() -> Vec<(String, String)> {
    let sources = SOURCES.iter().map(|(name, text)| (format!("src/{name}"), (*text).to_owned()));
    let wit = WIT.iter().map(|(name, text)| (format!("wit/{name}"), (*text).to_owned()));
    let manifest = ("Cargo.toml".to_owned(), manifest());
    let files = sources.chain(wit).chain([manifest]);
    files.map(|(path, text)| (format!("{FOLDER}/{path}"), text)).collect()
}

fn manifest() -> String {
    let mut manifest = MANIFEST.replace("\n[lints]\nworkspace = true\n", "");
    for (inherited, own) in FROM_WORKSPACE {
        manifest = manifest.replace(inherited, own);
    }
    manifest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_is_whole_and_stands_alone() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/sdk/src");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".rs"))
            .collect();
        there.sort();
        let carried: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
        assert_eq!(there, carried);
        let manifest = manifest();
        assert!(!manifest.contains("workspace = true"), "{manifest}");
        assert!(manifest.parse::<toml::Table>().is_ok(), "{manifest}");
    }
}
