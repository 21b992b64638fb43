//! Whether all that a store holds together holds: every record decodes, every signature holds, every verdict rests on the reports
//! that it names and is in the log under its tree, and credit adds up.

mod log;
mod records;
mod verdicts;

use crate::record::{AccountRecord, JobRecord, Meta, WorkerRecord};
use crate::store::{self, Store};
use crate::time::Now;
use proto::job::JobSpec;
use proto::{Digest, JobId, ProjectKey};
use std::collections::{BTreeMap, HashMap};

/// Findings that are kept: whoever has more has lost the disk, and needs no list.
const WRONG_MAX: usize = 1_000;

/// What a check found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Records read.
    pub records: u64,
    /// Batches of reports whose signature was verified.
    pub batches: u64,
    /// Entries of the log that were put under the tree again.
    pub entries: u64,
    /// Blobs read.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// What is wrong, each in a sentence; nothing when all is well.
    pub wrong: Vec<String>,
}

impl Findings {
    /// Notes what is wrong, in a sentence, as long as there is room.
    pub fn wrong(&mut self, what: impl Into<String>) {
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(what.into());
        }
    }
}

/// The records that others point to.
#[derive(Debug, Default)]
pub struct Tables {
    meta: Option<Meta>,
    jobs: BTreeMap<JobId, JobRecord>,
    /// Specifications, with the digest that their jobs are known by.
    pub specs: HashMap<JobId, (Digest, JobSpec)>,
    workers: HashMap<u32, WorkerRecord>,
    accounts: HashMap<u32, AccountRecord>,
    /// Outputs that verdicts rest on: digest and length.
    pub outputs: HashMap<Digest, u64>,
}

/// Checks all records of a project's store; what is found wrong goes into `findings`, and what they say into `tables`.
///
/// # Errors
/// [`store::Error`] when the store cannot be read.
pub fn check_records(
    store: &dyn Store,
    project: ProjectKey,
    tables: &mut Tables,
    findings: &mut Findings,
) -> Result<(), store::Error> {
    records::check(store, project, tables, findings)?;
    verdicts::check(store, tables, findings)?;
    log::check(store, tables, findings)?;
    match super::load::load(store, project, Now::default(), [0; 32]) {
        Ok(core) => {
            if let Err(contradiction) = core.check_invariants() {
                findings.wrong(contradiction.to_string());
            }
        }
        Err(super::Error::Store(error)) => return Err(error),
        Err(error) => findings.wrong(format!("the coordinator would not start: {error}")),
    }
    Ok(())
}

/// What is wrong with the log in a store whose batches nobody signed.
#[cfg(test)]
pub(crate) fn check_log(store: &dyn Store, project: ProjectKey) -> Vec<String> {
    let (mut tables, mut unsigned, mut findings) =
        (Tables::default(), Findings::default(), Findings::default());
    records::check(store, project, &mut tables, &mut unsigned).unwrap();
    log::check(store, &tables, &mut findings).unwrap();
    findings.wrong
}
