//! A core built up again from what workers have kept: the project's log, batches of reports, specifications. Pure: what
//! was found goes in, records for an empty store come out, with a list of what could not be had.
//!
//! The log's entries go into the store byte for byte, so that the tree over them has the root that the project signed
//! before. Verdicts are read off the entries; who earned what follows from them. Reports without a verdict are kept as
//! open when a ticket shows that their units were lent; the core judges them when it is loaded.

mod open;
mod verdicts;

use crate::job::Job;
use crate::record::{AccountRecord, JobRecord, Meta, Table, WorkerRecord, encode, standing_key};
use crate::status::JobState;
use crate::trust::estimate::Risk;
use crate::trust::standings::Standings;
use proto::job::JobSpec;
use proto::key::Signature;
use proto::log::{Entry, Event, Frontier};
use proto::report::Batch;
use proto::ticket::Ticket;
use proto::{AccountKey, Digest, JobId, LeaseId, ProjectKey, WorkerKey};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Leases may have been granted of which nothing tells. The next one gets a number from the time of the rebuild: so many
/// for each millisecond since 1970, more than were ever granted in one.
const LEASES_PER_MS: u64 = 1 << 20;

/// Records by their keys.
pub type Records = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A batch of reports that somebody had kept; all signatures were verified.
#[derive(Clone, Debug)]
pub struct FoundBatch {
    /// The worker's owner.
    pub account: AccountKey,
    /// The batch.
    pub batch: Batch,
    /// Its canonical bytes.
    pub payload: Vec<u8>,
    /// By the worker, over [`Batch::signed_bytes`].
    pub signature: Signature,
    /// Leases that were granted to the worker, by tickets that hold.
    pub tickets: Vec<Ticket>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Canonical bytes of the log's entries from the first on; their root is what the project signed.
    pub entries: Vec<Vec<u8>>,
    /// When the head was signed, milliseconds since 1970.
    pub head_at_ms: u64,
    /// By worker and sequence.
    pub batches: BTreeMap<(WorkerKey, u64), FoundBatch>,
    /// Specifications as they were submitted, by digest.
    pub specs: BTreeMap<Digest, Vec<u8>>,
    /// Leases that workers still work under, by tickets that hold, with worker and owner.
    pub leases: BTreeMap<LeaseId, (WorkerKey, AccountKey, Ticket)>,
    /// Records of an older store that nothing else tells of: tokens.
    pub carried: Records,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Rebuilt {
    /// For an empty store.
    pub records: Records,
    /// Units with a verdict.
    pub settled: u64,
    /// Granted.
    pub credit: u128,
    /// Jobs that go on.
    pub running: u64,
    /// Jobs that have ended.
    pub ended: u64,
    /// Reports without a verdict that are judged next.
    pub open: u64,
    /// What could not be had, for people.
    pub losses: Vec<String>,
}

/// Builds the records up, at `now_ms` since 1970.
#[must_use]
pub fn rebuild(project: ProjectKey, found: &Found, now_ms: u64) -> Rebuilt {
    let meta = Meta {
        project,
        next_job: 1,
        next_lease: now_ms.saturating_mul(LEASES_PER_MS).max(1),
        settled: 0,
        credit: 0,
        log: Frontier::default(),
        head_at_ms: found.head_at_ms,
    };
    let mut replay = Replay {
        found,
        meta,
        workers: Vec::new(),
        worker_numbers: HashMap::new(),
        accounts: Vec::new(),
        account_numbers: HashMap::new(),
        jobs: BTreeMap::new(),
        ended: BTreeMap::new(),
        lost_jobs: BTreeMap::new(),
        alone: HashMap::new(),
        used: HashSet::new(),
        voided: HashSet::new(),
        withdrawn: BTreeMap::new(),
        standings: Standings::default(),
        rebuilt: Rebuilt::default(),
    };
    replay.rebuilt.records = found.carried.clone();
    for bytes in &found.entries {
        replay.entry(bytes);
    }
    replay.withdraw_lost();
    replay.open_reports();
    replay.finish()
}

struct Replay<'a> {
    found: &'a Found,
    meta: Meta,
    workers: Vec<WorkerRecord>,
    worker_numbers: HashMap<WorkerKey, u32>,
    accounts: Vec<AccountRecord>,
    account_numbers: HashMap<AccountKey, u32>,
    /// That run.
    jobs: BTreeMap<JobId, Job>,
    /// That have ended, with when.
    ended: BTreeMap<JobId, Job>,
    /// Whose specification nobody has, and how many of their verdicts are passed over.
    lost_jobs: BTreeMap<JobId, u64>,
    /// Worker, fuel and figure of units that rest on the word of one worker.
    alone: HashMap<(JobId, u64), (u32, u64, Risk)>,
    /// Batches that verdicts rest on.
    used: HashSet<(u32, u64)>,
    /// Workers that were caught, by job and position of the withdrawal.
    voided: HashSet<(JobId, u32, u64)>,
    /// Verdicts whose reports nobody has.
    withdrawn: BTreeMap<JobId, Vec<(u64, u32)>>,
    standings: Standings,
    rebuilt: Rebuilt,
}

impl Replay<'_> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.rebuilt.records.push((key, Some(value)));
    }

    /// Appends an entry to the log as it is.
    fn append(&mut self, bytes: Vec<u8>) -> u64 {
        let position = self.meta.log.size();
        let records = &mut self.rebuilt.records;
        self.meta.log.append(Entry::leaf(&bytes), |level, index, digest| {
            records.push((Table::Node.key2(level.into(), index), Some(digest.0.to_vec())));
        });
        self.put(Table::Entry.key(position), bytes);
        position
    }

    fn entry(&mut self, bytes: &[u8]) {
        let position = self.append(bytes.to_vec());
        // Every entry was read before.
        let Ok(Entry { at_ms, job, spec, event, .. }) = Entry::decode(bytes) else { return };
        self.meta.head_at_ms = self.meta.head_at_ms.max(at_ms);
        match event {
            Event::Submitted { account, submission } => {
                self.meta.next_job = self.meta.next_job.max(job.0.saturating_add(1));
                self.submitted(at_ms, job, spec, account, submission);
            }
            Event::Verdicts { position: log, sources, spans } => {
                self.verdicts(position, at_ms, job, log, &sources, &spans);
            }
            Event::Done => self.end(at_ms, job, JobState::Done),
            Event::Cancelled => self.end(at_ms, job, JobState::Cancelled),
        }
    }

    fn submitted(
        &mut self,
        at_ms: u64,
        id: JobId,
        digest: Digest,
        account: String,
        submission: [u8; 16],
    ) {
        let bytes = self.found.specs.get(&digest);
        let parsed = bytes.and_then(|bytes| Some((bytes, JobSpec::parse(bytes).ok()?)));
        let Some((bytes, spec)) = parsed else {
            self.lost_jobs.insert(id, 0);
            return;
        };
        let record = JobRecord::new(&spec, digest, account, submission, at_ms);
        self.put(Table::Spec.key(id.0), bytes.clone());
        let (spec, spec_bytes) = (Arc::new(spec.outline()), bytes.len() as u64);
        self.jobs.insert(id, Job::new(id, spec, spec_bytes, record, 0));
    }

    fn end(&mut self, at_ms: u64, id: JobId, state: JobState) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        (job.record.state, job.record.ended_at_ms) = (state, Some(at_ms));
        self.ended.insert(id, job);
    }

    /// The number of a worker, and of its account; new ones when they are not known.
    fn worker(&mut self, key: WorkerKey, account: AccountKey) -> u32 {
        if let Some(number) = self.worker_numbers.get(&key) {
            return *number;
        }
        let next = u32::try_from(self.accounts.len()).expect("fewer than 2^32 accounts");
        let owner = *self.account_numbers.entry(account).or_insert(next);
        if owner == next {
            self.accounts.push(AccountRecord { key: account, name: String::new(), credit: 0 });
        }
        let number = u32::try_from(self.workers.len()).expect("fewer than 2^32 workers");
        self.workers.push(WorkerRecord {
            key,
            account: owner,
            name: String::new(),
            network: 0,
            sequence: 0,
            reported: 0,
            disagreed: 0,
            caught: 0,
            referee: false,
            failures: 0,
            credit: 0,
            seen_at_ms: 0,
        });
        self.worker_numbers.insert(key, number);
        number
    }

    fn finish(mut self) -> Rebuilt {
        for (id, passed) in std::mem::take(&mut self.lost_jobs) {
            self.rebuilt.losses.push(format!(
                "{id}: nobody who answered has its specification; its {passed} verdicts and what was granted for them are not counted: submit it again"
            ));
        }
        let jobs = std::mem::take(&mut self.jobs).into_iter();
        let ended = std::mem::take(&mut self.ended).into_iter();
        for (id, job) in jobs.chain(ended) {
            match job.record.state {
                JobState::Running => self.rebuilt.running += 1,
                JobState::Done | JobState::Cancelled => self.rebuilt.ended += 1,
            }
            self.put(Table::Job.key(id.0), encode(&job.record));
        }
        for (number, worker) in (0..).zip(std::mem::take(&mut self.workers)) {
            self.put(Table::Worker.key(number), encode(&worker));
        }
        for (number, account) in (0..).zip(std::mem::take(&mut self.accounts)) {
            self.put(Table::Account.key(number), encode(&account));
        }
        for ((who, class), standing) in self.standings.take_changes() {
            self.put(standing_key(who, class), encode(&standing));
        }
        self.put(Table::Meta.prefix(), encode(&self.meta));
        (self.rebuilt.settled, self.rebuilt.credit) = (self.meta.settled, self.meta.credit);
        self.rebuilt
    }
}
