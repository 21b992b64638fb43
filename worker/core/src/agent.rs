//! The agent: what a worker knows and decides. Pure: no I/O, no clock, no randomness that was not passed in.
//!
//! [`Agent::apply`] takes everything that can happen as one [`Event`] and answers with [`Effects`]: records that must be
//! kept before anything else is done, and actions. [`Agent::next_deadline`] says when to wake it if nothing happens.
//! Time is monotonic, counted from the agent's start: the wall clock is never asked, so it may jump as it likes.
//!
//! A unit that is held goes through these stages:
//!
//! ```text
//! Waiting ─► Fetching ─► Ready ─► Running ─► Finished ─► Sent ─► (acknowledged: gone)
//!    ▲                               │          ▲          │
//!    └────────── interrupted ────────┘          └── cut ───┘
//! ```
//!
//! **When the coordinator is away** the worker computes what it holds, whatever the leases say: nothing better can be
//! had. When it comes back, units whose lease ran out meanwhile and that were not started are given back; started ones
//! go on and are reported, for their cost is spent, unless the coordinator cancels them.

mod check;
mod control;
mod errand;
mod fitness;
mod hand;
mod hold;
mod link;
mod prepare;
mod record;
mod report;
mod run;
mod specs;
mod want;
mod why;

use proto::id::UnitId;
use proto::job::{Extra, Unit};
use proto::report::{Ack, Batch, Outcome};
use proto::trace::{Point, SegmentStatement, Trace};
use proto::{Digest, JobId, LeaseId, ProjectKey, UnitIndex, WorkerKey};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use control::Pause;
pub use errand::{ErrandId, Request, SEGMENTS_MAX, SHOWS_MAX, Shown, Start, StateFile, Wish};
pub use hand::HANDED_OUTPUT_BYTES_MAX;
pub use record::Record;
pub use why::{RunningUnit, Status};

/// Monotonic time since the agent was made.
pub type Now = Duration;

/// Most units held at a time: what a machine with hundreds of slots can use of the shortest units, and a bound on memory.
pub const HELD_UNITS_MAX: usize = 32_768;

/// What the owner lends, and who the worker is.
#[derive(Clone, Debug)]
pub struct Config {
    /// The project that is worked for.
    pub project: ProjectKey,
    /// Who works.
    pub worker: WorkerKey,
    /// Units that may run at the same time.
    pub slots: u32,
    /// Memory that all running units together may use, bytes.
    pub memory_bytes: u64,
    /// Computing to hold ahead for each slot.
    pub buffer: Duration,
}

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

/// What [`Agent::apply`] wants done: first all records kept, then the actions in order.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// To be kept before any action is done.
    pub records: Vec<Record>,
    /// To be done in order.
    pub actions: Vec<Action>,
}

/// Something the driver does for the agent.
#[derive(Clone, Debug)]
pub enum Action {
    /// Open a stream; ends in [`Event::Attached`], [`Event::Detached`] or [`Event::Refused`].
    Connect,
    /// Drop the stream; ends in [`Event::Detached`].
    Disconnect(String),
    /// Say this on the stream.
    Send(Message),
    /// The coordinator is away: let peers hold this batch.
    HandOver(Batch),
    /// No report of this batch of one's own is held any more: the coordinator has what it wants of it.
    Settled(u64),
    /// Get a blob, and keep it until [`Action::Release`]; ends in [`Event::Fetched`].
    Fetch {
        /// Which.
        digest: Digest,
        /// Its length where the job tells it, bytes.
        len: Option<u64>,
    },
    /// A blob may be evicted.
    Release(Digest),
    /// Put an output or a shown state; ends in [`Event::Put`] or [`Event::OutputLost`].
    Put {
        /// Which.
        digest: Digest,
        /// Where it is on disk.
        from: Source,
    },
    /// The output of a unit is needed no more.
    ForgetOutput(UnitId),
    /// Read the trace of a unit that was reported; ends in [`Event::TraceRead`].
    ReadTrace {
        /// Number of the show.
        show: u64,
        /// Which unit.
        unit: UnitId,
        /// Fuel between two points, as its job has it.
        spacing: u64,
    },
    /// Run a unit or a part of it; ends in [`Event::Finished`].
    Run {
        /// Number of the run, never used twice.
        run: u64,
        /// Which unit it is, for the name of its snapshot.
        id: UnitId,
        /// What to run.
        unit: Arc<Unit>,
        /// How much of it.
        course: RunScope,
    },
    /// End a run; its end is of no interest.
    Cancel {
        /// Which run.
        run: u64,
    },
    /// The unit's snapshot is needed no more.
    ForgetSnapshot(UnitId),
    /// The unit will not be reported: what is here of its trace is needed no more.
    ForgetTrace(UnitId),
    /// Files of a run for an errand have served.
    ForgetErrand {
        /// Which run.
        run: u64,
    },
    /// Run the trial unit; ends in [`Event::Tried`].
    Try,
    /// Let nothing run, with snapshots.
    Pause,
    /// Let it run again.
    Resume,
    /// Tell the owner.
    Say(String),
    /// End the program.
    Exit,
}

/// Where a blob for the coordinator is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The output of this unit.
    Output(UnitId),
    /// The state that this run was to reach.
    State {
        /// Which run.
        run: u64,
    },
}

/// What is to be run of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunScope {
    /// All of it, with a trace that is kept.
    Whole {
        /// Fuel between two points.
        spacing: u64,
    },
    /// Up to the state at a point of its trace, which is written to a file.
    ToState {
        /// Fuel between two points.
        spacing: u64,
        /// Of the point.
        fuel: u64,
    },
    /// From a point to the next, or to the end.
    Segment {
        /// Fuel between two points; 0: to the end.
        spacing: u64,
        /// Where it begins, and the blob with the state there; `None` at the start.
        from: Option<(Point, Digest)>,
    },
}

/// What a worker says to the coordinator.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Work is wanted.
    Want {
        /// Most units.
        units: u32,
        /// Worth of computing, summed over the slots, seconds.
        seconds: u64,
        /// Speed of one slot; 0 when not known.
        fuel_per_second: u64,
        /// Most memory of one unit, bytes.
        memory_bytes: u64,
        /// Kernels compiled here.
        kernels: Vec<Digest>,
    },
    /// A batch to be signed.
    Reports(Batch),
    /// These leases go on.
    Heartbeat {
        /// With units whose reports are not acknowledged.
        leases: Vec<LeaseId>,
        /// Whether the owner has paused the worker.
        paused: bool,
        /// Of running units.
        progress: Vec<Progress>,
    },
    /// Units are given back.
    Returns(Vec<Return>),
    /// The answer to a show.
    Shown {
        /// Its number.
        show: u64,
        /// What is shown; why nothing can be, for people.
        shown: Result<Shown, String>,
    },
    /// The answer to a segment, to be signed.
    Segment {
        /// Its number.
        segment: u64,
        /// What was found; why it could not be run, for people.
        found: Result<SegmentStatement, String>,
    },
    /// The stream will end.
    Goodbye {
        /// The worker leaves the project.
        leaving: bool,
    },
}

/// How far a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Its lease.
    pub lease: LeaseId,
    /// Which unit.
    pub unit: UnitIndex,
    /// In the kernel's own measure.
    pub done: u64,
    /// In the kernel's own measure; 0 if it does not know.
    pub total: u64,
}

/// A unit given back without a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Return {
    /// Its lease.
    pub lease: LeaseId,
    /// Which unit.
    pub unit: UnitIndex,
    /// For people.
    pub reason: String,
    /// Whether it counts as an attempt.
    pub failure: bool,
}

/// What a worker knows and decides.
#[derive(Clone, Debug)]
pub struct Agent {
    config: Config,
    link: link::Link,
    mode: control::Mode,
    jobs: BTreeMap<JobId, hold::Job>,
    specs: specs::Specs,
    leases: BTreeMap<LeaseId, hold::HeldLease>,
    units: BTreeMap<UnitId, hold::Held>,
    /// Units in stage Ready in order; entries of units that left the stage are skipped when met.
    ready: VecDeque<UnitId>,
    runs: run::Runs,
    blobs: prepare::Blobs,
    reports: report::Reports,
    hands: hand::Hands,
    want: want::Wanting,
    errands: errand::Errands,
    fitness: fitness::Fitness,
    advice: Option<String>,
    credit: u64,
    totals: why::Totals,
}

impl Agent {
    /// A worker that holds nothing and knows nobody.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            link: link::Link::default(),
            mode: control::Mode::Working,
            jobs: BTreeMap::new(),
            specs: specs::Specs::default(),
            leases: BTreeMap::new(),
            units: BTreeMap::new(),
            ready: VecDeque::new(),
            runs: run::Runs::default(),
            blobs: prepare::Blobs::default(),
            reports: report::Reports::default(),
            hands: hand::Hands::default(),
            want: want::Wanting::default(),
            errands: errand::Errands::default(),
            fitness: fitness::Fitness::default(),
            advice: None,
            credit: 0,
            totals: why::Totals::default(),
        }
    }

    /// Takes up what happened at `now` and says what is to be done. `now` never goes back.
    #[must_use]
    pub fn apply(&mut self, now: Now, event: Event) -> Effects {
        let mut fx = Effects::default();
        match event {
            Event::Attached(welcome) => self.attached(now, &welcome, &mut fx),
            Event::Detached { reason, retry_after, random } => {
                self.detached(now, reason, retry_after, random)
            }
            Event::Refused(reason) => self.refused(reason),
            Event::Job { id, spec } => self.learn_job(id, spec),
            Event::Leases(leases) => self.take_leases(now, leases, &mut fx),
            Event::Acks { sequence, status, credit } => {
                self.acknowledged(now, sequence, &status, credit, &mut fx)
            }
            Event::Cancel { leases, reason } => self.cancelled(&leases, &reason, &mut fx),
            Event::Idle { reason, retry_after } => self.idle(now, reason, retry_after),
            Event::Errand(request) => self.take_errand(now, request, &mut fx),
            Event::TraceRead { show, result } => self.trace_read(now, show, result, &mut fx),
            Event::Advice(text) => self.advised(text, &mut fx),
            Event::Fetched { digest, result } => self.fetched(now, digest, result, &mut fx),
            Event::Put { digest, result } => self.put(now, digest, result, &mut fx),
            Event::OutputLost { digest, reason } => self.output_lost(digest, &reason, &mut fx),
            Event::Progress { run, done, total } => self.progress(run, done, total),
            Event::Finished { run, end, cpu } => self.finished(now, run, end, cpu, &mut fx),
            Event::Doubt(reason) => self.doubt(reason, &mut fx),
            Event::Tried(result) => self.tried(now, result, &mut fx),
            Event::Pause(duration) => self.pause(now, duration, &mut fx),
            Event::Resume => self.resume(&mut fx),
            Event::Leave => self.leave(now, &mut fx),
            Event::Stop => self.stop(&mut fx),
            Event::Stopped => self.stopped(now, &mut fx),
            Event::Wake => {}
        }
        self.advance(now, &mut fx);
        fx
    }

    /// Units that are held: whatever else is on disk is of no use.
    pub fn held(&self) -> impl Iterator<Item = UnitId> {
        self.units.keys().copied()
    }

    /// The unit of a run that has not ended.
    #[must_use]
    pub fn unit_of(&self, run: u64) -> Option<UnitId> {
        self.runs.unit(run)
    }

    /// The lease under which a unit is held.
    #[must_use]
    pub fn lease_of(&self, id: UnitId) -> Option<LeaseId> {
        self.units.get(&id).map(|held| held.lease)
    }

    /// When to apply [`Event::Wake`] if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Now> {
        let deadlines = [
            self.link_deadline(),
            self.blobs_deadline(),
            self.runs_deadline(),
            self.reports_deadline(),
            self.errands_deadline(),
            self.hand_deadline(),
            self.want_deadline(),
            self.mode_deadline(),
            self.fitness_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Does all that has become possible.
    fn advance(&mut self, now: Now, fx: &mut Effects) {
        self.advance_mode(now, fx);
        self.advance_fitness(now, fx);
        self.advance_link(now, fx);
        self.advance_blobs(now, fx);
        self.advance_errands(now, fx);
        self.prepare(now, fx);
        self.start_runs(now, fx);
        self.advance_reports(now, fx);
        self.advance_hands(now, fx);
        self.advance_want(now, fx);
    }
}

#[cfg(test)]
mod tests;
