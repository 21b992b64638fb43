//! Reading the signals of a result, whoever wrote it.

use crate::markup::{self, Element};
use std::collections::BTreeMap;

/// Largest result file; that of 10,000 signals has 10 MB.
const BYTES_MAX: usize = 32 << 20;
/// The kinds of signals and best signals.
const KINDS: [&str; 5] = ["spike", "autocorr", "gaussian", "pulse", "triplet"];

/// What is wrong with a result.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    /// Too long.
    #[error("the result has {0} bytes, and {BYTES_MAX} is the most")]
    Large(usize),
    /// Not a document.
    #[error("the result is malformed: {0}")]
    Markup(#[from] markup::Error),
    /// Not the expected document.
    #[error("there is no <result> in the file")]
    Absent,
    /// A field without which a signal can't be compared.
    #[error("signal {index} ({kind}) has no {field} that is a finite number")]
    Field {
        /// Counted from 1.
        index: usize,
        /// Its kind.
        kind: String,
        /// Which field.
        field: String,
    },
}

/// A signal as it stands in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// `spike`, `best_spike` and so on.
    pub kind: String,
    /// All fields that are finite numbers.
    pub numbers: BTreeMap<String, f64>,
    /// The points of a Gaussian, the profile of a pulse.
    pub pot: Vec<u8>,
}

impl Record {
    /// A field by its name in the file.
    pub fn number(&self, field: &str) -> f64 {
        self.numbers.get(field).copied().unwrap_or(0.0)
    }

    /// Whether it stands for no signal at all, as the best Gaussian of a search that fitted none.
    pub fn is_none(&self) -> bool {
        self.number("fft_len") == 0.0
    }

    /// What must be there for a comparison.
    fn required(&self) -> impl Iterator<Item = &'static str> {
        let own: &[&str] = match self.kind.trim_start_matches("best_") {
            "autocorr" => &["delay"],
            "gaussian" => &["sigma", "chisqr"],
            "pulse" => &["snr", "thresh", "period"],
            "triplet" => &["period"],
            _ => &[],
        };
        let all =
            ["peak_power", "mean_power", "time", "ra", "decl", "freq", "fft_len", "chirp_rate"];
        all.into_iter().chain(own.iter().copied())
    }
}

/// The signals of a result, in the order of the file.
///
/// # Errors
/// What is malformed or missing.
pub fn read(file: &[u8]) -> Result<Vec<Record>, Error> {
    if BYTES_MAX < file.len() {
        return Err(Error::Large(file.len()));
    }
    let document = markup::parse(&String::from_utf8_lossy(file))?;
    let result = document.child("result").ok_or(Error::Absent)?;
    let signals = result
        .children
        .iter()
        .filter(|child| KINDS.contains(&child.name.trim_start_matches("best_")));
    signals.enumerate().map(|(index, element)| record(index + 1, element)).collect()
}

fn record(index: usize, element: &Element) -> Result<Record, Error> {
    let number = |leaf: &Element| {
        Some((leaf.name.clone(), leaf.text.parse::<f64>().ok().filter(|v| v.is_finite())?))
    };
    let record = Record {
        kind: element.name.clone(),
        numbers: element.children.iter().filter_map(number).collect(),
        pot: element
            .child("pot")
            .map(|pot| pot.text.split(',').filter_map(|v| v.trim().parse().ok()).collect())
            .unwrap_or_default(),
    };
    let missing = record.required().find(|field| !record.numbers.contains_key(*field));
    match missing {
        None => Ok(record),
        Some(field) => Err(Error::Field { index, kind: record.kind, field: field.to_owned() }),
    }
}
