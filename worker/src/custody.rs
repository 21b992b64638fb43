//! What a worker holds for others, and what others hold of its own: the disk, the peers and the coordinator around the
//! pure [`worker_core::custody`].
//!
//! One task owns it. The agent tells it of each signed batch; it seals the batch, keeps it, and hands it to
//! peers, so that a worker that vanishes after computing loses nothing. What it holds for others it brings to the
//! coordinator when their reporter did not. All of it works without peers too: then one's own batches alone are kept,
//! for a coordinator that loses its disk.

mod deliver;
mod kv_log;
mod protocol;
mod rebuild;
mod store;
mod task;

use crate::blobs::Blobs;
use crate::coordinator::Session;
use crate::network::Net;
use proto::seal::Sealer;
use proto::ticket::Ticket;
use proto::{LeaseId, WorkerKey, pb};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::Books;
use task::{Keeper, Parts};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use worker_core::custody::{Config, Name, Numbers, Refusal};

/// What the task was told and has not taken up. Peers wait when it is full.
const TOLD_MAX: usize = 1024;

/// A signed head of the log, and the entries up to it that were not here.
type Growth = (pb::SignedHead, Vec<Vec<u8>>);

/// Something that the task is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// A batch of this worker is signed.
    Reported(Reported),
    /// Every report of a batch of this worker was acknowledged, in this batch or in another.
    Settled(u64),
    /// Leases were granted.
    Tickets(Vec<Ticket>),
    /// A job's specification.
    Spec(Vec<u8>),
    /// The coordinator has lost its records, and wants what is kept here.
    Rebuild { session: Session, leases: BTreeSet<LeaseId> },
    /// A peer tells of a head of the log.
    Head { peer: WorkerKey, head: pb::SignedHead },
    /// The log was asked for, from a peer or the coordinator; none: it has not grown.
    Grown { from: Option<WorkerKey>, log: Result<Option<Growth>, String> },
    /// There is a network of peers.
    Peers(Net),
    /// A peer would hand over a batch of its own.
    Offered { name: Name, bytes: u32, answer: oneshot::Sender<Result<(), Refusal>> },
    /// It did not come, or was not what it should be.
    NotCome(Name),
    /// It came, and its reporter's signature holds.
    Came { name: Name, sealed: Vec<u8>, kept: oneshot::Sender<bool> },
    /// A peer says that the coordinator has batches of its own.
    Released { peer: WorkerKey, sequences: Vec<u64> },
    /// A hand-over has ended.
    Answered { peer: WorkerKey, sequence: u64, taken: bool },
    /// The coordinator said which it wants; none: it could not be asked.
    Wanted { names: Vec<Name>, wanted: Option<Vec<bool>> },
    /// A delivery has ended.
    Delivered { name: Name, done: bool },
}

/// A signed batch, and what should go with it.
#[derive(Debug)]
pub(crate) struct Reported {
    /// Of the batch.
    pub(crate) sequence: u64,
    /// As it is sent to the coordinator.
    pub(crate) signed: pb::SignedReports,
    /// The leases that it reports under.
    pub(crate) leases: BTreeSet<LeaseId>,
    /// Files with outputs that do not travel inside the reports, and the most bytes of them to take along.
    pub(crate) outputs: Vec<PathBuf>,
    pub(crate) outputs_bytes_max: u64,
}

/// Speaks to the task; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Custody {
    told: mpsc::Sender<Command>,
    numbers: watch::Receiver<Numbers>,
    log_head: watch::Receiver<Option<pb::SignedHead>>,
    books: Arc<Mutex<Books>>,
}

impl Custody {
    /// Opens what is kept in the folder at `path` and starts the task. `session` is the stream to the coordinator.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub(crate) fn start(
        path: &Path,
        config: Config,
        log_every: Duration,
        sealer: Sealer,
        blobs: Arc<Blobs>,
        session: watch::Receiver<Option<Session>>,
        tasks: &mut JoinSet<()>,
    ) -> io::Result<Self> {
        let (told, heard) = mpsc::channel(TOLD_MAX);
        let (numbers, read) = watch::channel(Numbers::default());
        let (log_heads, log_head) = watch::channel(None);
        let books = Arc::new(Mutex::new(Books::open(path)?));
        let parts = Parts {
            config,
            log_every,
            books: Arc::clone(&books),
            blobs,
            sealer,
            session,
            told: told.clone(),
            numbers,
            log_heads,
        };
        tasks.spawn(Box::pin(Keeper::new(parts)?.run(heard)));
        Ok(Self { told, numbers: read, log_head, books })
    }

    /// Tells the task. It is behind when this fails; then it does without: whatever is lost is a copy.
    pub(crate) fn tell(&self, told: Command) {
        if let Err(error) = self.told.try_send(told) {
            tracing::debug!(%error, "the keeper of held reports is behind");
        }
    }

    /// Lets peers hand over their batches, tell of the log and ask for it.
    pub(crate) fn talks(&self, net: &Net) -> protocol::Handler {
        protocol::Handler::new(net.clone(), self.told.clone(), Arc::clone(&self.books))
    }

    /// The newest head of the project's log that is here.
    pub(crate) fn log_head(&self) -> Option<pb::SignedHead> {
        self.log_head.borrow().clone()
    }

    /// What is held, in numbers.
    pub(crate) fn numbers(&self) -> Numbers {
        *self.numbers.borrow()
    }
}
