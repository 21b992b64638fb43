//! Whether this machine's clock can be right.

use std::time::{Duration, SystemTime};

/// 2026-01-01: no copy of this program is older, so a clock that says less is wrong. Machines without a battery start
/// at 1970.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);

/// What the owner should know of the clock, if it cannot be right.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "whether the wall clock can be right is what is asked"
)]
pub fn warning() -> Option<String> {
    warning_at(SystemTime::now())
}

fn warning_at(now: SystemTime) -> Option<String> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    if EARLIEST <= since {
        return None;
    }
    // The days that have passed, in years of 365.2425 days: near enough for a year.
    let year = 1970 + since.as_secs() / 31_556_952;
    Some(format!(
        "this machine's clock says {year}, which cannot be: set it (timedatectl set-ntp true, or date -s), for what it dates is dated wrongly and others may refuse it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_of_the_past_is_told_and_one_of_today_is_not() {
        let at = |seconds| warning_at(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert!(at(86_400).unwrap().contains("says 1970"));
        assert!(at(1_700_000_000).unwrap().contains("says 2023"));
        assert_eq!(at(1_767_225_600), None);
        assert!(warning_at(SystemTime::UNIX_EPOCH - Duration::from_secs(9)).is_some());
        assert_eq!(warning(), None);
    }
}
