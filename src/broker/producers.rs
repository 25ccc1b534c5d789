//! Idempotence (KIP-98, KIP-360): whether a batch of a producer is new, a duplicate, or out of
//! order. Pure: the state that is stored and a batch give a verdict.

use crate::limits::PRODUCER_BATCHES;
use crate::storage::{ProducedBatch, ProducerState};
use crate::types::{Offset, ProducerId, TimestampMs};

/// A producer in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id and epoch.
    pub producer: ProducerId,
    /// Sequence number of its last record; -1 if it is not known.
    pub last_sequence: i32,
    /// When it last appended.
    pub last_append_ms: TimestampMs,
}

/// What a batch says of its producer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequenced {
    pub(super) producer: ProducerId,
    pub(super) base_sequence: i32,
    pub(super) last_sequence: i32,
}

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the next one.
    Append,
    /// It was appended before, at this offset and with this greatest timestamp.
    Duplicate { base_offset: Offset, timestamp_ms: TimestampMs },
    /// It belongs to an earlier life of the producer.
    StaleEpoch { current: i16 },
    /// Records before it are missing.
    OutOfOrder { expected: i32 },
}

/// Judges a batch by what is remembered of its producer.
///
/// A producer that nothing is known of may begin anywhere, as in Kafka: what it wrote before may
/// have been deleted with its topic, or it may have been silent for too long.
pub(super) fn judge(state: Option<&ProducerState>, batch: Sequenced) -> Verdict {
    let Sequenced { producer, base_sequence, last_sequence } = batch;
    let Some(state) = state else { return Verdict::Append };
    if producer.epoch < state.epoch {
        return Verdict::StaleEpoch { current: state.epoch };
    }
    if producer.epoch > state.epoch {
        return match base_sequence {
            0 => Verdict::Append,
            _ => Verdict::OutOfOrder { expected: 0 },
        };
    }
    let same =
        |b: &&ProducedBatch| b.base_sequence == base_sequence && b.last_sequence == last_sequence;
    if let Some(duplicate) = state.batches.iter().find(same) {
        let ProducedBatch { base_offset, timestamp_ms, .. } = *duplicate;
        return Verdict::Duplicate { base_offset, timestamp_ms };
    }
    match state.batches.last().map(|last| next_sequence(last.last_sequence)) {
        Some(expected) if expected != base_sequence => Verdict::OutOfOrder { expected },
        _ => Verdict::Append,
    }
}

/// The state after a batch was appended.
pub(super) fn appended(
    state: Option<ProducerState>,
    batch: Sequenced,
    (base_offset, timestamp_ms): (Offset, TimestampMs),
    now_ms: TimestampMs,
) -> ProducerState {
    let Sequenced { producer, base_sequence, last_sequence } = batch;
    let mut batches = match state {
        Some(state) if state.epoch == producer.epoch => state.batches,
        _ => Vec::new(),
    };
    if batches.len() >= PRODUCER_BATCHES {
        batches.remove(0);
    }
    batches.push(ProducedBatch { base_sequence, last_sequence, base_offset, timestamp_ms });
    ProducerState { epoch: producer.epoch, last_append_ms: now_ms, batches }
}

/// Sequence numbers go from 2^31 - 1 back to 0.
fn next_sequence(last: i32) -> i32 {
    last.checked_add(1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, base_sequence: i32, last_sequence: i32) -> Sequenced {
        Sequenced { producer: ProducerId { id: 7, epoch }, base_sequence, last_sequence }
    }

    fn after(batches: &[Sequenced]) -> ProducerState {
        let mut state = None;
        for (offset, batch) in (0..).step_by(10).zip(batches) {
            assert_eq!(judge(state.as_ref(), *batch), Verdict::Append);
            state = Some(appended(state, *batch, (offset, offset + 1), 0));
        }
        state.unwrap()
    }

    #[test]
    fn an_unknown_producer_begins_anywhere() {
        assert_eq!(judge(None, batch(3, 500, 509)), Verdict::Append);
        assert_eq!(judge(None, batch(0, 0, 4)), Verdict::Append);
    }

    #[test]
    fn the_next_batch_follows_the_last() {
        let state = after(&[batch(0, 0, 9), batch(0, 10, 19)]);
        assert_eq!(judge(Some(&state), batch(0, 20, 20)), Verdict::Append);
        assert_eq!(judge(Some(&state), batch(0, 21, 21)), Verdict::OutOfOrder { expected: 20 });
        assert_eq!(judge(Some(&state), batch(0, 10, 12)), Verdict::OutOfOrder { expected: 20 });
    }

    #[test]
    fn the_last_five_are_known_again() {
        let batches: Vec<Sequenced> = (0..6).map(|i| batch(0, i, i)).collect();
        let state = after(&batches);
        for i in 1..6 {
            let base_offset = i64::from(i) * 10;
            let expected = Verdict::Duplicate { base_offset, timestamp_ms: base_offset + 1 };
            assert_eq!(judge(Some(&state), batch(0, i, i)), expected);
        }
        assert_eq!(judge(Some(&state), batch(0, 0, 0)), Verdict::OutOfOrder { expected: 6 });
    }

    #[test]
    fn sequences_wrap() {
        let state = after(&[batch(0, i32::MAX - 1, i32::MAX)]);
        assert_eq!(judge(Some(&state), batch(0, 0, 4)), Verdict::Append);
    }

    #[test]
    fn a_new_epoch_begins_at_zero_and_ends_the_old_one() {
        let state = after(&[batch(0, 0, 9)]);
        assert_eq!(judge(Some(&state), batch(1, 10, 10)), Verdict::OutOfOrder { expected: 0 });
        assert_eq!(judge(Some(&state), batch(1, 0, 0)), Verdict::Append);
        let state = appended(Some(state), batch(1, 0, 0), (10, 0), 0);
        assert_eq!(judge(Some(&state), batch(0, 10, 10)), Verdict::StaleEpoch { current: 1 });
        assert_eq!(state.batches.len(), 1);
    }
}
