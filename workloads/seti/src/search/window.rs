//! Triplets and pulses of all bins in all windows of a spectrogram.

use super::Search;
use crate::fft;
use crate::number::{count, single};
use crate::part::{Scored, keep, keep_power};
use crate::pulse::{self, Plan, Pulse};
use crate::signal::{Place, Shape};
use crate::table::{Pair, window_cost};
use crate::triplet::{self, Triplet};
use crate::windows::Windows;
use wide::f32x4;

/// Vectors of four bins that are fetched together: a cache line of each spectrum.
const TILE: usize = 4;
/// Spectra that are summed before their sum joins the others, so that f32 rounds little.
const BLOCK: usize = 64;

/// Memory that is used again for each window.
#[derive(Debug, Default)]
pub(super) struct Folding {
    windows: [Vec<f32x4>; TILE],
    profile: Vec<f32x4>,
}

/// What a window shows, by bin, window and place in it: the order in which it is reported.
#[derive(Debug)]
struct Find {
    bin: usize,
    window: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    Triplet(Triplet),
    /// Whether it is a candidate for the best, and whether it is to be reported.
    Pulse {
        pulse: Pulse,
        best: bool,
        reported: bool,
    },
}

/// A spectrogram whose windows are being searched, between two of them.
#[derive(Debug)]
pub(super) struct Pending {
    pair: Pair,
    windows: Windows,
    plan: Option<Plan>,
    /// The next window of the next vectors.
    next: usize,
    finds: Vec<Find>,
}

impl Pending {
    pub(super) fn new(pair: Pair, windows: Windows, plan: Option<Plan>) -> Self {
        Self { pair, windows, plan, next: 0, finds: Vec::new() }
    }
}

impl Search {
    /// Searches one window of some bins, and leaves the others pending. Returns the cost.
    pub(super) fn window(&mut self, mut pending: Pending) -> u64 {
        let Pending { pair, ref windows, ref plan, next, ref mut finds } = pending;
        let plan = plan.as_ref().filter(|_| pair.pulses);
        let (tile, window) = (next / windows.starts.len() * TILE, next % windows.starts.len());
        let width = pair.length as usize / 4;
        let vectors = tile..(tile + TILE).min(width);
        let mut folding = std::mem::take(&mut self.folding);
        let means = self.fetch(windows, window, (width, vectors.clone()), &mut folding.windows);
        for ((vector, mean), spectra) in vectors.clone().zip(means).zip(&folding.windows) {
            let mut found = |lane: usize, what| {
                let bin = fft::bin(pair.length as usize, 4 * vector + lane);
                if bin != 0 {
                    finds.push(Find { bin, window, what });
                }
            };
            if windows.triplets(&self.header.setup, &self.derived) {
                self.triplets(spectra, mean, &mut found);
            }
            if let Some(plan) = plan {
                self.pulses(spectra, mean, plan, &mut folding.profile, &mut found);
            }
        }
        self.folding = folding;
        let cost = window_cost(windows.spectra, vectors.len(), pair.pulses);
        pending.next += 1;
        if pending.next < width.div_ceil(TILE) * pending.windows.starts.len() {
            self.pending = Some(pending);
        } else {
            self.take_all(pending);
        }
        cost
    }

    /// Reports what the windows of a spectrogram showed, in the order of bins and windows.
    fn take_all(&mut self, pending: Pending) {
        let Pending { pair, windows, plan, mut finds, .. } = pending;
        // The sort is stable: triplets stay before pulses.
        finds.sort_by_key(|find| (find.bin, find.window));
        for find in finds {
            self.take(pair, &windows, find);
            if self.part.overflows() {
                return;
            }
        }
        self.windows.insert(pair.length as usize, (windows, plan));
    }

    /// Copies a window of some vectors of bins; returns their means.
    #[inline(never)]
    fn fetch(
        &self,
        windows: &Windows,
        window: usize,
        (width, tile): (usize, std::ops::Range<usize>),
        into: &mut [Vec<f32x4>; TILE],
    ) -> [f32x4; TILE] {
        let first = windows.starts[window];
        into.iter_mut().for_each(|spectra| spectra.resize(windows.spectra, f32x4::ZERO));
        let mut sums = [f32x4::ZERO; TILE];
        for block in (0..windows.spectra).step_by(BLOCK) {
            let mut part = [f32x4::ZERO; TILE];
            for i in block..(block + BLOCK).min(windows.spectra) {
                let row = (first + i) * width;
                let powers = &self.powers[row + tile.start..row + tile.end];
                for ((&power, spectra), part) in powers.iter().zip(&mut *into).zip(&mut part) {
                    spectra[i] = power;
                    *part += power;
                }
            }
            sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        sums.map(|sum| sum / f32x4::splat(count(windows.spectra)))
    }

    #[inline(never)]
    fn triplets(&self, spectra: &[f32x4], mean: f32x4, found: &mut impl FnMut(usize, What)) {
        let setup = &self.header.setup;
        let thresh = single(setup.triplet_thresh);
        let lanes = triplet::candidates(spectra, mean, thresh);
        for lane in (0..4).filter(|lane| lanes & 1 << lane != 0) {
            let column: Vec<f32> = spectra.iter().map(|four| four.to_array()[lane]).collect();
            for triplet in
                triplet::search(&column, mean.to_array()[lane], thresh, setup.max_signals)
            {
                found(lane, What::Triplet(triplet));
            }
        }
    }

    #[inline(never)]
    fn pulses(
        &self,
        spectra: &[f32x4],
        mean: f32x4,
        plan: &Plan,
        scratch: &mut Vec<f32x4>,
        found: &mut impl FnMut(usize, What),
    ) {
        let score = self.part.best_pulse.as_ref().map_or(0.0, |best| best.score);
        for (lane, found_here) in
            pulse::search(spectra, mean, plan, score, scratch).into_iter().enumerate()
        {
            if let Some(pulse) = found_here.best {
                found(lane, What::Pulse { pulse, best: true, reported: false });
            }
            if let Some((_, pulse)) = found_here.reported {
                found(lane, What::Pulse { pulse, best: false, reported: true });
            }
        }
    }

    #[inline(never)]
    fn take(&mut self, pair: Pair, windows: &Windows, find: Find) {
        let setup = &self.header.setup;
        let place = Place { setup, length: pair.length as usize, rate: self.table.rate(pair) };
        let start = windows.starts[find.window];
        let freq = place.frequency(find.bin);
        match find.what {
            What::Triplet(triplet) => {
                let shape = Shape::Triplet { period: place.period(triplet.period.into()) };
                let seconds = place.seconds(f64::from(triplet.middle) + start as f64 + 0.5);
                let signal = place.signal(freq, seconds, (triplet.power, triplet.mean), shape);
                keep_power(&mut self.part.best_triplet, Some(signal.clone()));
                self.part.signals.push(signal);
            }
            What::Pulse { pulse, best, reported } => {
                let seconds = place.seconds((start + windows.spectra / 2) as f64 + 0.5);
                let signal = place.signal(
                    freq,
                    seconds,
                    (pulse.power, pulse.mean),
                    self.pulse_shape(&place, &pulse),
                );
                if best {
                    let scored = Scored { score: pulse.score, signal: signal.clone() };
                    keep(&mut self.part.best_pulse, Some(scored));
                }
                if reported {
                    self.part.signals.push(signal);
                }
            }
        }
    }

    fn pulse_shape(&self, place: &Place<'_>, pulse: &Pulse) -> Shape {
        let len_prof = crate::number::whole(pulse.period);
        let short = len_prof < self.header.setup.pulse_pot_length;
        Shape::Pulse {
            period: place.period(pulse.period),
            snr: pulse.snr,
            thresh: pulse.thresh,
            len_prof: u32::try_from(len_prof).unwrap_or(u32::MAX),
            pot: if short { pulse.scaled() } else { Vec::new() },
        }
    }
}
