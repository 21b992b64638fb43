//! The coordinator's one reader of the wall clock, and all the time that the core gets.

use crate::core::time::{Clock, Now};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// Begins to count.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let monotonic_ms = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        #[expect(clippy::disallowed_methods, reason = "the one place")]
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic_ms, wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
    }
}
