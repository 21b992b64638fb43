//! A unit of which more is known than that it was lent once.

use crate::bounds::ATTEMPTS_OF_ONE;
use crate::job::Voter;
use crate::verdict::{self, Policy, Vote};
use proto::LeaseId;
use std::sync::Arc;

/// Stands for the accounts of machines that fail more than they report, or have shown nothing yet, where others could have
/// computed the unit: keys are free, so that however many they are, they count as one account.
pub(super) const NEWCOMERS: u32 = u32::MAX;

/// What is known of a unit without a verdict. A unit of a job of one copy has an entry only after an attempt failed or
/// when it is lent twice; a unit of any other job from its first lease on. It goes when the unit is settled.
#[derive(Debug, Default)]
pub(super) struct Unit {
    /// Reports accepted, each of another account.
    pub(super) votes: Vec<Vote>,
    /// Leases in time under which it is being computed.
    pub(super) holders: Vec<LeaseId>,
    /// Attempts that came to nothing: accounts, and how many of each. `None` is the coordinator itself, [`NEWCOMERS`] all that
    /// have shown nothing yet.
    failures: Vec<(Option<u32>, u32)>,
    /// Of the last of them.
    pub(super) reason: Option<Arc<str>>,
    /// Whether one report is not enough, however good its worker's record.
    pub(super) checked: bool,
    /// Whether the unit is among those that wait for their worker to pass a check.
    pub(super) held: bool,
    /// Whether those who agree on it may earn what their records lack before another is asked.
    pub(super) patient: bool,
    /// Whether it is among those that are looked at again, as records grow.
    pub(super) watched: bool,
    /// Whether it would have its verdict, and waits for a referee to check what waits.
    pub(super) pooled: bool,
    /// The trial that is open about it; it is lent to nobody meanwhile.
    pub(super) trial: Option<u64>,
    /// Whether a segment of its one report was checked, or could not be.
    pub(super) looked: bool,
    /// Whether only votes are left to decide between reports that differ.
    pub(super) votes_only: bool,
    /// Whose reports were proved wrong.
    pub(super) refuted: Vec<Voter>,
}

impl Unit {
    /// Notes an attempt of `account` that came to nothing.
    pub(super) fn fail(&mut self, account: Option<u32>, reason: Arc<str>) {
        self.reason = Some(reason);
        match self.failures.iter_mut().find(|(known, _)| *known == account) {
            Some((_, count)) => *count += 1,
            None => self.failures.push((account, 1)),
        }
    }

    /// All attempts that came to nothing.
    pub(super) fn attempts(&self) -> u32 {
        self.failures.iter().map(|(_, count)| count).sum()
    }

    /// Attempts that count towards `attempts_max`: one account's are at most half of them, so that neither a broken
    /// machine nor a malicious one can have a unit given up that others compute.
    pub(super) fn counted(&self, attempts_max: u32) -> u32 {
        let counted = |&(account, count): &(Option<u32>, u32)| match account {
            Some(_) => count.min(attempts_max.div_ceil(2)),
            None => count,
        };
        self.failures.iter().map(counted).sum()
    }

    /// Whether it was tried often enough. `alone`: nobody else could have tried it instead.
    pub(super) fn hopeless(&self, attempts_max: u32, alone: impl FnOnce() -> bool) -> bool {
        let of_newcomers = |(account, _): &&(Option<u32>, u32)| *account == Some(NEWCOMERS);
        let of_newcomers = self.failures.iter().find(of_newcomers).map_or(0, |(_, count)| *count);
        let attempts = self.attempts();
        attempts_max <= self.counted(attempts_max)
            || attempts_max * ATTEMPTS_OF_ONE <= attempts - of_newcomers
            || (attempts_max <= attempts && alone())
    }

    /// Leases that it lacks.
    pub(super) fn missing(&self, policy: Policy) -> usize {
        if self.trial.is_some() || self.pooled {
            return 0;
        }
        verdict::lacking(policy, &self.votes, self.checked, self.patient)
            .saturating_sub(self.holders.len())
    }
}
