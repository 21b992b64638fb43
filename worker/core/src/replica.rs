//! The project's log as a worker has it: entries from the first on, up to a head that the project signed. Pure.
//!
//! It grows by whole pieces: entries that follow those that are here, and the head that they lead to. So whatever is here
//! was signed by the project, and a peer that offers something else is found out at once. Heads travel from peer to peer,
//! to a few at once and then to one more now and then; who lacks the entries below one asks for them where it came from.

use crate::custody::Now;
use proto::bucket::Bucket;
use proto::log::{Entry, Event, Frontier, Head, Invalid};
use proto::{ProjectKey, WorkerKey, pb};
use rand::Rng;
use rand::seq::IteratorRandom;
use std::collections::BTreeMap;
use std::time::Duration;

/// Entries that are kept, bytes: some hundred thousand commits. A longer log is kept by those that came early.
pub const BYTES_MAX: u64 = 64 << 20;
/// Heads that one peer may tell at once, and then one per so much time.
const HEADS_BURST: u64 = 8;
const HEAD_EVERY: Duration = Duration::from_millis(500);
/// Peers that are told of a new head at once. Each tells so many on, so nearly all peers have heard after log_6(peers) steps.
const FANOUT: usize = 6;
/// Then one more of those that may not have heard is told in each such time, until none is left.
const ONE_MORE_EVERY: Duration = Duration::from_secs(10);
/// Peers that are remembered with what they know: as many as there are links.
const PEERS_MAX: usize = 1024;

/// Why something of the log is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Wrong {
    /// The head.
    #[error(transparent)]
    Head(#[from] Invalid),
    /// An entry, or that they do not lead to the head.
    #[error("the entries are not those that the project signed")]
    Entries,
    /// There is another log of the same length: the project has two, or had its disk restored.
    #[error("the project signed two logs of {0} entries that differ")]
    Fork(u64),
    /// No room.
    #[error("the log is longer than is kept here")]
    Room,
}

/// What a head tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// There is more than is here.
    News(Head),
    /// There is no more: whoever tells it says that it has so many entries.
    Known(u64),
}

/// The log, up to where it is known.
#[derive(Clone, Debug)]
pub struct Ledger {
    project: ProjectKey,
    frontier: Frontier,
    head: Option<pb::SignedHead>,
    bytes: u64,
}

impl Ledger {
    /// A log of which nothing is known.
    #[must_use]
    pub fn new(project: ProjectKey) -> Self {
        Self { project, frontier: Frontier::default(), head: None, bytes: 0 }
    }

    /// Entries that are here.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The head of what is here.
    #[must_use]
    pub fn head(&self) -> Option<&pb::SignedHead> {
        self.head.as_ref()
    }

    /// Whether a head has more entries than are here. To see that it has no more costs no signature.
    ///
    /// # Errors
    /// [`Wrong::Head`] when the project did not sign it, [`Wrong::Fork`].
    pub fn news(&self, head: &pb::SignedHead) -> Result<Heard, Wrong> {
        let claimed: Head =
            postcard::from_bytes(&head.payload).map_err(|_| Wrong::Head(Invalid::Bytes))?;
        let same = claimed.size == self.size() && claimed.root == self.frontier.root();
        if claimed.project == self.project && (claimed.size < self.size() || same) {
            return Ok(Heard::Known(claimed.size));
        }
        let head = Head::verify(head, &self.project)?;
        if head.size == self.size() && head.root != self.frontier.root() {
            return Err(Wrong::Fork(head.size));
        }
        Ok(if self.size() < head.size { Heard::News(head) } else { Heard::Known(head.size) })
    }

    /// Appends all entries up to a head. After an error nothing has changed.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn extend(&mut self, signed: &pb::SignedHead, entries: &[Vec<u8>]) -> Result<(), Wrong> {
        let Heard::News(head) = self.news(signed)? else { return Ok(()) };
        let bytes: u64 = entries.iter().map(|entry| entry.len() as u64).sum();
        if BYTES_MAX < self.bytes + bytes {
            return Err(Wrong::Room);
        }
        let mut frontier = self.frontier.clone();
        for entry in entries {
            let decoded = Entry::decode(entry).map_err(|_| Wrong::Entries)?;
            if decoded.project != self.project {
                return Err(Wrong::Entries);
            }
            frontier.append(Entry::leaf(entry), |_, _, _| {});
        }
        if (frontier.size(), frontier.root()) != (head.size, head.root) {
            return Err(Wrong::Entries);
        }
        self.bytes += bytes;
        (self.frontier, self.head) = (frontier, Some(signed.clone()));
        Ok(())
    }
}

/// Workers and sequences of the batches that verdicts of entries rest on.
#[must_use]
pub fn named(entries: &[Vec<u8>]) -> Vec<(WorkerKey, u64)> {
    let mut named = Vec::new();
    for entry in entries.iter().filter_map(|entry| Entry::decode(entry).ok()) {
        if let Event::Verdicts { sources, .. } = entry.event {
            named.extend(sources.iter().map(|source| (source.worker, source.sequence)));
        }
    }
    named
}

/// Which peers know how much, how often each may tell, and who is told next.
#[derive(Clone, Debug, Default)]
pub struct Gossip {
    neighbours: BTreeMap<WorkerKey, Neighbour>,
    /// Entries below the head that was told last.
    size: u64,
    /// When one more is told of it.
    one_more_at: Now,
}

#[derive(Clone, Debug)]
struct Neighbour {
    /// Entries that it is known to have heard of.
    size: u64,
    /// How often it may tell of heads.
    tells: Bucket,
}

impl Gossip {
    /// A peer is linked.
    pub fn came(&mut self, peer: WorkerKey) {
        if self.neighbours.len() < PEERS_MAX {
            self.neighbours.entry(peer).or_insert_with(|| Neighbour {
                size: 0,
                tells: Bucket::every(HEAD_EVERY, HEADS_BURST),
            });
        }
    }

    /// A peer is linked no more.
    pub fn went(&mut self, peer: &WorkerKey) {
        self.neighbours.remove(peer);
    }

    /// A peer tells of a head; false when it tells too often, or is not linked. It costs a signature to look at.
    pub fn may_tell(&mut self, now: Now, peer: &WorkerKey) -> bool {
        let Some(neighbour) = self.neighbours.get_mut(peer) else { return false };
        neighbour.tells.passes(now, 1)
    }

    /// A peer has told of a head of so many entries that the project signed.
    pub fn told(&mut self, peer: &WorkerKey, size: u64) {
        if let Some(neighbour) = self.neighbours.get_mut(peer) {
            neighbour.size = neighbour.size.max(size);
        }
    }

    /// The peers that are to be told now of a head of so many entries, which they are taken to know then: a few when it is
    /// new, one when it is time for one more, and whoever was never told any.
    pub fn to_tell(&mut self, now: Now, size: u64, random: &mut impl Rng) -> Vec<WorkerKey> {
        let more = if self.size < size { FANOUT } else { usize::from(self.one_more_at <= now) };
        if 0 < more {
            (self.size, self.one_more_at) = (size, now + ONE_MORE_EVERY);
        }
        let behind = |new: bool| {
            let neighbours = self.neighbours.iter();
            neighbours.filter(move |(_, other)| other.size < size && new == (other.size == 0))
        };
        let mut peers: Vec<WorkerKey> = behind(true).map(|(peer, _)| *peer).collect();
        peers.extend(behind(false).map(|(peer, _)| *peer).sample(random, more));
        for peer in &peers {
            self.told(peer, size);
        }
        peers
    }

    /// When one more is to be told of the head that was told last; never, when all have heard of it.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Now> {
        let behind = self.neighbours.values().any(|neighbour| neighbour.size < self.size);
        behind.then_some(self.one_more_at)
    }
}

#[cfg(test)]
mod tests;
