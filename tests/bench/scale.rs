//! What a coordinator process needs for a job of 10^9 units, and for 10,000 workers that are connected and idle.
//! `cargo bench -p tests --bench scale`
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what is printed is for the reader of a test or bench, and a failed expectation is its result"
)]

use anyhow::Result;
use proto::cut::Axis;
use std::time::{Duration, Instant};
use tests::grid::{Coordinator, Profile};
use tests::volunteer::{Volunteer, honest};
use tokio::task::JoinSet;

/// How long the idle workers are watched: several heartbeats.
const WATCHED: Duration = Duration::from_secs(60);
/// Connections that are opened at the same time.
const AT_ONCE: u64 = 32;

#[tokio::main]
async fn main() -> Result<()> {
    let workers = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(10_000);
    large_job().await?;
    idle_workers(workers).await
}

async fn large_job() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Release).await?;
    let (before, _) = coordinator.usage()?;
    let axis = Axis::Range { name: "p".into(), first: 0, end: 1_000_000_000, per_unit: 1 };
    let spec = coordinator.trivial_spec(axis, 1).await?;
    let started = Instant::now();
    let job = coordinator.submit(&spec).await?;
    let submitted = started.elapsed();
    let mut volunteer = Volunteer::connect(&coordinator.join, 1, 1).await?;
    let mut reported = 0;
    while reported < 200_000 {
        let leases = volunteer.lease(4096).await?;
        reported += volunteer.report(&leases, honest).await?.status.len();
    }
    let (after, _) = coordinator.usage()?;
    println!(
        "job of 10^9 units: submitted in {} ms; coordinator {before} MB before, {after} MB after 200,000 of its units",
        submitted.as_millis()
    );
    anyhow::ensure!(coordinator.job(job.job_id).await?.units == 1_000_000_000);
    coordinator.stop().await
}

async fn idle_workers(count: u64) -> Result<()> {
    let coordinator = Coordinator::start(Profile::Release).await?;
    let (memory_before, _) = coordinator.usage()?;
    let started = Instant::now();
    let mut connecting = JoinSet::new();
    let mut volunteers = Vec::new();
    let mut next = 0;
    while next < count || !connecting.is_empty() {
        while next < count && (connecting.len() as u64) < AT_ONCE {
            let (join, number) = (coordinator.join.clone(), next);
            connecting.spawn(async move { Volunteer::connect(&join, number, number).await });
            next += 1;
        }
        if let Some(volunteer) = connecting.join_next().await {
            volunteers.push(volunteer??);
        }
    }
    let connected = started.elapsed();
    let mut idle = JoinSet::new();
    for mut volunteer in volunteers {
        idle.spawn(async move {
            volunteer.want(1).await?;
            let beat = Duration::from_millis(volunteer.welcome.heartbeat_ms.into());
            loop {
                tokio::select! {
                    said = volunteer.hear() => { said?; }
                    () = tokio::time::sleep(beat) => {
                        let kind = proto::pb::worker_message::Kind::Heartbeat(proto::pb::Heartbeat::default());
                        volunteer.say(kind).await?;
                    }
                }
            }
            #[expect(unreachable_code, reason = "gives the block its type")]
            anyhow::Ok(())
        });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (memory, cpu) = coordinator.usage()?;
    tokio::time::sleep(WATCHED).await;
    let (_, cpu_after) = coordinator.usage()?;
    anyhow::ensure!(idle.try_join_next().is_none(), "a worker was disconnected");
    let status = coordinator.status().await?;
    anyhow::ensure!(
        status.workers_connected == count,
        "{} are connected",
        status.workers_connected
    );
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (each, share) = (
        (memory - memory_before) as f64 * 1024.0 / count as f64,
        (cpu_after - cpu) / WATCHED.as_secs_f64(),
    );
    println!(
        "{count} idle workers: connected in {:.0} s; {each:.1} KB each ({memory} MB in all); {:.1} % of one core",
        connected.as_secs_f64(),
        share * 100.0
    );
    idle.abort_all();
    coordinator.stop().await
}
