//! Blobs that come in pieces, in any order and from several sources, and blobs as they are given on.
//!
//! Each piece is compared with its value in the list of pieces ([`proto::pieces`]) before it is written, so that what is
//! on disk may be given on at once. Nothing is kept on disk beside the content itself: which pieces of a file left half
//! way are good is found by comparing each of them again, which needs no record that could be wrong after a crash.

use super::{Blobs, Entry, Error, PartialEntry, no_room};
use program::file;
use proto::Digest;
use proto::pieces::Pieces;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A blob of which pieces are read and written.
#[derive(Debug)]
pub struct PieceFile {
    pieces: Pieces,
    file: File,
    path: PathBuf,
}

impl PieceFile {
    /// How it is cut, and what each piece must be.
    #[must_use]
    pub fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// Keeps piece `index`, if it is that.
    ///
    /// # Errors
    /// [`Error::Wrong`] when it is not, [`Error::NoRoom`], [`Error::Io`].
    pub fn put(&self, index: u32, data: &[u8]) -> Result<(), Error> {
        if !self.pieces.is_piece(index, data) {
            return Err(Error::Wrong);
        }
        let start = self.pieces.cut().range(index).start;
        self.file.write_all_at(data, start).map_err(|error| no_room(&self.path, error))
    }

    /// The bytes of piece `index`; the caller knows that it is here.
    ///
    /// # Errors
    /// When they cannot be read, or are no more what they were.
    pub fn get(&self, index: u32) -> io::Result<Vec<u8>> {
        let range = self.pieces.cut().range(index);
        let mut data = vec![0; usize::try_from(range.end - range.start).unwrap_or_default()];
        self.file.read_exact_at(&mut data, range.start)?;
        match self.pieces.is_piece(index, &data) {
            true => Ok(data),
            // Nobody is given wrong bytes: it would take us for one who cheats.
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "it was changed on this disk")),
        }
    }
}

impl Blobs {
    pub(super) fn pieces_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("pieces").join(digest.to_string())
    }

    /// Bytes of a blob that is here as a whole.
    #[must_use]
    pub fn len_of(&self, digest: &Digest) -> Option<u64> {
        self.lock().blobs.get(digest).map(|blob| blob.len)
    }

    /// All blobs that are here as a whole, with their bytes.
    #[must_use]
    pub fn whole(&self) -> Vec<(Digest, u64)> {
        self.lock().blobs.iter().map(|(digest, blob)| (*digest, blob.len)).collect()
    }

    /// Makes room for a blob that comes in pieces and takes up what is here of it: the file, and the pieces that are
    /// good. Reads all that is here.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::NoRoom`], [`Error::Io`].
    pub fn begin_pieces(&self, pieces: Pieces) -> Result<(PieceFile, Vec<u32>), Error> {
        let (digest, len) = (pieces.digest(), pieces.cut().bytes());
        if self.limit < len {
            return Err(Error::TooLarge { len, limit: self.limit });
        }
        let path = self.pieces_path(&digest);
        let mut state = self.lock();
        let had = state.pieces.insert(digest, PartialEntry { len: 0, open: true });
        let had = had.map_or(0, |entry| entry.len);
        // A file with holes has its whole length and little on the disk; what it will need is not known from outside.
        let made = self.make_room(&mut state, len, len);
        let entry = match made {
            Ok(()) => PartialEntry { len, open: true },
            Err(_) => PartialEntry { len: had, open: false },
        };
        state.pieces.insert(digest, entry);
        drop(state);
        made?;
        let opened = file::open_private(&path).and_then(|file| {
            let before = file.metadata()?.len();
            file.set_len(len)?;
            Ok((file, before))
        });
        let (file, before) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.lock().pieces.remove(&digest);
                return Err(no_room(&path, error));
            }
        };
        let file = PieceFile { pieces, file, path };
        // A file that was made now has nothing to compare.
        let good = match before {
            0 => Vec::new(),
            _ => {
                (0..file.pieces.cut().n_pieces()).filter(|index| file.get(*index).is_ok()).collect()
            }
        };
        Ok((file, good))
    }

    /// Leaves a blob half way, to be taken up by [`Self::begin_pieces`].
    pub fn leave_pieces(&self, digest: &Digest) {
        if let Some(entry) = self.lock().pieces.get_mut(digest) {
            entry.open = false;
        }
    }

    /// Ends a blob of which all pieces have come: durable and pinned. The file stays open for reading.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish_pieces(&self, file: &PieceFile) -> Result<(), Error> {
        let (digest, len) = (file.pieces.digest(), file.pieces.cut().bytes());
        let whole = self.path(&digest);
        let folder = whole.parent().unwrap_or(&self.root);
        let kept = file
            .file
            .sync_all()
            .and_then(|()| file::make_folder(folder))
            .and_then(|()| fs::rename(&file.path, &whole))
            .and_then(|()| file::sync_folder(folder));
        let mut state = self.lock();
        if let Err(error) = kept {
            state.pieces.insert(digest, PartialEntry { len, open: false });
            return Err(no_room(&file.path, error));
        }
        state.pieces.remove(&digest);
        state.uses += 1;
        let used = state.uses;
        // Here already, if it came another way meanwhile: the same bytes, and one more who needs them.
        let before = state.blobs.remove(&digest);
        let n_pins = before.as_ref().map_or(0, |blob| blob.n_pins) + 1;
        if let Some(before) = before {
            state.idle.remove(&before.used);
        }
        state.blobs.insert(digest, Entry { len, n_pins, used, verified: true });
        Ok(())
    }

    /// Opens a blob that is here as a whole, to be given on; `None` when it is not here, or not what it should be. Reads
    /// all of it.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn open_whole(&self, digest: &Digest) -> io::Result<Option<PieceFile>> {
        let Some(len) = self.len_of(digest) else { return Ok(None) };
        let path = self.path(digest);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut reader = BufReader::with_capacity(super::BUFFER_BYTES, &file);
        let pieces = Pieces::read(&mut reader, len)?.filter(|pieces| pieces.digest() == *digest);
        Ok(pieces.map(|pieces| PieceFile { pieces, file, path }))
    }
}

#[cfg(test)]
mod tests;
