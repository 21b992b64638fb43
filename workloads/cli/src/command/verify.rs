//! `starling verify`: fetched results against their receipts, offline; and, if asked, against a run of one's own.

mod file;

pub(super) use file::of_project;

use super::view::counted;
use super::{Context, fetch};
use crate::args::Verify;
use crate::error::Error;
use crate::forecast::spread;
use crate::local::Local;
use crate::profile::Profile;
use crate::results::{self, Line, Place, State};
use proto::job::{JobSpec, Stage};
use proto::key::Verified;
use proto::receipt::Receipt;
use proto::report::Output;
use proto::{AccountKey, Digest, ProjectKey, UnitIndex};
use roaring::RoaringTreemap;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    lines: u64,
    pub(super) receipts: u64,
    given_up: u64,
    pub(super) copies: u64,
    pub(super) accounts: BTreeSet<AccountKey>,
}

pub(super) async fn run(args: Verify, context: &Context) -> Result<(), Error> {
    match (&args.file, &args.folder) {
        (Some(what), _) => file::run(what, context),
        (None, Some(folder)) => fetched(&args, folder, context).await,
        (None, None) => Err(Error::Usage("name a folder, or a kind of file".into())),
    }
}

async fn fetched(args: &Verify, folder: &Path, context: &Context) -> Result<(), Error> {
    let state = results::load(folder)?;
    let project = project(&state, context)?;
    let spec = results::load_spec(folder, &state)?;
    let found = check(folder, &state, &project, args.unit)?;
    if let Some(unit) = args.unit
        && found.lines == 0
    {
        return Err(Error::Usage(format!("{} has no result of {unit}", folder.display())));
    }
    if found.receipts == 0 && found.given_up == 0 {
        return Err(Error::Unverified(format!(
            "{} has no receipts: fetch without --no-receipts",
            folder.display()
        )));
    }
    let rerun =
        if args.rerun { rerun(args, folder, &state, &spec, context).await? } else { Vec::new() };
    let answer = json!({
        "job": state.job.to_string(), "results": found.lines, "receipts": found.receipts, "given_up": found.given_up,
        "copies": found.copies, "accounts": found.accounts.len(), "rerun": rerun,
    });
    context.output.answer(&answer, || described(&found, &rerun))?;
    Ok(())
}

/// The project that must have signed: the one that the user is logged in at, if any, else the one of the fetch.
fn project(state: &State, context: &Context) -> Result<ProjectKey, Error> {
    let Ok(profile) = context.profile_path().and_then(|path| Profile::load(&path)) else {
        return Ok(state.project);
    };
    let project = profile.join.project;
    if project == state.project {
        return Ok(project);
    }
    let message = format!(
        "these results are of project {}, you are logged in at {project}: name the right profile with --profile FILE",
        state.project
    );
    Err(Error::Unverified(message))
}

/// Checks every result in the folder, or that of one unit.
pub(super) fn check(
    folder: &Path,
    state: &State,
    project: &ProjectKey,
    unit: Option<UnitIndex>,
) -> Result<Found, Error> {
    let (mut found, mut units) = (Found::default(), RoaringTreemap::new());
    let mut verified = Verified::default();
    results::for_each(folder, state, |line| {
        if !units.insert(line.unit) {
            return Err(Error::Unverified(format!("u{} has two results", line.unit)));
        }
        if unit.is_some_and(|unit| unit.0 != line.unit) {
            return Ok(());
        }
        if let Some(output) = &line.output
            && output.found(folder)? != output.digest
        {
            return Err(Error::Unverified(format!(
                "the output of u{} is not what was fetched",
                line.unit
            )));
        }
        found.lines += 1;
        match line.verify(project, state.spec, &mut verified)? {
            Some(receipt) => found.note(&receipt),
            None if line.failure.is_some() => found.given_up += 1,
            None => {
                return Err(Error::Unverified(format!(
                    "u{} has no receipt: fetch without --no-receipts",
                    line.unit
                )));
            }
        }
        Ok(())
    })?;
    Ok(found)
}

impl Found {
    fn note(&mut self, receipt: &Receipt) {
        self.receipts += 1;
        self.copies += receipt.copies.len() as u64;
        self.accounts.extend(receipt.copies.iter().map(|copy| copy.account));
    }
}

fn described(found: &Found, rerun: &[u64]) -> String {
    let given_up = match found.given_up {
        0 => String::new(),
        count => format!("\n{} given up, which nobody vouches for", counted(count, "unit")),
    };
    let rerun = match rerun {
        [] => String::new(),
        units => format!("\nrun again here with the same output and fuel: {}", names(units)),
    };
    format!(
        "{} hold: outputs, fuel and signatures fit, on the word of {} by {}{given_up}{rerun}",
        counted(found.receipts, "receipt"),
        counted(found.copies, "report"),
        counted(found.accounts.len() as u64, "account"),
    )
}

fn names(units: &[u64]) -> String {
    units.iter().map(|unit| UnitIndex(*unit).to_string()).collect::<Vec<_>>().join(", ")
}

/// Runs the chosen units here, and compares.
async fn rerun(
    args: &Verify,
    folder: &Path,
    state: &State,
    spec: &JobSpec,
    context: &Context,
) -> Result<Vec<u64>, Error> {
    let chosen: BTreeSet<u64> = match args.unit {
        Some(unit) => [unit.0].into(),
        None => chosen(folder, state, args.sample)?,
    };
    let mut needed = chosen.clone();
    needed.extend(chosen.iter().flat_map(|unit| merged_by(spec, *unit)));
    let mut lines = BTreeMap::new();
    results::for_each(folder, state, |line| {
        if needed.contains(&line.unit) {
            lines.insert(line.unit, line);
        }
        Ok(())
    })?;
    let mut local = Local::new()?;
    for unit in &chosen {
        let merged = merged_by(spec, *unit)
            .map(|unit| output(folder, &lines, unit, &mut local))
            .collect::<Result<_, _>>()?;
        gather(spec, UnitIndex(*unit), folder, &mut local, context).await?;
        let line =
            lines.get(unit).ok_or_else(|| Error::Usage(format!("u{unit} has no result here")))?;
        compare(&mut local, spec, line, merged)?;
    }
    Ok(chosen.into_iter().collect())
}

/// Some units that have a result which a run can repeat, spread over what was fetched.
fn chosen(folder: &Path, state: &State, count: u64) -> Result<BTreeSet<u64>, Error> {
    let places: BTreeSet<u64> = spread(state.results, count).into_iter().collect();
    let (mut at, mut chosen) = (0, BTreeSet::new());
    results::for_each(folder, state, |line| {
        if places.contains(&at) {
            chosen.insert(line.unit);
        }
        at += 1;
        Ok(())
    })?;
    Ok(chosen)
}

/// The units that this one merges.
fn merged_by(spec: &JobSpec, unit: u64) -> std::ops::Range<u64> {
    match spec.stage(UnitIndex(unit)) {
        Some(Stage::Merge { first, count, .. }) => first.0..first.0 + u64::from(count),
        Some(Stage::Cut) | None => 0..0,
    }
}

fn output(
    folder: &Path,
    lines: &BTreeMap<u64, Line>,
    unit: u64,
    local: &mut Local,
) -> Result<Output, Error> {
    let found = lines.get(&unit).and_then(|line| line.output.as_ref());
    let output = found.ok_or_else(|| {
        Error::Failed(format!("the output of u{unit}, which is merged, was not fetched yet"))
    })?;
    match &output.place {
        Place::File(name) => {
            local.add_file(output.digest, results::inside(folder, name)?);
            Ok(Output::Blob { digest: output.digest, len: output.bytes })
        }
        Place::Text(_) | Place::Base64(_) => Ok(Output::Inline(output.content()?)),
    }
}

/// Brings the kernel and the inputs of a unit here: shipped with this program, fetched before, or from the coordinator.
pub(super) async fn gather(
    spec: &JobSpec,
    unit: UnitIndex,
    folder: &Path,
    local: &mut Local,
    context: &Context,
) -> Result<(), Error> {
    let kernel = match spec.stage(unit) {
        Some(Stage::Merge { .. }) => {
            spec.merge.and_then(|merge| merge.kernel).unwrap_or(spec.kernel)
        }
        Some(Stage::Cut) | None => spec.kernel,
    };
    for shipped in shipped::ALL {
        if Digest::of(shipped.wasm) == kernel {
            local.add_bytes(shipped.wasm)?;
        }
    }
    let blobs = folder.join("blobs");
    std::fs::create_dir_all(&blobs).map_err(Error::file("create", &blobs))?;
    let lines = spec.line_file().map(|(digest, len, _)| (digest, Some(len)));
    let inputs = spec.inputs.iter().map(|input| (input.digest, Some(input.len)));
    for (digest, len) in [(kernel, None)].into_iter().chain(lines).chain(inputs) {
        bring(digest, len, &blobs, local, context).await?;
    }
    if matches!(spec.stage(unit), Some(Stage::Cut))
        && let Some(file) = local.listed(spec, unit)?
    {
        bring(file.digest, Some(file.len), &blobs, local, context).await?;
    }
    Ok(())
}

/// Gets a blob from the coordinator unless it is here.
async fn bring(
    digest: Digest,
    len: Option<u64>,
    blobs: &Path,
    local: &mut Local,
    context: &Context,
) -> Result<(), Error> {
    if local.has(&digest) {
        return Ok(());
    }
    let path = blobs.join(digest.to_string());
    if !path.exists() {
        let client = context.connect().await?;
        let len = match len {
            Some(len) => len,
            None => fetch::len(&client, digest).await?,
        };
        fetch::get_blob(&client, digest, len, &path).await?;
    }
    local.add_file(digest, path);
    Ok(())
}

pub(super) fn compare(
    local: &mut Local,
    spec: &JobSpec,
    line: &Line,
    merged: Vec<Output>,
) -> Result<(), Error> {
    let index = UnitIndex(line.unit);
    let unit = local.unit(spec, index, merged)?;
    let run = tokio::task::block_in_place(|| local.run(unit))?;
    let expected = line.output.as_ref().map(|output| output.digest);
    let same = match run.digest() {
        Ok(digest) => expected == Some(digest),
        Err(failure) => {
            line.failure.as_deref().is_some_and(|told| is_told(told, &failure.to_string()))
        }
    };
    if same && run.fuel == line.fuel {
        return Ok(());
    }
    let came = run
        .digest()
        .map_or_else(|failure| failure.to_string(), |digest| format!("output {digest}"));
    let fetched = expected.map_or_else(
        || line.failure.clone().unwrap_or_default(),
        |digest| format!("output {digest}"),
    );
    Err(Error::Unverified(format!(
        "{index} run here came to: {came}, fuel {}; the result that was fetched is: {fetched}, fuel {}",
        run.fuel, line.fuel
    )))
}

/// Whether a failure was told so; an earlier release told less of it.
fn is_told(told: &str, failure: &str) -> bool {
    failure.strip_prefix(told).is_some_and(|rest| rest.is_empty() || rest.starts_with(", "))
}
