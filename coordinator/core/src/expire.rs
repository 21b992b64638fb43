//! Time passes: leases run out, units that had to wait may be lent again.

use crate::Core;
use crate::bounds::OVERDUE_LEASES_MAX;
use crate::lease::LeaseState;
use crate::queue::runs;
use crate::time::Now;
use proto::LeaseId;

impl Core {
    pub(super) fn expire(&mut self, now: Now) {
        while let Some(&(deadline_ms, id)) = self.deadlines.first()
            && deadline_ms <= now.monotonic_ms
        {
            self.deadlines.pop_first();
            self.expire_lease(now, id);
        }
        while let Some(&(at_ms, id)) = self.retries.first()
            && at_ms <= now.monotonic_ms
        {
            self.retries.pop_first();
            if let Some(job) = self.jobs.get_mut(&id) {
                self.work_appeared |= job.queue.wake(now.monotonic_ms);
            }
        }
    }

    /// A lease has run out: its open units are tried elsewhere, and what still comes of it may still be of use.
    fn expire_lease(&mut self, now: Now, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let LeaseState::Active { since_ms, twin, .. } = lease.state else { return };
        let (job_id, worker, open) = (lease.job, lease.worker, lease.open);
        lease.state = LeaseState::Overdue;
        let units: Vec<u64> = lease.open_units().collect();
        self.dirty.leases.insert(id);
        if let Some(twin) = twin.and_then(|twin| self.leases.get_mut(&twin)) {
            twin.set_twin(None);
        }
        self.free_units(worker, open);
        self.release_job(job_id, worker);
        if let Some(job) = self.jobs.get_mut(&job_id) {
            job.leased -= u64::from(open);
            for unit in &units {
                if let Some(known) = job.known.get_mut(unit) {
                    known.holders.retain(|holder| *holder != id);
                }
            }
        }
        self.worker_mut(worker).run_out(now.monotonic_ms, since_ms, open);
        self.fail(now, job_id, Some(worker), &runs(units), "the lease ran out without a report");
        self.overdue.push_back(id);
        while OVERDUE_LEASES_MAX < self.overdue.len() {
            let Some(oldest) = self.overdue.pop_front() else { break };
            if self.leases.get(&oldest).is_some_and(|lease| !lease.active()) {
                self.void_lease(oldest);
            }
        }
    }
}
