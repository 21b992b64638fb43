//! What a swarm has carried and carries, for the owner's eyes.

use super::blob::{Blob, Stage};
use super::{Now, Source, Swarm};
use proto::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Blobs on their way that are told of one by one: more are only counted.
const ARRIVING_MAX: usize = 32;

/// Bytes of pieces that were right, and peers sent away, since the program's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Received from peers.
    pub from_peers_bytes: u64,
    /// Received from the coordinator.
    pub from_coordinator_bytes: u64,
    /// Given to peers.
    pub to_peers_bytes: u64,
    /// Pieces that were not what their digest says.
    pub wrong_pieces: u64,
    /// Peers dropped for what they sent, or did not send.
    pub dropped_peers: u64,
}

/// The exchange of blobs in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// Peers with whom blobs can be exchanged.
    pub peers: usize,
    /// Of these, given to now.
    pub unchoked: usize,
    /// Blobs that are here and given on.
    pub whole: usize,
    /// Blobs on their way.
    pub arriving: usize,
    /// The longest without a new piece of these, first.
    pub slowest: Vec<Arriving>,
    /// Since the program's start.
    #[serde(flatten)]
    pub totals: Totals,
}

/// A blob on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arriving {
    /// Which.
    pub blob: Digest,
    /// Its size, once it is known.
    pub bytes: Option<u64>,
    /// Pieces that are here.
    pub pieces_here: u32,
    /// Pieces that it has; 0 until its list is known.
    pub pieces: u32,
    /// Peers that have some of it.
    pub holders: usize,
    /// Seconds since anything of it came.
    pub still_seconds: u64,
    /// What it waits for.
    pub waits: String,
}

impl Swarm {
    /// What it carries and has carried.
    #[must_use]
    pub fn numbers(&self, now: Now) -> Numbers {
        let mut arriving: Vec<_> =
            self.blobs.iter().filter(|(_, blob)| blob.is_under_way()).collect();
        arriving.sort_by_key(|(_, blob)| blob.moved_at);
        let slowest = arriving.iter().take(ARRIVING_MAX);
        Numbers {
            peers: self.peers.len(),
            unchoked: self.peers.values().filter(|peer| !peer.choked).count(),
            whole: self.blobs.len() - arriving.len(),
            arriving: arriving.len(),
            slowest: slowest.map(|(digest, blob)| self.arriving(now, **digest, blob)).collect(),
            totals: self.totals,
        }
    }

    fn arriving(&self, now: Now, digest: Digest, blob: &Blob) -> Arriving {
        let holders = self.peers.values().filter(|peer| peer.holds.contains_key(&digest)).count();
        Arriving {
            blob: digest,
            bytes: blob.len,
            pieces_here: blob.have.n_set(),
            pieces: blob.cut.map_or(0, |cut| cut.n_pieces()),
            holders,
            still_seconds: now.saturating_sub(blob.moved_at).as_secs(),
            waits: self.waits(digest, blob, holders),
        }
    }

    fn waits(&self, digest: Digest, blob: &Blob, holders: usize) -> String {
        let requests = self.requests.values().filter(|request| request.digest == digest);
        let sources: BTreeSet<_> = requests
            .map(|request| match request.source {
                Source::Peer(key) => Some(key),
                Source::Origin => None,
            })
            .collect();
        let n_peers = sources.iter().flatten().count();
        let asked = match (n_peers, sources.contains(&None)) {
            (0, false) => None,
            (0, true) => Some("the coordinator".to_owned()),
            (n, false) => Some(format!("{n} peers")),
            (n, true) => Some(format!("{n} peers and the coordinator")),
        };
        match (asked, blob.stage, &blob.origin.never) {
            (Some(asked), Stage::Listing { .. }, _) => {
                format!("for its list of pieces, asked of {asked}")
            }
            (Some(asked), _, _) => format!("for pieces asked of {asked}"),
            (None, _, Some(reason)) if holders == 0 => {
                format!(
                    "for a peer that has it: none here does, and the coordinator cannot give it: {reason}"
                )
            }
            (None, _, _) if holders == 0 && !self.origin_here => {
                "for a peer that has it, or for the coordinator, which is away".to_owned()
            }
            (None, _, _) if holders == 0 => "for the coordinator's turn".to_owned(),
            (None, _, _) => format!("for its turn at {holders} peers that have some of it"),
        }
    }
}
