//! What the whole of the records amounts to, kept with every commit: as a record in the same commit, and in a small file
//! outside the store, which is written elsewhere. A store that has lost or changed records without noticing does not agree with it.

use crate::record::{Meta, Table, decode, encode};
use crate::store::{self, Changes, Store};
use proto::{Digest, ProjectKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What all records amount to after a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Whose records these are.
    pub project: ProjectKey,
    /// Digest of the authority's certificate, which join strings carry.
    pub authority: Digest,
    /// Commits so far.
    pub commit: u64,
    /// Over all commits, each with the one before.
    pub chain: Digest,
    /// The same before the last commit.
    pub before: Digest,
    /// Records but for the tally itself.
    pub records: u64,
    /// Exclusive or of the digests of all of them: what each commit changes is all that it costs, and records that are
    /// lost, changed or added show. It is no defence against somebody who can write to the disk, and need not be: he
    /// could write this one too.
    pub sum: Digest,
    /// Entries of the project's log.
    pub log_size: u64,
    /// The root over them.
    pub log_root: Digest,
    /// When a loss was accepted last, or a backup restored, or the records built up again; milliseconds since 1970, 0:
    /// never. Heads of the log that were signed until then may be of what was lost.
    pub accepted_at_ms: u64,
}

impl Tally {
    /// The tally of no records.
    #[must_use]
    pub fn of_nothing(project: ProjectKey, authority: Digest) -> Self {
        let nothing = Digest([0; 32]);
        Self {
            project,
            authority,
            commit: 0,
            chain: nothing,
            before: nothing,
            records: 0,
            sum: nothing,
            log_size: 0,
            log_root: proto::merkle::root(&[]),
            accepted_at_ms: 0,
        }
    }

    /// The tally of all records of `store` as they are, with what else `self` says.
    ///
    /// # Errors
    /// [`store::Error`] when the store cannot be read.
    pub fn counted(&self, store: &dyn Store) -> Result<Self, store::Error> {
        let mut counted = Self { records: 0, sum: Digest([0; 32]), ..self.clone() };
        (counted.log_size, counted.log_root) = (0, proto::merkle::root(&[]));
        store::each(store, &[], |key, value| {
            if key != Table::Tally.prefix() {
                counted.add(key, value);
            }
            Ok::<_, store::Error>(())
        })?;
        Ok(counted)
    }

    /// The tally after `changes` of a store that it is the tally of now.
    ///
    /// # Errors
    /// [`store::Error`] when the store cannot be read.
    pub fn after(&self, changes: &Changes, store: &dyn Store) -> Result<Self, store::Error> {
        // A commit names each key once: the last change of each counts.
        let last: BTreeMap<&[u8], Option<&[u8]>> =
            changes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
        let mut next = Self { commit: self.commit + 1, before: self.chain, ..self.clone() };
        let mut chain = blake3::Hasher::new();
        chain.update(&self.chain.0).update(&next.commit.to_le_bytes());
        for (key, value) in last {
            if let Some(old) = store.get(key)? {
                next.records = next.records.saturating_sub(1);
                next.flip(&digest(key, &old));
            }
            match value {
                Some(value) => chain.update(&next.add(key, value).0),
                None => chain.update(&digest(key, &[]).0),
            };
        }
        next.chain = Digest(*chain.finalize().as_bytes());
        Ok(next)
    }

    /// Takes a record in; its digest.
    fn add(&mut self, key: &[u8], value: &[u8]) -> Digest {
        let digest = digest(key, value);
        self.records += 1;
        self.flip(&digest);
        if key == Table::Meta.prefix()
            && let Some(meta) = decode::<Meta>(value)
        {
            (self.log_size, self.log_root) = (meta.log.size(), meta.log.root());
        }
        digest
    }

    fn flip(&mut self, digest: &Digest) {
        for (sum, byte) in self.sum.0.iter_mut().zip(digest.0) {
            *sum ^= byte;
        }
    }

    /// The record of it.
    #[must_use]
    pub fn record(&self) -> (store::Key, Option<Vec<u8>>) {
        (Table::Tally.prefix(), Some(encode(self)))
    }

    /// The tally that a store has of itself, if any.
    ///
    /// # Errors
    /// [`store::Error`] when the store cannot be read; the inner error when the record cannot.
    pub fn of(store: &dyn Store) -> Result<Option<Result<Self, Unreadable>>, store::Error> {
        let value = store.get(&Table::Tally.prefix())?;
        Ok(value.map(|value| decode(&value).ok_or(Unreadable)))
    }
}

/// The record of the tally does not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

fn digest(key: &[u8], value: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes()).update(key).update(value);
    Digest(*hasher.finalize().as_bytes())
}
