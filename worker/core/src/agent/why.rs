//! What the worker is doing, and why it is not doing more, from the very state that decides it.

use super::control::{Mode, Pause};
use super::hold::Stage;
use super::link::Link;
use super::run::NoRoom;
use super::{Action, Agent, Effects, FetchTrouble, Now};
use proto::id::UnitId;
use proto::report::Ack;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Sums since the program's start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) units: u64,
    pub(super) fuel: u64,
    pub(super) cpu: Duration,
    pub(super) failures: u64,
    accepted: u64,
    refused: u64,
}

impl Totals {
    pub(super) fn count(&mut self, ack: Ack) {
        match ack {
            Ack::Accepted | Ack::Duplicate | Ack::Late => self.accepted += 1,
            Ack::NotLeased | Ack::NoJob | Ack::Invalid => self.refused += 1,
            Ack::OutputMissing | Ack::Busy => {}
        }
    }
}

/// What a worker is doing; the form of `starling-worker status --output json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Whether the coordinator has welcomed this worker.
    pub connected: bool,
    /// Whether the owner has paused it, and for how long.
    pub paused: Option<Pause>,
    /// The account's credit as last heard, fuel.
    pub credit: u64,
    /// Units that may run at the same time.
    pub slots: u32,
    /// Memory lent, bytes.
    pub memory_bytes: u64,
    /// Units in slots or queued right before them.
    pub running: Vec<RunningUnit>,
    /// Units held and not yet begun.
    pub waiting: u64,
    /// Of these, units whose blobs are on their way.
    pub fetching: u64,
    /// Reports on disk that the coordinator has not acknowledged.
    pub unreported: u64,
    /// Traces to be shown and segments to be run, so that the coordinator can check reports in part.
    pub errands: u64,
    /// Of these, given to peers while the coordinator is away.
    pub handed: u64,
    /// Units finished since the program's start.
    pub units_finished: u64,
    /// Reports acknowledged since the program's start.
    pub reports_accepted: u64,
    /// Reports that the coordinator would not take, since the program's start.
    pub reports_refused: u64,
    /// Infrastructure failures since the program's start.
    pub failures: u64,
    /// Fuel burnt in units finished since the program's start.
    pub fuel: u64,
    /// Computing time of units finished since the program's start, seconds.
    pub cpu_seconds: f64,
    /// Measured speed of one slot.
    pub fuel_per_second: u64,
    /// Why it does not compute more, most important first; empty when all slots compute.
    pub why: Vec<String>,
    /// What the coordinator has found out about this machine, for its owner; the latest, if any.
    pub advice: Option<String>,
}

/// A unit in a slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunningUnit {
    /// Written `j7/u12`.
    pub unit: String,
    /// Name of its job.
    pub job: String,
    /// Since it was given to the slot in this run of the program, seconds.
    pub seconds: f64,
    /// In the kernel's own measure.
    pub done: u64,
    /// In the kernel's own measure; 0 if it does not know.
    pub total: u64,
}

/// Most running units listed in a status: short units are queued by the hundred.
const RUNNING_LISTED_MAX: usize = 256;

impl Agent {
    /// The coordinator has found out something about this machine. An empty text takes the last one back.
    pub(super) fn advised(&mut self, text: String, fx: &mut Effects) {
        let advice = (!text.is_empty()).then_some(text);
        if self.advice == advice {
            return;
        }
        if let Some(text) = &advice {
            fx.actions.push(Action::Say(format!("advice from the project: {text}")));
        }
        self.advice = advice;
    }

    /// What the worker is doing at `now`.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive rate, for people"
    )]
    pub fn status(&self, now: Now) -> Status {
        let unreported = self.n_unreported();
        Status {
            connected: self.is_attached(),
            paused: self.paused(now),
            credit: self.credit,
            slots: self.config.slots,
            memory_bytes: self.config.memory_bytes,
            running: self
                .runs
                .units()
                .take(RUNNING_LISTED_MAX)
                .filter_map(|id| self.running_unit(now, id))
                .collect(),
            waiting: (self.units.len() - unreported - self.runs.units().count()) as u64,
            fetching: self.jobs.values().map(|job| job.n_fetching as u64).sum(),
            unreported: unreported as u64,
            errands: self.errands.held.len() as u64,
            handed: self.n_handed() as u64,
            units_finished: self.totals.units,
            reports_accepted: self.totals.accepted,
            reports_refused: self.totals.refused,
            failures: self.totals.failures,
            fuel: self.totals.fuel,
            cpu_seconds: self.totals.cpu.as_secs_f64(),
            fuel_per_second: self.runs.fuel_per_second.unwrap_or_default() as u64,
            why: self.why(now),
            advice: self.advice.clone(),
        }
    }

    fn running_unit(&self, now: Now, id: UnitId) -> Option<RunningUnit> {
        let Stage::Running { since, done, total, .. } = self.units.get(&id)?.stage else {
            return None;
        };
        let job = self.jobs.get(&id.job)?.name.clone();
        Some(RunningUnit {
            unit: id.to_string(),
            job,
            seconds: now.saturating_sub(since).as_secs_f64(),
            done,
            total,
        })
    }

    /// Why not more is computed, most important first; empty when all slots compute.
    #[must_use]
    pub fn why(&self, now: Now) -> Vec<String> {
        let mut why = Vec::new();
        match self.mode {
            Mode::Paused { until: None } => {
                why.push(
                    "you have paused this worker: `starling-worker resume` lets it go on"
                        .to_owned(),
                );
            }
            Mode::Paused { until: Some(until) } => {
                let left = until.saturating_sub(now).as_secs();
                why.push(format!("you have paused this worker for {left} s more: `starling-worker resume` ends that"));
            }
            Mode::Leaving { .. } => why.push("this worker leaves the project".to_owned()),
            Mode::Stopping => why.push("the program is about to end".to_owned()),
            Mode::Working => {}
        }
        let slots = self.config.slots as usize;
        let all_busy = slots <= self.runs.len() && self.is_fit();
        if !all_busy || !why.is_empty() {
            self.why_not_more(now, &mut why);
        }
        if let (true, Some(away)) = (all_busy, self.why_away(now)) {
            why.push(format!("all slots compute, but {away}"));
        }
        why
    }

    fn why_not_more(&self, now: Now, why: &mut Vec<String>) {
        why.extend(self.why_unfit(now));
        if let Some(NoRoom { until: Some(until), reason }) = &self.runs.no_room {
            let left = until.saturating_sub(now).as_secs();
            why.push(format!("{reason} (tried again in {left} s)"));
        } else if let Some(Stage::Ready(prepared)) =
            self.ready.front().and_then(|id| self.units.get(id)).map(|held| &held.stage)
            && !self.is_paused()
            && self.is_fit()
        {
            why.push(format!(
                "the next unit needs {} MiB, and what runs leaves less of the {} MiB lent: `run --memory` lends more",
                super::run::need(&prepared.unit.limits) >> 20,
                self.config.memory_bytes >> 20
            ));
        }
        match &self.blobs.trouble {
            Some(FetchTrouble::NoRoom(reason)) => why.push(format!("no room for inputs: {reason}")),
            Some(FetchTrouble::Later(reason) | FetchTrouble::Never(reason)) => {
                why.push(format!("the last input could not be fetched: {reason}"));
            }
            None => {}
        }
        let n_fetching: usize = self.jobs.values().map(|job| job.n_fetching).sum();
        if 0 < n_fetching {
            why.push(format!("{n_fetching} units wait for their kernel or inputs to arrive"));
        }
        why.extend(self.why_away(now));
        if self.is_attached()
            && let Some((until, reason)) = &self.want.idle
        {
            let left = until.saturating_sub(now).as_secs();
            why.push(format!("the coordinator has nothing (more) for this worker: {reason} (asked again in {left} s)"));
        }
        if why.is_empty() {
            why.push("work has been asked for and is awaited".to_owned());
        }
    }

    fn why_away(&self, now: Now) -> Option<String> {
        match &self.link {
            Link::Attached { dropping: false, .. } => None,
            Link::Attached { dropping: true, .. } => {
                Some("the stream has stalled and is dropped".to_owned())
            }
            Link::Refused { reason } => {
                Some(format!("the coordinator refuses this worker: {reason}"))
            }
            Link::Connecting { since, reason, .. } => {
                let away = now.saturating_sub(*since).as_secs();
                Some(format!("the coordinator is being tried, away for {away} s ({reason})"))
            }
            Link::Away { since, retry_at, reason, .. } => {
                let (away, next) =
                    (now.saturating_sub(*since).as_secs(), retry_at.saturating_sub(now).as_secs());
                Some(format!(
                    "the coordinator is away for {away} s ({reason}); next attempt in {next} s"
                ))
            }
        }
    }
}
