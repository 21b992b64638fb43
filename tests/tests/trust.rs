//! Workers that lie, each in a way of its own, among honest ones: each is caught, what proves it holds for a stranger, and
//! every result is right. The liars are the real program with its test-only fault hook.

use anyhow::{Context, Result, ensure};
use proto::cut::Axis;
use proto::evidence::Evidence;
use proto::job::JobSpec;
use proto::{JobId, pb};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::time::{Duration, SystemTime};
use tests::grid::{Coordinator, Profile, Worker, until, until_within};

/// Fuel between two points: each step of the kernel is a segment.
const SPACING: u64 = 1 << 16;
const STEPS: u64 = 12;
/// Rounds of one step: some hundredths of a second.
const ROUNDS: u64 = 8_000_000;
const UNITS: u64 = 24;
/// Jobs until every liar must have been caught.
const JOBS_MAX: u64 = 12;
/// One job, on a busy machine.
const ONE_JOB: Duration = Duration::from_secs(240);

/// A chain of numbers that starts with the unit's parameters; its memory changes with each round.
fn kernel() -> Result<Vec<u8>> {
    Ok(wat::parse_str(format!(
        r#"(module
        (import "starling" "params_len" (func $params_len (result i32)))
        (import "starling" "params_read" (func $params_read (param i32 i32 i32) (result i32)))
        (import "starling" "output_write" (func $output_write (param i32 i32)))
        (memory (export "memory") 4)
        (global $x (mut i64) (i64.const 0xcbf29ce484222325))
        (global $step (mut i64) (i64.const 0))
        (func (export "starling_abi_1"))
        (func (export "starling_start") (local $at i32) (local $len i32)
          (local.set $len (call $params_read (i32.const 0) (i32.const 1024) (call $params_len)))
          (loop $next
            (global.set $x (i64.mul
              (i64.xor (global.get $x) (i64.load8_u (i32.add (i32.const 1024) (local.get $at))))
              (i64.const 0x100000001b3)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $at) (local.get $len)))))
        (func (export "starling_step") (result i32) (local $round i64) (local $y i64)
          (local.set $y (global.get $x))
          (loop $next
            (local.set $y (i64.add (i64.mul (local.get $y) (i64.const 6364136223846793005))
              (i64.const 1442695040888963407)))
            (local.set $round (i64.add (local.get $round) (i64.const 1)))
            (br_if $next (i64.lt_u (local.get $round) (i64.const {ROUNDS}))))
          (global.set $x (local.get $y))
          (global.set $step (i64.add (global.get $step) (i64.const 1)))
          (i64.store (i32.add (i32.const 4096)
            (i32.shl (i32.wrap_i64 (global.get $step)) (i32.const 12))) (local.get $y))
          (if (i64.lt_u (global.get $step) (i64.const {STEPS})) (then (return (i32.const 1))))
          (i64.store (i32.const 0) (local.get $y))
          (call $output_write (i32.const 0) (i32.const 8))
          (i32.const 0)))"#
    ))?)
}

/// What a unit comes to, computed here: the same chain, its steps jumped over by squaring.
fn expected(params: &str) -> [u8; 8] {
    let mut x = 0xcbf2_9ce4_8422_2325_u64;
    for byte in params.bytes() {
        x = (x ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    let (mut by, mut plus) = (6_364_136_223_846_793_005_u64, 1_442_695_040_888_963_407_u64);
    let (mut factor, mut offset) = (1_u64, 0_u64);
    let mut rounds = ROUNDS * STEPS;
    while 0 < rounds {
        if rounds & 1 == 1 {
            factor = factor.wrapping_mul(by);
            offset = offset.wrapping_mul(by).wrapping_add(plus);
        }
        plus = plus.wrapping_mul(by.wrapping_add(1));
        by = by.wrapping_mul(by);
        rounds >>= 1;
    }
    x.wrapping_mul(factor).wrapping_add(offset).to_le_bytes()
}

async fn spec(coordinator: &Coordinator, first: u64) -> Result<JobSpec> {
    let axis = Axis::Range { name: "n".into(), first, end: first + UNITS, per_unit: 1 };
    let mut spec = coordinator.trivial_spec(axis, 1).await?;
    spec.kernel = coordinator.put(&kernel()?).await?;
    (spec.confidence, spec.trace_fuel) = (Some(0.1), SPACING);
    Ok(spec)
}

fn check_results(spec: &JobSpec, results: &[pb::UnitResult]) -> Result<()> {
    let mut standing: BTreeMap<u64, &pb::unit_result::Outcome> = BTreeMap::new();
    for result in results {
        match result.outcome.as_ref().context("an outcome")? {
            pb::unit_result::Outcome::Withdrawn(_) => drop(standing.remove(&result.unit)),
            outcome => drop(standing.insert(result.unit, outcome)),
        }
    }
    ensure!(standing.len() as u64 == UNITS, "{} units have a verdict", standing.len());
    for (unit, outcome) in standing {
        let pb::unit_result::Outcome::Output(output) = outcome else {
            anyhow::bail!("u{unit}: {outcome:?}")
        };
        let unit_spec = spec.unit(proto::UnitIndex(unit), &Default::default())?;
        let right = pb::output::Kind::Inline(expected(&unit_spec.params).to_vec().into());
        ensure!(output.kind == Some(right), "u{unit} is wrong: {output:?}");
    }
    Ok(())
}

async fn workers(coordinator: &Coordinator) -> Result<BTreeMap<String, pb::WorkerStatus>> {
    let mut admin = pb::admin_client::AdminClient::new(coordinator.channel().await?);
    let request = pb::WorkersRequest { after_worker_key: Default::default(), count_max: 100 };
    let workers = admin.workers(coordinator.with_token(request)).await?.into_inner().workers;
    Ok(workers.into_iter().map(|worker| (worker.name.clone(), worker)).collect())
}

/// One that checks every report in part.
async fn strict() -> Result<Coordinator> {
    let mut coordinator = Coordinator::start(Profile::Same).await?;
    coordinator.arguments = vec!["--check-floor".into(), "1".into()];
    coordinator.kill()?;
    coordinator.restart().await?;
    Ok(coordinator)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lies_is_caught_and_the_results_are_right() -> Result<()> {
    let coordinator = strict().await?;
    let start = |name: &str, fault: Option<&str>| {
        let mut worker = Worker::join(Profile::Same, &coordinator.join, name)?;
        worker.arguments.extend(["--buffer", "1s"].map(str::to_owned));
        let mut command = worker.command();
        if let Some(fault) = fault {
            command.env("STARLING_FAULT", fault);
        }
        worker.restart_as(&mut command)?;
        anyhow::Ok(worker)
    };
    let honest: Vec<Worker> = ["ada", "bob", "cleo", "judge"]
        .into_iter()
        .map(|name| start(name, None))
        .collect::<Result<_>>()?;
    let kinds = ["output", "fuel", "segment", "shown"];
    let liars: Vec<Worker> =
        kinds.into_iter().map(|kind| start(kind, Some(kind))).collect::<Result<_>>()?;
    let judge = until_within(ONE_JOB, "all workers", async || {
        let all = workers(&coordinator).await?;
        Ok((all.len() == honest.len() + liars.len()).then(|| all["judge"].worker_key.clone()))
    })
    .await?;
    let mut admin = pb::admin_client::AdminClient::new(coordinator.channel().await?);
    let appoint = pb::AppointRequest { worker_key: judge, appointed: true };
    admin.appoint(coordinator.with_token(appoint)).await?;

    let (mut jobs, mut caught) = (Vec::new(), BTreeMap::new());
    for round in 0..JOBS_MAX {
        let spec = spec(&coordinator, round * 1_000).await?;
        let job = coordinator.submit(&spec).await?.job_id;
        let status = until_within(ONE_JOB, "the job's end", async || {
            let status = coordinator.job(job).await?;
            let done = status.state() == pb::job_status::State::Done;
            ensure!(done, "{:?}", coordinator.why(job, None).await?);
            Ok(Some(status))
        })
        .await?;
        jobs.push((spec, job, status));
        caught =
            workers(&coordinator).await?.into_iter().map(|(name, w)| (name, w.caught)).collect();
        if kinds.iter().all(|kind| 0 < caught[*kind]) {
            break;
        }
    }
    for kind in kinds {
        ensure!(0 < caught[kind], "{kind} got through: {caught:?}");
    }
    for name in ["ada", "bob", "cleo", "judge"] {
        ensure!(caught[name] == 0, "{name} is honest: {caught:?}");
    }
    let (mut segments, mut proofs) = (0, 0);
    for (spec, job, status) in &jobs {
        check_results(spec, &coordinator.results(JobId(*job)).await?)?;
        segments += status.segments;
        for number in 0..status.evidence {
            let request = pb::EvidenceRequest { job_id: *job, number };
            let reply = coordinator.jobs().await?.evidence(coordinator.with_token(request)).await?;
            let bytes = reply.into_inner().evidence;
            let (evidence, segment) =
                Evidence::verify(&bytes, &coordinator.join.project, spec.trace_fuel)?;
            ensure!(segment.claimed != evidence.truth);
            proofs += 1;
        }
    }
    ensure!(0 < segments && 0 < proofs, "{segments} segments were run again, {proofs} proofs kept");
    // The owner of a machine whose fault may be its memory is told so.
    let said = liars[0].said();
    ensure!(said.contains("proved wrong"), "the owner is told:\n{said}");
    coordinator.stop_and_check().await
}

/// What a worker has on disk for errands, and since when: names come again.
fn errands(worker: &Worker) -> Result<BTreeSet<(OsString, SystemTime)>> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(worker.data.join("errands"))? {
        let entry = entry?;
        // It may go between two looks.
        if let Ok(about) = entry.metadata() {
            files.insert((entry.file_name(), about.modified()?));
        }
    }
    Ok(files)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_on_an_errand_leaves_nothing_behind_and_the_job_ends() -> Result<()> {
    let coordinator = strict().await?;
    let mut workers: Vec<Worker> = ["ada", "bob", "cleo"]
        .into_iter()
        .map(|name| Worker::start(Profile::Same, &coordinator.join, name))
        .collect::<Result<_>>()?;
    let spec = spec(&coordinator, 0).await?;
    let job = coordinator.submit(&spec).await?.job_id;
    let (mut n_killed, mut remained) = (0, Vec::new());
    until_within(ONE_JOB, "the job's end", async || {
        for worker in &mut workers {
            if 3 <= n_killed || errands(worker)?.is_empty() {
                continue;
            }
            worker.kill()?;
            let left = errands(worker)?;
            worker.restart()?;
            until("a worker that is back", async || Ok(worker.told("status").ok())).await?;
            remained.extend(errands(worker)?.intersection(&left).cloned());
            n_killed += usize::from(!left.is_empty());
        }
        let status = coordinator.job(job).await?;
        Ok((status.state() == pb::job_status::State::Done).then_some(()))
    })
    .await?;
    ensure!(0 < n_killed, "no worker was on an errand when it was looked at");
    ensure!(remained.is_empty(), "{remained:?} was left behind");
    check_results(&spec, &coordinator.results(JobId(job)).await?)?;
    coordinator.stop_and_check().await
}
