//! The folds of a window: which periods, where each pulse begins, and what a profile must exceed. They depend on the
//! window's size alone.

use crate::gamma;
use crate::header::Setup;
use crate::number::{count, single};
use std::collections::BTreeMap;

/// All folds of windows of one size.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) folds: Vec<Fold>,
    /// How often a profile is halved, and 1.
    pub(crate) levels: usize,
    /// Which part of a threshold's excess makes a profile worth a look.
    pub(crate) display: f64,
}

/// One period.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub(crate) pulses: usize,
    /// Spectra.
    pub(crate) period: f64,
    /// Bins of the profile.
    pub(crate) length: usize,
    /// Where each pulse begins.
    pub(crate) starts: [usize; 5],
    /// For each level, what a sum over the mean must exceed.
    pub(crate) limits: Vec<f32>,
}

impl Plan {
    pub(crate) fn new(setup: &Setup, spectra: usize, cache: &mut Limits) -> Self {
        let levels = (spectra.max(16).ilog2() as usize) - 3;
        let mut folds = Vec::new();
        for (pulses, high, low) in [
            (3, 2 * spectra / 3, spectra / 2),
            (4, 3 * spectra / 4, 3 * spectra / 5),
            (5, 4 * spectra / 5, 4 * spectra / 6),
        ] {
            let intervals = pulses - 1;
            for span in (low + 1..=high).rev() {
                let length = span / intervals;
                // Halved at each level, a profile must not vanish.
                let levels = levels.min(length.checked_ilog2().map_or(0, |log| log as usize + 1));
                let limits = (0..levels)
                    .map(|level| cache.get(setup, length >> level, pulses << level))
                    .collect();
                let starts = std::array::from_fn(|pulse| {
                    (2 * pulse.min(intervals) * span + intervals) / (2 * intervals)
                });
                folds.push(Fold {
                    pulses,
                    period: span as f64 / intervals as f64,
                    length,
                    starts,
                    limits,
                });
            }
        }
        folds.retain(|fold| fold.limits.len() == levels);
        Self { folds, levels, display: setup.pulse_display_thresh }
    }
}

/// The limits, which many sizes share.
#[derive(Debug, Default)]
pub(crate) struct Limits(BTreeMap<(usize, usize), f32>);

impl Limits {
    fn get(&mut self, setup: &Setup, length: usize, bins: usize) -> f32 {
        *self.0.entry((length, bins)).or_insert_with(|| {
            let limit = f64::from(gamma::pulse_limit(setup.pulse_thresh, length, bins));
            single((limit - f64::from(count(bins))) * setup.pulse_display_thresh) + count(bins)
        })
    }
}
