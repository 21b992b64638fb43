//! What changed since the last commit, and the records that say so.

use crate::Core;
use crate::bounds::{LOG_BYTES, LOG_SPANS, LOG_UNITS};
use crate::job::Job;
use crate::ledger::{Ledger, Verdicts};
use crate::record::{
    End, IndexRecord, LogRecord, ResettledRecord, SoleReport, Span, Table, batch_key, encode,
    lease_key, standing_key,
};
use crate::time::Now;
use proto::{Digest, JobId, LeaseId};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Records to be put (`Some`) or deleted (`None`).
pub(super) type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What changed since the last commit.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub(super) meta: bool,
    pub(super) jobs: BTreeSet<JobId>,
    pub(super) workers: BTreeSet<u32>,
    pub(super) accounts: BTreeSet<u32>,
    pub(super) leases: BTreeSet<LeaseId>,
    pub(super) open: BTreeSet<(u32, u64)>,
    /// Batches that are not in the store yet.
    pub(super) batches: HashMap<(u32, u64), Arc<[u8]>>,
    /// Merkle roots of batches that verdicts may rest on and that are not open any more.
    pub(super) roots: HashMap<(u32, u64), Digest>,
    /// Jobs that may have got their last verdict; dealt with at the end of each event.
    pub(super) finished: Vec<JobId>,
    /// Jobs of which more is kept of what their units have logged, or more is not.
    pub(super) logs: BTreeSet<JobId>,
    /// Jobs of which more is kept, or shall not be.
    pub(super) kept: BTreeSet<JobId>,
    pub(super) records: Changes,
}

impl Dirty {
    pub(super) fn put<T: Serialize>(&mut self, key: Vec<u8>, record: &T) {
        self.records.push((key, Some(encode(record))));
    }

    pub(super) fn put_bytes(&mut self, key: Vec<u8>, bytes: Vec<u8>) {
        self.records.push((key, Some(bytes)));
    }

    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.records.push((key, None));
    }
}

impl Core {
    /// The records to be put and deleted since the last call, to be committed together. Nothing that was answered or
    /// said since then may leave before they are.
    pub fn take_changes(&mut self, now: Now) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let dirty = std::mem::take(&mut self.dirty);
        let mut changes = dirty.records;
        let Self { jobs, ended, meta, workers, accounts, open, .. } = self;
        for job in jobs.values().chain(ended.iter()).filter(|job| dirty.logs.contains(&job.id)) {
            changes.push((Table::Logs.key(job.id.0), Some(encode(&job.logs.record))));
        }
        for id in dirty.kept {
            changes.extend(
                self.kept.record(id).map(|kept| (Table::Kept.key(id.0), Some(encode(kept)))),
            );
        }
        let mut ledger = Ledger { meta, workers, accounts, open, roots: &dirty.roots };
        for id in dirty.jobs {
            if let Some(job) = jobs.get_mut(&id) {
                save_job(job, now, &mut ledger, &mut changes);
                job.rate.update(now.monotonic_ms, job.record.settled);
            }
        }
        for mut job in std::mem::take(ended) {
            save_job(&mut job, now, &mut ledger, &mut changes);
            ledger.ended(now, &job, &mut changes);
        }
        for number in dirty.workers {
            changes.push((
                Table::Worker.key(number.into()),
                Some(encode(&self.worker(number).record)),
            ));
        }
        for number in dirty.accounts {
            changes.push((
                Table::Account.key(number.into()),
                Some(encode(&self.accounts[number as usize])),
            ));
        }
        for id in dirty.leases {
            changes
                .push((lease_key(id), self.leases.get(&id).map(|lease| encode(&lease.record()))));
        }
        for (worker, sequence) in dirty.open {
            let open = self.open.get(&(worker, sequence)).map(|open| encode(&open.record));
            changes.push((batch_key(Table::Open, worker, sequence), open));
        }
        for ((who, class), standing) in self.standings.take_changes() {
            changes.push((standing_key(who, class), Some(encode(&standing))));
        }
        if dirty.meta || !changes.is_empty() {
            changes.push((Table::Meta.prefix(), Some(encode(&self.meta))));
        }
        changes
    }

    /// Whether [`Core::take_changes`] would give any.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        let Dirty {
            meta,
            jobs,
            workers,
            accounts,
            leases,
            open,
            logs,
            kept,
            records,
            batches: _,
            roots: _,
            finished: _,
        } = &self.dirty;
        *meta
            || !self.ended.is_empty()
            || !jobs.is_empty()
            || !workers.is_empty()
            || !accounts.is_empty()
            || !leases.is_empty()
            || !open.is_empty()
            || !logs.is_empty()
            || !kept.is_empty()
            || !records.is_empty()
            || self.standings.has_changes()
    }
}

impl Core {
    /// Notes in the log that a job was submitted.
    pub(super) fn log_submission(&mut self, now: Now, job: &Job) {
        let Self { meta, workers, accounts, open, dirty, .. } = self;
        let Dirty { roots, records, .. } = dirty;
        Ledger { meta, workers, accounts, open, roots }.submitted(now, job, records);
    }

    /// Gives what was reached of a job since the last commit its place in the log.
    pub(super) fn flush_log(&mut self, id: JobId, now: Now) {
        let Self { jobs, meta, workers, accounts, open, dirty, .. } = self;
        let Dirty { roots, records, .. } = dirty;
        if let Some(job) = jobs.get_mut(&id) {
            let mut ledger = Ledger { meta, workers, accounts, open, roots };
            flush_log(job, now, &mut ledger, records);
        }
    }
}

/// The job's record, and its verdicts since the last commit.
fn save_job(job: &mut Job, now: Now, ledger: &mut Ledger<'_>, changes: &mut Changes) {
    flush_log(job, now, ledger, changes);
    changes.push((Table::Job.key(job.id.0), Some(encode(&job.record))));
}

/// The verdicts of a job since the last call: their places in the log, and where each is found.
fn flush_log(job: &mut Job, now: Now, ledger: &mut Ledger<'_>, changes: &mut Changes) {
    let mut spans = std::mem::take(&mut job.spans).into_iter().peekable();
    while spans.peek().is_some() {
        let (mut record, mut units) =
            (LogRecord { entry: 0, settled_at_ms: now.wall_ms, spans: Vec::new() }, 0);
        let mut verdicts = Verdicts::default();
        while units < LOG_UNITS
            && record.spans.len() < LOG_SPANS
            && verdicts.bytes() < LOG_BYTES
            && let Some(span) = spans.next()
        {
            units += u64::from(span.count);
            verdicts.push(&span, ledger);
            record.spans.push(span);
        }
        let log = job.record.next_log;
        job.record.next_log += 1;
        record.entry = ledger.verdicts(now, job, log, verdicts, changes);
        changes.push((Table::Log.key2(job.id.0, log), Some(encode(&record))));
        let (again, spans) = again(job, record.spans, log);
        for (unit, record) in again {
            changes.push((Table::Again.key2(job.id.0, unit), Some(encode(&record))));
        }
        for (first, index) in index(job, spans, log) {
            changes.push((Table::Index.key2(job.id.0, first), Some(encode(&index))));
        }
    }
}

/// Where the verdicts of one record of the log are found that replace withdrawn ones, and all other spans.
pub(super) fn again(
    job: &Job,
    spans: Vec<Span>,
    log: u64,
) -> (Vec<(u64, ResettledRecord)>, Vec<Span>) {
    if job.again.is_empty() {
        return (Vec::new(), spans);
    }
    let mut found = Vec::new();
    let mut rest: Vec<Span> = Vec::new();
    for span in spans.into_iter().filter(|span| !matches!(span.end, End::Withdrawn(_))) {
        let each = span.fuel / u128::from(span.count.max(1));
        let mut left = span.fuel;
        for (offset, unit) in (0..span.count).zip(span.first..) {
            // Only the sum matters: units of one span rest on the word of the same workers.
            let fuel = if offset + 1 == span.count { left } else { each };
            left -= fuel;
            if !job.again.contains(unit) {
                let end = span.end_of(offset);
                rest.push(Span { first: unit, count: 1, end, risk: span.risk, fuel });
                continue;
            }
            let alone = word(job, &span).map(|word| SoleReport { fuel, ..word });
            let (failed, given_up) =
                (!matches!(span.end, End::Done(_)), matches!(span.end, End::GivenUp(_)));
            found.push((unit, ResettledRecord::Settled { log, failed, given_up, alone }));
        }
    }
    (found, rest)
}

/// The one worker whose word a span rests on, if it is one and the job asked for more.
fn word(job: &Job, span: &Span) -> Option<SoleReport> {
    match &span.end {
        End::Done(places) if job.estimates() && places.len() == 1 => {
            Some(SoleReport { worker: places[0].worker, risk: span.risk, fuel: span.fuel })
        }
        _ => None,
    }
}

/// Where the verdicts of one record of the log are found: a record per stretch of consecutive units.
pub(super) fn index(job: &Job, mut spans: Vec<Span>, log: u64) -> Vec<(u64, IndexRecord)> {
    spans.retain(|span| !matches!(span.end, End::Withdrawn(_)));
    spans.sort_unstable_by_key(|span| span.first);
    let mut stretches: Vec<(u64, IndexRecord)> = Vec::new();
    for span in spans {
        let count = u64::from(span.count);
        let follows =
            stretches.last().is_some_and(|(first, stretch)| first + stretch.count == span.first);
        if !follows {
            stretches.push((span.first, IndexRecord { log, ..IndexRecord::default() }));
        }
        let Some((_, stretch)) = stretches.last_mut() else { continue };
        if !matches!(span.end, End::Done(_)) {
            stretch.failed.push((stretch.count, count));
        }
        if matches!(span.end, End::GivenUp(_)) {
            stretch.given_up.push((stretch.count, count));
        }
        if let Some(word) = word(job, &span) {
            stretch.alone.push((stretch.count, count, word));
        }
        stretch.count += count;
    }
    stretches
}
