//! Units that wait for their worker to pass a check. A trusted worker's unit takes one report, but its verdict comes only
//! when the worker has passed a check of that or of a later unit: so one that turns bad for good is caught before
//! anything of the sort is handed out.

use crate::Core;
use crate::bounds::KNOWN_UNITS_MAX;
use crate::job::Job;
use crate::queue::Run;
use crate::verdict::{self, Vote};
use proto::JobId;
use std::collections::BTreeMap;

/// Most units of a worker that wait for one check: four times as many as on average.
const WAITING_MAX: usize = 400;

/// Units of one job that wait for their worker to pass a check.
#[derive(Debug, Default)]
pub(crate) struct Escrow {
    /// By worker, in the order reported, those since the last check that was drawn.
    held: BTreeMap<u32, Vec<u64>>,
    /// Checks drawn: by the unit that is checked, its worker and the units that wait for it.
    drawn: BTreeMap<u64, (u32, Vec<u64>)>,
    waiting: u64,
}

impl Escrow {
    fn hold(&mut self, worker: u32, unit: u64) {
        self.held.entry(worker).or_default().push(unit);
        self.waiting += 1;
    }

    /// Draws a check of a unit that is not held; what its worker has waiting waits for it.
    fn draw(&mut self, worker: u32, unit: u64) {
        let waiting = self.held.remove(&worker).unwrap_or_default();
        self.drawn.insert(unit, (worker, waiting));
    }

    /// Takes out a check that is over, with what waited for it.
    fn close(&mut self, unit: u64) -> Option<(u32, Vec<u64>)> {
        let closed = self.drawn.remove(&unit)?;
        self.waiting -= closed.1.len() as u64;
        Some(closed)
    }

    /// Takes out one unit of a worker that waits.
    fn take(&mut self, worker: u32, unit: u64) {
        let drawn = self.drawn.values_mut().filter(|(of, _)| *of == worker).map(|(_, units)| units);
        for units in self.held.get_mut(&worker).into_iter().chain(drawn) {
            if let Some(at) = units.iter().position(|held| *held == unit) {
                units.remove(at);
                self.waiting -= 1;
            }
        }
        self.held.retain(|_, units| !units.is_empty());
    }

    /// Takes out all units of the worker that wait, and its checks.
    fn dissolve(&mut self, worker: u32) -> Vec<u64> {
        let mut units = self.held.remove(&worker).unwrap_or_default();
        let checks = self.drawn.iter().filter(|(_, (of, _))| *of == worker);
        let checks: Vec<u64> = checks.map(|(unit, _)| *unit).collect();
        for check in checks {
            units.extend(self.drawn.remove(&check).map(|(_, units)| units).unwrap_or_default());
        }
        self.waiting -= units.len() as u64;
        units
    }

    fn waiting_of(&self, worker: u32) -> usize {
        self.held.get(&worker).map_or(0, Vec::len)
    }

    /// All units that wait, each once unless something is wrong.
    pub(crate) fn all(&self) -> impl Iterator<Item = u64> + '_ {
        self.held.values().chain(self.drawn.values().map(|(_, units)| units)).flatten().copied()
    }

    /// Units that wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Checks drawn that are not over.
    pub(crate) fn checks(&self) -> u64 {
        self.drawn.len() as u64
    }
}

/// Segments that the trace of a unit has, as far as its fuel tells.
#[expect(clippy::cast_precision_loss, reason = "a chance is made of it")]
fn segments(job: &Job, vote: &Vote) -> f64 {
    if vote.trace_root.is_none() { 1.0 } else { vote.fuel as f64 / job.spec.trace_fuel as f64 }
}

impl Core {
    /// Notes that a unit has the one report that would be enough; a check may be drawn.
    pub(crate) fn hold_or_check(&mut self, id: JobId, unit: u64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(known) = job.known.get(&unit) else { return };
        let Some(vote) = known.votes.first() else { return };
        if known.held {
            return;
        }
        let (worker, account) = (vote.place.worker, vote.account);
        // What a merge is built on must stand, a failure costs all that is built on it: both are rare, and always
        // checked.
        let weighty = job.cut_units <= unit || vote.result.is_err();
        let (segments, looked) = (segments(job, vote), known.looked);
        // Of what is spent on checks, half buys segments where there are any: as many more as they are shorter.
        let floor = if segments < 2.0 { self.check_floor } else { self.check_floor / 2.0 };
        let drawn = WAITING_MAX <= job.escrow.waiting_of(worker) || self.prng.happens(floor);
        let segment = !weighty && !drawn && !looked && 2.0 <= segments;
        if segment && self.prng.happens(floor * segments) && self.open_check(id, unit) {
            return;
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(known) = job.known.get_mut(&unit) else { return };
        if weighty {
            known.checked = true;
        } else if drawn {
            known.checked = true;
            job.escrow.draw(worker, unit);
        } else {
            known.held = true;
            job.escrow.hold(worker, unit);
            return;
        }
        if 0 < self.missing(id, unit) {
            self.put_back(id, Some(account), Run::new(unit, 1));
        }
        self.watch(id, unit);
    }

    /// Takes a unit out of those that wait; nothing if it does not.
    pub(crate) fn no_longer_held(job: &mut Job, unit: u64) {
        if let Some(known) = job.known.get_mut(&unit).filter(|known| known.held) {
            known.held = false;
            for vote in &known.votes {
                job.escrow.take(vote.place.worker, unit);
            }
        }
    }

    /// A unit that may have been a check has its verdict: what waited for it is settled when its worker has passed, and
    /// waits for the next check if that worker's report was not needed.
    pub(crate) fn close_gate(&mut self, id: JobId, unit: u64, agreeing: &[u32]) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some((worker, units)) = job.escrow.close(unit) else { return };
        for unit in units {
            let Some(job) = self.jobs.get_mut(&id) else { return };
            let Some(known) = job.known.get_mut(&unit) else { continue };
            if agreeing.contains(&worker) {
                known.held = false;
                let agreeing = verdict::agreeing_alone(&known.votes);
                self.reach(id, unit, &agreeing);
            } else {
                job.escrow.hold(worker, unit);
            }
        }
    }

    /// A worker was caught: nothing of it waits for its checks any more. Gives the units that did.
    pub(super) fn dissolve_escrow(job: &mut Job, worker: u32) {
        for unit in job.escrow.dissolve(worker) {
            if let Some(known) = job.known.get_mut(&unit) {
                known.held = false;
            }
        }
    }

    /// Draws the last checks of jobs of which nothing is left but units that wait for one, and of jobs of which too many
    /// wait: of each worker the newest, so that nobody gets away with lying at the end.
    pub(crate) fn close_escrow(&mut self) {
        let ripe = |job: &Job| {
            let all = job.escrow.waiting() + job.escrow.checks() + job.pool.waiting();
            0 < job.escrow.waiting()
                && (job.cut_unsettled() <= all || KNOWN_UNITS_MAX / 2 <= job.known.len())
        };
        let jobs: Vec<JobId> = self
            .dirty
            .jobs
            .iter()
            .filter(|id| self.jobs.get(id).is_some_and(ripe))
            .copied()
            .collect();
        for id in jobs {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let workers: Vec<u32> = job.escrow.held.keys().copied().collect();
            for worker in workers {
                let Some(job) = self.jobs.get_mut(&id) else { continue };
                let Some(unit) = job.escrow.held.get_mut(&worker).and_then(Vec::pop) else {
                    continue;
                };
                job.escrow.waiting -= 1;
                job.escrow.draw(worker, unit);
                let Some(known) = job.known.get_mut(&unit) else { continue };
                (known.held, known.checked) = (false, true);
                let account = known.votes.first().map(|vote| vote.account);
                if 0 < self.missing(id, unit) {
                    self.put_back(id, account, Run::new(unit, 1));
                }
                self.watch(id, unit);
            }
        }
    }

    /// Leases that a unit lacks.
    pub(crate) fn missing(&self, id: JobId, unit: u64) -> usize {
        let Some(job) = self.jobs.get(&id) else { return 0 };
        job.known.get(&unit).map_or(0, |known| known.missing(job.policy()))
    }
}
