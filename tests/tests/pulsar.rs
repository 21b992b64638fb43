//! Real recordings, from `starling submit` to a picture: three workers of different accounts, two copies of each unit,
//! real processes and TLS.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::grid::{Coordinator, Profile, Worker, program};

/// A recording beside the repository; `None`, said loudly, where it is not there.
fn recording(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    if path.exists() {
        return path.canonicalize().ok();
    }
    tests::not_tested(&format!("the real recording {}, which is not there", path.display()));
    None
}

/// The researcher's command with a profile of its own.
struct Researcher {
    folder: tempfile::TempDir,
}

impl Researcher {
    async fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new(program(Profile::Same, "starling"));
        command
            .current_dir(self.folder.path())
            .arg("--profile")
            .arg(self.folder.path().join("profile.json"));
        let output = command.args(arguments).output().await?;
        let (said, erred) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(
            output.status.success(),
            "starling {arguments:?}: {}\n{said}\n{erred}",
            output.status
        );
        Ok(said.into_owned())
    }
}

/// Searches a recording on a grid; gives the best candidate and the pictures.
async fn search(recording: &Path, cut: &str) -> Result<(Value, Vec<PathBuf>)> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let _workers = (0..3)
        .map(|number| Worker::start(Profile::Same, &coordinator.join, &format!("account{number}")))
        .collect::<Result<Vec<_>>>()?;
    let researcher = Researcher { folder: tempfile::TempDir::new()? };
    let job = format!(
        "name = \"pulsar\"\nkernel = \"pulsar\"\ncopies = 2\n[[cut]]\nfiles = \"{}\"\n{cut}\n[limits]\nmemory = \"512 MiB\"\n[merge]\nfan_in = 4\n",
        recording.display()
    );
    fs::write(researcher.folder.path().join("job.toml"), job)?;
    researcher
        .run(&["login", &coordinator.join.to_string(), "--token", &coordinator.token])
        .await?;
    researcher.run(&["try", "job.toml", "--unit", "0"]).await?;
    researcher.run(&["submit", "job.toml", "--watch"]).await?;
    researcher.run(&["fetch", "j1", "--to", "results"]).await?;
    researcher.run(&["verify", "results"]).await?;
    let results = researcher.folder.path().join("results");
    let best = best_candidate(&results)?;
    let merged = researcher.folder.path().join("merged.jsonl");
    fs::write(&merged, format!("{best}\n"))?;
    let picture = results.join("picture");
    let [file, result, to] =
        [recording, &merged, &picture].map(|path| path.to_string_lossy().into_owned());
    researcher.run(&["pulsar", "plot", &file, "--result", &result, "--to", &to]).await?;
    let mut pictures = Vec::new();
    for entry in fs::read_dir(&results)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "svg") {
            let svg = fs::read_to_string(&path)?;
            ensure!(
                svg.starts_with("<svg") && svg.contains("<poly"),
                "{} shows nothing",
                path.display()
            );
            pictures.push(path);
        }
    }
    keep_pictures(&pictures)?;
    let status = coordinator.job(1).await?;
    ensure!(status.failed == 0 && status.copies >= 2 * status.units, "{status:?}");
    coordinator.stop_and_check().await?;
    Ok((best, pictures))
}

/// The first candidate of the last merge.
fn best_candidate(results: &Path) -> Result<Value> {
    let lines = fs::read_to_string(results.join("results.jsonl"))?;
    let lines: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let root = lines.iter().max_by_key(|line| line["unit"].as_u64()).context("no results")?;
    let text = match (root["text"].as_str(), root["file"].as_str()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(file)) => fs::read_to_string(results.join(file))?,
        (None, None) => anyhow::bail!("the last merge has no output: {root}"),
    };
    Ok(serde_json::from_str(text.lines().next().context("no candidates")?)?)
}

/// Copies the pictures to where `STARLING_PICTURES` says, for people.
fn keep_pictures(pictures: &[PathBuf]) -> Result<()> {
    if let Some(folder) = std::env::var_os("STARLING_PICTURES") {
        fs::create_dir_all(&folder)?;
        let status = Command::new("cp").args(pictures).arg(&folder).status()?;
        ensure!(status.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_green_bank_recording_shows_its_pulsar() -> Result<()> {
    let Some(recording) = recording("GBT_J1807-0847.tim") else { return Ok(()) };
    let (best, pictures) = search(&recording, "").await?;
    let period = best["period_s"].as_f64().context("period_s")?;
    ensure!((period - 0.163_618).abs() < 0.000_1, "{best}");
    ensure!(pictures.len() == 2, "{pictures:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorials_filterbank_shows_its_pulsar_and_its_dispersion() -> Result<()> {
    let Some(recording) = recording("tutorial.fil") else { return Ok(()) };
    let steps = "[[cut]]\nsteps = \"dm\"\nstart = 0.0\nstep = 2.0\ncount = 31\nper_unit = 4";
    let (best, pictures) = search(&recording, steps).await?;
    let (period, dm) =
        (best["period_s"].as_f64().context("period_s")?, best["dm"].as_f64().context("dm")?);
    ensure!((period - 0.25).abs() < 0.000_5 && (dm - 30.0).abs() <= 4.0, "{best}");
    ensure!(pictures.len() == 2, "{pictures:?}");
    Ok(())
}
