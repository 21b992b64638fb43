//! Answers come in: traces, states, and what a segment came to.

use super::hearing::{Heard, Hearing};
use super::{Ask, Stage, Trial};
use crate::Core;
use crate::event::{Effects, Found, Reply, Session, Shown};
use crate::trust::{self, Detection, Fault};
use proto::trace::{Claim, Trace};

impl Core {
    /// A worker shows what it was asked for, or says that it cannot.
    pub(crate) fn shown(&mut self, session: Session, shown: Shown, effects: &mut Effects) -> Reply {
        let useless = shown.state.map(|(digest, _, _)| digest);
        let Some((id, ask, mut trial)) = self.answered(session, shown.ask) else {
            effects.forgotten.extend(useless);
            return Reply::Done;
        };
        let answer = match (shown.trace, ask.of) {
            (Ok(bytes), Some(of)) => self.take_shown(&mut trial, of, &bytes, shown.state),
            _ => Err(Unfit::Gone),
        };
        if let Err(unfit) = answer {
            effects.forgotten.extend(useless);
            trial.failures += 1;
            trial.unable.insert(ask.worker);
            if let (Unfit::False, Some(job)) = (unfit, self.jobs.get(&trial.job)) {
                // It committed to something else, or to nothing that it has computed.
                let class = trust::class(job, trial.unit);
                let fault = Fault::Shown { job: trial.job, unit: trial.unit };
                self.caught.push(Detection { worker: ask.worker, class, fault });
            }
        }
        self.trials.open.insert(id, trial);
        self.trials.ready.insert(id);
        Reply::Done
    }

    fn take_shown(
        &self,
        trial: &mut Trial,
        of: usize,
        bytes: &[u8],
        state: Option<(proto::Digest, u64, proto::trace::Point)>,
    ) -> Result<(), Unfit> {
        let spacing = self.jobs.get(&trial.job).map_or(1, |job| job.spec.trace_fuel);
        let trace = Trace::decode(bytes, spacing).map_err(|_| Unfit::False)?;
        if trace.root() != trial.opinions[of].root {
            return Err(Unfit::False);
        }
        let blob = state.map(|(digest, len, _)| (digest, len));
        let point = state.map(|(_, _, point)| point);
        match trial.stage {
            Stage::Traces => {
                let Some(at) = trial.at else {
                    trial.opinions[of].trace = Some(trace);
                    return Ok(());
                };
                let points = trace.points_until(at);
                let from = trace.from(points);
                if point != from {
                    return Err(Unfit::False);
                }
                let claims = vec![trace.until(points, trial.opinions[of].end)];
                let hearing = Hearing::new(trace.spacing(), points, from, blob, claims);
                trial.opinions[of].trace = Some(trace);
                trial.stage = Stage::Segment(Box::new(hearing));
                Ok(())
            }
            Stage::State(from) => {
                if point != Some(from) {
                    return Err(Unfit::False);
                }
                let [one, other] = &trial.opinions[..] else { return Err(Unfit::Gone) };
                let (Some(first), Some(second)) = (&one.trace, &other.trace) else {
                    return Err(Unfit::Gone);
                };
                let (shared, first, second) = first.parting(second);
                let claims: Vec<Claim> =
                    vec![first.until(shared, one.end), second.until(shared, other.end)];
                let hearing = Hearing::new(first.spacing(), shared, point, blob, claims);
                trial.stage = Stage::Segment(Box::new(hearing));
                Ok(())
            }
            Stage::Segment(_) => Err(Unfit::Gone),
        }
    }

    /// A worker has run a segment, or could not.
    pub(crate) fn found(&mut self, session: Session, found: Found) -> Reply {
        let Some((id, ask, mut trial)) = self.answered(session, found.ask) else {
            return Reply::Done;
        };
        // Evidence may name it by its number.
        self.workers[session.worker as usize].heard = true;
        let spec = self.jobs.get(&trial.job).map(|job| job.record.spec_digest);
        let Stage::Segment(hearing) = &mut trial.stage else {
            self.trials.open.insert(id, trial);
            return Reply::Done;
        };
        let fits = |statement: &proto::trace::SegmentStatement| {
            Some(statement.spec) == spec
                && statement.project == self.meta.project
                && statement.unit.0 == trial.unit
                && (statement.spacing, statement.from) == (hearing.spacing, hearing.from)
        };
        match found.found.ok().filter(|(statement, _)| fits(statement)) {
            Some((statement, signature)) => {
                let record = &self.workers[ask.worker as usize].record;
                let account = record.account;
                let class = self.jobs.get(&trial.job).map(|job| trust::class(job, trial.unit));
                let standing = self.standings.of(
                    ask.worker,
                    account,
                    record.network,
                    class.unwrap_or_default(),
                );
                hearing.heard.push(Heard {
                    worker: ask.worker,
                    referee: self.referees.contains(&ask.worker),
                    counts: standing.caught == 0,
                    statement,
                    signature,
                });
            }
            None => {
                trial.failures += 1;
                trial.unable.insert(ask.worker);
            }
        }
        self.trials.open.insert(id, trial);
        self.trials.ready.insert(id);
        Reply::Done
    }

    /// Takes the trial out that a question was for, if it was asked of this worker and is still open.
    fn answered(&mut self, session: Session, number: u64) -> Option<(u64, Ask, Trial)> {
        let worker = self.worker_of(session)?;
        let (id, asked) = self.trials.asked.get(&number).copied()?;
        if asked != worker {
            return None;
        }
        self.forget_ask(number);
        let mut trial = self.trials.open.remove(&id)?;
        let at = trial.asks.iter().position(|ask| ask.number == number)?;
        let ask = trial.asks.swap_remove(at);
        Some((id, ask, trial))
    }
}

/// Why what was shown is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfit {
    /// It could not be shown.
    Gone,
    /// It is not what the report commits to.
    False,
}
