//! The header of SIGPROC files: `HEADER_START`, keywords each with a value, `HEADER_END`; little-endian, and strings
//! with their length before them (SIGPROC v4.3 manual, section 6).
//!
//! The size of a value follows from its keyword alone, so an unknown keyword is passed by looking for the next known one.

use std::io::{self, Read};

mod raw;

use raw::Raw;

/// Longest keyword or text: SIGPROC's own programs read them into 80 bytes.
const TEXT_MAX: u32 = 80;
/// Most keywords: some 30 are known, and a list of channels may add one per channel.
const KEYWORDS_MAX: usize = 20_000;
/// Bytes behind an unknown keyword in which the next known one is looked for: many unknown ones in a row, and far less
/// than a recording.
const SKIPPED_MAX: usize = 16 << 10;

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
    /// Polarisations (IF channels): for each sample all channels of the first, then of the next. 1, 2 or 4, of which the
    /// first two are summed, as SIGPROC's own programs do.
    pub polarisations: u32,
    /// Middle of the first channel, in MHz; of no meaning where there is a table.
    pub first_mhz: f64,
    /// From one channel to the next, in MHz; negative where they descend. Of no meaning where there is a table.
    pub step_mhz: f64,
    /// Middle of each channel, in MHz; empty where they are evenly spaced.
    pub table_mhz: Vec<f64>,
    /// Time from one sample to the next, in seconds.
    pub sample_s: f64,
    /// Dispersion measure already taken out, in pc/cm3.
    pub dm: Option<f64>,
    /// Samples of each channel, where the header says so.
    pub sample_count: Option<u64>,
    /// Bytes before the first sample.
    pub byte_count: u64,
    /// What is passed over or interpreted, for the researcher.
    pub warnings: Vec<String>,
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
    /// The numbers are in the other order.
    #[error(
        "the header is big-endian, as SIGPROC writes it on such machines: turn the file around first; SIGPROC files are \
         little-endian everywhere else"
    )]
    BigEndian,
    /// A string of impossible length.
    #[error("a text of {length} bytes at byte {at} of the header; at most 80 are allowed")]
    Text {
        /// Its length.
        length: u32,
        /// Where it is.
        at: u64,
    },
    /// A keyword whose value can't be skipped, since its size is unknown.
    #[error(
        "the header has an unknown keyword \"{0}\", and no known one within {SKIPPED_MAX} bytes behind it: the header is \
         damaged, or take the keyword out"
    )]
    Keyword(String),
    /// More keywords than a header can have.
    #[error("the header has more than {KEYWORDS_MAX} keywords")]
    Endless,
    /// A keyword that is needed and not there.
    #[error("the header has no {0}")]
    Missing(&'static str),
    /// A table of frequencies that does not fit.
    #[error("the header's table has {frequencies} frequencies for {channels} channels")]
    Table {
        /// How many there are.
        frequencies: usize,
        /// How many there must be.
        channels: u32,
    },
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
        input.begin()?;
        let mut raw = Raw::default();
        let mut keyword = input.text()?;
        for _ in 0..KEYWORDS_MAX {
            if keyword == "HEADER_END" {
                return raw.check(input.at);
            }
            keyword = if raw.take(&keyword, &mut input)? {
                input.text()?
            } else {
                raw.skip(keyword, &mut input)?
            };
        }
        Err(HeaderError::Endless)
    }

    /// Middle of a channel, in MHz.
    pub fn channel_mhz(&self, channel: u32) -> f64 {
        let tabled = self.table_mhz.get(channel as usize).copied();
        tabled.unwrap_or_else(|| self.first_mhz + f64::from(channel) * self.step_mhz)
    }

    /// The highest frequency of all channels, in MHz.
    pub fn highest_mhz(&self) -> f64 {
        if self.table_mhz.is_empty() {
            self.first_mhz.max(self.channel_mhz(self.channel_count - 1))
        } else {
            self.table_mhz.iter().copied().fold(0.0, f64::max)
        }
    }
}

/// A reader that knows how far it is.
struct Counted<'a, R> {
    input: &'a mut R,
    at: u64,
}

impl<R: Read> Counted<'_, R> {
    /// Reads the word with which every header begins.
    fn begin(&mut self) -> Result<(), HeaderError> {
        const FIRST: &[u8] = b"HEADER_START";
        let mut bytes = [0; 4 + FIRST.len()];
        self.fill(&mut bytes).map_err(|_| HeaderError::NotSigproc)?;
        let (length, word) = bytes.split_at(4);
        let length = <[u8; 4]>::try_from(length).unwrap_or_default();
        if word == FIRST && u32::from_be_bytes(length) as usize == FIRST.len() {
            return Err(HeaderError::BigEndian);
        }
        if word == FIRST && u32::from_le_bytes(length) as usize == FIRST.len() {
            return Ok(());
        }
        Err(HeaderError::NotSigproc)
    }

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
