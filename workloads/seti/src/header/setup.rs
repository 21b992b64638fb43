//! What the search needs of a header, each field within bounds, so that nothing later can overflow or run away.

use super::Error;
use crate::markup::Element;
use std::ops::RangeInclusive;

/// Most entries of the table of positions: one per second of a long recording.
const POINTINGS_MAX: usize = 10_000;
/// Most entries of the list of chirp limits; real headers have two.
const ENTRIES_MAX: usize = 16;
/// Most spectra to be asked of one work unit, four times those of the reference's full search, so that a header can't
/// ask for a table that fills the memory.
const PAIRS_MAX: f64 = 250_000.0;
/// Longest recording: that of every unit ever sent out. All memory of the search follows from it.
const SAMPLES_MAX: usize = 1 << 20;
/// Shortest: the unit in which samples are dechirped and transformed.
const SAMPLES_MIN: usize = 1 << 12;

/// How the samples are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One "re im" pair per line.
    Ascii,
    /// Six bits to a character.
    Encoded,
    /// Bytes as they are.
    SunBinary,
}

/// Where the telescope pointed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pointing {
    /// Julian date.
    pub time: f64,
    /// Right ascension in hours.
    pub ra: f64,
    /// Declination in degrees.
    pub dec: f64,
}

/// Up to which drift rate which FFT lengths are searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Hz/s.
    pub limit: f64,
    /// Bit b stands for length 2^b.
    pub lengths: u32,
}

/// The fields of the header that the search uses, by their names there; frequencies in Hz, angles in degrees, times in
/// seconds unless they say otherwise.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the header's fields")]
pub struct Setup {
    pub true_angle_range: f64,
    pub time_recorded_jd: f64,
    pub nsamples: usize,
    pub coords: Vec<Pointing>,
    pub beam_width: f64,
    /// MHz.
    pub center_freq: f64,
    pub data_type: Encoding,
    pub ifft_len: usize,
    pub wu_bits_per_sample: usize,
    pub spike_thresh: f64,
    pub spikes_per_spectrum: usize,
    pub autocorr_thresh: f64,
    pub autocorr_per_spectrum: usize,
    /// 0: no autocorrelation.
    pub autocorr_fftlen: usize,
    pub gauss_null_chi_sq_thresh: f64,
    pub gauss_chi_sq_thresh: f64,
    pub gauss_power_thresh: f64,
    pub gauss_peak_power_thresh: f64,
    pub gauss_pot_length: usize,
    pub pulse_thresh: f64,
    pub pulse_display_thresh: f64,
    pub pulse_max: f64,
    pub pulse_min: f64,
    pub pulse_fft_max: usize,
    pub pulse_pot_length: usize,
    pub triplet_thresh: f64,
    pub triplet_min: usize,
    pub triplet_max: usize,
    pub pot_overlap_factor: f64,
    pub pot_t_offset: f64,
    /// Degrees per second.
    pub pot_min_slew: f64,
    pub pot_max_slew: f64,
    pub chirp_resolution: f64,
    pub analysis_fft_lengths: u32,
    pub bsmooth_boxcar_length: usize,
    pub bsmooth_chunk_size: usize,
    pub chirps: Vec<Entry>,
    pub pulse_beams: f64,
    pub max_signals: usize,
    pub center: f64,
    pub base: f64,
    pub sample_rate: f64,
}

impl Setup {
    pub(crate) fn read(header: &Element) -> Result<Self, Error> {
        let data = Fields { element: part(header, "group_info/data_desc")?, path: "data_desc" };
        let receiver =
            Fields { element: part(header, "group_info/receiver_cfg")?, path: "receiver_cfg" };
        let splitter =
            Fields { element: part(header, "group_info/splitter_cfg")?, path: "splitter_cfg" };
        let analysis =
            Fields { element: part(header, "group_info/analysis_cfg")?, path: "analysis_cfg" };
        let subband = Fields { element: part(header, "subband_desc")?, path: "subband_desc" };
        let nsamples = data.power_of_two("nsamples", SAMPLES_MIN..=SAMPLES_MAX)?;
        let bsmooth_chunk_size = analysis.power_of_two("bsmooth_chunk_size", 16..=nsamples)?;
        let all_lengths = 2 * nsamples.min(1 << 17) - 8;
        let setup = Self {
            true_angle_range: data.real("true_angle_range", 0.0..=3600.0)?,
            time_recorded_jd: data.real("time_recorded_jd", 0.0..=1e8)?,
            nsamples,
            coords: pointings(&data)?,
            beam_width: receiver.real("beam_width", 1e-4..=90.0)?,
            center_freq: receiver.real("center_freq", 1.0..=1e6)?,
            data_type: encoding(&splitter)?,
            ifft_len: splitter.whole("ifft_len", 1..=1 << 20)?,
            wu_bits_per_sample: bits(&splitter)?,
            spike_thresh: analysis.real("spike_thresh", 1.0..=1e6)?,
            spikes_per_spectrum: analysis.whole("spikes_per_spectrum", 0..=100)?,
            autocorr_thresh: analysis.real("autocorr_thresh", 1.0..=1e6)?,
            autocorr_per_spectrum: analysis.whole("autocorr_per_spectrum", 0..=100)?,
            autocorr_fftlen: autocorrelation(&analysis, nsamples)?,
            gauss_null_chi_sq_thresh: or(
                analysis.real("gauss_null_chi_sq_thresh", 0.0..=100.0)?,
                1.89,
            ),
            gauss_chi_sq_thresh: analysis.real("gauss_chi_sq_thresh", 0.1..=100.0)?,
            gauss_power_thresh: analysis.real("gauss_power_thresh", 0.0..=1e6)?,
            gauss_peak_power_thresh: analysis.real("gauss_peak_power_thresh", 0.1..=1e6)?,
            gauss_pot_length: analysis.power_of_two("gauss_pot_length", 16..=64)?,
            pulse_thresh: analysis.real("pulse_thresh", 1.0..=100.0)?,
            pulse_display_thresh: analysis.real("pulse_display_thresh", 0.01..=1.0)?,
            pulse_max: analysis.real("pulse_max", 1.0..=1e9)?,
            pulse_min: analysis.real("pulse_min", 1.0..=1e9)?,
            pulse_fft_max: analysis.whole("pulse_fft_max", 0..=1 << 17)?,
            pulse_pot_length: analysis.whole("pulse_pot_length", 0..=4096)?,
            triplet_thresh: analysis.real("triplet_thresh", 1.0..=1e6)?,
            triplet_min: analysis.whole("triplet_min", 1..=1 << 20)?,
            triplet_max: analysis.whole("triplet_max", 0..=1 << 20)?,
            pot_overlap_factor: analysis.real("pot_overlap_factor", 0.0..=0.9)?,
            pot_t_offset: analysis.real("pot_t_offset", 1.0..=100.0)?,
            pot_min_slew: analysis.real("pot_min_slew", 1e-6..=1e3)?,
            pot_max_slew: analysis.real("pot_max_slew", 1e-6..=1e3)?,
            chirp_resolution: analysis.real("chirp_resolution", 1e-3..=1e3)?,
            analysis_fft_lengths: analysis.mask("analysis_fft_lengths", all_lengths)?,
            bsmooth_boxcar_length: analysis
                .power_of_two("bsmooth_boxcar_length", 2..=bsmooth_chunk_size)?,
            bsmooth_chunk_size,
            chirps: entries(&analysis, all_lengths)?,
            pulse_beams: analysis.real("pulse_beams", 0.01..=100.0)?,
            max_signals: analysis.whole("max_signals", 1..=10_000)?,
            center: subband.real("center", 1e3..=1e13)?,
            base: subband.real("base", 1e3..=1e13)?,
            sample_rate: subband.real("sample_rate", 1.0..=1e9)?,
        };
        setup.check_table()?;
        Ok(setup)
    }

    /// Refuses what would need a giant table. An upper limit of the pairs is enough: no step is larger than this one.
    fn check_table(&self) -> Result<(), Error> {
        let mut pairs = 0.0;
        for entry in &self.chirps {
            for (length, step) in crate::table::steps(self) {
                if entry.lengths & length != 0 {
                    pairs += 2.0 * entry.limit / step + 1.0;
                }
            }
        }
        if pairs <= PAIRS_MAX {
            return Ok(());
        }
        let allowed = format!(
            "with the other fields this needs {pairs:.0} spectra, and {PAIRS_MAX} is the most"
        );
        let value =
            self.chirps.iter().map(|entry| entry.limit.to_string()).collect::<Vec<_>>().join(", ");
        Err(Error::Range { field: "analysis_cfg/chirps/chirp_limit".to_owned(), value, allowed })
    }
}

fn or(value: f64, default: f64) -> f64 {
    if value == 0.0 { default } else { value }
}

fn part<'a>(header: &'a Element, path: &str) -> Result<&'a Element, Error> {
    header.at(path).ok_or_else(|| Error::Missing(path.to_owned()))
}

/// The leaves of one element.
struct Fields<'a> {
    element: &'a Element,
    path: &'a str,
}

impl Fields<'_> {
    fn text(&self, name: &str) -> Result<&str, Error> {
        let leaf = self
            .element
            .child(name)
            .ok_or_else(|| Error::Missing(format!("{}/{name}", self.path)))?;
        Ok(&leaf.text)
    }

    fn out_of_range(&self, name: &str, value: impl ToString, allowed: impl ToString) -> Error {
        let field = format!("{}/{name}", self.path);
        Error::Range { field, value: value.to_string(), allowed: allowed.to_string() }
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, Error> {
        let text = self.text(name)?;
        text.parse().map_err(|_| Error::Number {
            field: format!("{}/{name}", self.path),
            text: excerpt(text),
        })
    }

    fn real(&self, name: &str, allowed: RangeInclusive<f64>) -> Result<f64, Error> {
        let value: f64 = self.number(name)?;
        if allowed.contains(&value) {
            return Ok(value);
        }
        Err(self.out_of_range(
            name,
            value,
            format!("it must be from {} to {}", allowed.start(), allowed.end()),
        ))
    }

    fn whole(&self, name: &str, allowed: RangeInclusive<usize>) -> Result<usize, Error> {
        let value: i64 = self.number(name)?;
        match usize::try_from(value) {
            Ok(value) if allowed.contains(&value) => Ok(value),
            _ => Err(self.out_of_range(
                name,
                value,
                format!("it must be from {} to {}", allowed.start(), allowed.end()),
            )),
        }
    }

    fn power_of_two(&self, name: &str, allowed: RangeInclusive<usize>) -> Result<usize, Error> {
        let value = self.whole(name, allowed)?;
        if value.is_power_of_two() {
            Ok(value)
        } else {
            Err(self.out_of_range(name, value, "it must be a power of 2"))
        }
    }

    fn mask(&self, name: &str, allowed: usize) -> Result<u32, Error> {
        let value = self.whole(name, 0..=usize::from(u16::MAX) * 16)?;
        if value & !allowed == 0 {
            return u32::try_from(value)
                .map_err(|_| self.out_of_range(name, value, "it must fit 32 bits"));
        }
        let allowed = format!(
            "each bit is a length, and lengths from 8 to 131072 that fit nsamples ({allowed}) are known"
        );
        Err(self.out_of_range(name, value, allowed))
    }
}

/// The beginning of a text that may be long.
fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

fn encoding(splitter: &Fields<'_>) -> Result<Encoding, Error> {
    match splitter.text("data_type")? {
        "ascii" => Ok(Encoding::Ascii),
        "encoded" => Ok(Encoding::Encoded),
        "sun_binary" => Ok(Encoding::SunBinary),
        other => Err(splitter.out_of_range(
            "data_type",
            excerpt(other),
            "it must be ascii, encoded or sun_binary",
        )),
    }
}

fn bits(splitter: &Fields<'_>) -> Result<usize, Error> {
    match splitter.whole("wu_bits_per_sample", 0..=16)? {
        0 => Ok(2),
        bits @ (2 | 4 | 8 | 16) => Ok(bits),
        other => {
            Err(splitter.out_of_range("wu_bits_per_sample", other, "it must be 0, 2, 4, 8 or 16"))
        }
    }
}

fn autocorrelation(analysis: &Fields<'_>, nsamples: usize) -> Result<usize, Error> {
    match analysis.whole("autocorr_fftlen", 0..=nsamples.min(1 << 17))? {
        0 => Ok(0),
        length if length.is_power_of_two() && 128 <= length => Ok(length),
        other => Err(analysis.out_of_range(
            "autocorr_fftlen",
            other,
            "it must be 0 or a power of 2 from 128",
        )),
    }
}

fn pointings(data: &Fields<'_>) -> Result<Vec<Pointing>, Error> {
    let list = data
        .element
        .child("coords")
        .ok_or_else(|| Error::Missing("data_desc/coords".to_owned()))?;
    let read = |element| {
        let fields = Fields { element, path: "data_desc/coords/coordinate_t" };
        let (time, ra) = (fields.real("time", 0.0..=1e8)?, fields.real("ra", -24.0..=48.0)?);
        Ok(Pointing { time, ra, dec: fields.real("dec", -90.0..=90.0)? })
    };
    let pointings = list
        .all("coordinate_t")
        .take(POINTINGS_MAX + 1)
        .map(read)
        .collect::<Result<Vec<_>, Error>>()?;
    if (2..=POINTINGS_MAX).contains(&pointings.len()) {
        return Ok(pointings);
    }
    Err(data.out_of_range(
        "coords",
        pointings.len(),
        format!("there must be from 2 to {POINTINGS_MAX} positions"),
    ))
}

fn entries(analysis: &Fields<'_>, lengths: usize) -> Result<Vec<Entry>, Error> {
    let list = analysis
        .element
        .child("chirps")
        .ok_or_else(|| Error::Missing("analysis_cfg/chirps".to_owned()))?;
    let read = |element| {
        let fields = Fields { element, path: "analysis_cfg/chirps/chirp_parameter_t" };
        Ok(Entry {
            limit: fields.real("chirp_limit", 0.0..=1e6)?,
            lengths: fields.mask("fft_len_flags", lengths)?,
        })
    };
    let entries = list
        .all("chirp_parameter_t")
        .take(ENTRIES_MAX + 1)
        .map(read)
        .collect::<Result<Vec<_>, Error>>()?;
    if (1..=ENTRIES_MAX).contains(&entries.len()) {
        return Ok(entries);
    }
    Err(analysis.out_of_range(
        "chirps",
        entries.len(),
        format!("there must be from 1 to {ENTRIES_MAX} limits"),
    ))
}
