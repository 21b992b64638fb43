//! How many units per second the engine settles, with sled on disk, durable before acknowledged: without network,
//! signatures and sandbox. `cargo bench -p coordinator --bench engine -- [UNITS] [COPIES] [BATCH] [CLIENTS] [FOLDER] [no-tally]`
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement, run by hand")]

use coordinator::core::event::{Hello, ToWorker, Want};
use coordinator::core::status::JobState;
use coordinator::core::time::{Clock, Now};
use coordinator::engine::{Config, Engine, Handle, MemoryBlobs};
use coordinator::store::{Store, sled::SledStore};
use coordinator::tally::{Guarded, Tally, TallyFile};
use proto::cut::Axis;
use proto::job::{JobSpec, Limits};
use proto::report::{Ack, Batch, JobRef, Outcome, Output, Report};
use proto::{AccountKey, Digest, JobId, ProjectKey, UnitIndex, WorkerKey};
use std::sync::Arc;
use std::time::Instant;

const PROJECT: ProjectKey = ProjectKey([9; 32]);

struct Monotonic(Instant);

impl Clock for Monotonic {
    fn now(&self) -> Now {
        let ms = u64::try_from(self.0.elapsed().as_millis()).unwrap();
        Now { monotonic_ms: ms, wall_ms: 1_700_000_000_000 + ms }
    }
}

fn main() {
    // Cargo adds a flag of its own.
    let given: Vec<String> = std::env::args().filter(|text| text != "--bench").collect();
    let argument =
        |index: usize, default: u64| given.get(index).map_or(default, |text| text.parse().unwrap());
    let (units, copies, batch, clients) =
        (argument(1, 1_000_000), argument(2, 1), argument(3, 1024), argument(4, 16));
    let folder = given.get(5).map_or(".", String::as_str);
    let folder = std::path::Path::new(&folder).join(format!("engine-bench-{}", std::process::id()));
    let blobs = MemoryBlobs::default();
    let spec = spec(blobs.put(b"kernel"), units, u32::try_from(copies).unwrap());
    let with_tally = given.get(6).is_none();
    let tally_file = folder.with_extension("tally");
    let sled: Arc<dyn Store> = Arc::new(SledStore::open(&folder).unwrap());
    let store: Arc<dyn Store> = if with_tally {
        let tally = Tally::of_nothing(PROJECT, Digest([0; 32]));
        let file = TallyFile::create(&tally_file, &tally).unwrap();
        Arc::new(Guarded::new(sled, tally, file))
    } else {
        sled
    };
    let config = Config {
        project: PROJECT,
        store,
        blobs: Arc::new(blobs),
        clock: Arc::new(Monotonic(Instant::now())),
        reserve_bytes: 0,
        check_floor: coordinator::core::trust::estimate::CHECK_FLOOR,
        admission: coordinator::core::admission::Admission::Open,
        referee: None,
        account_bytes: u64::MAX,
    };
    let (engine, handle) = Engine::start(config).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let seconds = runtime.block_on(run(&handle, &spec, batch, clients));
    let cpu = cpu_seconds();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let per = |seconds: f64| units as f64 / seconds;
    println!(
        "{units} units, {copies} copies, batches of {batch}, {clients} clients: {seconds:.2} s, {:.0} units/s; engine thread \
         {:.2} CPU s ({:.0} units per CPU s), store threads {:.2} s, all {:.2} s; store {} MB, memory {} MB",
        per(seconds),
        cpu.engine,
        per(cpu.engine),
        cpu.store,
        cpu.all,
        runtime.block_on(handle.totals()).unwrap().store_bytes >> 20,
        memory_mb(),
    );
    runtime.block_on(handle.stop());
    engine.join().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    if with_tally {
        std::fs::remove_file(tally_file).unwrap();
    }
}

fn spec(kernel: Digest, units: u64, copies: u32) -> JobSpec {
    JobSpec {
        version: proto::job::VERSION,
        name: "bench".into(),
        kernel,
        contract: proto::job::CONTRACT,
        nan: proto::job::Nan::Canonical,
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
        lease_s: 3600,
        attempts_max: 5,
        priority: 0,
        exit_codes: proto::job::success(),
        seed: Digest([2; 32]),
        trace_fuel: proto::trace::SPACING,
    }
}

async fn run(handle: &Handle, spec: &JobSpec, batch: u64, clients: u64) -> f64 {
    let bytes: Arc<[u8]> = spec.encode().into();
    let job = handle.submit(bytes.clone(), [1; 16], "bench".into()).await.unwrap().unwrap().id;
    let start = Instant::now();
    let mut set = tokio::task::JoinSet::new();
    for client in 0..clients {
        set.spawn(volunteer(
            handle.clone(),
            job,
            Digest::of(&bytes),
            u32::try_from(batch).unwrap(),
            client,
        ));
    }
    while handle.job(job).await.unwrap().unwrap().state == JobState::Running {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    start.elapsed().as_secs_f64()
}

/// Asks for a batch of units, reports them, and so on.
async fn volunteer(handle: Handle, job: JobId, spec: Digest, units: u32, client: u64) {
    let key = WorkerKey(Digest::of(&client.to_le_bytes()).0);
    let account = AccountKey(key.0);
    let (sink, mut heard) = coordinator::engine::sink();
    let (name, account_name) = (format!("w{client}"), String::new());
    let hello = Hello {
        worker: key,
        account,
        cores: 1024,
        memory_bytes: 1 << 30,
        name,
        account_name,
        contract: proto::job::CONTRACT,
        network: 0,
        invitation: None,
        work_bits: 0,
    };
    let session = handle.connected(hello, sink).await.unwrap().unwrap().session;
    let want = Want { units, seconds: 86_400, fuel_per_second: 1 << 40, memory_bytes: 1 << 30 };
    handle.want(session, want.clone()).await.unwrap();
    let mut sequence = 0;
    while let Some(message) = heard.recv().await {
        let lease = match message {
            ToWorker::Lease(lease) => lease,
            // It held as many as it could when it asked; by now they are reported.
            ToWorker::Idle { .. } => {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                handle.want(session, want.clone()).await.unwrap();
                continue;
            }
            _ => continue,
        };
        // The next units are asked for before these are reported, as a worker with a buffer does.
        handle.want(session, want.clone()).await.unwrap();
        sequence += 1;
        let report = |unit: u64| Report {
            job: 0,
            lease: lease.lease,
            unit: UnitIndex(unit),
            outcome: Outcome::Done(Output::Inline(unit.to_le_bytes().to_vec())),
            fuel: 1000 + unit % 10,
            trace_root: None,
        };
        let reports = (lease.first.0..).take(lease.count as usize).map(report).collect();
        let batch = Batch::new(PROJECT, key, sequence, vec![JobRef { id: job, spec }], reports);
        let (payload, root) = (batch.encode().into(), batch.root());
        let acks = handle.reported(session, (batch, root), payload, [0; 64], vec![]).await.unwrap();
        assert!(
            acks.acks.iter().all(|ack| matches!(ack, Ack::Accepted | Ack::Late | Ack::NoJob)),
            "{:?}",
            acks.acks
        );
    }
}

struct Cpu {
    engine: f64,
    store: f64,
    all: f64,
}

/// CPU time of the process's threads so far, seconds.
fn cpu_seconds() -> Cpu {
    let mut cpu = Cpu { engine: 0.0, store: 0.0, all: 0.0 };
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let Ok(stat) = std::fs::read_to_string(thread.unwrap().path().join("stat")) else {
            continue;
        };
        let (name, rest) =
            stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).unwrap();
        let fields: Vec<f64> =
            rest.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
        let seconds = (fields[11] + fields[12]) / 100.0;
        cpu.all += seconds;
        match name {
            "engine" => cpu.engine += seconds,
            name if name.starts_with("sled") => cpu.store += seconds,
            _ => {}
        }
    }
    cpu
}

/// Memory of the process, megabytes.
fn memory_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}
