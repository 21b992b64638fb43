//! What is settled is read from the store, on the asker's thread: it never changes once it is committed.

use crate::look::job_status;
use crate::record::{AccountRecord, last_number};
use crate::record::{
    End, EvidenceRecord, IndexRecord, JobRecord, LogRecord, LogsRecord, ResettledRecord, Table,
    UnitLogRecord, VoidRecord, WorkerRecord,
};
use crate::saved::Error;
use crate::saved::load::{decoded, unreadable};
use crate::saved::results::{Batches, Results};
use crate::status::{JobState, JobStatus};
use crate::store::Store;
use proto::evidence::{Accused, Evidence, Heard};
use proto::job::JobSpec;
use proto::receipt::Receipt;
use proto::report::{Outcome, Output};
use proto::trace::SegmentStatement;
use proto::{JobId, ProjectKey, UnitIndex};

/// A unit's verdict, and where it rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// Position of its entry in the project's log.
    pub entry: u64,
    /// Milliseconds since 1970.
    pub settled_at_ms: u64,
    /// How it ended; places are those of this very unit.
    pub end: End,
}

/// What is on record of a job.
///
/// # Errors
/// [`Error`] when the store cannot be read, or the record.
pub fn record(store: &dyn Store, job: JobId) -> Result<Option<JobRecord>, Error> {
    let key = Table::Job.key(job.0);
    store.get(&key)?.map(|value| decoded(&key, &value)).transpose()
}

/// A job in numbers, unless it runs.
///
/// # Errors
/// [`Error`] when the store cannot be read.
pub fn ended_job(store: &dyn Store, job: JobId) -> Result<Option<JobStatus>, Error> {
    Ok(record(store, job)?.map(|record| job_status(job, &record)))
}

/// At most `max` jobs with ids above `after`, in order.
///
/// # Errors
/// As of [`record`].
pub fn jobs(store: &dyn Store, after: JobId, max: usize) -> Result<Vec<JobStatus>, Error> {
    let page = store.page(&Table::Job.prefix(), Some(&Table::Job.key(after.0)), max)?;
    page.iter()
        .map(|(key, value)| {
            let id = JobId(last_number(key).ok_or_else(|| unreadable(key))?);
            Ok(job_status(id, &decoded(key, value)?))
        })
        .collect()
}

/// The specification of a job as it was submitted.
///
/// # Errors
/// [`Error`] when the store cannot be read.
pub fn spec(store: &dyn Store, job: JobId) -> Result<Option<Vec<u8>>, Error> {
    Ok(store.get(&Table::Spec.key(job.0))?)
}

pub(super) fn parsed_spec(store: &dyn Store, job: JobId) -> Result<Option<JobSpec>, Error> {
    let Some(bytes) = spec(store, job)? else { return Ok(None) };
    JobSpec::parse(&bytes).map(Some).map_err(|_| unreadable(&Table::Spec.key(job.0)))
}

/// Where in the log a unit's verdict is, should it hold.
pub(super) fn position(
    store: &dyn Store,
    job: JobId,
    unit: UnitIndex,
) -> Result<Option<u64>, Error> {
    let key = Table::Again.key2(job.0, unit.0);
    if let Some(value) = store.get(&key)? {
        return Ok(match decoded(&key, &value)? {
            ResettledRecord::Settled { log, .. } => Some(log),
            ResettledRecord::Withdrawn => None,
        });
    }
    let found = store.last(&Table::Index.key(job.0), &Table::Index.key2(job.0, unit.0))?;
    let Some((key, value)) = found else { return Ok(None) };
    let index: IndexRecord = decoded(&key, &value)?;
    let first = last_number(&key).ok_or_else(|| unreadable(&key))?;
    Ok((unit.0 < first + index.count).then_some(index.log))
}

/// Whether a verdict at a position of the log rests on the word of a worker that was caught since.
pub(super) fn is_void(
    store: &dyn Store,
    job: JobId,
    position: u64,
    end: &End,
) -> Result<bool, Error> {
    let End::Done(places) = end else { return Ok(false) };
    let [alone] = places[..] else { return Ok(false) };
    let key = Table::Void.key2(job.0, alone.worker.into());
    let void = store.get(&key)?.map(|value| decoded::<VoidRecord>(&key, &value)).transpose()?;
    Ok(void.is_some_and(|void| position < void.before_log))
}

/// The verdict of a unit; `None` while it has none.
pub fn material(store: &dyn Store, job: JobId, unit: UnitIndex) -> Result<Option<Material>, Error> {
    material_in(store, job, unit, &mut None)
}

/// The same; `record` is the one of the log that was read last, which mostly has a unit's neighbours too.
fn material_in(
    store: &dyn Store,
    job: JobId,
    unit: UnitIndex,
    record: &mut Option<(u64, LogRecord)>,
) -> Result<Option<Material>, Error> {
    let Some(position) = position(store, job, unit)? else { return Ok(None) };
    let key = Table::Log.key2(job.0, position);
    if record.as_ref().is_none_or(|(at, _)| *at != position) {
        let value = store.get(&key)?.ok_or_else(|| unreadable(&key))?;
        *record = Some((position, decoded(&key, &value)?));
    }
    let (_, log) = record.as_ref().ok_or_else(|| unreadable(&key))?;
    let mut spans = log.spans.iter().rev();
    let span =
        spans.find(|span| (span.first..span.first + u64::from(span.count)).contains(&unit.0));
    let span = span.ok_or_else(|| unreadable(&key))?;
    let offset = u32::try_from(unit.0 - span.first).map_err(|_| unreadable(&key))?;
    let end = span.end_of(offset);
    if is_void(store, job, position, &end)? {
        return Ok(None);
    }
    Ok(Some(Material { entry: log.entry, settled_at_ms: log.settled_at_ms, end }))
}

/// The receipt of a unit with an answer.
pub fn receipt(
    store: &dyn Store,
    project: &ProjectKey,
    job: JobId,
    unit: UnitIndex,
) -> Result<Option<Receipt>, Error> {
    let Some(mut results) = Results::of(store, job, Some(*project))? else { return Ok(None) };
    let Some(Material { settled_at_ms, end, .. }) = material(store, job, unit)? else {
        return Ok(None);
    };
    results.receipt(store, unit, end.places(), settled_at_ms)
}

/// One proof that reports of a job were wrong; `None` when there is no such one, or when it accuses no report.
pub fn evidence(
    store: &dyn Store,
    project: &ProjectKey,
    job: JobId,
    number: u64,
) -> Result<Option<Evidence>, Error> {
    let key = Table::Evidence.key2(job.0, number);
    let (Some(record), Some(spec), Some(value)) =
        (record(store, job)?, parsed_spec(store, job)?, store.get(&key)?)
    else {
        return Ok(None);
    };
    let found: EvidenceRecord = decoded(&key, &value)?;
    let (mut statement, mut accused, mut batches) = (None, Vec::new(), Batches::default());
    for place in found.accused {
        let (reported, proof) = batches.proof(store, record.spec_digest, place)?;
        let account = account_of(store, place.worker)?.key;
        accused.push(Accused { account, proof });
        statement.get_or_insert(reported);
    }
    let Some(statement) = statement else { return Ok(None) };
    let mut heard = Vec::new();
    for each in found.heard {
        let worker = worker_of(store, each.worker)?.key;
        let statement = SegmentStatement::decode(&each.statement).map_err(|_| unreadable(&key))?;
        heard.push(Heard { worker, statement, signature: each.signature });
    }
    let kernel = spec.kernel_of(UnitIndex(found.unit)).unwrap_or(spec.kernel);
    let mut evidence = Evidence::new(*project, kernel, statement, found.truth);
    (evidence.accused, evidence.heard) = (accused, heard);
    (evidence.trace, evidence.state) = (found.trace, found.state);
    (evidence.spacing, evidence.points) = (found.spacing, found.points);
    evidence.at_ms = found.at_ms;
    Ok(Some(evidence))
}

fn worker_of(store: &dyn Store, worker: u32) -> Result<WorkerRecord, Error> {
    let key = Table::Worker.key(worker.into());
    decoded(&key, &store.get(&key)?.ok_or_else(|| unreadable(&key))?)
}

pub(super) fn account_of(store: &dyn Store, worker: u32) -> Result<AccountRecord, Error> {
    let key = Table::Account.key(worker_of(store, worker)?.account.into());
    decoded(&key, &store.get(&key)?.ok_or_else(|| unreadable(&key))?)
}

/// The outputs of consecutive settled units, as a merge unit takes them.
pub fn outputs(
    store: &dyn Store,
    job: JobId,
    first: UnitIndex,
    count: u32,
) -> Result<Vec<Output>, Error> {
    let (mut batches, mut record) = (Batches::default(), None);
    let mut outputs = Vec::with_capacity(count as usize);
    for unit in (first.0..).take(count as usize).map(UnitIndex) {
        let found = material_in(store, job, unit, &mut record)?;
        let place = match found.map(|material| material.end) {
            Some(End::Done(places)) => places.first().copied(),
            _ => None,
        };
        let none = || Error::Contradiction(format!("{job}/{unit} has no output to merge"));
        match &batches.report(store, place.ok_or_else(none)?)?.outcome {
            Outcome::Done(output) => outputs.push(output.clone()),
            Outcome::Failed(_) => return Err(none()),
        }
    }
    Ok(outputs)
}

/// What units have logged, by position.
pub type UnitLogs = Vec<(u64, UnitLogRecord)>;

/// How much is kept of what the units of a job have logged, and the records behind `after`.
pub fn logs(
    store: &dyn Store,
    job: JobId,
    after: Option<u64>,
    max: usize,
) -> Result<Option<(LogsRecord, UnitLogs)>, Error> {
    if store.get(&Table::Job.key(job.0))?.is_none() {
        return Ok(None);
    }
    let key = Table::Logs.key(job.0);
    let kept = store.get(&key)?.map(|value| decoded(&key, &value)).transpose()?;
    let after = after.map(|after| Table::UnitLog.key2(job.0, after));
    let page = store.page(&Table::UnitLog.key(job.0), after.as_deref(), max)?;
    let record = |(key, value): (Vec<u8>, Vec<u8>)| {
        let position = last_number(&key).ok_or_else(|| unreadable(&key))?;
        Ok((position, decoded(&key, &value)?))
    };
    let records = page.into_iter().map(record).collect::<Result<_, Error>>()?;
    Ok(Some((kept.unwrap_or_default(), records)))
}

/// Why a job or unit that is not active is as it is.
pub fn why_ended(
    store: &dyn Store,
    job: JobId,
    unit: Option<UnitIndex>,
) -> Result<Option<Vec<String>>, Error> {
    let Some(record) = record(store, job)? else { return Ok(None) };
    let status = job_status(job, &record);
    let Some(unit) = unit else { return Ok(Some(vec![status.reason])) };
    if record.units <= unit.0 {
        return Ok(Some(vec![format!(
            "there is no such unit: the last is {}",
            UnitIndex(record.units - 1)
        )]));
    }
    let reason = match material(store, job, unit)?.map(|material| material.end) {
        Some(End::Done(_)) => "it is done".to_owned(),
        Some(End::Failed(places)) => match places.first() {
            Some(place) => match &Batches::default().report(store, *place)?.outcome {
                Outcome::Failed(failure) => format!("it fails on every machine: {failure}"),
                Outcome::Done(_) => {
                    return Err(Error::Contradiction(format!(
                        "{job}/{unit} failed and has an output"
                    )));
                }
            },
            None => return Err(Error::Contradiction(format!("{job}/{unit} rests on no report"))),
        },
        Some(End::GivenUp(reason) | End::Withdrawn(reason)) => reason,
        None if record.state == JobState::Cancelled => {
            "its job was cancelled before it had a verdict".to_owned()
        }
        None => "it has no verdict yet".to_owned(),
    };
    Ok(Some(vec![reason]))
}
