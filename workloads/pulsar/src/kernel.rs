//! The search as a kernel: one dispersion measure a step.

use crate::candidate::{Best, Candidate};
use crate::recording::Recording;
use crate::search::{Limits, search};
use crate::sigproc::Header;
use crate::spectrum::Transforms;
use starling_sdk::{Error, Input, Kernel, Level, Merge, Progress, Steps, Unit};
use std::fmt;
use std::io::{BufRead, BufReader, Read, Seek, Write};

/// Most dispersion measures of one unit: hours of work, and no reason to want more.
const DM_COUNT_MAX: u64 = 100_000;
/// Most candidates of one unit: more than anybody looks at.
const CANDIDATES_MAX: usize = 10_000;
/// Candidates kept if the job does not say.
const CANDIDATES: usize = 100;
/// Least significance if the job does not say: by noise alone one spectrum in 10^9 has such a candidate.
const MIN_SIGMA: f64 = 6.0;
/// Shortest period if the job does not say, in samples: four harmonics are below half the sampling rate.
const PERIOD_MIN_SAMPLES: f64 = 8.0;
/// Longest period if the job does not say, as a part of the recording: it must come back some times.
const PERIOD_MAX_PART: f64 = 1.0 / 8.0;

/// What a unit says.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Params {
    dm: Option<Dispersion>,
    period_min: Option<f64>,
    period_max: Option<f64>,
    min_sigma: Option<f64>,
    max_candidates: Option<usize>,
    merge: Option<Merge>,
}

/// An axis, or a value that the job fixes or an axis of values gives.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(untagged)]
enum Dispersion {
    Steps(Steps),
    One(f64),
}

impl Dispersion {
    fn steps(self) -> Steps {
        match self {
            Self::Steps(steps) => steps,
            Self::One(start) => Steps { start, step: 0.0, count: 1 },
        }
    }
}

/// The kernel.
#[derive(Debug)]
pub struct Pulsar {
    work: Work,
    best: Best,
}

enum Work {
    Merge { inputs_done: u32 },
    Search(Box<Search>),
}

struct Search {
    recording: Recording<Input>,
    like: Candidate,
    limits: Limits,
    dm: Steps,
    dm_done: u64,
    transforms: Transforms,
}

starling_sdk::export!(Pulsar);

impl Kernel for Pulsar {
    type Params = Params;

    fn start(params: Params, unit: &mut Unit) -> Result<Self, Error> {
        let count_max = params.max_candidates.unwrap_or(CANDIDATES);
        if !(1..=CANDIDATES_MAX).contains(&count_max) {
            let text = format!("max_candidates is {count_max}; allowed are 1 to {CANDIDATES_MAX}");
            return Err(Error::new(text));
        }
        let work = match params.merge {
            Some(_) => Work::Merge { inputs_done: 0 },
            None => Work::Search(Box::new(Search::start(&params, unit)?)),
        };
        Ok(Self { work, best: Best::new(count_max) })
    }

    fn step(&mut self, unit: &mut Unit) -> Result<Progress, Error> {
        let (done, total) = match &mut self.work {
            Work::Merge { inputs_done } => {
                if *inputs_done < unit.input_count() {
                    merge(unit.input(*inputs_done)?, &mut self.best)?;
                    *inputs_done += 1;
                }
                (u64::from(*inputs_done), u64::from(unit.input_count()))
            }
            Work::Search(search) => {
                if search.dm_done < search.dm.count {
                    search.step(&mut self.best)?;
                }
                (search.dm_done, search.dm.count)
            }
        };
        unit.progress(done, total);
        Ok(if done < total { Progress::More } else { Progress::Done })
    }

    fn finish(self, unit: &mut Unit) -> Result<(), Error> {
        for candidate in self.best.into_list() {
            writeln!(unit, "{}", serde_json::to_string(&candidate)?)?;
        }
        Ok(())
    }
}

impl Search {
    fn start(params: &Params, unit: &mut Unit) -> Result<Self, Error> {
        let Plan { recording, dm, limits, warnings } = Plan::new(params, unit.input(0)?)?;
        warnings.iter().for_each(|warning| unit.log(Level::Warning, warning));
        let header = recording.header();
        let like = Candidate {
            source: header.source.clone(),
            start_mjd: header.start_mjd,
            period_s: 0.0,
            frequency_hz: 0.0,
            resolution_hz: 0.0,
            dm: 0.0,
            harmonics: 0,
            power: 0.0,
            sigma: 0.0,
            harmonic_of: None,
        };
        let transforms = Transforms::new(recording.sample_count());
        Ok(Self { recording, like, limits, dm, dm_done: 0, transforms })
    }

    fn step(&mut self, best: &mut Best) -> Result<(), Error> {
        let dm = self.dm.value(self.dm_done);
        let samples = self.recording.dedisperse(dm)?;
        let spectrum = self.transforms.spectrum(&samples, self.recording.header().sample_s);
        search(&spectrum, &self.limits, &Candidate { dm, ..self.like.clone() }, best);
        self.dm_done += 1;
        Ok(())
    }
}

/// A search of a recording that can be made.
struct Plan<R> {
    recording: Recording<R>,
    dm: Steps,
    limits: Limits,
    warnings: Vec<String>,
}

impl<R: Read + Seek> Plan<R> {
    fn new(params: &Params, input: R) -> Result<Self, Error> {
        let recording = Recording::open(input)?;
        let mut warnings = recording.warnings().to_vec();
        let dm = dispersions(params, recording.header(), &mut warnings)?;
        if dm.count > DM_COUNT_MAX {
            let text = format!(
                "a unit of {} dispersion measures: cut dm into units of at most {DM_COUNT_MAX}",
                dm.count
            );
            return Err(Error::new(text));
        }
        // Delays grow with the dispersion measure: what the ends allow, all between them allow.
        for index in [0, dm.count.saturating_sub(1)] {
            recording.check_dm(dm.value(index))?;
        }
        let limits = limits(params, &recording)?;
        Ok(Self { recording, dm, limits, warnings })
    }
}

/// Whether a unit of these parameters, one JSON object, can search this recording: what the kernel would warn of.
///
/// # Errors
/// Why the unit would fail before anything is computed.
pub fn check(params: &str, input: impl Read + Seek) -> Result<Vec<String>, Error> {
    let params: Params = serde_json::from_str(params).map_err(|error| {
        Error::new(format!("the unit's parameters do not fit this kernel: {error}"))
    })?;
    Ok(Plan::new(&params, input)?.warnings)
}

/// The dispersion measures of a unit.
fn dispersions(
    params: &Params,
    header: &Header,
    warnings: &mut Vec<String>,
) -> Result<Steps, Error> {
    let Some(dm) = params.dm else {
        if header.channel_count == 1 {
            return Ok(Steps { start: header.dm.unwrap_or(0.0), step: 0.0, count: 1 });
        }
        return Err(Error::new(
            "a filterbank needs dispersion measures: cut the job along an axis dm",
        ));
    };
    let dm = dm.steps();
    if 1 < header.channel_count {
        return Ok(dm);
    }
    if 1 < dm.count {
        let text = format!(
            "a time series has one dispersion measure, and {} were asked for: leave dm out",
            dm.count
        );
        return Err(Error::new(text));
    }
    let own = header.dm.unwrap_or(0.0);
    if dm.count == 1 && dm.start != own {
        warnings.push(format!(
            "a time series has one dispersion measure, here {own}: {} was asked for, and changes nothing",
            dm.start
        ));
    }
    Ok(Steps { start: own, step: 0.0, count: dm.count })
}

fn limits<R: Read + Seek>(params: &Params, recording: &Recording<R>) -> Result<Limits, Error> {
    let sample_s = recording.header().sample_s;
    let limits = Limits {
        period_min: params.period_min.unwrap_or(PERIOD_MIN_SAMPLES * sample_s),
        period_max: params.period_max.unwrap_or_else(|| PERIOD_MAX_PART * recording.duration_s()),
        min_sigma: params.min_sigma.unwrap_or(MIN_SIGMA),
    };
    let (shortest, longest) = (2.0 * sample_s, recording.duration_s() / 2.0);
    if !(shortest <= limits.period_min
        && limits.period_min < limits.period_max
        && limits.period_max <= longest)
    {
        return Err(Error::new(format!(
            "periods from period_min = {} to period_max = {} s; the recording allows {shortest} to {longest} s",
            limits.period_min, limits.period_max
        )));
    }
    if !(1.0..=1e6).contains(&limits.min_sigma) {
        return Err(Error::new(format!(
            "min_sigma is {}; allowed are 1 to 1000000",
            limits.min_sigma
        )));
    }
    Ok(limits)
}

/// Offers the candidates of another unit's output.
fn merge(input: Input, best: &mut Best) -> Result<(), Error> {
    for line in BufReader::new(input).lines() {
        let candidate = serde_json::from_str::<Candidate>(&line?).map_err(|error| {
            Error::new(format!("an input to merge is no output of this kernel: {error}"))
        })?;
        best.offer(Candidate { harmonic_of: None, ..candidate });
    }
    Ok(())
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Merge { inputs_done } => {
                f.debug_struct("Merge").field("inputs_done", inputs_done).finish()
            }
            Self::Search(search) => {
                f.debug_struct("Search").field("dm_done", &search.dm_done).finish_non_exhaustive()
            }
        }
    }
}
