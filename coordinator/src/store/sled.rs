//! Records in sled 0.34, flushed inside every commit. Large values are kept in parts: a page that is larger than a quarter of a
//! segment (128 KiB), sled writes to a file of its own, and counts it in its cache by the few bytes of the pointer to that file, so that it
//! would keep every one of them in memory.

use crate::store::{Changes, Error, Key, Records, Store};
use sled::Transactional;
use sled::transaction::{ConflictableTransactionError, TransactionError};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// Memory for pages that were read or written, bytes: enough for the ends of the tables, where all writing happens.
const CACHE_BYTES: u64 = 32 << 20;

/// Longest value that is kept whole, and length of the parts of longer ones, bytes: the 16 that sled has in a page are less than a
/// quarter of a segment together.
const PART_BYTES: usize = 7 << 10;
/// Values of a page are no longer together than this and one of them, bytes.
const PAGE_BYTES: usize = 4 << 20;

/// A store on disk.
#[derive(Debug)]
pub struct SledStore {
    /// Records; empty where the value is in parts.
    database: sled::Db,
    /// Lengths of values in parts, 8 bytes little endian.
    lengths: sled::Tree,
    /// Their parts, by length of the key (2 bytes big endian), key, and number of the part (4 bytes big endian).
    parts: sled::Tree,
    /// Values in parts are changed by one who writes, and read while nobody does.
    changing: RwLock<()>,
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
        let lengths = caught("open", || database.open_tree("lengths"))?;
        let parts = caught("open", || database.open_tree("parts"))?;
        Ok(Self {
            database,
            lengths,
            parts,
            changing: RwLock::default(),
            folder: folder.to_owned(),
        })
    }

    /// Length of the value under `key`, if it is in parts.
    fn length(&self, key: &[u8]) -> Result<Option<usize>, sled::Error> {
        let Some(length) = self.lengths.get(key)? else { return Ok(None) };
        let length: [u8; 8] = length.as_ref().try_into().map_err(|_| damaged(key))?;
        usize::try_from(u64::from_le_bytes(length)).map(Some).map_err(|_| damaged(key))
    }

    /// The value of the record that had `stored` in the table of records; nothing if it has gone since.
    fn whole(&self, key: &[u8], stored: &[u8]) -> Result<Option<Vec<u8>>, sled::Error> {
        if !stored.is_empty() {
            return Ok(Some(stored.to_vec()));
        }
        let _nobody_writes = self.changing.read().unwrap_or_else(PoisonError::into_inner);
        let Some(length) = self.length(key)? else {
            // It is empty, or has been put anew since.
            return Ok(self.database.get(key)?.map(|stored| stored.to_vec()));
        };
        let mut value = Vec::new();
        for number in 0..length.div_ceil(PART_BYTES) {
            value.extend_from_slice(
                &self.parts.get(part_key(key, number))?.ok_or_else(|| damaged(key))?,
            );
        }
        if value.len() == length { Ok(Some(value)) } else { Err(damaged(key)) }
    }

    /// Puts a value of any length, and takes away what was in parts before.
    fn put(
        &self,
        batches: &mut Batches,
        key: Key,
        value: Option<Vec<u8>>,
    ) -> Result<(), sled::Error> {
        if let Some(length) = self.length(&key)? {
            batches.in_parts = true;
            batches.lengths.remove(key.as_slice());
            for number in 0..length.div_ceil(PART_BYTES) {
                batches.parts.remove(part_key(&key, number));
            }
        }
        match value {
            Some(value) if PART_BYTES < value.len() => {
                batches.in_parts = true;
                for (number, part) in value.chunks(PART_BYTES).enumerate() {
                    batches.parts.insert(part_key(&key, number), part);
                }
                batches.lengths.insert(key.as_slice(), &(value.len() as u64).to_le_bytes());
                batches.records.insert(key, &[]);
            }
            Some(value) => batches.records.insert(key, value),
            None => batches.records.remove(key),
        }
        Ok(())
    }
}

/// Changes of one commit.
#[derive(Default)]
struct Batches {
    records: sled::Batch,
    lengths: sled::Batch,
    parts: sled::Batch,
    /// Whether anything but records changes.
    in_parts: bool,
}

fn part_key(key: &[u8], number: usize) -> Vec<u8> {
    let length = u16::try_from(key.len()).unwrap_or(u16::MAX);
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), key, &number.to_be_bytes()].concat()
}

fn damaged(key: &[u8]) -> sled::Error {
    let key = data_encoding::HEXLOWER.encode(key);
    let what = format!("the value of record {key} is not whole");
    sled::Error::Io(std::io::Error::new(std::io::ErrorKind::InvalidData, what))
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
        caught("read a record", || {
            let stored = self.database.get(key)?;
            stored.map_or(Ok(None), |stored| self.whole(key, &stored))
        })
    }

    fn page(&self, prefix: &[u8], after: Option<&[u8]>, max: usize) -> Result<Records, Error> {
        let from = match after {
            Some(after) if prefix <= after => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        caught("read records", || {
            let (mut page, mut bytes) = (Records::new(), 0);
            for record in self.database.range::<&[u8], _>((from, Bound::Unbounded)).take(max) {
                let (key, value) = record?;
                if !key.starts_with(prefix) {
                    break;
                }
                let Some(value) = self.whole(&key, &value)? else { continue };
                bytes += value.len();
                page.push((key.to_vec(), value));
                if PAGE_BYTES <= bytes {
                    break;
                }
            }
            Ok(page)
        })
    }

    fn last(&self, prefix: &[u8], at: &[u8]) -> Result<Option<(Key, Vec<u8>)>, Error> {
        caught("read a record", || {
            let before = (Bound::Unbounded, Bound::Included(at));
            let last = self.database.range::<&[u8], _>(before).next_back().transpose()?;
            let Some((key, value)) = last.filter(|(key, _)| key.starts_with(prefix)) else {
                return Ok(None);
            };
            Ok(self.whole(&key, &value)?.map(|value| (key.to_vec(), value)))
        })
    }

    fn commit(&self, changes: Changes) -> Result<(), Error> {
        let mut batches = Batches::default();
        caught("read a record", || {
            changes.into_iter().try_for_each(|(key, value)| self.put(&mut batches, key, value))
        })?;
        let Batches { records, lengths, parts, in_parts } = batches;
        let write = || {
            if !in_parts {
                return self.database.apply_batch(records);
            }
            let _nobody_reads = self.changing.write().unwrap_or_else(PoisonError::into_inner);
            let trees = (&*self.database, &self.lengths, &self.parts);
            let all = trees.transaction(|(of_records, of_lengths, of_parts)| {
                of_records.apply_batch(&records)?;
                of_lengths.apply_batch(&lengths)?;
                of_parts.apply_batch(&parts)?;
                Ok::<_, ConflictableTransactionError<std::convert::Infallible>>(())
            });
            all.map_err(|error| match error {
                TransactionError::Storage(error) => error,
                TransactionError::Abort(never) => match never {},
            })
        };
        caught("write a commit", write)?;
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
