//! Workers come and go.

use crate::Core;
use crate::admission::Admission;
use crate::bounds::{BLANK_MS, CORES_MAX, OVER_AT_ONCE, RENEWALS_MAX, WORKERS_CONNECTED_MAX};
use crate::event::Want;
use crate::event::{Effects, Heartbeat, Hello, Refused, Reply, Session, ToWorker, Welcome};
use crate::lease::LeaseState;
use crate::record::{AccountRecord, WorkerRecord};
use crate::time::Now;
use crate::worker::{Live, Worker};
use proto::bounds::{HEARTBEAT_LEASES_MAX, NAME_BYTES_MAX};
use proto::text::shortened;
use proto::{AccountKey, LeaseId};
use std::collections::BTreeSet;

/// Says why a worker gave back what it never had.
const LEASE_LOST: &str = "the line broke before the worker had heard of its lease";
/// Says why a heartbeat names a lease in vain.
const LEASE_OVER: &str =
    "the lease is over: its units were reported, given back, or belong to a job that has ended";

impl Core {
    pub(super) fn connect(
        &mut self,
        now: Now,
        hello: Hello,
        effects: &mut Effects,
    ) -> Result<Welcome, Refused> {
        let known = self.worker_numbers.get(&hello.worker).copied();
        if known.is_none_or(|number| self.worker(number).live.is_none())
            && WORKERS_CONNECTED_MAX <= self.sessions.len()
        {
            return Err(Refused::TooMany(self.sessions.len()));
        }
        if let Some(number) = known {
            let account = self.worker(number).record.account;
            if self.accounts[account as usize].key != hello.account {
                return Err(Refused::OtherAccount);
            }
        }
        self.let_in(&hello)?;
        let account = self.account(&hello);
        let number = known.unwrap_or_else(|| self.new_worker(&hello, account));
        let session = Session { stream: self.next_stream, worker: number };
        self.next_stream += 1;
        let live = Live {
            session,
            cores: hello.cores.clamp(1, CORES_MAX),
            contract: hello.contract,
            first_lease: Some(LeaseId(self.meta.next_lease)),
            want: Want::default(),
            told: BTreeSet::new(),
        };
        self.come_from(number, hello.network);
        let worker = self.worker_mut(number);
        worker.record.seen_at_ms = now.wall_ms;
        worker.record.name = shortened(&hello.name, NAME_BYTES_MAX);
        let sequence = worker.record.sequence;
        if let Some(replaced) = worker.live.replace(live) {
            self.sessions.remove(&replaced.session);
            effects.messages.push((replaced.session, ToWorker::Replaced));
        }
        self.sessions.insert(session);
        if self.embedded == Some(hello.worker) {
            self.appoint(&hello.worker, true);
        }
        Ok(Welcome { session, credit: self.accounts[account as usize].credit, sequence })
    }

    fn new_worker(&mut self, hello: &Hello, account: u32) -> u32 {
        let new = Worker::new(WorkerRecord {
            key: hello.worker,
            account,
            name: String::new(),
            network: 0,
            caught: 0,
            referee: false,
            sequence: 0,
            reported: 0,
            disagreed: 0,
            failures: 0,
            credit: 0,
            seen_at_ms: 0,
        });
        self.members[account as usize] += 1;
        let number = if let Some(number) = self.forget_one() {
            self.workers[number as usize] = new;
            number
        } else {
            self.workers.push(new);
            u32::try_from(self.workers.len() - 1).expect("fewer than 2^32 workers fit into memory")
        };
        self.worker_numbers.insert(hello.worker, number);
        number
    }

    /// Forgets a worker that has been gone for a while without ever having reported, so that keys made by the thousand leave
    /// nothing behind; its number.
    fn forget_one(&mut self) -> Option<u32> {
        if self.admission == Admission::Invited {
            // They are as many as were invited, and would have to be so again.
            return None;
        }
        while let Some(&(since_ms, number)) = self.blank.front() {
            if self.now_ms < since_ms + BLANK_MS {
                return None;
            }
            self.blank.pop_front();
            if !self.is_blank(number) {
                continue;
            }
            let WorkerRecord { key, account, .. } = self.worker(number).record;
            self.worker_numbers.remove(&key);
            let members = &mut self.members[account as usize];
            *members -= 1;
            if *members == 0 && self.accounts[account as usize].credit == 0 {
                self.blank_accounts.push(account);
            }
            return Some(number);
        }
        None
    }

    /// Whether nothing is known of a worker but its name, and nothing is under way.
    fn is_blank(&self, number: u32) -> bool {
        let worker = self.worker(number);
        let WorkerRecord { sequence, reported, disagreed, failures, caught, referee, .. } =
            worker.record;
        let nothing = [sequence, reported, disagreed, failures, caught, worker.leased.into()];
        worker.live.is_none()
            && !worker.in_line
            && !referee
            && nothing == [0; 6]
            && !worker.heard
            && !self.trials.asks(number)
    }

    /// Notes a worker that has gone, for the day on which its place is needed.
    pub(super) fn note_blank(&mut self, number: u32) {
        if self.is_blank(number) {
            self.blank.push_back((self.now_ms, number));
        }
    }

    /// The number of the worker's account; a new one when it is not known.
    fn account(&mut self, hello: &Hello) -> u32 {
        let number = match self.account_numbers.get(&hello.account) {
            Some(number) => *number,
            None => self.new_account(hello.account),
        };
        let account = &mut self.accounts[number as usize];
        let name = shortened(&hello.account_name, NAME_BYTES_MAX);
        if !name.is_empty() && account.name != name {
            account.name = name;
            self.dirty.accounts.insert(number);
        }
        number
    }

    fn new_account(&mut self, key: AccountKey) -> u32 {
        let new = AccountRecord { key, name: String::new(), credit: 0 };
        let vacant = |number: &u32| self.members[*number as usize] == 0;
        let number = if let Some(number) = self.blank_accounts.pop().filter(vacant) {
            let old = std::mem::replace(&mut self.accounts[number as usize], new);
            self.account_numbers.remove(&old.key);
            number
        } else {
            self.accounts.push(new);
            self.members.push(0);
            u32::try_from(self.accounts.len() - 1)
                .expect("fewer than 2^32 accounts fit into memory")
        };
        self.account_numbers.insert(key, number);
        self.dirty.accounts.insert(number);
        number
    }

    pub(super) fn disconnect(&mut self, now: Now, session: Session) -> Reply {
        if self.sessions.remove(&session) {
            let worker = self.worker_mut(session.worker);
            worker.record.seen_at_ms = now.wall_ms;
            worker.live = None;
            self.miss(session.worker);
            self.note_blank(session.worker);
        }
        Reply::Done
    }

    /// A worker ends its stream. Leaving the project, it keeps nothing; else it goes on computing what it holds.
    pub(super) fn goodbye(&mut self, now: Now, session: Session, leaving: bool) -> Reply {
        let Some(number) = self.worker_of(session) else { return Reply::Done };
        if leaving {
            for lease in self.leases_of(number) {
                self.return_lease(lease);
            }
        }
        self.disconnect(now, session)
    }

    /// Active leases of a worker, oldest first.
    pub(super) fn leases_of(&self, number: u32) -> Vec<LeaseId> {
        if self.worker(number).leased == 0 {
            return Vec::new();
        }
        let its = self.leases.iter().filter(|(_, lease)| lease.worker == number && lease.active());
        let mut leases: Vec<_> = its.map(|(id, _)| *id).collect();
        leases.sort_unstable();
        leases
    }

    /// Renews leases; tells the worker of those that are over.
    pub(super) fn heartbeat(
        &mut self,
        now: Now,
        session: Session,
        heartbeat: &Heartbeat,
        effects: &mut Effects,
    ) -> Reply {
        let Some(number) = self.worker_of(session) else { return Reply::Done };
        let named: BTreeSet<LeaseId> = heartbeat.leases.iter().copied().collect();
        self.take_back_lost(now, number, &named);
        let over = named.into_iter().filter(|lease| !self.renew(now, number, *lease));
        // The others are named again by the next heartbeat, if they are meant.
        let over: Vec<LeaseId> = over.take(OVER_AT_ONCE).collect();
        if !over.is_empty() {
            effects
                .messages
                .push((session, ToWorker::Cancel { leases: over, reason: LEASE_OVER.into() }));
        }
        Reply::Done
    }

    /// At the first heartbeat of a stream: what was lent in an earlier one and is not named never came, for its line broke or
    /// the coordinator ended before the message had left.
    fn take_back_lost(&mut self, now: Now, number: u32, named: &BTreeSet<LeaseId>) {
        let live = self.worker_mut(number).live.as_mut();
        let Some(first_here) = live.and_then(|live| live.first_lease.take()) else { return };
        let its = |id| self.leases.get(id).filter(|lease| lease.worker == number && lease.active());
        let there: u32 = named.iter().filter_map(its).map(|lease| lease.open).sum();
        if HEARTBEAT_LEASES_MAX <= named.len() || self.worker(number).leased <= there {
            return;
        }
        let lost = |id: &LeaseId| *id < first_here && !named.contains(id);
        let lost: Vec<LeaseId> = self.leases_of(number).into_iter().filter(lost).collect();
        if lost.is_empty() {
            return;
        }
        for lease in lost {
            self.return_lease(lease);
        }
        self.worker_mut(number).give_back(now.monotonic_ms, LEASE_LOST.into());
    }

    /// Renews a lease; whether it is one of the worker's. A report under an overdue lease is still of use.
    fn renew(&mut self, now: Now, number: u32, id: LeaseId) -> bool {
        let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.worker == number) else {
            return false;
        };
        if let LeaseState::Active { deadline_ms, since_ms, .. } = &mut lease.state
            && let Some(job) = self.jobs.get(&lease.job)
        {
            let lease_ms = job.spec.lease_s * 1000;
            let renewed_ms = (now.monotonic_ms + lease_ms).min(*since_ms + lease_ms * RENEWALS_MAX);
            if *deadline_ms < renewed_ms {
                self.deadlines.remove(&(*deadline_ms, id));
                self.deadlines.insert((renewed_ms, id));
                *deadline_ms = renewed_ms;
            }
        }
        true
    }
}
