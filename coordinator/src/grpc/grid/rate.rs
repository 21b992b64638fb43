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

#[cfg(test)]
mod tests {
    use super::*;

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
