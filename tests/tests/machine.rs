//! Machines that lack something, or lose it on the way: they say so, nobody's unit is spent on them, and they go on when
//! it is there again.

use anyhow::{Context, Error, Result, anyhow, ensure};
use proto::cut::Axis;
use proto::{JobId, pb};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tests::grid::{Coordinator, Profile, Worker, program, until};

/// A search of which each unit takes a moment, and which is given up when a single attempt at a unit is counted.
async fn job_without_second_attempt(coordinator: &Coordinator, units: u64) -> Result<u64> {
    let axis = Axis::Range { name: "p".into(), first: 9_000, end: 9_000 + units, per_unit: 1 };
    let mut spec = coordinator.trivial_spec(axis, 1).await?;
    spec.attempts_max = 1;
    Ok(coordinator.submit(&spec).await?.job_id)
}

/// Waits for the job's end, at which every unit must have its result.
async fn all_done(coordinator: &Coordinator, job: u64, units: u64) -> Result<()> {
    until("the job's end", async || {
        let status = coordinator.job(job).await?;
        Ok((status.state() == pb::job_status::State::Done).then_some(()))
    })
    .await?;
    let results = coordinator.results(JobId(job)).await?;
    let done = |result: &&pb::UnitResult| {
        matches!(result.outcome, Some(pb::unit_result::Outcome::Output(_)))
    };
    let bad = results.iter().find(|result| !done(result));
    ensure!(bad.is_none(), "an attempt was counted: {bad:?}");
    ensure!(results.len() as u64 == units, "{} results", results.len());
    Ok(())
}

fn why(worker: &Worker) -> Result<String> {
    Ok(worker.told("why")?["why"].to_string())
}

/// Processes that a process has started.
fn children(id: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<_>>())
        .collect()
}

fn kill_children(id: u32) -> usize {
    let children = children(id);
    for child in &children {
        // One that has just ended needs no kill.
        let _ = Command::new("kill").args(["-KILL", &child.to_string()]).output();
    }
    children.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_replaced_while_it_runs_goes_on_as_it_was() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("starling-worker");
    fs::copy(program(Profile::Same, "starling-worker"), &copy)?;
    let mut worker = Worker::join(Profile::Same, &coordinator.join, "ada")?;
    let mut command = Command::new(&copy);
    command.args(worker.command().get_args());
    worker.restart_as(&mut command)?;
    until("a worker that is connected", async || {
        Ok(worker.told("status")?["connected"].as_bool().filter(|connected| *connected))
    })
    .await?;
    fs::remove_file(&copy)?;
    fs::write(&copy, "another version, half written")?;
    let units = 40;
    let job = job_without_second_attempt(&coordinator, units).await?;
    let mut killed = 0;
    until("children that were started after the program had gone", async || {
        killed += kill_children(worker.program().id());
        Ok((2 < killed).then_some(()))
    })
    .await?;
    all_done(&coordinator, job, units).await?;
    coordinator.stop_and_check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_lacks_costs_no_attempt() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let units = 200;
    let job = job_without_second_attempt(&coordinator, units).await?;
    let mut worker = Worker::start(Profile::Same, &coordinator.join, "ada")?;
    let finished = |worker: &Worker| -> Result<u64> {
        Ok(worker.told("status")?["units_finished"].as_u64().unwrap_or(0))
    };
    until("units that run", async || Ok((3 < finished(&worker)?).then_some(()))).await?;
    // As a system does that has no memory left.
    for _ in 0..6 {
        let before = finished(&worker)?;
        until("a child", async || Ok((0 < kill_children(worker.program().id())).then_some(())))
            .await?;
        until("units that run again", async || Ok((before < finished(&worker)?).then_some(())))
            .await?;
    }
    // No process can be started any more.
    let id = i32::try_from(worker.program().id())?;
    let id = Pid::from_raw(id).context("a process has a number")?;
    // The hard limit stays, so that the soft one can be raised again without a right to.
    let few = Rlimit { current: Some(4), maximum: getrlimit(Resource::Nofile).maximum };
    let before = prlimit(Some(id), Resource::Nofile, few)?;
    kill_children(worker.program().id());
    let ill = until("a worker that says that it can run nothing", async || {
        // The command's connection needs a file of the worker's too.
        Ok(Some(worker.said()).filter(|said| said.contains("this machine cannot run units")))
    })
    .await?;
    ensure!(ill.contains("none are asked for"), "{ill}");
    prlimit(Some(id), Resource::Nofile, before)?;
    let told = why(&worker)?;
    // It tries again by itself, and may have by now.
    let well = worker.said().contains("this machine can run units again");
    let ill = told.contains("this machine cannot run units") || told.contains("trial");
    ensure!(ill || well, "{told}");
    all_done(&coordinator, job, units).await?;
    ensure!(worker.said().contains("this machine can run units again"), "{}", worker.said());
    coordinator.stop_and_check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_can_run_nothing_asks_for_nothing_and_says_why() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let units = 5;
    let job = job_without_second_attempt(&coordinator, units).await?;
    let mut worker = Worker::join(Profile::Same, &coordinator.join, "ada")?;
    let obstacle = worker.data.join("trial");
    fs::write(&obstacle, "where the trial unit should run")?;
    worker.restart()?;
    let told = until("a worker that is connected and says why", async || {
        let status: Value = worker.told("status")?;
        let unfit = status["why"].to_string().contains("this machine cannot run units");
        Ok((status["connected"] == true && unfit).then_some(status))
    })
    .await?;
    ensure!(told["why"].to_string().contains("trial unit"), "{told}");
    ensure!(why(&worker)?.contains("none are asked for"), "why says so too");
    ensure!(worker.said().contains("this machine cannot run units"), "and the log");
    let reasons = coordinator.why(job, None).await?.join("; ");
    ensure!(reasons.contains("starling-worker why"), "{reasons}");
    ensure!(coordinator.job(job).await?.leased == 0);
    fs::remove_file(&obstacle)?;
    all_done(&coordinator, job, units).await?;
    coordinator.stop_and_check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn room_that_is_to_stay_free_is_left_free_and_that_is_said() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let units = 5;
    let job = job_without_second_attempt(&coordinator, units).await?;
    let mut worker = Worker::join(Profile::Same, &coordinator.join, "ada")?;
    let usual = worker.arguments.clone();
    worker.arguments.extend(["--reserve", "1EB"].map(str::to_owned));
    worker.restart()?;
    let told = until("a worker that says what it lacks", async || {
        Ok(Some(why(&worker)?).filter(|why| why.contains("--reserve")))
    })
    .await?;
    ensure!(told.contains("the disk is full") && told.contains("are left free"), "{told}");
    ensure!(worker.program().runs()?, "it has ended");
    ensure!(coordinator.job(job).await?.settled == 0, "something was computed");
    worker.program().terminate().await?;
    worker.arguments = [&usual[..], &["--reserve".into(), "1MB".into()]].concat();
    worker.restart()?;
    all_done(&coordinator, job, units).await?;
    coordinator.stop_and_check().await
}

/// Starts a worker on a system without Landlock, as containers are that forbid it: the thread that starts it is forbidden it.
fn restart_without_landlock(worker: &mut Worker) -> Result<()> {
    let rules = [(libc::SYS_landlock_create_ruleset, Vec::new())].into();
    let forbid = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let target = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, forbid, target)?;
    let program: BpfProgram = filter.try_into()?;
    std::thread::scope(|scope| {
        let start = || apply_filter(&program).map_err(Error::from).and_then(|()| worker.restart());
        scope.spawn(start).join().map_err(|_| anyhow!("the thread that starts it panicked"))?
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn which_walls_stand_is_said_and_where_they_are_required_nothing_runs_without() -> Result<()>
{
    let coordinator = Coordinator::start(Profile::Same).await?;
    let compiled = until("what the coordinator compiles behind", async || {
        Ok(Some(coordinator.status().await?.compile_walls).filter(|walls| !walls.is_empty()))
    })
    .await?;
    ensure!(compiled.contains("no privileges"), "{compiled}");
    let units = 5;
    let job = job_without_second_attempt(&coordinator, units).await?;
    let mut worker = Worker::join(Profile::Same, &coordinator.join, "ada")?;
    let usual = worker.arguments.clone();
    worker.arguments.push("--require-walls".into());
    restart_without_landlock(&mut worker)?;
    let told = until("a worker that refuses", async || {
        Ok(Some(why(&worker)?).filter(|why| why.contains("--require-walls")))
    })
    .await?;
    ensure!(told.contains("(Landlock)"), "{told}");
    ensure!(coordinator.job(job).await?.settled == 0, "something was computed");
    worker.program().terminate().await?;
    // Without, it computes, and says what is lacking; a namespace stands for it where the system lets one.
    worker.arguments = usual;
    restart_without_landlock(&mut worker)?;
    all_done(&coordinator, job, units).await?;
    let walls = worker.told("status")?["walls"].to_string();
    ensure!(walls.contains(r#""landlock":null"#) && walls.contains(r#""calls":true"#), "{walls}");
    worker.program().terminate().await?;
    // And where all stand, requiring them refuses nothing.
    if compiled.contains("lacks") {
        return coordinator.stop_and_check().await;
    }
    let job = job_without_second_attempt(&coordinator, units).await?;
    worker.arguments.push("--require-walls".into());
    worker.restart()?;
    all_done(&coordinator, job, units).await?;
    coordinator.stop_and_check().await
}

/// Runs the worker under a limit of the shell's.
fn limited(limit: &str, data: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit {limit}; exec \"$@\"")).arg("sh");
    command.arg(program(Profile::Same, "starling-worker")).arg("--data").arg(data).arg("run");
    Ok(command.args(arguments).output()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_are_too_low_are_refused_with_what_to_raise() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let worker = Worker::join(Profile::Same, &coordinator.join, "ada")?;
    let cases = [
        ("-v 3000000", &["--no-peers"][..], "ulimit -v"),
        ("-n 100", &["--no-peers"], "ulimit -n"),
        ("-n 256", &["--no-peers", "--cores", "64"], "--cores"),
        ("-d 200000", &["--no-peers"], "ulimit -d"),
        ("-c 0", &["--no-peers", "--memory", "64MiB"], "--memory"),
    ];
    for (limit, arguments, raise) in cases {
        let output = limited(limit, &worker.data, arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "ulimit {limit}: {:?}\n{said}", output.status);
        ensure!(said.contains(raise) && said.contains("raise"), "ulimit {limit}: {said}");
    }
    Ok(())
}
