//! What the fuzzers have kept, run again without one.

use std::fs;
use std::path::{Path, PathBuf};

use super::TARGETS;

pub(super) fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

#[test]
fn nothing_that_was_found_breaks_a_decoder() {
    for target in TARGETS {
        let mut files = 0;
        for entry in fs::read_dir(corpus(target.name)).unwrap() {
            let path = entry.unwrap().path();
            let data = fs::read(&path).unwrap();
            let run = std::panic::catch_unwind(|| (target.run)(&data));
            assert!(run.is_ok(), "{}", path.display());
            files += 1;
        }
        assert!(files > 0, "{} has no corpus", target.name);
    }
}
