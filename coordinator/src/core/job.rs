//! A running job. Its size in memory grows with what is active, never with its number of units.

use crate::core::bounds::RATE_MS;
use crate::core::queue::{Queue, Run};
use crate::core::record::{End, JobRecord, Place, Span};
use crate::core::unit::Unit;
use crate::core::verdict::Policy;
use proto::job::{JobSpec, Stage};
use proto::{JobId, LeaseId, UnitIndex};
use roaring::RoaringTreemap;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A job some of whose units have no verdict.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) spec: Arc<JobSpec>,
    pub(super) bytes: Arc<[u8]>,
    pub(super) record: JobRecord,
    pub(super) cut_units: u64,
    /// Units with a verdict.
    pub(super) settled: RoaringTreemap,
    /// Of these, failed or given up.
    pub(super) failed: RoaringTreemap,
    /// Units of which more is known; see [`Unit`].
    pub(super) known: HashMap<u64, Unit>,
    pub(super) queue: Queue,
    /// Settled inputs of merge units that do not have all of them.
    pub(super) merged: HashMap<u64, u32>,
    pub(super) leases: BTreeSet<LeaseId>,
    /// Units of active leases neither reported nor given back.
    pub(super) leased: u64,
    /// Active leases per worker.
    pub(super) holders: BTreeMap<u32, u32>,
    /// Verdicts since the last commit.
    pub(super) spans: Vec<Span>,
    pub(super) rate: Rate,
}

/// The recent rate of a job.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    since_ms: u64,
    settled: u64,
    /// Thousandths of a unit per second.
    pub(super) milli: u64,
}

impl Rate {
    pub(super) fn starting(now_ms: u64, settled: u64) -> Self {
        Self { since_ms: now_ms, settled, milli: 0 }
    }

    pub(super) fn update(&mut self, now_ms: u64, settled: u64) {
        let passed = now_ms.saturating_sub(self.since_ms);
        if RATE_MS <= passed {
            let milli = u128::from(settled - self.settled) * 1_000_000 / u128::from(passed);
            *self =
                Self { since_ms: now_ms, settled, milli: u64::try_from(milli).unwrap_or(u64::MAX) };
        }
    }
}

/// What may be done with a unit for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Lend it.
    Take,
    /// Others may take it.
    Others,
    /// It needs nobody.
    Nobody,
}

impl Job {
    pub(super) fn new(
        id: JobId,
        spec: Arc<JobSpec>,
        bytes: Arc<[u8]>,
        record: JobRecord,
        now_ms: u64,
    ) -> Self {
        Self {
            id,
            cut_units: spec.cut_units(),
            spec,
            bytes,
            rate: Rate::starting(now_ms, record.settled),
            record,
            settled: RoaringTreemap::new(),
            failed: RoaringTreemap::new(),
            known: HashMap::new(),
            queue: Queue::default(),
            merged: HashMap::new(),
            leases: BTreeSet::new(),
            leased: 0,
            holders: BTreeMap::new(),
            spans: Vec::new(),
        }
    }

    pub(super) fn policy(&self) -> Policy {
        Policy { copies: self.spec.copies }
    }

    /// Whether one report settles a unit, so that a unit lent once needs no entry.
    pub(super) fn single(&self) -> bool {
        self.spec.copies == 1
    }

    /// Fuel that a unit takes on average so far; `None` before the first report.
    pub(super) fn fuel_per_unit(&self) -> Option<u64> {
        let measured = self.record.settled - self.record.given_up;
        let mean = self.record.fuel.checked_div(u128::from(measured))?;
        Some(u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// Units of the cut that were never lent.
    pub(super) fn fresh(&self) -> u64 {
        self.cut_units - self.record.next_unit
    }

    /// What may be done with a unit of the queue for `account`; `account_of` tells whose a lease is.
    pub(super) fn fit(&self, unit: u64, account: u32, account_of: impl Fn(LeaseId) -> u32) -> Fit {
        if self.settled.contains(unit) {
            return Fit::Nobody;
        }
        let Some(known) = self.known.get(&unit) else { return Fit::Take };
        if known.missing(self.policy()) == 0 {
            return Fit::Nobody;
        }
        let said = known.said.iter().any(|said| said.account == account);
        if said || known.holders.iter().any(|&lease| account_of(lease) == account) {
            Fit::Others
        } else {
            Fit::Take
        }
    }

    /// Takes from a run the first units that `account` may be lent, at most `max`; puts the rest back where needed.
    pub(super) fn take_from(
        &mut self,
        group: Option<u32>,
        run: Run,
        account: u32,
        max: u32,
        account_of: impl Fn(LeaseId) -> u32,
    ) -> Option<(u64, u32)> {
        let mut others: Option<Run> = None;
        let mut taken: Option<(u64, u32)> = None;
        for unit in run.units() {
            let fit = self.fit(unit, account, &account_of);
            match (fit, &mut taken) {
                (Fit::Take, Some((_, count))) if *count < max => *count += 1,
                (Fit::Take, None) => taken = Some((unit, 1)),
                (_, Some(_)) => {
                    self.queue.push_front(group, Run::new(unit, run.first + run.count - unit));
                    break;
                }
                (Fit::Others, None) => match &mut others {
                    Some(others) if others.first + others.count == unit => others.count += 1,
                    _ => {
                        if let Some(others) = others.replace(Run::new(unit, 1)) {
                            self.queue.push(group, others);
                        }
                    }
                },
                (Fit::Nobody, None) => {}
            }
        }
        if let Some(others) = others {
            self.queue.push(group, others);
        }
        taken
    }

    /// Notes a verdict for the next commit; consecutive units that ended alike become one span.
    pub(super) fn note(&mut self, unit: u64, end: End) {
        if let Some(last) = self.spans.last_mut()
            && last.first + u64::from(last.count) == unit
            && continues(&last.end, &end, last.count)
        {
            last.count += 1;
            return;
        }
        self.spans.push(Span { first: unit, count: 1, end });
    }

    /// Whether a unit is one of the job's, and its stage.
    pub(super) fn stage(&self, unit: u64) -> Option<Stage> {
        self.spec.stage(UnitIndex(unit))
    }
}

/// Whether `next` is how the unit `count` units after the first of a span with `end` ends, if it belongs to the span.
fn continues(end: &End, next: &End, count: u32) -> bool {
    let follow = |places: &[Place], next: &[Place]| {
        places.len() == next.len()
            && places
                .iter()
                .zip(next)
                .all(|(place, next)| Place { position: place.position + count, ..*place } == *next)
    };
    match (end, next) {
        (End::Done(places), End::Done(next)) | (End::Failed(places), End::Failed(next)) => {
            follow(places, next)
        }
        (End::GivenUp(reason), End::GivenUp(next)) => reason == next,
        _ => false,
    }
}
