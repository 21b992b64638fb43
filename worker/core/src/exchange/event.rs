//! What can happen to the swarm, what it wants done, and the words in which both are said.

use super::{Bits, Trouble};
use proto::{Digest, WorkerKey};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What peers say to each other about blobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// I want this blob: tell me what you have of it, now and as it grows.
    Want {
        /// Which.
        digest: Digest,
    },
    /// I want it no more.
    Unwant {
        /// Which.
        digest: Digest,
    },
    /// This is what I have of it; perhaps nothing yet.
    Holds {
        /// Of what.
        digest: Digest,
        /// Bytes of the whole.
        len: u64,
        /// Which pieces.
        pieces: Bits,
    },
    /// I have one more piece.
    Has {
        /// Of what.
        digest: Digest,
        /// Which.
        piece: u32,
    },
    /// I have asked the coordinator for this piece; or, to one that is near, anybody outside.
    Gets {
        /// Of what.
        digest: Digest,
        /// Which.
        piece: u32,
    },
    /// I give you nothing for now.
    Choke,
    /// You may ask me for pieces.
    Unchoke,
}

/// Who is asked for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A peer.
    Peer(WorkerKey),
    /// The coordinator.
    Origin,
}

/// Names something that this worker has asked for.
pub type RequestId = u64;

/// Names something that a peer has asked for; given by the caller.
pub type Ticket = u64;

/// Why something that was asked for did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Bytes came, and they are not those of the piece (or list).
    Wrong,
    /// The peer does not give to this worker now.
    Choked,
    /// The peer does not have it.
    Lacks,
    /// The source cannot give it now.
    Busy,
    /// It stopped half way, or did not answer.
    Lost,
    /// The coordinator has sent enough of it for now: peers have it.
    AskPeers,
    /// The coordinator never will give it; why.
    Never(String),
}

/// Everything that can happen to the swarm.
#[derive(Clone, Debug)]
pub enum Event {
    /// A member can be talked to.
    Connected {
        /// Who.
        peer: WorkerKey,
    },
    /// It is on the same local network, or not: as long as nothing is said, it is not.
    Near {
        /// Who.
        peer: WorkerKey,
        /// Whether it is.
        near: bool,
    },
    /// It cannot any more.
    Gone {
        /// Who.
        peer: WorkerKey,
    },
    /// A peer said something.
    Said {
        /// Who.
        peer: WorkerKey,
        /// What.
        message: Message,
    },
    /// The coordinator can be asked, or not.
    Origin {
        /// Whether it can.
        here: bool,
    },
    /// A blob is wanted here.
    Begin {
        /// Which.
        digest: Digest,
        /// Its bytes, if its job tells.
        len: Option<u64>,
    },
    /// A blob is here, whole, and may be given to members.
    Offer {
        /// Which.
        digest: Digest,
        /// Its bytes.
        len: u64,
    },
    /// A blob is not wanted any more, or not here any more.
    End {
        /// Which.
        digest: Digest,
    },
    /// The list of pieces came and was checked; the file is open.
    Listed {
        /// What was asked for.
        request: RequestId,
        /// Bytes of the blob, proven.
        len: u64,
        /// Pieces that were here from before.
        have: Bits,
    },
    /// A piece came, was checked and is on disk.
    Arrived {
        /// What was asked for.
        request: RequestId,
    },
    /// What was asked for did not come.
    Failed {
        /// What was asked for.
        request: RequestId,
        /// Why.
        fault: Fault,
    },
    /// A peer asks for a piece.
    Asked {
        /// Who.
        peer: WorkerKey,
        /// To answer it by.
        ticket: Ticket,
        /// Of what.
        digest: Digest,
        /// Which.
        piece: u32,
    },
    /// An [`Action::Serve`] has ended.
    Served {
        /// Whom.
        peer: WorkerKey,
        /// Bytes that were given.
        bytes: u64,
    },
    /// Time has passed.
    Wake,
}

/// Why a peer's request is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It is not given to now.
    Choked,
    /// The piece is not here.
    Lacks,
    /// It asks for too much at a time.
    Busy,
}

/// Why a peer gets and gives no blobs for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    /// It sent a piece that is not what its digest says.
    #[error("it sent wrong bytes")]
    WrongBytes,
    /// It keeps what it promised to itself.
    #[error("it does not deliver")]
    DoesNotDeliver,
    /// It says that it holds pieces that there are not.
    #[error("it says it holds what cannot be")]
    ImpossibleClaim,
    /// It sends more messages than a peer needs.
    #[error("it says too much")]
    SaysTooMuch,
    /// It asks for more than a peer may.
    #[error("it wants too much")]
    WantsTooMuch,
    /// There is no place for it, which is no fault of its own.
    #[error("too many peers")]
    TooManyPeers,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say something.
    Send {
        /// To whom.
        peer: WorkerKey,
        /// What.
        message: Message,
    },
    /// Ask for the list of pieces; answer with [`Event::Listed`] or [`Event::Failed`].
    AskList {
        /// To answer by.
        request: RequestId,
        /// Whom.
        source: Source,
        /// Of what.
        digest: Digest,
        /// Bytes of the blob, if known: if not, the list must come with a proof of it.
        len: Option<u64>,
    },
    /// Ask for a piece; answer with [`Event::Arrived`] or [`Event::Failed`].
    Ask {
        /// To answer by.
        request: RequestId,
        /// Whom.
        source: Source,
        /// Of what.
        digest: Digest,
        /// Which.
        piece: u32,
        /// The coordinator has said "ask your peers", and no peer has it.
        last: bool,
    },
    /// Something that was asked for is needed no more; no answer is expected.
    Cancel {
        /// Which.
        request: RequestId,
    },
    /// Give a piece; answer with [`Event::Served`].
    Serve {
        /// To whom.
        peer: WorkerKey,
        /// For what.
        ticket: Ticket,
        /// Of what.
        digest: Digest,
        /// Which.
        piece: u32,
    },
    /// Do not.
    Refuse {
        /// Whom.
        peer: WorkerKey,
        /// For what.
        ticket: Ticket,
        /// Why.
        why: Refusal,
    },
    /// Close the connection; it may come back after a while.
    Drop {
        /// Whose.
        peer: WorkerKey,
        /// Why.
        reason: DropReason,
        /// How long to keep it away.
        keep_away: Duration,
    },
    /// All pieces are here.
    Done {
        /// Of which blob.
        digest: Digest,
    },
    /// A transfer has ended without the blob.
    GiveUp {
        /// Which blob.
        digest: Digest,
        /// Why.
        trouble: Trouble,
    },
}
