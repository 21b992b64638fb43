//! Pulses: one bin's power over time, folded at every period at which three to five pulses fit a window.
//!
//! All bins have the same number of spectra in a window, so four are folded side by side.

mod plan;

use crate::number::{count, single};
use plan::Fold;
pub(crate) use plan::{Limits, Plan};
use wide::f32x4;

/// A folded profile that stands out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pulse {
    /// Over the mean, less 1.
    pub(crate) power: f32,
    pub(crate) mean: f32,
    /// Spectra.
    pub(crate) period: f64,
    pub(crate) snr: f32,
    pub(crate) thresh: f32,
    /// `snr / thresh`.
    pub(crate) score: f32,
    /// The profile, as sums.
    pub(crate) profile: Vec<f32>,
    /// Its maximum.
    pub(crate) most: f32,
}

/// What one bin's window has shown so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Of the highest score.
    pub(crate) best: Option<Pulse>,
    /// Of the largest excess over the threshold.
    pub(crate) reported: Option<(f32, Pulse)>,
}

/// Folds four bins. `score` is what a pulse must exceed to become the best.
#[inline(never)]
pub(crate) fn search(
    window: &[f32x4],
    mean: f32x4,
    plan: &Plan,
    score: f32,
    scratch: &mut Vec<f32x4>,
) -> [Found; 4] {
    let mut found: [Found; 4] = Default::default();
    scratch.resize(window.len(), f32x4::ZERO);
    for fold in &plan.folds {
        let length = fold.length;
        let profile = &mut scratch[..length];
        let mut most = sum(window, fold, profile);
        judge(plan, fold, 0, (profile, most, mean), score, &mut found);
        for level in 1..plan.levels {
            let (longer, length) = (length >> (level - 1), length >> level);
            most = halve(&mut scratch[..longer], length);
            judge(plan, fold, level, (&scratch[..length], most, mean), score, &mut found);
        }
    }
    found
}

/// Adds what is a period apart; returns the maxima.
#[inline(always)]
fn sum(window: &[f32x4], fold: &Fold, profile: &mut [f32x4]) -> f32x4 {
    let at = |pulse: usize| &window[fold.starts[pulse]..fold.starts[pulse] + profile.len()];
    let (a, b, c) = (at(0), at(1), at(2));
    match fold.pulses {
        3 => fill(profile, |i| (a[i] + b[i]) + c[i]),
        4 => {
            let d = at(3);
            fill(profile, |i| (a[i] + b[i]) + (c[i] + d[i]))
        }
        _ => {
            let (d, e) = (at(3), at(4));
            fill(profile, |i| ((a[i] + b[i]) + (c[i] + d[i])) + e[i])
        }
    }
}

/// Fills a profile; returns the maxima, taken of even and odd bins apart, so that one need not wait for the other.
#[inline(always)]
fn fill(profile: &mut [f32x4], sum: impl Fn(usize) -> f32x4) -> f32x4 {
    let (mut even, mut odd) = (f32x4::ZERO, f32x4::ZERO);
    let length = profile.len();
    for i in (0..length - 1).step_by(2) {
        profile[i] = sum(i);
        profile[i + 1] = sum(i + 1);
        even = even.fast_max(profile[i]);
        odd = odd.fast_max(profile[i + 1]);
    }
    if length % 2 == 1 {
        profile[length - 1] = sum(length - 1);
        even = even.fast_max(profile[length - 1]);
    }
    even.fast_max(odd)
}

/// Adds the halves of a profile; returns the maxima.
#[inline(always)]
fn halve(profile: &mut [f32x4], half: usize) -> f32x4 {
    let second = profile.len() - half;
    let (first, rest) = profile.split_at_mut(second);
    let mut most = f32x4::ZERO;
    for (sum, &other) in first[..half].iter_mut().zip(&*rest) {
        *sum += other;
        most = most.fast_max(*sum);
    }
    most
}

/// Looks whether a profile's maximum is worth anything.
#[inline(always)]
fn judge(
    plan: &Plan,
    fold: &Fold,
    level: usize,
    (profile, most, mean): (&[f32x4], f32x4, f32x4),
    score: f32,
    found: &mut [Found; 4],
) {
    let above = most.simd_gt(mean * f32x4::splat(fold.limits[level]));
    if above.any() {
        let bits = above.to_bitmask();
        for lane in (0..4).filter(|lane| bits & 1 << lane != 0) {
            weigh(
                plan,
                fold,
                level,
                (profile, most.to_array()[lane], mean.to_array()[lane]),
                lane,
                (score, found),
            );
        }
    }
}

#[cold]
#[inline(never)]
fn weigh(
    plan: &Plan,
    fold: &Fold,
    level: usize,
    (profile, most, mean): (&[f32x4], f32, f32),
    lane: usize,
    (score, found): (f32, &mut [Found; 4]),
) {
    let bins = count(fold.pulses << level);
    let limit = mean * fold.limits[level];
    let height = most / bins;
    let current = single(f64::from(limit / bins - mean) / plan.display) + mean;
    let snr = (height - mean) * bins.sqrt() / mean;
    let thresh = (current - mean) * bins.sqrt() / mean;
    let own = snr / thresh;
    let Found { best, reported } = &mut found[lane];
    let beats = best.as_ref().map_or(score, |best| best.score) < own;
    let exceeds =
        current < height && reported.as_ref().is_none_or(|(excess, _)| *excess < height - current);
    if !(beats || exceeds) || mean <= 0.0 {
        return;
    }
    let pulse = Pulse {
        power: height / mean - 1.0,
        mean,
        period: fold.period / f64::from(1u32 << level),
        snr,
        thresh,
        score: own,
        profile: profile.iter().map(|four| four.to_array()[lane]).collect(),
        most,
    };
    if exceeds {
        *reported = Some((height - current, pulse.clone()));
    }
    if beats {
        *best = Some(pulse);
    }
}

impl Pulse {
    /// The profile from 0 to 255.
    pub(crate) fn scaled(&self) -> Vec<u8> {
        let least = self.profile.iter().copied().fold(f32::INFINITY, f32::min);
        let range = self.most - least;
        let scale = |&value: &f32| if 0.0 < range { (value - least) * 255.0 / range } else { 0.0 };
        self.profile
            .iter()
            .map(|value| u8::try_from(crate::number::whole(scale(value).into())).unwrap_or(255))
            .collect()
    }
}

#[cfg(test)]
mod tests;
