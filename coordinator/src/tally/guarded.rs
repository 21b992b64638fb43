//! A store whose every commit carries its tally.

use super::{Tally, TallyFile};
use crate::store::{Changes, Error, Key, Records, Store};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Passes everything on to another store, and keeps the tally with each commit: in the store, then in the file.
#[derive(Debug)]
pub struct Guarded {
    store: Arc<dyn Store>,
    newest: Mutex<Newest>,
}

#[derive(Debug)]
struct Newest {
    tally: Tally,
    file: TallyFile,
}

impl Guarded {
    /// Before `store`, whose tally is `tally`, as `file` says.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, tally: Tally, file: TallyFile) -> Self {
        Self { store, newest: Mutex::new(Newest { tally, file }) }
    }

    /// The tally after the last commit.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.newest().tally.clone()
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Guarded {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.store.get(key)
    }

    fn page(&self, prefix: &[u8], after: Option<&[u8]>, max: usize) -> Result<Records, Error> {
        self.store.page(prefix, after, max)
    }

    fn last(&self, prefix: &[u8], at: &[u8]) -> Result<Option<(Key, Vec<u8>)>, Error> {
        self.store.last(prefix, at)
    }

    fn commit(&self, mut changes: Changes) -> Result<(), Error> {
        let mut newest = self.newest();
        let next = newest.tally.after(&changes, self.store.as_ref())?;
        changes.push(next.record());
        self.store.commit(changes)?;
        // Only now: a file that is behind the store is of a crash, one that is ahead is of a store that lost something.
        newest
            .file
            .write(&next)
            .map_err(|source| Error { doing: "write its tally", source: Box::new(source) })?;
        newest.tally = next;
        Ok(())
    }

    fn bytes(&self) -> Result<u64, Error> {
        self.store.bytes()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.store.free_bytes()
    }
}
