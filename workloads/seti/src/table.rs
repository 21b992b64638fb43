//! The table of what is searched: pairs of a drift rate and an FFT length, in the order of the search.

mod cost;

use crate::derived::{Derived, lengths};
use crate::header::Setup;
use crate::number::whole;
use std::collections::BTreeMap;
use std::ops::Range;

pub use cost::SHARES;
pub(crate) use cost::{spectra as spectra_cost, window as window_cost};

/// One spectrogram to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The drift rate as a multiple of the table's smallest step.
    pub chirp: i32,
    /// The FFT length in samples.
    pub length: u32,
    /// Whether Gaussians are searched.
    pub gaussians: bool,
    /// Whether pulses are searched.
    pub pulses: bool,
}

/// The whole table of a work unit.
#[derive(Clone, Debug)]
pub struct Table {
    /// Hz/s.
    pub step: f64,
    /// In the order of the search.
    pub pairs: Vec<Pair>,
    /// What each pair costs, and what all before it cost, in the measure of [`cost`].
    costs: Vec<u64>,
}

impl Table {
    /// The table of a header.
    pub fn new(setup: &Setup) -> Self {
        let derived = Derived::new(setup);
        let step = steps(setup).map(|(_, step)| step).fold(f64::INFINITY, f64::min);
        let mut pairs = BTreeMap::new();
        for entry in &setup.chirps {
            for (length, own) in steps(setup).filter(|(length, _)| entry.lengths & length != 0) {
                insert(&mut pairs, &derived, (entry.limit, length, own, step));
            }
        }
        let pairs: Vec<Pair> = pairs.into_values().collect();
        let costs = cost::running(setup, &derived, &pairs);
        Self { step, pairs, costs }
    }

    /// The drift rate of a pair in Hz/s.
    pub fn rate(&self, pair: Pair) -> f64 {
        f64::from(pair.chirp) * self.step
    }

    /// What the first pairs cost together, of [`Table::cost_total`].
    pub fn cost_before(&self, pair: usize) -> u64 {
        self.costs[pair]
    }

    /// What all pairs cost together, in the measure of [`Table::cost_before`].
    pub fn cost_total(&self) -> u64 {
        self.costs.last().copied().unwrap_or(0)
    }

    /// The pairs that begin within these shares of the whole cost, of which there are [`SHARES`]. However the shares
    /// are cut, each pair falls to exactly one piece. Section 22 of the specification cuts between chirps, to dechirp
    /// only once; here each pair dechirps on its way into the transform, so nothing is repeated.
    pub fn share(&self, first: u64, end: u64) -> Range<usize> {
        self.boundary(first)..self.boundary(end)
    }

    /// The first pair that begins at or after a share, and not within chirp 0: what the first fit of a run changes
    /// stays within the part that begins the table.
    fn boundary(&self, share: u64) -> usize {
        if SHARES <= share {
            return self.pairs.len();
        }
        let position = u128::from(share) * u128::from(self.cost_total());
        let reached = |cost: &u64| u128::from(*cost) * u128::from(SHARES) < position;
        let pair = self.costs.partition_point(reached).min(self.pairs.len());
        if pair == 0 { 0 } else { pair.max(self.pairs.partition_point(|pair| pair.chirp == 0)) }
    }
}

/// The step of the drift rate for each length, in Hz/s: a drift by so many bins over the time that counts.
pub(crate) fn steps(setup: &Setup) -> impl Iterator<Item = (u32, f64)> + use<> {
    let derived = Derived::new(setup);
    let (n, resolution, slew) = (setup.nsamples, setup.chirp_resolution, setup.pot_min_slew);
    lengths(setup).map(move |length| {
        let spectrum = derived.duration / (n / length) as f64;
        let span = if length <= derived.gauss_max && derived.moving {
            2.0 * derived.beam_seconds
        } else if length <= derived.pulse_max && length <= derived.triplet_longest {
            derived.beam_seconds.min(derived.beam / slew)
        } else {
            spectrum
        };
        (u32::try_from(length).unwrap_or(u32::MAX), resolution / (span * spectrum))
    })
}

/// By ascending drift; of equal drifts the positive first; by ascending length.
type Order = (u32, bool, u32);

fn insert(
    pairs: &mut BTreeMap<Order, Pair>,
    derived: &Derived,
    (limit, length, own, step): (f64, u32, f64, f64),
) {
    let samples = length as usize;
    let gaussians = samples <= derived.gauss_max && derived.moving;
    let in_reach = (derived.pulse_min..=derived.pulse_max).contains(&samples);
    let (mut rate, mut alternate) = (0.0, false);
    while rate <= limit {
        alternate = if derived.moving { !alternate && gaussians && in_reach } else { in_reach };
        if derived.pulse_longest < samples {
            alternate = false;
        }
        let index = u32::try_from(whole((rate / step + 0.5).floor())).unwrap_or(u32::MAX);
        let chirp = i32::try_from(index).unwrap_or(i32::MAX);
        let pair = Pair { chirp, length, gaussians, pulses: alternate };
        pairs.insert((index, false, length), pair);
        if rate != 0.0 {
            pairs.insert((index, true, length), Pair { chirp: -chirp, ..pair });
        }
        rate += own;
    }
}

#[cfg(test)]
mod tests;
