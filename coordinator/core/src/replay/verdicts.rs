//! Verdicts are read off the log: who reported, what was granted, what was withdrawn.

use super::Replay;
use crate::changes::{again, index};
use crate::job::Job;
use crate::record::{
    End, LogRecord, Place, ResettledRecord, Span, Table, VoidRecord, WorkerRecord, encode,
};
use crate::trust;
use crate::trust::estimate::Risk;
use proto::JobId;
use proto::log::{self, Source};
use std::collections::BTreeSet;

impl Replay<'_> {
    pub(super) fn verdicts(
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
        let Some(mut job) = self.jobs.remove(&id) else {
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
        *job.record.risks.entry(span.risk).or_default() += count;
        let alone = matches!(&span.end, End::Done(places) if places.len() == 1);
        for (offset, unit) in (0..span.count).zip(units) {
            if alone {
                let place = places[0].following(offset);
                let fuel = self.fuel(place).unwrap_or(0);
                self.alone.insert((job.id, unit), (place.worker, fuel, span.risk));
            } else if 1 < places.len() {
                let class = trust::class(job, unit);
                for place in places {
                    let account = self.workers[place.worker as usize].account;
                    self.standings.pass(place.worker, account, 0, class);
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
        let Some((worker, fuel, risk)) = self.alone.remove(&(job.id, unit)) else {
            self.put(Table::Again.key2(job.id.0, unit), encode(&ResettledRecord::Withdrawn));
            return;
        };
        let fuel = u128::from(fuel);
        job.record.fuel -= fuel;
        job.record.credit -= fuel;
        if let Some(units) = job.record.risks.get_mut(&risk) {
            *units -= 1;
        }
        job.record.risks.retain(|_, units| 0 < *units);
        let record = &mut self.workers[worker as usize];
        record.credit -= fuel;
        let account = record.account;
        self.accounts[account as usize].credit -= fuel;
        self.meta.credit -= fuel;
        if self.voided.insert((job.id, worker, log)) {
            // Once for the units that go together: their worker was caught.
            let of_account = |(number, record): (u32, &WorkerRecord)| {
                (record.account == account).then_some(number)
            };
            let workers: BTreeSet<u32> = (0..).zip(&self.workers).filter_map(of_account).collect();
            self.standings.catch(&workers, account, 0, trust::class(job, unit));
            let key = Table::Void.key2(job.id.0, worker.into());
            self.put(key, encode(&VoidRecord { before_log: log }));
        }
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
    Some(Span { first, count, end, risk: Risk(figure), fuel })
}
