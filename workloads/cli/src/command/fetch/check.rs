//! Makes lines of results: each checked against its receipt, with what its unit is about, large outputs in their files.

use super::pages::Page;
use super::{Source, blob};
use crate::error::Error;
use crate::line_file::LineFile;
use crate::results::{self, Line, Place, Position};
use proto::cut::{self, FilePart, Values};
use proto::job::JobSpec;
use proto::key::Verified;
use proto::report::Output;
use proto::{UnitIndex, lines, pb};
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::JoinSet;

/// Outputs, or receipts of an older coordinator, asked for at the same time.
const PARALLEL: usize = 32;

/// The lines of a page, and where the next one begins.
pub(super) type Checked = (Vec<Line>, Position);

/// What checking keeps from page to page.
#[derive(Debug, Default)]
struct Checker {
    verified: Verified,
    lines: Option<LineFile>,
}

/// Checks pages one after the other, until there are no more or one does not hold.
pub(super) async fn check_all(
    source: Arc<Source>,
    mut pages: Receiver<Result<Page, Error>>,
    checked: Sender<Result<Checked, Error>>,
) {
    let mut checker = match Checker::new(&source).await {
        Ok(checker) => checker,
        Err(error) => return drop(checked.send(Err(error)).await),
    };
    while let Some(page) = pages.recv().await {
        let lines = match page {
            Ok(page) => check(&source, page, &mut checker).await,
            Err(error) => Err(error),
        };
        let failed = lines.is_err();
        if checked.send(lines).await.is_err() || failed {
            return;
        }
    }
}

async fn check(source: &Arc<Source>, page: Page, checker: &mut Checker) -> Result<Checked, Error> {
    let (mut results, at) = (page.results, page.at);
    if source.receipts && !page.known {
        results = all(results, |result| with_receipt(Arc::clone(source), result)).await?;
    }
    let (moved, own) = (Arc::clone(source), std::mem::take(checker));
    let lines = tokio::task::spawn_blocking(move || own.lines(&moved, results)).await;
    let (own, lines) = lines.map_err(|error| Error::Failed(error.to_string()))?;
    *checker = own;
    let lines = lines?;
    let large = lines.iter().filter_map(|line| match line.output.as_ref() {
        Some(output) if matches!(output.place, Place::File(_)) => {
            Some((UnitIndex(line.unit), output.digest, output.bytes))
        }
        _ => None,
    });
    let get = |(unit, digest, len)| {
        let source = Arc::clone(source);
        async move {
            let path = source.folder.join(results::output_name(unit));
            blob::get(&source.client, digest, len, &path).await
        }
    };
    all(large.collect(), get).await?;
    Ok((lines, at))
}

/// Does something with each, many at a time; what came of it in order.
async fn all<T, U, F>(items: Vec<T>, each: impl Fn(T) -> F) -> Result<Vec<U>, Error>
where
    U: Send + 'static,
    F: Future<Output = Result<U, Error>> + Send + 'static,
{
    let mut done: Vec<Option<U>> = items.iter().map(|_| None).collect();
    let mut items = items.into_iter().enumerate();
    let mut running = JoinSet::new();
    loop {
        while running.len() < PARALLEL
            && let Some((index, item)) = items.next()
        {
            let work = each(item);
            running.spawn(async move { work.await.map(|done| (index, done)) });
        }
        let Some(ended) = running.join_next().await else { break };
        let (index, item) = ended.map_err(|error| Error::Failed(error.to_string()))??;
        done[index] = Some(item);
    }
    Ok(done.into_iter().flatten().collect())
}

/// Asks for the receipt of a result, of a coordinator that puts none into its pages; a unit that was given up has none.
async fn with_receipt(
    source: Arc<Source>,
    result: pb::UnitResult,
) -> Result<pb::UnitResult, Error> {
    use pb::unit_result::Outcome;
    if matches!(result.outcome, Some(Outcome::Withdrawn(_)) | None) {
        return Ok(result);
    }
    let jobs = source.client.jobs();
    let request = pb::UnitRequest { job_id: source.job.0, unit: result.unit };
    let call = || {
        let mut jobs = jobs.clone();
        async move { jobs.receipt(request).await }
    };
    match source.client.call("give a receipt", call).await {
        Ok(receipt) => Ok(pb::UnitResult { receipt: Some(receipt), ..result }),
        Err(Error::Refused { .. }) if matches!(result.outcome, Some(Outcome::Failure(_))) => {
            Ok(result)
        }
        Err(error) => Err(error),
    }
}

/// Adds what a unit's line says: the members that the kernel gets, or the file of a list.
fn about_line(about: &mut Values, spec: &JobSpec, line: &str) -> Result<(), Error> {
    let wrong = |invalid: proto::job::Invalid| Error::Unverified(invalid.to_string());
    if spec.list().is_some() {
        let name = cut::listed(line).map_err(wrong)?.name;
        about.files.push(FilePart { name, records: None, bytes: None });
        about.line = None;
        return Ok(());
    }
    about.axes.extend(lines::members(line, spec.numbers).map_err(wrong)?);
    Ok(())
}

impl Checker {
    /// Of a job that is cut by lines, the file of lines is fetched: its digest is in the specification, so that what a line
    /// says needs nobody's word.
    async fn new(source: &Source) -> Result<Self, Error> {
        let Some((digest, len, _)) = source.spec.line_file() else { return Ok(Self::default()) };
        let blobs = source.folder.join("blobs");
        std::fs::create_dir_all(&blobs).map_err(Error::file("create", &blobs))?;
        let path = blobs.join(digest.to_string());
        blob::get(&source.client, digest, len, &path).await?;
        Ok(Self { lines: Some(LineFile::open(&path)?), ..Self::default() })
    }

    fn lines(
        mut self,
        source: &Source,
        results: Vec<pb::UnitResult>,
    ) -> (Self, Result<Vec<Line>, Error>) {
        let lines = results.into_iter().map(|result| self.line(source, result)).collect();
        (self, lines)
    }

    fn line(&mut self, source: &Source, result: pb::UnitResult) -> Result<Line, Error> {
        use pb::unit_result::Outcome;
        let unit = UnitIndex(result.unit);
        let mut line = Line { unit: unit.0, fuel: result.fuel, ..Line::default() };
        match result.outcome {
            Some(Outcome::Output(output)) => line.output = Some(place(unit, &output)?),
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
        line.about = Values::of(&source.spec, unit);
        if let (Some(lines), Some(number)) = (&mut self.lines, line.about.line) {
            about_line(&mut line.about, &source.spec, &lines.line(number - 1)?)?;
        }
        if !source.receipts {
            return Ok(line);
        }
        line.receipt = result.receipt.as_ref().map(Into::into);
        if line.receipt.is_none() && line.output.is_some() {
            return Err(Error::Unverified(format!("{unit} came without its receipt")));
        }
        if let Some(receipt) = &result.receipt {
            let project = &source.client.profile.join.project;
            line.holds(receipt, project, source.spec_digest, &mut self.verified)?;
        }
        Ok(line)
    }
}

/// An output as the line has it: a large one in a file that is yet to come.
fn place(unit: UnitIndex, output: &pb::Output) -> Result<results::Output, Error> {
    let output =
        Output::try_from(output).map_err(|error| Error::Failed(format!("{unit}: {error}")))?;
    Ok(match output {
        Output::Inline(content) => results::Output::inline(&content),
        Output::Blob { digest, len } => {
            let place = Place::File(results::output_name(unit));
            results::Output { digest, bytes: len, place }
        }
    })
}
