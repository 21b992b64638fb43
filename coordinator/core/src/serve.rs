//! Who gets work next: the worker that asks, then those that stand in line.

use crate::Core;
use crate::bounds::{
    CORES_MAX, FUEL_PER_SECOND_GUESS, IDLE_MS, IDLE_TAIL_MS, LEASES_PER_WANT_MAX, LINE_UNITS_MAX,
    MERGE_INPUTS_MAX, SERVED_PER_EVENT_MAX, UNMEASURED_UNITS_PER_SLOT, WANT_SECONDS_MAX,
};
use crate::event::{Effects, Reply, Session, ToWorker, Want};
use crate::job::Job;
use crate::time::Now;
use proto::JobId;
use proto::bounds::LEASE_UNITS_MAX;

/// Why a worker got nothing (more).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Idle {
    pub(super) reason: String,
    pub(super) retry_after_ms: u64,
}

impl Core {
    pub(super) fn want(
        &mut self,
        now: Now,
        session: Session,
        want: Want,
        effects: &mut Effects,
    ) -> Reply {
        let Some(number) = self.worker_of(session) else { return Reply::Done };
        if let Some(live) = &mut self.workers[number as usize].live {
            live.want = Want { seconds: want.seconds.min(WANT_SECONDS_MAX), ..want };
        }
        if let Some(Idle { reason, retry_after_ms }) = self.serve(now, number, effects) {
            effects.messages.push((session, ToWorker::Idle { reason, retry_after_ms }));
        }
        self.enqueue_worker(number);
        Reply::Done
    }

    fn enqueue_worker(&mut self, number: u32) {
        let worker = &mut self.workers[number as usize];
        let wants =
            worker.live.as_ref().is_some_and(|live| 0 < live.want.units && 0 < live.want.seconds);
        if wants && !worker.in_line {
            worker.in_line = true;
            let fails = worker.record.reported < worker.record.failures;
            let line = if fails { &mut self.late } else { &mut self.line };
            line.push_back(number);
        }
    }

    /// Serves referees that stand in line when there is more to check, and some of the workers that do, each once since work last
    /// appeared.
    pub(super) fn serve_line(&mut self, now: Now, effects: &mut Effects) {
        if std::mem::take(&mut self.check_wanted) {
            for number in self.referees.clone() {
                self.serve(now, number, effects);
            }
        }
        if std::mem::take(&mut self.work_appeared) {
            self.to_serve = (self.line.len(), self.late.len());
        }
        for _ in 0..SERVED_PER_EVENT_MAX {
            let (left, line) = match &mut self.to_serve {
                (0, 0) => break,
                (0, late) => (late, &mut self.late),
                (shown, _) => (shown, &mut self.line),
            };
            *left -= 1;
            let Some(number) = line.pop_front() else { continue };
            self.workers[number as usize].in_line = false;
            self.serve(now, number, effects);
            self.enqueue_worker(number);
        }
    }

    /// Leases what the worker asks for and may have. Tells why when that is nothing.
    fn serve(&mut self, now: Now, number: u32, effects: &mut Effects) -> Option<Idle> {
        let mut granted = 0;
        while granted < LEASES_PER_WANT_MAX {
            if let Some(idle) = self.unfit(now, number) {
                return (granted == 0).then_some(idle);
            }
            let mut jobs = self.shares.order();
            if 0 < self.worker(number).probation {
                // A machine in doubt is lent the smallest units first.
                jobs.sort_by_key(|job| self.jobs.get(job).and_then(Job::fuel_per_unit));
            }
            if !jobs.into_iter().any(|job| self.grant(now, number, job, effects)) {
                return (granted == 0).then(|| self.idle(now, number));
            }
            granted += 1;
        }
        None
    }

    /// Why the worker may have nothing at all now.
    fn unfit(&self, now: Now, number: u32) -> Option<Idle> {
        let worker = self.worker(number);
        let idle = |reason: String, retry_after_ms| Some(Idle { reason, retry_after_ms });
        let Some(live) = &worker.live else {
            return idle("the worker is not connected".into(), IDLE_MS);
        };
        if live.want.units == 0 || live.want.seconds == 0 {
            return idle("nothing (more) was asked for".into(), IDLE_MS);
        }
        if now.monotonic_ms < worker.barred_until_ms {
            let wait_ms = worker.barred_until_ms - now.monotonic_ms;
            let why = match &worker.returned {
                Some(reason) => format!("this worker gave units back ({reason})"),
                None => "units failed on this worker".into(),
            };
            let seconds = wait_ms.div_ceil(1000);
            return idle(format!("{why}: it gets none for {seconds} s"), wait_ms);
        }
        if now.monotonic_ms < worker.caught_until_ms {
            let wait_ms = worker.caught_until_ms - now.monotonic_ms;
            return idle(
                format!(
                    "a result of this machine differed from what others found: it gets nothing for {} s; check its \
                     memory, cooling and clock",
                    wait_ms.div_ceil(1000)
                ),
                wait_ms,
            );
        }
        if worker.record.is_newcomer() && self.newcomers.room(worker.record.network) == 0 {
            let why = "this worker has reported nothing yet, and the newcomers of its network hold as many units as they may together";
            return idle(why.into(), IDLE_MS);
        }
        if worker.quota <= worker.leased {
            return idle(
                format!("the worker holds {} units, as many as it may now", worker.leased),
                IDLE_MS,
            );
        }
        None
    }

    /// Most units of a job that the worker may be lent at once. Zero when the job does not fit the worker.
    pub(super) fn most(&self, now: Now, number: u32, job: &Job) -> u32 {
        let worker = self.worker(number);
        let Some(live) = &worker.live else { return 0 };
        if !live.fits(&job.spec)
            || job.returners.get(now.monotonic_ms, number).is_some()
            || self.lacks_room(job)
        {
            return 0;
        }
        let by_time = match job.fuel_per_unit() {
            None => u64::from(live.cores.min(CORES_MAX) * UNMEASURED_UNITS_PER_SLOT)
                .saturating_sub(worker.leased.into()),
            Some(fuel) => {
                let seconds =
                    live.want.seconds.min(job.spec.lease_s.saturating_mul(live.cores.into()));
                let units =
                    u128::from(seconds) * u128::from(speed(&live.want)) / u128::from(fuel.max(1));
                u64::try_from(units).unwrap_or(u64::MAX).max(1)
            }
        };
        let by_time = u32::try_from(by_time).unwrap_or(u32::MAX);
        let by_network = match worker.record.is_newcomer() {
            true => self.newcomers.room(worker.record.network),
            false => u32::MAX,
        };
        by_time
            .min(by_network)
            .min(live.want.units)
            .min(worker.quota - worker.leased)
            .min(LEASE_UNITS_MAX)
    }

    /// Takes what was lent from what the worker asks for.
    pub(super) fn fill(&mut self, number: u32, job: JobId, count: u32) {
        let fuel = self.jobs.get(&job).and_then(Job::fuel_per_unit).unwrap_or(0);
        let Some(live) = &mut self.workers[number as usize].live else { return };
        let seconds =
            (u128::from(fuel) * u128::from(count)).div_ceil(u128::from(speed(&live.want)));
        live.want.seconds =
            live.want.seconds.saturating_sub(u64::try_from(seconds).unwrap_or(u64::MAX));
        live.want.units = live.want.units.saturating_sub(count);
    }

    /// Why no job has anything for the worker.
    fn idle(&self, now: Now, number: u32) -> Idle {
        let idle = |reason: String, retry_after_ms| Idle { reason, retry_after_ms };
        let Some(live) = &self.worker(number).live else {
            return idle("the worker is not connected".into(), IDLE_MS);
        };
        if self.jobs.is_empty() {
            return idle("no job is running".into(), IDLE_MS);
        }
        if !self.jobs.values().any(|job| live.fits(&job.spec)) {
            let (lends, contract) = (live.want.memory_bytes, live.contract);
            let known = self.jobs.values().filter(|job| job.spec.contract <= contract);
            let why = match known.map(|job| job.spec.limits.memory_bytes).min() {
                Some(least) => format!(
                    "every job needs more memory per unit ({least} bytes or more) than this worker lends ({lends} bytes)"
                ),
                None => format!(
                    "every job goes by a newer kernel contract than this worker knows ({contract}): install the newest release"
                ),
            };
            return idle(why, IDLE_MS);
        }
        let given_back = self
            .jobs
            .iter()
            .filter_map(|(id, job)| Some((id, job.returners.get(now.monotonic_ms, number)?)));
        if let Some((id, returner)) = given_back.min_by_key(|(_, returner)| returner.until_ms) {
            let wait_ms = returner.until_ms - now.monotonic_ms;
            let seconds = wait_ms.div_ceil(1000);
            return idle(
                format!(
                    "this worker gave units of {id} back ({}): it gets none of them for {seconds} s",
                    returner.reason
                ),
                wait_ms.min(IDLE_MS),
            );
        }
        if self.jobs.values().all(|job| self.lacks_room(job)) {
            let why = "those who have submitted the jobs have no room for outputs: they know";
            return idle(why.into(), IDLE_MS);
        }
        if self.jobs.values().any(|job| !job.queue.is_empty()) {
            return idle("the units that are left wait for other workers".into(), IDLE_TAIL_MS);
        }
        idle("all units are lent, or wait for others to end".into(), IDLE_TAIL_MS)
    }
}

/// Speed of one slot.
pub(super) fn speed(want: &Want) -> u64 {
    if want.fuel_per_second == 0 { FUEL_PER_SECOND_GUESS } else { want.fuel_per_second }
}

/// Most units of one lease that begins with `first`, so that what they bring fits into a message.
pub(super) fn units_per_message(job: &Job, first: u64) -> u32 {
    if job.cut_units <= first {
        let fan_in = job.spec.merge.map_or(1, |merge| merge.fan_in);
        return (MERGE_INPUTS_MAX / fan_in).max(1);
    }
    if job.spec.lines.is_some() { LINE_UNITS_MAX } else { LEASE_UNITS_MAX }
}
