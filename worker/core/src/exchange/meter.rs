//! Rates that forget, and random numbers.

use super::Now;
use std::time::Duration;

/// Bytes count for so long; what is older fades.
const MEMORY: Duration = Duration::from_secs(15);

/// Bytes per second of late: an exponentially weighted sum divided by the length of its memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    sum: f64,
    at: Now,
    total: u64,
}

impl Meter {
    pub(super) fn add(&mut self, now: Now, bytes: u64) {
        self.sum = self.faded(now) + f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.at = now.max(self.at);
        self.total = self.total.saturating_add(bytes);
    }

    fn faded(&self, now: Now) -> f64 {
        self.sum * (-now.saturating_sub(self.at).as_secs_f64() / MEMORY.as_secs_f64()).exp()
    }

    /// Bytes per second.
    pub(super) fn rate(&self, now: Now) -> f64 {
        self.faded(now) / MEMORY.as_secs_f64()
    }

    /// Bytes since the beginning.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }
}

/// Randomness from a seed that was passed in (splitmix64, public domain, by Sebastiano Vigna).
#[derive(Clone, Copy, Debug)]
pub(super) struct Prng(pub(super) u64);

impl Prng {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, which is at least 1.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.roll() % n.max(1)
    }

    /// Between half of `time` and one and a half of it.
    pub(super) fn about(&mut self, time: Duration) -> Duration {
        let share = u32::try_from(self.below(1024)).unwrap_or(0);
        time / 2 + time * share / 1024
    }

    /// One of those with the lowest key, each equally likely.
    pub(super) fn lowest<T, K: Ord>(&mut self, items: impl Iterator<Item = (K, T)>) -> Option<T> {
        let (mut best, mut n_equal) = (None::<(K, T)>, 0_u64);
        for (key, item) in items {
            let replace = match &best {
                None => true,
                Some((lowest, _)) if key < *lowest => true,
                Some((lowest, _)) if key == *lowest => {
                    n_equal += 1;
                    if self.below(n_equal) == 0 {
                        best = Some((key, item));
                    }
                    continue;
                }
                Some(_) => false,
            };
            if replace {
                (best, n_equal) = (Some((key, item)), 1);
            }
        }
        best.map(|(_, item)| item)
    }
}
