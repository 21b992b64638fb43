//! Which blobs workers may get, and how large an output they may put: what running jobs and merge leases name.

use crate::blobs::BlobStore;
use crate::core::event::{Lease, Segment, Show};
use crate::core::status::JobState;
use crate::engine::Handle;
use crate::grpc::places::Crowd;
use proto::job::{Extra, JobSpec};
use proto::report::Output;
use proto::{Digest, JobId, WorkerKey};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// Outputs of merge leases that are remembered: what ten thousand workers fetch within minutes, in 80 MB at most.
const MERGING_MAX: usize = 1 << 20;
/// Bytes of outputs that the workers of a network may put ahead of the reports that name them: stops filling the disk with
/// what nobody asked for, and is far above what honest workers have under way. Of a network, for accounts are free.
pub(crate) const AHEAD_BYTES_MAX: u64 = 16 << 30;
/// Such outputs, by number: what is remembered of each is small, but one of 257 bytes costs as much as one of a gigabyte.
const AHEAD_BLOBS_MAX: usize = 1 << 16;
/// How long an output stays that no report names: a worker that brings one later puts it again.
const AHEAD_FOR: Duration = Duration::from_secs(6 * 3600);
/// Questions for states that are remembered: a few for each of ten thousand workers.
const SHOWS_MAX: usize = 1 << 15;
/// Bytes of a state beside its pages and output.
const STATE_BESIDE_BYTES: u64 = 4 << 20;
/// Jobs read at once when the coordinator starts.
const PAGE_JOBS: usize = 256;

#[derive(Debug)]
struct JobBlobs {
    digests: HashSet<Digest>,
    /// The list of its files, which are looked up there and not held here.
    list: Option<Digest>,
    output_bytes: u64,
}

/// Outputs that the workers of a network have put and no report has named.
#[derive(Debug, Default)]
struct Ahead {
    bytes: u64,
    /// With their bytes, and when they came.
    blobs: HashMap<Digest, (u64, Instant)>,
}

#[derive(Debug, Default)]
struct Inner {
    jobs: HashMap<JobId, JobBlobs>,
    merging: HashSet<Digest>,
    merging_order: VecDeque<Digest>,
    ahead: HashMap<Crowd, Ahead>,
    /// What was asked to be shown: by whom, and the largest state that it may put for it.
    shows: HashMap<u64, (WorkerKey, u64)>,
}

impl Inner {
    /// Lets workers get what a lease brings.
    fn remember_inputs(&mut self, extras: &[Extra]) {
        for output in extras.iter().flat_map(|extra| &extra.inputs) {
            if let Output::Blob { digest, .. } = output {
                self.remember(*digest);
            }
        }
    }

    fn remember(&mut self, digest: Digest) {
        if self.merging.insert(digest) {
            self.merging_order.push_back(digest);
        }
        if MERGING_MAX < self.merging_order.len()
            && let Some(oldest) = self.merging_order.pop_front()
        {
            self.merging.remove(&oldest);
        }
    }
}

/// What workers may get and put.
#[derive(Debug, Default)]
pub(crate) struct BlobAccess(RwLock<Inner>);

impl BlobAccess {
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
        let digests =
            crate::core::saved::blobs_of(spec).into_iter().map(|(_, digest, _)| digest).collect();
        let list = spec.list().map(|(list, ..)| list);
        let output_bytes = spec.limits.output_bytes;
        self.write().jobs.insert(job, JobBlobs { digests, list, output_bytes });
    }

    /// The same, while its specification is sent, before whoever has submitted it has its number.
    pub(crate) fn job_of(&self, job: JobId, spec: &[u8]) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).jobs.contains_key(&job);
        if !known && let Ok(spec) = JobSpec::parse(spec) {
            self.job(job, &spec);
        }
    }

    /// A lease is sent.
    pub(crate) fn lease(&self, lease: &Lease) {
        if lease.extras.iter().all(|extra| extra.inputs.is_empty()) {
            return;
        }
        self.write().remember_inputs(&lease.extras);
    }

    /// A worker is asked to show a state.
    pub(crate) fn show(&self, show: &Show, worker: WorkerKey) {
        let limits = &show.spec.limits;
        let state_bytes = limits.memory_bytes + limits.output_bytes;
        // Pages that do not shrink, and what stands beside them.
        let bytes_max = state_bytes + state_bytes / 64 + STATE_BESIDE_BYTES;
        let mut inner = self.write();
        if SHOWS_MAX <= inner.shows.len() {
            // Of those that were never answered, whichever goes is late.
            let oldest = inner.shows.keys().min().copied();
            oldest.map(|oldest| inner.shows.remove(&oldest));
        }
        inner.shows.insert(show.ask, (worker, bytes_max));
    }

    /// Whether a worker is asked to show anything.
    pub(crate) fn shows(&self, worker: &WorkerKey) -> bool {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.shows.values().any(|(of, _)| of == worker)
    }

    /// Takes a question off that the worker answers; whether it was asked.
    pub(crate) fn take_show(&self, ask: u64, worker: WorkerKey) -> bool {
        let mut inner = self.write();
        let asked = inner.shows.get(&ask).is_some_and(|(of, _)| *of == worker);
        if asked {
            inner.shows.remove(&ask);
        }
        asked
    }

    /// A segment is sent, which begins at a state.
    pub(crate) fn segment(&self, segment: &Segment) {
        if let Some((digest, _)) = segment.state {
            self.write().remember(digest);
        }
        if let Some(extra) = &segment.extra {
            self.write().remember_inputs(std::slice::from_ref(extra));
        }
    }

    /// Largest output of the jobs that run, bytes.
    pub(crate) fn output_bytes_max(&self) -> Option<u64> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.jobs.values().map(|job| job.output_bytes).max()
    }

    /// Largest state that a worker may put because it was asked for, bytes.
    pub(crate) fn state_bytes_max(&self, worker: &WorkerKey) -> Option<u64> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.shows.values().filter(|(of, _)| of == worker).map(|(_, bytes)| *bytes).max()
    }

    /// The lists of files of the jobs that run: workers may get what they name.
    pub(crate) fn lists(&self) -> Vec<Digest> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let lists: HashSet<Digest> = inner.jobs.values().filter_map(|job| job.list).collect();
        lists.into_iter().collect()
    }

    /// Whether a worker may get this blob, which may also be on one of [`Self::lists`].
    pub(crate) fn may_get(&self, digest: &Digest) -> bool {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.merging.contains(digest)
            || inner.jobs.values().any(|job| job.digests.contains(digest))
    }

    /// Whether a running job names a blob, itself or in a list that can be read.
    pub(crate) fn is_named(&self, blobs: &BlobStore, digest: &Digest) -> bool {
        let named = {
            let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
            inner.jobs.values().any(|job| job.digests.contains(digest))
        };
        named || self.lists().iter().any(|list| blobs.lists(list, digest).unwrap_or(true))
    }

    /// Counts an output to the network that puts it; false when it has put more than `bytes_max`, or than anybody may, that
    /// no report names.
    pub(crate) fn put_ahead(
        &self,
        network: Crowd,
        digest: Digest,
        len: u64,
        bytes_max: u64,
    ) -> bool {
        let mut inner = self.write();
        let ahead = inner.ahead.entry(network).or_default();
        if ahead.blobs.contains_key(&digest) {
            return true;
        }
        let fits = ahead.bytes.saturating_add(len) <= bytes_max.min(AHEAD_BYTES_MAX)
            && ahead.blobs.len() < AHEAD_BLOBS_MAX;
        if fits {
            ahead.bytes += len;
            ahead.blobs.insert(digest, (len, Instant::now()));
        }
        fits
    }

    /// Whether an output was put from this network and no report has named it.
    pub(crate) fn is_ahead(&self, network: Crowd, digest: &Digest) -> bool {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        inner.ahead.get(&network).is_some_and(|ahead| ahead.blobs.contains_key(digest))
    }

    /// An output was reported, or not put after all; whether it was put from this network.
    pub(crate) fn reported(&self, network: Crowd, digest: &Digest) -> bool {
        let mut inner = self.write();
        let Some(ahead) = inner.ahead.get_mut(&network) else { return false };
        let put = ahead.blobs.remove(digest);
        if let Some((len, _)) = put {
            ahead.bytes -= len;
        }
        if ahead.blobs.is_empty() {
            inner.ahead.remove(&network);
        }
        put.is_some()
    }

    /// Outputs that were put long before `now` and that no report has named; they are put ahead no more.
    pub(crate) fn take_stale(&self, now: Instant) -> Vec<Digest> {
        let mut stale = Vec::new();
        self.write().ahead.retain(|_, Ahead { bytes, blobs }| {
            blobs.retain(|digest, (len, at)| {
                let fresh = now.saturating_duration_since(*at) < AHEAD_FOR;
                if !fresh {
                    *bytes -= *len;
                    stale.push(*digest);
                }
                fresh
            });
            !blobs.is_empty()
        });
        stale
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn only_what_was_put_makes_room_when_it_is_reported() {
        let (named, here) = (BlobAccess::default(), Crowd::of(Ipv4Addr::LOCALHOST.into()));
        let digest = |n: u8| Digest([n; 32]);
        let put = |n, len| named.put_ahead(here, digest(n), len, u64::MAX);
        assert!(put(1, AHEAD_BYTES_MAX - 10) && put(2, 10));
        assert!(!put(3, 1), "all is taken");
        // Whatever is said of others, and of what another network has put.
        assert!(!named.reported(here, &digest(9)));
        assert!(!named.reported(Crowd::of(Ipv4Addr::BROADCAST.into()), &digest(1)));
        assert!(!put(3, 1), "still");
        assert!(named.reported(here, &digest(2)) && !named.reported(here, &digest(2)));
        assert!(put(3, 10) && !put(4, 1), "as much as was reported");
        assert!(put(3, 10), "the same again is counted once");
    }
}
