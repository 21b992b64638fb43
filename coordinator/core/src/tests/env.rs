//! A coordinator in a test: the core over a store in memory, with a clock that is moved by hand.

use crate::Core;
use crate::bounds::WORKER_UNITS_MAX;
use crate::event::{
    Acks, Effects, Event, Heartbeat, Hello, Lease, Missing, Refused, Reply, Return, Segment,
    Session, Show, SignedBatch, Submission, ToWorker, Want,
};
use crate::record::{Table, decode_batch};
use crate::replay::{Found, FoundBatch, rebuild};
use crate::saved::load::load;
use crate::saved::{Results, intake, read};
use crate::status::{Cursor, JobState, JobStatus, Told};
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::time::Now;
use proto::bounds::LEASE_UNITS_MAX;
use proto::cut::Axis;
use proto::job::{JobSpec, Limits, Merge};
use proto::report::{Ack, Batch, Failure, JobRef, Outcome, Output, Report};
use proto::ticket::Ticket;
use proto::{AccountKey, Digest, JobId, LeaseId, ProjectKey, UnitIndex, WorkerKey};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const PROJECT: ProjectKey = ProjectKey([9; 32]);

/// A job over `units` integers.
pub(super) fn spec(units: u64, copies: u32) -> JobSpec {
    JobSpec {
        version: proto::job::VERSION,
        name: "test".into(),
        kernel: Digest([1; 32]),
        contract: proto::job::CONTRACT,
        nan: Default::default(),
        numbers: proto::job::Numbers::Binary,
        params: Default::default(),
        inputs: Vec::new(),
        cut: vec![Axis::Range { name: "n".into(), first: 0, end: units, per_unit: 1 }],
        merge: None,
        limits: Limits {
            memory_bytes: 1 << 20,
            fuel: 1_000_000,
            output_bytes: 1024,
            log_bytes: 0,
            time_s: 60,
        },
        copies,
        confidence: None,
        lease_s: 60,
        attempts_max: 5,
        priority: 0,
        exit_codes: proto::job::success(),
        seed: Digest([2; 32]),
        trace_fuel: proto::trace::SPACING,
    }
}

/// The same with a merge stage.
pub(super) fn merging(units: u64, fan_in: u32) -> JobSpec {
    JobSpec { merge: Some(Merge { kernel: None, fan_in }), ..spec(units, 1) }
}

/// What an honest worker reports of a unit.
pub(super) fn honest(unit: u64) -> (Outcome, u64) {
    (Outcome::Done(Output::Inline(unit.to_le_bytes().to_vec())), 100 + unit % 7)
}

/// A worker in a test.
#[derive(Clone, Debug)]
pub(super) struct Volunteer {
    pub(super) key: WorkerKey,
    pub(super) account: AccountKey,
    pub(super) session: Option<Session>,
    pub(super) leases: BTreeMap<LeaseId, Lease>,
    pub(super) sequence: u64,
    pub(super) heard: Vec<String>,
    pub(super) shows: Vec<Show>,
    pub(super) segments: Vec<Segment>,
}

pub(super) struct Env {
    pub(super) core: Core,
    pub(super) store: Arc<MemoryStore>,
    pub(super) now: Now,
    pub(super) workers: Vec<Volunteer>,
    submissions: u8,
    losses: u64,
}

impl Env {
    pub(super) fn new() -> Self {
        let now = Now { monotonic_ms: 1_000, wall_ms: 1_700_000_000_000 };
        Self {
            core: Core::new(PROJECT, [5; 32]),
            store: Arc::default(),
            now,
            workers: Vec::new(),
            submissions: 0,
            losses: 0,
        }
    }

    /// Applies, saves, checks everything, then delivers what was said.
    pub(super) fn apply(&mut self, event: Event) -> Reply {
        let mut effects = Effects::default();
        let reply = self.core.apply(self.now, event, &mut effects);
        self.commit();
        for (session, message) in effects.messages {
            self.deliver(session, message);
        }
        reply
    }

    fn commit(&mut self) {
        self.core.check_invariants().unwrap();
        self.store.commit(self.core.take_changes(self.now)).unwrap();
    }

    /// Bytes of all records.
    pub(super) fn stored_bytes(&self) -> usize {
        let records = self.store.page(&[], None, usize::MAX).unwrap();
        records.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    fn deliver(&mut self, session: Session, message: ToWorker) {
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.session == Some(session))
        else {
            return;
        };
        match message {
            ToWorker::Lease(lease) => {
                assert!(worker.leases.insert(lease.lease, lease).is_none());
            }
            ToWorker::Cancel { leases, reason } => {
                worker.leases.retain(|id, _| !leases.contains(id));
                worker.heard.push(format!("cancel {}: {reason}", leases.len()));
            }
            ToWorker::Idle { reason, .. } => worker.heard.push(format!("idle: {reason}")),
            ToWorker::Job { job, .. } => worker.heard.push(format!("job {job}")),
            ToWorker::Show(show) => worker.shows.push(show),
            ToWorker::Segment(segment) => worker.segments.push(segment),
            ToWorker::Advice(text) => worker.heard.push(format!("advice: {text}")),
            ToWorker::Replaced => worker.session = None,
        }
    }

    /// Kills the coordinator and starts it again; workers find out and lose their streams.
    pub(super) fn crash(&mut self) {
        self.core = load(self.store.as_ref(), PROJECT, self.now, [6; 32]).unwrap();
        self.core.check_invariants().unwrap();
        for worker in &mut self.workers {
            worker.session = None;
        }
    }

    /// The coordinator's disk is lost; its workers have kept the log, the specifications and every batch.
    pub(super) fn lose(&mut self) {
        let found = self.found();
        self.losses += 1;
        let rebuilt = rebuild(PROJECT, &found, self.losses);
        assert_eq!(rebuilt.losses, [""; 0]);
        self.store = Arc::default();
        self.store.commit(rebuilt.records).unwrap();
        self.crash();
        self.commit();
    }

    /// What the workers have kept.
    pub(super) fn found(&self) -> Found {
        let store = self.store.as_ref();
        let mut found = Found::default();
        let values = |table: Table| store.page(&table.prefix(), None, usize::MAX).unwrap();
        found.entries = values(Table::Entry).into_iter().map(|(_, value)| value).collect();
        for (_, spec) in values(Table::Spec) {
            found.specs.insert(Digest::of(&spec), spec);
        }
        for (_, value) in values(Table::Batch) {
            let (signature, payload) = decode_batch(&value).unwrap();
            let batch = Batch::decode(payload).unwrap();
            let worker = self.workers.iter().find(|worker| worker.key == batch.worker).unwrap();
            let ticket = |report: &Report| Ticket {
                lease: report.lease,
                job: batch.jobs[usize::from(report.job)].id,
                first: report.unit,
                count: 1,
                stamp: [0; 32],
            };
            let kept = FoundBatch {
                account: worker.account,
                payload: payload.to_vec(),
                signature: *signature,
                tickets: batch.reports.iter().map(ticket).collect(),
                batch,
            };
            found.batches.insert((kept.batch.worker, kept.batch.sequence), kept);
        }
        found
    }

    /// A worker of `account`, connected.
    pub(super) fn worker(&mut self, account: u8) -> usize {
        let worker = self.stranger(account);
        self.connect(worker);
        worker
    }

    /// A worker of `account` that has never connected.
    pub(super) fn stranger(&mut self, account: u8) -> usize {
        let number = u8::try_from(self.workers.len()).unwrap();
        let (key, account) = (WorkerKey([number; 32]), AccountKey([account; 32]));
        let worker = Volunteer {
            key,
            account,
            session: None,
            leases: BTreeMap::new(),
            sequence: 0,
            heard: Vec::new(),
            shows: Vec::new(),
            segments: Vec::new(),
        };
        self.workers.push(worker);
        number.into()
    }

    pub(super) fn connect(&mut self, worker: usize) {
        self.connect_as(worker, proto::job::CONTRACT);
    }

    /// Connects a worker of a release whose newest kernel contract is this.
    pub(super) fn connect_as(&mut self, worker: usize, contract: u32) {
        self.try_connect(Hello { contract, ..self.hello(worker) }).unwrap();
    }

    /// What a worker says of itself.
    pub(super) fn hello(&self, worker: usize) -> Hello {
        let Volunteer { key, account, .. } = self.workers[worker];
        Hello {
            worker: key,
            account,
            cores: 1000,
            memory_bytes: 1 << 30,
            name: format!("w{worker}"),
            account_name: String::new(),
            contract: proto::job::CONTRACT,
            network: 0,
            invitation: None,
            work_bits: 0,
        }
    }

    /// Connects a worker that says this of itself, if it may.
    pub(super) fn try_connect(&mut self, hello: Hello) -> Result<(), Refused> {
        let key = hello.worker;
        match self.apply(Event::Connected(hello)) {
            Reply::Connected(Ok(welcome)) => {
                let worker = self.workers.iter_mut().find(|worker| worker.key == key).unwrap();
                worker.session = Some(welcome.session);
                Ok(())
            }
            Reply::Connected(Err(refused)) => Err(refused),
            other => panic!("{other:?}"),
        }
    }

    /// The worker may hold as much as one that has reported many units.
    pub(super) fn prove(&mut self, worker: usize) {
        let key = self.workers[worker].key;
        let known = self.core.workers.iter_mut().find(|worker| worker.record.key == key);
        known.unwrap().quota = WORKER_UNITS_MAX;
    }

    pub(super) fn submit(&mut self, spec: JobSpec) -> JobId {
        self.submissions += 1;
        self.submit_as("ada", spec, self.submissions)
    }

    pub(super) fn submit_as(&mut self, account: &str, spec: JobSpec, id: u8) -> JobId {
        spec.check().unwrap();
        let bytes = spec.encode().into();
        let submission = Submission {
            spec: Arc::new(spec),
            bytes,
            submission: [id; 16],
            account: account.into(),
        };
        match self.apply(Event::Submit(submission)) {
            Reply::Submitted(Ok(job)) => job,
            other => panic!("not taken: {other:?}"),
        }
    }

    pub(super) fn want(&mut self, worker: usize, units: u32) {
        let want =
            Want { units, seconds: 3600, fuel_per_second: 1_000_000_000, memory_bytes: 1 << 30 };
        self.want_as(worker, want);
    }

    pub(super) fn want_as(&mut self, worker: usize, want: Want) {
        if let Some(session) = self.workers[worker].session {
            self.apply(Event::Want(session, want));
        }
    }

    /// Leases `units` (at most) to a worker and gives the leases, as `j1 0..5`.
    pub(super) fn lease(&mut self, worker: usize, units: u32) -> Vec<String> {
        let before = self.workers[worker].leases.clone();
        self.want(worker, units);
        let new =
            self.workers[worker].leases.values().filter(|lease| !before.contains_key(&lease.lease));
        new.map(|lease| {
            format!("{} {}..{}", lease.job, lease.first.0, lease.first.0 + u64::from(lease.count))
        })
        .collect()
    }

    /// The worker's lease of a unit.
    pub(super) fn lease_of(&self, worker: usize, unit: u64) -> LeaseId {
        let has = |lease: &&Lease| {
            (lease.first.0..lease.first.0 + u64::from(lease.count)).contains(&unit)
        };
        self.workers[worker].leases.values().find(has).unwrap().lease
    }

    /// A batch of reports of a job: (lease, unit, outcome, fuel).
    pub(super) fn batch(
        &mut self,
        worker: usize,
        job: JobId,
        reports: &[(LeaseId, u64, (Outcome, u64))],
    ) -> SignedBatch {
        let volunteer = &mut self.workers[worker];
        volunteer.sequence += 1;
        let spec = read::spec(self.store.as_ref(), job)
            .unwrap()
            .map_or(Digest([0; 32]), |bytes| Digest::of(&bytes));
        let report = |(lease, unit, (outcome, fuel)): &(LeaseId, u64, (Outcome, u64))| Report {
            job: 0,
            lease: *lease,
            unit: UnitIndex(*unit),
            outcome: outcome.clone(),
            fuel: *fuel,
            trace_root: None,
        };
        let reports = reports.iter().map(report).collect();
        let batch = Batch::new(
            PROJECT,
            volunteer.key,
            volunteer.sequence,
            vec![JobRef { id: job, spec }],
            reports,
        );
        let payload = batch.encode().into();
        SignedBatch { root: batch.root(), batch, payload, signature: [0; 64] }
    }

    pub(super) fn send(&mut self, worker: usize, batch: SignedBatch) -> Acks {
        self.send_missing(worker, batch, Vec::new())
    }

    /// Sends a batch of which some outputs are not here.
    pub(super) fn send_missing(
        &mut self,
        worker: usize,
        batch: SignedBatch,
        missing: Vec<Missing>,
    ) -> Acks {
        let session = self.workers[worker].session.unwrap();
        let incoming = intake(&self.core, self.store.as_ref(), batch, missing).unwrap();
        match self.apply(Event::Reported(session, incoming)) {
            Reply::Acks(acks) => acks,
            other => panic!("no acks: {other:?}"),
        }
    }

    /// Reports one unit under the worker's lease of it.
    pub(super) fn report(
        &mut self,
        worker: usize,
        job: JobId,
        unit: u64,
        said: (Outcome, u64),
    ) -> Ack {
        let lease = self.lease_of(worker, unit);
        let batch = self.batch(worker, job, &[(lease, unit, said)]);
        self.send(worker, batch).acks[0]
    }

    pub(super) fn report_honestly(&mut self, worker: usize, job: JobId, unit: u64) -> Ack {
        self.report(worker, job, unit, honest(unit))
    }

    /// The worker reports all that it holds of a job, in one batch.
    pub(super) fn report_all(&mut self, worker: usize, job: JobId) -> Vec<Ack> {
        let leases = std::mem::take(&mut self.workers[worker].leases);
        let (its, others): (BTreeMap<_, _>, _) =
            leases.into_iter().partition(|(_, lease)| lease.job == job);
        self.workers[worker].leases = others;
        let units = |lease: &Lease| {
            (lease.first.0..)
                .take(lease.count as usize)
                .map(|unit| (lease.lease, unit, honest(unit)))
                .collect::<Vec<_>>()
        };
        let reports: Vec<_> = its.values().flat_map(units).collect();
        if reports.is_empty() {
            return Vec::new();
        }
        let batch = self.batch(worker, job, &reports);
        self.send(worker, batch).acks
    }

    pub(super) fn give_back(&mut self, worker: usize, unit: u64, failure: bool) {
        let (lease, session) = (self.lease_of(worker, unit), self.workers[worker].session.unwrap());
        let returned =
            Return { lease, unit: UnitIndex(unit), reason: "out of memory".into(), failure };
        self.apply(Event::Returned(session, vec![returned]));
        self.forget(worker, unit);
    }

    /// The worker gives back in one message, unharmed or not, all that it holds of a job; how many leases that were.
    pub(super) fn give_all_back(&mut self, worker: usize, job: JobId, failure: bool) -> usize {
        let volunteer = &mut self.workers[worker];
        let leases: Vec<_> = volunteer.leases.extract_if(.., |_, lease| lease.job == job).collect();
        let (n, session) = (leases.len(), volunteer.session.unwrap());
        let units = |lease: Lease| {
            (lease.first.0..).take(lease.count as usize).map(move |unit| Return {
                lease: lease.lease,
                unit: UnitIndex(unit),
                reason: "out of memory".into(),
                failure,
            })
        };
        let returns = leases.into_iter().flat_map(|(_, lease)| units(lease)).collect();
        if 0 < n {
            self.apply(Event::Returned(session, returns));
        }
        n
    }

    /// The worker forgets a unit, and a lease with its last one.
    pub(super) fn forget(&mut self, worker: usize, unit: u64) {
        let leases = &mut self.workers[worker].leases;
        leases.retain(|_, lease| !(lease.count == 1 && lease.first.0 == unit));
        // Only the ends of a lease can be cut off; the middle is reported again, and is a duplicate.
        for lease in leases.values_mut() {
            if lease.first.0 == unit {
                lease.first.0 += 1;
                lease.count -= 1;
            } else if lease.first.0 + u64::from(lease.count) == unit + 1 {
                lease.count -= 1;
            }
        }
    }

    pub(super) fn heartbeat(&mut self, worker: usize, leases: Vec<LeaseId>) {
        let session = self.workers[worker].session.unwrap();
        self.apply(Event::Heartbeat(session, Heartbeat { leases, paused: false }));
    }

    /// Time passes without anything happening, but for what the core wants to be woken for.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.monotonic_ms + ms;
        while let Some(at_ms) = self.core.next_deadline_ms(self.now).filter(|&at_ms| at_ms <= end) {
            self.now.wall_ms += at_ms - self.now.monotonic_ms;
            self.now.monotonic_ms = at_ms.max(self.now.monotonic_ms);
            self.apply(Event::Tick);
        }
        self.now = Now { monotonic_ms: end, wall_ms: self.now.wall_ms + ms };
        self.apply(Event::Tick);
    }

    /// A job's status, running or ended.
    pub(super) fn status(&self, job: JobId) -> JobStatus {
        self.core
            .job_status(job)
            .unwrap_or_else(|| read::ended_job(self.store.as_ref(), job).unwrap().unwrap())
    }

    pub(super) fn is_done(&self, job: JobId) -> bool {
        self.status(job).state == JobState::Done
    }

    /// What a job came to, by unit; each unit once.
    pub(super) fn results(&self, job: JobId) -> BTreeMap<u64, String> {
        let (mut results, mut cursor) = (BTreeMap::new(), Cursor::default());
        let (store, project) = (self.store.as_ref(), ProjectKey([0; 32]));
        let mut reader = Results::of(store, job, Some(project)).unwrap().unwrap();
        loop {
            let page = reader.page(store, cursor, None, 7).unwrap();
            if page.cursor == cursor {
                return results;
            }
            cursor = page.cursor;
            for result in page.results {
                let settled = matches!(result.told, Told::Settled(_));
                assert_eq!(result.receipt.is_some(), settled, "{}", result.unit);
                let text = match result.told {
                    Told::Settled(outcome) => format!("{outcome:?} for {}", result.fuel),
                    Told::GivenUp(reason) => reason,
                    Told::Withdrawn(_) => {
                        results.remove(&result.unit.0);
                        continue;
                    }
                };
                assert!(
                    results.insert(result.unit.0, text).is_none(),
                    "{} came twice",
                    result.unit
                );
            }
        }
    }

    pub(super) fn missing(position: u32) -> Missing {
        Missing { position, ack: Ack::OutputMissing }
    }

    pub(super) fn credit(&self, worker: usize) -> u128 {
        let status = self.core.workers(None, 1000);
        status.iter().find(|status| status.worker == self.workers[worker].key).unwrap().credit
    }
}

/// What a worker reports that has another opinion.
pub(super) fn wrong(unit: u64, taste: u8) -> (Outcome, u64) {
    (Outcome::Done(Output::Inline(vec![taste])), 100 + unit % 7)
}

/// A failure that every machine agrees on.
pub(super) fn fails() -> (Outcome, u64) {
    (Outcome::Failed(Failure::Division), 5)
}

/// More units than any one lease.
pub(super) const MANY: u64 = LEASE_UNITS_MAX as u64 * 2;
