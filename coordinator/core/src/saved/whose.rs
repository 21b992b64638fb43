//! Whose blobs are: the accounts that have put them, and those of whose jobs they are outputs. Only these, and operators,
//! may have them; whoever else knows a digest learns nothing by it.

use crate::record::{
    JobRecord, KeptRecord, Table, decode_batch, encode, last_number, output_key, output_of, put_key,
};
use crate::saved::load::{decoded, unreadable};
use crate::saved::{Error, blobs_of, read};
use crate::store::{self, Changes, Store};
use proto::job::JobSpec;
use proto::report::{Batch, Outcome, Output};
use proto::{Digest, JobId};
use std::collections::{BTreeMap, BTreeSet};

/// Jobs of which one blob is an output that are looked at for one that may be seen: the same output comes of the same kernel,
/// submitted again.
const JOBS_SEEN_MAX: usize = 1024;
/// Records in one commit.
const COMMIT_RECORDS: usize = 10_000;

/// A blob that was put: its digest, its bytes, and the account.
pub type Owned = (Digest, u64, String);

/// Whether a blob is an account's.
pub fn is_of(store: &dyn Store, account: &str, digest: &Digest) -> Result<bool, Error> {
    if has_put(store, account, digest)? {
        return Ok(true);
    }
    for (key, _) in store.page(&output_key(digest, None), None, JOBS_SEEN_MAX)? {
        let (_, job) = output_of(&key).ok_or_else(|| unreadable(&key))?;
        if read::record(store, job)?.is_some_and(|record| record.account == account) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an account has put a blob.
pub fn has_put(store: &dyn Store, account: &str, digest: &Digest) -> Result<bool, Error> {
    Ok(store.get(&put_key(digest, account))?.is_some())
}

/// Whether a blob is anybody's.
pub fn is_anybodys(store: &dyn Store, digest: &Digest) -> Result<bool, Error> {
    let any = |prefix: &[u8]| Ok::<_, Error>(!store.page(prefix, None, 1)?.is_empty());
    Ok(any(&output_key(digest, None))? || any(&put_key(digest, ""))?)
}

/// The outputs of these jobs.
pub fn outputs_of(
    store: &dyn Store,
    jobs: &BTreeSet<JobId>,
) -> Result<Vec<(JobId, Digest)>, Error> {
    let mut found = Vec::new();
    store::each(store, &Table::Output.prefix(), |key, _| {
        found.extend(
            output_of(key).filter(|(_, job)| jobs.contains(job)).map(|(blob, job)| (job, blob)),
        );
        Ok::<_, Error>(())
    })?;
    Ok(found)
}

/// Notes whose the blobs are of records that do not say so: those of older releases, and those that were built up again.
/// `owned` is what was put.
pub fn note(store: &dyn Store, owned: &[Owned]) -> Result<(), Error> {
    let noted = Table::Output.prefix();
    if store.get(&noted)?.is_some() || store.get(&Table::Meta.prefix())?.is_none() {
        return Ok(());
    }
    let mut changes: Changes = Vec::new();
    for (digest, len, account) in owned {
        changes.push((put_key(digest, account), Some(encode(len))));
    }
    let outputs = outputs(store)?;
    let mut bytes: BTreeMap<JobId, u64> = BTreeMap::new();
    for ((digest, job), len) in &outputs {
        *bytes.entry(*job).or_default() += len;
        changes.push((output_key(digest, Some(*job)), Some(encode(len))));
    }
    store::each(store, &Table::Job.prefix(), |key, value| {
        let record: JobRecord = decoded(key, value)?;
        let id = JobId(last_number(key).ok_or_else(|| unreadable(key))?);
        let spec = read::spec(store, id)?.unwrap_or_default();
        // What it names was found by its digest alone, which was enough then.
        if let Ok(parsed) = JobSpec::parse(&spec) {
            let inputs = blobs_of(&parsed).into_iter();
            changes.extend(inputs.map(|(_, digest, len)| {
                (put_key(&digest, &record.account), Some(encode(&len.unwrap_or(0))))
            }));
        }
        let outputs = bytes.get(&id).copied().unwrap_or(0);
        let kept = KeptRecord {
            account: record.account,
            spec: spec.len() as u64,
            outputs,
            until_ms: None,
        };
        changes.push((Table::Kept.key(id.0), Some(encode(&kept))));
        Ok::<_, Error>(())
    })?;
    for part in changes.chunks(COMMIT_RECORDS) {
        store.commit(part.to_vec())?;
    }
    store.commit(vec![(noted, Some(encode(&0_u64)))])?;
    Ok(())
}

/// All outputs that are blobs and the jobs of which they were reported, with their bytes.
fn outputs(store: &dyn Store) -> Result<BTreeMap<(Digest, JobId), u64>, Error> {
    let mut outputs = BTreeMap::new();
    store::each(store, &Table::Batch.prefix(), |key, value| {
        let (_, payload) = decode_batch(value).ok_or_else(|| unreadable(key))?;
        let batch = Batch::decode(payload).map_err(|_| unreadable(key))?;
        for report in &batch.reports {
            if let Outcome::Done(Output::Blob { digest, len }) = report.outcome
                && let Some(job) = batch.jobs.get(usize::from(report.job))
            {
                outputs.insert((digest, job.id), len);
            }
        }
        Ok::<_, Error>(())
    })?;
    Ok(outputs)
}
