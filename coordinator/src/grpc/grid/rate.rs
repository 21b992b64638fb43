//! A bound on how many messages a worker gets a hearing for.

use tokio::time::{Duration, Instant, sleep};

/// Messages of one worker per second in the long run: a hundred times what a busy one needs, as reports come in batches.
const PER_SECOND: u32 = 1_000;
/// Messages at once, after a silence.
const BURST: u32 = 2_000;

/// Lets messages through as fast as they may come; faster ones wait, and with them their sender.
#[derive(Debug)]
pub(super) struct Rate {
    /// When the allowance would be whole again.
    whole_at: Instant,
}

impl Rate {
    pub(super) fn new() -> Self {
        Self { whole_at: Instant::now() }
    }

    /// Waits until one more message may be heard.
    pub(super) async fn next(&mut self) {
        if let Some(wait) = self.wait(Instant::now()) {
            sleep(wait).await;
        }
    }

    /// Counts a message that comes at `now`; how long it has to wait.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        let each = Duration::from_secs(1) / PER_SECOND;
        self.whole_at = self.whole_at.max(now) + each;
        (self.whole_at - now).checked_sub(each * BURST).filter(|wait| !wait.is_zero())
    }
}

/// Bytes of lines of one worker per second in the long run: twice what ours sends.
const LOG_BYTES_PER_SECOND: u32 = 64 << 10;
/// Bytes of lines at once, after a silence.
const LOG_BYTES_BURST: u32 = 4 << 20;

/// Lets lines of kernels through as fast as they may come; faster ones are dropped, which costs nobody anything.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the allowance would be whole again.
    whole_at: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { whole_at: Instant::now() }
    }

    /// Counts so many bytes that come now; whether they may.
    pub(super) fn lets(&mut self, bytes: usize) -> bool {
        self.lets_at(Instant::now(), bytes)
    }

    fn lets_at(&mut self, now: Instant, bytes: usize) -> bool {
        let each = Duration::from_secs(1) / LOG_BYTES_PER_SECOND;
        let cost = each * u32::try_from(bytes).unwrap_or(u32::MAX);
        let whole_at = self.whole_at.max(now) + cost;
        let lets = whole_at - now <= each * LOG_BYTES_BURST;
        if lets {
            self.whole_at = whole_at;
        }
        lets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_come_too_fast_are_dropped() {
        let mut pace = Pace::new();
        let start = Instant::now();
        let passed = (0..10_000).filter(|_| pace.lets_at(start, 4096)).count();
        assert!(passed.abs_diff(LOG_BYTES_BURST as usize / 4096) <= 1, "{passed}");
        let later = start + Duration::from_secs(10);
        let passed = (0..10_000).filter(|_| pace.lets_at(later, 4096)).count();
        assert!(passed.abs_diff(10 * LOG_BYTES_PER_SECOND as usize / 4096) <= 1, "{passed}");
    }

    #[test]
    fn a_burst_passes_and_a_flood_is_slowed() {
        let mut rate = Rate::new();
        let start = Instant::now();
        for _ in 0..BURST {
            assert_eq!(rate.wait(start), None);
        }
        for message in 1..=PER_SECOND {
            assert_eq!(rate.wait(start), Some(Duration::from_secs(1) / PER_SECOND * message));
        }
        let later = start + Duration::from_secs(10);
        for _ in 0..BURST {
            assert_eq!(rate.wait(later), None);
        }
        assert!(rate.wait(later).is_some());
    }
}
