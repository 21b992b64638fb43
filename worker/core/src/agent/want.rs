//! How much work to ask for: enough to keep every slot computing for the buffer's time.

use super::hold::Stage;
use super::{Action, Agent, Effects, HELD_UNITS_MAX, Message, Now};
use std::time::Duration;

/// Least time between two looks at what is held, since a look counts it.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// When nothing happens, what is held is looked at this often: only time went by.
const LOOK_AT_LEAST: Duration = Duration::from_secs(2);
/// A wish that was answered in part is said anew after this time, if more is wanted: what the coordinator had at once has
/// come by then.
const ANSWERED_AFTER: Duration = Duration::from_millis(250);
/// A wish that stands is renewed after this time, with what is then wanted.
const RENEW_AFTER: Duration = Duration::from_secs(60);
/// Units for each slot while it is not known how long they take.
const UNKNOWN_PER_SLOT: u32 = 2;
/// Least wait after the coordinator had nothing.
const IDLE_MIN: Duration = Duration::from_millis(100);
/// Longest wait that the coordinator may ask for.
const IDLE_MAX: Duration = Duration::from_secs(3600);

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanting {
    /// The wish that stands.
    standing: Option<Standing>,
    /// Not to be looked at before.
    look_at: Now,
    /// To be looked at then, whatever happens.
    look_by: Now,
    /// Until when not to ask, and why.
    pub(super) idle: Option<(Now, String)>,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    units_left: u32,
    since: Now,
    answered: bool,
}

impl Standing {
    fn ask_again_at(&self) -> Now {
        self.since + if self.answered { ANSWERED_AFTER } else { RENEW_AFTER }
    }
}

impl Wanting {
    pub(super) fn unanswered_since(&self) -> Option<Now> {
        self.standing.filter(|standing| !standing.answered).map(|standing| standing.since)
    }
}

impl Agent {
    pub(super) fn want_attached(&mut self) {
        self.want = Wanting::default();
    }

    /// Takes back what was asked for: nothing more is to be begun.
    pub(super) fn want_nothing(&mut self, fx: &mut Effects) {
        if self.want.standing.take().is_some() && self.is_attached() {
            fx.actions.push(Action::Send(self.want_of(0, 0)));
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive rate for planning"
    )]
    fn want_of(&self, units: u32, seconds: u64) -> Message {
        Message::Want {
            units,
            seconds,
            fuel_per_second: self.runs.fuel_per_second.unwrap_or_default() as u64,
            memory_bytes: self.config.memory_bytes.saturating_sub(super::run::PROCESS_BYTES),
            kernels: self.runs.kernels.iter().copied().collect(),
        }
    }

    pub(super) fn want_served(&mut self, units: u32) {
        self.want.idle = None;
        if let Some(standing) = &mut self.want.standing {
            standing.answered = true;
            standing.units_left = standing.units_left.saturating_sub(units);
            if standing.units_left == 0 {
                self.want.standing = None;
            }
        }
    }

    pub(super) fn idle(&mut self, now: Now, reason: String, retry_after: Duration) {
        self.want.standing = None;
        self.want.look_by = Now::ZERO;
        self.want.idle = Some((now + retry_after.clamp(IDLE_MIN, IDLE_MAX), reason));
    }

    pub(super) fn want_deadline(&self) -> Option<Now> {
        if !self.wants_work() {
            return None;
        }
        let idle = self.want.idle.as_ref().map_or(Now::ZERO, |(until, _)| *until);
        let by = match self.want.standing {
            Some(standing) if !standing.answered => standing.ask_again_at(),
            _ => self.want.look_by,
        };
        Some(self.want.look_at.max(idle).max(by))
    }

    fn wants_work(&self) -> bool {
        self.is_attached() && !self.is_paused() && !self.is_stopping() && self.is_fit()
    }

    pub(super) fn advance_want(&mut self, now: Now, fx: &mut Effects) {
        if !self.wants_work() || now < self.want.look_at {
            return;
        }
        if self.want.idle.as_ref().is_some_and(|(until, _)| now < *until) {
            return;
        }
        self.want.look_at = now + LOOK_EVERY;
        self.want.look_by = now + LOOK_AT_LEAST;
        let Some((units, seconds)) = self.lacking() else { return };
        if self.want.standing.is_some_and(|standing| now < standing.ask_again_at()) {
            return;
        }
        self.want.standing = Some(Standing { units_left: units, since: now, answered: false });
        fx.actions.push(Action::Send(self.want_of(units, seconds)));
    }

    /// Units and seconds of work to ask for; none when enough is held.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "planning"
    )]
    fn lacking(&self) -> Option<(u32, u64)> {
        let slots = self.config.slots;
        let target = self.config.buffer.as_secs_f64() * f64::from(slots);
        let (mut seconds_held, mut n_open, mut n_unknown, mut shortest) =
            (0.0, 0_usize, 0_usize, f64::INFINITY);
        for job in self.jobs.values().filter(|job| 0 < job.n_open) {
            n_open += job.n_open;
            match job.unit_seconds {
                Some(seconds) => {
                    seconds_held += seconds * job.n_open as f64;
                    shortest = shortest.min(seconds);
                }
                None => n_unknown += job.n_open,
            }
        }
        seconds_held -= self.seconds_done();
        let room =
            u32::try_from(HELD_UNITS_MAX.saturating_sub(self.units.len())).unwrap_or(u32::MAX);
        let wanted_unknown = slots * UNKNOWN_PER_SLOT;
        if 0 < n_unknown || n_open == 0 && self.runs.fuel_per_second.is_none() {
            let units =
                wanted_unknown.saturating_sub(u32::try_from(n_open).unwrap_or(u32::MAX)).min(room);
            return (0 < units).then_some((units, target as u64 + 1));
        }
        let lacking = target - seconds_held;
        let dry = n_open < (slots * UNKNOWN_PER_SLOT) as usize && seconds_held < target;
        if lacking < target / 2.0 && !dry {
            return None;
        }
        let by_time = if shortest.is_finite() {
            (lacking / shortest).clamp(1.0, 1e9) as u32
        } else {
            HELD_UNITS_MAX as u32
        };
        let units = by_time.max(1).min(room);
        // Half of the room or more at a time, so that short units do not make a wish for each.
        let worth = units == by_time.max(1) || HELD_UNITS_MAX as u32 / 2 <= room;
        (0 < units && worth).then_some((units, (lacking.max(1.0)) as u64))
    }

    /// Computing time that running units have behind them, by what they say of themselves.
    #[expect(clippy::cast_precision_loss, reason = "planning")]
    fn seconds_done(&self) -> f64 {
        let done = self.runs.units().take(2 * self.config.slots as usize).filter_map(|id| {
            let Stage::Running { done, total, .. } = self.units.get(&id)?.stage else {
                return None;
            };
            let seconds = self.jobs.get(&id.job)?.unit_seconds?;
            (0 < total).then(|| seconds * (done as f64 / total as f64).min(1.0))
        });
        done.sum()
    }
}
