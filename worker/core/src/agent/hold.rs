//! Jobs, leases and the units held under them.

use super::{Action, Agent, Effects, FetchTrouble, HELD_UNITS_MAX, Lease, Now, Record, Return};
use proto::bounds::{LEASE_UNITS_MAX, REASON_BYTES_MAX};
use proto::id::UnitId;
use proto::job::{Extra, JobSpec, Outline, Unit};
use proto::report::Outcome;
use proto::{Digest, JobId, LeaseId, UnitIndex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Most jobs kept in memory: a worker computes for a few at a time. A job is sent once per stream, so those without
/// units are kept as long as there is room.
const JOBS_MAX: usize = 1024;
/// Most bytes of their specifications together.
const SPECS_BYTES_MAX: usize = 64 << 20;
/// Longest lease that is believed: bounds arithmetic on time.
pub(super) const LEASE_MAX: Duration = Duration::from_secs(90 * 86_400);

/// A job as a worker knows it.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) spec_bytes: Arc<[u8]>,
    pub(super) digest: Digest,
    /// For people.
    pub(super) name: String,
    /// Of its specification; why it cannot be worked on, if so.
    pub(super) outline: Result<Outline, String>,
    /// Units in stage Waiting in order; entries of units that left the stage are skipped when met.
    pub(super) waiting: VecDeque<UnitIndex>,
    /// Units in stage Fetching.
    pub(super) n_fetching: usize,
    /// Units held and not finished.
    pub(super) n_open: usize,
    /// Units held.
    pub(super) n_held: usize,
    /// Whether a record of it was kept.
    pub(super) recorded: bool,
    /// Computing time of one unit, seconds: a running mean; `None` until one has finished.
    pub(super) unit_seconds: Option<f64>,
}

/// A lease under which units are held.
#[derive(Clone, Debug)]
pub(super) struct HeldLease {
    pub(super) duration: Duration,
    pub(super) expires_at: Now,
    /// Units held under it.
    pub(super) n_held: usize,
}

/// A unit that is held.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) lease: LeaseId,
    pub(super) extra: Option<Box<Extra>>,
    /// Failures here so far that may be the unit's.
    pub(super) n_failures: u32,
    /// Failures here so far that were this machine's.
    pub(super) n_mends: u32,
    pub(super) stage: Stage,
}

/// How far a unit has come.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// For its turn.
    Waiting,
    /// For `n_missing` of its blobs.
    Fetching { prepared: Prepared, n_missing: usize },
    /// For a slot.
    Ready(Prepared),
    /// In the pool under the number `run`.
    Running { prepared: Prepared, run: u64, since: Now, done: u64, total: u64 },
    /// Its report is on disk and has to be sent.
    Finished(Reportable),
    /// Its report is on its way in a batch.
    Sent(Reportable),
}

impl Stage {
    pub(super) fn is_finished(&self) -> bool {
        matches!(self, Self::Finished(_) | Self::Sent(_))
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
}

/// A unit and the blobs it needs.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) unit: Arc<Unit>,
    pub(super) blobs: Vec<Digest>,
    /// Fuel between two points of its trace.
    pub(super) trace_fuel: u64,
}

/// What there is to report of a unit.
#[derive(Clone, Debug)]
pub(super) struct Reportable {
    pub(super) outcome: Outcome,
    pub(super) fuel: u64,
    pub(super) trace_root: Option<Digest>,
}

impl Agent {
    pub(super) fn learn_job(&mut self, id: JobId, spec: Vec<u8>) {
        let new = Job::new(spec);
        match self.jobs.get_mut(&id) {
            Some(known) if known.digest == new.digest => return,
            // A project never changes a job; one that does is another project under the same key.
            Some(known) => {
                known.outline =
                    Err("the coordinator sent another specification under the same number".into())
            }
            None => drop(self.jobs.insert(id, new)),
        }
        self.forget_jobs();
    }

    fn forget_jobs(&mut self) {
        let mut bytes: usize = self.jobs.values().map(|job| job.spec_bytes.len()).sum();
        while JOBS_MAX < self.jobs.len() || SPECS_BYTES_MAX < bytes {
            let Some(idle) = self.jobs.iter().find(|(_, job)| job.n_held == 0).map(|(id, _)| *id)
            else {
                return;
            };
            bytes -= self.jobs.remove(&idle).map_or(0, |job| job.spec_bytes.len());
        }
    }

    pub(super) fn take_leases(&mut self, now: Now, leases: Vec<Lease>, fx: &mut Effects) {
        for lease in leases {
            self.want_served(lease.count);
            if let Err((reason, failure)) = self.check_lease(&lease) {
                let returned = (0..lease.count.min(LEASE_UNITS_MAX)).map(|i| Return {
                    lease: lease.id,
                    unit: UnitIndex(lease.first.0.saturating_add(i.into())),
                    reason: reason.clone(),
                    failure,
                });
                self.reports.returns.extend(returned);
                continue;
            }
            if let Some(job) = self.jobs.get_mut(&lease.job)
                && !std::mem::replace(&mut job.recorded, true)
            {
                fx.records.push(Record::Job { id: lease.job, spec: job.spec_bytes.to_vec() });
            }
            fx.records.push(Record::lease(&lease));
            self.hold(now, lease);
        }
    }

    /// Whether the lease is one that can be held; why not, and whether the job is to blame and not this machine.
    fn check_lease(&self, lease: &Lease) -> Result<(), (String, bool)> {
        let Some(job) = self.jobs.get(&lease.job) else {
            return Err((format!("{} is not known here", lease.job), true));
        };
        let outline = job.outline.as_ref().map_err(|reason| (reason.clone(), false))?;
        let specs: usize = self.jobs.values().map(|job| job.spec_bytes.len()).sum();
        if SPECS_BYTES_MAX < specs {
            let text = format!(
                "this worker holds specifications of {specs} bytes, and {SPECS_BYTES_MAX} at most"
            );
            return Err((text, false));
        }
        let end = lease.first.0.checked_add(lease.count.into());
        if lease.count == 0
            || LEASE_UNITS_MAX < lease.count
            || end.is_none_or(|end| outline.units() < end)
        {
            let text =
                format!("{} names {} units from {}: not there", lease.id, lease.count, lease.first);
            return Err((text, true));
        }
        if !lease.extras.is_empty() && lease.extras.len() != lease.count as usize {
            let (extras, count) = (lease.extras.len(), lease.count);
            return Err((format!("{} brings {extras} extras for {count} units", lease.id), true));
        }
        if HELD_UNITS_MAX < self.units.len() + lease.count as usize {
            let held = self.units.len();
            let text = format!("this worker holds {held} units and takes {HELD_UNITS_MAX} at most");
            return Err((text, false));
        }
        if self.config.memory_bytes < super::run::need(&outline.limits) {
            return Err(("the unit needs more memory than is lent here".into(), false));
        }
        Ok(())
    }

    /// Holds the units of a lease. One that is held already comes under the new lease and keeps its stage.
    pub(super) fn hold(&mut self, now: Now, lease: Lease) {
        let duration = lease.duration.min(LEASE_MAX);
        let mut extras = VecDeque::from(lease.extras);
        for offset in 0..u64::from(lease.count) {
            let id = UnitId { job: lease.job, unit: UnitIndex(lease.first.0 + offset) };
            let extra = extras.pop_front().map(Box::new);
            match self.units.get_mut(&id) {
                Some(held) => {
                    let old = std::mem::replace(&mut held.lease, lease.id);
                    self.leave_lease(old);
                }
                None => {
                    self.units.insert(
                        id,
                        Held {
                            lease: lease.id,
                            extra,
                            n_failures: 0,
                            n_mends: 0,
                            stage: Stage::Waiting,
                        },
                    );
                    if let Some(job) = self.jobs.get_mut(&lease.job) {
                        job.waiting.push_back(id.unit);
                        job.n_open += 1;
                        job.n_held += 1;
                    }
                }
            }
            let held = self.leases.entry(lease.id).or_insert(HeldLease {
                duration,
                expires_at: now + duration,
                n_held: 0,
            });
            held.n_held += 1;
        }
    }

    fn leave_lease(&mut self, lease: LeaseId) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        held.n_held -= 1;
        if held.n_held == 0 {
            self.leases.remove(&lease);
        }
    }

    /// Puts a unit in another stage and gives back the old one.
    pub(super) fn enter(&mut self, id: UnitId, stage: Stage) -> Option<Stage> {
        let held = self.units.get_mut(&id)?;
        let (before, after) = (held.stage.is_finished(), stage.is_finished());
        let old = std::mem::replace(&mut held.stage, stage);
        if let (false, true) = (before, after)
            && let Some(job) = self.jobs.get_mut(&id.job)
        {
            job.n_open -= 1;
        }
        Some(old)
    }

    /// Lets go of a unit in whatever stage it is.
    pub(super) fn let_go(&mut self, id: UnitId, fx: &mut Effects) -> Option<LeaseId> {
        let held = self.units.remove(&id)?;
        let finished = held.stage.is_finished();
        self.leave_lease(held.lease);
        if let Some(job) = self.jobs.get_mut(&id.job) {
            job.n_held -= 1;
            job.n_open -= usize::from(!finished);
        }
        match held.stage {
            Stage::Waiting => {}
            Stage::Fetching { prepared, .. } => {
                if let Some(job) = self.jobs.get_mut(&id.job) {
                    job.n_fetching -= 1;
                }
                self.release_blobs(&prepared.blobs, fx);
            }
            Stage::Ready(prepared) => self.release_blobs(&prepared.blobs, fx),
            Stage::Running { prepared, run, .. } => self.end_run(run, &prepared, true, fx),
            Stage::Finished(reportable) | Stage::Sent(reportable) => {
                self.forget_report(id, &reportable, fx)
            }
        }
        if !finished && self.runs.started.contains(&id) {
            fx.actions.push(Action::ForgetTrace(id));
        }
        self.runs.forget(id, fx);
        self.hands.let_go(id, fx);
        match fx.records.last_mut() {
            Some(Record::Gone(gone)) => gone.push(id),
            _ => fx.records.push(Record::Gone(vec![id])),
        }
        Some(held.lease)
    }

    /// Gives a unit back without a report.
    pub(super) fn give_back(&mut self, id: UnitId, reason: &str, failure: bool, fx: &mut Effects) {
        let Some(lease) = self.let_go(id, fx) else { return };
        let end = reason.floor_char_boundary(REASON_BYTES_MAX);
        self.reports.returns.push(Return {
            lease,
            unit: id.unit,
            reason: reason[..end].to_owned(),
            failure,
        });
    }

    /// Gives back all units of a job that are not finished; `failure` tells whether the job is to blame.
    pub(super) fn give_back_job(
        &mut self,
        job: JobId,
        reason: &str,
        failure: bool,
        fx: &mut Effects,
    ) {
        let all = UnitId { job, unit: UnitIndex(0) }..=UnitId { job, unit: UnitIndex(u64::MAX) };
        let open: Vec<_> = self
            .units
            .range(all)
            .filter(|(_, held)| !held.stage.is_finished())
            .map(|(id, _)| *id)
            .collect();
        for id in open {
            self.give_back(id, reason, failure, fx);
        }
    }

    /// The coordinator takes leases back: what is not finished is dropped, finished reports are still offered.
    pub(super) fn cancelled(&mut self, leases: &[LeaseId], reason: &str, fx: &mut Effects) {
        let leases: std::collections::BTreeSet<_> = leases.iter().collect();
        let gone: Vec<_> = self
            .units
            .iter()
            .filter(|(_, held)| leases.contains(&held.lease) && !held.stage.is_finished())
            .map(|(id, _)| *id)
            .collect();
        if !gone.is_empty() {
            fx.actions.push(Action::Say(format!("{} units were taken back: {reason}", gone.len())));
        }
        for id in gone {
            self.let_go(id, fx);
        }
    }

    /// A blob that some units need cannot be had.
    pub(super) fn give_back_for_want_of(
        &mut self,
        blob: Digest,
        trouble: &FetchTrouble,
        fx: &mut Effects,
    ) {
        let (FetchTrouble::Never(reason)
        | FetchTrouble::Later(reason)
        | FetchTrouble::NoRoom(reason)) = trouble;
        let needing: Vec<_> = self
            .units
            .iter()
            .filter(|(_, held)| matches!(&held.stage, Stage::Fetching { prepared, .. } if prepared.blobs.contains(&blob)))
            .map(|(id, _)| *id)
            .collect();
        for id in needing {
            self.give_back(id, &format!("blob {blob}: {reason}"), true, fx);
        }
    }
}

impl Job {
    pub(super) fn new(spec_bytes: Vec<u8>) -> Self {
        let read = JobSpec::parse(&spec_bytes).map(|spec| (spec.outline(), spec.name));
        let read = read.map_err(|error| {
            format!("the specification is not understood here ({error}): update this worker")
        });
        let (outline, name) = match read {
            Ok((outline, name)) => (Ok(outline), name),
            Err(reason) => (Err(reason), String::new()),
        };
        Self {
            digest: Digest::of(&spec_bytes),
            spec_bytes: spec_bytes.into(),
            name,
            outline,
            waiting: VecDeque::new(),
            n_fetching: 0,
            n_open: 0,
            n_held: 0,
            recorded: false,
            unit_seconds: None,
        }
    }
}
