//! What is kept on disk, and how an agent is made from it after a restart.

use super::hold::{Job, Reportable, Stage};
use super::{Agent, Config, Effects, Lease, Now};
use proto::id::UnitId;
use proto::job::Extra;
use proto::report::Outcome;
use proto::{Digest, JobId, LeaseId, UnitIndex};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// One change of what a worker holds. The order of the variants is part of the format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// No sequence up to this one is used for a batch again.
    Sequence(u64),
    /// A job of which units are held.
    Job {
        /// Its number.
        id: JobId,
        /// Its specification, as it was submitted.
        spec: Vec<u8>,
    },
    /// Units were lent.
    Lease {
        /// The lease.
        id: LeaseId,
        /// The job.
        job: JobId,
        /// The first unit.
        first: UnitIndex,
        /// How many.
        count: u32,
        /// How long it is good without being renewed, milliseconds.
        duration_ms: u64,
        /// Empty, or one per unit.
        extras: Vec<Extra>,
    },
    /// A unit ended with a result that has to be reported. Must be on disk before it is reported.
    Finished {
        /// Which unit.
        unit: UnitId,
        /// Under which lease.
        lease: LeaseId,
        /// Its result.
        outcome: Outcome,
        /// Fuel burnt.
        fuel: u64,
        /// Root over its trace.
        trace_root: Option<Digest>,
    },
    /// These units are held no more: acknowledged, given back or cancelled.
    Gone(Vec<UnitId>),
}

impl Record {
    pub(super) fn lease(lease: &Lease) -> Self {
        Self::Lease {
            id: lease.id,
            job: lease.job,
            first: lease.first,
            count: lease.count,
            duration_ms: u64::try_from(lease.duration.as_millis()).unwrap_or(u64::MAX),
            extras: lease.extras.clone(),
        }
    }

    /// Whether it must survive a loss of power: a result that was computed. All else is learnt again.
    #[must_use]
    pub fn is_precious(&self) -> bool {
        matches!(self, Self::Finished { .. })
    }
}

impl Agent {
    /// An agent that holds what the records say. Units in `snapshots` go first. Leases get their full time again: how
    /// long the program was away cannot be known from a monotonic clock, and the coordinator says if they are gone.
    #[must_use]
    pub fn restore(
        config: Config,
        records: impl IntoIterator<Item = Record>,
        snapshots: &BTreeSet<UnitId>,
    ) -> Self {
        let mut agent = Self::new(config);
        for record in records {
            agent.replay(record);
        }
        for id in snapshots {
            if agent.units.get(id).is_some_and(|held| matches!(held.stage, Stage::Waiting)) {
                agent.runs.started.insert(*id);
                if let Some(job) = agent.jobs.get_mut(&id.job) {
                    job.waiting.push_front(id.unit);
                }
            }
        }
        agent
    }

    fn replay(&mut self, record: Record) {
        // Nothing is to be done for what was done before the restart.
        let mut ignored = Effects::default();
        match record {
            Record::Sequence(reserved) => self.restore_sequence(reserved),
            Record::Job { id, spec } => {
                let job = self.jobs.entry(id).or_insert_with(|| Job::new(spec));
                job.recorded = true;
            }
            Record::Lease { id, job, first, count, duration_ms, extras } => {
                let duration = Duration::from_millis(duration_ms);
                let in_bounds = count <= proto::bounds::LEASE_UNITS_MAX
                    && first.0.checked_add(count.into()).is_some();
                if in_bounds && self.jobs.contains_key(&job) {
                    self.hold(Now::ZERO, Lease { id, job, first, count, duration, extras });
                }
            }
            Record::Finished { unit, lease: _, outcome, fuel, trace_root } => {
                if !self.units.contains_key(&unit) {
                    return;
                }
                let reportable = Reportable { outcome, fuel, trace_root };
                self.enter(unit, Stage::Finished(reportable.clone()));
                self.offer(Now::ZERO, unit, &reportable);
            }
            Record::Gone(units) => {
                for id in units {
                    self.let_go(id, &mut ignored);
                }
            }
        }
    }

    /// Records from which an equal agent can be made: what a journal is compacted to.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Sequence(self.reserved_sequence())];
        let jobs = self.jobs.iter().filter(|(_, job)| 0 < job.n_held);
        records
            .extend(jobs.map(|(id, job)| Record::Job { id: *id, spec: job.spec_bytes.to_vec() }));
        let mut run: Option<Lease> = None;
        for (id, held) in &self.units {
            let duration =
                self.leases.get(&held.lease).map_or(Duration::ZERO, |lease| lease.duration);
            let extra = held.extra.as_deref().cloned();
            match &mut run {
                Some(lease) if lease.is_followed_by(*id, held.lease, extra.is_some()) => {
                    lease.count += 1;
                    lease.extras.extend(extra);
                }
                _ => {
                    let next = Lease {
                        id: held.lease,
                        job: id.job,
                        first: id.unit,
                        count: 1,
                        duration,
                        extras: extra.into_iter().collect(),
                    };
                    records.extend(run.replace(next).as_ref().map(Record::lease));
                }
            }
        }
        records.extend(run.as_ref().map(Record::lease));
        for (id, held) in &self.units {
            if let Stage::Finished(reportable) | Stage::Sent(reportable) = &held.stage {
                records.push(Record::Finished {
                    unit: *id,
                    lease: held.lease,
                    outcome: reportable.outcome.clone(),
                    fuel: reportable.fuel,
                    trace_root: reportable.trace_root,
                });
            }
        }
        records
    }
}

impl Lease {
    fn is_followed_by(&self, id: UnitId, lease: LeaseId, with_extra: bool) -> bool {
        self.id == lease
            && self.job == id.job
            && self.first.0 + u64::from(self.count) == id.unit.0
            && with_extra != self.extras.is_empty()
            && self.count < proto::bounds::LEASE_UNITS_MAX
    }
}
