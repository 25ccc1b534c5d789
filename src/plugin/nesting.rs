//! How deep a component nests, seen without a parser: the one that compiles it takes memory by the
//! square of how deep components stand in each other (2 GB at 10,000), and calls itself for types
//! that do, until the stack has no end left to run into and the process is gone (2,000 of them in
//! 512 KiB).

use super::PluginError;
use crate::limits::{PLUGIN_COMPONENT_DEPTH, PLUGIN_NESTED_TYPES};

/// Magic, version and layer.
const PREAMBLE_BYTES: usize = 8;
/// Ids of sections.
const COMPONENT: u8 = 4;
const TYPE: u8 = 7;
/// A declaration of a type in a type, and what begins a type that may hold more of them.
const DECLARES_TYPE: u8 = 1;
const HOLDS_TYPES: [u8; 2] = [0x41, 0x42];

/// Refuses what nests too deep. Says nothing of what is damaged: that is for the parser.
pub(super) fn check(bytes: &[u8]) -> Result<(), PluginError> {
    // Where the components end that stand in each other here.
    let mut ends = vec![bytes.len()];
    let mut at = PREAMBLE_BYTES;
    while let Some(end) = ends.last().copied() {
        if at >= end {
            ends.pop();
            continue;
        }
        let id = bytes[at];
        let Some((size, content)) = section_size(bytes, at + 1) else { return Ok(()) };
        let Some(behind) = content.checked_add(size).filter(|behind| *behind <= end) else {
            return Ok(());
        };
        at = behind;
        if id == COMPONENT {
            ends.push(behind);
            if ends.len() > PLUGIN_COMPONENT_DEPTH {
                return Err(PluginError::TooDeep {
                    what: "components",
                    max: PLUGIN_COMPONENT_DEPTH,
                });
            }
            at = behind.min(content + PREAMBLE_BYTES);
        } else if id == TYPE && nested_types(&bytes[content..behind]) > PLUGIN_NESTED_TYPES {
            return Err(PluginError::TooDeep { what: "types", max: PLUGIN_NESTED_TYPES });
        }
    }
    Ok(())
}

/// No fewer than the types that stand in each other: each of them needs these two bytes.
fn nested_types(section: &[u8]) -> usize {
    let begins = |pair: &&[u8]| pair[0] == DECLARES_TYPE && HOLDS_TYPES.contains(&pair[1]);
    section.windows(2).filter(begins).count()
}

/// A section's size, and where its content begins.
fn section_size(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let mut size = 0_usize;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(at)?;
        at += 1;
        size |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((size, at));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{COMPOSED, FAULTS, PROCESSOR, engine};
    use super::*;

    const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![id];
        let mut size = content.len();
        while size > 0x7f {
            bytes.push((size & 0x7f) as u8 | 0x80);
            size >>= 7;
        }
        bytes.push(size as u8);
        [&bytes, content].concat()
    }

    fn components(depth: usize) -> Vec<u8> {
        (0..depth)
            .fold(PREAMBLE.to_vec(), |inner, _| [PREAMBLE, &section(COMPONENT, &inner)].concat())
    }

    fn types(depth: usize, holds: u8) -> Vec<u8> {
        let content = [&[1][..], &[holds, 1, 1].repeat(depth), &[holds, 0]].concat();
        [PREAMBLE, &section(TYPE, &content)].concat()
    }

    #[test]
    fn what_nests_too_deep_is_refused_before_anybody_parses_it() {
        for depth in [PLUGIN_COMPONENT_DEPTH, 1_000, 10_000] {
            let error = engine().load(&components(depth)).unwrap_err();
            assert_eq!(error.to_string(), "it has components in each other, more than 32 deep");
        }
        for (depth, holds) in [(PLUGIN_NESTED_TYPES, 0x41), (10_000, 0x41), (10_000, 0x42)] {
            let error = engine().load(&types(depth, holds)).unwrap_err();
            assert_eq!(error.to_string(), "it has types in each other, more than 200 deep");
        }
    }

    #[test]
    fn what_does_not_is_left_to_the_parser() {
        for text in [COMPOSED, FAULTS, PROCESSOR] {
            check(&wat::parse_str(text).unwrap()).unwrap();
        }
        check(&components(PLUGIN_COMPONENT_DEPTH - 1)).unwrap();
        check(&types(PLUGIN_NESTED_TYPES - 1, 0x42)).unwrap();
        let whole = components(5);
        for length in 0..whole.len() {
            check(&whole[..length]).unwrap();
        }
        check(&[PREAMBLE, &[COMPONENT, 0xff, 0xff, 0xff, 0xff, 0xff, 1]].concat()).unwrap();
    }
}
