//! The coordinator while it gathers what its workers have kept.

use super::{Config, Kind, StartError, Started, advertised, listen, open};
use crate::backup::Tee;
use crate::blobs::BlobStore;
use crate::core::replay::Rebuilt;
use crate::core::time::Clock;
use crate::grpc;
use crate::project::{self, Folder, Identity, file, names};
use crate::rebuild::Gather;
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::store::sled::SledStore;
use crate::tally::{self, Tally};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether nothing new comes any more.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How long calls may take to end when all has been gathered.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Records in one commit.
const COMMIT_RECORDS: usize = 10_000;

/// Gathers until nothing new has come for `quiet`, then writes a new store. An older one is put aside, and used.
pub(super) async fn rebuild(
    config: &Config,
    quiet: Duration,
    folder: &Folder,
    identity: &Identity,
    clock: &Arc<dyn Clock>,
    blobs: &Arc<BlobStore>,
) -> Result<(), StartError> {
    let older = folder.put_aside(names::STORE, "before-rebuild")?;
    let gather = Arc::new(match &older {
        Some(path) => Gather::new(&identity.key, &SledStore::open(path)?)?,
        None => Gather::new(&identity.key, &MemoryStore::default())?,
    });
    let (listener, address) = listen(config.listen).await?;
    let join = identity.join(config.advertise.clone().unwrap_or_else(|| advertised(address)));
    let tee = Arc::new(Tee::new(Arc::new(MemoryStore::default())));
    let store = Arc::clone(&tee) as Arc<dyn Store>;
    let (kind, blobs_served) = (Kind::Gathering(Arc::clone(&gather)), Arc::clone(blobs));
    let Started { shared, thread } =
        open(config, (store, tee), kind, identity, clock, blobs_served, &join).await?;
    grpc::serve(listener, identity, config.connections_max, &shared)?;
    tracing::info!(%address, "the records are built up from what workers have kept; jobs go on after that");
    let mut told = tokio::time::Instant::now();
    while gather.quiet_for().is_none_or(|passed| passed < quiet) {
        tokio::time::sleep(LOOK_EVERY).await;
        if TELL_EVERY <= told.elapsed() {
            told = tokio::time::Instant::now();
            tracing::info!("{}", gather.told());
        }
    }
    shared.stop.cancel();
    if tokio::time::timeout(END_WITHIN, shared.tasks.wait()).await.is_err() {
        tracing::warn!("calls did not end in time and are cut off");
    }
    shared.engine.stop().await;
    // Nothing of it is kept.
    let _ = tokio::task::spawn_blocking(|| thread.join()).await;
    let (paths, blobs) =
        ([names::STORE, names::TALLY].map(|name| folder.at(name)), Arc::clone(blobs));
    let last = tally::last(folder, identity)?;
    let lost_outputs = gather.lost_outputs(&blobs);
    let now_ms = clock.now().wall_ms;
    let written = tokio::task::spawn_blocking(move || {
        let rebuilt = gather.finish(now_ms);
        write(&rebuilt, &paths, &last, now_ms)?;
        Ok::<_, StartError>(rebuilt)
    });
    let rebuilt = match written.await {
        Ok(rebuilt) => rebuilt?,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    let report = report(&rebuilt, lost_outputs);
    for line in report.lines() {
        tracing::info!("{line}");
    }
    file::write(&folder.at(names::REBUILT), report.as_bytes())?;
    Ok(())
}

/// Writes the records into a new store, which gets its name when it is whole, and is counted before: should this be cut
/// short, the tally tells that there are records to be built up.
fn write(
    rebuilt: &Rebuilt,
    [path, tally_path]: &[PathBuf; 2],
    last: &Tally,
    now_ms: u64,
) -> Result<(), StartError> {
    let aside = path.with_extension("new");
    let moved = |source| project::Error::Aside { from: aside.clone(), to: path.clone(), source };
    if aside.exists() {
        // Of an attempt that was cut short.
        fs::remove_dir_all(&aside).map_err(moved)?;
    }
    let store = SledStore::open(&aside)?;
    for records in rebuilt.records.chunks(COMMIT_RECORDS) {
        store.commit(records.to_vec())?;
    }
    tally::count_anew(&store, last, tally_path, now_ms)?;
    drop(store);
    fs::rename(&aside, path).map_err(moved)?;
    Ok(())
}

/// What came of it, for people.
fn report(rebuilt: &Rebuilt, lost_outputs: usize) -> String {
    let Rebuilt { records: _, settled, credit, running, ended, open, losses } = rebuilt;
    let mut text = format!(
        "built up again: {settled} verdicts, {credit} fuel of credit, {running} jobs that run and {ended} that have ended, {open} reports without a verdict\n"
    );
    // Writing to a string does not fail.
    for loss in losses {
        let _ = writeln!(text, "lost: {loss}");
    }
    if 0 < lost_outputs {
        let _ = writeln!(
            text,
            "lost: {lost_outputs} outputs too large to travel inside reports: restore the blobs from a backup, or submit those jobs again"
        );
    }
    text.push_str(
        "not kept by anybody, as ever: tokens of researchers (issue new ones), names of workers (they come back with them), leases of workers that did not answer, and what was reported after the newest head of the log that a worker had, unless the reports themselves were had\n",
    );
    text
}
