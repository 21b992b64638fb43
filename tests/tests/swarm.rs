//! The swarm with real programs: the coordinator sends an input about once, however many workers need it.

use crate::peers::networks;
use anyhow::{Result, ensure};
use tests::grid::Profile;
use tests::swarm::{Plan, carry};

const PLAN: Plan =
    Plan { n_workers: 6, n_free_riders: 0, n_together: 0, len: 24 << 20, peers: true, mbit: None };

#[tokio::test(flavor = "multi_thread")]
async fn an_input_leaves_the_coordinator_twice_at_most_for_six_workers() -> Result<()> {
    let carried = carry(Profile::Same, PLAN).await?;
    println!("{carried:?}: {} % of the input", carried.percent());
    ensure!(100 <= carried.percent() && carried.percent() <= 200, "{carried:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_peers_each_worker_gets_its_own_copy() -> Result<()> {
    let carried =
        carry(Profile::Same, Plan { n_workers: 2, len: 2 << 20, peers: false, ..PLAN }).await?;
    ensure!(200 <= carried.percent(), "what is counted is what is sent: {carried:?}");
    Ok(())
}

#[tokio::test]
async fn workers_of_one_house_fetch_an_input_once_from_outside() -> Result<()> {
    if networks("workers of one house").is_none() {
        return Ok(());
    }
    let house = Plan { n_together: 3, len: 16 << 20, mbit: Some(20), ..PLAN };
    let carried = carry(Profile::Same, house).await?;
    let percent = carried.together * 100 / carried.len;
    println!("{carried:?}: three of six, on one line, received {percent} % of the input over it");
    // All traffic of three workers is in it.
    ensure!((100..=150).contains(&percent), "{carried:?}");
    Ok(())
}
