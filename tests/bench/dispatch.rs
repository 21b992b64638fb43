//! How many trivial units per second a real coordinator process hands out, stores durably and settles: sled on disk,
//! TLS, 64 connections, and the load process on the same cores. `cargo bench -p tests --bench dispatch`
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what is printed is for the reader of a test or bench, and a failed expectation is its result"
)]

use anyhow::{Context, Result};
use proto::cut::Axis;
use std::time::{Duration, Instant};
use tests::grid::{Coordinator, Profile};
use tests::load::{BATCH, Load};

const CONNECTIONS: u64 = 64;

#[tokio::main]
async fn main() -> Result<()> {
    println!(
        "{CONNECTIONS} connections, leases and reports of up to {BATCH} units, sled on disk, TLS, durable before acknowledged"
    );
    println!(
        "{:>10} {:>6} {:>9} {:>12} {:>12} {:>10} {:>12}",
        "units", "copies", "seconds", "units/s", "reports/s", "memory MB", "coord. CPU s"
    );
    let most = std::env::args().filter_map(|arg| arg.parse().ok()).max().unwrap_or(1_000_000);
    for (units, copies) in
        [(10_000, 1), (100_000, 1), (1_000_000, 1), (10_000_000, 1), (1_000_000, 2)]
    {
        if units <= most {
            run(units, copies).await?;
        }
    }
    Ok(())
}

async fn run(units: u64, copies: u32) -> Result<()> {
    let coordinator = Coordinator::start(Profile::Release).await?;
    let spec = coordinator
        .trivial_spec(Axis::Range { name: "p".into(), first: 0, end: units, per_unit: 1 }, copies)
        .await?;
    let job = coordinator.submit(&spec).await?;
    let started = Instant::now();
    let mut load = Load::start(&coordinator.join, CONNECTIONS);
    let status = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let status = coordinator.job(job.job_id).await?;
        if status.settled == units {
            break status;
        }
        if let Some(ended) = load.tasks.try_join_next() {
            ended?.context("a connection ended before the job")?;
        }
        anyhow::ensure!(
            started.elapsed() < Duration::from_secs(1_800),
            "stuck at {} of {units}",
            status.settled
        );
    };
    let seconds = started.elapsed().as_secs_f64();
    drop(load);
    anyhow::ensure!(status.failed == 0 && status.copies >= units * u64::from(copies), "{status:?}");
    let (memory, cpu) = coordinator.usage()?;
    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    let (rate, reports) = (units as f64 / seconds, status.copies as f64 / seconds);
    println!(
        "{units:>10} {copies:>6} {seconds:>9.2} {rate:>12.0} {reports:>12.0} {memory:>10} {cpu:>12.2}"
    );
    coordinator.stop().await
}
