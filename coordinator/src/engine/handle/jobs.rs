//! Jobs: submitted, followed, cancelled, and what came of them.

use super::Handle;
use crate::core::event::{Event, Reply, Submission, SubmitRefused};
use crate::core::record::LogsRecord;
use crate::core::saved::{Results, blobs_of, read};
use crate::core::status::JobStatus;
use crate::engine::Error;
use proto::evidence::Evidence;
use proto::job::JobSpec;
use proto::receipt::Receipt;
use proto::{JobId, UnitIndex};
use std::sync::{Arc, PoisonError};

impl Handle {
    /// How much is kept of what the units of a job have logged, and at most `max` of the records behind `after`, with
    /// their positions; `None` when there is no such job. Reads the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn logs(
        &self,
        job: JobId,
        after: Option<u64>,
        max: usize,
    ) -> Result<Option<(LogsRecord, read::UnitLogs)>, Error> {
        Ok(read::logs(self.store.as_ref(), job, after, max)?)
    }

    /// Submits a job. The same submission id by the same account gives the same job again.
    ///
    /// # Errors
    /// [`Error::Stopped`]; a job that is not taken is the inner error.
    pub async fn submit(
        &self,
        bytes: Arc<[u8]>,
        submission: [u8; 16],
        account: String,
    ) -> Result<Result<JobStatus, SubmitRefused>, Error> {
        let (handle, read) = (self.clone(), Arc::clone(&bytes));
        // A large one takes a while to be read, and the disk is asked for each of its blobs.
        let spec = match self.look_at(move || handle.admissible(&read)).await? {
            Ok(spec) => Arc::new(spec),
            Err(refused) => return Ok(Err(refused)),
        };
        let submission = Submission { spec, bytes, submission, account };
        let job = match self.apply(Event::Submit(submission)).await? {
            Reply::Submitted(Ok(job)) => job,
            Reply::Submitted(Err(refused)) => return Ok(Err(refused)),
            _ => return Err(self.stopped()),
        };
        self.job(job).await?.map(Ok).ok_or_else(|| self.stopped())
    }

    /// A job in numbers.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn job(&self, job: JobId) -> Result<Option<JobStatus>, Error> {
        match self.look(move |core| core.job_status(job)).await? {
            Some(status) => Ok(Some(self.with_trouble(status))),
            None => Ok(read::ended_job(self.store.as_ref(), job)?),
        }
    }

    /// At most `max` jobs with ids above `after`, in order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn jobs(&self, after: JobId, max: usize) -> Result<Vec<JobStatus>, Error> {
        let mut jobs = read::jobs(self.store.as_ref(), after, max)?;
        let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
        let running = self
            .look(move |core| ids.into_iter().map(|id| core.job_status(id)).collect::<Vec<_>>())
            .await?;
        for (job, running) in jobs.iter_mut().zip(running) {
            if let Some(running) = running {
                *job = self.with_trouble(running);
            }
        }
        Ok(jobs)
    }

    /// Cancels a job; `None` when there is none. A job that has ended stays as it is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cancel(&self, job: JobId) -> Result<Option<JobStatus>, Error> {
        match self.apply(Event::Cancel(job)).await? {
            Reply::Cancelled(true) => self.job(job).await,
            Reply::Cancelled(false) => Ok(None),
            _ => Err(self.stopped()),
        }
    }

    /// The bytes of a job's specification as they were submitted.
    ///
    /// # Errors
    /// [`Error`].
    pub fn spec(&self, job: JobId) -> Result<Option<Vec<u8>>, Error> {
        Ok(read::spec(self.store.as_ref(), job)?)
    }

    /// Reads the results of a job, with `receipts` or without; `None` when there is no such job. Reads the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn results(&self, job: JobId, receipts: bool) -> Result<Option<Results>, Error> {
        Ok(Results::of(self.store.as_ref(), job, receipts.then_some(self.project))?)
    }

    /// Records in the log of a job that are on disk for good, for whoever reads its results: one that is being written is
    /// seen in the store before it is. `None`: the job runs no more, and all are.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn committed(&self, job: JobId) -> Result<Option<u64>, Error> {
        self.look(move |core| core.log_records(job)).await
    }

    /// The receipt of a settled unit, to be signed with the project's key; `None` when it has no verdict or was given up.
    /// Reads the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn receipt(&self, job: JobId, unit: UnitIndex) -> Result<Option<Receipt>, Error> {
        Ok(read::receipt(self.store.as_ref(), &self.project, job, unit)?)
    }

    /// A proof that reports of a job were wrong, counted from 0; `None` when there is no such one. Reads the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn evidence(&self, job: JobId, number: u64) -> Result<Option<Evidence>, Error> {
        Ok(read::evidence(self.store.as_ref(), &self.project, job, number)?)
    }

    /// Why a job or unit is not done, most important first; `None` when there is none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn why(
        &self,
        job: JobId,
        unit: Option<UnitIndex>,
    ) -> Result<Option<Vec<String>>, Error> {
        match self.look(move |core| core.why(job, unit)).await? {
            Some(mut reasons) => {
                reasons.splice(0..0, self.trouble());
                Ok(Some(reasons))
            }
            None => Ok(read::why_ended(self.store.as_ref(), job, unit)?),
        }
    }

    /// What the operator must mend, which is why nothing moves.
    fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.read().unwrap_or_else(PoisonError::into_inner).clone();
        (!trouble.is_empty()).then_some(trouble)
    }

    /// A running job, with what stops all of them.
    fn with_trouble(&self, mut status: JobStatus) -> JobStatus {
        status.waiting.splice(0..0, self.trouble());
        status
    }

    /// Reads a specification and looks for the blobs that it names.
    fn admissible(&self, bytes: &[u8]) -> Result<JobSpec, SubmitRefused> {
        let spec =
            JobSpec::parse(bytes).map_err(|invalid| SubmitRefused::Invalid(invalid.to_string()))?;
        for (what, digest, len) in blobs_of(&spec) {
            let here = self
                .blobs
                .len(&digest)
                .ok_or_else(|| SubmitRefused::Missing { what: what.clone(), digest })?;
            if len.is_some_and(|len| len != here) {
                return Err(SubmitRefused::Invalid(format!(
                    "{what} ({digest}) is {here} bytes long, not as the job says"
                )));
            }
        }
        if let Some((digest, _, count)) = spec.line_file() {
            self.blobs.line(&digest, count - 1).map_err(|error| {
                SubmitRefused::Invalid(format!(
                    "line {count} of the job's lines ({digest}) cannot be read: {error}"
                ))
            })?;
        }
        Ok(spec)
    }
}
