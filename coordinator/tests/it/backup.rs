//! Backups while reports flow, their restoration, and what a check finds.

use super::support::{PATIENCE, PROGRAM, Project, Worker, data, put};
use anyhow::{Context, Result};
use coordinator::backup::{MANIFEST, restore};
use coordinator::check::{Findings, check};
use coordinator::project::{Folder, names};
use coordinator::store::{Store, sled::SledStore};
use coordinator::{Config, Coordinator};
use proto::report::{Batch, Outcome, Output};
use proto::{Digest, JobId, LeaseId, pb};
use std::fs;
use std::path::{Path, PathBuf};

fn checked(data: &Path) -> Result<Findings> {
    Ok(check(&Folder::take_existing(data)?)?)
}

/// A project in which a job of 60 units was done, the last ones with blobs as outputs.
async fn done() -> Result<tempfile::TempDir> {
    let project = Project::start().await?;
    let (job, spec) = project.job(60, 2).await?;
    for number in 1..=2 {
        let mut worker = Worker::connect(&project, number, number).await?;
        let leases = worker.lease(60).await?;
        let output =
            |unit: u64| if unit < 50 { vec![1; 8] } else { vec![unit.to_le_bytes()[0]; 1_000] };
        for unit in 50..60 {
            let content = output(unit);
            put(
                worker.channel.clone(),
                &worker.session_token,
                Digest::of(&content),
                1_000,
                &content,
            )
            .await?;
        }
        let signed = worker.batch(&spec, &leases, |unit| {
            let content = output(unit);
            Outcome::Done(match content.len() {
                8 => Output::Inline(content),
                len => Output::Blob { digest: Digest::of(&content), len: len as u64 },
            })
        });
        worker.report(signed).await?;
    }
    let status = project.coordinator.engine().job(JobId(job.job_id)).await?.context("the job")?;
    assert_eq!(status.settled, 60);
    Ok(project.stop().await)
}

#[tokio::test]
async fn a_backup_taken_while_reports_flow_is_restored_and_whole() -> Result<()> {
    let project = Project::start().await?;
    let (job, spec) = project.job(100_000, 1).await?;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let mut admin = pb::admin_client::AdminClient::new(project.channel().await?);
    let backups = async {
        let mut paths = Vec::new();
        for name in ["one", "two", "three"] {
            let made = admin
                .backup(project.operator(pb::BackupRequest { name: name.into() }))
                .await?
                .into_inner();
            paths.push(PathBuf::from(made.path));
        }
        anyhow::Ok(paths)
    };
    let flow = async {
        loop {
            worker.work(&spec, 100).await.expect("the coordinator goes on");
        }
    };
    let paths = tokio::select! { paths = backups => paths?, () = flow => unreachable!() };
    let settled_at_end =
        project.coordinator.engine().job(JobId(job.job_id)).await?.context("the job")?.settled;
    let join = project.coordinator.join().clone();
    let dir = project.stop().await;
    let mut settled_before = 0;
    for path in paths {
        let restored = dir.path().join("restored");
        restore(&path, &restored)?;
        let findings = checked(&restored)?;
        assert_eq!(findings.wrong, Vec::<String>::new());
        let running = Coordinator::start(Config::new(&restored, PROGRAM)).await?;
        assert_eq!((running.join().project, running.join().ca), (join.project, join.ca));
        let settled = running.engine().job(JobId(job.job_id)).await?.context("the job")?.settled;
        assert!(
            settled_before <= settled && settled <= settled_at_end,
            "{settled_before} {settled} {settled_at_end}"
        );
        settled_before = settled;
        running.shutdown(PATIENCE).await;
        fs::remove_dir_all(&restored)?;
    }
    assert_eq!(checked(&data(&dir))?.wrong, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn backups_have_good_names_and_replace_nothing() -> Result<()> {
    let project = Project::start().await?;
    let mut admin = pb::admin_client::AdminClient::new(project.channel().await?);
    let mut backup = async |name: &str| {
        admin.backup(project.operator(pb::BackupRequest { name: name.into() })).await
    };
    let path = PathBuf::from(backup("first").await?.into_inner().path);
    assert_eq!(backup("first").await.unwrap_err().code(), tonic::Code::AlreadyExists);
    for name in ["", "../x", "a/b", ".x", &"x".repeat(65)] {
        assert_eq!(backup(name).await.unwrap_err().code(), tonic::Code::InvalidArgument, "{name}");
    }
    let dir = project.stop().await;
    assert!(
        restore(&path, &data(&dir)).unwrap_err().to_string().contains("holds a project already")
    );
    for (file, expected) in
        [(names::PROJECT_KEY, "not as it was written"), (MANIFEST, "is no backup")]
    {
        let damaged = fs::read(path.join(file))?;
        fs::write(path.join(file), &damaged[1..])?;
        let error = restore(&path, &dir.path().join("elsewhere")).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!dir.path().join("elsewhere").exists());
        fs::write(path.join(file), damaged)?;
    }
    Ok(())
}

#[tokio::test]
async fn no_flip_or_cut_of_a_manifest_is_taken() -> Result<()> {
    let project = Project::start().await?;
    let mut admin = pb::admin_client::AdminClient::new(project.channel().await?);
    let made = admin.backup(project.operator(pb::BackupRequest { name: "one".into() })).await?;
    let path = PathBuf::from(made.into_inner().path);
    let dir = project.stop().await;
    let whole = fs::read(path.join(MANIFEST))?;
    let refused = |content: &[u8], what: String| {
        fs::write(path.join(MANIFEST), content)?;
        let error = restore(&path, &dir.path().join("elsewhere")).expect_err(&what).to_string();
        anyhow::ensure!(error.contains(MANIFEST), "{what}: {error}");
        Ok(())
    };
    for (at, bit) in (0..whole.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut content = whole.clone();
        content[at] ^= 1 << bit;
        refused(&content, format!("bit {bit} of byte {at}"))?;
    }
    for len in 0..whole.len() {
        refused(&whole[..len], format!("{len} bytes"))?;
    }
    fs::remove_file(path.join(MANIFEST))?;
    let error = restore(&path, &dir.path().join("elsewhere")).expect_err("no manifest");
    assert!(error.to_string().contains(MANIFEST), "{error}");
    fs::write(path.join(MANIFEST), &whole)?;
    restore(&path, &dir.path().join("elsewhere"))?;
    Ok(())
}

/// Makes a project, lets `damage` damage it, and returns what the check finds.
async fn found(damage: impl FnOnce(&Path) -> Result<()>) -> Result<Vec<String>> {
    let dir = done().await?;
    let before = checked(&data(&dir))?;
    assert_eq!(before.wrong, Vec::<String>::new());
    assert_eq!(before.blobs, 11);
    damage(&data(&dir))?;
    Ok(checked(&data(&dir))?.wrong)
}

fn blob_path(data: &Path, content: &[u8]) -> PathBuf {
    let name = Digest::of(content).to_string();
    data.join(names::BLOBS).join(&name[..2]).join(&name[2..4]).join(name)
}

#[tokio::test]
async fn a_flipped_byte_in_a_blob_is_found() -> Result<()> {
    let wrong = found(|data| {
        let path = blob_path(data, &[55; 1_000]);
        let mut content = fs::read(&path)?;
        content[500] ^= 1;
        Ok(fs::write(path, content)?)
    });
    let wrong = wrong.await?;
    assert!(wrong.len() == 1 && wrong[0].contains("is damaged"), "{wrong:?}");
    Ok(())
}

#[tokio::test]
async fn a_missing_output_is_found() -> Result<()> {
    let wrong = found(|data| Ok(fs::remove_file(blob_path(data, &[55; 1_000]))?)).await?;
    assert!(
        wrong.iter().any(|wrong| wrong.contains("on which a verdict rests, is not there")),
        "{wrong:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_missing_kernel_is_found() -> Result<()> {
    let wrong = found(|data| Ok(fs::remove_file(blob_path(data, super::support::KERNEL))?)).await?;
    assert!(wrong.iter().any(|wrong| wrong.contains("the kernel of j1")), "{wrong:?}");
    Ok(())
}

#[tokio::test]
async fn a_flipped_byte_in_a_record_is_found() -> Result<()> {
    let dir = done().await?;
    let store = SledStore::open(&data(&dir).join(names::STORE))?;
    let records = store.page(&[], None, 10_000)?;
    drop(store);
    let mut tables: Vec<u8> = records.iter().map(|(key, _)| key[0]).collect();
    tables.dedup();
    for table in tables {
        let (key, value) = records.iter().find(|(key, _)| key[0] == table).context("a record")?;
        // The version, which begins every record but a specification; its first byte is a brace.
        let mut flipped = value.clone();
        flipped[0] ^= 0x40;
        let store = SledStore::open(&data(&dir).join(names::STORE))?;
        store.commit(vec![(key.clone(), Some(flipped))])?;
        drop(store);
        let wrong = checked(&data(&dir))?.wrong;
        assert!(!wrong.is_empty(), "table {}", char::from(table));
        let store = SledStore::open(&data(&dir).join(names::STORE))?;
        store.commit(vec![(key.clone(), Some(value.clone()))])?;
    }
    assert_eq!(checked(&data(&dir))?.wrong, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn every_flipped_byte_of_a_report_batch_is_found() -> Result<()> {
    let dir = done().await?;
    let open = || SledStore::open(&data(&dir).join(names::STORE));
    let (key, value) = open()?.page(b"b", None, 1)?.into_iter().next().context("a batch")?;
    let original = meaning(&value).context("a batch")?;
    let mut found = 0;
    for position in (0..value.len()).step_by(31) {
        let mut flipped = value.clone();
        flipped[position] ^= 1;
        if meaning(&flipped).as_ref() == Some(&original) {
            continue;
        }
        open()?.commit(vec![(key.clone(), Some(flipped))])?;
        assert!(!checked(&data(&dir))?.wrong.is_empty(), "byte {position}");
        found += 1;
    }
    assert!(20 < found, "{found}");
    Ok(())
}

/// A stored batch without the leases of its reports: these are nobody's statement once the batch was taken.
fn meaning(value: &[u8]) -> Option<(Vec<u8>, Batch)> {
    let mut batch = Batch::decode(value.get(65..)?).ok()?;
    for report in &mut batch.reports {
        report.lease = LeaseId(0);
    }
    Some((value[..65].to_vec(), batch))
}
