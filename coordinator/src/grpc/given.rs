//! How much of each blob is given out: counted, and for workers that have peers bounded.
//!
//! A worker in the swarm says so when it asks for a piece. So long as the blob's allowance lasts it is given; then the
//! answer is "ask your peers". What a worker asks for as its last resort is always given, so that nobody waits for ever:
//! it was refused before, and no peer that it knows has the piece. Workers without peers are not bounded.

use proto::Digest;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Blobs whose allowance is remembered: more are not given out within a few minutes. The fullest is forgotten first.
const BLOBS_MAX: usize = 4096;
/// A blob may be given so many times at once, in halves: one copy, and half of one for what is lost on the way.
const HALVES_AT_ONCE: u64 = 3;
/// After that, one copy in this time.
const COPY_EVERY_MS: u64 = 60_000;

#[derive(Clone, Copy, Debug)]
struct Allowance {
    bytes: u64,
    at_ms: u64,
}

/// What was given.
#[derive(Debug, Default)]
pub(crate) struct Given {
    bytes: AtomicU64,
    refused: AtomicU64,
    allowances: Mutex<HashMap<Digest, Allowance>>,
}

impl Given {
    /// Bytes of content since the start.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Pieces refused since the start.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether a worker that has peers is given `bytes` of a blob of `len` bytes, which then are off its allowance.
    pub(super) fn allows(
        &self,
        now_ms: u64,
        digest: Digest,
        len: u64,
        bytes: u64,
        last_resort: bool,
    ) -> bool {
        let most = (len / 2).saturating_mul(HALVES_AT_ONCE).max(len);
        let mut allowances = self.allowances.lock().unwrap_or_else(PoisonError::into_inner);
        if BLOBS_MAX <= allowances.len() && !allowances.contains_key(&digest) {
            let fullest = allowances.iter().max_by_key(|(_, allowance)| allowance.bytes);
            if let Some(fullest) = fullest.map(|(digest, _)| *digest) {
                allowances.remove(&fullest);
            }
        }
        let full = Allowance { bytes: most, at_ms: now_ms };
        let allowance = allowances.entry(digest).or_insert(full);
        let since = u128::from(now_ms.saturating_sub(allowance.at_ms));
        let more = u128::from(len) * since / u128::from(COPY_EVERY_MS);
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        if 0 < more {
            *allowance =
                Allowance { bytes: allowance.bytes.saturating_add(more).min(most), at_ms: now_ms };
        }
        let allows = last_resort || bytes <= allowance.bytes;
        if allows {
            allowance.bytes = allowance.bytes.saturating_sub(bytes);
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        allows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_and_a_half_then_one_a_minute_and_the_last_resort_always() {
        let given = Given::default();
        let (digest, len) = (Digest::of(b"input"), 1000);
        let piece = |now_ms, last| given.allows(now_ms, digest, len, 100, last);
        assert_eq!((0..100).filter(|_| piece(0, false)).count(), 15);
        assert_eq!(given.refused(), 85);
        assert!(!piece(5_900, false) && piece(6_100, false) && !piece(6_100, false));
        assert!(piece(6_100, true), "nobody waits for ever");
        assert_eq!((0..100).filter(|_| piece(10_000_000, false)).count(), 15);
        // A clock that goes back changes nothing.
        assert!(!piece(0, false));
    }

    #[test]
    fn only_so_many_blobs_are_remembered() {
        let given = Given::default();
        for n in 0..2 * BLOBS_MAX {
            assert!(given.allows(0, Digest::of(&n.to_le_bytes()), 10, 10, false));
        }
        assert_eq!(given.allowances.lock().unwrap().len(), BLOBS_MAX);
    }
}
