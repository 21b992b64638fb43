//! A store that writes every commit down a second time while a backup is being made.

use super::Error;
use super::frames::Writer;
use crate::store::{self, Changes, Key, Records, Store};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What became of a recording.
#[derive(Debug)]
enum Recording {
    Off,
    On(Box<Writer>),
    /// The backup could not be written: it fails, and the commit does not. A commit that fails stops the process, and with
    /// it the backup, which has that commit already.
    Failed(Error),
}

/// Passes everything on to another store.
#[derive(Debug)]
pub struct Tee {
    store: Arc<dyn Store>,
    recording: Mutex<Recording>,
}

impl Tee {
    /// Before `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, recording: Mutex::new(Recording::Off) }
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all commits from now on to `writer` too.
    pub(super) fn record(&self, writer: Writer) {
        *self.recording() = Recording::On(Box::new(writer));
    }

    /// Stops that; the digest of what was written.
    pub(super) fn stop_recording(&self) -> Result<proto::Digest, Error> {
        let recording = std::mem::replace(&mut *self.recording(), Recording::Off);
        match recording {
            Recording::On(writer) => writer.finish(),
            Recording::Failed(error) => Err(error),
            Recording::Off => Err(Error::Busy),
        }
    }
}

impl Store for Tee {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, store::Error> {
        self.store.get(key)
    }

    fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Records, store::Error> {
        self.store.page(prefix, after, max)
    }

    fn last(&self, prefix: &[u8], at: &[u8]) -> Result<Option<(Key, Vec<u8>)>, store::Error> {
        self.store.last(prefix, at)
    }

    fn commit(&self, changes: Changes) -> Result<(), store::Error> {
        // Held over the commit: a backup begins and ends between two commits, and has them in their order.
        let mut recording = self.recording();
        if let Recording::On(writer) = &mut *recording
            && let Err(error) = writer.write(&changes)
        {
            *recording = Recording::Failed(error);
        }
        self.store.commit(changes)
    }

    fn bytes(&self) -> Result<u64, store::Error> {
        self.store.bytes()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.store.free_bytes()
    }
}
