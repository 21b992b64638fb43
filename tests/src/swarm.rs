//! One large input to many workers, as real programs over loopback.

use crate::grid::{Coordinator, Profile, Worker, until};
use anyhow::{Context, Result, ensure};
use proto::cut::Axis;
use proto::job::Input;
use proto::pb;
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

/// What it took until all workers had run a unit on the input.
#[derive(Clone, Copy, Debug)]
pub struct Carried {
    /// From the submission to the last report.
    pub time: Duration,
    /// Bytes of content that the coordinator gave, the kernel's among them.
    pub given: u64,
    /// Bytes of the input.
    pub len: u64,
}

impl Carried {
    /// What the coordinator gave, in hundredths of the input.
    #[must_use]
    pub const fn percent(&self) -> u64 {
        self.given * 100 / self.len
    }
}

/// Content that no compression makes smaller.
#[must_use]
pub fn content(len: usize) -> Vec<u8> {
    let mut content = vec![0; len];
    blake3::Hasher::new().update(b"input").finalize_xof().fill(&mut content);
    content
}

/// How many neighbours a worker has.
fn n_neighbours(profile: Profile, worker: &Worker) -> Result<usize> {
    let mut command = Command::new(crate::grid::program(profile, "starling-worker"));
    let output =
        command.arg("--data").arg(&worker.data).args(["--output", "json", "peers"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout)?;
    Ok(told["peers"].as_array().context("peers")?.len())
}

/// Gives an input of `len` bytes to `n_workers` workers, whose arguments of `run` are those of the tests and `more`; each
/// of them runs the job's one unit. With `peers` they are linked first.
///
/// # Errors
/// When anything fails, or takes too long.
pub async fn carry(
    profile: Profile,
    n_workers: u32,
    len: usize,
    peers: bool,
    more: &[&str],
) -> Result<Carried> {
    let coordinator = Coordinator::start(profile).await?;
    let mut workers = Vec::new();
    for number in 0..n_workers {
        let mut worker = Worker::join(profile, &coordinator.join, &format!("w{number}"))?;
        if peers {
            worker.arguments.retain(|argument| argument != "--no-peers");
            let loopback = ["--peer-listen", "127.0.0.1:0", "--no-lan", "--no-port-mapping"];
            worker.arguments.extend(loopback.map(str::to_owned));
        }
        worker.arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        worker.restart()?;
        workers.push(worker);
    }
    until("all workers", async || {
        let connected = coordinator.status().await?.workers_connected;
        Ok((connected == u64::from(n_workers)).then_some(()))
    })
    .await?;
    if peers {
        // A worker looks for a dozen neighbours; here for all, when they are fewer.
        let wanted = usize::try_from(n_workers)?.saturating_sub(1).min(5);
        for worker in &workers {
            until("neighbours", async || {
                Ok((wanted <= n_neighbours(profile, worker)?).then_some(()))
            })
            .await?;
        }
    }
    let content = content(len);
    let digest = coordinator.put(&content).await?;
    let axis = Axis::Range { name: "p".into(), first: 3, end: 5, per_unit: 2 };
    let mut spec = coordinator.trivial_spec(axis, n_workers).await?;
    spec.inputs = vec![Input { name: "input".into(), digest, len: content.len() as u64 }];
    let before = coordinator.status().await?.blob_bytes_given;
    let started = Instant::now();
    let job = coordinator.submit(&spec).await?.job_id;
    until("all workers to have run the unit", async || {
        Ok((coordinator.job(job).await?.state() == pb::job_status::State::Done).then_some(()))
    })
    .await?;
    let time = started.elapsed();
    let given = coordinator.status().await?.blob_bytes_given - before;
    for worker in &mut workers {
        worker.program().terminate().await?;
    }
    Ok(Carried { time, given, len: content.len() as u64 })
}
