//! The stream to the coordinator: attempts, heartbeats, silence.

use super::hold::Stage;
use super::{Action, Agent, Effects, Message, Now, Progress, Return, Welcome};
use proto::bounds::HEARTBEAT_LEASES_MAX;
use std::time::Duration;

/// First wait before connecting again; doubled with each failure.
const RETRY_MIN: Duration = Duration::from_millis(500);
/// Longest wait: ten thousand workers that come back over a minute are no burden, and a minute is soon over.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// A stream that lived this long was a good one: the next attempts start anew.
const GOOD_AFTER: Duration = Duration::from_secs(30);
/// A batch or a wish that is not answered within this time means that the stream has stalled, though the connection
/// below may still breathe.
const ANSWER_MAX: Duration = Duration::from_secs(90);
/// Bounds on what the coordinator may ask for as time between heartbeats.
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
const HEARTBEAT_MAX: Duration = Duration::from_secs(600);
/// Most units in one message of returns: what a coordinator takes.
const RETURNS_MAX: usize = proto::bounds::LEASE_UNITS_MAX as usize;

/// Where the worker stands with the coordinator.
#[derive(Clone, Debug)]
pub(super) enum Link {
    /// No stream; one will be tried at `retry_at`.
    Away { since: Now, failures: u32, retry_at: Now, reason: String },
    /// The task tries to open a stream.
    Connecting { since: Now, failures: u32, reason: String },
    /// Welcomed.
    Attached {
        since: Now,
        failures: u32,
        heartbeat: Duration,
        heartbeat_at: Now,
        batch_reports_max: usize,
        dropping: bool,
    },
    /// Turned away for good.
    Refused { reason: String },
}

impl Default for Link {
    fn default() -> Self {
        Self::Away {
            since: Now::ZERO,
            failures: 0,
            retry_at: Now::ZERO,
            reason: "not yet tried".into(),
        }
    }
}

impl Agent {
    /// Whether messages can be sent.
    pub(super) fn is_attached(&self) -> bool {
        matches!(self.link, Link::Attached { dropping: false, .. })
    }

    /// Why the coordinator wants this worker no more, if so.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        match &self.link {
            Link::Refused { reason } => Some(reason),
            _ => None,
        }
    }

    pub(super) fn attached(&mut self, now: Now, welcome: &Welcome, fx: &mut Effects) {
        let failures = match self.link {
            Link::Connecting { failures, .. } | Link::Away { failures, .. } => failures,
            Link::Attached { .. } | Link::Refused { .. } => 0,
        };
        self.link = Link::Attached {
            since: now,
            failures,
            heartbeat: welcome.heartbeat.clamp(HEARTBEAT_MIN, HEARTBEAT_MAX),
            heartbeat_at: now,
            batch_reports_max: welcome.batch_reports_max.clamp(1, proto::bounds::BATCH_REPORTS_MAX),
            dropping: false,
        };
        self.credit = welcome.credit;
        self.reports_attached(welcome.sequence);
        self.want_attached();
        self.give_back_expired(now, fx);
    }

    /// Units that nobody started under leases that ran out have most likely been lent to others.
    fn give_back_expired(&mut self, now: Now, fx: &mut Effects) {
        let expired: Vec<_> = self
            .units
            .iter()
            .filter(|(_, held)| {
                !matches!(held.stage, Stage::Running { .. } | Stage::Finished(_) | Stage::Sent(_))
            })
            .filter(|(id, _)| !self.runs.started.contains(id))
            .filter(|(_, held)| {
                self.leases.get(&held.lease).is_some_and(|lease| lease.expires_at <= now)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in expired {
            self.give_back(id, "its lease ran out before it was started", false, fx);
        }
    }

    pub(super) fn detached(
        &mut self,
        now: Now,
        reason: String,
        retry_after: Option<Duration>,
        random: u64,
    ) {
        let (since, failures) = match &self.link {
            Link::Refused { .. } => return,
            Link::Away { since, failures, .. } | Link::Connecting { since, failures, .. } => {
                (*since, failures + 1)
            }
            Link::Attached { since, failures, .. } if now < *since + GOOD_AFTER => {
                (now, failures + 1)
            }
            Link::Attached { .. } => (now, 0),
        };
        let wait = retry_after.unwrap_or_default().max(back_off(failures, random));
        self.link = Link::Away { since, failures, retry_at: now + wait, reason };
        self.reports_detached();
    }

    pub(super) fn refused(&mut self, reason: String) {
        self.link = Link::Refused { reason };
        self.reports_detached();
    }

    pub(super) fn link_deadline(&self) -> Option<Now> {
        match &self.link {
            Link::Away { .. } if self.is_stopping() => None,
            Link::Away { retry_at, .. } => Some(*retry_at),
            Link::Attached { heartbeat_at, dropping: false, .. } => {
                let silent = self.unanswered_since().map(|since| since + ANSWER_MAX);
                Some(silent.map_or(*heartbeat_at, |silent| silent.min(*heartbeat_at)))
            }
            Link::Attached { dropping: true, .. }
            | Link::Connecting { .. }
            | Link::Refused { .. } => None,
        }
    }

    pub(super) fn advance_link(&mut self, now: Now, fx: &mut Effects) {
        match &self.link {
            Link::Away { since, failures, retry_at, reason }
                if *retry_at <= now && !self.is_stopping() =>
            {
                self.link =
                    Link::Connecting { since: *since, failures: *failures, reason: reason.clone() };
                fx.actions.push(Action::Connect);
            }
            Link::Attached { .. } if self.is_attached() => self.advance_attached(now, fx),
            _ => {}
        }
    }

    fn advance_attached(&mut self, now: Now, fx: &mut Effects) {
        if self.unanswered_since().is_some_and(|since| since + ANSWER_MAX <= now) {
            if let Link::Attached { dropping, .. } = &mut self.link {
                *dropping = true;
            }
            let reason = format!("the coordinator has not answered for {} s", ANSWER_MAX.as_secs());
            return fx.actions.push(Action::Disconnect(reason));
        }
        let returns: Vec<Return> = std::mem::take(&mut self.reports.returns);
        for returns in returns.chunks(RETURNS_MAX) {
            fx.actions.push(Action::Send(Message::Returns(returns.to_vec())));
        }
        if let Link::Attached { heartbeat, heartbeat_at, .. } = &mut self.link
            && *heartbeat_at <= now
        {
            *heartbeat_at = now + *heartbeat;
            fx.actions.push(Action::Send(self.heartbeat()));
            for lease in self.leases.values_mut() {
                lease.expires_at = now + lease.duration;
            }
        }
    }

    /// What a heartbeat says now.
    #[must_use]
    pub fn heartbeat(&self) -> Message {
        let leases = self.leases.keys().take(HEARTBEAT_LEASES_MAX).copied().collect();
        let progress = self.runs.units().filter_map(|id| {
            let held = self.units.get(&id)?;
            let Stage::Running { done, total, .. } = held.stage else { return None };
            (0 < total).then_some(Progress { lease: held.lease, unit: id.unit, done, total })
        });
        let progress = progress.take(self.config.slots as usize).collect();
        Message::Heartbeat { leases, paused: self.is_paused(), progress }
    }
}

/// Exponential, with jitter: between half of the full wait and all of it.
fn back_off(failures: u32, random: u64) -> Duration {
    let full = RETRY_MIN.saturating_mul(1 << failures.min(16)).min(RETRY_MAX);
    let half = full / 2;
    let nanos = u64::try_from(half.as_nanos()).expect("half a minute of nanoseconds");
    half + Duration::from_nanos(random % (nanos + 1))
}
