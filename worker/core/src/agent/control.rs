//! What the owner says: pause, resume, leave, stop.

use super::hold::Stage;
use super::{Action, Agent, Effects, Message, Now};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a worker that leaves waits for its last reports to be acknowledged.
const LEAVE_MAX: Duration = Duration::from_secs(60);

/// Whether the worker works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Working,
    Paused { until: Option<Now> },
    Leaving { deadline: Now },
    Stopping,
}

/// A pause, for people and other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// Until it is resumed.
    UntilResumed,
    /// For so many seconds more.
    Seconds(u64),
}

impl Agent {
    pub(super) fn is_paused(&self) -> bool {
        matches!(self.mode, Mode::Paused { .. })
    }

    /// Whether nothing new is to be begun.
    pub(super) fn is_stopping(&self) -> bool {
        match self.mode {
            Mode::Stopping => true,
            // A stream is still wanted for the last reports.
            Mode::Leaving { .. } | Mode::Working | Mode::Paused { .. } => false,
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.mode, Mode::Leaving { .. })
    }

    /// The pause that is on, if any.
    #[must_use]
    pub fn paused(&self, now: Now) -> Option<Pause> {
        match self.mode {
            Mode::Paused { until: None } => Some(Pause::UntilResumed),
            Mode::Paused { until: Some(until) } => {
                Some(Pause::Seconds(until.saturating_sub(now).as_secs()))
            }
            Mode::Working | Mode::Leaving { .. } | Mode::Stopping => None,
        }
    }

    pub(super) fn pause(&mut self, now: Now, duration: Option<Duration>, fx: &mut Effects) {
        if !matches!(self.mode, Mode::Working | Mode::Paused { .. }) {
            return;
        }
        if !self.is_paused() {
            fx.actions.push(Action::Pause);
            self.want_nothing(fx);
        }
        self.mode = Mode::Paused { until: duration.map(|duration| now.saturating_add(duration)) };
    }

    pub(super) fn resume(&mut self, fx: &mut Effects) {
        if self.is_paused() {
            self.mode = Mode::Working;
            fx.actions.push(Action::Resume);
        }
    }

    pub(super) fn leave(&mut self, now: Now, fx: &mut Effects) {
        if matches!(self.mode, Mode::Leaving { .. } | Mode::Stopping) {
            return;
        }
        self.mode = Mode::Leaving { deadline: now + LEAVE_MAX };
        let open: Vec<_> = self
            .units
            .iter()
            .filter(|(_, held)| !held.stage.is_finished())
            .map(|(id, _)| *id)
            .collect();
        for id in open {
            self.give_back(id, "the worker leaves the project", false, fx);
        }
        self.fail_all_errands("the worker leaves the project", fx);
    }

    pub(super) fn stop(&mut self, fx: &mut Effects) {
        self.mode = Mode::Stopping;
        self.stop_errands(fx);
    }

    pub(super) fn stopped(&mut self, now: Now, fx: &mut Effects) {
        // A run that did not say how it ended is taken up from its snapshot at the next start.
        let running: Vec<_> = self
            .units
            .iter()
            .filter(|(_, held)| matches!(held.stage, Stage::Running { .. }))
            .map(|(id, _)| *id)
            .collect();
        for id in running {
            self.take_back(id, fx);
        }
        self.advance_reports(now, fx);
        if self.is_attached() {
            fx.actions.push(Action::Send(Message::Goodbye { leaving: false }));
        }
        fx.actions.push(Action::Exit);
    }

    pub(super) fn mode_deadline(&self) -> Option<Now> {
        match self.mode {
            Mode::Paused { until } => until,
            Mode::Leaving { deadline } => Some(deadline),
            Mode::Working | Mode::Stopping => None,
        }
    }

    pub(super) fn advance_mode(&mut self, now: Now, fx: &mut Effects) {
        match self.mode {
            Mode::Paused { until: Some(until) } if until <= now => self.resume(fx),
            Mode::Leaving { deadline } => {
                let nothing_left = self.units.is_empty() && self.reports.returns.is_empty();
                if nothing_left && self.is_attached() {
                    fx.actions.push(Action::Send(Message::Goodbye { leaving: true }));
                }
                if (nothing_left && self.is_attached())
                    || deadline <= now
                    || self.refusal().is_some()
                {
                    self.mode = Mode::Stopping;
                    fx.actions.push(Action::Exit);
                }
            }
            Mode::Working | Mode::Paused { .. } | Mode::Stopping => {}
        }
    }
}
