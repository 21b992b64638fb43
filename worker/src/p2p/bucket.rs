//! A bound on a rate: so much in the long run, so much at once. Pure: time is an argument.

use std::time::Duration;

/// Lets amounts through as fast as they may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    per_second: u64,
    burst: u64,
    /// When the allowance would be whole again.
    whole_at: Duration,
}

impl Bucket {
    /// `per_second` in the long run, `burst` at once after a silence; both at least 1.
    #[must_use]
    pub fn new(per_second: u64, burst: u64) -> Self {
        Self { per_second: per_second.max(1), burst: burst.max(1), whole_at: Duration::ZERO }
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
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(self.per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
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
