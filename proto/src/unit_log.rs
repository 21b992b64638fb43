//! What a kernel logs of a unit, on its way to the researcher: a bounded beginning and a bounded end. No part of what
//! machines must agree on: a worker says it, and nobody verifies it.

use crate::bounds::{LOG_LINE_BYTES_MAX, UNIT_LOG_BYTES_MAX};
use crate::pb;
use crate::text;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Bytes that a line costs beside its text, about: what it takes in memory and on the wire.
const LINE_OVERHEAD_BYTES: usize = 16;
/// Levels of lines.
const LEVELS: std::ops::RangeInclusive<u8> = 1..=4;

/// A line of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Bytes that the unit had logged before it: the same on every machine, so that lines that come twice are known.
    pub at: u64,
    /// Bytes that it took of the unit's allowance, its line end included.
    pub len: u32,
    /// 1 error, 2 warning, 3 information, 4 debugging.
    pub level: u8,
    /// Without its line end.
    pub text: String,
}

impl Line {
    /// Where the next line begins.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.at.saturating_add(self.len.into())
    }

    fn cost(&self) -> usize {
        self.text.len() + LINE_OVERHEAD_BYTES
    }
}

impl From<&Line> for pb::LogLine {
    fn from(line: &Line) -> Self {
        let Line { at, len, level, text } = line.clone();
        Self { at, len, level: level.into(), text }
    }
}

impl From<pb::LogLine> for Line {
    /// Whatever a stranger says, as a line within all bounds.
    fn from(line: pb::LogLine) -> Self {
        let level = u8::try_from(line.level).unwrap_or(*LEVELS.end());
        let mut text = line.text;
        text.truncate(text.floor_char_boundary(LOG_LINE_BYTES_MAX));
        let level = level.clamp(*LEVELS.start(), *LEVELS.end());
        Self { at: line.at, len: line.len, level, text: text::printable(&text) }
    }
}

/// The lines of one unit: as many of the first and as many of the last as fit into half of [`UNIT_LOG_BYTES_MAX`] each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitLog {
    first: Vec<Line>,
    last: VecDeque<Line>,
    first_bytes: usize,
    last_bytes: usize,
}

impl UnitLog {
    /// Adds a line, unless it or a later one is here; whether it was added. What no longer fits goes from the middle.
    pub fn push(&mut self, line: Line) -> bool {
        let is_here = |last: &Line| line.at <= last.at || line.at < last.end();
        if self.newest().is_some_and(is_here) {
            return false;
        }
        let cost = line.cost();
        if self.last.is_empty() && self.first_bytes + cost <= UNIT_LOG_BYTES_MAX / 2 {
            self.first_bytes += cost;
            self.first.push(line);
            return true;
        }
        self.last_bytes += cost;
        self.last.push_back(line);
        while UNIT_LOG_BYTES_MAX / 2 < self.last_bytes
            && 1 < self.last.len()
            && let Some(gone) = self.last.pop_front()
        {
            self.last_bytes -= gone.cost();
        }
        true
    }

    /// All lines in order.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.first.iter().chain(&self.last)
    }

    /// Where the next line begins, as far as is known here.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.newest().map_or(0, Line::end)
    }

    fn newest(&self) -> Option<&Line> {
        self.last.back().or_else(|| self.first.last())
    }

    /// What it takes, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.first_bytes + self.last_bytes
    }

    /// Whether there is no line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty() && self.last.is_empty()
    }
}

/// Bytes left out before each line, 0 where none are: lines follow each other without a gap unless some were left out.
/// `from` is where the first line would begin.
pub fn gaps(lines: &[Line], from: u64) -> impl Iterator<Item = (u64, &Line)> {
    let mut at = from;
    lines.iter().map(move |line| {
        let gap = line.at.saturating_sub(at);
        at = line.end();
        (gap, line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: u64, text: &str) -> Line {
        Line { at, len: u32::try_from(text.len()).unwrap() + 1, level: 3, text: text.into() }
    }

    /// A unit that logs this often, each line of 100 bytes with its end.
    fn long(lines: u64) -> UnitLog {
        let mut log = UnitLog::default();
        for index in 0..lines {
            assert!(log.push(line(index * 100, &format!("{index:099}"))));
            assert!(log.bytes() <= UNIT_LOG_BYTES_MAX);
        }
        log
    }

    #[test]
    fn the_first_and_the_last_lines_stay_and_the_gap_is_told() {
        let log = long(1_000);
        let lines: Vec<Line> = log.lines().cloned().collect();
        assert_eq!((lines[0].at, lines.last().unwrap().at), (0, 99_900));
        let told: Vec<u64> = gaps(&lines, 0).map(|(gap, _)| gap).filter(|gap| 0 < *gap).collect();
        let kept: u64 = lines.iter().map(|line| u64::from(line.len)).sum();
        assert_eq!(told, [100_000 - kept]);
        assert!(UNIT_LOG_BYTES_MAX * 3 / 4 < log.bytes());
    }

    #[test]
    fn a_short_log_is_whole_and_what_comes_again_is_known() {
        let mut log = long(10);
        for index in 0..10 {
            assert!(!log.push(line(index * 100, "again")));
        }
        assert!(log.push(line(1_000, "next")));
        let lines: Vec<Line> = log.lines().cloned().collect();
        assert_eq!(lines.len(), 11);
        assert!(gaps(&lines, 0).all(|(gap, _)| gap == 0));
        assert_eq!(log.end(), 1_005);
    }

    #[test]
    fn a_line_longer_than_half_of_the_room_is_kept_alone() {
        let mut log = UnitLog::default();
        log.push(line(0, &"a".repeat(UNIT_LOG_BYTES_MAX)));
        log.push(line(1_000_000, &"b".repeat(UNIT_LOG_BYTES_MAX)));
        assert_eq!(log.lines().count(), 1);
    }

    #[test]
    fn lines_of_strangers_are_within_bounds() {
        let wild = pb::LogLine {
            at: u64::MAX,
            len: u32::MAX,
            level: 77,
            text: format!("\x1b[31m\u{202e}{}", "ü".repeat(LOG_LINE_BYTES_MAX)),
        };
        let line = Line::from(wild);
        assert_eq!((line.level, line.end()), (4, u64::MAX));
        assert!(line.text.len() <= LOG_LINE_BYTES_MAX && line.text.starts_with(" [31m ü"));
        let mut log = UnitLog::default();
        assert!(log.push(line.clone()));
        assert!(!log.push(line));
    }
}
