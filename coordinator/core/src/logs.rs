//! What kernels log, for the researcher. Lines of running units are held in memory; those of the first worker whose report
//! of a unit is accepted, or that could not run it, are kept. Nobody verifies them, and nothing is decided by them.

use crate::Core;
use crate::bounds::{
    ACCOUNT_LOG_BYTES_MAX, LIVE_LOG_BYTES_MAX, LIVE_LOG_BYTES_OF_JOB_MAX, PROJECT_LOG_BYTES_MAX,
};
use crate::event::{Logged, Reply, Session};
use crate::record::{LogEnd, LogsRecord, Table, UnitLogRecord};
use proto::bounds::JOB_LOG_BYTES_MAX;
use proto::unit_log::{Line, UnitLog};
use proto::{JobId, UnitIndex, WorkerKey};
use std::collections::{BTreeMap, HashMap};

/// What a record costs beside its lines, bytes, about.
const RECORD_OVERHEAD_BYTES: u64 = 64;

/// The logs of a running job.
#[derive(Debug, Default)]
pub(super) struct JobLogs {
    /// Of units without a verdict, by unit and number of the worker.
    live: BTreeMap<(u64, u32), Live>,
    live_bytes: usize,
    /// Counts what came.
    tick: u64,
    pub(super) record: LogsRecord,
}

#[derive(Debug, Default)]
struct Live {
    log: UnitLog,
    /// When it last grew.
    tick: u64,
}

/// How much is kept and held.
#[derive(Debug, Default)]
pub(super) struct LogBytes {
    live: usize,
    kept: u64,
    of_accounts: HashMap<String, u64>,
}

impl LogBytes {
    /// Counts what is kept of a job.
    pub(super) fn load(&mut self, account: &str, bytes: u64) {
        self.kept += bytes;
        *self.of_accounts.entry(account.to_owned()).or_default() += bytes;
    }

    fn of(&self, account: &str) -> u64 {
        self.of_accounts.get(account).copied().unwrap_or(0)
    }
}

/// What running units have logged since some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveLogs {
    /// To be given the next time.
    pub tick: u64,
    /// Whether more may come: the job, or the one unit, has no end.
    pub runs: bool,
    /// What has grown: all lines that are held of it.
    pub logs: Vec<LiveLog>,
    /// All units and workers of which lines are held.
    pub held: Vec<(UnitIndex, WorkerKey)>,
}

/// Lines of a running unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveLog {
    /// The unit.
    pub unit: UnitIndex,
    /// Who says so.
    pub worker: WorkerKey,
    /// In order.
    pub lines: Vec<Line>,
}

impl Core {
    /// A worker brings lines of units that it holds. What it may not say, or what there is no room for, is passed over.
    pub(super) fn logged(&mut self, session: Session, logs: Vec<Logged>) -> Reply {
        let Some(worker) = self.worker_of(session) else { return Reply::Done };
        for Logged { lease, unit, lines } in logs {
            let lent = self.leases.get(&lease).filter(|lease| lease.worker == worker);
            let lent = lent
                .filter(|lease| lease.offset(unit.0).is_some_and(|offset| lease.is_open(offset)));
            let Some(job) = lent.and_then(|lease| self.jobs.get_mut(&lease.job)) else { continue };
            if job.settled.contains(unit.0) {
                continue;
            }
            let log_max = job.spec.limits.log_bytes;
            let logs = &mut job.logs;
            if LIVE_LOG_BYTES_MAX < self.log_bytes.live
                || LIVE_LOG_BYTES_OF_JOB_MAX < logs.live_bytes
            {
                continue;
            }
            let live = logs.live.entry((unit.0, worker)).or_default();
            let before = live.log.bytes();
            let mut grown = false;
            for line in lines.into_iter().filter(|line| line.at < log_max) {
                grown |= live.log.push(line);
            }
            let after = live.log.bytes();
            if grown {
                logs.tick += 1;
                live.tick = logs.tick;
            } else if after == 0 {
                logs.live.remove(&(unit.0, worker));
            }
            logs.live_bytes = logs.live_bytes + after - before;
            self.log_bytes.live = self.log_bytes.live + after - before;
        }
        Reply::Done
    }

    /// Keeps what a worker has said of a unit: its report is the first, or it could not run the unit.
    pub(super) fn keep_log(&mut self, id: JobId, unit: u64, worker: u32, end: LogEnd) {
        let Self { jobs, log_bytes, workers, dirty, .. } = self;
        let Some(job) = jobs.get_mut(&id) else { return };
        let Some(Live { log, .. }) = job.logs.live.remove(&(unit, worker)) else { return };
        job.logs.live_bytes -= log.bytes();
        log_bytes.live -= log.bytes();
        let cost = log.bytes() as u64 + RECORD_OVERHEAD_BYTES;
        // The last quarter is for those that somebody will look for.
        let max = match end {
            LogEnd::Done => JOB_LOG_BYTES_MAX / 4 * 3,
            LogEnd::Failed | LogEnd::Returned => JOB_LOG_BYTES_MAX,
        };
        let record = &mut job.logs.record;
        dirty.logs.insert(id);
        if max < record.bytes + cost
            || ACCOUNT_LOG_BYTES_MAX < log_bytes.of(&job.record.account) + cost
            || PROJECT_LOG_BYTES_MAX < log_bytes.kept + cost
        {
            record.left_out += 1;
            return;
        }
        let worker = workers[worker as usize].record.key;
        let kept = UnitLogRecord { unit, worker, end, lines: log.lines().cloned().collect() };
        dirty.put(Table::UnitLog.key2(id.0, record.next), &kept);
        record.next += 1;
        record.bytes += cost;
        log_bytes.load(&job.record.account, cost);
    }

    /// Drops what is held of a unit that has its verdict.
    pub(super) fn drop_logs(&mut self, id: JobId, unit: u64) {
        let Some(logs) = self.jobs.get_mut(&id).map(|job| &mut job.logs) else { return };
        while let Some((&key, _)) = logs.live.range((unit, 0)..=(unit, u32::MAX)).next() {
            let bytes = logs.live.remove(&key).map_or(0, |live| live.log.bytes());
            logs.live_bytes -= bytes;
            self.log_bytes.live -= bytes;
        }
    }

    /// Drops what is held of a job that ends.
    pub(super) fn end_logs(&mut self, logs: &mut JobLogs) {
        self.log_bytes.live -= logs.live_bytes;
        logs.live_bytes = 0;
        logs.live.clear();
    }

    /// What has been logged of units of a job, or of one unit, since `tick` (0: ever).
    #[must_use]
    pub fn live_logs(&self, id: JobId, unit: Option<UnitIndex>, tick: u64) -> LiveLogs {
        let Some(job) = self.jobs.get(&id) else { return LiveLogs::default() };
        let (first, last) = unit.map_or((0, u64::MAX), |unit| (unit.0, unit.0));
        let runs = unit.is_none_or(|unit| !job.settled.contains(unit.0));
        let mut found = LiveLogs { tick: job.logs.tick, runs, logs: Vec::new(), held: Vec::new() };
        for (&(unit, worker), live) in job.logs.live.range((first, 0)..=(last, u32::MAX)) {
            let (unit, worker) = (UnitIndex(unit), self.worker(worker).record.key);
            found.held.push((unit, worker));
            if tick < live.tick {
                let lines = live.log.lines().cloned().collect();
                found.logs.push(LiveLog { unit, worker, lines });
            }
        }
        found
    }

    /// Bytes of logs that are kept of the jobs of an account.
    #[must_use]
    pub fn log_bytes_of(&self, account: &str) -> u64 {
        self.log_bytes.of(account)
    }

    /// What does not fit of the counts of lines that are held.
    pub(super) fn logs_contradiction(&self) -> Option<String> {
        let of = |logs: &JobLogs| logs.live.values().map(|live| live.log.bytes()).sum::<usize>();
        for job in self.running() {
            if of(&job.logs) != job.logs.live_bytes {
                return Some(format!("{}: bytes of logs are miscounted", job.id));
            }
            if let Some((unit, _)) =
                job.logs.live.keys().find(|(unit, _)| job.settled.contains(*unit))
            {
                return Some(format!("{}: lines are held of u{unit}, which is settled", job.id));
            }
        }
        let all: usize = self.running().map(|job| job.logs.live_bytes).sum();
        (all != self.log_bytes.live).then(|| "bytes of logs are miscounted".to_owned())
    }
}
