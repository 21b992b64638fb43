//! Content on disk under its BLAKE3 digest: whole and verified, or not there.
//!
//! A blob lies at `ab/cd/abcd...`; what is being written lies in `incoming` and is gone when its writer is. Beside them,
//! `lines` keeps where every 1024th line of a blob begins, `lists` which blobs a list of files names, `pieces` the list by
//! which each piece of a blob is checked, and `owners.log` who put how much.

use crate::core::saved;
use crate::engine;
use proto::Digest;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

mod lines;
mod lists;
mod owners;
mod pieces;
mod put;

pub use lines::LinesInvalid;
pub use put::{Put, Putter};

/// Largest blob, bytes: a night's recording of a telescope, not a whole archive by a slip of the finger.
pub const BLOB_BYTES_MAX: u64 = 1 << 40;
/// States that may be forgotten are known up to this many; more stay on the disk.
const SHOWN_MAX: usize = 1 << 16;
const INCOMING: &str = "incoming";
const LINES: &str = "lines";
const LISTS: &str = "lists";
const PIECES: &str = "pieces";
const OWNERS: &str = "owners.log";

/// Why content cannot be kept or given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not here.
    #[error("blob {0} is not here: put it first")]
    Absent(Digest),
    /// A stretch beyond its end.
    #[error("blob {digest} has {len} bytes, byte {offset} was asked for")]
    Range {
        /// Of the blob.
        digest: Digest,
        /// Its bytes.
        len: u64,
        /// Where the stretch begins.
        offset: u64,
    },
    /// The announced length is not allowed.
    #[error("a blob of {len} bytes is not taken here: at most {max} bytes are")]
    TooLarge {
        /// Bytes announced.
        len: u64,
        /// Most bytes.
        max: u64,
    },
    /// More or fewer bytes came than were announced.
    #[error("{len} bytes were announced and {came} came: send the blob again from its beginning")]
    Length {
        /// Bytes announced.
        len: u64,
        /// Bytes that came.
        came: u64,
    },
    /// Other content came.
    #[error(
        "the content that came has digest {came}, not {announced}: it was changed on its way or on your disk, send it again"
    )]
    Digest {
        /// What was announced.
        announced: Digest,
        /// What came.
        came: Digest,
    },
    /// The account has put as much as it may.
    #[error(
        "account \"{account}\" has put {used} of the {quota} bytes that it may: ask the operator for more (--account-bytes)"
    )]
    Quota {
        /// Whose.
        account: String,
        /// Bytes that it has put.
        used: u64,
        /// Most bytes.
        quota: u64,
    },
    /// The disk is full.
    #[error(
        "the coordinator's disk is full: {needed} bytes more are needed; the operator must make room, then it goes on by itself"
    )]
    Full {
        /// Bytes that are missing at least.
        needed: u64,
    },
    /// The disk fails otherwise.
    #[error("cannot use {path}")]
    Disk {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// Gives an error of the disk its meaning.
    fn disk(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { needed: 1 },
            _ => Self::Disk { path: path.to_owned(), source },
        }
    }
}

/// What a blob store may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes that are kept for one researcher's account.
    pub account_bytes: u64,
    /// Free disk space to leave alone, bytes: the records need it to go on.
    pub reserve_bytes: u64,
}

/// The blobs of a project.
#[derive(Debug)]
pub struct BlobStore {
    folder: PathBuf,
    limits: Limits,
    owners: owners::Owners,
    lines: Mutex<lines::Block>,
    /// States that workers have put to show them: only these may be forgotten.
    shown: Mutex<HashSet<Digest>>,
    /// Blobs that were begun since the start: names for their files.
    begun: AtomicU64,
}

impl BlobStore {
    /// Opens the blobs in `folder`, or makes it; what a killed process left half written is removed.
    ///
    /// # Errors
    /// [`Error::Disk`] when the folder cannot be used.
    pub fn open(folder: &Path, limits: Limits) -> Result<Self, Error> {
        let incoming = folder.join(INCOMING);
        for path in [&incoming, &folder.join(LINES), &folder.join(LISTS), &folder.join(PIECES)] {
            fs::create_dir_all(path).map_err(Error::disk(path))?;
        }
        for entry in fs::read_dir(&incoming).map_err(Error::disk(&incoming))? {
            let path = entry.map_err(Error::disk(&incoming))?.path();
            fs::remove_file(&path).map_err(Error::disk(&path))?;
        }
        let owners = owners::Owners::open(&folder.join(OWNERS))?;
        Ok(Self {
            folder: folder.to_owned(),
            limits,
            owners,
            lines: Mutex::default(),
            shown: Mutex::default(),
            begun: AtomicU64::new(0),
        })
    }

    /// The file of a blob.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        path_in(&self.folder, digest)
    }

    /// Bytes of a blob; `None` when it is not here.
    #[must_use]
    pub fn len(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().filter(fs::Metadata::is_file).map(|meta| meta.len())
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Disk`].
    pub fn open_blob(&self, digest: &Digest) -> Result<Blob, Error> {
        let path = self.path(digest);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Absent(*digest));
            }
            opened => opened.map_err(Error::disk(&path))?,
        };
        let len = file.metadata().map_err(Error::disk(&path))?.len();
        Ok(Blob { digest: *digest, len, file, path })
    }

    /// Notes that a blob came as a state to be shown: it may be forgotten.
    pub(crate) fn note_shown(&self, digest: Digest) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.len() < SHOWN_MAX {
            shown.insert(digest);
        }
    }

    /// Notes that a blob is an output: it stays.
    pub(crate) fn keep(&self, digest: &Digest) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    /// All digests that are here, in no order.
    ///
    /// # Errors
    /// [`Error::Disk`] when a folder cannot be read.
    pub fn list(&self) -> Result<Vec<Digest>, Error> {
        let mut digests = Vec::new();
        for outer in folders(&self.folder)? {
            for inner in folders(&outer)? {
                for entry in fs::read_dir(&inner).map_err(Error::disk(&inner))? {
                    let name = entry.map_err(Error::disk(&inner))?.file_name();
                    digests.extend(name.to_str().and_then(|name| name.parse::<Digest>().ok()));
                }
            }
        }
        Ok(digests)
    }

    /// Bytes of all blobs, from the sizes of their files.
    ///
    /// # Errors
    /// [`Error::Disk`] when a folder cannot be read.
    pub fn bytes(&self) -> Result<u64, Error> {
        Ok(self.list()?.iter().filter_map(|digest| self.len(digest)).sum())
    }

    /// Reads a whole blob and tells whether its content has its digest.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Disk`], [`Error::Digest`].
    pub fn verify(&self, digest: &Digest) -> Result<u64, Error> {
        let blob = self.open_blob(digest)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&blob.file).map_err(Error::disk(&blob.path))?;
        let came = Digest(*hasher.finalize().as_bytes());
        if came == *digest { Ok(blob.len) } else { Err(Error::Digest { announced: *digest, came }) }
    }

    /// Links or copies every blob into another, empty folder; returns their bytes. Blobs never change once they are here,
    /// so a link is as good as a copy, and costs nothing.
    ///
    /// # Errors
    /// [`Error::Disk`], [`Error::Full`].
    pub fn copy_to(&self, folder: &Path) -> Result<u64, Error> {
        let mut bytes = 0;
        for digest in self.list()? {
            let (from, to) = (self.path(&digest), path_in(folder, &digest));
            let parent = to.parent().unwrap_or(folder);
            fs::create_dir_all(parent).map_err(Error::disk(parent))?;
            if fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to).map_err(Error::disk(&to))?;
                File::open(&to).and_then(|file| file.sync_all()).map_err(Error::disk(&to))?;
            }
            bytes += fs::metadata(&to).map_err(Error::disk(&to))?.len();
        }
        self.copy_owners_to(folder)?;
        Ok(bytes)
    }

    /// Copies who put how much into another folder of blobs.
    pub(crate) fn copy_owners_to(&self, folder: &Path) -> Result<(), Error> {
        let owners = self.folder.join(OWNERS);
        fs::copy(&owners, folder.join(OWNERS)).map_err(Error::disk(&owners))?;
        Ok(())
    }
}

/// Subfolders with the two-digit names of the tree.
fn folders(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(Error::disk(path))? {
        let entry = entry.map_err(Error::disk(path))?;
        if entry.file_name().len() == 2 && entry.file_type().map_err(Error::disk(path))?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn path_in(folder: &Path, digest: &Digest) -> PathBuf {
    let name = digest.to_string();
    folder.join(&name[..2]).join(&name[2..4]).join(name)
}

/// A blob, open for reading.
#[derive(Debug)]
pub struct Blob {
    digest: Digest,
    len: u64,
    file: File,
    path: PathBuf,
}

impl Blob {
    /// Bytes of the whole.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `len` bytes from `offset`, fewer at the end.
    ///
    /// # Errors
    /// [`Error::Range`] beyond the end, [`Error::Disk`].
    pub fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, Error> {
        let left = self.len.checked_sub(offset);
        let left = left.ok_or(Error::Range { digest: self.digest, len: self.len, offset })?;
        let mut content = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(len)];
        self.file.read_exact_at(&mut content, offset).map_err(Error::disk(&self.path))?;
        Ok(content)
    }
}

impl engine::Blobs for BlobStore {
    fn len(&self, digest: &Digest) -> Option<u64> {
        Self::len(self, digest)
    }

    fn line(&self, digest: &Digest, index: u64) -> io::Result<String> {
        let mut block = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        self.line_in(&mut block, digest, index)
    }

    fn remove(&self, digest: &Digest) {
        if let Err(error) = fs::remove_file(self.path(digest)) {
            tracing::debug!(%digest, %error, "an output that nobody wants stays on the disk");
        }
        for beside in [LINES, LISTS, PIECES] {
            // Most blobs have none of these.
            let _ = fs::remove_file(self.folder.join(beside).join(digest.to_string()));
        }
    }

    fn owned(&self) -> io::Result<Vec<saved::whose::Owned>> {
        let log = fs::read(self.folder.join(OWNERS))?;
        Ok(owners::lines(&log).collect())
    }

    fn forget(&self, digest: &Digest) {
        if !self.shown.lock().unwrap_or_else(PoisonError::into_inner).remove(digest) {
            return;
        }
        if let Err(error) = fs::remove_file(self.path(digest)) {
            tracing::debug!(%digest, %error, "a shown state stays on the disk");
        }
    }
}

#[cfg(test)]
mod tests;
