//! Every invariant of an agent's state.

use super::hold::Stage;
use super::prepare::BlobState;
use super::report::UploadState;
use super::run::{RunOwner, need};
use super::{Agent, ErrandId, HELD_UNITS_MAX, SEGMENTS_MAX, SHOWS_MAX, errand};
use proto::{Digest, JobId, LeaseId};
use std::collections::BTreeMap;

impl Agent {
    /// Panics with the name of an invariant that does not hold. For tests, after each event.
    pub fn check_invariants(&self) {
        assert!(self.units.len() <= HELD_UNITS_MAX, "no more units than may be held");
        let (mut leases, mut jobs) = (BTreeMap::new(), BTreeMap::new());
        let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
        let (mut n_running, mut memory) = (0, BTreeMap::new());
        for (id, held) in &self.units {
            let finished = held.stage.is_finished();
            *leases.entry(held.lease).or_insert(0_usize) += 1;
            let job: &mut (usize, usize, usize) = jobs.entry(id.job).or_default();
            let fetching = usize::from(matches!(held.stage, Stage::Fetching { .. }));
            *job = (job.0 + 1, job.1 + usize::from(!finished), job.2 + fetching);
            match &held.stage {
                Stage::Waiting => assert!(
                    self.jobs[&id.job].waiting.contains(&id.unit),
                    "a waiting unit is in the queue"
                ),
                Stage::Ready(prepared) => {
                    assert!(self.ready.contains(id), "a ready unit is in the queue");
                    let here = |blob: &Digest| self.blobs.known[blob].state == BlobState::Here;
                    assert!(prepared.blobs.iter().all(here), "a ready unit has its blobs");
                }
                Stage::Fetching { prepared, n_missing } => {
                    let here = |blob: &&Digest| self.blobs.known[*blob].state != BlobState::Here;
                    assert_eq!(
                        prepared.blobs.iter().filter(here).count(),
                        *n_missing,
                        "missing blobs are counted"
                    );
                    assert!(0 < *n_missing, "a fetching unit misses something");
                }
                Stage::Running { run, prepared, .. } => {
                    n_running += 1;
                    *memory.entry(need(&prepared.unit.limits)).or_default() += 1;
                    assert_eq!(
                        self.runs.unit(*run),
                        Some(*id),
                        "a running unit is in the table of runs"
                    );
                }
                Stage::Finished(reportable) => {
                    let upload =
                        Self::large_output(reportable).map(|digest| &self.reports.uploads[&digest]);
                    let goes = upload.is_some_and(|upload| upload.state != UploadState::There);
                    assert!(
                        goes || self.reports.offered.contains(id),
                        "a finished unit is offered, after its output"
                    );
                }
                Stage::Sent(_) => {
                    let mut batches = self.reports.batches.values();
                    assert!(
                        batches.any(|batch| batch.units.contains(id)),
                        "a sent unit is in a batch"
                    );
                }
            }
            if let Stage::Fetching { prepared, .. }
            | Stage::Ready(prepared)
            | Stage::Running { prepared, .. } = &held.stage
            {
                for blob in &prepared.blobs {
                    *users.entry(*blob).or_default() += 1;
                }
            }
        }
        n_running += self.check_errands(&mut users, &mut memory);
        assert_eq!(n_running, self.runs.len(), "every run has its unit or errand");
        assert_eq!(memory, self.runs.memory, "the memory of the runs is counted");
        self.check_uploads();
        self.check_counts(&leases, &jobs, &users);
    }

    /// What is counted beside the units is what was counted over them.
    fn check_counts(
        &self,
        leases: &BTreeMap<LeaseId, usize>,
        jobs: &BTreeMap<JobId, (usize, usize, usize)>,
        users: &BTreeMap<Digest, usize>,
    ) {
        for (id, lease) in &self.leases {
            assert_eq!(leases.get(id), Some(&lease.n_held), "the units of {id} are counted");
        }
        assert_eq!(leases.len(), self.leases.len(), "every unit's lease is known");
        for (id, job) in &self.jobs {
            let counts = (job.n_held, job.n_open, job.n_fetching);
            assert_eq!(
                jobs.get(id).copied().unwrap_or_default(),
                counts,
                "the units of {id} are counted"
            );
        }
        for (digest, blob) in &self.blobs.known {
            assert_eq!(
                users.get(digest).copied().unwrap_or_default(),
                blob.n_users,
                "users of a blob are counted"
            );
        }
        let fetching =
            self.blobs.known.values().filter(|blob| blob.state == BlobState::Fetching).count();
        assert_eq!(fetching, self.blobs.n_fetching, "fetches are counted");
    }

    /// Counts the errands that run, what they need and which blobs they use.
    fn check_errands(
        &self,
        users: &mut BTreeMap<Digest, usize>,
        memory: &mut BTreeMap<u64, u32>,
    ) -> usize {
        let held = &self.errands.held;
        let n_shows = held.keys().filter(|id| matches!(id, ErrandId::Show(_))).count();
        assert!(n_shows <= SHOWS_MAX, "no more shows than may be held");
        assert!(held.len() - n_shows <= SEGMENTS_MAX, "no more segments than may be held");
        let mut n_running = 0;
        for (id, errand) in held {
            let missing = |blob: &&Digest| self.blobs.known[*blob].state != BlobState::Here;
            let n_missing = || errand.prepared.blobs.iter().filter(missing).count();
            match &errand.stage {
                errand::Stage::Reading => {
                    assert!(matches!(id, ErrandId::Show(_)), "only shows read a trace");
                }
                errand::Stage::Fetching { n_missing: counted } => {
                    assert_eq!(n_missing(), *counted, "missing blobs of an errand are counted");
                    assert!(0 < *counted, "a fetching errand misses something");
                }
                errand::Stage::Ready => assert_eq!(n_missing(), 0, "a ready errand has its blobs"),
                errand::Stage::Running { run } => {
                    n_running += 1;
                    *memory.entry(need(&errand.prepared.unit.limits)).or_default() += 1;
                    assert_eq!(
                        self.runs.by_run.get(run),
                        Some(&RunOwner::Errand(*id)),
                        "a running errand is in the table of runs"
                    );
                }
                errand::Stage::Putting { state, .. } => assert!(
                    self.reports.uploads[&state.digest].shows.contains(id),
                    "a state is put for its show"
                ),
                errand::Stage::Answered(_) => {
                    assert!(!self.is_attached(), "an answer waits only for a stream");
                }
            }
            if errand.has_blobs() {
                for blob in &errand.prepared.blobs {
                    *users.entry(*blob).or_default() += 1;
                }
            }
        }
        n_running
    }

    fn check_uploads(&self) {
        for upload in self.reports.uploads.values() {
            assert!(
                !upload.units.is_empty()
                    || !upload.shows.is_empty()
                    || upload.state == UploadState::Putting,
                "an upload has somebody who waits for it"
            );
            for show in &upload.shows {
                assert!(self.errands.state_run(*show).is_some(), "a show waits for its state");
            }
            for id in &upload.units {
                assert!(self.units[id].stage.is_finished(), "a unit's output follows its end");
            }
        }
    }
}
