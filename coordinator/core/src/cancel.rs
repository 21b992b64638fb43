//! Jobs end: every unit has a verdict, or somebody cancels.

use crate::Core;
use crate::bounds::CANCELLED_OUTPUTS_MS;
use crate::event::{Effects, ToWorker};
use crate::record::{Table, batch_key};
use crate::status::JobState;
use crate::time::Now;
use proto::{JobId, LeaseId};
use std::collections::BTreeMap;

impl Core {
    /// Cancels a job; whether there is such a job. One that has ended stays as it is.
    pub(super) fn cancel(&mut self, now: Now, job: JobId, effects: &mut Effects) -> bool {
        if self.jobs.contains_key(&job) {
            self.cancelled.insert(job.0);
            self.end(now, job, JobState::Cancelled, "the job was cancelled", effects);
        }
        0 < job.0 && job.0 < self.meta.next_job
    }

    /// Ends the jobs of which every unit has a verdict.
    pub(super) fn end_finished_jobs(&mut self, now: Now, effects: &mut Effects) {
        for id in std::mem::take(&mut self.dirty.finished) {
            if self.jobs.get(&id).is_some_and(|job| job.record.settled == job.record.units) {
                self.end(now, id, JobState::Done, "every unit of the job has a verdict", effects);
            }
        }
    }

    fn end(&mut self, now: Now, id: JobId, state: JobState, reason: &str, effects: &mut Effects) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        job.record.state = state;
        job.record.ended_at_ms = Some(now.wall_ms);
        self.shares.remove(&job.record.account, job.spec.priority, id);
        self.ended_credit += job.record.credit;
        let mut over: BTreeMap<u32, Vec<LeaseId>> = BTreeMap::new();
        for lease_id in std::mem::take(&mut job.leases) {
            let Some(lease) = self.leases.remove(&lease_id) else { continue };
            self.dirty.leases.insert(lease_id);
            if let Some(deadline_ms) = lease.deadline_ms() {
                self.deadlines.remove(&(deadline_ms, lease_id));
                self.free_units(lease.worker, lease.open);
            }
            over.entry(lease.worker).or_default().push(lease_id);
        }
        for (worker, leases) in over {
            if let Some(live) = &self.worker(worker).live {
                effects
                    .messages
                    .push((live.session, ToWorker::Cancel { leases, reason: reason.into() }));
            }
        }
        for unit in std::mem::take(&mut job.known).into_values() {
            for vote in unit.votes {
                self.close_report(vote.place.worker, vote.place.sequence);
            }
        }
        for attempt in 0..job.record.next_attempt {
            self.dirty.delete(Table::Attempt.key2(id.0, attempt));
        }
        for worker in &mut self.workers {
            if let Some(live) = &mut worker.live {
                live.told.remove(&id);
            }
        }
        self.end_logs(&mut job.logs);
        self.dirty.jobs.remove(&id);
        self.ended.push(job);
        if state == JobState::Cancelled {
            self.keep_outputs_until(id, now.wall_ms.saturating_add(CANCELLED_OUTPUTS_MS));
        }
    }

    /// Notes that a report of a batch has its verdict, or needs none.
    pub(super) fn close_report(&mut self, worker: u32, sequence: u64) {
        let Some(open) = self.open.get_mut(&(worker, sequence)) else { return };
        open.reports -= 1;
        if open.reports == 0 {
            self.dirty.roots.insert((worker, sequence), open.root);
            self.open.remove(&(worker, sequence));
            self.dirty.open.insert((worker, sequence));
        }
    }

    /// The key under which a batch is kept.
    #[must_use]
    pub fn batch_key(worker: u32, sequence: u64) -> Vec<u8> {
        batch_key(Table::Batch, worker, sequence)
    }
}
