//! The start of the task that owns the agent: everything in the folder is opened.

use super::{AgentTask, Config, Notice, StartError, logs, slots};
use crate::blobs::Blobs;
use crate::control::Ask;
use crate::coordinator::Session;
use crate::custody::Custody;
use crate::disk;
use crate::folder::{self, Folder, Identity, Project};
use crate::outbox::Outbox;
use crate::traces::Traces;
use iroh_metrics::RwLockRegistry;
use proto::seal::Sealer;
use proto::{AccountKey, WorkerKey};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use std::{fs, io};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker_core::agent::{self, Agent};
use worker_core::custody;

/// What has happened and was not taken up yet. Slots wait when it is full; they produce the most.
const INBOX: usize = 4096;

impl AgentTask {
    pub(super) fn new(
        folder: Folder,
        config: Config,
        asks: mpsc::Receiver<Ask>,
        notices: broadcast::Sender<Notice>,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let (project, identity) = (folder.project()?, folder.identity()?);
        folder.note_keys()?;
        for path in [folder.snapshots(), folder.outputs(), folder.errands()] {
            program::file::make_folder(&path)
                .map_err(|source| StartError::File { path, source })?;
        }
        let at = |path: PathBuf| move |source| StartError::File { path, source };
        let (outbox, found) = Outbox::open(&folder.journal()).map_err(at(folder.journal()))?;
        if 0 < found.bytes_lost {
            tracing::warn!(
                found.bytes_lost,
                "the end of the journal was torn by a crash and is dropped; a copy is beside it"
            );
        }
        let reserve = config.reserve_bytes.unwrap_or_else(|| disk::reserve_bytes(folder.path()));
        let blobs = Blobs::open(&folder.blobs(), config.cache_bytes, reserve);
        let blobs = blobs.map_err(at(folder.blobs()))?;
        let blobs = Arc::new(blobs);
        let snapshots = units_in(&folder.snapshots()).map_err(at(folder.snapshots()))?;
        let core_config = agent::Config {
            project: project.join.project,
            worker: WorkerKey::from(&identity.worker),
            slots: config.slots,
            memory_bytes: config.memory_bytes,
            buffer: config.buffer,
        };
        let agent = Agent::restore(core_config, found.records, &snapshots);
        tidy(&folder, &agent).map_err(at(folder.path().to_path_buf()))?;
        let (session, mut tasks) = (watch::Sender::new(None), JoinSet::new());
        let custody =
            start_holding(&folder, &config, &project, &identity, &blobs, &session, &mut tasks)?;
        let (sender, inbox) = mpsc::channel(INBOX);
        let folder = Arc::new(folder);
        let held = agent.held().collect();
        let traces = Traces::open(&folder.traces(), config.trace_bytes, config.slots, &held);
        let traces = Arc::new(traces.map_err(at(folder.traces()))?);
        let logs = Arc::new(Mutex::new(logs::send::load(&folder.logs(), &held)));
        let (pool, run_names) =
            slots::start((&config, reserve), &folder, &traces, &logs, sender.clone())?;
        Ok(Self {
            agent,
            born: Instant::now(),
            folder,
            project,
            identity,
            config,
            outbox: Some(outbox),
            blobs,
            traces,
            custody,
            pool: Arc::new(pool),
            run_names,
            reserve,
            logs,
            inbox,
            sender,
            asks,
            notices,
            registry: RwLockRegistry::default(),
            stop,
            stop_deadline: None,
            pool_stopped: false,
            stream: 0,
            session,
            reader: None,
            exchange: None,
            peers: None,
            tasks,
            walls: Arc::default(),
            trouble: None,
            ended: None,
        })
    }
}

/// Opens what is held for others and of one's own.
fn start_holding(
    folder: &Folder,
    config: &Config,
    project: &Project,
    identity: &Identity,
    blobs: &Arc<Blobs>,
    session: &watch::Sender<Option<Session>>,
    tasks: &mut JoinSet<()>,
) -> Result<Custody, StartError> {
    let sealer = Sealer::new(project.join.project, identity.worker.clone(), &identity.account)?;
    let (worker, account) =
        (WorkerKey::from(&identity.worker), AccountKey::from(&identity.account));
    let limits = custody::Config {
        copies: config.held_copies,
        others_bytes: config.held_bytes,
        patience: config.held_patience,
        spread: custody::bounds::SPREAD.min(config.held_patience),
        ..custody::Config::new(worker, account)
    };
    let (blobs, session) = (Arc::clone(blobs), session.subscribe());
    Custody::start(&folder.held(), limits, config.log_every, sealer, blobs, session, tasks)
        .map_err(|source| StartError::File { path: folder.held(), source })
}

/// Units that files in a folder are named after.
fn units_in(path: &Path) -> io::Result<BTreeSet<proto::id::UnitId>> {
    let names =
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    let units = names.iter().filter_map(|name| {
        name.to_str().filter(|name| !name.contains('.')).and_then(folder::unit_of)
    });
    Ok(units.collect())
}

/// Removes files of units that are not held, and of errands.
fn tidy(folder: &Folder, agent: &Agent) -> io::Result<()> {
    let held: BTreeSet<_> = agent.held().collect();
    for path in [folder.snapshots(), folder.outputs()] {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let unit = entry.file_name().to_str().and_then(folder::unit_of);
            if unit.is_none_or(|unit| !held.contains(&unit)) {
                program::file::remove(&entry.path())?;
            }
        }
    }
    for entry in fs::read_dir(folder.errands())? {
        program::file::remove(&entry?.path())?;
    }
    Ok(())
}
