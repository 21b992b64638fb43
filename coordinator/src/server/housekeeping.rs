//! What a coordinator does now and then: tells numbers, forgets, removes, gives memory back.

use super::sweep;
use crate::engine;
use crate::grpc::Services;
use program::error::chain;
use std::sync::Arc;
use std::time::Duration;

/// How often memory that was freed is given back to the system.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(10);
/// How often jobs that have ended are forgotten where that is only to save memory.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// A line of numbers for the log now and then, and memory given back.
pub(super) fn spawn_housekeeping(shared: &Arc<Services>, summary_every: Duration) {
    let (stop, shared) = (shared.stop.clone(), Arc::clone(shared));
    shared.tasks.clone().spawn(async move {
        let summaries = async {
            let mut settled_before = None;
            loop {
                tokio::time::sleep(summary_every).await;
                match summary(&shared, settled_before, summary_every).await {
                    Ok(settled) => settled_before = Some(settled),
                    Err(error) => tracing::warn!("no summary: {}", chain(&error)),
                }
            }
        };
        let forgetting = async {
            loop {
                tokio::time::sleep(FORGET_EVERY).await;
                if let Err(error) = shared.blob_access.forget_ended(&shared.engine).await {
                    tracing::warn!("ended jobs are not forgotten: {}", chain(&error));
                }
            }
        };
        let sweeping = async {
            loop {
                if let Err(error) = sweep::sweep(&shared).await {
                    tracing::warn!("outputs that nobody wants are not removed: {}", chain(&error));
                }
                // Sooner when somebody wants some no more.
                let _ = tokio::time::timeout(FORGET_EVERY, shared.unwanted.notified()).await;
            }
        };
        let giving_back = async {
            loop {
                tokio::time::sleep(GIVE_BACK_EVERY).await;
                let _ = tokio::task::spawn_blocking(worker::memory::give_back).await;
            }
        };
        let walls = shared.compiler.look_at_walls();
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { tokio::join!(walls, summaries, forgetting, sweeping, giving_back); } => {}
        }
    });
}

async fn summary(
    shared: &Services,
    settled_before: Option<u64>,
    every: Duration,
) -> Result<u64, engine::Error> {
    let totals = shared.engine.totals().await?;
    let new = settled_before.map(|before| totals.units_settled.saturating_sub(before));
    tracing::info!(
        workers = totals.workers_connected,
        jobs = totals.jobs_running,
        leased = totals.units_leased,
        settled = totals.units_settled,
        per_second = new.map(|new| new / every.as_secs().max(1)),
        credit = %totals.credit,
        store = %bytesize::ByteSize(totals.store_bytes),
        "running"
    );
    if !totals.trouble.is_empty() {
        tracing::warn!("{}", totals.trouble);
    }
    Ok(totals.units_settled)
}
