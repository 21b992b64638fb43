//! Kernels that mean harm, submitted by a real researcher and lent to a real worker: each gets one clear answer, and the
//! worker and its other units go on.

use anyhow::{Result, bail, ensure};
use proto::cut::Axis;
use proto::job::JobSpec;
use proto::{JobId, pb};
use std::time::Duration;
use tests::grid::{Coordinator, Profile, Worker, until, until_within};

/// All hostile units and the good ones beside them, on a busy machine.
const ALL: Duration = Duration::from_secs(300);

/// A step kernel whose step is `step`, with `pages` of memory at the start and functions `more`.
fn kernel(pages: u32, more: &str, step: &str) -> Result<Vec<u8>> {
    Ok(wat::parse_str(format!(
        r#"(module
        (import "starling" "output_write" (func $output_write (param i32 i32)))
        (import "starling" "log" (func $log (param i32 i32 i32)))
        (memory (export "memory") {pages})
        (func (export "starling_abi_1")) (func (export "starling_start")) {more}
        (func (export "starling_step") (result i32) {step}))"#
    ))?)
}

/// Small and in the form of a kernel, but a compiler would be busy with it for most of a minute.
fn compile_bomb() -> Result<Vec<u8>> {
    let locals = "i64 ".repeat(1_000);
    let (open, close) = ("(loop ".repeat(150), ")".repeat(150));
    kernel(1, &format!("(func (local {locals}) {open} {close})"), "(i32.const 0)")
}

async fn spec(coordinator: &Coordinator, wasm: &[u8]) -> Result<JobSpec> {
    let axis = Axis::Range { name: "p".into(), first: 0, end: 1, per_unit: 1 };
    let mut spec = coordinator.trivial_spec(axis, 1).await?;
    spec.kernel = coordinator.put(wasm).await?;
    spec.limits.fuel = 2_000_000_000;
    spec.attempts_max = 2;
    Ok(spec)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_kernel_is_refused_at_submission() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let imports = wat::parse_str(
        r#"(module (import "env" "system" (func (param i32))) (memory (export "memory") 1)
        (func (export "starling_abi_1")) (func (export "starling_start"))
        (func (export "starling_step") (result i32) (i32.const 0)))"#,
    )?;
    let good = kernel(1, "", "(i32.const 0)")?;
    for (wasm, reason) in [
        (b"no module at all".to_vec(), "kernel"),
        (good[..good.len() / 2].to_vec(), "kernel"),
        (imports, "env"),
        (compile_bomb()?, "loops"),
        (kernel(2_000, "", "(i32.const 0)")?, "limits.memory_bytes"),
    ] {
        let spec = spec(&coordinator, &wasm).await?;
        match coordinator.submit(&spec).await {
            Ok(status) => bail!("taken, though it should be refused for {reason}: {status:?}"),
            Err(error) => {
                let error = format!("{error:#}");
                ensure!(error.contains(reason), "it should say {reason}: {error}");
            }
        }
    }
    ensure!(coordinator.submit(&spec(&coordinator, &good).await?).await?.units == 1);
    coordinator.stop_and_check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_unit_ends_alone_and_says_why() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let recursing = "(func $down (param i64) (result i64) \
        (i64.add (call $down (i64.add (local.get 0) (i64.const 1))) (local.get 0)))";
    let endless = kernel(1, "", "(loop $again (br $again)) (i32.const 0)")?;
    let eating = "(loop $again (br_if $again (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0)))) \
        (i32.store (i32.const 0x7fffffff) (i32.const 1)) (i32.const 0)";
    let hostile = [
        ("loops for ever", endless.clone(), "fuel"),
        ("loops for longer than it may", endless, "time"),
        ("eats memory", kernel(1, "", eating)?, "out of bounds"),
        (
            "recurses without end",
            kernel(1, recursing, "(i32.wrap_i64 (call $down (i64.const 1)))")?,
            "stack",
        ),
        (
            "writes without end",
            kernel(1, "", "(call $output_write (i32.const 0) (i32.const 60000)) (i32.const 1)")?,
            "output",
        ),
        (
            "talks without end",
            kernel(1, "", "(call $log (i32.const 1) (i32.const 0) (i32.const 999)) (i32.const 1)")?,
            "fuel",
        ),
    ];
    let mut jobs = Vec::new();
    for (what, wasm, reason) in hostile {
        let mut spec = spec(&coordinator, &wasm).await?;
        spec.name = what.into();
        if reason == "time" {
            (spec.limits.fuel, spec.limits.time_s) = (1 << 60, 1);
        }
        jobs.push((what, reason, coordinator.submit(&spec).await?.job_id));
    }
    let range = Axis::Range { name: "p".into(), first: 1_000, end: 1_200, per_unit: 10 };
    let good = coordinator.submit(&coordinator.trivial_spec(range, 1).await?).await?.job_id;
    let mut worker = Worker::start(Profile::Same, &coordinator.join, "ada")?;
    for (what, reason, job) in jobs {
        let status = until_within(ALL, what, async || {
            let status = coordinator.job(job).await?;
            let why = coordinator.why(job, None).await?;
            ensure!(status.state() == pb::job_status::State::Done, "{why:?}\n{}", worker.said());
            Ok(Some(status))
        })
        .await?;
        ensure!(status.failed == 1, "{what}: {status:?}");
        let results = coordinator.results(JobId(job)).await?;
        let [pb::UnitResult { outcome: Some(pb::unit_result::Outcome::Failure(said)), .. }] =
            &results[..]
        else {
            bail!("{what}: {results:?}")
        };
        ensure!(said.contains(reason), "{what}: it should say {reason}: {said}");
        let why = coordinator.why(job, Some(0)).await?.concat();
        ensure!(why.contains(reason), "{what}: why should say {reason}: {why}");
    }
    let status = until("the good job's end", async || {
        let status = coordinator.job(good).await?;
        Ok((status.state() == pb::job_status::State::Done).then_some(status))
    })
    .await?;
    ensure!(status.failed == 0 && status.settled == 20, "{status:?}");
    ensure!(worker.program().runs()?, "the worker goes on");
    coordinator.stop_and_check().await
}
