//! `starling demo`: everything at work on one machine, and a search whose answer is known.

mod grid;
mod sky;

use self::grid::Grid;
use super::fetch::{self, Source};
use super::view::{counted, details};
use super::{Context, submit, verify, watch};
use crate::amount;
use crate::args::Demo;
use crate::client::Client;
use crate::error::Error;
use crate::job_file::{self, Job};
use crate::output::Output;
use crate::profile::Profile;
use crate::results::{Folder, Line, Place};
use crate::upload;
use proto::{JobId, pb};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The job, which is one of the examples, and how much of it is shown: about a minute on two cores.
const JOB: &str = include_str!("../../examples/mersenne.toml");
const SET: [&str; 2] = ["cut.0.end=9_800", "cut.0.per_unit=100"];
/// Some seconds.
const SET_QUICK: [&str; 2] = ["cut.0.end=1_300", "cut.0.per_unit=50"];
/// The exponents of the Mersenne primes below 2^44497, all of which are known (GIMPS).
const KNOWN: [u32; 26] = [
    2, 3, 5, 7, 13, 17, 19, 31, 61, 89, 107, 127, 521, 607, 1279, 2203, 2281, 3217, 4253, 4423,
    9689, 9941, 11_213, 19_937, 21_701, 23_209,
];

const NEXT: &str = "\
Everything above ran on this machine: a coordinator, two workers of different owners, and you as the researcher.
Next, across machines:
  starling-coordinator run                     on a server: prints the join string for volunteers
  starling-worker join JOIN                    on each machine that helps; then starling-worker run
  starling-coordinator token issue YOU         makes your token; then starling login JOIN
  starling submit examples/mersenne.toml --watch
And a kernel of your own:
  starling kernel new NAME                     then starling kernel build, starling try job.toml";

pub(super) async fn run(args: Demo, context: &Context) -> Result<(), Error> {
    let output = context.output;
    let temporary = match args.folder {
        Some(_) => None,
        None => {
            let made = tempfile::Builder::new().prefix("starling-demo-").tempdir();
            Some(made.map_err(Error::file("create a folder in", &std::env::temp_dir()))?)
        }
    };
    let home = args
        .folder
        .as_deref()
        .or_else(|| temporary.as_ref().map(tempfile::TempDir::path))
        .unwrap_or_else(|| Path::new("."));
    let set = if args.quick { SET_QUICK } else { SET };
    let job = job_file::parse("the demo's job", JOB, &set.map(str::to_owned), Path::new(""))?;
    output.say("starting a coordinator and two workers of different owners...")?;
    let grid = Grid::start(home).await?;
    let search = async {
        if args.seti {
            sky::search(&grid, args.quick, home, args.folder.is_some(), output).await
        } else {
            primes(&grid, &job, home, output).await
        }
    };
    let result = tokio::select! {
        result = search => result,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
        () = program::stdout::closed() => Err(Error::Closed),
    };
    output.note("stopping...");
    grid.shutdown().await;
    result?;
    output.say(NEXT)?;
    Ok(())
}

/// A job that has ended well: its results are here and hold.
struct Ended {
    status: pb::JobStatus,
    /// The folder of its results.
    path: PathBuf,
    /// What vouches for them.
    found: verify::Found,
    merged: Option<String>,
    took: Duration,
}

/// Submits the job, watches it, fetches and checks the results; `say` tells what begins, `each` sees the results of the
/// cut's units as they come.
async fn compute(
    grid: &Grid,
    job: &Job,
    home: &Path,
    output: Output,
    say: impl FnOnce(JobId, u64) -> String,
    mut each: impl FnMut(&Line, &Path) -> Result<(), Error>,
) -> Result<Ended, Error> {
    let client = Client::connect(Profile { join: grid.join(), token: grid.token() }).await?;
    upload::upload(&client, &job.blobs, output).await?;
    let started = Instant::now();
    let status = submit::submit(&client, &job.spec, rand::random()).await?;
    let id = JobId(status.job_id);
    output.say(&say(id, status.units))?;
    let path = home.join(format!("results-{id}"));
    let project = client.profile.join.project;
    let spec = job.spec.encode();
    let mut folder = Folder::open(&path, id, project, &spec)?;
    let source = Source::new(client.clone(), id, &spec, path.clone(), true)?;
    let source = Arc::new(source);
    let bar = output.bar(status.units, "[{bar:30}] {pos}/{len} units, {elapsed}, {msg}");
    let cut_units = job.spec.cut_units();
    // The first trouble; nothing is told after it.
    let mut written = Ok(());
    let pulling = fetch::pull(&source, &mut folder, true, |lines| {
        let mut lines = lines.iter().filter(|line| line.unit < cut_units);
        if written.is_ok() {
            written = bar.suspend(|| lines.try_for_each(|line| each(line, &path)));
        }
    });
    let watching = watch::until_end(&client, id, |status| {
        bar.set_position(status.settled);
        bar.set_message(details(status));
        Ok(())
    });
    let ((), status) = tokio::try_join!(pulling, watching)?;
    bar.finish_and_clear();
    written?;
    let took = started.elapsed();
    watch::end(&status)?;
    let found = verify::check(&path, &folder.state, &project, None)?;
    if found.receipts != status.units {
        return Err(Error::Unverified(format!(
            "{} of {} units have a receipt",
            found.receipts, status.units
        )));
    }
    let merged = fetch::merged(&source, &folder)?;
    Ok(Ended { status, path, found, merged, took })
}

/// Which Mersenne numbers are prime, and whether these are the known ones.
async fn primes(grid: &Grid, job: &Job, home: &Path, output: Output) -> Result<(), Error> {
    let range = range(job);
    let mut primes = Vec::new();
    let say = |id, units| {
        format!(
            "{id}: which 2^p - 1 are prime, for p from {} below {}? {}, each computed by {} owners",
            range.start,
            range.end,
            counted(units, "unit"),
            job.spec.copies
        )
    };
    let Ended { status, found, took, .. } = compute(grid, job, home, output, say, |line, path| {
        let found = primes_of(line, path);
        primes.extend(&found);
        found.iter().try_for_each(|prime| announce(*prime, output))
    })
    .await?;
    compare(&mut primes, &range)?;
    let answer = json!({
        "demo": { "primes": primes, "units": status.units, "receipts": found.receipts, "copies": found.copies,
        "accounts": found.accounts.len(), "fuel": status.fuel, "credit": status.credit, "time_s": took.as_secs_f64() }
    });
    output.answer(&answer, || {
        format!(
            "found {} Mersenne primes: exactly the known ones. {} hold, on the word of {} by {}; fuel {}, {}\n",
            primes.len(),
            counted(found.receipts, "receipt"),
            counted(found.copies, "report"),
            counted(found.accounts.len() as u64, "owner"),
            amount::count(status.fuel),
            amount::duration(took)
        )
    })?;
    Ok(())
}

fn range(job: &Job) -> std::ops::Range<u64> {
    match job.spec.cut.first() {
        Some(proto::cut::Axis::Range { first, end, .. }) => *first..*end,
        _ => 0..0,
    }
}

/// The exponents that a unit's output calls prime.
fn primes_of(line: &Line, folder: &Path) -> Vec<u32> {
    let text = match line.output.as_ref().map(|output| &output.place) {
        Some(Place::Text(text)) => text.clone(),
        Some(Place::File(name)) => std::fs::read_to_string(folder.join(name)).unwrap_or_default(),
        Some(Place::Base64(_)) | None => String::new(),
    };
    let prime = |line: &str| {
        let (exponent, rest) = line.split_once(' ')?;
        rest.starts_with("prime").then(|| exponent.parse().ok())?
    };
    text.lines().filter_map(prime).collect()
}

fn announce(exponent: u32, output: Output) -> Result<(), Error> {
    // log10(2), fifteen digits: enough for all exponents of 32 bits.
    let digits = u64::from(exponent) * 301_029_995 / 1_000_000_000 + 1;
    let answer = json!({ "prime": { "exponent": exponent, "digits": digits } });
    output.answer(&answer, || format!("2^{exponent} - 1 is prime ({})", counted(digits, "digit")))
}

/// Fails unless exactly the known primes of the range were found.
fn compare(primes: &mut [u32], range: &std::ops::Range<u64>) -> Result<(), Error> {
    primes.sort_unstable();
    let known: Vec<u32> =
        KNOWN.into_iter().filter(|exponent| range.contains(&u64::from(*exponent))).collect();
    if primes == known {
        return Ok(());
    }
    Err(Error::Unverified(format!(
        "the primes found are not the known ones: found {primes:?}, known {known:?}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_primes_than_the_known_ones_are_an_error() {
        assert!(compare(&mut [7, 2, 3, 5], &(2..10)).is_ok());
        assert!(compare(&mut [2, 3, 5], &(2..10)).is_err());
        assert!(compare(&mut [2, 3, 5, 7, 11], &(2..12)).is_err());
    }

    #[test]
    fn primes_are_read_from_the_kernels_lines() {
        let text = b"11 composite 00000000000006C8\n13 prime 0000000000000000\n";
        let output = Some(crate::results::Output::inline(text));
        let line = Line { fuel: 1, output, ..Line::default() };
        assert_eq!(primes_of(&line, Path::new("")), [13]);
    }
}
