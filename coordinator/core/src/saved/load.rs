//! Reads what was saved, for the core to be as it was.

use crate::record::{
    AttemptRecord, EvidenceRecord, IndexRecord, JobRecord, KeptRecord, LeaseRecord, LogsRecord,
    Meta, OpenRecord, ResettledRecord, Table, VoidRecord, batch_key, decode, decode_batch,
    first_number, last_number, standing_of,
};
use crate::saved::Error;
use crate::status::JobState;
use crate::store::{self, Store};
use crate::time::Now;
use crate::trust::estimate::Standing;
use crate::trust::standings::Entry;
use crate::{Contradiction, Core, Saved, SavedBatch, SavedJob};
use proto::job::JobSpec;
use proto::report::Batch;
use proto::{JobId, LeaseId, ProjectKey};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;

/// The core as the store has it; a new one when the store is empty.
///
/// # Errors
/// [`Error`] when the store cannot be read, belongs to another project, or contradicts itself.
pub fn load(
    store: &dyn Store,
    project: ProjectKey,
    now: Now,
    seed: [u8; 32],
) -> Result<Core, Error> {
    let Some(meta) = store.get(&Table::Meta.prefix())? else {
        return Ok(Core::new(project, seed));
    };
    let meta: Meta = decoded(&Table::Meta.prefix(), &meta)?;
    if meta.project != project {
        return Err(Error::OtherProject(meta.project));
    }
    let (mut ended, mut running) = (Vec::new(), Vec::new());
    store::each(store, &Table::Job.prefix(), |key, value| {
        let record: JobRecord = decoded(key, value)?;
        let id = JobId(last_number(key).ok_or_else(|| unreadable(key))?);
        match record.state {
            JobState::Running => running.push(running_job(store, id, record)?),
            JobState::Done | JobState::Cancelled => ended.push((id, record)),
        }
        Ok::<_, Error>(())
    })?;
    let leases =
        table(store, &Table::Lease.prefix(), |key, record: LeaseRecord| (LeaseId(key), record))?;
    let saved = Saved {
        meta,
        ended,
        running,
        workers: numbered(store, Table::Worker)?,
        accounts: numbered(store, Table::Account)?,
        leases,
        open: open(store)?,
        logs: table(store, &Table::Logs.prefix(), |job, record: LogsRecord| (JobId(job), record))?,
        kept: table(store, &Table::Kept.prefix(), |job, record: KeptRecord| (JobId(job), record))?,
        heard: heard(store)?,
        tokens: tokens(store)?,
        standings: standings(store)?,
    };
    Core::load(now, saved, seed).map_err(|Contradiction(what)| Error::Contradiction(what))
}

fn running_job(store: &dyn Store, id: JobId, record: JobRecord) -> Result<SavedJob, Error> {
    let key = Table::Spec.key(id.0);
    let bytes = store.get(&key)?.ok_or_else(|| unreadable(&key))?;
    let spec_bytes = bytes.len() as u64;
    let spec = JobSpec::parse(&bytes).map_err(|_| unreadable(&key))?.outline();
    let index =
        table(store, &Table::Index.key(id.0), |first, record: IndexRecord| (first, record))?;
    let attempts = table(store, &Table::Attempt.key(id.0), |_, record: AttemptRecord| record)?;
    let void = |worker, record: VoidRecord| {
        let worker = u32::try_from(worker).map_err(|_| unreadable(&Table::Void.key(id.0)))?;
        Ok((worker, record))
    };
    let voids: Result<_, Error> = table(store, &Table::Void.key(id.0), void)?.into_iter().collect();
    let again =
        table(store, &Table::Again.key(id.0), |unit, record: ResettledRecord| (unit, record))?;
    Ok(SavedJob { id, record, spec, spec_bytes, index, attempts, voids: voids?, again })
}

/// Who is named in evidence for what it found of a segment.
fn heard(store: &dyn Store) -> Result<BTreeSet<u32>, Error> {
    let mut heard = BTreeSet::new();
    store::each(store, &Table::Evidence.prefix(), |key, value| {
        let record: EvidenceRecord = decoded(key, value)?;
        heard.extend(record.heard.iter().map(|heard| heard.worker));
        Ok::<_, Error>(())
    })?;
    Ok(heard)
}

fn standings(store: &dyn Store) -> Result<Vec<(Entry, Standing)>, Error> {
    let mut standings = Vec::new();
    store::each(store, &Table::Standing.prefix(), |key, value| {
        let entry = standing_of(key).ok_or_else(|| unreadable(key))?;
        standings.push((entry, decoded(key, value)?));
        Ok::<_, Error>(())
    })?;
    Ok(standings)
}

/// All records whose keys start with `prefix`, with the last number of their keys.
fn table<T: DeserializeOwned, R>(
    store: &dyn Store,
    prefix: &[u8],
    make: impl Fn(u64, T) -> R,
) -> Result<Vec<R>, Error> {
    let mut records = Vec::new();
    store::each(store, prefix, |key, value| {
        let number = last_number(key).ok_or_else(|| unreadable(key))?;
        records.push(make(number, decoded(key, value)?));
        Ok::<_, Error>(())
    })?;
    Ok(records)
}

/// The records of a table whose keys count from 0 without a gap.
fn numbered<T: DeserializeOwned>(store: &dyn Store, of: Table) -> Result<Vec<T>, Error> {
    let records = table(store, &of.prefix(), |number, record: T| (number, record))?;
    for (expected, (number, _)) in (0..).zip(&records) {
        if *number != expected {
            return Err(unreadable(&of.key(expected)));
        }
    }
    Ok(records.into_iter().map(|(_, record)| record).collect())
}

fn open(store: &dyn Store) -> Result<Vec<SavedBatch>, Error> {
    let mut batches = Vec::new();
    store::each(store, &Table::Open.prefix(), |key, value| {
        let record: OpenRecord = decoded(key, value)?;
        let worker = first_number(key)
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| unreadable(key))?;
        let sequence = last_number(key).ok_or_else(|| unreadable(key))?;
        batches.push(SavedBatch { worker, batch: batch(store, worker, sequence)?, record });
        Ok::<_, Error>(())
    })?;
    Ok(batches)
}

fn tokens<T: DeserializeOwned>(store: &dyn Store) -> Result<Vec<T>, Error> {
    let mut tokens = Vec::new();
    store::each(store, &Table::Token.prefix(), |key, value| {
        tokens.push(decoded(key, value)?);
        Ok::<_, Error>(())
    })?;
    Ok(tokens)
}

/// A batch that must be in the store.
fn batch(store: &dyn Store, worker: u32, sequence: u64) -> Result<Batch, Error> {
    let key = batch_key(Table::Batch, worker, sequence);
    let value = store.get(&key)?.ok_or_else(|| unreadable(&key))?;
    let (_, payload) = decode_batch(&value).ok_or_else(|| unreadable(&key))?;
    Batch::decode(payload).map_err(|_| unreadable(&key))
}

/// Reads a record.
pub(super) fn decoded<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, Error> {
    decode(value).ok_or_else(|| unreadable(key))
}

/// A record cannot be read.
pub(super) fn unreadable(key: &[u8]) -> Error {
    let (table, rest) =
        key.split_first().map_or((' ', key), |(table, rest)| (char::from(*table), rest));
    Error::Record { key: format!("{table}/{}", data_encoding::HEXLOWER.encode(rest)) }
}
