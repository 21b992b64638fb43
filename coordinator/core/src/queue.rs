//! Units that may have to be lent (again), as runs of consecutive ones. Only hints: whether a unit may be lent to whom
//! is asked of the unit itself, so that nothing has to be taken out when a unit no longer needs anybody.

use std::collections::{BTreeMap, VecDeque};

/// Consecutive units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    /// The first.
    pub(super) first: u64,
    /// How many.
    pub(super) count: u64,
}

impl Run {
    pub(super) fn new(first: u64, count: u64) -> Self {
        Self { first, count }
    }

    pub(super) fn units(self) -> std::ops::Range<u64> {
        self.first..self.first + self.count
    }
}

/// Makes runs of units that come in order.
pub(super) fn runs(units: impl IntoIterator<Item = u64>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for unit in units {
        match runs.last_mut() {
            Some(run) if run.first + run.count == unit => run.count += 1,
            _ => runs.push(Run::new(unit, 1)),
        }
    }
    runs
}

/// Runs, grouped by the account that took the units last: it cannot be the one to take them next.
#[derive(Debug, Default)]
pub(super) struct Queue {
    groups: BTreeMap<Option<u32>, VecDeque<Run>>,
    /// Units that wait until a moment before they may be lent again.
    delayed: BTreeMap<(u64, u64), u64>,
}

impl Queue {
    /// Adds units that `account` (if any) cannot take.
    pub(super) fn push(&mut self, account: Option<u32>, run: Run) {
        self.groups.entry(account).or_default().push_back(run);
    }

    /// Puts back what was not needed of a run.
    pub(super) fn push_front(&mut self, account: Option<u32>, run: Run) {
        self.groups.entry(account).or_default().push_front(run);
    }

    /// Adds units that may be lent from `at_ms` on.
    pub(super) fn delay(&mut self, at_ms: u64, run: Run) {
        let count = self.delayed.entry((at_ms, run.first)).or_default();
        *count = run.count.max(*count);
    }

    /// Moves what may be lent from `now_ms` on to the others; whether there was any.
    pub(super) fn wake(&mut self, now_ms: u64) -> bool {
        let later = self.delayed.split_off(&(now_ms + 1, 0));
        let due = std::mem::replace(&mut self.delayed, later);
        let any = !due.is_empty();
        for ((_, first), count) in due {
            self.push(None, Run::new(first, count));
        }
        any
    }

    /// The groups that `account` may find something in.
    pub(super) fn groups_for(&self, account: u32) -> Vec<Option<u32>> {
        self.groups.keys().filter(|group| **group != Some(account)).copied().collect()
    }

    /// Runs in a group.
    pub(super) fn len_of(&self, group: Option<u32>) -> usize {
        self.groups.get(&group).map_or(0, VecDeque::len)
    }

    /// Takes the first run of a group.
    pub(super) fn pop(&mut self, group: Option<u32>) -> Option<Run> {
        let runs = self.groups.get_mut(&group)?;
        let run = runs.pop_front();
        if runs.is_empty() {
            self.groups.remove(&group);
        }
        run
    }

    /// Whether nothing is to be lent now.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// All runs that may be lent now, delayed ones excluded.
    pub(super) fn ready(&self) -> impl Iterator<Item = Run> + '_ {
        self.groups.values().flatten().copied()
    }

    /// All runs that have to wait, with the moment.
    pub(super) fn delayed(&self) -> impl Iterator<Item = (u64, Run)> + '_ {
        self.delayed.iter().map(|(&(at_ms, first), &count)| (at_ms, Run::new(first, count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_come_together_in_runs() {
        assert_eq!(runs([1, 2, 3, 7, 9, 10]), [Run::new(1, 3), Run::new(7, 1), Run::new(9, 2)]);
    }

    #[test]
    fn delayed_units_come_when_their_moment_has_come() {
        let mut queue = Queue::default();
        queue.delay(10, Run::new(0, 5));
        queue.delay(20, Run::new(5, 5));
        assert!(!queue.wake(9));
        assert_eq!(queue.delayed().next(), Some((10, Run::new(0, 5))));
        assert!(queue.wake(10));
        assert_eq!(queue.pop(None), Some(Run::new(0, 5)));
        assert!(queue.is_empty());
    }

    #[test]
    fn an_account_finds_nothing_where_it_was_last() {
        let mut queue = Queue::default();
        queue.push(Some(1), Run::new(0, 5));
        assert!(queue.groups_for(1).is_empty());
        assert_eq!(queue.groups_for(2), [Some(1)]);
    }
}
