//! Real programs, killed, cut off, starved of disk and sent through time. Whatever happens, the results are those of a
//! kernel run in peace, credit is conserved, and what the coordinator stored is whole.

use anyhow::{Result, bail, ensure};
use mersenne::Mersenne;
use proto::cut::Axis;
use proto::job::{Extra, JobSpec};
use proto::join::Join;
use proto::report::Output;
use proto::{JobId, UnitIndex, pb};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::grid::{Coordinator, Profile, Worker, until, until_within};
use tests::wire::{Condition, Wire};

/// How long a disturbed job may take in all: several times what it takes in peace on a busy machine.
const DISTURBED: Duration = Duration::from_secs(300);

/// A search for Mersenne primes.
async fn search(
    coordinator: &Coordinator,
    first: u64,
    end: u64,
    per_unit: u64,
    copies: u32,
) -> Result<JobSpec> {
    let mut spec = coordinator
        .trivial_spec(Axis::Range { name: "p".into(), first, end, per_unit }, copies)
        .await?;
    spec.name = format!("Mersenne primes from {first} to {end}");
    spec.lease_s = 20;
    spec.attempts_max = 100;
    Ok(spec)
}

/// What every unit puts out when its kernel runs in peace, without sandbox or grid.
fn expected(spec: &JobSpec) -> BTreeMap<u64, Vec<u8>> {
    let run = |unit| {
        let params =
            spec.unit(UnitIndex(unit), &Extra::default()).expect("a unit of the job").params;
        starling_sdk::native::run::<Mersenne>(&params, &[]).expect("the kernel is sound").output
    };
    (0..spec.units()).map(|unit| (unit, run(unit))).collect()
}

async fn content(coordinator: &Coordinator, output: &pb::Output) -> Result<Vec<u8>> {
    match Output::try_from(output)? {
        Output::Inline(content) => Ok(content),
        Output::Blob { digest, .. } => {
            let mut blobs = pb::blobs_client::BlobsClient::new(coordinator.channel().await?);
            let request = pb::GetRequest { digest: digest.0.to_vec().into(), ..Default::default() };
            let mut chunks = blobs.get(coordinator.with_token(request)).await?.into_inner();
            let mut content = Vec::new();
            while let Some(chunk) = chunks.message().await? {
                content.extend_from_slice(&chunk.data);
            }
            Ok(content)
        }
    }
}

/// Waits for the job's end and holds its results, credit and stored state against what they must be.
async fn settled_as_in_peace(coordinator: Coordinator, job_id: u64, spec: &JobSpec) -> Result<()> {
    let status = until_within(DISTURBED, "the job's end", async || {
        let status = coordinator.job(job_id).await?;
        Ok((status.state() == pb::job_status::State::Done).then_some(status))
    })
    .await?;
    ensure!(status.failed == 0 && status.settled == spec.units(), "{status:?}");
    let expected = expected(spec);
    let (mut fuel, mut seen) = (0, 0);
    for result in coordinator.results(JobId(job_id)).await? {
        let Some(pb::unit_result::Outcome::Output(output)) = &result.outcome else {
            bail!("{result:?}")
        };
        ensure!(
            content(&coordinator, output).await? == expected[&result.unit],
            "unit {} came out differently",
            result.unit
        );
        fuel += result.fuel;
        seen += 1;
    }
    ensure!(seen == spec.units(), "{seen} results");
    ensure!(status.fuel == fuel, "fuel {} is not that of the results, {fuel}", status.fuel);
    let agreeing = u64::from(spec.copies) * fuel;
    ensure!(agreeing <= status.credit, "credit {} is less than {agreeing}", status.credit);
    coordinator.stop_and_check().await
}

/// Workers of different accounts.
fn workers(coordinator: &Coordinator, count: usize) -> Result<Vec<Worker>> {
    (0..count)
        .map(|number| Worker::start(Profile::Same, &coordinator.join, &format!("w{number}")))
        .collect()
}

/// A seed that is printed, so that a failure can be repeated as far as processes allow.
fn randomness() -> SmallRng {
    let seed = std::env::var("STARLING_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}: set STARLING_TEST_SEED to use it again");
    SmallRng::seed_from_u64(seed)
}

async fn pause(random: &mut SmallRng, from_ms: u64, to_ms: u64) {
    tokio::time::sleep(Duration::from_millis(random.random_range(from_ms..to_ms))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_at_any_moment_loses_nothing() -> Result<()> {
    let (mut coordinator, mut random) = (Coordinator::start(Profile::Same).await?, randomness());
    let spec = search(&coordinator, 1_000, 4_000, 25, 2).await?;
    let job = coordinator.submit(&spec).await?;
    let _workers = workers(&coordinator, 3)?;
    for _ in 0..8 {
        pause(&mut random, 100, 1_500).await;
        coordinator.kill()?;
        coordinator.restart().await?;
    }
    settled_as_in_peace(coordinator, job.job_id, &spec).await
}

/// Whole snapshots of a worker; one that is being written has a name that begins with a dot.
fn snapshots(worker: &Worker) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(worker.data.join("snapshots"))? {
        count += usize::from(!entry?.file_name().to_string_lossy().starts_with('.'));
    }
    Ok(count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_at_any_moment_goes_on_from_its_snapshot() -> Result<()> {
    let (coordinator, mut random) = (Coordinator::start(Profile::Same).await?, randomness());
    // Two units of several seconds, so that there is something to resume, each with a prime's test in one of them.
    let spec = search(&coordinator, 44_496, 44_504, 4, 1).await?;
    let job = coordinator.submit(&spec).await?;
    let mut worker = Worker::start(Profile::Same, &coordinator.join, "ada")?;
    let mut resumed = 0;
    for _ in 0..3 {
        let running = until("a snapshot, or the job's end", async || {
            let ended = coordinator.job(job.job_id).await?.state() == pb::job_status::State::Done;
            Ok((ended || snapshots(&worker)? > 0).then_some(!ended))
        })
        .await?;
        if !running {
            break;
        }
        pause(&mut random, 0, 500).await;
        worker.kill()?;
        let left = snapshots(&worker)?;
        worker.restart()?;
        if left > 0 {
            until("a unit that goes on from its snapshot", async || {
                Ok((resumed < worker.said().matches("resumed").count()).then_some(()))
            })
            .await?;
            resumed = worker.said().matches("resumed").count();
        }
    }
    ensure!(resumed > 0, "nothing was resumed:\n{}", worker.said());
    settled_as_in_peace(coordinator, job.job_id, &spec).await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_killed_together_lose_nothing() -> Result<()> {
    let (mut coordinator, mut random) = (Coordinator::start(Profile::Same).await?, randomness());
    let spec = search(&coordinator, 2_000, 4_000, 50, 2).await?;
    let job = coordinator.submit(&spec).await?;
    let mut workers = workers(&coordinator, 2)?;
    for _ in 0..4 {
        pause(&mut random, 500, 2_500).await;
        coordinator.kill()?;
        for worker in &mut workers {
            worker.kill()?;
        }
        for worker in &mut workers {
            worker.restart()?;
        }
        coordinator.restart().await?;
    }
    settled_as_in_peace(coordinator, job.job_id, &spec).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_for_longer_than_a_lease_or_stalled_is_mended() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let wire = Wire::to(coordinator.address).await?;
    let mut spec = search(&coordinator, 9_000, 10_000, 50, 2).await?;
    spec.lease_s = 3;
    let job = coordinator.submit(&spec).await?;
    let through = Join { address: wire.address.to_string(), ..coordinator.join.clone() };
    let _cut_off = Worker::start(Profile::Same, &through, "cut-off")?;
    let _steady = Worker::start(Profile::Same, &coordinator.join, "steady")?;
    until("the first report", async || {
        Ok((coordinator.job(job.job_id).await?.copies > 0).then_some(()))
    })
    .await?;
    wire.set(Condition::Cut);
    tokio::time::sleep(Duration::from_secs(5)).await;
    wire.set(Condition::Sound);
    tokio::time::sleep(Duration::from_secs(1)).await;
    wire.set(Condition::Stalled);
    tokio::time::sleep(Duration::from_secs(5)).await;
    wire.set(Condition::Sound);
    settled_as_in_peace(coordinator, job.job_id, &spec).await
}

/// Mounts a small file system at `at`; `None`, said loudly, where the machine does not allow it.
fn small_disk(at: &Path, size: &str) -> Option<Mount> {
    std::fs::create_dir_all(at).ok()?;
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
        .arg(at)
        .status();
    if mounted.is_ok_and(|status| status.success()) {
        return Some(Mount(at.to_path_buf()));
    }
    tests::not_tested("a full disk: this machine does not allow mounting a small one; run as root");
    None
}

struct Mount(std::path::PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn fill(disk: &Path) -> Result<()> {
    let mut file = std::fs::File::create(disk.join("filler"))?;
    while file.write_all(&[0; 4096]).is_ok() {}
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_on_the_coordinators_side_is_named_and_waited_out() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let disk = folder.path().join("disk");
    let Some(_mount) = small_disk(&disk, "700m") else { return Ok(()) };
    let coordinator = Coordinator::start_in(Profile::Same, folder, disk.join("project")).await?;
    let spec = search(&coordinator, 1_000, 3_000, 50, 1).await?;
    let job = coordinator.submit(&spec).await?;
    let _workers = workers(&coordinator, 1)?;
    until("the first report", async || {
        Ok((coordinator.job(job.job_id).await?.copies > 0).then_some(()))
    })
    .await?;
    fill(&disk)?;
    until("the operator being told", async || {
        let trouble = coordinator.status().await?.trouble;
        Ok((trouble.contains("disk") || trouble.contains("space")).then_some(()))
    })
    .await?;
    std::fs::remove_file(disk.join("filler"))?;
    settled_as_in_peace(coordinator, job.job_id, &spec).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_on_the_workers_side_is_named_and_waited_out() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let folder = tempfile::TempDir::new()?;
    let disk = folder.path().join("disk");
    let Some(_mount) = small_disk(&disk, "100m") else { return Ok(()) };
    let spec = search(&coordinator, 1_000, 3_000, 50, 1).await?;
    let job = coordinator.submit(&spec).await?;
    let mut worker = Worker::join(Profile::Same, &coordinator.join, "crammed")?;
    let status =
        Command::new("cp").arg("-a").arg(&worker.data).arg(disk.join("worker")).status()?;
    ensure!(status.success());
    worker.data = disk.join("worker");
    worker.restart()?;
    until("the first report", async || {
        Ok((coordinator.job(job.job_id).await?.copies > 0).then_some(()))
    })
    .await?;
    fill(&disk)?;
    until("the volunteer being told", async || {
        let said = worker.said().to_lowercase();
        Ok((said.contains("no space")
            || said.contains("disk is full")
            || said.contains("disk full"))
        .then_some(()))
    })
    .await?;
    std::fs::remove_file(disk.join("filler"))?;
    settled_as_in_peace(coordinator, job.job_id, &spec).await
}

/// The library that moves a program's wall clock; `None`, said loudly, where it is not installed.
fn faketime() -> Option<&'static str> {
    const PLACES: [&str; 2] = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    ];
    let found = PLACES.into_iter().find(|place| Path::new(place).exists());
    if found.is_none() {
        tests::not_tested("a clock that jumps: install the package faketime");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_by_a_day_changes_nothing() -> Result<()> {
    let Some(library) = faketime() else { return Ok(()) };
    let mut coordinator = Coordinator::start(Profile::Same).await?;
    let spec = search(&coordinator, 1_000, 4_000, 50, 2).await?;
    let job = coordinator.submit(&spec).await?;
    let mut workers = (0..2)
        .map(|number| Worker::join(Profile::Same, &coordinator.join, &format!("w{number}")))
        .collect::<Result<Vec<_>>>()?;
    let clock = tempfile::TempDir::new()?;
    let dial = clock.path().join("clock");
    let shift = |by: &str| std::fs::write(&dial, by);
    let shifted = |command: &mut Command| {
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &dial)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    };
    shift("+0")?;
    let mut command = coordinator.command();
    shifted(&mut command);
    coordinator.kill()?;
    coordinator.restart_as(command).await?;
    for worker in &mut workers {
        let mut command = worker.command();
        shifted(&mut command);
        worker.restart_as(&mut command)?;
    }
    for jump in ["+1d", "-1d", "+0"] {
        let before = coordinator.job(job.job_id).await?;
        shift(jump)?;
        let started = Instant::now();
        until("progress after the jump", async || {
            let now = coordinator.job(job.job_id).await?;
            Ok((before.copies < now.copies || now.settled == now.units).then_some(()))
        })
        .await?;
        ensure!(started.elapsed() < Duration::from_secs(60));
    }
    settled_as_in_peace(coordinator, job.job_id, &spec).await
}
