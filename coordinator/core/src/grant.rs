//! A lease is granted: of units that were lent before and need somebody (again), of fresh ones, or, at the tail of a
//! job, of units that somebody else has been holding for long.

use crate::Core;
use crate::bounds::{
    FUEL_PER_SECOND_LEAST, KNOWN_UNITS_MAX, LINE_BYTES_PER_SECOND_LEAST, RUNS_SCANNED_MAX,
    SECOND_LEASE_MS, SECOND_LEASE_TIMES, SECOND_LEASE_UNITS_MAX, SECOND_LEASES_PASSED,
    SECOND_LEASES_SCANNED,
};
use crate::event::{self, Effects, ToWorker};
use crate::job::{Job, Voter};
use crate::lease::{Lease, LeaseState};
use crate::queue::Run;
use crate::record::WorkerRecord;
use crate::serve::{speed, units_per_message};
use crate::time::Now;
use proto::{JobId, LeaseId, UnitIndex};

/// Units chosen for a lease.
struct Choice {
    first: u64,
    count: u32,
    /// The lease that lends them already.
    twin: Option<LeaseId>,
}

impl Core {
    /// Leases units of a job to a worker; whether there were any for it.
    pub(super) fn grant(
        &mut self,
        now: Now,
        number: u32,
        id: JobId,
        effects: &mut Effects,
    ) -> bool {
        let Some(job) = self.jobs.get(&id) else { return false };
        let most = self.most(now, number, job);
        if most == 0 {
            return false;
        }
        if self.referees.contains(&number) {
            if let Some(first) = self.draw_check(id, number) {
                let lease = LeaseId(self.meta.next_lease);
                self.lend(now, id, number, &Choice { first, count: 1, twin: None }, effects);
                self.begin_check(id, first, lease);
                return true;
            }
            if self.embedded == Some(self.worker(number).record.key) {
                return false;
            }
        }
        let mut choice =
            self.choose_queued(id, number, most).or_else(|| self.choose_fresh(id, most));
        if choice.is_none() && self.look_again_at_tail(id) {
            choice = self.choose_queued(id, number, most);
        }
        let Some(choice) = choice.or_else(|| self.choose_second(now, id, number, most)) else {
            return false;
        };
        self.lend(now, id, number, &choice, effects);
        true
    }

    /// Units that were lent before and need somebody again.
    fn choose_queued(&mut self, id: JobId, number: u32, most: u32) -> Option<Choice> {
        let Self { jobs, leases, workers, .. } = self;
        let job = jobs.get_mut(&id)?;
        if job.queue.is_empty() {
            return None;
        }
        let of = |number: u32| {
            let WorkerRecord { account, network, .. } = workers[number as usize].record;
            Voter { account, network }
        };
        let nobody = Voter { account: u32::MAX, network: 0 };
        let party_of = |lease: LeaseId| leases.get(&lease).map_or(nobody, |lease| of(lease.worker));
        let asking = of(number);
        let mut scanned = 0;
        for group in job.queue.groups_for(asking.account) {
            for _ in 0..job.queue.len_of(group) {
                scanned += 1;
                if RUNS_SCANNED_MAX < scanned {
                    return None;
                }
                let Some(run) = job.queue.pop(group) else { break };
                let most = most.min(units_per_message(job, run.first));
                if let Some((first, count)) = job.take_from(group, run, asking, most, party_of) {
                    return Some(Choice { first, count, twin: None });
                }
            }
        }
        None
    }

    /// Units of the cut that were never lent.
    fn choose_fresh(&mut self, id: JobId, most: u32) -> Option<Choice> {
        let job = self.jobs.get_mut(&id)?;
        let first = job.record.next_unit;
        let count = most
            .min(units_per_message(job, first))
            .min(u32::try_from(job.fresh()).unwrap_or(u32::MAX));
        if count == 0 || KNOWN_UNITS_MAX <= job.known.len() {
            return None;
        }
        job.record.next_unit += u64::from(count);
        Some(Choice { first, count, twin: None })
    }

    /// Units that another worker has been holding for long, when there is nothing else.
    fn choose_second(&self, now: Now, id: JobId, number: u32, most: u32) -> Option<Choice> {
        let job = self.jobs.get(&id)?;
        let alone = |id: &&LeaseId| {
            let lease = self.leases.get(id);
            lease.is_some_and(|lease| lease.active() && lease.twin().is_none())
        };
        let held = job.leases.iter().take(SECOND_LEASES_PASSED).filter(alone);
        held.take(SECOND_LEASES_SCANNED).find_map(|&twin| {
            let lease = self.leases.get(&twin)?;
            let LeaseState::Active { since_ms, twin: None, .. } = lease.state else { return None };
            let patience_ms = self.patience_ms(job, lease.worker, number);
            if lease.worker == number || now.monotonic_ms < since_ms + patience_ms {
                return None;
            }
            let mut units =
                lease.open_units().skip_while(|&unit| !self.may_double(job, unit, number, twin));
            let first = units.next()?;
            let most = most.min(SECOND_LEASE_UNITS_MAX).min(units_per_message(job, first));
            let following = (first + 1..).zip(units).take(most as usize - 1);
            let following = following.take_while(|&(expected, unit)| {
                expected == unit && self.may_double(job, unit, number, twin)
            });
            let count = 1 + u32::try_from(following.count()).ok()?;
            Some(Choice { first, count, twin: Some(twin) })
        })
    }

    /// Age from which on the units of a lease of `holder` may be lent a second time, milliseconds: a quarter of the lease; where the
    /// holder has not shown yet that it computes what it is lent, some times as long as all that it holds should take it, by what the
    /// job's units have cost and by its own word on its speed, and as long as their inputs take on a slow line. To those who have
    /// reported nothing they are lent later all the same: else somebody with two keys, who computes nothing, would hold what he
    /// lends himself.
    fn patience_ms(&self, job: &Job, holder: u32, asking: u32) -> u64 {
        let longest_ms = (job.spec.lease_s * 1000 / 4).max(SECOND_LEASE_MS);
        let worker = self.worker(holder);
        if worker.record.has_shown() || self.worker(asking).record.is_newcomer() {
            return longest_ms;
        }
        let (Some(live), Some(fuel)) = (&worker.live, job.fuel_per_unit()) else {
            return longest_ms;
        };
        let fuel = u128::from(fuel) * u128::from(worker.leased);
        let per_second =
            u128::from(speed(&live.want).max(FUEL_PER_SECOND_LEAST)) * u128::from(live.cores);
        let computing_ms = SECOND_LEASE_TIMES * 1000 * fuel / per_second.max(1);
        let own = u128::from(job.spec.own_bytes) * u128::from(worker.leased);
        let bytes = u128::from(job.spec.shared_bytes) + own;
        let fetching_ms = 1000 * bytes / u128::from(LINE_BYTES_PER_SECOND_LEAST);
        let ms = u64::try_from(computing_ms + fetching_ms).unwrap_or(u64::MAX);
        ms.clamp(SECOND_LEASE_MS, longest_ms)
    }

    /// Whether a unit held under `twin` may be lent to the worker too.
    fn may_double(&self, job: &Job, unit: u64, number: u32, twin: LeaseId) -> bool {
        if job.settled.contains(unit) {
            return false;
        }
        let Some(known) = job.known.get(&unit) else { return true };
        if !job.single() {
            let party = |number: u32| {
                let WorkerRecord { account, network, .. } = self.worker(number).record;
                Voter { account, network }
            };
            let nobody = Voter { account: u32::MAX, network: 0 };
            let party_of =
                |lease| self.leases.get(&lease).map_or(nobody, |lease| party(lease.worker));
            return !job.clash(known, party(number), party_of);
        }
        let account = self.worker(number).record.account;
        let held =
            |lease: &LeaseId| self.leases.get(lease).is_some_and(|lease| lease.worker == number);
        known.holders.iter().all(|holder| *holder == twin)
            && !known.votes.iter().any(|vote| vote.account == account)
            && !known.holders.iter().any(held)
    }

    /// Lends the chosen units.
    fn lend(&mut self, now: Now, id: JobId, number: u32, choice: &Choice, effects: &mut Effects) {
        let &Choice { first, count, twin } = choice;
        let lease_id = LeaseId(self.meta.next_lease);
        self.meta.next_lease += 1;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let lease_ms = job.spec.lease_s * 1000;
        let state = LeaseState::Active {
            deadline_ms: now.monotonic_ms + lease_ms,
            since_ms: now.monotonic_ms,
            twin,
        };
        let account = self.workers[number as usize].record.account;
        if hold(job, lease_id, Run::new(first, count.into()), twin) {
            job.queue.push(Some(account), Run::new(first, count.into()));
            self.work_appeared = true;
        }
        let spent = u128::from(job.fuel_per_unit().unwrap_or(1)) * u128::from(count);
        self.shares.spend(&job.record.account, spent);
        let worker = &mut self.workers[number as usize];
        if let Some(live) = &mut worker.live {
            if live.told.insert(id) {
                effects.messages.push((live.session, ToWorker::Job { job: id }));
            }
            let lease = event::Lease {
                lease: lease_id,
                job: id,
                first: UnitIndex(first),
                count,
                expires_in_ms: lease_ms,
                extras: Vec::new(),
                spec: job.spec.clone(),
            };
            effects.messages.push((live.session, ToWorker::Lease(lease)));
        }
        self.add_lease(lease_id, Lease::new(number, id, first, count, state));
        self.dirty.leases.insert(lease_id);
        self.dirty.jobs.insert(id);
        if let Some(twin) = twin.and_then(|twin| self.leases.get_mut(&twin)) {
            twin.set_twin(Some(lease_id));
        }
        self.fill(number, id, count);
    }

    /// Takes a lease into the books.
    pub(super) fn add_lease(&mut self, id: LeaseId, lease: Lease) {
        if let Some(job) = self.jobs.get_mut(&lease.job) {
            job.leases.insert(id);
            if lease.active() {
                job.leased += u64::from(lease.open);
                *job.holders.entry(lease.worker).or_default() += 1;
            }
        }
        match lease.deadline_ms() {
            Some(deadline_ms) => {
                self.deadlines.insert((deadline_ms, id));
                self.hold_units(lease.worker, lease.open);
            }
            None => self.overdue.push_back(id),
        }
        self.leases.insert(id, lease);
    }
}

/// Notes who holds the units, where more than a first lease is known of them; whether any of them needs others too.
pub(super) fn hold(job: &mut Job, lease: LeaseId, run: Run, twin: Option<LeaseId>) -> bool {
    let policy = job.policy();
    let mut more = false;
    for unit in run.units() {
        let known = if job.single() && twin.is_none() {
            if job.known.is_empty() {
                break;
            }
            let Some(known) = job.known.get_mut(&unit) else { continue };
            known
        } else {
            let known = job.known.entry(unit).or_default();
            if let Some(twin) = twin
                && !known.holders.contains(&twin)
            {
                known.holders.push(twin);
            }
            known
        };
        known.holders.push(lease);
        more |= 0 < known.missing(policy);
    }
    more
}
