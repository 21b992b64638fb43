//! Around the pure agent: the stream, the blobs, the slots, the disk and the clock.
//!
//! One task owns the agent. Everything that happens reaches it through one bounded channel; it applies what has gathered,
//! keeps the records, and only then does the actions. Whatever takes long runs in a task of its own and answers with an
//! event.

mod act;
mod config;
mod convert;
mod fetch;
mod handle;
mod journal;
mod logs;
mod open;
mod origin;
mod peers;
mod put;
mod slots;
mod stream;

pub use config::Config;
pub use handle::{Ended, Notice, StartError, Worker};

use crate::blobs::Blobs;
use crate::control::Ask;
use crate::coordinator::Session;
use crate::custody::Custody;
use crate::exchange::Exchange;
use crate::folder::{Folder, Identity, Project};
use crate::network;
use crate::outbox::Outbox;
use crate::traces::Traces;
use iroh_metrics::RwLockRegistry;
use logs::Logs;
use sandbox::{Pool, Walls};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker_core::agent::{self, Agent, Effects, Event, Now};

/// Events taken up before what they ask for is kept and done: many short reports share one write.
const GATHERED_MAX: usize = 2048;
/// How long a stop may take: snapshots, and the last words to the coordinator.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How long the coordinator may take to close the stream after the last words.
const LAST_WORDS_MAX: Duration = Duration::from_secs(3);

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
