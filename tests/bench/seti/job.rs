//! The search as a job: wall time against CPU time on two cores.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;
use tests::grid::{Coordinator, Profile, Worker, program};

/// Shares of the cost in each unit, of 30,000: 60 units.
const PER_UNIT: &str = "cut.0.per_unit=500";

/// Submits the unit as `starling submit --kernel seti` does, once each unit, and waits for the result.
pub(crate) async fn measure(unit: &Path, short: bool) -> Result<()> {
    let coordinator = Coordinator::start(Profile::Release).await?;
    let mut workers = Vec::new();
    for name in ["ada", "grace"] {
        let mut worker = Worker::join(Profile::Release, &coordinator.join, name)?;
        // Little ahead, so that both are busy until the end.
        worker.arguments.extend(["--buffer", "5s"].map(str::to_owned));
        worker.restart()?;
        workers.push(worker);
    }
    let folder = tempfile::tempdir()?;
    let starling = async |arguments: &[&str]| -> Result<String> {
        let mut command = tokio::process::Command::new(program(Profile::Release, "starling"));
        command.arg("--profile").arg(folder.path().join("profile.json"));
        let output = command.current_dir(folder.path()).args(arguments).output().await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        Ok(said)
    };
    starling(&["login", &coordinator.join.to_string(), "--token", &coordinator.token]).await?;
    let unit = unit.canonicalize()?;
    let unit = unit.to_str().context("a path in Unicode")?;
    let mut arguments =
        vec!["submit", "--kernel", "seti", unit, "--set", "copies=1", "--set", PER_UNIT];
    if short {
        arguments.extend(["--set", "params.chirp_limits=[1.0, 2.0]"]);
    }
    let ids: Vec<u32> = workers.iter_mut().map(|worker| worker.program().id()).collect();
    let (before, begun) = (cpu(&ids)?, Instant::now());
    starling(&arguments).await?;
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu(&ids)? - before);
    let status = coordinator.job(1).await?;
    ensure!(status.failed == 0, "{status:?}");
    println!(
        "{} units and merges on two cores: wall {wall:.1} s, CPU of the workers {cpu:.1} s, wall / (CPU / 2) = {:.3}",
        status.units,
        wall / (cpu / 2.0)
    );
    let result = std::fs::read(folder.path().join("result.sah"))?;
    if !short {
        super::reference::check(&result)?;
    }
    coordinator.stop_and_check().await
}

/// CPU seconds of processes and all their descendants, ended ones too.
fn cpu(ids: &[u32]) -> Result<f64> {
    let mut processes = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that has ended meanwhile is counted by its parent.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        let fields: Vec<&str> = stat.rsplit_once(") ").context("stat")?.1.split(' ').collect();
        let ticks: f64 =
            fields[11..15].iter().map(|field| field.parse::<f64>()).sum::<Result<_, _>>()?;
        processes.insert(id, (fields[1].parse::<u32>()?, ticks));
    }
    let ours = |mut id: u32| {
        while let Some((parent, _)) = processes.get(&id) {
            if ids.contains(&id) {
                return true;
            }
            id = *parent;
        }
        false
    };
    let ticks: f64 =
        processes.iter().filter(|(id, _)| ours(**id)).map(|(_, (_, ticks))| ticks).sum();
    Ok(ticks / 100.0) // USER_HZ is 100 on every Linux that Rust runs on
}
