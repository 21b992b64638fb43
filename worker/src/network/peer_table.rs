//! The peers that are known: those that were met, and those that were only heard of. Pure: time and randomness are
//! arguments.
//!
//! Bounded, and spread: entries of one account or one network hold no more than a share, and a newcomer never takes the
//! place of a peer that was met and still answers. So a flood of identities from one owner or one network fills its share
//! and no more, and a peer that knows honest ones goes on knowing them (after Heilman et al., "Eclipse Attacks on
//! Bitcoin's Peer-to-Peer Network", 2015).

use super::peer_record::Contact;
use proto::{AccountKey, WorkerKey};
use std::collections::BTreeMap;

mod choose;

pub use choose::distance;

/// Peers that were met and are remembered: enough to find a swarm again after weeks away. About 500 bytes each.
pub const MET_MAX: usize = 256;
/// Peers heard of and not met.
pub const HEARD_MAX: usize = 512;
/// Of either kind, the part that one account or one network may hold: an eighth.
pub const SHARE: usize = 8;
/// First wait after a failed attempt, milliseconds; doubled with each.
const RETRY_MIN_MS: u64 = 5_000;
/// Longest wait after a failed attempt, milliseconds.
const RETRY_MAX_MS: u64 = 3_600_000;
/// Longest wait after somebody has told of it.
const RETRY_HEARD_MS: u64 = 60_000;
/// A peer that was only heard of is forgotten after so many failed attempts.
const HEARD_FAILURES_MAX: u32 = 4;
/// A peer that was met may lose its place after so many failed attempts.
const MET_FAILURES_MAX: u32 = 8;
/// Score at and below which a peer is shut out.
pub const SCORE_BAN: i32 = -100;
/// Best score: what was earned long ago excuses a few stumbles only.
const SCORE_MAX: i32 = 50;
/// How long a peer is shut out, milliseconds: an hour, as its owner may have mended it.
const BAN_MS: u64 = 3_600_000;
/// Peers remembered as shut out.
const BANS_MAX: usize = 1024;

/// A peer that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who and where.
    pub contact: Contact,
    /// Whether a link to it was ever made.
    pub met: bool,
    /// When it became known, milliseconds since 1970.
    pub since_ms: u64,
    /// When it last answered, or was heard of if it never has; milliseconds since 1970.
    pub seen_ms: u64,
    /// Failed attempts since it last answered.
    pub failures: u32,
    /// No attempt before, milliseconds since 1970.
    pub retry_at_ms: u64,
    /// How it behaved: 0 at first, worse below.
    pub score: i32,
    /// Bytes sent to it and received from it, ever.
    pub up_bytes: u64,
    /// See `up_bytes`.
    pub down_bytes: u64,
}

/// What a peer is blamed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// It did not answer in time, or let a transfer stall.
    Slow,
    /// It asked too often or too much.
    Greedy,
    /// It sent what is no message, or content that is not what it should be.
    Garbage,
    /// It sent what only somebody who cheats would: a forged signature, a block that is not of the blob.
    Forged,
}

impl Blame {
    fn points(self) -> i32 {
        match self {
            Self::Slow => 10,
            Self::Greedy => 20,
            Self::Garbage => 50,
            Self::Forged => 150,
        }
    }
}

/// All peers that are known.
#[derive(Clone, Debug)]
pub struct Table {
    me: WorkerKey,
    peers: BTreeMap<WorkerKey, Peer>,
    /// Until when, milliseconds since 1970.
    banned: BTreeMap<WorkerKey, u64>,
}

impl Table {
    /// Nobody is known.
    #[must_use]
    pub fn new(me: WorkerKey) -> Self {
        Self { me, peers: BTreeMap::new(), banned: BTreeMap::new() }
    }

    /// Somebody told of a peer; `random` chooses who makes room. Whether it is known now.
    pub fn heard(&mut self, now_ms: u64, contact: Contact, random: u64) -> bool {
        let worker = contact.worker();
        if worker == self.me || self.is_banned(now_ms, &worker) {
            return false;
        }
        if let Some(peer) = self.peers.get_mut(&worker) {
            // Of a peer that answers where it is, we know better ourselves.
            if !peer.met || 0 < peer.failures {
                let new = contact.addresses != peer.contact.addresses
                    || contact.relay != peer.contact.relay;
                peer.contact = newer(&peer.contact, contact);
                // Whoever tells of it has seen it alive of late: after a cut of the network nobody waits for an hour.
                let soon = if new { now_ms } else { now_ms.saturating_add(RETRY_HEARD_MS) };
                peer.retry_at_ms = peer.retry_at_ms.min(soon);
            }
            return true;
        }
        if !self.make_room(&contact, false, random) {
            return false;
        }
        self.peers.insert(worker, Peer::new(now_ms, contact, false));
        true
    }

    /// A link to a peer was made. Whether it is remembered: with the table full of peers that answer it is not.
    pub fn met(&mut self, now_ms: u64, contact: Contact, random: u64) -> bool {
        let worker = contact.worker();
        if worker == self.me {
            return false;
        }
        let known = self.peers.get(&worker).is_some_and(|peer| peer.met);
        if !known && !self.make_room(&contact, true, random) {
            return false;
        }
        let peer =
            self.peers.entry(worker).or_insert_with(|| Peer::new(now_ms, contact.clone(), true));
        *peer = Peer {
            contact,
            met: true,
            seen_ms: now_ms,
            failures: 0,
            retry_at_ms: now_ms,
            ..peer.clone()
        };
        true
    }

    /// A peer is linked still.
    pub fn alive(&mut self, now_ms: u64, worker: &WorkerKey, up_bytes: u64, down_bytes: u64) {
        if let Some(peer) = self.peers.get_mut(worker) {
            peer.seen_ms = now_ms;
            peer.up_bytes = peer.up_bytes.saturating_add(up_bytes);
            peer.down_bytes = peer.down_bytes.saturating_add(down_bytes);
        }
    }

    /// An attempt to reach a peer failed.
    pub fn failed(&mut self, now_ms: u64, worker: &WorkerKey) {
        let Some(peer) = self.peers.get_mut(worker) else { return };
        peer.failures = peer.failures.saturating_add(1);
        let wait = RETRY_MIN_MS.saturating_mul(1 << (peer.failures - 1).min(16));
        peer.retry_at_ms = now_ms.saturating_add(wait.min(RETRY_MAX_MS));
        if !peer.met && HEARD_FAILURES_MAX <= peer.failures {
            self.peers.remove(worker);
        }
    }

    /// A peer is not to be tried for a while: it is well, and has no room.
    pub fn busy(&mut self, now_ms: u64, worker: &WorkerKey) {
        if let Some(peer) = self.peers.get_mut(worker) {
            peer.retry_at_ms = now_ms.saturating_add(RETRY_MAX_MS / 60);
        }
    }

    /// Blames a peer; whether it is shut out now.
    pub fn blame(&mut self, now_ms: u64, worker: &WorkerKey, blame: Blame) -> bool {
        let score = match self.peers.get_mut(worker) {
            Some(peer) => {
                peer.score = peer.score.saturating_sub(blame.points());
                peer.score
            }
            // Whom we do not even remember has no good past to excuse it.
            None => -blame.points(),
        };
        if SCORE_BAN < score {
            return false;
        }
        self.peers.remove(worker);
        if BANS_MAX <= self.banned.len() {
            self.banned.retain(|_, until| now_ms < *until);
            if let (true, Some(first)) = (
                BANS_MAX <= self.banned.len(),
                self.banned.iter().min_by_key(|(_, until)| **until).map(|(worker, _)| *worker),
            ) {
                self.banned.remove(&first);
            }
        }
        self.banned.insert(*worker, now_ms.saturating_add(BAN_MS));
        true
    }

    /// Thanks a peer for something that was of use.
    pub fn thank(&mut self, worker: &WorkerKey) {
        if let Some(peer) = self.peers.get_mut(worker) {
            peer.score = peer.score.saturating_add(1).min(SCORE_MAX);
        }
    }

    /// Whether a peer is shut out.
    #[must_use]
    pub fn is_banned(&self, now_ms: u64, worker: &WorkerKey) -> bool {
        self.banned.get(worker).is_some_and(|until| now_ms < *until)
    }

    /// A peer, if it is known.
    #[must_use]
    pub fn get(&self, worker: &WorkerKey) -> Option<&Peer> {
        self.peers.get(worker)
    }

    /// All that are known.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    /// Forgets whose certificates have expired.
    pub fn expire(&mut self, now_ms: u64) {
        self.peers.retain(|_, peer| now_ms < peer.contact.certificate.member().expires_at_ms);
        self.banned.retain(|_, until| now_ms < *until);
    }

    /// Takes back what was kept on disk.
    pub fn restore(&mut self, kept: impl IntoIterator<Item = Peer>) {
        for peer in kept {
            let worker = peer.contact.worker();
            if worker != self.me && self.make_room(&peer.contact, peer.met, 0) {
                self.peers.insert(worker, peer);
            }
        }
    }

    /// Whether one more fits, once somebody has made room who deserves its place less.
    fn make_room(&mut self, contact: &Contact, met: bool, random: u64) -> bool {
        let max = if met { MET_MAX } else { HEARD_MAX };
        let member = contact.certificate.member();
        let same_kind = || self.peers.iter().filter(|(_, peer)| peer.met == met);
        let of_account = same_kind().filter(|(_, peer)| account(peer) == member.account);
        let of_network =
            same_kind().filter(|(_, peer)| member.network != 0 && network(peer) == member.network);
        // The narrowest of the bounds that are reached says among whom to look.
        let crowd: Vec<_> = if max / SHARE <= of_account.clone().count() {
            of_account.collect()
        } else if max / SHARE <= of_network.clone().count() {
            of_network.collect()
        } else if max <= same_kind().count() {
            same_kind().collect()
        } else {
            return true;
        };
        let may_go = |peer: &Peer| {
            if met { MET_FAILURES_MAX <= peer.failures } else { 0 < peer.failures }
        };
        let leavers: Vec<_> =
            crowd.iter().filter(|(_, peer)| may_go(peer)).map(|(worker, _)| **worker).collect();
        let whole_table = crowd.len() == max;
        // Of those heard of, any may go for a newcomer, but not for one of its own crowd: a flood replaces only itself.
        let leaver = choose::pick(&leavers, random).copied().or_else(|| {
            let others: Vec<_> = crowd.iter().map(|(worker, _)| **worker).collect();
            (!met && whole_table).then(|| choose::pick(&others, random).copied()).flatten()
        });
        match leaver {
            Some(leaver) => self.peers.remove(&leaver).is_some(),
            None => false,
        }
    }
}

impl Peer {
    fn new(now_ms: u64, contact: Contact, met: bool) -> Self {
        Self {
            contact,
            met,
            since_ms: now_ms,
            seen_ms: now_ms,
            failures: 0,
            retry_at_ms: now_ms,
            score: 0,
            up_bytes: 0,
            down_bytes: 0,
        }
    }
}

fn account(peer: &Peer) -> AccountKey {
    peer.contact.certificate.member().account
}

fn network(peer: &Peer) -> u64 {
    peer.contact.certificate.member().network
}

/// What is known of a peer after one more has told of it: the certificate that is good for longer; the new addresses.
fn newer(known: &Contact, told: Contact) -> Contact {
    let until = |contact: &Contact| contact.certificate.member().expires_at_ms;
    let certificate =
        if until(known) < until(&told) { told.certificate } else { known.certificate };
    let serves = told.serves.or_else(|| known.serves.clone());
    Contact { certificate, serves, ..told }
}

#[cfg(test)]
mod tests;
