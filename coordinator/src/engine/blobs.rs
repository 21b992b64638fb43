//! What the engine asks of the content that others keep.

use crate::core::saved::whose::Owned;
use proto::Digest;
use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::sync::{PoisonError, RwLock};

/// Content by digest. Calls may read the disk, and come from any thread.
pub trait Blobs: Send + Sync + Debug + 'static {
    /// Bytes of a blob that is whole and verified; `None` when it is not here.
    fn len(&self, digest: &Digest) -> Option<u64>;

    /// Line `index` of a blob, counted from 0, without its end.
    ///
    /// # Errors
    /// When the blob is not here, cannot be read, has no such line, or the line is no UTF-8 or too long.
    fn line(&self, digest: &Digest, index: u64) -> io::Result<String>;

    /// Takes a shown state away that is needed no more. One that cannot be is room lost.
    fn forget(&self, digest: &Digest);

    /// Takes a blob away that is nobody's. One that cannot be is room lost.
    fn remove(&self, digest: &Digest);

    /// What accounts have put.
    ///
    /// # Errors
    /// When it cannot be read.
    fn owned(&self) -> io::Result<Vec<Owned>>;
}

/// Content in memory, for tests and simulation.
#[derive(Debug, Default)]
pub struct MemoryBlobs(RwLock<HashMap<Digest, Vec<u8>>>);

impl MemoryBlobs {
    /// Adds content; returns its digest.
    pub fn put(&self, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(digest, content.to_vec());
        digest
    }
}

impl Blobs for MemoryBlobs {
    fn len(&self, digest: &Digest) -> Option<u64> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .map(|content| content.len() as u64)
    }

    fn line(&self, digest: &Digest, index: u64) -> io::Result<String> {
        let blobs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let content = blobs.get(digest).ok_or(io::ErrorKind::NotFound)?;
        let text = std::str::from_utf8(content).map_err(|_| io::ErrorKind::InvalidData)?;
        let index = usize::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(text.lines().nth(index).ok_or(io::ErrorKind::UnexpectedEof)?.to_owned())
    }

    fn forget(&self, digest: &Digest) {
        self.remove(digest);
    }

    fn remove(&self, digest: &Digest) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    fn owned(&self) -> io::Result<Vec<Owned>> {
        Ok(Vec::new())
    }
}
