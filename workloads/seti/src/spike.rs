//! Spikes: the largest bin of a spectrum, against the spectrum's mean.

use crate::fft;
use wide::f32x4;

/// A bin that stands out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spike {
    pub(crate) bin: usize,
    /// Over the mean.
    pub(crate) power: f32,
}

/// The mean powers of the spectra of each length. Dechirping turns samples and transforming keeps their energy, so
/// these are the same for all drift rates: the energies of the rows' samples.
pub(crate) fn means(length: usize, re: &[f32x4], im: &[f32x4]) -> Vec<f32> {
    let energy = |(re, im): (&f32x4, &f32x4)| {
        let square = |value: f32| f64::from(value) * f64::from(value);
        re.to_array().map(square).iter().chain(&im.to_array().map(square)).sum::<f64>()
    };
    let rows = re.chunks_exact(length / 4).zip(im.chunks_exact(length / 4));
    rows.map(|(re, im)| crate::number::single(re.iter().zip(im).map(energy).sum())).collect()
}

/// The largest bins of a row over `floor` times its mean, at most `count` of different power, largest first.
pub(crate) fn search(row: &[f32x4], mean: f32, floor: f32, count: usize) -> Vec<Spike> {
    let mut spikes = Vec::new();
    let mut below = f32::INFINITY;
    let mut peak = crate::spectrogram::peak(row);
    while spikes.len() < count && 0.0 < mean && floor < peak / mean {
        let powers: &[f32] = bytemuck::cast_slice(row);
        let length = powers.len();
        let at_peak = (1..length).filter(|&position| powers[position] == peak);
        let Some(bin) = at_peak.map(|position| fft::bin(length, position)).min() else {
            break;
        };
        spikes.push(Spike { bin, power: peak / mean });
        below = below.min(peak);
        peak = powers[1..].iter().copied().filter(|&power| power < below).fold(0.0, f32::max);
    }
    spikes
}
