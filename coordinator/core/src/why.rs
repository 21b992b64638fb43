//! Why a job or a unit is not done, told from the state that decides it.

use crate::Core;
use crate::bounds::RETURNERS_NAMED_MAX;
use crate::job::Job;
use crate::record::WorkerRecord;
use crate::trust::estimate::{CROWD_DOUBT, Standing};
use crate::unit::Unit;
use crate::verdict::{self, Verdict, Vote};
use proto::job::Stage;
use proto::{JobId, UnitIndex};
use std::collections::BTreeSet;

/// Digits of a worker's key by which people know it.
const KEY_DIGITS: usize = 12;

impl Core {
    /// Why a running job, or a unit of it, is not done; most important first. `None` when the job has ended or never
    /// was.
    #[must_use]
    pub fn why(&self, id: JobId, unit: Option<UnitIndex>) -> Option<Vec<String>> {
        let job = self.jobs.get(&id)?;
        Some(match unit {
            None => self.why_running(job),
            Some(unit) => self.why_unit(job, unit),
        })
    }

    pub(super) fn why_running(&self, job: &Job) -> Vec<String> {
        let mut reasons = self.why_nobody(job);
        if 0 < job.leased {
            reasons.push(format!(
                "{} units are being computed by {} workers",
                job.leased,
                job.holders.len()
            ));
        }
        let others: u64 = job.queue.ready().map(|run| run.count).sum();
        if 0 < others {
            reasons.push(format!("about {others} units wait to be lent (again)"));
        }
        if let Some((at_ms, run)) = job.queue.delayed().next() {
            let last = job.known.get(&run.first).and_then(|known| known.reason.clone());
            let last = last.map(|reason| format!(": {reason}")).unwrap_or_default();
            let seconds = at_ms.saturating_sub(self.now_ms).div_ceil(1000);
            reasons.push(format!(
                "units from {} wait after a failed attempt, for {seconds} s more{last}",
                UnitIndex(run.first)
            ));
        }
        if 0 < job.escrow.waiting() {
            reasons.push(format!(
                "{} units wait for their workers to pass a check",
                job.escrow.waiting()
            ));
        }
        if 0 < job.pool.waiting() {
            reasons.push(format!(
                "{} units wait for a referee: {}",
                job.pool.waiting(),
                self.why_pooled(job)
            ));
        }
        let (mut trials, mut reported) = (0, 0);
        for known in job.known.values() {
            match known.trial {
                Some(_) => trials += 1,
                None => reported += usize::from(!known.votes.is_empty()),
            }
        }
        let waiting = job.escrow.waiting() + job.pool.waiting();
        let reported = reported.saturating_sub(usize::try_from(waiting).unwrap_or(0));
        if 0 < reported {
            reasons.push(format!(
                "{reported} units are reported and wait for a report of another account"
            ));
        }
        if 0 < trials {
            reasons.push(format!("segments of {trials} units are run again to see who is right"));
        }
        if 0 < job.fresh() {
            reasons.push(format!("{} units were not lent yet", job.fresh()));
        }
        if !job.merged.is_empty() {
            reasons.push(format!("{} merge units wait for some of their inputs", job.merged.len()));
        }
        reasons
    }

    /// Why nobody, or too few, can compute units of the job.
    fn why_nobody(&self, job: &Job) -> Vec<String> {
        let (mut accounts, mut parties, mut fitting) = (BTreeSet::new(), BTreeSet::new(), 0);
        let (mut most, mut newest) = (0, 0);
        let connected = self.volunteers().count();
        for worker in self.volunteers() {
            let Some(live) = &worker.live else { continue };
            most = most.max(live.want.memory_bytes);
            newest = newest.max(live.contract);
            if live.fits(&job.spec) {
                fitting += 1;
                let WorkerRecord { account, network, .. } = worker.record;
                accounts.insert(account);
                parties.insert(if network == 0 { (account, 0) } else { (0, network) });
            }
        }
        let mut reasons: Vec<String> = self.why_no_room(job).into_iter().collect();
        if connected == 0 {
            reasons.push("no worker is connected".to_owned());
        } else if most == 0 && job.leased == 0 {
            reasons.push(format!(
                "none of the {connected} connected workers asks for work: `starling-worker why` on each tells the reason"
            ));
        } else if newest < job.spec.contract {
            reasons.push(format!(
                "none of the {connected} connected workers knows kernel contract {}: their owners must install the newest release",
                job.spec.contract
            ));
        } else if fitting == 0 && job.leased == 0 {
            let needs = job.spec.limits.memory_bytes;
            reasons.push(format!(
                "none of the {connected} connected workers asks for work with enough memory: a unit needs {needs} bytes, \
                 the most that is lent is {most}"
            ));
        } else if !job.estimates() && accounts.len() < job.spec.copies as usize {
            reasons.push(format!(
                "each unit needs reports of {} accounts, workers of {} are connected",
                job.spec.copies,
                accounts.len()
            ));
        } else if !job.estimates() && parties.len() < job.spec.copies as usize {
            reasons.push(format!(
                "each unit needs reports from {} networks, for one network may be one person (so may all private addresses, unless \
                 the coordinator runs with --lan); workers of {} are connected",
                job.spec.copies,
                parties.len()
            ));
        }
        reasons.extend(self.why_given_back(job));
        reasons
    }

    /// Which workers gave units of the job back, and are not lent any for a while.
    fn why_given_back(&self, job: &Job) -> Option<String> {
        let waiting = job.returners.waiting();
        let named = waiting.iter().take(RETURNERS_NAMED_MAX).map(|(number, returner)| {
            let record = &self.worker(*number).record;
            let key = record.key.to_string();
            let key = &key[..KEY_DIGITS.min(key.len())];
            match record.name.as_str() {
                "" => format!("{key}: {}", returner.reason),
                name => format!("{name} ({key}): {}", returner.reason),
            }
        });
        let named = named.collect::<Vec<_>>().join("; ");
        (!waiting.is_empty()).then(|| {
            format!(
                "{} workers gave units back that their machines could not run, and get none for a while: {named}",
                waiting.len()
            )
        })
    }

    fn why_unit(&self, job: &Job, unit: UnitIndex) -> Vec<String> {
        let Some(stage) = job.spec.stage(unit) else {
            return vec![format!(
                "there is no such unit: the last is {}",
                UnitIndex(job.record.units - 1)
            )];
        };
        if job.settled.contains(unit.0) {
            let verdict = if job.failed.contains(unit.0) {
                "it failed or was given up: fetch tells why"
            } else {
                "it is done"
            };
            return vec![verdict.to_owned()];
        }
        if let Stage::Merge { first, count, .. } = stage {
            let inputs = first.0..first.0 + u64::from(count);
            let have = job.settled.range_cardinality(inputs);
            if have < count.into() {
                return vec![format!(
                    "it merges {count} units from {first} on, of which {have} are settled"
                )];
            }
        } else if job.record.next_unit <= unit.0 {
            let mut reasons = vec![format!(
                "{} units of its job are lent before it",
                unit.0 - job.record.next_unit
            )];
            reasons.extend(self.why_nobody(job));
            return reasons;
        }
        let mut reasons = self.why_known(job, unit.0);
        let holders = job.leases.iter().filter_map(|lease| self.leases.get(lease));
        let holding = holders.filter(|lease| {
            lease.active() && lease.offset(unit.0).is_some_and(|at| lease.is_open(at))
        });
        match holding.count() {
            0 => reasons.push("nobody is computing it now".into()),
            1 => reasons.push("a worker is computing it".into()),
            workers => reasons.push(format!("{workers} workers are computing it")),
        }
        reasons.extend(self.why_nobody(job));
        reasons
    }

    /// What units of a job wait for on which the crowd agrees.
    fn why_pooled(&self, job: &Job) -> String {
        let who = if 0 < self.referees_near() { "" } else { ": none is connected" };
        let crowd = self.standings.crowd();
        let target = job.spec.confidence.unwrap_or_default().max(CROWD_DOUBT);
        if crowd.doubt() <= target {
            return format!("one of those that wait is drawn and computed again{who}");
        }
        let needed =
            (crowd.passed..).find(|&passed| Standing { passed, ..crowd }.doubt() <= target);
        format!(
            "the crowd's word is worth that much when {} units on which it agrees were found right, {} are so far{who}",
            needed.unwrap_or(u32::MAX),
            crowd.passed
        )
    }

    /// Why a unit of a job that asks for confidence needs another report.
    fn why_another(&self, job: &Job, known: &Unit, votes: &[Vote], need: usize) -> String {
        let differ = votes.iter().any(|other| other.statement != votes[0].statement);
        let target = job.spec.confidence.unwrap_or_default();
        if differ {
            return format!(
                "{} accounts have reported it and differ: at least {need} more are asked who is right",
                votes.len()
            );
        }
        let chance = verdict::risk(job.policy(), votes, 0).chance();
        if known.checked && chance <= target {
            return format!(
                "its report is by a trusted worker and is being checked: {need} more must agree"
            );
        }
        format!(
            "{} accounts have reported the same; by their records that is wrong with a chance of {chance:.0e}, the job \
             asks for {target:.0e}: another must agree",
            votes.len()
        )
    }

    /// What is known of a unit beyond that it was lent.
    fn why_known(&self, job: &Job, unit: u64) -> Vec<String> {
        let Some(known) = job.known.get(&unit) else { return Vec::new() };
        let mut reasons = Vec::new();
        if let Some(trial) = known.trial {
            reasons.push(self.trials.why(trial));
            return reasons;
        }
        let verdict = verdict::judge(job.policy(), &known.votes, known.checked, known.patient);
        match (&known.votes[..], verdict) {
            ([], _) => {}
            (votes, Verdict::Need(need)) if job.estimates() => {
                reasons.push(self.why_another(job, known, votes, need));
            }
            (votes, Verdict::Need(need)) => reasons
                .push(format!("{} accounts have reported it, {need} more must agree", votes.len())),
            _ if known.pooled => {
                reasons.push(format!("its reports agree, and it waits for a referee: {}", self.why_pooled(job)));
            }
            (votes, Verdict::Wait) => reasons.push(format!(
                "{} accounts have reported the same, and earn what their records lack while there is other work",
                votes.len()
            )),
            _ => reasons.push(
                "a trusted worker has reported it; the verdict comes when that worker passes its next check"
                    .into(),
            ),
        }
        if let Some(reason) = &known.reason {
            let allowed = job.spec.attempts_max;
            let (failed, counted) = (known.attempts(), known.counted(allowed));
            let more = if counted < failed {
                format!(
                    " ({} more, of accounts that have failed it often or have shown nothing yet)",
                    failed - counted
                )
            } else {
                String::new()
            };
            reasons.push(format!(
                "{counted} of {allowed} attempts have failed{more}; the last: {reason}"
            ));
        }
        if job.queue.delayed().any(|(_, run)| run.units().contains(&unit)) {
            reasons.push("it is lent again after a pause".into());
        }
        reasons
    }
}
