//! To whom pieces are given.

use super::blob::Stage;
use super::peer::{Peer, SERVING_MAX};
use super::{Action, Message, Now, Refusal, Swarm, Ticket};
use proto::{Digest, WorkerKey};
use std::cmp::Reverse;
use std::time::Duration;

/// A peer that came so recently is drawn three times as easily: it has nothing to give yet.
const NEWCOMER: Duration = Duration::from_secs(60);
/// Rates are compared in steps of this many bytes per second, so that noise is no reason to change.
const RATE_STEP: f64 = 1024.0;

impl Swarm {
    pub(super) fn asked(
        &mut self,
        now: Now,
        key: WorkerKey,
        ticket: Ticket,
        digest: Digest,
        piece: u32,
        fx: &mut Vec<Action>,
    ) {
        let has = self.blobs.get(&digest).is_some_and(|blob| blob.have.has(piece));
        let why = match self.peers.get_mut(&key) {
            None => Some(Refusal::Choked),
            Some(peer) if peer.choked => Some(Refusal::Choked),
            Some(_) if !has => Some(Refusal::Lacks),
            Some(peer) if SERVING_MAX <= peer.serving => Some(Refusal::Busy),
            Some(peer) => {
                peer.serving += 1;
                None
            }
        };
        if let Some(why) = why {
            return fx.push(Action::Refuse { peer: key, ticket, why });
        }
        if let Some(blob) = self.blobs.get_mut(&digest) {
            blob.asked_at = now;
        }
        fx.push(Action::Serve { peer: key, ticket, digest, piece });
    }

    pub(super) fn served(&mut self, now: Now, key: WorkerKey, bytes: u64) {
        let Some(peer) = self.peers.get(&key) else { return };
        let could_give = peer.holds.iter().any(|(digest, holding)| {
            self.blobs.get(digest).is_some_and(|blob| holding.pieces.exceeds(&blob.have))
        });
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.serving = peer.serving.saturating_sub(1);
            peer.taken.add(now, bytes);
            self.totals.to_peers_bytes += bytes;
            if could_give {
                peer.withheld = peer.withheld.saturating_add(bytes);
            }
        }
    }

    /// Decides anew who is given to.
    pub(super) fn rechoke(&mut self, now: Now, fx: &mut Vec<Action>) {
        let mut ranked = self.ranked(now);
        let rest = ranked.split_off(ranked.len().min(self.config.slots));
        let kept = self.optimistic.filter(|(key, until)| now < *until && rest.contains(key));
        self.optimistic = match kept {
            Some(kept) => Some(kept),
            None => self.drawn(now, &rest).map(|key| (key, now + self.config.optimistic)),
        };
        ranked.extend(self.optimistic.map(|(key, _)| key));
        for (key, peer) in &mut self.peers {
            let choked = !peer.near && !ranked.contains(key);
            if peer.choked != choked {
                peer.choked = choked;
                let message = if choked { Message::Choke } else { Message::Unchoke };
                fx.push(Action::Send { peer: *key, message });
            }
        }
    }

    /// Peers that could use what is here, those near left out, those that deserve it most first; free riders only when
    /// nobody else wants anything.
    ///
    /// While something is under way here, those that gave most of late; else, and among equals, those that gave most in
    /// all, then those that took least of late, so that a seed gives to each in turn; the rest by lot.
    fn ranked(&mut self, now: Now) -> Vec<WorkerKey> {
        let getting = self.blobs.values().any(|blob| blob.stage == Stage::Getting);
        let others = self.peers.values().filter(|peer| !peer.near && !peer.is_free_rider());
        let others_want =
            others.flat_map(|peer| &peer.wants).any(|digest| self.blobs.contains_key(digest));
        let mut ranked = Vec::new();
        let far = self.peers.iter().filter(|(_, peer)| {
            !peer.near && self.is_interested(peer) && !(others_want && peer.is_free_rider())
        });
        for (key, peer) in far {
            let late = if getting { steps(peer.given.rate(now)) } else { 0 };
            let taken = steps(peer.taken.rate(now));
            ranked.push((Reverse(late), Reverse(peer.given.total()), taken, 0, *key));
        }
        for (.., lot, _) in &mut ranked {
            *lot = self.dice.roll();
        }
        ranked.sort_unstable();
        ranked.into_iter().map(|(.., key)| key).collect()
    }

    /// One of these by lot, newcomers three times as easily.
    fn drawn(&mut self, now: Now, keys: &[WorkerKey]) -> Option<WorkerKey> {
        let mut lots = Vec::new();
        for key in keys {
            let is_new = now < self.peers.get(key)?.connected_at + NEWCOMER;
            lots.extend(std::iter::repeat_n(*key, if is_new { 3 } else { 1 }));
        }
        let index = self.dice.below(lots.len() as u64);
        lots.get(usize::try_from(index).unwrap_or(0)).copied()
    }

    /// Gives to whoever can use what is here while there are slots that nobody uses.
    pub(super) fn fill_slots(&mut self, now: Now, fx: &mut Vec<Action>) {
        let given_to = |peer: &&Peer| !peer.near && !peer.choked && self.is_interested(peer);
        let n_used = self.peers.values().filter(given_to).count();
        if self.config.slots < n_used || self.peers.values().all(|peer| !peer.choked) {
            return;
        }
        let free = self.config.slots + 1 - n_used;
        let ranked = self.ranked(now);
        let choked = ranked.into_iter().filter(|key| self.peers.get(key).is_some_and(|p| p.choked));
        let chosen: Vec<_> = choked.take(free).collect();
        for key in chosen {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.choked = false;
                fx.push(Action::Send { peer: key, message: Message::Unchoke });
            }
        }
    }
}

/// A rate in whole steps; a float that is not negative is ordered as its bits are (IEEE 754).
fn steps(rate: f64) -> u64 {
    (rate / RATE_STEP).floor().to_bits()
}
