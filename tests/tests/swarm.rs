//! The swarm with real programs: the coordinator sends an input about once, however many workers need it.

use anyhow::{Result, ensure};
use tests::grid::Profile;
use tests::swarm::{Plan, carry};

const PLAN: Plan = Plan { n_workers: 6, n_free_riders: 0, len: 24 << 20, peers: true, mbit: None };

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
