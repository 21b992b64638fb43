//! The samples of a recording, and the time series that is left when dispersion is taken out.

use crate::sigproc::{Header, HeaderError};
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// Dispersion delay in seconds for 1 pc/cm3 at 1 MHz (the value that SIGPROC uses, Lorimer and Kramer 2005).
const DISPERSION_S: f64 = 4.148_808e3;
/// Most samples of a channel: a transform of this length, padded, takes 700 MB.
const SAMPLES_MAX: u64 = 1 << 25;
/// Fewest: with less there is nothing to find.
const SAMPLES_MIN: u64 = 64;
/// Largest dispersion measure, in pc/cm3; the largest seen of anything is below 4,000.
const DM_MAX: f64 = 20_000.0;
/// Samples of all channels read at a time, about: what fits into a cache.
const BLOCK: usize = 1 << 16;

/// Why a recording can't be searched.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The header is wrong.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The file can't be read.
    #[error("the recording can't be read")]
    Read(#[from] io::Error),
    /// Too short or too long.
    #[error(
        "the recording has {0} samples; it must have {SAMPLES_MIN} to {SAMPLES_MAX}: cut the file in time"
    )]
    Length(u64),
    /// A dispersion measure out of range.
    #[error("a dispersion measure of {0} pc/cm3; allowed are 0 to {DM_MAX}")]
    Dispersion(f64),
    /// A delay that leaves too little.
    #[error(
        "a dispersion measure of {dm} pc/cm3 delays the lowest channel by {delay} samples, and there are {samples}"
    )]
    Delay {
        /// The dispersion measure in pc/cm3.
        dm: f64,
        /// The delay.
        delay: u64,
        /// What the recording has.
        samples: u64,
    },
    /// A sample that is no number.
    #[error("sample {sample} of channel {channel} is infinite or not a number")]
    Sample {
        /// Counted from 0.
        sample: usize,
        /// Counted from 0.
        channel: usize,
    },
}

/// A recording that is read as it is needed.
#[derive(Debug)]
pub struct Recording<R> {
    header: Header,
    input: BufReader<R>,
    sample_count: usize,
    warnings: Vec<String>,
}

impl<R: Read + Seek> Recording<R> {
    /// Reads the header, and counts the samples behind it: as many as the file has, or fewer where the header says so. A
    /// part of a last sample is left out.
    ///
    /// # Errors
    /// The header is wrong or the recording too short or too long.
    pub fn open(input: R) -> Result<Self, RecordingError> {
        let mut input = BufReader::new(input);
        let header = Header::read(&mut input)?;
        let bytes = input.seek(SeekFrom::End(0))?.saturating_sub(header.byte_count);
        let mut warnings = header.warnings.clone();
        let samples = samples(&header, bytes, &mut warnings);
        if !(SAMPLES_MIN..=SAMPLES_MAX).contains(&samples) {
            return Err(RecordingError::Length(samples));
        }
        let sample_count = usize::try_from(samples).map_err(|_| RecordingError::Length(samples))?;
        Ok(Self { header, input, sample_count, warnings })
    }

    /// What is passed over, left out or interpreted, for the researcher.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether dispersion of `dm`, in pc/cm3, can be taken out.
    ///
    /// # Errors
    /// It is out of range, or the recording is too short for it.
    pub fn check_dm(&self, dm: f64) -> Result<(), RecordingError> {
        self.delays(dm).map(drop)
    }

    /// What the recording says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many samples each channel has.
    pub fn sample_count(&self) -> usize {
        self.sample_count
    }

    /// How long the recording is, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "there are at most 2^25 samples")]
    pub fn duration_s(&self) -> f64 {
        self.sample_count as f64 * self.header.sample_s
    }

    /// The sum of all channels, each advanced by its delay against the highest frequency, over the time in which all of
    /// them are there. `dm` is in pc/cm3. A time series has one channel, and comes out as it is.
    ///
    /// # Errors
    /// The dispersion measure is out of range, or a sample is no number, or the file can't be read.
    pub fn dedisperse(&mut self, dm: f64) -> Result<Vec<f32>, RecordingError> {
        let delays = self.delays(dm)?;
        let longest = delays.iter().copied().max().unwrap_or(0);
        let mut series = vec![0.0; self.sample_count - longest];
        let channels = delays.len();
        let row = channels * self.header.polarisations as usize;
        // A multiple of 8 samples fills whole bytes at any number of bits.
        let block = (BLOCK / row).max(8) / 8 * 8;
        let mut bytes = Vec::new();
        let mut values = Vec::new();
        self.input.seek(SeekFrom::Start(self.header.byte_count))?;
        for first in (0..self.sample_count).step_by(block) {
            let count = block.min(self.sample_count - first);
            bytes.resize((count * row * self.header.bits as usize).div_ceil(8), 0);
            self.input.read_exact(&mut bytes)?;
            self.unpack(&bytes, &mut values);
            values.truncate(count * row);
            sum_polarisations(&mut values, channels, row);
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                return Err(RecordingError::Sample {
                    sample: first + at / channels,
                    channel: at % channels,
                });
            }
            for (channel, &delay) in delays.iter().enumerate() {
                let skip = delay.saturating_sub(first).min(count);
                let from = (first + skip - delay.min(first + skip)).min(series.len());
                let samples = values[channel..].iter().step_by(channels).skip(skip);
                for (sum, value) in series[from..].iter_mut().zip(samples) {
                    *sum += value;
                }
            }
        }
        Ok(series)
    }

    /// The delay of each channel, in samples.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in range just before"
    )]
    fn delays(&self, dm: f64) -> Result<Vec<usize>, RecordingError> {
        if !(0.0..=DM_MAX).contains(&dm) {
            return Err(RecordingError::Dispersion(dm));
        }
        let header = &self.header;
        if header.channel_count == 1 {
            return Ok(vec![0]);
        }
        let highest = header.highest_mhz();
        let inverse_square = |mhz: f64| 1.0 / (mhz * mhz);
        let delay = |channel| {
            let seconds = DISPERSION_S
                * dm
                * (inverse_square(header.channel_mhz(channel)) - inverse_square(highest));
            let samples = libm::rint(seconds / header.sample_s);
            let count = self.sample_count as u64;
            // Half of the recording at least must be left.
            if samples < count as f64 / 2.0 {
                Ok(samples as usize)
            } else {
                Err(RecordingError::Delay { dm, delay: samples as u64, samples: count })
            }
        };
        (0..header.channel_count).map(delay).collect()
    }

    /// Whole bytes to values; within a byte the lowest bits come first.
    fn unpack(&self, bytes: &[u8], values: &mut Vec<f32>) {
        values.clear();
        match self.header.bits {
            bits @ (1 | 2 | 4) => {
                let mask = (1_u8 << bits) - 1;
                let parts = |byte: u8| {
                    (0..8 / bits).map(move |part| f32::from(byte >> (part * bits) & mask))
                };
                values.extend(bytes.iter().copied().flat_map(parts));
            }
            8 if self.header.signed => {
                values.extend(bytes.iter().map(|&byte| f32::from(byte.cast_signed())))
            }
            8 => values.extend(bytes.iter().copied().map(f32::from)),
            16 => values.extend(
                bytes.as_chunks().0.iter().map(|&pair| f32::from(u16::from_le_bytes(pair))),
            ),
            _ => values.extend(bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four))),
        }
    }
}

/// Samples of each channel in so many bytes behind the header.
fn samples(header: &Header, bytes: u64, warnings: &mut Vec<String>) -> u64 {
    let bits =
        u64::from(header.channel_count) * u64::from(header.polarisations) * u64::from(header.bits);
    let there = bytes.saturating_mul(8) / bits;
    let rest = bytes - (there * bits).div_ceil(8).min(bytes);
    if 0 < rest {
        warnings
            .push(format!("the last {rest} bytes are less than a whole sample: they are left out"));
    }
    match header.sample_count {
        Some(said) if said < there => {
            warnings.push(format!(
                "the header says {said} samples, the file has {there}: the first {said} are used"
            ));
            said
        }
        Some(said) if there < said => {
            warnings.push(format!(
                "the header says {said} samples, the file has {there}: it is cut short, and what there is is used"
            ));
            there
        }
        _ => there,
    }
}

/// Leaves of each row of all polarisations the sum of the first two.
fn sum_polarisations(values: &mut Vec<f32>, channels: usize, row: usize) {
    if row == channels {
        return;
    }
    let mut to = 0;
    for from in (0..values.len()).step_by(row) {
        for channel in 0..channels {
            values[to + channel] = values[from + channel] + values[from + channels + channel];
        }
        to += channels;
    }
    values.truncate(to);
}
