//! A job is submitted.

use crate::Core;
use crate::bounds::{
    ACCOUNT_NAME_BYTES_MAX, JOBS_OF_ACCOUNT_MAX, JOBS_RUNNING_MAX, SPEC_BYTES_OF_ACCOUNT_MAX,
};
use crate::event::{Submission, SubmitRefused};
use crate::job::Job;
use crate::record::{JobRecord, Table, encode};
use crate::time::Now;
use proto::{Digest, JobId};
use std::sync::Arc;

/// What a submission is known by: the start of the digest of its account and id.
pub(super) type SubmissionKey = [u8; 16];

/// The key of submission `id` by `account`.
pub(super) fn submission_key(account: &str, id: [u8; 16]) -> SubmissionKey {
    let digest = Digest::of(&[id.as_slice(), account.as_bytes()].concat());
    std::array::from_fn(|index| digest.0[index])
}

impl Core {
    pub(super) fn submit(
        &mut self,
        now: Now,
        submission: Submission,
    ) -> Result<JobId, SubmitRefused> {
        let Submission { spec, bytes, submission, account } = submission;
        let key = submission_key(&account, submission);
        let spec_digest = Digest::of(&bytes);
        if let Some(&job) = self.submissions.get(&key) {
            let running = self.jobs.get(&job).map(|job| job.record.spec_digest);
            return if running.is_none_or(|digest| digest == spec_digest) {
                Ok(job)
            } else {
                Err(SubmitRefused::OtherSpec(job))
            };
        }
        self.admit(&account, bytes.len() as u64)?;
        if account.is_empty() || ACCOUNT_NAME_BYTES_MAX < account.len() {
            return Err(SubmitRefused::Invalid(format!(
                "the account's name must have 1 to {ACCOUNT_NAME_BYTES_MAX} bytes"
            )));
        }
        let id = JobId(self.meta.next_job);
        self.meta.next_job += 1;
        let record = JobRecord::new(&spec, spec_digest, account, submission, now.wall_ms);
        self.dirty.put_bytes(Table::Spec.key(id.0), bytes.to_vec());
        self.dirty.put_bytes(Table::Job.key(id.0), encode(&record));
        self.submissions.insert(key, id);
        self.shares.add(&record.account, spec.priority, id);
        let (spec, spec_bytes) = (Arc::new(spec.outline()), bytes.len() as u64);
        let job = Job::new(id, spec, spec_bytes, record, now.monotonic_ms);
        self.keep_spec(&job);
        self.log_submission(now, &job);
        self.jobs.insert(id, job);
        self.work_appeared = true;
        Ok(id)
    }

    /// Refuses a job with a specification of so many bytes when there are too many, or there is no room for it.
    fn admit(&self, account: &str, spec_bytes: u64) -> Result<(), SubmitRefused> {
        if JOBS_RUNNING_MAX <= self.jobs.len() {
            return Err(SubmitRefused::TooMany(self.jobs.len()));
        }
        let own = self.jobs.values().filter(|job| job.record.account == account);
        let (jobs, bytes) =
            own.fold((0, 0), |(jobs, bytes), job| (jobs + 1, bytes + job.spec_bytes));
        if JOBS_OF_ACCOUNT_MAX <= jobs {
            return Err(SubmitRefused::TooManyOfAccount(jobs, account.to_owned()));
        }
        if SPEC_BYTES_OF_ACCOUNT_MAX < bytes + spec_bytes {
            let (account, max) = (account.to_owned(), SPEC_BYTES_OF_ACCOUNT_MAX);
            return Err(SubmitRefused::Specs { account, bytes, max });
        }
        let (used, quota) = self.used(account);
        if quota < used.saturating_add(spec_bytes) {
            return Err(SubmitRefused::Quota { account: account.to_owned(), used, quota });
        }
        Ok(())
    }
}
