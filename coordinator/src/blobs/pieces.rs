//! The list of a blob's pieces, made when it is asked for first and kept beside the blobs.

use super::{BlobStore, Error, PIECES};
use crate::project::file;
use proto::Digest;
use proto::pieces::Pieces;
use std::io;

impl BlobStore {
    /// The list of a blob's pieces; `None` when a blob of its length is not cut. Reads the whole blob the first time.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Disk`], [`Error::Digest`] when the content on disk has changed.
    pub fn pieces(&self, digest: &Digest) -> Result<Option<Pieces>, Error> {
        let blob = self.open_blob(digest)?;
        let path = self.folder.join(PIECES).join(digest.to_string());
        match std::fs::read(&path) {
            // A list that was damaged on the disk is made anew.
            Ok(list) => {
                if let Ok(pieces) = Pieces::parse(*digest, blob.len(), &list) {
                    return Ok(Some(pieces));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::disk(&path)(error)),
        }
        let pieces = Pieces::read(&mut &blob.file, blob.len()).map_err(Error::disk(&blob.path))?;
        let Some(pieces) = pieces else { return Ok(None) };
        if pieces.digest() != *digest {
            return Err(Error::Digest { announced: *digest, came: pieces.digest() });
        }
        file::write(&path, &pieces.list()).map_err(|error| match error {
            crate::project::Error::File { path, source } => Error::disk(&path)(source),
            other => Error::Disk { path, source: io::Error::other(other) },
        })?;
        Ok(Some(pieces))
    }
}
