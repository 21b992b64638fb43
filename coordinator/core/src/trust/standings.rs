//! What is remembered of whom: workers, their accounts, and the networks they come from.

use crate::trust::estimate::Standing;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// Checks that an account has to pass after it was caught for one time to be forgiven: three times what a newcomer
/// needs to be believed alone at one in a million.
pub const FORGIVEN_PASSED: u32 = 1_000;
/// Checks after which an account answers for itself and no longer for others of its network: as many as a newcomer needs
/// to be believed alone at one in a million.
pub const ESTABLISHED_PASSED: u32 = 350;

/// Parts of one check: a segment that is run again counts for as many as it is of its unit.
pub const PARTS: u32 = 1 << 16;

/// Who something is remembered of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Who {
    /// A machine, by number.
    Worker(u32),
    /// An owner, by number.
    Account(u32),
    /// A network, by what its addresses begin with.
    Network(u64),
    /// All whom the operator has not appointed, together.
    Crowd,
    /// An owner, by number: what referees have found of units that it was right or wrong about.
    Refereed(u32),
}

/// Of whom, and for which class of units.
pub type Entry = (Who, u64);

/// The memory.
#[derive(Debug, Default)]
pub struct Standings {
    standings: HashMap<Entry, Standing>,
    /// Changed since the last commit.
    dirty: BTreeSet<Entry>,
}

impl Standings {
    /// As it was saved.
    #[must_use]
    pub fn load(standings: impl IntoIterator<Item = (Entry, Standing)>) -> Self {
        Self { standings: standings.into_iter().collect(), dirty: BTreeSet::new() }
    }

    fn get(&self, who: Who, class: u64) -> Standing {
        self.standings.get(&(who, class)).copied().unwrap_or_default()
    }

    fn change(&mut self, who: Who, class: u64, change: impl FnOnce(&mut Standing)) {
        change(self.standings.entry((who, class)).or_default());
        self.dirty.insert((who, class));
    }

    /// What is known of a worker: its own checks, and what its account, or its network while the account is new, was
    /// caught at.
    #[must_use]
    pub fn of(&self, worker: u32, account: u32, network: u64, class: u64) -> Standing {
        let account = self.get(Who::Account(account), class);
        let mut caught = account.caught;
        if network != 0 && account.passed < ESTABLISHED_PASSED {
            caught = caught.max(self.get(Who::Network(network), class).caught);
        }
        Standing { caught, ..self.get(Who::Worker(worker), class) }
    }

    /// A worker has passed a check.
    pub fn pass(&mut self, worker: u32, account: u32, network: u64, class: u64) {
        self.change(Who::Worker(worker), class, |standing| {
            standing.passed = standing.passed.saturating_add(1);
        });
        self.change(Who::Account(account), class, forgive);
        if network != 0 {
            self.change(Who::Network(network), class, forgive);
        }
    }

    /// A worker has passed a check of `parts` of a unit, of [`PARTS`].
    pub fn pass_part(&mut self, worker: u32, account: u32, network: u64, class: u64, parts: u32) {
        let mut whole = false;
        self.change(Who::Worker(worker), class, |standing| {
            standing.parts += parts.min(PARTS);
            whole = PARTS <= standing.parts;
            standing.parts %= PARTS;
        });
        if whole {
            self.pass(worker, account, network, class);
        }
    }

    /// A worker was caught: what it and the other `workers` of its account have earned in any class is gone.
    pub fn catch(&mut self, workers: &BTreeSet<u32>, account: u32, network: u64, class: u64) {
        let fell = |standing: &mut Standing| {
            *standing =
                Standing { caught: standing.caught.saturating_add(1), ..Standing::default() };
        };
        self.change(Who::Account(account), class, fell);
        if network != 0 {
            self.change(Who::Network(network), class, fell);
        }
        if self.standings.contains_key(&(Who::Refereed(account), 0)) {
            self.change(Who::Refereed(account), 0, |standing| standing.passed = 0);
        }
        let lost: Vec<Entry> = self
            .standings
            .iter()
            .filter(|((who, _), standing)| {
                matches!(who, Who::Worker(worker) if workers.contains(worker))
                    && 0 < standing.passed.max(standing.parts)
            })
            .map(|(entry, _)| *entry)
            .collect();
        for (who, class) in lost {
            self.change(who, class, |standing| (standing.passed, standing.parts) = (0, 0));
        }
    }

    /// What a referee has found of units on which the crowd agreed: checks passed since it was wrong last. It is of people, and
    /// not of a kernel.
    #[must_use]
    pub fn crowd(&self) -> Standing {
        self.get(Who::Crowd, 0)
    }

    /// A referee has found a unit right on which the crowd agreed, or wrong.
    pub fn check_crowd(&mut self, right: bool) {
        self.change(Who::Crowd, 0, |standing| {
            standing.passed = if right { standing.passed.saturating_add(1) } else { 0 };
        });
    }

    /// What referees have found of an account: checks passed since it was caught last. Of people, as [`Self::crowd`].
    #[must_use]
    pub fn refereed(&self, account: u32) -> Standing {
        self.get(Who::Refereed(account), 0)
    }

    /// A referee has found the same as an account.
    pub fn check_account(&mut self, account: u32) {
        self.change(Who::Refereed(account), 0, |standing| {
            standing.passed = standing.passed.saturating_add(1);
        });
    }

    /// Whether anything changed since the last commit.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// What changed since the last commit.
    pub fn take_changes(&mut self) -> Vec<(Entry, Standing)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|(who, class)| ((who, class), self.get(who, class))).collect()
    }
}

/// A check was passed by one of those who answer together.
fn forgive(standing: &mut Standing) {
    standing.passed = standing.passed.saturating_add(1);
    if 0 < standing.caught && FORGIVEN_PASSED <= standing.passed {
        *standing = Standing { caught: standing.caught - 1, ..Standing::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: u64 = 7;

    #[test]
    fn trust_is_earned_by_the_worker_and_lost_by_the_account() {
        let mut standings = Standings::default();
        for _ in 0..500 {
            standings.pass(1, 1, 0, CLASS);
            standings.pass(2, 1, 0, CLASS);
        }
        // A new worker of a good account starts at nothing.
        assert_eq!(standings.of(3, 1, 0, CLASS), Standing::default());
        assert_eq!(standings.of(1, 1, 0, CLASS), Standing { passed: 500, ..Standing::default() });
        standings.pass(1, 1, 0, 8);
        standings.catch(&BTreeSet::from([1, 2]), 1, 0, CLASS);
        for worker in [1, 2, 3] {
            assert_eq!(
                standings.of(worker, 1, 0, CLASS),
                Standing { caught: 1, ..Standing::default() }
            );
        }
        assert_eq!(standings.of(1, 1, 0, 8), Standing::default());
    }

    #[test]
    fn new_accounts_answer_for_their_network_until_they_are_established() {
        let mut standings = Standings::default();
        standings.catch(&BTreeSet::from([1]), 1, 99, CLASS);
        assert_eq!(standings.of(5, 5, 99, CLASS).caught, 1);
        assert_eq!(standings.of(5, 5, 0, CLASS).caught, 0);
        for _ in 0..ESTABLISHED_PASSED {
            standings.pass(5, 5, 0, CLASS);
        }
        assert_eq!(standings.of(5, 5, 99, CLASS).caught, 0);
    }

    #[test]
    fn long_good_work_is_forgiven_once() {
        let mut standings = Standings::default();
        standings.catch(&BTreeSet::from([1]), 1, 0, CLASS);
        standings.catch(&BTreeSet::from([1]), 1, 0, CLASS);
        for _ in 0..FORGIVEN_PASSED {
            standings.pass(1, 1, 0, CLASS);
        }
        assert_eq!(standings.of(1, 1, 0, CLASS).caught, 1);
    }
}
