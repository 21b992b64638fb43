//! What the search of a part of the table found, and how parts become the whole.

use crate::header::{self, Header};
use crate::result;
use crate::signal::Signal;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How a part begins when it is stored: its name and version.
const MAGIC: &[u8] = b"seti-part 1\n";

/// Why parts can't be merged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No part.
    #[error("the bytes are neither a part of a search nor a result")]
    Foreign,
    /// Something is missing between two parts.
    #[error(
        "after pair {end} of the chirp table comes pair {next}: merge neighbouring parts, in order"
    )]
    Gap {
        /// One past the last pair of a part.
        end: u64,
        /// The first of the next.
        next: u64,
    },
    /// Parts of different searches.
    #[error("the parts are of different work units")]
    Mixed,
    /// Nothing to merge.
    #[error("there are no parts to merge")]
    Nothing,
    /// A part whose header is malformed.
    #[error(transparent)]
    Header(#[from] header::Error),
}

/// A value with what it is compared by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored<S> {
    /// The larger the better.
    pub score: S,
    /// The signal.
    pub signal: Signal,
}

/// The findings of a range of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The work unit's header, as printed.
    pub header: String,
    /// Pairs in the whole table.
    pub pairs: u64,
    /// The range of pairs that was searched.
    pub first: u64,
    /// One past its last pair.
    pub end: u64,
    /// Signals at which a search stops.
    pub signals_max: u64,
    /// In the order of the search.
    pub signals: Vec<Signal>,
    /// By peak power.
    pub best_spike: Option<Signal>,
    /// By peak power.
    pub best_autocorr: Option<Signal>,
    /// The best Gaussian before any was reported: once one is, only those that are reported count.
    pub best_early_gaussian: Option<Scored<f64>>,
    /// The best of the reported Gaussians.
    pub best_gaussian: Option<Scored<f64>>,
    /// By signal to noise over threshold.
    pub best_pulse: Option<Scored<f32>>,
    /// By peak power.
    pub best_triplet: Option<Signal>,
}

/// What a unit puts out: a part, or the result once the whole table is searched.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Some of the table.
    Part(Box<Part>),
    /// All of it: the bytes of the result file.
    Result(Vec<u8>),
}

impl Part {
    /// Nothing found yet in a range of the table.
    pub(crate) fn new(header: &Header, pairs: usize, range: &Range<usize>) -> Self {
        Self {
            header: header.print(),
            pairs: pairs as u64,
            first: range.start as u64,
            end: range.end as u64,
            signals_max: header.setup.max_signals as u64,
            signals: Vec::new(),
            best_spike: None,
            best_autocorr: None,
            best_early_gaussian: None,
            best_gaussian: None,
            best_pulse: None,
            best_triplet: None,
        }
    }

    /// Whether there are so many signals that the search stops.
    pub fn overflows(&self) -> bool {
        self.signals_max <= self.signals.len() as u64
    }

    /// The best Gaussian of the range.
    pub fn gaussian(&self) -> Option<&Scored<f64>> {
        match (&self.best_early_gaussian, &self.best_gaussian) {
            (Some(early), Some(late)) if late.score <= early.score => Some(early),
            (early, late) => late.as_ref().or(early.as_ref()),
        }
    }

    /// Appends the findings of the next range.
    fn append(&mut self, next: Self) -> Result<(), Error> {
        if (&self.header, self.pairs) != (&next.header, next.pairs) {
            return Err(Error::Mixed);
        }
        if self.end != next.first {
            return Err(Error::Gap { end: self.end, next: next.first });
        }
        self.end = next.end;
        if self.best_gaussian.is_none() {
            keep(&mut self.best_early_gaussian, next.best_early_gaussian);
        }
        keep(&mut self.best_gaussian, next.best_gaussian);
        keep(&mut self.best_pulse, next.best_pulse);
        keep_power(&mut self.best_spike, next.best_spike);
        keep_power(&mut self.best_autocorr, next.best_autocorr);
        keep_power(&mut self.best_triplet, next.best_triplet);
        self.signals.extend(next.signals);
        self.signals.truncate(usize::try_from(self.signals_max).unwrap_or(usize::MAX));
        Ok(())
    }

    /// The result, if this is the whole table.
    pub fn finish(self) -> Output {
        if self.first == 0 && self.end == self.pairs {
            Output::Result(result::print(&self).into_bytes())
        } else {
            Output::Part(Box::new(self))
        }
    }
}

/// Keeps what scores more; of equals the earlier.
pub(crate) fn keep<S: PartialOrd>(best: &mut Option<Scored<S>>, other: Option<Scored<S>>) {
    let Some(other) = other else { return };
    if best.as_ref().is_none_or(|best| best.score < other.score) {
        *best = Some(other);
    }
}

/// The same by peak power.
pub(crate) fn keep_power(best: &mut Option<Signal>, other: Option<Signal>) {
    let Some(other) = other else { return };
    if best.as_ref().is_none_or(|best| best.peak_power < other.peak_power) {
        *best = Some(other);
    }
}

impl Output {
    /// The bytes that a unit puts out.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Result(bytes) => bytes.clone(),
            Self::Part(part) => {
                let mut bytes = MAGIC.to_vec();
                bytes.extend(postcard::to_allocvec(&**part).unwrap_or_default());
                bytes
            }
        }
    }

    /// The inverse of [`Output::to_bytes`].
    ///
    /// # Errors
    /// The bytes are of something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.starts_with(b"<result>") {
            return Ok(Self::Result(bytes.to_vec()));
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or(Error::Foreign)?;
        match postcard::take_from_bytes(rest) {
            Ok((part, [])) => Ok(Self::Part(Box::new(part))),
            _ => Err(Error::Foreign),
        }
    }

    /// Joins the outputs of neighbouring ranges, in any order.
    ///
    /// # Errors
    /// The outputs are not of one search, or something between them is missing.
    pub fn merge(outputs: Vec<Self>) -> Result<Self, Error> {
        let mut parts = Vec::new();
        for output in outputs {
            match output {
                Self::Part(part) => parts.push(*part),
                result @ Self::Result(_) if parts.is_empty() => return Ok(result),
                Self::Result(_) => return Err(Error::Mixed),
            }
        }
        parts.sort_by_key(|part| (part.first, part.end));
        let mut parts = parts.into_iter();
        let mut whole = parts.next().ok_or(Error::Nothing)?;
        parts.try_for_each(|part| whole.append(part))?;
        Ok(whole.finish())
    }
}

#[cfg(test)]
mod tests;
