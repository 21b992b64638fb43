//! `cargo bench -p tests --bench swarm -- [WORKERS [MEGABYTES]]`: one input to many workers on loopback, by way of the
//! swarm and without it.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what is printed is for the reader of a bench, and a failed expectation is its result"
)]

use anyhow::Result;
use tests::grid::Profile;
use tests::swarm::carry;

#[tokio::main]
async fn main() -> Result<()> {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<u32>().ok());
    let workers = numbers.next().unwrap_or(16);
    let megabytes = usize::try_from(numbers.next().unwrap_or(256))?;
    println!("{megabytes} MB to each, over loopback");
    println!("{:>8} {:<12} {:>9} {:>18}", "workers", "", "seconds", "coordinator sent");
    for (n_workers, peers) in [(1, false), (workers, true), (workers, false)] {
        let carried = carry(Profile::Release, n_workers, megabytes << 20, peers, &[]).await?;
        println!(
            "{n_workers:>8} {:<12} {:>9.1} {:>11}.{:02} copies",
            if peers { "swarm" } else { "no peers" },
            carried.time.as_secs_f64(),
            carried.percent() / 100,
            carried.percent() % 100,
        );
    }
    Ok(())
}
