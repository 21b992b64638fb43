//! Which unit a referee computes next.

use super::Check;
use super::watch::waits;
use crate::Core;
use crate::bounds::{CHECKS_AT_ONCE, CHECKS_TRIED, REFEREE_PART};
use crate::job::Job;
use crate::trust::estimate::CROWD_DOUBT;
use crate::unit::Unit;
use proto::{JobId, LeaseId};

impl Core {
    /// Draws a unit of a job for a referee to check: one of those that wait for it, or one with reports that are not enough.
    pub(crate) fn draw_check(&mut self, id: JobId, number: u32) -> Option<u64> {
        let crowd = self.standings.crowd().doubt();
        let Self { jobs, leases, workers, prng, .. } = self;
        let account = workers[number as usize].record.account;
        let job = jobs.get_mut(&id)?;
        let target = job.spec.confidence?.max(CROWD_DOUBT);
        let runs = |lease: &LeaseId| {
            let lease = leases.get(lease).filter(|lease| lease.active());
            lease.is_some_and(|lease| workers[lease.worker as usize].live.is_some())
        };
        job.pool.checks.retain(|check| runs(&check.lease));
        if CHECKS_AT_ONCE <= job.pool.checks.len() {
            return None;
        }
        let affords = job.pool.drawn * REFEREE_PART < job.record.copies;
        if crowd <= target && 0 < job.fresh() && !affords {
            return None;
        }
        let Job { pool, known, .. } = job;
        if pool.checks.is_empty() {
            // Nothing counts on where they stand.
            let before = pool.entries.len();
            if pool.waiting * 2 < before as u64 {
                pool.entries.retain(|unit| known.get(unit).is_some_and(|known| known.pooled));
                pool.gone += (before - pool.entries.len()) as u64;
            }
        }
        let may = |unit: u64, known: &Unit| {
            known.trial.is_none()
                && pool.checks.iter().all(|check| check.unit != unit)
                && !known.votes.is_empty()
                && known.votes.iter().all(|vote| vote.account != account && !vote.referee)
        };
        for _ in 0..CHECKS_TRIED.min(pool.entries.len()) {
            let unit = pool.entries[index(prng.below(pool.entries.len() as u64))];
            if known.get(&unit).is_some_and(|known| known.pooled && may(unit, known)) {
                return Some(unit);
            }
        }
        for _ in 0..CHECKS_TRIED.min(pool.watched.len()) {
            let unit = pool.watched[index(prng.below(pool.watched.len() as u64))];
            if known.get(&unit).is_some_and(|known| waits(known) && may(unit, known)) {
                return Some(unit);
            }
        }
        None
    }

    /// Notes under which lease a referee checks a unit.
    pub(crate) fn begin_check(&mut self, id: JobId, unit: u64, lease: LeaseId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let until = job.pool.next();
        job.pool.checks.push(Check { unit, lease, until });
        job.pool.drawn += 1;
    }
}

fn index(below: u64) -> usize {
    usize::try_from(below).unwrap_or(0)
}
