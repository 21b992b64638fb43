//! The core as it was, from what was saved. Costs grow with what is active and with the number of workers and jobs, not
//! with units settled one by one.

use crate::core::bounds::OVERDUE_LEASES_MAX;
use crate::core::check::Contradiction;
use crate::core::grant::hold;
use crate::core::job::Job;
use crate::core::lease::{Lease, LeaseState};
use crate::core::queue::{Run, runs};
use crate::core::record::{
    AccountRecord, AttemptRecord, IndexRecord, JobRecord, LeaseRecord, Meta, OpenRecord, Place,
    WorkerRecord,
};
use crate::core::settle::count_input;
use crate::core::status::JobState;
use crate::core::submit::submission_key;
use crate::core::time::Now;
use crate::core::token::Token;
use crate::core::verdict::Said;
use crate::core::worker::Worker;
use crate::core::{Core, Open};
use proto::job::{JobSpec, Stage};
use proto::report::{Batch, Outcome, Statement};
use proto::{JobId, LeaseId, UnitIndex};
use roaring::RoaringTreemap;
use std::collections::HashMap;
use std::sync::Arc;

/// What was saved, as plain data.
#[derive(Debug)]
pub struct Saved {
    /// Counters.
    pub meta: Meta,
    /// Jobs that have ended.
    pub ended: Vec<(JobId, JobRecord)>,
    /// Jobs that run.
    pub running: Vec<SavedJob>,
    /// By number.
    pub workers: Vec<WorkerRecord>,
    /// By number.
    pub accounts: Vec<AccountRecord>,
    /// Leases under which reports are taken.
    pub leases: Vec<(LeaseId, LeaseRecord)>,
    /// Batches with reports without a verdict.
    pub open: Vec<SavedBatch>,
    /// Tokens.
    pub tokens: Vec<Token>,
}

/// A running job as it was saved.
#[derive(Debug)]
pub struct SavedJob {
    /// Within the project.
    pub id: JobId,
    /// Its record.
    pub record: JobRecord,
    /// The specification, parsed.
    pub spec: Arc<JobSpec>,
    /// The specification as it was submitted.
    pub bytes: Arc<[u8]>,
    /// Verdicts: first unit and record.
    pub index: Vec<(u64, IndexRecord)>,
    /// Failed attempts, oldest first.
    pub attempts: Vec<AttemptRecord>,
}

/// A batch with reports without a verdict, as it was saved.
#[derive(Debug)]
pub struct SavedBatch {
    /// Number of the worker.
    pub worker: u32,
    /// The batch.
    pub batch: Batch,
    /// Which of its reports were accepted without a verdict.
    pub record: OpenRecord,
}

impl Core {
    /// The core as it was saved. Leases get their full time again.
    ///
    /// # Errors
    /// [`Contradiction`] when the records contradict each other.
    pub fn load(now: Now, saved: Saved) -> Result<Self, Contradiction> {
        let Saved { meta, ended, running, workers, accounts, leases, open, tokens } = saved;
        let mut core = Self::new(meta.project);
        core.meta = meta;
        core.dirty.meta = false;
        core.account_numbers =
            (0..).zip(&accounts).map(|(number, account)| (account.key, number)).collect();
        core.accounts = accounts;
        core.worker_numbers =
            (0..).zip(&workers).map(|(number, worker)| (worker.key, number)).collect();
        core.workers = workers.into_iter().map(Worker::new).collect();
        core.tokens = tokens.into_iter().map(|token| (token.id.clone(), token)).collect();
        for (id, record) in ended {
            core.submissions.insert(submission_key(&record.account, record.submission), id);
            core.ended_credit += record.credit;
            if record.state == JobState::Cancelled {
                core.cancelled.insert(id.0);
            }
        }
        for job in running {
            core.load_job(now, job)?;
        }
        for batch in open {
            core.load_batch(batch)?;
        }
        for (id, record) in leases {
            core.load_lease(now, id, record)?;
        }
        for job in core.jobs.values_mut() {
            know_doubles(job, &core.leases);
            requeue(job, &core.leases);
        }
        core.work_appeared = true;
        core.check_quickly()?;
        Ok(core)
    }

    fn load_job(&mut self, now: Now, saved: SavedJob) -> Result<(), Contradiction> {
        let SavedJob { id, record, spec, bytes, index, attempts } = saved;
        self.submissions.insert(submission_key(&record.account, record.submission), id);
        self.shares.add(&record.account, spec.priority, id);
        let mut job = Job::new(id, spec, bytes, record, now.monotonic_ms);
        for (first, stretch) in index {
            job.settled.insert_range(first..first + stretch.count);
            for (offset, count) in stretch.failed {
                job.failed.insert_range(first + offset..first + offset + count);
            }
        }
        if job.settled.len() != job.record.settled {
            let (found, expected) = (job.settled.len(), job.record.settled);
            return Err(Contradiction(format!(
                "{id} has {found} verdicts in its index and {expected} in its record"
            )));
        }
        for AttemptRecord { first, count, reason } in attempts {
            let reason: Arc<str> = reason.into();
            for unit in
                (first..first + u64::from(count)).filter(|unit| !job.settled.contains(*unit))
            {
                let known = job.known.entry(unit).or_default();
                known.attempts += 1;
                known.reason = Some(reason.clone());
            }
        }
        count_inputs(&mut job);
        self.jobs.insert(id, job);
        Ok(())
    }

    fn load_batch(&mut self, saved: SavedBatch) -> Result<(), Contradiction> {
        let SavedBatch { worker, batch, record } = saved;
        let account = self.workers.get(worker as usize).map(|worker| worker.record.account);
        let account = account.ok_or_else(|| {
            Contradiction(format!("a batch is by worker {worker}, who is not known"))
        })?;
        let mut reports = 0;
        for position in record.positions.iter().flat_map(|&(first, count)| first..first + count) {
            let report = batch.reports.get(position as usize);
            let named = report.and_then(|report| batch.jobs.get(usize::from(report.job)));
            let (Some(report), Some(named)) = (report, named) else {
                return Err(Contradiction(format!(
                    "a batch of worker {worker} has no report {position}"
                )));
            };
            let Some(job) =
                self.jobs.get_mut(&named.id).filter(|job| !job.settled.contains(report.unit.0))
            else {
                continue;
            };
            reports += 1;
            job.known.entry(report.unit.0).or_default().said.push(Said {
                account,
                place: Place { worker, sequence: batch.sequence, position },
                fuel: report.fuel,
                failed: matches!(report.outcome, Outcome::Failed(_)),
                statement: Statement::new(job.record.spec_digest, report).leaf(),
            });
        }
        if 0 < reports {
            self.open.insert((worker, batch.sequence), Open { record, reports });
        }
        Ok(())
    }

    fn load_lease(
        &mut self,
        now: Now,
        id: LeaseId,
        record: LeaseRecord,
    ) -> Result<(), Contradiction> {
        let LeaseRecord { worker, job: job_id, first, count, given_back, overdue } = record;
        let account = self.workers.get(worker as usize).map(|worker| worker.record.account);
        let account = account.ok_or_else(|| {
            Contradiction(format!("{id} is of worker {worker}, who is not known"))
        })?;
        let Some(job) = self.jobs.get_mut(&job_id) else {
            return Err(Contradiction(format!("{id} is of {job_id}, which does not run")));
        };
        let deadline_ms = now.monotonic_ms + job.spec.lease_s * 1000;
        let active = LeaseState::Active { deadline_ms, since_ms: now.monotonic_ms, twin: None };
        let state = if overdue { LeaseState::Overdue } else { active };
        let mut lease = Lease::new(worker, job_id, first, count, state);
        for offset in given_back
            .iter()
            .flat_map(|&(first, count)| first..first + count)
            .filter(|&offset| offset < count)
        {
            lease.close(offset);
        }
        lease.given_back = given_back;
        for (offset, unit) in (0..count).zip(first..) {
            let said = |known: &crate::core::unit::Unit| {
                known.said.iter().any(|said| said.account == account)
            };
            if lease.is_open(offset)
                && (job.settled.contains(unit) || job.known.get(&unit).is_some_and(said))
            {
                lease.close(offset);
            }
        }
        if lease.open == 0 {
            self.dirty.leases.insert(id);
            return Ok(());
        }
        if lease.active() {
            for run in runs(lease.open_units()) {
                hold(job, id, run, None);
            }
        }
        self.add_lease(id, lease);
        while OVERDUE_LEASES_MAX < self.overdue.len() {
            self.overdue.pop_front();
        }
        Ok(())
    }
}

/// Counts the inputs that merge units have.
fn count_inputs(job: &mut Job) {
    let mut unit = job.cut_units;
    while let Some(Stage::Merge { first, count, .. }) = job.spec.stage(UnitIndex(unit)) {
        let have = job.settled.range_cardinality(first.0..first.0 + u64::from(count));
        if 0 < have && !job.settled.contains(unit) {
            count_input(job, unit, u32::try_from(have).unwrap_or(count));
        }
        unit += 1;
    }
}

/// Notes who holds the units of a job of one copy that are lent twice: a first lease alone leaves no entry.
fn know_doubles(job: &mut Job, leases: &HashMap<LeaseId, Lease>) {
    if !job.single() {
        return;
    }
    let active = || {
        job.leases
            .iter()
            .filter_map(|id| Some((*id, leases.get(id)?)))
            .filter(|(_, lease)| lease.active())
    };
    let (mut once, mut twice) = (RoaringTreemap::new(), RoaringTreemap::new());
    for unit in active().flat_map(|(_, lease)| lease.open_units()) {
        if !once.insert(unit) {
            twice.insert(unit);
        }
    }
    let held: Vec<(u64, LeaseId)> = active()
        .flat_map(|(id, lease)| lease.open_units().map(move |unit| (unit, id)))
        .filter(|(unit, _)| twice.contains(*unit))
        .collect();
    for (unit, id) in held {
        let holders = &mut job.known.entry(unit).or_default().holders;
        if !holders.contains(&id) {
            holders.push(id);
        }
    }
}

/// Queues the units that were lent before, or whose inputs are all there, and that somebody may take.
fn requeue(job: &mut Job, leases: &HashMap<LeaseId, Lease>) {
    let mut rest = RoaringTreemap::new();
    rest.insert_range(0..job.record.next_unit);
    rest -= &job.settled;
    let mut unit = job.cut_units;
    while let Some(Stage::Merge { first, count, .. }) = job.spec.stage(UnitIndex(unit)) {
        let all =
            job.settled.range_cardinality(first.0..first.0 + u64::from(count)) == u64::from(count);
        if all && !job.settled.contains(unit) {
            rest.insert(unit);
        }
        unit += 1;
    }
    if job.single() {
        // A unit that is lent once has no entry to tell so.
        for lease in
            job.leases.iter().filter_map(|lease| leases.get(lease)).filter(|lease| lease.active())
        {
            for unit in lease.open_units().filter(|unit| !job.known.contains_key(unit)) {
                rest.remove(unit);
            }
        }
    }
    let policy = job.policy();
    let needing = rest
        .iter()
        .filter(|unit| job.known.get(unit).is_none_or(|known| 0 < known.missing(policy)));
    let (cut, merges): (Vec<Run>, Vec<Run>) =
        runs(needing).into_iter().partition(|run| run.first < job.cut_units);
    for run in cut.into_iter().chain(merges) {
        let cut = run.count.min(job.cut_units.saturating_sub(run.first));
        let parts = [Run::new(run.first, cut), Run::new(run.first + cut, run.count - cut)];
        for part in parts.into_iter().filter(|part| 0 < part.count) {
            job.queue.push(None, part);
        }
    }
}
