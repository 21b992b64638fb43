//! One bin's power over time, and the fits of Gaussians to it.

use super::{Gaussians, POINTS_MAX};
use crate::number::{count, single};
use crate::spectrogram::total;
use wide::f32x4;

/// What the quick misfits may be off by: far more than the rounding of their sums.
const MARGIN: f32 = 5e-3;

/// The points of one bin, over their mean.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    points: [f32; POINTS_MAX],
    len: usize,
}

/// A Gaussian fitted at a position.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fit {
    pub(crate) position: usize,
    pub(crate) peak: f32,
    /// Mean beside the peak.
    pub(crate) mean: f32,
    pub(crate) chi: f32,
    pub(crate) null_chi: f32,
    pub(crate) max_power: f32,
    pub(crate) points: Vec<f32>,
}

impl Column {
    pub(crate) fn new(points: &[f32x4], lane: usize) -> Self {
        let mut column = [0.0; POINTS_MAX];
        column.iter_mut().zip(points).for_each(|(point, four)| *point = four.to_array()[lane]);
        Self { points: column, len: points.len() }
    }

    fn points(&self) -> &[f32] {
        &self.points[..self.len]
    }

    /// Fits at the positions whose bits are set.
    #[inline(never)]
    pub(crate) fn fit(
        &self,
        gaussians: &Gaussians,
        positions: u64,
        null_floor: f32,
        found: &mut dyn FnMut(Fit),
    ) {
        let total: f32 = self.points().iter().sum();
        let mut display = gaussians.display;
        if display != 0.0 && gaussians.first < gaussians.end && self.is_flat(gaussians, total) {
            return;
        }
        for t in (gaussians.first..gaussians.end).filter(|t| positions & 1 << t != 0) {
            let mean = self.mean_beside(gaussians, total, t);
            let peak = self.peak(gaussians, mean, t);
            if f64::from(peak) < f64::from(mean) * display {
                continue;
            }
            if display == 0.0 {
                display = gaussians.peak_thresh / 3.0;
            }
            if mean <= 0.0 || self.quick_null(gaussians, peak, mean, t) < null_floor - MARGIN {
                continue;
            }
            let (chi, null_chi) = self.misfits(gaussians, peak, mean, t);
            if null_floor <= null_chi && f64::from(chi) <= gaussians.chi_thresh {
                let max_power = self.points().iter().copied().fold(0.0, f32::max);
                found(Fit {
                    position: t,
                    peak,
                    mean,
                    chi,
                    null_chi,
                    max_power,
                    points: self.points().to_vec(),
                });
            }
        }
    }

    /// The quick rejection: no peak even where the sliding sum is largest.
    #[inline(never)]
    fn is_flat(&self, gaussians: &Gaussians, total: f32) -> bool {
        let (width, points) = (gaussians.reach, self.points());
        let (mut run, mut most, mut at) = (0.0f32, f32::NEG_INFINITY, 0);
        for i in 0..points.len() {
            run += points[i];
            if width <= i {
                run -= points[i - width];
            }
            if most < run {
                (most, at) = (run, i.saturating_sub(width / 2));
            }
        }
        let at = at.clamp(gaussians.first, gaussians.end - 1);
        let mean = self.mean_beside(gaussians, total, at);
        f64::from(self.peak(gaussians, mean, at)) < f64::from(mean) * gaussians.display * 0.5
    }

    fn mean_beside(&self, gaussians: &Gaussians, total: f32, t: usize) -> f32 {
        let (from, to) =
            (t.saturating_sub(2 * gaussians.reach), (t + 2 * gaussians.reach).min(self.len - 1));
        (total - self.points[from..=to].iter().sum::<f32>()) / count(self.len - (to + 1 - from))
    }

    fn peak(&self, gaussians: &Gaussians, mean: f32, t: usize) -> f32 {
        let reach = gaussians.reach;
        let terms = self.points[t - reach..=t + reach].iter().enumerate();
        gaussians.norm
            * terms
                .map(|(i, point)| (point - mean) * gaussians.weights[i.abs_diff(reach)])
                .sum::<f32>()
    }

    /// Value and noise of the model at a point.
    fn model(gaussians: &Gaussians, peak: f32, mean: f32, distance: usize) -> (f32, f32) {
        let value = (mean + peak * gaussians.weights[distance]) / mean;
        (value, 2.0 * (value.max(1.0) - 1.0).sqrt() + 1.0)
    }

    /// The misfits of the Gaussian and of no signal at all.
    #[inline(never)]
    fn misfits(&self, gaussians: &Gaussians, peak: f32, mean: f32, t: usize) -> (f32, f32) {
        let repeats = gaussians.repeats;
        let (mut chi, mut null_chi) = (0.0f32, 0.0f32);
        for (i, &point) in self.points().iter().enumerate() {
            let (value, noise) = Self::model(gaussians, peak, mean, i.abs_diff(t));
            let over = f64::from(point) / f64::from(mean);
            let term =
                |model: f64| single(repeats * (over - model) * (over - model) / f64::from(noise));
            chi += term(f64::from(value));
            null_chi += term(1.0);
        }
        (chi / count(self.len), null_chi / count(self.len))
    }

    /// The misfit of no signal at all, with four points at a time.
    fn quick_null(&self, gaussians: &Gaussians, peak: f32, mean: f32, t: usize) -> f32 {
        let (height, scale) = (f32x4::splat(peak / mean), f32x4::splat(1.0 / mean));
        let one = f32x4::splat(1.0);
        let mut sum = f32x4::ZERO;
        let weights = gaussians.mirrored[POINTS_MAX - t..].as_chunks::<4>().0;
        for (&weights, &points) in weights.iter().zip(self.points().as_chunks::<4>().0) {
            let root = (height * f32x4::new(weights)).sqrt();
            let off = f32x4::new(points) * scale - one;
            sum += off * off / (root + root + one);
        }
        single(gaussians.repeats) * total(sum) / count(self.len)
    }
}
