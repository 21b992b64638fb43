//! Trials: finding out who is right about a unit for the price of one segment of it. A **check** has one report: another
//! worker runs a segment at a random place. A **dispute** has two that differ: their traces lead to the first segment on
//! which they part, and whoever runs that one knows who is wrong. While a trial is open its unit is lent to nobody.
//!
//! ```text
//! Traces ─► State ─► Segment ─► who is right        (gone, late, wrong: Undecided, and the unit is computed again)
//! ```
//!
//! Trials are not saved: after a crash the reports that differ begin another one.

mod ask;
mod close;
mod hearing;
mod shown;

use crate::Core;
use crate::bounds::{TRIAL_FAILURES_MAX, TRIAL_PAUSE_MS};
use crate::event::Effects;
use crate::job::Job;
use crate::time::Now;
use crate::trust::trial::hearing::Hearing;
use proto::trace::{Claim, Point, Trace};
use proto::{Digest, JobId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// All trials that are open.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    open: BTreeMap<u64, Trial>,
    /// What was asked of a worker and not answered: its trial and the worker, by number.
    asked: HashMap<u64, (u64, u32)>,
    /// Unanswered questions by worker.
    busy: HashMap<u32, u32>,
    /// When to look at which again.
    due: BTreeSet<(u64, u64)>,
    /// To be carried on at the end of the event.
    ready: BTreeSet<u64>,
    next: u64,
}

impl Trials {
    /// Whether anything is asked of a worker that it has not answered.
    pub(crate) fn asks(&self, worker: u32) -> bool {
        self.busy.contains_key(&worker)
    }
}

/// An open question about a unit.
#[derive(Debug)]
pub(crate) struct Trial {
    job: JobId,
    unit: u64,
    /// What was said of the unit: one opinion for a check, two for a dispute.
    opinions: Vec<Opinion>,
    /// Where a check looks, fuel.
    at: Option<u64>,
    stage: Stage,
    asks: Vec<Ask>,
    /// Workers that could not answer, and are not asked again.
    unable: BTreeSet<u32>,
    failures: u32,
}

/// What some reports of the unit say, and the trace that they commit to.
#[derive(Debug)]
struct Opinion {
    statement: Digest,
    end: Claim,
    root: Option<Digest>,
    trace: Option<Trace>,
}

/// What is being waited for.
#[derive(Debug)]
enum Stage {
    /// The traces of the opinions.
    Traces,
    /// The state at the last point that both traces share.
    State(Point),
    /// Somebody who runs the segment.
    Segment(Box<Hearing>),
}

/// A question to a worker.
#[derive(Clone, Copy, Debug)]
struct Ask {
    number: u64,
    worker: u32,
    /// Which opinion it is to show; nothing for a segment.
    of: Option<usize>,
    until_ms: u64,
}

/// Where a trial stands after a look at it.
#[derive(Debug)]
enum Step {
    Wait,
    /// Nobody can tell: the unit itself has to be computed again.
    Undecided,
    /// The segment ends like this.
    Truth(Claim),
}

impl Trials {
    /// When to look at one again, on the monotonic clock.
    pub(crate) fn next_deadline_ms(&self, now: Now) -> Option<u64> {
        let ready = (!self.ready.is_empty()).then_some(now.monotonic_ms);
        ready.or_else(|| self.due.first().map(|(at_ms, _)| *at_ms))
    }

    /// The unit that an open trial is about.
    pub(crate) fn unit(&self, id: u64) -> Option<(JobId, u64)> {
        self.open.get(&id).map(|trial| (trial.job, trial.unit))
    }

    /// What a trial waits for, for people.
    pub(crate) fn why(&self, id: u64) -> String {
        let Some(trial) = self.open.get(&id) else { return "it is being looked into".into() };
        let asked = trial.asks.len();
        match (&trial.stage, trial.opinions.len()) {
            (Stage::Segment(hearing), opinions) => hearing.why(opinions, asked),
            (_, 1) => "its worker is asked for its trace, so that another can run a random segment of it".into(),
            _ => "reports of it differ: their workers are asked for their traces, to find the segment on which they part"
                .into(),
        }
    }
}

impl Core {
    /// Whether a check of a segment of the unit's one report can be made; it is begun then.
    pub(crate) fn open_check(&mut self, id: JobId, unit: u64) -> bool {
        let Some(vote) = self
            .jobs
            .get(&id)
            .and_then(|job| job.known.get(&unit))
            .and_then(|known| known.votes.first())
        else {
            return false;
        };
        if vote.trace_root.is_none() || self.worker(vote.place.worker).live.is_none() {
            return false;
        }
        let at = self.prng.below(vote.fuel.max(1));
        let statement = vote.statement;
        self.open_trial(id, unit, &[statement], Some(at));
        true
    }

    /// Begins a dispute about a unit of which two opinions are known, unless only votes are left to decide it.
    pub(crate) fn open_dispute(&mut self, id: JobId, unit: u64) -> bool {
        let Some(job) = self.jobs.get(&id).filter(|job| job.estimates()) else { return false };
        let Some(known) = job.known.get(&unit).filter(|known| !known.votes_only) else {
            return false;
        };
        let mut statements: Vec<Digest> = Vec::new();
        for vote in known.votes.iter().filter(|vote| vote.standing.caught == 0) {
            if !statements.contains(&vote.statement) {
                statements.push(vote.statement);
            }
        }
        let [one, other, ..] = statements[..] else { return false };
        self.open_trial(id, unit, &[one, other], None);
        true
    }

    fn open_trial(&mut self, id: JobId, unit: u64, statements: &[Digest], at: Option<u64>) {
        let number = self.trials.next;
        self.trials.next += 1;
        let Some(known) = self.jobs.get_mut(&id).and_then(|job| job.known.get_mut(&unit)) else {
            return;
        };
        known.trial = Some(number);
        let opinion = |statement: &Digest| {
            let vote = known.votes.iter().find(|vote| vote.statement == *statement)?;
            let (end, root) = (vote.end(), vote.trace_root);
            Some(Opinion { statement: *statement, end, root, trace: None })
        };
        let trial = Trial {
            job: id,
            unit,
            opinions: statements.iter().filter_map(opinion).collect(),
            at,
            stage: Stage::Traces,
            asks: Vec::new(),
            unable: BTreeSet::new(),
            failures: 0,
        };
        self.trials.open.insert(number, trial);
        self.trials.ready.insert(number);
    }

    /// Carries on the trials that something has happened to.
    pub(crate) fn advance_trials(&mut self, now: Now, effects: &mut Effects) {
        while let Some(&(at_ms, id)) = self.trials.due.first()
            && at_ms <= now.monotonic_ms
        {
            self.trials.due.pop_first();
            self.trials.ready.insert(id);
        }
        // Ending one may begin another of the same unit; each takes an opinion away.
        while let Some(id) = self.trials.ready.pop_first() {
            self.advance_trial(now, id, effects);
        }
    }

    fn advance_trial(&mut self, now: Now, id: u64, effects: &mut Effects) {
        let Some(mut trial) = self.trials.open.remove(&id) else { return };
        self.trials.due.retain(|(_, other)| *other != id);
        let known = self.jobs.get(&trial.job).and_then(|job| job.known.get(&trial.unit));
        if known.is_none_or(|known| known.trial != Some(id)) {
            return self.drop_trial(&trial, effects);
        }
        self.expire_asks(now, &mut trial);
        match self.step(now, id, &mut trial, effects) {
            Step::Wait => {
                let until = trial.asks.iter().map(|ask| ask.until_ms).min();
                let due_ms = until.unwrap_or(now.monotonic_ms + TRIAL_PAUSE_MS);
                self.trials.due.insert((due_ms, id));
                self.trials.open.insert(id, trial);
            }
            Step::Undecided => self.close_undecided(trial, effects),
            Step::Truth(claim) => self.close_decided(now, trial, claim, effects),
        }
    }

    fn step(&mut self, now: Now, id: u64, trial: &mut Trial, effects: &mut Effects) -> Step {
        if TRIAL_FAILURES_MAX <= trial.failures {
            return Step::Undecided;
        }
        if matches!(trial.stage, Stage::Traces) {
            if let Some(step) = self.ask_for_traces(now, id, trial, effects) {
                return step;
            }
            self.find_parting(trial);
        }
        if let Stage::State(from) = trial.stage {
            let waits = !trial.asks.is_empty();
            let asked = waits
                || (0..trial.opinions.len())
                    .any(|of| self.ask_to_show(now, id, trial, of, Some(from.fuel), effects));
            return if asked { Step::Wait } else { self.hear_the_whole(now, id, trial, effects) };
        }
        self.hear(now, id, trial, effects)
    }

    /// Asks for the traces that are missing; nothing when all are there.
    fn ask_for_traces(
        &mut self,
        now: Now,
        id: u64,
        trial: &mut Trial,
        effects: &mut Effects,
    ) -> Option<Step> {
        let spacing = self.jobs.get(&trial.job).map_or(1, |job| job.spec.trace_fuel);
        let mut missing = false;
        for of in 0..trial.opinions.len() {
            let opinion = &mut trial.opinions[of];
            if opinion.trace.is_none() && opinion.root.is_none() {
                opinion.trace = Some(Trace::new(spacing));
            }
            if opinion.trace.is_some() {
                continue;
            }
            missing = true;
            let waits = trial.asks.iter().any(|ask| ask.of == Some(of));
            if !waits && !self.ask_to_show(now, id, trial, of, trial.at, effects) {
                return Some(self.hear_the_whole(now, id, trial, effects));
            }
        }
        missing.then_some(Step::Wait)
    }

    /// Both traces are here: leads them back to the first segment on which they part.
    fn find_parting(&self, trial: &mut Trial) {
        let [one, other] = &trial.opinions[..] else { return };
        let (Some(first), Some(second)) = (&one.trace, &other.trace) else { return };
        let (shared, first, second) = first.parting(second);
        let from = first.from(shared);
        let claims = vec![first.until(shared, one.end), second.until(shared, other.end)];
        let spacing = first.spacing();
        trial.stage = match from {
            Some(from) => Stage::State(from),
            None => Stage::Segment(Box::new(Hearing::new(spacing, shared, None, None, claims))),
        };
    }

    /// Traces or a state cannot be had: whoever the operator has appointed runs the whole unit.
    fn hear_the_whole(
        &mut self,
        now: Now,
        id: u64,
        trial: &mut Trial,
        effects: &mut Effects,
    ) -> Step {
        if trial.opinions.len() < 2 || !self.has_referee() {
            return Step::Undecided;
        }
        let claims = trial.opinions.iter().map(|opinion| opinion.end).collect();
        trial.stage = Stage::Segment(Box::new(Hearing::new(0, 0, None, None, claims)));
        self.hear(now, id, trial, effects)
    }

    /// Every trial has its unit, and the other way round.
    pub(crate) fn trial_contradiction(&self, job: &Job) -> Option<String> {
        let tried = job.known.iter().filter_map(|(unit, known)| Some((*unit, known.trial?, known)));
        for (unit, id, known) in tried {
            if self.trials.unit(id) != Some((job.id, unit)) {
                return Some(format!("{}/u{unit} waits for a trial that is not open", job.id));
            }
            if known.held {
                return Some(format!("{}/u{unit} is held and in a trial", job.id));
            }
        }
        None
    }

    /// The questions that are open are those of open trials.
    pub(crate) fn asks_contradiction(&self) -> Option<String> {
        let Trials { open, asked, busy, .. } = &self.trials;
        let asks: usize = open.values().map(|trial| trial.asks.len()).sum();
        let sum: u32 = busy.values().sum();
        let all = open.iter().flat_map(|(id, trial)| trial.asks.iter().map(move |ask| (id, ask)));
        let known = |(id, ask): (&u64, &Ask)| asked.get(&ask.number) == Some(&(*id, ask.worker));
        (asks != asked.len() || asks != sum as usize || !all.clone().all(known))
            .then(|| format!("{asks} questions are open, {} and {sum} counted", asked.len()))
    }
}
