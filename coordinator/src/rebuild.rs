//! A coordinator that has lost its records, or has only old ones, learns from its workers what it knew: it serves them with
//! an empty store, in which nothing is decided, and gathers the log, reports, specifications, kernels and inputs that they
//! have kept. Then [`replay`] makes records of it, and the coordinator starts on them as on any others.

use crate::blobs::BlobStore;
use crate::core::record::{
    AccountRecord, Table, WorkerRecord, decode, decode_batch, first_number, last_number,
};
use crate::core::replay::{self, Found, FoundBatch, Rebuilt};
use crate::core::saved::blobs_of;
use crate::store::{self, Store};
use ed25519_dalek::SigningKey;
use proto::job::JobSpec;
use proto::log::{Entry, Frontier, Head};
use proto::report::Batch;
use proto::seal::Opened;
use proto::ticket::{Ticket, TicketIssuer};
use proto::{AccountKey, Digest, ProjectKey, WorkerKey, pb};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes gathered in memory at most: the reports of some ten million units. What comes beyond is not taken, and told.
const BYTES_MAX: usize = 8 << 30;
/// Entries of the log taken in one piece, bytes: they are in memory twice until their root is known to be right.
pub(crate) const LOG_PIECE_BYTES_MAX: usize = 1 << 30;
/// Digests of blobs that a worker is asked for at once.
const BLOBS_ASKED_MAX: usize = 256;

/// Time between two offers of one worker, milliseconds: so much, and more the more workers there are, so that a hundred
/// offers a second come of however many.
const AGAIN_MS_MIN: u64 = 2_000;
const AGAIN_MS_EACH: u64 = 10;

/// Why something that a worker gives is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// The entries are not what the project signed.
    #[error("the entries are not those of the signed head")]
    Log,
    /// Not a specification that the log names.
    #[error("that is no specification of a job of this project")]
    Spec,
    /// There is no room.
    #[error("more was gathered than fits into memory")]
    Room,
}

/// What has been gathered so far.
#[derive(Debug)]
pub struct Gather {
    project: ProjectKey,
    office: TicketIssuer,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    found: Found,
    frontier: Frontier,
    /// Of jobs in the log.
    specs: BTreeSet<Digest>,
    /// Blobs that jobs name, and those of them that are not known to be here.
    named: BTreeSet<Digest>,
    missing: BTreeSet<Digest>,
    /// Lists of files of which it is not known yet what they name.
    lists: BTreeSet<Digest>,
    bytes: usize,
    /// When something new came last.
    news: Instant,
    contributors: BTreeSet<WorkerKey>,
}

/// What is asked of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Entries of the log from here on; none when the worker has no more of them.
    pub log_from: Option<u64>,
    /// Which of the batches that it has.
    pub batches: Vec<bool>,
    /// Which of the specifications that it has.
    pub specs: Vec<bool>,
    /// Kernels and inputs, should it have them.
    pub blobs: Vec<Digest>,
    /// When it should offer again what it may have got since, milliseconds.
    pub again_ms: u64,
}

impl State {
    /// Notes the blobs that a job names.
    fn name(&mut self, spec: &JobSpec) {
        for (_, digest, _) in blobs_of(spec) {
            if self.named.insert(digest) {
                self.missing.insert(digest);
            }
        }
        self.lists.extend(spec.list().map(|(list, ..)| list));
    }

    /// Notes the blobs that lists name which have come.
    fn name_listed(&mut self, blobs: &BlobStore) {
        let here: Vec<Digest> =
            self.lists.iter().filter(|list| blobs.len(list).is_some()).copied().collect();
        for list in here {
            self.lists.remove(&list);
            let read = blobs.each_listed(&list, |_, file| {
                if self.named.insert(file.digest) {
                    self.missing.insert(file.digest);
                }
                Ok(())
            });
            if let Err(error) = read {
                tracing::warn!(%list, %error, "a list of files cannot be read");
            }
        }
    }
}

impl Gather {
    /// Begins with what an older store has, which may be empty.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn new(project: &SigningKey, older: &dyn Store) -> Result<Self, store::Error> {
        let mut state = State {
            found: Found::default(),
            frontier: Frontier::default(),
            specs: BTreeSet::new(),
            named: BTreeSet::new(),
            missing: BTreeSet::new(),
            lists: BTreeSet::new(),
            bytes: 0,
            news: Instant::now(),
            contributors: BTreeSet::new(),
        };
        read_older(older, &mut state)?;
        Ok(Self {
            project: ProjectKey::from(project),
            office: TicketIssuer::new(project),
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a worker has that is not here: its log has `size` entries.
    #[must_use]
    pub fn wanted(
        &self,
        worker: WorkerKey,
        size: u64,
        batches: &[(WorkerKey, u64)],
        specs: &[Digest],
        blobs: &BlobStore,
    ) -> Wanted {
        let mut state = self.state();
        if state.contributors.insert(worker) {
            state.news = Instant::now();
        }
        state.name_listed(blobs);
        let here = state.frontier.size();
        let batch = |name: &(WorkerKey, u64)| !state.found.batches.contains_key(name);
        let spec = |spec: &Digest| !state.found.specs.contains_key(spec);
        let batches = batches.iter().map(batch).collect();
        let specs = specs.iter().map(spec).collect();
        let here_now: Vec<Digest> = state
            .missing
            .iter()
            .filter(|digest| blobs.len(digest).is_some())
            .take(BLOBS_ASKED_MAX)
            .copied()
            .collect();
        for digest in here_now {
            state.missing.remove(&digest);
        }
        let missing = state.missing.iter().take(BLOBS_ASKED_MAX).copied().collect();
        Wanted {
            log_from: (here < size).then_some(here),
            batches,
            specs,
            blobs: missing,
            again_ms: (state.contributors.len() as u64 * AGAIN_MS_EACH).max(AGAIN_MS_MIN),
        }
    }

    /// Takes the leases that a worker still works under.
    pub fn leases(&self, worker: WorkerKey, account: AccountKey, tickets: Vec<Ticket>) {
        let mut state = self.state();
        for ticket in tickets.into_iter().filter(|ticket| self.office.holds(&worker, ticket)) {
            state.found.leases.insert(ticket.lease, (worker, account, ticket));
        }
    }

    /// Takes entries that follow those that are here, up to a signed head that was verified.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn log(&self, head: &Head, from: u64, entries: Vec<Vec<u8>>) -> Result<(), Refused> {
        let mut frontier = self.state().frontier.clone();
        if frontier.size() != from {
            // Another worker was faster.
            return Ok(());
        }
        let mut specs = Vec::with_capacity(entries.len());
        for bytes in &entries {
            let entry = Entry::decode(bytes).map_err(|_| Refused::Log)?;
            if entry.project != self.project {
                return Err(Refused::Log);
            }
            specs.push(entry.spec);
            frontier.append(Entry::leaf(bytes), |_, _, _| {});
        }
        if (frontier.size(), frontier.root()) != (head.size, head.root) {
            return Err(Refused::Log);
        }
        let mut state = self.state();
        if state.frontier.size() == from {
            state.bytes += entries.iter().map(Vec::len).sum::<usize>();
            state.found.entries.extend(entries);
            state.found.head_at_ms = state.found.head_at_ms.max(head.at_ms);
            state.frontier = frontier;
            state.specs.extend(specs);
            state.news = Instant::now();
        }
        Ok(())
    }

    /// Takes a batch that was opened.
    ///
    /// # Errors
    /// [`Refused::Room`].
    pub fn batch(&self, opened: Opened) -> Result<(), Refused> {
        let Opened { worker, account, batch, payload, signature, mut tickets, outputs: _ } = opened;
        tickets.retain(|ticket| self.office.holds(&worker, ticket));
        let mut state = self.state();
        if BYTES_MAX < state.bytes {
            return Err(Refused::Room);
        }
        // Once as bytes, once decoded, which is about as large again.
        state.bytes += 3 * payload.len();
        let name = (worker, batch.sequence);
        let found = FoundBatch { account, batch, payload, signature, tickets };
        state.found.batches.entry(name).or_insert(found);
        state.news = Instant::now();
        Ok(())
    }

    /// Takes a specification of a job that the log names.
    ///
    /// # Errors
    /// [`Refused::Spec`].
    pub fn spec(&self, bytes: Vec<u8>) -> Result<(), Refused> {
        let digest = Digest::of(&bytes);
        let mut state = self.state();
        let parsed = JobSpec::parse(&bytes).ok().filter(|_| state.specs.contains(&digest));
        state.name(&parsed.ok_or(Refused::Spec)?);
        state.found.specs.insert(digest, bytes);
        state.news = Instant::now();
        Ok(())
    }

    /// Notes that a blob came.
    pub fn blob(&self) {
        self.state().news = Instant::now();
    }

    /// Whether a blob of this digest is one that a job names.
    #[must_use]
    pub fn names(&self, digest: &Digest) -> bool {
        self.state().named.contains(digest)
    }

    /// How long nothing new has come; none while nobody has come at all.
    #[must_use]
    pub fn quiet_for(&self) -> Option<Duration> {
        let state = self.state();
        (!state.contributors.is_empty()).then(|| state.news.elapsed())
    }

    /// How far it is, for people.
    #[must_use]
    pub fn told(&self) -> String {
        let state = self.state();
        format!(
            "building up the records from what workers have kept: {} entries of the log, {} batches of reports and {} specifications from {} workers so far",
            state.frontier.size(),
            state.found.batches.len(),
            state.found.specs.len(),
            state.contributors.len()
        )
    }

    /// Makes records of all that was gathered, at `now_ms` since 1970.
    #[must_use]
    pub fn finish(&self, now_ms: u64) -> Rebuilt {
        replay::rebuild(self.project, &self.state().found, now_ms)
    }
}

/// What an older store has: a backup that was restored, or what is left of a damaged one.
fn read_older(older: &dyn Store, state: &mut State) -> Result<(), store::Error> {
    let mut workers: HashMap<u64, WorkerRecord> = HashMap::new();
    let mut accounts: HashMap<u64, AccountRecord> = HashMap::new();
    store::each(older, &Table::Worker.prefix(), |key, value| {
        workers.extend(last_number(key).zip(decode::<WorkerRecord>(value)));
        Ok::<_, store::Error>(())
    })?;
    store::each(older, &Table::Account.prefix(), |key, value| {
        accounts.extend(last_number(key).zip(decode::<AccountRecord>(value)));
        Ok::<_, store::Error>(())
    })?;
    store::each(older, &Table::Entry.prefix(), |key, value| {
        // In order and without a gap, or no further.
        if last_number(key) == Some(state.frontier.size())
            && let Ok(entry) = Entry::decode(value)
        {
            state.frontier.append(Entry::leaf(value), |_, _, _| {});
            state.specs.insert(entry.spec);
            state.found.entries.push(value.to_vec());
        }
        Ok::<_, store::Error>(())
    })?;
    store::each(older, &Table::Spec.prefix(), |_, value| {
        if let Ok(spec) = JobSpec::parse(value) {
            state.name(&spec);
        }
        state.found.specs.insert(Digest::of(value), value.to_vec());
        Ok::<_, store::Error>(())
    })?;
    store::each(older, &Table::Token.prefix(), |key, value| {
        state.found.carried.push((key.to_vec(), Some(value.to_vec())));
        Ok::<_, store::Error>(())
    })?;
    store::each(older, &Table::Batch.prefix(), |key, value| {
        let worker = first_number(key).and_then(|number| workers.get(&number));
        let account = worker.and_then(|worker| accounts.get(&worker.account.into()));
        if let (Some(account), Some((signature, payload))) = (account, decode_batch(value))
            && let Ok(batch) = Batch::decode(payload)
            && batch.worker.verify(&batch.signed_bytes(), signature).is_ok()
        {
            let found = FoundBatch {
                account: account.key,
                payload: payload.to_vec(),
                signature: *signature,
                tickets: Vec::new(),
                batch,
            };
            state.found.batches.insert((found.batch.worker, found.batch.sequence), found);
        }
        Ok::<_, store::Error>(())
    })
}

/// Digests of a message.
pub(crate) fn names(batches: &[pb::BatchName]) -> Option<Vec<(WorkerKey, u64)>> {
    let name = |name: &pb::BatchName| {
        Some((WorkerKey::try_from(name.worker_key.as_ref()).ok()?, name.sequence))
    };
    batches.iter().map(name).collect()
}

/// Outputs that verdicts rest on and that are not here: large ones are kept by nobody once they were acknowledged.
#[must_use]
pub fn lost_outputs(found: &Found, blobs: &BlobStore) -> usize {
    use proto::report::{Outcome, Output};
    let mut lost: BTreeMap<Digest, ()> = BTreeMap::new();
    for report in found.batches.values().flat_map(|batch| &batch.batch.reports) {
        if let Outcome::Done(Output::Blob { digest, .. }) = &report.outcome
            && blobs.len(digest).is_none()
        {
            lost.insert(*digest, ());
        }
    }
    lost.len()
}

impl Gather {
    /// As [`lost_outputs`], of what was gathered.
    #[must_use]
    pub fn lost_outputs(&self, blobs: &BlobStore) -> usize {
        lost_outputs(&self.state().found, blobs)
    }
}
