//! A running job. Its size in memory grows with what is active, never with its number of units.

use crate::bounds::RATE_MS;
use crate::logs::JobLogs;
use crate::queue::{Queue, Run};
use crate::record::{End, JobRecord, Place, Span};
use crate::returners::Returners;
use crate::trust::estimate::Risk;
use crate::trust::{Escrow, Pool, SoleReports};
use crate::unit::Unit;
use crate::verdict::{Policy, Vote};
use proto::job::{Outline, Stage};
use proto::{JobId, LeaseId, UnitIndex};
use roaring::RoaringTreemap;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A job some of whose units have no verdict.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    /// Of its specification, which is in the store and read when somebody needs it whole.
    pub(super) spec: Arc<Outline>,
    /// Bytes of the specification.
    pub(super) spec_bytes: u64,
    pub(super) record: JobRecord,
    pub(super) cut_units: u64,
    /// Units with a verdict.
    pub(super) settled: RoaringTreemap,
    /// Of these, failed or given up.
    pub(super) failed: RoaringTreemap,
    /// Of these, given up.
    pub(super) given_up: RoaringTreemap,
    /// Units whose verdict was withdrawn at least once.
    pub(super) again: RoaringTreemap,
    /// Units accepted on the word of one worker, by its number.
    pub(super) alone: BTreeMap<u32, SoleReports>,
    /// Units that wait for their worker to pass a check.
    pub(super) escrow: Escrow,
    /// Units that wait for a referee's check.
    pub(super) pool: Pool,
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
    /// Workers that gave units back.
    pub(super) returners: Returners,
    /// Verdicts since the last commit.
    pub(super) spans: Vec<Span>,
    pub(super) rate: Rate,
    pub(super) logs: JobLogs,
    /// When a report of it was accepted last, on the monotonic clock.
    pub(super) moved_ms: u64,
    /// Reports accepted since the start, and their fuel: what units cost before any has its verdict.
    claimed: (u64, u128),
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
            let milli =
                u128::from(settled.saturating_sub(self.settled)) * 1_000_000 / u128::from(passed);
            *self =
                Self { since_ms: now_ms, settled, milli: u64::try_from(milli).unwrap_or(u64::MAX) };
        }
    }
}

/// Who answers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Voter {
    /// Number of the account.
    pub(super) account: u32,
    /// The network; 0 when it tells nothing.
    pub(super) network: u64,
}

impl Voter {
    /// Whether both answer together.
    pub(super) fn is_with(self, other: Self) -> bool {
        self.account == other.account || self.network != 0 && self.network == other.network
    }
}

/// What may be done with a unit for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eligibility {
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
        spec: Arc<Outline>,
        spec_bytes: u64,
        record: JobRecord,
        now_ms: u64,
    ) -> Self {
        Self {
            id,
            cut_units: spec.cut_units,
            spec,
            spec_bytes,
            rate: Rate::starting(now_ms, record.settled),
            logs: JobLogs::default(),
            moved_ms: now_ms,
            record,
            settled: RoaringTreemap::new(),
            failed: RoaringTreemap::new(),
            given_up: RoaringTreemap::new(),
            again: RoaringTreemap::new(),
            alone: BTreeMap::new(),
            escrow: Escrow::default(),
            pool: Pool::default(),
            known: HashMap::new(),
            queue: Queue::default(),
            merged: HashMap::new(),
            leases: BTreeSet::new(),
            leased: 0,
            holders: BTreeMap::new(),
            returners: Returners::default(),
            spans: Vec::new(),
            claimed: (0, 0),
        }
    }

    /// Counts an accepted report.
    pub(super) fn count_report(&mut self, now_ms: u64, fuel: u64) {
        self.record.copies += 1;
        self.moved_ms = now_ms;
        self.claimed.0 += 1;
        self.claimed.1 += u128::from(fuel);
    }

    pub(super) fn policy(&self) -> Policy {
        self.spec.confidence.map_or(Policy::Copies(self.spec.copies), Policy::Confidence)
    }

    /// Whether the job asks for confidence, and not for copies.
    pub(super) fn estimates(&self) -> bool {
        self.spec.confidence.is_some()
    }

    /// Units of the cut without a verdict.
    pub(super) fn cut_unsettled(&self) -> u64 {
        let settled = if self.spec.merge.is_none() {
            self.settled.len()
        } else {
            self.settled.range_cardinality(0..self.cut_units)
        };
        self.cut_units - settled
    }

    /// Settled inputs of a merge unit, and how many it takes; `None` for units of the cut.
    pub(super) fn inputs(&self, unit: u64) -> Option<(u64, u64)> {
        if unit < self.cut_units {
            return None;
        }
        let Some(Stage::Merge { first, count, .. }) = self.stage(unit) else { return None };
        let inputs = first.0..first.0 + u64::from(count);
        Some((self.settled.range_cardinality(inputs), count.into()))
    }

    /// Whether one report settles a unit, so that a unit lent once needs no entry.
    pub(super) fn single(&self) -> bool {
        self.spec.copies == 1 && self.spec.confidence.is_none()
    }

    /// Fuel that a unit takes on average so far, by verdicts, or by what reports claim while there is none; `None` before the
    /// first report.
    pub(super) fn fuel_per_unit(&self) -> Option<u64> {
        let measured = self.record.settled - self.record.given_up;
        let (count, fuel) = if measured == 0 { self.claimed } else { (measured, self.record.fuel) };
        let mean = fuel.checked_div(u128::from(count))?;
        Some(u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// Units of the cut that were never lent.
    pub(super) fn fresh(&self) -> u64 {
        self.cut_units - self.record.next_unit
    }

    /// What may be done with a unit of the queue for `asking`; `party_of` tells whose a lease is.
    pub(super) fn fit(
        &self,
        unit: u64,
        asking: Voter,
        party_of: impl Fn(LeaseId) -> Voter,
    ) -> Eligibility {
        if self.settled.contains(unit) || self.inputs(unit).is_some_and(|(have, all)| have < all) {
            return Eligibility::Nobody;
        }
        let Some(known) = self.known.get(&unit) else { return Eligibility::Take };
        if known.missing(self.policy()) == 0 {
            return Eligibility::Nobody;
        }
        if self.clash(known, asking, party_of) { Eligibility::Others } else { Eligibility::Take }
    }

    /// Whether somebody who answers together with `asking` has reported or holds the unit.
    pub(super) fn clash(
        &self,
        known: &Unit,
        asking: Voter,
        party_of: impl Fn(LeaseId) -> Voter,
    ) -> bool {
        let same = |party: Voter| party.is_with(asking);
        let voter = |vote: &Vote| Voter { account: vote.account, network: vote.network };
        known.votes.iter().any(|report| same(voter(report)))
            || known.refuted.iter().any(|&party| same(party))
            || known.holders.iter().any(|&lease| same(party_of(lease)))
    }

    /// Takes from a run the first units that `asking` may be lent, at most `max`; puts the rest back where needed.
    pub(super) fn take_from(
        &mut self,
        group: Option<u32>,
        run: Run,
        asking: Voter,
        max: u32,
        party_of: impl Fn(LeaseId) -> Voter,
    ) -> Option<(u64, u32)> {
        let mut others: Option<Run> = None;
        let mut taken: Option<(u64, u32)> = None;
        for unit in run.units() {
            let fit = self.fit(unit, asking, &party_of);
            match (fit, &mut taken) {
                (Eligibility::Take, Some((_, count))) if *count < max => *count += 1,
                (Eligibility::Take, None) => taken = Some((unit, 1)),
                (_, Some(_)) => {
                    self.queue.push_front(group, Run::new(unit, run.first + run.count - unit));
                    break;
                }
                (Eligibility::Others, None) => match &mut others {
                    Some(others) if others.first + others.count == unit => others.count += 1,
                    _ => {
                        if let Some(others) = others.replace(Run::new(unit, 1)) {
                            self.queue.push(group, others);
                        }
                    }
                },
                (Eligibility::Nobody, None) => {}
            }
        }
        if let Some(others) = others {
            self.queue.push(group, others);
        }
        taken
    }

    /// Notes a verdict for the next commit; consecutive units that ended alike become one span.
    pub(super) fn note(&mut self, unit: u64, end: End, risk: Risk, fuel: u64) {
        let fuel = u128::from(fuel);
        if let Some(last) = self.spans.last_mut()
            && last.first + u64::from(last.count) == unit
            && last.risk == risk
            && continues(&last.end, &end, last.count)
        {
            last.count += 1;
            last.fuel += fuel;
            return;
        }
        self.spans.push(Span { first: unit, count: 1, end, risk, fuel });
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
            && places.iter().zip(next).all(|(place, next)| place.following(count) == *next)
    };
    match (end, next) {
        (End::Done(places), End::Done(next)) | (End::Failed(places), End::Failed(next)) => {
            follow(places, next)
        }
        (End::GivenUp(reason), End::GivenUp(next))
        | (End::Withdrawn(reason), End::Withdrawn(next)) => reason == next,
        _ => false,
    }
}
