//! Outputs that nobody wants any more, or never wanted, are removed, a few at a time.

use crate::engine;
use crate::grpc::Services;
use proto::{Digest, JobId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Outputs removed between two commits: the engine's thread removes the files.
const AT_ONCE: usize = 128;

/// Removes the outputs of jobs whose time is over. Those that running jobs name stay, and count, until these have ended.
pub(super) async fn sweep(shared: &Arc<Services>) -> Result<(), engine::Error> {
    let stale = shared.blob_access.take_stale(Instant::now());
    for part in stale.chunks(AT_ONCE) {
        shared.engine.abandon(part.to_vec()).await?;
    }
    let now_ms = shared.clock.now().wall_ms;
    let jobs = shared.engine.look(move |core| core.unwanted_outputs(now_ms)).await?;
    if jobs.is_empty() {
        return Ok(());
    }
    shared.blob_access.forget_ended(&shared.engine).await?;
    let (all, these) = (Arc::clone(shared), jobs.clone());
    let found = tokio::task::spawn_blocking(move || {
        let outputs = all.engine.outputs_of(&these)?.into_iter();
        let named = outputs
            .map(|(job, digest)| (job, digest, all.blob_access.is_named(&all.blobs, &digest)));
        Ok::<Vec<(JobId, Digest, bool)>, engine::Error>(named.collect())
    });
    let found = found.await.map_err(|error| engine::Error::Stopped(Some(error.to_string())))??;
    let mut outputs: BTreeMap<JobId, (Vec<Digest>, bool)> =
        jobs.into_iter().map(|job| (job, (Vec::new(), true))).collect();
    for (job, digest, named) in found {
        let (free, all) = outputs.entry(job).or_default();
        match named {
            true => *all = false,
            false => free.push(digest),
        }
    }
    for (job, (free, all)) in outputs {
        for part in free.chunks(AT_ONCE) {
            shared.engine.disown(job, part.to_vec(), false).await?;
        }
        if all {
            shared.engine.disown(job, Vec::new(), true).await?;
        }
    }
    Ok(())
}
