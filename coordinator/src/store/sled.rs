//! Records in sled 0.34, flushed inside every commit.

use crate::store::{Changes, Error, Key, Records, Store};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Memory for pages that were read or written, bytes: enough for the ends of the tables, where all writing happens.
const CACHE_BYTES: u64 = 64 << 20;

/// A store on disk.
#[derive(Debug)]
pub struct SledStore {
    database: sled::Db,
    folder: PathBuf,
}

impl SledStore {
    /// Opens the store in `folder`, or makes it.
    ///
    /// # Errors
    /// [`Error`] when the folder cannot be read or written, is in use, or holds no store.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        // Every commit flushes; a timer that does it too would only compete.
        let config =
            sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let open = || {
            let mut opened = config.open();
            for _ in 0..LOCK_TRIES {
                if !opened.as_ref().is_err_and(is_locked) {
                    break;
                }
                std::thread::sleep(LOCK_PAUSE);
                opened = config.open();
            }
            opened
        };
        let database = caught("open", open)?;
        Ok(Self { database, folder: folder.to_owned() })
    }
}

/// sled gives its lock back a moment after the store was dropped, when its own threads have let go: a store that is
/// opened again at once in the same process finds it still locked. Other processes are kept out by the project's lock.
const LOCK_TRIES: u32 = 500;
/// From one try to the next.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

/// Lets sled work. It panics on some damage that it meets; for us that is a failure like others.
fn caught<T>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, sled::Error>,
) -> Result<T, Error> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| Error { doing, source: Box::new(error) }),
        Err(panic) => {
            let why = panic.downcast_ref::<String>().map(String::as_str);
            let why =
                why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
            Err(Error { doing, source: format!("what is on the disk is damaged: {why}").into() })
        }
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let value = caught("read a record", || self.database.get(key))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn page(&self, prefix: &[u8], after: Option<&[u8]>, max: usize) -> Result<Records, Error> {
        let from = match after {
            Some(after) if prefix <= after => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        caught("read records", || {
            let mut page = Records::new();
            for record in self.database.range::<&[u8], _>((from, Bound::Unbounded)).take(max) {
                let (key, value) = record?;
                if !key.starts_with(prefix) {
                    break;
                }
                page.push((key.to_vec(), value.to_vec()));
            }
            Ok(page)
        })
    }

    fn last(&self, prefix: &[u8], at: &[u8]) -> Result<Option<(Key, Vec<u8>)>, Error> {
        let last = caught("read a record", || {
            let before = (Bound::Unbounded, Bound::Included(at));
            self.database.range::<&[u8], _>(before).next_back().transpose()
        });
        let Some((key, value)) = last? else { return Ok(None) };
        Ok(key.starts_with(prefix).then(|| (key.to_vec(), value.to_vec())))
    }

    fn commit(&self, changes: Changes) -> Result<(), Error> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        caught("write a commit", || self.database.apply_batch(batch))?;
        caught("flush a commit to disk", || self.database.flush())?;
        Ok(())
    }

    fn bytes(&self) -> Result<u64, Error> {
        caught("tell its size", || self.database.size_on_disk())
    }

    fn free_bytes(&self) -> Option<u64> {
        let room = rustix::fs::statvfs(&self.folder).ok()?;
        Some(room.f_bavail.saturating_mul(room.f_frsize))
    }
}
