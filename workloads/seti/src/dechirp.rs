//! Removing a frequency drift from the samples.

use bytemuck::cast;
use wide::{f32x4, i32x4};

/// Samples between two exact phases; between them the phase advances in 32 bits, whose rounding stays below 5e-9 cycles.
pub(crate) const STRETCH: usize = 32;

/// A drift rate as the phase that it adds: `phase * j^2` cycles at sample j, in units of 2^-64 cycles. Whole cycles
/// fall away by themselves when the product wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chirp {
    phase: u64,
}

impl Chirp {
    /// `rate` in Hz/s at `sample_rate` in Hz. The rate is used rounded to f32, as the original does.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "both roundings are meant: to f32, and to 2^-64 cycles"
    )]
    pub(crate) fn new(rate: f64, sample_rate: f64) -> Self {
        let rate = f64::from(crate::number::single(rate));
        let cycles = 0.5 * rate / (sample_rate * sample_rate);
        Self { phase: (libm::round(cycles * 18_446_744_073_709_551_616.0) as i64).cast_unsigned() }
    }

    /// Multiplies the samples from index `first` on (a multiple of 32) by `exp(2 pi i theta)` on their way from `re`,
    /// `im` to `out_re`, `out_im`.
    #[inline(never)]
    pub(crate) fn remove(
        self,
        first: usize,
        (re, im): (&[f32x4], &[f32x4]),
        (out_re, out_im): (&mut [f32x4], &mut [f32x4]),
    ) {
        if self.phase == 0 {
            out_re.copy_from_slice(re);
            out_im.copy_from_slice(im);
            return;
        }
        const VECTORS: usize = STRETCH / 4;
        let out =
            out_re.as_chunks_mut::<VECTORS>().0.iter_mut().zip(out_im.as_chunks_mut::<VECTORS>().0);
        let samples = re.as_chunks::<VECTORS>().0.iter().zip(im.as_chunks::<VECTORS>().0);
        for (stretch, ((re, im), (out_re, out_im))) in samples.zip(out).enumerate() {
            let (mut phase, mut advance, change) = self.at((first + stretch * STRETCH) as u64);
            for v in 0..VECTORS {
                let (cos, sin) = cos_sin(phase);
                out_re[v] = re[v] * cos - im[v] * sin;
                out_im[v] = re[v] * sin + im[v] * cos;
                phase += advance;
                advance += change;
            }
        }
    }

    /// The phases of four samples from j on, their advance to the next four, and the advance's own advance, all in
    /// units of 2^-32 cycles.
    #[inline(always)]
    fn at(self, j: u64) -> (i32x4, i32x4, i32x4) {
        let lanes = [j, j + 1, j + 2, j + 3];
        let phase = lanes.map(|j| top(self.phase.wrapping_mul(j * j)));
        let advance = lanes.map(|j| top(self.phase.wrapping_mul(8 * j + 16)));
        (i32x4::new(phase), i32x4::new(advance), i32x4::splat(top(self.phase.wrapping_mul(32))))
    }
}

/// The upper half, rounded.
#[inline(always)]
fn top(value: u64) -> i32 {
    let half = (value.wrapping_add(1 << 31) >> 32) as u32;
    half.cast_signed()
}

/// Cosine and sine of phases in units of 2^-32 cycles, within 1e-7.
#[inline(always)]
fn cos_sin(phase: i32x4) -> (f32x4, f32x4) {
    let quadrant = (phase + i32x4::splat(1 << 29)) >> 30;
    let rest = f32x4::from_i32x4(phase - (quadrant << 30));
    let x = rest * f32x4::splat(std::f32::consts::TAU / 4_294_967_296.0);
    let z = x * x;
    // Minimax polynomials on [-pi/4, pi/4] (Moshier's).
    let sin = z * f32x4::splat(-1.951_529_6e-4) + f32x4::splat(8.332_161e-3);
    let sin = (sin * z + f32x4::splat(-1.666_665_5e-1)) * (z * x) + x;
    let cos = z * f32x4::splat(2.443_315_7e-5) + f32x4::splat(-1.388_731_6e-3);
    let cos = (cos * z + f32x4::splat(4.166_664_6e-2)) * (z * z)
        + (f32x4::splat(1.0) - z * f32x4::splat(0.5));
    let swap: f32x4 = cast((quadrant << 31) >> 31);
    let cos_sign: f32x4 = cast(((quadrant + i32x4::splat(1)) & i32x4::splat(2)) << 30);
    let sin_sign: f32x4 = cast((quadrant & i32x4::splat(2)) << 30);
    (swap.bitselect(sin, cos) ^ cos_sign, swap.bitselect(cos, sin) ^ sin_sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_is_that_of_the_formula() {
        let (count, sample_rate) = (1 << 20, 9765.62);
        for rate in [-49.995_056_858_502_43, -0.001_848_519, 0.0, 17.669_997, 50.0] {
            let chirp = Chirp::new(rate, sample_rate);
            let (ones, zeros) = (vec![f32x4::splat(1.0); 8], vec![f32x4::ZERO; 8]);
            for first in [0, 32, 4096, 524_288 + 64, count - 32] {
                let (mut re, mut im) = (zeros.clone(), zeros.clone());
                chirp.remove(first, (&ones, &zeros), (&mut re, &mut im));
                let (re, im): (&[f32], &[f32]) =
                    (bytemuck::cast_slice(&re), bytemuck::cast_slice(&im));
                for j in 0..32 {
                    let seconds = (first + j) as f64 / sample_rate;
                    let cycles = 0.5 * f64::from(crate::number::single(rate)) * seconds * seconds;
                    let (sin, cos) = (std::f64::consts::TAU * (cycles - cycles.floor())).sin_cos();
                    let error = (f64::from(re[j]) - cos).abs().max((f64::from(im[j]) - sin).abs());
                    assert!(error < 4e-7, "rate {rate} sample {} error {error}", first + j);
                }
            }
        }
    }
}
