//! Token buckets: a bound on a rate, so much in the long run, so much at once. Pure: time is an argument, counted since any origin
//! that stays. (The generic cell rate algorithm of ITU-T I.371: one moment in place of a count of tokens.)

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Lets amounts through as fast as they may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// So much comes in each `period`.
    amount: u64,
    period: Duration,
    burst: u64,
    /// When the allowance would be whole again.
    whole_at: Duration,
}

impl Bucket {
    /// `per_second` in the long run, `burst` at once after a silence; both at least 1.
    #[must_use]
    pub fn new(per_second: u64, burst: u64) -> Self {
        let (amount, burst) = (per_second.max(1), burst.max(1));
        Self { amount, period: Duration::from_secs(1), burst, whole_at: Duration::ZERO }
    }

    /// One in each `period` in the long run, `burst` at once after a silence.
    #[must_use]
    pub fn every(period: Duration, burst: u64) -> Self {
        Self { amount: 1, period, burst: burst.max(1), whole_at: Duration::ZERO }
    }

    /// Counts `amount` at `now`, since any origin that stays; how long it has to wait.
    pub fn wait(&mut self, now: Duration, amount: u64) -> Duration {
        self.whole_at = self.whole_at.max(now).saturating_add(self.time(amount));
        self.whole_at.saturating_sub(now).saturating_sub(self.time(self.burst))
    }

    /// Counts `amount` if it may pass at `now` without waiting; whether it may.
    pub fn passes(&mut self, now: Duration, amount: u64) -> bool {
        let mut tried = self.clone();
        let passes = tried.wait(now, amount).is_zero();
        if passes {
            *self = tried;
        }
        passes
    }

    /// Whether nothing has passed lately, so that it is as good as new.
    #[must_use]
    pub fn is_whole(&self, now: Duration) -> bool {
        self.whole_at <= now
    }

    fn time(&self, amount: u64) -> Duration {
        let nanos = u128::from(amount).saturating_mul(self.period.as_nanos());
        let nanos = nanos / u128::from(self.amount);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// A bucket for each of many, in a bounded table.
#[derive(Clone, Debug)]
pub struct Buckets<K> {
    /// What everybody begins with.
    new: Bucket,
    /// Most that are told apart.
    most: usize,
    used: HashMap<K, Bucket>,
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    /// A bucket like `new` for each of the `most` that used theirs latest.
    #[must_use]
    pub fn new(new: Bucket, most: usize) -> Self {
        Self { new, most: most.max(1), used: HashMap::new() }
    }

    /// Counts `amount` of `key` if it may pass at `now`; whether it may.
    pub fn passes(&mut self, now: Duration, key: K, amount: u64) -> bool {
        if self.most <= self.used.len() && !self.used.contains_key(&key) {
            self.forget(now);
        }
        self.used.entry(key).or_insert_with(|| self.new.clone()).passes(now, amount)
    }

    /// Those told apart.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// Those whose bucket is whole lose nothing by it; of the others the one that is nearest to it goes.
    fn forget(&mut self, now: Duration) {
        self.used.retain(|_, bucket| !bucket.is_whole(now));
        if self.most <= self.used.len()
            && let Some(nearest) = self
                .used
                .iter()
                .min_by_key(|(_, bucket)| bucket.whole_at)
                .map(|(key, _)| key.clone())
        {
            self.used.remove(&nearest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_more_waits_its_time() {
        let mut bucket = Bucket::new(100, 50);
        assert_eq!(bucket.wait(SECOND, 50), Duration::ZERO);
        assert_eq!(bucket.wait(SECOND, 100), SECOND);
        assert_eq!(bucket.wait(SECOND * 3, 50), Duration::ZERO);
        assert!(!bucket.is_whole(SECOND * 3));
        assert!(bucket.is_whole(SECOND * 4));
    }

    #[test]
    fn what_does_not_pass_costs_nothing() {
        let mut bucket = Bucket::new(1, 3);
        assert!((0..3).all(|_| bucket.passes(SECOND, 1)));
        assert!((0..100).all(|_| !bucket.passes(SECOND, 1)));
        assert!(bucket.passes(SECOND * 2, 1));
    }

    #[test]
    fn one_that_takes_without_end_waits_and_others_do_not() {
        let mut buckets = Buckets::new(Bucket::every(SECOND / 4, 8), 100);
        let mut passed = |key, now| (0..1_000).filter(|_| buckets.passes(now, key, 1)).count();
        assert_eq!(passed(1, SECOND), 8);
        assert_eq!(passed(2, SECOND), 8);
        assert_eq!(passed(1, SECOND * 2), 4);
    }

    #[test]
    fn a_crowd_is_bounded_and_pushes_out_who_used_least() {
        let mut buckets = Buckets::new(Bucket::new(1, 10), 3);
        for (key, amount) in [(1, 9), (2, 2), (3, 5), (4, 1)] {
            assert!(buckets.passes(SECOND, key, amount));
        }
        assert_eq!(buckets.len(), 3);
        assert!(!buckets.passes(SECOND, 1, 9), "it has used most, and is remembered");
        assert!(buckets.passes(SECOND, 2, 10), "it has used least, and begins anew");
    }

    #[test]
    fn the_long_run_is_the_rate_whatever_the_pieces() {
        for piece in [1, 7, 1000, 1 << 20] {
            let mut bucket = Bucket::new(1 << 20, 1);
            let mut now = Duration::ZERO;
            let mut sent = 0_u64;
            while sent < 16 << 20 {
                now += bucket.wait(now, piece);
                sent += piece;
            }
            assert!((14.9..16.1).contains(&now.as_secs_f64()), "{piece}: {now:?}");
        }
    }
}
