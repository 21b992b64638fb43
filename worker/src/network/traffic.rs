//! What peers cost: bytes up and down, this day, this month and ever, kept on disk. Pure: the wall clock is an argument.

use serde::{Deserialize, Serialize};

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// Bytes each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Sent.
    pub up_bytes: u64,
    /// Received.
    pub down_bytes: u64,
}

impl Traffic {
    /// Both.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.up_bytes.saturating_add(self.down_bytes)
    }

    fn add(&mut self, more: Self) {
        self.up_bytes = self.up_bytes.saturating_add(more.up_bytes);
        self.down_bytes = self.down_bytes.saturating_add(more.down_bytes);
    }
}

/// Traffic by calendar, in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Days since 1970 of `today`.
    day: u64,
    /// Months since 1970 of `month`.
    month_number: u64,
    /// This day.
    pub today: Traffic,
    /// This month.
    pub month: Traffic,
    /// Ever.
    pub ever: Traffic,
}

impl Usage {
    /// Counts `more` at `now_ms` since 1970. A clock that was set back neither forgets nor counts twice.
    pub fn add(&mut self, now_ms: u64, more: Traffic) {
        let day = now_ms / DAY_MS;
        if self.day < day {
            (self.day, self.today) = (day, Traffic::default());
        }
        let month = month(day);
        if self.month_number < month {
            (self.month_number, self.month) = (month, Traffic::default());
        }
        self.today.add(more);
        self.month.add(more);
        self.ever.add(more);
    }
}

/// Months since January 1970 of a day since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`).
fn month(day: u64) -> u64 {
    let day = day + 719_468;
    let day_of_era = day % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let year = year_of_era + day / 146_097 * 400;
    // Months since March of the year 0, and from January 1970 on.
    (year * 12 + from_march + 2).saturating_sub(1970 * 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_of_the_calendar() {
        // Days since 1970, as `date -u -d 2024-02-29 +%s` / 86400 gives them.
        for (day, number) in [
            (0, 0),
            (30, 0),
            (31, 1),
            (58, 1),
            (59, 2),
            (364, 11),
            (365, 12),
            (11_016, 361), // 2000-02-29
            (11_017, 362), // 2000-03-01
            (19_782, 649), // 2024-02-29
            (19_783, 650), // 2024-03-01
            (20_423, 671), // 2025-12-01
            (20_453, 671), // 2025-12-31
            (20_454, 672), // 2026-01-01
        ] {
            assert_eq!(month(day), number, "day {day}");
        }
    }

    #[test]
    fn a_new_day_and_a_new_month_begin_at_nothing() {
        let mut usage = Usage::default();
        let one = Traffic { up_bytes: 1, down_bytes: 2 };
        usage.add(20_453 * DAY_MS, one);
        usage.add(20_453 * DAY_MS + DAY_MS - 1, one);
        assert_eq!((usage.today.up_bytes, usage.month.total()), (2, 6));
        usage.add(20_454 * DAY_MS, one);
        assert_eq!((usage.today.total(), usage.month.total(), usage.ever.total()), (3, 3, 9));
        // A clock that was set back.
        usage.add(0, one);
        assert_eq!((usage.today.total(), usage.month.total()), (6, 6));
    }
}
