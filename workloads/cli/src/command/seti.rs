//! `starling seti`: work units and results of SETI@home, made, compared and drawn.

mod draw;
mod page;
mod plots;

pub(super) use plots::{draw_all, drawable};

use super::Context;
use super::view::counted;
use crate::args::{Seti, SetiCompare, SetiGenerate};
use crate::error::Error;
use ::seti::{Allowed, Comparison, Match, Plant, Recipe, Record, Similarity, compare, read_result};
use serde_json::json;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Largest file that is read, bytes: more than a work unit or a result can have.
const FILE_BYTES_MAX: u64 = ::seti::UNIT_BYTES_MAX;

pub(super) fn run(args: Seti, context: &Context) -> Result<(), Error> {
    match args {
        Seti::Compare(args) => run_compare(&args, context),
        Seti::Generate(args) => run_generate(args, context),
        Seti::Plots(args) => plots::run(&args, context),
    }
}

/// The whole of a file that is no larger than any of its kind.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = fs::metadata(path).map_err(Error::file("read", path))?.len();
    if FILE_BYTES_MAX < bytes {
        return Err(Error::Failed(format!(
            "{} has {bytes} bytes, and {FILE_BYTES_MAX} is the most",
            path.display()
        )));
    }
    fs::read(path).map_err(Error::file("read", path))
}

/// The signals of a result file.
fn records(path: &Path) -> Result<Vec<Record>, Error> {
    read_result(&read(path)?).map_err(|error| Error::Failed(format!("{}: {error}", path.display())))
}

fn run_compare(args: &SetiCompare, context: &Context) -> Result<(), Error> {
    let (first, second) = (records(&args.first)?, records(&args.second)?);
    let comparison = compare(&first, &second);
    let words = match comparison.similarity {
        Similarity::Strong => "strongly similar",
        Similarity::Weak => "weakly similar",
        Similarity::Different => "different",
    };
    let side = |matches: &[Match], ours: &[Record]| -> Vec<_> {
        matches.iter().map(|found| signal_json(found, ours)).collect()
    };
    let answer = json!({
        "similarity": words,
        "first": side(&comparison.first, &first),
        "second": side(&comparison.second, &second),
    });
    let written = context.output.answer(&answer, || described(words, &comparison, &first, &second));
    if comparison.similarity == Similarity::Strong {
        return written;
    }
    Err(Error::Unverified(format!("the results are {words}, not strongly similar")))
}

fn signal_json(found: &Match, ours: &[Record]) -> serde_json::Value {
    let differences = found.differences.iter().map(|difference| {
        let (allowed, relative) = match difference.allowed {
            Allowed::Apart(allowed) => (allowed, false),
            Allowed::Part(allowed) => (allowed, true),
        };
        json!({
            "field": difference.field, "first": difference.first, "second": difference.second,
            "difference": difference.difference, "allowed": allowed, "relative": relative,
            "passes": difference.passes(),
        })
    });
    json!({
        "signal": found.index + 1, "kind": ours[found.index].kind, "passes": found.passes(),
        "nearest": found.nearest.map(|nearest| nearest + 1),
        "differences": differences.collect::<Vec<_>>(),
    })
}

/// The verdict, what has no like, and each field that differs.
fn described(words: &str, comparison: &Comparison, first: &[Record], second: &[Record]) -> String {
    let passing = |matches: &[Match]| matches.iter().filter(|found| found.passes()).count();
    let mut lines = vec![format!(
        "{words}: {} of {} have their like in the second, {} of {} in the first",
        passing(&comparison.first),
        counted(first.len() as u64, "signal"),
        passing(&comparison.second),
        second.len()
    )];
    for found in &comparison.first {
        lines.extend(one_described("first", found, first));
    }
    // Differences stand above, seen from the first; from the second only what has no like is new.
    for found in comparison.second.iter().filter(|found| !found.passes()) {
        lines.extend(one_described("second", found, second).into_iter().take(1));
    }
    lines.join("\n")
}

fn one_described(side: &str, found: &Match, ours: &[Record]) -> Vec<String> {
    let name = format!("{} {} of the {side}", ours[found.index].kind, found.index + 1);
    let Some(nearest) = found.nearest else {
        return vec![format!("  {name}: the other has none of this kind")];
    };
    let mut lines = Vec::new();
    if !found.passes() {
        lines.push(format!("  {name}: no like; nearest is signal {}", nearest + 1));
    }
    for difference in &found.differences {
        let (allowed, unit) = match difference.allowed {
            Allowed::Apart(allowed) => (allowed, ""),
            Allowed::Part(allowed) => (allowed, " of the larger"),
        };
        let verdict = if difference.passes() { "" } else { "  TOO MUCH" };
        lines.push(format!(
            "  {name}, {}: {} and {}, apart by {:.2e}{unit} of {allowed} allowed{verdict}",
            difference.field, difference.first, difference.second, difference.difference
        ));
    }
    lines
}

fn run_generate(args: SetiGenerate, context: &Context) -> Result<(), Error> {
    let mut recipe = Recipe::showcase(args.seed, args.samples);
    if args.noise {
        recipe.plants.clear();
    }
    if !args.plant.is_empty() {
        let read = |text: &String| {
            serde_json::from_str::<Plant>(text)
                .map_err(|error| Error::Usage(format!("--plant: {text}: {error}")))
        };
        recipe.plants = args.plant.iter().map(read).collect::<Result<_, _>>()?;
    }
    match args.chirp_limits.as_slice() {
        [] => {}
        &[first, second] => recipe.chirp_limits = [first, second],
        _ => return Err(Error::Usage("--chirp-limits: give two, as in 0.15,0.2".into())),
    }
    recipe.max_signals = args.max_signals;
    let unit = recipe.unit().map_err(|error| Error::Usage(error.to_string()))?;
    let file = &args.file;
    let mut out = File::create_new(file).map_err(Error::file("create", file))?;
    out.write_all(&unit).map_err(Error::file("write", file))?;
    let answer = json!({
        "file": file, "bytes": unit.len(), "samples": args.samples, "sample_rate": recipe.sample_rate(),
        "hidden": recipe.plants,
    });
    context.output.answer(&answer, || {
        let mut lines = vec![format!(
            "{}: {} samples at {:.3} Hz, noise of seed {}, {} hidden",
            file.display(),
            args.samples,
            recipe.sample_rate(),
            args.seed,
            counted(recipe.plants.len() as u64, "signal")
        )];
        lines.extend(recipe.plants.iter().map(|plant| format!("  {}", hidden(plant))));
        lines.join("\n")
    })?;
    Ok(())
}

/// What is hidden, in words.
pub(in crate::command) fn hidden(plant: &Plant) -> String {
    let kind = plant.kind();
    match *plant {
        Plant::Tone { frequency, drift, begin, end, .. } => format!(
            "{kind}: a tone at {frequency:.1} Hz that drifts by {drift} Hz/s, from {begin:.1} s to {end:.1} s"
        ),
        Plant::Source { frequency, drift, at, .. } => format!(
            "{kind}: a source at {frequency:.1} Hz that drifts by {drift} Hz/s and passes the beam at {at:.1} s"
        ),
        Plant::Pulses { frequency, begin, period, count, .. } => format!(
            "{kind}: {count} pulses at {frequency:.1} Hz, from {begin:.1} s on, every {period:.3} s"
        ),
        Plant::Echo { delay, .. } => format!("{kind}: noise that comes back after {delay} s"),
    }
}
