//! Around the pure agent: the stream, the blobs, the slots, the disk and the clock.
//!
//! One task owns the agent. Everything that happens reaches it through one bounded channel; it applies what has gathered,
//! keeps the records, and only then does the actions. Whatever takes long runs in a task of its own and answers with an
//! event.

mod act;
mod convert;
mod fetch;
mod journal;
mod logs;
mod origin;
mod peers;
mod put;
mod slots;
mod stream;

use crate::blobs::Blobs;
use crate::control::{Ask, Report};
use crate::coordinator::Session;
use crate::custody::Custody;
use crate::disk;
use crate::exchange::Exchange;
use crate::folder::{self, Folder, Identity, Project};
use crate::machine;
use crate::network;
use crate::outbox::Outbox;
use crate::traces::Traces;
use iroh_metrics::RwLockRegistry;
use logs::Logs;
use proto::seal::Sealer;
use proto::{AccountKey, WorkerKey};
use sandbox::{Pool, Priority, Walls};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use std::{fs, io};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker_core::agent::{self, Agent, Effects, Event, Now};
use worker_core::custody;

/// What has happened and was not taken up yet. Slots wait when it is full; they produce the most.
const INBOX: usize = 4096;
/// Events taken up before what they ask for is kept and done: many short reports share one write.
const GATHERED_MAX: usize = 2048;
/// Notices that a slow listener may be behind before it loses some.
const NOTICES: usize = 1024;
/// How long a stop may take: snapshots, and the last words to the coordinator.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How long the coordinator may take to close the stream after the last words.
const LAST_WORDS_MAX: Duration = Duration::from_secs(3);

/// How a worker is run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The program whose children run units: it calls [`sandbox::child_main`] when its first argument is
    /// [`sandbox::CHILD_VERB`].
    pub program: PathBuf,
    /// Units that run at the same time.
    pub slots: u32,
    /// Memory that they may use together, bytes.
    pub memory_bytes: u64,
    /// Disk for kernels and inputs, bytes.
    pub cache_bytes: u64,
    /// Disk for traces and states on them, bytes.
    pub trace_bytes: u64,
    /// What is left free on the disk, bytes; when absent what suits the disk.
    pub reserve_bytes: Option<u64>,
    /// Computing to hold ahead for each slot.
    pub buffer: Duration,
    /// Time between two snapshots of a unit.
    pub snapshot_interval: Duration,
    /// Whom the slots let go first.
    pub priority: Priority,
    /// Whether nothing is computed where the system lacks the walls that count.
    pub require_walls: bool,
    /// Peers that are given each report of this worker.
    pub held_copies: usize,
    /// Disk for reports held for others, bytes.
    pub held_bytes: u64,
    /// How long a report of somebody else is held before the coordinator is told of it.
    pub held_patience: Duration,
    /// How often the project's log is asked for, unless peers tell of it.
    pub log_every: Duration,
    /// How to take part in the peer network; not at all when absent.
    pub peers: Option<network::Config>,
}

impl Config {
    /// All cores and most of the memory that this process may use, low priority.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            slots: machine::cores(),
            memory_bytes: machine::memory().map_or(2 << 30, |all| all.value / 4 * 3),
            cache_bytes: 10 << 30,
            trace_bytes: 2 << 30,
            reserve_bytes: None,
            buffer: Duration::from_secs(300),
            snapshot_interval: Duration::from_secs(60),
            priority: Priority::Background,
            require_walls: false,
            held_copies: custody::bounds::COPIES,
            held_bytes: custody::bounds::OTHERS_BYTES,
            held_patience: custody::bounds::PATIENCE,
            log_every: Duration::from_secs(300),
            peers: None,
        }
    }
}

/// Why a worker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] folder::Error),
    /// A file in it.
    #[error("cannot use {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its slots.
    #[error(transparent)]
    Pool(#[from] sandbox::Error),
    /// The project's key.
    #[error(transparent)]
    Seal(#[from] proto::seal::Invalid),
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop; what it holds is on disk.
    Stopped,
    /// It has left the project.
    Left,
    /// The coordinator does not want it; what to do is in the text.
    Refused(String),
}

/// What a worker tells whoever listens.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The coordinator has welcomed it.
    Connected,
    /// It was parted from the coordinator; why.
    Parted(String),
    /// A unit ended with a result; written `j7/u12`.
    Finished(String),
    /// Something for the owner.
    Said(String),
}

/// A worker that runs; it ends when this is dropped, and orderly with [`Worker::shutdown`].
#[derive(Debug)]
pub struct Worker {
    asks: mpsc::Sender<Ask>,
    notices: broadcast::Sender<Notice>,
    stop: CancellationToken,
    ended: watch::Receiver<Option<Ended>>,
    registry: RwLockRegistry,
    tasks: JoinSet<()>,
}

impl Worker {
    /// Starts a worker on a folder that has joined a project. To be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(folder: Folder, config: Config) -> Result<Self, StartError> {
        let (asks, asked) = mpsc::channel(16);
        let (notices, _) = broadcast::channel(NOTICES);
        let (end, ended) = watch::channel(None);
        let stop = CancellationToken::new();
        let driver = AgentTask::new(folder, config, asked, notices.clone(), stop.clone())?;
        let registry = driver.registry.clone();
        let mut tasks = JoinSet::new();
        let server = crate::control::serve(&driver.folder.socket(), asks.clone())
            .map_err(|source| StartError::File { path: driver.folder.socket(), source })?;
        tasks.spawn(server);
        tasks.spawn(async move {
            let how = Box::pin(driver.run()).await;
            end.send_replace(Some(how));
        });
        Ok(Self { asks, notices, stop, ended, registry, tasks })
    }

    /// What it is doing; `None` when it has ended.
    pub async fn status(&self) -> Option<Report> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.asks.send(Ask::Status(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Where its owner's questions go.
    pub(crate) fn asks(&self) -> mpsc::Sender<Ask> {
        self.asks.clone()
    }

    /// What its parts count.
    pub(crate) fn registry(&self) -> RwLockRegistry {
        self.registry.clone()
    }

    /// What it tells from now on.
    #[must_use]
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Asks it to stop: snapshots are taken, everything held stays on disk. [`Self::ended`] tells when it has.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until it has ended of itself or was told to.
    pub async fn ended(&mut self) -> Ended {
        // The driver sends before it goes.
        let ended = self.ended.wait_for(Option::is_some).await;
        ended.ok().and_then(|ended| ended.clone()).unwrap_or(Ended::Stopped)
    }

    /// Stops it and waits for its end.
    pub async fn shutdown(mut self) -> Ended {
        self.stop();
        let ended = self.ended().await;
        self.tasks.shutdown().await;
        ended
    }
}

/// What reaches the task that owns the agent.
#[derive(Debug)]
enum Input {
    /// For the agent.
    Event(Event),
    /// From a stream, which may be an old one.
    Stream(u64, stream::StreamEvent),
    /// Kernels have logged.
    Logged,
    /// The slots have stopped.
    PoolStopped,
}

/// The task that owns the agent, and all that it works with.
struct AgentTask {
    agent: Agent,
    born: Instant,
    folder: Arc<Folder>,
    project: Project,
    identity: Identity,
    config: Config,
    outbox: Option<Outbox>,
    blobs: Arc<Blobs>,
    traces: Arc<Traces>,
    custody: Custody,
    pool: Arc<Pool>,
    run_names: Arc<slots::RunNames>,
    /// What is left free on the disk, bytes.
    reserve: u64,
    /// What kernels have logged; the slots write it.
    logs: Arc<Mutex<Logs>>,
    inbox: mpsc::Receiver<Input>,
    sender: mpsc::Sender<Input>,
    asks: mpsc::Receiver<Ask>,
    notices: broadcast::Sender<Notice>,
    registry: RwLockRegistry,
    stop: CancellationToken,
    stop_deadline: Option<Instant>,
    pool_stopped: bool,
    /// Counts streams, so that what an old one says is not taken for the new one's.
    stream: u64,
    /// What the tasks that fetch and put use.
    session: watch::Sender<Option<Session>>,
    reader: Option<tokio::task::AbortHandle>,
    /// Brings blobs from peers, and gives them on.
    exchange: Option<Exchange>,
    peers: Option<network::Running>,
    tasks: JoinSet<()>,
    /// The walls that stood around the trial unit.
    walls: Arc<OnceLock<Walls>>,
    /// What the owner must mend.
    trouble: Option<String>,
    ended: Option<Ended>,
}

impl AgentTask {
    fn new(
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

    fn now(&self) -> Now {
        self.born.elapsed()
    }

    async fn run(mut self) -> Ended {
        tracing::info!(
            coordinator = self.project.join.address,
            slots = self.config.slots,
            held = self.agent.held().count(),
            "worker starts"
        );
        self.start_peers().await;
        self.apply([Event::Doubt("it has just started".into())]).await;
        let mut inputs = Vec::new();
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                () = self.stop.cancelled(), if self.stop_deadline.is_none() => self.begin_stop().await,
                Some(ask) = self.asks.recv() => self.asked(ask).await,
                n = self.inbox.recv_many(&mut inputs, GATHERED_MAX) => {
                    debug_assert!(0 < n, "this task holds a sender");
                    self.take(inputs.drain(..)).await;
                }
                () = tokio::time::sleep_until(deadline.into()) => self.apply([Event::Wake]).await,
            }
            self.send_fresh_logs();
            while self.tasks.try_join_next().is_some() {}
            if self.stop_deadline.is_some_and(|deadline| deadline <= Instant::now())
                && self.ended.is_none()
            {
                tracing::warn!(
                    "the stop takes too long: the program ends; what it holds is on disk"
                );
                self.ended = Some(Ended::Stopped);
            }
            if let Some(ended) = self.ended.clone() {
                self.finish().await;
                return ended;
            }
        }
    }

    fn next_deadline(&self) -> Instant {
        // Far away, where nothing is due: the owner's clock of a year.
        let due = self.agent.next_deadline().unwrap_or(Duration::from_secs(365 * 86_400));
        let due = self.born.checked_add(due).unwrap_or(self.born);
        let due = self.logs_due().map_or(due, |logs| logs.min(due));
        self.stop_deadline.map_or(due, |stop| stop.min(due))
    }

    async fn take(&mut self, inputs: impl Iterator<Item = Input>) {
        let mut events = Vec::new();
        for input in inputs {
            match input {
                Input::Event(event) => {
                    self.notice_end(&event);
                    events.push(event);
                }
                Input::Stream(stream, news) if stream == self.stream => {
                    events.extend(self.news(news))
                }
                // What is due is sent below.
                Input::Stream(..) | Input::Logged => {}
                Input::PoolStopped => {
                    self.pool_stopped = true;
                    events.push(Event::Stopped);
                }
            }
        }
        self.apply(events).await;
    }

    fn notice_end(&self, event: &Event) {
        if let Event::Finished { run, end: agent::End::Result { .. }, .. } = event
            && 0 < self.notices.receiver_count()
            && let Some(id) = self.agent.unit_of(*run)
        {
            // A listener that has just gone does without.
            let _ = self.notices.send(Notice::Finished(id.to_string()));
        }
    }

    /// Applies events, keeps the records, then does the actions.
    async fn apply(&mut self, events: impl IntoIterator<Item = Event>) {
        let now = self.now();
        let mut effects = Effects::default();
        for event in events {
            let Effects { records, actions } = self.agent.apply(now, event);
            effects.records.extend(records);
            effects.actions.extend(actions);
        }
        self.note_gone(&effects.records);
        if self.keep(effects.records).await {
            for action in effects.actions {
                self.act(action);
            }
        }
        if let (None, Some(reason)) = (&self.ended, self.agent.refusal()) {
            self.say(&format!("the coordinator refuses this worker: {reason}"));
            self.ended = Some(Ended::Refused(reason.to_owned()));
        }
    }

    /// The program is to end: snapshots first.
    async fn begin_stop(&mut self) {
        tracing::info!("stopping: snapshots are taken");
        self.stop_deadline = Some(Instant::now() + STOP_MAX);
        self.apply([Event::Stop]).await;
        let (pool, sender) = (Arc::clone(&self.pool), self.sender.clone());
        self.tasks.spawn(async move {
            // A pool that panics has stopped too.
            let _ = tokio::task::spawn_blocking(move || pool.stop()).await;
            let _ = sender.send(Input::PoolStopped).await;
        });
    }

    /// Lets the coordinator hear the last words: it closes the stream when it has.
    async fn last_words(&mut self) {
        while self.session.borrow().is_some() {
            match self.inbox.recv().await {
                Some(Input::Stream(stream, news)) if stream == self.stream => {
                    if !matches!(news, stream::StreamEvent::Said(_)) {
                        return;
                    }
                    let events = self.news(news);
                    self.apply(events).await;
                }
                Some(_) => {}
                None => return,
            }
        }
    }

    /// Leaves nothing behind that runs.
    async fn finish(mut self) {
        if tokio::time::timeout(LAST_WORDS_MAX, self.last_words()).await.is_err() {
            tracing::debug!("the coordinator has not closed the stream");
        }
        self.drop_stream();
        self.keep_logs();
        if !self.pool_stopped {
            let pool = Arc::clone(&self.pool);
            let stopping = tokio::task::spawn_blocking(move || pool.stop());
            // Slots that end must find room in the channel.
            self.inbox.close();
            while self.inbox.recv().await.is_some() {}
            let _ = stopping.await;
        }
        self.tasks.shutdown().await;
        if let Some(peers) = self.peers.take() {
            peers.shutdown().await;
        }
        tracing::info!("worker ends");
    }

    /// Tells the owner.
    fn say(&self, text: &str) {
        tracing::info!("{text}");
        // Nobody may be listening.
        let _ = self.notices.send(Notice::Said(text.to_owned()));
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
