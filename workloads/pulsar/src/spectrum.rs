//! The power spectrum of a time series, brought to a mean of 1 everywhere.
#![expect(
    clippy::cast_precision_loss,
    reason = "lengths are below 2^26, and single precision is what the data has"
)]

use realfft::{RealFftPlanner, RealToComplex};
use std::sync::Arc;

/// Finer steps than 1/T, by padding with zeros: a signal between two of them loses 19 % of its power and not 59 %.
const OVERSAMPLING: usize = 2;
/// Powers in a block of whitening, as a part of its place: red noise is a power law, so that its slope is the same over
/// any such block. The level of n powers is known to 1.44 / sqrt(n), and so is what stands above it.
const BLOCK_PART: f64 = 0.5;
/// Shortest block.
const BLOCK_MIN: f64 = 12.0;
/// Longest block: its level is known to 2 %.
const BLOCK_MAX: f64 = 4000.0;

/// Powers by frequency; noise alone has an exponential distribution of mean 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// From one power to the next, in Hz; the first is at 0.
    pub step_hz: f64,
    /// Frequencies from 1/T apart are independent: T in seconds.
    pub duration_s: f64,
    /// The powers; that at 0 Hz is 0.
    pub powers: Vec<f32>,
}

/// A transform prepared for time series up to one length. Shorter ones, which have lost more to delays, get the same
/// frequencies: where a signal falls between two of them does not change with the dispersion measure.
pub(crate) struct Transforms(Arc<dyn RealToComplex<f32>>);

impl Spectrum {
    /// The spectrum of samples that are `sample_s` seconds apart. Constant samples have none: all powers are 0.
    pub fn new(samples: &[f32], sample_s: f64) -> Self {
        Transforms::new(samples.len()).spectrum(samples, sample_s)
    }
}

impl Transforms {
    pub(crate) fn new(count_max: usize) -> Self {
        Self(RealFftPlanner::new().plan_fft_forward(good_length(OVERSAMPLING * count_max)))
    }

    pub(crate) fn spectrum(&self, samples: &[f32], sample_s: f64) -> Spectrum {
        let length = self.0.len();
        let mut padded = standardised(samples);
        padded.resize(length, 0.0);
        let mut amplitudes = self.0.make_output_vec();
        self.0
            .process(&mut padded, &mut amplitudes)
            .expect("both buffers have the transform's lengths");
        let mut powers: Vec<f32> =
            amplitudes.iter().map(|amplitude| amplitude.norm_sqr()).collect();
        whiten(&mut powers);
        let duration_s = samples.len() as f64 * sample_s;
        Spectrum { step_hz: 1.0 / (length as f64 * sample_s), duration_s, powers }
    }
}

/// The samples less their mean, over their standard deviation; zeros if all are equal.
#[expect(clippy::cast_possible_truncation, reason = "single precision is what the data has")]
fn standardised(samples: &[f32]) -> Vec<f32> {
    let count = samples.len() as f64;
    let mean = samples.iter().map(|&sample| f64::from(sample)).sum::<f64>() / count;
    let square = |&sample: &f32| (f64::from(sample) - mean) * (f64::from(sample) - mean);
    let deviation = (samples.iter().map(square).sum::<f64>() / count).sqrt();
    let scale = if deviation > 0.0 { 1.0 / deviation } else { 0.0 };
    samples.iter().map(|&sample| ((f64::from(sample) - mean) * scale) as f32).collect()
}

/// The next length that has no prime factors but 2, 3 and 5, and is even.
fn good_length(least: usize) -> usize {
    let is_good = |&length: &usize| {
        let rest = [2, 3, 5].into_iter().fold(length, |mut rest, prime| {
            while rest.is_multiple_of(prime) {
                rest /= prime;
            }
            rest
        });
        rest == 1
    };
    (least.next_multiple_of(2)..).step_by(2).find(is_good).expect("powers of two are good")
}

/// Divides each power by the mean of the noise around it: the median of blocks over ln 2, and straight lines between
/// their middles. The median does not see a pulsar's few high powers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "block lengths are 12 to 4000"
)]
fn whiten(powers: &mut [f32]) {
    let mut levels = Vec::new();
    let mut first = 1;
    while first < powers.len() {
        let length = (BLOCK_PART * first as f64).clamp(BLOCK_MIN, BLOCK_MAX) as usize;
        let end = if powers.len() - first < 2 * length { powers.len() } else { first + length };
        let mut block = powers[first..end].to_vec();
        let middle = block.len() / 2;
        let median = *block.select_nth_unstable_by(middle, f32::total_cmp).1;
        levels.push((first + (end - first) / 2, median / std::f32::consts::LN_2));
        first = end;
    }
    powers[0] = 0.0;
    let mut right = 0;
    for (at, power) in powers.iter_mut().enumerate().skip(1) {
        while right < levels.len() && levels[right].0 < at {
            right += 1;
        }
        let (to, from) = (levels[right.min(levels.len() - 1)], levels[right.saturating_sub(1)]);
        let share = if to.0 > from.0 { (at - from.0) as f32 / (to.0 - from.0) as f32 } else { 0.0 };
        let level = from.1 + (to.1 - from.1) * share;
        *power = if level > 0.0 { *power / level } else { 0.0 };
    }
}
