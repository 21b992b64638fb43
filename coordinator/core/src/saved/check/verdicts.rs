//! Every verdict: it rests on reports that are there, of different accounts, which agree; and what was granted for it is
//! what workers, accounts and jobs hold.

use super::{Findings, Tables};
use crate::record::{
    End, IndexRecord, LogRecord, Place, ResettledRecord, Span, Table, batch_key, decode,
    decode_batch, first_number, last_number,
};
use crate::store::{self, Store};
use proto::JobId;
use proto::report::{Batch, Outcome, Output, Statement};
use roaring::RoaringTreemap;
use std::collections::HashMap;

/// Batches kept for the verdicts that follow: those of one commit point to few.
const BATCHES_KEPT: usize = 64;

/// What the log of one job adds up to.
#[derive(Debug, Default)]
struct Sums {
    settled: RoaringTreemap,
    failed: RoaringTreemap,
    /// Units whose verdict was withdrawn at least once.
    withdrawn: RoaringTreemap,
    withdrawals: u64,
    /// Worker and fuel of the units that rest on one report.
    alone: HashMap<u64, (u32, u64)>,
    given_up: u64,
    fuel: u128,
    credit: u128,
}

/// What a report says, and its output if that is a blob.
type Vote = (Statement, Option<(proto::Digest, u64)>);

struct Walk<'a> {
    store: &'a dyn Store,
    tables: &'a mut Tables,
    findings: &'a mut Findings,
    batches: HashMap<(u32, u64), Option<Batch>>,
    jobs: HashMap<JobId, Sums>,
    workers: HashMap<u32, u128>,
}

/// Walks the log of every job, then compares the sums.
pub(super) fn check(
    store: &dyn Store,
    tables: &mut Tables,
    findings: &mut Findings,
) -> Result<(), store::Error> {
    let (batches, jobs, workers) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut walk = Walk { store, tables, findings, batches, jobs, workers };
    store::each(store, &Table::Log.prefix(), |key, value| {
        let (Some(job), Some(log)) = (first_number(key), decode::<LogRecord>(value)) else {
            return Ok(());
        };
        for span in &log.spans {
            walk.span(JobId(job), span)?;
        }
        Ok::<_, store::Error>(())
    })?;
    walk.compare_index()?;
    walk.compare_sums();
    Ok(())
}

impl Walk<'_> {
    fn span(&mut self, job: JobId, span: &Span) -> Result<(), store::Error> {
        let units = span.first..span.first.saturating_add(span.count.into());
        if matches!(span.end, End::Withdrawn(_)) {
            self.withdraw(job, units);
            return Ok(());
        }
        let sums = self.jobs.entry(job).or_default();
        if sums.settled.insert_range(units.clone()) != u64::from(span.count) {
            self.findings.wrong(format!(
                "{job} has two verdicts on units of u{}..u{}",
                units.start, units.end
            ));
        }
        let (places, failed) = match &span.end {
            End::Done(places) => (places, false),
            End::Failed(places) => (places, true),
            End::GivenUp(_) | End::Withdrawn(_) => {
                sums.given_up += u64::from(span.count);
                sums.failed.insert_range(units);
                return Ok(());
            }
        };
        if failed {
            sums.failed.insert_range(units.clone());
        }
        self.accounts_differ(job, span.first, places);
        for (offset, unit) in (0..span.count).zip(units) {
            self.unit(job, unit, places, offset, failed)?;
        }
        Ok(())
    }

    /// Takes verdicts back, and what was granted for those that rested on one report.
    fn withdraw(&mut self, job: JobId, units: std::ops::Range<u64>) {
        let sums = self.jobs.entry(job).or_default();
        for unit in units {
            if !sums.settled.remove(unit) {
                self.findings.wrong(format!("{job}/u{unit} was withdrawn and had no verdict"));
            }
            sums.failed.remove(unit);
            sums.withdrawn.insert(unit);
            sums.withdrawals += 1;
            if let Some((worker, fuel)) = sums.alone.remove(&unit) {
                sums.fuel -= u128::from(fuel);
                sums.credit -= u128::from(fuel);
                if let Some(credit) = self.workers.get_mut(&worker) {
                    *credit -= u128::from(fuel);
                }
            }
        }
    }

    fn accounts_differ(&mut self, job: JobId, first: u64, places: &[Place]) {
        let mut accounts: Vec<_> = places
            .iter()
            .filter_map(|place| self.tables.workers.get(&place.worker))
            .map(|worker| worker.account)
            .collect();
        accounts.sort_unstable();
        accounts.dedup();
        if accounts.len() != places.len() || places.is_empty() {
            self.findings.wrong(format!(
                "the verdict on {job}/u{first} does not rest on reports of different accounts"
            ));
        }
    }

    fn unit(
        &mut self,
        job: JobId,
        unit: u64,
        places: &[Place],
        offset: u32,
        failed: bool,
    ) -> Result<(), store::Error> {
        let mut canonical: Option<Statement> = None;
        for place in places {
            let Some((statement, output)) = self.statement(place, offset)? else {
                self.findings.wrong(format!(
                    "the verdict on {job}/u{unit} rests on a report that is not there"
                ));
                return Ok(());
            };
            let spec = self.tables.jobs.get(&job).map(|job| job.spec_digest);
            if statement.unit.0 != unit
                || Some(statement.spec) != spec
                || statement.result.is_err() != failed
            {
                self.findings.wrong(format!(
                    "the verdict on {job}/u{unit} rests on a report of something else"
                ));
            }
            if canonical.as_ref().is_some_and(|canonical| *canonical != statement) {
                self.findings
                    .wrong(format!("the reports under the verdict on {job}/u{unit} do not agree"));
            }
            *self.workers.entry(place.worker).or_default() += u128::from(statement.fuel);
            let sums = self.jobs.entry(job).or_default();
            sums.credit += u128::from(statement.fuel);
            if canonical.is_none() {
                sums.fuel += u128::from(statement.fuel);
                let estimates =
                    self.tables.specs.get(&job).is_some_and(|(_, spec)| spec.confidence.is_some());
                if estimates && places.len() == 1 {
                    sums.alone.insert(unit, (place.worker, statement.fuel));
                }
                self.tables.outputs.extend(output);
                canonical = Some(statement);
            }
        }
        Ok(())
    }

    /// What the report at `place`, so many positions further, says, and its output if that is a blob.
    fn statement(&mut self, place: &Place, offset: u32) -> Result<Option<Vote>, store::Error> {
        let of = (place.worker, place.sequence);
        if !self.batches.contains_key(&of) {
            if BATCHES_KEPT <= self.batches.len() {
                self.batches.clear();
            }
            let value = self.store.get(&batch_key(Table::Batch, of.0, of.1))?;
            let batch = value
                .as_deref()
                .and_then(decode_batch)
                .and_then(|(_, payload)| Batch::decode(payload).ok());
            self.batches.insert(of, batch);
        }
        let Some(Some(batch)) = self.batches.get(&of) else { return Ok(None) };
        let position =
            place.position.checked_add(offset).and_then(|position| usize::try_from(position).ok());
        let Some(report) = position.and_then(|position| batch.reports.get(position)) else {
            return Ok(None);
        };
        let output = match &report.outcome {
            Outcome::Done(Output::Blob { digest, len }) => Some((*digest, *len)),
            Outcome::Done(Output::Inline(_)) | Outcome::Failed(_) => None,
        };
        let spec = batch.jobs[usize::from(report.job)].spec;
        Ok(Some((Statement::new(spec, report), output)))
    }

    /// The index must cover what the log has, no more and no less.
    fn compare_index(&mut self) -> Result<(), store::Error> {
        let mut indexed: HashMap<JobId, RoaringTreemap> = HashMap::new();
        store::each(self.store, &Table::Index.prefix(), |key, value| {
            if let (Some(job), Some(first), Some(index)) =
                (first_number(key), last_number(key), decode::<IndexRecord>(value))
            {
                indexed
                    .entry(JobId(job))
                    .or_default()
                    .insert_range(first..first.saturating_add(index.count));
            }
            Ok::<_, store::Error>(())
        })?;
        store::each(self.store, &Table::Again.prefix(), |key, value| {
            if let (Some(job), Some(unit), Some(ResettledRecord::Settled { .. })) =
                (first_number(key), last_number(key), decode(value))
            {
                indexed.entry(JobId(job)).or_default().insert(unit);
            }
            Ok::<_, store::Error>(())
        })?;
        let empty = RoaringTreemap::new();
        for (id, job) in &self.jobs {
            let indexed = indexed.get(id).unwrap_or(&empty);
            let beyond = indexed - &job.settled;
            if !job.settled.is_subset(indexed) || !beyond.is_subset(&job.withdrawn) {
                self.findings.wrong(format!("the index of {id} does not fit its verdicts"));
            }
        }
        for id in indexed.keys().filter(|id| !self.jobs.contains_key(id)) {
            self.findings.wrong(format!("there is an index of {id} and no verdict"));
        }
        Ok(())
    }

    fn compare_sums(&mut self) {
        let Self { tables, findings, jobs, workers, .. } = self;
        let none = Sums::default();
        for (id, record) in &tables.jobs {
            let sums = jobs.get(id).unwrap_or(&none);
            let found = (
                sums.settled.len(),
                sums.failed.len(),
                sums.given_up,
                sums.fuel,
                sums.credit,
                sums.withdrawals,
            );
            let votes = (
                record.settled,
                record.failed,
                record.given_up,
                record.fuel,
                record.credit,
                record.withdrawn,
            );
            if found != votes {
                findings.wrong(format!(
                    "{id}: its verdicts add up to (settled, failed, given up, fuel, credit, withdrawn) = {found:?}, its record says {votes:?}"
                ));
            }
        }
        for id in jobs.keys().filter(|id| !tables.jobs.contains_key(id)) {
            findings.wrong(format!("there are verdicts on {id} and no job"));
        }
        let mut accounts: HashMap<u32, u128> = HashMap::new();
        for (number, worker) in &tables.workers {
            let found = workers.get(number).copied().unwrap_or(0);
            *accounts.entry(worker.account).or_default() += found;
            if found != worker.credit {
                findings.wrong(format!(
                    "worker {} holds {} credit, its reports earned {found}",
                    worker.key, worker.credit
                ));
            }
        }
        for (number, account) in &tables.accounts {
            let found = accounts.get(number).copied().unwrap_or(0);
            if found != account.credit {
                findings.wrong(format!(
                    "account {} holds {} credit, its workers earned {found}",
                    account.key, account.credit
                ));
            }
        }
        let (settled, credit) = jobs.values().fold((0, 0), |(settled, credit), sums| {
            (settled + sums.settled.len(), credit + sums.credit)
        });
        if let Some(meta) =
            tables.meta.as_ref().filter(|meta| (meta.settled, meta.credit) != (settled, credit))
        {
            findings.wrong(format!(
                "the counters say {} units settled and {} credit granted, the verdicts {settled} and {credit}",
                meta.settled, meta.credit
            ));
        }
    }
}
