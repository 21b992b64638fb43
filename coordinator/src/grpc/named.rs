//! Which blobs workers may get, and how large an output they may put: what running jobs and merge leases name.

use crate::core::event::Lease;
use crate::core::status::JobState;
use crate::engine::Handle;
use proto::job::JobSpec;
use proto::report::Output;
use proto::{AccountKey, Digest, JobId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

/// Outputs of merge leases that are remembered: what ten thousand workers fetch within minutes, in 80 MB at most.
const MERGING_MAX: usize = 1 << 20;
/// Bytes of outputs that an account's workers may put ahead of the reports that name them: stops filling the disk with
/// what nobody asked for, and is far above what honest workers have under way.
pub(crate) const AHEAD_BYTES_MAX: u64 = 16 << 30;
/// Jobs read at once when the coordinator starts.
const PAGE_JOBS: usize = 256;

#[derive(Debug)]
struct JobBlobs {
    digests: HashSet<Digest>,
    output_bytes: u64,
}

#[derive(Debug, Default)]
struct Inner {
    jobs: HashMap<JobId, JobBlobs>,
    merging: HashSet<Digest>,
    merging_order: VecDeque<Digest>,
    ahead: HashMap<AccountKey, u64>,
}

/// What workers may get and put.
#[derive(Debug, Default)]
pub(crate) struct Named(RwLock<Inner>);

impl Named {
    /// What the jobs that run now name.
    pub(crate) async fn load(engine: &Handle) -> Result<Self, crate::engine::Error> {
        let named = Self::default();
        let mut after = JobId(0);
        loop {
            let jobs = engine.jobs(after, PAGE_JOBS).await?;
            let Some(last) = jobs.last() else { return Ok(named) };
            after = last.id;
            for job in jobs.iter().filter(|job| job.state == JobState::Running) {
                if let Some(Ok(spec)) = engine.spec(job.id)?.map(|bytes| JobSpec::parse(&bytes)) {
                    named.job(job.id, &spec);
                }
            }
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job runs.
    pub(crate) fn job(&self, job: JobId, spec: &JobSpec) {
        if self.0.read().unwrap_or_else(PoisonError::into_inner).jobs.contains_key(&job) {
            return;
        }
        let digests = crate::engine::named(spec).into_iter().map(|(_, digest, _)| digest).collect();
        self.write().jobs.insert(job, JobBlobs { digests, output_bytes: spec.limits.output_bytes });
    }

    /// A lease is sent.
    pub(crate) fn lease(&self, lease: &Lease) {
        if lease.extras.iter().all(|extra| extra.inputs.is_empty()) {
            return;
        }
        let mut inner = self.write();
        for output in lease.extras.iter().flat_map(|extra| &extra.inputs) {
            let Output::Blob { digest, .. } = output else { continue };
            if inner.merging.insert(*digest) {
                inner.merging_order.push_back(*digest);
            }
            if MERGING_MAX < inner.merging_order.len()
                && let Some(oldest) = inner.merging_order.pop_front()
            {
                inner.merging.remove(&oldest);
            }
        }
    }

    /// Whether a worker may get this blob.
    pub(crate) fn may_get(&self, digest: &Digest) -> bool {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.merging.contains(digest)
            || inner.jobs.values().any(|job| job.digests.contains(digest))
    }

    /// Largest output that any running job allows, bytes; `None` when no job runs.
    pub(crate) fn output_bytes_max(&self) -> Option<u64> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.jobs.values().map(|job| job.output_bytes).max()
    }

    /// Counts an output to the account that puts it; false when it has put too much that no report names.
    pub(crate) fn put_ahead(&self, account: AccountKey, len: u64) -> bool {
        let mut inner = self.write();
        let ahead = inner.ahead.entry(account).or_default();
        let fits = ahead.saturating_add(len) <= AHEAD_BYTES_MAX;
        if fits {
            *ahead += len;
        }
        fits
    }

    /// Outputs of so many bytes were reported, or not put after all.
    pub(crate) fn reported(&self, account: AccountKey, len: u64) {
        let mut inner = self.write();
        if let Some(ahead) = inner.ahead.get_mut(&account) {
            *ahead = ahead.saturating_sub(len);
            if *ahead == 0 {
                inner.ahead.remove(&account);
            }
        }
    }

    /// Forgets jobs that have ended.
    pub(crate) async fn forget_ended(&self, engine: &Handle) -> Result<(), crate::engine::Error> {
        let jobs: Vec<JobId> =
            self.0.read().unwrap_or_else(PoisonError::into_inner).jobs.keys().copied().collect();
        for job in jobs {
            if engine.job(job).await?.is_none_or(|status| status.state != JobState::Running) {
                self.write().jobs.remove(&job);
            }
        }
        Ok(())
    }
}
