//! Checks a whole project that is not running: every record decodes, every signature holds, every verdict rests on the
//! reports that it names and is in the log under its tree, credit adds up, every blob is what its digest says, and every blob that is needed is there.

use crate::blobs::{self, BlobStore, Limits};
use crate::core::record::{AccountRecord, JobRecord, Meta, WorkerRecord};
use crate::core::time::Now;
use crate::engine;
use crate::project::{self, Folder, names};
use crate::store::{self, Store};
use crate::tally;
use program::error::chain;
use proto::job::JobSpec;
use proto::{Digest, JobId, ProjectKey};
use std::collections::{BTreeMap, HashMap};

mod content;
mod log;
mod records;
mod verdicts;

/// Findings that are kept: whoever has more has lost the disk, and needs no list.
const WRONG_MAX: usize = 1_000;

/// Why a project cannot be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or its keys.
    #[error(transparent)]
    Project(#[from] project::Error),
    /// The records as a whole.
    #[error(transparent)]
    Records(#[from] tally::Refused),
    /// A record.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The blobs as a whole.
    #[error(transparent)]
    Blobs(#[from] blobs::Error),
}

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
    fn wrong(&mut self, what: impl Into<String>) {
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(what.into());
        }
    }
}

/// The records that others point to.
#[derive(Debug, Default)]
struct Tables {
    meta: Option<Meta>,
    jobs: BTreeMap<JobId, JobRecord>,
    specs: HashMap<JobId, (Digest, JobSpec)>,
    workers: HashMap<u32, WorkerRecord>,
    accounts: HashMap<u32, AccountRecord>,
    /// Outputs that verdicts rest on: digest and length.
    outputs: HashMap<Digest, u64>,
}

/// Checks the project in `folder`. Reads every byte of it.
///
/// # Errors
/// [`Error`] when the check cannot be made; what is wrong with the project is in the findings.
pub fn check(folder: &Folder) -> Result<Findings, Error> {
    let identity = folder.identity()?;
    let mut findings = Findings::default();
    for path in project::readable_by_others(folder.path())? {
        findings.wrong(format!("{} can be read by others: chmod 600 it", path.display()));
    }
    let mut tables = Tables::default();
    let (store, wrong) = tally::check(folder, &identity)?;
    for finding in wrong {
        findings.wrong(finding.to_string());
    }
    if let Some(store) = store
        && let Err(error) = check_records(&store, identity.project(), &mut tables, &mut findings)
    {
        findings.wrong(format!("{}: {}", folder.at(names::STORE).display(), chain(&error)));
    }
    let blobs =
        BlobStore::open(&folder.at(names::BLOBS), Limits { account_bytes: 0, reserve_bytes: 0 })?;
    content::check(&blobs, &tables, &mut findings)?;
    Ok(findings)
}

fn check_records(
    store: &dyn Store,
    project: ProjectKey,
    tables: &mut Tables,
    findings: &mut Findings,
) -> Result<(), Error> {
    records::check(store, project, tables, findings)?;
    verdicts::check(store, tables, findings)?;
    log::check(store, tables, findings)?;
    match engine::load::load(store, project, Now::default(), [0; 32]) {
        Ok(core) => {
            if let Err(contradiction) = core.check_invariants() {
                findings.wrong(contradiction.to_string());
            }
        }
        Err(error) => findings.wrong(format!("the coordinator would not start: {}", chain(&error))),
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
