//! Units in slots: started as memory allows, ended with a result, a trouble or an interruption.

use super::hold::{Job, Prepared, Reportable, Stage};
use super::prepare::RETRY_NO_ROOM;
use super::{Action, Agent, Effects, End, ErrandId, Now, Record, Remedy, RunScope};
use proto::id::UnitId;
use proto::job::Limits;
use proto::report::Outcome;
use proto::{Digest, JobId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Work queued before a slot, seconds: short units go to it many at a time.
const QUEUED_SECONDS: f64 = 0.25;
/// Most units queued before a slot.
const QUEUED_MAX: f64 = 256.0;
/// Memory of a unit's process beside the kernel's own, bytes.
pub(super) const PROCESS_BYTES: u64 = 32 << 20;
/// Infrastructure failures of one unit on this machine before it is given back.
const FAILURES_MAX: u32 = 3;
/// Bytes of parameters of units that are ready or before a slot, about, of one job.
const AHEAD_BYTES_MAX: usize = 16 << 20;
/// Weight of the newest unit in the running means.
const MEAN_WEIGHT: f64 = 0.2;
/// Kernels that are told to the coordinator as compiled here.
const KERNELS_MAX: usize = 64;

/// Memory that a unit with these limits may take while it runs, bytes.
pub(super) fn need(limits: &Limits) -> u64 {
    limits.memory_bytes.saturating_add(PROCESS_BYTES)
}

/// Whom a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunOwner {
    Unit(UnitId),
    Errand(ErrandId),
}

/// What is in the slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    last: u64,
    pub(super) by_run: BTreeMap<u64, RunOwner>,
    /// How many runs need how much memory.
    pub(super) memory: BTreeMap<u64, u32>,
    /// Units that ran and may have left a snapshot.
    pub(super) started: BTreeSet<UnitId>,
    /// Speed of one slot: a running mean.
    pub(super) fuel_per_second: Option<f64>,
    /// Kernels that ran here, the latest last.
    pub(super) kernels: VecDeque<Digest>,
    /// Since the disk was full, until a run has a result.
    pub(super) no_room: Option<NoRoom>,
}

/// The disk is full, as far as is known.
#[derive(Clone, Debug)]
pub(super) struct NoRoom {
    /// Nothing is started before; `None` when it is being tried.
    pub(super) until: Option<Now>,
    /// For people.
    pub(super) reason: String,
}

impl Runs {
    pub(super) fn len(&self) -> usize {
        self.by_run.len()
    }

    pub(super) fn units(&self) -> impl Iterator<Item = UnitId> {
        self.by_run.values().filter_map(|runner| match runner {
            RunOwner::Unit(id) => Some(*id),
            RunOwner::Errand(_) => None,
        })
    }

    pub(super) fn unit(&self, run: u64) -> Option<UnitId> {
        match self.by_run.get(&run)? {
            RunOwner::Unit(id) => Some(*id),
            RunOwner::Errand(_) => None,
        }
    }

    /// A run is over that needed so much memory.
    pub(super) fn end(&mut self, run: u64, need: u64) {
        if self.by_run.remove(&run).is_none() {
            return;
        }
        if let Some(n) = self.memory.get_mut(&need) {
            *n -= 1;
            if *n == 0 {
                self.memory.remove(&need);
            }
        }
    }

    /// A unit is held no more, or its report is on disk.
    pub(super) fn forget(&mut self, id: UnitId, fx: &mut Effects) {
        if self.started.remove(&id) {
            fx.actions.push(Action::ForgetSnapshot(id));
        }
    }

    /// Memory of the `slots` neediest runs, were there one more: the most that can be in use at a time.
    fn memory_with(&self, need: u64, slots: u32) -> u64 {
        let (mut left, mut sum) = (slots, 0_u64);
        let mut add = |need: u64, n: u32| {
            let n = n.min(left);
            left -= n;
            sum = sum.saturating_add(need.saturating_mul(n.into()));
        };
        let mut added = false;
        for (&other, &n) in self.memory.iter().rev() {
            if !added && other <= need {
                add(need, 1);
                added = true;
            }
            add(other, n);
        }
        if !added {
            add(need, 1);
        }
        sum
    }

    fn note_kernel(&mut self, kernel: Digest) {
        if self.kernels.back() == Some(&kernel) {
            return;
        }
        self.kernels.retain(|known| *known != kernel);
        self.kernels.push_back(kernel);
        if KERNELS_MAX < self.kernels.len() {
            self.kernels.pop_front();
        }
    }
}

impl Job {
    /// Units of it that should be in the pool at a time.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to small positive numbers"
    )]
    pub(super) fn pool_share(&self, slots: usize) -> usize {
        let each = self
            .unit_seconds
            .map_or(1.0, |seconds| (QUEUED_SECONDS / seconds).ceil().clamp(1.0, QUEUED_MAX));
        (slots * each as usize).min(self.ahead_max().max(slots))
    }

    /// Units of it that may be ready at a time beside those that run: each has its parameters in memory, which may be as
    /// large as the specification.
    pub(super) fn ahead_max(&self) -> usize {
        (AHEAD_BYTES_MAX / self.spec_bytes.len().max(1)).max(1)
    }
}

impl Agent {
    pub(super) fn start_runs(&mut self, now: Now, fx: &mut Effects) {
        if let Some(NoRoom { until, .. }) = &mut self.runs.no_room {
            *until = until.filter(|until| now < *until);
        }
        if self.is_paused()
            || self.is_stopping()
            || !self.is_fit()
            || self.runs_deadline().is_some()
        {
            return;
        }
        if !self.start_errands(fx) {
            return;
        }
        while let Some(&id) = self.ready.front() {
            let Some(Stage::Ready(prepared)) = self.units.get(&id).map(|held| &held.stage) else {
                self.ready.pop_front();
                continue;
            };
            if !self.has_room(id.job, prepared) {
                return;
            }
            let prepared = prepared.clone();
            self.ready.pop_front();
            let run = self.begin_run(RunOwner::Unit(id), &prepared);
            self.runs.started.insert(id);
            let course = RunScope::Whole { spacing: prepared.trace_fuel };
            fx.actions.push(Action::Run { run, id, unit: prepared.unit.clone(), course });
            self.enter(id, Stage::Running { prepared, run, since: now, done: 0, total: 0 });
        }
    }

    /// When there may be room on the disk again.
    pub(super) fn runs_deadline(&self) -> Option<Now> {
        self.runs.no_room.as_ref()?.until
    }

    /// Whether one more run of a unit of this job has its place in the pool, and its memory.
    pub(super) fn has_room(&self, job: JobId, prepared: &Prepared) -> bool {
        let slots = self.config.slots as usize;
        let share = self.jobs.get(&job).map_or(slots, |job| job.pool_share(slots));
        let memory = self.runs.memory_with(need(&prepared.unit.limits), self.config.slots);
        self.runs.len() < share && memory <= self.config.memory_bytes
    }

    /// Takes what a run needs; its number.
    pub(super) fn begin_run(&mut self, runner: RunOwner, prepared: &Prepared) -> u64 {
        self.runs.last += 1;
        self.runs.by_run.insert(self.runs.last, runner);
        *self.runs.memory.entry(need(&prepared.unit.limits)).or_default() += 1;
        self.runs.last
    }

    pub(super) fn progress(&mut self, run: u64, new_done: u64, new_total: u64) {
        let Some(id) = self.runs.unit(run) else { return };
        if let Some(Stage::Running { done, total, .. }) =
            self.units.get_mut(&id).map(|held| &mut held.stage)
        {
            (*done, *total) = (new_done, new_total);
        }
    }

    pub(super) fn finished(
        &mut self,
        now: Now,
        run: u64,
        end: End,
        cpu: Duration,
        fx: &mut Effects,
    ) {
        let id = match self.runs.by_run.get(&run) {
            Some(RunOwner::Unit(id)) => *id,
            Some(RunOwner::Errand(id)) => return self.errand_ran(*id, end, fx),
            None => return,
        };
        match end {
            End::Result { outcome, fuel, trace_root } => {
                self.runs.no_room = None;
                self.measure(id, fuel, cpu);
                self.keep_report(now, id, Reportable { outcome, fuel, trace_root }, fx);
            }
            End::Reached { .. } => {
                let reason = "the slot ended a whole unit half way: a fault of this program";
                self.trouble(id, reason, Remedy::Elsewhere, fx);
            }
            End::Interrupted => self.take_back(id, fx),
            End::NoRoom { reason } => self.wait_for_room(now, id, reason, fx),
            End::Trouble { reason, remedy } => self.trouble(id, &reason, remedy, fx),
        }
    }

    fn measure(&mut self, id: UnitId, fuel: u64, cpu: Duration) {
        let seconds = cpu.as_secs_f64().max(1e-6);
        if let Some(job) = self.jobs.get_mut(&id.job) {
            job.unit_seconds = Some(mean(job.unit_seconds, seconds));
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for planning")]
        let speed = fuel as f64 / seconds;
        self.runs.fuel_per_second = Some(mean(self.runs.fuel_per_second, speed));
        self.totals.units += 1;
        self.totals.fuel = self.totals.fuel.saturating_add(fuel);
        self.totals.cpu += cpu;
        if let Some(Stage::Running { prepared, .. }) = self.units.get(&id).map(|held| &held.stage) {
            let kernel = prepared.unit.kernel;
            self.runs.note_kernel(kernel);
        }
    }

    /// The report is kept before anything else is done with it; then the snapshot has served.
    fn keep_report(&mut self, now: Now, id: UnitId, reportable: Reportable, fx: &mut Effects) {
        let Some(lease) = self.units.get(&id).map(|held| held.lease) else { return };
        fx.records.push(Record::Finished {
            unit: id,
            lease,
            outcome: reportable.outcome.clone(),
            fuel: reportable.fuel,
            trace_root: reportable.trace_root,
        });
        if let Some(Stage::Running { prepared, run, .. }) =
            self.enter(id, Stage::Finished(reportable.clone()))
        {
            self.end_run(run, &prepared, false, fx);
        }
        self.runs.forget(id, fx);
        self.offer(now, id, &reportable);
    }

    /// A run was interrupted: its unit goes to the front, since it has a snapshot.
    pub(super) fn take_back(&mut self, id: UnitId, fx: &mut Effects) {
        if let Some(Stage::Running { prepared, run, .. }) = self.enter(id, Stage::Waiting) {
            self.end_run(run, &prepared, false, fx);
        }
        if let Some(job) = self.jobs.get_mut(&id.job) {
            job.waiting.push_front(id.unit);
        }
    }

    fn wait_for_room(&mut self, now: Now, id: UnitId, reason: String, fx: &mut Effects) {
        let said = format!("{id} could not be run: {reason}; its turn comes when there is room");
        let no_room = NoRoom { until: Some(now + RETRY_NO_ROOM), reason };
        if self.runs.no_room.replace(no_room).is_none() {
            fx.actions.push(Action::Say(said));
        }
        self.take_back(id, fx);
    }

    fn trouble(&mut self, id: UnitId, reason: &str, remedy: Remedy, fx: &mut Effects) {
        fx.actions.push(Action::Say(format!("{id} could not be run: {reason}")));
        self.totals.failures += 1;
        let Some(held) = self.units.get_mut(&id) else { return };
        match remedy {
            Remedy::Mend => held.n_mends += 1,
            _ => held.n_failures += 1,
        }
        match remedy {
            Remedy::Again if held.n_failures < FAILURES_MAX => self.take_back(id, fx),
            Remedy::Mend if held.n_mends < FAILURES_MAX => self.take_back(id, fx),
            Remedy::Again | Remedy::Elsewhere => self.give_back(id, reason, true, fx),
            Remedy::ElsewhereWholeJob => self.give_back_job(id.job, reason, true, fx),
            Remedy::Mend => self.give_back(id, reason, false, fx),
            Remedy::MendWholeJob => self.give_back_job(id.job, reason, false, fx),
        }
        if matches!(remedy, Remedy::Again | Remedy::Mend) {
            self.doubt(reason.to_owned(), fx);
        }
    }

    /// Frees what a run took.
    pub(super) fn end_run(
        &mut self,
        run: u64,
        prepared: &Prepared,
        cancel: bool,
        fx: &mut Effects,
    ) {
        self.runs.end(run, need(&prepared.unit.limits));
        self.release_blobs(&prepared.blobs, fx);
        if cancel {
            fx.actions.push(Action::Cancel { run });
        }
    }

    /// Digest and length of an output that travels as a blob.
    pub(super) fn large_output(reportable: &Reportable) -> Option<Digest> {
        match &reportable.outcome {
            Outcome::Done(proto::report::Output::Blob { digest, .. }) => Some(*digest),
            Outcome::Done(proto::report::Output::Inline(_)) | Outcome::Failed(_) => None,
        }
    }
}

fn mean(old: Option<f64>, new: f64) -> f64 {
    old.map_or(new, |old| old + MEAN_WEIGHT * (new - old))
}
