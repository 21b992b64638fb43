//! `run`: the coordinator itself.

use super::{Failure, Output, Run};
use crate::project::names;
use crate::server::{Config, Coordinator};
use program::error::chain;
use program::shell::word;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

pub(super) fn run(data: PathBuf, run: Run, output: &Output) -> Result<(), Failure> {
    program::log::start("info");
    if let Some(warning) = program::clock::warning() {
        tracing::warn!("{warning}");
    }
    raise_file_limit();
    let stop_within = run.stop_within;
    let program = sandbox::own_program().map_err(|error| Failure::failed(&error))?;
    let config = config(data, program, run);
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::failed(&error))?;
    let ended = runtime.block_on(serve(config, stop_within, output));
    // Calls that were cut off may still read the disk; nothing that they do matters any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

fn config(data: PathBuf, program: PathBuf, run: Run) -> Config {
    Config {
        listen: run.address.listen,
        advertise: run.address.advertise,
        account_bytes: run.account_bytes.as_u64(),
        reserve_bytes: run.reserve.as_u64(),
        check_floor: run.check_floor,
        lan: run.lan,
        admission: run.admission,
        referee: !run.no_referee,
        connections_max: usize::try_from(run.connections).unwrap_or(usize::MAX),
        summary_every: run.summary,
        metrics: run.metrics,
        rebuild: run.rebuild,
        accept_loss: run.accept_loss,
        ..Config::new(data, program)
    }
}

/// Each connection is an open file; the system's usual soft limit of 1024 would be met first.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) =
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

async fn serve(config: Config, stop_within: Duration, output: &Output) -> Result<(), Failure> {
    let listening = |error: std::io::Error| Failure::failed(&error);
    let mut terminate = signal(SignalKind::terminate()).map_err(listening)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(listening)?;
    let data = config.data.clone();
    let started = tokio::select! {
        started = Box::pin(Coordinator::start(config)) => started,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let coordinator = started.map_err(|error| Failure::failed(&error))?;
    let (join, address) = (coordinator.join().to_string(), coordinator.local_addr());
    let (token_file, join_word) = (data.join(names::OPERATOR_TOKEN), word(&join));
    let text = format!(
        "Listening at {address}. Volunteers join with:\n\n    starling-worker join {join_word}\n\n\
         A researcher logs in with:\n\n    starling login {join_word}\n\n\
         which asks for a token. It comes from `{}`; yours, the operator's, is in {}.\n",
        super::typed(&data, "token issue NAME"),
        token_file.display()
    );
    let json = json!({ "join": join, "listening": address.to_string(), "operator_token_file": token_file });
    if let Err(failure) = output.result(&text, &json) {
        coordinator.shutdown(stop_within).await;
        return Err(failure);
    }
    let failed = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = coordinator.failed() => true,
    };
    if failed {
        let why = match coordinator.engine().totals().await {
            Err(error) => chain(&error),
            Ok(_) => "the coordinator has stopped".to_owned(),
        };
        coordinator.shutdown(stop_within).await;
        return Err(Failure::Failed(why));
    }
    tracing::info!("stopping");
    coordinator.shutdown(stop_within).await;
    tracing::info!("stopped");
    Ok(())
}
