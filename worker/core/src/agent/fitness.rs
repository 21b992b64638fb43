//! Whether this machine can run units at all, as a trial unit of its own shows: before it is sure of that it asks for none
//! and starts none, so that no unit of anybody is spent on it.

use super::{Action, Agent, Effects, Now};
use std::time::Duration;

/// Wait before the trial unit is run again after it failed; doubled with each failure.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Longest such wait: a machine that was mended goes on soon enough.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(600);
/// Trials that fail in a row before what is held is given back: a shortage of a few seconds costs nothing.
const FAILURES_HELD: u32 = 2;

/// What is known of the machine.
#[derive(Clone, Debug, Default)]
pub(super) enum Fitness {
    /// Units run.
    #[default]
    Fit,
    /// The trial unit runs.
    Trying { n_failed: u32, reason: String },
    /// The trial unit failed.
    Unfit { n_failed: u32, retry_at: Now, reason: String },
}

impl Agent {
    /// Whether units may be asked for and started.
    pub(super) fn is_fit(&self) -> bool {
        matches!(self.fitness, Fitness::Fit)
    }

    /// Something speaks against this machine: nothing is begun before the trial unit has run.
    pub(super) fn doubt(&mut self, reason: String, fx: &mut Effects) {
        if !self.is_fit() {
            return;
        }
        self.want_nothing(fx);
        self.fitness = Fitness::Trying { n_failed: 0, reason };
        fx.actions.push(Action::Try);
    }

    /// The trial unit has ended.
    pub(super) fn tried(&mut self, now: Now, result: Result<(), String>, fx: &mut Effects) {
        let Fitness::Trying { n_failed, .. } = self.fitness else { return };
        let Err(reason) = result else {
            if 0 < n_failed {
                fx.actions.push(Action::Say("this machine can run units again".into()));
            }
            self.fitness = Fitness::Fit;
            return;
        };
        let wait = AGAIN_AFTER.saturating_mul(1 << n_failed.min(16)).min(AGAIN_AFTER_MAX);
        fx.actions.push(Action::Say(format!(
            "this machine cannot run units, so none are asked for: {reason}; a trial unit is run again in {} s",
            wait.as_secs()
        )));
        let n_failed = n_failed + 1;
        self.fitness = Fitness::Unfit { n_failed, retry_at: now + wait, reason: reason.clone() };
        if FAILURES_HELD <= n_failed {
            self.give_back_all(&format!("the machine cannot run units: {reason}"), fx);
        }
    }

    /// Gives back all that is not finished and does not run, and runs no errand.
    fn give_back_all(&mut self, reason: &str, fx: &mut Effects) {
        let open: Vec<_> = self
            .units
            .iter()
            .filter(|(_, held)| !held.stage.is_finished() && !held.stage.is_running())
            .map(|(id, _)| *id)
            .collect();
        for id in open {
            self.give_back(id, reason, false, fx);
        }
        self.fail_all_errands(reason, fx);
    }

    pub(super) fn fitness_deadline(&self) -> Option<Now> {
        match &self.fitness {
            Fitness::Unfit { retry_at, .. } if !self.is_stopping() => Some(*retry_at),
            Fitness::Unfit { .. } | Fitness::Trying { .. } | Fitness::Fit => None,
        }
    }

    pub(super) fn advance_fitness(&mut self, now: Now, fx: &mut Effects) {
        if self.is_stopping() {
            return;
        }
        if let Fitness::Unfit { n_failed, retry_at, reason } = &self.fitness
            && *retry_at <= now
        {
            self.fitness = Fitness::Trying { n_failed: *n_failed, reason: reason.clone() };
            fx.actions.push(Action::Try);
        }
    }

    /// Why this machine runs nothing, for people; none when it can.
    pub(super) fn why_unfit(&self, now: Now) -> Option<String> {
        match &self.fitness {
            Fitness::Fit => None,
            Fitness::Trying { n_failed: 0, reason } => {
                Some(format!("a trial unit shows whether this machine can run units: {reason}"))
            }
            Fitness::Trying { reason, .. } => Some(format!(
                "this machine could not run units: {reason}; a trial unit is run again now"
            )),
            Fitness::Unfit { retry_at, reason, .. } => Some(format!(
                "this machine cannot run units, so none are asked for: {reason}; a trial unit is run again in {} s",
                retry_at.saturating_sub(now).as_secs()
            )),
        }
    }
}
