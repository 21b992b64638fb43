//! Writing a blob: aside, hashed as it comes, durable, and only then under its name.

use super::{BLOB_BYTES_MAX, BlobStore, Error, INCOMING};
use crate::project::file::sync_folder;
use proto::Digest;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Who puts a blob, and how much it may hold.
#[derive(Clone, Debug)]
pub enum Putter {
    /// A researcher that has not put it before, within the quota of its account.
    Account {
        /// The account.
        account: String,
        /// Bytes that are kept for it beside the blobs that it has put: specifications, outputs and logs of its jobs.
        kept: u64,
    },
    /// A worker, an output of at most so many bytes.
    Worker {
        /// Most bytes.
        bytes_max: u64,
    },
}

/// A blob that is being put. Dropped before [`Put::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Put {
    store: Arc<BlobStore>,
    putter: Putter,
    digest: Digest,
    len: u64,
    came: u64,
    hasher: blake3::Hasher,
    file: File,
    path: Aside,
}

/// A file that goes with its handle.
#[derive(Debug)]
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        // It is not there any more once it has its name.
        let _ = fs::remove_file(&self.0);
    }
}

impl BlobStore {
    /// Begins to put a blob of `len` bytes.
    ///
    /// # Errors
    /// When it is too large for the putter or for the disk.
    pub fn put(self: &Arc<Self>, putter: Putter, digest: Digest, len: u64) -> Result<Put, Error> {
        let max = match &putter {
            Putter::Account { account, kept } if len <= BLOB_BYTES_MAX => {
                let used = self.owners.bytes(account).saturating_add(*kept);
                let quota = self.limits.account_bytes;
                if quota < used.saturating_add(len) {
                    return Err(Error::Quota { account: account.clone(), used, quota });
                }
                len
            }
            Putter::Account { .. } => BLOB_BYTES_MAX,
            Putter::Worker { bytes_max } => BLOB_BYTES_MAX.min(*bytes_max),
        };
        if max < len {
            return Err(Error::TooLarge { len, max });
        }
        self.check_room(len)?;
        let name = format!("{}-{digest}", self.begun.fetch_add(1, Ordering::Relaxed));
        let path = self.folder.join(INCOMING).join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::disk(&path))?;
        let hasher = blake3::Hasher::new();
        Ok(Put {
            store: Arc::clone(self),
            putter,
            digest,
            len,
            came: 0,
            hasher,
            file,
            path: Aside(path),
        })
    }

    /// Puts content that is in memory.
    ///
    /// # Errors
    /// As [`Self::put`] and [`Put::finish`].
    pub fn put_all(self: &Arc<Self>, putter: Putter, content: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(content);
        let mut put = self.put(putter, digest, content.len() as u64)?;
        put.write(content)?;
        put.finish()?;
        Ok(digest)
    }

    fn check_room(&self, len: u64) -> Result<(), Error> {
        let room = rustix::fs::statvfs(&self.folder)
            .map_err(|error| Error::disk(&self.folder)(error.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        let needed = len.saturating_add(self.limits.reserve_bytes);
        if free < needed { Err(Error::Full { needed: needed - free }) } else { Ok(()) }
    }
}

impl Put {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Error::Length`] when more come than were announced, [`Error::Full`], [`Error::Disk`].
    pub fn write(&mut self, content: &[u8]) -> Result<(), Error> {
        self.came += content.len() as u64;
        if self.len < self.came {
            return Err(Error::Length { len: self.len, came: self.came });
        }
        self.hasher.update(content);
        self.file.write_all(content).map_err(Error::disk(&self.path.0))
    }

    /// Verifies what came, makes it durable and gives it its name.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Digest`], [`Error::Full`], [`Error::Disk`].
    pub fn finish(self) -> Result<(), Error> {
        if self.came != self.len {
            return Err(Error::Length { len: self.len, came: self.came });
        }
        let came = Digest(*self.hasher.finalize().as_bytes());
        if came != self.digest {
            return Err(Error::Digest { announced: self.digest, came });
        }
        self.file.sync_all().map_err(Error::disk(&self.path.0))?;
        let path = self.store.path(&self.digest);
        let parent = path.parent().unwrap_or(&self.store.folder);
        make_durable_folder(&self.store.folder, parent).map_err(Error::disk(parent))?;
        fs::rename(&self.path.0, &path).map_err(Error::disk(&path))?;
        sync_folder(parent).map_err(Error::disk(parent))?;
        if let Putter::Account { account, .. } = &self.putter {
            self.store.owners.add(account, &self.digest, self.len)?;
        }
        Ok(())
    }
}

/// Makes `folder`, two levels below `root`, and its names durable.
fn make_durable_folder(root: &Path, folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    sync_folder(folder.parent().unwrap_or(root))?;
    sync_folder(root)
}
