//! Candidates: what a search finds, the list of the best, and which are harmonics of better ones.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Frequencies of one observation within this part of each other share a place in the list.
const BUCKET: f64 = 1e-3;
/// A candidate at a/b times the frequency of a better one is taken for its harmonic, a and b up to this.
const HARMONIC_MAX: u32 = 16;
/// Side lobes of a spectrum that are taken for the signal itself.
const SIDE_LOBES: f64 = 3.0;

/// A periodic signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The source's name in the header.
    pub source: String,
    /// Modified Julian date of the first sample.
    pub start_mjd: f64,
    /// Period in seconds.
    pub period_s: f64,
    /// One over the period, in Hz.
    pub frequency_hz: f64,
    /// How near another frequency can be and still be told from it, in Hz.
    pub resolution_hz: f64,
    /// Dispersion measure at which it is strongest of those tried, in pc/cm3.
    pub dm: f64,
    /// How many harmonics were summed.
    pub harmonics: u32,
    /// The sum of their whitened powers.
    pub power: f64,
    /// Significance in standard deviations, counting the trials of one spectrum.
    pub sigma: f64,
    /// Frequency in Hz of a better candidate of which this is a harmonic or subharmonic, or the same again.
    pub harmonic_of: Option<f64>,
}

impl Candidate {
    /// Best first; no two different candidates are equal.
    fn rank(&self, other: &Self) -> Ordering {
        (other.sigma.total_cmp(&self.sigma))
            .then_with(|| other.power.total_cmp(&self.power))
            .then_with(|| self.harmonics.cmp(&other.harmonics))
            .then_with(|| self.frequency_hz.total_cmp(&other.frequency_hz))
            .then_with(|| self.dm.total_cmp(&other.dm))
            .then_with(|| self.source.cmp(&other.source))
            .then_with(|| self.start_mjd.total_cmp(&other.start_mjd))
    }

    #[expect(clippy::cast_possible_truncation, reason = "logarithms of frequencies are below 100")]
    fn place(&self) -> Place {
        let bucket = (libm::log(self.frequency_hz) / BUCKET).floor() as i64;
        (self.source.clone(), self.start_mjd.to_bits(), bucket)
    }

    fn is_harmonic_of(&self, better: &Self) -> bool {
        let distance = |a: f64, b: f64| (self.frequency_hz * b - better.frequency_hz * a).abs();
        let matches = |a, b| distance(a, b) <= self.resolution_hz * b + better.resolution_hz * a;
        // Beside a bright signal stand the side lobes of its fundamental, as wide as the spectrum's own resolution.
        let is_side_lobe =
            distance(1.0, 1.0) <= SIDE_LOBES * better.resolution_hz * f64::from(better.harmonics);
        self.source == better.source
            && self.start_mjd == better.start_mjd
            && (is_side_lobe
                || (1..=HARMONIC_MAX)
                    .any(|a| (1..=HARMONIC_MAX).any(|b| matches(f64::from(a), f64::from(b)))))
    }
}

/// Observation and bucket of frequency.
type Place = (String, u64, i64);

/// The best candidates so far: of each place the best, and of those no more than a maximum.
///
/// Both rules ask only for the largest by one strict order, so parts can be gathered in any order and grouping.
#[derive(Debug)]
pub struct Best {
    count_max: usize,
    places: BTreeMap<Place, Candidate>,
}

impl Best {
    /// None yet, and never more than `count_max`.
    pub fn new(count_max: usize) -> Self {
        Self { count_max, places: BTreeMap::new() }
    }

    /// Takes a candidate if it is among the best.
    pub fn offer(&mut self, candidate: Candidate) {
        let place = candidate.place();
        match self.places.get(&place) {
            Some(held) if held.rank(&candidate).is_le() => {}
            _ => {
                self.places.insert(place, candidate);
            }
        }
        if 2 * self.count_max < self.places.len() {
            self.prune();
        }
    }

    /// The best first, each that is a harmonic of a better one marked so.
    pub fn into_list(self) -> Vec<Candidate> {
        let mut list: Vec<Candidate> = Vec::new();
        for mut candidate in self.ranked() {
            let better = list
                .iter()
                .find(|better| better.harmonic_of.is_none() && candidate.is_harmonic_of(better));
            candidate.harmonic_of = better.map(|better| better.frequency_hz);
            list.push(candidate);
        }
        list
    }

    fn ranked(self) -> Vec<Candidate> {
        let mut list: Vec<_> = self.places.into_values().collect();
        list.sort_by(Candidate::rank);
        list.truncate(self.count_max);
        list
    }

    fn prune(&mut self) {
        let all = Self { count_max: self.count_max, places: std::mem::take(&mut self.places) };
        self.places =
            all.ranked().into_iter().map(|candidate| (candidate.place(), candidate)).collect();
    }
}
