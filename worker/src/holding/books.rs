//! What is held, on disk: sealed batches with what is known of them, and tickets of leases.

use super::shelf::Shelf;
use crate::p2p::hold::{Name, Stored};
use proto::ticket::Ticket;
use proto::{AccountKey, LeaseId, WorkerKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

/// Tickets that are kept, of the leases granted last: far more than units are held.
const TICKETS_MAX: usize = 65_536;
/// First byte of a key.
const BATCH: u8 = b'b';
const NOTE: u8 = b'n';
const TICKET: u8 = b't';

/// What is known of a batch.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Note {
    /// Since when it is held, milliseconds since 1970.
    since_ms: u64,
    account: AccountKey,
    /// Whether the coordinator has it.
    known: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Books {
    batches: Shelf,
    tickets: BTreeMap<LeaseId, Ticket>,
    leases: Shelf,
}

fn key(kind: u8, name: &Name) -> Vec<u8> {
    [&[kind], name.worker.0.as_slice(), &name.sequence.to_be_bytes()].concat()
}

fn name_of(key: &[u8]) -> Option<Name> {
    let (worker, sequence) = key.get(1..)?.split_first_chunk::<32>()?;
    let sequence = u64::from_be_bytes(sequence.try_into().ok()?);
    Some(Name { worker: WorkerKey(*worker), sequence })
}

fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    postcard::to_allocvec(value).map_err(io::Error::other)
}

impl Books {
    /// Opens the books in the folder at `path`, made when it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        crate::file::make_folder(path)?;
        let mut books = Self {
            batches: Shelf::open(&path.join("batches"))?,
            tickets: BTreeMap::new(),
            leases: Shelf::open(&path.join("leases"))?,
        };
        let keys: Vec<Vec<u8>> = books.leases.keys(&[TICKET]).map(<[u8]>::to_vec).collect();
        for key in keys {
            let value = books.leases.get(&key)?;
            if let Some(ticket) =
                value.and_then(|value| postcard::from_bytes::<Ticket>(&value).ok())
            {
                books.tickets.insert(ticket.lease, ticket);
            }
        }
        Ok(books)
    }

    /// All batches that are whole, at `now_ms` since 1970. What is not whole is dropped.
    pub(super) fn stored(&mut self, now_ms: u64) -> io::Result<Vec<Stored>> {
        let keys: Vec<Vec<u8>> = self.batches.keys(&[BATCH]).map(<[u8]>::to_vec).collect();
        let mut all = Vec::with_capacity(keys.len());
        for batch in keys {
            let name = name_of(&batch);
            let note = name.and_then(|name| self.note(&name).transpose()).transpose()?;
            let bytes = self.batches.value_len(&batch);
            let (Some(name), Some(Note { since_ms, account, known }), Some(bytes)) =
                (name, note, bytes)
            else {
                self.batches.remove(&batch)?;
                continue;
            };
            let age = Duration::from_millis(now_ms.saturating_sub(since_ms));
            all.push(Stored { name, account, bytes, known, age });
        }
        Ok(all)
    }

    fn note(&mut self, name: &Name) -> io::Result<Option<Note>> {
        let value = self.batches.get(&key(NOTE, name))?;
        Ok(value.and_then(|value| postcard::from_bytes(&value).ok()))
    }

    /// Keeps a batch; on disk when this returns.
    pub(super) fn keep(
        &mut self,
        name: &Name,
        account: AccountKey,
        sealed: &[u8],
        now_ms: u64,
    ) -> io::Result<()> {
        self.batches.put(&key(BATCH, name), sealed)?;
        let note = Note { since_ms: now_ms, account, known: false };
        self.batches.put(&key(NOTE, name), &encode(&note)?)?;
        self.batches.sync()
    }

    /// Notes that the coordinator has a batch. Should it be forgotten in a crash, it is asked once more.
    pub(super) fn mark(&mut self, name: &Name) -> io::Result<()> {
        match self.note(name)? {
            Some(note) => {
                let note = Note { known: true, ..note };
                self.batches.put(&key(NOTE, name), &encode(&note)?)
            }
            None => Ok(()),
        }
    }

    pub(super) fn forget(&mut self, name: &Name) -> io::Result<()> {
        self.batches.remove(&key(NOTE, name))?;
        self.batches.remove(&key(BATCH, name))
    }

    pub(super) fn read(&mut self, name: &Name) -> io::Result<Option<Vec<u8>>> {
        self.batches.get(&key(BATCH, name))
    }

    /// Keeps tickets; the oldest go when there are too many.
    pub(super) fn admit(&mut self, tickets: Vec<Ticket>) -> io::Result<()> {
        let key = |lease: LeaseId| [&[TICKET], lease.0.to_be_bytes().as_slice()].concat();
        for ticket in tickets {
            self.leases.put(&key(ticket.lease), &encode(&ticket)?)?;
            self.tickets.insert(ticket.lease, ticket);
        }
        while TICKETS_MAX < self.tickets.len()
            && let Some((oldest, _)) = self.tickets.pop_first()
        {
            self.leases.remove(&key(oldest))?;
        }
        Ok(())
    }

    /// The tickets of these leases, as far as they are known.
    pub(super) fn tickets(&self, leases: &BTreeSet<LeaseId>) -> Vec<Ticket> {
        leases.iter().filter_map(|lease| self.tickets.get(lease).cloned()).collect()
    }
}
