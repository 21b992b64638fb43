//! `starling fetch`: results as they come, each checked, kept so that any stop loses nothing.

mod blob;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::report::Output;
use proto::{Digest, JobId, UnitIndex, pb};
use serde_json::json;
use tokio::task::JoinSet;

use super::view::{counted, has_ended};
use super::{Context, logs, watch};
use crate::args::Fetch;
use crate::client::Client;
use crate::error::Error;
use crate::results::{self, Folder, Line, Place};

/// Receipts and outputs asked for at the same time.
const PARALLEL: usize = 32;
/// How long the coordinator may be away before the fetch is given up.
const PATIENCE: Duration = Duration::from_secs(600);
/// Most results that are kept in memory until the cursor moves: many times a page.
const LINES_MAX: usize = 100_000;
/// Pause before the connection is tried again.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) use blob::{get as get_blob, len};

/// What a fetch needs to check what comes.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) client: Client,
    pub(super) job: JobId,
    pub(super) spec: Digest,
    pub(super) folder: PathBuf,
    pub(super) receipts: bool,
}

/// What a fetch brought.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Results that were not there before.
    pub(super) new: u64,
    /// All that are there.
    pub(super) results: u64,
    /// Of a job with a merge stage, the file with the output of the last unit, relative to the folder.
    pub(super) merged: Option<String>,
}

pub(super) async fn run(args: Fetch, context: &Context) -> Result<(), Error> {
    let client = context.connect().await?;
    let status = client.status(args.job).await?;
    let path = args.to.unwrap_or_else(|| args.job.to_string().into());
    let how = (!args.no_receipts, args.follow);
    let Fetched { new, results, merged } =
        all(client.clone(), &status, path.clone(), how, context.output).await?;
    let status = client.status(args.job).await?;
    let whole = results == status.units;
    let answer = json!({
        "job": args.job.to_string(), "folder": path, "new": new, "results": results,
        "units": status.units, "whole": whole, "merged": merged,
    });
    context.output.answer(&answer, || {
        let checked = if args.no_receipts { "" } else { ", each checked against its receipt" };
        let merged = merged
            .as_ref()
            .map(|name| format!("\nthe merged output: {}", path.join(name).display()));
        format!(
            "{} new, {results} of {} in {}{checked}{}{}",
            counted(new, "result"),
            counted(status.units, "unit"),
            path.display(),
            merged.unwrap_or_default(),
            if whole || has_ended(&status) {
                ""
            } else {
                "\nthe job goes on: fetch again, or --follow"
            },
        )
    });
    Ok(())
}

/// Brings the results of a job into the folder at `path`; `receipts`: with their receipts, `follow`: until it ends.
pub(super) async fn all(
    client: Client,
    status: &pb::JobStatus,
    path: PathBuf,
    (receipts, follow): (bool, bool),
    output: crate::output::Output,
) -> Result<Fetched, Error> {
    let job = JobId(status.job_id);
    let spec = client.spec(status).await?;
    let mut folder = Folder::open(&path, job, client.profile.join.project, &spec)?;
    let before = folder.state.results;
    let bar =
        output.bar(status.units, "fetching [{bar:30}] {pos}/{len} results, {per_sec}, {eta} left");
    bar.set_position(before);
    let source = Source { client, job, spec: Digest::of(&spec), folder: path, receipts };
    let source = Arc::new(source);
    pull(&source, &mut folder, follow, |lines| bar.inc(lines.len() as u64)).await?;
    bar.finish_and_clear();
    save_logs(&source, output).await;
    let merged = merged(&source, &folder)?;
    let results = folder.state.results;
    Ok(Fetched { new: results - before, results, merged })
}

/// Keeps what the kernels have logged beside the results, which are whole without it.
async fn save_logs(source: &Source, output: crate::output::Output) {
    match logs::save(&source.client, source.job, &source.folder).await {
        Ok(0) => {}
        Ok(lines) => output.note(&format!(
            "{} of kernels in {}: as single workers tell them, verified by nobody",
            counted(lines, "line"),
            source.folder.join(logs::FILE).display()
        )),
        Err(error) => output.note(&format!(
            "what the kernels have logged could not be got (starling logs {} tries again): {}",
            source.job,
            error.chain()
        )),
    }
}

/// Takes results until there are no more, through lost connections; `each` sees those that are kept.
pub(super) async fn pull(
    source: &Arc<Source>,
    folder: &mut Folder,
    follow: bool,
    mut each: impl FnMut(&[Line]),
) -> Result<(), Error> {
    let mut heard = Instant::now();
    loop {
        let request = pb::FetchRequest { job_id: source.job.0, after: folder.state.cursor, follow };
        let lost = match source.client.jobs().fetch(request).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                let mut lines = Vec::new();
                loop {
                    match stream.message().await {
                        Ok(Some(page)) => {
                            heard = Instant::now();
                            lines.extend(check(source, page.results).await?);
                            // A page comes in parts, of which only the last moves the cursor.
                            if folder.state.cursor < page.cursor {
                                folder.append(&lines, page.cursor)?;
                                each(&lines);
                                lines.clear();
                            }
                            if LINES_MAX < lines.len() {
                                return Err(Error::Failed(
                                    "the coordinator's page of results does not end".into(),
                                ));
                            }
                        }
                        Ok(None) => return Ok(()),
                        Err(status) => break status,
                    }
                }
            }
            Err(status) => status,
        };
        if !watch::is_lost(&lost) || PATIENCE < heard.elapsed() {
            return Err(source.client.error("hand out results", &lost));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Checks some results, many at a time; their lines in order.
async fn check(source: &Arc<Source>, results: Vec<pb::UnitResult>) -> Result<Vec<Line>, Error> {
    let mut lines: Vec<Option<Line>> = results.iter().map(|_| None).collect();
    let mut results = results.into_iter().enumerate();
    let mut running = JoinSet::new();
    loop {
        while running.len() < PARALLEL
            && let Some((index, result)) = results.next()
        {
            let source = Arc::clone(source);
            running.spawn(async move { source.line(result).await.map(|line| (index, line)) });
        }
        let Some(done) = running.join_next().await else { break };
        let (index, line) = done.map_err(|error| Error::Failed(error.to_string()))??;
        lines[index] = Some(line);
    }
    Ok(lines.into_iter().flatten().collect())
}

impl Source {
    /// The checked line of a result; a large output is in its file when this returns.
    async fn line(&self, result: pb::UnitResult) -> Result<Line, Error> {
        use pb::unit_result::Outcome;
        let unit = UnitIndex(result.unit);
        let mut line = Line { unit: unit.0, fuel: result.fuel, ..Line::default() };
        match result.outcome {
            Some(Outcome::Output(output)) => line.output = Some(self.output(unit, &output).await?),
            Some(Outcome::Failure(failure)) => line.failure = Some(failure),
            Some(Outcome::Withdrawn(reason)) => {
                line.withdrawn = Some(reason);
                return Ok(line);
            }
            None => {
                return Err(Error::Failed(format!(
                    "the coordinator says nothing of how {unit} ended"
                )));
            }
        }
        if self.receipts {
            line.receipt = self.receipt(&line).await?;
            line.verify(&self.client.profile.join.project, self.spec)?;
        }
        Ok(line)
    }

    async fn output(&self, unit: UnitIndex, output: &pb::Output) -> Result<results::Output, Error> {
        let output =
            Output::try_from(output).map_err(|error| Error::Failed(format!("{unit}: {error}")))?;
        match output {
            Output::Inline(content) => Ok(results::Output::inline(&content)),
            Output::Blob { digest, len } => {
                let name = results::output_name(unit);
                blob::get(&self.client, digest, len, &self.folder.join(&name)).await?;
                Ok(results::Output { digest, bytes: len, place: Place::File(name) })
            }
        }
    }

    /// The receipt; only a unit that was given up has none.
    async fn receipt(&self, line: &Line) -> Result<Option<results::SignedReceipt>, Error> {
        let (jobs, request) =
            (self.client.jobs(), pb::UnitRequest { job_id: self.job.0, unit: line.unit });
        let call = || {
            let mut jobs = jobs.clone();
            async move { jobs.receipt(request).await }
        };
        match self.client.call("give a receipt", call).await {
            Ok(receipt) => Ok(Some((&receipt).into())),
            Err(Error::Refused { .. }) if line.failure.is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Of a job with a merge stage, the name of the file with the output of the last unit.
pub(super) fn merged(source: &Source, folder: &Folder) -> Result<Option<String>, Error> {
    let spec = results::load_spec(&source.folder, &folder.state)?;
    if spec.merge.is_none() {
        return Ok(None);
    }
    let (root, mut found) = (spec.units() - 1, None);
    results::for_each(&source.folder, &folder.state, |line| {
        if line.unit == root {
            found = line.output;
        }
        Ok(())
    })?;
    let Some(output) = found else { return Ok(None) };
    if let Place::File(name) = output.place {
        return Ok(Some(name));
    }
    let name = results::output_name(UnitIndex(root));
    let path = source.folder.join(&name);
    std::fs::write(&path, output.content()?).map_err(Error::file("write", &path))?;
    Ok(Some(name))
}
