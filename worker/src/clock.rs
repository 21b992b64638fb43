//! The worker's one reader of the wall clock: certificates expire by it and a month's traffic is counted by it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
#[must_use]
pub(crate) fn wall_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the one place")]
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
}
