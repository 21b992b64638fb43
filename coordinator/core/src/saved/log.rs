//! The project's log is read from the store, on the asker's thread: it only grows.

use crate::record::{End, LogRecord, Meta, Place, Table, batch_key, decode_batch};
use crate::saved::load::{decoded, unreadable};
use crate::saved::{Error, read};
use crate::store::Store;
use proto::key::Signature;
use proto::log::{self, Entry, Event};
use proto::merkle::{self, Path};
use proto::report::{Batch, Statement};
use proto::{Digest, JobId, UnitIndex};
use std::collections::BTreeSet;

/// What is asked for is not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log has {size} entries, {asked} is beyond that")]
pub struct OutOfRange {
    /// What was asked for.
    pub asked: u64,
    /// Entries that there are.
    pub size: u64,
}

/// Reports of one batch that verdicts of an entry rest on, shown to be what the worker signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Reports in the batch.
    pub count: u64,
    /// By the worker.
    pub signature: Signature,
    /// Positions and what the reports there say, ascending.
    pub statements: Vec<(u32, Statement)>,
    /// From these to the root that was signed; see [`merkle::path_of_all`].
    pub path: Path,
}

/// Worker and sequence of a batch, and the positions in it that an entry points to.
pub type Used = ((u32, u64), BTreeSet<u32>);

/// The log in a store.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a>(pub(super) &'a dyn Store);

impl<'a> Log<'a> {
    /// The log in `store`.
    #[must_use]
    pub fn of(store: &'a dyn Store) -> Self {
        Self(store)
    }

    /// Entries.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be read.
    pub fn size(self) -> Result<u64, Error> {
        let key = Table::Meta.prefix();
        let meta = self.0.get(&key)?.map(|value| decoded::<Meta>(&key, &value)).transpose()?;
        Ok(meta.map_or(0, |meta| meta.log.size()))
    }

    /// Canonical bytes of entries from position `from` on: at most `count`, and no more once they have `bytes`.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be read, or an entry is not there.
    pub fn entries(self, from: u64, count: u64, bytes: usize) -> Result<Vec<Vec<u8>>, Error> {
        let (mut entries, mut sum) = (Vec::new(), 0);
        let end = self.size()?.min(from.saturating_add(count));
        for index in from..end {
            if bytes <= sum {
                break;
            }
            let entry = self.bytes(index)?;
            sum += entry.len();
            entries.push(entry);
        }
        Ok(entries)
    }

    fn bytes(self, index: u64) -> Result<Vec<u8>, Error> {
        let key = Table::Entry.key(index);
        self.0.get(&key)?.ok_or_else(|| unreadable(&key))
    }

    /// A stored node of the tree.
    fn node(self, level: u8, index: u64) -> Result<Digest, Error> {
        if level == 0 {
            return Ok(Entry::leaf(&self.bytes(index)?));
        }
        let key = Table::Node.key2(level.into(), index);
        let digest = self.0.get(&key)?.and_then(|value| Digest::try_from(value.as_slice()).ok());
        digest.ok_or_else(|| unreadable(&key))
    }

    /// Proof that entry `index` is among the first `size`.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be read; the inner error when there are not so many.
    pub fn inclusion(self, index: u64, size: u64) -> Result<Result<Path, OutOfRange>, Error> {
        let there = self.size()?;
        if there < size {
            return Ok(Err(OutOfRange { asked: size, size: there }));
        }
        let path = log::inclusion(index, size, |level, index| self.node(level, index))?;
        Ok(path.ok_or(OutOfRange { asked: index, size }))
    }

    /// Proof that the first `from` entries are the beginning of the first `to`.
    ///
    /// # Errors
    /// As for [`Self::inclusion`].
    pub fn consistency(self, from: u64, to: u64) -> Result<Result<Path, OutOfRange>, Error> {
        let there = self.size()?;
        if there < to {
            return Ok(Err(OutOfRange { asked: to, size: there }));
        }
        let path = log::consistency(from, to, |level, index| self.node(level, index))?;
        Ok(path.ok_or(OutOfRange { asked: from, size: to }))
    }

    /// Position of the entry with the verdict of a unit; `None` while it has none.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be read.
    pub fn locate(self, job: JobId, unit: UnitIndex) -> Result<Option<u64>, Error> {
        Ok(read::material(self.0, job, unit)?.map(|material| material.entry))
    }

    /// The entry at `index`; `None` when there is none.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be read.
    pub fn entry(self, index: u64) -> Result<Option<Entry>, Error> {
        if self.size()? <= index {
            return Ok(None);
        }
        let entry = Entry::decode(&self.bytes(index)?);
        entry.map(Some).map_err(|_| unreadable(&Table::Entry.key(index)))
    }

    /// The batches that an entry's verdicts rest on, in the order of its sources.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be read.
    pub fn used(self, entry: &Entry) -> Result<Vec<Used>, Error> {
        let Event::Verdicts { position, .. } = entry.event else { return Ok(Vec::new()) };
        let key = Table::Log.key2(entry.job.0, position);
        let value = self.0.get(&key)?.ok_or_else(|| unreadable(&key))?;
        Ok(used(&decoded(&key, &value)?))
    }

    /// The reports of one such batch.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be read.
    pub fn shown(self, ((worker, sequence), positions): &Used) -> Result<Shown, Error> {
        let key = batch_key(Table::Batch, *worker, *sequence);
        let value = self.0.get(&key)?.ok_or_else(|| unreadable(&key))?;
        let (signature, payload) = decode_batch(&value).ok_or_else(|| unreadable(&key))?;
        let batch = Batch::decode(payload).map_err(|_| unreadable(&key))?;
        let statement = |position: &u32| {
            let report = batch.reports.get(*position as usize).ok_or_else(|| unreadable(&key))?;
            let spec = batch.jobs[usize::from(report.job)].spec;
            Ok((*position, Statement::new(spec, report)))
        };
        let statements = positions.iter().map(statement).collect::<Result<_, Error>>()?;
        let indices = positions.iter().copied().map(u64::from).collect();
        let path = merkle::path_of_all(&batch.leaves(), &indices);
        Ok(Shown { count: batch.reports.len() as u64, signature: *signature, statements, path })
    }
}

/// The batches that a record's verdicts rest on, in the order in which they are first named.
fn used(record: &LogRecord) -> Vec<Used> {
    let mut used: Vec<Used> = Vec::new();
    let mut numbers = std::collections::HashMap::new();
    for span in &record.spans {
        let (End::Done(places) | End::Failed(places)) = &span.end else { continue };
        for &Place { worker, sequence, position } in places {
            let of = (worker, sequence);
            let number = *numbers.entry(of).or_insert(used.len());
            if number == used.len() {
                used.push((of, BTreeSet::new()));
            }
            used[number].1.extend(position..position.saturating_add(span.count));
        }
    }
    used
}
