//! `starling pulsar plot`: pictures of a recording, to be looked at.

mod draw;

use super::Context;
use crate::args::{Plot, Pulsar};
use crate::error::Error;
use crate::results;
use program::error::chain;
use pulsar::{Candidate, Recording, Spectrum, fold};
use serde_json::json;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What is drawn.
#[derive(Debug)]
struct Signal {
    source: String,
    period_s: f64,
    dm: f64,
    sigma: Option<f64>,
}

pub(super) fn run(args: Pulsar, context: &Context) -> Result<(), Error> {
    let Pulsar::Plot(args) = args;
    let file = File::open(&args.file).map_err(Error::file("read", &args.file))?;
    let wrong = |error: &dyn std::error::Error| {
        Error::Failed(format!("{}: {}", args.file.display(), chain(error)))
    };
    let mut recording = Recording::open(file).map_err(|error| wrong(&error))?;
    recording.warnings().iter().for_each(|warning| context.output.warning(warning));
    let signal = signal(&args)?;
    let samples = recording.dedisperse(signal.dm).map_err(|error| wrong(&error))?;
    let sample_s = recording.header().sample_s;
    let spectrum = Spectrum::new(&samples, sample_s);
    let profile = fold(&samples, sample_s, signal.period_s, args.bins as usize);
    let stem = args
        .to
        .clone()
        .unwrap_or_else(|| args.file.with_extension("").file_name().unwrap_or_default().into());
    let periodogram = named(&stem, "periodogram");
    let folded = named(&stem, "profile");
    draw::periodogram(&periodogram, &spectrum, &signal).map_err(Error::Failed)?;
    draw::profile(&folded, &profile, &signal).map_err(Error::Failed)?;
    let answer = json!({
        "period_s": signal.period_s, "dm": signal.dm, "sigma": signal.sigma, "periodogram": periodogram,
        "profile": folded,
    });
    context.output.answer(&answer, || {
        format!(
            "period {:.6} s, DM {}\n{}\n{}",
            signal.period_s,
            signal.dm,
            periodogram.display(),
            folded.display()
        )
    })?;
    Ok(())
}

fn named(stem: &Path, what: &str) -> PathBuf {
    let mut name = stem.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{what}.svg"));
    stem.with_file_name(name)
}

/// The signal to draw: the best candidate, changed by what was said.
fn signal(args: &Plot) -> Result<Signal, Error> {
    let source = args.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let best = args.result.as_deref().map(best).transpose()?;
    let period_s = args.period.or_else(|| best.as_ref().map(|best| best.period_s)).unwrap_or(0.0);
    let dm = args.dm.or_else(|| best.as_ref().map(|best| best.dm)).unwrap_or(0.0);
    if !(period_s.is_finite() && 0.0 < period_s) {
        return Err(Error::Usage(format!(
            "--period: {period_s} is not allowed: give seconds above 0"
        )));
    }
    let sigma = best.filter(|_| args.period.is_none()).map(|best| best.sigma);
    Ok(Signal { source, period_s, dm, sigma })
}

/// The best candidate of an output of the kernel, or of a folder of fetched results.
fn best(path: &Path) -> Result<Candidate, Error> {
    let mut texts = Vec::new();
    if path.is_dir() {
        let state = results::load(path)?;
        results::for_each(path, &state, |line| {
            if let Some(output) = line.output {
                let content = match &output.place {
                    results::Place::File(name) => {
                        let file = results::inside(path, name)?;
                        fs::read(&file).map_err(Error::file("read", &file))?
                    }
                    results::Place::Text(_) | results::Place::Base64(_) => output.content()?,
                };
                texts.push(String::from_utf8_lossy(&content).into_owned());
            }
            Ok(())
        })?;
    } else {
        texts.push(fs::read_to_string(path).map_err(Error::file("read", path))?);
    }
    let candidates =
        texts.iter().flat_map(|text| text.lines()).map(serde_json::from_str::<Candidate>);
    let candidates = candidates.collect::<Result<Vec<_>, _>>().map_err(|error| {
        Error::Failed(format!("{} is no output of the kernel pulsar: {error}", path.display()))
    })?;
    candidates
        .into_iter()
        .max_by(|a, b| a.sigma.total_cmp(&b.sigma))
        .ok_or_else(|| Error::Failed(format!("{} has no candidate", path.display())))
}
