//! Blobs under way and blobs that are offered.

use super::{
    Action, Bits, Message, Now, OFFERED_MAX, RequestId, Source, Swarm, Totals, UNDER_WAY_MAX,
};
use proto::Digest;
use proto::pieces::Cut;
use std::collections::BTreeMap;

/// Why a transfer has ended without the blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It may be had later; why not now.
    Later(String),
    /// Nobody will ever give it; why.
    Never(String),
}

/// How far a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its list of pieces is not here.
    Listing { request: Option<RequestId>, again_at: Now },
    /// Some of its pieces are not here.
    Getting,
    /// It is here.
    Whole,
}

/// How the coordinator stands to a blob.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    /// Not to be asked before.
    pub(super) again_at: Now,
    /// It said "ask your peers" when it was asked last.
    pub(super) told_off: bool,
    /// It will never give it; why.
    pub(super) never: Option<String>,
    pub(super) in_flight: usize,
    /// Until then pieces that fall to others are asked for, too.
    pub(super) all_until: Now,
}

/// A blob that is wanted or here.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) stage: Stage,
    /// Bytes, if known.
    pub(super) len: Option<u64>,
    /// Known when the list is.
    pub(super) cut: Option<Cut>,
    pub(super) have: Bits,
    /// How many peers have each piece.
    pub(super) availability: Vec<u16>,
    /// Requests for each piece.
    pub(super) in_flight: BTreeMap<u32, Vec<RequestId>>,
    pub(super) begun_at: Now,
    /// What had been carried when it began.
    pub(super) begun_with: Totals,
    /// When anything of it came last, or it began.
    pub(super) moved_at: Now,
    /// A peer did not give the list: the coordinator is asked for it first, if it is there.
    pub(super) list_failed: bool,
    /// When it was asked for last by a peer: the one that nobody asks for is offered no more when there are too many.
    pub(super) asked_at: Now,
    pub(super) origin: Origin,
}

impl Blob {
    pub(super) const fn is_under_way(&self) -> bool {
        !matches!(self.stage, Stage::Whole)
    }

    /// Pieces that are missing and not asked of anybody.
    pub(super) fn n_unasked(&self) -> usize {
        let missing = self.have.n_bits() - self.have.n_set();
        (missing as usize).saturating_sub(self.in_flight.len())
    }

    /// The pieces that somebody was asked for, as a set.
    pub(super) fn asked_pieces(&self) -> Bits {
        let mut bits = Bits::none(self.have.n_bits());
        for piece in self.in_flight.keys() {
            bits.set(*piece);
        }
        bits
    }
}

impl Swarm {
    /// One of which nothing is known.
    fn blob(&self, now: Now, stage: Stage) -> Blob {
        Blob {
            stage,
            len: None,
            cut: None,
            have: Bits::none(0),
            availability: Vec::new(),
            in_flight: BTreeMap::new(),
            begun_at: now,
            begun_with: self.totals,
            moved_at: now,
            asked_at: now,
            list_failed: false,
            origin: Origin::default(),
        }
    }

    /// See [`super::Event::Begin`].
    pub(super) fn begin(
        &mut self,
        now: Now,
        digest: Digest,
        len: Option<u64>,
        fx: &mut Vec<Action>,
    ) {
        let under_way = self.blobs.values().filter(|blob| blob.is_under_way()).count();
        if let Some(blob) = self.blobs.get(&digest) {
            if !blob.is_under_way() {
                fx.push(Action::Done { digest });
            }
            return;
        }
        let cut = len.map(Cut::of);
        if cut == Some(None) || UNDER_WAY_MAX <= under_way {
            let trouble = if UNDER_WAY_MAX <= under_way {
                Trouble::Later("too many blobs are under way".into())
            } else {
                Trouble::Never("a blob of this length is not cut into pieces".into())
            };
            return fx.push(Action::GiveUp { digest, trouble });
        }
        let cut = cut.flatten();
        let have = Bits::none(cut.map_or(0, |cut| cut.n_pieces()));
        let stage = Stage::Listing { request: None, again_at: now };
        let blob = Blob { len, cut, have, ..self.blob(now, stage) };
        self.blobs.insert(digest, blob);
        for peer in self.peers.keys() {
            fx.push(Action::Send { peer: *peer, message: Message::Want { digest } });
        }
    }

    /// See [`super::Event::Offer`].
    pub(super) fn offer(&mut self, now: Now, digest: Digest, len: u64, fx: &mut Vec<Action>) {
        let Some(cut) = Cut::of(len) else { return };
        if self.blobs.contains_key(&digest) {
            return;
        }
        let offered = || self.blobs.iter().filter(|(_, blob)| !blob.is_under_way());
        if OFFERED_MAX <= offered().count()
            && let Some(oldest) = offered().min_by_key(|(_, blob)| blob.asked_at)
        {
            let oldest = *oldest.0;
            self.blobs.remove(&oldest);
        }
        let have = Bits::all(cut.n_pieces());
        let blob = Blob { len: Some(len), cut: Some(cut), have, ..self.blob(now, Stage::Whole) };
        self.blobs.insert(digest, blob);
        self.tell_holders(digest, fx);
        self.fill_slots(now, fx);
    }

    /// Tells those who want a blob what is here of it.
    pub(super) fn tell_holders(&self, digest: Digest, fx: &mut Vec<Action>) {
        for (peer, _) in self.peers.iter().filter(|(_, peer)| peer.wants.contains(&digest)) {
            fx.extend(self.holds(digest).map(|message| Action::Send { peer: *peer, message }));
        }
    }

    /// What is here of a blob, once its pieces are known.
    pub(super) fn holds(&self, digest: Digest) -> Option<Message> {
        let blob = self.blobs.get(&digest)?;
        let known = !matches!(blob.stage, Stage::Listing { .. });
        known.then(|| Message::Holds {
            digest,
            len: blob.len.unwrap_or_default(),
            pieces: blob.have.clone(),
        })
    }

    /// See [`super::Event::End`].
    pub(super) fn end(&mut self, digest: Digest, fx: &mut Vec<Action>) {
        let Some(blob) = self.blobs.remove(&digest) else { return };
        if blob.is_under_way() {
            self.stop_asking(digest, fx);
        }
    }

    /// The blob is under way no more: what was asked for is needed no more, and the peers are told.
    pub(super) fn stop_asking(&mut self, digest: Digest, fx: &mut Vec<Action>) {
        let requests: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, request)| request.digest == digest)
            .map(|(id, _)| *id)
            .collect();
        for id in requests {
            self.forget_request(id);
            fx.push(Action::Cancel { request: id });
        }
        for (key, peer) in &mut self.peers {
            peer.holds.remove(&digest);
            peer.claims.retain(|(of, _), _| *of != digest);
            fx.push(Action::Send { peer: *key, message: Message::Unwant { digest } });
        }
    }

    /// Ends transfers of which nothing has come for too long.
    pub(super) fn give_up_starved(&mut self, now: Now, fx: &mut Vec<Action>) {
        let mut starved = Vec::new();
        for (digest, blob) in self.blobs.iter().filter(|(_, blob)| blob.is_under_way()) {
            let quiet = now.saturating_sub(blob.moved_at);
            let held = self.peers.values().any(|peer| peer.holds.contains_key(digest));
            let trouble = match &blob.origin.never {
                Some(reason) if !held && self.config.patience <= quiet => {
                    Trouble::Never(reason.clone())
                }
                _ if quiet < self.config.starved => continue,
                _ if self.origin_here => Trouble::Later("the blob stalled".into()),
                _ => Trouble::Later(
                    "the coordinator is away and no peer that is connected gives the blob".into(),
                ),
            };
            starved.push((*digest, trouble));
        }
        for (digest, trouble) in starved {
            self.end(digest, fx);
            fx.push(Action::GiveUp { digest, trouble });
        }
    }

    /// Lets go of a request, whatever it is for.
    pub(super) fn forget_request(&mut self, id: RequestId) -> Option<super::Request> {
        let request = self.requests.remove(&id)?;
        match request.source {
            Source::Peer(key) => {
                if let Some(peer) = self.peers.get_mut(&key) {
                    peer.in_flight = peer.in_flight.saturating_sub(1);
                }
            }
            Source::Origin => {
                if let Some(blob) = self.blobs.get_mut(&request.digest) {
                    blob.origin.in_flight = blob.origin.in_flight.saturating_sub(1);
                }
            }
        }
        if let Some(blob) = self.blobs.get_mut(&request.digest) {
            match request.what {
                super::What::List => {
                    if let Stage::Listing { request, .. } = &mut blob.stage {
                        *request = None;
                    }
                }
                super::What::Piece(piece) => {
                    if let Some(ids) = blob.in_flight.get_mut(&piece) {
                        ids.retain(|other| *other != id);
                        if ids.is_empty() {
                            blob.in_flight.remove(&piece);
                        }
                    }
                }
            }
        }
        Some(request)
    }
}
