//! Everything that can happen to what is held, and everything that is to be done.

use super::Name;
use proto::{AccountKey, WorkerKey};
use std::time::Duration;

/// A batch that is on disk at the start.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Which.
    pub name: Name,
    /// The reporter's owner.
    pub account: AccountKey,
    /// Its length, bytes.
    pub bytes: u32,
    /// Whether the coordinator has it.
    pub known: bool,
    /// Since when it is held.
    pub age: Duration,
}

/// Everything that can happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A batch of one's own is on disk, sealed.
    Reported {
        /// Of the batch.
        sequence: u64,
        /// Its length, bytes.
        bytes: u32,
    },
    /// The coordinator has a batch of one's own.
    Acknowledged {
        /// Of the batch.
        sequence: u64,
    },
    /// A peer is connected.
    PeerCame {
        /// Who.
        peer: WorkerKey,
        /// Its owner.
        account: AccountKey,
        /// What its address begins with; 0 when that tells nothing.
        network: u64,
    },
    /// A peer is not connected any more.
    PeerWent(WorkerKey),
    /// A hand-over was answered, or failed.
    Answered {
        /// By whom.
        peer: WorkerKey,
        /// Of the batch.
        sequence: u64,
        /// Whether the peer holds it now.
        taken: bool,
    },
    /// A peer would hand over a batch of its own. The answer is [`Action::Keep`] or [`Action::Refuse`].
    Offered {
        /// Who.
        peer: WorkerKey,
        /// Of the batch.
        sequence: u64,
        /// Its length, bytes.
        bytes: u32,
    },
    /// A batch that was to be kept did not come, or is not what it was said to be.
    NotCome(Name),
    /// A peer says that the coordinator has batches of its own.
    Released {
        /// Who.
        peer: WorkerKey,
        /// Of the batches.
        sequences: Vec<u64>,
    },
    /// The project's log names these batches, so that the coordinator has them.
    Logged(Vec<Name>),
    /// The coordinator is there.
    Attached,
    /// The coordinator is away.
    Detached,
    /// The coordinator was asked about batches; which of them it wants.
    Wanted(Vec<(Name, bool)>),
    /// The coordinator could not be asked.
    NotAsked(Vec<Name>),
    /// A batch was delivered, or could not be.
    Delivered {
        /// Which.
        name: Name,
        /// Whether the coordinator has it now, or will never want it.
        done: bool,
    },
    /// Nothing happened, but time went by.
    Wake,
}

/// Why a batch is not taken from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is held already.
    #[error("it is held here already")]
    Held,
    /// It is larger than batches are.
    #[error("it is larger than a sealed batch may be")]
    TooLarge,
    /// The sender hands over too many.
    #[error("too many at once: later")]
    TooFast,
    /// There is no room, or the sender has its share.
    #[error("there is no room for more of this sender")]
    NoRoom,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hand a batch of one's own to a peer; ends in [`Event::Answered`].
    HandOver {
        /// To whom.
        peer: WorkerKey,
        /// Of the batch.
        sequence: u64,
    },
    /// Tell a peer that the coordinator has a batch of one's own.
    Release {
        /// Whom.
        peer: WorkerKey,
        /// Of the batch.
        sequence: u64,
    },
    /// Take an offered batch onto the disk; ends in [`Event::NotCome`] or nothing.
    Keep(Name),
    /// Do not take an offered batch.
    Refuse {
        /// Which.
        name: Name,
        /// Why.
        why: Refusal,
    },
    /// Note on disk that the coordinator has a batch.
    Mark(Name),
    /// Delete a batch from the disk.
    Forget(Name),
    /// Ask the coordinator which of these it wants; ends in [`Event::Wanted`] or [`Event::NotAsked`].
    Ask(Vec<Name>),
    /// Deliver a batch to the coordinator; ends in [`Event::Delivered`].
    Deliver(Name),
}

/// In numbers, for the owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Numbers {
    /// Batches of one's own that are kept.
    pub own: usize,
    /// Of these, not yet with the coordinator.
    pub own_waiting: usize,
    /// Copies of one's own waiting batches that peers hold.
    pub copies: usize,
    /// Batches held for others.
    pub others: usize,
    /// Of these, not known to be with the coordinator.
    pub others_waiting: usize,
    /// Bytes held for others.
    pub others_bytes: u64,
    /// Batches refused to others.
    pub refused: u64,
    /// Entries of the project's log that are here.
    pub log: u64,
}
