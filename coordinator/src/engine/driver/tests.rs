//! Tests of the engine's thread: order, durability, full disk, failed commit, leases that bring something.

use super::*;
use crate::core::event::{Heartbeat, Hello, Lease, Want};
use crate::core::status::{Cursor, JobState};
use crate::core::time::Clock;
use crate::engine::{FromCore, MemoryBlobs, sink};
use crate::store::memory::MemoryStore;
use crate::store::{self, Changes, Key, Records, Store};
use proto::cut::Axis;
use proto::job::{JobSpec, Limits, Merge};
use proto::report::{Batch, JobRef, Outcome, Output, Report};
use proto::{AccountKey, Digest, JobId, LeaseId, ProjectKey, UnitIndex, WorkerKey};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Debug, Default)]
struct Disk {
    records: MemoryStore,
    free: AtomicU64,
    broken: AtomicBool,
}

impl Store for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, store::Error> {
        self.records.get(key)
    }
    fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Records, store::Error> {
        self.records.page(prefix, after, max)
    }
    fn last(&self, prefix: &[u8], at: &[u8]) -> Result<Option<(Key, Vec<u8>)>, store::Error> {
        self.records.last(prefix, at)
    }
    fn commit(&self, changes: Changes) -> Result<(), store::Error> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(store::Error { doing: "write", source: "the cable is out".into() });
        }
        self.records.commit(changes)
    }
    fn bytes(&self) -> Result<u64, store::Error> {
        self.records.bytes()
    }
    fn free_bytes(&self) -> Option<u64> {
        Some(self.free.load(Ordering::Relaxed))
    }
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Now {
        Now { monotonic_ms: 5, wall_ms: 1_700_000_000_000 }
    }
}

struct Grid {
    engine: Engine,
    handle: Handle,
    disk: Arc<Disk>,
    blobs: Arc<MemoryBlobs>,
}

const RESERVE: u64 = 1000;

fn start(disk: Arc<Disk>, blobs: Arc<MemoryBlobs>) -> Grid {
    let config = Config {
        project: ProjectKey([9; 32]),
        store: disk.clone(),
        blobs: blobs.clone(),
        clock: Arc::new(Still),
        reserve_bytes: RESERVE,
        check_floor: crate::core::trust::estimate::CHECK_FLOOR,
        admission: crate::core::admission::Admission::Open,
        referee: None,
        account_bytes: u64::MAX,
    };
    let (engine, handle) = Engine::start(config).unwrap();
    Grid { engine, handle, disk, blobs }
}

fn grid() -> Grid {
    let disk = Disk { free: AtomicU64::new(RESERVE), ..Disk::default() };
    start(Arc::new(disk), Arc::default())
}

fn spec(blobs: &MemoryBlobs, cut: Axis) -> JobSpec {
    JobSpec {
        version: proto::job::VERSION,
        name: "test".into(),
        kernel: blobs.put(b"kernel"),
        contract: proto::job::CONTRACT,
        nan: Default::default(),
        numbers: proto::job::Numbers::Binary,
        params: Default::default(),
        inputs: Vec::new(),
        cut: vec![cut],
        merge: None,
        limits: Limits {
            memory_bytes: 1 << 20,
            fuel: 1_000_000,
            output_bytes: 1024,
            log_bytes: 0,
            time_s: 60,
        },
        copies: 1,
        confidence: None,
        lease_s: 60,
        attempts_max: 2,
        priority: 0,
        exit_codes: proto::job::success(),
        seed: Digest([2; 32]),
        trace_fuel: proto::trace::SPACING,
    }
}

fn range(units: u64) -> Axis {
    Axis::Range { name: "n".into(), first: 0, end: units, per_unit: 1 }
}

struct Volunteer {
    handle: Handle,
    session: Session,
    heard: FromCore,
    sequence: u64,
}

const WANT: Want = Want { units: 100, seconds: 60, fuel_per_second: 1, memory_bytes: 1 << 30 };

fn hello() -> Hello {
    let (worker, account) = (WorkerKey([1; 32]), AccountKey([2; 32]));
    Hello {
        worker,
        account,
        cores: 100,
        memory_bytes: 1 << 30,
        name: "w".into(),
        account_name: "a".into(),
        contract: proto::job::CONTRACT,
        network: 0,
        invitation: None,
        work_bits: 0,
    }
}

impl Volunteer {
    async fn join(handle: &Handle) -> Self {
        let (sink, heard) = sink();
        let session = handle.connected(hello(), sink).await.unwrap().unwrap().session;
        Self { handle: handle.clone(), session, heard, sequence: 0 }
    }

    async fn lease(&mut self) -> Lease {
        self.handle.want(self.session, WANT).await.unwrap();
        loop {
            match self.heard.recv().await.unwrap() {
                ToWorker::Lease(lease) => return lease,
                ToWorker::Job { .. } => {}
                other => panic!("no lease: {other:?}"),
            }
        }
    }

    async fn report(&mut self, job: JobId, lease: &Lease) -> Vec<Ack> {
        self.sequence += 1;
        let report = |unit: u64| Report {
            job: 0,
            lease: lease.lease,
            unit: UnitIndex(unit),
            outcome: Outcome::Done(Output::Inline(vec![u8::try_from(unit).unwrap()])),
            fuel: 1,
            trace_root: None,
        };
        let reports = (lease.first.0..).take(lease.count as usize).map(report).collect();
        let spec = Digest::of(&self.handle.spec(job).unwrap().unwrap());
        let batch = Batch::new(
            ProjectKey([9; 32]),
            WorkerKey([1; 32]),
            self.sequence,
            vec![JobRef { id: job, spec }],
            reports,
        );
        let (payload, root) = (batch.encode().into(), batch.root());
        self.handle
            .reported(self.session, (batch, root), payload, [0; 64], vec![])
            .await
            .unwrap()
            .acks
    }
}

impl Grid {
    async fn submit(&self, spec: &JobSpec) -> JobId {
        self.handle.submit(spec.encode().into(), [1; 16], "ada".into()).await.unwrap().unwrap().id
    }
}

#[tokio::test]
async fn a_job_runs_and_is_there_after_a_restart() {
    let grid = grid();
    let job = grid.submit(&spec(&grid.blobs, range(5))).await;
    let mut worker = Volunteer::join(&grid.handle).await;
    let lease = worker.lease().await;
    assert_eq!(worker.report(job, &lease).await, [Ack::Accepted; 5]);
    let mut results = grid.handle.results(job, false).unwrap().unwrap();
    let (store, until) = (grid.handle.store(), grid.handle.committed(job).await.unwrap());
    let page = results.page(store.as_ref(), Cursor::default(), until, 100).unwrap();
    assert_eq!(page.results.len(), 5);
    // What is not committed is not read, though the store has it.
    let none = results.page(store.as_ref(), Cursor::default(), Some(0), 100).unwrap();
    assert_eq!((none.cursor, none.results.len()), (Cursor::default(), 0));
    let receipt = grid.handle.receipt(job, UnitIndex(3)).unwrap().unwrap();
    assert_eq!((receipt.result, receipt.copies.len()), (Ok(Digest::of(&[3])), 1));
    grid.handle.stop().await;
    grid.engine.join().unwrap();
    let again = start(grid.disk, grid.blobs);
    let status = again.handle.job(job).await.unwrap().unwrap();
    assert_eq!((status.state, status.settled, status.credit), (JobState::Done, 5, 5));
    assert_eq!(again.handle.jobs(JobId(0), 10).await.unwrap(), [status]);
    assert_eq!(again.handle.why(job, None).await.unwrap().unwrap(), ["every unit has its result"]);
}

#[tokio::test]
async fn leases_bring_lines_and_outputs_to_merge() {
    let grid = grid();
    let lines = b"{\"a\":1}\n{\"a\":2}\n";
    let digest = grid.blobs.put(lines);
    let cut = Axis::Lines { digest, len: lines.len() as u64, count: 2 };
    let spec = JobSpec { merge: Some(Merge { kernel: None, fan_in: 2 }), ..spec(&grid.blobs, cut) };
    let job = grid.submit(&spec).await;
    let mut worker = Volunteer::join(&grid.handle).await;
    let lease = worker.lease().await;
    let texts: Vec<_> = lease.extras.iter().map(|extra| extra.line.clone().unwrap()).collect();
    assert_eq!(texts, [r#"{"a":1}"#, r#"{"a":2}"#]);
    worker.report(job, &lease).await;
    let lease = worker.lease().await;
    assert_eq!(lease.extras[0].inputs, [Output::Inline(vec![0]), Output::Inline(vec![1])]);
    worker.report(job, &lease).await;
    assert_eq!(grid.handle.job(job).await.unwrap().unwrap().state, JobState::Done);
    let receipt = grid.handle.receipt(job, UnitIndex(2)).unwrap().unwrap();
    assert_eq!(receipt.merged, [Digest::of(&[0]), Digest::of(&[1])]);
}

#[tokio::test]
async fn a_job_whose_blobs_are_not_here_is_refused() {
    let grid = grid();
    let missing = JobSpec { kernel: Digest([7; 32]), ..spec(&grid.blobs, range(5)) };
    let refused = grid
        .handle
        .submit(missing.encode().into(), [1; 16], "ada".into())
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(refused, SubmitRefused::Missing { .. }), "{refused}");
    let cut = Axis::Lines { digest: grid.blobs.put(b"{}\n"), len: 3, count: 2 };
    let short = spec(&grid.blobs, cut);
    let refused = grid
        .handle
        .submit(short.encode().into(), [1; 16], "ada".into())
        .await
        .unwrap()
        .unwrap_err();
    assert!(refused.to_string().contains("line 2 of the job's lines"), "{refused}");
}

#[tokio::test]
async fn a_full_disk_takes_nothing_in_and_goes_on_by_itself() {
    let grid = grid();
    let job = grid.submit(&spec(&grid.blobs, range(5))).await;
    let mut worker = Volunteer::join(&grid.handle).await;
    let lease = worker.lease().await;
    grid.disk.free.store(RESERVE - 1, Ordering::Relaxed);
    assert_eq!(worker.report(job, &lease).await, [Ack::Busy; 5]);
    assert!(grid.handle.totals().await.unwrap().trouble.contains("disk is full"));
    let (sink, _heard) = sink();
    assert!(matches!(
        grid.handle.connected(hello(), sink).await.unwrap(),
        Err(Refused::DiskFull(_))
    ));
    grid.disk.free.store(RESERVE, Ordering::Relaxed);
    assert_eq!(worker.report(job, &lease).await, [Ack::Accepted; 5]);
    assert!(grid.handle.totals().await.unwrap().trouble.is_empty());
}

#[tokio::test]
async fn a_halted_engine_decides_nothing_and_can_be_read() {
    let grid = grid();
    let job = grid.submit(&spec(&grid.blobs, range(5))).await;
    let mut worker = Volunteer::join(&grid.handle).await;
    let lease = worker.lease().await;
    let before = grid.disk.records.page(&[], None, 999).unwrap();
    assert!(grid.handle.halt("entries are gone") && !grid.handle.halt("again"));
    assert_eq!(worker.report(job, &lease).await, [Ack::Busy; 5]);
    grid.handle.want(worker.session, WANT).await.unwrap();
    assert!(
        matches!(worker.heard.recv().await, Some(ToWorker::Idle { reason, .. }) if reason.contains("entries are gone"))
    );
    let (sink, _heard) = sink();
    let refused = grid.handle.connected(hello(), sink).await.unwrap();
    assert!(matches!(refused, Err(Refused::Halted(_))));
    let again = spec(&grid.blobs, range(7)).encode().into();
    let submitted = grid.handle.submit(again, [2; 16], "ada".into()).await;
    for error in [
        submitted.map(drop).unwrap_err(),
        grid.handle.cancel(job).await.map(drop).unwrap_err(),
        grid.handle.log_head().await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Halted(_)), "{error}");
    }
    let totals = grid.handle.totals().await.unwrap();
    assert!(totals.halted && totals.trouble.contains("--accept-loss"), "{}", totals.trouble);
    grid.handle.gone(worker.session).await.unwrap();
    grid.handle.stop().await;
    grid.engine.join().unwrap();
    assert_eq!(grid.disk.records.page(&[], None, 999).unwrap(), before);
}

#[tokio::test]
async fn a_failed_commit_stops_the_engine_and_acknowledges_nothing() {
    let grid = grid();
    grid.submit(&spec(&grid.blobs, range(5))).await;
    grid.disk.broken.store(true, Ordering::Relaxed);
    let (sink, _heard) = sink();
    assert!(grid.handle.connected(hello(), sink).await.is_err());
    let error = chain(&grid.engine.join().unwrap_err());
    assert_eq!(error, "the store cannot write: the cable is out");
    let error = grid.handle.totals().await.unwrap_err().to_string();
    assert_eq!(error, "the coordinator has stopped: the store cannot write: the cable is out");
}

#[tokio::test]
async fn a_worker_that_does_not_read_is_cut_off() {
    let grid = grid();
    let (sink, mut heard) = sink();
    let session = grid.handle.connected(hello(), sink).await.unwrap().unwrap().session;
    let in_vain = || Heartbeat { leases: (1..16_000).map(LeaseId).collect(), paused: false };
    for _ in 0..2_000 {
        grid.handle.heartbeat(session, in_vain()).await.unwrap();
    }
    grid.handle.totals().await.unwrap();
    let (mut leases, mut messages) = (0, 0);
    while let Some(message) = heard.recv().await {
        let ToWorker::Cancel { leases: over, .. } = message else { panic!("{message:?}") };
        (leases, messages) = (leases + over.len(), messages + 1);
    }
    // It ends, after no more than a sink holds.
    assert!(0 < messages && messages < 1_100 && leases * size_of::<LeaseId>() <= 4 << 20);
}
