//! What becomes of a request.

use super::blob::Stage;
use super::{Action, Bits, DropReason, Fault, Message, Now, RequestId, Source, Swarm, What};
use proto::pieces::Cut;
use proto::{Digest, WorkerKey};
use std::time::Duration;

/// Wait before a list is asked for again.
const LIST_AGAIN: Duration = Duration::from_millis(500);
/// About how long the coordinator is left alone after it said "ask your peers", or could not answer.
const ORIGIN_AGAIN: Duration = Duration::from_secs(5);
/// A peer that is busy is left alone for this long.
const BUSY_AGAIN: Duration = Duration::from_secs(2);

impl Swarm {
    pub(super) fn listed(
        &mut self,
        now: Now,
        id: RequestId,
        len: u64,
        have: &Bits,
        fx: &mut Vec<Action>,
    ) {
        let Some(request) = self.forget_request(id) else { return };
        let digest = request.digest;
        let Some(cut) = Cut::of(len) else { return };
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        if !matches!(blob.stage, Stage::Listing { .. }) || have.n_bits() != cut.n_pieces() {
            return;
        }
        (blob.len, blob.cut, blob.have) = (Some(len), Some(cut), have.clone());
        (blob.stage, blob.moved_at) = (Stage::Getting, now);
        self.recount(digest);
        self.tell_holders(digest, fx);
        self.fill_slots(now, fx);
        self.end_if_whole(now, digest, fx);
    }

    pub(super) fn arrived(&mut self, now: Now, id: RequestId, fx: &mut Vec<Action>) {
        let Some(request) = self.forget_request(id) else { return };
        let (digest, What::Piece(piece)) = (request.digest, request.what) else { return };
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        let bytes = blob.cut.map_or(0, |cut| cut.len_of(piece));
        blob.moved_at = now;
        match request.source {
            Source::Peer(key) => {
                if let Some(peer) = self.peers.get_mut(&key) {
                    peer.given.add(now, bytes);
                    self.totals.from_peers_bytes += bytes;
                    (peer.strikes, peer.withheld) = (0, 0);
                    peer.fruitful_until = peer.fruitful_until.max(now + self.config.barren);
                }
            }
            Source::Origin => {
                self.origin_given.add(now, bytes);
                self.totals.from_coordinator_bytes += bytes;
                blob.origin.told_off = false;
            }
        }
        if !blob.have.set(piece) {
            return;
        }
        for other in blob.in_flight.get(&piece).cloned().unwrap_or_default() {
            self.forget_request(other);
            fx.push(Action::Cancel { request: other });
        }
        for (key, _) in self.peers.iter().filter(|(_, peer)| peer.wants.contains(&digest)) {
            fx.push(Action::Send { peer: *key, message: Message::Has { digest, piece } });
        }
        self.end_if_whole(now, digest, fx);
        self.fill_slots(now, fx);
    }

    fn end_if_whole(&mut self, now: Now, digest: Digest, fx: &mut Vec<Action>) {
        let Some(blob) = self.blobs.get_mut(&digest).filter(|blob| blob.have.is_full()) else {
            return;
        };
        (blob.stage, blob.asked_at) = (Stage::Whole, now);
        blob.availability = Vec::new();
        self.stop_asking(digest, fx);
        fx.push(Action::Done { digest });
    }

    pub(super) fn failed(&mut self, now: Now, id: RequestId, fault: Fault, fx: &mut Vec<Action>) {
        let Some(request) = self.forget_request(id) else { return };
        self.totals.wrong_pieces += u64::from(fault == Fault::Wrong);
        if let Some(blob) = self.blobs.get_mut(&request.digest)
            && let Stage::Listing { again_at, .. } = &mut blob.stage
        {
            *again_at = now + LIST_AGAIN;
        }
        match request.source {
            Source::Origin => self.origin_failed(now, request.digest, fault),
            Source::Peer(key) => {
                self.peer_failed(now, key, request.digest, request.what, &fault, fx)
            }
        }
    }

    fn origin_failed(&mut self, now: Now, digest: Digest, fault: Fault) {
        let again_at = now + self.dice.about(ORIGIN_AGAIN);
        let Some(blob) = self.blobs.get_mut(&digest) else { return };
        blob.origin.again_at = again_at;
        match fault {
            Fault::AskPeers => blob.origin.told_off = true,
            Fault::Never(reason) => blob.origin.never = Some(reason),
            Fault::Wrong => {
                blob.origin.never = Some("the coordinator's copy is not that of the digest".into());
            }
            Fault::Choked | Fault::Lacks | Fault::Busy | Fault::Lost => {}
        }
    }

    fn peer_failed(
        &mut self,
        now: Now,
        key: WorkerKey,
        digest: Digest,
        what: What,
        fault: &Fault,
        fx: &mut Vec<Action>,
    ) {
        if what == What::List
            && let Some(blob) = self.blobs.get_mut(&digest)
        {
            blob.list_failed = true;
        }
        let Some(peer) = self.peers.get_mut(&key) else { return };
        match fault {
            Fault::Wrong => self.ban(now, key, fx),
            Fault::Choked => peer.chokes_me = true,
            Fault::Busy | Fault::AskPeers => peer.snubbed_until = now + BUSY_AGAIN,
            Fault::Lacks => {
                if let (What::Piece(piece), Some(holding)) = (what, peer.holds.get_mut(&digest))
                    && holding.pieces.clear(piece)
                    && let Some(blob) = self.blobs.get_mut(&digest)
                    && let Some(n) = blob.availability.get_mut(piece as usize)
                {
                    *n = n.saturating_sub(1);
                }
                self.strike(now, key, fx);
            }
            Fault::Lost | Fault::Never(_) => self.strike(now, key, fx),
        }
    }

    fn strike(&mut self, now: Now, key: WorkerKey, fx: &mut Vec<Action>) {
        // What was asked at the same time fails at the same time: that is one failure.
        if let Some(peer) = self.peers.get_mut(&key)
            && peer.snubbed_until <= now
            && peer.strike(now)
        {
            self.drop_peer(key, DropReason::DoesNotDeliver, fx);
        }
    }

    /// A peer that sent wrong bytes is dropped and remembered.
    fn ban(&mut self, now: Now, key: WorkerKey, fx: &mut Vec<Action>) {
        self.gone(key);
        self.totals.dropped_peers += 1;
        let keep_away = self.config.ban;
        if super::BANNED_MAX <= self.banned.len()
            && let Some(first) =
                self.banned.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key)
        {
            self.banned.remove(&first);
        }
        self.banned.insert(key, now + keep_away);
        fx.push(Action::Drop { peer: key, reason: DropReason::WrongBytes, keep_away });
    }

    /// Requests that took too long are made elsewhere.
    pub(super) fn expire_requests(&mut self, now: Now, fx: &mut Vec<Action>) {
        let late: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, request)| request.deadline <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            // Those of a peer that was dropped meanwhile are gone.
            if self.requests.contains_key(&id) {
                fx.push(Action::Cancel { request: id });
                self.failed(now, id, Fault::Lost, fx);
            }
        }
    }
}

/// What the caller asks.
impl Swarm {
    /// Whether this blob is under way.
    #[must_use]
    pub fn is_under_way(&self, digest: &Digest) -> bool {
        self.blobs.get(digest).is_some_and(super::Blob::is_under_way)
    }

    /// Whether some of this blob is here and may be given.
    #[must_use]
    pub fn is_offered(&self, digest: &Digest) -> bool {
        let listed = |blob: &super::Blob| !matches!(blob.stage, Stage::Listing { .. });
        self.blobs.get(digest).is_some_and(listed)
    }
}
