//! What peers cost, counted and held within the owner's limits.

use super::traffic::{Traffic, Usage};
use crate::clock;
use proto::bucket::Bucket;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What passes at once, as a part of what passes in a second: a quarter, so that the owner's line is never full for long.
const BURST_PART: u64 = 4;
/// Least burst, bytes: one packet of a transfer must always pass.
const BURST_BYTES_MIN: u64 = 64 << 10;

/// Counts bytes and makes senders wait.
#[derive(Debug)]
pub struct Meter {
    born: Instant,
    up: Option<Mutex<Bucket>>,
    down: Option<Mutex<Bucket>>,
    month_bytes_max: Option<u64>,
    usage: Mutex<Usage>,
}

impl Meter {
    /// Goes on from `usage`; rates are in bytes per second, absent means unlimited.
    pub(super) fn new(
        up_per_second: Option<u64>,
        down_per_second: Option<u64>,
        month_bytes_max: Option<u64>,
        usage: Usage,
    ) -> Self {
        let bucket =
            |rate: u64| Mutex::new(Bucket::new(rate, (rate / BURST_PART).max(BURST_BYTES_MIN)));
        Self {
            born: Instant::now(),
            up: up_per_second.map(bucket),
            down: down_per_second.map(bucket),
            month_bytes_max,
            usage: Mutex::new(usage),
        }
    }

    /// Waits until `bytes` more may be sent to peers.
    pub async fn up(&self, bytes: u64) {
        self.pass(self.up.as_ref(), bytes).await;
    }

    /// Waits until `bytes` more may be asked of peers.
    pub async fn down(&self, bytes: u64) {
        self.pass(self.down.as_ref(), bytes).await;
    }

    /// Whether this month's volume is spent: nothing more is asked or given.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.month_bytes_max.is_some_and(|max| max <= self.usage().month.total())
    }

    /// What peers have cost.
    #[must_use]
    pub fn usage(&self) -> Usage {
        *self.lock()
    }

    /// The owner's limit on a month's bytes, if there is one.
    #[must_use]
    pub fn month_bytes_max(&self) -> Option<u64> {
        self.month_bytes_max
    }

    /// Counts what has passed.
    pub(super) fn count(&self, more: Traffic) {
        self.lock().add(clock::wall_ms(), more);
    }

    async fn pass(&self, bucket: Option<&Mutex<Bucket>>, bytes: u64) {
        let Some(bucket) = bucket else { return };
        let wait = {
            let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.wait(self.born.elapsed(), bytes)
        };
        if Duration::ZERO < wait {
            tokio::time::sleep(wait).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
