//! The Lucas-Lehmer test of Mersenne numbers: which M(p) = 2^p - 1 of a range of exponents are prime.
//!
//! Parameters: `p`, a range of exponents; those that aren't prime are skipped, since M(p) is then composite. Output:
//! one [`Line`] per prime exponent, ascending. A unit with `merge` in its parameters joins the outputs that are its
//! inputs into one such list.

mod exponents;
mod line;
mod lucas_lehmer;

pub use exponents::{EXPONENT_MAX, is_prime};
pub use line::Line;
pub use lucas_lehmer::Test;

use starling_sdk::{Error, Kernel, Merge, Progress, Range, Unit};
use std::collections::BTreeSet;
use std::io::{Read, Write};

/// Longest range of one unit, in exponents: what `start` sieves and keeps in memory.
pub const RANGE_MAX: u64 = 1_000_000;
/// Work of one step, in operations as [`Test::cost`] counts them: about a quarter of a second.
const STEP_WORK: u64 = 100_000_000;

/// What a unit says.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub struct Params {
    /// The exponents to test.
    p: Option<Range>,
    /// Set on a unit that merges.
    merge: Option<Merge>,
}

/// The kernel: one exponent after the other, several small ones or a part of a big one per step.
#[derive(Debug)]
pub struct Mersenne {
    exponents: std::vec::IntoIter<u32>,
    test: Option<Test>,
    work_done: u64,
    work_total: u64,
    merged: BTreeSet<Line>,
}

starling_sdk::export!(Mersenne);

impl Kernel for Mersenne {
    type Params = Params;

    fn start(params: Params, unit: &mut Unit) -> Result<Self, Error> {
        let (exponents, merged) = match params {
            Params { merge: Some(_), .. } => (Vec::new(), read_inputs(unit)?),
            Params { p: Some(range), .. } => (exponents::primes(range)?, BTreeSet::new()),
            Params { p: None, merge: None } => {
                return Err(Error::new(
                    "the parameters name no exponents: cut the job along an axis p of integers",
                ));
            }
        };
        let work_total = exponents.iter().map(|&p| Test::cost(p)).sum();
        Ok(Self { exponents: exponents.into_iter(), test: None, work_done: 0, work_total, merged })
    }

    fn step(&mut self, unit: &mut Unit) -> Result<Progress, Error> {
        let mut work = STEP_WORK;
        while work > 0 {
            let Some(mut test) = self.test.take().or_else(|| self.exponents.next().map(Test::new))
            else {
                return Ok(Progress::Done);
            };
            let spent = test.advance(work);
            work = work.saturating_sub(spent);
            self.work_done += spent;
            match test.line() {
                Some(line) => writeln!(unit, "{line}")?,
                None => self.test = Some(test),
            }
        }
        unit.progress(self.work_done, self.work_total);
        Ok(Progress::More)
    }

    fn finish(self, unit: &mut Unit) -> Result<(), Error> {
        for line in self.merged {
            writeln!(unit, "{line}")?;
        }
        unit.progress(self.work_total, self.work_total);
        Ok(())
    }
}

fn read_inputs(unit: &Unit) -> Result<BTreeSet<Line>, Error> {
    let mut lines = BTreeSet::new();
    for index in 0..unit.input_count() {
        let mut text = String::new();
        unit.input(index)?.read_to_string(&mut text)?;
        for line in text.lines() {
            lines.insert(line.parse::<Line>()?);
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests;
