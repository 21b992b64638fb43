//! Reports: kept, their outputs put, sent in batches, acknowledged, forgotten.

use super::hold::{Reportable, Stage};
use super::link::Link;
use super::{Action, Agent, Effects, ErrandId, Message, Now, Record, Return, Source};
use proto::Digest;
use proto::id::UnitId;
use proto::report::{Ack, Batch, JobRef, Report};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How long a report waits for others to share its batch: hides in any network's delay, and makes batches of hundreds
/// when units are short.
const BATCH_DELAY: Duration = Duration::from_millis(20);
/// Batches sent and not yet answered: fills a long line without flooding the coordinator.
const BATCHES_IN_FLIGHT_MAX: usize = 16;
/// Outputs put at the same time.
const PUTS_MAX: usize = 4;
/// Wait before something that the coordinator could not take is offered again; for outputs it grows with each time, up
/// to [`AGAIN_TIMES_MAX`] of it.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
const AGAIN_TIMES_MAX: u32 = 60;
/// Times that the state of a show is tried to be put: nobody waits for it for long.
const STATE_TRIES_MAX: u32 = 3;
/// Sequences that are recorded as used at a time.
const SEQUENCE_STRIDE: u64 = 4096;

/// Reports on disk that are not acknowledged.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports {
    /// Units in stage Finished whose output is there, in order; entries of units that left the stage are skipped.
    pub(super) offered: VecDeque<UnitId>,
    offered_since: Now,
    /// Not before this time is a batch made: the coordinator was busy.
    not_before: Now,
    pub(super) batches: BTreeMap<u64, Sent>,
    pub(super) uploads: BTreeMap<Digest, Upload>,
    /// Units to be given back at the next chance.
    pub(super) returns: Vec<Return>,
    sequence: u64,
    reserved: u64,
}

/// A batch that is not answered.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) units: Vec<UnitId>,
    since: Now,
}

/// An output, or a state that is shown, that travels as a blob.
#[derive(Clone, Debug, Default)]
pub(super) struct Upload {
    pub(super) units: BTreeSet<UnitId>,
    pub(super) shows: BTreeSet<ErrandId>,
    pub(super) state: UploadState,
    n_tries: u32,
}

impl Upload {
    /// Nobody waits for it any more. One that is being put stays until that has ended, so that no blob is put twice at a
    /// time.
    fn has_served(&self) -> bool {
        self.units.is_empty() && self.shows.is_empty() && self.state != UploadState::Putting
    }
}

/// How far an output is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum UploadState {
    #[default]
    Queued,
    Later(Now),
    Putting,
    There,
}

impl Agent {
    /// A report on disk may go on its way, after its output.
    pub(super) fn offer(&mut self, now: Now, id: UnitId, reportable: &Reportable) {
        if let Some(digest) = Self::large_output(reportable) {
            let upload = self.reports.uploads.entry(digest).or_default();
            upload.units.insert(id);
            if upload.state != UploadState::There {
                return;
            }
        }
        if self.reports.offered.is_empty() {
            self.reports.offered_since = now;
        }
        self.reports.offered.push_back(id);
    }

    pub(super) fn reports_attached(&mut self, sequence: u64) {
        self.reports.sequence = self.reports.sequence.max(sequence);
        self.reports.not_before = Now::ZERO;
    }

    /// Batches without an answer are made anew on the next stream, under new sequences: the coordinator tells reports
    /// that it has by their units.
    pub(super) fn reports_detached(&mut self) {
        let batches = std::mem::take(&mut self.reports.batches);
        let units: Vec<_> = batches.into_values().flat_map(|batch| batch.units).collect();
        for id in units.into_iter().rev() {
            if self.unsend(id) {
                self.reports.offered.push_front(id);
            }
        }
        for upload in self.reports.uploads.values_mut() {
            if upload.state == UploadState::Putting {
                upload.state = UploadState::Queued;
            }
        }
        self.reports.uploads.retain(|_, upload| !upload.has_served());
    }

    /// From Sent back to Finished; false when the unit is not in that stage.
    fn unsend(&mut self, id: UnitId) -> bool {
        let Some(held) = self.units.get_mut(&id) else { return false };
        let Stage::Sent(reportable) = &held.stage else { return false };
        held.stage = Stage::Finished(reportable.clone());
        true
    }

    pub(super) fn unanswered_since(&self) -> Option<Now> {
        let batch = self.reports.batches.first_key_value().map(|(_, batch)| batch.since);
        [batch, self.want.unanswered_since()].into_iter().flatten().min()
    }

    pub(super) fn reports_deadline(&self) -> Option<Now> {
        if !self.is_attached() {
            return None;
        }
        let reports = &self.reports;
        let batch = !reports.offered.is_empty() && reports.batches.len() < BATCHES_IN_FLIGHT_MAX;
        let batch = batch.then(|| (reports.offered_since + BATCH_DELAY).max(reports.not_before));
        let later = reports.uploads.values().filter_map(|upload| match upload.state {
            UploadState::Later(at) => Some(at),
            _ => None,
        });
        later.chain(batch).min()
    }

    pub(super) fn advance_reports(&mut self, now: Now, fx: &mut Effects) {
        if !self.is_attached() {
            return;
        }
        if !self.reports.uploads.is_empty() {
            self.advance_uploads(now, fx);
        }
        let Link::Attached { batch_reports_max, .. } = self.link else { return };
        while !self.reports.offered.is_empty()
            && self.reports.batches.len() < BATCHES_IN_FLIGHT_MAX
            && self.reports.not_before <= now
            && (batch_reports_max <= self.reports.offered.len()
                || self.reports.offered_since + BATCH_DELAY <= now
                || self.is_stopping())
        {
            self.send_batch(now, batch_reports_max, fx);
        }
    }

    fn advance_uploads(&mut self, now: Now, fx: &mut Effects) {
        let mut n_putting =
            self.reports.uploads.values().filter(|up| up.state == UploadState::Putting).count();
        for (digest, upload) in &mut self.reports.uploads {
            if PUTS_MAX <= n_putting {
                return;
            }
            let due = match upload.state {
                UploadState::Queued => true,
                UploadState::Later(at) => at <= now,
                UploadState::Putting | UploadState::There => false,
            };
            if due {
                upload.state = UploadState::Putting;
                upload.n_tries += 1;
                n_putting += 1;
                let output = upload.units.first().map(|unit| Source::Output(*unit));
                let shown = upload.shows.first().and_then(|show| self.errands.state_run(*show));
                let from = output.or_else(|| shown.map(|run| Source::State { run }));
                fx.actions.extend(from.map(|from| Action::Put { digest: *digest, from }));
            }
        }
    }

    fn send_batch(&mut self, now: Now, batch_reports_max: usize, fx: &mut Effects) {
        let (mut jobs, mut positions) = (Vec::new(), BTreeMap::new());
        let (mut reports, mut units) = (Vec::new(), Vec::new());
        while reports.len() < batch_reports_max {
            let Some(id) = self.reports.offered.pop_front() else { break };
            let Some(held) = self.units.get_mut(&id) else { continue };
            let Stage::Finished(reportable) = &held.stage else { continue };
            let Some(job) = self.jobs.get(&id.job) else { continue };
            let position = *positions.entry(id.job).or_insert_with(|| {
                jobs.push(JobRef { id: id.job, spec: job.digest });
                u16::try_from(jobs.len() - 1).expect("a batch is shorter than that")
            });
            reports.push(Report {
                job: position,
                lease: held.lease,
                unit: id.unit,
                outcome: reportable.outcome.clone(),
                fuel: reportable.fuel,
                trace_root: reportable.trace_root,
            });
            held.stage = Stage::Sent(reportable.clone());
            units.push(id);
        }
        self.reports.offered_since = now;
        if reports.is_empty() {
            return;
        }
        let sequence = self.next_sequence(fx);
        self.hands.made(sequence, &units);
        self.reports.batches.insert(sequence, Sent { units, since: now });
        let batch = Batch::new(self.config.project, self.config.worker, sequence, jobs, reports);
        fx.actions.push(Action::Send(Message::Reports(batch)));
    }

    pub(super) fn next_sequence(&mut self, fx: &mut Effects) -> u64 {
        self.reports.sequence += 1;
        if self.reports.reserved < self.reports.sequence {
            self.reports.reserved = self.reports.sequence + SEQUENCE_STRIDE;
            fx.records.push(Record::Sequence(self.reports.reserved));
        }
        self.reports.sequence
    }

    /// Takes up what was recorded: no sequence up to this one is used again.
    pub(super) fn restore_sequence(&mut self, reserved: u64) {
        self.reports.sequence = self.reports.sequence.max(reserved);
        self.reports.reserved = self.reports.sequence;
    }

    pub(super) fn reserved_sequence(&self) -> u64 {
        self.reports.reserved
    }

    pub(super) fn acknowledged(
        &mut self,
        now: Now,
        sequence: u64,
        status: &[Ack],
        credit: u64,
        fx: &mut Effects,
    ) {
        let Some(sent) = self.reports.batches.remove(&sequence) else { return };
        self.credit = credit;
        if status.len() != sent.units.len() {
            fx.actions.push(Action::Say(format!(
                "the coordinator answered {} of {} reports: they are offered again",
                status.len(),
                sent.units.len()
            )));
        }
        for (index, id) in sent.units.into_iter().enumerate() {
            match status.get(index) {
                Some(Ack::OutputMissing) => self.put_again(now, id, fx),
                Some(Ack::Busy) | None => self.offer_again(now, id),
                Some(ack) => {
                    self.totals.count(*ack);
                    if matches!(ack, Ack::NotLeased | Ack::NoJob | Ack::Invalid) {
                        fx.actions.push(Action::Say(format!(
                            "the report of {id} was not taken: {ack:?}"
                        )));
                    }
                    self.let_go(id, fx);
                }
            }
        }
    }

    fn offer_again(&mut self, now: Now, id: UnitId) {
        if self.unsend(id) {
            self.reports.not_before = now + AGAIN_AFTER;
            self.reports.offered.push_back(id);
        }
    }

    fn put_again(&mut self, now: Now, id: UnitId, fx: &mut Effects) {
        if !self.unsend(id) {
            return;
        }
        let Some(Stage::Finished(reportable)) = self.units.get(&id).map(|held| &held.stage) else {
            return;
        };
        let Some(digest) = Self::large_output(reportable) else {
            return self.give_back(
                id,
                "the coordinator misses an output that is inside the report",
                true,
                fx,
            );
        };
        let upload = self.reports.uploads.entry(digest).or_default();
        upload.units.insert(id);
        if upload.state == UploadState::There {
            upload.state =
                UploadState::Later(now + AGAIN_AFTER * upload.n_tries.clamp(1, AGAIN_TIMES_MAX));
        }
    }

    /// The output was put, or the coordinator would not have it: its answer to the report says what comes next.
    pub(super) fn put(
        &mut self,
        now: Now,
        digest: Digest,
        result: Result<(), String>,
        fx: &mut Effects,
    ) {
        let Some(upload) = self.reports.uploads.get_mut(&digest) else { return };
        if upload.state != UploadState::Putting {
            return;
        }
        if let Err(reason) = &result {
            fx.actions.push(Action::Say(format!("output {digest} could not be put: {reason}")));
            if upload.units.is_empty() && upload.n_tries < STATE_TRIES_MAX {
                upload.state = UploadState::Later(now + AGAIN_AFTER);
                self.reports.uploads.retain(|_, upload| !upload.has_served());
                return;
            }
        }
        upload.state = UploadState::There;
        let shows = upload.shows.clone();
        for id in &upload.units {
            if self.units.get(id).is_some_and(|held| matches!(held.stage, Stage::Finished(_))) {
                self.reports.offered.push_back(*id);
            }
        }
        self.reports.offered_since = now;
        for show in shows {
            self.state_put(show, result.clone(), fx);
        }
        self.reports.uploads.retain(|_, upload| !upload.has_served());
    }

    /// The state of a show lies on disk and is to be put.
    pub(super) fn put_state(&mut self, show: ErrandId, digest: Digest) {
        let upload = self.reports.uploads.entry(digest).or_default();
        upload.shows.insert(show);
        // What was put for a report may have gone since.
        if upload.state == UploadState::There {
            upload.state = UploadState::Queued;
        }
    }

    /// A show waits for its state no more.
    pub(super) fn forget_state(&mut self, show: ErrandId, digest: Digest) {
        let Some(upload) = self.reports.uploads.get_mut(&digest) else { return };
        upload.shows.remove(&show);
        if upload.has_served() {
            self.reports.uploads.remove(&digest);
        }
    }

    /// The output is not on disk any more, or damaged: its units are for others.
    pub(super) fn output_lost(&mut self, digest: Digest, reason: &str, fx: &mut Effects) {
        let Some(upload) = self.reports.uploads.get_mut(&digest) else { return };
        upload.state = UploadState::There;
        for show in upload.shows.clone() {
            self.state_put(show, Err(reason.to_owned()), fx);
        }
        let units = self.reports.uploads.get(&digest).map(|upload| upload.units.clone());
        for id in units.unwrap_or_default() {
            self.give_back(id, &format!("its output was lost: {reason}"), false, fx);
        }
        self.reports.uploads.retain(|_, upload| !upload.has_served());
    }

    /// The report is acknowledged or given up: its output has served.
    pub(super) fn forget_report(&mut self, id: UnitId, reportable: &Reportable, fx: &mut Effects) {
        let Some(digest) = Self::large_output(reportable) else { return };
        fx.actions.push(Action::ForgetOutput(id));
        let Some(upload) = self.reports.uploads.get_mut(&digest) else { return };
        upload.units.remove(&id);
        if upload.has_served() {
            self.reports.uploads.remove(&digest);
        }
    }

    /// How many reports are on disk and not acknowledged.
    pub(super) fn n_unreported(&self) -> usize {
        self.jobs.values().map(|job| job.n_held - job.n_open).sum()
    }
}
