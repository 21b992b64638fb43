//! The estimate: how likely a result is wrong, given who vouches for it. Pure arithmetic.
//!
//! After L. Sarmenta, "Sabotage-tolerance mechanisms for volunteer computing systems", Future Generation Computer
//! Systems 18 (2002): credibility of workers from spot checks, of groups from their members. Here a bad worker's rate of
//! wrong results is taken as uniform, and a bad worker's friends as speaking with one voice.

use serde::{Deserialize, Serialize};

/// Share of strangers taken to be bad before anything is known of them (no unit). Measured populations have a few per
/// cent; twice and more of that costs few copies per newcomer.
pub const STRANGERS_BAD: f64 = 0.1;
/// Share of a trusted worker's units that are checked, whatever its history, unless the operator sets another.
pub const CHECK_FLOOR: f64 = 0.01;

/// Chance of the crowd agreeing on something wrong, on purpose, at which its word is taken where a job asks for less: what it says
/// waits for a referee all the same. Fewer than 1e-4 take so many checks of whole units that nobody would wait for them:
/// this takes 34.
pub const CROWD_DOUBT: f64 = 1e-4;

/// What is known of a worker for one class of units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Checks passed since it, or another worker of its account, was last caught.
    pub passed: u32,
    /// Of the next one, what segments that were run again amount to; see [`super::standings::PARTS`].
    pub parts: u32,
    /// How often its account was caught, so far as that is not forgiven.
    pub caught: u32,
}

/// What is taken to be known of a worker that the operator has appointed: it is as good as a machine gets.
pub const REFEREE: Standing = Standing { passed: 10_000, parts: 0, caught: 0 };

impl Standing {
    /// Chance that its next result is wrong.
    ///
    /// Never caught: `f ∫ s (1 - (1-f) s)^k ds <= f / ((1-f)² (k+1)(k+2))`, with `f` the share of bad strangers, `s` the
    /// rate at which a bad one lies (uniform), `k` the checks passed, each of which would have found a lie unless the
    /// checker was bad too. Detection `c` times: the mean of the rate after that, `(c+1) / (c+k+2)` (Laplace's rule).
    #[must_use]
    pub fn doubt(self) -> f64 {
        let (passed, caught) = (f64::from(self.passed), f64::from(self.caught));
        if 0 < self.caught {
            return (caught + 1.0) / (caught + passed + 2.0);
        }
        let honest = 1.0 - STRANGERS_BAD;
        let found = STRANGERS_BAD / (honest * honest * (passed + 1.0) * (passed + 2.0));
        found.min(STRANGERS_BAD)
    }

    /// Chance that it is bad at all, as far as that may count for a result: who was caught adds nothing.
    fn bad(self) -> f64 {
        if self.caught == 0 { STRANGERS_BAD } else { 1.0 }
    }
}

/// Chance that a result is wrong on which all these agree and that nobody of standing disputes.
///
/// The members may be of one league, which then lies about the same unit: the chance that all are bad, times the chance
/// that the best known of them lies here. Each member must be of another account and network.
#[must_use]
pub fn group(members: impl Iterator<Item = Standing> + Clone) -> f64 {
    let doubt = |standing: &Standing| standing.doubt() / standing.bad();
    let all_bad: f64 = members.clone().map(Standing::bad).product();
    let least = members.map(|standing| doubt(&standing)).fold(1.0, f64::min);
    all_bad * least
}

/// Chance that the result with `votes` is wrong when others have the numbers of votes in `against`.
///
/// Somebody lies here for sure, and a good record is just what a sleeper has: so each party of standing counts alike,
/// and speaks the truth with odds `(1-f) : f`.
#[must_use]
pub fn dispute(count: usize, against: impl Iterator<Item = usize>) -> f64 {
    let odds = STRANGERS_BAD / (1.0 - STRANGERS_BAD);
    let power = |count: usize| odds.powi(i32::try_from(count).unwrap_or(i32::MAX));
    against.map(|other| power(count) / power(other)).sum()
}

/// Votes beyond those of the strongest other opinion that settle a dispute to `target`.
#[must_use]
pub fn margin(target: f64) -> usize {
    (1..64).find(|&count| dispute(count, std::iter::once(0)) <= target).unwrap_or(64)
}

/// A chance as it is kept with a verdict: tenths of a decade below 1, rounded to the worse; 60 is one in a million. 0
/// stands for no estimate.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Risk(pub u8);

impl Risk {
    /// Of a chance.
    #[must_use]
    pub fn of(chance: f64) -> Self {
        let tenths = (-10.0 * chance.max(1e-25).log10() + 1e-9).floor().clamp(0.0, 250.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=250"
        )]
        Self(tenths as u8)
    }

    /// The chance that it stands for.
    #[must_use]
    pub fn chance(self) -> f64 {
        10_f64.powf(-f64::from(self.0) / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(passed: u32, caught: u32) -> Standing {
        Standing { passed, caught, parts: 0 }
    }

    fn members(passed: &[u32]) -> f64 {
        group(passed.iter().map(|&passed| standing(passed, 0)))
    }

    #[test]
    fn a_stranger_is_doubted_and_a_long_record_believed() {
        assert!((standing(0, 0).doubt() - 0.0617).abs() < 1e-3);
        assert!(1e-6 < standing(349, 0).doubt());
        assert!(standing(351, 0).doubt() <= 1e-6);
        // However well it does from then on, who was caught is not believed alone.
        assert!(1e-4 < standing(10_000, 1).doubt());
    }

    #[test]
    fn the_estimate_is_no_lower_than_the_integral_that_it_bounds() {
        for passed in [0, 1, 5, 20, 100, 1000] {
            let steps = 200_000;
            let step = 1.0 / f64::from(steps);
            let integral: f64 = (0..steps)
                .map(|at| (f64::from(at) + 0.5) * step)
                .map(|rate| rate * (1.0 - (1.0 - STRANGERS_BAD) * rate).powf(f64::from(passed)))
                .sum::<f64>()
                * step
                * STRANGERS_BAD;
            assert!(integral <= standing(passed, 0).doubt() * (1.0 + 1e-6), "{passed}");
        }
    }

    #[test]
    fn a_group_is_as_good_as_its_best_and_better_with_each_other() {
        assert!(members(&[0, 0, 0, 0, 0]) < 1e-5);
        assert!(members(&[110, 0]) < 1e-6 * 10.0);
        assert!(members(&[351]) <= 1e-6);
        for passed in [0, 3, 50] {
            assert!(members(&[passed, 0]) < members(&[passed]) / 9.0);
        }
        let with_caught = group([standing(400, 0), standing(400, 1)].into_iter());
        assert!((with_caught - members(&[400])).abs() < 1e-12);
        assert!(0.3 < group([standing(0, 1), standing(0, 2)].into_iter()));
        assert!(1.0 <= group(std::iter::empty()));
    }

    #[test]
    fn a_dispute_takes_a_clear_majority() {
        assert_eq!(margin(1e-6), 7);
        assert!(dispute(8, [1].into_iter()) <= 1e-6);
        assert!(1e-6 < dispute(7, [1].into_iter()));
        assert!(1e-6 < dispute(8, [1, 1, 1].into_iter()) * 3.0);
    }

    #[test]
    fn a_figure_never_tells_better_than_the_chance() {
        assert_eq!(Risk::of(1e-6), Risk(60));
        assert_eq!(Risk::of(0.9e-6), Risk(60));
        for chance in [0.5, 0.03, 7e-7, 1e-12] {
            assert!(chance <= Risk::of(chance).chance() * (1.0 + 1e-9));
        }
        assert_eq!((Risk::of(0.0), Risk::of(3.0)), (Risk(250), Risk(0)));
    }
}
