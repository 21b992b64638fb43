//! Results in the order in which they were settled, page by page, and receipts: one by one, or with a page of results.
//! What neighbours rest on is read once.

use crate::record::{End, LogRecord, Place, Span, Table, batch_key, decode_batch};
use crate::saved::load::{decoded, unreadable};
use crate::saved::{Error, read};
use crate::status::{Cursor, Page, Told, UnitResult};
use crate::store::Store;
use proto::job::{JobSpec, Stage};
use proto::key::Signature;
use proto::merkle::Tree;
use proto::receipt::{Copy, Receipt};
use proto::report::{Batch, Output, Proof, Report, Statement};
use proto::{AccountKey, Digest, JobId, ProjectKey, UnitIndex};
use std::collections::HashMap;
use std::sync::Arc;

/// Reports of decoded batches that a reader keeps, about 10 MB: eight of the largest batches, which neighbours in the
/// log seldom exceed.
const REPORTS_KEPT: usize = 1 << 15;
/// Accounts of workers that a reader keeps: 5 MB.
const ACCOUNTS_KEPT: usize = 1 << 16;

/// A batch as it was read.
#[derive(Debug)]
struct Kept {
    batch: Batch,
    signature: Signature,
    /// Over the reports; made for the first receipt.
    tree: Option<Tree>,
    /// When it was used last, on the reader's own count.
    used: u64,
}

/// Batches read so far: neighbours in the log mostly rest on the same.
#[derive(Debug, Default)]
pub(super) struct Batches {
    kept: HashMap<(u32, u64), Kept>,
    reports: usize,
    uses: u64,
}

impl Batches {
    fn batch(&mut self, store: &dyn Store, place: Place) -> Result<&mut Kept, Error> {
        let of = (place.worker, place.sequence);
        self.uses += 1;
        if !self.kept.contains_key(&of) {
            let kept = read_batch(store, place)?;
            self.make_room(kept.batch.reports.len());
            self.reports += kept.batch.reports.len();
            self.kept.insert(of, kept);
        }
        let kept = self.kept.get_mut(&of).ok_or_else(|| unreadable(&key_of(place)))?;
        kept.used = self.uses;
        Ok(kept)
    }

    /// Drops what was not used for longest.
    fn make_room(&mut self, reports: usize) {
        while REPORTS_KEPT < self.reports + reports {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(of, _)| *of);
            let Some(kept) = oldest.and_then(|of| self.kept.remove(&of)) else { return };
            self.reports -= kept.batch.reports.len();
        }
    }

    pub(super) fn report(&mut self, store: &dyn Store, place: Place) -> Result<&Report, Error> {
        let report = self.batch(store, place)?.batch.reports.get(place.position as usize);
        report.ok_or_else(|| unreadable(&key_of(place)))
    }

    /// What a worker has said of a unit, and the proof that it signed it.
    pub(super) fn proof(
        &mut self,
        store: &dyn Store,
        spec: Digest,
        place: Place,
    ) -> Result<(Statement, Proof), Error> {
        let Kept { batch, signature, tree, .. } = self.batch(store, place)?;
        let tree = tree.get_or_insert_with(|| Tree::new(batch.leaves()));
        let position = place.position as usize;
        let proof = Proof::in_tree(batch, tree, position, signature);
        let proof = proof.ok_or_else(|| unreadable(&key_of(place)))?;
        Ok((Statement::new(spec, &batch.reports[position]), proof))
    }
}

fn key_of(place: Place) -> Vec<u8> {
    batch_key(Table::Batch, place.worker, place.sequence)
}

fn read_batch(store: &dyn Store, place: Place) -> Result<Kept, Error> {
    let key = key_of(place);
    let value = store.get(&key)?.ok_or_else(|| unreadable(&key))?;
    let (signature, payload) = decode_batch(&value).ok_or_else(|| unreadable(&key))?;
    let batch = Batch::decode(payload).map_err(|_| unreadable(&key))?;
    Ok(Kept { batch, signature: *signature, tree: None, used: 0 })
}

/// Reads the results of one job.
#[derive(Debug)]
pub struct Results {
    job: JobId,
    spec: JobSpec,
    spec_digest: Digest,
    /// Whose receipts are made; `None`: none are asked for.
    receipts: Option<ProjectKey>,
    batches: Batches,
    accounts: HashMap<u32, AccountKey>,
    /// The record of the log that was read last, by its position.
    record: Option<(u64, Arc<LogRecord>)>,
}

impl Results {
    /// Results of `job`, with receipts of the project if given; `None` when there is no such job.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be read.
    pub fn of(
        store: &dyn Store,
        job: JobId,
        receipts: Option<ProjectKey>,
    ) -> Result<Option<Self>, Error> {
        let (Some(record), Some(spec)) =
            (read::record(store, job)?, read::parsed_spec(store, job)?)
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            job,
            spec,
            spec_digest: record.spec_digest,
            receipts,
            batches: Batches::default(),
            accounts: HashMap::new(),
            record: None,
        }))
    }

    /// Forgets what was read, to wait without it.
    pub fn rest(&mut self) {
        (self.batches, self.record) = (Batches::default(), None);
        self.accounts = HashMap::new();
    }

    /// At most `max` results behind `from`, in records before position `until` (`None`: in all). The cursor stays where it
    /// is when there are no more.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be read.
    pub fn page(
        &mut self,
        store: &dyn Store,
        from: Cursor,
        until: Option<u64>,
        max: usize,
    ) -> Result<Page, Error> {
        let mut page = Page { cursor: from, results: Vec::new() };
        while page.results.len() < max
            && until.is_none_or(|until| page.cursor.record < until)
            && let Some(record) = self.record(store, page.cursor.record)?
        {
            self.read(store, &record, max, &mut page)?;
        }
        Ok(page)
    }

    fn record(
        &mut self,
        store: &dyn Store,
        position: u64,
    ) -> Result<Option<Arc<LogRecord>>, Error> {
        if let Some((at, record)) = &self.record
            && *at == position
        {
            return Ok(Some(Arc::clone(record)));
        }
        let key = Table::Log.key2(self.job.0, position);
        let Some(value) = store.get(&key)? else { return Ok(None) };
        let record = Arc::new(decoded::<LogRecord>(&key, &value)?);
        self.record = Some((position, Arc::clone(&record)));
        Ok(Some(record))
    }

    /// Adds results of one record from the cursor on, and moves it.
    fn read(
        &mut self,
        store: &dyn Store,
        record: &LogRecord,
        max: usize,
        page: &mut Page,
    ) -> Result<(), Error> {
        let (position, mut before) = (page.cursor.record, 0);
        for span in &record.spans {
            let count = u64::from(span.count);
            let passed = page.cursor.offset.saturating_sub(before).min(count);
            before += count;
            if passed == count {
                continue;
            }
            let holds = !read::is_void(store, self.job, position, &span.end)?;
            for offset in (0..span.count).skip(usize::try_from(passed).unwrap_or(usize::MAX)) {
                if max <= page.results.len() {
                    return Ok(());
                }
                page.cursor.offset += 1;
                let unit = UnitIndex(span.first + u64::from(offset));
                if holds && self.is_latest(store, span, unit, position)? {
                    let result = self.result(store, record, span, unit, offset)?;
                    page.results.push(result);
                }
            }
        }
        page.cursor = Cursor { record: position + 1, offset: 0 };
        Ok(())
    }

    /// Whether a merge's verdict was not withdrawn since: the outputs that it was merged from are others then.
    fn is_latest(
        &self,
        store: &dyn Store,
        span: &Span,
        unit: UnitIndex,
        position: u64,
    ) -> Result<bool, Error> {
        let merged = self.spec.cut_units() <= unit.0;
        if !merged || span.end.places().is_empty() {
            return Ok(true);
        }
        Ok(read::position(store, self.job, unit)? == Some(position))
    }

    fn result(
        &mut self,
        store: &dyn Store,
        record: &LogRecord,
        span: &Span,
        unit: UnitIndex,
        offset: u32,
    ) -> Result<UnitResult, Error> {
        let end = span.end_of(offset);
        let (fuel, told) = match &end {
            End::GivenUp(reason) => (0, Told::GivenUp(reason.clone())),
            End::Withdrawn(reason) => (0, Told::Withdrawn(reason.clone())),
            End::Done(places) | End::Failed(places) => {
                let canonical = places
                    .first()
                    .ok_or_else(|| Error::Contradiction(format!("{unit} rests on no report")))?;
                let report = self.batches.report(store, *canonical)?;
                (report.fuel, Told::Settled(report.outcome.clone()))
            }
        };
        let receipt = self.receipt(store, unit, end.places(), record.settled_at_ms)?;
        Ok(UnitResult { unit, fuel, told, risk: span.risk, receipt })
    }

    /// The receipt of a unit whose verdict rests on the reports at `places`; `None` when none is asked for or there are none.
    pub(super) fn receipt(
        &mut self,
        store: &dyn Store,
        unit: UnitIndex,
        places: &[Place],
        settled_at_ms: u64,
    ) -> Result<Option<Receipt>, Error> {
        let Some(project) = self.receipts else { return Ok(None) };
        let (mut statement, mut copies) = (None, Vec::with_capacity(places.len()));
        for place in places {
            let (reported, proof) = self.batches.proof(store, self.spec_digest, *place)?;
            copies.push(Copy { account: self.account(store, place.worker)?, proof });
            statement.get_or_insert(reported);
        }
        let Some(statement) = statement else { return Ok(None) };
        let (kernel, merged) = match self.spec.stage(unit) {
            Some(Stage::Merge { first, count, .. }) => {
                let merged = read::outputs(store, self.job, first, count)?;
                let kernel = self.spec.merge.and_then(|merge| merge.kernel);
                (kernel.unwrap_or(self.spec.kernel), merged.iter().map(Output::digest).collect())
            }
            _ => (self.spec.kernel, Vec::new()),
        };
        Ok(Some(Receipt::new(project, kernel, statement, merged, copies, settled_at_ms)))
    }

    fn account(&mut self, store: &dyn Store, worker: u32) -> Result<AccountKey, Error> {
        if let Some(key) = self.accounts.get(&worker) {
            return Ok(*key);
        }
        let key = read::account_of(store, worker)?.key;
        if ACCOUNTS_KEPT <= self.accounts.len() {
            self.accounts.clear();
        }
        self.accounts.insert(worker, key);
        Ok(key)
    }
}
