//! Which piece of which blob from whom, and to whom: the pure core of the swarm.
//!
//! [`Swarm::apply`] takes everything that can happen as one [`Event`] and answers with what to do; [`Swarm::next_deadline`]
//! says when to wake it if nothing happens. It does no I/O, reads no clock and draws no randomness but from its seed.
//!
//! A worker tells its peers which blobs it **wants**; whoever has any of such a blob, or gets it, answers with what it
//! **holds** and from then on tells each piece that it **has** gained. Pieces are asked for rarest first, a few at a time
//! of each peer by its speed. Whoever asks the coordinator for a piece tells the others that it **gets** it, so that they
//! ask for others; and which of them should ask for which piece falls to each by a hash of key and piece, so that even those
//! that start at the same instant take about one copy from there together.
//!
//! Machines of one house or laboratory are **near** to each other: what one of them has, or has asked for outside, the others
//! do not ask for outside, so that together they fetch a blob once; and they give to each other always.
//!
//! A worker gives to few at a time: to those that gave it most of late, and to one drawn by lot, so that newcomers get a
//! chance. Whoever gives nothing gets what is left over. A piece that is wrong is known as such when it comes (see
//! [`proto::pieces`]); its sender is dropped. A peer that does not deliver in time is asked less, then not at all.

mod ask;
mod bits;
mod blob;
mod check;
mod choke;
mod event;
mod meter;
mod numbers;
mod outcome;
mod peer;
mod talk;

pub use bits::Bits;
pub use blob::Trouble;
pub use event::{Action, DropReason, Event, Fault, Message, Refusal, RequestId, Source, Ticket};

use blob::Blob;
use meter::{Meter, Prng};
pub use numbers::{Arriving, Numbers, Totals};
use peer::Peer;
use proto::{Digest, WorkerKey};
use std::collections::BTreeMap;
use std::time::Duration;

/// Monotonic time since the swarm was made.
pub type Now = Duration;

/// Most peers of one swarm: what each costs is a bitmap for each blob under way, 8 KiB at most.
pub const PEERS_MAX: usize = 128;
/// Most blobs under way at a time: above what the agent fetches at once (`FETCHES_MAX` in `agent::prepare`). A seed has no
/// swarm and fetches nothing.
pub const UNDER_WAY_MAX: usize = 16;
/// Most blobs offered to others; those not asked for longest are not offered any more.
pub const OFFERED_MAX: usize = 4096;
/// Most blobs that one peer may want at a time: above [`UNDER_WAY_MAX`].
const WANTS_MAX: usize = 32;
/// Most pieces that one peer may say at a time that it gets from the coordinator.
const CLAIMS_MAX: usize = 16;
/// The same of one that is near, which tells of all that it asks for outside.
const NEAR_CLAIMS_MAX: usize = 256;
/// Peers that sent wrong bytes are remembered, so many of them.
const BANNED_MAX: usize = 1024;
/// And peers that took and did not give: those that took most.
const OWING_MAX: usize = 1024;

/// Times and numbers that a test may want otherwise.
#[derive(Clone, Debug)]
pub struct Config {
    /// This worker.
    pub me: WorkerKey,
    /// Where all choices by lot come from.
    pub seed: u64,
    /// Bytes per second that may be asked of peers; absent means unlimited.
    pub down_per_second: Option<u64>,
    /// Peers that are given to at a time, beside the one drawn by lot.
    pub slots: usize,
    /// How often it is decided anew who is given to.
    pub rechoke: Duration,
    /// How long the one drawn by lot is given to.
    pub optimistic: Duration,
    /// The first peers come within this time after the start: until then the coordinator is not asked.
    pub newborn: Duration,
    /// How long to wait for the answers of peers before the coordinator is asked.
    pub settle: Duration,
    /// Longest wait for a piece of a peer whose speed is not known.
    pub request: Duration,
    /// Longest wait for a list, which is small.
    pub list: Duration,
    /// After so long without any piece the coordinator is asked for what peers say they have, too.
    pub patience: Duration,
    /// After so long without any piece the coordinator is asked for what falls to others, too.
    pub fallen: Duration,
    /// After so long without any piece a transfer is given up, to be taken up later.
    pub starved: Duration,
    /// What a peer says it gets from the coordinator is left to it for so long.
    pub claim: Duration,
    /// A peer that has pieces and has never given any does not count as one that has them after so long.
    pub unproven: Duration,
    /// Nor does one that has given, and gives none any more for so long.
    pub barren: Duration,
    /// A piece that somebody was asked for so long ago may be asked of another too, when nothing else is left to ask.
    pub endgame: Duration,
    /// How long a peer that sent wrong bytes is kept away.
    pub ban: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            me: WorkerKey([0; 32]),
            seed: 0,
            down_per_second: None,
            slots: 4,
            rechoke: Duration::from_secs(5),
            optimistic: Duration::from_secs(15),
            newborn: Duration::from_secs(4),
            settle: Duration::from_millis(700),
            request: Duration::from_secs(20),
            list: Duration::from_secs(6),
            patience: Duration::from_secs(8),
            fallen: Duration::from_secs(2),
            starved: Duration::from_secs(40),
            claim: Duration::from_secs(20),
            unproven: Duration::from_secs(12),
            barren: Duration::from_secs(45),
            endgame: Duration::from_secs(2),
            ban: Duration::from_secs(3600),
        }
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    List,
    Piece(u32),
}

/// Something that this worker has asked for.
#[derive(Clone, Debug)]
struct Request {
    source: Source,
    digest: Digest,
    what: What,
    at: Now,
    deadline: Now,
}

/// All transfers of one worker.
#[derive(Debug)]
pub struct Swarm {
    config: Config,
    dice: Prng,
    peers: BTreeMap<WorkerKey, Peer>,
    blobs: BTreeMap<Digest, Blob>,
    requests: BTreeMap<RequestId, Request>,
    next_request: RequestId,
    /// Peers that sent wrong bytes, until when.
    banned: BTreeMap<WorkerKey, Now>,
    /// Bytes that peers which have gone took and gave nothing for: they owe them when they come back.
    owing: BTreeMap<WorkerKey, u64>,
    origin_here: bool,
    /// What the coordinator gave of late.
    origin_given: Meter,
    rechoke_at: Now,
    optimistic: Option<(WorkerKey, Now)>,
    tick_at: Now,
    totals: Totals,
}

/// How often deadlines are looked at while anything is under way: fine against the shortest of them.
const TICK: Duration = Duration::from_millis(250);

impl Swarm {
    /// No peers, no blobs.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            dice: Prng(config.seed),
            config,
            peers: BTreeMap::new(),
            blobs: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            banned: BTreeMap::new(),
            owing: BTreeMap::new(),
            origin_here: false,
            origin_given: Meter::default(),
            rechoke_at: Now::ZERO,
            optimistic: None,
            tick_at: Now::ZERO,
            totals: Totals::default(),
        }
    }

    /// Takes what has happened; what to do about it, in order.
    pub fn apply(&mut self, now: Now, event: Event) -> Vec<Action> {
        let mut fx = Vec::new();
        match event {
            Event::Connected { peer } => self.connected(now, peer, &mut fx),
            Event::Near { peer, near } => self.near(now, peer, near, &mut fx),
            Event::Gone { peer } => self.gone(peer),
            Event::Said { peer, message } => self.said(now, peer, message, &mut fx),
            Event::Origin { here } => self.origin_here = here,
            Event::Begin { digest, len } => self.begin(now, digest, len, &mut fx),
            Event::Offer { digest, len } => self.offer(now, digest, len, &mut fx),
            Event::End { digest } => self.end(digest, &mut fx),
            Event::Listed { request, len, have } => self.listed(now, request, len, &have, &mut fx),
            Event::Arrived { request } => self.arrived(now, request, &mut fx),
            Event::Failed { request, fault } => self.failed(now, request, fault, &mut fx),
            Event::Asked { peer, ticket, digest, piece } => {
                self.asked(now, peer, ticket, digest, piece, &mut fx)
            }
            Event::Served { peer, bytes } => self.served(now, peer, bytes),
            Event::Wake => {}
        }
        if self.tick_at <= now {
            self.tick_at = now + TICK;
            self.tick(now, &mut fx);
        }
        self.ask(now, &mut fx);
        fx
    }

    /// When to wake it at the latest; `None` when only an event can change anything.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Now> {
        let busy = !self.requests.is_empty()
            || self.blobs.values().any(Blob::is_under_way)
            || self.peers.values().any(|peer| !peer.wants.is_empty() || !peer.choked);
        busy.then_some(self.tick_at)
    }

    /// Everything that is due by the clock.
    fn tick(&mut self, now: Now, fx: &mut Vec<Action>) {
        self.banned.retain(|_, until| now < *until);
        self.expire_requests(now, fx);
        for peer in self.peers.values_mut() {
            peer.expire_claims(now);
        }
        self.give_up_starved(now, fx);
        if self.rechoke_at <= now {
            self.rechoke_at = now + self.config.rechoke;
            self.rechoke(now, fx);
        }
    }

    /// How much each peer gave and took, bytes: for the owner's eyes.
    pub fn exchanged(&self) -> impl Iterator<Item = (WorkerKey, u64, u64)> + '_ {
        self.peers.iter().map(|(key, peer)| (*key, peer.given.total(), peer.taken.total()))
    }
}

#[cfg(test)]
mod tests;
