//! The header of SIGPROC files: `HEADER_START`, keywords each with a value, `HEADER_END`; little-endian, and strings
//! with their length before them (SIGPROC v4.3 manual, section 6).

use std::io::{self, Read};

/// Longest keyword or text: SIGPROC's own programs read them into 80 bytes.
const TEXT_MAX: u32 = 80;
/// Most keywords: some 30 are known, and a list of channels may add one per channel.
const KEYWORDS_MAX: usize = 20_000;
/// Most channels: the largest backends make a few tens of thousands.
const CHANNELS_MAX: u32 = 65_536;

/// What a recording says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Name of the source, as the observer typed it; empty if absent.
    pub source: String,
    /// Modified Julian date of the first sample.
    pub start_mjd: f64,
    /// Frequency channels.
    pub channel_count: u32,
    /// Bits of one sample of one channel: 1, 2, 4, 8, 16 (unsigned) or 32 (floating point).
    pub bits: u32,
    /// Whether samples of 8 bits are signed.
    pub signed: bool,
    /// Middle of the first channel, in MHz.
    pub first_mhz: f64,
    /// From one channel to the next, in MHz; negative where they descend.
    pub step_mhz: f64,
    /// Time from one sample to the next, in seconds.
    pub sample_s: f64,
    /// Dispersion measure already taken out, in pc/cm3.
    pub dm: Option<f64>,
    /// Bytes before the first sample.
    pub byte_count: u64,
}

/// Why a header can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It can't be read, or ends early.
    #[error("the header breaks off after {at} bytes: the file is damaged or not a SIGPROC file")]
    Read {
        /// Bytes read before.
        at: u64,
        /// The cause.
        source: io::Error,
    },
    /// The file is of another kind.
    #[error(
        "the file does not begin with HEADER_START: only SIGPROC .fil and .tim files can be searched"
    )]
    NotSigproc,
    /// A string of impossible length.
    #[error("a text of {length} bytes at byte {at} of the header; at most 80 are allowed")]
    Text {
        /// Its length.
        length: u32,
        /// Where it is.
        at: u64,
    },
    /// A keyword whose value can't be skipped, since its size is unknown.
    #[error("the header has an unknown keyword \"{0}\"")]
    Keyword(String),
    /// More keywords than a header can have.
    #[error("the header has more than {KEYWORDS_MAX} keywords")]
    Endless,
    /// A keyword that is needed and not there.
    #[error("the header has no {0}")]
    Missing(&'static str),
    /// A value that can't be.
    #[error("{name} is {value} in the header; {allowed}")]
    Value {
        /// The keyword.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        allowed: &'static str,
    },
}

impl Header {
    /// Reads a header from the start of a file, and checks that its data can be searched.
    ///
    /// # Errors
    /// What is wrong with it, see [`HeaderError`].
    pub fn read(input: &mut impl Read) -> Result<Self, HeaderError> {
        let mut input = Counted { input, at: 0 };
        if !matches!(input.text(), Ok(word) if word == "HEADER_START") {
            return Err(HeaderError::NotSigproc);
        }
        let mut raw = Raw::default();
        for _ in 0..KEYWORDS_MAX {
            let keyword = input.text()?;
            if keyword == "HEADER_END" {
                return raw.check(input.at);
            }
            raw.take(&keyword, &mut input)?;
        }
        Err(HeaderError::Endless)
    }

    /// Middle of a channel, in MHz.
    pub fn channel_mhz(&self, channel: u32) -> f64 {
        self.first_mhz + f64::from(channel) * self.step_mhz
    }
}

/// The values of the keywords that matter, as far as they are there.
#[derive(Default)]
struct Raw {
    source: String,
    start_mjd: Option<f64>,
    channels: Option<i32>,
    bits: Option<i32>,
    polarisations: Option<i32>,
    signed: bool,
    first_mhz: Option<f64>,
    step_mhz: Option<f64>,
    sample_s: Option<f64>,
    dm: Option<f64>,
}

impl Raw {
    fn take(
        &mut self,
        keyword: &str,
        input: &mut Counted<'_, impl Read>,
    ) -> Result<(), HeaderError> {
        match keyword {
            "nchans" => self.channels = Some(input.integer()?),
            "nbits" => self.bits = Some(input.integer()?),
            "nifs" => self.polarisations = Some(input.integer()?),
            "tstart" => self.start_mjd = Some(input.number()?),
            "tsamp" => self.sample_s = Some(input.number()?),
            "fch1" => self.first_mhz = Some(input.number()?),
            "foff" => self.step_mhz = Some(input.number()?),
            "refdm" => self.dm = Some(input.number()?),
            "source_name" => self.source = input.text()?,
            "signed" => self.signed = input.bytes::<1>()? != [0],
            "rawdatafile" => _ = input.text()?,
            "telescope_id" | "machine_id" | "data_type" | "barycentric" | "pulsarcentric"
            | "nsamples" | "nbeams" | "ibeam" | "nbins" => _ = input.integer()?,
            "az_start" | "za_start" | "src_raj" | "src_dej" | "period" | "fchannel" | "npuls" => {
                _ = input.number()?;
            }
            "FREQUENCY_START" | "FREQUENCY_END" => {}
            _ => return Err(HeaderError::Keyword(keyword.to_owned())),
        }
        Ok(())
    }

    fn check(self, byte_count: u64) -> Result<Header, HeaderError> {
        let bits = natural(
            "nbits",
            self.bits,
            &[1, 2, 4, 8, 16, 32],
            "allowed are 1, 2, 4, 8, 16 and 32",
        )?;
        natural(
            "nifs",
            Some(self.polarisations.unwrap_or(1)),
            &[1],
            "only one polarisation can be searched",
        )?;
        let channel_count = self.channels.ok_or(HeaderError::Missing("nchans"))?;
        let Ok(channel_count @ 1..=CHANNELS_MAX) = u32::try_from(channel_count) else {
            return Err(value("nchans", channel_count, "allowed are 1 to 65536"));
        };
        let header = Header {
            source: self.source,
            start_mjd: number(
                "tstart",
                Some(self.start_mjd.unwrap_or(0.0)),
                |_| true,
                "it must be a number",
            )?,
            channel_count,
            bits,
            signed: self.signed,
            first_mhz: number(
                "fch1",
                Some(self.first_mhz.unwrap_or(0.0)),
                |_| true,
                "it must be a number",
            )?,
            step_mhz: number(
                "foff",
                Some(self.step_mhz.unwrap_or(0.0)),
                |_| true,
                "it must be a number",
            )?,
            sample_s: number(
                "tsamp",
                self.sample_s,
                |s| (1e-9..=60.0).contains(&s),
                "it must be 1 ns to 60 s",
            )?,
            dm: self
                .dm
                .map(|dm| number("refdm", Some(dm), |_| true, "it must be a number"))
                .transpose()?,
            byte_count,
        };
        let lowest = header.first_mhz.min(header.channel_mhz(channel_count - 1));
        if channel_count > 1 && (lowest <= 0.0 || header.step_mhz == 0.0) {
            return Err(value(
                "foff",
                header.step_mhz,
                "with fch1 it must give each channel a frequency above 0",
            ));
        }
        Ok(header)
    }
}

fn value(name: &'static str, value: impl Into<f64>, allowed: &'static str) -> HeaderError {
    HeaderError::Value { name, value: value.into(), allowed }
}

fn natural(
    name: &'static str,
    given: Option<i32>,
    allowed: &[u32],
    text: &'static str,
) -> Result<u32, HeaderError> {
    let given = given.ok_or(HeaderError::Missing(name))?;
    let number = u32::try_from(given).ok().filter(|number| allowed.contains(number));
    number.ok_or_else(|| value(name, given, text))
}

fn number(
    name: &'static str,
    given: Option<f64>,
    allowed: impl Fn(f64) -> bool,
    text: &'static str,
) -> Result<f64, HeaderError> {
    let given = given.ok_or(HeaderError::Missing(name))?;
    if given.is_finite() && allowed(given) { Ok(given) } else { Err(value(name, given, text)) }
}

/// A reader that knows how far it is.
struct Counted<'a, R> {
    input: &'a mut R,
    at: u64,
}

impl<R: Read> Counted<'_, R> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), HeaderError> {
        self.input.read_exact(bytes).map_err(|source| HeaderError::Read { at: self.at, source })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn integer(&mut self) -> Result<i32, HeaderError> {
        self.bytes().map(i32::from_le_bytes)
    }

    fn number(&mut self) -> Result<f64, HeaderError> {
        self.bytes().map(f64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, HeaderError> {
        let length = u32::from_le_bytes(self.bytes()?);
        if length > TEXT_MAX {
            return Err(HeaderError::Text { length, at: self.at });
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
