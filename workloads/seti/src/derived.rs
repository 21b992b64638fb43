//! What follows from the header alone: the beam's motion, and which lengths are searched for what.

use crate::gamma;
use crate::header::Setup;
use crate::number::{count, single, whole};

/// From the full width at half maximum of a Gaussian to its sigma, in f32 as in the original.
const WIDTH_TO_SIGMA: f32 = 2.354_82;

/// Constants of one work unit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Derived {
    /// Seconds.
    pub(crate) duration: f64,
    /// Width of the beam at this frequency, in degrees.
    pub(crate) beam: f64,
    /// Seconds that a source stays in the beam.
    pub(crate) beam_seconds: f64,
    /// Whether the beam drifts as fast as Gaussians need.
    pub(crate) moving: bool,
    pub(crate) gauss_max: usize,
    pub(crate) pulse_min: usize,
    pub(crate) pulse_max: usize,
    /// Longest transform for which a pulse can possibly be reported.
    pub(crate) pulse_longest: usize,
    pub(crate) triplet_longest: usize,
    /// Fewest spectra in which a triplet is searched.
    pub(crate) triplet_min: usize,
    pub(crate) spike_min: usize,
    /// Seconds, in f32 as in the original.
    pub(crate) duration_single: f32,
    /// Beams per second.
    pub(crate) beam_rate: f32,
    /// Width of a Gaussian in its points.
    pub(crate) sigma: f32,
}

impl Derived {
    pub(crate) fn new(setup: &Setup) -> Self {
        let n = setup.nsamples as f64;
        let duration = n / setup.sample_rate;
        let beam = setup.beam_width * (setup.center_freq * 1e6 / setup.center);
        let slew = setup.true_angle_range / duration;
        let beams = (setup.true_angle_range / beam).max(1.0);
        let pulse_max =
            whole(n / (setup.pulse_min * setup.pulse_beams * beams)).min(setup.pulse_fft_max);
        let duration_single = single(duration);
        let slew_single = single(setup.true_angle_range / f64::from(duration_single));
        let points = setup.gauss_pot_length as f64;
        let sigma = if setup.true_angle_range == 0.0 {
            0.0
        } else {
            single((beam / f64::from(WIDTH_TO_SIGMA)) / (setup.true_angle_range / points))
        };
        Self {
            duration,
            beam,
            beam_seconds: duration / setup.true_angle_range * beam,
            moving: (setup.pot_min_slew..=setup.pot_max_slew).contains(&slew),
            gauss_max: setup.nsamples / setup.gauss_pot_length,
            pulse_min: whole((n / (setup.pulse_max * beams * setup.pulse_beams)).ceil()),
            pulse_max,
            pulse_longest: pulse_longest(setup, pulse_max, beams),
            triplet_longest: setup.nsamples / setup.triplet_min,
            triplet_min: setup.triplet_min.max(whole((3.0 * setup.triplet_thresh).ceil())),
            spike_min: whole(setup.spike_thresh.ceil()),
            duration_single,
            beam_rate: single(f64::from(slew_single) / beam),
            sigma,
        }
    }
}

/// The lengths of `analysis_fft_lengths`, ascending.
pub(crate) fn lengths(setup: &Setup) -> impl DoubleEndedIterator<Item = usize> + use<> {
    let mask = setup.analysis_fft_lengths as usize;
    (3..=17).map(|bit| 1usize << bit).filter(move |length| mask & length != 0)
}

fn pulse_longest(setup: &Setup, pulse_max: usize, beams: f64) -> usize {
    if lengths(setup).next().is_none_or(|shortest| pulse_max < shortest) {
        return pulse_max;
    }
    let possible = |length: usize| {
        let spectra = whole((setup.nsamples / length) as f64 / (setup.pulse_beams * beams) + 0.5);
        let profile = (spectra / 2).div_ceil(2);
        0 < profile && gamma::pulse_limit(setup.pulse_thresh, profile, 3) <= count(spectra)
    };
    lengths(setup)
        .rev()
        .filter(|&length| length <= pulse_max)
        .find(|&length| possible(length))
        .unwrap_or(1)
}
