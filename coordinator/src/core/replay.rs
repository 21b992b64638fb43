//! A core built up again from what workers have kept: the project's log, batches of reports, specifications. Pure: what
//! was found goes in, records for an empty store come out, with a list of what could not be had.
//!
//! The log's entries go into the store byte for byte, so that the tree over them has the root that the project signed
//! before. Verdicts are read off the entries; who earned what follows from them. Reports without a verdict are kept as
//! open when a ticket shows that their units were lent; the core judges them when it is loaded.

use crate::core::bounds::OVERDUE_LEASES_MAX;
use crate::core::changes::{again, index};
use crate::core::job::Job;
use crate::core::record::{
    AccountRecord, AgainRecord, End, JobRecord, LeaseRecord, LogRecord, Meta, OpenRecord, Place,
    Span, Table, VoidRecord, WorkerRecord, batch_key, encode, encode_batch, lease_key,
    standing_key,
};
use crate::core::status::JobState;
use crate::core::trust;
use crate::core::trust::book::Book;
use crate::core::trust::estimate::Figure;
use proto::bounds::LEASE_UNITS_MAX;
use proto::job::JobSpec;
use proto::key::Signature;
use proto::log::{self, Entry, Event, Frontier, Source};
use proto::report::Batch;
use proto::ticket::Ticket;
use proto::{AccountKey, Digest, JobId, LeaseId, ProjectKey, WorkerKey};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Leases may have been granted of which nothing tells. The next one gets a number from the time of the rebuild: so many
/// for each millisecond since 1970, more than were ever granted in one.
const LEASES_PER_MS: u64 = 1 << 20;
/// Why a verdict is withdrawn whose reports nobody has.
const REPORTS_LOST: &str = "the reports that it rested on were lost with the coordinator's records";

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
        withdrawn: BTreeMap::new(),
        book: Book::default(),
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
    alone: HashMap<(JobId, u64), (u32, u64, Figure)>,
    /// Batches that verdicts rest on.
    used: HashSet<(u32, u64)>,
    /// Verdicts whose reports nobody has.
    withdrawn: BTreeMap<JobId, Vec<(u64, u32)>>,
    book: Book,
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
        let record = JobRecord {
            name: spec.name.clone(),
            account,
            submission,
            spec_digest: digest,
            state: JobState::Running,
            submitted_at_ms: at_ms,
            ended_at_ms: None,
            units: spec.units(),
            settled: 0,
            failed: 0,
            given_up: 0,
            fuel: 0,
            credit: 0,
            copies: 0,
            next_unit: 0,
            next_log: 0,
            next_attempt: 0,
            withdrawn: 0,
            figures: BTreeMap::new(),
        };
        self.put(Table::Spec.key(id.0), bytes.clone());
        let bytes: Arc<[u8]> = bytes.as_slice().into();
        self.jobs.insert(id, Job::new(id, Arc::new(spec), bytes, record, 0));
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
            failures: 0,
            credit: 0,
            seen_at_ms: 0,
        });
        self.worker_numbers.insert(key, number);
        number
    }

    fn verdicts(
        &mut self,
        entry: u64,
        at_ms: u64,
        id: JobId,
        log: u64,
        sources: &[Source],
        spans: &[log::Span],
    ) {
        let numbers: Vec<Option<(u32, u64)>> = sources
            .iter()
            .map(|source| {
                let number = self.worker(source.worker, source.account);
                let record = &mut self.workers[number as usize];
                record.sequence = record.sequence.max(source.sequence);
                record.seen_at_ms = record.seen_at_ms.max(at_ms);
                let found = self.found.batches.get(&(source.worker, source.sequence));
                found
                    .filter(|found| found.batch.root() == source.root)
                    .map(|_| (number, source.sequence))
            })
            .collect();
        let Some(mut job) = self.take_job(id) else {
            if let Some(passed) = self.lost_jobs.get_mut(&id) {
                *passed += spans.iter().map(|span| u64::from(span.count)).sum::<u64>();
            }
            return;
        };
        let mut kept = Vec::new();
        for span in spans {
            match local(span, &numbers) {
                Some(span) => {
                    self.span(&mut job, log, &span);
                    kept.push(span);
                }
                None => self.withdrawn.entry(id).or_default().push((span.first, span.count)),
            }
        }
        job.record.next_log = job.record.next_log.max(log + 1);
        let record = LogRecord { entry, settled_at_ms: at_ms, spans: kept };
        self.put(Table::Log.key2(id.0, log), encode(&record));
        let (again, spans) = again(&job, record.spans, log);
        for (unit, record) in again {
            self.put(Table::Again.key2(id.0, unit), encode(&record));
        }
        for (first, index) in index(&job, spans, log) {
            self.put(Table::Index.key2(id.0, first), encode(&index));
        }
        self.jobs.insert(id, job);
    }

    /// A job that runs, or that is said to have ended and has verdicts all the same.
    fn take_job(&mut self, id: JobId) -> Option<Job> {
        self.jobs.remove(&id)
    }

    fn span(&mut self, job: &mut Job, log: u64, span: &Span) {
        let units = span.first..span.first + u64::from(span.count);
        if matches!(span.end, End::Withdrawn(_)) {
            units.for_each(|unit| self.withdraw(job, log, unit));
            return;
        }
        let count = u64::from(span.count);
        job.settled.insert_range(units.clone());
        job.record.settled += count;
        self.meta.settled += count;
        if units.start < job.cut_units {
            job.record.next_unit = job.record.next_unit.max(units.end.min(job.cut_units));
        }
        if !matches!(span.end, End::Done(_)) {
            job.failed.insert_range(units.clone());
            job.record.failed += count;
        }
        let places = match &span.end {
            End::Done(places) | End::Failed(places) => places,
            End::GivenUp(_) | End::Withdrawn(_) => {
                job.given_up.insert_range(units);
                job.record.given_up += count;
                return;
            }
        };
        job.record.fuel += span.fuel;
        for place in places {
            self.grant(place.worker, span.fuel, count);
            job.record.credit += span.fuel;
            job.record.copies += count;
            self.used.insert((place.worker, place.sequence));
        }
        if !job.estimates() {
            return;
        }
        *job.record.figures.entry(span.figure).or_default() += count;
        let alone = matches!(&span.end, End::Done(places) if places.len() == 1);
        for (offset, unit) in (0..span.count).zip(units) {
            if alone {
                let place = places[0].following(offset);
                let fuel = self.fuel(place).unwrap_or(0);
                self.alone.insert((job.id, unit), (place.worker, fuel, span.figure));
            } else if 1 < places.len() {
                let class = trust::class(job, unit);
                for place in places {
                    let account = self.workers[place.worker as usize].account;
                    self.book.pass(place.worker, account, 0, class);
                }
            }
        }
    }

    fn grant(&mut self, worker: u32, fuel: u128, reports: u64) {
        let record = &mut self.workers[worker as usize];
        record.credit += fuel;
        record.reported += reports;
        self.accounts[record.account as usize].credit += fuel;
        self.meta.credit += fuel;
    }

    fn fuel(&self, place: Place) -> Option<u64> {
        let worker = self.workers.get(place.worker as usize)?.key;
        let found = self.found.batches.get(&(worker, place.sequence))?;
        Some(found.batch.reports.get(place.position as usize)?.fuel)
    }

    /// The verdict on a unit holds no more.
    fn withdraw(&mut self, job: &mut Job, log: u64, unit: u64) {
        if !job.settled.remove(unit) {
            return;
        }
        job.again.insert(unit);
        job.record.settled -= 1;
        job.record.withdrawn += 1;
        self.meta.settled -= 1;
        if job.failed.remove(unit) {
            job.record.failed -= 1;
        }
        let Some((worker, fuel, figure)) = self.alone.remove(&(job.id, unit)) else {
            self.put(Table::Again.key2(job.id.0, unit), encode(&AgainRecord::Withdrawn));
            return;
        };
        let fuel = u128::from(fuel);
        job.record.fuel -= fuel;
        job.record.credit -= fuel;
        if let Some(units) = job.record.figures.get_mut(&figure) {
            *units -= 1;
        }
        job.record.figures.retain(|_, units| 0 < *units);
        let record = &mut self.workers[worker as usize];
        record.credit -= fuel;
        let account = record.account;
        self.accounts[account as usize].credit -= fuel;
        self.meta.credit -= fuel;
        let key = Table::Void.key2(job.id.0, worker.into());
        if self.rebuilt.records.iter().rev().take(2).all(|(last, _)| *last != key) {
            // Once for the run of units that go together: its owner was caught.
            let of_account = |(number, record): (u32, &WorkerRecord)| {
                (record.account == account).then_some(number)
            };
            let workers: BTreeSet<u32> = (0..).zip(&self.workers).filter_map(of_account).collect();
            self.book.catch(&workers, account, 0, trust::class(job, unit));
            self.put(key, encode(&VoidRecord { before_log: log }));
        }
    }

    /// Verdicts that rest on reports that nobody has are taken back in the log too: another will follow.
    fn withdraw_lost(&mut self) {
        for (id, units) in std::mem::take(&mut self.withdrawn) {
            let job = self.jobs.get(&id).or_else(|| self.ended.get(&id));
            let Some(job) = job else { continue };
            // What was settled again since needs nothing.
            let lost: Vec<(u64, u32)> =
                units.into_iter().filter(|(first, _)| !job.settled.contains(*first)).collect();
            if lost.is_empty() {
                continue;
            }
            let count: u64 = lost.iter().map(|(_, count)| u64::from(*count)).sum();
            self.rebuilt.losses.push(format!(
                "{id}: the reports behind {count} verdicts are with nobody who answered; the units are computed again, and what was granted for them is not counted"
            ));
            let spans = lost
                .iter()
                .map(|(first, count)| log::Span {
                    first: *first,
                    count: *count,
                    end: log::End::Withdrawn(REPORTS_LOST.into()),
                    figure: 0,
                    fuel: 0,
                })
                .collect();
            let (position, digest) = (job.record.next_log, job.record.spec_digest);
            let event = Event::Verdicts { position, sources: Vec::new(), spans };
            let at_ms = self.meta.head_at_ms;
            let entry =
                self.append(Entry::new(self.meta.project, at_ms, id, digest, event).encode());
            let record = LogRecord { entry, settled_at_ms: at_ms, spans: Vec::new() };
            self.put(Table::Log.key2(id.0, position), encode(&record));
            // A job that had ended goes on until it has all its verdicts again.
            if let Some(mut job) = self.jobs.remove(&id).or_else(|| self.ended.remove(&id)) {
                job.record.next_log += 1;
                (job.record.state, job.record.ended_at_ms) = match job.record.state {
                    JobState::Cancelled => (JobState::Cancelled, job.record.ended_at_ms),
                    JobState::Done | JobState::Running => (JobState::Running, None),
                };
                match job.record.state {
                    JobState::Running => self.jobs.insert(id, job),
                    JobState::Done | JobState::Cancelled => self.ended.insert(id, job),
                };
            }
        }
    }

    /// Keeps what verdicts rest on, and reports without a verdict of units that were lent.
    fn open_reports(&mut self) {
        let found = self.found;
        let mut said: HashSet<(JobId, u64, u32)> = HashSet::new();
        let mut leases: BTreeMap<LeaseId, (u32, Ticket, bool)> = BTreeMap::new();
        for ((key, sequence), batch) in &found.batches {
            let worker = self.worker(*key, batch.account);
            let record = &mut self.workers[worker as usize];
            record.sequence = record.sequence.max(*sequence);
            let account = record.account;
            let mut open = OpenRecord::default();
            for (position, report) in (0..).zip(&batch.batch.reports) {
                let named = batch.batch.jobs[usize::from(report.job)];
                let unit = report.unit.0;
                let Some(job) = self.jobs.get_mut(&named.id) else { continue };
                let lent = |ticket: &Ticket| {
                    ticket.lease == report.lease
                        && ticket.job == named.id
                        && (ticket.first.0..ticket.first.0.saturating_add(ticket.count.into()))
                            .contains(&unit)
                };
                if job.record.spec_digest != named.spec
                    || job.settled.contains(unit)
                    || !batch.tickets.iter().any(lent)
                    || !said.insert((named.id, unit, account))
                {
                    continue;
                }
                if unit < job.cut_units {
                    job.record.next_unit = job.record.next_unit.max(unit + 1);
                }
                job.record.copies += 1;
                self.rebuilt.open += 1;
                match open.positions.last_mut() {
                    Some((first, count)) if *first + *count == position => *count += 1,
                    _ => open.positions.push((position, 1)),
                }
            }
            for ticket in &batch.tickets {
                leases.insert(ticket.lease, (worker, ticket.clone(), true));
            }
            if !open.positions.is_empty() {
                self.put(batch_key(Table::Open, worker, *sequence), encode(&open));
            }
            if !open.positions.is_empty() || self.used.contains(&(worker, *sequence)) {
                let record = encode_batch(&batch.payload, &batch.signature);
                self.put(batch_key(Table::Batch, worker, *sequence), record);
            }
        }
        for (id, (key, account, ticket)) in &found.leases {
            let worker = self.worker(*key, *account);
            leases.insert(*id, (worker, ticket.clone(), false));
        }
        self.leases(leases);
    }

    /// Leases under which more may come; those that nobody says to work under are overdue.
    fn leases(&mut self, leases: BTreeMap<LeaseId, (u32, Ticket, bool)>) {
        let last = leases.last_key_value().map_or(0, |(lease, _)| lease.0);
        self.meta.next_lease = self.meta.next_lease.max(last.saturating_add(1));
        // Jobs of which the log does not tell any more must not be taken for others.
        let named = leases.values().map(|(_, ticket, _)| ticket.job.0).max().unwrap_or(0);
        self.meta.next_job = self.meta.next_job.max(named.saturating_add(1));
        for (lease, (worker, ticket, overdue)) in leases.into_iter().rev().take(OVERDUE_LEASES_MAX)
        {
            let Some(job) = self.jobs.get_mut(&ticket.job) else { continue };
            let end = ticket.first.0.saturating_add(ticket.count.into());
            if LEASE_UNITS_MAX < ticket.count || job.record.units < end {
                continue;
            }
            if ticket.first.0 < job.cut_units {
                job.record.next_unit = job.record.next_unit.max(end.min(job.cut_units));
            }
            let record = LeaseRecord {
                worker,
                job: ticket.job,
                first: ticket.first.0,
                count: ticket.count,
                given_back: Vec::new(),
                overdue,
            };
            self.put(lease_key(lease), encode(&record));
        }
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
        for ((who, class), standing) in self.book.take_changes() {
            self.put(standing_key(who, class), encode(&standing));
        }
        self.put(Table::Meta.prefix(), encode(&self.meta));
        (self.rebuilt.settled, self.rebuilt.credit) = (self.meta.settled, self.meta.credit);
        self.rebuilt
    }
}

/// A span with this coordinator's numbers; none when a batch that it rests on was not found.
fn local(span: &log::Span, numbers: &[Option<(u32, u64)>]) -> Option<Span> {
    let places = |places: &[log::Place]| {
        let place = |place: &log::Place| {
            let (worker, sequence) = (*numbers.get(place.source as usize)?)?;
            Some(Place { worker, sequence, position: place.position })
        };
        places.iter().map(place).collect::<Option<Vec<Place>>>()
    };
    let end = match &span.end {
        log::End::Done(from) => End::Done(places(from)?),
        log::End::Failed(from) => End::Failed(places(from)?),
        log::End::GivenUp(reason) => End::GivenUp(reason.clone()),
        log::End::Withdrawn(reason) => End::Withdrawn(reason.clone()),
    };
    let &log::Span { first, count, figure, fuel, .. } = span;
    Some(Span { first, count, end, figure: Figure(figure), fuel })
}
