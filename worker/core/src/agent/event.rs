//! What can happen to a worker, as the agent is told of it.

use super::{Request, StateFile};
use proto::job::Extra;
use proto::report::{Ack, Outcome};
use proto::trace::{Point, Trace};
use proto::{Digest, JobId, LeaseId, UnitIndex};
use std::time::Duration;

/// Everything that can happen to a worker.
#[derive(Clone, Debug)]
pub enum Event {
    /// The coordinator has welcomed this worker on a new stream.
    Attached(Welcome),
    /// The stream ended, or none could be opened.
    Detached {
        /// For people.
        reason: String,
        /// Not to be tried again earlier, if the coordinator said so.
        retry_after: Option<Duration>,
        /// 64 random bits, for the jitter of the next attempt.
        random: u64,
    },
    /// The coordinator refused this worker and does not want it to try again.
    Refused(String),
    /// A job's specification, as it was submitted.
    Job {
        /// Of the job.
        id: JobId,
        /// JSON.
        spec: Vec<u8>,
    },
    /// Units were lent.
    Leases(Vec<Lease>),
    /// The coordinator answered a batch.
    Acks {
        /// Of the batch.
        sequence: u64,
        /// One per report.
        status: Vec<Ack>,
        /// The account's credit, fuel.
        credit: u64,
    },
    /// Leases are taken back.
    Cancel {
        /// Which.
        leases: Vec<LeaseId>,
        /// For people.
        reason: String,
    },
    /// There is nothing (more) to lease.
    Idle {
        /// For people.
        reason: String,
        /// Not to be asked again earlier.
        retry_after: Duration,
    },
    /// The coordinator asks for something beside units.
    Errand(Request),
    /// The trace of a unit was read for a show.
    TraceRead {
        /// Number of the show.
        show: u64,
        /// The trace; why it is not here, for people.
        result: Result<Trace, String>,
    },
    /// What the coordinator has found out about this machine, for its owner.
    Advice(String),
    /// A blob is here and stays until it is released, or could not be had.
    Fetched {
        /// Which.
        digest: Digest,
        /// How it went.
        result: Result<(), FetchTrouble>,
    },
    /// An output or a shown state has been put, or could not be.
    Put {
        /// Which.
        digest: Digest,
        /// How it went; why not, for people.
        result: Result<(), String>,
    },
    /// An output or a shown state is not on disk any more, or damaged.
    OutputLost {
        /// Which.
        digest: Digest,
        /// For people.
        reason: String,
    },
    /// A run said how far it is.
    Progress {
        /// Which run.
        run: u64,
        /// In the kernel's own measure.
        done: u64,
        /// In the kernel's own measure; 0 if it does not know.
        total: u64,
    },
    /// A run ended.
    Finished {
        /// Which run.
        run: u64,
        /// How.
        end: End,
        /// Computing time of the whole unit.
        cpu: Duration,
    },
    /// It is not known whether this machine can run units; why, for people.
    Doubt(String),
    /// The trial unit has run; why it could not, for people.
    Tried(Result<(), String>),
    /// The owner pauses the worker, for a while or until [`Event::Resume`].
    Pause(Option<Duration>),
    /// The owner lets it go on.
    Resume,
    /// The owner leaves the project: give everything back.
    Leave,
    /// The program is about to end: start nothing more.
    Stop,
    /// All runs have ended after [`Event::Stop`].
    Stopped,
    /// Nothing happened, but time went by.
    Wake,
}

/// What the coordinator said on welcoming this worker.
#[derive(Clone, Copy, Debug)]
pub struct Welcome {
    /// How often to say heartbeat.
    pub heartbeat: Duration,
    /// Most reports in one batch.
    pub batch_reports_max: usize,
    /// The account's credit, fuel.
    pub credit: u64,
    /// The highest sequence of this worker's batches that is stored there.
    pub sequence: u64,
}

/// A run of consecutive units of one job, lent until a deadline.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// Its number.
    pub id: LeaseId,
    /// The job.
    pub job: JobId,
    /// The first unit.
    pub first: UnitIndex,
    /// How many units.
    pub count: u32,
    /// How long it is good without being renewed.
    pub duration: Duration,
    /// Empty, or one per unit in order.
    pub extras: Vec<Extra>,
}

/// Why a blob could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchTrouble {
    /// It will not be had by trying again: the coordinator has it not, or its bytes were wrong too often.
    Never(String),
    /// The connection; tried again when there is one.
    Later(String),
    /// No room on this disk; tried again after a while.
    NoRoom(String),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With a result, which is on disk if it is not inside.
    Result {
        /// Output or deterministic failure.
        outcome: Outcome,
        /// Fuel burnt.
        fuel: u64,
        /// Root over its trace, which is on disk; none for a segment and for what has no trace.
        trace_root: Option<Digest>,
    },
    /// At a state, as an errand wanted it.
    Reached {
        /// The state.
        point: Point,
        /// Its file, where one was wanted.
        state: Option<StateFile>,
    },
    /// This machine could not run it.
    Trouble {
        /// For people.
        reason: String,
        /// What to do about it.
        remedy: Remedy,
    },
    /// The disk is full, which is no fault of the unit: nothing can be run here before there is room.
    NoRoom {
        /// For people.
        reason: String,
    },
    /// It was stopped, to be taken up again.
    Interrupted,
}

/// What is to be done after an infrastructure failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It may be the unit's fault or this machine's: the unit is tried again, unless the trial unit fails too.
    Again,
    /// The unit's fault: it is for another machine.
    Elsewhere,
    /// The job's fault: no unit of it can run here.
    ElsewhereWholeJob,
    /// This machine's fault: the unit is tried again when the trial unit has run, and given back unharmed if it fails all
    /// the same.
    Mend,
    /// This machine's fault: it lacks what this job needs, whose units are given back unharmed.
    MendWholeJob,
}
