//! Backups of a running project, and their restoration.
//!
//! A backup is a folder: the keys, `records` (every record, read while the coordinator went on), `changes` (what was
//! committed in the meantime, which makes the whole as of one moment), the blobs (linked, as they never change) with who
//! put them, and `manifest.json`, written last, with the digest of every other file that does not have it as its name,
//! and one over itself.

use crate::blobs::{self, BlobStore};
use crate::project::{self, file, names};
use crate::store;
use crate::tally;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, TryLockError};

mod frames;
mod restore;
mod tee;

pub use restore::{Restored, restore};
pub use tee::Tee;

use frames::Writer;

/// Name of the file that makes a folder a backup.
pub const MANIFEST: &str = "manifest.json";
const RECORDS: &str = "records";
const CHANGES: &str = "changes";
/// Who put how much: it goes with the blobs, and its digest with the others.
const OWNERS: &str = "blobs/owners.log";
const VERSION: u32 = 1;
/// Longest name of a backup, bytes: a part of a path.
const NAME_BYTES_MAX: usize = 64;
/// Records written at once.
const PAGE_RECORDS: usize = 1024;

/// Why a backup cannot be made or restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name.
    #[error(
        "{0:?} is no name for a backup: give 1 to {NAME_BYTES_MAX} letters, digits, dots, dashes or underscores, not a dot first"
    )]
    Name(String),
    /// There is one of this name.
    #[error("{0} is there already: give another name, or move it away")]
    Exists(PathBuf),
    /// Another one is being made.
    #[error("a backup is being made: wait until it is done")]
    Busy,
    /// The folder is no backup, or of another release.
    #[error("{path} is no backup of version {VERSION}: {why}")]
    NoBackup {
        /// Of the folder.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Bytes of it were changed.
    #[error("{0} is not as it was written: this backup is damaged, use another one")]
    Damaged(PathBuf),
    /// There is a project already.
    #[error("{0} holds a project already: restore to another folder, or move it away")]
    Occupied(PathBuf),
    /// A file of it.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The records.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The blobs.
    #[error(transparent)]
    Blobs(#[from] blobs::Error),
    /// The project's folder.
    #[error(transparent)]
    Project(#[from] project::Error),
    /// The records cannot be counted.
    #[error(transparent)]
    Records(#[from] tally::Refused),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    |source| Error::File { path: path.to_owned(), source }
}

/// What a backup says of itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: u32,
    software: String,
    /// Digest of each file but the blobs.
    files: BTreeMap<String, proto::Digest>,
    blobs: u64,
    blob_bytes: u64,
    /// Digest of the manifest without this; none in a manifest of a release that did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<proto::Digest>,
}

impl Manifest {
    /// The bytes of the file, with the digest over it.
    fn encode(mut self) -> Vec<u8> {
        self.check = None;
        self.check = Some(proto::Digest::of(&self.text()));
        self.text()
    }

    fn text(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("plain data always encodes")
    }

    /// Whether `text`, from which it was read, is what was written.
    fn holds(&self, text: &[u8]) -> bool {
        let Some(check) = self.check else { return true };
        let without = Self {
            check: None,
            files: self.files.clone(),
            software: self.software.clone(),
            ..*self
        };
        text == self.text() && check == proto::Digest::of(&without.text())
    }
}

/// A backup that was made.
#[derive(Debug)]
pub struct Made {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes of records and blobs.
    pub bytes: u64,
}

/// Makes backups of a running project, one at a time.
#[derive(Debug)]
pub struct Backups {
    tee: Arc<Tee>,
    one: Mutex<()>,
}

impl Backups {
    /// For the project whose records go through `tee`.
    #[must_use]
    pub fn new(tee: Arc<Tee>) -> Self {
        Self { tee, one: Mutex::default() }
    }

    /// Makes a backup called `name` in the project's backup folder, and reads it back. Records are as of one moment
    /// towards the end; blobs are all that those records can name.
    ///
    /// # Errors
    /// [`Error`]; nothing is left then.
    pub fn make(&self, data: &Path, name: &str, blobs: &BlobStore) -> Result<Made, Error> {
        let _one = match self.one.try_lock() {
            Ok(one) => one,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Error::Busy),
        };
        check_name(name)?;
        let folder = data.join(names::BACKUPS);
        let path = folder.join(name);
        if path.exists() {
            return Err(Error::Exists(path));
        }
        let partial = Partial::new(folder.join(format!(".{name}.partial")))?;
        let bytes = self.fill(data, &partial.0, blobs)?;
        fs::rename(&partial.0, &path).map_err(at(&path))?;
        file::sync_folder(&folder).map_err(at(&folder))?;
        Ok(Made { path, bytes })
    }

    fn fill(&self, data: &Path, to: &Path, blobs: &BlobStore) -> Result<u64, Error> {
        self.tee.record(Writer::create(&to.join(CHANGES))?);
        let copied = self.copy_records(&to.join(RECORDS));
        let changes = self.tee.stop_recording()?;
        let mut files =
            BTreeMap::from([(RECORDS.to_owned(), copied?), (CHANGES.to_owned(), changes)]);
        for name in names::KEYS {
            let Some(content) = file::read(&data.join(name))? else { continue };
            file::write(&to.join(name), &content)?;
            files.insert(name.to_owned(), proto::Digest::of(&content));
        }
        let blob_folder = to.join(names::BLOBS);
        file::make_folder(&blob_folder)?;
        let blob_bytes = blobs.copy_to(&blob_folder)?;
        let owners = file::read(&to.join(OWNERS))?.unwrap_or_default();
        files.insert(OWNERS.to_owned(), proto::Digest::of(&owners));
        let blobs = count_blobs(&blob_folder)?;
        let software = crate::SOFTWARE.to_owned();
        let manifest =
            Manifest { version: VERSION, software, files, blobs, blob_bytes, check: None };
        verify_files(to, &manifest)?;
        file::write(&to.join(MANIFEST), &manifest.encode())?;
        let size = |name| fs::metadata(to.join(name)).map_or(0, |meta| meta.len());
        Ok(blob_bytes + size(RECORDS) + size(CHANGES))
    }

    fn copy_records(&self, path: &Path) -> Result<proto::Digest, Error> {
        let mut writer = Writer::create(path)?;
        let mut after: Option<store::Key> = None;
        loop {
            let page = store::Store::page(self.tee.as_ref(), &[], after.as_deref(), PAGE_RECORDS)?;
            let Some((last, _)) = page.last() else { return writer.finish() };
            after = Some(last.clone());
            let changes: store::Changes =
                page.into_iter().map(|(key, value)| (key, Some(value))).collect();
            writer.write(&changes)?;
        }
    }
}

fn count_blobs(folder: &Path) -> Result<u64, Error> {
    let limits = blobs::Limits { account_bytes: 0, reserve_bytes: 0 };
    Ok(BlobStore::open(folder, limits)?.list()?.len() as u64)
}

/// Whether the files with keys and records are as the manifest says.
fn verify_files(folder: &Path, manifest: &Manifest) -> Result<(), Error> {
    for (name, digest) in &manifest.files {
        let path = folder.join(name);
        let mut hasher = blake3::Hasher::new();
        let read = fs::File::open(&path).and_then(|file| hasher.update_reader(file).map(drop));
        read.map_err(at(&path))?;
        if proto::Digest(*hasher.finalize().as_bytes()) != *digest {
            return Err(Error::Damaged(path));
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let good = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('.')
        && name.chars().all(allowed);
    if good { Ok(()) } else { Err(Error::Name(name.to_owned())) }
}

/// A folder that goes with its handle, unless it was given its name.
#[derive(Debug)]
struct Partial(PathBuf);

impl Partial {
    fn new(path: PathBuf) -> Result<Self, Error> {
        if path.exists() {
            fs::remove_dir_all(&path).map_err(at(&path))?;
        }
        file::make_folder(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // It is not there any more once it has its name.
        let _ = fs::remove_dir_all(&self.0);
    }
}
