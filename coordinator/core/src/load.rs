//! The core as it was, from what was saved. Costs grow with what is active and with the number of workers and jobs, not
//! with units settled one by one.

mod job;
mod judge;

use crate::bounds::OVERDUE_LEASES_MAX;
use crate::changes::Dirty;
use crate::check::Contradiction;
use crate::grant::hold;
use crate::job::Job;
use crate::lease::{Lease, LeaseState};
use crate::queue::{Run, runs};
use crate::record::{
    AccountRecord, AttemptRecord, IndexRecord, JobRecord, KeptRecord, LeaseRecord, LogsRecord,
    Meta, OpenRecord, Place, ResettledRecord, VoidRecord, WorkerRecord,
};
use crate::status::JobState;
use crate::submit::submission_key;
use crate::time::Now;
use crate::token::Token;
use crate::trust;
use crate::trust::estimate::{REFEREE, Standing};
use crate::trust::standings::{Entry, Standings};
use crate::verdict::Vote;
use crate::worker::Worker;
use crate::{Core, Open};
use proto::job::{Outline, Stage};
use proto::report::{Batch, Statement};
use proto::{JobId, LeaseId, UnitIndex};
use roaring::RoaringTreemap;
use std::collections::{BTreeSet, HashMap};

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
    /// How much is kept of what units of a job have logged.
    pub logs: Vec<(JobId, LogsRecord)>,
    /// How much else is kept of jobs.
    pub kept: Vec<(JobId, KeptRecord)>,
    /// Workers, by number, that are named in evidence for what they found of a segment.
    pub heard: BTreeSet<u32>,
    /// Tokens.
    pub tokens: Vec<Token>,
    /// What is known of whom.
    pub standings: Vec<(Entry, Standing)>,
}

/// A running job as it was saved.
#[derive(Debug)]
pub struct SavedJob {
    /// Within the project.
    pub id: JobId,
    /// Its record.
    pub record: JobRecord,
    /// Of its specification.
    pub spec: Outline,
    /// Bytes of the specification as it was submitted.
    pub spec_bytes: u64,
    /// Verdicts: first unit and record.
    pub index: Vec<(u64, IndexRecord)>,
    /// Failed attempts, oldest first.
    pub attempts: Vec<AttemptRecord>,
    /// By number of the worker: which verdicts on its word hold no more.
    pub voids: Vec<(u32, VoidRecord)>,
    /// Units whose verdict was withdrawn.
    pub again: Vec<(u64, ResettledRecord)>,
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
    pub fn load(now: Now, saved: Saved, seed: [u8; 32]) -> Result<Self, Contradiction> {
        let Saved { meta, ended, running, workers, accounts, leases, open, .. } = saved;
        let Saved { logs, kept, heard, tokens, standings, .. } = saved;
        if !meta.log.is_whole() {
            let what = "the right edge of the log's tree does not fit its size";
            return Err(Contradiction(what.into()));
        }
        let mut core = Self::new(meta.project, seed);
        core.standings = Standings::load(standings);
        core.loaded_leases = LeaseId(meta.next_lease);
        core.meta = meta;
        core.dirty = Dirty::default();
        core.account_numbers =
            (0..).zip(&accounts).map(|(number, account)| (account.key, number)).collect();
        core.accounts = accounts;
        core.worker_numbers =
            (0..).zip(&workers).map(|(number, worker)| (worker.key, number)).collect();
        core.workers = workers.into_iter().map(Worker::new).collect();
        for number in heard {
            if let Some(worker) = core.workers.get_mut(number as usize) {
                worker.heard = true;
            }
        }
        core.members = vec![0; core.accounts.len()];
        for worker in &core.workers {
            let members = core.members.get_mut(worker.record.account as usize);
            let members = members.ok_or_else(|| {
                let (key, account) = (worker.record.key, worker.record.account);
                Contradiction(format!("worker {key} is of account {account}, which is not known"))
            })?;
            *members += 1;
        }
        core.referees = (0..)
            .zip(&core.workers)
            .filter(|(_, worker)| worker.record.referee)
            .map(|(number, _)| number)
            .collect();
        core.tokens = tokens.into_iter().map(|token| (token.id.clone(), token)).collect();
        let logs: HashMap<JobId, LogsRecord> = logs.into_iter().collect();
        kept.into_iter().for_each(|(id, record)| core.kept.load(id, record));
        for (id, record) in ended {
            let kept = logs.get(&id).map_or(0, |logs| logs.bytes);
            core.log_bytes.load(&record.account, kept);
            core.submissions.insert(submission_key(&record.account, record.submission), id);
            core.ended_credit += record.credit;
            if record.state == JobState::Cancelled {
                core.cancelled.insert(id.0);
            }
        }
        for job in running {
            core.load_job(now, job)?;
        }
        for (id, job) in &mut core.jobs {
            job.logs.record = logs.get(id).copied().unwrap_or_default();
            core.log_bytes.load(&job.record.account, job.logs.record.bytes);
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
        core.judge_loaded(now);
        core.work_appeared = true;
        core.now_ms = now.monotonic_ms;
        for number in (0..).take(core.workers.len()) {
            core.note_blank(number);
        }
        core.check_quickly()?;
        Ok(core)
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
            let network = self.workers[worker as usize].record.network;
            let referee = self.referees.contains(&worker);
            let standing = if referee {
                REFEREE
            } else if job.estimates() {
                let class = trust::class(job, report.unit.0);
                self.standings.of(worker, account, network, class)
            } else {
                Standing::default()
            };
            let statement = Statement::new(job.record.spec_digest, report);
            job.known.entry(report.unit.0).or_default().votes.push(Vote {
                account,
                network,
                standing,
                referee,
                learned: false,
                place: Place { worker, sequence: batch.sequence, position },
                fuel: report.fuel,
                result: statement.result,
                trace_root: report.trace_root,
                statement: statement.leaf(),
            });
        }
        if 0 < reports {
            let root = batch.root();
            self.open.insert((worker, batch.sequence), Open { record, root, reports });
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
            let votes =
                |known: &crate::unit::Unit| known.votes.iter().any(|vote| vote.account == account);
            if lease.is_open(offset)
                && (job.settled.contains(unit) || job.known.get(&unit).is_some_and(votes))
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
