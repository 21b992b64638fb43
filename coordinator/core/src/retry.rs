//! Units come to nothing: they are given back, fail on a worker, or cannot be sent. They are lent again, later and later,
//! until they have been tried often enough.

use crate::Core;
use crate::bounds::{RETRY_MS, RETRY_MS_MAX};
use crate::event::{Effects, Reply, Return, Session, ToWorker};
use crate::lease::LeaseState;
use crate::queue::{Run, runs};
use crate::record::{AttemptRecord, LogEnd, Table};
use crate::time::Now;
use crate::unit::NEWCOMERS;
use crate::worker::Worker;
use proto::bounds::REASON_BYTES_MAX;
use proto::{JobId, LeaseId, text};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Core {
    /// A worker gives units back.
    pub(super) fn give_back(&mut self, now: Now, session: Session, returns: Vec<Return>) -> Reply {
        let Some(number) = self.worker_of(session) else { return Reply::Done };
        let mut unharmed = BTreeMap::<JobId, (String, Vec<u64>)>::new();
        let mut failed = BTreeMap::<(JobId, String), Vec<u64>>::new();
        let mut finished = Vec::new();
        for Return { lease: id, unit, reason, failure } in returns {
            let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.worker == number)
            else {
                continue;
            };
            let (job, overdue) = (lease.job, !lease.active());
            let Some(offset) = lease.offset(unit.0).filter(|&offset| lease.is_open(offset)) else {
                continue;
            };
            lease.give_back(offset);
            self.dirty.leases.insert(id);
            self.unhold(id, unit.0, &mut finished);
            match (overdue, failure) {
                // Its attempt was counted at the deadline.
                (true, _) => {}
                (false, false) => {
                    let new = || (shortened(&reason), Vec::new());
                    unharmed.entry(job).or_insert_with(new).1.push(unit.0);
                }
                (false, true) => {
                    self.keep_log(job, unit.0, number, LogEnd::Returned);
                    failed.entry((job, shortened(&reason))).or_default().push(unit.0);
                }
            }
        }
        for id in finished {
            self.drop_lease(id);
        }
        let mut last = None;
        for (job, (reason, mut units)) in unharmed {
            units.sort_unstable();
            let reason: Arc<str> = reason.into();
            last = Some(Arc::clone(&reason));
            if let Some(job) = self.jobs.get_mut(&job) {
                job.returners.add(now.monotonic_ms, number, reason);
            }
            for run in runs(units) {
                self.put_back(job, None, run);
            }
        }
        if let Some(reason) = last {
            self.worker_mut(number).give_back(now.monotonic_ms, reason);
        }
        for ((job, reason), mut units) in failed {
            units.sort_unstable();
            self.worker_mut(number)
                .strike(now.monotonic_ms, u32::try_from(units.len()).unwrap_or(u32::MAX));
            self.fail(now, job, Some(number), &runs(units), &reason);
        }
        Reply::Done
    }

    /// What a lease should have brought cannot be read, so that it was not sent.
    pub(super) fn unreadable(&mut self, now: Now, id: LeaseId, reason: &str) -> Reply {
        let Some(lease) = self.leases.get(&id) else { return Reply::Done };
        let (job, units) = (lease.job, runs(lease.open_units()));
        self.void_lease(id);
        self.fail(now, job, None, &units, &shortened(reason));
        Reply::Done
    }

    /// Takes all units of a lease back, unharmed.
    pub(super) fn return_lease(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get(&id) else { return };
        let (job, units) = (lease.job, runs(lease.open_units()));
        self.void_lease(id);
        for run in units {
            self.put_back(job, None, run);
        }
    }

    /// Counts a failed attempt at units that nobody holds under the lease any more; puts them back, or gives them up. It
    /// was `worker` that failed, or the coordinator.
    pub(super) fn fail(
        &mut self,
        now: Now,
        id: JobId,
        worker: Option<u32>,
        units: &[Run],
        reason: &str,
    ) {
        let account = worker.map(|number| self.counts_as(number, id));
        let Self { jobs, sessions, workers, .. } = self;
        let Some(job) = jobs.get_mut(&id) else { return };
        let own = worker.map(|number| workers[number as usize].record.account);
        let shared: Arc<str> = reason.into();
        let (attempts_max, spec) = (job.spec.attempts_max, Arc::clone(&job.spec));
        let others =
            || sessions.iter().any(|session| workers[session.worker as usize].could(own, &spec));
        let mut alone = None;
        let mut hopeless = Vec::new();
        for &run in units {
            let mut attempts = 0;
            let mut counted: Vec<u64> = Vec::new();
            for unit in run.units().filter(|unit| !job.settled.contains(*unit)) {
                let known = job.known.entry(unit).or_default();
                known.fail(account, shared.clone());
                attempts = attempts.max(known.counted(attempts_max));
                counted.push(unit);
                if known.hopeless(attempts_max, || *alone.get_or_insert_with(|| !others())) {
                    hopeless.push((unit, known.attempts()));
                }
            }
            for Run { first, count } in runs(counted) {
                let count32 = u32::try_from(count).unwrap_or(u32::MAX);
                let reason = reason.to_owned();
                let record = AttemptRecord { first, count: count32, account, reason };
                self.dirty.put(Table::Attempt.key2(id.0, job.record.next_attempt), &record);
                job.record.next_attempt += 1;
                // A stranger's word delays nothing: it is its key that waits longer and longer.
                let doublings = if account == Some(NEWCOMERS) { 0 } else { (attempts - 1).min(32) };
                let wait_ms =
                    RETRY_MS.checked_shl(doublings).unwrap_or(RETRY_MS_MAX).min(RETRY_MS_MAX);
                job.queue.delay(now.monotonic_ms + wait_ms, Run::new(first, count));
                self.retries.insert((now.monotonic_ms + wait_ms, id));
            }
        }
        self.dirty.jobs.insert(id);
        for (unit, attempts) in hopeless {
            let text = format!("given up after {attempts} failed attempts; the last: {reason}");
            self.give_up(id, unit, text);
        }
    }

    /// For which account a worker's failure at a unit of the job counts: its own, or that of all who have shown nothing yet, if
    /// somebody who has is there to compute it.
    fn counts_as(&self, number: u32, id: JobId) -> u32 {
        let failed = self.worker(number);
        let account = failed.record.account;
        let others = || {
            let Some(job) = self.jobs.get(&id) else { return false };
            let could = |worker: &Worker| {
                worker.could(Some(account), &job.spec) && worker.record.has_shown()
            };
            self.sessions.iter().any(|session| could(self.worker(session.worker)))
        };
        if failed.record.has_shown() || !others() { account } else { NEWCOMERS }
    }

    /// Notes that a unit of a lease was reported; `finished` gets the lease when that was the last.
    pub(super) fn close_unit(&mut self, id: LeaseId, unit: u64, finished: &mut Vec<LeaseId>) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        if let Some(offset) = lease.offset(unit) {
            lease.close(offset);
            self.unhold(id, unit, finished);
        }
    }

    /// Takes a unit back: a report of it under this lease is taken no more.
    pub(super) fn void_unit(&mut self, id: LeaseId, unit: u64, finished: &mut Vec<LeaseId>) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        if let Some(offset) = lease.offset(unit).filter(|&offset| lease.is_open(offset)) {
            lease.give_back(offset);
            self.dirty.leases.insert(id);
            self.unhold(id, unit, finished);
        }
    }

    /// Notes that a report was worthless: as if the unit had been given back as a failure.
    pub(super) fn close_unit_as_failed(
        &mut self,
        now: Now,
        id: LeaseId,
        unit: u64,
        reason: &str,
        finished: &mut Vec<LeaseId>,
    ) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let (job, worker, active) = (lease.job, lease.worker, lease.active());
        let Some(offset) = lease.offset(unit) else { return };
        lease.give_back(offset);
        self.dirty.leases.insert(id);
        self.unhold(id, unit, finished);
        self.worker_mut(worker).strike(now.monotonic_ms, 1);
        if active {
            self.fail(now, job, Some(worker), &[Run::new(unit, 1)], reason);
        }
    }

    /// Takes a unit that was closed in its lease out of the books of who holds what.
    fn unhold(&mut self, id: LeaseId, unit: u64, finished: &mut Vec<LeaseId>) {
        let Some(lease) = self.leases.get(&id) else { return };
        if lease.active() {
            let (number, job) = (lease.worker, lease.job);
            self.free_units(number, 1);
            if let Some(job) = self.jobs.get_mut(&job) {
                job.leased -= 1;
                if !job.known.is_empty()
                    && let Some(known) = job.known.get_mut(&unit)
                {
                    known.holders.retain(|holder| *holder != id);
                }
            }
        }
        if self.leases.get(&id).is_some_and(|lease| lease.open == 0) {
            finished.push(id);
        }
    }

    /// Ends a lease whose units are all reported or given back. Its twin ends too when nothing is left for it to do.
    pub(super) fn finish_lease(&mut self, id: LeaseId, effects: &mut Effects) {
        let twin = self.leases.get(&id).and_then(|lease| lease.twin());
        self.drop_lease(id);
        let Some(twin) = twin else { return };
        let Some(lease) = self.leases.get(&twin) else { return };
        let Some(job) = self.jobs.get(&lease.job) else { return };
        if !lease.open_units().all(|unit| job.settled.contains(unit)) {
            return;
        }
        if let Some(live) = &self.worker(lease.worker).live {
            let reason = "another worker was faster: the units have their verdicts".into();
            effects.messages.push((live.session, ToWorker::Cancel { leases: vec![twin], reason }));
        }
        self.void_lease(twin);
    }

    /// Takes a lease out of the books although units of it are open.
    pub(super) fn void_lease(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let units: Vec<u64> = lease.open_units().collect();
        let mut finished = Vec::new();
        for unit in units {
            self.close_unit(id, unit, &mut finished);
        }
        self.drop_lease(id);
    }

    /// Forgets a lease of which no unit is open.
    pub(super) fn drop_lease(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.remove(&id) else { return };
        self.dirty.leases.insert(id);
        if let Some(job) = self.jobs.get_mut(&lease.job) {
            job.leases.remove(&id);
        }
        if let LeaseState::Active { deadline_ms, twin, .. } = lease.state {
            self.deadlines.remove(&(deadline_ms, id));
            if let Some(twin) = twin.and_then(|twin| self.leases.get_mut(&twin)) {
                twin.set_twin(None);
            }
            self.release_job(lease.job, lease.worker);
        }
    }

    /// Notes that a worker holds one active lease of a job less.
    pub(super) fn release_job(&mut self, id: JobId, worker: u32) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if let Some(leases) = job.holders.get_mut(&worker) {
            *leases -= 1;
            if *leases == 0 {
                job.holders.remove(&worker);
            }
        }
    }
}

/// The start of a reason that a stranger gave.
fn shortened(reason: &str) -> String {
    text::printable(&reason[..reason.floor_char_boundary(REASON_BYTES_MAX)])
}
