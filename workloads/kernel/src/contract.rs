//! The versions of the kernel contract.

use serde::{Deserialize, Serialize};

/// A version of the contract: the ABI, the admissible features, the limits, the passes and the count of fuel.
///
/// A job names its own and keeps it to its end: prepared modules, states and fuel of different versions must not be
/// mixed. All of them are in `docs/kernels.md`.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Contract {
    /// A function and each turn of a loop is charged with all its operators, whether they are reached or not.
    One,
    /// What is charged without being executed is bounded, and no operators pass faster than a processor could compute
    /// them.
    Two,
}

impl Contract {
    /// The one that new jobs get.
    pub const NEWEST: Self = Self::Two;

    /// The number by which specifications and messages name it.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// The version of this number, if this release knows it.
    #[must_use]
    pub const fn of(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }
}
