//! Stretches: record batches one after the other, as they lie in a chunk and in a response.

use std::ops::Range;

use super::batch::{HEADER_BYTES, LENGTH_END};
use crate::types::Offset;

/// Where the last offset delta stands in a batch.
const LAST_OFFSET_DELTA_AT: usize = 23;

/// Which bytes of a stretch to read: whole batches from the one that contains `from` (or is the
/// first after it), as many as fit in `max_bytes`, but at least one if `at_least_one`.
///
/// Looks at headers alone. What does not look like a batch counts as one up to the stretch's end,
/// so that whoever checks the batches finds it.
pub fn batches_from(
    stretch: &[u8],
    from: Offset,
    max_bytes: usize,
    at_least_one: bool,
) -> Range<usize> {
    let mut start = 0;
    let mut end = 0;
    while let Some((bytes, last_offset)) = measure(&stretch[end..]) {
        let next = end + bytes;
        if last_offset < from {
            start = next;
        } else if next - start > max_bytes && !(at_least_one && end == start) {
            break;
        }
        end = next;
    }
    start..end
}

/// Length and last offset of the batch at the head of `bytes`; `None` at the end.
fn measure(bytes: &[u8]) -> Option<(usize, Offset)> {
    if bytes.is_empty() {
        return None;
    }
    let rest = (bytes.len(), Offset::MAX);
    let (Some(header), Some(length)) = (bytes.first_chunk::<HEADER_BYTES>(), field(bytes, 8))
    else {
        return Some(rest);
    };
    let base_offset = header.first_chunk().map_or(0, |base| Offset::from_be_bytes(*base));
    let delta = field(bytes, LAST_OFFSET_DELTA_AT).unwrap_or(0);
    let whole = usize::try_from(length).ok().map(|length| length + LENGTH_END);
    let last_offset = base_offset.saturating_add(Offset::from(delta));
    Some(whole.filter(|whole| *whole <= bytes.len()).map_or(rest, |whole| (whole, last_offset)))
}

fn field(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().map(|field| i32::from_be_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, Compression};

    /// Two batches of two records each, offsets 0 to 3.
    fn stretch() -> (Vec<u8>, usize) {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(0, None, Some(b"a"), &[]).unwrap();
        builder.push(0, None, Some(b"b"), &[]).unwrap();
        let batch = builder.build().unwrap();
        let mut stretch = Vec::new();
        batch.write_assigned(&mut stretch, 0, 0);
        batch.write_assigned(&mut stretch, 2, 0);
        (stretch, batch.len())
    }

    #[test]
    fn whole_batches_that_fit() {
        let (stretch, batch) = stretch();
        let taken = |from, max, one| batches_from(&stretch, from, max, one);
        assert_eq!(taken(0, usize::MAX, false), 0..batch * 2);
        assert_eq!(taken(1, usize::MAX, false), 0..batch * 2);
        assert_eq!(taken(2, usize::MAX, false), batch..batch * 2);
        assert_eq!(taken(4, usize::MAX, true), batch * 2..batch * 2);
        assert_eq!(taken(0, batch, false), 0..batch);
        assert_eq!(taken(0, batch - 1, false), 0..0);
        assert_eq!(taken(3, batch - 1, true), batch..batch * 2);
        assert_eq!(taken(0, batch * 2 - 1, true), 0..batch);
    }

    #[test]
    fn rubbish_is_handed_over_whole() {
        let (mut stretch, batch) = stretch();
        stretch.truncate(batch + 5);
        assert_eq!(batches_from(&stretch, 0, usize::MAX, false), 0..batch + 5);
        stretch.truncate(batch - 1);
        assert_eq!(batches_from(&stretch, 0, usize::MAX, true), 0..batch - 1);
        assert_eq!(batches_from(&[0xff; 100], 7, 10, true), 0..100);
    }
}
