//! Changes of the store in a file: frames of postcard, each after its length in bytes (u32, little endian).

use super::{Error, at};
use crate::store::Changes;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Largest frame that is read, bytes: larger than any commit.
const FRAME_BYTES_MAX: u32 = 1 << 30;

/// Writes frames and digests them.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
}

impl Writer {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(at(path))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            hasher: blake3::Hasher::new(),
        })
    }

    pub(super) fn write(&mut self, changes: &Changes) -> Result<(), Error> {
        let frame = postcard::to_allocvec(changes).expect("plain data always encodes");
        let too_large = || std::io::Error::other("a commit of more than 4 GiB");
        let len = u32::try_from(frame.len()).map_err(|_| at(&self.path)(too_large()))?;
        for part in [&len.to_le_bytes()[..], &frame] {
            self.hasher.update(part);
            self.file.write_all(part).map_err(at(&self.path))?;
        }
        Ok(())
    }

    /// Makes the file durable; returns the digest of its content.
    pub(super) fn finish(self) -> Result<proto::Digest, Error> {
        let file = self.file.into_inner().map_err(|error| at(&self.path)(error.into_error()))?;
        file.sync_all().map_err(at(&self.path))?;
        Ok(proto::Digest(*self.hasher.finalize().as_bytes()))
    }
}

/// Calls `visit` with each frame in order.
pub(super) fn each(
    path: &Path,
    mut visit: impl FnMut(Changes) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut file = BufReader::new(File::open(path).map_err(at(path))?);
    loop {
        let mut len = [0; 4];
        match file.read(&mut len[..1]).map_err(at(path))? {
            0 => return Ok(()),
            _ => file.read_exact(&mut len[1..]).map_err(at(path))?,
        }
        let len = u32::from_le_bytes(len);
        let mut frame = Vec::new();
        let read = file.by_ref().take(len.into()).read_to_end(&mut frame).map_err(at(path))?;
        let whole = len <= FRAME_BYTES_MAX && read as u64 == u64::from(len);
        let changes = whole.then(|| postcard::from_bytes(&frame).ok()).flatten();
        visit(changes.ok_or_else(|| Error::Damaged(path.to_owned()))?)?;
    }
}
