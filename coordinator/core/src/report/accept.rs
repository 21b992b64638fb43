//! A report is accepted: it settles its unit at once, or waits for others to be compared with.

use super::Intake;
use crate::bounds::LOOKED_AGAIN;
use crate::queue::Run;
use crate::record::{LogEnd, OpenRecord, Place};
use crate::trust;
use crate::trust::estimate::{REFEREE, Standing};
use crate::verdict::Vote;
use crate::{Core, Open};
use proto::report::{Ack, Failure, Outcome, Report, Statement};
use proto::{Digest, JobId, LeaseId};

impl Core {
    /// Accepts a report of a unit that has no verdict.
    pub(super) fn accept(
        &mut self,
        intake: &mut Intake<'_>,
        position: u32,
        id: JobId,
        report: &Report,
    ) -> Ack {
        let Intake { worker, account, incoming, .. } = *intake;
        let Some(job) = self.jobs.get_mut(&id) else { return Ack::NoJob };
        if intake.accepted == 0 {
            // A verdict may rest on it at once.
            self.dirty.roots.insert((worker, incoming.signed.batch.sequence), incoming.signed.root);
        }
        job.returners.remove(worker);
        let unit = report.unit.0;
        let place = Place { worker, sequence: incoming.signed.batch.sequence, position };
        if job.single() {
            self.accept_single(account, place, id, report);
        } else if !self.accept_compared(intake, place, id, report) {
            self.close_unit(report.lease, unit, &mut intake.finished);
            return Ack::Late;
        }
        intake.accepted += 1;
        self.close_unit(report.lease, unit, &mut intake.finished);
        Ack::Accepted
    }

    /// Accepts a report of a job of one copy: it is the verdict.
    fn accept_single(&mut self, account: u32, place: Place, id: JobId, report: &Report) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (worker, unit) = (place.worker, report.unit.0);
        let votes = Vote {
            account,
            network: 0,
            standing: Standing::default(),
            referee: false,
            learned: false,
            place,
            fuel: report.fuel,
            result: unread(&report.outcome),
            trace_root: report.trace_root,
            statement: Digest([0; 32]),
        };
        job.count_report(self.now_ms, report.fuel);
        self.keep_log(id, unit, worker, log_end(report));
        self.settle(id, unit, &[votes], &[0]);
    }

    /// Accepts a report that is compared with others, unless its account has reported the unit before.
    fn accept_compared(
        &mut self,
        intake: &mut Intake<'_>,
        place: Place,
        id: JobId,
        report: &Report,
    ) -> bool {
        let Intake { worker, account, incoming, .. } = *intake;
        let Some(job) = self.jobs.get_mut(&id) else { return false };
        let unit = report.unit.0;
        let policy = job.policy();
        let record = &self.workers[worker as usize].record;
        let network = record.network;
        let referee = self.referees.contains(&worker);
        let standing = if referee {
            REFEREE
        } else if job.estimates() {
            self.standings.of(worker, account, network, trust::class(job, unit))
        } else {
            Standing::default()
        };
        let patient = job.patient();
        let mut votes = job.known.get(&unit).into_iter().flat_map(|known| &known.votes);
        if votes.any(|vote| vote.account == account) {
            return false;
        }
        job.count_report(self.now_ms, report.fuel);
        let known = job.known.entry(unit).or_default();
        let first = known.votes.is_empty();
        let statement = Statement::new(job.record.spec_digest, report);
        let before = known.missing(policy);
        known.patient = patient;
        known.votes.push(Vote {
            account,
            network,
            standing,
            referee,
            learned: false,
            place,
            fuel: report.fuel,
            result: statement.result,
            trace_root: report.trace_root,
            statement: statement.leaf(),
        });
        // Whatever else the account holds of the unit can add nothing: it came by a lease that was overdue.
        let (leases, workers) = (&self.leases, &self.workers);
        let holds = |lease: &LeaseId| {
            let holder = leases.get(lease).map(|lease| &workers[lease.worker as usize]);
            holder.is_some_and(|holder| holder.record.account == account)
        };
        let superfluous: Vec<LeaseId> =
            known.holders.extract_if(.., |lease| holds(lease)).collect();
        let (after, pooled) = (known.missing(policy), known.pooled);
        for lease in superfluous.into_iter().filter(|lease| *lease != report.lease) {
            self.close_unit(lease, unit, &mut intake.finished);
        }
        self.dirty.jobs.insert(id);
        let opened =
            || Open { record: OpenRecord::default(), root: incoming.signed.root, reports: 0 };
        self.open.entry((worker, place.sequence)).or_insert_with(opened).reports += 1;
        intake.waiting.push(place.position);
        if first {
            self.keep_log(id, unit, worker, log_end(report));
        }
        self.judge(id, unit);
        // One that waited for a referee may be in dispute now.
        if before < after || pooled && 0 < self.missing(id, unit) {
            self.put_back(id, Some(account), Run::new(unit, 1));
        }
        self.look_again(id, LOOKED_AGAIN);
        true
    }
}

/// What a unit came to, where nobody will compare it: the digest of an output is not worth its cost then.
fn unread(outcome: &Outcome) -> Result<Digest, Failure> {
    match outcome {
        Outcome::Done(_) => Ok(Digest([0; 32])),
        Outcome::Failed(failure) => Err(*failure),
    }
}

/// What a report says of the unit whose log is kept with it.
fn log_end(report: &Report) -> LogEnd {
    match report.outcome {
        Outcome::Done(_) => LogEnd::Done,
        Outcome::Failed(_) => LogEnd::Failed,
    }
}
