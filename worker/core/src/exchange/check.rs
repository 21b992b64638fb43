//! Everything that must hold of a swarm at any time.

use super::blob::Stage;
use super::{OFFERED_MAX, PEERS_MAX, Source, Swarm, UNDER_WAY_MAX, What};

impl Swarm {
    /// Checks every invariant.
    ///
    /// # Panics
    /// When one does not hold: for tests.
    pub fn check_invariants(&self) {
        assert!(self.peers.len() <= PEERS_MAX, "too many peers");
        let under_way = self.blobs.values().filter(|blob| blob.is_under_way()).count();
        assert!(under_way <= UNDER_WAY_MAX, "too many blobs under way");
        assert!(self.blobs.len() - under_way <= OFFERED_MAX + UNDER_WAY_MAX, "too many offers");
        assert!(self.banned.len() <= super::BANNED_MAX, "too many banned peers");
        for (id, request) in &self.requests {
            let blob = self.blobs.get(&request.digest).expect("a request is for a known blob");
            match request.what {
                What::List => {
                    let listing =
                        matches!(blob.stage, Stage::Listing { request: Some(at), .. } if at == *id);
                    assert!(listing, "a list is asked for once, while it is missing");
                }
                What::Piece(piece) => {
                    assert_eq!(blob.stage, Stage::Getting, "pieces are asked for when listed");
                    assert!(!blob.have.has(piece), "what is here is not asked for");
                    assert!(blob.in_flight[&piece].contains(id), "a request is on its piece");
                }
            }
            if let Source::Peer(key) = request.source {
                assert!(self.peers.contains_key(&key), "a request is to a peer that is there");
            }
        }
        for (key, peer) in &self.peers {
            let to_it =
                self.requests.values().filter(|request| request.source == Source::Peer(*key));
            assert_eq!(to_it.count(), peer.in_flight, "requests to a peer are counted");
            assert!(peer.holds.keys().all(|digest| self.blobs[digest].is_under_way()));
            assert!(peer.claims.len() <= peer.claims_max(), "too many claims");
            assert!(peer.wants.len() <= super::WANTS_MAX, "too much is wanted");
        }
        for (digest, blob) in &self.blobs {
            let of_it = |request: &&super::Request| request.digest == *digest;
            let origin = self.requests.values().filter(of_it);
            let origin = origin.filter(|request| request.source == Source::Origin).count();
            assert_eq!(origin, blob.origin.in_flight, "requests to the coordinator are counted");
            let in_flight: usize = blob.in_flight.values().map(Vec::len).sum();
            let asked = self.requests.values().filter(of_it);
            let asked = asked.filter(|request| matches!(request.what, What::Piece(_))).count();
            assert_eq!(in_flight, asked, "requests of a blob are counted");
            match blob.stage {
                Stage::Whole => assert!(blob.have.is_full() && blob.in_flight.is_empty()),
                Stage::Listing { .. } => assert!(blob.in_flight.is_empty()),
                Stage::Getting => {
                    assert!(!blob.have.is_full(), "a blob that is whole has ended");
                    for (piece, n) in (0_u32..).zip(&blob.availability) {
                        let holders = self.peers.values().filter(|peer| {
                            peer.holds.get(digest).is_some_and(|holding| holding.pieces.has(piece))
                        });
                        assert_eq!(holders.count(), usize::from(*n), "who has a piece is counted");
                    }
                }
            }
        }
    }
}
