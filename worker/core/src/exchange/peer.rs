//! What is known of one peer.

use super::meter::Meter;
use super::{Bits, CLAIMS_MAX, Config, NEAR_CLAIMS_MAX, Now};
use proto::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Pieces asked for at a time of a peer that has given none yet, and most of one that has.
const IN_FLIGHT_FIRST: usize = 2;
const IN_FLIGHT_MAX: usize = 24;
/// Pieces are asked for ahead for so long: a round trip and the time between two looks at the clock.
const AHEAD: Duration = Duration::from_millis(500);
/// Pieces that one peer may ask for at a time: above [`IN_FLIGHT_MAX`], so that no honest one meets it.
pub(super) const SERVING_MAX: usize = 32;
/// Failures in a row after which a peer is dropped.
pub(super) const STRIKES_MAX: u32 = 5;
/// After a failure a peer is left alone for this long, twice as long after each more.
const SNUB: Duration = Duration::from_secs(5);
/// Claims that came to nothing before a peer's claims count no more.
const BROKEN_CLAIMS_MAX: u32 = 16;
/// A peer that is slower than this, bytes per second, is hardly worth its place.
const SLOWEST: u64 = 64 << 10;
/// Bytes that a peer may take before it has given any: a few pieces, so that a newcomer has something to give.
const WITHHELD_MAX: u64 = 1 << 20;
/// Messages that a peer may say at once, and for each second after: pieces of 256 KiB at 250 MB/s.
const MESSAGES_BURST: u32 = 8192;
const MESSAGES_PER_SECOND: u32 = 1024;

/// What a peer has of a blob.
#[derive(Debug)]
pub(super) struct HeldBlob {
    pub(super) len: u64,
    pub(super) pieces: Bits,
}

/// A peer, while it is connected.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) connected_at: Now,
    /// It is on the same local network.
    pub(super) near: bool,
    /// Blobs that it wants.
    pub(super) wants: BTreeSet<Digest>,
    /// What it has of blobs that are under way here.
    pub(super) holds: BTreeMap<Digest, HeldBlob>,
    /// Pieces that it gets from the coordinator or, if it is near, from outside, and until when they are left to it.
    pub(super) claims: BTreeMap<(Digest, u32), Now>,
    broken_claims: u32,
    /// It does not give to this worker.
    pub(super) chokes_me: bool,
    /// This worker does not give to it.
    pub(super) choked: bool,
    pub(super) given: Meter,
    pub(super) taken: Meter,
    /// Requests of this worker to it.
    pub(super) in_flight: usize,
    /// Its requests that are being met.
    pub(super) serving: usize,
    pub(super) strikes: u32,
    pub(super) snubbed_until: Now,
    /// Until when what it has counts as had.
    pub(super) fruitful_until: Now,
    /// Bytes that it took while it had what this worker wants and gave none of it.
    pub(super) withheld: u64,
    said_at: Now,
    may_say: u32,
}

impl Peer {
    pub(super) fn new(now: Now, withheld: u64) -> Self {
        Self {
            connected_at: now,
            near: false,
            wants: BTreeSet::new(),
            holds: BTreeMap::new(),
            claims: BTreeMap::new(),
            broken_claims: 0,
            chokes_me: true,
            choked: true,
            given: Meter::default(),
            taken: Meter::default(),
            in_flight: 0,
            serving: 0,
            strikes: 0,
            snubbed_until: Now::ZERO,
            fruitful_until: Now::ZERO,
            withheld,
            said_at: now,
            may_say: MESSAGES_BURST,
        }
    }

    /// Counts a message; false when there were too many.
    pub(super) fn may_say(&mut self, now: Now) -> bool {
        let seconds = now.saturating_sub(self.said_at).as_secs();
        if 0 < seconds {
            let more =
                u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(MESSAGES_PER_SECOND);
            self.may_say = self.may_say.saturating_add(more).min(MESSAGES_BURST);
            self.said_at = now;
        }
        let may = 0 < self.may_say;
        self.may_say = self.may_say.saturating_sub(1);
        may
    }

    /// Whether it has taken enough that it could have given something, and has not.
    pub(super) const fn is_free_rider(&self) -> bool {
        !self.near && WITHHELD_MAX < self.withheld
    }

    /// Whether what it has, or gets, counts as something that others can have from it.
    pub(super) fn is_fruitful(&self, now: Now) -> bool {
        now < self.fruitful_until && !self.is_free_rider()
    }

    /// Whether it may be asked for something.
    pub(super) fn is_askable(&self, now: Now) -> bool {
        !self.chokes_me && self.snubbed_until <= now
    }

    /// How many pieces to ask it for at a time.
    pub(super) fn in_flight_aim(&self, now: Now, piece_bytes: u64) -> usize {
        if self.given.total() == 0 {
            return if self.strikes == 0 { IN_FLIGHT_FIRST } else { 1 };
        }
        ahead(self.given.rate(now), piece_bytes).clamp(IN_FLIGHT_FIRST, IN_FLIGHT_MAX)
    }

    /// How long a piece may take that is asked for now.
    pub(super) fn patience(&self, now: Now, piece_bytes: u64, config: &Config) -> Duration {
        deadline(self.given.rate(now), self.in_flight, piece_bytes, config)
    }

    /// It failed; whether that was once too often.
    pub(super) fn strike(&mut self, now: Now) -> bool {
        self.strikes += 1;
        self.fruitful_until = self.fruitful_until.min(now);
        self.snubbed_until = now + SNUB * 2_u32.saturating_pow(self.strikes - 1);
        STRIKES_MAX <= self.strikes
    }

    /// How many pieces it may say at a time that it gets from elsewhere.
    pub(super) const fn claims_max(&self) -> usize {
        if self.near { NEAR_CLAIMS_MAX } else { CLAIMS_MAX }
    }

    /// It says that it gets a piece from elsewhere.
    pub(super) fn claim(&mut self, digest: Digest, piece: u32, until: Now) {
        if self.claims.len() < self.claims_max() && self.broken_claims < BROKEN_CLAIMS_MAX {
            self.claims.insert((digest, piece), until);
        }
    }

    /// It has the piece.
    pub(super) fn claim_kept(&mut self, digest: Digest, piece: u32) {
        if self.claims.remove(&(digest, piece)).is_some() {
            self.broken_claims = self.broken_claims.saturating_sub(1);
        }
    }

    pub(super) fn expire_claims(&mut self, now: Now) {
        let before = self.claims.len();
        self.claims.retain(|_, until| now < *until);
        let expired = u32::try_from(before - self.claims.len()).unwrap_or(u32::MAX);
        self.broken_claims = self.broken_claims.saturating_add(expired);
    }
}

/// Pieces that come in [`AHEAD`] at this rate, and one.
pub(super) fn ahead(rate: f64, piece_bytes: u64) -> usize {
    let bytes = rate * AHEAD.as_secs_f64();
    let piece = f64::from(u32::try_from(piece_bytes).unwrap_or(u32::MAX)).max(1.0);
    let mut n = 1;
    while n < IN_FLIGHT_MAX && f64::from(u32::try_from(n).unwrap_or(u32::MAX)) * piece < bytes {
        n += 1;
    }
    n + 1
}

/// Four times what the pieces under way should take, never less than the configured wait and the time of one piece at
/// [`SLOWEST`], never above three times that.
pub(super) fn deadline(rate: f64, in_flight: usize, piece_bytes: u64, config: &Config) -> Duration {
    let least = config.request + Duration::from_secs(piece_bytes / SLOWEST);
    if rate < 1.0 {
        return least;
    }
    let n = u32::try_from(in_flight + 1).unwrap_or(u32::MAX);
    let bytes = f64::from(n) * f64::from(u32::try_from(piece_bytes).unwrap_or(u32::MAX));
    let longest = least * 3;
    let seconds = (4.0 * bytes / rate).min(longest.as_secs_f64());
    Duration::from_secs_f64(seconds).clamp(least, longest)
}
