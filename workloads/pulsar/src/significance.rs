//! How improbable a sum of powers is by noise alone, as the number of standard deviations of a Gaussian that is as
//! improbable.

/// Beyond this the terms of [`ln_survival`] would overflow, and every sum is certain anyway.
const SUM_MAX: f64 = 1e15;

/// The significance of a sum of `count` whitened powers (1 to 16) that is the largest of `trials`; 0 if noise alone
/// reaches it more often than not.
pub fn sigma(sum: f64, count: u32, trials: f64) -> f64 {
    gaussian_sigma(ln_survival(sum, count) + libm::log(trials.max(1.0)))
}

/// ln of the probability that `count` powers of exponential distribution sum to more than `sum`: the survival function
/// of a chi-squared distribution with 2 `count` degrees of freedom at 2 `sum`, e^-s (1 + s + s^2/2! + ...).
fn ln_survival(sum: f64, count: u32) -> f64 {
    let sum = sum.clamp(0.0, SUM_MAX);
    let terms = (1..count).rev().fold(1.0, |series, index| 1.0 + series * sum / f64::from(index));
    libm::log(terms) - sum
}

/// The z beyond which a Gaussian has a probability of e^`ln_probability` (Abramowitz and Stegun 26.2.23, error below
/// 4.5e-4), for any probability up to one half, however small.
fn gaussian_sigma(ln_probability: f64) -> f64 {
    if ln_probability >= -std::f64::consts::LN_2 {
        return 0.0;
    }
    let t = (-2.0 * ln_probability).sqrt();
    let numerator = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let denominator = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - numerator / denominator
}
