//! What the coordinator is told of the batches of others, and what it answers.

use super::{Others, Stage};
use crate::custody::bounds::{AGAIN_AFTER, ASKED_MAX, DELIVERIES_MAX};
use crate::custody::{Action, Config, Name, Now};
use std::time::Duration;

impl Others {
    /// The coordinator has a batch.
    pub(crate) fn known(&mut self, name: &Name, actions: &mut Vec<Action>) {
        if self.stage(name).is_some_and(|stage| stage != Stage::Known) {
            self.enter(*name, Stage::Known);
            actions.push(Action::Mark(*name));
        }
    }

    /// The coordinator is away: whatever it was asked or sent comes again.
    pub(crate) fn detached(&mut self) {
        let away = |stage| matches!(stage, Stage::Asking | Stage::Wanted | Stage::Delivering);
        let names: Vec<(Name, Now)> = self
            .batches
            .iter()
            .filter(|(_, held)| away(held.stage))
            .map(|(name, held)| (*name, held.since))
            .collect();
        for (name, since) in names {
            self.enter(name, Stage::Waiting(since));
        }
    }

    pub(crate) fn wanted(&mut self, answers: Vec<(Name, bool)>, actions: &mut Vec<Action>) {
        for (name, wanted) in answers {
            if self.stage(&name) != Some(Stage::Asking) {
                continue;
            }
            if wanted {
                self.enter(name, Stage::Wanted);
            } else {
                self.known(&name, actions);
            }
        }
    }

    pub(crate) fn not_asked(&mut self, now: Now, names: &[Name]) {
        for name in names {
            if self.stage(name) == Some(Stage::Asking) {
                self.enter(*name, Stage::Waiting(now + AGAIN_AFTER));
            }
        }
    }

    pub(crate) fn delivered(
        &mut self,
        now: Now,
        name: Name,
        done: bool,
        actions: &mut Vec<Action>,
    ) {
        if self.stage(&name) != Some(Stage::Delivering) {
            return;
        }
        if done {
            self.known(&name, actions);
        } else {
            self.enter(name, Stage::Waiting(now + AGAIN_AFTER));
        }
    }

    /// Lets go what is too old; tells the coordinator, if it is there, of what has waited long enough.
    pub(crate) fn advance(
        &mut self,
        now: Now,
        config: &Config,
        attached: Option<Now>,
        actions: &mut Vec<Action>,
    ) {
        while let Some((_, oldest)) = self.order.first().copied()
            && self.batches.get(&oldest).is_some_and(|held| held.expires <= now)
        {
            self.evict(oldest, actions);
        }
        let Some(attached) = attached else { return };
        if self.n_asking == 0 && self.wanted.len() < ASKED_MAX {
            let asked = self.take_due(now, config, attached);
            if !asked.is_empty() {
                actions.push(Action::Ask(asked));
            }
        }
        while self.n_delivering < DELIVERIES_MAX
            && let Some(name) = self.wanted.front().copied()
        {
            self.enter(name, Stage::Delivering);
            actions.push(Action::Deliver(name));
        }
    }

    fn take_due(&mut self, now: Now, config: &Config, attached: Now) -> Vec<Name> {
        let mut asked = Vec::new();
        while asked.len() < ASKED_MAX
            && let Some((at, name)) = self.due.first().copied()
            && at <= now
        {
            let Some(held) = self.batches.get(&name) else {
                self.due.remove(&(at, name));
                continue;
            };
            let not_before =
                (held.since + config.patience).max(attached + lot(config, &name)).max(at);
            if now < not_before {
                self.enter(name, Stage::Waiting(not_before));
            } else {
                self.enter(name, Stage::Asking);
                asked.push(name);
            }
        }
        asked
    }

    pub(crate) fn next_deadline(&self, attached: Option<Now>) -> Option<Now> {
        let oldest = self.order.first().and_then(|(_, name)| self.batches.get(name));
        let expiry = oldest.map(|held| held.expires);
        let due = self.due.first().map(|(at, _)| *at);
        let due = due.filter(|_| attached.is_some() && self.n_asking == 0);
        let due = due.filter(|_| self.wanted.len() < ASKED_MAX);
        [expiry, due].into_iter().flatten().min()
    }
}

/// After the coordinator came back, each holder of a batch has another moment to tell of it.
fn lot(config: &Config, name: &Name) -> Duration {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&config.worker.0).update(&name.worker.0).update(&name.sequence.to_le_bytes());
    let &[a, b, ..] = hasher.finalize().as_bytes();
    config.spread * u32::from(u16::from_le_bytes([a, b])) / (1 << 16)
}
