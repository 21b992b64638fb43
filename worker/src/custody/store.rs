//! What is held, on disk: sealed batches with what is known of them, and tickets of leases.

use super::kv_log::Shelf;
use proto::ticket::Ticket;
use proto::{AccountKey, Digest, LeaseId, ProjectKey, WorkerKey, pb};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;
use worker_core::custody::{Name, Stored};
use worker_core::replica::Ledger;

/// Tickets that are kept, of the leases granted last: far more than units are held.
const TICKETS_MAX: usize = 65_536;
/// Specifications that are kept, bytes: of the jobs that were worked on first.
const SPECS_BYTES_MAX: u64 = 64 << 20;
/// First byte of a key.
const BATCH: u8 = b'b';
const NOTE: u8 = b'n';
const TICKET: u8 = b't';
const ENTRY: u8 = b'e';
const HEAD: u8 = b'h';
const SPEC: u8 = b's';

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
    /// The project's log, and specifications of its jobs.
    log: Shelf,
    specs_bytes: u64,
}

fn key(kind: u8, name: &Name) -> Vec<u8> {
    [&[kind], name.worker.0.as_slice(), &name.sequence.to_be_bytes()].concat()
}

fn name_of(key: &[u8]) -> Option<Name> {
    let (worker, sequence) = key.get(1..)?.split_first_chunk::<32>()?;
    let sequence = u64::from_be_bytes(sequence.try_into().ok()?);
    Some(Name { worker: WorkerKey(*worker), sequence })
}

fn entry_key(index: u64) -> Vec<u8> {
    [&[ENTRY], index.to_be_bytes().as_slice()].concat()
}

fn spec_key(digest: &Digest) -> Vec<u8> {
    [&[SPEC], digest.0.as_slice()].concat()
}

fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    postcard::to_allocvec(value).map_err(io::Error::other)
}

impl Books {
    /// Opens the store in the folder at `path`, made when it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        program::file::make_folder(path)?;
        let mut books = Self {
            batches: Shelf::open(&path.join("batches"))?,
            tickets: BTreeMap::new(),
            leases: Shelf::open(&path.join("leases"))?,
            log: Shelf::open(&path.join("log"))?,
            specs_bytes: 0,
        };
        let specs = books.log.keys(&[SPEC]).filter_map(|key| books.log.value_len(key));
        books.specs_bytes = specs.map(u64::from).sum();
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

    /// Keeps a batch of somebody else; on disk when this returns.
    pub(super) fn keep(
        &mut self,
        name: &Name,
        account: AccountKey,
        sealed: &[u8],
        now_ms: u64,
    ) -> io::Result<()> {
        self.copy(name, account, sealed, now_ms)?;
        self.batches.sync()
    }

    /// Keeps a batch of one's own, whose reports are safe in the journal until they are acknowledged.
    pub(super) fn copy(
        &mut self,
        name: &Name,
        account: AccountKey,
        sealed: &[u8],
        now_ms: u64,
    ) -> io::Result<()> {
        self.batches.put(&key(BATCH, name), sealed)?;
        let note = Note { since_ms: now_ms, account, known: false };
        self.batches.put(&key(NOTE, name), &encode(&note)?)
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

    /// Names of all batches.
    pub(super) fn names(&self) -> Vec<Name> {
        self.batches.keys(&[BATCH]).filter_map(name_of).collect()
    }

    /// The project's log as far as it is here; one that is damaged is dropped.
    pub(super) fn ledger(&mut self, project: ProjectKey) -> io::Result<Ledger> {
        let mut ledger = Ledger::new(project);
        if let Some(head) = self.head()? {
            let entries = self.entries(0, usize::MAX)?;
            if let Err(wrong) = ledger.extend(&head, &entries) {
                tracing::warn!(%wrong, "the project's log on this disk is dropped, and asked for again");
                ledger = Ledger::new(project);
            }
        }
        Ok(ledger)
    }

    /// The head of the log that is here.
    pub(super) fn head(&mut self) -> io::Result<Option<pb::SignedHead>> {
        let value = self.log.get(&[HEAD])?;
        let read = value.and_then(|value| postcard::from_bytes::<(Vec<u8>, Vec<u8>)>(&value).ok());
        Ok(read.map(|(payload, signature)| pb::SignedHead {
            payload: payload.into(),
            signature: signature.into(),
        }))
    }

    /// Keeps what the log has grown by.
    pub(super) fn grow(
        &mut self,
        from: u64,
        head: &pb::SignedHead,
        entries: &[Vec<u8>],
    ) -> io::Result<()> {
        for (entry, index) in entries.iter().zip(from..) {
            self.log.put(&entry_key(index), entry)?;
        }
        let head = (head.payload.to_vec(), head.signature.to_vec());
        self.log.put(&[HEAD], &encode(&head)?)?;
        self.log.sync()
    }

    /// Entries from `from` on, no more once they have `bytes`.
    pub(super) fn entries(&mut self, from: u64, bytes: usize) -> io::Result<Vec<Vec<u8>>> {
        let (mut entries, mut sum) = (Vec::new(), 0);
        for index in from.. {
            if bytes <= sum {
                break;
            }
            let Some(entry) = self.log.get(&entry_key(index))? else { break };
            sum += entry.len();
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Keeps a specification.
    pub(super) fn learn(&mut self, spec: &[u8]) -> io::Result<bool> {
        let key = spec_key(&Digest::of(spec));
        if self.log.value_len(&key).is_some() || SPECS_BYTES_MAX < self.specs_bytes {
            return Ok(false);
        }
        self.log.put(&key, spec)?;
        self.specs_bytes += spec.len() as u64;
        self.log.sync()?;
        Ok(true)
    }

    /// Digests of all specifications.
    pub(super) fn specs(&self) -> Vec<Digest> {
        let digest = |key: &[u8]| Digest::try_from(key.get(1..)?).ok();
        self.log.keys(&[SPEC]).filter_map(digest).collect()
    }

    pub(super) fn spec(&mut self, digest: &Digest) -> io::Result<Option<Vec<u8>>> {
        self.log.get(&spec_key(digest))
    }

    /// The tickets of these leases, as far as they are known.
    pub(super) fn tickets(&self, leases: &BTreeSet<LeaseId>) -> Vec<Ticket> {
        leases.iter().filter_map(|lease| self.tickets.get(lease).cloned()).collect()
    }
}
