//! Gaussians: a source that the beam drifts over shows its beam's profile in the power of one bin over time.
//!
//! Most bins have nothing, so four bins at a time are scanned for positions whose peak could suffice, with a margin
//! for rounding; only those are fitted, in the arithmetic that the search defines.

mod column;
mod sums;

use crate::derived::Derived;
use crate::gamma::ln_q;
use crate::header::Setup;
use crate::number::{count, single, whole};
use crate::spectrogram::Spectrogram;
use column::Column;
pub(crate) use column::Fit;
use wide::f32x4;

/// Relative margin of the scan: ten times the rounding of its sums.
const MARGIN: f32 = 1e-5;
/// Most points of a profile: positions are kept as bits.
const POINTS_MAX: usize = 64;
/// Vectors of four bins that are fetched together: whole cache lines of each row.
const TILE: usize = 16;

/// The search's constants, and the part of its state that outlives a spectrogram.
#[derive(Debug)]
pub(crate) struct Gaussians {
    points: usize,
    /// Half the width of the fit, in points.
    reach: usize,
    /// The positions that are tried.
    first: usize,
    end: usize,
    /// By distance from the peak.
    weights: Vec<f32>,
    /// The same to both sides of distance 0, which is in the middle.
    mirrored: Vec<f32>,
    /// Spectra that a point of the spectrogram in hand is the sum of.
    repeats: f64,
    /// One over the sum of the weights in reach.
    norm: f32,
    power_thresh: f32,
    peak_thresh: f64,
    chi_thresh: f64,
    null_thresh: f64,
    /// What a peak needs to be fitted, over the mean; 0 in chirp 0 until the first fit of a whole run.
    display: f64,
    /// The constant part of the score.
    offset: f64,
    sums: Vec<f32x4>,
}

/// A fit worth considering, of a bin.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) bin: usize,
    pub(crate) fit: Fit,
}

impl Gaussians {
    /// `fresh`: at the beginning of a whole run.
    pub(crate) fn new(setup: &Setup, derived: &Derived, fresh: bool) -> Self {
        let points = setup.gauss_pot_length;
        let sigma_square = single(f64::from(derived.sigma) * f64::from(derived.sigma));
        let first = whole(setup.pot_t_offset * f64::from(derived.sigma) + 0.5);
        let end = points.saturating_sub(first);
        let weight =
            |d: usize| single(libm::exp(-0.693 * (d * d) as f64 / f64::from(sigma_square)));
        let weights: Vec<f32> =
            (0..points).map(|d| if d < end { weight(d) } else { 0.0 }).collect();
        let mirrored = (0..=2 * POINTS_MAX)
            .map(|i| weights.get(i.abs_diff(POINTS_MAX)).copied().unwrap_or(0.0))
            .collect();
        let reach = whole(f64::from(derived.sigma) + 0.5);
        let sum = (1..=reach.min(points - 1)).fold(weights[0], |sum, d| sum + 2.0 * weights[d]);
        let half = (points / 2) as f64;
        let offset =
            f64::from(ln_q(half - 0.5, (setup.gauss_null_chi_sq_thresh * half).max(half + 0.5)))
                - f64::from(ln_q(half - 1.0, (setup.gauss_chi_sq_thresh * half).max(half)));
        let display = setup.gauss_peak_power_thresh / 3.0;
        // A beam too slow or too fast leaves no position with a mean beside it.
        let end = if 4 * reach + 1 < points { end } else { 0 };
        Self {
            points,
            reach,
            first,
            end,
            weights,
            mirrored,
            repeats: 1.0,
            norm: 1.0 / sum,
            power_thresh: single(setup.gauss_power_thresh),
            peak_thresh: setup.gauss_peak_power_thresh,
            chi_thresh: setup.gauss_chi_sq_thresh,
            null_thresh: setup.gauss_null_chi_sq_thresh,
            display: if fresh { 0.0 } else { display },
            offset,
            sums: Vec::new(),
        }
    }

    /// Whether a fit is good enough to be reported; its chi-square has been checked.
    pub(crate) fn reports(&self, fit: &Fit) -> bool {
        f64::from(fit.mean) * self.peak_thresh <= f64::from(fit.peak)
            && self.null_thresh <= f64::from(fit.null_chi)
    }

    /// How far a fit lies beyond the thresholds.
    pub(crate) fn score(&self, fit: &Fit) -> f64 {
        let half = (self.points / 2) as f64;
        let chi = f64::from(ln_q(half - 1.0, (f64::from(fit.chi) * half).max(half)));
        self.offset + chi
            - f64::from(ln_q(half - 0.5, (f64::from(fit.null_chi) * half).max(half + 0.5)))
    }

    /// The misfit of no signal that a fit needs at least to score more than `best`, however good it is.
    pub(crate) fn null_floor(&self, best: f64) -> f32 {
        let perfect = |null_chi: f32| self.score(&Fit { null_chi, ..Fit::default() });
        let (mut low, mut high) = (0.0f32, 1000.0f32);
        for _ in 0..40 {
            let middle = f32::midpoint(low, high);
            if perfect(middle) <= best { low = middle } else { high = middle }
        }
        low * 0.999
    }

    /// Ends what is special about the beginning of a whole run.
    pub(crate) fn leave_first_chirp(&mut self) {
        self.display = self.peak_thresh / 3.0;
    }

    /// The fits in a spectrogram that may be reported, or that have at least this misfit of no signal; by ascending
    /// bin and position.
    #[inline(never)]
    pub(crate) fn search(
        &mut self,
        spectrogram: Spectrogram<'_>,
        null_floor: f32,
    ) -> Vec<Candidate> {
        let null_floor = null_floor.min(single(self.null_thresh));
        self.repeats = (spectrogram.rows() / self.points) as f64;
        let mut sums = std::mem::take(&mut self.sums);
        let profiles = sums::profiles(spectrogram, self.points, &mut sums);
        let spectrogram = Spectrogram { powers: profiles, ..spectrogram };
        let mut found = Vec::new();
        let begun = self.begin(spectrogram, null_floor, &mut found);
        self.scan_all(spectrogram, null_floor, begun, &mut found);
        self.sums = sums;
        found.sort_by_key(|candidate: &Candidate| (candidate.bin, candidate.fit.position));
        found
    }

    /// At the beginning of a run, bins are taken in order until one has been fitted. Returns the first bin that is
    /// left to be scanned.
    #[inline(never)]
    fn begin(
        &mut self,
        profiles: Spectrogram<'_>,
        null_floor: f32,
        found: &mut Vec<Candidate>,
    ) -> usize {
        for bin in 1..profiles.length {
            if self.display != 0.0 {
                return bin;
            }
            let position = crate::fft::position(profiles.length, bin);
            let mut points = [f32x4::ZERO; POINTS_MAX];
            for (row, point) in points[..self.points].iter_mut().enumerate() {
                *point = profiles.powers[row * profiles.width() + position / 4];
            }
            let above = self.normalise(&mut points);
            if above & 1 << (position % 4) != 0 {
                let column = Column::new(&points[..self.points], position % 4);
                column
                    .fit(self, u64::MAX, null_floor, &mut |fit| found.push(Candidate { bin, fit }));
                self.display = self.peak_thresh / 3.0;
            }
        }
        if self.display == 0.0 { profiles.length } else { 1 }
    }

    #[inline(never)]
    fn scan_all(
        &self,
        profiles: Spectrogram<'_>,
        null_floor: f32,
        begun: usize,
        found: &mut Vec<Candidate>,
    ) {
        let width = profiles.width();
        let mut tile = [[f32x4::ZERO; POINTS_MAX]; TILE];
        for start in (0..width).step_by(TILE) {
            let end = (start + TILE).min(width);
            for row in 0..self.points {
                let row_of = &profiles.powers[row * width + start..row * width + end];
                for (points, &power) in tile.iter_mut().zip(row_of) {
                    points[row] = power;
                }
            }
            for (points, vector) in tile.iter_mut().zip(start..end) {
                self.four(points, null_floor, &mut |lane, fit| {
                    let bin = profiles.bin(vector, lane);
                    if begun <= bin && bin != 0 {
                        found.push(Candidate { bin, fit });
                    }
                });
            }
        }
    }

    /// Scans four bins and fits what may suffice.
    #[inline(never)]
    fn four(
        &self,
        points: &mut [f32x4; POINTS_MAX],
        null_floor: f32,
        found: &mut dyn FnMut(usize, Fit),
    ) {
        let above = self.normalise(points);
        if above == 0 {
            return;
        }
        let hits = match self.reach {
            // The reference's; known when compiled, it is twice as fast.
            4 => self.scan(points, 4),
            reach => self.scan(points, reach),
        };
        for (lane, hits) in hits.into_iter().enumerate() {
            if hits != 0 && above & 1 << lane != 0 {
                Column::new(&points[..self.points], lane)
                    .fit(self, hits, null_floor, &mut |fit| found(lane, fit));
            }
        }
    }

    /// Divides by the means; returns which lanes have a point above the threshold.
    #[inline(always)]
    fn normalise(&self, points: &mut [f32x4; POINTS_MAX]) -> u32 {
        let points = &mut points[..self.points];
        let mut sums = [f32x4::ZERO; 4];
        let mut most = f32x4::ZERO;
        for four in points.as_chunks::<4>().0 {
            (0..4).for_each(|i| sums[i] += four[i]);
            most = most.fast_max(four[0].fast_max(four[1]).fast_max(four[2].fast_max(four[3])));
        }
        let mean =
            ((sums[0] + sums[1]) + (sums[2] + sums[3])) * f32x4::splat(1.0 / count(self.points));
        // A bin without power has no signal either.
        let scale = f32x4::splat(1.0) / mean.fast_max(f32x4::splat(f32::MIN_POSITIVE));
        let above = (most * scale).simd_gt(f32x4::splat(self.power_thresh)).to_bitmask();
        if above != 0 {
            points.iter_mut().for_each(|point| *point *= scale);
        }
        above
    }

    /// The positions, as bits per lane, at which the peak nearly suffices or does.
    #[inline(always)]
    fn scan(&self, points: &[f32x4; POINTS_MAX], reach: usize) -> [u64; 4] {
        let mut hits = [0u64; 4];
        if self.end <= self.first {
            return hits;
        }
        let mut before = [f32x4::ZERO; POINTS_MAX + 1];
        for i in 0..self.points {
            before[i + 1] = before[i] + points[i];
        }
        let total = before[self.points];
        let weights: [f32x4; POINTS_MAX] =
            std::array::from_fn(|d| f32x4::splat(if d <= reach { self.weights[d] } else { 0.0 }));
        // With a mean m beside the peak, norm * sum(weights * points) - m must reach display * m.
        let need = single((1.0 + self.display) / f64::from(self.norm)) * (1.0 - MARGIN);
        for t in self.first..self.end {
            let (from, to) = (t.saturating_sub(2 * reach), (t + 2 * reach).min(self.points - 1));
            let mut sum = points[t];
            for d in 1..=reach {
                sum += (points[t - d] + points[t + d]) * weights[d];
            }
            let beside = total - (before[to + 1] - before[from]);
            let factor = f32x4::splat(need / count(self.points - (to + 1 - from)));
            let mask = sum.simd_ge(beside * factor);
            if mask.any() {
                let bits = mask.to_bitmask();
                (0..4).filter(|lane| bits & 1 << lane != 0).for_each(|lane| hits[lane] |= 1 << t);
            }
        }
        hits
    }
}

#[cfg(test)]
mod tests;
