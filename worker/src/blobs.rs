//! The cache of kernels and inputs on disk: content under its digest, within a limit of bytes.
//!
//! `blobs/<first two digits>/<digest>` is whole and verified; `blobs/partial/<digest>` is on its way and is taken up
//! where it was cut, after a restart too; `blobs/pieces/<digest>` is on its way in pieces, in any order (see
//! [`pieces`]). The blob that was not used for the longest time goes first; one that a unit
//! needs never goes.

mod partial;
pub mod pieces;

pub use partial::Partial;

use crate::disk::lacks_room;
use program::file;
use proto::Digest;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Why a blob cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk.
    #[error("the blob cache cannot be used: {0}")]
    Io(#[from] io::Error),
    /// No room within the limit, or on the disk.
    #[error("{0}")]
    NoRoom(String),
    /// Larger than the whole cache.
    #[error("the blob has {len} bytes and the cache {limit}: lend more with `run --cache`")]
    TooLarge {
        /// Of the blob.
        len: u64,
        /// Of the cache.
        limit: u64,
    },
    /// The bytes are not those of the digest.
    #[error("the bytes that came are not those of the blob")]
    Wrong,
}

/// The cache.
#[derive(Debug)]
pub struct Blobs {
    root: PathBuf,
    limit: u64,
    /// Bytes that are left free on its disk.
    reserve: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blobs: HashMap<Digest, Entry>,
    /// Blobs that nobody needs now, by their last use.
    idle: BTreeMap<u64, Digest>,
    /// Partial files and the bytes that they have or will have.
    partial: HashMap<Digest, PartialEntry>,
    /// The same of files that come in pieces.
    pieces: HashMap<Digest, PartialEntry>,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    len: u64,
    n_pins: u32,
    used: u64,
    /// Whether its bytes were compared with its digest since the start.
    verified: bool,
}

#[derive(Debug)]
struct PartialEntry {
    len: u64,
    open: bool,
}

impl State {
    fn bytes(&self) -> u64 {
        let whole: u64 = self.blobs.values().map(|blob| blob.len).sum();
        let partial = self.partial.values().chain(self.pieces.values());
        whole + partial.map(|partial| partial.len).sum::<u64>()
    }
}

fn no_room(path: &Path, error: io::Error) -> Error {
    if file::is_no_room(&error) {
        Error::NoRoom(format!(
            "the disk is full ({error}): free some room on the disk of {}",
            path.display()
        ))
    } else {
        Error::Io(error)
    }
}

impl Blobs {
    /// Opens the cache at `root`, made when it is not there, with a limit of `limit` bytes; `reserve` are left free on
    /// its disk.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(root: &Path, limit: u64, reserve: u64) -> io::Result<Self> {
        file::make_folder(&root.join("partial"))?;
        file::make_folder(&root.join("pieces"))?;
        let mut found = Vec::new();
        let mut state = State::default();
        for folder in fs::read_dir(root)? {
            let folder = folder?;
            let name = folder.file_name();
            for entry in fs::read_dir(folder.path())? {
                let entry = entry?;
                let digest =
                    entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
                let Some(digest) = digest else { continue };
                let metadata = entry.metadata()?;
                let entry = PartialEntry { len: metadata.len(), open: false };
                if name == "partial" {
                    state.partial.insert(digest, entry);
                } else if name == "pieces" {
                    state.pieces.insert(digest, entry);
                } else {
                    found.push((metadata.modified()?, digest, metadata.len()));
                }
            }
        }
        found.sort();
        for (used, (_, digest, len)) in (1..).zip(found) {
            state.idle.insert(used, digest);
            state.blobs.insert(digest, Entry { len, n_pins: 0, used, verified: false });
            state.uses = used;
        }
        Ok(Self { root: root.to_path_buf(), limit, reserve, state: Mutex::new(state) })
    }

    /// Where a blob is, if it is here.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join(&name[..2]).join(name)
    }

    /// Bytes in the cache.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().bytes()
    }

    /// Keeps a blob from eviction until [`Self::unpin`], if it is here; whether it is. Its bytes are compared with its
    /// digest once after each start, so this may take long.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn pin(&self, digest: &Digest) -> io::Result<bool> {
        let verified = {
            let mut state = self.lock();
            state.uses += 1;
            let used = state.uses;
            let Some(entry) = state.blobs.get_mut(digest) else { return Ok(false) };
            let before = std::mem::replace(&mut entry.used, used);
            entry.n_pins += 1;
            let verified = entry.verified;
            state.idle.remove(&before);
            verified
        };
        if verified {
            return Ok(true);
        }
        let path = self.path(digest);
        let good = hash_file(&path).is_ok_and(|(found, _)| found == *digest);
        let mut state = self.lock();
        if good {
            if let Some(entry) = state.blobs.get_mut(digest) {
                entry.verified = true;
            }
            touch(&path);
        } else {
            state.blobs.remove(digest);
            drop(state);
            file::remove(&path)?;
        }
        Ok(good)
    }

    /// Takes back one [`Self::pin`].
    pub fn unpin(&self, digest: &Digest) {
        let mut state = self.lock();
        let Some(entry) = state.blobs.get_mut(digest) else { return };
        entry.n_pins = entry.n_pins.saturating_sub(1);
        if entry.n_pins == 0 {
            let used = entry.used;
            state.idle.insert(used, *digest);
        }
    }

    /// Evicts until `len` more bytes are within the limit, and `more` are free on the disk.
    fn make_room(&self, state: &mut State, len: u64, more: u64) -> Result<(), Error> {
        let mut bytes = state.bytes();
        loop {
            let limit = self.limit;
            let lacks = if limit < bytes.saturating_add(len) {
                Some(format!(
                    "the cache is full: {bytes} of its {limit} bytes are needed by units that are held: lend more with `run --cache`"
                ))
            } else {
                lacks_room(&self.root, self.reserve, more)
            };
            let Some(lacks) = lacks else { return Ok(()) };
            let Some(freed) = self.evict(state)? else { return Err(Error::NoRoom(lacks)) };
            bytes = bytes.saturating_sub(freed);
        }
    }

    /// Removes what is needed least; how many bytes that was, none when all is needed.
    fn evict(&self, state: &mut State) -> io::Result<Option<u64>> {
        let left =
            state.partial.iter().find(|(_, partial)| !partial.open).map(|(digest, _)| *digest);
        if let Some(digest) = left {
            file::remove(&self.partial_path(&digest))?;
            return Ok(state.partial.remove(&digest).map(|partial| partial.len));
        }
        let left =
            state.pieces.iter().find(|(_, partial)| !partial.open).map(|(digest, _)| *digest);
        if let Some(digest) = left {
            file::remove(&self.pieces_path(&digest))?;
            return Ok(state.pieces.remove(&digest).map(|partial| partial.len));
        }
        let Some((_, digest)) = state.idle.pop_first() else { return Ok(None) };
        file::remove(&self.path(&digest))?;
        Ok(Some(state.blobs.remove(&digest).map_or(0, |blob| blob.len)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes the use of a file, so that the order of use outlives the program. Without it the order is only worse.
fn touch(path: &Path) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let _ = utimensat(
        CWD,
        path,
        &Timestamps { last_access: now, last_modification: now },
        AtFlags::empty(),
    );
}

/// Digest and length of a file.
pub(crate) fn hash_file(path: &Path) -> io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    let len = copy_into(&mut File::open(path)?, &mut hasher)?;
    Ok((Digest(*hasher.finalize().as_bytes()), len))
}

fn copy_into(file: &mut File, hasher: &mut blake3::Hasher) -> io::Result<u64> {
    let (mut buffer, mut len) = (vec![0; BUFFER_BYTES], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(len),
            n => {
                hasher.update(&buffer[..n]);
                len += n as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests;
