//! Finding periodic signals in a spectrum: sums of 1, 2, 4, 8 and 16 harmonics, since a pulse is short.
#![expect(clippy::cast_precision_loss, reason = "places in a spectrum are below 2^30")]

use crate::candidate::{Best, Candidate};
use crate::significance::sigma;
use crate::spectrum::Spectrum;

/// How many harmonics are summed.
const HARMONICS: [u32; 5] = [1, 2, 4, 8, 16];

/// A whitened power that is hardly noise (one in 3,000 is): its peak's place means something.
const CLEAR_POWER: f64 = 8.0;

/// What is searched and kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Shortest period, in seconds.
    pub period_min: f64,
    /// Longest period, in seconds.
    pub period_max: f64,
    /// Least significance, in standard deviations, counting the trials of one spectrum.
    pub min_sigma: f64,
}

/// Offers the peaks of a spectrum to the best so far. `like` says where the spectrum is from; its other fields are
/// replaced.
pub fn search(spectrum: &Spectrum, limits: &Limits, like: &Candidate, best: &mut Best) {
    let frequencies = (1.0 / limits.period_max, 1.0 / limits.period_min);
    let trials = (frequencies.1 - frequencies.0) * spectrum.duration_s * HARMONICS.len() as f64;
    for harmonics in HARMONICS {
        let threshold = threshold(limits.min_sigma, harmonics, trials);
        let place = |hz: f64| libm::rint(hz * f64::from(harmonics) / spectrum.step_hz).max(1.0);
        let (first, last) =
            (place(frequencies.0), place(frequencies.1).min((spectrum.powers.len() - 1) as f64));
        for (place, power) in peaks(&spectrum.powers, harmonics, first, last) {
            if power < threshold {
                continue;
            }
            let fundamental = fundamental(&spectrum.powers, place, harmonics);
            let frequency_hz = fundamental * spectrum.step_hz;
            let power = power.max(refined(&spectrum.powers, fundamental, harmonics));
            best.offer(Candidate {
                period_s: 1.0 / frequency_hz,
                frequency_hz,
                resolution_hz: 1.0 / (spectrum.duration_s * f64::from(harmonics)),
                harmonics,
                power,
                sigma: sigma(power, harmonics, trials),
                harmonic_of: None,
                ..like.clone()
            });
        }
    }
}

/// The places from first to last whose sum of harmonics exceeds their neighbours', and that sum. A place is that of the
/// highest harmonic, so that the fundamental is known to a fraction of a step.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "places are from 1 to the last power's"
)]
fn peaks(
    powers: &[f32],
    harmonics: u32,
    first: f64,
    last: f64,
) -> impl Iterator<Item = (usize, f64)> {
    let count = harmonics as usize;
    let sum = move |place: usize| {
        (1..=count).map(|index| f64::from(powers[nearest(place, index, count)])).sum::<f64>()
    };
    let (first, last) = (first as usize, last as usize);
    let mut window = [0.0, 0.0, sum(first.min(last))];
    (first + 1..=last).filter_map(move |place| {
        window = [window[1], window[2], sum(place)];
        (window[0] < window[1] && window[1] >= window[2]).then_some((place - 1, window[1]))
    })
}

/// Where harmonic `index` of `count` is if the highest is at `place`.
fn nearest(place: usize, index: usize, count: usize) -> usize {
    (place * index + count / 2) / count
}

/// The fundamental, in steps of the spectrum: what each harmonic that stands out says by its own peak, weighted by
/// power and the square of its number, as the errors are.
fn fundamental(powers: &[f32], place: usize, harmonics: u32) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for index in 1..=harmonics {
        let middle = nearest(place, index as usize, harmonics as usize);
        let at = |place: usize| powers.get(place).copied().map_or(0.0, f64::from);
        let number = f64::from(index);
        if at(middle) >= CLEAR_POWER {
            let vertex =
                middle as f64 + vertex(at(middle.wrapping_sub(1)), at(middle), at(middle + 1));
            sum += at(middle) * number * vertex;
            weights += at(middle) * number * number;
        }
    }
    if weights > 0.0 { sum / weights } else { place as f64 / f64::from(harmonics) }
}

/// The sum of a fundamental's harmonics where they really are, between the steps of the spectrum: each on the parabola
/// through the three nearest powers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "places are from 0 to somewhat beyond the last power's"
)]
fn refined(powers: &[f32], fundamental: f64, harmonics: u32) -> f64 {
    let at = |place: usize| powers.get(place).copied().map_or(0.0, f64::from);
    let height = |index: u32| {
        let place = fundamental * f64::from(index);
        let nearest = libm::rint(place).max(1.0);
        let (offset, middle) = (place - nearest, nearest as usize);
        let (before, peak, after) = (at(middle - 1), at(middle), at(middle + 1));
        let slope = 0.5 * (after - before);
        let bend = 0.5 * (before - 2.0 * peak + after);
        (peak + offset * (slope + offset * bend)).max(0.0)
    };
    (1..=harmonics).map(height).sum()
}

/// Where the parabola through three powers a step apart has its top, from the middle one: at most a step away.
fn vertex(before: f64, peak: f64, after: f64) -> f64 {
    let bend = before - 2.0 * peak + after;
    if bend < 0.0 { (0.5 * (before - after) / bend).clamp(-1.0, 1.0) } else { 0.0 }
}

/// The least sum of powers with this significance, from below by bisection, so that only peaks above it are judged.
fn threshold(min_sigma: f64, harmonics: u32, trials: f64) -> f64 {
    let mut range = (0.0, 1e6);
    for _ in 0..50 {
        let middle = (range.0 + range.1) / 2.0;
        if sigma(middle, harmonics, trials) < min_sigma {
            range.0 = middle
        } else {
            range.1 = middle
        }
    }
    range.0
}
