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
        "units", "asks", "seconds", "units/s", "reports/s", "memory MB", "coord. CPU s"
    );
    let most = std::env::args().filter_map(|arg| arg.parse().ok()).max().unwrap_or(1_000_000);
    for (units, asks) in [
        (10_000, Asks::Copies(1)),
        (100_000, Asks::Copies(1)),
        (1_000_000, Asks::Copies(1)),
        (10_000_000, Asks::Copies(1)),
        (1_000_000, Asks::Copies(2)),
        (100_000, Asks::Confidence(1e-3)),
        (1_000_000, Asks::Confidence(1e-3)),
        (100_000, Asks::Confidence(1e-6)),
        (1_000_000, Asks::Confidence(1e-6)),
    ] {
        if units <= most {
            run(units, asks).await?;
        }
    }
    Ok(())
}

/// What a job asks for, among 64 owners of whom nothing is known yet, without a referee.
#[derive(Clone, Copy)]
enum Asks {
    Copies(u32),
    Confidence(f64),
}

async fn run(units: u64, asks: Asks) -> Result<()> {
    let coordinator = Coordinator::start(Profile::Release).await?;
    let axis = Axis::Range { name: "p".into(), first: 0, end: units, per_unit: 1 };
    let (copies, asked) = match asks {
        Asks::Copies(copies) => (copies, copies.to_string()),
        Asks::Confidence(target) => (1, format!("{target:e}")),
    };
    let mut spec = coordinator.trivial_spec(axis, copies).await?;
    if let Asks::Confidence(target) = asks {
        spec.confidence = Some(target);
    }
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
        "{units:>10} {asked:>6} {seconds:>9.2} {rate:>12.0} {reports:>12.0} {memory:>10} {cpu:>12.2}"
    );
    coordinator.stop().await
}
