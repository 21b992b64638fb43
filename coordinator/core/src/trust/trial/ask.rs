//! Who is asked what: those who reported show what they committed to, others run a segment.

use super::{Ask, Stage, Trial};
use crate::Core;
use crate::bounds::{
    REFEREE_QUESTIONS_MAX, RUNNERS_SCANNED_MAX, SEGMENT_MS, SHOW_MS, WORKER_QUESTIONS_MAX,
};
use crate::event::{Effects, Segment, Session, Show, ToWorker};
use crate::job::Voter;
use crate::time::Now;
use crate::worker::Worker;
use proto::{JobId, UnitIndex};

impl Core {
    /// Asks somebody who holds an opinion to show its trace, and the state at the last point at or below `fuel`.
    pub(super) fn ask_to_show(
        &mut self,
        now: Now,
        id: u64,
        trial: &mut Trial,
        of: usize,
        fuel: Option<u64>,
        effects: &mut Effects,
    ) -> bool {
        let Some(job) = self.jobs.get(&trial.job) else { return false };
        let Some(known) = job.known.get(&trial.unit) else { return false };
        let statement = trial.opinions[of].statement;
        let able =
            |worker: &u32| !trial.unable.contains(worker) && self.worker(*worker).live.is_some();
        let saying = known.votes.iter().filter(|vote| vote.statement == statement);
        let Some(worker) = saying.map(|vote| vote.place.worker).find(able) else { return false };
        let spec = job.spec.clone();
        let number = self.ask(now, id, trial, worker, Some(of), SHOW_MS);
        let unit = UnitIndex(trial.unit);
        let show = Show { ask: number, job: trial.job, unit, fuel, extra: None, spec };
        self.tell(worker, trial.job, ToWorker::Show(show), effects);
        true
    }

    /// Asks somebody to run the segment of a hearing: a referee if `referee`, else anybody who has no part in it.
    pub(super) fn ask_to_run(
        &mut self,
        now: Now,
        id: u64,
        trial: &mut Trial,
        referee: bool,
        effects: &mut Effects,
    ) -> bool {
        let Some(worker) = self.runner(now, trial, referee) else { return false };
        let Some(spec) = self.jobs.get(&trial.job).map(|job| job.spec.clone()) else {
            return false;
        };
        let number = self.ask(now, id, trial, worker, None, SEGMENT_MS);
        let Stage::Segment(hearing) = &trial.stage else { return false };
        let segment = Segment {
            ask: number,
            job: trial.job,
            unit: UnitIndex(trial.unit),
            spacing: hearing.spacing,
            from: hearing.from,
            state: hearing.state,
            expires_in_ms: SEGMENT_MS,
            extra: None,
            spec,
        };
        self.tell(worker, trial.job, ToWorker::Segment(segment), effects);
        true
    }

    fn ask(
        &mut self,
        now: Now,
        id: u64,
        trial: &mut Trial,
        worker: u32,
        of: Option<usize>,
        patience_ms: u64,
    ) -> u64 {
        // By chance: an answer to a question of an earlier life of this coordinator fits none of this one, and nobody can
        // tell from the numbers how many questions there are.
        let number = self.prng.below(u64::MAX);
        self.trials.asked.insert(number, (id, worker));
        *self.trials.busy.entry(worker).or_default() += 1;
        trial.asks.push(Ask { number, worker, of, until_ms: now.monotonic_ms + patience_ms });
        number
    }

    /// Says something about a unit to a worker, after the job's specification.
    fn tell(&mut self, worker: u32, id: JobId, message: ToWorker, effects: &mut Effects) {
        let Some(live) = &mut self.workers[worker as usize].live else { return };
        if live.told.insert(id) {
            effects.messages.push((live.session, ToWorker::Job { job: id }));
        }
        effects.messages.push((live.session, message));
    }

    /// Takes a question off the books.
    pub(super) fn forget_ask(&mut self, number: u64) {
        let Some((_, worker)) = self.trials.asked.remove(&number) else { return };
        if let Some(count) = self.trials.busy.get_mut(&worker) {
            *count -= 1;
            if *count == 0 {
                self.trials.busy.remove(&worker);
            }
        }
    }

    /// Takes back the questions whose time is over, and those of workers that have gone.
    pub(super) fn expire_asks(&mut self, now: Now, trial: &mut Trial) {
        let over = |ask: &mut Ask| {
            ask.until_ms <= now.monotonic_ms || self.workers[ask.worker as usize].live.is_none()
        };
        let over: Vec<Ask> = trial.asks.extract_if(.., over).collect();
        for ask in over {
            trial.unable.insert(ask.worker);
            trial.failures += 1;
            self.forget_ask(ask.number);
        }
    }

    /// Trials in which a worker that has gone was asked something.
    pub(crate) fn miss(&mut self, worker: u32) {
        if self.trials.busy.contains_key(&worker) {
            let asked = self.trials.asked.values().filter(|(_, other)| *other == worker);
            let trials: Vec<u64> = asked.map(|(trial, _)| *trial).collect();
            self.trials.ready.extend(trials);
        }
    }

    /// Whether anybody is connected whom the operator has appointed.
    pub(super) fn has_referee(&self) -> bool {
        self.referees.iter().any(|worker| self.worker(*worker).live.is_some())
    }

    /// Who may run a segment: connected, with enough memory, without a part in the question, drawn by chance so that
    /// nobody chooses what it checks.
    fn runner(&mut self, now: Now, trial: &Trial, referee: bool) -> Option<u32> {
        if referee {
            let fits = |worker: &u32| self.may_run(now, trial, *worker, REFEREE_QUESTIONS_MAX);
            return self.referees.iter().copied().find(fits);
        }
        let start = Session { stream: self.prng.below(self.next_stream), worker: 0 };
        let around = self.sessions.range(start..).chain(self.sessions.range(..start));
        let fits =
            |session: &&Session| self.may_run(now, trial, session.worker, WORKER_QUESTIONS_MAX);
        around.take(RUNNERS_SCANNED_MAX).find(fits).map(|session| session.worker)
    }

    /// Whether somebody appointed could run the segment, were he not busy.
    pub(super) fn referee_is_near(&self, now: Now, trial: &Trial) -> bool {
        self.referees.iter().any(|worker| self.may_run(now, trial, *worker, u32::MAX))
    }

    fn may_run(&self, now: Now, trial: &Trial, number: u32, questions_max: u32) -> bool {
        let Some(job) = self.jobs.get(&trial.job) else { return false };
        let Some(known) = job.known.get(&trial.unit) else { return false };
        let party = |number: u32| {
            let record = &self.worker(number).record;
            Voter { account: record.account, network: record.network }
        };
        let asking = party(number);
        let nobody = |_| Voter { account: u32::MAX, network: 0 };
        let mut heard: Vec<Voter> = trial.asks.iter().map(|ask| party(ask.worker)).collect();
        if let Stage::Segment(hearing) = &trial.stage {
            heard.extend(hearing.heard.iter().map(|heard| party(heard.worker)));
        }
        let Worker { live, caught_until_ms, .. } = self.worker(number);
        let fits = live.as_ref().is_some_and(|live| {
            // One that has not said what it wants yet does not say what it lends either.
            live.fits(&job.spec)
        });
        let busy = self.trials.busy.get(&number).copied().unwrap_or(0);
        fits && *caught_until_ms <= now.monotonic_ms
            && busy < questions_max
            && !trial.unable.contains(&number)
            && !job.clash(known, asking, nobody)
            && !heard.iter().any(|other| other.is_with(asking))
    }
}
