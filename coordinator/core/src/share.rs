//! Fair share between those who submit jobs: each has spent so much fuel, and who has spent least goes first.

use proto::JobId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Running jobs of each submitting account, and what it has spent.
#[derive(Debug, Default)]
pub(super) struct Shares(BTreeMap<String, Share>);

#[derive(Debug, Default)]
struct Share {
    /// Expected fuel of what was lent, since it joined at the lowest of the others.
    spent: u128,
    jobs: BTreeSet<(Reverse<i32>, JobId)>,
}

impl Shares {
    /// Adds a running job. An account without one starts level with the one that has spent least: nobody saves up.
    pub(super) fn add(&mut self, account: &str, priority: i32, job: JobId) {
        let least = self.0.values().map(|share| share.spent).min().unwrap_or(0);
        let share = self
            .0
            .entry(account.to_owned())
            .or_insert_with(|| Share { spent: least, ..Share::default() });
        share.jobs.insert((Reverse(priority), job));
    }

    /// Removes a job that has ended.
    pub(super) fn remove(&mut self, account: &str, priority: i32, job: JobId) {
        if let Some(share) = self.0.get_mut(account) {
            share.jobs.remove(&(Reverse(priority), job));
            if share.jobs.is_empty() {
                self.0.remove(account);
            }
        }
    }

    /// Notes that work worth `fuel` was lent.
    pub(super) fn spend(&mut self, account: &str, fuel: u128) {
        if let Some(share) = self.0.get_mut(account) {
            share.spent = share.spent.saturating_add(fuel);
        }
    }

    /// Running jobs in the order in which they should be served now.
    pub(super) fn order(&self) -> Vec<JobId> {
        let mut shares: Vec<&Share> = self.0.values().collect();
        shares.sort_by_key(|share| share.spent);
        shares.into_iter().flat_map(|share| share.jobs.iter().map(|(_, job)| *job)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_spent_least_goes_first_and_priority_counts_within_an_account() {
        let mut shares = Shares::default();
        shares.add("ada", 0, JobId(1));
        shares.add("ada", 5, JobId(2));
        shares.add("bob", -9, JobId(3));
        assert_eq!(shares.order(), [JobId(2), JobId(1), JobId(3)]);
        shares.spend("ada", 10);
        assert_eq!(shares.order(), [JobId(3), JobId(2), JobId(1)]);
        shares.spend("bob", 20);
        shares.add("eve", 0, JobId(4));
        assert_eq!(shares.order(), [JobId(2), JobId(1), JobId(4), JobId(3)]);
    }
}
