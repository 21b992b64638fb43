//! A running job as it was: its verdicts, its failed attempts, the inputs of its merges.

use super::SavedJob;
use crate::Core;
use crate::check::Contradiction;
use crate::job::Job;
use crate::record::{AttemptRecord, IndexRecord, ResettledRecord};
use crate::settle::count_input;
use crate::submit::submission_key;
use crate::time::Now;
use proto::UnitIndex;
use proto::job::Stage;
use std::collections::HashMap;
use std::sync::Arc;

impl Core {
    pub(super) fn load_job(&mut self, now: Now, saved: SavedJob) -> Result<(), Contradiction> {
        let SavedJob { id, record, spec, spec_bytes, index, attempts, voids, again } = saved;
        self.submissions.insert(submission_key(&record.account, record.submission), id);
        self.shares.add(&record.account, spec.priority, id);
        let mut job = Job::new(id, Arc::new(spec), spec_bytes, record, now.monotonic_ms);
        let voids: HashMap<u32, u64> =
            voids.into_iter().map(|(worker, void)| (worker, void.before_log)).collect();
        for (first, stretch) in index {
            load_stretch(&mut job, first, stretch, &voids);
        }
        for (unit, record) in again {
            load_again(&mut job, unit, record, &voids);
        }
        if job.settled.len() != job.record.settled {
            let (found, expected) = (job.settled.len(), job.record.settled);
            return Err(Contradiction(format!(
                "{id} has {found} verdicts in its index and {expected} in its record"
            )));
        }
        for AttemptRecord { first, count, account, reason } in attempts {
            let reason: Arc<str> = reason.into();
            for unit in
                (first..first + u64::from(count)).filter(|unit| !job.settled.contains(*unit))
            {
                job.known.entry(unit).or_default().fail(account, reason.clone());
            }
        }
        count_inputs(&mut job);
        self.jobs.insert(id, job);
        Ok(())
    }
}

/// Takes in verdicts of consecutive units, but for those that hold no more.
fn load_stretch(job: &mut Job, first: u64, stretch: IndexRecord, voids: &HashMap<u32, u64>) {
    let IndexRecord { count, log, failed, given_up, alone } = stretch;
    let at = |(offset, count): (u64, u64)| first + offset..first + offset + count;
    job.settled.insert_range(first..first + count);
    for part in failed {
        job.failed.insert_range(at(part));
    }
    for part in given_up {
        job.given_up.insert_range(at(part));
    }
    for (offset, count, word) in alone {
        let units = at((offset, count));
        if voids.get(&word.worker).is_some_and(|before| log < *before) {
            job.settled.remove_range(units.clone());
            job.again.insert_range(units);
        } else {
            let alone = job.alone.entry(word.worker).or_default();
            alone.units.insert_range(units);
            alone.fuel += word.fuel;
            *alone.risks.entry(word.risk).or_default() += count;
        }
    }
}

/// Takes in where a unit stands whose verdict was withdrawn: this holds, and not what the index says.
fn load_again(job: &mut Job, unit: u64, record: ResettledRecord, voids: &HashMap<u32, u64>) {
    job.again.insert(unit);
    for units in [&mut job.settled, &mut job.failed, &mut job.given_up] {
        units.remove(unit);
    }
    let ResettledRecord::Settled { log, failed, given_up, alone } = record else { return };
    let void =
        alone.is_some_and(|word| voids.get(&word.worker).is_some_and(|before| log < *before));
    if void {
        return;
    }
    job.settled.insert(unit);
    if failed {
        job.failed.insert(unit);
    }
    if given_up {
        job.given_up.insert(unit);
    }
    if let Some(word) = alone {
        let alone = job.alone.entry(word.worker).or_default();
        alone.units.insert(unit);
        alone.fuel += word.fuel;
        *alone.risks.entry(word.risk).or_default() += 1;
    }
}

/// Counts the inputs that merge units have.
fn count_inputs(job: &mut Job) {
    let mut unit = job.cut_units;
    while let Some(Stage::Merge { first, count, .. }) = job.spec.stage(UnitIndex(unit)) {
        let have = job.settled.range_cardinality(first.0..first.0 + u64::from(count));
        if 0 < have && !job.settled.contains(unit) {
            count_input(job, unit, u32::try_from(have).unwrap_or(count));
        }
        unit += 1;
    }
}
