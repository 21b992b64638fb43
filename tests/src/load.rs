//! Volunteers without a sandbox in numbers: they settle a job of trivial units as fast as its coordinator can.

use crate::grid::{Coordinator, PATIENCE, until_within};
use crate::volunteer::{Volunteer, honest};
use anyhow::{Result, ensure};
use proto::join::Join;
use proto::pb;
use proto::pb::coordinator_message::Kind as Said;
use proto::pb::worker_message::Kind as Say;
use proto::report::Ack;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// Units asked for at once. Measured: below 512 the messages cost more than the units.
pub const BATCH: u32 = 1024;
/// Pause of a volunteer whose coordinator is away.
const PAUSE: Duration = Duration::from_millis(50);

/// Volunteers of accounts of their own, at work until this is dropped.
#[derive(Debug)]
pub struct Load {
    /// Reports accepted.
    pub accepted: Arc<AtomicU64>,
    /// What ends is what went wrong.
    pub tasks: JoinSet<Result<()>>,
}

impl Load {
    /// Starts `connections` volunteers, which end with their connection.
    #[must_use]
    pub fn start(join: &Join, connections: u64) -> Self {
        let mut load = Self { accepted: Arc::default(), tasks: JoinSet::new() };
        for number in 0..connections {
            let (join, accepted) = (join.clone(), Arc::clone(&load.accepted));
            load.tasks.spawn(async move {
                let volunteer = Volunteer::connect(&join, number, number).await?;
                work(volunteer, &accepted, BATCH, Duration::ZERO).await
            });
        }
        load
    }

    /// The same, of volunteers that come back whenever they lose their coordinator, and take `batch` units at once, each time
    /// for as long as `time`.
    #[must_use]
    pub fn start_stubborn(join: &Join, connections: u64, batch: u32, time: Duration) -> Self {
        let mut load = Self { accepted: Arc::default(), tasks: JoinSet::new() };
        for number in 0..connections {
            let (join, accepted) = (join.clone(), Arc::clone(&load.accepted));
            load.tasks.spawn(async move {
                loop {
                    if let Ok(volunteer) = Volunteer::connect(&join, number, number).await {
                        // It has lost its coordinator, and tries again.
                        let _ = work(volunteer, &accepted, batch, time).await;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        load
    }
}

/// Settles a whole job.
///
/// # Errors
/// When it does not come to its end in time, or a unit fails.
pub async fn settle(coordinator: &Coordinator, job_id: u64, connections: u64) -> Result<()> {
    let load = Load::start(&coordinator.join, connections);
    let status = until_within(PATIENCE, "the job's end", async || {
        let status = coordinator.job(job_id).await?;
        Ok((status.state() == pb::job_status::State::Done).then_some(status))
    })
    .await?;
    drop(load);
    ensure!(status.failed == 0 && status.settled == status.units, "{status:?}");
    Ok(())
}

async fn work(
    mut volunteer: Volunteer,
    accepted: &AtomicU64,
    batch: u32,
    time: Duration,
) -> Result<()> {
    volunteer.want(batch).await?;
    loop {
        match volunteer.hear().await? {
            Said::Leases(leases) => {
                volunteer.want(batch).await?;
                if !time.is_zero() {
                    tokio::time::sleep(time).await;
                }
                let (batch, _) = volunteer.batch(&leases.leases, honest);
                volunteer.say(Say::Reports(batch)).await?;
            }
            Said::Acks(acks) => {
                let good =
                    acks.status.iter().filter(|status| **status == Ack::Accepted as u8).count();
                accepted.fetch_add(good as u64, Ordering::Relaxed);
            }
            Said::Idle(idle) => {
                tokio::time::sleep(Duration::from_millis(idle.retry_after_ms.clamp(1, 50))).await;
                volunteer.want(batch).await?;
            }
            _ => {}
        }
    }
}
