//! `cargo bench -p tests --bench storms -- partition [SECONDS]`: a swarm is cut in two for so long (600) and heals.
//! `cargo bench -p tests --bench storms -- churn [WORKERS [MEGABYTES [MBIT [SECONDS]]]]`: half of all peers (12) are killed
//! and come back every so many seconds (60), while an input (256 MB) goes to all over lines of so many Mbit/s (20).
#![allow(clippy::print_stdout, reason = "what is printed is for the reader of a bench")]

use anyhow::{Result, bail};
use std::time::Duration;
use tests::grid::Profile;
use tests::netns::Internet;
use tests::storms;

/// Units of the job that is under way when the swarm is cut in two.
const UNITS: u64 = 64;

// One thread, which stays in the coordinator's namespace.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let number = |index: usize, usual: u32| {
        arguments.get(index).map_or(Ok(usual), |argument| argument.parse::<u32>())
    };
    if let Some(reason) = Internet::missing() {
        println!("*** this machine makes no network namespaces ({reason}) ***");
        return Ok(());
    }
    match arguments.first().map(String::as_str) {
        Some("partition") => {
            let cut = Duration::from_secs(number(1, 600)?.into());
            println!("{:#?}", storms::partition(Profile::Release, UNITS, cut).await?);
        }
        Some("churn") => {
            let (workers, megabytes) = (number(1, 12)?, usize::try_from(number(2, 256)?)?);
            let (mbit, round) = (number(3, 20)?, Duration::from_secs(number(4, 60)?.into()));
            let churned =
                storms::churn(Profile::Release, workers, megabytes << 20, mbit, round).await?;
            println!("{churned:#?}");
        }
        _ => bail!("partition [SECONDS] | churn [WORKERS [MEGABYTES [MBIT [SECONDS]]]]"),
    }
    Ok(())
}
