//! From a unit's number to a unit that can run: its specification and its blobs.

use super::hold::{Prepared, Stage};
use super::{Action, Agent, Effects, FetchTrouble, Now};
use proto::id::UnitId;
use proto::job::{Extra, JobSpec, UnitInput};
use proto::{Digest, JobId, UnitIndex};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Blobs fetched at the same time: enough to fill a line, few enough that each arrives soon.
const FETCHES_MAX: usize = 4;
/// Wait before a fetch that failed with its connection is tried again.
const RETRY_LATER: Duration = Duration::from_secs(2);
/// Wait before a fetch that found no room is tried again.
pub(super) const RETRY_NO_ROOM: Duration = Duration::from_secs(20);
/// Units of a job whose blobs are on their way at a time: others of it, whose blobs are here, go past them.
const FETCHING_UNITS_MAX: usize = 64;
/// Blobs that no unit needs now and that are kept from eviction all the same: successive units mostly share theirs.
const IDLE_MAX: usize = 16;

/// Blobs that units need.
#[derive(Clone, Debug, Default)]
pub(super) struct Blobs {
    pub(super) known: BTreeMap<Digest, Blob>,
    pub(super) queue: VecDeque<Digest>,
    later: BTreeSet<(Now, Digest)>,
    pub(super) n_fetching: usize,
    /// Blobs without users, the longest unused first; entries that found users again are skipped when met.
    idle: VecDeque<Digest>,
    /// There was no room: at most so many units of a job are prepared ahead, until one has all its blobs.
    ahead_max: Option<usize>,
    /// Why the last fetch failed, until one succeeds.
    pub(super) trouble: Option<FetchTrouble>,
}

/// A blob that units need, or needed recently.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub(super) n_users: usize,
    len: Option<u64>,
    pub(super) state: BlobState,
}

/// Whether a blob is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlobState {
    Queued,
    Fetching,
    Later,
    Here,
}

impl Agent {
    /// Prepares as many units as will soon be started.
    pub(super) fn prepare(&mut self, now: Now, fx: &mut Effects) {
        if self.is_stopping() {
            return;
        }
        let slots = self.config.slots as usize;
        let (mut n_new, none) = (0, Extra::default());
        if self.jobs.values().all(|job| job.n_fetching == 0) {
            self.blobs.ahead_max = None;
        }
        let ahead_max = self.blobs.ahead_max.unwrap_or(FETCHING_UNITS_MAX);
        while let Some(job_id) = self.next_job(ahead_max) {
            let Some(job) = self.jobs.get_mut(&job_id) else { break };
            if self.ready.len() >= slots.min(job.ahead_max()) + job.pool_share(slots) {
                break;
            }
            let Some(unit) = job.waiting.pop_front() else { break };
            let id = UnitId { job: job_id, unit };
            let Some(held) = self.units.get(&id) else { continue };
            if !matches!(held.stage, Stage::Waiting) {
                continue;
            }
            let Some(spec) = self.specs.of(job_id, &job.spec_bytes).filter(|_| job.outline.is_ok())
            else {
                self.give_back_job(job_id, "its specification is not understood here", false, fx);
                continue;
            };
            let extra = held.extra.as_deref().unwrap_or(&none);
            match prepared(&spec, id.unit, extra) {
                Ok(prepared) => self.need_blobs(&spec, id, prepared),
                Err(reason) => self.give_back(id, &reason, true, fx),
            }
            n_new += 1;
        }
        if 0 < n_new {
            self.advance_blobs(now, fx);
        }
    }

    /// The job with the oldest lease of those that have units waiting and not enough of them fetching.
    fn next_job(&mut self, fetching_max: usize) -> Option<JobId> {
        let (units, jobs) = (&self.units, &mut self.jobs);
        jobs.iter_mut()
            .filter(|(_, job)| job.n_fetching < fetching_max.min(job.ahead_max()))
            .filter_map(|(id, job)| {
                while let Some(unit) = job.waiting.front() {
                    match units.get(&UnitId { job: *id, unit: *unit }) {
                        Some(held) if matches!(held.stage, Stage::Waiting) => {
                            return Some((held.lease, *id));
                        }
                        _ => job.waiting.pop_front(),
                    };
                }
                None
            })
            .min()
            .map(|(_, id)| id)
    }

    fn need_blobs(&mut self, spec: &JobSpec, id: UnitId, prepared: Prepared) {
        let n_missing =
            self.use_blobs(&prepared.blobs, false, |digest| length(spec, &prepared, digest));
        if n_missing == 0 {
            return self.make_ready(id, prepared);
        }
        if let Some(job) = self.jobs.get_mut(&id.job) {
            job.n_fetching += 1;
        }
        self.enter(id, Stage::Fetching { prepared, n_missing });
    }

    /// Notes a user of these blobs and has those fetched that are not here, soon if it is in a hurry; how many they are.
    pub(super) fn use_blobs(
        &mut self,
        digests: &[Digest],
        hurry: bool,
        len: impl Fn(&Digest) -> Option<u64>,
    ) -> usize {
        let mut n_missing = 0;
        for digest in digests {
            let blobs = &mut self.blobs;
            let blob = blobs.known.entry(*digest).or_insert_with(|| {
                match hurry {
                    true => blobs.queue.push_front(*digest),
                    false => blobs.queue.push_back(*digest),
                }
                Blob { n_users: 0, len: len(digest), state: BlobState::Queued }
            });
            blob.n_users += 1;
            n_missing += usize::from(blob.state != BlobState::Here);
        }
        n_missing
    }

    pub(super) fn fetched(
        &mut self,
        now: Now,
        digest: Digest,
        result: Result<(), FetchTrouble>,
        fx: &mut Effects,
    ) {
        let Some(blob) =
            self.blobs.known.get_mut(&digest).filter(|blob| blob.state == BlobState::Fetching)
        else {
            return;
        };
        self.blobs.n_fetching -= 1;
        self.blobs.trouble = result.as_ref().err().cloned();
        match result {
            Ok(()) if blob.n_users == 0 => {
                self.blobs.known.remove(&digest);
                fx.actions.push(Action::Release(digest));
            }
            Ok(()) => {
                blob.state = BlobState::Here;
                self.blob_came(digest);
            }
            Err(_) if blob.n_users == 0 => drop(self.blobs.known.remove(&digest)),
            Err(trouble @ FetchTrouble::Never(_)) => {
                // Out of the table only after its users let go of it.
                blob.state = BlobState::Later;
                self.give_back_for_want_of(digest, &trouble, fx);
                if let FetchTrouble::Never(reason) = &trouble {
                    self.fail_errands_for_want_of(Some(digest), reason, fx);
                }
                self.blobs.known.remove(&digest);
            }
            Err(FetchTrouble::NoRoom(reason)) => {
                blob.state = BlobState::Later;
                self.blobs.later.insert((now + RETRY_NO_ROOM, digest));
                self.blobs.ahead_max.get_or_insert(1);
                if self.runs.len() == 0 && self.blobs.n_fetching == 0 {
                    self.fail_errands_for_want_of(None, &reason, fx);
                    self.fetch_for_one(fx);
                }
            }
            Err(FetchTrouble::Later(_)) => {
                blob.state = BlobState::Later;
                self.blobs.later.insert((now + RETRY_LATER, digest));
            }
        }
    }

    /// Nothing that ends will make room: units that have some of their blobs and wait for others keep each other from
    /// starting. All but the one with the oldest lease let go of theirs.
    fn fetch_for_one(&mut self, fx: &mut Effects) {
        let fetching =
            self.units.iter().filter(|(_, held)| matches!(held.stage, Stage::Fetching { .. }));
        let mut fetching: Vec<_> = fetching.map(|(id, held)| (held.lease, *id)).collect();
        fetching.sort_unstable();
        for (_, id) in fetching.into_iter().skip(1).rev() {
            let Some(Stage::Fetching { prepared, .. }) = self.enter(id, Stage::Waiting) else {
                continue;
            };
            if let Some(job) = self.jobs.get_mut(&id.job) {
                job.n_fetching -= 1;
                job.waiting.push_front(id.unit);
            }
            self.release_blobs(&prepared.blobs, fx);
        }
        self.blobs.ahead_max = Some(0);
        self.release_idle(0, fx);
    }

    fn blob_came(&mut self, digest: Digest) {
        let mut complete = Vec::new();
        for (id, held) in &mut self.units {
            if let Stage::Fetching { prepared, n_missing } = &mut held.stage
                && prepared.blobs.contains(&digest)
            {
                *n_missing -= 1;
                if *n_missing == 0 {
                    complete.push((*id, prepared.clone()));
                }
            }
        }
        self.blob_came_for_errands(digest);
        for (id, prepared) in complete {
            if let Some(job) = self.jobs.get_mut(&id.job) {
                job.n_fetching -= 1;
            }
            self.blobs.ahead_max = None;
            self.make_ready(id, prepared);
        }
    }

    /// A unit may be started; one that was started before has a snapshot and goes first.
    fn make_ready(&mut self, id: UnitId, prepared: Prepared) {
        self.enter(id, Stage::Ready(prepared));
        if self.runs.started.contains(&id) {
            self.ready.push_front(id);
        } else {
            self.ready.push_back(id);
        }
    }

    /// A unit needs these blobs no more.
    pub(super) fn release_blobs(&mut self, digests: &[Digest], fx: &mut Effects) {
        for digest in digests {
            let Some(blob) = self.blobs.known.get_mut(digest) else { continue };
            blob.n_users -= 1;
            if 0 < blob.n_users {
                continue;
            }
            match blob.state {
                BlobState::Here => self.blobs.idle.push_back(*digest),
                BlobState::Queued | BlobState::Later => drop(self.blobs.known.remove(digest)),
                BlobState::Fetching => {}
            }
        }
        self.release_idle(IDLE_MAX, fx);
    }

    fn release_idle(&mut self, keep: usize, fx: &mut Effects) {
        while keep < self.blobs.idle.len() {
            let Some(digest) = self.blobs.idle.pop_front() else { return };
            let idle = |blob: &Blob| blob.n_users == 0 && blob.state == BlobState::Here;
            if !self.blobs.idle.contains(&digest) && self.blobs.known.get(&digest).is_some_and(idle)
            {
                self.blobs.known.remove(&digest);
                fx.actions.push(Action::Release(digest));
            }
        }
    }

    pub(super) fn blobs_deadline(&self) -> Option<Now> {
        self.blobs.later.first().map(|(at, _)| *at)
    }

    pub(super) fn advance_blobs(&mut self, now: Now, fx: &mut Effects) {
        let blobs = &mut self.blobs;
        while let Some(&(at, digest)) = blobs.later.first().filter(|(at, _)| *at <= now) {
            blobs.later.remove(&(at, digest));
            if let Some(blob) =
                blobs.known.get_mut(&digest).filter(|blob| blob.state == BlobState::Later)
            {
                blob.state = BlobState::Queued;
                blobs.queue.push_back(digest);
            }
        }
        while blobs.n_fetching < FETCHES_MAX {
            let Some(digest) = blobs.queue.pop_front() else { return };
            let Some(blob) =
                blobs.known.get_mut(&digest).filter(|blob| blob.state == BlobState::Queued)
            else {
                continue;
            };
            blob.state = BlobState::Fetching;
            blobs.n_fetching += 1;
            fx.actions.push(Action::Fetch { digest, len: blob.len });
        }
    }
}

/// What is to be run of a unit, and the blobs for it.
pub(super) fn prepared(spec: &JobSpec, unit: UnitIndex, extra: &Extra) -> Result<Prepared, String> {
    let unit = spec.unit(unit, extra).map_err(|error| error.to_string())?;
    let mut blobs = vec![unit.kernel];
    for input in &unit.inputs {
        if let UnitInput::Segments(segments) = input {
            blobs.extend(
                segments.iter().filter(|segment| 0 < segment.len).map(|segment| segment.digest),
            );
        }
    }
    blobs.sort_unstable();
    blobs.dedup();
    Ok(Prepared { unit: Arc::new(unit), blobs, trace_fuel: spec.trace_fuel })
}

/// Length of a blob, where the job tells it.
pub(super) fn length(spec: &JobSpec, prepared: &Prepared, digest: &Digest) -> Option<u64> {
    let input = spec.inputs.iter().find(|input| input.digest == *digest).map(|input| input.len);
    input.or_else(|| {
        let inputs = prepared.unit.inputs.iter();
        inputs
            .filter_map(|input| match input {
                UnitInput::Segments(segments) => {
                    segments.iter().find(|segment| segment.digest == *digest)
                }
                UnitInput::Inline(_) => None,
            })
            .map(|segment| segment.len)
            .next()
    })
}
