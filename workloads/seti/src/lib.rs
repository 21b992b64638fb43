//! The search of SETI@home, version 8, as a kernel: spikes, autocorrelations, Gaussians, pulses and triplets in a
//! recording of 107 seconds, at thousands of drift rates.
//!
//! Input: a work unit as the project sent them out. Parameters: `share`, a range of the [`SHARES`] equal parts of the
//! whole cost (absent: all), and `chirp_limits`, which replace those of the work unit. Output: a [`Part`], or the
//! result file once the whole table has been searched. A unit with `merge` joins the outputs that are its inputs; the
//! same bytes come out however the table was cut.
//!
//! All arithmetic is IEEE f32 and f64 in a fixed order, with `libm` for what is transcendental, so a native run and a
//! run in the sandbox give the same bits.

mod autocorr;
mod compare;
mod dechirp;
mod derived;
mod fft;
mod gamma;
mod gaussian;
mod generate;
mod header;
mod markup;
mod number;
mod part;
mod pulse;
mod result;
mod samples;
mod search;
mod signal;
mod smooth;
mod spectrogram;
mod spike;
mod table;
mod triplet;
mod view;
mod windows;

pub use compare::{Allowed, Comparison, Difference, Match, Similarity, compare};
pub use generate::{Plant, Recipe};
pub use header::{Encoding, Entry, Error as HeaderError, Header, Pointing, Setup};
pub use markup::Error as MarkupError;
pub use part::{Error as PartError, Output, Part, Scored};
pub use result::{Error as ResultError, Record, print as print_result, read as read_result};
pub use samples::{Error as SamplesError, Samples};
pub use search::{Error as SearchError, Search};
pub use signal::{Shape, Signal};
pub use table::{Pair, SHARES, Table};
pub use view::{View, Waterfall};

use starling_sdk::{Error, Kernel, Merge, Progress, Range, Unit};
use std::io::Read;

/// Largest work unit: the longest header and the longest recording as text.
pub const UNIT_BYTES_MAX: u64 = 64 << 20;
/// Work of one step in the measure of the table's costs, nanoseconds in the sandbox: well above what a step itself
/// costs, and well below the two seconds that a host may have to wait for its end.
const STEP_COST: u64 = 200_000_000;

/// What a unit says.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Which part of the table, in [`SHARES`]; absent for all.
    share: Option<Range>,
    /// Limits of the drift in Hz/s, in place of those of the work unit.
    chirp_limits: Option<Vec<f64>>,
    /// Set on a unit that merges.
    merge: Option<Merge>,
}

/// The kernel: some pairs of the table per step, or a merge.
#[derive(Debug)]
pub enum Seti {
    /// Between two steps of a search.
    Search(Box<Search>),
    /// All inputs in one.
    Merged(Output),
}

starling_sdk::export!(Seti);

impl Kernel for Seti {
    type Params = Params;

    fn start(params: Params, unit: &mut Unit) -> Result<Self, Error> {
        if params.merge.is_some() {
            let outputs =
                (0..unit.input_count()).map(|index| Ok(Output::from_bytes(&read(unit, index)?)?));
            return Ok(Self::Merged(Output::merge(outputs.collect::<Result<_, Error>>()?)?));
        }
        let bytes = read(unit, 0)?;
        let mut header = Header::read(&bytes)?;
        let samples = Samples::read(&bytes, &header.setup)?;
        if let Some(limits) = params.chirp_limits {
            header = header.with_chirp_limits(&limits)?;
        }
        let share = params.share.unwrap_or(Range { first: 0, end: SHARES });
        Ok(Self::Search(Box::new(Search::with(header, samples, |table| {
            table.share(share.first, share.end)
        }))))
    }

    fn step(&mut self, unit: &mut Unit) -> Result<Progress, Error> {
        let Self::Search(search) = self else {
            return Ok(Progress::Done);
        };
        let more = search.step(STEP_COST);
        let (done, total) = search.progress();
        unit.progress(done, total);
        Ok(if more { Progress::More } else { Progress::Done })
    }

    fn finish(self, unit: &mut Unit) -> Result<(), Error> {
        let output = match self {
            Self::Search(search) => search.finish(),
            Self::Merged(output) => output,
        };
        unit.write(&output.to_bytes());
        Ok(())
    }
}

/// The whole of an input.
fn read(unit: &Unit, index: u32) -> Result<Vec<u8>, Error> {
    let mut input = unit.input(index)?;
    if UNIT_BYTES_MAX < input.byte_count() {
        return Err(Error::new(format!(
            "input {index} is larger than a work unit can be: {UNIT_BYTES_MAX} bytes"
        )));
    }
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
