//! What waits for a referee. Keys are free, so that somebody who has made many can agree with himself: agreement tells broken
//! machines from good ones, and nothing of people. Where the operator has appointed a referee, what the crowd agrees on waits in
//! a pool until the referee has computed a unit that was drawn from it by secret chance, and has found the same. The checks
//! that were passed since the last that was not say how far the crowd's word goes ([`Standings::crowd`]).
//!
//! [`Standings::crowd`]: super::standings::Standings::crowd

mod draw;
mod watch;

use crate::Core;
use crate::bounds::{KNOWN_UNITS_MAX, REFEREE_PART, RELEASED_AT_ONCE};
use crate::job::Job;
use crate::queue::Run;
use crate::trust;
use crate::trust::estimate::CROWD_DOUBT;
use crate::verdict::{self, Verdict, Vote};
use proto::{JobId, LeaseId};
use std::collections::VecDeque;

/// Units of one job that wait for a referee, and those that wait for their workers' records to grow.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// In the order in which they came. Some may have gone, as in all of these lists.
    entries: VecDeque<u64>,
    /// Entries that are not there any more.
    gone: u64,
    /// A check was passed that was drawn while they were there.
    released: Vec<u64>,
    /// They are looked at again, for somebody who vouches for some has passed enough checks.
    vouched: Vec<u64>,
    /// Units that wait.
    waiting: u64,
    /// Units that referees compute.
    checks: Vec<Check>,
    /// Checks that were drawn since the start.
    drawn: u64,
    /// Units with reports that nobody disputes and that are not enough yet: looked at again one by one.
    watched: VecDeque<u64>,
    /// How many of them are still to be looked at since nothing else is left to lend.
    tail_left: Option<usize>,
}

/// A unit that a referee computes.
#[derive(Clone, Copy, Debug)]
struct Check {
    unit: u64,
    lease: LeaseId,
    /// What came before this entry, counted from the first ever, was there when the unit was drawn.
    until: u64,
}

impl Pool {
    /// Units that wait for a referee.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting
    }

    fn hold(&mut self, unit: u64) {
        self.entries.push_back(unit);
        self.waiting += 1;
    }

    /// A unit waits no more.
    pub(crate) fn drop(&mut self) {
        self.waiting -= 1;
    }

    /// What came before an entry is let go.
    fn release(&mut self, until: u64) {
        let count = usize::try_from(until.saturating_sub(self.gone)).unwrap_or(usize::MAX);
        let count = count.min(self.entries.len());
        self.released.extend(self.entries.drain(..count));
        self.gone += count as u64;
    }

    /// Somebody new is believed by himself.
    fn vouch(&mut self) {
        self.vouched.clear();
        self.vouched.extend(self.entries.iter().copied());
    }

    /// What was let go waits again.
    fn recall(&mut self) {
        self.entries.extend(self.released.drain(..));
    }

    /// The number of the next entry.
    fn next(&self) -> u64 {
        self.gone + self.entries.len() as u64
    }
}

impl Job {
    /// Whether units of which two parties say the same may wait for those parties' records to grow: there is other work.
    pub(crate) fn patient(&self) -> bool {
        self.estimates() && 0 < self.fresh() && self.known.len() < KNOWN_UNITS_MAX / 4
    }
}

impl Core {
    /// Whether what the crowd agrees on waits for a referee.
    pub(crate) fn pools(&self, id: JobId) -> bool {
        !self.referees.is_empty() && self.jobs.get(&id).is_some_and(Job::estimates)
    }

    /// A unit has what its verdict takes: it is settled, or waits for a referee where there is one and it has not spoken.
    pub(crate) fn reach(&mut self, id: JobId, unit: u64, agreeing: &[usize]) {
        let (pools, vouched) = (self.pools(id), self.is_vouched(id, unit, agreeing));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(known) = job.known.get_mut(&unit) else { return };
        let by_referee = agreeing.iter().any(|&index| known.votes[index].referee);
        if !pools || by_referee {
            return self.conclude(id, unit, agreeing);
        }
        if known.pooled {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        if vouched && !self.prng.happens(1.0 / REFEREE_PART as f64) {
            return self.conclude(id, unit, agreeing);
        }
        known.pooled = true;
        job.pool.hold(unit);
        self.check_wanted = true;
        self.dirty.jobs.insert(id);
    }

    /// Whether one of these reports is of an owner who has passed as many checks by referees as the crowd would have to.
    fn is_vouched(&self, id: JobId, unit: u64, agreeing: &[usize]) -> bool {
        let Some(job) = self.jobs.get(&id) else { return false };
        let (Some(target), Some(known)) = (job.spec.confidence, job.known.get(&unit)) else {
            return false;
        };
        agreeing.iter().map(|&index| &known.votes[index]).any(|vote| {
            let doubt = self.standings.refereed(vote.account).doubt();
            vote.standing.caught == 0 && doubt <= target.max(CROWD_DOUBT)
        })
    }

    /// Settles a unit, whatever it has been waiting for.
    fn conclude(&mut self, id: JobId, unit: u64, agreeing: &[usize]) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(known) = job.known.get_mut(&unit) else { return };
        let pooled = std::mem::take(&mut known.pooled);
        if pooled {
            job.pool.drop();
        }
        known.checked = false;
        let votes = std::mem::take(&mut known.votes);
        for vote in &votes {
            self.close_report(vote.place.worker, vote.place.sequence);
        }
        self.hear_check(id, unit, &votes, pooled);
        self.settle(id, unit, &votes, agreeing);
    }

    /// Learns from what a referee says of a unit how far the crowd's word goes.
    fn hear_check(&mut self, id: JobId, unit: u64, votes: &[Vote], pooled: bool) {
        let Some(referee) = votes.iter().find(|vote| vote.referee) else { return };
        let same = |vote: &&Vote| {
            !vote.referee && vote.standing.caught == 0 && vote.statement == referee.statement
        };
        for vote in votes.iter().filter(same) {
            self.check_account(vote.account);
        }
        let mut crowd =
            votes.iter().filter(|vote| !vote.referee && vote.standing.caught == 0).peekable();
        let heard = crowd.peek().is_some();
        let (right, wrong) = crowd.fold((true, true), |(right, wrong), vote| {
            let same = vote.statement == referee.statement;
            (right && same, wrong && !same)
        });
        if heard && right {
            self.standings.check_crowd(true);
        } else if pooled && wrong {
            self.standings.check_crowd(false);
            self.jobs.values_mut().for_each(|job| job.pool.recall());
        }
        let crowd = self.standings.crowd().doubt();
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(at) = job.pool.checks.iter().position(|check| check.unit == unit) else { return };
        let check = job.pool.checks.swap_remove(at);
        if heard
            && right
            && job.spec.confidence.is_some_and(|target| crowd <= target.max(CROWD_DOUBT))
        {
            job.pool.release(check.until);
            self.releasing.insert(id);
        }
    }

    /// A referee has found the same as an account: where it is believed by itself from now on, what waits is looked at again.
    fn check_account(&mut self, account: u32) {
        let before = self.standings.refereed(account).doubt();
        self.standings.check_account(account);
        let after = self.standings.refereed(account).doubt();
        for (id, job) in &mut self.jobs {
            let target = job.spec.confidence.map_or(0.0, |target| target.max(CROWD_DOUBT));
            if after <= target && target < before {
                job.pool.vouch();
                self.releasing.insert(*id);
            }
        }
    }

    /// Nobody is appointed any more: what waits for a referee has its verdict without.
    pub(crate) fn release_pools(&mut self) {
        for (id, job) in &mut self.jobs {
            job.pool.release(u64::MAX);
            self.releasing.insert(*id);
        }
    }

    /// Settles some of the units that were let go.
    pub(crate) fn settle_released(&mut self) {
        for _ in 0..RELEASED_AT_ONCE {
            let Some(&id) = self.releasing.first() else { return };
            let Some(job) = self.jobs.get_mut(&id) else {
                self.releasing.remove(&id);
                continue;
            };
            if let Some(unit) = job.pool.released.pop() {
                self.settle_one_released(id, unit);
            } else if let Some(unit) = job.pool.vouched.pop() {
                self.settle_one_vouched(id, unit);
            } else {
                self.releasing.remove(&id);
            }
        }
    }

    /// Settles a unit that waits, if somebody vouches for it.
    fn settle_one_vouched(&mut self, id: JobId, unit: u64) {
        let waits = |core: &Self| {
            let job = core.jobs.get(&id)?;
            let known = job.known.get(&unit).filter(|known| known.pooled)?;
            let checked = job.pool.checks.iter().any(|check| check.unit == unit);
            (!checked)
                .then(|| verdict::judge(job.policy(), &known.votes, known.checked, known.patient))
        };
        let agreeing = match waits(self) {
            Some(Verdict::Settle(agreeing)) => agreeing,
            Some(Verdict::Hold) => self.agreeing_alone(id, unit),
            _ => return,
        };
        if self.is_vouched(id, unit, &agreeing) {
            self.conclude(id, unit, &agreeing);
        }
    }

    fn settle_one_released(&mut self, id: JobId, unit: u64) {
        self.refresh(id, unit);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let policy = job.policy();
        let Some(known) = job.known.get_mut(&unit).filter(|known| known.pooled) else { return };
        let checked = job.pool.checks.iter().any(|check| check.unit == unit);
        match verdict::judge(policy, &known.votes, known.checked, known.patient) {
            // Another check of it is under way.
            Verdict::Settle(_) | Verdict::Hold if checked => job.pool.entries.push_back(unit),
            Verdict::Settle(agreeing) => self.conclude(id, unit, &agreeing),
            Verdict::Hold => {
                let agreeing = self.agreeing_alone(id, unit);
                self.conclude(id, unit, &agreeing);
            }
            Verdict::Need(_) | Verdict::Wait | Verdict::GiveUp(_) => {
                let before = self.missing(id, unit);
                self.judge_anew(id, unit, before);
            }
        }
    }

    /// Brings what is known of those who have reported a unit up to date.
    pub(crate) fn refresh(&mut self, id: JobId, unit: u64) {
        let Self { jobs, workers, standings, .. } = self;
        let Some(job) = jobs.get_mut(&id) else { return };
        let class = trust::class(job, unit);
        let Some(known) = job.known.get_mut(&unit) else { return };
        for vote in known.votes.iter_mut().filter(|vote| !vote.referee) {
            let network = workers[vote.place.worker as usize].record.network;
            vote.standing = standings.of(vote.place.worker, vote.account, network, class);
        }
        verdict::order(&mut known.votes);
    }

    fn agreeing_alone(&self, id: JobId, unit: u64) -> Vec<usize> {
        let known = self.jobs.get(&id).and_then(|job| job.known.get(&unit));
        known.map(|known| verdict::agreeing_alone(&known.votes)).unwrap_or_default()
    }

    /// Judges a unit that lacked `before` leases, and sees to it that somebody is lent it if it lacks more now.
    fn judge_anew(&mut self, id: JobId, unit: u64, before: usize) {
        self.judge(id, unit);
        if before < self.missing(id, unit) {
            self.put_back(id, None, Run::new(unit, 1));
        }
    }

    /// Notes that those who agree on a unit are each other's witnesses: a check passed, for each of them once.
    pub(crate) fn witness(&mut self, id: JobId, unit: u64) {
        let Self { jobs, workers, standings, .. } = self;
        let Some(job) = jobs.get_mut(&id).filter(|job| job.estimates()) else { return };
        let class = trust::class(job, unit);
        let Some(known) = job.known.get_mut(&unit) else { return };
        let Some(statement) = verdict::undisputed(&known.votes) else { return };
        let mut agreeing: Vec<&mut Vote> =
            known.votes.iter_mut().filter(|vote| vote.statement == statement).collect();
        if agreeing.len() < 2 {
            return;
        }
        for vote in agreeing.iter_mut().filter(|vote| !vote.learned) {
            vote.learned = true;
            let record = &workers[vote.place.worker as usize].record;
            standings.pass(vote.place.worker, record.account, record.network, class);
        }
    }
}
