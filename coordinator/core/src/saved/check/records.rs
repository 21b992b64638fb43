//! Every record on its own: it decodes, its key fits, its signature holds.

use super::{Findings, Tables};
use crate::record::{
    AccountRecord, AttemptRecord, EvidenceRecord, IndexRecord, JobRecord, KeptRecord, LeaseRecord,
    LogRecord, LogsRecord, Meta, OpenRecord, ResettledRecord, Table, UnitLogRecord, VoidRecord,
    WorkerRecord, decode, decode_batch, first_number, last_number, output_of, standing_of,
};
use crate::store::{self, Store};
use crate::tally::Tally;
use crate::token::Token;
use crate::trust::estimate::Standing;
use proto::job::JobSpec;
use proto::log::Entry;
use proto::report::Batch;
use proto::{Digest, JobId, ProjectKey};

/// Reads every record, keeps those that others point to, then looks at the batches.
pub(super) fn check(
    store: &dyn Store,
    project: ProjectKey,
    tables: &mut Tables,
    findings: &mut Findings,
) -> Result<(), store::Error> {
    store::each(store, &[], |key, value| {
        findings.records += 1;
        if keep(key, value, tables).is_none() {
            findings.wrong(format!("record {} cannot be read", name(key)));
        }
        Ok::<_, store::Error>(())
    })?;
    match &tables.meta {
        Some(meta) if meta.project != project => {
            findings.wrong(format!(
                "the records are of project {}, the keys of {project}",
                meta.project
            ));
        }
        None if 0 < findings.records => findings.wrong("there are records and no counters"),
        _ => {}
    }
    for id in tables.jobs.keys().filter(|id| !tables.specs.contains_key(id)) {
        findings.wrong(format!("{id} has no specification"));
    }
    for (id, (digest, _)) in &tables.specs {
        match tables.jobs.get(id) {
            Some(job) if job.spec_digest == *digest => {}
            Some(_) => findings
                .wrong(format!("the specification of {id} is not the one that was submitted")),
            None => findings.wrong(format!("there is a specification of {id} and no job")),
        }
    }
    check_batches(store, project, tables, findings)
}

/// A record's key for people.
pub(super) fn name(key: &[u8]) -> String {
    let (table, rest) =
        key.split_first().map_or((' ', key), |(table, rest)| (char::from(*table), rest));
    format!("{table}/{}", data_encoding::HEXLOWER.encode(rest))
}

/// Reads one record; `None` when it cannot be read.
fn keep(key: &[u8], value: &[u8], tables: &mut Tables) -> Option<()> {
    let table = Table::ALL.into_iter().find(|table| key.first() == Some(&(*table as u8)))?;
    let number = last_number(key);
    match table {
        Table::Meta => tables.meta = Some(decode::<Meta>(value)?),
        Table::Job => drop(tables.jobs.insert(JobId(number?), decode::<JobRecord>(value)?)),
        Table::Spec => {
            let spec = JobSpec::parse(value).ok()?;
            tables.specs.insert(JobId(number?), (Digest::of(value), spec));
        }
        Table::Worker => {
            drop(tables.workers.insert(small(number?)?, decode::<WorkerRecord>(value)?))
        }
        Table::Account => {
            drop(tables.accounts.insert(small(number?)?, decode::<AccountRecord>(value)?))
        }
        Table::Lease => drop(decode::<LeaseRecord>(value)?),
        Table::Open => drop(decode::<OpenRecord>(value)?),
        Table::Log => drop(decode::<LogRecord>(value)?),
        Table::Index => drop(decode::<IndexRecord>(value)?),
        Table::Attempt => drop(decode::<AttemptRecord>(value)?),
        Table::Token => drop(decode::<Token>(value)?),
        Table::Batch => drop(decode_batch(value)?),
        Table::Standing => {
            standing_of(key)?;
            decode::<Standing>(value)?;
        }
        Table::Void => drop(decode::<VoidRecord>(value)?),
        Table::Again => drop(decode::<ResettledRecord>(value)?),
        Table::Entry => drop(Entry::decode(value).ok()?),
        Table::Node => drop(Digest::try_from(value).ok()?),
        Table::Evidence => drop(decode::<EvidenceRecord>(value)?),
        Table::Tally => {
            decode::<Tally>(value)?;
        }
        Table::Logs => drop(decode::<LogsRecord>(value)?),
        Table::UnitLog => drop(decode::<UnitLogRecord>(value)?),
        Table::Kept => drop(decode::<KeptRecord>(value)?),
        // The one without a blob says that there is one for each output.
        Table::Output if key.len() == 1 => {}
        Table::Output => {
            output_of(key)?;
            decode::<u64>(value)?;
        }
        Table::Put => drop(decode::<u64>(value)?),
    }
    Some(())
}

fn small(number: u64) -> Option<u32> {
    u32::try_from(number).ok()
}

/// Every batch: by the worker that its key says, for this project, with a signature that holds.
fn check_batches(
    store: &dyn Store,
    project: ProjectKey,
    tables: &Tables,
    findings: &mut Findings,
) -> Result<(), store::Error> {
    store::each(store, &Table::Batch.prefix(), |key, value| {
        // What does not even split was found above.
        let Some((signature, payload)) = decode_batch(value) else { return Ok(()) };
        let batch = match Batch::decode(payload) {
            Ok(batch) => batch,
            Err(error) => {
                findings.wrong(format!("batch {}: {error}", name(key)));
                return Ok(());
            }
        };
        findings.batches += 1;
        let worker =
            first_number(key).and_then(small).and_then(|number| tables.workers.get(&number));
        if worker.is_none_or(|worker| worker.key != batch.worker)
            || last_number(key) != Some(batch.sequence)
        {
            findings.wrong(format!("batch {} is kept under another worker or sequence", name(key)));
        }
        if batch.project != project {
            findings.wrong(format!("batch {} is for another project", name(key)));
        }
        for named in &batch.jobs {
            if tables.jobs.get(&named.id).is_none_or(|job| job.spec_digest != named.spec) {
                findings.wrong(format!(
                    "batch {} names a {} that is not that job",
                    name(key),
                    named.id
                ));
            }
        }
        if let Err(wrong) = batch.worker.verify(&batch.signed_bytes(), signature) {
            findings.wrong(format!("batch {}: {wrong}", name(key)));
        }
        Ok::<_, store::Error>(())
    })
}
