//! A worker was caught: what was accepted on its word alone goes back into the queue, and so does what was built on it.

use crate::Core;
use crate::event::Effects;
use crate::queue::{Run, runs};
use crate::record::{End, Place, ResettledRecord, Table, VoidRecord};
use crate::time::Now;
use crate::trust::Detection;
use crate::trust::estimate::Risk;
use crate::verdict::Vote;
use proto::{JobId, LeaseId, UnitIndex};
use roaring::RoaringTreemap;
use std::collections::{BTreeMap, BTreeSet};

/// Units of one job accepted on the word of one worker.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct SoleReports {
    pub(crate) units: RoaringTreemap,
    /// Granted for them.
    pub(crate) fuel: u128,
    /// Of their verdicts.
    pub(crate) risks: BTreeMap<Risk, u64>,
}

impl SoleReports {
    /// Notes a verdict.
    pub(crate) fn add(&mut self, unit: u64, fuel: u64, risk: Risk) {
        self.units.insert(unit);
        self.fuel += u128::from(fuel);
        *self.risks.entry(risk).or_default() += 1;
    }
}

const CAUGHT: &str =
    "the only worker that had reported it was caught with a wrong result of another unit";
const BUILT_ON_IT: &str = "an output that it was merged from was withdrawn";

impl Core {
    /// Draws the consequences for all workers that were caught.
    pub(crate) fn judge_caught(&mut self, now: Now, effects: &mut Effects) {
        while let Some(caught) = self.caught.pop() {
            self.distrust(now, caught, effects);
        }
    }

    fn distrust(&mut self, now: Now, caught: Detection, effects: &mut Effects) {
        let Detection { worker, class, fault } = caught;
        let (account, network) = {
            let record = &self.worker(worker).record;
            (record.account, record.network)
        };
        let workers: BTreeSet<u32> = (0..)
            .zip(&self.workers)
            .filter(|(_, worker)| worker.record.account == account)
            .map(|(number, _)| number)
            .collect();
        self.standings.catch(&workers, account, network, class);
        let times = self.standing(worker, class).caught;
        self.punish(now, worker, times, fault, effects);
        let jobs: Vec<JobId> =
            self.jobs.values().filter(|job| job.estimates()).map(|job| job.id).collect();
        for id in jobs {
            for &worker in &workers {
                self.withdraw(now, id, worker);
            }
            self.judge_again(id, account, network);
        }
    }

    /// Judges the open units anew of which the account has said something, or another of its network.
    fn judge_again(&mut self, id: JobId, account: u32, network: u64) {
        let Self { jobs, workers, standings, .. } = self;
        let Some(job) = jobs.get_mut(&id) else { return };
        let mut units = Vec::new();
        let classes: (u64, u64) = (super::class(job, 0), super::class(job, job.record.units - 1));
        for (&unit, known) in &mut job.known {
            let with = |vote: &&mut Vote| {
                vote.account == account || network != 0 && vote.network == network
            };
            for vote in known.votes.iter_mut().filter(|vote| !vote.referee).filter(with) {
                let class = if unit < job.cut_units { classes.0 } else { classes.1 };
                let network = workers[vote.place.worker as usize].record.network;
                vote.standing = standings.of(vote.place.worker, vote.account, network, class);
                units.push(unit);
            }
        }
        units.sort_unstable();
        units.dedup();
        for unit in units {
            self.judge(id, unit);
            if 0 < self.missing(id, unit) {
                self.put_back(id, Some(account), Run::new(unit, 1));
            }
        }
    }

    /// Withdraws what was accepted of a job on the word of one worker. Its credit for that is taken back.
    fn withdraw(&mut self, now: Now, id: JobId, worker: u32) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        Self::dissolve_escrow(job, worker);
        let Some(alone) = job.alone.remove(&worker) else { return };
        // What was reached since the last commit gets its place in the log first: the withdrawal comes after it.
        self.flush_log(id, now);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let before_log = job.record.next_log;
        self.dirty.put(Table::Void.key2(id.0, worker.into()), &VoidRecord { before_log });
        job.settled -= &alone.units;
        job.again |= &alone.units;
        let record = &mut job.record;
        record.settled -= alone.units.len();
        record.withdrawn += alone.units.len();
        record.fuel -= alone.fuel;
        record.credit -= alone.fuel;
        for (risk, units) in &alone.risks {
            if let Some(count) = record.risks.get_mut(risk) {
                *count -= units;
            }
        }
        record.risks.retain(|_, units| 0 < *units);
        let mut above = BTreeSet::new();
        for unit in &alone.units {
            job.note(unit, End::Withdrawn(CAUGHT.into()), Risk::default(), 0);
            above.extend(job.spec.merged_by(UnitIndex(unit)));
        }
        self.meta.settled -= alone.units.len();
        self.meta.credit -= alone.fuel;
        let caught = self.worker_mut(worker);
        caught.record.credit -= alone.fuel;
        let account = caught.record.account;
        self.accounts[account as usize].credit -= alone.fuel;
        self.dirty.accounts.insert(account);
        self.dirty.jobs.insert(id);
        self.hold_again(id, &alone.units);
        for unit in above {
            self.unmerge(id, unit.0);
        }
        for run in runs(&alone.units) {
            self.put_back(id, None, run);
        }
    }

    /// Notes who is still computing units that have lost their verdict.
    fn hold_again(&mut self, id: JobId, units: &RoaringTreemap) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        for lease_id in &job.leases {
            let Some(lease) = self.leases.get(lease_id).filter(|lease| lease.active()) else {
                continue;
            };
            for unit in lease.open_units().filter(|unit| units.contains(*unit)) {
                job.known.entry(unit).or_default().holders.push(*lease_id);
            }
        }
    }

    /// An input of a merge unit has lost its verdict: whatever was made of it goes, up the tree.
    fn unmerge(&mut self, id: JobId, unit: u64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some((have, _)) = job.inputs(unit) else { return };
        if job.given_up.contains(unit) {
            // For want of another input, which failed.
            return;
        }
        if have == 0 {
            job.merged.remove(&unit);
        } else {
            job.merged.insert(unit, u32::try_from(have).unwrap_or(u32::MAX));
        }
        let settled = job.settled.remove(unit);
        if settled {
            job.again.insert(unit);
            job.record.settled -= 1;
            job.record.withdrawn += 1;
            if job.failed.remove(unit) {
                job.record.failed -= 1;
            }
            job.note(unit, End::Withdrawn(BUILT_ON_IT.into()), Risk::default(), 0);
            self.dirty.put(Table::Again.key2(id.0, unit), &ResettledRecord::Withdrawn);
            self.meta.settled -= 1;
            self.dirty.jobs.insert(id);
        }
        self.forget_reports(id, unit);
        let above = self.jobs.get(&id).and_then(|job| job.spec.merged_by(UnitIndex(unit)));
        if let Some(above) = above.filter(|_| settled) {
            self.unmerge(id, above.0);
        }
    }

    /// Forgets all reports of a unit, and takes no more under the leases that are out: their inputs hold no more.
    fn forget_reports(&mut self, id: JobId, unit: u64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let known = job.known.remove(&unit);
        if known.as_ref().is_some_and(|known| known.pooled) {
            job.pool.drop();
        }
        for vote in known.map(|known| known.votes).unwrap_or_default() {
            self.strike_out(vote.place);
            self.close_report(vote.place.worker, vote.place.sequence);
        }
        let Some(job) = self.jobs.get(&id) else { return };
        let open = |lease: &&LeaseId| {
            let Some(lease) = self.leases.get(lease) else { return false };
            lease.offset(unit).is_some_and(|offset| lease.is_open(offset))
        };
        let leases: Vec<LeaseId> = job.leases.iter().filter(open).copied().collect();
        let mut finished = Vec::new();
        for lease in leases {
            self.void_unit(lease, unit, &mut finished);
        }
        for lease in finished {
            self.drop_lease(lease);
        }
    }

    /// Takes a report out of those that come back with their batch after a restart.
    pub(crate) fn strike_out(&mut self, place: Place) {
        let Some(open) = self.open.get_mut(&(place.worker, place.sequence)) else { return };
        let positions = std::mem::take(&mut open.record.positions);
        for (first, count) in positions {
            if !(first..first + count).contains(&place.position) {
                open.record.positions.push((first, count));
                continue;
            }
            let before = place.position - first;
            let parts = [(first, before), (place.position + 1, count - before - 1)];
            open.record.positions.extend(parts.into_iter().filter(|(_, count)| 0 < *count));
        }
        self.dirty.open.insert((place.worker, place.sequence));
    }
}
