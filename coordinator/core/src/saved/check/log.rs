//! The log: its entries say what the coordinator's own records say, and the stored tree is the one over them.

use super::{Findings, Tables};
use crate::record::{End, LogRecord, Place, Table, batch_key, decode, decode_batch};
use crate::store::{self, Store};
use proto::log::{self, Entry, Event, Frontier, Source, Span};
use proto::report::Batch;
use proto::{Digest, JobId};
use std::collections::{BTreeSet, HashMap};

/// Roots of batches kept for the entries that follow: neighbours rest on the same.
const ROOTS_KEPT: usize = 1024;

struct Walk<'a> {
    store: &'a dyn Store,
    tables: &'a Tables,
    findings: &'a mut Findings,
    log: Frontier,
    nodes: u64,
    /// Jobs submitted and not ended.
    running: BTreeSet<JobId>,
    submitted: u64,
    verdicts: u64,
    roots: HashMap<(u32, u64), Option<Digest>>,
}

/// Puts every entry under the tree again and compares it with the records.
pub(super) fn check(
    store: &dyn Store,
    tables: &Tables,
    findings: &mut Findings,
) -> Result<(), store::Error> {
    let mut walk = Walk {
        store,
        tables,
        findings,
        log: Frontier::default(),
        nodes: 0,
        running: BTreeSet::new(),
        submitted: 0,
        verdicts: 0,
        roots: HashMap::new(),
    };
    store::each(store, &Table::Entry.prefix(), |key, value| walk.entry(key, value))?;
    walk.compare()
}

impl Walk<'_> {
    fn entry(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), store::Error> {
        let index = self.log.size();
        if key != Table::Entry.key(index) {
            self.findings.wrong(format!("the log has no entry {index}, but one behind it"));
        }
        let mut finished = Vec::new();
        self.log.append(Entry::leaf(bytes), |level, at, digest| finished.push((level, at, digest)));
        for (level, at, digest) in finished {
            self.nodes += 1;
            let stored = self.store.get(&Table::Node.key2(level.into(), at))?;
            if stored.as_deref() != Some(&digest.0) {
                self.findings.wrong(format!(
                    "node {at} of level {level} of the log's tree is not the one over its entries"
                ));
            }
        }
        self.findings.entries += 1;
        // What does not decode was found above.
        let Ok(entry) = Entry::decode(bytes) else { return Ok(()) };
        let job = self.tables.jobs.get(&entry.job);
        let project = self.tables.meta.as_ref().map(|meta| meta.project);
        if job.is_none_or(|job| job.spec_digest != entry.spec) || project != Some(entry.project) {
            self.findings.wrong(format!("entry {index} of the log is of no job of this project"));
            return Ok(());
        }
        match &entry.event {
            Event::Submitted { account, submission } => {
                self.submitted += 1;
                let same =
                    job.is_some_and(|job| (&job.account, &job.submission) == (account, submission));
                if !same || !self.running.insert(entry.job) {
                    self.findings.wrong(format!(
                        "entry {index} of the log submits {} otherwise than its record",
                        entry.job
                    ));
                }
            }
            Event::Done | Event::Cancelled => {
                if !self.running.remove(&entry.job) {
                    self.findings.wrong(format!(
                        "entry {index} of the log ends {}, which does not run",
                        entry.job
                    ));
                }
            }
            Event::Verdicts { position, sources, spans } => {
                self.verdicts += 1;
                let key = Table::Log.key2(entry.job.0, *position);
                let record = self.store.get(&key)?;
                let record = record.as_deref().and_then(decode::<LogRecord>);
                let same = match record {
                    Some(record) => {
                        (record.entry, record.settled_at_ms) == (index, entry.at_ms)
                            && self.same(&record, sources, spans)?
                    }
                    None => false,
                };
                if !same || !self.running.contains(&entry.job) {
                    self.findings.wrong(format!(
                        "entry {index} of the log is not what record {position} of {} says",
                        entry.job
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether an entry says what a record says.
    fn same(
        &mut self,
        record: &LogRecord,
        sources: &[Source],
        spans: &[Span],
    ) -> Result<bool, store::Error> {
        if record.spans.len() != spans.len() {
            return Ok(false);
        }
        for (ours, theirs) in record.spans.iter().zip(spans) {
            let numbers = (ours.first, ours.count, ours.risk.0, ours.fuel);
            let same = match (&ours.end, &theirs.end) {
                (End::Done(ours), log::End::Done(theirs))
                | (End::Failed(ours), log::End::Failed(theirs)) => {
                    self.same_places(ours, theirs, sources)?
                }
                (End::GivenUp(ours), log::End::GivenUp(theirs))
                | (End::Withdrawn(ours), log::End::Withdrawn(theirs)) => ours == theirs,
                _ => false,
            };
            if !same || numbers != (theirs.first, theirs.count, theirs.figure, theirs.fuel) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn same_places(
        &mut self,
        ours: &[Place],
        theirs: &[log::Place],
        sources: &[Source],
    ) -> Result<bool, store::Error> {
        for (place, named) in ours.iter().zip(theirs) {
            let worker = self.tables.workers.get(&place.worker);
            let account = worker.and_then(|worker| self.tables.accounts.get(&worker.account));
            let (Some(worker), Some(account), Some(root), Some(source)) =
                (worker, account, self.root(*place)?, sources.get(named.source as usize))
            else {
                return Ok(false);
            };
            let (worker, account, sequence) = (worker.key, account.key, place.sequence);
            if *source != (Source { worker, account, sequence, root })
                || place.position != named.position
            {
                return Ok(false);
            }
        }
        Ok(ours.len() == theirs.len())
    }

    /// The Merkle root of the batch of a report.
    fn root(&mut self, place: Place) -> Result<Option<Digest>, store::Error> {
        let of = (place.worker, place.sequence);
        if let Some(root) = self.roots.get(&of) {
            return Ok(*root);
        }
        let value = self.store.get(&batch_key(Table::Batch, of.0, of.1))?;
        let batch = value.as_deref().and_then(decode_batch);
        let root =
            batch.and_then(|(_, payload)| Batch::decode(payload).ok()).map(|batch| batch.root());
        if ROOTS_KEPT <= self.roots.len() {
            self.roots.clear();
        }
        self.roots.insert(of, root);
        Ok(root)
    }

    /// Compares the sums.
    fn compare(self) -> Result<(), store::Error> {
        let Self { store, tables, findings, log, nodes, running, submitted, verdicts, .. } = self;
        let (mut stored_nodes, mut records) = (0, 0);
        store::each(store, &Table::Node.prefix(), |_, _| {
            stored_nodes += 1;
            Ok::<_, store::Error>(())
        })?;
        store::each(store, &Table::Log.prefix(), |_, _| {
            records += 1;
            Ok::<_, store::Error>(())
        })?;
        if stored_nodes != nodes {
            findings
                .wrong(format!("the log's tree has {stored_nodes} nodes, {nodes} belong to it"));
        }
        if records != verdicts {
            findings.wrong(format!(
                "{records} records of verdicts are kept, {verdicts} are in the log"
            ));
        }
        if let Some(meta) = tables.meta.as_ref().filter(|meta| meta.log != log) {
            findings.wrong(format!(
                "the log has {} entries under {}, its counters say {} under {}",
                log.size(),
                log.root(),
                meta.log.size(),
                meta.log.root()
            ));
        }
        let jobs = tables.jobs.iter().filter(|(_, job)| job.ended_at_ms.is_none());
        if submitted != tables.jobs.len() as u64 || !jobs.map(|(id, _)| id).eq(&running) {
            findings.wrong("the jobs that were submitted and that run are not those of the log");
        }
        Ok(())
    }
}
