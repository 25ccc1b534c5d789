//! What runs a target: it counts the memory that is taken, and knows where the targets are.

mod memory;
pub mod sdk;

use millstream::fuzzing::{TARGETS, Target};

#[global_allocator]
static MEMORY: memory::Counting = memory::Counting::new();

/// Runs one target of the library, within the memory that it may take.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    within(target.unwrap_or_else(|| panic!("no target {name}")), data);
}

/// Runs a target, and takes a step beyond its memory for a crash.
pub fn within(target: &Target, data: &[u8]) {
    let ((), taken) = MEMORY.most(|| (target.run)(data));
    let (each, beside) = target.bytes;
    let most = each * data.len() + beside;
    assert!(taken <= most, "{taken} bytes were taken for {}, at most {most} may", data.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The library's own targets are run by its tests.
    #[test]
    fn nothing_that_was_found_breaks_the_sdk() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/sdk");
        let mut files = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            within(&sdk::TARGET, &std::fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0);
    }
}
