//! The swarm with real programs: the coordinator sends an input about once, however many workers need it.

use anyhow::{Result, ensure};
use tests::grid::Profile;
use tests::swarm::carry;

#[tokio::test(flavor = "multi_thread")]
async fn an_input_leaves_the_coordinator_twice_at_most_for_six_workers() -> Result<()> {
    let carried = carry(Profile::Same, 6, 24 << 20, true, &[]).await?;
    println!("{carried:?}: {} % of the input", carried.percent());
    ensure!(100 <= carried.percent() && carried.percent() <= 200, "{carried:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_peers_each_worker_gets_its_own_copy() -> Result<()> {
    let carried = carry(Profile::Same, 2, 2 << 20, false, &[]).await?;
    ensure!(200 <= carried.percent(), "what is counted is what is sent: {carried:?}");
    Ok(())
}
