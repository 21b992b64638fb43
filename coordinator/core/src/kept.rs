//! What is kept for each account that submits, within one quota: the blobs that it puts, the specifications of its jobs, the
//! outputs of their units, and what these log.

use crate::Core;
use crate::event::Effects;
use crate::job::Job;
use crate::record::{KeptRecord, Table, encode, output_key, put_key};
use proto::bounds::INLINE_OUTPUT_BYTES_MAX;
use proto::report::{Outcome, Output, Report};
use proto::{Digest, JobId, WorkerKey};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How much is kept for whom.
#[derive(Debug)]
pub(super) struct Kept {
    /// Most bytes for one account.
    quota: u64,
    /// Bytes of blobs that each account has put.
    put: HashMap<String, u64>,
    /// Bytes of specifications and outputs.
    of_jobs: HashMap<String, u64>,
    /// Jobs of which outputs are kept that are blobs.
    outputs: BTreeMap<JobId, KeptRecord>,
}

impl Default for Kept {
    /// Without a bound.
    fn default() -> Self {
        let (put, of_jobs) = (HashMap::new(), HashMap::new());
        Self { quota: u64::MAX, put, of_jobs, outputs: BTreeMap::new() }
    }
}

impl Kept {
    /// Takes in what was saved of a job.
    pub(super) fn load(&mut self, id: JobId, record: KeptRecord) {
        *self.of_jobs.entry(record.account.clone()).or_default() += record.spec + record.outputs;
        if 0 < record.outputs {
            self.outputs.insert(id, record);
        }
    }

    /// What is to be saved of a job.
    pub(super) fn record(&self, id: JobId) -> Option<&KeptRecord> {
        self.outputs.get(&id)
    }
}

/// What a worker may put: outputs of the units that it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputRoom {
    /// The accounts whose units it holds.
    pub accounts: BTreeSet<String>,
    /// Bytes of the largest of them.
    pub output_bytes: u64,
    /// Bytes for which there is room in the quota of an account whose units it holds.
    pub bytes: u64,
}

impl Core {
    /// Sets how many bytes are kept for one account.
    pub fn set_account_bytes(&mut self, quota: u64) {
        self.kept.quota = quota;
    }

    /// An account has put so many bytes of blobs more.
    pub fn count_put(&mut self, account: &str, bytes: u64) {
        *self.kept.put.entry(account.to_owned()).or_default() += bytes;
    }

    /// An account has put a blob.
    pub(super) fn has_put(&mut self, account: &str, digest: &Digest, len: u64) {
        self.dirty.put(put_key(digest, account), &len);
        self.count_put(account, len);
    }

    /// Bytes that are kept for an account beside the blobs that it has put.
    #[must_use]
    pub fn kept_for(&self, account: &str) -> u64 {
        let of_jobs = self.kept.of_jobs.get(account).copied().unwrap_or(0);
        of_jobs.saturating_add(self.log_bytes_of(account))
    }

    /// All bytes that are kept for an account, and the most that may be.
    pub(super) fn used(&self, account: &str) -> (u64, u64) {
        let put = self.kept.put.get(account).copied().unwrap_or(0);
        (self.kept_for(account).saturating_add(put), self.kept.quota)
    }

    fn room(&self, account: &str) -> u64 {
        let (used, quota) = self.used(account);
        quota.saturating_sub(used)
    }

    /// Whether there may be no room for an output of the job, so that nothing more of it is lent.
    pub(super) fn lacks_room(&self, job: &Job) -> bool {
        let most = job.spec.limits.output_bytes;
        (INLINE_OUTPUT_BYTES_MAX as u64) < most && self.room(&job.record.account) < most
    }

    /// Whether nothing more of the job is lent for want of room, for people.
    pub(super) fn why_no_room(&self, job: &Job) -> Option<String> {
        let (used, quota) = self.used(&job.record.account);
        let most = job.spec.limits.output_bytes;
        self.lacks_room(job).then(|| {
            format!(
                "account \"{}\" has {used} of the {quota} bytes that may be kept for it, and an output of this job may have \
                 {most}: fetch the results of jobs that have ended, then remove their outputs (starling cancel --outputs), \
                 or ask the operator for more (--account-bytes)",
                job.record.account
            )
        })
    }

    /// What a worker may put now; `None` when it holds no unit, so that nothing of it is wanted.
    #[must_use]
    pub fn output_room(&self, worker: &WorkerKey) -> Option<OutputRoom> {
        let number = self.worker_number(worker)?;
        let holds = |job: &&Job| job.holders.contains_key(&number);
        let room = self.room_of(self.jobs.values().filter(holds));
        room.or_else(|| {
            let overdue = self.overdue.iter().filter_map(|id| self.leases.get(id));
            let late = overdue.filter(|lease| lease.worker == number);
            self.room_of(late.filter_map(|lease| self.jobs.get(&lease.job)))
        })
    }

    fn room_of<'a>(&self, jobs: impl Iterator<Item = &'a Job>) -> Option<OutputRoom> {
        jobs.fold(None, |found: Option<OutputRoom>, job| {
            let OutputRoom { mut accounts, output_bytes, bytes } = found.unwrap_or_default();
            if !accounts.contains(&job.record.account) {
                accounts.insert(job.record.account.clone());
            }
            Some(OutputRoom {
                accounts,
                output_bytes: output_bytes.max(job.spec.limits.output_bytes),
                bytes: bytes.max(self.room(&job.record.account)),
            })
        })
    }

    /// The output that a report adds to what is kept: a blob that nobody else has reported of the unit.
    pub(super) fn new_output(&self, id: JobId, report: &Report) -> Option<(Digest, u64)> {
        let Outcome::Done(Output::Blob { digest, len }) = report.outcome else { return None };
        let known = self.jobs.get(&id)?.known.get(&report.unit.0);
        let votes =
            known.is_some_and(|known| known.votes.iter().any(|vote| vote.result == Ok(digest)));
        (!votes).then_some((digest, len))
    }

    /// Whether there is room for a new output of a job.
    pub(super) fn has_room(&self, id: JobId, output: Option<(Digest, u64)>) -> bool {
        output.is_none_or(|(_, len)| {
            self.jobs.get(&id).is_none_or(|job| len <= self.room(&job.record.account))
        })
    }

    /// Counts an output of a job, and notes whose it is.
    pub(super) fn keep_output(&mut self, id: JobId, (digest, len): (Digest, u64)) {
        let Some(job) = self.jobs.get(&id) else { return };
        let account = &job.record.account;
        let record = self.kept.outputs.entry(id).or_insert_with(|| KeptRecord {
            account: account.clone(),
            spec: job.spec_bytes,
            outputs: 0,
            until_ms: None,
        });
        record.outputs += len;
        *self.kept.of_jobs.entry(account.clone()).or_default() += len;
        self.dirty.kept.insert(id);
        self.dirty.put(output_key(&digest, Some(id)), &len);
    }

    /// Counts the specification of a job that is submitted.
    pub(super) fn keep_spec(&mut self, job: &Job) {
        let account = job.record.account.clone();
        let record = KeptRecord {
            account: account.clone(),
            spec: job.spec_bytes,
            outputs: 0,
            until_ms: None,
        };
        self.dirty.put_bytes(Table::Kept.key(job.id.0), encode(&record));
        *self.kept.of_jobs.entry(account).or_default() += job.spec_bytes;
    }

    /// The outputs of a job that has ended are wanted until then, milliseconds since 1970.
    pub(super) fn keep_outputs_until(&mut self, id: JobId, until_ms: u64) {
        if self.jobs.contains_key(&id) {
            return;
        }
        if let Some(record) = self.kept.outputs.get_mut(&id) {
            record.until_ms = Some(until_ms);
            self.dirty.kept.insert(id);
        }
    }

    /// Jobs whose outputs are wanted no more and not all removed yet, at a time in milliseconds since 1970.
    #[must_use]
    pub fn unwanted_outputs(&self, now_ms: u64) -> BTreeSet<JobId> {
        let unwanted = |kept: &KeptRecord| kept.until_ms.is_some_and(|until_ms| until_ms <= now_ms);
        self.kept.outputs.iter().filter(|(_, kept)| unwanted(kept)).map(|(id, _)| *id).collect()
    }

    /// Outputs are no more those of a job; with the last of them its account has their room again. What is nobody's then is
    /// removed after the commit.
    pub(super) fn disown(
        &mut self,
        id: JobId,
        outputs: Vec<Digest>,
        last: bool,
        effects: &mut Effects,
    ) {
        for digest in &outputs {
            self.dirty.delete(output_key(digest, Some(id)));
        }
        effects.disowned.extend(outputs);
        if !last {
            return;
        }
        let Some(mut record) = self.kept.outputs.remove(&id) else { return };
        if let Some(bytes) = self.kept.of_jobs.get_mut(&record.account) {
            *bytes = bytes.saturating_sub(record.outputs);
        }
        (record.outputs, record.until_ms) = (0, None);
        self.work_appeared = true;
        self.dirty.put_bytes(Table::Kept.key(id.0), encode(&record));
    }
}
