//! The axes of a cut, as a unit sees its share of them in its parameters.

use serde::{Deserialize, Serialize};

/// A piece of an axis of integers: `"p":{"end":1100,"first":1000}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first integer of the unit.
    pub first: u64,
    /// One past its last integer.
    pub end: u64,
}

impl Range {
    /// How many integers the unit has; none if `end` is not beyond `first`.
    pub fn count(self) -> u64 {
        self.end.saturating_sub(self.first)
    }
}

impl IntoIterator for Range {
    type Item = u64;
    type IntoIter = std::ops::Range<u64>;

    fn into_iter(self) -> Self::IntoIter {
        self.first..self.end
    }
}

/// A piece of an axis of equal steps: `"dm":{"count":20,"start":10.0,"step":0.5}` is 10.0, 10.5 ... 19.5.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// The first value.
    pub start: f64,
    /// What lies between two values.
    pub step: f64,
    /// How many values there are.
    pub count: u64,
}

impl Steps {
    /// The value at a position: `start + position * step`, rounded once for the product and once for the sum.
    #[expect(clippy::cast_precision_loss, reason = "positions are far below 2^53")]
    pub fn value(self, position: u64) -> f64 {
        self.start + position as f64 * self.step
    }
}

/// Says that a unit merges the outputs of others, which are its inputs: `"merge":{"level":1}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Merge {
    /// How far above the units of the cut: 1 merges their outputs, 2 merges the outputs of level 1.
    pub level: u32,
}
