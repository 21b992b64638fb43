//! All that the log says of one job, held against the reports, the job's status and the results that are handed out.

mod handed;

use super::sums::{JobEnd, JobSums};
use super::{of, path_of};
use crate::client::Client;
use crate::command::view::counted;
use crate::error::Error;
use proto::job::JobSpec;
use proto::log::{End, Entry, Event, Place, Source, Span};
use proto::report::{self, Failure, Statement};
use proto::{JobId, ProjectKey, UnitIndex, merkle, pb};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most units of a job that can be audited: about 100 bytes are kept of each.
const UNITS_MAX: u64 = 1 << 26;

/// What a unit came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Output(proto::Digest),
    Failure(Failure),
    GivenUp(String),
}

/// A standing verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) told: Told,
    pub(super) fuel: u64,
    /// Whether it rests on one report where more may be asked for: then its credit is taken back should it be withdrawn.
    alone: bool,
}

/// A job being audited.
pub(super) struct Audited {
    pub(super) id: JobId,
    pub(super) spec: JobSpec,
    /// Before and after the head was signed.
    status: (pb::JobStatus, pb::JobStatus),
    pub(super) verdicts: HashMap<u64, Verdict>,
    fuel: u128,
    credit: u128,
    entries: u64,
    batches: u64,
    reports: u64,
    withdrawn: u64,
    accounts: BTreeSet<proto::AccountKey>,
    /// Results that were compared; `None` when the job went on meanwhile.
    results: Option<u64>,
}

/// What an audit found, in numbers.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    job: String,
    /// Units with a verdict.
    settled: u64,
    /// Entries of the log.
    entries: u64,
    /// Signatures of batches verified.
    signatures: u64,
    /// Reports that verdicts rest on.
    reports: u64,
    accounts: usize,
    withdrawn: u64,
    credit: String,
    /// Results compared with what is handed out; absent when the job went on meanwhile.
    results: Option<u64>,
}

impl Audited {
    /// Begins before the head is asked for.
    pub(super) async fn begin(client: &Client, id: JobId) -> Result<Self, Error> {
        let status = client.status(id).await?;
        if UNITS_MAX < status.units {
            return Err(Error::Usage(format!(
                "{id} has {} units: a job of more than {UNITS_MAX} cannot be audited as a whole",
                status.units
            )));
        }
        let bytes = client.spec(&status).await?;
        let spec = JobSpec::parse(&bytes).map_err(|invalid| of(id, invalid))?;
        Ok(Self {
            id,
            spec,
            status: (status.clone(), status),
            verdicts: HashMap::new(),
            fuel: 0,
            credit: 0,
            entries: 0,
            batches: 0,
            reports: 0,
            withdrawn: 0,
            accounts: BTreeSet::new(),
            results: None,
        })
    }

    /// The head was signed.
    pub(super) async fn begun(&mut self, client: &Client) -> Result<(), Error> {
        self.status.1 = client.status(self.id).await?;
        Ok(())
    }

    /// Takes in the job's next entry, with the reports that it rests on.
    pub(super) async fn note(
        &mut self,
        client: &Client,
        index: u64,
        entry: &Entry,
    ) -> Result<(), Error> {
        self.entries += 1;
        if entry.spec.0.as_slice() != self.status.0.spec_digest.as_ref() {
            return Err(of(self.id, "the log has another specification"));
        }
        let Event::Verdicts { sources, spans, .. } = &entry.event else { return Ok(()) };
        let wrong = |why: String| of(self.id, format_args!("entry {index} of the log: {why}"));
        let mut said = HashMap::new();
        if !sources.is_empty() {
            let request = pb::LogReportsRequest { index };
            let log = client.log();
            let mut stream = client
                .call("show reports", || {
                    let mut log = log.clone();
                    async move { log.reports(request).await }
                })
                .await?;
            for (number, source) in (0..).zip(sources) {
                let shown = stream.message().await;
                let shown = shown.map_err(|status| client.error("show reports", &status))?;
                let shown =
                    shown.ok_or_else(|| wrong("its reports are not all there".to_owned()))?;
                let statements =
                    statements(&client.profile.join.project, source, &shown).map_err(wrong)?;
                for (position, statement) in statements {
                    said.insert(Place { source: number, position }, statement);
                }
                self.batches += 1;
                self.accounts.insert(source.account);
            }
        }
        for span in spans {
            self.span(entry, sources, span, &said)
                .map_err(|why| of(self.id, format_args!("entry {index} of the log: {why}")))?;
        }
        Ok(())
    }

    fn span(
        &mut self,
        entry: &Entry,
        sources: &[Source],
        span: &Span,
        said: &HashMap<Place, Statement>,
    ) -> Result<(), String> {
        if self.status.0.units < span.first + u64::from(span.count) {
            return Err("it has verdicts on units that the job does not have".into());
        }
        let accounts: BTreeSet<_> = span
            .end
            .places()
            .iter()
            .filter_map(|place| sources.get(place.source as usize))
            .map(|source| source.account)
            .collect();
        if accounts.len() != span.end.places().len() {
            return Err(format!("u{} rests on two reports of one account", span.first));
        }
        let mut fuel = 0;
        for (offset, unit) in (0..span.count).zip(span.first..) {
            let told = match &span.end {
                End::Withdrawn(_) => {
                    self.withdraw(unit);
                    continue;
                }
                End::GivenUp(reason) => (Told::GivenUp(reason.clone()), 0),
                End::Done(places) | End::Failed(places) => {
                    let canonical = agreed(entry, unit, places, offset, said)?;
                    let told = match (&span.end, canonical.result) {
                        (End::Done(_), Ok(output)) => Told::Output(output),
                        (End::Failed(_), Err(failure)) => Told::Failure(failure),
                        _ => return Err(format!("u{unit} ended otherwise than its reports say")),
                    };
                    (told, canonical.fuel)
                }
            };
            let places = span.end.places().len();
            let alone = self.spec.confidence.is_some() && places == 1;
            fuel += u128::from(told.1);
            self.reports += places as u64;
            self.fuel += u128::from(told.1);
            self.credit += u128::from(told.1) * places as u128;
            self.verdicts.insert(unit, Verdict { told: told.0, fuel: told.1, alone });
        }
        if !matches!(span.end, End::Withdrawn(_)) && fuel != span.fuel {
            return Err(format!(
                "the reports from u{} on burnt {fuel} fuel, the entry says {}",
                span.first, span.fuel
            ));
        }
        Ok(())
    }

    /// Takes back a verdict, and what was granted for it.
    fn withdraw(&mut self, unit: u64) {
        self.withdrawn += 1;
        if let Some(Verdict { fuel, alone: true, .. }) = self.verdicts.remove(&unit) {
            self.fuel -= u128::from(fuel);
            self.credit -= u128::from(fuel);
        }
    }

    /// The whole log was read: holds its sums against the job's status.
    pub(super) fn summed(&mut self, sums: &JobSums) -> Result<(), String> {
        let job = sums.job(self.id).ok_or("the log does not have it")?;
        if job.end == Some(JobEnd::Done) && job.settled.len() != self.status.1.units {
            return Err(format!(
                "it is done with verdicts on {} of {} units",
                job.settled.len(),
                self.status.1.units
            ));
        }
        if !self.stands_still(&self.status.1) {
            return Ok(());
        }
        let status = &self.status.1;
        let ended = match status.state() {
            pb::job_status::State::Done => Some(JobEnd::Done),
            pb::job_status::State::Cancelled => Some(JobEnd::Cancelled),
            _ => None,
        };
        if job.end != ended {
            return Err("the log and the job's status differ in whether it has ended".into());
        }
        let saturated = |sum: u128| u64::try_from(sum).unwrap_or(u64::MAX);
        let sums = [
            ("settled units", job.settled.len(), status.settled),
            ("failed units", job.failed.len(), status.failed),
            ("withdrawn verdicts", job.withdrawn, status.withdrawn),
            ("fuel", saturated(self.fuel), status.fuel),
            ("credit", saturated(self.credit), status.credit),
        ];
        for (what, found, said) in sums {
            if found != said {
                return Err(format!(
                    "the log adds up to {found} {what}, the job's status says {said}"
                ));
            }
        }
        Ok(())
    }

    /// Whether nothing was settled since before the head was signed.
    fn stands_still(&self, now: &pb::JobStatus) -> bool {
        let of = |status: &pb::JobStatus| {
            (status.state, status.settled, status.withdrawn, status.credit, status.failed)
        };
        of(&self.status.0) == of(&self.status.1) && of(&self.status.1) == of(now)
    }

    pub(super) fn found(&self) -> Found {
        Found {
            job: self.id.to_string(),
            settled: self.verdicts.len() as u64,
            entries: self.entries,
            signatures: self.batches,
            reports: self.reports,
            accounts: self.accounts.len(),
            withdrawn: self.withdrawn,
            credit: self.credit.to_string(),
            results: self.results,
        }
    }
}

impl Found {
    /// For people.
    pub(super) fn described(&self) -> String {
        let compared = match self.results {
            Some(results) => format!(
                "sums, credit {} and {} handed out are those of the log",
                self.credit,
                counted(results, "result")
            ),
            None => "the job went on meanwhile: its sums and results were not compared; audit it again when it has ended".into(),
        };
        format!(
            "{}: {} with one standing verdict each, {} withdrawn, on {} by {}, {} verified\n{compared}",
            self.job,
            counted(self.settled, "unit"),
            self.withdrawn,
            counted(self.reports, "report"),
            counted(self.accounts as u64, "account"),
            counted(self.signatures, "signature"),
        )
    }
}

/// The reports of a batch, shown to be what its worker signed.
fn statements(
    project: &ProjectKey,
    source: &Source,
    shown: &pb::ShownBatch,
) -> Result<Vec<(u32, Statement)>, String> {
    if shown.positions.len() != shown.statements.len() {
        return Err("reports and their positions do not fit".into());
    }
    let (mut found, mut leaves) = (Vec::new(), BTreeMap::new());
    for (position, bytes) in shown.positions.iter().zip(&shown.statements) {
        let statement = Statement::decode(bytes).map_err(|_| "a report cannot be read")?;
        leaves.insert(u64::from(*position), statement.leaf());
        found.push((*position, statement));
    }
    let path = path_of(&shown.path).map_err(|error| error.to_string())?;
    if shown.count > proto::bounds::BATCH_REPORTS_MAX as u64
        || merkle::climb_from_all(&leaves, shown.count, &path) != Some(source.root)
    {
        return Err(format!(
            "the reports shown are not those of batch {} of worker {}",
            source.sequence, source.worker
        ));
    }
    let Source { worker, sequence, root, .. } = source;
    let bytes = report::signed_bytes(project, worker, *sequence, shown.count, root);
    worker
        .verify(&bytes, &shown.signature)
        .map_err(|wrong| format!("batch {sequence}: {wrong}"))?;
    Ok(found)
}

/// What the reports under a verdict all say.
fn agreed<'a>(
    entry: &Entry,
    unit: u64,
    places: &[Place],
    offset: u32,
    said: &'a HashMap<Place, Statement>,
) -> Result<&'a Statement, String> {
    let mut canonical: Option<&Statement> = None;
    for place in places {
        let place = Place { position: place.position.saturating_add(offset), ..*place };
        let statement =
            said.get(&place).ok_or_else(|| format!("a report of u{unit} is not there"))?;
        if statement.unit != UnitIndex(unit) || statement.spec != entry.spec {
            return Err(format!("u{unit} rests on a report of something else"));
        }
        if canonical.is_some_and(|canonical| canonical != statement) {
            return Err(format!("the reports of u{unit} do not agree"));
        }
        canonical = Some(statement);
    }
    canonical.ok_or_else(|| format!("u{unit} rests on no report"))
}
