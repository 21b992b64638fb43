//! How many results per second `starling fetch` brings into a folder, each checked against its receipt, from a real
//! coordinator process, beside the same without receipts, over a line with a delay, and how much memory both programs take.
//! `cargo bench -p tests --bench fetch -- 1000000`
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what is printed is for the reader of a test or bench, and a failed expectation is its result"
)]

use anyhow::{Result, ensure};
use proto::cut::Axis;
use proto::join::Join;
use std::fs;
use std::time::{Duration, Instant};
use tests::grid::{Coordinator, Profile, usage};
use tests::load;
use tests::researcher::Researcher;
use tests::wire::Wire;

/// Volunteers that settle the jobs.
const CONNECTIONS: u64 = 64;
/// Of the long line, each way.
const DELAY: Duration = Duration::from_millis(100);
/// The programs as this was built: `cargo test -p tests --bench fetch` tries a debug build.
const PROFILE: Profile = if cfg!(debug_assertions) { Profile::Same } else { Profile::Release };
/// Results fetched over the long line.
const DELAYED: u64 = 100_000;

#[tokio::main]
async fn main() -> Result<()> {
    let most = std::env::args().filter_map(|arg| arg.parse().ok()).max().unwrap_or(1_000_000);
    println!(
        "{:>10} {:>6} {:>28} {:>9} {:>10} {:>9} {:>9} {:>9} {:>12} {:>10}",
        "units",
        "copies",
        "call",
        "seconds",
        "results/s",
        "cli MB",
        "cli CPU s",
        "coord. MB",
        "coord. CPU s",
        "folder MB"
    );
    for (units, copies) in [(100_000, 1), (1_000_000, 1), (1_000_000, 2)] {
        if units <= most {
            run(units, copies).await?;
        }
    }
    Ok(())
}

/// One job, fetched in several ways.
struct Bench {
    coordinator: Coordinator,
    units: u64,
    copies: u32,
}

async fn run(units: u64, copies: u32) -> Result<()> {
    let mut coordinator = Coordinator::start(PROFILE).await?;
    let axis = Axis::Range { name: "p".into(), first: 0, end: units, per_unit: 1 };
    let spec = coordinator.trivial_spec(axis, copies).await?;
    let job = coordinator.submit(&spec).await?;
    load::settle(&coordinator, job.job_id, CONNECTIONS).await?;
    // What it held while the units were settled is not what a fetch takes.
    coordinator.kill()?;
    coordinator.restart().await?;
    let bench = Bench { coordinator, units, copies };
    let here = Researcher::login(PROFILE, &bench.coordinator)?;
    bench
        .fetch(&here, "fetch --no-receipts", &["fetch", "j1", "--to", "bare", "--no-receipts"])
        .await?;
    fs::remove_dir_all(here.path("bare"))?;
    bench.fetch(&here, "fetch", &["fetch", "j1", "--to", "whole"]).await?;
    bench.measure(&here, "verify", &["verify", "whole"], "whole").await?;
    fs::remove_dir_all(here.path("whole"))?;
    if units <= DELAYED {
        let wire = Wire::delayed(bench.coordinator.address, DELAY).await?;
        let join = Join { address: wire.address.to_string(), ..bench.coordinator.join.clone() };
        let far = Researcher::login_at(PROFILE, &join, &bench.coordinator.token)?;
        let call = format!("fetch, {} ms each way", DELAY.as_millis());
        bench.fetch(&far, &call, &["fetch", "j1", "--to", "far"]).await?;
    }
    bench.coordinator.stop().await
}

impl Bench {
    async fn fetch(&self, by: &Researcher, call: &str, arguments: &[&str]) -> Result<()> {
        let folder = arguments[3];
        self.measure(by, call, arguments, folder).await?;
        let text = fs::read(by.path(folder).join("results.jsonl"))?;
        let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
        ensure!(lines == self.units, "{lines} lines");
        Ok(())
    }

    async fn measure(
        &self,
        by: &Researcher,
        call: &str,
        arguments: &[&str],
        folder: &str,
    ) -> Result<()> {
        let before = self.coordinator.usage()?.1;
        let started = Instant::now();
        let mut program = by.start(arguments)?;
        let (mut own, mut cpu, mut coordinator) = (0, 0.0, 0);
        while program.runs()? {
            // It may have ended meanwhile.
            if let Ok((memory, used)) = usage(program.id()) {
                (own, cpu) = (own.max(memory), used);
            }
            coordinator = coordinator.max(self.coordinator.usage()?.0);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let seconds = started.elapsed().as_secs_f64();
        let ended = program.wait().await?;
        ensure!(ended.success(), "{call} ended with {ended}: {}", program.said());
        let file = fs::metadata(by.path(folder).join("results.jsonl"))?.len();
        #[expect(clippy::cast_precision_loss, reason = "rates for people")]
        let (rate, megabytes) = (self.units as f64 / seconds, file as f64 / 1e6);
        println!(
            "{:>10} {:>6} {call:>28} {seconds:>9.2} {rate:>10.0} {own:>9} {cpu:>9.2} {coordinator:>9} {:>12.2} {megabytes:>10.0}",
            self.units,
            self.copies,
            self.coordinator.usage()?.1 - before
        );
        Ok(())
    }
}
