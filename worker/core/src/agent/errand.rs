//! Errands: what the coordinator asks for beside units, so that reports can be checked in part.
//!
//! A *show* wants the trace of a unit that was reported from here, and perhaps a state on it. A *segment* wants a part of
//! any unit run once more. Both share blobs, slots and uploads with units, and go before units that wait for a slot:
//!
//! ```text
//! show     Reading ─► Fetching ─► Ready ─► Running ─► Putting ─► Answered ─► (said: gone)
//! segment             Fetching ─► Ready ─► Running ────────────► Answered ─► (said: gone)
//! ```
//!
//! They are not kept on disk: after a restart the coordinator asks again, or gives up.

mod answer;
mod run;

use super::hold::{LEASE_MAX, Prepared};
use super::{Action, Agent, Effects, Message, Now};
use proto::Digest;
use proto::id::UnitId;
use proto::job::{Extra, JobSpec};
use proto::trace::{Point, Trace};
use std::collections::BTreeMap;
use std::time::Duration;

/// Most shows held at a time: a check or a dispute asks for a few, and each holds a trace in memory.
pub const SHOWS_MAX: usize = 16;
/// Most segments held at a time: they are short, and one that waits here is better run by another worker.
pub const SEGMENTS_MAX: usize = 16;
/// Longest time that a show is held: as long as a long unit, for without states on disk it runs the unit anew. A
/// coordinator that still wants it then asks again.
const SHOW_MAX: Duration = Duration::from_secs(86_400);

/// Names an errand: what it is, and its number at the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrandId {
    /// A trace, and perhaps a state on it, is to be shown.
    Show(u64),
    /// A segment is to be run.
    Segment(u64),
}

/// What the coordinator asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its number at the coordinator.
    pub number: u64,
    /// Of which unit.
    pub unit: UnitId,
    /// As the unit's lease brought it.
    pub extra: Extra,
    /// What.
    pub wish: Wish,
}

/// What is wanted of a unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Its trace, as it was reported from here.
    Show {
        /// And the state at the last point of the trace at or below this fuel.
        fuel: Option<u64>,
    },
    /// One segment of it.
    Segment {
        /// Fuel between two points; 0: to the end of the unit.
        spacing: u64,
        /// Where it begins; `None` at the start of the unit.
        from: Option<Start>,
        /// How long anybody waits for it.
        expires_in: Duration,
    },
}

/// Where a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// On the trace.
    pub point: Point,
    /// The blob with the state there.
    pub blob: Digest,
    /// Length of that blob, bytes.
    pub len: u64,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The trace of the unit.
    pub trace: Trace,
    /// The state, put as a blob.
    pub state: Option<StateFile>,
}

/// A state as a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateFile {
    /// Of the file.
    pub digest: Digest,
    /// Its length, bytes.
    pub len: u64,
}

/// The errands that are held.
#[derive(Clone, Debug, Default)]
pub(super) struct Errands {
    pub(super) held: BTreeMap<ErrandId, Errand>,
}

/// An errand that is held.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    unit: UnitId,
    /// Of the job's specification.
    spec: Digest,
    pub(super) prepared: Prepared,
    wish: Wish,
    /// Of a show, once it was read.
    trace: Option<Trace>,
    pub(super) expires_at: Now,
    n_failures: u32,
    pub(super) stage: Stage,
}

/// How far an errand has come.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// For its trace to be read.
    Reading,
    /// For `n_missing` of its blobs.
    Fetching { n_missing: usize },
    /// For a slot.
    Ready,
    /// In the pool under the number `run`.
    Running { run: u64 },
    /// For the state that `run` left as a file to be put.
    Putting { run: u64, state: StateFile },
    /// For a stream to answer on.
    Answered(Message),
}

impl Request {
    /// The errand's name.
    #[must_use]
    pub fn id(&self) -> ErrandId {
        match self.wish {
            Wish::Show { .. } => ErrandId::Show(self.number),
            Wish::Segment { .. } => ErrandId::Segment(self.number),
        }
    }
}

impl Errand {
    /// Whether it holds its blobs.
    pub(super) fn has_blobs(&self) -> bool {
        matches!(self.stage, Stage::Fetching { .. } | Stage::Ready | Stage::Running { .. })
    }

    /// Where the state lies that is to be shown; none when none is, or the trace has no point there.
    fn goal(&self) -> Option<Point> {
        let (Wish::Show { fuel: Some(fuel) }, Some(trace)) = (&self.wish, &self.trace) else {
            return None;
        };
        trace.from(trace.points_until(*fuel))
    }
}

impl Agent {
    /// The coordinator asks for something. What it has asked for already goes on.
    pub(super) fn take_errand(&mut self, now: Now, request: Request, fx: &mut Effects) {
        let id = request.id();
        if self.errands.held.contains_key(&id) || self.is_stopping() {
            return;
        }
        let unit = request.unit;
        match self.check_errand(now, request) {
            Ok(errand) => {
                let spacing = errand.prepared.trace_fuel;
                self.errands.held.insert(id, errand);
                match id {
                    ErrandId::Show(show) => {
                        fx.actions.push(Action::ReadTrace { show, unit, spacing })
                    }
                    ErrandId::Segment(_) => self.fetch_for_errand(now, id, fx),
                }
            }
            // Nobody waits for it on another stream.
            Err(reason) if self.is_attached() => {
                fx.actions.push(Action::Send(answer::failed(id, reason)));
            }
            Err(_) => {}
        }
    }

    fn check_errand(&self, now: Now, request: Request) -> Result<Errand, String> {
        if self.is_leaving() {
            return Err("the worker leaves the project".into());
        }
        let id = request.id();
        let alike =
            |other: &&ErrandId| std::mem::discriminant(*other) == std::mem::discriminant(&id);
        let (n_held, max) = (
            self.errands.held.keys().filter(alike).count(),
            match id {
                ErrandId::Show(_) => SHOWS_MAX,
                ErrandId::Segment(_) => SEGMENTS_MAX,
            },
        );
        if max <= n_held {
            return Err(format!("this worker holds {n_held} such errands and takes {max} at most"));
        }
        let job = self.jobs.get(&request.unit.job);
        let job = job.ok_or_else(|| format!("{} is not known here", request.unit.job))?;
        job.outline.as_ref().map_err(Clone::clone)?;
        let spec = JobSpec::parse(&job.spec_bytes).map_err(|error| error.to_string())?;
        let mut prepared = super::prepare::prepared(&spec, request.unit.unit, &request.extra)?;
        if self.config.memory_bytes < super::run::need(&prepared.unit.limits) {
            return Err("the unit needs more memory than is lent here".into());
        }
        let mut time = SHOW_MAX;
        if let Wish::Segment { from, expires_in, .. } = &request.wish {
            time = (*expires_in).min(LEASE_MAX);
            prepared.blobs.extend(from.map(|from| from.blob));
            prepared.blobs.sort_unstable();
            prepared.blobs.dedup();
        }
        Ok(Errand {
            unit: request.unit,
            spec: job.digest,
            prepared,
            wish: request.wish,
            trace: None,
            expires_at: now + time,
            n_failures: 0,
            stage: Stage::Reading,
        })
    }

    /// The trace of a unit was read, or is not here.
    pub(super) fn trace_read(
        &mut self,
        now: Now,
        show: u64,
        result: Result<Trace, String>,
        fx: &mut Effects,
    ) {
        let id = ErrandId::Show(show);
        let Some(errand) = self.errands.held.get_mut(&id) else { return };
        if !matches!(errand.stage, Stage::Reading) {
            return;
        }
        match result {
            Ok(trace) => {
                errand.trace = Some(trace);
                match errand.goal() {
                    Some(_) => self.fetch_for_errand(now, id, fx),
                    None => self.show(id, None, fx),
                }
            }
            Err(reason) => self.fail_errand(id, reason, fx),
        }
    }

    /// An errand gets its blobs, before those of units that wait.
    fn fetch_for_errand(&mut self, now: Now, id: ErrandId, fx: &mut Effects) {
        let Some(errand) = self.errands.held.get(&id) else { return };
        let (prepared, unit) = (errand.prepared.clone(), errand.unit);
        let state = match &errand.wish {
            Wish::Segment { from, .. } => *from,
            Wish::Show { .. } => None,
        };
        let job = self.jobs.get(&unit.job);
        let spec = job.and_then(|job| self.specs.of(unit.job, &job.spec_bytes));
        let n_missing = self.use_blobs(&prepared.blobs, true, |digest| {
            let state = state.filter(|state| state.blob == *digest).map(|state| state.len);
            state.or_else(|| super::prepare::length(spec.as_deref()?, &prepared, digest))
        });
        if let Some(errand) = self.errands.held.get_mut(&id) {
            errand.stage = match n_missing {
                0 => Stage::Ready,
                _ => Stage::Fetching { n_missing },
            };
        }
        self.advance_blobs(now, fx);
    }

    pub(super) fn blob_came_for_errands(&mut self, digest: Digest) {
        for errand in self.errands.held.values_mut() {
            if let Stage::Fetching { n_missing } = &mut errand.stage
                && errand.prepared.blobs.contains(&digest)
            {
                *n_missing -= 1;
                if *n_missing == 0 {
                    errand.stage = Stage::Ready;
                }
            }
        }
    }

    /// Ends the errands that wait for blobs: for one of them, or for any.
    pub(super) fn fail_errands_for_want_of(
        &mut self,
        blob: Option<Digest>,
        reason: &str,
        fx: &mut Effects,
    ) {
        let waiting = |errand: &Errand| {
            matches!(errand.stage, Stage::Fetching { .. })
                && blob.is_none_or(|blob| errand.prepared.blobs.contains(&blob))
        };
        let failing = self.errands.held.iter().filter(|(_, errand)| waiting(errand));
        for id in failing.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.fail_errand(id, format!("what it needs cannot be had: {reason}"), fx);
        }
    }

    pub(super) fn errands_deadline(&self) -> Option<Now> {
        self.errands.held.values().map(|errand| errand.expires_at).min()
    }

    /// Forgets what nobody waits for any more, and says what could not be said.
    pub(super) fn advance_errands(&mut self, now: Now, fx: &mut Effects) {
        let expired = self.errands.held.iter().filter(|(_, errand)| errand.expires_at <= now);
        for id in expired.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.drop_errand(id, fx);
        }
        if self.is_attached() {
            self.errands.held.retain(|_, errand| {
                let Stage::Answered(message) = &errand.stage else { return true };
                fx.actions.push(Action::Send(message.clone()));
                false
            });
        }
    }

    /// The worker leaves: nothing can be shown or run any more.
    pub(super) fn fail_all_errands(&mut self, reason: &str, fx: &mut Effects) {
        for id in self.errands.held.keys().copied().collect::<Vec<_>>() {
            self.fail_errand(id, reason.to_owned(), fx);
        }
    }

    /// The program is about to end: segments are for others, shows can be asked for again.
    pub(super) fn stop_errands(&mut self, fx: &mut Effects) {
        for id in self.errands.held.keys().copied().collect::<Vec<_>>() {
            match id {
                ErrandId::Show(_) => drop(self.drop_errand(id, fx)),
                ErrandId::Segment(_) => self.fail_errand(id, "the program ends".into(), fx),
            }
        }
    }
}
