//! One's own batches, and which peers hold them.

use super::bounds::{
    HANDOVER_TIMEOUT, HANDOVERS_MAX, OWN_BATCHES_MAX, OWN_BYTES_MAX, VANISHED_AFTER,
};
use super::{Action, Now, Peer, Stored};
use proto::{AccountKey, WorkerKey};
use std::collections::{BTreeMap, BTreeSet};

/// A batch of one's own.
#[derive(Clone, Debug)]
struct Batch {
    bytes: u32,
    expires: Now,
    /// Whether the coordinator has it.
    acknowledged: bool,
    holders: BTreeSet<WorkerKey>,
}

/// Batches by sequence, which grows with time.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    /// Peers that are to hold each.
    wanted: usize,
    batches: BTreeMap<u64, Batch>,
    bytes: u64,
    /// Those that the coordinator has.
    acknowledged: BTreeSet<u64>,
    /// Those that too few peers hold or were asked to.
    open: BTreeSet<u64>,
    /// As `open`, but no connected peer can take them; looked at again when that may have changed.
    stuck: BTreeSet<u64>,
    /// Hand-overs on their way, and since when.
    asked: BTreeMap<(u64, WorkerKey), Now>,
}

impl Own {
    /// Nothing yet; each batch is to be held by `wanted` peers.
    pub(super) fn new(wanted: usize) -> Self {
        Self { wanted, ..Self::default() }
    }

    pub(super) fn reported(&mut self, now: Now, sequence: u64, bytes: u32, expires: Now) {
        debug_assert!(now <= expires);
        let batch = Batch { bytes, expires, acknowledged: false, holders: BTreeSet::new() };
        if self.batches.insert(sequence, batch).is_none() {
            self.bytes += u64::from(bytes);
            self.open.insert(sequence);
        }
    }

    /// One that was handed over before the restart is offered again if the coordinator lacks it: holders say that they
    /// have it, at the cost of its name.
    pub(super) fn restore(&mut self, now: Now, stored: &Stored, expires: Now) {
        let sequence = stored.name.sequence;
        self.reported(now, sequence, stored.bytes, expires);
        if stored.known {
            self.acknowledged(sequence);
            self.open.remove(&sequence);
        }
    }

    pub(super) fn holds(&self, sequence: u64) -> bool {
        self.batches.contains_key(&sequence)
    }

    /// The coordinator has it: its holders, unless that was known.
    pub(super) fn acknowledged(&mut self, sequence: u64) -> Option<Vec<WorkerKey>> {
        let batch = self.batches.get_mut(&sequence).filter(|batch| !batch.acknowledged)?;
        batch.acknowledged = true;
        self.acknowledged.insert(sequence);
        Some(batch.holders.iter().copied().collect())
    }

    /// A peer's answer; whether it is a holder more. A batch that the coordinator has by now is named to be released.
    pub(super) fn answered(&mut self, peer: WorkerKey, sequence: u64, taken: bool) -> bool {
        self.asked.remove(&(sequence, peer));
        let Some(batch) = self.batches.get_mut(&sequence) else { return false };
        let counted = taken && batch.holders.insert(peer);
        self.reconsider(sequence);
        counted
    }

    /// Whether the coordinator has a batch.
    pub(super) fn is_acknowledged(&self, sequence: u64) -> bool {
        self.acknowledged.contains(&sequence)
    }

    /// A peer has gone: what it was asked is not answered any more.
    pub(super) fn unanswered_by(&mut self, peer: &WorkerKey) {
        let asked = self.asked.keys().filter(|(_, asked)| asked == peer);
        let sequences: Vec<u64> = asked.map(|(sequence, _)| *sequence).collect();
        for sequence in sequences {
            self.answered(*peer, sequence, false);
        }
    }

    /// A peer is not remembered any more.
    pub(super) fn forget_peer(&mut self, peer: &WorkerKey) {
        self.unanswered_by(peer);
        let held = |(_, batch): &(&u64, &Batch)| batch.holders.contains(peer);
        let sequences: Vec<u64> =
            self.batches.iter().filter(held).map(|(sequence, _)| *sequence).collect();
        for sequence in sequences {
            if let Some(batch) = self.batches.get_mut(&sequence) {
                batch.holders.remove(peer);
                // What the coordinator has is copied once.
                if !batch.acknowledged {
                    self.reconsider(sequence);
                }
            }
        }
    }

    /// Somebody may take what nobody could.
    pub(super) fn unstick(&mut self) {
        self.open.append(&mut self.stuck);
    }

    fn reconsider(&mut self, sequence: u64) {
        self.stuck.remove(&sequence);
        self.open.remove(&sequence);
        if self
            .batches
            .get(&sequence)
            .is_some_and(|batch| self.copies(sequence, batch) < self.wanted)
        {
            self.open.insert(sequence);
        }
    }

    /// Peers that hold a batch or were asked to.
    fn copies(&self, sequence: u64, batch: &Batch) -> usize {
        batch.holders.len() + self.asked_for(sequence).count()
    }

    /// Peers that were asked to hold a batch.
    fn asked_for(&self, sequence: u64) -> impl Iterator<Item = &WorkerKey> {
        let (first, last) = (WorkerKey([0; 32]), WorkerKey([u8::MAX; 32]));
        self.asked.range((sequence, first)..=(sequence, last)).map(|((_, peer), _)| peer)
    }

    /// Lets go what is too old or too much, and holders that have vanished.
    pub(super) fn expire(
        &mut self,
        now: Now,
        peers: &mut BTreeMap<WorkerKey, Peer>,
        mut forget: impl FnMut(u64),
    ) {
        loop {
            let oldest = self.batches.first_key_value();
            let expired = oldest.filter(|(_, batch)| batch.expires <= now).map(|(first, _)| *first);
            let too_much = OWN_BYTES_MAX < self.bytes || OWN_BATCHES_MAX < self.batches.len();
            let first = || self.acknowledged.first().or_else(|| self.batches.keys().next());
            let Some(sequence) = expired.or_else(|| first().filter(|_| too_much).copied()) else {
                break;
            };
            self.remove(sequence, peers);
            forget(sequence);
        }
        let vanished = |peer: &Peer| {
            0 < peer.holding && peer.gone.is_some_and(|since| since + VANISHED_AFTER <= now)
        };
        let gone: Vec<WorkerKey> =
            peers.iter().filter(|(_, peer)| vanished(peer)).map(|(key, _)| *key).collect();
        for key in gone {
            self.forget_peer(&key);
            if let Some(peer) = peers.get_mut(&key) {
                peer.holding = 0;
            }
        }
        let late = self.asked.iter().filter(|(_, since)| **since + HANDOVER_TIMEOUT <= now);
        let late: Vec<(u64, WorkerKey)> = late.map(|(asked, _)| *asked).collect();
        for (sequence, peer) in late {
            self.answered(peer, sequence, false);
            if let Some(peer) = peers.get_mut(&peer) {
                peer.not_before = now + super::bounds::REFUSED_PAUSE;
            }
        }
        let over = |peer: &Peer| peer.gone.is_none() && peer.not_before <= now;
        if !self.stuck.is_empty() && peers.values().any(over) {
            // A pause may be over; if none is, they stick again at once.
            self.unstick();
        }
    }

    fn remove(&mut self, sequence: u64, peers: &mut BTreeMap<WorkerKey, Peer>) {
        let Some(batch) = self.batches.remove(&sequence) else { return };
        self.bytes -= u64::from(batch.bytes);
        self.asked.retain(|(asked, _), _| *asked != sequence);
        for set in [&mut self.acknowledged, &mut self.open, &mut self.stuck] {
            set.remove(&sequence);
        }
        for holder in batch.holders {
            if let Some(peer) = peers.get_mut(&holder) {
                peer.holding = peer.holding.saturating_sub(1);
            }
        }
    }

    /// Asks peers to hold what too few hold: of other owners and networks first, those that hold little first.
    pub(super) fn place(
        &mut self,
        now: Now,
        account: AccountKey,
        peers: &BTreeMap<WorkerKey, Peer>,
        actions: &mut Vec<Action>,
    ) {
        while self.asked.len() < HANDOVERS_MAX
            && let Some(sequence) = self.open.first().copied()
        {
            let Some(peer) = self.best(now, account, sequence, peers) else {
                self.open.remove(&sequence);
                self.stuck.insert(sequence);
                continue;
            };
            self.asked.insert((sequence, peer), now);
            actions.push(Action::HandOver { peer, sequence });
            self.reconsider(sequence);
        }
    }

    /// The connected peer that is to take a batch.
    fn best(
        &self,
        now: Now,
        own: AccountKey,
        sequence: u64,
        peers: &BTreeMap<WorkerKey, Peer>,
    ) -> Option<WorkerKey> {
        let holders = &self.batches.get(&sequence)?.holders;
        let taken: BTreeSet<&WorkerKey> = holders.iter().chain(self.asked_for(sequence)).collect();
        let others: Vec<&Peer> = taken.iter().filter_map(|key| peers.get(key)).collect();
        let rank = |key: &WorkerKey, peer: &Peer| {
            let same_account =
                peer.account == own || others.iter().any(|other| other.account == peer.account);
            let same_network =
                peer.network != 0 && others.iter().any(|other| other.network == peer.network);
            let mut hasher = blake3::Hasher::new();
            hasher.update(&key.0).update(&sequence.to_le_bytes());
            let lot = *hasher.finalize().as_bytes();
            (same_account, same_network, peer.holding, lot)
        };
        let free = |(key, peer): &(&WorkerKey, &Peer)| {
            peer.gone.is_none() && peer.not_before <= now && !taken.contains(key)
        };
        peers.iter().filter(free).min_by_key(|(key, peer)| rank(key, peer)).map(|(key, _)| *key)
    }

    pub(super) fn next_deadline(&self, now: Now, peers: &BTreeMap<WorkerKey, Peer>) -> Option<Now> {
        let expiry = self.batches.first_key_value().map(|(_, batch)| batch.expires);
        let timeout = self.asked.values().map(|since| *since + HANDOVER_TIMEOUT).min();
        let pause = peers
            .values()
            .filter(|peer| !self.stuck.is_empty() && peer.gone.is_none() && now < peer.not_before)
            .map(|peer| peer.not_before)
            .min();
        let vanishing = peers
            .values()
            .filter(|peer| 0 < peer.holding)
            .filter_map(|peer| Some(peer.gone? + VANISHED_AFTER))
            .min();
        [expiry, timeout, pause, vanishing].into_iter().flatten().min()
    }

    /// Batches, those not with the coordinator, and copies of these.
    pub(super) fn numbers(&self) -> (usize, usize, usize) {
        let waiting = self.batches.values().filter(|batch| !batch.acknowledged);
        let copies = waiting.map(|batch| batch.holders.len()).sum();
        (self.batches.len(), self.batches.len() - self.acknowledged.len(), copies)
    }

    pub(super) fn check_invariants(&self, peers: &BTreeMap<WorkerKey, Peer>) -> Result<(), String> {
        let bytes: u64 = self.batches.values().map(|batch| u64::from(batch.bytes)).sum();
        if bytes != self.bytes {
            return Err(format!("own: {bytes} bytes are miscounted"));
        }
        let asked = self.asked.len();
        if OWN_BYTES_MAX < bytes || OWN_BATCHES_MAX < self.batches.len() || HANDOVERS_MAX < asked {
            return Err("own: beyond a bound".into());
        }
        for (sequence, batch) in &self.batches {
            let copies = self.copies(*sequence, batch);
            if self.wanted < copies {
                return Err(format!("own {sequence}: too many copies"));
            }
            if batch.acknowledged != self.acknowledged.contains(sequence) {
                return Err(format!("own {sequence}: listed wrongly"));
            }
            let sought = self.open.contains(sequence) || self.stuck.contains(sequence);
            if copies < self.wanted && !batch.acknowledged && !sought {
                return Err(format!("own {sequence}: too few copies and nobody looks for more"));
            }
        }
        for (key, peer) in peers {
            let held = self.batches.values().filter(|batch| batch.holders.contains(key)).count();
            if held != peer.holding as usize {
                return Err(format!("{key} holds {held}, {} counted", peer.holding));
            }
        }
        Ok(())
    }
}
