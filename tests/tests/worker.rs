//! What a volunteer does with the worker: join, watch, pause, leave, take an account to another machine.

use anyhow::{Context, Result, ensure};
use proto::Digest;
use proto::cut::Axis;
use proto::join::Join;
use proto::pb;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tests::grid::{Coordinator, PATIENCE, Profile, Worker, program, until};

fn worker(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program(Profile::Same, "starling-worker"));
    command.arg("--data").arg(data).args(arguments);
    command
}

fn said(output: &Output) -> String {
    let text =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    text.concat()
}

fn told(data: &Path, arguments: &[&str]) -> Result<String> {
    let output = worker(data, arguments).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", said(&output));
    Ok(String::from_utf8(output.stdout)?)
}

fn status(data: &Path) -> Result<Value> {
    Ok(serde_json::from_str(&told(data, &["--output", "json", "status"])?)?)
}

/// A search that takes a worker long enough to be looked at.
async fn long_job(coordinator: &Coordinator) -> Result<u64> {
    let axis = Axis::Range { name: "p".into(), first: 20_000, end: 20_400, per_unit: 20 };
    let spec = coordinator.trivial_spec(axis, 1).await?;
    Ok(coordinator.submit(&spec).await?.job_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_watches_pauses_and_leaves() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let job = long_job(&coordinator).await?;
    let mut worker = Worker::start(Profile::Same, &coordinator.join, "ada")?;
    let data = worker.data.clone();
    until("a unit that runs", async || {
        Ok(status(&data)?["running"][0]["unit"].as_str().map(str::to_owned))
    })
    .await?;
    ensure!(told(&data, &["status"])?.contains("ada at"), "status names the machine");

    told(&data, &["pause", "--for", "1h"])?;
    let paused = status(&data)?;
    ensure!(
        paused["paused"]["seconds"].as_u64().is_some_and(|left| (3_000..=3_600).contains(&left)),
        "{paused}"
    );
    ensure!(told(&data, &["why"])?.contains("paused"), "why says so");
    told(&data, &["resume"])?;
    let before = status(&data)?["units_finished"].as_u64();
    until("progress after the pause", async || {
        Ok((before < status(&data)?["units_finished"].as_u64()).then_some(()))
    })
    .await?;

    told(&data, &["leave"])?;
    ensure!(worker.program().wait().await?.success(), "it ends as it should");
    let left = coordinator.job(job).await?;
    ensure!(left.leased == 0, "everything was given back: {left:?}");
    let run = self::worker(&data, &["run"]).output()?;
    ensure!(run.status.code() == Some(1) && said(&run).contains("join"), "{}", said(&run));
    ensure!(data.join("account.key").exists(), "the keys stay");
    told(&data, &["leave", "--forget"])?;
    ensure!(!data.join("account.key").exists(), "the keys go");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_takes_snapshots_and_the_next_start_goes_on() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let axis = Axis::Range { name: "p".into(), first: 30_000, end: 30_060, per_unit: 60 };
    let spec = coordinator.trivial_spec(axis, 1).await?;
    let job = coordinator.submit(&spec).await?.job_id;
    let mut worker = Worker::join(Profile::Same, &coordinator.join, "ada")?;
    worker.arguments[3] = "1h".into();
    worker.restart()?;
    let data = worker.data.clone();
    until("a unit that is on its way", async || {
        Ok(status(&data)?["running"][0]["done"].as_u64().filter(|done| 0 < *done))
    })
    .await?;
    ensure!(worker.program().terminate().await?.success());
    let left = std::fs::read_dir(data.join("snapshots"))?.count();
    ensure!(left == 1, "it left {left} snapshots:\n{}", worker.said());
    worker.restart()?;
    until("the job's end", async || {
        Ok((coordinator.job(job).await?.state() == pb::job_status::State::Done).then_some(()))
    })
    .await?;
    ensure!(worker.said().contains("resumed"), "it went on from its snapshot:\n{}", worker.said());
    until("an empty folder of snapshots", async || {
        Ok((std::fs::read_dir(data.join("snapshots"))?.count() == 0).then_some(()))
    })
    .await
}

/// Niceness and scheduling class of a process.
fn courtesy(pid: &str) -> Result<(i32, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("a name")?.1.split_whitespace().collect();
    Ok((fields[16].parse()?, fields[38].parse()?)) // proc(5): fields 19 and 41
}

#[tokio::test(flavor = "multi_thread")]
async fn units_let_every_other_program_go_first() -> Result<()> {
    const SCHED_IDLE: u32 = 5;
    let coordinator = Coordinator::start(Profile::Same).await?;
    long_job(&coordinator).await?;
    let mut worker = Worker::join(Profile::Same, &coordinator.join, "ada")?;
    worker.arguments = vec!["--cores".into(), "1".into()];
    worker.restart()?;
    let threads = format!("/proc/{}/task", worker.program().id());
    until("a child at the lowest priority", async || {
        let mut children = String::new();
        for thread in std::fs::read_dir(&threads)? {
            children += &std::fs::read_to_string(thread?.path().join("children"))?;
        }
        let lowest = |pid| courtesy(pid).is_ok_and(|found| found == (19, SCHED_IDLE));
        Ok(children.split_whitespace().any(lowest).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_cannot_be_says_why_and_joins_nothing() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let folder = tempfile::TempDir::new()?;
    let data = folder.path().join("worker");
    let stranger = Join { ca: Digest([5; 32]), ..coordinator.join.clone() };
    let nobody = Join { address: "127.0.0.1:9".into(), ..coordinator.join };
    let cases =
        [(stranger.to_string(), 3), (nobody.to_string(), 3), ("starling://mistyped".to_owned(), 2)];
    for (join, code) in cases {
        let output = worker(&data, &["join", &join]).output()?;
        ensure!(
            output.status.code() == Some(code),
            "{join}: {:?}\n{}",
            output.status,
            said(&output)
        );
        ensure!(!data.join("project.json").exists(), "{join} was joined");
    }
    let asked = worker(&data, &["status"]).output()?;
    ensure!(
        asked.status.code() == Some(3) && said(&asked).contains("no worker runs"),
        "{}",
        said(&asked)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_share_an_account() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let first = Worker::join(Profile::Same, &coordinator.join, "first")?;
    let folder = tempfile::TempDir::new()?;
    let data = folder.path().join("second");
    let mut import = worker(&data, &["--output", "json", "key", "import"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let key = told(&first.data, &["key", "export"])?;
    import.stdin.take().context("piped")?.write_all(key.as_bytes())?;
    ensure!(import.wait()?.success());
    let json: Value = serde_json::from_str(&told(
        &data,
        &["--output", "json", "join", &coordinator.join.to_string(), "--name", "second"],
    )?)?;
    let mut admin = pb::admin_client::AdminClient::new(coordinator.channel().await?);
    let request = coordinator
        .with_token(pb::WorkersRequest { after_worker_key: Vec::new().into(), count_max: 10 });
    let workers = admin.workers(request).await?.into_inner().workers;
    ensure!(workers.len() == 2 && workers[0].account_key == workers[1].account_key, "{workers:?}");
    ensure!(workers[0].worker_key != workers[1].worker_key, "each machine has a key of its own");
    ensure!(json["account"].as_str() == Some(&data_of(&workers[0].account_key)), "{json}");
    Ok(())
}

fn data_of(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_runs_on_a_folder() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let worker = Worker::start(Profile::Same, &coordinator.join, "ada")?;
    let data = worker.data.clone();
    until("the worker's answer", async || {
        Ok(status(&data)?["connected"].as_bool().filter(|connected| *connected))
    })
    .await?;
    let started = std::time::Instant::now();
    let second = self::worker(&data, &["run"]).output()?;
    ensure!(
        second.status.code() == Some(1) && said(&second).contains("another worker runs"),
        "{}",
        said(&second)
    );
    ensure!(started.elapsed() < PATIENCE);
    told(&data, &["stop"])?;
    Ok(())
}
