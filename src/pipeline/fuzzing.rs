//! What is stored of a deployment for a fuzzer; see `crate::fuzzing`.

use super::deploy::{Stored, digest_bytes};

/// A row of deployments.
pub(crate) fn deployment(row: &[u8]) {
    let Ok(stored) = serde_json::from_slice::<Stored>(row) else { return };
    for digest in &stored.digests {
        let hex = |bytes: [u8; 32]| bytes.map(|byte| format!("{byte:02x}")).concat();
        assert!(digest_bytes(digest).is_none_or(|bytes| hex(bytes) == digest.to_lowercase()));
    }
    let written = serde_json::to_vec(&stored).unwrap_or_default();
    let again: Option<Stored> = serde_json::from_slice(&written).ok();
    assert_eq!(again.map(|again| again.plan), Some(stored.plan));
}
