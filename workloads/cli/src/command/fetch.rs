//! `starling fetch`: results as they come, each checked, kept so that any stop loses nothing.

mod blob;
mod check;
mod pages;

use super::view::{counted, has_ended};
use super::{Context, logs};
use crate::args::Fetch;
use crate::client::Client;
use crate::error::Error;
use crate::results::{self, Folder, Line, Place};
use program::error::chain;
use proto::job::JobSpec;
use proto::{Digest, JobId, UnitIndex, pb};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Pages that wait between reading, checking and writing: one each, so that none of the three waits for another's turn.
const PAGES_WAITING: usize = 1;

pub(super) use blob::{get as get_blob, len};
pub(super) use pages::{Page, Wanted, read_all};

/// What a fetch needs to check what comes.
#[derive(Debug)]
pub(super) struct Source {
    client: Client,
    job: JobId,
    spec: JobSpec,
    spec_digest: Digest,
    folder: PathBuf,
    receipts: bool,
}

impl Source {
    /// Results of the job with this specification, for `folder`.
    pub(super) fn new(
        client: Client,
        job: JobId,
        spec: &[u8],
        folder: PathBuf,
        receipts: bool,
    ) -> Result<Self, Error> {
        let (parsed, spec_digest) = (JobSpec::parse(spec), Digest::of(spec));
        let spec = parsed.map_err(|invalid| {
            Error::Failed(format!("the specification of {job}: {}", chain(&invalid)))
        })?;
        Ok(Self { client, job, spec, spec_digest, folder, receipts })
    }
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
    })?;
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
    let source = Source::new(client, job, &spec, path, receipts)?;
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

/// Takes results until there are no more, through lost connections; `each` sees those that are kept. While a page is read,
/// the one before it is checked and the one before that is written.
pub(super) async fn pull(
    source: &Arc<Source>,
    folder: &mut Folder,
    follow: bool,
    mut each: impl FnMut(&[Line]),
) -> Result<(), Error> {
    let (pages, read) = mpsc::channel(PAGES_WAITING);
    let (checked, mut lines) = mpsc::channel(PAGES_WAITING);
    let mut tasks = JoinSet::new();
    let from = folder.state.position();
    let Source { client, job, receipts, .. } = source.as_ref();
    let wanted = Wanted { client: client.clone(), job: *job, receipts: *receipts, follow };
    tasks.spawn(read_all(wanted, from, pages));
    tasks.spawn(check::check_all(Arc::clone(source), read, checked));
    while let Some(page) = lines.recv().await {
        let (lines, at) = page?;
        tokio::task::block_in_place(|| folder.append(&lines, at))?;
        each(&lines);
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| Error::Failed(format!("the fetch broke off: {error}")))?;
    }
    Ok(())
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
