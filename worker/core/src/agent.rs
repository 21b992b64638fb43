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
mod event;
mod fitness;
mod hand;
mod hold;
mod link;
mod message;
mod prepare;
mod record;
mod report;
mod run;
mod specs;
mod want;
mod why;

use proto::id::UnitId;
use proto::job::Unit;
use proto::report::Batch;
use proto::trace::Point;
use proto::{Digest, JobId, LeaseId, ProjectKey, WorkerKey};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use control::Pause;
pub use errand::{ErrandId, Request, SEGMENTS_MAX, SHOWS_MAX, Shown, Start, StateFile, Wish};
pub use event::{End, Event, FetchTrouble, Lease, Remedy, Welcome};
pub use hand::HANDED_OUTPUT_BYTES_MAX;
pub use message::{Message, Progress, Return};
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

/// What [`Agent::apply`] wants done: first all records kept, then the actions in order.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// To be kept before any action is done.
    pub records: Vec<Record>,
    /// To be done in order.
    pub actions: Vec<Action>,
}

/// Something the task around it does for the agent.
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
