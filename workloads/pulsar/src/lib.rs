//! A search for pulsars in a SIGPROC recording: dispersion taken out, Fourier transform, sums of harmonics, candidates.
//!
//! Input 0 is a `.fil` filterbank or a `.tim` time series. Parameters: `dm`, an axis of dispersion measures (one value,
//! or left out, for a time series), and optionally `period_min` and `period_max` in seconds, `min_sigma` and
//! `max_candidates`. Output: one JSON object per [`Candidate`] and line, best first. A unit with `merge` in its
//! parameters takes such outputs as its inputs and keeps the best of all; the bytes don't depend on the grouping.
//!
//! The parts are plain functions, for pictures and other programs: [`Recording`] reads and dedisperses, [`Spectrum`]
//! transforms and whitens, [`search()`] finds, [`fold()`] folds.
//!
//! Functions like the logarithm come from `libm`, so that a native run gives the bytes of the sandbox.

mod candidate;
mod fold;
mod kernel;
mod recording;
mod search;
mod significance;
mod sigproc;
mod spectrum;

pub use candidate::{Best, Candidate};
pub use fold::fold;
pub use kernel::{Pulsar, check};
pub use recording::{Recording, RecordingError};
pub use search::{Limits, search};
pub use significance::sigma;
pub use sigproc::{Header, HeaderError};
pub use spectrum::Spectrum;

#[cfg(test)]
mod tests;
