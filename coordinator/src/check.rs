//! Checks a whole project that is not running: every record decodes, every signature holds, every verdict rests on the
//! reports that it names and is in the log under its tree, credit adds up, every blob is what its digest says, and every blob that is needed is there.

use crate::blobs::{self, BlobStore, Limits};
use crate::core::saved::check::{Tables, check_records};
use crate::project::{self, Folder, names};
use crate::store;
use crate::tally;
use program::error::chain;

mod content;

pub use crate::core::saved::check::Findings;

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
