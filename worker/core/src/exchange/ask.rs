//! Which piece to ask of whom.

use super::blob::{Blob, Stage};
use super::meter::Prng;
use super::peer::{self, Peer};
use super::{Action, Bits, Message, Now, Request, RequestId, Source, Swarm, Totals, What};
use proto::pieces::PIECE_BYTES_MIN;
use proto::{Digest, WorkerKey};

/// Most pieces of one blob that the coordinator is asked for at a time.
const ORIGIN_IN_FLIGHT_MAX: usize = 8;
/// Who has given less than this part of what it got of peers since a blob began gives little, once it got so many bytes.
const LITTLE: u64 = 16;
const LITTLE_OF: u64 = 4 << 20;
/// Under way is at most what comes in so many seconds, where the owner limits what comes in.
const DOWN_SECONDS: u64 = 4;
/// A peer is asked for a piece that others are slow with while fewer sources than this are asked for it.
const SOURCES_MAX: usize = 2;

impl Swarm {
    /// Asks for as much as may be asked for now.
    pub(super) fn ask(&mut self, now: Now, fx: &mut Vec<Action>) {
        let under_way: Vec<_> = self
            .blobs
            .iter()
            .filter(|(_, blob)| blob.is_under_way())
            .map(|(digest, blob)| (*digest, blob.stage))
            .collect();
        for (digest, stage) in under_way {
            match stage {
                Stage::Listing { request: None, again_at } if again_at <= now => {
                    self.ask_for_list(now, digest, fx)
                }
                Stage::Getting => {
                    self.ask_peers(now, digest, fx);
                    self.ask_origin(now, digest, fx);
                }
                Stage::Listing { .. } | Stage::Whole => {}
            }
        }
    }

    fn request(&mut self, now: Now, source: Source, digest: Digest, what: What) -> RequestId {
        let id = self.next_request;
        self.next_request += 1;
        let piece_bytes = self
            .blobs
            .get(&digest)
            .and_then(|blob| blob.cut)
            .map_or(PIECE_BYTES_MIN, |cut| cut.piece_bytes());
        let patience = match source {
            Source::Peer(key) => self.peers.get_mut(&key).map(|peer| {
                let patience = peer.patience(now, piece_bytes, &self.config);
                peer.in_flight += 1;
                patience
            }),
            Source::Origin => self.blobs.get_mut(&digest).map(|blob| {
                let rate = self.origin_given.rate(now);
                blob.origin.in_flight += 1;
                peer::deadline(rate, blob.origin.in_flight, piece_bytes, &self.config)
            }),
        };
        let patience = match what {
            What::List => Some(self.config.list),
            What::Piece(_) => patience,
        };
        let deadline = now + patience.unwrap_or(self.config.request);
        self.requests.insert(id, Request { source, digest, what, at: now, deadline });
        if let Some(blob) = self.blobs.get_mut(&digest) {
            match what {
                What::List => blob.stage = Stage::Listing { request: Some(id), again_at: now },
                What::Piece(piece) => blob.in_flight.entry(piece).or_default().push(id),
            }
        }
        id
    }

    /// Of a peer that has some of the blob, else of the coordinator.
    fn ask_for_list(&mut self, now: Now, digest: Digest, fx: &mut Vec<Action>) {
        let Some(blob) = self.blobs.get(&digest) else { return };
        let settled = self.is_settled(now, blob.begun_at);
        let len = blob.len;
        let origin = self.origin_here
            && settled
            && blob.origin.again_at <= now
            && blob.origin.never.is_none();
        let holders = self.peers.iter().filter(|(_, peer)| {
            // A list is no piece: whoever is choked gets it too. The length is proven by the last piece only.
            let holding = peer.holds.get(&digest);
            let proves = |pieces: &Bits| pieces.has(pieces.n_bits().saturating_sub(1));
            peer.snubbed_until <= now
                && holding.is_some_and(|holding| len.is_some() || proves(&holding.pieces))
        });
        let holder = self.dice.lowest(holders.map(|(key, peer)| (peer.strikes, *key)));
        let source = match holder {
            _ if origin && blob.list_failed => Source::Origin,
            Some(key) => Source::Peer(key),
            None if origin => Source::Origin,
            None => return,
        };
        let request = self.request(now, source, digest, What::List);
        fx.push(Action::AskList { request, source, digest, len });
    }

    /// Whether peers had the time to come, and to say what they have of a blob that was begun then.
    fn is_settled(&self, now: Now, begun_at: Now) -> bool {
        match self.peers.is_empty() {
            true => self.config.newborn <= now,
            false => begun_at + self.config.settle <= now,
        }
    }

    fn ask_peers(&mut self, now: Now, digest: Digest, fx: &mut Vec<Action>) {
        let mut keys: Vec<WorkerKey> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_askable(now) && peer.holds.contains_key(&digest))
            .map(|(key, _)| *key)
            .collect();
        // Who is first gets the rarest: that is drawn by lot.
        for n in (1..keys.len()).rev() {
            let with = self.dice.below(n as u64 + 1);
            keys.swap(n, usize::try_from(with).unwrap_or(0));
        }
        for key in keys {
            let outside = self.peers.get(&key).is_some_and(|peer| !peer.near);
            while let Some(piece) = self.piece_for(now, key, digest) {
                let source = Source::Peer(key);
                let request = self.request(now, source, digest, What::Piece(piece));
                fx.push(Action::Ask { request, source, digest, piece, last: false });
                if outside {
                    self.tell_gets(digest, piece, true, fx);
                }
            }
        }
    }

    /// Whether as much is under way as the owner's limit lets in within a few seconds: what waits longer than that would
    /// look like a peer that does not deliver.
    fn is_down_full(&self, piece_bytes: u64) -> bool {
        let Some(limit) = self.config.down_per_second else { return false };
        let under_way = (self.requests.len() as u64 + 1).saturating_mul(piece_bytes);
        !self.requests.is_empty() && limit.saturating_mul(DOWN_SECONDS) < under_way
    }

    /// What machines near have of a blob or have asked for outside, which is not asked for there; nothing, after nothing has
    /// come for some time.
    fn of_those_near(&self, now: Now, digest: Digest) -> Option<Bits> {
        let blob = self.blobs.get(&digest)?;
        let mut theirs = Bits::none(blob.cut?.n_pieces());
        if now < blob.moved_at + self.config.patience {
            for peer in self.peers.values().filter(|peer| peer.near) {
                add_of(&mut theirs, now, peer, digest);
            }
        }
        Some(theirs)
    }

    /// Those that want a blob and would give of it.
    fn getting(&self, digest: Digest, near: bool) -> Vec<WorkerKey> {
        let gets = |peer: &Peer| peer.wants.contains(&digest) && !peer.is_free_rider();
        let those = self.peers.iter().filter(|(_, peer)| gets(peer) && (!near || peer.near));
        those.map(|(key, _)| *key).collect()
    }

    /// The rarest piece that a peer has and that nobody was asked for; near the end, one that others are slow with.
    fn piece_for(&mut self, now: Now, key: WorkerKey, digest: Digest) -> Option<u32> {
        let (peer, blob) = (self.peers.get(&key)?, self.blobs.get(&digest)?);
        let holding = peer.holds.get(&digest)?;
        let piece_bytes = blob.cut?.piece_bytes();
        if peer.in_flight_aim(now, piece_bytes) <= peer.in_flight || self.is_down_full(piece_bytes)
        {
            return None;
        }
        let asked = blob.asked_pieces();
        // From outside, first what falls to this one of the machines here, so that those that start together ask for
        // different pieces.
        let (near, getting) = if peer.near {
            (Bits::none(blob.have.n_bits()), Vec::new())
        } else {
            (self.of_those_near(now, digest)?, self.getting(digest, true))
        };
        let others = [&blob.have, &asked, &near];
        let unasked = holding.pieces.without(&others);
        let rarity = |piece: u32| blob.availability.get(piece as usize).copied().unwrap_or(0);
        let others = |piece: u32| !getting.is_empty() && !self.falls_to_me(&getting, piece);
        let unasked = unasked.map(|piece| ((others(piece), rarity(piece)), piece));
        let unasked: Vec<_> = unasked.collect();
        let rarest = self.dice.lowest(unasked.into_iter());
        if rarest.is_some() || 0 < blob.n_unasked() {
            return rarest;
        }
        let slow = blob.in_flight.iter().filter(|(piece, ids)| {
            let of_others = |id: &RequestId| {
                self.requests.get(id).is_some_and(|request| {
                    request.source != Source::Peer(key) && request.at + self.config.endgame <= now
                })
            };
            holding.pieces.has(**piece) && ids.len() < SOURCES_MAX && ids.iter().all(of_others)
        });
        self.dice.lowest(slow.map(|(piece, ids)| (ids.len(), *piece)))
    }

    /// Whether it falls to this worker, of those that get a blob, to ask the coordinator for a piece.
    fn falls_to_me(&self, others: &[WorkerKey], piece: u32) -> bool {
        let weight = |key: &WorkerKey| {
            let (start, _) = key.0.split_at(8);
            let start = start.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
            (Prng(start ^ u64::from(piece).wrapping_mul(0x2545_f491_4f6c_dd1d)).roll(), *key)
        };
        let mine = weight(&self.config.me);
        others.iter().all(|other| weight(other) < mine)
    }

    /// The pieces that somebody was asked for, but for those that only peers were asked for, some time ago, that have given
    /// nothing yet: they may never.
    fn counted_on(&self, now: Now, blob: &Blob) -> Bits {
        let mut pieces = blob.asked_pieces();
        let hopeful = |id: &RequestId| {
            self.requests.get(id).is_some_and(|request| match request.source {
                Source::Peer(key) => {
                    now < request.at + self.config.endgame
                        || self.peers.get(&key).is_some_and(|peer| 0 < peer.given.total())
                }
                Source::Origin => true,
            })
        };
        for (piece, ids) in &blob.in_flight {
            if !ids.iter().any(hopeful) {
                pieces.clear(*piece);
            }
        }
        pieces
    }

    /// Whether this worker passes on little of what it gets, since a blob began.
    fn gives_little(&self, blob: &Blob) -> bool {
        let Totals { from_peers_bytes: got, to_peers_bytes: gave, .. } = self.totals;
        let got = got.saturating_sub(blob.begun_with.from_peers_bytes);
        let gave = gave.saturating_sub(blob.begun_with.to_peers_bytes);
        LITTLE_OF < got && gave < got / LITTLE
    }

    /// The coordinator is asked for what no peer has or gets; for anything, after nothing has come for some time.
    ///
    /// A worker that gives little leaves it to those who get the blob too, because what it takes has to be given once more;
    /// it asks for one piece when nothing has come for some time.
    fn ask_origin(&mut self, now: Now, digest: Digest, fx: &mut Vec<Action>) {
        let Some(blob) = self.blobs.get(&digest) else { return };
        let Some(cut) = blob.cut else { return };
        let rate = self.origin_given.rate(now);
        let mut aim = peer::ahead(rate, cut.piece_bytes()).min(ORIGIN_IN_FLIGHT_MAX);
        let settled = self.is_settled(now, blob.begun_at);
        if !self.origin_here
            || !settled
            || aim <= blob.origin.in_flight
            || now < blob.origin.again_at
            || blob.origin.never.is_some()
        {
            return;
        }
        let mut asked = self.counted_on(now, blob);
        if asked.n_set() + blob.have.n_set() == blob.have.n_bits() {
            return;
        }
        let getting = self.getting(digest, false);
        let still = blob.moved_at + self.config.fallen <= now && blob.origin.in_flight == 0;
        if !getting.is_empty() && self.gives_little(blob) {
            if !still {
                return;
            }
            aim = 1;
        }
        let mut theirs = Bits::none(cut.n_pieces());
        for peer in self.peers.values() {
            if peer.is_free_rider() {
                continue;
            }
            add_of(&mut theirs, now, peer, digest);
        }
        if let Some(blob) = self.blobs.get_mut(&digest).filter(|_| still) {
            blob.origin.all_until = now + self.config.fallen;
        }
        while let Some(blob) = self.blobs.get(&digest).filter(|blob| blob.origin.in_flight < aim) {
            let takes_all = now < blob.origin.all_until;
            let all = Bits::all(cut.n_pieces());
            let rarity = |piece: u32| blob.availability.get(piece as usize).copied().unwrap_or(0);
            let others = [&blob.have, &asked, &theirs];
            let own = |piece: &u32| takes_all || self.falls_to_me(&getting, *piece);
            let nobodys = all.without(&others).filter(own);
            let nobodys: Vec<_> = nobodys.map(|piece| (rarity(piece), piece)).collect();
            let nobodys = self.dice.lowest(nobodys.into_iter());
            let quiet = blob.moved_at + self.config.patience <= now && blob.origin.in_flight == 0;
            let piece = match nobodys {
                Some(piece) => piece,
                None if quiet => {
                    let others = [&blob.have, &asked];
                    let missing = all.without(&others);
                    let rarest = self.dice.lowest(missing.map(|piece| (rarity(piece), piece)));
                    let Some(piece) = rarest else { return };
                    piece
                }
                None => return,
            };
            // Without peers there is nobody else to ask.
            let last = blob.origin.told_off || self.peers.is_empty();
            let source = Source::Origin;
            let request = self.request(now, source, digest, What::Piece(piece));
            asked.set(piece);
            fx.push(Action::Ask { request, source, digest, piece, last });
            self.tell_gets(digest, piece, false, fx);
        }
    }

    /// Tells those that want a blob, or only those of them that are near, that a piece of it was asked for.
    fn tell_gets(&self, digest: Digest, piece: u32, near: bool, fx: &mut Vec<Action>) {
        let wants = |peer: &Peer| peer.wants.contains(&digest) && (!near || peer.near);
        for (key, _) in self.peers.iter().filter(|(_, peer)| wants(peer)) {
            fx.push(Action::Send { peer: *key, message: Message::Gets { digest, piece } });
        }
    }
}

/// Adds what a peer has of a blob, or gets from elsewhere.
fn add_of(theirs: &mut Bits, now: Now, peer: &Peer, digest: Digest) {
    if peer.is_fruitful(now)
        && let Some(holding) = peer.holds.get(&digest)
    {
        theirs.add(&holding.pieces);
    }
    for ((_, piece), _) in peer.claims.iter().filter(|((of, _), _)| *of == digest) {
        theirs.set(*piece);
    }
}
