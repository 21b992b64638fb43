//! What reaches the task that owns the core.

use super::Error;
use super::connection::Talk;
use crate::blobs;
use crate::blobs::pieces::PieceFile;
use iroh::endpoint::{Connection, SendStream};
use proto::{Digest, WorkerKey};
use tokio::sync::oneshot;
use worker_core::exchange::{self, Fault, Message, RequestId};

/// What reaches the task that owns the core.
#[derive(Debug)]
pub(super) enum Input {
    Bring {
        digest: Digest,
        len: Option<u64>,
        answer: oneshot::Sender<Result<(), Error>>,
    },
    Offer {
        digest: Digest,
        len: u64,
    },
    Numbers(oneshot::Sender<exchange::Numbers>),
    Origin(bool),
    Inbound(Connection),
    Dialled {
        peer: WorkerKey,
        connection: Option<Connection>,
    },
    Connected {
        peer: WorkerKey,
        talk: Talk,
    },
    Closed {
        peer: WorkerKey,
        id: usize,
    },
    Said {
        peer: WorkerKey,
        message: Message,
    },
    Asked {
        peer: WorkerKey,
        digest: Digest,
        piece: u32,
        send: SendStream,
    },
    AskedList {
        peer: WorkerKey,
        digest: Digest,
        proof: bool,
        send: SendStream,
    },
    Listed {
        request: RequestId,
        digest: Digest,
        got: Result<(PieceFile, Vec<u32>), Missed>,
    },
    Came {
        request: RequestId,
        digest: Digest,
        got: Result<(), Missed>,
    },
    Served {
        peer: WorkerKey,
        bytes: u64,
    },
    /// A blob that was offered is not here any more.
    Missing(Digest),
    Finished {
        digest: Digest,
        kept: Result<(), blobs::Error>,
    },
}

/// Why something that was asked for is not here.
#[derive(Debug)]
pub(super) enum Missed {
    /// Its source.
    Fault(Fault),
    /// This machine's disk.
    Disk(blobs::Error),
}
