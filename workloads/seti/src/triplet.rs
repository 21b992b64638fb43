//! Triplets: three powers far above the mean, equally spaced in time, in one bin.

use crate::number::count;
use wide::f32x4;

/// Three peaks. Times in spectra from the window's beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Triplet {
    /// Highest of the peaks over the mean.
    pub(crate) power: f32,
    pub(crate) mean: f32,
    pub(crate) middle: f32,
    pub(crate) period: f32,
}

/// Which of four bins have at least three powers that count.
#[inline(never)]
pub(crate) fn candidates(window: &[f32x4], mean: f32x4, thresh: f32) -> u32 {
    let (limit, one) = (mean * f32x4::splat(thresh), f32x4::splat(1.0));
    let hits = window.iter().fold(f32x4::ZERO, |hits, power| hits + (power.simd_ge(limit) & one));
    // A bin without power has no signal either.
    (hits.simd_ge(f32x4::splat(3.0)) & mean.simd_gt(f32x4::ZERO)).to_bitmask()
}

/// The triplets of one bin in a window, at most `most`.
#[inline(never)]
pub(crate) fn search(window: &[f32], mean: f32, thresh: f32, most: usize) -> Vec<Triplet> {
    let limit = mean * thresh;
    let peaks: Vec<usize> = (0..window.len()).filter(|&i| limit <= window[i]).collect();
    let mut found = Vec::new();
    for (index, &a) in peaks.iter().enumerate() {
        for &c in &peaks[index + 1..] {
            middle(window, (a, c), limit, &mut |power| {
                let (middle, period) = (count(a + c) / 2.0, count(c - a) / 2.0);
                found.push(Triplet { power: power / mean, mean, middle, period });
            });
            if most <= found.len() {
                return found;
            }
        }
    }
    found
}

/// Looks for a peak in the middle between two, and for something below the limit on either side of it.
fn middle(window: &[f32], (a, c): (usize, usize), limit: f32, found: &mut dyn FnMut(f32)) {
    let m = usize::midpoint(a, c);
    let off = |mut range: std::ops::RangeInclusive<usize>| range.find(|&i| window[i] < limit);
    if off(a..=m).is_none_or(|u| m <= u) || off(m + 1..=c).is_none_or(|v| c <= v) {
        return;
    }
    let mut power = window[a].max(window[c]);
    let candidates = if (a + c).is_multiple_of(2) { m..=m } else { m..=m + 1 };
    for &middle in window[candidates].iter().filter(|&&middle| limit <= middle) {
        power = power.max(middle);
        found(power);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_equidistant_peaks_are_a_triplet() {
        let check = |peaks: &[(usize, f32)], expected: &[(f32, f32, f32)]| {
            let mut window = vec![1.0f32; 40];
            peaks.iter().for_each(|&(at, power)| window[at] = power);
            let four: Vec<f32x4> =
                window.iter().map(|&power| f32x4::new([1.0, power, 0.0, 1.0])).collect();
            let may = candidates(&four, f32x4::new([1.0, 1.0, 0.0, 1.0]), 8.0);
            assert_eq!(may, if 3 <= peaks.len() { 2 } else { 0 });
            let found = search(&window, 1.0, 8.0, 9);
            let found: Vec<_> = found.iter().map(|t| (t.power, t.middle, t.period)).collect();
            assert_eq!(found, expected);
        };
        check(&[(3, 9.0), (13, 12.0), (23, 10.0)], &[(12.0, 13.0, 10.0)]);
        check(&[(3, 9.0), (13, 12.0), (24, 10.0)], &[(12.0, 13.5, 10.5)]);
        check(&[(3, 9.0), (14, 8.0), (24, 10.0)], &[(10.0, 13.5, 10.5)]);
        check(&[(3, 9.0), (15, 12.0), (24, 10.0)], &[]);
        check(&[(3, 9.0), (4, 9.0), (5, 9.0)], &[]);
        check(&[(3, 9.0), (23, 9.0)], &[]);
    }
}
