//! Looking at what a search saw: pieces of spectrograms, and delays, to be drawn.

use crate::autocorr;
use crate::dechirp::Chirp;
use crate::derived::{Derived, lengths};
use crate::fft::{self, Fft};
use crate::header::{Header, Setup};
use crate::number::whole;
use crate::samples::Samples;
use crate::search::Error;
use crate::smooth::smooth;
use wide::f32x4;

/// A work unit, read and smoothed.
#[derive(Debug)]
pub struct View {
    /// What its header says.
    pub setup: Setup,
    derived: Derived,
    re: Vec<f32x4>,
    im: Vec<f32x4>,
    fft: Fft,
}

/// A piece of a spectrogram: some bins around a frequency, over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Waterfall {
    /// Bins to either side of the middle one.
    pub reach: usize,
    /// Hz from bin to bin.
    pub bin_hz: f64,
    /// Seconds at which the first row begins.
    pub begin_s: f64,
    /// Seconds from row to row.
    pub row_s: f64,
    /// Spectra in each row, of whose powers the largest is shown.
    pub spectra: usize,
    /// Powers over the mean of each spectrum, by row; the middle bin is that of the frequency.
    pub rows: Vec<Vec<f32>>,
}

impl View {
    /// Reads a work unit.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(unit: &[u8]) -> Result<Self, Error> {
        let setup = Header::read(unit)?.setup;
        let mut samples = Samples::read(unit, &setup)?;
        smooth(&mut samples, &setup);
        let [re, im] = [&samples.re, &samples.im]
            .map(|part| part.as_chunks().0.iter().map(|&four| f32x4::new(four)).collect());
        let longest = lengths(&setup).next_back().unwrap_or(8);
        Ok(Self { derived: Derived::new(&setup), setup, re, im, fft: Fft::new(longest.max(8)) })
    }

    /// Width of the beam's profile, in points of a Gaussian.
    pub fn sigma(&self) -> f32 {
        self.derived.sigma
    }

    /// Seconds of the whole recording.
    pub fn seconds(&self) -> f64 {
        self.derived.duration
    }

    /// Whether spectra of this length are searched in this unit.
    pub fn has(&self, length: usize) -> bool {
        lengths(&self.setup).any(|known| known == length)
    }

    /// The powers around `frequency` (Hz at time 0), with a drift of `rate` Hz/s taken away, in spectra of `length`
    /// samples that begin within `seconds`, `reach` bins to either side, in at most `rows` rows. `None` for a length
    /// that is not searched, or no time at all.
    pub fn waterfall(
        &self,
        (frequency, rate): (f64, f64),
        length: usize,
        seconds: std::ops::Range<f64>,
        reach: usize,
        rows: usize,
    ) -> Option<Waterfall> {
        let place_is_known = frequency.is_finite() && rate.is_finite();
        if !(self.has(length) && place_is_known) || rows == 0 {
            return None;
        }
        let (sample_rate, spectrum_s) =
            (self.setup.sample_rate, length as f64 / self.setup.sample_rate);
        let all = self.setup.nsamples / length;
        let first = whole(seconds.start / spectrum_s).min(all);
        let end = whole((seconds.end / spectrum_s).ceil()).min(all);
        if end <= first {
            return None;
        }
        let offset = (frequency - self.setup.base) * length as f64 / sample_rate;
        let middle = whole(offset.rem_euclid(length as f64) + 0.5) % length;
        let reach = reach.min(length / 2 - 1);
        let places: Vec<usize> = (0..=2 * reach)
            .map(|bin| fft::position(length, (middle + length + bin - reach) % length))
            .collect();
        let spectra = (end - first).div_ceil(rows);
        let mut shown = vec![vec![0.0f32; places.len()]; (end - first).div_ceil(spectra)];
        for index in first..end {
            let powers = self.spectrum(rate, length, index);
            let powers: &[f32] = bytemuck::cast_slice(&powers);
            let mean = powers.iter().sum::<f32>() / crate::number::count(length);
            let scale = if 0.0 < mean { 1.0 / mean } else { 0.0 };
            for (cell, &place) in shown[(index - first) / spectra].iter_mut().zip(&places) {
                *cell = cell.max(powers[place] * scale);
            }
        }
        Some(Waterfall {
            reach,
            bin_hz: sample_rate / length as f64,
            begin_s: first as f64 * spectrum_s,
            row_s: spectra as f64 * spectrum_s,
            spectra,
            rows: shown,
        })
    }

    /// The squared autocorrelation of the spectrum at `seconds` around `delay` (seconds), `reach` samples to either
    /// side, over the largest of them; each with its delay in seconds.
    pub fn delays(&self, rate: f64, seconds: f64, delay: f64, reach: usize) -> Vec<(f64, f64)> {
        let length = self.setup.autocorr_fftlen;
        if !self.has(length) || !rate.is_finite() {
            return Vec::new();
        }
        let index = whole(seconds * self.setup.sample_rate / length as f64)
            .min(self.setup.nsamples / length - 1);
        let powers = self.spectrum(rate, length, index);
        let powers: &[f32] = bytemuck::cast_slice(&powers);
        let middle = whole(delay * self.setup.sample_rate + 0.5).min(length / 2 - 1);
        let delays = middle.saturating_sub(reach).max(1)..(middle + reach + 1).min(length / 2);
        let squares: Vec<f64> =
            delays.clone().map(|delay| autocorr::square_of_sum(powers, delay)).collect();
        let most = squares.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        delays
            .zip(squares)
            .map(|(delay, square)| (delay as f64 / self.setup.sample_rate, square / most))
            .collect()
    }

    /// One power spectrum, in the order of [`fft::position`].
    fn spectrum(&self, rate: f64, length: usize, index: usize) -> Vec<f32x4> {
        // The dechirping goes by stretches that are longer than the shortest spectra.
        let block = length.max(crate::dechirp::STRETCH) / 4;
        let start = index * length / 4 / block * block;
        let range = start..start + block;
        let (mut re, mut im) = (vec![f32x4::ZERO; block], vec![f32x4::ZERO; block]);
        Chirp::new(rate, self.setup.sample_rate).remove(
            4 * start,
            (&self.re[range.clone()], &self.im[range]),
            (&mut re, &mut im),
        );
        let mut powers = vec![f32x4::ZERO; block];
        self.fft.powers(length, &mut re, &mut im, &mut powers);
        let from = index * length / 4 - start;
        powers[from..from + length / 4].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Plant, Recipe};

    #[test]
    fn a_tone_stands_in_the_middle_of_its_waterfall() {
        let tone =
            Plant::Tone { amplitude: 0.3, frequency: 100.0, drift: 2.0, begin: 30.0, end: 60.0 };
        let recipe = Recipe { plants: vec![tone], ..Recipe::showcase(5, 1 << 14) };
        let view = View::new(&recipe.unit().unwrap()).unwrap();
        for length in [8, 64, 1024] {
            let frequency = view.setup.base + 100.0;
            let waterfall = view.waterfall((frequency, 2.0), length, 0.0..200.0, 20, 50).unwrap();
            let sum = |bin: usize| waterfall.rows.iter().map(|row| row[bin]).sum::<f32>();
            let (middle, bins) = (waterfall.reach, 2 * waterfall.reach + 1);
            let off = view.waterfall((frequency, -2.0), length, 0.0..200.0, 20, 50).unwrap();
            let off_sum = off.rows.iter().map(|row| row[middle]).sum::<f32>();
            if length == 1024 {
                assert!((0..bins).all(|bin| bin == middle || sum(bin) < sum(middle)), "{length}");
                assert!(off_sum < sum(middle));
            }
            assert!(waterfall.rows.len() <= 50 && waterfall.rows[0].len() == bins);
        }
        assert!(view.waterfall((0.0, f64::NAN), 64, 0.0..9.0, 5, 5).is_none());
        assert!(view.waterfall((1.0, 0.0), 7, 0.0..9.0, 5, 5).is_none());
        assert!(view.waterfall((1.0, 0.0), 64, 300.0..9.0, 5, 5).is_none());
    }
}
