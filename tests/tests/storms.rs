//! Short versions of what `cargo bench -p tests --bench storms` does at length: a swarm that is cut in two, peers that
//! come and go. The runtimes are one thread each, which stays in a namespace.

use crate::peers::networks;
use anyhow::Result;
use std::time::Duration;
use tests::grid::Profile;
use tests::storms;

#[tokio::test]
async fn halves_of_a_swarm_that_were_cut_apart_lose_nothing_and_do_nothing_twice() -> Result<()> {
    if networks("a swarm that is cut in two").is_none() {
        return Ok(());
    }
    println!("{:?}", storms::partition(Profile::Same, 32, Duration::ZERO).await?);
    Ok(())
}

#[tokio::test]
async fn a_blob_reaches_all_while_half_of_the_peers_come_and_go() -> Result<()> {
    if networks("peers that come and go").is_none() {
        return Ok(());
    }
    let round = Duration::from_secs(8);
    println!("{:?}", storms::churn(Profile::Same, 6, 16 << 20, 20, round).await?);
    Ok(())
}
