//! People who make keys at will, on a real coordinator: they refuse, or they hoard, beside somebody honest.

use anyhow::{Result, ensure};
use proto::cut::Axis;
use proto::pb;
use proto::pb::worker_message::Kind as Say;
use std::time::Duration;
use tests::grid::{Coordinator, Profile, until};
use tests::load::Load;
use tests::volunteer::Volunteer;
use tokio::task::JoinSet;

fn axis(units: u64) -> Axis {
    Axis::Range { name: "p".into(), first: 0, end: units, per_unit: 1 }
}

/// Says of each unit that it gets that it has failed, for ever.
async fn refuse(mut volunteer: Volunteer) -> Result<()> {
    loop {
        let leases = volunteer.lease(16).await?;
        let returns = leases.iter().flat_map(|lease| {
            (lease.first..).take(lease.count as usize).map(|unit| pb::Return {
                lease_id: lease.lease_id,
                unit,
                reason: "it cannot be".into(),
                failure: true,
            })
        });
        volunteer.say(Say::Returns(pb::Returns { returns: returns.collect() })).await?;
    }
}

/// Two accounts with 42 keys between them refuse whatever they get: everything is computed all the same.
#[tokio::test]
async fn accounts_that_only_fail_have_nothing_given_up() -> Result<()> {
    const UNITS: u64 = 1_000;
    let coordinator = Coordinator::start(Profile::Same).await?;
    let mut refusers = JoinSet::new();
    for number in 0..42 {
        let volunteer =
            Volunteer::connect(&coordinator.join, 100 + number, 100 + number % 2).await?;
        refusers.spawn(refuse(volunteer));
    }
    let honest = Load::start_stubborn(&coordinator.join, 2, 16, Duration::from_millis(20));
    let job = coordinator.submit(&coordinator.trivial_spec(axis(UNITS), 1).await?).await?;
    let status = until("the job's end", async || {
        let status = coordinator.job(job.job_id).await?;
        Ok((status.state() == pb::job_status::State::Done).then_some(status))
    })
    .await?;
    ensure!((status.settled, status.failed) == (UNITS, 0), "{status:?}");
    drop((honest, refusers));
    coordinator.stop_and_check().await
}

/// Seven keys ask for all that there is and compute nothing: they hold little of it, and the others get the rest.
#[tokio::test]
async fn those_who_only_ask_get_little() -> Result<()> {
    const UNITS: u64 = 20_000;
    const HOARDERS: u64 = 7;
    /// What somebody may hold who has reported nothing.
    const NEWCOMER_UNITS: u64 = 64;
    let coordinator = Coordinator::start(Profile::Same).await?;
    let mut spec = coordinator.trivial_spec(axis(UNITS), 1).await?;
    spec.lease_s = 3_600;
    let job = coordinator.submit(&spec).await?;
    let mut hoarders = Vec::new();
    for number in 0..HOARDERS {
        let mut volunteer =
            Volunteer::connect(&coordinator.join, 100 + number, 100 + number).await?;
        volunteer.lease(100_000).await?;
        volunteer.want(100_000).await?;
        hoarders.push(volunteer);
    }
    let _honest = Load::start(&coordinator.join, 2);
    let status = until("all but what is hoarded", async || {
        let status = coordinator.job(job.job_id).await?;
        Ok((UNITS - HOARDERS * NEWCOMER_UNITS <= status.settled).then_some(status))
    })
    .await?;
    ensure!(status.failed == 0, "{status:?}");
    Ok(())
}
