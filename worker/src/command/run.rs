//! `starling-worker run`: computes until it is stopped.

use super::{Failure, output, runtime};
use crate::agent::{Config, Ended, Worker};
use crate::folder::Folder;
use crate::machine;
use sandbox::{Priority, own_program};
use std::path::Path;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) fn run(data: &Path, arguments: &super::Run) -> Result<(), Failure> {
    output::log();
    let failed = |what: &str, error: std::io::Error| Failure::Failed(format!("{what}: {error}"));
    let program =
        own_program().map_err(|error| failed("cannot find this program's own file", error))?;
    machine::raise_file_limit();
    let defaults = Config::new(program);
    let config = Config {
        slots: arguments.cores.unwrap_or(defaults.slots),
        memory_bytes: arguments.memory.map_or(defaults.memory_bytes, |size| size.as_u64()),
        cache_bytes: arguments.cache.as_u64(),
        trace_bytes: arguments.trace_disk.as_u64(),
        reserve_bytes: arguments.reserve.map(|size| size.as_u64()),
        held_copies: arguments.held_copies.into(),
        held_bytes: arguments.held.as_u64(),
        held_patience: arguments.held_patience,
        log_every: arguments.log_every,
        buffer: arguments.buffer,
        snapshot_interval: arguments.snapshot_interval,
        priority: match arguments.priority {
            super::Courtesy::Background => Priority::Background,
            super::Courtesy::Normal => Priority::Normal,
        },
        require_walls: arguments.require_walls,
        peers: (!arguments.no_peers).then(|| arguments.peers.config(data)),
        ..defaults
    };
    machine::check(config.slots, config.memory_bytes).map_err(Failure::Failed)?;
    let folder = Folder::take(data)?;
    runtime()?.block_on(async {
        let mut worker =
            Worker::start(folder, config).map_err(|error| Failure::Failed(error.to_string()))?;
        let _metrics = arguments.metrics.start(worker.registry(), worker.asks()).await?;
        let signals =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        let [Ok(terminate), Ok(interrupt), Ok(hangup)] = signals else {
            return Err(Failure::Failed("cannot listen to signals".into()));
        };
        tokio::select! {
            _ = worker.ended() => {}
            () = any([terminate, interrupt, hangup]) => worker.stop(),
        }
        match worker.shutdown().await {
            Ended::Stopped | Ended::Left => Ok(()),
            Ended::Refused(reason) => {
                Err(Failure::Refused(format!("the coordinator refuses this worker: {reason}")))
            }
        }
    })
}

pub(super) async fn any([mut terminate, mut interrupt, mut hangup]: [Signal; 3]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
}
