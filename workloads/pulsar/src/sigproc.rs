//! The header of SIGPROC files: `HEADER_START`, keywords each with a value, `HEADER_END`; little-endian, and strings
//! with their length before them (SIGPROC v4.3 manual, section 6).
//!
//! The size of a value follows from its keyword alone, so an unknown keyword is passed by looking for the next known one.

use std::io::{self, Read};

/// Longest keyword or text: SIGPROC's own programs read them into 80 bytes.
const TEXT_MAX: u32 = 80;
/// Most keywords: some 30 are known, and a list of channels may add one per channel.
const KEYWORDS_MAX: usize = 20_000;
/// Bytes behind an unknown keyword in which the next known one is looked for: many unknown ones in a row, and far less
/// than a recording.
const SKIPPED_MAX: usize = 16 << 10;
/// Most warnings of one header: one for each keyword would bury the recording's own.
const WARNINGS_MAX: usize = 16;
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

/// The keywords that are known, each with the size of its value.
const KEYWORDS: [(&str, Kind); 27] = [
    ("source_name", Kind::Text),
    ("rawdatafile", Kind::Text),
    ("signed", Kind::Byte),
    ("nchans", Kind::Integer),
    ("nbits", Kind::Integer),
    ("nifs", Kind::Integer),
    ("nsamples", Kind::Integer),
    ("data_type", Kind::Integer),
    ("telescope_id", Kind::Integer),
    ("machine_id", Kind::Integer),
    ("barycentric", Kind::Integer),
    ("pulsarcentric", Kind::Integer),
    ("nbeams", Kind::Integer),
    ("ibeam", Kind::Integer),
    ("nbins", Kind::Integer),
    ("tstart", Kind::Number),
    ("tsamp", Kind::Number),
    ("fch1", Kind::Number),
    ("foff", Kind::Number),
    ("fchannel", Kind::Number),
    ("refdm", Kind::Number),
    ("az_start", Kind::Number),
    ("za_start", Kind::Number),
    ("src_raj", Kind::Number),
    ("src_dej", Kind::Number),
    ("period", Kind::Number),
    ("npuls", Kind::Number),
];
/// The words that have no value.
const WORDS: [&str; 3] = ["FREQUENCY_START", "FREQUENCY_END", "HEADER_END"];

/// What a value is.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Byte,
    Integer,
    Number,
}

/// Whether these bytes end in a known keyword with its length before it.
fn known_at_end(bytes: &[u8]) -> Option<&'static str> {
    KEYWORDS.iter().map(|(name, _)| *name).chain(WORDS).find(|name| {
        let rest = bytes.strip_suffix(name.as_bytes());
        u32::try_from(name.len())
            .is_ok_and(|len| rest.is_some_and(|rest| rest.ends_with(&len.to_le_bytes())))
    })
}

/// The values of the keywords that matter, as far as they are there.
#[derive(Default)]
struct Raw {
    source: String,
    start_mjd: Option<f64>,
    channels: Option<i32>,
    bits: Option<i32>,
    polarisations: Option<i32>,
    samples: Option<i32>,
    data_type: Option<i32>,
    signed: bool,
    first_mhz: Option<f64>,
    step_mhz: Option<f64>,
    sample_s: Option<f64>,
    dm: Option<f64>,
    table_mhz: Vec<f64>,
    warnings: Vec<String>,
}

impl Raw {
    /// Reads a keyword's value; false for a keyword that is not known.
    fn take(
        &mut self,
        keyword: &str,
        input: &mut Counted<'_, impl Read>,
    ) -> Result<bool, HeaderError> {
        if WORDS.contains(&keyword) {
            return Ok(true);
        }
        let Some((_, kind)) = KEYWORDS.iter().find(|(name, _)| *name == keyword) else {
            return Ok(false);
        };
        match kind {
            Kind::Text => self.take_text(keyword, input.text()?),
            Kind::Byte => self.signed = input.bytes::<1>()? != [0],
            Kind::Integer => self.take_integer(keyword, input.integer()?),
            Kind::Number => self.take_number(keyword, input.number()?),
        }
        Ok(true)
    }

    fn take_text(&mut self, keyword: &str, value: String) {
        if keyword == "source_name" {
            self.source = value;
        }
    }

    fn take_integer(&mut self, keyword: &str, value: i32) {
        let place = match keyword {
            "nchans" => &mut self.channels,
            "nbits" => &mut self.bits,
            "nifs" => &mut self.polarisations,
            "nsamples" => &mut self.samples,
            "data_type" => &mut self.data_type,
            _ => return,
        };
        *place = Some(value);
    }

    fn take_number(&mut self, keyword: &str, value: f64) {
        let place = match keyword {
            "tstart" => &mut self.start_mjd,
            "tsamp" => &mut self.sample_s,
            "fch1" => &mut self.first_mhz,
            "foff" => &mut self.step_mhz,
            "refdm" => &mut self.dm,
            "fchannel" => return self.table_mhz.push(value),
            _ => return,
        };
        *place = Some(value);
    }

    /// Passes an unknown keyword's value, and returns the next keyword that is known.
    fn skip(
        &mut self,
        keyword: String,
        input: &mut Counted<'_, impl Read>,
    ) -> Result<String, HeaderError> {
        let mut bytes = Vec::new();
        while bytes.len() < SKIPPED_MAX {
            let Ok([byte]) = input.bytes() else { break };
            bytes.push(byte);
            if let Some(next) = known_at_end(&bytes) {
                let skipped = bytes.len() - next.len() - size_of::<u32>();
                self.warn(format!(
                    "the keyword \"{}\" is not known here: {skipped} bytes behind it were passed over, up to {next}",
                    keyword.escape_default()
                ));
                return Ok(next.to_owned());
            }
        }
        Err(HeaderError::Keyword(keyword))
    }

    fn warn(&mut self, text: String) {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(text);
        }
    }

    /// The kinds of data that are no recording, by SIGPROC's numbers.
    fn check_data_type(&self) -> Result<(), HeaderError> {
        match self.data_type {
            Some(kind @ 3..=5) => Err(value(
                "data_type",
                kind,
                "3 is a folded profile, 4 and 5 are spectra: only filterbanks (1) and time series (2) can be searched",
            )),
            _ => Ok(()),
        }
    }

    /// The table of frequencies has one for each channel.
    fn check_table(&self, channel_count: u32) -> Result<(), HeaderError> {
        let table = &self.table_mhz;
        if let Some(wrong) = table.iter().find(|mhz| !(mhz.is_finite() && 0.0 < **mhz)) {
            return Err(value("fchannel", *wrong, "each channel's frequency must be above 0"));
        }
        if table.is_empty() || table.len() == channel_count as usize {
            return Ok(());
        }
        Err(HeaderError::Table { frequencies: table.len(), channels: channel_count })
    }

    fn check(mut self, byte_count: u64) -> Result<Header, HeaderError> {
        self.check_data_type()?;
        let bits = natural(
            "nbits",
            self.bits,
            &[1, 2, 4, 8, 16, 32],
            "allowed are 1, 2, 4, 8, 16 and 32",
        )?;
        let polarisations = natural(
            "nifs",
            Some(self.polarisations.unwrap_or(1)),
            &[1, 2, 4],
            "allowed are 1, 2 and 4 polarisations",
        )?;
        match polarisations {
            2 => self.warn("it has two polarisations (nifs): they are summed".to_owned()),
            4 => self.warn(
                "it has four polarisations (nifs): the first two are summed, as SIGPROC does; should they be Stokes \
                 parameters, that is I + Q"
                    .to_owned(),
            ),
            _ => {}
        }
        let channel_count = self.channels.ok_or(HeaderError::Missing("nchans"))?;
        let Ok(channel_count @ 1..=CHANNELS_MAX) = u32::try_from(channel_count) else {
            return Err(value("nchans", channel_count, "allowed are 1 to 65536"));
        };
        self.check_table(channel_count)?;
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
            polarisations,
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
            table_mhz: self.table_mhz,
            sample_count: self
                .samples
                .and_then(|count| u64::try_from(count).ok())
                .filter(|count| *count != 0),
            byte_count,
            warnings: self.warnings,
        };
        if !header.table_mhz.is_empty() {
            return Ok(header);
        }
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
