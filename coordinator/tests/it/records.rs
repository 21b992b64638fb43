//! Records that are not all that the project has signed: seen at the start, or shown by a worker.

use super::support::{PROGRAM, Project, Stranger, Worker, data, key, next};
use anyhow::{Context, Result, ensure};
use coordinator::project::names;
use coordinator::{Config, Coordinator};
use proto::JobId;
use proto::pb::coordinator_message::Kind as Said;
use proto::pb::worker_message::Kind as Say;
use proto::pb::{self, refusal::Code};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Copies a folder of a project without its backups.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}

async fn again(dir: TempDir, accept_loss: bool) -> Result<Project> {
    let mut config = Config::new(data(&dir), PROGRAM);
    (config.reserve_bytes, config.accept_loss) = (1 << 20, accept_loss);
    Ok(Project { coordinator: Coordinator::start(config).await?, dir })
}

async fn refused(dir: &TempDir) -> Result<String> {
    let started = Coordinator::start(Config::new(data(dir), PROGRAM)).await;
    Ok(started.err().context("it started")?.to_string())
}

async fn signed_head(project: &Project) -> Result<pb::SignedHead> {
    let mut log = pb::log_client::LogClient::new(project.channel().await?);
    Ok(log.head(project.operator(pb::LogHeadRequest {})).await?.into_inner())
}

/// A project that was put back as it was 30 units ago, all files of it, and the head that it signed since.
async fn put_back() -> Result<(Project, pb::SignedHead)> {
    let project = Project::start().await?;
    let (_, spec) = project.job(100, 1).await?;
    Worker::connect(&project, 1, 1).await?.work(&spec, 20).await?;
    let dir = project.stop().await;
    let older = dir.path().join("older");
    copy(&data(&dir), &older)?;
    let project = again(dir, false).await?;
    Worker::connect(&project, 1, 1).await?.work(&spec, 30).await?;
    let head = signed_head(&project).await?;
    let dir = project.stop().await;
    fs::remove_dir_all(data(&dir))?;
    fs::rename(older, data(&dir))?;
    Ok((again(dir, false).await?, head))
}

/// Greets with a head of the log.
async fn greet(project: &Project, worker: u64, head: &pb::SignedHead) -> Result<Stranger> {
    let stranger = Stranger::attach(project).await?;
    let hello = stranger.hello(&key(worker), &key(worker))?;
    stranger.say(Say::Hello(pb::Hello { log_head: Some(head.clone()), ..hello })).await?;
    Ok(stranger)
}

#[tokio::test]
async fn a_coordinator_that_is_shown_a_newer_head_of_its_own_log_decides_nothing_more() -> Result<()>
{
    let (project, head) = put_back().await?;
    let mut early = Worker::connect(&project, 5, 5).await?;
    let forged = pb::SignedHead { signature: vec![7; 64].into(), ..head.clone() };
    let mut stranger = greet(&project, 6, &forged).await?;
    assert!(matches!(next(&mut stranger.said).await?, Some(Said::Welcome(_))), "who signed that?");
    assert_eq!(project.coordinator.engine().totals().await?.trouble, "");
    let refusal = greet(&project, 7, &head).await?.refusal().await?;
    assert_eq!(refusal.code(), Code::TooMany);
    assert!(refusal.message.contains("entries are gone"), "{}", refusal.message);
    let totals = project.coordinator.engine().totals().await?;
    assert!(totals.halted && totals.trouble.contains("--rebuild"), "{}", totals.trouble);
    let idle = early.lease(1).await.unwrap_err().to_string();
    assert!(idle.contains("entries are gone"), "{idle}");
    let submitted = project.job(10, 1).await.unwrap_err().to_string();
    assert!(submitted.contains("entries are gone"), "{submitted}");
    let job = pb::CancelRequest { job_id: 1, outputs: false };
    let mut jobs = pb::jobs_client::JobsClient::new(project.channel().await?);
    let cancelled = jobs.cancel(project.operator(job)).await.unwrap_err();
    assert_eq!(cancelled.code(), tonic::Code::FailedPrecondition);
    assert!(signed_head(&project).await.unwrap_err().to_string().contains("entries are gone"));
    let settled = project.coordinator.engine().job(JobId(1)).await?.context("the job")?.settled;
    assert_eq!(settled, 20, "what is there can be read");
    let dir = project.stop().await;
    let text = refused(&dir).await?;
    assert!(text.contains(names::NEWER) && text.contains("a worker has shown it"), "{text}");
    let project = again(dir, true).await?;
    let mut stranger = greet(&project, 7, &head).await?;
    assert!(matches!(next(&mut stranger.said).await?, Some(Said::Welcome(_))));
    assert!(!project.coordinator.engine().totals().await?.halted);
    let dir = project.stop().await;
    let accepted = fs::read_to_string(data(&dir).join(names::ACCEPTED))?;
    ensure!(accepted.contains("a worker has shown it"), "{accepted}");
    again(dir, false).await?;
    Ok(())
}

#[tokio::test]
async fn a_log_with_other_entries_is_found_too() -> Result<()> {
    let (project, head) = put_back().await?;
    let spec = super::support::spec(
        vec![proto::cut::Axis::Range { name: "n".into(), first: 0, end: 100, per_unit: 1 }],
        1,
    );
    for _ in 0..3 {
        Worker::connect(&project, 8, 8).await?.work(&spec, 10).await?;
    }
    let refusal = greet(&project, 7, &head).await?.refusal().await?;
    assert!(refusal.message.contains("are not the first ones"), "{}", refusal.message);
    Ok(())
}

#[tokio::test]
async fn an_older_store_beside_a_newer_tally_is_refused_and_its_loss_may_be_accepted() -> Result<()>
{
    let project = Project::start().await?;
    let (_, spec) = project.job(100, 1).await?;
    Worker::connect(&project, 1, 1).await?.work(&spec, 20).await?;
    let dir = project.stop().await;
    let older = dir.path().join("older");
    copy(&data(&dir), &older)?;
    let project = again(dir, false).await?;
    Worker::connect(&project, 1, 1).await?.work(&spec, 30).await?;
    let dir = project.stop().await;
    let store = data(&dir).join(names::STORE);
    fs::remove_dir_all(&store)?;
    fs::rename(older.join(names::STORE), &store)?;
    let text = refused(&dir).await?;
    for part in ["commits are gone", "restore BACKUP", "--rebuild", "--accept-loss"] {
        ensure!(text.contains(part), "{part}: {text}");
    }
    let folder = coordinator::project::Folder::take_existing(&data(&dir))?;
    let findings = coordinator::check::check(&folder)?;
    ensure!(findings.wrong.iter().any(|wrong| wrong.contains("commits are gone")), "{findings:?}");
    drop(folder);
    let project = again(dir, true).await?;
    let job = project.coordinator.engine().job(JobId(1)).await?.context("the job")?;
    assert_eq!(job.settled, 20);
    let dir = project.stop().await;
    project_checks(&dir)
}

fn project_checks(dir: &TempDir) -> Result<()> {
    let folder = coordinator::project::Folder::take_existing(&data(dir))?;
    let findings = coordinator::check::check(&folder)?;
    ensure!(findings.wrong.is_empty(), "{:?}", findings.wrong);
    Ok(())
}

#[tokio::test]
async fn the_tally_is_exact_after_a_kill() -> Result<()> {
    let project = Project::start().await?;
    let (_, spec) = project.job(100, 1).await?;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    for _ in 0..5 {
        worker.work(&spec, 10).await?;
        // As it lies on the disk at this moment, without a word of goodbye.
        let copied = TempDir::new()?;
        copy(&data(&project.dir), &data(&copied))?;
        project_checks(&copied)?;
    }
    Ok(())
}
