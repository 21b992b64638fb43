//! Whose content is, and what of it is wanted no more.

use super::Handle;
use crate::core::OutputRoom;
use crate::core::event::Event;
use crate::core::saved::{read, whose};
use crate::engine::Error;
use proto::{Digest, JobId, WorkerKey};
use std::collections::BTreeSet;

impl Handle {
    /// Bytes that are kept for an account beside the blobs that it has put.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn kept_for(&self, account: String) -> Result<u64, Error> {
        self.look(move |core| core.kept_for(&account)).await
    }

    /// An account has put a blob.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn has_put(&self, account: String, digest: Digest, len: u64) -> Result<(), Error> {
        self.apply(Event::HasPut { account, digest, len }).await.map(drop)
    }

    /// Whether a blob is an account's: it has put it, or it is an output of one of its jobs. Reads the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn is_of(&self, account: &str, digest: &Digest) -> Result<bool, Error> {
        Ok(whose::is_of(self.store.as_ref(), account, digest)?)
    }

    /// Whether a blob is somebody's and not that of who has submitted a job. Reads the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn is_of_others(&self, job: JobId, digest: &Digest) -> Result<bool, Error> {
        let store = self.store.as_ref();
        if !whose::is_anybodys(store, digest)? {
            return Ok(false);
        }
        let Some(record) = read::record(store, job)? else { return Ok(true) };
        Ok(!whose::is_of(store, &record.account, digest)?)
    }

    /// What a worker may put now; `None` when it holds no unit.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn output_room(&self, worker: WorkerKey) -> Result<Option<OutputRoom>, Error> {
        self.look(move |core| core.output_room(&worker)).await
    }

    /// The outputs of these jobs, which are wanted no more. Reads the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn outputs_of(&self, jobs: &BTreeSet<JobId>) -> Result<Vec<(JobId, Digest)>, Error> {
        Ok(whose::outputs_of(self.store.as_ref(), jobs)?)
    }

    /// The outputs of a job that has ended are wanted no more; they are removed in the background.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn drop_outputs(&self, job: JobId) -> Result<(), Error> {
        self.apply(Event::DropOutputs(job)).await.map(drop)
    }

    /// No report will name these outputs; what is nobody's is removed.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn abandon(&self, outputs: Vec<Digest>) -> Result<(), Error> {
        self.apply(Event::Abandon(outputs)).await.map(drop)
    }

    /// Outputs are no more those of a job; what is nobody's then is removed.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn disown(&self, job: JobId, outputs: Vec<Digest>, last: bool) -> Result<(), Error> {
        self.apply(Event::Disown { job, outputs, last }).await.map(drop)
    }
}
