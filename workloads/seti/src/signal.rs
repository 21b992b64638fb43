//! What is found: a signal, its place in the sky and the band, and its shape.

use crate::header::Setup;
use crate::number::single;
use serde::{Deserialize, Serialize};

/// A signal. Frequencies in Hz, drift in Hz/s, angles in hours and degrees, powers in units of the mean noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Height of the peak over the mean.
    pub peak_power: f32,
    /// The mean that the peak was compared with; 1 where it was divided out.
    pub mean_power: f32,
    /// Julian date.
    pub time: f64,
    /// Right ascension in hours.
    pub ra: f64,
    /// Declination in degrees.
    pub dec: f64,
    /// Frequency at the beginning of the recording.
    pub freq: f64,
    /// Frequency at the time of the signal.
    pub detection_freq: f64,
    /// FFT length in samples.
    pub fft_len: u32,
    /// Drift.
    pub chirp_rate: f64,
    /// What kind of signal, and what only that kind has.
    pub shape: Shape,
}

/// The kinds of signals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Shape {
    /// One bin of one spectrum.
    Spike,
    /// A signal that repeats itself.
    Autocorr {
        /// Seconds.
        delay: f64,
    },
    /// A source that drifts through the beam.
    Gaussian {
        /// Width of the beam in points.
        sigma: f32,
        /// Misfit of the Gaussian.
        chisqr: f32,
        /// Misfit of no signal at all.
        null_chisqr: f32,
        /// Highest point over the mean.
        max_power: f32,
        /// The points, highest 255.
        pot: Vec<u8>,
    },
    /// A train of pulses.
    Pulse {
        /// Seconds.
        period: f32,
        /// Signal to noise.
        snr: f32,
        /// Signal to noise at which a pulse is reported.
        thresh: f32,
        /// Bins of the folded profile.
        len_prof: u32,
        /// The folded profile, lowest 0, highest 255; empty if it is long.
        pot: Vec<u8>,
    },
    /// Three equidistant peaks.
    Triplet {
        /// Seconds.
        period: f32,
    },
}

impl Shape {
    /// As the kind is called in a result.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Spike => "spike",
            Self::Autocorr { .. } => "autocorr",
            Self::Gaussian { .. } => "gaussian",
            Self::Pulse { .. } => "pulse",
            Self::Triplet { .. } => "triplet",
        }
    }
}

/// What places signals in sky and band.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) length: usize,
    /// Hz/s.
    pub(crate) rate: f64,
}

impl Place<'_> {
    /// A signal at a frequency and a time in seconds from the beginning.
    pub(crate) fn signal(
        &self,
        freq: f64,
        seconds: f64,
        (peak_power, mean_power): (f32, f32),
        shape: Shape,
    ) -> Signal {
        let time = self.setup.time_recorded_jd + seconds / 86400.0;
        let (ra, dec) = pointing(self.setup, time);
        Signal {
            peak_power,
            mean_power,
            time,
            ra,
            dec,
            freq,
            detection_freq: self.detection(freq, seconds),
            fft_len: u32::try_from(self.length).unwrap_or(u32::MAX),
            chirp_rate: self.rate,
            shape,
        }
    }

    /// Frequency of a bin; the upper end of the spectrum holds what lies below the base.
    pub(crate) fn frequency(&self, bin: usize) -> f64 {
        let (rate, length) = (self.setup.sample_rate, self.length as f64);
        let edge = self.length - self.length / (2 * self.setup.ifft_len);
        if bin < edge {
            self.setup.base + rate * bin as f64 / length
        } else {
            self.setup.base + rate * (bin as f64 - length) / length
        }
    }

    /// Seconds of a position in spectra.
    pub(crate) fn seconds(&self, spectra: f64) -> f64 {
        spectra * self.length as f64 / self.setup.sample_rate
    }

    /// A number of spectra in seconds, in f32 as it is reported.
    pub(crate) fn period(&self, spectra: f64) -> f32 {
        single(self.seconds(spectra))
    }

    fn detection(&self, freq: f64, seconds: f64) -> f64 {
        let rate = self.setup.sample_rate;
        let low = self.setup.base - 0.5 * rate / self.setup.ifft_len as f64;
        let moved = freq + self.rate * seconds;
        if moved < low {
            moved + ((low - moved) / rate).ceil() * rate
        } else if low + rate < moved {
            moved - ((moved - low - rate) / rate).ceil() * rate
        } else {
            moved
        }
    }
}

/// Right ascension and declination at a Julian date, between two pointings or beyond the outermost.
pub(crate) fn pointing(setup: &Setup, time: f64) -> (f64, f64) {
    let list = &setup.coords;
    let index =
        (0..list.len() - 2).find(|&index| time <= list[index + 1].time).unwrap_or(list.len() - 2);
    let (from, to) = (list[index], list[index + 1]);
    let span = to.time - from.time;
    let part = if span == 0.0 { 0.0 } else { (time - from.time) / span };
    let mut turn = to.ra - from.ra;
    if 12.0 < turn.abs() {
        turn -= 24.0 * turn.signum();
    }
    let ra = from.ra + part * turn;
    (
        if ra < 0.0 {
            ra + 24.0
        } else if 24.0 <= ra {
            ra - 24.0
        } else {
            ra
        },
        from.dec + part * (to.dec - from.dec),
    )
}
