//! What kernels log, on its way to the researcher: bounded by unit, by job, by time and in all. Lines are sent while their
//! unit runs, and again what is missing before its report; they stay until the report is acknowledged. They are no part
//! of a report and are lost rather than waited for: when the program is killed, when there is no room, when a line is
//! slow. Pure but for [`send`]: the task says when it is.

pub(super) mod send;

use proto::bounds::{JOB_LOG_BYTES_MAX, LOGS_MESSAGE_BYTES, LOGS_PER_MESSAGE_MAX};
use proto::id::UnitId;
use proto::pb;
use proto::unit_log::{Line, UnitLog};
use proto::{JobId, LeaseId, UnitIndex};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use worker_core::agent::Now;

/// How often the new lines of running units are sent: soon enough for who follows them, and a small part of what a
/// heartbeat costs.
const FLUSH_EVERY: Duration = Duration::from_secs(2);
/// What all logs here may take, bytes: of a thousand units that wait to be reported.
const BYTES_MAX: usize = 16 << 20;
/// Bytes of lines sent per second in the long run: little for any line, however much kernels talk.
const BYTES_PER_SECOND: u64 = 32 << 10;
/// Bytes that may be sent at once, after a silence: the reports of an hour without the coordinator come together.
const BURST_BYTES: u64 = 1 << 20;
/// How long the log of a unit that was let go waits for the message that gives it back.
const GONE_MAX: Duration = Duration::from_secs(600);

/// The logs of units that are held.
#[derive(Debug, Default)]
pub(super) struct Logs {
    units: BTreeMap<UnitId, Entry>,
    bytes: usize,
    /// Whether there are lines of running units that were not sent.
    fresh: bool,
    flushed: Option<Now>,
    /// What may be sent now.
    allowance: Allowance,
    /// Bytes sent of each job of which units are held, but for those that failed: more than is kept is not sent.
    of_jobs: HashMap<JobId, u64>,
}

/// The log of a unit.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    lease: LeaseId,
    log: UnitLog,
    /// Lines before this were sent on the stream that is open.
    #[serde(skip)]
    sent: u64,
    #[serde(skip)]
    stage: Stage,
}

/// How far its unit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Running,
    /// Its report was sent, and may have to be sent again.
    Reported,
    /// It was let go without a report; a message that says so may follow.
    Gone(Now),
}

/// Bytes that may be sent, growing with time.
#[derive(Debug)]
struct Allowance {
    bytes: u64,
    since: Now,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { bytes: BURST_BYTES, since: Now::ZERO }
    }
}

impl Allowance {
    /// Takes so many bytes, if they are there.
    fn take(&mut self, now: Now, bytes: u64) -> bool {
        let passed = now.saturating_sub(self.since).as_millis();
        let grown = passed * u128::from(BYTES_PER_SECOND) / 1000;
        if 0 < grown {
            self.since = now;
            let grown = u64::try_from(grown).unwrap_or(u64::MAX);
            self.bytes = self.bytes.saturating_add(grown).min(BURST_BYTES);
        }
        let enough = bytes <= self.bytes;
        if enough {
            self.bytes -= bytes;
        }
        enough
    }
}

impl Logs {
    /// Those that an earlier run of the program has kept.
    pub(super) fn restore(units: BTreeMap<UnitId, Entry>) -> Self {
        let bytes = units.values().map(|entry| entry.log.bytes()).sum();
        Self { units, bytes, ..Self::default() }
    }

    /// What is to be kept for the next run of the program.
    pub(super) fn units(&self) -> &BTreeMap<UnitId, Entry> {
        &self.units
    }

    /// A line of a unit; whether [`Self::due`] has changed.
    pub(super) fn line(&mut self, id: UnitId, lease: LeaseId, line: Line) -> bool {
        let entry = self.units.entry(id).or_insert_with(|| Entry {
            lease,
            log: UnitLog::default(),
            sent: 0,
            stage: Stage::Running,
        });
        if entry.lease != lease {
            (entry.lease, entry.sent) = (lease, 0);
        }
        entry.stage = Stage::Running;
        let before = entry.log.bytes();
        if !entry.log.push(line) {
            return false;
        }
        self.bytes = self.bytes + entry.log.bytes() - before;
        while BYTES_MAX < self.bytes
            && let Some((_, entry)) = self.units.pop_first()
        {
            self.bytes -= entry.log.bytes();
        }
        !std::mem::replace(&mut self.fresh, true)
    }

    /// When lines are to be sent next, on a stream.
    pub(super) fn due(&self) -> Option<Now> {
        self.fresh.then(|| self.flushed.map_or(Now::ZERO, |at| at + FLUSH_EVERY))
    }

    /// A stream has begun: what was sent on others may not have arrived.
    pub(super) fn attached(&mut self) {
        for entry in self.units.values_mut() {
            entry.sent = 0;
            self.fresh |= entry.stage == Stage::Running;
        }
    }

    /// What running units have logged since the last time.
    pub(super) fn fresh(&mut self, now: Now) -> Vec<pb::KernelLogs> {
        (self.fresh, self.flushed) = (false, Some(now));
        self.forget_late(now);
        let running = self
            .units
            .iter()
            .filter(|(_, entry)| entry.stage == Stage::Running && entry.sent < entry.log.end());
        let ids: Vec<UnitId> = running.map(|(id, _)| *id).collect();
        self.take(now, ids.into_iter(), false)
    }

    /// What is missing of units that are about to be reported, those first that failed.
    pub(super) fn reported(
        &mut self,
        now: Now,
        units: impl Iterator<Item = (UnitId, bool)>,
    ) -> Vec<pb::KernelLogs> {
        if self.units.is_empty() {
            return Vec::new();
        }
        let here = units.filter(|(id, _)| self.units.contains_key(id));
        let (failed, done): (Vec<_>, Vec<_>) = here.partition(|(_, failed)| *failed);
        for (id, _) in failed.iter().chain(&done) {
            if let Some(entry) = self.units.get_mut(id) {
                entry.stage = Stage::Reported;
            }
        }
        let mut messages = self.take(now, failed.into_iter().map(|(id, _)| id), true);
        messages.extend(self.take(now, done.into_iter().map(|(id, _)| id), false));
        messages
    }

    /// What is missing of units that are about to be given back because they could not be run.
    pub(super) fn returned(
        &mut self,
        now: Now,
        units: impl Iterator<Item = (LeaseId, UnitIndex)>,
    ) -> Vec<pb::KernelLogs> {
        if self.units.is_empty() {
            return Vec::new();
        }
        let here = self.units.iter().map(|(id, entry)| ((entry.lease, id.unit), *id));
        let here: HashMap<_, _> = here.collect();
        let ids: Vec<UnitId> = units.filter_map(|unit| here.get(&unit).copied()).collect();
        let messages = self.take(now, ids.iter().copied(), true);
        ids.iter().for_each(|id| self.remove(id));
        messages
    }

    /// Units are not held any more.
    pub(super) fn gone(&mut self, now: Now, units: &[UnitId]) {
        if self.units.is_empty() {
            return;
        }
        for id in units {
            match self.units.get_mut(id) {
                Some(entry) if entry.stage == Stage::Running => entry.stage = Stage::Gone(now),
                Some(Entry { stage: Stage::Reported, .. }) => self.remove(id),
                _ => {}
            }
        }
    }

    fn remove(&mut self, id: &UnitId) {
        if let Some(entry) = self.units.remove(id) {
            self.bytes -= entry.log.bytes();
        }
        if self.units.is_empty() {
            self.of_jobs.clear();
        }
    }

    /// Forgets units that were let go and that no message follows of.
    fn forget_late(&mut self, now: Now) {
        let late = self
            .units
            .iter()
            .filter(|(_, entry)| matches!(entry.stage, Stage::Gone(at) if at + GONE_MAX <= now));
        let late: Vec<UnitId> = late.map(|(id, _)| *id).collect();
        late.iter().for_each(|id| self.remove(id));
    }

    /// The lines of units that were not sent, as messages; those for which there is no allowance wait.
    fn take(
        &mut self,
        now: Now,
        units: impl Iterator<Item = UnitId>,
        failed: bool,
    ) -> Vec<pb::KernelLogs> {
        let mut messages = Vec::new();
        let (mut logs, mut bytes) = (Vec::new(), 0);
        for id in units {
            let Some(entry) = self.units.get_mut(&id) else { continue };
            let unsent = entry.log.lines().filter(|line| entry.sent <= line.at);
            let lines: Vec<pb::LogLine> = unsent.map(pb::LogLine::from).collect();
            let cost: usize = lines.iter().map(|line| line.text.len() + 16).sum();
            let of_job = self.of_jobs.entry(id.job).or_default();
            if lines.is_empty() || !failed && JOB_LOG_BYTES_MAX < *of_job {
                continue;
            }
            if !self.allowance.take(now, cost as u64) {
                self.fresh = true;
                continue;
            }
            *of_job += if failed { 0 } else { cost as u64 };
            entry.sent = entry.log.end();
            let (lease_id, job_id, unit) = (entry.lease.0, id.job.0, id.unit.0);
            logs.push(pb::KernelLog { lease_id, job_id, unit, lines });
            bytes += cost;
            if logs.len() == LOGS_PER_MESSAGE_MAX || LOGS_MESSAGE_BYTES <= bytes {
                messages.push(pb::KernelLogs { logs: std::mem::take(&mut logs) });
                bytes = 0;
            }
        }
        if !logs.is_empty() {
            messages.push(pb::KernelLogs { logs });
        }
        messages
    }
}

#[cfg(test)]
mod tests;
