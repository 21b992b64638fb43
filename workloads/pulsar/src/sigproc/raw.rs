//! The keywords of a header and their values, and what is made of them.

use super::{Counted, Header, HeaderError, SKIPPED_MAX};
use std::io::Read;

/// Most warnings of one header: one for each keyword would bury the recording's own.
const WARNINGS_MAX: usize = 16;
/// Most channels: the largest backends make a few tens of thousands.
const CHANNELS_MAX: u32 = 65_536;

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
pub(super) struct Raw {
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
    pub(super) fn take(
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
    pub(super) fn skip(
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

    /// The polarisations of which something can be made, with a warning where they are summed.
    fn check_polarisations(&mut self) -> Result<u32, HeaderError> {
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
        Ok(polarisations)
    }

    pub(super) fn check(mut self, byte_count: u64) -> Result<Header, HeaderError> {
        self.check_data_type()?;
        let bits = natural(
            "nbits",
            self.bits,
            &[1, 2, 4, 8, 16, 32],
            "allowed are 1, 2, 4, 8, 16 and 32",
        )?;
        let polarisations = self.check_polarisations()?;
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
