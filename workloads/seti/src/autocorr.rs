//! Autocorrelation: a cosine transform of a power spectrum, whose peaks are delays at which the signal repeats.
//!
//! `A[d] = 2 sum P[j] cos(pi d (j + 1/2) / L)` for d below L/2, by one complex transform of L/2 numbers. The spectrum
//! comes as [`Fft::powers`] leaves it, and the transform starts from that order: bins that are 0, 1, 2, 3 modulo 4
//! stand in the four quarters of the row, and Makhoul's sequence takes the first and third forwards as real and
//! imaginary parts, the fourth and second backwards.

use crate::fft::{self, Fft, root};
use crate::spectrogram::{largest, total};
use wide::f32x4;

/// Vectors summed in f32 before the sum goes on in f64.
const BLOCK: usize = 64;

/// The transform for one length, with its memory.
#[derive(Debug)]
pub(crate) struct Autocorr {
    length: usize,
    /// Of half the length, in the order of [`fft::position`] for a quarter.
    twist: Vec<[f32x4; 2]>,
    /// Half a step and five halves of a step of the length, for even and for odd outputs.
    turns: [Vec<[f32x4; 4]>; 2],
    even: [Vec<f32x4>; 2],
    odd: [Vec<f32x4>; 2],
    /// The squares `A[d]^2`: even d ascending, even d descending, odd ascending, odd descending.
    squares: [Vec<f32x4>; 4],
}

/// A delay that stands out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Delay {
    /// Samples.
    pub(crate) samples: usize,
    /// Over the mean.
    pub(crate) power: f32,
}

fn vectors(count: usize, roots: impl Fn(usize) -> (f32, f32)) -> impl Iterator<Item = [f32x4; 2]> {
    (0..count).map(move |vector| {
        let lanes = [0, 1, 2, 3].map(|lane| roots(4 * vector + lane));
        [f32x4::new(lanes.map(|root| root.0)), f32x4::new(lanes.map(|root| root.1))]
    })
}

fn reversed(vector: f32x4) -> f32x4 {
    let [a, b, c, d] = vector.to_array();
    f32x4::new([d, c, b, a])
}

/// `A[d]^2` of one delay by the sum itself, for a spectrum as [`Fft::powers`] leaves it.
pub(crate) fn square_of_sum(powers: &[f32], delay: usize) -> f64 {
    let length = powers.len();
    let term = |(position, &power): (usize, &f32)| {
        let turns = delay * (2 * fft::bin(length, position) + 1) % (4 * length);
        2.0 * f64::from(power)
            * libm::cos(std::f64::consts::PI * turns as f64 / (2 * length) as f64)
    };
    let sum: f64 = powers.iter().enumerate().map(term).sum();
    sum * sum
}

impl Autocorr {
    pub(crate) fn new(length: usize) -> Self {
        let quarter = length / 4;
        let turn = |odd: usize| {
            let one = vectors(quarter / 8, move |k| root(2 * k + odd, 4 * length));
            let five = vectors(quarter / 8, move |k| root(5 * (2 * k + odd), 4 * length));
            one.zip(five).map(|([a, b], [c, d])| [a, b, c, d]).collect()
        };
        let zeros = |count: usize| vec![f32x4::ZERO; count];
        Self {
            length,
            twist: vectors(quarter / 4, |s| root(fft::bin(quarter, s), 2 * quarter)).collect(),
            turns: [turn(0), turn(1)],
            even: [zeros(quarter / 4), zeros(quarter / 4)],
            odd: [zeros(quarter / 4), zeros(quarter / 4)],
            squares: [(); 4].map(|()| zeros(quarter / 8)),
        }
    }

    /// The largest delays over `floor` times the mean, at most `count` of different power, largest first.
    #[inline(never)]
    pub(crate) fn search(
        &mut self,
        fft: &Fft,
        row: &[f32x4],
        floor: f32,
        count: usize,
    ) -> Vec<Delay> {
        self.pack(row);
        let ([even_re, even_im], [odd_re, odd_im]) = (&mut self.even, &mut self.odd);
        fft.gather(even_re, even_im);
        fft.gather(odd_re, odd_im);
        let (mut peak, sum) = self.unpack();
        let mean = crate::number::single(sum / self.length as f64);
        let (mut delays, mut below) = (Vec::new(), f32::INFINITY);
        while delays.len() < count && 0.0 < mean && floor < peak / mean {
            let Some(samples) = (1..self.length / 2).find(|&delay| self.square(delay) == peak)
            else {
                break;
            };
            delays.push(Delay { samples, power: peak / mean });
            below = below.min(peak);
            let delays = 1..self.length / 2;
            peak = delays
                .map(|delay| self.square(delay))
                .filter(|&square| square < below)
                .fold(0.0, f32::max);
        }
        delays
    }

    /// The sequence's sums and differences of first and second half: the first pass of its transform.
    #[inline(never)]
    fn pack(&mut self, row: &[f32x4]) {
        let count = row.len() / 4;
        let quarter = |index: usize| &row[index * count..(index + 1) * count];
        let ([even_re, even_im], [odd_re, odd_im]) = (&mut self.even, &mut self.odd);
        let forwards = quarter(0).iter().zip(quarter(2));
        let backwards = quarter(3).iter().rev().zip(quarter(1).iter().rev());
        let even = even_re.iter_mut().zip(even_im);
        let odd = odd_re.iter_mut().zip(odd_im);
        for ((((&xr, &xi), (&yr, &yi)), (er, ei)), ((or, oi), [wr, wi])) in
            forwards.zip(backwards).zip(even).zip(odd.zip(&self.twist))
        {
            let (yr, yi) = (reversed(yr), reversed(yi));
            (*er, *ei) = (xr + yr, xi + yi);
            let (dr, di) = (xr - yr, xi - yi);
            (*or, *oi) = (dr * *wr - di * *wi, dr * *wi + di * *wr);
        }
    }

    /// From the transform to the squares. Returns their maximum, without that of delay 0, and their sum with it.
    #[inline(never)]
    fn unpack(&mut self) -> (f32, f64) {
        let count = self.even[0].len();
        let half = count / 2;
        let [even_up, even_down, odd_up, odd_down] = &mut self.squares;
        let re: &[f32] = bytemuck::cast_slice(&self.even[0]);
        let im: &[f32] = bytemuck::cast_slice(&self.even[1]);
        let size = re.len();
        // Output 2k goes with output 2(S - k), and 0 with itself.
        let mirrored = |values: &[f32], vector: usize| {
            let at = size - 4 * vector;
            f32x4::new([values[at % size], values[at - 1], values[at - 2], values[at - 3]])
        };
        for v in 0..half {
            let x = (self.even[0][v], self.even[1][v]);
            (even_up[v], even_down[v]) =
                outputs(x, (mirrored(re, v), mirrored(im, v)), &self.turns[0][v]);
        }
        for v in 0..half {
            let x = (self.odd[0][v], self.odd[1][v]);
            let y = (reversed(self.odd[0][count - 1 - v]), reversed(self.odd[1][count - 1 - v]));
            (odd_up[v], odd_down[v]) = outputs(x, y, &self.turns[1][v]);
        }
        let [zero, a, b, c] = even_up[0].to_array();
        even_up[0] = f32x4::new([0.0, a, b, c]);
        let [_, a, b, c] = even_down[0].to_array();
        even_down[0] = f32x4::new([0.0, a, b, c]);
        let middle = self.square(self.length / 4);
        let (mut most, mut sum) = (f32x4::splat(middle), f64::from(zero) + f64::from(middle));
        for block in self.squares.iter().flat_map(|squares| squares.chunks(BLOCK)) {
            let mut part = f32x4::ZERO;
            for &square in block {
                most = most.fast_max(square);
                part += square;
            }
            sum += f64::from(total(part));
        }
        (largest(most), sum)
    }

    /// `A[d]^2` after [`Autocorr::unpack`].
    fn square(&self, delay: usize) -> f32 {
        let size = 4 * self.even[0].len();
        let (k, odd) = (delay / 2, delay % 2);
        if delay == size {
            // Output M/2 pairs with itself.
            let (re, im): (&[f32], &[f32]) =
                (bytemuck::cast_slice(&self.even[0]), bytemuck::cast_slice(&self.even[1]));
            let turn = |factor: usize| {
                let (re, im) = root(factor * k, 2 * self.length);
                [f32x4::splat(re), f32x4::splat(im)]
            };
            let ([a, b], [c, d]) = (turn(1), turn(5));
            let x = (f32x4::splat(re[k]), f32x4::splat(im[k]));
            return outputs(x, x, &[a, b, c, d]).0.to_array()[0];
        }
        let (list, index) = match (k < size / 2, odd) {
            (true, odd) => (2 * odd, k),
            (false, 0) => (1, size - k),
            (false, _) => (3, size - 1 - k),
        };
        self.squares[list][index / 4].to_array()[index % 4]
    }
}

/// From `X[k]` and `X[M - k]` the squares of outputs k and M - k.
#[inline(always)]
fn outputs(
    (xr, xi): (f32x4, f32x4),
    (yr, yi): (f32x4, f32x4),
    turn: &[f32x4; 4],
) -> (f32x4, f32x4) {
    let (er, ei) = (xr + yr, xi - yi);
    let (or, oi) = (xi + yi, yr - xr);
    let (ar, ai) = (er * turn[0] - ei * turn[1], er * turn[1] + ei * turn[0]);
    let (br, bi) = (or * turn[2] - oi * turn[3], or * turn[3] + oi * turn[2]);
    let up = ar + br;
    let down = ((ar - br) + (ai - bi)) * f32x4::splat(std::f32::consts::FRAC_1_SQRT_2);
    (up * up, down * down)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_squares_are_those_of_the_sums() {
        for length in [128, 512, 1024, 8192] {
            let mut state = 1u64;
            let mut next = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                f32::from(u8::try_from(state >> 56).unwrap()) / 64.0
            };
            let powers: Vec<f32> = (0..length).map(|_| next()).collect();
            let placed: Vec<f32> =
                (0..length).map(|position| powers[fft::bin(length, position)]).collect();
            let row: Vec<f32x4> =
                placed.as_chunks::<4>().0.iter().map(|&four| f32x4::new(four)).collect();
            let mut autocorr = Autocorr::new(length);
            let found = autocorr.search(&Fft::new(length), &row, 0.0, 3);
            let exact = |delay: usize| {
                let term = |(j, power): (usize, &f32)| {
                    let angle = std::f64::consts::PI * (delay * (2 * j + 1) % (4 * length)) as f64
                        / (2 * length) as f64;
                    2.0 * f64::from(*power) * angle.cos()
                };
                powers.iter().enumerate().map(term).sum::<f64>().powi(2)
            };
            let squares: Vec<f64> = (0..length / 2).map(exact).collect();
            let mean = squares.iter().sum::<f64>() / length as f64;
            for (delay, &square) in squares.iter().enumerate().skip(1) {
                let got = f64::from(autocorr.square(delay));
                assert!((got - square).abs() < 1e-5 * mean + 1e-5 * square, "{length} {delay}");
            }
            let best = (1..length / 2).max_by(|&a, &b| squares[a].total_cmp(&squares[b])).unwrap();
            assert_eq!((found.len(), found[0].samples), (3, best));
            assert!((f64::from(found[0].power) * mean / squares[best] - 1.0).abs() < 1e-5);
            assert!(found[1].power < found[0].power && found[2].power < found[1].power);
        }
    }
}
