//! Verdicts are reached: credit is granted, and merge units become available.

use crate::Core;
use crate::job::Job;
use crate::queue::Run;
use crate::record::{End, Place};
use crate::trust::estimate::Risk;
use crate::verdict::{self, Verdict, Vote};
use proto::job::Stage;
use proto::{JobId, UnitIndex};

impl Core {
    /// Judges a unit after something about it has changed.
    pub(super) fn judge(&mut self, id: JobId, unit: u64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let policy = job.policy();
        let Some(known) = job.known.get(&unit) else { return };
        if known.trial.is_some() {
            return;
        }
        self.witness(id, unit);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(known) = job.known.get_mut(&unit) else { return };
        verdict::order(&mut known.votes);
        let verdict = verdict::judge(policy, &known.votes, known.checked, known.patient);
        if verdict != Verdict::Hold {
            Self::no_longer_held(job, unit);
        }
        let Some(known) = job.known.get_mut(&unit) else { return };
        if known.pooled && !matches!(verdict, Verdict::Settle(_) | Verdict::Hold) {
            known.pooled = false;
            job.pool.drop();
        }
        let pooled = job.known.get(&unit).is_some_and(|known| known.pooled);
        match verdict {
            Verdict::Settle(agreeing) => self.reach(id, unit, &agreeing),
            Verdict::GiveUp(reason) => self.give_up(id, unit, reason),
            Verdict::Hold if pooled => {}
            Verdict::Hold => self.hold_or_check(id, unit),
            Verdict::Wait => self.watch(id, unit),
            Verdict::Need(_) => {
                if !self.open_dispute(id, unit) {
                    self.watch(id, unit);
                }
            }
        }
    }

    /// Settles a unit by the `agreeing` ones of its reports, the canonical one first. Each of them is granted the
    /// canonical fuel, which is its own.
    pub(super) fn settle(&mut self, id: JobId, unit: u64, votes: &[Vote], agreeing: &[usize]) {
        let Some(&canonical) = agreeing.first() else { return };
        let (fuel, failed) = (votes[canonical].fuel, votes[canonical].result.is_err());
        let places: Vec<Place> = agreeing.iter().map(|&index| votes[index].place).collect();
        for place in &places {
            self.credit(place.worker, fuel);
        }
        for (_, other) in votes.iter().enumerate().filter(|(index, _)| !agreeing.contains(index)) {
            self.worker_mut(other.place.worker).record.disagreed += 1;
        }
        let granted = u128::from(fuel) * places.len() as u128;
        self.meta.credit += granted;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.record.fuel += u128::from(fuel);
        job.record.credit += granted;
        let risk = verdict::risk(job.policy(), votes, canonical);
        let end = if failed { End::Failed(places) } else { End::Done(places) };
        if !job.estimates() {
            return self.close_verdict(id, unit, end, Risk::default(), fuel);
        }
        *job.record.risks.entry(risk).or_default() += 1;
        let merged = job.cut_units <= unit;
        let worker = |index: usize| votes[index].place.worker;
        let (agree, others): (Vec<usize>, Vec<usize>) =
            (0..votes.len()).partition(|index| agreeing.contains(index));
        // Whoever is alone has no witness.
        let new = agree.iter().filter(|&&index| 1 < agree.len() && !votes[index].learned);
        let new: Vec<u32> = new.map(|&index| worker(index)).collect();
        let agree: Vec<u32> = agree.into_iter().map(worker).collect();
        let shared = |index: usize| {
            votes.iter().filter(|other| other.statement == votes[index].statement).nth(1).is_some()
        };
        let others: Vec<(u32, bool)> =
            others.into_iter().map(|index| (worker(index), shared(index))).collect();
        if let ([alone], false) = (&agree[..], failed) {
            job.alone.entry(*alone).or_default().add(unit, fuel, risk);
        }
        self.learn(id, unit, &new, &others);
        self.close_verdict(id, unit, end, risk, fuel);
        if merged {
            // Should it be merged anew, what was said of it before must not come back.
            votes.iter().for_each(|vote| self.strike_out(vote.place));
        }
        self.close_gate(id, unit, &agree);
    }

    /// Settles a unit without an answer.
    pub(super) fn give_up(&mut self, id: JobId, unit: u64, reason: String) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| !job.settled.contains(unit)) else {
            return;
        };
        job.record.given_up += 1;
        self.close_verdict(id, unit, End::GivenUp(reason), Risk::default(), 0);
        self.close_gate(id, unit, &[]);
    }

    fn credit(&mut self, worker: u32, fuel: u64) {
        let worker = self.worker_mut(worker);
        worker.record.credit += u128::from(fuel);
        let account = worker.record.account;
        self.accounts[account as usize].credit += u128::from(fuel);
        self.dirty.accounts.insert(account);
    }

    /// What all verdicts have in common.
    fn close_verdict(&mut self, id: JobId, unit: u64, end: End, risk: Risk, fuel: u64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let failed = !matches!(end, End::Done(_));
        job.settled.insert(unit);
        job.record.settled += 1;
        self.meta.settled += 1;
        if failed {
            job.failed.insert(unit);
            job.record.failed += 1;
        }
        if matches!(end, End::GivenUp(_)) {
            job.given_up.insert(unit);
        }
        Self::no_longer_held(job, unit);
        job.note(unit, end, risk, fuel);
        let known = if job.known.is_empty() { None } else { job.known.remove(&unit) };
        if known.as_ref().is_some_and(|known| known.pooled) {
            job.pool.drop();
        }
        let finished = job.record.settled == job.record.units;
        let merges = job.spec.merge.is_some();
        self.dirty.jobs.insert(id);
        self.drop_logs(id, unit);
        for vote in known.unwrap_or_default().votes {
            self.close_report(vote.place.worker, vote.place.sequence);
        }
        if finished {
            self.dirty.finished.push(id);
        }
        if merges {
            self.offer_to_merge(id, unit, failed);
        }
    }

    /// Tells the merge unit above that one of its inputs is settled. One that will never have them all is given up.
    fn offer_to_merge(&mut self, id: JobId, unit: u64, failed: bool) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(above) = job.spec.merged_by(UnitIndex(unit)) else { return };
        if job.settled.contains(above.0) {
            return;
        }
        if failed {
            job.merged.remove(&above.0);
            let reason = format!(
                "{} has no output for it to merge: it failed or was given up",
                UnitIndex(unit)
            );
            return self.give_up(id, above.0, reason);
        }
        if count_input(job, above.0, 1) {
            self.put_back(id, None, Run::new(above.0, 1));
        }
    }

    /// Puts units back that somebody (other than `account`) may take.
    pub(super) fn put_back(&mut self, id: JobId, account: Option<u32>, run: Run) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.queue.push(account, run);
            self.work_appeared = true;
        }
    }
}

/// Counts settled inputs of a merge unit; whether it now has them all.
pub(super) fn count_input(job: &mut Job, above: u64, inputs: u32) -> bool {
    let Some(Stage::Merge { count, .. }) = job.stage(above) else { return false };
    let have = job.merged.entry(above).or_default();
    *have += inputs;
    let all = *have == count;
    if all {
        job.merged.remove(&above);
    }
    all
}
