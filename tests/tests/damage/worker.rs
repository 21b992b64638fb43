//! Every file of a worker's folder, at a moment at which it holds everything that it can hold: units that wait, a
//! snapshot, results that nobody has acknowledged, traces, the project's log.

use super::{Damage, Verdict, choose, copy, files, kinds, randomness, summed};
use anyhow::{Context, Result, bail, ensure};
use proto::cut::Axis;
use proto::{JobId, pb};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tests::grid::{Coordinator, Profile, Worker, until, until_within};

/// Units of the job: some are settled, some finished and not acknowledged, some have not begun.
const UNITS: u64 = 16;
/// How long that moment is waited for, before the job is begun anew: the worker may have been done too soon.
const MOMENT: Duration = Duration::from_secs(15);
/// Jobs that are begun for it at most.
const SCENES_MAX: usize = 10;

/// A coordinator and a worker in the middle of a job, and their folders as they are then.
struct Scene {
    coordinator: Coordinator,
    worker: Worker,
    job: u64,
    /// Copies of the folders.
    origin: TempDir,
}

async fn scene() -> Result<Scene> {
    for _ in 0..SCENES_MAX {
        if let Some(scene) = moment().await? {
            return Ok(scene);
        }
    }
    bail!("no worker had an unacknowledged result and a snapshot at one moment")
}

/// A worker that has both, or none.
async fn moment() -> Result<Option<Scene>> {
    let mut coordinator = Coordinator::start(Profile::Same).await?;
    let axis =
        Axis::Range { name: "p".into(), first: 6_000, end: 6_000 + 40 * UNITS, per_unit: 40 };
    let mut spec = coordinator.trivial_spec(axis, 1).await?;
    // Points enough for each unit to have a trace.
    spec.trace_fuel = 1 << 20;
    // Units of which a worker has forgotten that it holds them are lent again soon.
    spec.lease_s = 10;
    let job = coordinator.submit(&spec).await?.job_id;
    let mut worker = Worker::join(Profile::Same, &coordinator.join, "ada")?;
    worker.arguments.retain(|argument| argument != "1s" && argument != "--snapshot-interval");
    worker
        .arguments
        .extend(["--snapshot-interval", "50ms", "--log-every", "200ms"].map(str::to_owned));
    worker.restart()?;
    until("units that are settled", async || {
        Ok((1 < coordinator.job(job).await?.settled).then_some(()))
    })
    .await?;
    until("the log at the worker", async || {
        let log = fs::metadata(worker.data.join("held/log")).map_or(0, |log| log.len());
        Ok((200 < log).then_some(()))
    })
    .await?;
    coordinator.kill()?;
    let before = fs::metadata(worker.data.join("journal"))?.len();
    let moment =
        until_within(MOMENT, "results that nobody acknowledges, and a snapshot", async || {
            let grown = before + 100 < fs::metadata(worker.data.join("journal"))?.len();
            let snapshot = fs::read_dir(worker.data.join("snapshots"))?.next().is_some();
            Ok((grown && snapshot).then_some(()))
        });
    let found = moment.await.is_ok();
    worker.kill()?;
    if !found {
        return Ok(None);
    }
    let origin = TempDir::new()?;
    copy(&coordinator.data, &origin.path().join("coordinator"))?;
    copy(&worker.data, &origin.path().join("worker"))?;
    Ok(Some(Scene { coordinator, worker, job, origin }))
}

/// Results and credit of the job, and what is thought of the worker.
#[derive(Debug, PartialEq)]
struct Told {
    results: BTreeMap<u64, String>,
    credit: u64,
    of_worker: String,
}

impl Scene {
    /// Puts both folders back as they were.
    fn reset(&mut self) -> Result<()> {
        for (name, data) in [("coordinator", &self.coordinator.data), ("worker", &self.worker.data)]
        {
            fs::remove_dir_all(data)?;
            copy(&self.origin.path().join(name), data)?;
        }
        Ok(())
    }

    /// Runs both until the job is done; the words of the worker when it refuses.
    async fn finish(&mut self) -> Result<std::result::Result<Told, String>> {
        let said_before = self.worker.said().len();
        self.coordinator.restart().await?;
        self.worker.restart()?;
        let (coordinator, worker, job) = (&self.coordinator, &mut self.worker, self.job);
        let ended = until("the job's end, or a refusal", async || {
            let done = coordinator.job(job).await?.state() == pb::job_status::State::Done;
            let refused = !worker.program().runs()?;
            Ok((done || refused).then_some(done))
        });
        let done = ended.await;
        let told = match &done {
            Ok(true) => Ok(self.told().await?),
            _ => Err(self.worker.said()[said_before..].to_owned()),
        };
        self.worker.kill()?;
        self.coordinator.kill()?;
        done?;
        Ok(told)
    }

    async fn told(&self) -> Result<Told> {
        let results = self.coordinator.results(JobId(self.job)).await?;
        let mut admin = pb::admin_client::AdminClient::new(self.coordinator.channel().await?);
        let request = self.coordinator.with_token(pb::WorkersRequest::default());
        let workers = admin.workers(request).await?.into_inner().workers;
        let of_worker = workers.iter().map(|worker| {
            format!(
                "{:?} {} {} {}",
                worker.worker_key, worker.credit, worker.disagreed, worker.caught
            )
        });
        Ok(Told {
            credit: self.coordinator.job(self.job).await?.credit,
            of_worker: of_worker.collect::<Vec<_>>().join(", "),
            results: results
                .iter()
                .map(|result| (result.unit, format!("{:?} {}", result.outcome, result.fuel)))
                .collect(),
        })
    }
}

/// Which kind of file this is, for the sums.
fn kind(path: &Path) -> String {
    let first =
        path.components().next().map(|first| first.as_os_str().to_string_lossy().into_owned());
    match (first, path.extension()) {
        (Some(first), Some(kind)) if path.components().count() > 1 => {
            format!("{first}/*.{}", kind.to_string_lossy())
        }
        (Some(first), _) if ["blobs", "snapshots", "outputs"].contains(&first.as_str()) => {
            format!("{first}/*")
        }
        _ => path.display().to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_damage_to_a_workers_folder_is_silent() -> Result<()> {
    let mut scene = scene().await?;
    scene.reset()?;
    let before = scene.finish().await?;
    let before = before.map_err(anyhow::Error::msg).context("without any damage")?;
    ensure!(before.results.len() as u64 == UNITS, "{before:?}");
    let origin = scene.origin.path().join("worker");
    let all: Vec<PathBuf> = files(&origin)?;
    let all: Vec<PathBuf> = all.into_iter().filter(|path| path != Path::new("lock")).collect();
    let mut random = randomness();
    let mut trials = Vec::new();
    for of in kinds(8) {
        let path = choose(&mut random, &all, kind);
        let damage = Damage::of(&mut random, &origin.join(&path), of)?;
        let trial = async {
            scene.reset()?;
            damage.strike(&scene.worker.data.join(&path))?;
            match scene.finish().await? {
                Ok(after) if after == before => Ok(Verdict::Harmless),
                Ok(after) => bail!("a silent difference: {after:?}, not {before:?}"),
                Err(said) => {
                    let name = path.file_name().context("a file")?.to_string_lossy();
                    ensure!(said.contains(&*name), "refused without its name: {said}");
                    Ok(Verdict::Refused)
                }
            }
        };
        let verdict = trial.await.with_context(|| format!("{damage:?} of {}", path.display()))?;
        trials.push((kind(&path), verdict));
    }
    summed(&trials);
    Ok(())
}
