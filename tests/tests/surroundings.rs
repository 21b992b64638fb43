//! Machines as people have them: a clock without a battery, a home that cannot be written, folders with spaces in their
//! names, a disk that is full.

use anyhow::{Context, Result, ensure};
use proto::cut::Axis;
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use tests::grid::{Coordinator, Profile, Worker, program, until};

/// The library that moves a program's clock (package faketime), which the continuous check installs.
fn faketime() -> Result<&'static str> {
    const PLACES: [&str; 2] = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    ];
    let found = PLACES.into_iter().find(|place| Path::new(place).exists());
    found.context("libfaketime is not installed: install the package faketime")
}

/// Has a program begin on the second day of 1970, as a machine without a battery does.
fn in_1970(command: &mut Command) -> Result<&mut Command> {
    Ok(command
        .env("LD_PRELOAD", faketime()?)
        .env("FAKETIME", "@1970-01-02 00:00:00")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1"))
}

fn run(command: &mut Command) -> Result<(i32, String)> {
    let Output { status, stdout, stderr } = command.output()?;
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok((status.code().context("killed")?, said))
}

fn command(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program(Profile::Same, name));
    command.args(arguments);
    command
}

async fn settles(coordinator: &Coordinator) -> Result<()> {
    let axis = Axis::Range { name: "p".into(), first: 2, end: 200, per_unit: 50 };
    let spec = coordinator.trivial_spec(axis, 1).await?;
    let job = coordinator.submit(&spec).await?.job_id;
    until("all units settled", async || {
        let job = coordinator.job(job).await?;
        Ok((job.settled == job.units).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_and_a_researcher_in_1970_are_served() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let folder = TempDir::new()?;
    let data = folder.path().join("worker");
    let mut join = command("starling-worker", &["join", &coordinator.join.to_string()]);
    let (code, said) = run(in_1970(join.arg("--data").arg(&data))?)?;
    ensure!(code == 0, "join: {said}");
    let mut worker = Worker::join(Profile::Same, &coordinator.join, "ada")?;
    let mut begin = worker.command();
    worker.restart_as(in_1970(&mut begin)?)?;
    settles(&coordinator).await?;
    ensure!(worker.said().contains("clock says 1970"), "{}", worker.said());

    let profile = folder.path().join("profile.json");
    let mut login = command("starling", &["login", &coordinator.join.to_string()]);
    login.env("STARLING_PROFILE", &profile).env("STARLING_TOKEN", &coordinator.token);
    let (code, said) = run(in_1970(&mut login)?)?;
    ensure!(code == 0, "login: {said}");
    let mut fetch = command("starling", &["fetch", "j1", "--to", "results"]);
    fetch.env("STARLING_PROFILE", &profile).current_dir(folder.path());
    let (code, said) = run(in_1970(&mut fetch)?)?;
    ensure!(code == 0 && said.contains("4 results"), "fetch: {said}");
    worker.program().terminate().await?;
    coordinator.stop_and_check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_in_1970_serves_workers_of_today() -> Result<()> {
    let mut coordinator = Coordinator::start(Profile::Same).await?;
    coordinator.kill()?;
    // Its certificates and keys are made in 1970 too.
    std::fs::remove_dir_all(&coordinator.data)?;
    let mut begin = coordinator.command();
    in_1970(&mut begin)?;
    coordinator.restart_as(begin).await?;
    ensure!(coordinator.program().said().contains("clock says 1970"));
    let mut worker = Worker::start(Profile::Same, &coordinator.join, "ada")?;
    settles(&coordinator).await?;
    // And it goes on when its clock is set.
    coordinator.kill()?;
    coordinator.restart().await?;
    settles(&coordinator).await?;
    worker.program().terminate().await?;
    coordinator.stop_and_check().await
}

/// Types what a program printed, as a user does, in a shell that finds the programs.
fn typed(line: &str, folder: &Path) -> Result<(i32, String)> {
    let programs = program(Profile::Same, "starling");
    let programs = programs.parent().context("a folder")?;
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    run(Command::new("sh").args(["-c", line]).env("PATH", path).current_dir(folder))
}

/// What was printed after `before` up to the end of the line, or to `end`.
fn printed<'a>(said: &'a str, before: &str, end: char) -> Result<&'a str> {
    let (_, rest) = said.split_once(before).with_context(|| format!("no {before:?} in {said}"))?;
    Ok(rest.split([end, '\n']).next().unwrap_or_default().trim())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_to_be_typed_can_be_typed() -> Result<()> {
    let folder = TempDir::new()?;
    let home = folder.path().join("ada's grid & more");
    std::fs::create_dir(&home)?;
    let outer = TempDir::new()?;
    let mut coordinator =
        Coordinator::start_in(Profile::Same, outer, home.join("the project")).await?;
    let said = coordinator.program().said();
    let issue = printed(&said, "It comes from `", '`')?.replace("NAME", "ada");
    let (code, said_then) = typed(&issue, folder.path())?;
    ensure!(code == 0 && said_then.contains("It is shown only now"), "{issue}: {said_then}");

    let join = printed(&said, "Volunteers join with:\n\n", '\n')?;
    let join = format!("{join} --data 'ada'\"'\"'s worker'");
    let (code, said) = typed(&join, &home)?;
    ensure!(code == 0, "{join}: {said}");
    let next = printed(&said, "now type: ", '\n')?;
    let (code, said) = typed(&format!("{next} --help"), &home)?;
    ensure!(code == 0 && next.contains("worker") && said.contains("--cores"), "{next}: {said}");
    let (code, said) = typed(&next.replace(" run", " status"), &home)?;
    ensure!(code == 3, "{said}");
    let start = printed(&said, ": `", '`')?;
    ensure!(start == next, "{start} is not {next}");
    coordinator.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_tells_what_it_could_not_write() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let folder = TempDir::new()?;
    let to = |to: Stdio, arguments: &[&str]| -> Result<(i32, String)> {
        let mut command = command("starling-worker", arguments);
        command.arg("--data").arg(folder.path().join("worker")).stderr(Stdio::piped());
        let output = command.stdout(to).spawn()?.wait_with_output()?;
        Ok((output.status.code().context("killed")?, String::from_utf8(output.stderr)?))
    };
    let full = || -> Result<Stdio> { Ok(File::options().write(true).open("/dev/full")?.into()) };
    let closed = || -> Result<Stdio> { Ok(std::io::pipe()?.1.into()) };
    let join = coordinator.join.to_string();
    for (arguments, told) in [
        (&["--help"][..], ""),
        (&["join", &join], "now type: starling-worker --data"),
        (&["key", "export"], ""),
        (&["leave"], "left the project"),
    ] {
        let (code, said) = to(full()?, arguments)?;
        ensure!(code == 1 && said.contains("could not write to standard output"), "{said}");
        ensure!(said.contains(told), "{arguments:?}: {said}");
        let (code, said) = to(closed()?, arguments)?;
        let quiet = arguments != ["key", "export"];
        ensure!((code == 0 && said.is_empty()) == quiet, "{arguments:?}: {code} {said}");
    }
    coordinator.stop().await
}

#[test]
fn a_worker_without_a_home_tells_the_way_out() -> Result<()> {
    let join = format!("starling://127.0.0.1:1/{}#{}", "07".repeat(32), "09".repeat(32));
    for arguments in [&["join", &join][..], &["run"], &["key", "export"]] {
        let mut command = command("starling-worker", arguments);
        command.env("HOME", "/dev/null").env_remove("XDG_DATA_HOME");
        let (code, said) = run(&mut command)?;
        ensure!(code == 1 && said.contains("--data DIR"), "{arguments:?}: {said}");
        ensure!(said.contains("STARLING_WORKER_DATA"), "{arguments:?}: {said}");
    }
    // Verbs that need no folder.
    for (arguments, expected) in [(&["--help"][..], 0), (&["status"], 3)] {
        let mut command = command("starling-worker", arguments);
        let (code, said) = run(command.env("HOME", OsStr::new("/dev/null")))?;
        ensure!(code == expected, "{arguments:?}: {said}");
    }
    Ok(())
}
