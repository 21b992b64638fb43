//! Blobs that come from their beginning to their end, and are taken up where they were cut.

use super::{Blobs, Entry, Error, PartialEntry, copy_into, no_room};
use program::file;
use proto::Digest;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

/// A blob on its way.
#[derive(Debug)]
pub struct Partial {
    digest: Digest,
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    len: u64,
}

impl Partial {
    /// Bytes that are here.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is here yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends what came.
    ///
    /// # Errors
    /// [`Error::NoRoom`] when the disk is full, [`Error::Io`].
    pub fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        self.file.write_all(data).map_err(|error| no_room(&self.path, error))?;
        self.hasher.update(data);
        self.len += data.len() as u64;
        Ok(())
    }
}

impl Blobs {
    pub(super) fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("partial").join(digest.to_string())
    }

    /// Makes room for a blob of `len` bytes and takes up what is here of it.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::NoRoom`], [`Error::Io`].
    pub fn begin(&self, digest: Digest, len: u64) -> Result<Partial, Error> {
        if self.limit < len {
            return Err(Error::TooLarge { len, limit: self.limit });
        }
        let mut state = self.lock();
        let had = state
            .partial
            .insert(digest, PartialEntry { len: 0, open: true })
            .map_or(0, |partial| partial.len);
        let made = self.make_room(&mut state, len, len.saturating_sub(had));
        if let Some(partial) = state.partial.get_mut(&digest) {
            *partial = match made {
                Ok(()) => PartialEntry { len, open: true },
                Err(_) => PartialEntry { len: had, open: false },
            };
        }
        drop(state);
        made?;
        let path = self.partial_path(&digest);
        let opened = file::open_private(&path).and_then(|mut file| {
            let mut hasher = blake3::Hasher::new();
            let mut len = copy_into(&mut file, &mut hasher)?;
            Ok((file, hasher, std::mem::take(&mut len)))
        });
        match opened {
            Ok((file, hasher, had)) => {
                let partial = Partial { digest, path, file, hasher, len: had };
                // More than the blob has: bytes of something else.
                if len < had { self.restart(partial) } else { Ok(partial) }
            }
            Err(error) => {
                self.lock().partial.remove(&digest);
                Err(no_room(&path, error))
            }
        }
    }

    /// Drops the bytes that are here and begins anew.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn restart(&self, mut partial: Partial) -> Result<Partial, Error> {
        partial.file = File::create(&partial.path)?;
        partial.hasher.reset();
        partial.len = 0;
        Ok(partial)
    }

    /// Leaves a blob half way, to be taken up by [`Self::begin`].
    pub fn leave(&self, partial: &Partial) {
        if let Some(entry) = self.lock().partial.get_mut(&partial.digest) {
            *entry = PartialEntry { len: partial.len, open: false };
        }
    }

    /// Ends a blob of which all bytes have come: verified, durable and pinned.
    ///
    /// # Errors
    /// [`Error::Wrong`] when the bytes are not those of the digest; they are dropped. [`Error::Io`].
    pub fn finish(&self, partial: Partial) -> Result<(), Error> {
        let Partial { digest, path, file, hasher, len } = partial;
        if hasher.finalize().as_bytes() != &digest.0 {
            self.lock().partial.remove(&digest);
            file::remove(&path)?;
            return Err(Error::Wrong);
        }
        let whole = self.path(&digest);
        let folder = whole.parent().unwrap_or(&self.root);
        let kept = file
            .sync_all()
            .and_then(|()| file::make_folder(folder))
            .and_then(|()| fs::rename(&path, &whole))
            .and_then(|()| file::sync_folder(folder));
        let mut state = self.lock();
        if let Err(error) = kept {
            state.partial.insert(digest, PartialEntry { len, open: false });
            return Err(no_room(&path, error));
        }
        state.partial.remove(&digest);
        state.uses += 1;
        let used = state.uses;
        state.blobs.insert(digest, Entry { len, n_pins: 1, used, verified: true });
        Ok(())
    }
}
