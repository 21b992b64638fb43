//! Every file of a coordinator's folder, its backup among them.

use super::{Damage, Verdict, choose, copy, files, kinds, randomness, summed};
use anyhow::{Context, Result, bail, ensure};
use coordinator::blobs::{BlobStore, Limits};
use coordinator::check::check;
use coordinator::core::status::Cursor;
use coordinator::project::Folder;
use coordinator::{Config, Coordinator};
use proto::cut::Axis;
use proto::{Digest, JobId, pb};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tests::grid::{self, Profile, Worker, until};

const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of the job that is cut by them: more than a block of the index.
const LINES: u64 = 1_500;

/// A project with jobs that are done and one that runs, tokens, a backup, and the workers that computed.
async fn project() -> Result<(TempDir, PathBuf)> {
    let folder = TempDir::new()?;
    let data = folder.path().join("project");
    let mut coordinator =
        grid::Coordinator::start_in(Profile::Same, TempDir::new()?, data.clone()).await?;
    let p = |first, end, per_unit| Axis::Range { name: "p".into(), first, end, per_unit };
    let done = coordinator.submit(&coordinator.trivial_spec(p(0, 400, 20), 2).await?).await?;
    let text: String = (0..LINES).fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{{\"line\": {line}}}");
        text
    });
    let lines = Axis::Lines {
        digest: coordinator.put(text.as_bytes()).await?,
        len: text.len() as u64,
        count: LINES,
    };
    let mut spec = coordinator.trivial_spec(p(0, 4, 4), 1).await?;
    spec.cut.push(lines);
    let by_lines = coordinator.submit(&spec).await?;
    let _workers = [
        Worker::start(Profile::Same, &coordinator.join, "ada")?,
        Worker::start(Profile::Same, &coordinator.join, "eve")?,
    ];
    until("two jobs' ends", async || {
        let mut ended = true;
        for job in [done.job_id, by_lines.job_id] {
            ended &= coordinator.job(job).await?.state() == pb::job_status::State::Done;
        }
        Ok(ended.then_some(()))
    })
    .await?;
    coordinator.operate(["token".as_ref(), "issue".as_ref(), "ada".as_ref()])?;
    coordinator.operate(["backup".as_ref(), "one".as_ref()])?;
    let running =
        coordinator.submit(&coordinator.trivial_spec(p(0, 400_000, 20), 2).await?).await?;
    until("units of a third", async || {
        Ok((20 < coordinator.job(running.job_id).await?.settled).then_some(()))
    })
    .await?;
    coordinator.kill()?;
    Ok((folder, data))
}

/// Stands for a line of a file that could not be read, in what is told.
const NOT_READ: &str = "not read";

/// All that others can ask of a project, as text.
async fn told(data: &Path) -> Result<String> {
    let mut config = Config::new(data, grid::program(Profile::Same, "starling-coordinator"));
    config.reserve_bytes = 0;
    let coordinator = Coordinator::start(config).await?;
    let told = async {
        let engine = coordinator.engine();
        let totals = engine.totals().await?;
        let join = coordinator.join();
        let mut text =
            format!("{} {}\n{} {}\n", join.project, join.ca, totals.units_settled, totals.credit);
        for worker in engine.workers(None, 99).await? {
            writeln!(text, "{:?}", (worker.worker, worker.account, worker.credit, worker.name))?;
        }
        writeln!(text, "{:?}", engine.tokens().await?)?;
        for job in engine.jobs(JobId(0), 99).await? {
            writeln!(
                text,
                "{:?}",
                (job.id, job.name, job.state, job.units, job.settled, job.failed)
            )?;
            writeln!(
                text,
                "{:?}",
                (job.fuel, job.credit, job.copies, job.spec_digest, job.account)
            )?;
            writeln!(text, "{:?}", engine.spec(job.id)?)?;
            let mut results = engine.results(job.id, false)?.context("the job's results")?;
            let page = results.page(engine.store().as_ref(), Cursor::default(), None, 1_000_000)?;
            for result in &page.results {
                let receipt = engine.receipt(job.id, result.unit)?;
                writeln!(text, "{result:?} {receipt:?}")?;
            }
        }
        let size = engine.log().size()?;
        writeln!(text, "{size} {:?}", engine.log().entries(0, size, usize::MAX)?)?;
        anyhow::Ok(text)
    };
    let told = told.await;
    coordinator.shutdown(PATIENCE).await;
    let limits = Limits { account_bytes: 0, reserve_bytes: 0 };
    let blobs = BlobStore::open(&data.join("blobs"), limits)?;
    let mut text = told?;
    for digest in listed(data)? {
        for line in [0, 1_023, 1_024, LINES - 1, LINES] {
            match coordinator::engine::Blobs::line(&blobs, &digest, line) {
                Ok(line) => writeln!(text, "{line:?}")?,
                Err(_) => writeln!(text, "{NOT_READ}")?,
            }
        }
    }
    Ok(text)
}

/// The blobs of which lines are kept.
fn listed(data: &Path) -> Result<Vec<Digest>> {
    let mut digests = Vec::new();
    for entry in fs::read_dir(data.join("blobs/lines"))? {
        digests.extend(entry?.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()));
    }
    Ok(digests)
}

fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Which kind of file this is, for the sums.
fn kind(path: &Path) -> String {
    let text = path.display().to_string();
    match path.components().next().map(|first| first.as_os_str().to_string_lossy().into_owned()) {
        Some(first) if first == "blobs" => match path.components().nth(1) {
            Some(second) if second.as_os_str().len() == 2 => "blobs/*".into(),
            Some(second) => format!("blobs/{}", second.as_os_str().display()),
            None => first,
        },
        Some(first) if first == "backups" => {
            let within: PathBuf = path.components().skip(2).collect();
            format!("backup: {}", kind(&within))
        }
        Some(first) if first == "store" && text.contains("snap.") => "store/snap".into(),
        _ => text,
    }
}

/// What a refusal must name: the file, or the folder that sled alone knows about.
fn names(text: &str, path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let whole = path.display().to_string();
    name.is_some_and(|name| text.contains(&name))
        || whole.starts_with("store/") && text.contains("/store")
        || whole.contains("blobs/") && text.contains("/blobs")
}

/// Whether the same is told, but for lines of a file whose reading is refused.
fn same_or_refused(before: &str, after: &str) -> bool {
    let same = |(before, after): (&str, &str)| before == after || after == NOT_READ;
    before.lines().count() == after.lines().count() && before.lines().zip(after.lines()).all(same)
}

async fn trial(origin: &Path, before: &str, path: &Path, damage: Damage) -> Result<Verdict> {
    let folder = TempDir::new()?;
    let data = folder.path().join("project");
    copy(origin, &data)?;
    damage.strike(&data.join(path))?;
    if path.starts_with("backups") {
        return restored(&data, &folder.path().join("restored"), path);
    }
    let wrong = match Folder::take_existing(&data).map_err(anyhow::Error::from) {
        Ok(folder) => match check(&folder) {
            Ok(findings) => findings.wrong.join("\n"),
            Err(error) => chain(&error.into()),
        },
        Err(error) => chain(&error),
    };
    match told(&data).await {
        Err(error) => {
            let text = chain(&error);
            ensure!(names(&text, path), "refused without its name: {text}");
            ensure!(!wrong.is_empty(), "the start says {text}, and check nothing");
            Ok(Verdict::Refused)
        }
        Ok(after) if !same_or_refused(before, &after) => {
            bail!("a silent difference; check says: {wrong:?}")
        }
        Ok(after) if wrong.is_empty() => {
            ensure!(after == before, "something is refused, and check says nothing");
            Ok(Verdict::Harmless)
        }
        Ok(_) => {
            ensure!(names(&wrong, path), "check does not name it: {wrong}");
            Ok(Verdict::Refused)
        }
    }
}

/// A damaged backup: restored as it was, or refused.
fn restored(data: &Path, to: &Path, path: &Path) -> Result<Verdict> {
    let backup: PathBuf = path.components().take(2).collect();
    match coordinator::backup::restore(&data.join(backup), to) {
        Ok(restored) => bail!("restored as if it were whole: {restored:?}"),
        Err(error) => {
            let text = chain(&error.into());
            ensure!(names(&text, path), "refused without its name: {text}");
            Ok(Verdict::Refused)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_damage_to_a_coordinators_folder_is_silent() -> Result<()> {
    let (_folder, data) = project().await?;
    let pristine = TempDir::new()?;
    let copied = pristine.path().join("project");
    copy(&data, &copied)?;
    let before = told(&copied).await?;
    ensure!(told(&copied).await? == before, "a start changes what is told");
    let all: Vec<PathBuf> = files(&copied)?;
    let all: Vec<PathBuf> = all.into_iter().filter(|path| path != Path::new("lock")).collect();
    let mut random = randomness();
    let mut trials = Vec::new();
    for of in kinds(40) {
        // Every second one hits the records.
        let path = match trials.len() % 2 {
            0 => PathBuf::from("store/db"),
            _ => choose(&mut random, &all, kind),
        };
        let damage = Damage::of(&mut random, &copied.join(&path), of)?;
        let verdict = trial(&copied, &before, &path, damage).await;
        let verdict = verdict.with_context(|| format!("{damage:?} of {}", path.display()))?;
        trials.push((kind(&path), verdict));
    }
    summed(&trials);
    Ok(())
}
