//! What a disk may do: crash images, and damage at rest.

use crate::storage::MemoryFiles;

/// An image that a power cut at this moment may leave.
pub(super) fn crashed(files: &MemoryFiles, random: &mut fastrand::Rng) -> MemoryFiles {
    files.crash_image(|n| random.usize(..n))
}

/// Changes one byte of this text wherever it stands in the log. Says how often it does.
pub(super) fn change_text(files: &MemoryFiles, text: &[u8], random: &mut fastrand::Rng) -> usize {
    let at_byte = random.usize(..text.len());
    let mut changed = 0;
    for name in files.names().iter().filter(|name| name.starts_with("segments/")) {
        files.damage(name, |bytes| {
            let mut at = 0;
            while let Some(found) = find(&bytes[at..], text) {
                bytes[at + found + at_byte] ^= 1;
                at += found + 1;
                changed += 1;
            }
        });
    }
    changed
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    let first = *text.first()?;
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|byte| *byte == first) {
        at += next;
        if bytes[at..].starts_with(text) {
            return Some(at);
        }
        at += 1;
    }
    None
}
