//! What a pair costs, as an integer, so that a cut is the same on every machine.

use super::Pair;
use crate::derived::Derived;
use crate::header::Setup;
use crate::windows::Windows;

/// Into how many shares of equal cost the table is divided at most: about the number of its chirps.
pub const SHARES: u64 = 30_000;

/// The costs of all pairs before each, and at the end of all.
pub(crate) fn running(setup: &Setup, derived: &Derived, pairs: &[Pair]) -> Vec<u64> {
    let mut total = 0;
    let mut costs = vec![0];
    costs.extend(pairs.iter().map(|&pair| {
        total += of(setup, derived, pair);
        total
    }));
    costs
}

/// Nanoseconds in the sandbox on the machine where docs/seti.md was measured, for a unit of 2^20 samples.
fn of(setup: &Setup, derived: &Derived, pair: Pair) -> u64 {
    let windows = Windows::new(setup, derived, pair.length as usize);
    let searched = pair.pulses || windows.triplets(setup, derived);
    let count = if searched { windows.starts.len() as u64 } else { 0 };
    spectra(setup, pair) + window(windows.spectra, pair.length as usize / 4, pair.pulses) * count
}

/// The same for all but the windows.
pub(crate) fn spectra(setup: &Setup, pair: Pair) -> u64 {
    let (length, samples) = (u64::from(pair.length), setup.nsamples as u64);
    let delays = if length == setup.autocorr_fftlen as u64 { samples * 3 } else { 0 };
    let gaussians = if pair.gaussians { length * setup.gauss_pot_length as u64 * 6 } else { 0 };
    samples * (8 + u64::from(length.ilog2())) / 4 + delays + gaussians
}

/// The same for one window of so many vectors of four bins.
pub(crate) fn window(spectra: usize, vectors: usize, pulses: bool) -> u64 {
    let (spectra, vectors) = (spectra as u64, vectors as u64);
    vectors * spectra * (2 + if pulses { spectra * 4 / 11 + 60 } else { 0 })
}
