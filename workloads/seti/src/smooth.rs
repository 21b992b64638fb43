//! Baseline smoothing: every bin of each long chunk's spectrum is scaled to the same local mean power.

use crate::header::Setup;
use crate::number::{count, single};
use crate::samples::Samples;
use std::f64::consts::TAU;

/// Smooths the samples in place.
pub(crate) fn smooth(samples: &mut Samples, setup: &Setup) {
    let (chunk, window) = (setup.bsmooth_chunk_size, setup.bsmooth_boxcar_length);
    let roots = roots(chunk);
    for (re, im) in samples.re.chunks_exact_mut(chunk).zip(samples.im.chunks_exact_mut(chunk)) {
        // The transforms, done once per unit, are in f64; the original's f32 differ in the last digit.
        let mut data: Vec<(f64, f64)> =
            re.iter().zip(&*im).map(|(&re, &im)| (re.into(), im.into())).collect();
        transform(&mut data, &roots);
        let mut spectrum: Vec<(f32, f32)> =
            data.iter().map(|&(re, im)| (single(re), single(im))).collect();
        flatten(&mut spectrum, window);
        // The inverse is the transform of the data with their parts exchanged.
        data.iter_mut().zip(&spectrum).for_each(|(data, &(re, im))| *data = (im.into(), re.into()));
        transform(&mut data, &roots);
        let scale = 1.0 / chunk as f64;
        for ((re, im), (x, y)) in re.iter_mut().zip(im).zip(data) {
            (*re, *im) = (single(y * scale), single(x * scale));
        }
    }
}

/// Scales each bin by the running mean of the powers around it. The recurrence in f32 is part of the definition.
fn flatten(spectrum: &mut [(f32, f32)], window: usize) {
    let (size, half) = (spectrum.len(), window / 2);
    let bin = |position: usize| (size / 2 + position) % size;
    let powers: Vec<f32> =
        (0..size).map(|p| spectrum[bin(p)]).map(|(re, im)| re * re + im * im).collect();
    let width = count(window);
    let mut mean = powers[..window].iter().sum::<f32>() / width;
    let mut factor = scale(mean);
    for position in 0..size {
        if half <= position && position < size - half {
            mean = (mean - powers[position - half] / width) + powers[position + half] / width;
            factor = scale(mean);
        }
        let (re, im) = spectrum[bin(position)];
        spectrum[bin(position)] = (re * factor, im * factor);
    }
}

/// 0 for an empty band, so that silence stays silence.
fn scale(mean: f32) -> f32 {
    if f32::MIN_POSITIVE < mean { single(1.0 / (f64::from(mean) * 0.5).sqrt()) } else { 0.0 }
}

fn roots(size: usize) -> Vec<(f64, f64)> {
    let root = |k: usize| TAU * (k as f64 / size as f64);
    (0..size / 2).map(|k| (libm::cos(root(k)), libm::sin(root(k)))).collect()
}

/// `X[k] = sum x[j] exp(+2 pi i j k / size)`, radix 2, sorted.
fn transform(data: &mut [(f64, f64)], roots: &[(f64, f64)]) {
    let size = data.len();
    let shift = usize::BITS - size.ilog2();
    for j in 0..size {
        let mirrored = j.reverse_bits() >> shift;
        if j < mirrored {
            data.swap(j, mirrored);
        }
    }
    let mut half = 1;
    while half < size {
        let stride = size / (2 * half);
        for block in data.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for (k, (a, b)) in low.iter_mut().zip(high).enumerate() {
                let (wr, wi) = roots[k * stride];
                let (re, im) = (b.0 * wr - b.1 * wi, b.0 * wi + b.1 * wr);
                *b = (a.0 - re, a.1 - im);
                *a = (a.0 + re, a.1 + im);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::Header;
    use crate::tests::reference_unit;

    #[test]
    fn smoothed_samples_are_those_of_the_reference_unit() {
        let Some(unit) = reference_unit() else { return };
        let setup = Header::read(&unit).unwrap().setup;
        let mut samples = Samples::read(&unit, &setup).unwrap();
        smooth(&mut samples, &setup);
        let check = |index: usize, re: f32, im: f32| {
            assert!((samples.re[index] - re).abs() < 6e-9, "{index} {}", samples.re[index]);
            assert!((samples.im[index] - im).abs() < 6e-9, "{index} {}", samples.im[index]);
        };
        check(0, 0.005_519_31, -0.005_523_65);
        check(1, 0.005_499_08, -0.005_491_67);
        check(32768, -0.005_544_665, 0.005_521_724_5);
        check((1 << 20) - 1, 0.005_524_136_6, 0.005_464_145);
        let power = |(re, im): (&f32, &f32)| {
            f64::from(*re) * f64::from(*re) + f64::from(*im) * f64::from(*im)
        };
        let mean = samples.re.iter().zip(&samples.im).map(power).sum::<f64>() / (1 << 20) as f64;
        assert!((mean / 6.105_854_16e-5 - 1.0).abs() < 1e-7, "{mean}");
    }
}
