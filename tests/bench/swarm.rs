//! `cargo bench -p tests --bench swarm -- [WORKERS [MEGABYTES [MBIT [FREE_RIDERS]]]]`: one input to many workers by way
//! of the swarm, and to one worker without it. With MBIT, coordinator and workers are machines in network namespaces, each
//! on a line of so many million bits a second both ways; without, or with 0, they share loopback.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what is printed is for the reader of a bench, and a failed expectation is its result"
)]

use anyhow::{Result, ensure};
use std::time::Duration;
use tests::grid::Profile;
use tests::netns::Internet;
use tests::swarm::{Plan, carry};

// One thread, which stays in the coordinator's namespace.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<u32>().ok());
    let workers = numbers.next().unwrap_or(16);
    let megabytes = usize::try_from(numbers.next().unwrap_or(256))?;
    let mbit = numbers.next().filter(|&mbit| 0 < mbit);
    let riders = numbers.next().unwrap_or(workers / 4);
    if mbit.is_some()
        && let Some(reason) = Internet::missing()
    {
        println!("*** this machine makes no network namespaces ({reason}) ***");
        return Ok(());
    }
    let over = mbit.map_or_else(|| "loopback".to_owned(), |mbit| format!("lines of {mbit} Mbit/s"));
    println!("{megabytes} MB to each, over {over}");
    println!(
        "{:>8} {:<22} {:>8} {:>8} {:>8} {:>17} {:>8} {:>7}",
        "workers", "", "first s", "mean s", "last s", "coordinator sent", "CPU s", "of two"
    );
    let len = megabytes << 20;
    let plan = Plan { n_workers: 1, n_free_riders: 0, n_together: 0, len, peers: false, mbit };
    let swarm = Plan { n_workers: workers, peers: true, ..plan };
    for plan in [plan, swarm, Plan { n_free_riders: riders, ..swarm }] {
        let carried = carry(Profile::Release, plan).await?;
        let (whole, percent) = (carried.time().as_secs_f64(), carried.percent());
        let row = |name: &str, n: usize, times: &[Duration]| {
            let mean = times.iter().sum::<Duration>().as_secs_f64() / n.max(1) as f64;
            let (first, last) = (times.iter().min(), times.iter().max());
            let [first, last] = [first, last].map(|time| time.map_or(0.0, Duration::as_secs_f64));
            print!("{n:>8} {name:<22} {first:>8.1} {mean:>8.1} {last:>8.1}");
        };
        let name = if plan.peers { "swarm" } else { "direct, no peers" };
        row(name, carried.givers.len(), &carried.givers);
        let sent = format!("{}.{:02} copies", percent / 100, percent % 100);
        println!(" {sent:>17} {:>8.1} {:>5.0} %", carried.cpu, carried.cpu / whole * 50.0);
        if 0 < plan.n_free_riders {
            row("free riders beside them", carried.free_riders.len(), &carried.free_riders);
            println!();
        }
        ensure!(percent <= 200, "the coordinator sent more than two copies: {carried:?}");
    }
    Ok(())
}
