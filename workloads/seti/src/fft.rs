//! Fourier transforms of f32 data in split form (real and imaginary parts apart), four samples to a vector.
//!
//! The sign is that of the search, `X[k] = sum x[j] exp(+2 pi i j k / L)`, and nothing is scaled. [`Fft::powers`]
//! decimates in frequency and leaves its bins where the last butterfly put them ([`position`], [`bin`]): no search
//! needs them sorted, and the autocorrelation continues from that order with [`Fft::gather`], which decimates in time.
//! Lengths are powers of two from 8; each is a row of radix-4 passes that ends in a base of 8 or 16 samples.

mod base;
mod pass;

use pass::Table;
use wide::f32x4;

/// Blocks of this many samples are done pass by pass, longer ones quarter by quarter: two such arrays fit in the
/// first cache.
const BLOCK: usize = 4096;

/// The twiddle factors for all lengths up to the longest.
#[derive(Debug)]
pub(crate) struct Fft {
    /// By the binary logarithm of the length that the pass splits.
    tables: Vec<Table>,
}

impl Fft {
    /// For transforms of at most `longest` samples, a power of two.
    pub(crate) fn new(longest: usize) -> Self {
        let tables = (0..=longest.ilog2())
            .map(|log| if log < 5 { Table::new() } else { pass::table(1 << log) });
        Self { tables: tables.collect() }
    }

    fn table(&self, length: usize) -> &Table {
        &self.tables[length.ilog2() as usize]
    }

    /// The power spectra of consecutive rows of `length` samples, in the order of [`position`]. The samples are
    /// used up.
    pub(crate) fn powers(
        &self,
        length: usize,
        re: &mut [f32x4],
        im: &mut [f32x4],
        powers: &mut [f32x4],
    ) {
        let base = base_of(length);
        let block = (length / 4).max(BLOCK / 4).min(re.len());
        for ((re, im), powers) in
            re.chunks_mut(block).zip(im.chunks_mut(block)).zip(powers.chunks_mut(block))
        {
            self.spread(length, base, re, im, powers);
        }
    }

    /// Decimation in frequency: the long passes quarter by quarter, the short ones over the whole block.
    fn spread(
        &self,
        length: usize,
        base: usize,
        re: &mut [f32x4],
        im: &mut [f32x4],
        powers: &mut [f32x4],
    ) {
        if BLOCK < length {
            pass::spread(re, im, self.table(length));
            let quarter = re.len() / 4;
            for ((re, im), powers) in
                re.chunks_mut(quarter).zip(im.chunks_mut(quarter)).zip(powers.chunks_mut(quarter))
            {
                self.spread(length / 4, base, re, im, powers);
            }
            return;
        }
        let mut part = length;
        while base < part {
            let table = self.table(part);
            for (re, im) in re.chunks_exact_mut(part / 4).zip(im.chunks_exact_mut(part / 4)) {
                pass::spread(re, im, table);
            }
            part /= 4;
        }
        if base == 16 { base::powers_16(re, im, powers) } else { base::powers_8(re, im, powers) }
    }

    /// Transforms one row whose samples stand in the order of [`position`]; the bins come out sorted.
    pub(crate) fn gather(&self, re: &mut [f32x4], im: &mut [f32x4]) {
        let length = 4 * re.len();
        self.gather_part(length, base_of(length), re, im);
    }

    fn gather_part(&self, length: usize, base: usize, re: &mut [f32x4], im: &mut [f32x4]) {
        if BLOCK < length {
            let quarter = re.len() / 4;
            for (re, im) in re.chunks_mut(quarter).zip(im.chunks_mut(quarter)) {
                self.gather_part(length / 4, base, re, im);
            }
            pass::gather(re, im, self.table(length));
            return;
        }
        if base == 16 {
            base::transform_16(re, im)
        } else {
            base::transform_8(re, im)
        }
        let mut part = 4 * base;
        while part <= length {
            let table = self.table(part);
            for (re, im) in re.chunks_exact_mut(part / 4).zip(im.chunks_exact_mut(part / 4)) {
                pass::gather(re, im, table);
            }
            part *= 4;
        }
    }
}

/// The length at which the radix-4 passes end: what is left of the length's factors.
fn base_of(length: usize) -> usize {
    if length.ilog2().is_multiple_of(2) { 16 } else { 8 }
}

/// Where a bin stands in a row of [`Fft::powers`]: bin 0 stands at 0.
pub(crate) fn position(length: usize, bin: usize) -> usize {
    let (mut rest, mut part, mut position) = (bin, length, 0);
    while base_of(length) < part {
        part /= 4;
        position += rest % 4 * part;
        rest /= 4;
    }
    position + rest
}

/// The bin that stands at a position: the inverse of [`position`].
pub(crate) fn bin(length: usize, position: usize) -> usize {
    let (mut rest, mut part, mut weight, mut bin) = (position, length, 1, 0);
    while base_of(length) < part {
        part /= 4;
        bin += rest / part * weight;
        rest %= part;
        weight *= 4;
    }
    bin + rest * weight
}

/// `exp(2 pi i numerator / denominator)`, computed in f64 and rounded.
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what is asked")]
pub(crate) fn root(numerator: usize, denominator: usize) -> (f32, f32) {
    let angle = std::f64::consts::TAU * ((numerator % denominator) as f64 / denominator as f64);
    (libm::cos(angle) as f32, libm::sin(angle) as f32)
}

#[cfg(test)]
mod tests;
