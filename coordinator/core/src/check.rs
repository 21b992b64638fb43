//! What must hold of the whole state at all times.

use crate::Core;
use crate::job::Job;
use crate::lease::Lease;
use crate::newcomers::Newcomers;
use crate::verdict::{self, Verdict};
use proto::job::Stage;
use proto::{LeaseId, UnitIndex};
use std::collections::{BTreeSet, HashMap};

/// Something that must hold does not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Contradiction(pub String);

/// Fails with a text unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(Contradiction(format!($($text)*)));
        }
    };
}

impl Core {
    /// Checks what costs little: done at every start.
    ///
    /// # Errors
    /// [`Contradiction`], saying what does not hold.
    pub fn check_quickly(&self) -> Result<(), Contradiction> {
        let accounts: u128 = self.accounts.iter().map(|account| account.credit).sum();
        let workers: u128 = self.workers.iter().map(|worker| worker.record.credit).sum();
        let jobs: u128 =
            self.ended_credit + self.running().map(|job| job.record.credit).sum::<u128>();
        let granted = self.meta.credit;
        ensure!(accounts == granted, "accounts hold {accounts} credit, {granted} was granted");
        ensure!(workers == granted, "workers hold {workers} credit, {granted} was granted");
        ensure!(jobs == granted, "jobs granted {jobs} credit, {granted} was granted");
        for worker in &self.workers {
            ensure!(
                (worker.record.account as usize) < self.accounts.len(),
                "a worker has no account"
            );
        }
        for job in self.running() {
            let (id, record) = (job.id, &job.record);
            ensure!(job.settled.len() == record.settled, "{id}: settled units are miscounted");
            ensure!(job.failed.len() == record.failed, "{id}: failed units are miscounted");
            ensure!(job.failed.is_subset(&job.settled), "{id}: a unit failed that is not settled");
            ensure!(job.given_up.len() == record.given_up, "{id}: units given up are miscounted");
            ensure!(record.given_up <= record.failed, "{id}: more units given up than failed");
            ensure!(record.next_unit <= job.cut_units, "{id}: units beyond the last were lent");
        }
        Ok(())
    }

    /// Checks everything; grows with what is active and with the merge units of running jobs.
    ///
    /// # Errors
    /// [`Contradiction`], saying what does not hold.
    pub fn check_invariants(&self) -> Result<(), Contradiction> {
        self.check_quickly()?;
        self.check_leases()?;
        self.check_workers()?;
        self.check_open_batches()?;
        if let Some(what) = self.asks_contradiction() {
            return Err(Contradiction(what));
        }
        if let Some(what) = self.logs_contradiction() {
            return Err(Contradiction(what));
        }
        for job in self.running() {
            ensure!(job.record.settled < job.record.units, "{} is done and still runs", job.id);
            self.check_known(job)?;
            self.check_reachable(job)?;
            check_merges(job)?;
        }
        Ok(())
    }

    fn check_leases(&self) -> Result<(), Contradiction> {
        for (id, lease) in &self.leases {
            let open = lease.open_units().count();
            ensure!(
                open == lease.open as usize && 0 < open,
                "{id}: {open} units are open, {} counted",
                lease.open
            );
            let Some(job) = self.jobs.get(&lease.job) else {
                return Err(Contradiction(format!("{id} is of a job that does not run")));
            };
            ensure!(job.leases.contains(id), "{id} is not in the books of its job");
            match lease.deadline_ms() {
                Some(deadline_ms) => {
                    ensure!(self.deadlines.contains(&(deadline_ms, *id)), "{id} never runs out")
                }
                None => ensure!(self.overdue.contains(id), "{id} is overdue and never forgotten"),
            }
            if let Some(twin) = lease.twin() {
                let back = self.leases.get(&twin).and_then(Lease::twin);
                ensure!(back == Some(*id), "{id} and {twin} are no pair");
            }
        }
        let active = self.leases.values().filter(|lease| lease.active()).count();
        ensure!(
            self.deadlines.len() == active,
            "{} deadlines for {active} leases",
            self.deadlines.len()
        );
        Ok(())
    }

    fn check_workers(&self) -> Result<(), Contradiction> {
        let mut held: HashMap<u32, u32> = HashMap::new();
        let mut newcomers = Newcomers::default();
        for lease in self.leases.values().filter(|lease| lease.active()) {
            *held.entry(lease.worker).or_default() += lease.open;
            let record = &self.worker(lease.worker).record;
            if record.is_newcomer() {
                newcomers.take(record.network, lease.open);
            }
        }
        ensure!(
            newcomers == self.newcomers,
            "newcomers hold {newcomers:?}, {:?} counted",
            self.newcomers
        );
        for (number, worker) in (0..).zip(&self.workers) {
            let units = held.get(&number).copied().unwrap_or(0);
            ensure!(
                worker.leased == units,
                "worker {number} holds {units} units, {} counted",
                worker.leased
            );
            ensure!(
                worker.in_line == (self.line.contains(&number) || self.late.contains(&number)),
                "worker {number} is lost in the line"
            );
            if let Some(live) = &worker.live {
                ensure!(
                    self.sessions.contains(&live.session),
                    "worker {number} has a stream that is closed"
                );
            }
        }
        let live = self.workers.iter().filter(|worker| worker.live.is_some()).count();
        ensure!(
            live == self.sessions.len(),
            "{live} workers have a stream, {} are open",
            self.sessions.len()
        );
        Ok(())
    }

    fn check_open_batches(&self) -> Result<(), Contradiction> {
        let mut reports: HashMap<(u32, u64), u32> = HashMap::new();
        for vote in self.running().flat_map(|job| job.known.values()).flat_map(|known| &known.votes)
        {
            *reports.entry((vote.place.worker, vote.place.sequence)).or_default() += 1;
        }
        ensure!(
            reports.len() == self.open.len(),
            "{} batches are open, {} counted",
            reports.len(),
            self.open.len()
        );
        for (key, open) in &self.open {
            let count = reports.get(key).copied().unwrap_or(0);
            ensure!(
                count == open.reports,
                "batch {key:?} has {count} open reports, {} counted",
                open.reports
            );
        }
        Ok(())
    }

    /// Units of which more is known, and that whatever has to be known of a unit is.
    fn check_known(&self, job: &Job) -> Result<(), Contradiction> {
        let id = job.id;
        let mut held: HashMap<u64, BTreeSet<LeaseId>> = HashMap::new();
        let mut leased = 0;
        for lease_id in &job.leases {
            let Some(lease) = self.leases.get(lease_id) else {
                return Err(Contradiction(format!(
                    "{id} has {lease_id} in its books, which is gone"
                )));
            };
            if lease.active() {
                leased += u64::from(lease.open);
                for unit in lease.open_units().filter(|unit| !job.settled.contains(*unit)) {
                    held.entry(unit).or_default().insert(*lease_id);
                }
            }
        }
        ensure!(leased == job.leased, "{id}: {leased} units are lent, {} counted", job.leased);
        for (unit, holders) in &held {
            match job.known.get(unit) {
                Some(known) => {
                    let booked: BTreeSet<LeaseId> = known.holders.iter().copied().collect();
                    ensure!(
                        booked == *holders,
                        "{id}/u{unit} is held under {holders:?}, booked under {booked:?}"
                    );
                }
                None => ensure!(
                    job.single() && holders.len() == 1,
                    "{id}/u{unit} is lent and not known"
                ),
            }
        }
        for (unit, known) in &job.known {
            ensure!(!job.settled.contains(*unit), "{id}/u{unit} is settled and still active");
            ensure!(
                known.holders.is_empty() || held.contains_key(unit),
                "{id}/u{unit} is booked and not held"
            );
            let accounts: BTreeSet<u32> = known.votes.iter().map(|vote| vote.account).collect();
            ensure!(
                accounts.len() == known.votes.len(),
                "{id}/u{unit} has two reports of one account"
            );
            let hopeless = known.hopeless(job.spec.attempts_max, || false);
            ensure!(!hopeless, "{id}/u{unit} was tried often enough");
            if known.trial.is_some() {
                continue;
            }
            let waits = known.held || known.pooled;
            match verdict::judge(job.policy(), &known.votes, known.checked, known.patient) {
                Verdict::Need(_) | Verdict::Wait => {
                    ensure!(!waits, "{id}/u{unit} is held and needs more");
                }
                Verdict::Hold => ensure!(waits, "{id}/u{unit} is enough and not held"),
                Verdict::Settle(_) => ensure!(known.pooled, "{id}/u{unit} could be settled"),
                Verdict::GiveUp(_) => ensure!(false, "{id}/u{unit} could be given up"),
            }
        }
        if let Some(what) = self.trial_contradiction(job) {
            return Err(Contradiction(what));
        }
        self.check_trust(job)
    }

    /// What is held is held once, and the sums over what was accepted on one word are right.
    fn check_trust(&self, job: &Job) -> Result<(), Contradiction> {
        let id = job.id;
        let held: BTreeSet<u64> =
            job.known.iter().filter(|(_, known)| known.held).map(|(unit, _)| *unit).collect();
        let listed: BTreeSet<u64> = job.escrow.all().collect();
        let count = job.escrow.all().count() as u64;
        ensure!(held == listed, "{id}: held units {held:?} are listed as {listed:?}");
        ensure!(
            count == job.escrow.waiting() && held.len() as u64 == count,
            "{id}: {count} units wait, {} counted",
            job.escrow.waiting()
        );
        let pooled = job.known.values().filter(|known| known.pooled).count() as u64;
        ensure!(
            pooled == job.pool.waiting(),
            "{id}: {pooled} units wait for a referee, {} counted",
            job.pool.waiting()
        );
        for (worker, alone) in &job.alone {
            let risks: u64 = alone.risks.values().sum();
            ensure!(
                alone.units.is_subset(&job.settled) && alone.units.is_disjoint(&job.failed),
                "{id}: units on the word of worker {worker} have no output"
            );
            ensure!(
                risks == alone.units.len() && 0 < risks,
                "{id}: {risks} risks for {} units of worker {worker}",
                alone.units.len()
            );
        }
        let risks: u64 = job.record.risks.values().sum();
        let judged = job.record.settled - job.record.given_up;
        ensure!(
            !job.estimates() || risks <= judged + job.record.withdrawn && judged <= risks,
            "{id}: {risks} risks for {judged} units"
        );
        ensure!(self.caught.is_empty(), "somebody was caught and is still trusted");
        Ok(())
    }

    /// Every unit that somebody has to take can be found by somebody.
    fn check_reachable(&self, job: &Job) -> Result<(), Contradiction> {
        let ready = job.queue.ready().chain(job.queue.delayed().map(|(_, run)| run));
        let queued: BTreeSet<u64> = ready.flat_map(crate::queue::Run::units).collect();
        let lent: BTreeSet<u64> = job
            .leases
            .iter()
            .filter_map(|lease| self.leases.get(lease))
            .filter(|lease| lease.active())
            .flat_map(|lease| lease.open_units().collect::<Vec<_>>())
            .collect();
        let merges = (job.cut_units..job.record.units).filter(|&unit| has_all_inputs(job, unit));
        for unit in
            (0..job.record.next_unit).chain(merges).filter(|unit| !job.settled.contains(*unit))
        {
            let needed = match job.known.get(&unit) {
                Some(known) => 0 < known.missing(job.policy()),
                None => !lent.contains(&unit),
            };
            ensure!(
                !needed || queued.contains(&unit),
                "{}/u{unit} is needed and nobody will find it",
                job.id
            );
        }
        for (at_ms, _) in job.queue.delayed() {
            ensure!(self.retries.contains(&(at_ms, job.id)), "{} is not woken at {at_ms}", job.id);
        }
        Ok(())
    }
}

fn has_all_inputs(job: &Job, unit: u64) -> bool {
    let Some(Stage::Merge { first, count, .. }) = job.spec.stage(UnitIndex(unit)) else {
        return false;
    };
    job.settled.range_cardinality(first.0..first.0 + u64::from(count)) == u64::from(count)
}

fn check_merges(job: &Job) -> Result<(), Contradiction> {
    for unit in job.cut_units..job.record.units {
        let Some(Stage::Merge { first, count, .. }) = job.spec.stage(UnitIndex(unit)) else {
            continue;
        };
        let have = job.settled.range_cardinality(first.0..first.0 + u64::from(count));
        let open = !job.settled.contains(unit) && 0 < have && have < u64::from(count);
        let counted = job.merged.get(&unit).copied().map(u64::from);
        let expected = open.then_some(have);
        ensure!(counted == expected, "{}/u{unit} has {have} inputs, {counted:?} counted", job.id);
    }
    Ok(())
}
