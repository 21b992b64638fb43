//! Workers that give units of a job back unharmed: no attempt of the unit is counted, but they are lent none of the job for
//! a while, longer with each time, so that others are.

use crate::bounds::{RETURNERS_MAX, RETURNS_FREE};
use crate::worker::strike_ms;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Workers, by number, that gave units of one job back since their last report of it.
#[derive(Debug, Default)]
pub(super) struct Returners(BTreeMap<u32, Returner>);

/// One of them.
#[derive(Debug)]
pub(super) struct Returner {
    times: u32,
    /// It gets none of the job before this moment.
    pub(super) until_ms: u64,
    /// Why it gave them back last.
    pub(super) reason: Arc<str>,
}

impl Returners {
    /// A worker has given units back.
    pub(super) fn add(&mut self, now_ms: u64, worker: u32, reason: Arc<str>) {
        if RETURNERS_MAX <= self.0.len() && !self.0.contains_key(&worker) {
            let first = self.0.iter().min_by_key(|(_, returner)| returner.until_ms);
            if let Some(first) = first.map(|(worker, _)| *worker) {
                self.0.remove(&first);
            }
        }
        let fresh = || Returner { times: 0, until_ms: 0, reason: "".into() };
        let returner = self.0.entry(worker).or_insert_with(fresh);
        returner.times = returner.times.saturating_add(1);
        returner.reason = reason;
        if let Some(doublings) = returner.times.checked_sub(RETURNS_FREE + 1) {
            returner.until_ms = now_ms + strike_ms(doublings);
        }
    }

    /// A worker has reported a unit.
    pub(super) fn remove(&mut self, worker: u32) {
        if !self.0.is_empty() {
            self.0.remove(&worker);
        }
    }

    /// What speaks against lending to a worker now.
    pub(super) fn get(&self, now_ms: u64, worker: u32) -> Option<&Returner> {
        self.0.get(&worker).filter(|returner| now_ms < returner.until_ms)
    }

    /// All that were to wait, longest first.
    pub(super) fn waiting(&self) -> Vec<(u32, &Returner)> {
        let waiting = self.0.iter().filter(|(_, returner)| 0 < returner.until_ms);
        let mut waiting: Vec<_> = waiting.map(|(worker, returner)| (*worker, returner)).collect();
        waiting.sort_by_key(|(worker, returner)| (std::cmp::Reverse(returner.until_ms), *worker));
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_is_free_and_the_wait_doubles() {
        let mut returners = Returners::default();
        let mut now = 1_000;
        for wait in [0, 2_000, 4_000, 8_000] {
            returners.add(now, 7, "no memory".into());
            assert_eq!(returners.get(now, 7).map_or(now, |returner| returner.until_ms), now + wait);
            now += wait;
            assert!(returners.get(now, 7).is_none());
        }
        assert_eq!(returners.waiting().len(), 1);
        returners.remove(7);
        returners.add(now, 7, "no memory".into());
        assert!(returners.get(now, 7).is_none());
        assert!(returners.waiting().is_empty());
    }

    #[test]
    fn a_crowd_is_not_remembered_without_bound() {
        let mut returners = Returners::default();
        for worker in 0..2 * u32::try_from(RETURNERS_MAX).unwrap() {
            returners.add(0, worker, "no memory".into());
            returners.add(u64::from(worker), worker, "no memory".into());
        }
        assert_eq!(returners.0.len(), RETURNERS_MAX);
    }
}
