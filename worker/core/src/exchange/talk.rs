//! What peers say, and who is there.

use super::blob::Stage;
use super::peer::{HeldBlob, Peer};
use super::{Action, Bits, DropReason, Message, Now, OWING_MAX, PEERS_MAX, Swarm, WANTS_MAX};
use proto::pieces::Cut;
use proto::{Digest, WorkerKey};
use std::collections::BTreeMap;

impl Swarm {
    pub(super) fn connected(&mut self, now: Now, key: WorkerKey, fx: &mut Vec<Action>) {
        if let Some(until) = self.banned.get(&key).filter(|until| now < **until) {
            let keep_away = *until - now;
            return fx.push(Action::Drop { peer: key, reason: DropReason::WrongBytes, keep_away });
        }
        if self.peers.contains_key(&key) {
            // A new connection of the same peer: what was said on the old one holds no more.
            self.gone(key);
        }
        if PEERS_MAX <= self.peers.len() {
            let keep_away = self.config.rechoke;
            return fx.push(Action::Drop {
                peer: key,
                reason: DropReason::TooManyPeers,
                keep_away,
            });
        }
        let withheld = self.owing.remove(&key).unwrap_or(0);
        self.peers.insert(key, Peer::new(now, withheld));
        for (digest, _) in self.blobs.iter().filter(|(_, blob)| blob.is_under_way()) {
            fx.push(Action::Send { peer: key, message: Message::Want { digest: *digest } });
        }
    }

    pub(super) fn near(&mut self, now: Now, key: WorkerKey, near: bool, fx: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&key).filter(|peer| peer.near != near) else { return };
        (peer.near, peer.claims) = (near, BTreeMap::new());
        self.rechoke(now, fx);
    }

    pub(super) fn gone(&mut self, key: WorkerKey) {
        let asked: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, request)| request.source == super::Source::Peer(key))
            .map(|(id, _)| *id)
            .collect();
        for id in asked {
            self.forget_request(id);
        }
        let Some(peer) = self.peers.remove(&key) else { return };
        if 0 < peer.withheld {
            self.owing.insert(key, peer.withheld);
        }
        if OWING_MAX < self.owing.len()
            && let Some(least) = self.owing.iter().min_by_key(|(_, bytes)| **bytes)
        {
            let least = *least.0;
            self.owing.remove(&least);
        }
        for (digest, holding) in &peer.holds {
            self.count(*digest, &holding.pieces, false);
        }
        if self.optimistic.is_some_and(|(of, _)| of == key) {
            self.optimistic = None;
        }
    }

    /// Counts who has which piece.
    fn count(&mut self, digest: Digest, pieces: &Bits, more: bool) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        for piece in pieces.iter() {
            if let Some(n) = blob.availability.get_mut(piece as usize) {
                *n = if more { n.saturating_add(1) } else { n.saturating_sub(1) };
            }
        }
    }

    pub(super) fn said(
        &mut self,
        now: Now,
        key: WorkerKey,
        message: Message,
        fx: &mut Vec<Action>,
    ) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if !peer.may_say(now) {
            return self.drop_peer(key, DropReason::SaysTooMuch, fx);
        }
        match message {
            Message::Want { digest } => self.wants(now, key, digest, fx),
            Message::Unwant { digest } => {
                peer.wants.remove(&digest);
                self.fill_slots(now, fx);
            }
            Message::Holds { digest, len, pieces } => {
                self.peer_holds(now, key, digest, HeldBlob { len, pieces }, fx)
            }
            Message::Has { digest, piece } => {
                peer.claim_kept(digest, piece);
                let Some(holding) = peer.holds.get_mut(&digest) else { return };
                if holding.pieces.set(piece)
                    && let Some(blob) = self.blobs.get_mut(&digest)
                    && let Some(n) = blob.availability.get_mut(piece as usize)
                {
                    *n = n.saturating_add(1);
                }
            }
            Message::Gets { digest, piece } => {
                let known = self
                    .blobs
                    .get(&digest)
                    .is_some_and(|blob| blob.is_under_way() && piece < blob.have.n_bits());
                if known {
                    peer.claim(digest, piece, now + self.config.claim);
                }
            }
            Message::Choke => peer.chokes_me = true,
            Message::Unchoke => peer.chokes_me = false,
        }
    }

    fn wants(&mut self, now: Now, key: WorkerKey, digest: Digest, fx: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if WANTS_MAX <= peer.wants.len() && !peer.wants.contains(&digest) {
            return self.drop_peer(key, DropReason::WantsTooMuch, fx);
        }
        if !peer.wants.insert(digest) {
            return;
        }
        if let Some(blob) = self.blobs.get_mut(&digest) {
            blob.asked_at = now;
        }
        fx.extend(self.holds(digest).map(|message| Action::Send { peer: key, message }));
        self.fill_slots(now, fx);
    }

    fn peer_holds(
        &mut self,
        now: Now,
        key: WorkerKey,
        digest: Digest,
        holding: HeldBlob,
        fx: &mut Vec<Action>,
    ) {
        let cut = Cut::of(holding.len);
        let cut_fits = cut.is_some_and(|cut| cut.n_pieces() == holding.pieces.n_bits());
        if !cut_fits || !holding.pieces.is_sound() {
            return self.drop_peer(key, DropReason::ImpossibleClaim, fx);
        }
        // Said before it knew that this worker wants it no more, or of a length that is not the blob's.
        let Some(blob) = self.blobs.get(&digest).filter(|blob| blob.is_under_way()) else {
            return;
        };
        if blob.len.is_some_and(|len| len != holding.len) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let pieces = holding.pieces.clone();
        if peer.fruitful_until == Now::ZERO && 0 < pieces.n_set() {
            peer.fruitful_until = now + self.config.unproven;
        }
        let before = peer.holds.insert(digest, holding);
        if let Some(before) = before {
            self.count(digest, &before.pieces, false);
        }
        self.count(digest, &pieces, true);
    }

    /// The pieces of a blob are known: what peers said before counts, where it fits.
    pub(super) fn recount(&mut self, digest: Digest) {
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        blob.availability = vec![0; blob.have.n_bits() as usize];
        let len = blob.len.unwrap_or_default();
        for peer in self.peers.values_mut() {
            if peer.holds.get(&digest).is_some_and(|holding| holding.len != len) {
                peer.holds.remove(&digest);
            }
            let Some(holding) = peer.holds.get(&digest) else { continue };
            for piece in holding.pieces.iter() {
                if let Some(n) = blob.availability.get_mut(piece as usize) {
                    *n = n.saturating_add(1);
                }
            }
        }
    }

    /// Closes the connection to a peer that breaks the rules or is of no use, for a while.
    pub(super) fn drop_peer(&mut self, key: WorkerKey, reason: DropReason, fx: &mut Vec<Action>) {
        self.gone(key);
        self.totals.dropped_peers += 1;
        fx.push(Action::Drop { peer: key, reason, keep_away: self.config.ban / 10 });
    }

    /// Whether a peer could use what is here.
    pub(super) fn is_interested(&self, peer: &Peer) -> bool {
        peer.wants.iter().any(|digest| {
            self.blobs.get(digest).is_some_and(|blob| {
                !matches!(blob.stage, Stage::Listing { .. })
                    && 0 < blob.have.n_set()
                    && peer.holds.get(digest).is_none_or(|theirs| blob.have.exceeds(&theirs.pieces))
            })
        })
    }
}
