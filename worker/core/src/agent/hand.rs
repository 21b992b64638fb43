//! Batches that peers hold copies of. While the coordinator is away, what is finished goes into batches for peers alone;
//! whatever becomes of a unit's report, the batches that it was in are settled once none of their units is held.

use super::hold::Stage;
use super::link::Link;
use super::{Action, Agent, Effects, Now};
use proto::bounds::BATCH_REPORTS_MAX;
use proto::id::UnitId;
use proto::report::{Batch, JobRef, Outcome, Output, Report};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long the coordinator has to be away before reports go to peers: a restart is sooner over.
const HAND_OVER_AFTER: Duration = Duration::from_secs(10);
/// Time between two such batches: what is finished meanwhile shares one.
const HAND_OVER_EVERY: Duration = Duration::from_secs(5);
/// Bytes of outputs that do not travel inside reports and that go along with such a batch; a unit with a larger output
/// waits for the coordinator.
pub const HANDED_OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// Which batches the reports of held units are in.
#[derive(Clone, Debug, Default)]
pub(super) struct Hands {
    batches_of: BTreeMap<UnitId, Vec<u64>>,
    /// Held units of each batch.
    units_of: BTreeMap<u64, usize>,
    /// Units whose reports peers were given while the coordinator was away.
    handed: BTreeSet<UnitId>,
    not_before: Now,
}

impl Hands {
    /// A batch was made of the reports of these units.
    pub(super) fn made(&mut self, sequence: u64, units: &[UnitId]) {
        if units.is_empty() {
            return;
        }
        self.units_of.insert(sequence, units.len());
        for unit in units {
            self.batches_of.entry(*unit).or_default().push(sequence);
        }
    }

    /// A unit is held no more.
    pub(super) fn let_go(&mut self, id: UnitId, fx: &mut Effects) {
        self.handed.remove(&id);
        for sequence in self.batches_of.remove(&id).unwrap_or_default() {
            let Some(units) = self.units_of.get_mut(&sequence) else { continue };
            *units -= 1;
            if *units == 0 {
                self.units_of.remove(&sequence);
                fx.actions.push(Action::Settled(sequence));
            }
        }
    }
}

impl Agent {
    fn away_since(&self) -> Option<Now> {
        match &self.link {
            Link::Away { since, .. } | Link::Connecting { since, .. } => Some(*since),
            Link::Attached { .. } | Link::Refused { .. } => None,
        }
    }

    /// Units whose reports peers were given.
    pub(super) fn n_handed(&self) -> usize {
        self.hands.handed.len()
    }

    pub(super) fn hand_deadline(&self) -> Option<Now> {
        let away = self.away_since()?;
        let waiting = self.hands.handed.len() < self.n_unreported();
        waiting.then(|| (away + HAND_OVER_AFTER).max(self.hands.not_before))
    }

    /// Makes a batch for peers of what is finished and was in none.
    pub(super) fn advance_hands(&mut self, now: Now, fx: &mut Effects) {
        if self.hand_deadline().is_none_or(|at| now < at) {
            return;
        }
        self.hands.not_before = now + HAND_OVER_EVERY;
        let (mut jobs, mut positions) = (Vec::new(), BTreeMap::new());
        let (mut reports, mut units) = (Vec::new(), Vec::new());
        let mut room = HANDED_OUTPUT_BYTES_MAX;
        for (id, held) in &self.units {
            let (Stage::Finished(reportable), Some(job)) = (&held.stage, self.jobs.get(&id.job))
            else {
                continue;
            };
            let large = match &reportable.outcome {
                Outcome::Done(Output::Blob { len, .. }) => *len,
                Outcome::Done(Output::Inline(_)) | Outcome::Failed(_) => 0,
            };
            if self.hands.handed.contains(id) || room < large {
                continue;
            }
            room -= large;
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
            units.push(*id);
            if reports.len() == BATCH_REPORTS_MAX {
                break;
            }
        }
        if reports.is_empty() {
            return;
        }
        let sequence = self.next_sequence(fx);
        self.hands.made(sequence, &units);
        self.hands.handed.extend(units);
        let batch = Batch::new(self.config.project, self.config.worker, sequence, jobs, reports);
        fx.actions.push(Action::HandOver(batch));
    }
}
