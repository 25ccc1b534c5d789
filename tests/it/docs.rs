//! Every command of `docs/plugins.md`, in order, as its reader types it. But for the language: this
//! one needs no toolchain, and `plugins/check.sh --new` does it with all of them.

use std::path::Path;

use crate::readme::blocks;
use crate::util::{millstream, stderr, stdout};

#[test]
fn every_command_about_plugins_does_what_it_says() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/plugins.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let manifest = blocks(&docs, "toml").remove(0);
    std::fs::write(folder.path().join("shout.toml"), manifest).unwrap();
    let record = "{\"key\":\"k\",\"value\":\"a\"}\n";
    std::fs::write(folder.path().join("records.ndjson"), record).unwrap();

    let commands = blocks(&docs, "sh").join("\n");
    assert!(commands.lines().count() >= 7, "{commands}");
    for command in commands.lines() {
        let command = command.replace("--language javascript", "--language wat");
        let mut words = command.split_whitespace();
        assert_eq!(words.next(), Some("millstream"), "{command}");
        let output = millstream().args(words).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{command}: {}{}", stdout(&output), stderr(&output));
        assert!(!stdout(&output).is_empty(), "{command} printed nothing");
    }
}
