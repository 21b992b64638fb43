//! The coordinator's core: jobs, units, leases, reports, verdicts and credit. Pure: it does no input or output, reads no
//! clock and draws no random numbers. [`Core::apply`] takes what happened and tells what to say; [`Core::take_changes`]
//! tells what to save, which must be done before anything is said.

#![forbid(unsafe_code)]

pub mod admission;
pub mod bounds;
mod cancel;
mod changes;
mod check;
mod connect;
mod deliver;
pub mod event;
mod expire;
mod grant;
mod job;
mod kept;
mod lease;
mod ledger;
mod load;
pub mod logs;
pub mod look;
mod newcomers;
mod queue;
pub mod record;
pub mod replay;
mod report;
mod retry;
mod returners;
pub mod saved;
mod serve;
mod settle;
mod share;
pub mod status;
pub mod store;
mod submit;
pub mod tally;
pub mod time;
pub mod token;
pub mod trust;
mod unit;
pub mod verdict;
mod why;
mod worker;

use crate::admission::Admission;
use crate::changes::Dirty;
use crate::event::{Effects, Event, Reply, Session};
use crate::job::Job;
use crate::kept::Kept;
use crate::lease::Lease;
use crate::logs::LogBytes;
use crate::newcomers::Newcomers;
use crate::record::{AccountRecord, Meta, OpenRecord, Table};
use crate::share::Shares;
use crate::time::Now;
use crate::token::{Token, TokenId};
use crate::trust::estimate::CHECK_FLOOR;
use crate::trust::prng::Prng;
use crate::trust::standings::Standings;
use crate::trust::{Detection, Trials};
use crate::worker::Worker;
use proto::log::Frontier;
use proto::{AccountKey, Digest, JobId, LeaseId, ProjectKey, WorkerKey};
use roaring::RoaringTreemap;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

pub use check::Contradiction;
pub use kept::OutputRoom;
pub use load::{Saved, SavedBatch, SavedJob};

/// All that the coordinator knows and that is active; what is settled is in the store.
#[derive(Debug)]
pub struct Core {
    meta: Meta,
    /// Running jobs.
    jobs: BTreeMap<JobId, Job>,
    /// Jobs that ended since the last commit.
    ended: Vec<Job>,
    cancelled: RoaringTreemap,
    /// Of ended jobs.
    ended_credit: u128,
    submissions: HashMap<submit::SubmissionKey, JobId>,
    /// By number.
    workers: Vec<Worker>,
    worker_numbers: HashMap<WorkerKey, u32>,
    /// By number.
    accounts: Vec<AccountRecord>,
    account_numbers: HashMap<AccountKey, u32>,
    /// Workers of each account, by its number.
    members: Vec<u32>,
    /// Workers that have gone and of which there is nothing to remember, since when.
    blank: VecDeque<(u64, u32)>,
    /// Accounts without workers and without credit.
    blank_accounts: Vec<u32>,
    newcomers: Newcomers,
    sessions: BTreeSet<Session>,
    next_stream: u64,
    leases: HashMap<LeaseId, Lease>,
    /// The first that was granted since the start.
    loaded_leases: LeaseId,
    /// Of active leases.
    deadlines: BTreeSet<(u64, LeaseId)>,
    /// When units of which job may be lent again.
    retries: BTreeSet<(u64, JobId)>,
    /// Overdue leases, oldest first; some may have gone.
    overdue: VecDeque<LeaseId>,
    /// Batches with reports without a verdict.
    open: HashMap<(u32, u64), Open>,
    tokens: BTreeMap<TokenId, Token>,
    admission: Admission,
    shares: Shares,
    /// Workers that stand in line for work, by number.
    line: VecDeque<u32>,
    /// Those that have failed more than they have reported, who come after the others: somebody who only fails must not be first
    /// to try again what he has failed.
    late: VecDeque<u32>,
    /// Workers of both lines that have not been served since work last appeared.
    to_serve: (usize, usize),
    /// Whether work has appeared that the line has not been told of.
    work_appeared: bool,
    dirty: Dirty,
    /// What is known of whom.
    standings: Standings,
    /// Workers that were caught and not yet distrusted.
    caught: Vec<Detection>,
    prng: Prng,
    /// Share of a trusted worker's units that are checked.
    check_floor: f64,
    trials: Trials,
    /// Workers that the operator has appointed, by number.
    referees: BTreeSet<u32>,
    /// The referee that came with the coordinator: it computes nothing but checks.
    embedded: Option<WorkerKey>,
    /// Whether there is more for referees to check than when they were served last.
    check_wanted: bool,
    /// Jobs with units that a referee's check has let go.
    releasing: BTreeSet<JobId>,
    log_bytes: LogBytes,
    kept: Kept,
    /// When something was applied last, on the monotonic clock.
    now_ms: u64,
}

/// A batch with reports without a verdict.
#[derive(Debug)]
struct Open {
    record: OpenRecord,
    /// Merkle root over all of its reports, which its worker signed.
    root: Digest,
    /// Reports still without a verdict.
    reports: u32,
}

impl Core {
    /// A core that knows nothing yet. `seed` is what chance grows from; who knows it knows which units will be checked.
    #[must_use]
    pub fn new(project: ProjectKey, seed: [u8; 32]) -> Self {
        let mut dirty = Dirty { meta: true, ..Dirty::default() };
        // Whose every blob is will be in the records from the first one on.
        dirty.put(Table::Output.prefix(), &0_u64);
        Self {
            meta: Meta {
                project,
                next_job: 1,
                next_lease: 1,
                settled: 0,
                credit: 0,
                log: Frontier::default(),
                head_at_ms: 0,
            },
            jobs: BTreeMap::new(),
            ended: Vec::new(),
            cancelled: RoaringTreemap::new(),
            ended_credit: 0,
            submissions: HashMap::new(),
            workers: Vec::new(),
            worker_numbers: HashMap::new(),
            accounts: Vec::new(),
            account_numbers: HashMap::new(),
            members: Vec::new(),
            blank: VecDeque::new(),
            blank_accounts: Vec::new(),
            newcomers: Newcomers::default(),
            sessions: BTreeSet::new(),
            next_stream: 1,
            leases: HashMap::new(),
            loaded_leases: LeaseId(0),
            deadlines: BTreeSet::new(),
            retries: BTreeSet::new(),
            overdue: VecDeque::new(),
            open: HashMap::new(),
            tokens: BTreeMap::new(),
            admission: Admission::Open,
            shares: Shares::default(),
            line: VecDeque::new(),
            late: VecDeque::new(),
            to_serve: (0, 0),
            work_appeared: false,
            dirty,
            standings: Standings::default(),
            caught: Vec::new(),
            prng: Prng::new(seed),
            check_floor: CHECK_FLOOR,
            trials: Trials::default(),
            referees: BTreeSet::new(),
            embedded: None,
            check_wanted: false,
            releasing: BTreeSet::new(),
            log_bytes: LogBytes::default(),
            kept: Kept::default(),
            now_ms: 0,
        }
    }

    /// Sets the share of a trusted worker's units that are checked whatever its history, from 0 to 1.
    pub fn set_check_floor(&mut self, share: f64) {
        self.check_floor = share.clamp(0.0, 1.0);
    }

    /// Applies what happened. The answer and the effects may be spoken once the changes are saved.
    pub fn apply(&mut self, now: Now, event: Event, effects: &mut Effects) -> Reply {
        self.now_ms = now.monotonic_ms;
        let reply = match event {
            Event::Connected(hello) => Reply::Connected(self.connect(now, hello, effects)),
            Event::Gone(session) => self.disconnect(now, session),
            Event::Want(session, want) => self.want(now, session, want, effects),
            Event::Reported(session, batch) => {
                Reply::Acks(self.report(now, session, &batch, effects))
            }
            Event::Delivered(delivered) => Reply::Acks(self.deliver(now, &delivered, effects)),
            Event::Heartbeat(session, heartbeat) => {
                self.heartbeat(now, session, &heartbeat, effects)
            }
            Event::Returned(session, returns) => self.give_back(now, session, returns),
            Event::Goodbye { session, leaving } => self.goodbye(now, session, leaving),
            Event::Shown(session, shown) => self.shown(session, shown, effects),
            Event::Found(session, found) => self.found(session, found),
            Event::Logged(session, logs) => self.logged(session, logs),
            Event::Appoint { worker, appointed } => self.appoint(&worker, appointed),
            Event::Unreadable { lease, reason } => self.unreadable(now, lease, &reason),
            Event::Submit(submission) => Reply::Submitted(self.submit(now, submission)),
            Event::Cancel(job) => Reply::Cancelled(self.cancel(now, job, effects)),
            Event::DropOutputs(job) => {
                self.keep_outputs_until(job, now.wall_ms);
                Reply::Done
            }
            Event::Disown { job, outputs, last } => {
                self.disown(job, outputs, last, effects);
                Reply::Done
            }
            Event::Abandon(outputs) => {
                effects.disowned.extend(outputs);
                Reply::Done
            }
            Event::HasPut { account, digest, len } => {
                self.has_put(&account, &digest, len);
                Reply::Done
            }
            Event::IssueToken(token) => self.issue_token(token),
            Event::RevokeToken(id) => self.revoke_token(&id),
            Event::Head => self.head(now),
            Event::Tick => Reply::Done,
        };
        self.expire(now);
        self.settle_released();
        self.judge_caught(now, effects);
        self.advance_trials(now, effects);
        self.judge_caught(now, effects);
        self.close_escrow();
        self.end_finished_jobs(now, effects);
        self.serve_line(now, effects);
        reply
    }

    /// When to apply [`Event::Tick`] should nothing else happen before, on the monotonic clock.
    #[must_use]
    pub fn next_deadline_ms(&self, now: Now) -> Option<u64> {
        let lease = self.deadlines.first().map(|(at_ms, _)| *at_ms);
        let retry = self.retries.first().map(|(at_ms, _)| *at_ms);
        let serve = (self.to_serve != (0, 0) || self.work_appeared)
            .then_some(now.monotonic_ms + bounds::SERVE_PAUSE_MS);
        let trial = self.trials.next_deadline_ms(now);
        let release =
            (!self.releasing.is_empty()).then_some(now.monotonic_ms + bounds::SERVE_PAUSE_MS);
        [lease, retry, serve, trial, release].into_iter().flatten().min()
    }

    fn issue_token(&mut self, token: Token) -> Reply {
        self.dirty.put(Table::token(&token.id.0), &token);
        self.tokens.insert(token.id.clone(), token);
        Reply::Done
    }

    fn revoke_token(&mut self, id: &TokenId) -> Reply {
        self.dirty.delete(Table::token(&id.0));
        Reply::Revoked(self.tokens.remove(id).is_some())
    }

    /// Takes the worker with this key for the referee that came with the coordinator, whenever it connects.
    pub fn set_embedded(&mut self, worker: WorkerKey) {
        self.embedded = Some(worker);
        self.appoint(&worker, true);
    }

    fn appoint(&mut self, worker: &WorkerKey, appointed: bool) -> Reply {
        let Some(&number) = self.worker_numbers.get(worker) else { return Reply::Appointed(false) };
        self.worker_mut(number).record.referee = appointed;
        if appointed {
            self.referees.insert(number);
        } else {
            self.referees.remove(&number);
            if self.referees.is_empty() {
                self.release_pools();
            }
        }
        Reply::Appointed(true)
    }

    /// The worker at the other end of a stream that is still open.
    fn worker_of(&self, session: Session) -> Option<u32> {
        self.sessions.contains(&session).then_some(session.worker)
    }

    fn worker(&self, number: u32) -> &Worker {
        &self.workers[number as usize]
    }

    fn worker_mut(&mut self, number: u32) -> &mut Worker {
        self.dirty.workers.insert(number);
        &mut self.workers[number as usize]
    }
}

#[cfg(test)]
mod tests;
