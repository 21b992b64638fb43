//! Where the coordinator's records are kept: a few calls, atomic and durable.

pub mod memory;

use std::fmt::Debug;

/// What a record is found by; keys are ordered bytewise.
pub type Key = Vec<u8>;

/// Records to be put (`Some`) or deleted (`None`), all or none.
pub type Changes = Vec<(Key, Option<Vec<u8>>)>;

/// A page of records in the order of their keys.
pub type Records = Vec<(Key, Vec<u8>)>;

/// What went wrong below the store.
#[derive(Debug, thiserror::Error)]
#[error("the store cannot {doing}")]
pub struct Error {
    /// What was being done.
    pub doing: &'static str,
    /// Why it failed.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A store of records. Reading sees only what was committed.
pub trait Store: Send + Sync + Debug + 'static {
    /// The record under `key`.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// At most `max` records whose keys start with `prefix` and come after `after`, in order; fewer where they are large. Only an empty
    /// page is the last.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be read.
    fn page(&self, prefix: &[u8], after: Option<&[u8]>, max: usize) -> Result<Records, Error>;

    /// The last record whose key starts with `prefix` and is at most `at`.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be read.
    fn last(&self, prefix: &[u8], at: &[u8]) -> Result<Option<(Key, Vec<u8>)>, Error>;

    /// Makes all changes or none; when it returns they survive a crash of the process and of the machine.
    ///
    /// # Errors
    /// [`Error`] when that cannot be promised. The process must then stop.
    fn commit(&self, changes: Changes) -> Result<(), Error>;

    /// Bytes that the store takes on disk.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be read.
    fn bytes(&self) -> Result<u64, Error>;

    /// Bytes free for it on disk; `None` where there is no such bound.
    fn free_bytes(&self) -> Option<u64>;
}

/// Calls `visit` with every record whose key starts with `prefix`, in order.
///
/// # Errors
/// [`Error`] when the store cannot be read, or what `visit` returns.
pub fn each<E: From<Error>>(
    store: &dyn Store,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut after: Option<Key> = None;
    loop {
        let page = store.page(prefix, after.as_deref(), PAGE_RECORDS)?;
        for (key, value) in &page {
            visit(key, value)?;
        }
        match page.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => return Ok(()),
        }
    }
}

/// Records read at once by [`each`]: enough to amortise a seek, little enough to hold in memory.
pub const PAGE_RECORDS: usize = 1024;
