//! Everything that can happen to the core, and everything that it answers or says.

mod effect;
mod refused;

use crate::token::{Token, TokenId};
use proto::job::JobSpec;
use proto::key::Signature;
use proto::report::{Ack, Batch};
use proto::trace::{Point, SegmentStatement};
use proto::unit_log::Line;
use proto::{AccountKey, Digest, JobId, LeaseId, UnitIndex, WorkerKey};
use std::sync::Arc;

pub use effect::{Effects, Lease, Segment, Show, ToWorker};
pub use refused::{Refused, SubmitRefused};

/// One stream of one worker; a worker that connects anew gets another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    /// Counted from 1 since the start.
    pub stream: u64,
    /// Number of the worker.
    pub worker: u32,
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A worker has proved who it is. Answer: [`Reply::Connected`].
    Connected(Hello),
    /// A stream has ended. Answer: [`Reply::Done`], as for all events that name none.
    Gone(Session),
    /// A worker asks for work.
    Want(Session, Want),
    /// A worker reports. Answer: [`Reply::Acks`].
    Reported(Session, Incoming),
    /// Somebody brings a batch of a worker that may be away or gone. Answer: [`Reply::Acks`].
    Delivered(Box<Delivered>),
    /// A worker is still computing.
    Heartbeat(Session, Heartbeat),
    /// A worker gives units back.
    Returned(Session, Vec<Return>),
    /// A worker ends its stream; when it leaves the project its leases return at once.
    Goodbye {
        /// Its stream.
        session: Session,
        /// Whether it leaves the project.
        leaving: bool,
    },
    /// A worker shows what it was asked for.
    Shown(Session, Shown),
    /// A worker has run a segment, or could not.
    Found(Session, Found),
    /// A worker brings what kernels have logged.
    Logged(Session, Vec<Logged>),
    /// An operator appoints a worker of his own whose word on a segment decides, or dismisses it. Answer:
    /// [`Reply::Appointed`].
    Appoint {
        /// The machine.
        worker: WorkerKey,
        /// Whether it is appointed.
        appointed: bool,
    },
    /// What a lease should have brought cannot be read (a line, an output to merge).
    Unreadable {
        /// The lease that was not sent.
        lease: LeaseId,
        /// What could not be read and why.
        reason: String,
    },
    /// A researcher submits a job whose blobs are here. Answer: [`Reply::Submitted`].
    Submit(Submission),
    /// A researcher cancels a job. Answer: [`Reply::Cancelled`].
    Cancel(JobId),
    /// A researcher needs the outputs of a job that has ended no more.
    DropOutputs(JobId),
    /// Outputs of such a job are its own no more.
    Disown {
        /// The job.
        job: JobId,
        /// Which.
        outputs: Vec<Digest>,
        /// Whether there are no others of the job.
        last: bool,
    },
    /// Outputs that workers have put and that no report will name.
    Abandon(Vec<Digest>),
    /// An account has put a blob.
    HasPut {
        /// The account.
        account: String,
        /// The blob.
        digest: Digest,
        /// Its bytes.
        len: u64,
    },
    /// An operator issues a token.
    IssueToken(Token),
    /// An operator revokes a token. Answer: [`Reply::Revoked`].
    RevokeToken(TokenId),
    /// Somebody asks for the head of the log. Answer: [`Reply::Head`].
    Head,
    /// Time has passed.
    Tick,
}

/// Lines of a unit that a worker holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Under which it holds the unit.
    pub lease: LeaseId,
    /// The unit.
    pub unit: UnitIndex,
    /// In order.
    pub lines: Vec<Line>,
}

/// The answer to an [`Event`], given after its commit.
#[derive(Debug)]
pub enum Reply {
    /// To [`Event::Connected`].
    Connected(Result<Welcome, Refused>),
    /// To [`Event::Reported`] and [`Event::Delivered`].
    Acks(Acks),
    /// To [`Event::Submit`].
    Submitted(Result<JobId, SubmitRefused>),
    /// To [`Event::Cancel`]: whether there is such a job.
    Cancelled(bool),
    /// To [`Event::RevokeToken`]: whether there was such a token.
    Revoked(bool),
    /// To [`Event::Head`].
    Head(LogHead),
    /// To [`Event::Appoint`]: whether there is such a worker.
    Appointed(bool),
    /// To everything that asks for a decision, once the engine makes none any more: why.
    Halted(String),
    /// Nothing to say.
    Done,
}

/// The project's log as of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHead {
    /// Entries.
    pub size: u64,
    /// Over all of them.
    pub root: Digest,
    /// When it was asked for, milliseconds since 1970; never before an earlier one.
    pub at_ms: u64,
}

/// What a worker says of itself, after its signatures were verified.
#[derive(Clone, Debug)]
pub struct Hello {
    /// The machine.
    pub worker: WorkerKey,
    /// Its owner.
    pub account: AccountKey,
    /// Slots that it computes with.
    pub cores: u32,
    /// Memory that its owner lends, bytes.
    pub memory_bytes: u64,
    /// The machine's name; at most `NAME_BYTES_MAX` bytes are kept.
    pub name: String,
    /// The account's name; empty keeps the one known.
    pub account_name: String,
    /// The newest version of the kernel contract that it knows.
    pub contract: u32,
    /// What the address that it comes from begins with; 0 when that tells nothing, as in one house.
    pub network: u64,
    /// Digest of the invitation that it shows.
    pub invitation: Option<Digest>,
    /// Bits of work that its account has done.
    pub work_bits: u32,
}

/// A worker is welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The stream, for all further events.
    pub session: Session,
    /// The account's credit, fuel.
    pub credit: u128,
    /// The highest sequence of this worker's batches that is stored.
    pub sequence: u64,
}

/// How much work a worker will take. The newest replaces the one before and stands until it is filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// Most units.
    pub units: u32,
    /// Worth of computing, seconds, summed over the slots.
    pub seconds: u64,
    /// Measured speed of one slot; 0 when unknown.
    pub fuel_per_second: u64,
    /// Most memory that one unit may use, bytes.
    pub memory_bytes: u64,
}

/// A batch whose signature was verified.
#[derive(Clone, Debug)]
pub struct SignedBatch {
    /// What it says.
    pub batch: Batch,
    /// Its canonical bytes, as they came.
    pub payload: Arc<[u8]>,
    /// [`Batch::root`], which the signature is over.
    pub root: Digest,
    /// Over [`Batch::signed_bytes`].
    pub signature: Signature,
}

/// A batch with what else decides on it, which [`crate::saved::intake`] alone finds out.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub(crate) signed: SignedBatch,
    /// Reports whose output is a blob that is not as the report says, in order.
    pub(crate) missing: Vec<Missing>,
    pub(crate) earlier: Earlier,
}

/// A batch that others have held for its reporter; all signatures were verified.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The reporter's owner.
    pub account: AccountKey,
    /// What the reporter said.
    pub incoming: Incoming,
}

/// What is stored under the sequence of a batch that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// Nothing.
    Nothing,
    /// The same batch: it comes again.
    Same,
    /// Another batch: the worker has lost count.
    Other,
}

/// A report whose output is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Position of the report in the batch.
    pub position: u32,
    /// [`Ack::OutputMissing`], or [`Ack::Invalid`] when the blob is here with another length.
    pub ack: Ack,
}

/// What became of the reports of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acks {
    /// Of the batch.
    pub sequence: u64,
    /// One per report, in order.
    pub acks: Vec<Ack>,
    /// The account's credit now, fuel.
    pub credit: u128,
}

/// Renews leases.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat {
    /// Leases with units whose reports are not acknowledged.
    pub leases: Vec<LeaseId>,
    /// The owner has paused the worker.
    pub paused: bool,
}

/// What a worker shows of a unit that it has reported.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Number of the question.
    pub ask: u64,
    /// Canonical bytes of the trace, or why it cannot be shown.
    pub trace: Result<Vec<u8>, String>,
    /// The blob with a state, its bytes, and the point that it is found to be.
    pub state: Option<(Digest, u64, Point)>,
}

/// What a worker found of a segment.
#[derive(Clone, Debug)]
pub struct Found {
    /// Number of the question.
    pub ask: u64,
    /// What it found and signed (verified), or why it could not run it.
    pub found: Result<(SegmentStatement, Signature), String>,
}

/// A unit given back.
#[derive(Clone, Debug)]
pub struct Return {
    /// The lease that it was lent under.
    pub lease: LeaseId,
    /// Which unit.
    pub unit: UnitIndex,
    /// For people; at most `REASON_BYTES_MAX` bytes are kept.
    pub reason: String,
    /// Whether it counts as an attempt.
    pub failure: bool,
}

/// A job to be computed.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The specification, parsed from `bytes`.
    pub spec: Arc<JobSpec>,
    /// The bytes as they were submitted.
    pub bytes: Arc<[u8]>,
    /// Submitting again with the same id by the same account gives the same job.
    pub submission: [u8; 16],
    /// Who submits.
    pub account: String,
}
