//! The test of one exponent, which can be stopped after any iteration: s = 4, then p - 2 times s = s^2 - 2 mod M(p);
//! M(p) is prime if and only if the last s is 0 (Lehmer 1930, for odd p).

mod field;
mod limbs;
mod transform;
mod weighted;

use crate::line::Line;
use limbs::Limbs;
use weighted::Weighted;

/// From this exponent on the transform is faster than squaring limb by limb (measured under WASM).
const WEIGHTED_MIN: u32 = 4_000;

/// The test of one exponent between two iterations.
#[derive(Debug)]
pub struct Test {
    exponent: u32,
    iterations_left: u32,
    residue: Residue,
}

#[derive(Debug)]
enum Residue {
    Small(Limbs),
    Large(Weighted),
}

impl Test {
    /// Starts the test of a prime exponent.
    pub fn new(exponent: u32) -> Self {
        let residue = match exponent {
            // M(2) = 3, for which the recurrence does not hold: a residue of 0 and no iterations say "prime".
            0..=2 => Residue::Small(Limbs::new(2, 0)),
            3..WEIGHTED_MIN => Residue::Small(Limbs::new(exponent, 4)),
            _ => Residue::Large(Weighted::new(exponent, 4)),
        };
        Self { exponent, iterations_left: exponent.saturating_sub(2), residue }
    }

    /// Iterates until the test is over or about `work` is spent; returns the work spent, more than 0.
    pub fn advance(&mut self, work: u64) -> u64 {
        let each = Self::iteration_cost(self.exponent);
        let count = work.div_ceil(each).min(u64::from(self.iterations_left));
        for _ in 0..count {
            match &mut self.residue {
                Residue::Small(residue) => residue.square_less_2(),
                Residue::Large(residue) => residue.square_less_2(),
            }
        }
        self.iterations_left -= u32::try_from(count).expect("count is at most the iterations left");
        count.max(1) * each
    }

    /// The verdict, once the test is over.
    pub fn line(&self) -> Option<Line> {
        if self.iterations_left > 0 {
            return None;
        }
        let (prime, residue) = match &self.residue {
            Residue::Small(residue) => (residue.is_zero(), residue.low_64()),
            Residue::Large(residue) => (residue.is_zero(), residue.low_64()),
        };
        Some(Line { exponent: self.exponent, prime, residue })
    }

    /// Work of a whole test, in word operations as [`Test::advance`] counts them.
    pub fn cost(exponent: u32) -> u64 {
        u64::from(exponent.saturating_sub(2).max(1)) * Self::iteration_cost(exponent)
    }

    fn iteration_cost(exponent: u32) -> u64 {
        if exponent < WEIGHTED_MIN {
            limbs::square_cost(exponent)
        } else {
            weighted::square_cost(exponent)
        }
    }
}

#[cfg(test)]
mod tests;
