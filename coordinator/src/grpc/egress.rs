//! How much of each blob is given out: counted, and for workers that have peers bounded.
//!
//! A worker in the swarm says so when it asks for a piece. So long as the blob's allowance lasts it is given; then the
//! answer is "ask your peers". What a worker asks for as its last resort is always given, so that nobody waits for ever:
//! it was refused before, and no peer that it knows has the piece. Workers without peers are not bounded.

use proto::Digest;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Blobs that are remembered: more are not given out within a few minutes. The one that nobody has asked for the longest is
/// forgotten first.
const BLOBS_MAX: usize = 4096;
/// A blob may be given so many times at once, in halves: one copy, and half of one for what is lost on the way.
const HALVES_AT_ONCE: u64 = 3;
/// After that, one copy in this time.
const COPY_EVERY_MS: u64 = 60_000;

/// Blobs that are told of: those of which most was given.
pub(crate) const GIVEN_MAX: usize = 10;

/// How much of a blob was given, of those that are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OfBlob {
    pub(crate) digest: Digest,
    pub(crate) len: u64,
    /// Bytes of content since the start.
    pub(crate) given: u64,
}

/// What is known of a blob.
#[derive(Clone, Copy, Debug)]
struct Known {
    len: u64,
    given: u64,
    /// Bytes that may be given at once, as it was then.
    allowance: u64,
    at_ms: u64,
    /// The higher, the later somebody has asked for it.
    asked: u64,
}

/// What was given.
#[derive(Debug, Default)]
pub(crate) struct Egress {
    bytes: AtomicU64,
    refused: AtomicU64,
    blobs: Mutex<Blobs>,
}

#[derive(Debug, Default)]
struct Blobs {
    known: HashMap<Digest, Known>,
    asked: u64,
}

impl Egress {
    /// Bytes of content since the start.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Pieces refused since the start.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The blobs of which most bytes were given, `count` at most, those first.
    pub(crate) fn most(&self, count: usize) -> Vec<OfBlob> {
        let mut most: Vec<OfBlob> = {
            let blobs = self.blobs();
            let all = blobs.known.iter().filter(|(_, known)| 0 < known.given);
            all.map(|(digest, Known { len, given, .. })| OfBlob {
                digest: *digest,
                len: *len,
                given: *given,
            })
            .collect()
        };
        most.sort_unstable_by_key(|blob| (Reverse(blob.given), blob.digest));
        most.truncate(count);
        most
    }

    /// So many bytes of a blob of `len` bytes are given.
    pub(super) fn count(&self, digest: Digest, len: u64, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut blobs = self.blobs();
        let known = blobs.ask(digest, len);
        known.given = known.given.saturating_add(bytes);
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
        let mut blobs = self.blobs();
        let known = blobs.ask(digest, len);
        let since = u128::from(now_ms.saturating_sub(known.at_ms));
        let more = u128::from(len) * since / u128::from(COPY_EVERY_MS);
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        if 0 < more {
            known.allowance = known.allowance.saturating_add(more).min(at_once(len));
            known.at_ms = now_ms;
        }
        let allows = last_resort || bytes <= known.allowance;
        if allows {
            known.allowance = known.allowance.saturating_sub(bytes);
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        allows
    }

    fn blobs(&self) -> MutexGuard<'_, Blobs> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blobs {
    /// Somebody asks for a blob of `len` bytes.
    fn ask(&mut self, digest: Digest, len: u64) -> &mut Known {
        if BLOBS_MAX <= self.known.len() && !self.known.contains_key(&digest) {
            let longest = self.known.iter().min_by_key(|(_, known)| known.asked);
            if let Some(longest) = longest.map(|(digest, _)| *digest) {
                self.known.remove(&longest);
            }
        }
        self.asked += 1;
        let new = Known { len, given: 0, allowance: at_once(len), at_ms: 0, asked: 0 };
        let known = self.known.entry(digest).or_insert(new);
        known.asked = self.asked;
        known
    }
}

fn at_once(len: u64) -> u64 {
    (len / 2).saturating_mul(HALVES_AT_ONCE).max(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_and_a_half_then_one_a_minute_and_the_last_resort_always() {
        let given = Egress::default();
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
    fn what_was_given_of_each_is_told_and_only_so_many_are_remembered() {
        let (given, digest) = (Egress::default(), |n: usize| Digest::of(&n.to_le_bytes()));
        let of = |n, given| OfBlob { digest: digest(n), len: 10, given };
        for (n, bytes) in [(0, 7), (1, 9), (0, 8)] {
            given.count(digest(n), 10, bytes);
        }
        assert!(given.allows(0, digest(2), 10, 10, false), "allowed, not given yet");
        assert_eq!(given.most(10), [of(0, 15), of(1, 9)]);
        assert_eq!((given.most(1), given.bytes()), (vec![of(0, 15)], 24));
        for n in 0..2 * BLOBS_MAX {
            given.count(digest(1), 10, 1);
            assert!(given.allows(0, digest(n + 3), 10, 10, false));
        }
        assert_eq!(given.blobs().known.len(), BLOBS_MAX);
        assert_eq!(given.most(10), [of(1, 9 + 2 * BLOBS_MAX as u64)], "asked for all the time");
    }
}
