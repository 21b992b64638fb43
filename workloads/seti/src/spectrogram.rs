//! The spectrogram of one drift rate and one FFT length: powers of spectrum after spectrum, bins in the order of
//! [`fft::position`].

use crate::fft;
use wide::f32x4;

/// Powers, row by row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spectrogram<'a> {
    pub(crate) powers: &'a [f32x4],
    /// FFT length.
    pub(crate) length: usize,
}

impl Spectrogram<'_> {
    /// Vectors of four bins to a row.
    pub(crate) fn width(&self) -> usize {
        self.length / 4
    }

    pub(crate) fn rows(&self) -> usize {
        self.powers.len() / self.width()
    }

    /// The bin at a lane of a vector of each row.
    pub(crate) fn bin(&self, vector: usize, lane: usize) -> usize {
        fft::bin(self.length, 4 * vector + lane)
    }
}

/// The largest power of a row other than that of bin 0.
pub(crate) fn peak(row: &[f32x4]) -> f32 {
    let [_, a, b, c] = row[0].to_array();
    let mut most = [f32x4::new([0.0, a, b, c]), f32x4::ZERO, f32x4::ZERO, f32x4::ZERO];
    let (fours, rest) = row[1..].as_chunks::<4>();
    for four in fours {
        for lane in 0..4 {
            most[lane] = most[lane].fast_max(four[lane]);
        }
    }
    rest.iter().for_each(|&vector| most[0] = most[0].fast_max(vector));
    largest(most[0].fast_max(most[1]).fast_max(most[2].fast_max(most[3])))
}

/// The largest of four numbers.
pub(crate) fn largest(vector: f32x4) -> f32 {
    let [a, b, c, d] = vector.to_array();
    a.max(b).max(c.max(d))
}

/// The sum of four numbers.
pub(crate) fn total(vector: f32x4) -> f32 {
    let [a, b, c, d] = vector.to_array();
    (a + b) + (c + d)
}
