//! Making work units: noise, and in it signals of every kind.

use crate::header::{Error, Header};
use crate::samples::{self, Samples};
use std::f64::consts::TAU;

/// The header's form: `{name}` is filled in.
const FORM: &str = include_str!("generate/form.txt");

/// Where the band of every generated unit begins, Hz.
const BASE_HZ: f64 = 1_419_995_727.54;
/// When every generated unit begins, Julian date.
const BEGIN_JD: f64 = 2_451_545.0;

/// A signal to hide. Times in seconds from the beginning, frequencies in Hz above the base of the band at time 0,
/// drifts in Hz/s, amplitudes over that of the noise of one sample.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Plant {
    /// A drifting tone: a spike.
    Tone {
        /// Over the noise.
        amplitude: f64,
        /// At time 0.
        frequency: f64,
        /// Of the tone.
        drift: f64,
        /// When it begins.
        begin: f64,
        /// When it ends.
        end: f64,
    },
    /// A drifting tone that the beam passes over: a Gaussian.
    Source {
        /// In the middle of the beam.
        amplitude: f64,
        /// At time 0.
        frequency: f64,
        /// Of the tone.
        drift: f64,
        /// When it is in the middle of the beam.
        at: f64,
    },
    /// A drifting tone that is switched on `count` times: pulses, or for three a triplet.
    Pulses {
        /// While it is on.
        amplitude: f64,
        /// At time 0.
        frequency: f64,
        /// Of the tone.
        drift: f64,
        /// The beginning of the first pulse.
        begin: f64,
        /// From pulse to pulse.
        period: f64,
        /// Of one pulse.
        width: f64,
        /// How many.
        count: u32,
    },
    /// Noise that repeats itself: an autocorrelation. The search reports twice the time that lies between.
    Echo {
        /// Of the repetition.
        amplitude: f64,
        /// The delay as it is reported.
        delay: f64,
    },
}

/// A work unit to make. It is that of the project scaled down: all times as they were, the bandwidth smaller.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Of the noise; the same seed gives the same unit everywhere.
    pub seed: u64,
    /// Samples: a power of two from 2^14 to 2^20.
    pub nsamples: usize,
    /// Up to which drift the longest transforms and the others are searched, in Hz/s.
    pub chirp_limits: [f64; 2],
    /// Signals at which the search stops.
    pub max_signals: usize,
    /// What is hidden.
    pub plants: Vec<Plant>,
}

impl Recipe {
    /// A unit in which one signal of every kind is hidden well, far from each other, whatever its size.
    pub fn showcase(seed: u64, nsamples: usize) -> Self {
        // All was chosen for 2^17 samples; the band and the noise in it grow with the size.
        let wider = nsamples as f64 / 131_072.0;
        let (band, weaker) = (wider, 1.0 / wider.sqrt());
        // The time in which 256 samples of 2^17 are taken.
        let tick = 256.0 * 8.0 / 9765.625;
        let train = |amplitude: f64, tone: f64, begin: f64, count| Plant::Pulses {
            amplitude: amplitude * weaker,
            frequency: tone / tick * band,
            drift: 0.0,
            begin: begin * tick,
            period: 15.0 * tick,
            width: tick,
            count,
        };
        let plants = vec![
            Plant::Tone {
                amplitude: 0.08 * weaker,
                frequency: 300.0 * band,
                drift: -0.11,
                begin: 40.2,
                end: 53.8,
            },
            Plant::Source {
                amplitude: 0.1 * weaker,
                frequency: 250.0 * band,
                drift: 0.13,
                at: 51.0,
            },
            train(0.42, 32.0, 136.0, 5),
            train(0.5, 96.0, 300.0, 3),
            Plant::Echo { amplitude: 0.08 * weaker, delay: 3.1 },
        ];
        Self { seed, nsamples, chirp_limits: [0.15, 0.2], max_signals: 1000, plants }
    }

    /// Hz: the project's rate for 2^20 samples.
    pub fn sample_rate(&self) -> f64 {
        9765.625 * self.nsamples as f64 / 1_048_576.0
    }

    /// The work unit, one bit per component as the project sent them.
    ///
    /// # Errors
    /// A size or limit that no work unit can have.
    pub fn unit(&self) -> Result<Vec<u8>, Error> {
        let header = Header::read(self.header().as_bytes())?;
        let samples = self.samples(f64::from(crate::derived::Derived::new(&header.setup).sigma));
        let bits = |index: usize| {
            u8::from(0.0 < samples.im[index]) | u8::from(0.0 < samples.re[index]) << 1
        };
        let byte = |first: usize| (0..4).fold(0, |byte, i| byte | bits(first + i) << (2 * i));
        // The two bytes of a word are exchanged.
        let bytes: Vec<u8> = (0..self.nsamples)
            .step_by(8)
            .flat_map(|first| [byte(first + 4), byte(first)])
            .collect();
        let data = samples::to_six_bits(&bytes);
        let head = header.print();
        let text = format!(
            "<workunit>\n<app_name>setiathome_v8</app_name>\n{head}<data length={} encoding=\"x-setiathome\">{data}</data>\n</workunit>\n",
            data.len()
        );
        Ok(text.into_bytes())
    }

    fn header(&self) -> String {
        let (n, shorter) = (self.nsamples, 1_048_576 / self.nsamples.clamp(1, 1_048_576));
        let all = (n / 4).saturating_sub(8);
        let values: [(&str, String); 11] = [
            ("nsamples", n.to_string()),
            ("sample_rate", self.sample_rate().to_string()),
            ("autocorr_fftlen", (n / 8).to_string()),
            ("pulse_max", (40960 / shorter).to_string()),
            ("analysis_fft_lengths", all.to_string()),
            ("short_lengths", (n / 16).saturating_sub(8).to_string()),
            ("bsmooth_chunk_size", (n / 32).to_string()),
            ("bsmooth_boxcar_length", (n / 128).to_string()),
            ("first_limit", self.chirp_limits[0].to_string()),
            ("second_limit", self.chirp_limits[1].to_string()),
            ("max_signals", self.max_signals.to_string()),
        ];
        values.iter().fold(FORM.to_owned(), |form, (name, value)| {
            form.replace(&format!("{{{name}}}"), value)
        })
    }

    fn samples(&self, sigma: f64) -> Samples {
        let n = self.nsamples;
        let mut noise = Noise(self.seed);
        let noise: Vec<(f64, f64)> = (0..n).map(|_| noise.next()).collect();
        let mut sum = noise.clone();
        for plant in &self.plants {
            if let Plant::Echo { amplitude, delay } = *plant {
                let delay = crate::number::whole(delay / 2.0 * self.sample_rate() + 0.5).min(n);
                for (sum, earlier) in sum[delay..].iter_mut().zip(&noise) {
                    *sum = (sum.0 + amplitude * earlier.0, sum.1 + amplitude * earlier.1);
                }
                continue;
            }
            for (index, sum) in sum.iter_mut().enumerate() {
                let seconds = index as f64 / self.sample_rate();
                let (amplitude, cycles) = plant.at(seconds, sigma);
                if amplitude != 0.0 {
                    let angle = TAU * (cycles - cycles.floor());
                    *sum = (
                        sum.0 + amplitude * libm::cos(angle),
                        sum.1 - amplitude * libm::sin(angle),
                    );
                }
            }
        }
        let (re, im) = sum
            .into_iter()
            .map(|(re, im)| (crate::number::single(re), crate::number::single(im)))
            .unzip();
        Samples { re, im }
    }
}

impl Plant {
    /// The kind of signal that it shows as, by the name in a result.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tone { .. } => "spike",
            Self::Source { .. } => "gaussian",
            Self::Pulses { count: 3, .. } => "triplet",
            Self::Pulses { .. } => "pulse",
            Self::Echo { .. } => "autocorr",
        }
    }

    /// Whether a signal of a generated unit's result is this one: its kind, where and when it is, how it drifts, its
    /// period or delay, as exactly as the search can tell them.
    pub fn shows_as(&self, record: &crate::Record) -> bool {
        let near = |field: &str, value: f64, off: f64| (record.number(field) - value).abs() <= off;
        let seconds = (record.number("time") - BEGIN_JD) * 86400.0;
        let frequency = |value: f64, width: f64| {
            (record.number("detection_freq") - BASE_HZ - value).abs() <= width
        };
        let during = |begin: f64, end: f64| begin - 8.0 <= seconds && seconds <= end + 8.0;
        record.kind == self.kind()
            && match *self {
                Self::Tone { frequency: at_0, drift, begin, end, .. } => {
                    frequency(at_0 + drift * seconds, 1.0)
                        && near("chirp_rate", drift, 0.01)
                        && during(begin, end)
                }
                Self::Source { frequency: at_0, drift, at, .. } => {
                    frequency(at_0 + drift * seconds, 2.0)
                        && near("chirp_rate", drift, 0.06)
                        && during(at, at)
                }
                Self::Pulses { frequency: at_0, drift, begin, period, width, count, .. } => {
                    // Of a train, any neighbouring ones may be the three.
                    frequency(at_0 + drift * seconds, 2.0 / width)
                        && near("period", period, 2.0 * width)
                        && during(begin, begin + period * f64::from(count))
                }
                Self::Echo { delay, .. } => near("delay", delay, 0.01),
            }
    }

    /// Amplitude and phase at a time, for a beam whose Gaussian has `sigma` of 64 points over the whole time.
    fn at(&self, seconds: f64, sigma: f64) -> (f64, f64) {
        let phase = |frequency: f64, drift: f64| (frequency + 0.5 * drift * seconds) * seconds;
        match *self {
            Self::Tone { amplitude, frequency, drift, begin, end } => {
                let on = (begin..end).contains(&seconds);
                (if on { amplitude } else { 0.0 }, phase(frequency, drift))
            }
            Self::Source { amplitude, frequency, drift, at } => {
                let width = sigma * 107.374_182_4 / 64.0;
                let off = (seconds - at) / width;
                // The power falls as exp(-0.693 off^2), the amplitude as its root.
                (amplitude * libm::exp(-0.346_5 * off * off), phase(frequency, drift))
            }
            Self::Pulses { amplitude, frequency, drift, begin, period, width, count } => {
                let pulse = ((seconds - begin) / period).floor();
                let on = (0.0..f64::from(count)).contains(&pulse)
                    && seconds - begin - pulse * period < width;
                (if on { amplitude } else { 0.0 }, phase(frequency, drift))
            }
            Self::Echo { .. } => (0.0, 0.0),
        }
    }
}

/// Complex Gaussian noise of mean power 1.
struct Noise(u64);

impl Noise {
    /// Box and Muller's pair from two uniform numbers.
    fn next(&mut self) -> (f64, f64) {
        let radius = (-libm::log(self.uniform())).sqrt();
        let angle = TAU * self.uniform();
        (radius * libm::cos(angle), radius * libm::sin(angle))
    }

    /// From above 0 to 1, by Steele's SplitMix64.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / 9_007_199_254_740_992.0 + f64::EPSILON / 4.0
    }
}

#[cfg(test)]
mod tests;
