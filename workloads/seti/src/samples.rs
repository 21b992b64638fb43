//! The samples of a work unit, from any of their encodings, and back.

use crate::header::{self, Encoding, Setup};

/// Largest absolute value of a sample in text form, far beyond any recorder's and far below what f32 can square.
const LEVEL_MAX: f32 = 1e6;
/// The levels of a sample of two bits per component.
const LEVELS: [f32; 4] = [-3.335_875, -1.0, 1.0, 3.335_875];

/// What is wrong with the data of a work unit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// No data element.
    #[error("the work unit has no <data length=... encoding=...> after its header")]
    Absent,
    /// Too few bytes.
    #[error(
        "the work unit's data end after {found} of the {needed} that nsamples and wu_bits_per_sample ask for"
    )]
    Truncated {
        /// Bytes or lines that are there.
        found: usize,
        /// Bytes or lines that are needed.
        needed: usize,
    },
    /// A line of text data.
    #[error("line {line} of the work unit's data is not two numbers between -1e6 and 1e6")]
    Line {
        /// Counted from 1.
        line: usize,
    },
}

/// Real and imaginary parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Real parts.
    pub re: Vec<f32>,
    /// Imaginary parts.
    pub im: Vec<f32>,
}

impl Samples {
    /// Decodes the data of a work unit.
    ///
    /// # Errors
    /// What is missing or malformed.
    pub fn read(unit: &[u8], setup: &Setup) -> Result<Self, Error> {
        let header = header::find(unit, b"</workunit_header>").ok_or(Error::Absent)?;
        let rest = &unit[header..];
        let tag = header::find(rest, b"<data ").ok_or(Error::Absent)?;
        let body =
            tag + rest[tag..].iter().position(|&byte| byte == b'>').ok_or(Error::Absent)? + 1;
        let length = attribute(&rest[tag..body]).ok_or(Error::Absent)?;
        let body = &rest[body..];
        let body = &body[..length.min(body.len())];
        match setup.data_type {
            Encoding::Ascii => from_text(body, setup.nsamples),
            Encoding::Encoded => from_bytes(&six_bits(body), setup),
            Encoding::SunBinary => from_bytes(body, setup),
        }
    }
}

/// The number behind `length=`, with or without quotes.
fn attribute(tag: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(tag);
    let value = text.split_once("length=")?.1.trim_start_matches('"');
    value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Four characters, six bits each, to three bytes, lowest bits first.
fn six_bits(body: &[u8]) -> Vec<u8> {
    let values: Vec<u8> =
        body.iter().filter(|byte| (0x20..=0x60).contains(*byte)).map(|b| (b - 0x20) % 64).collect();
    let bytes = values
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|&[a, b, c, d]| [a | b << 6, b >> 2 | c << 4, c >> 4 | d << 2]);
    bytes.collect()
}

/// Three bytes to four characters: the inverse of reading, with line ends.
pub(crate) fn to_six_bits(bytes: &[u8]) -> String {
    let mut text = String::from("\n");
    for line in bytes.chunks(48) {
        for three in line.chunks(3) {
            let [a, b, c] = [0, 1, 2].map(|i| three.get(i).copied().unwrap_or(0));
            let values = [a & 63, a >> 6 | (b & 15) << 2, b >> 4 | (c & 3) << 4, c >> 2];
            text.extend(values.map(|value| char::from(value + 0x20)));
        }
        text.push('\n');
    }
    text
}

fn from_text(body: &[u8], count: usize) -> Result<Samples, Error> {
    let text = String::from_utf8_lossy(body);
    let mut samples = Samples::default();
    for (index, line) in
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).take(count)
    {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<f32>().ok());
        let mut next = || numbers.next().flatten().filter(|value| value.abs() <= LEVEL_MAX);
        let (Some(re), Some(im)) = (next(), next()) else {
            return Err(Error::Line { line: index + 1 });
        };
        samples.re.push(re);
        samples.im.push(im);
    }
    match samples.re.len() {
        found if found < count => Err(Error::Truncated { found, needed: count }),
        _ => Ok(samples),
    }
}

fn from_bytes(bytes: &[u8], setup: &Setup) -> Result<Samples, Error> {
    let needed = setup.nsamples * setup.wu_bits_per_sample / 8;
    if bytes.len() < needed {
        return Err(Error::Truncated { found: bytes.len(), needed });
    }
    let swapped = bytes[..needed].as_chunks::<2>().0.iter().flat_map(|&[a, b]| [b, a]);
    let pairs: Vec<(f32, f32)> = match setup.wu_bits_per_sample {
        2 => swapped
            .flat_map(|byte| [0, 2, 4, 6].map(|shift| pair(byte >> shift, 1, one_bit)))
            .collect(),
        4 => swapped
            .flat_map(|byte| [0, 4].map(|shift| pair(byte >> shift, 2, |v| LEVELS[usize::from(v)])))
            .collect(),
        8 => swapped.map(|byte| pair(byte, 4, |value| f32::from(value) - 7.5)).collect(),
        // The second byte of the file's pair, which is the first here, is real.
        _ => bytes[..needed]
            .as_chunks::<2>()
            .0
            .iter()
            .map(|&[im, re]| (signed(re), signed(im)))
            .collect(),
    };
    let (re, im) = pairs.into_iter().unzip();
    Ok(Samples { re, im })
}

/// The upper bits are the real part, the lower the imaginary one.
fn pair(byte: u8, bits: u32, level: impl Fn(u8) -> f32) -> (f32, f32) {
    let mask = (1 << bits) - 1;
    (level(byte >> bits & mask), level(byte & mask))
}

fn one_bit(value: u8) -> f32 {
    f32::from(value) * 2.0 - 1.0
}

fn signed(byte: u8) -> f32 {
    f32::from(byte.cast_signed())
}

#[cfg(test)]
mod tests;
