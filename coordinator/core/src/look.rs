//! What people are told of running jobs, workers and the whole.

use crate::Core;
use crate::bounds::{COST_WORKERS, STILL_MS};
use crate::job::Job;
use crate::record::{JobRecord, WorkerRecord};
use crate::status::{JobState, JobStatus, Totals, WorkerStatus};
use crate::token::Token;
use crate::trust;
use crate::trust::estimate::{self, Standing};
use crate::worker::Worker;
use proto::{JobId, WorkerKey};
use std::collections::BTreeMap;
use std::ops::Bound;

impl Core {
    /// Whether there is such a job and it has not ended.
    #[must_use]
    pub fn is_running(&self, id: JobId) -> bool {
        self.jobs.contains_key(&id)
    }

    /// A running job in numbers; `None` when it has ended or never was.
    #[must_use]
    pub fn job_status(&self, id: JobId) -> Option<JobStatus> {
        let job = self.jobs.get(&id)?;
        let status = job_status(id, &job.record);
        let reasons = self.why_running(job);
        let still = STILL_MS <= self.now_ms.saturating_sub(job.moved_ms);
        Some(JobStatus {
            leased: job.leased,
            workers: job.holders.len() as u64,
            units_per_second_milli: job.rate.milli,
            reason: reasons.first().cloned().unwrap_or_default(),
            waiting: if still { reasons } else { Vec::new() },
            warnings: self.warnings(job),
            ..status
        })
    }

    /// Records in the log of a running job; `None` when it has ended or never was.
    #[must_use]
    pub fn log_records(&self, id: JobId) -> Option<u64> {
        self.jobs.get(&id).map(|job| job.record.next_log)
    }

    /// At most `max` workers with keys above `after`, in order.
    #[must_use]
    pub fn workers(&self, after: Option<WorkerKey>, max: usize) -> Vec<WorkerStatus> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        // Asked for rarely and by people: an index by key in every coordinator's memory would cost more.
        let mut keys: Vec<(WorkerKey, u32)> =
            self.worker_numbers.iter().map(|(key, number)| (*key, *number)).collect();
        keys.retain(|(key, _)| std::ops::RangeBounds::contains(&(from, Bound::Unbounded), key));
        keys.sort_unstable_by_key(|(key, _)| *key);
        keys.into_iter().take(max).map(|(_, number)| self.worker_status(number)).collect()
    }

    fn worker_status(&self, number: u32) -> WorkerStatus {
        let worker = self.worker(number);
        let (record, account) = (&worker.record, &self.accounts[worker.record.account as usize]);
        WorkerStatus {
            worker: record.key,
            account: account.key,
            name: record.name.clone(),
            account_name: account.name.clone(),
            connected: worker.live.is_some(),
            leased: worker.leased.into(),
            reported: record.reported,
            disagreed: record.disagreed,
            caught: record.caught,
            referee: record.referee,
            failures: record.failures,
            credit: record.credit,
            seen_at_ms: record.seen_at_ms,
        }
    }

    /// The whole in numbers.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            workers_connected: self.volunteers().count() as u64,
            workers_known: self.workers.len() as u64,
            jobs_running: self.jobs.len() as u64,
            jobs_known: self.meta.next_job - 1,
            units_settled: self.meta.settled,
            units_leased: self.jobs.values().map(|job| job.leased).sum(),
            credit: self.meta.credit,
            referees: self.referees_near() as u64,
            crowd_checks: self.standings.crowd().passed.into(),
            store_bytes: 0,
            trouble: String::new(),
            halted: false,
        }
    }

    /// The workers that are connected, but for the referee that comes with the coordinator.
    pub(super) fn volunteers(&self) -> impl Iterator<Item = &Worker> {
        let all = self.sessions.iter().map(|session| self.worker(session.worker));
        all.filter(|worker| Some(worker.record.key) != self.embedded)
    }

    /// Referees that are connected.
    pub(super) fn referees_near(&self) -> usize {
        self.referees.iter().filter(|worker| self.worker(**worker).live.is_some()).count()
    }

    /// What the answers of a job are not protected from, and what its target costs with those who are connected now.
    fn warnings(&self, job: &Job) -> Vec<String> {
        let Some(target) = job.spec.confidence else {
            let warning = match job.spec.copies {
                1 => {
                    "with copies = 1 whatever a worker reports is taken: ask for confidence (as in confidence = 1e-6) where that matters"
                }
                _ => {
                    "copies protect from broken machines, not from people: whoever makes keys on several networks agrees with himself. \
                     Ask for confidence (as in confidence = 1e-6) where that matters"
                }
            };
            return vec![warning.to_owned()];
        };
        let mut warnings = Vec::new();
        if self.referees.is_empty() {
            let warning = "this project has no referee: people who have made enough keys are believed when they agree with themselves. The \
                 operator can run the coordinator without --no-referee, or appoint a worker of his own";
            warnings.push(warning.to_owned());
        }
        warnings.extend(self.cost(job, target));
        warnings
    }

    /// What a unit takes to be as sure as the job asks, with those who are connected now; nothing where one report does.
    fn cost(&self, job: &Job, target: f64) -> Option<String> {
        let class = trust::class(job, 0);
        let mut parties: BTreeMap<(u32, u64), Standing> = BTreeMap::new();
        let fitting =
            self.volunteers().filter(|worker| worker.could(None, &job.spec)).take(COST_WORKERS);
        for WorkerRecord { key, account, network, .. } in fitting.map(|worker| &worker.record) {
            let Some(&number) = self.worker_numbers.get(key) else { continue };
            let standing = self.standing(number, class);
            let party = if *network == 0 { (*account, 0) } else { (0, *network) };
            let best = parties.entry(party).or_insert(standing);
            if standing.doubt() < best.doubt() {
                *best = standing;
            }
        }
        let mut known: Vec<Standing> = parties.into_values().collect();
        known.sort_by(|one, other| one.doubt().total_cmp(&other.doubt()));
        let enough = |all: &[Standing]| estimate::group(all.iter().copied()) <= target;
        let reports = (1..=known.len()).find(|&count| enough(&known[..count]));
        let strangers = (1..64).find(|&count| enough(&vec![Standing::default(); count]))?;
        match reports {
            Some(1) => None,
            Some(reports) => Some(format!(
                "of those who are connected, none is known well enough yet to be believed alone with {target:e}: a unit takes \
                 {reports} reports that agree at first, and fewer as they pass checks"
            )),
            None if known.is_empty() => None,
            None if self.referees.is_empty() => Some(format!(
                "{target:e} cannot be met by the {} owners (and networks) that are connected: it takes {strangers} that nothing is known \
                 of, or fewer that are known well. Units wait until more connect",
                known.len()
            )),
            None => Some(format!(
                "the {} owners (and networks) that are connected cannot meet {target:e} by agreeing: units wait, and the project's referee \
                 computes some of them again, until an owner is known well enough to be believed alone",
                known.len()
            )),
        }
    }

    /// All tokens, by id.
    pub fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.tokens.values()
    }

    /// What is being committed under a batch's sequence: its bytes, as long as they are not in the store.
    #[must_use]
    pub fn batch_in_commit(&self, worker: u32, sequence: u64) -> Option<&[u8]> {
        self.dirty.batches.get(&(worker, sequence)).map(AsRef::as_ref)
    }

    /// The highest sequence of a worker's batches that was accepted.
    #[must_use]
    pub fn sequence(&self, worker: u32) -> u64 {
        self.workers.get(worker as usize).map_or(0, |worker| worker.record.sequence)
    }

    /// Running jobs.
    pub(super) fn running(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }
}

/// A job in numbers, as far as its record tells.
#[must_use]
pub fn job_status(id: JobId, record: &JobRecord) -> JobStatus {
    let reason = match record.state {
        JobState::Running => String::new(),
        JobState::Done if record.failed == 0 => "every unit has its result".into(),
        JobState::Done => {
            format!("every unit has a verdict; {} failed or were given up", record.failed)
        }
        JobState::Cancelled => {
            format!("cancelled with {} of {} units settled", record.settled, record.units)
        }
    };
    JobStatus {
        id,
        name: record.name.clone(),
        state: record.state,
        units: record.units,
        settled: record.settled,
        failed: record.failed,
        leased: 0,
        workers: 0,
        fuel: record.fuel,
        credit: record.credit,
        copies: record.copies,
        submitted_at_ms: record.submitted_at_ms,
        ended_at_ms: record.ended_at_ms,
        reason,
        account: record.account.clone(),
        spec_digest: record.spec_digest,
        units_per_second_milli: 0,
        withdrawn: record.withdrawn,
        risks: record.risks.clone(),
        segments: record.segments,
        segments_fuel: record.segments_fuel,
        evidence: record.next_evidence,
        waiting: Vec::new(),
        warnings: Vec::new(),
    }
}
