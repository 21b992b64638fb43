//! From samples to a spectrogram, with what is searched on the way: spikes and autocorrelations of single spectra.

use super::Search;
use crate::dechirp::Chirp;
use crate::part::keep_power;
use crate::signal::{Place, Shape};
use crate::spike;
use crate::table::Pair;

/// Short spectra are made this many samples at a time.
pub(super) const BLOCK: usize = 4096;

impl Search {
    /// Makes the spectrogram, all of it if it is to be kept, and searches its spectra.
    #[inline(never)]
    pub(super) fn spectra(&mut self, pair: Pair, keep: bool) {
        let length = pair.length as usize;
        let block = length.max(BLOCK) / 4;
        let chirp = Chirp::new(self.table.rate(pair), self.header.setup.sample_rate);
        for start in (0..self.re.len()).step_by(block) {
            let range = start..start + block;
            let (re, im) = (&mut self.row_re[..block], &mut self.row_im[..block]);
            chirp.remove(4 * start, (&self.re[range.clone()], &self.im[range.clone()]), (re, im));
            let place = if keep { range } else { 0..block };
            let (re, im) = (&mut self.row_re[..block], &mut self.row_im[..block]);
            self.fft.powers(length, re, im, &mut self.powers[place.clone()]);
            let first = 4 * start / length;
            for (index, row) in (first..).zip(place.step_by(length / 4)) {
                if self.part.overflows() {
                    return;
                }
                self.spectrum(pair, index, row);
            }
        }
    }

    /// Searches one spectrum, whose powers begin at a vector.
    fn spectrum(&mut self, pair: Pair, index: usize, row: usize) {
        let length = pair.length as usize;
        if self.derived.spike_min <= length {
            self.spikes(pair, index, row);
        }
        if length == self.header.setup.autocorr_fftlen && !self.part.overflows() {
            self.delays(pair, index, row);
        }
    }

    #[inline(never)]
    fn spikes(&mut self, pair: Pair, index: usize, row: usize) {
        let (setup, length) = (&self.header.setup, pair.length as usize);
        let means =
            self.means.entry(length).or_insert_with(|| spike::means(length, &self.re, &self.im));
        let best = self.part.best_spike.as_ref().map_or(0.0, |best| best.peak_power);
        let floor = crate::number::single(setup.spike_thresh).next_down().min(best);
        let row = &self.powers[row..row + length / 4];
        for spike in spike::search(row, means[index], floor, setup.spikes_per_spectrum) {
            let place = Place { setup, length, rate: self.table.rate(pair) };
            let seconds = place.seconds(index as f64 + 0.5);
            let signal =
                place.signal(place.frequency(spike.bin), seconds, (spike.power, 1.0), Shape::Spike);
            keep_power(&mut self.part.best_spike, Some(signal.clone()));
            if setup.spike_thresh < f64::from(spike.power) && !self.part.overflows() {
                self.part.signals.push(signal);
            }
        }
    }

    #[inline(never)]
    fn delays(&mut self, pair: Pair, index: usize, row: usize) {
        let Some(autocorr) = &mut self.autocorr else { return };
        let (setup, length) = (&self.header.setup, pair.length as usize);
        let best = self.part.best_autocorr.as_ref().map_or(0.0, |best| best.peak_power);
        let floor = crate::number::single(setup.autocorr_thresh).next_down().min(best);
        let row = &self.powers[row..row + length / 4];
        for delay in autocorr.search(&self.fft, row, floor, setup.autocorr_per_spectrum) {
            let place = Place { setup, length, rate: self.table.rate(pair) };
            let shape = Shape::Autocorr { delay: delay.samples as f64 / setup.sample_rate };
            let signal = place.signal(
                setup.center,
                place.seconds(index as f64 + 0.5),
                (delay.power, 1.0),
                shape,
            );
            keep_power(&mut self.part.best_autocorr, Some(signal.clone()));
            if setup.autocorr_thresh < f64::from(delay.power) && !self.part.overflows() {
                self.part.signals.push(signal);
            }
        }
    }
}
