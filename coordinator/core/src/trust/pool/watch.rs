//! Units with reports that are not enough, looked at again when their workers' records may have grown.

use crate::Core;
use crate::bounds::LOOKED_AGAIN_AT_TAIL;
use crate::unit::Unit;
use crate::verdict;
use proto::JobId;

impl Core {
    /// Puts a unit among those that are looked at again, unless what is known of it is in dispute.
    pub(crate) fn watch(&mut self, id: JobId, unit: u64) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.estimates()) else { return };
        let Some(known) = job.known.get_mut(&unit) else { return };
        if !known.watched && verdict::undisputed(&known.votes).is_some() {
            known.watched = true;
            job.pool.watched.push_back(unit);
        }
    }

    /// Looks at some of the units again whose workers' records may have grown meanwhile.
    pub(crate) fn look_again(&mut self, id: JobId, units: usize) {
        for _ in 0..units {
            let Some(job) = self.jobs.get_mut(&id) else { return };
            let (patient, policy) = (job.patient(), job.policy());
            let Some(unit) = job.pool.watched.pop_front() else { return };
            let Some(known) = job.known.get_mut(&unit) else { continue };
            known.watched = false;
            if !waits(known) {
                continue;
            }
            let before = known.missing(policy);
            known.patient = patient;
            self.refresh(id, unit);
            self.judge_anew(id, unit, before);
        }
    }

    /// Nothing else is left to lend of a job: those who agree on a unit have earned what they could, and others are asked. Whether
    /// any unit was looked at.
    pub(crate) fn look_again_at_tail(&mut self, id: JobId) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else { return false };
        if job.patient() {
            job.pool.tail_left = None;
            return false;
        }
        let watched = job.pool.watched.len();
        let left = job.pool.tail_left.get_or_insert(watched);
        let units = (*left).min(LOOKED_AGAIN_AT_TAIL);
        *left -= units;
        self.look_again(id, units);
        0 < units
    }
}

/// Whether a unit has reports that are not enough, and nobody disputes them.
pub(super) fn waits(known: &Unit) -> bool {
    known.trial.is_none()
        && !known.pooled
        && !known.held
        && verdict::undisputed(&known.votes).is_some()
}
