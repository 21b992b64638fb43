//! The search of a range of the chirp table, pair after pair.

mod spectra;
mod window;

use crate::autocorr::Autocorr;
use crate::derived::Derived;
use crate::fft::Fft;
use crate::gaussian::{Candidate, Gaussians};
use crate::header::{self, Header};
use crate::part::{Output, Part, Scored, keep};
use crate::pulse::{Limits, Plan};
use crate::samples::{self, Samples};
use crate::signal::{Place, Shape};
use crate::smooth::smooth;
use crate::spectrogram::Spectrogram;
use crate::table::{Pair, Table};
use crate::windows::Windows;
use std::collections::BTreeMap;
use std::ops::Range;
use wide::f32x4;
use window::Pending;

/// Scores of Gaussians begin above this.
const SCORE_MIN: f64 = -12.0;

/// Why a search can't begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A bad header.
    #[error(transparent)]
    Header(#[from] header::Error),
    /// Bad data.
    #[error(transparent)]
    Samples(#[from] samples::Error),
}

/// A search between two pairs.
#[derive(Debug)]
pub struct Search {
    header: Header,
    derived: Derived,
    table: Table,
    /// What is left to do.
    left: Range<usize>,
    part: Part,
    re: Vec<f32x4>,
    im: Vec<f32x4>,
    /// By length, the mean powers of its spectra.
    means: BTreeMap<usize, Vec<f32>>,
    fft: Fft,
    /// Dechirped samples of a few spectra.
    row_re: Vec<f32x4>,
    row_im: Vec<f32x4>,
    powers: Vec<f32x4>,
    autocorr: Option<Autocorr>,
    gaussians: Option<Gaussians>,
    /// The null misfit that a Gaussian needs to beat this score.
    floor: (f64, f32),
    limits: Limits,
    windows: BTreeMap<usize, (Windows, Option<Plan>)>,
    folding: window::Folding,
    /// A spectrogram whose windows are being searched.
    pending: Option<Pending>,
}

impl Search {
    /// The search of a work unit in a range of its table, which must begin and end with a chirp.
    ///
    /// # Errors
    /// What is wrong with the work unit.
    pub fn new(unit: &[u8], range: impl FnOnce(&Table) -> Range<usize>) -> Result<Self, Error> {
        let header = Header::read(unit)?;
        let samples = Samples::read(unit, &header.setup)?;
        Ok(Self::with(header, samples, range))
    }

    /// The same from a header and samples.
    pub fn with(
        header: Header,
        mut samples: Samples,
        range: impl FnOnce(&Table) -> Range<usize>,
    ) -> Self {
        let setup = &header.setup;
        let (derived, table) = (Derived::new(setup), Table::new(setup));
        let left = range(&table);
        smooth(&mut samples, setup);
        let [re, im] = [&samples.re, &samples.im]
            .map(|part| part.as_chunks().0.iter().map(|&four| f32x4::new(four)).collect());
        let longest = crate::derived::lengths(setup).next_back().unwrap_or(0).max(spectra::BLOCK);
        let zeros = |count: usize| vec![f32x4::ZERO; count / 4];
        let searched =
            |length| table.pairs[left.clone()].iter().any(|pair| pair.length as usize == length);
        let autocorr = Some(setup.autocorr_fftlen)
            .filter(|&length| 0 < length && searched(length))
            .map(Autocorr::new);
        Self {
            part: Part::new(&header, table.pairs.len(), &left),
            re,
            im,
            means: BTreeMap::new(),
            fft: Fft::new(longest),
            row_re: zeros(longest),
            row_im: zeros(longest),
            powers: zeros(setup.nsamples),
            autocorr,
            gaussians: derived.moving.then(|| Gaussians::new(setup, &derived, left.start == 0)),
            floor: (f64::NAN, 0.0),
            limits: Limits::default(),
            windows: BTreeMap::new(),
            folding: window::Folding::default(),
            pending: None,
            derived,
            table,
            left,
            header,
        }
    }

    /// What is done and what there is to do, in the measure of the table's costs.
    pub fn progress(&self) -> (u64, u64) {
        let first = usize::try_from(self.part.first).unwrap_or(0);
        let cost = |pair| self.table.cost_before(pair) - self.table.cost_before(first);
        (cost(self.left.start), cost(usize::try_from(self.part.end).unwrap_or(0)))
    }

    /// Searches pieces that cost about this much, at least one; false once nothing is left.
    pub fn step(&mut self, cost: u64) -> bool {
        let mut spent = 0;
        while !self.left.is_empty() && spent < cost.max(1) {
            spent += match self.pending.take() {
                Some(pending) => self.window(pending),
                None => self.begin(self.table.pairs[self.left.start]),
            };
            if self.part.overflows() {
                self.left.start = self.left.end;
            } else if self.pending.is_none() {
                self.left.start += 1;
            }
        }
        !self.left.is_empty()
    }

    /// The findings so far.
    pub fn part(&self) -> &Part {
        &self.part
    }

    /// What the unit puts out.
    pub fn finish(self) -> Output {
        self.part.finish()
    }

    /// Searches one spectrogram for everything, whatever is left to do. For measurements; a search takes steps.
    pub fn pair(&mut self, pair: Pair) {
        self.begin(pair);
        while let Some(pending) = self.pending.take() {
            self.window(pending);
        }
    }

    /// Searches a spectrogram for all but what is searched in windows, which is left pending. Returns the cost.
    #[inline(never)]
    fn begin(&mut self, pair: Pair) -> u64 {
        let length = pair.length as usize;
        let windows = self.plan(length, pair.pulses);
        self.spectra(pair, pair.gaussians || windows.is_some());
        if pair.gaussians && !self.part.overflows() {
            self.gaussians(pair);
        }
        self.pending = windows.map(|(windows, plan)| Pending::new(pair, windows, plan));
        crate::table::spectra_cost(&self.header.setup, pair)
    }

    /// Takes the windows of a length out of their place, if anything is searched in them.
    #[inline(never)]
    fn plan(&mut self, length: usize, pulses: bool) -> Option<(Windows, Option<Plan>)> {
        let setup = &self.header.setup;
        let (windows, mut plan) = self
            .windows
            .remove(&length)
            .unwrap_or_else(|| (Windows::new(setup, &self.derived, length), None));
        if pulses && plan.is_none() {
            plan = Some(Plan::new(setup, windows.spectra, &mut self.limits));
        }
        (pulses || windows.triplets(setup, &self.derived)).then_some((windows, plan))
    }

    #[inline(never)]
    fn gaussians(&mut self, pair: Pair) {
        let Some(gaussians) = &mut self.gaussians else { return };
        if pair.chirp != 0 {
            gaussians.leave_first_chirp();
        }
        let best = match (&self.part.best_gaussian, &self.part.best_early_gaussian) {
            (Some(_), _) => f64::INFINITY,
            (None, Some(best)) => best.score,
            (None, None) => SCORE_MIN,
        };
        if self.floor.0 != best {
            self.floor =
                (best, if best.is_finite() { gaussians.null_floor(best) } else { f32::INFINITY });
        }
        let spectrogram = Spectrogram { powers: &self.powers, length: pair.length as usize };
        let candidates = gaussians.search(spectrogram, self.floor.1);
        for candidate in candidates {
            self.weigh_gaussian(pair, candidate);
            if self.part.overflows() {
                return;
            }
        }
    }

    #[inline(never)]
    fn weigh_gaussian(&mut self, pair: Pair, Candidate { bin, fit }: Candidate) {
        let Some(gaussians) = &self.gaussians else { return };
        let reported = gaussians.reports(&fit);
        if !reported && self.part.best_gaussian.is_some() {
            return;
        }
        let score = gaussians.score(&fit);
        let setup = &self.header.setup;
        let place = Place { setup, length: pair.length as usize, rate: self.table.rate(pair) };
        let part = (fit.position as f64 + 0.5) / setup.gauss_pot_length as f64;
        let scale = fit.max_power / 255.0;
        let level = |&point: &f32| {
            u8::try_from(crate::number::whole((f64::from(point / scale) - 0.5).ceil()))
                .unwrap_or(255)
        };
        let shape = Shape::Gaussian {
            sigma: self.derived.sigma,
            chisqr: fit.chi,
            null_chisqr: fit.null_chi,
            max_power: fit.max_power,
            pot: fit.points.iter().map(level).collect(),
        };
        let seconds = part * f64::from(self.derived.duration_single);
        let signal = place.signal(place.frequency(bin), seconds, (fit.peak, fit.mean), shape);
        let scored = (SCORE_MIN < score).then(|| Scored { score, signal: signal.clone() });
        if reported {
            keep(&mut self.part.best_gaussian, scored);
            self.part.signals.push(signal);
        } else {
            keep(&mut self.part.best_early_gaussian, scored);
        }
    }
}

#[cfg(test)]
mod tests;
