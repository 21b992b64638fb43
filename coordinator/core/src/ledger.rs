//! The project's log grows: what happened to jobs, in words that mean something to a stranger, under a Merkle tree.

use crate::changes::Changes;
use crate::event::{LogHead, Reply};
use crate::job::Job;
use crate::record::{AccountRecord, End, Meta, Place, Span, Table};
use crate::status::JobState;
use crate::time::Now;
use crate::worker::Worker;
use crate::{Core, Open};
use proto::log::{self, Entry, Event, Source};
use proto::{Digest, JobId};
use std::collections::HashMap;

/// About how many bytes a span takes in an entry, besides its places and its reason.
const SPAN_BYTES: usize = 40;
/// At most how many bytes a place takes in an entry.
const PLACE_BYTES: usize = 10;
/// At most how many bytes a source takes in an entry.
const SOURCE_BYTES: usize = 106;

/// What the log is written with.
pub(super) struct Ledger<'a> {
    pub(super) meta: &'a mut Meta,
    pub(super) workers: &'a [Worker],
    pub(super) accounts: &'a [AccountRecord],
    /// Batches with reports without a verdict.
    pub(super) open: &'a HashMap<(u32, u64), Open>,
    /// Of the batches that are open no more, since the last commit.
    pub(super) roots: &'a HashMap<(u32, u64), Digest>,
}

/// Verdicts that are to be one entry.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    sources: Vec<Source>,
    numbers: HashMap<(u32, u64), u32>,
    spans: Vec<log::Span>,
    bytes: usize,
}

impl Verdicts {
    /// About how many bytes the entry has so far.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds verdicts.
    pub(super) fn push(&mut self, span: &Span, ledger: &Ledger<'_>) {
        let end = match &span.end {
            End::Done(places) => log::End::Done(self.places(places, ledger)),
            End::Failed(places) => log::End::Failed(self.places(places, ledger)),
            End::GivenUp(reason) => log::End::GivenUp(reason.clone()),
            End::Withdrawn(reason) => log::End::Withdrawn(reason.clone()),
        };
        self.bytes += SPAN_BYTES
            + match &end {
                log::End::GivenUp(reason) | log::End::Withdrawn(reason) => reason.len(),
                log::End::Done(places) | log::End::Failed(places) => places.len() * PLACE_BYTES,
            };
        let &Span { first, count, risk, fuel, .. } = span;
        self.spans.push(log::Span { first, count, end, figure: risk.0, fuel });
    }

    fn places(&mut self, places: &[Place], ledger: &Ledger<'_>) -> Vec<log::Place> {
        let place = |place: &Place| {
            let of = (place.worker, place.sequence);
            let next = u32::try_from(self.sources.len()).expect("an entry has few sources");
            let source = *self.numbers.entry(of).or_insert(next);
            if source == next {
                self.sources.push(ledger.source(of));
                self.bytes += SOURCE_BYTES;
            }
            log::Place { source, position: place.position }
        };
        places.iter().map(place).collect()
    }
}

impl Core {
    /// The head of the log. Its time is saved before it is told: heads that are later are of a log that is no shorter,
    /// whatever the wall clock does.
    pub(super) fn head(&mut self, now: Now) -> Reply {
        let Meta { log, head_at_ms, .. } = &mut self.meta;
        *head_at_ms = now.wall_ms.max(*head_at_ms);
        self.dirty.meta = true;
        Reply::Head(LogHead { size: log.size(), root: log.root(), at_ms: *head_at_ms })
    }
}

impl Ledger<'_> {
    fn source(&self, of: (u32, u64)) -> Source {
        let open = || self.open.get(&of).map(|open| &open.root);
        let root = self.roots.get(&of).or_else(open);
        let worker = &self.workers[of.0 as usize].record;
        Source {
            worker: worker.key,
            account: self.accounts[worker.account as usize].key,
            sequence: of.1,
            root: *root.expect("a verdict rests on batches that are open or came since the commit"),
        }
    }

    /// Appends an entry; its position.
    fn append(
        &mut self,
        now: Now,
        (job, spec): (JobId, Digest),
        event: Event,
        changes: &mut Changes,
    ) -> u64 {
        let Meta { project, log, .. } = &mut *self.meta;
        let bytes = Entry::new(*project, now.wall_ms, job, spec, event).encode();
        let index = log.size();
        log.append(Entry::leaf(&bytes), |level, index, digest| {
            changes.push((Table::Node.key2(level.into(), index), Some(digest.0.to_vec())));
        });
        changes.push((Table::Entry.key(index), Some(bytes)));
        index
    }

    /// A job was submitted.
    pub(super) fn submitted(&mut self, now: Now, job: &Job, changes: &mut Changes) {
        let (account, submission) = (job.record.account.clone(), job.record.submission);
        self.append(now, named(job), Event::Submitted { account, submission }, changes);
    }

    /// Verdicts were reached; the position of their entry.
    pub(super) fn verdicts(
        &mut self,
        now: Now,
        job: &Job,
        position: u64,
        verdicts: Verdicts,
        changes: &mut Changes,
    ) -> u64 {
        let Verdicts { sources, spans, .. } = verdicts;
        self.append(now, named(job), Event::Verdicts { position, sources, spans }, changes)
    }

    /// A job has ended.
    pub(super) fn ended(&mut self, now: Now, job: &Job, changes: &mut Changes) {
        let event = match job.record.state {
            JobState::Done => Event::Done,
            JobState::Cancelled => Event::Cancelled,
            JobState::Running => return,
        };
        self.append(now, named(job), event, changes);
    }
}

fn named(job: &Job) -> (JobId, Digest) {
    (job.id, job.record.spec_digest)
}
