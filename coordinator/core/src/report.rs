//! Reports come in.

mod accept;

use crate::Core;
use crate::bounds::{PADDED_BATCH_BYTES, RENEWALS_MAX};
use crate::event::{Acks, Earlier, Effects, Incoming, Missing, Session};
use crate::job::Job;
use crate::lease::LeaseState;
use crate::record::{Table, batch_key, encode_batch};
use crate::time::Now;
use proto::report::{Ack, Outcome, Report};
use proto::{JobId, LeaseId};

/// A batch being taken in.
struct Intake<'a> {
    worker: u32,
    account: u32,
    incoming: &'a Incoming,
    /// Positions accepted whose units have no verdict yet.
    waiting: Vec<u32>,
    accepted: u64,
    /// Leases of which all units are reported or given back.
    finished: Vec<LeaseId>,
}

impl<'a> Intake<'a> {
    fn new(worker: u32, account: u32, incoming: &'a Incoming) -> Self {
        let (waiting, finished) = (Vec::new(), Vec::new());
        Self { worker, account, incoming, waiting, accepted: 0, finished }
    }
}

impl Core {
    /// Takes a batch in. It is stored whole when anything in it is accepted; a report that is not is never looked at
    /// again.
    pub(super) fn report(
        &mut self,
        now: Now,
        session: Session,
        incoming: &Incoming,
        effects: &mut Effects,
    ) -> Acks {
        let batch = &incoming.signed.batch;
        match self.worker_of(session) {
            Some(worker) if self.is_padded(worker, incoming) => {
                self.without_padding(now, worker, incoming)
            }
            Some(worker) => self.report_of(now, worker, incoming, effects),
            None => Acks {
                sequence: batch.sequence,
                acks: vec![Ack::NotLeased; batch.reports.len()],
                credit: 0,
            },
        }
    }

    /// Whether a batch that is not stored yet consists mostly of reports on what was not lent to its worker.
    fn is_padded(&self, worker: u32, incoming: &Incoming) -> bool {
        if incoming.earlier == Earlier::Same || incoming.signed.payload.len() < PADDED_BATCH_BYTES {
            return false;
        }
        let reports = &incoming.signed.batch.reports;
        let lent = reports.iter().filter(|report| self.is_lent(worker, report)).count();
        lent < reports.len().div_ceil(2)
    }

    fn is_lent(&self, worker: u32, report: &Report) -> bool {
        let lease = self.leases.get(&report.lease).filter(|lease| lease.worker == worker);
        lease.and_then(|lease| lease.offset(report.unit.0).map(|offset| lease.is_open(offset)))
            == Some(true)
    }

    /// Answers a padded batch, of which nothing is stored: what was lent is to come again, in a batch without the rest.
    fn without_padding(&mut self, now: Now, worker: u32, incoming: &Incoming) -> Acks {
        let account = self.worker(worker).record.account;
        let mut intake = Intake::new(worker, account, incoming);
        let answer = |(position, report): (u32, &Report)| {
            if self.is_lent(worker, report) {
                return Ack::Busy;
            }
            self.take_report(now, &mut intake, position, report, None)
        };
        let acks = (0..).zip(&incoming.signed.batch.reports).map(answer).collect();
        Acks {
            sequence: incoming.signed.batch.sequence,
            acks,
            credit: self.accounts[account as usize].credit,
        }
    }

    /// Takes a batch of a worker in, whoever brings it.
    pub(super) fn report_of(
        &mut self,
        now: Now,
        worker: u32,
        incoming: &Incoming,
        effects: &mut Effects,
    ) -> Acks {
        let batch = &incoming.signed.batch;
        let all = |ack| Acks {
            sequence: batch.sequence,
            acks: vec![ack; batch.reports.len()],
            credit: 0,
        };
        if self.worker(worker).record.key != batch.worker || self.meta.project != batch.project {
            return all(Ack::NotLeased);
        }
        if incoming.earlier == Earlier::Other {
            return all(Ack::Busy);
        }
        let account = self.worker(worker).record.account;
        let mut intake = Intake::new(worker, account, incoming);
        let mut missing = incoming.missing.iter().peekable();
        let mut acks = Vec::with_capacity(batch.reports.len());
        for (position, report) in (0..).zip(&batch.reports) {
            let missing = missing.next_if(|missing| missing.position == position);
            acks.push(self.take_report(now, &mut intake, position, report, missing));
        }
        for lease in std::mem::take(&mut intake.finished) {
            self.finish_lease(lease, effects);
        }
        if 0 < intake.accepted {
            self.store_batch(now, &intake);
        }
        Acks { sequence: batch.sequence, acks, credit: self.accounts[account as usize].credit }
    }

    fn take_report(
        &mut self,
        now: Now,
        intake: &mut Intake<'_>,
        position: u32,
        report: &Report,
        missing: Option<&Missing>,
    ) -> Ack {
        let incoming = intake.incoming;
        let again = incoming.earlier == Earlier::Same;
        let Some(named) = incoming.signed.batch.jobs.get(usize::from(report.job)) else {
            return Ack::Invalid;
        };
        let Some(job) = self.jobs.get(&named.id) else {
            return self.ack_without_job(named.id, again);
        };
        if job.record.spec_digest != named.spec {
            return Ack::NoJob;
        }
        let unit = report.unit.0;
        let lease = self.leases.get_mut(&report.lease);
        let Some(lease) =
            lease.filter(|lease| lease.worker == intake.worker && lease.job == named.id)
        else {
            return ack_without_lease(job, unit, intake.worker, again);
        };
        let Some(offset) = lease.offset(unit) else { return Ack::NotLeased };
        if !lease.is_open(offset) {
            return if lease.was_given_back(offset) { Ack::NotLeased } else { Ack::Duplicate };
        }
        if job.settled.contains(unit) {
            self.close_unit(report.lease, unit, &mut intake.finished);
            return Ack::Late;
        }
        let ack = missing.map_or_else(|| plausible(job, report), |missing| missing.ack);
        let output = self.new_output(named.id, report);
        match ack {
            // It is on the worker's disk until there is.
            Ack::Accepted if !self.has_room(named.id, output) => Ack::Busy,
            Ack::Accepted if self.can_have_burnt(now, intake.worker, report) => {
                let ack = self.accept(intake, position, named.id, report);
                if let (Ack::Accepted, Some(output)) = (ack, output) {
                    self.keep_output(named.id, output);
                }
                ack
            }
            Ack::Accepted | Ack::Invalid => {
                let reason = match ack {
                    Ack::Accepted => {
                        "a worker claimed more fuel than its cores burn in the time since it was lent the unit"
                    }
                    _ => {
                        "a worker reported an output or fuel beyond the job's limits, or an output of another length"
                    }
                };
                self.close_unit_as_failed(now, report.lease, unit, reason, &mut intake.finished);
                Ack::Invalid
            }
            other => other,
        }
    }

    /// Whether a claim of fuel that nobody else will check is one that the worker's cores allow.
    fn can_have_burnt(&mut self, now: Now, worker: u32, report: &Report) -> bool {
        let Some(lease) = self.leases.get(&report.lease) else { return true };
        let Some(job) = self.jobs.get(&lease.job).filter(|job| job.single()) else { return true };
        let since_ms = match lease.state {
            LeaseState::Active { since_ms, .. } if self.loaded_leases <= report.lease => since_ms,
            // Nobody knows since when: as long as a lease lasts at most.
            _ => now.monotonic_ms.saturating_sub(job.spec.lease_s * 1000 * RENEWALS_MAX),
        };
        self.workers[worker as usize].burns(now.monotonic_ms, since_ms, report.fuel)
    }

    /// Stores a batch, and which of its reports have no verdict yet.
    fn store_batch(&mut self, now: Now, intake: &Intake<'_>) {
        let &Intake { worker, incoming, accepted, .. } = intake;
        let sequence = incoming.signed.batch.sequence;
        if incoming.earlier == Earlier::Nothing {
            let record = encode_batch(&incoming.signed.payload, &incoming.signed.signature);
            self.dirty.put_bytes(batch_key(Table::Batch, worker, sequence), record);
            self.dirty.batches.insert((worker, sequence), incoming.signed.payload.clone());
        }
        if let Some(open) = self.open.get_mut(&(worker, sequence)) {
            for &position in &intake.waiting {
                match open.record.positions.last_mut() {
                    Some((first, count)) if *first + *count == position => *count += 1,
                    _ => open.record.positions.push((position, 1)),
                }
            }
            self.dirty.open.insert((worker, sequence));
        }
        self.count_reports(worker, accepted);
        let worker = self.worker_mut(worker);
        worker.record.sequence = worker.record.sequence.max(sequence);
        worker.record.seen_at_ms = now.wall_ms;
        worker.succeed();
    }

    fn ack_without_job(&self, job: JobId, again: bool) -> Ack {
        let ended = 0 < job.0 && job.0 < self.meta.next_job && !self.cancelled.contains(job.0);
        match (ended, again) {
            (true, true) => Ack::Duplicate,
            (true, false) => Ack::Late,
            (false, _) => Ack::NoJob,
        }
    }
}

/// The answer to a report under a lease that is not (or no longer) the worker's.
fn ack_without_lease(job: &Job, unit: u64, worker: u32, again: bool) -> Ack {
    let votes = || {
        job.known
            .get(&unit)
            .is_some_and(|known| known.votes.iter().any(|vote| vote.place.worker == worker))
    };
    if again || votes() {
        return Ack::Duplicate;
    }
    if job.settled.contains(unit) { Ack::Late } else { Ack::NotLeased }
}

/// Whether a report can be right.
fn plausible(job: &Job, report: &Report) -> Ack {
    let output = match &report.outcome {
        Outcome::Done(output) => output.len(),
        Outcome::Failed(_) => 0,
    };
    let limits = &job.spec.limits;
    if limits.fuel < report.fuel || limits.output_bytes < output {
        Ack::Invalid
    } else {
        Ack::Accepted
    }
}
