//! A worker as the core knows it: little while it is idle or away.

use crate::bounds::{
    CAUGHT_MS, CAUGHT_MS_MAX, CORES_MAX, FUEL_AHEAD_MS, FUEL_PER_CORE_SECOND_MAX, NEWCOMER_UNITS,
    STRIKE_MS, STRIKE_MS_MAX, STRIKES_FREE, WORKER_UNITS_MAX,
};
use crate::event::{Session, Want};
use crate::record::WorkerRecord;
use proto::job::Outline;
use proto::{JobId, LeaseId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A machine.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) record: WorkerRecord,
    /// Units of its active leases neither reported nor given back.
    pub(super) leased: u32,
    /// Most units that it may hold; halves with each failure and doubles with each batch of reports.
    pub(super) quota: u32,
    /// Failures, and times that it gave units back unharmed, since the last accepted report.
    strikes: u32,
    /// When a lease of it ran out last.
    ran_out_ms: Option<u64>,
    /// Why it gave units back last, unless a unit has failed on it since.
    pub(super) returned: Option<Arc<str>>,
    /// It gets nothing before this moment.
    pub(super) barred_until_ms: u64,
    /// Detection, it gets nothing before this moment.
    pub(super) caught_until_ms: u64,
    /// Batches of good reports until it is lent work like others again.
    pub(super) probation: u32,
    /// Whether it may be named in evidence, by its number, for what it found of a segment.
    pub(super) heard: bool,
    /// The moment until which its cores were busy with what it claims to have burnt in units that nobody else has computed.
    busy_until_ms: u64,
    /// Whether it stands in line for work.
    pub(super) in_line: bool,
    /// Its stream, while it has one.
    pub(super) live: Option<Live>,
}

/// A worker's open stream.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) session: Session,
    pub(super) cores: u32,
    /// The newest version of the kernel contract that it knows.
    pub(super) contract: u32,
    /// Until its first heartbeat: the first lease that can have been granted in this stream.
    pub(super) first_lease: Option<LeaseId>,
    /// What it still asks for.
    pub(super) want: Want,
    /// Jobs whose specification it was sent.
    pub(super) told: BTreeSet<JobId>,
}

impl Live {
    /// Whether it lends the memory that units of a job need, and knows their contract.
    pub(super) fn fits(&self, job: &Outline) -> bool {
        job.limits.memory_bytes <= self.want.memory_bytes && job.contract <= self.contract
    }
}

impl Worker {
    /// One that may hold as many units as it has ever reported, and some.
    pub(super) fn new(record: WorkerRecord) -> Self {
        let reported = u32::try_from(record.reported).unwrap_or(u32::MAX);
        Self {
            record,
            leased: 0,
            quota: NEWCOMER_UNITS.saturating_add(reported).min(WORKER_UNITS_MAX),
            strikes: 0,
            ran_out_ms: None,
            returned: None,
            barred_until_ms: 0,
            caught_until_ms: 0,
            probation: 0,
            heard: false,
            busy_until_ms: 0,
            in_line: false,
            live: None,
        }
    }

    /// Whether it could compute units of a job in place of one of `account`.
    pub(super) fn could(&self, account: Option<u32>, job: &Outline) -> bool {
        Some(self.record.account) != account
            && self.live.as_ref().is_some_and(|live| live.fits(job))
    }

    /// A failure: the worker gets less, and after some in a row nothing for a while.
    pub(super) fn strike(&mut self, now_ms: u64, units: u32) {
        self.record.failures += u64::from(units);
        self.returned = None;
        self.hold_back(now_ms);
    }

    /// A lease of so many units, which it held since then, ran out. Leases that it held together run out one after the other
    /// when it goes away once: that is one failure, however many they were.
    pub(super) fn run_out(&mut self, now_ms: u64, since_ms: u64, units: u32) {
        if self.ran_out_ms.is_some_and(|last_ms| since_ms <= last_ms) {
            self.record.failures += u64::from(units);
        } else {
            self.ran_out_ms = Some(now_ms);
            self.strike(now_ms, units);
        }
    }

    /// It gave units back unharmed: no fault of theirs, but a machine that does so again and again must not be lent
    /// thousands a second.
    pub(super) fn give_back(&mut self, now_ms: u64, reason: Arc<str>) {
        self.returned = Some(reason);
        self.hold_back(now_ms);
    }

    fn hold_back(&mut self, now_ms: u64) {
        self.strikes = self.strikes.saturating_add(1);
        self.quota = (self.quota / 2).max(1);
        if let Some(doublings) = self.strikes.checked_sub(STRIKES_FREE) {
            self.barred_until_ms = now_ms + strike_ms(doublings);
        }
    }

    /// It was caught with a wrong result: it gets little, the smallest units first, until it has done well `probation`
    /// times; nothing for a while if it is to wait, longer with each time.
    pub(super) fn restrain(&mut self, now_ms: u64, waits: u32, probation: u32) {
        (self.quota, self.probation) = (1, probation);
        let Some(doublings) = waits.checked_sub(1) else { return };
        let wait_ms = CAUGHT_MS.checked_shl(doublings.min(32)).unwrap_or(CAUGHT_MS_MAX);
        self.caught_until_ms = now_ms + wait_ms.min(CAUGHT_MS_MAX);
    }

    /// Takes note of what it claims to have burnt since it was lent a unit; whether its cores can have. Nobody else has computed
    /// the unit, so that this is all that speaks against a claim.
    pub(super) fn burns(&mut self, now_ms: u64, since_ms: u64, fuel: u64) -> bool {
        let cores = self.live.as_ref().map_or(CORES_MAX, |live| live.cores);
        let took_ms = fuel / (u64::from(cores) * (FUEL_PER_CORE_SECOND_MAX / 1000));
        let until_ms = self.busy_until_ms.max(since_ms).saturating_add(took_ms);
        let believed = until_ms <= now_ms.saturating_add(FUEL_AHEAD_MS);
        if believed {
            self.busy_until_ms = until_ms;
        }
        believed
    }

    /// A success: the worker is trusted with more again.
    pub(super) fn succeed(&mut self) {
        self.strikes = 0;
        self.returned = None;
        self.barred_until_ms = 0;
        self.probation = self.probation.saturating_sub(1);
        self.quota = self.quota.saturating_mul(2).min(WORKER_UNITS_MAX);
    }
}

/// Wait after so many doublings, milliseconds.
pub(super) fn strike_ms(doublings: u32) -> u64 {
    STRIKE_MS.checked_shl(doublings.min(32)).unwrap_or(STRIKE_MS_MAX).min(STRIKE_MS_MAX)
}
