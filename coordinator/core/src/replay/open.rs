//! What is not settled: verdicts whose reports are lost, reports without a verdict, leases.

use super::Replay;
use crate::bounds::OVERDUE_LEASES_MAX;
use crate::record::{
    LeaseRecord, LogRecord, OpenRecord, Table, batch_key, encode, encode_batch, lease_key,
};
use crate::status::JobState;
use proto::bounds::LEASE_UNITS_MAX;
use proto::log::{self, Entry, Event};
use proto::ticket::Ticket;
use proto::{JobId, LeaseId};
use std::collections::{BTreeMap, HashSet};

/// Why a verdict is withdrawn whose reports nobody has.
const REPORTS_LOST: &str = "the reports that it rested on were lost with the coordinator's records";

impl Replay<'_> {
    /// Verdicts that rest on reports that nobody has are taken back in the log too: another will follow.
    pub(super) fn withdraw_lost(&mut self) {
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
    pub(super) fn open_reports(&mut self) {
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
}
