//! The store is opened, counted, and held against the tally outside it: nothing is decided on records that are not those
//! of the last commit.

use super::{Guarded, Heads, Tally, TallyFile, file::Read};
use crate::blobs::{self, BlobStore, Limits};
use crate::project::{self, Folder, Identity, names};
use crate::store::{self, Store, sled::SledStore};
use accept::accept;
use program::error::chain;
use proto::Digest;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

mod accept;

pub use accept::{count_anew, last};

/// Files without which sled begins an empty store, in the store's folder: what it keeps, and how.
const SLED_FILES: [&str; 2] = ["db", "conf"];

/// Something that is not as it was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

/// Why records are not opened.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// They are not those of the last commit.
    #[error(
        "the project's records are not as they were left: {}. Nothing was started. Find out what happened to the disk \
         first; then there are three ways on: `starling-coordinator restore BACKUP` into another folder; `run --rebuild`, \
         which gathers from the workers what is missing; or `run --accept-loss`, which goes on with what is left and \
         writes into {} what was accepted (docs/operating.md, \"The records are not as they were left\")",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        names::ACCEPTED
    )]
    Damaged(Vec<Finding>),
    /// Not even what is left can be read.
    #[error(
        "--accept-loss: {0} cannot be read to its end, so what is left of it cannot be told: `run --rebuild` or restore a backup"
    )]
    Unreadable(PathBuf, #[source] store::Error),
    /// The folder.
    #[error(transparent)]
    Project(#[from] project::Error),
    /// The blobs.
    #[error(transparent)]
    Blobs(#[from] blobs::Error),
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What was found of the records.
#[derive(Default)]
struct Examined {
    store: Option<SledStore>,
    /// What the store says of itself.
    kept: Option<Tally>,
    /// What the file says, and whether one of its places cannot be read.
    newest: Option<Tally>,
    torn: bool,
    /// What all records come to.
    counted: Option<Result<Tally, store::Error>>,
    wrong: Vec<Finding>,
}

impl Examined {
    fn wrong(&mut self, path: PathBuf, what: impl Into<String>) {
        self.wrong.push(Finding { path, what: what.into() });
    }
}

/// Records that are as they were left.
#[derive(Debug)]
pub struct Opened {
    /// Where they are.
    pub store: SledStore,
    /// What they come to.
    pub tally: Tally,
    /// The same outside the store.
    pub file: TallyFile,
}

impl Opened {
    /// The store whose every commit carries its tally.
    #[must_use]
    pub fn guarded(self) -> Guarded {
        Guarded::new(std::sync::Arc::new(self.store), self.tally, self.file)
    }
}

/// Opens the records of a project. `accept_at_ms` (since 1970): to go on with what is left, should something be missing.
///
/// # Errors
/// [`Refused`], saying what is not as it was left, and the ways on.
pub fn open(
    folder: &Folder,
    identity: &Identity,
    accept_at_ms: Option<u64>,
) -> Result<Opened, Refused> {
    let path = folder.at(names::TALLY);
    let examined = examine(folder, identity)?;
    match (examined.wrong.is_empty(), accept_at_ms) {
        (false, Some(now_ms)) => return accept(folder, identity, examined, now_ms),
        (false, None) => return Err(Refused::Damaged(examined.wrong)),
        (true, Some(_)) => tracing::info!("--accept-loss: nothing is missing"),
        (true, None) => {}
    }
    let Examined { store, kept, newest, torn, counted, .. } = examined;
    let store = match store {
        Some(store) => store,
        None => SledStore::open(&folder.at(names::STORE))?,
    };
    let (tally, file) = match kept {
        Some(kept) if torn || newest.as_ref() != Some(&kept) => {
            // Behind, or half written, after a crash.
            let file = TallyFile::create(&path, &kept)?;
            (kept, file)
        }
        Some(kept) => {
            let file = TallyFile::open(&path, kept.commit)?;
            (kept, file)
        }
        None => {
            let new = || Ok(Tally::of_nothing(identity.project(), Digest::of(&identity.ca)));
            let tally = counted.unwrap_or_else(new)?;
            // The file first: a store without a tally is one that has lost it once the file is of a later commit.
            let file = TallyFile::create(&path, &tally)?;
            store.commit(vec![tally.record()])?;
            tracing::info!(records = tally.records, "the records were counted for the first time");
            (tally, file)
        }
    };
    // Shown before something was accepted, or built up again.
    remove(&folder.at(names::NEWER))?;
    Ok(Opened { store, tally, file })
}

/// What is not as it was left, of a project that does not run. Writes nothing.
///
/// # Errors
/// [`Refused`] when the folder cannot be read.
pub fn check(
    folder: &Folder,
    identity: &Identity,
) -> Result<(Option<SledStore>, Vec<Finding>), Refused> {
    let examined = examine(folder, identity)?;
    Ok((examined.store, examined.wrong))
}

fn examine(folder: &Folder, identity: &Identity) -> Result<Examined, Refused> {
    let (store_path, tally_path) = (folder.at(names::STORE), folder.at(names::TALLY));
    let mut found = Examined::default();
    let read = TallyFile::read(&tally_path)?;
    match &read {
        Some(None) => {
            found.wrong(tally_path, "nothing in it can be read");
        }
        Some(Some(Read { torn: true, .. })) => {
            found.torn = true;
            tracing::warn!(path = %tally_path.display(), "one of two places was torn and is written anew");
        }
        _ => {}
    }
    found.newest = read.clone().flatten().map(|read| read.tally);
    if let Some(gone) = SLED_FILES.iter().find(|name| !store_path.join(name).exists()) {
        let all = SLED_FILES.iter().all(|name| !store_path.join(name).exists());
        let path = if all { store_path } else { store_path.join(gone) };
        match (&found.newest, in_use(folder)?) {
            (Some(tally), _) => {
                let what = format!("it is not there, and held {}", told_of(tally));
                found.wrong(path, what);
            }
            (None, Some(why)) => found.wrong(path, format!("it is not there, though {why}")),
            (None, None) if !all => found.wrong(path, "it is not there"),
            (None, None) => {}
        }
        return Ok(found);
    }
    match SledStore::open(&store_path) {
        Ok(store) => count(&store, folder, identity, read.is_some(), &mut found)
            .map(|()| Examined { store: Some(store), ..found }),
        Err(error) => {
            found.wrong(store_path, chain(&error));
            Ok(found)
        }
    }
}

/// Counts all records and compares.
fn count(
    store: &SledStore,
    folder: &Folder,
    identity: &Identity,
    has_file: bool,
    found: &mut Examined,
) -> Result<(), Refused> {
    let (store_path, tally_path) = (folder.at(names::STORE), folder.at(names::TALLY));
    match Tally::of(store) {
        Ok(Some(Ok(kept))) => found.kept = Some(kept),
        Ok(Some(Err(_))) => found.wrong(store_path.clone(), "its tally cannot be read"),
        Ok(None) => {}
        Err(error) => found.wrong(store_path.clone(), chain(&error)),
    }
    let base = found.kept.clone();
    let base =
        base.unwrap_or_else(|| Tally::of_nothing(identity.project(), Digest::of(&identity.ca)));
    let counted = match base.counted(store) {
        Ok(counted) => counted,
        Err(error) => {
            found.wrong(store_path, chain(&error));
            found.counted = Some(Err(error));
            return Ok(());
        }
    };
    if let Some(kept) = found.kept.clone() {
        if !has_file {
            let what = "it is not there: whether the newest commits are still in the store cannot be told without it";
            found.wrong(tally_path, what);
        }
        of_this(folder, identity, &kept, found);
        compare_counted(&store_path, &kept, &counted, found);
        if let Some(newest) = found.newest.clone() {
            compare_newest(store, &store_path, &kept, &newest, found);
        }
        if let Some(what) = Heads::new(folder, identity, &kept).shown_before(store)? {
            found.wrong(folder.at(names::NEWER), what);
        }
    } else if let Some(newest) = &found.newest {
        // A first count that was cut short has its file and no record.
        if newest.commit != 0 || (newest.records, newest.sum) != (counted.records, counted.sum) {
            let what = format!(
                "it has no tally and {} records, and held {}",
                counted.records,
                told_of(newest)
            );
            found.wrong(store_path, what);
        }
    } else if counted.records == 0
        && let Some(why) = in_use(folder)?
    {
        found.wrong(store_path, format!("it is empty, though {why}"));
    }
    found.counted = Some(Ok(counted));
    Ok(())
}

/// Whether the keys are those that the records go with.
fn of_this(folder: &Folder, identity: &Identity, kept: &Tally, found: &mut Examined) {
    if kept.project != identity.project() {
        let what = format!(
            "it is the key of project {}, the records are of project {}: each project needs a folder of its own",
            identity.project(),
            kept.project
        );
        found.wrong(folder.at(names::PROJECT_KEY), what);
    }
    let here = Digest::of(&identity.ca);
    if kept.authority != here {
        let what = format!(
            "it is another certificate ({here}) than the one whose fingerprint join strings carry ({}): put it back from a backup",
            kept.authority
        );
        found.wrong(folder.at(names::CA), what);
    }
}

fn compare_counted(path: &Path, kept: &Tally, counted: &Tally, found: &mut Examined) {
    if kept.records != counted.records {
        let what =
            format!("it holds {} records, its tally is of {}", counted.records, kept.records);
        found.wrong(path.to_owned(), what);
    } else if kept.sum != counted.sum {
        let what = format!("of its {} records some are not what was written", kept.records);
        found.wrong(path.to_owned(), what);
    }
}

fn compare_newest(
    store: &SledStore,
    path: &Path,
    kept: &Tally,
    newest: &Tally,
    found: &mut Examined,
) {
    let other = if kept.commit < newest.commit {
        Some(format!(
            "it is of {}, and held {}: the last {} commits are gone",
            told_of(kept),
            told_of(newest),
            newest.commit - kept.commit
        ))
    } else if kept.commit == newest.commit && kept.chain != newest.chain
        || kept.commit == newest.commit + 1 && kept.before != newest.chain
    {
        Some(format!("commit {} in it is not the one that was made", newest.commit))
    } else {
        match super::heads::root_of(store, newest.log_size) {
            Ok(root) if root == Some(newest.log_root) => None,
            Ok(_) => Some(format!(
                "the first {} entries of its log are not those that were written",
                newest.log_size
            )),
            Err(error) => Some(chain(&error)),
        }
    };
    if let Some(what) = other {
        found.wrong(path.to_owned(), what);
    }
}

fn told_of(tally: &Tally) -> String {
    format!(
        "{} records after {} commits, {} entries of the log among them",
        tally.records, tally.commit, tally.log_size
    )
}

/// What shows that the project was in use, whatever has become of its records; none in a new folder.
fn in_use(folder: &Folder) -> Result<Option<String>, Refused> {
    let limits = Limits { account_bytes: 0, reserve_bytes: 0 };
    if folder.at(names::BLOBS).exists() {
        let blobs = BlobStore::open(&folder.at(names::BLOBS), limits)?.list()?.len();
        if 0 < blobs {
            return Ok(Some(format!("{} holds {blobs} blobs", folder.at(names::BLOBS).display())));
        }
    }
    let signs = [names::LISTENING, names::BACKUPS, names::REBUILT, names::ACCEPTED, names::NEWER];
    let sign = signs.into_iter().map(|name| folder.at(name)).find(|path| path.exists());
    Ok(sign.map(|path| format!("{} shows that the project was in use", path.display())))
}

fn remove(path: &Path) -> Result<(), project::Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(project::Error::File { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
