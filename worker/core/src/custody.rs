//! Reports held by peers: which of one's own sealed batches are with whom, and what is held for others until the
//! coordinator has it. Pure: no I/O, no clock, no randomness.
//!
//! ```text
//! own:     reported ─► handed to `copies` peers ─► acknowledged ─► (kept until RETENTION)
//! others': offered ─► kept ─► released by the reporter, or asked about ─► delivered ─► known ─► (kept until RETENTION)
//! ```
//!
//! A reporter hands over only batches of its own, so that a sender is always known and bounded. What the coordinator is
//! known to have stays, as long as there is room, for the day on which the coordinator loses its disk.

pub mod bounds;
mod event;
mod others;
mod own;

pub use event::{Action, Event, Numbers, Refusal, Stored};

use bounds::{COPIES, OTHERS_BATCHES_MAX, OTHERS_BYTES, PATIENCE, PEERS_MAX, RETENTION, SPREAD};
use others::Others;
use own::Own;
use proto::{AccountKey, WorkerKey};
use std::collections::BTreeMap;
use std::time::Duration;

/// Monotonic time since some moment before all others.
pub type Now = Duration;

/// A batch, by who reported it and its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Who reported.
    pub worker: WorkerKey,
    /// Of the batch.
    pub sequence: u64,
}

/// Who is who, and the owner's limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// This worker.
    pub worker: WorkerKey,
    /// Its owner.
    pub account: AccountKey,
    /// Peers that are to hold each batch of one's own.
    pub copies: usize,
    /// Bytes that may be held for others.
    pub others_bytes: u64,
    /// How long a batch of somebody else waits for its reporter.
    pub patience: Duration,
    /// Over which time the coordinator is told of what is held, after it came back.
    pub spread: Duration,
    /// How long batches are kept.
    pub retention: Duration,
}

impl Config {
    /// The usual for `worker` of `account`.
    #[must_use]
    pub fn new(worker: WorkerKey, account: AccountKey) -> Self {
        Self {
            worker,
            account,
            copies: COPIES,
            others_bytes: OTHERS_BYTES,
            patience: PATIENCE,
            spread: SPREAD,
            retention: RETENTION,
        }
    }
}

/// A connected peer, or one that was.
#[derive(Clone, Debug)]
struct Peer {
    account: AccountKey,
    network: u64,
    /// Since when it is away; `None` while it is connected.
    gone: Option<Now>,
    /// It is not asked to take anything before this.
    not_before: Now,
    /// Batches of one's own that it holds: spreads them.
    holding: u32,
}

/// What is held for others, and what others hold.
#[derive(Clone, Debug)]
pub struct Custodian {
    config: Config,
    peers: BTreeMap<WorkerKey, Peer>,
    own: Own,
    others: Others,
    /// Since when the coordinator is there.
    attached: Option<Now>,
}

impl Custodian {
    /// Takes up what is on disk.
    #[must_use]
    pub fn restore(now: Now, config: Config, stored: Vec<Stored>) -> (Self, Vec<Action>) {
        let mut hold = Self {
            own: Own::new(config.copies),
            others: Others::default(),
            peers: BTreeMap::new(),
            attached: None,
            config,
        };
        let mut actions = Vec::new();
        for stored in stored {
            let left = hold.config.retention.saturating_sub(stored.age);
            if stored.name.worker == hold.config.worker {
                hold.own.restore(now, &stored, now + left);
            } else if !hold.others.restore(now, &stored, now + left, hold.config.others_bytes) {
                actions.push(Action::Forget(stored.name));
            }
        }
        hold.advance(now, &mut actions);
        (hold, actions)
    }

    /// Takes up what happened at `now`, which never goes back, and says what is to be done.
    #[must_use]
    pub fn apply(&mut self, now: Now, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Reported { sequence, bytes } => {
                self.own.reported(now, sequence, bytes, now + self.config.retention);
            }
            Event::Acknowledged { sequence } => {
                self.acknowledged(sequence, &mut actions);
            }
            Event::PeerCame { peer, account, network } => self.came(now, peer, account, network),
            Event::PeerWent(peer) => {
                if let Some(known) = self.peers.get_mut(&peer) {
                    known.gone.get_or_insert(now);
                }
                self.own.unanswered_by(&peer);
            }
            Event::Answered { peer, sequence, taken } => {
                self.answered(now, peer, sequence, taken, &mut actions);
            }
            Event::Offered { peer, sequence, bytes } => {
                self.offered(now, peer, sequence, bytes, &mut actions);
            }
            Event::NotCome(name) => self.others.not_come(&name),
            Event::Released { peer, sequences } => {
                for sequence in sequences {
                    self.others.known(&Name { worker: peer, sequence }, &mut actions);
                }
            }
            Event::Logged(names) => {
                for name in names {
                    if name.worker == self.config.worker {
                        self.acknowledged(name.sequence, &mut actions);
                    } else {
                        self.others.known(&name, &mut actions);
                    }
                }
            }
            Event::Attached => {
                self.attached.get_or_insert(now);
            }
            Event::Detached => {
                self.attached = None;
                self.others.detached();
            }
            Event::Wanted(answers) => self.others.wanted(answers, &mut actions),
            Event::NotAsked(names) => self.others.not_asked(now, &names),
            Event::Delivered { name, done } => self.others.delivered(now, name, done, &mut actions),
            Event::Wake => {}
        }
        self.advance(now, &mut actions);
        actions
    }

    /// When to apply [`Event::Wake`] if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self, now: Now) -> Option<Now> {
        let own = self.own.next_deadline(now, &self.peers);
        let others = self.others.next_deadline(self.attached);
        [own, others].into_iter().flatten().min()
    }

    /// Whether a batch is held here.
    #[must_use]
    pub fn holds(&self, name: &Name) -> bool {
        if name.worker == self.config.worker {
            self.own.holds(name.sequence)
        } else {
            self.others.holds(name)
        }
    }

    /// In numbers.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let (own, own_waiting, copies) = self.own.numbers();
        let (others, others_waiting, others_bytes) = self.others.numbers();
        let refused = self.others.refused();
        let log = 0;
        Numbers { own, own_waiting, copies, others, others_waiting, others_bytes, refused, log }
    }

    /// Checks what must always hold.
    ///
    /// # Errors
    /// What does not.
    pub fn check_invariants(&self) -> Result<(), String> {
        if PEERS_MAX < self.peers.len() {
            return Err(format!("{} peers are remembered", self.peers.len()));
        }
        self.own.check_invariants(&self.peers)?;
        self.others.check_invariants(self.config.others_bytes, OTHERS_BATCHES_MAX)
    }

    fn came(&mut self, now: Now, peer: WorkerKey, account: AccountKey, network: u64) {
        if peer == self.config.worker {
            return;
        }
        if PEERS_MAX <= self.peers.len() && !self.peers.contains_key(&peer) {
            // Who is away the longest, and holds the least, goes first.
            let idle = self.peers.iter().filter_map(|(key, peer)| Some((peer.gone?, *key)));
            let Some((_, oldest)) = idle.min() else { return };
            self.peers.remove(&oldest);
            self.own.forget_peer(&oldest);
        }
        let known = self.peers.entry(peer).or_insert(Peer {
            account,
            network,
            gone: None,
            not_before: now,
            holding: 0,
        });
        (known.account, known.network, known.gone) = (account, network, None);
        self.own.unstick();
    }

    fn acknowledged(&mut self, sequence: u64, actions: &mut Vec<Action>) {
        let Some(holders) = self.own.acknowledged(sequence) else { return };
        actions.push(Action::Mark(Name { worker: self.config.worker, sequence }));
        let here = |peer: &WorkerKey| self.peers.get(peer).is_some_and(|peer| peer.gone.is_none());
        let told = holders.into_iter().filter(here);
        actions.extend(told.map(|peer| Action::Release { peer, sequence }));
    }

    fn answered(
        &mut self,
        now: Now,
        peer: WorkerKey,
        sequence: u64,
        taken: bool,
        actions: &mut Vec<Action>,
    ) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        if self.own.answered(peer, sequence, taken) {
            known.holding += 1;
            if self.own.is_acknowledged(sequence) {
                actions.push(Action::Release { peer, sequence });
            }
        } else if !taken {
            known.not_before = now + bounds::REFUSED_PAUSE;
        }
    }

    fn offered(
        &mut self,
        now: Now,
        peer: WorkerKey,
        sequence: u64,
        bytes: u32,
        actions: &mut Vec<Action>,
    ) {
        let name = Name { worker: peer, sequence };
        let Some(account) = self.peers.get(&peer).map(|peer| peer.account) else {
            return actions.push(Action::Refuse { name, why: Refusal::TooFast });
        };
        let until = now + self.config.retention;
        let room = self.config.others_bytes;
        match self.others.offered(now, name, account, bytes, until, room, actions) {
            Ok(()) => actions.push(Action::Keep(name)),
            Err(why) => actions.push(Action::Refuse { name, why }),
        }
    }

    fn advance(&mut self, now: Now, actions: &mut Vec<Action>) {
        let Config { worker, account, .. } = self.config;
        self.own.expire(now, &mut self.peers, |sequence| {
            actions.push(Action::Forget(Name { worker, sequence }));
        });
        self.own.place(now, account, &self.peers, actions);
        self.others.advance(now, &self.config, self.attached, actions);
    }
}

#[cfg(test)]
mod tests;
