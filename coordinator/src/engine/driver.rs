//! The engine's thread: gathers what came in, applies it, commits once, then answers.

use crate::core::Core;
use crate::core::event::{
    Acks, Delivered, Effects, Event, Missing, Refused, Reply, Session, SignedBatch, SubmitRefused,
    ToWorker,
};
use crate::core::saved::{intake, load, whose};
use crate::core::time::Now;
use crate::engine::handle::{Command, Handle, Reporter};
use crate::engine::reader::Reader;
use crate::engine::sink::Sink;
use crate::engine::{Config, Error};
use crate::random;
use program::error::chain;
use proto::Digest;
use proto::report::{Ack, Batch, Outcome, Output};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

mod extras;

/// Commands that wait for the engine: about one full group; beyond it those who send wait.
const COMMANDS: usize = 1024;
/// Most commands applied before one commit: bounds the time until the first of them is answered.
const GROUP: usize = 512;
/// Pause between two looks at a disk that is full, milliseconds.
const FULL_DISK_MS: u64 = 1_000;
/// Removed outputs that are remembered: more than are removed while a report waits for its turn.
const REMOVED_MAX: usize = 4_096;
/// What a worker is told to wait when the disk is full, milliseconds.
const FULL_DISK_RETRY_MS: u64 = 10_000;

/// The thread that owns the core. Dropping it without [`Handle::stop`] leaves the thread until all handles are gone.
#[derive(Debug)]
pub struct Engine {
    thread: JoinHandle<Result<(), Error>>,
}

/// An answer that waits for the commit.
type Answer = (oneshot::Sender<Reply>, Reply);

struct Driver {
    config: Config,
    core: Core,
    sinks: HashMap<Session, Sink>,
    changes: watch::Sender<u64>,
    trouble: Arc<RwLock<String>>,
    /// What the operator must mend: the disk is full.
    full: Option<String>,
    /// Why nothing is decided any more.
    halted: Arc<OnceLock<String>>,
    /// Found out while answering; applied before anything else.
    pending: Vec<Event>,
    /// Outputs that were removed: a report that was looked at before may name one.
    removed: VecDeque<Digest>,
}

impl Engine {
    /// Loads the core from the store and starts the thread.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be read, contradicts itself, or there is no thread to be had.
    pub fn start(config: Config) -> Result<(Self, Handle), Error> {
        let owned = config.blobs.owned().map_err(Error::Owners)?;
        whose::note(config.store.as_ref(), &owned)?;
        let mut core =
            load(config.store.as_ref(), config.project, config.clock.now(), random::bytes())?;
        core.set_check_floor(config.check_floor);
        core.set_admission(config.admission);
        core.set_account_bytes(config.account_bytes);
        if let Some(referee) = config.referee {
            core.set_embedded(referee);
        }
        for (_, len, account) in &owned {
            core.count_put(account, *len);
        }
        drop(owned);
        let (commands, received) = mpsc::channel(COMMANDS);
        let (changes, changed) = watch::channel(0);
        let stopped = Arc::new(RwLock::new(None));
        let trouble = Arc::new(RwLock::new(String::new()));
        let halted = Arc::new(OnceLock::new());
        let handle = Handle {
            commands,
            store: config.store.clone(),
            blobs: config.blobs.clone(),
            project: config.project,
            changes: changed,
            stopped: stopped.clone(),
            trouble: trouble.clone(),
            halted: halted.clone(),
            reader: Reader::start()?,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let driver = Driver {
            config,
            core,
            sinks: HashMap::new(),
            changes,
            trouble,
            full: None,
            halted,
            pending: Vec::new(),
            removed: VecDeque::new(),
        };
        let body = move || {
            let ended = runtime.block_on(driver.run(received));
            if let Err(error) = &ended {
                let why = chain(error);
                tracing::error!(%why, "the engine has stopped");
                *stopped.write().unwrap_or_else(PoisonError::into_inner) = Some(why);
            }
            ended
        };
        let thread = std::thread::Builder::new().name("engine".into()).spawn(body)?;
        Ok((Self { thread }, handle))
    }

    /// Waits until the thread has ended.
    ///
    /// # Errors
    /// What made it end, unless it was asked to.
    pub fn join(self) -> Result<(), Error> {
        self.thread
            .join()
            .unwrap_or_else(|_| Err(Error::Stopped(Some("the engine panicked".into()))))
    }

    /// Whether the thread has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

impl Driver {
    async fn run(mut self, mut received: mpsc::Receiver<Command>) -> Result<(), Error> {
        let mut group = Vec::with_capacity(GROUP);
        loop {
            let wait = self.wait();
            let count = match wait {
                None => received.recv_many(&mut group, GROUP).await,
                Some(wait) => {
                    match tokio::time::timeout(wait, received.recv_many(&mut group, GROUP)).await {
                        Ok(count) => count,
                        Err(_) => {
                            self.turn(&mut group)?;
                            continue;
                        }
                    }
                }
            };
            if count == 0 {
                return Ok(());
            }
            if let Some(stopped) = self.turn(&mut group)? {
                // Who asked may be gone.
                let _ = stopped.send(());
                return Ok(());
            }
        }
    }

    /// How long nothing needs to be done, should nothing come in.
    fn wait(&self) -> Option<Duration> {
        if self.halted.get().is_some() {
            return None;
        }
        if !self.pending.is_empty() {
            return Some(Duration::ZERO);
        }
        if self.full.is_some() {
            return Some(Duration::from_millis(FULL_DISK_MS));
        }
        let now = self.now();
        let deadline_ms = self.core.next_deadline_ms(now)?;
        Some(Duration::from_millis(deadline_ms.saturating_sub(now.monotonic_ms)))
    }

    fn now(&self) -> Now {
        self.config.clock.now()
    }

    /// Applies a group of commands, commits once, then answers. Gives back who asked to stop.
    fn turn(&mut self, group: &mut Vec<Command>) -> Result<Option<oneshot::Sender<()>>, Error> {
        let now = self.now();
        self.look_at_disk();
        let (mut answers, mut effects, mut looks, mut stop) =
            (Vec::new(), Effects::default(), Vec::new(), None);
        let halted = self.halted.get().is_some();
        for event in std::mem::take(&mut self.pending).into_iter().filter(|_| !halted) {
            self.core.apply(now, event, &mut effects);
        }
        for command in group.drain(..) {
            match command {
                Command::Apply(event, answer) => {
                    let reply = self.apply(now, event, &mut effects);
                    answers.push((answer, reply));
                }
                Command::Report(by, signed, missing, answer) => {
                    let reply = self.report(now, by, *signed, missing, &mut effects)?;
                    answers.push((answer, reply));
                }
                Command::Connect(hello, sink, answer) => {
                    let reply = self.apply(now, Event::Connected(hello), &mut effects);
                    if let Reply::Connected(Ok(welcome)) = &reply {
                        self.sinks.insert(welcome.session, sink);
                    }
                    answers.push((answer, reply));
                }
                Command::Look(look) => looks.push(look),
                Command::Stop(answer) => stop = Some(answer),
            }
        }
        if self.full.is_none() && self.halted.get().is_none() {
            self.core.apply(now, Event::Tick, &mut effects);
        }
        let fresh = self.commit(now)?;
        self.answer(answers, effects)?;
        for look in looks {
            look(&self.core);
        }
        if fresh {
            self.changes.send_modify(|count| *count += 1);
        }
        Ok(stop)
    }

    /// Takes a batch in, or puts it off while the disk is full or nothing is decided any more.
    fn report(
        &mut self,
        now: Now,
        by: Reporter,
        signed: SignedBatch,
        mut missing: Vec<Missing>,
        effects: &mut Effects,
    ) -> Result<Reply, Error> {
        if self.full.is_some() || self.halted.get().is_some() {
            let acks = vec![Ack::Busy; signed.batch.reports.len()];
            return Ok(Reply::Acks(Acks { sequence: signed.batch.sequence, acks, credit: 0 }));
        }
        self.miss_removed(&signed.batch, &mut missing);
        let incoming = intake(&self.core, self.config.store.as_ref(), signed, missing)?;
        let event = match by {
            Reporter::Itself(session) => Event::Reported(session, incoming),
            Reporter::Holder(account) => {
                Event::Delivered(Box::new(Delivered { account, incoming }))
            }
        };
        Ok(self.core.apply(now, event, effects))
    }

    /// Applies an event, or refuses it while the disk is full.
    fn apply(&mut self, now: Now, event: Event, effects: &mut Effects) -> Reply {
        if let Some(why) = self.halted.get() {
            if let Event::Gone(session) | Event::Goodbye { session, .. } = &event {
                self.sinks.remove(session);
            }
            return halt(why, &event, effects);
        }
        if let Some(full) = &self.full
            && let Some(reply) = refuse(full, &event, effects)
        {
            return reply;
        }
        if let Event::Gone(session) | Event::Goodbye { session, .. } = &event {
            self.sinks.remove(session);
        }
        self.core.apply(now, event, effects)
    }

    /// Makes everything durable that was applied; whether there was anything.
    fn commit(&mut self, now: Now) -> Result<bool, Error> {
        if !self.core.has_changes() {
            return Ok(false);
        }
        let changes = self.core.take_changes(now);
        self.config.store.commit(changes)?;
        Ok(true)
    }

    fn answer(&mut self, answers: Vec<Answer>, effects: Effects) -> Result<(), Error> {
        for (answer, reply) in answers {
            // Who asked may be gone.
            let _ = answer.send(reply);
        }
        for digest in &effects.forgotten {
            self.config.blobs.forget(digest);
        }
        for digest in effects.disowned {
            if !whose::is_anybodys(self.config.store.as_ref(), &digest)? {
                self.config.blobs.remove(&digest);
                self.removed.push_back(digest);
            }
        }
        let over = self.removed.len().saturating_sub(REMOVED_MAX);
        self.removed.drain(..over);
        for (session, message) in effects.messages {
            match self.complete(message) {
                Ok(message) => self.say(session, message),
                Err(event) => self.pending.push(event),
            }
        }
        Ok(())
    }

    /// Looks again at outputs that were removed after the reports that name them were looked at.
    fn miss_removed(&self, batch: &Batch, missing: &mut Vec<Missing>) {
        if self.removed.is_empty() {
            return;
        }
        for (position, report) in (0..).zip(&batch.reports) {
            if let Outcome::Done(Output::Blob { digest, .. }) = &report.outcome
                && self.removed.contains(digest)
                && self.config.blobs.len(digest).is_none()
                && let Err(at) = missing.binary_search_by_key(&position, |missing| missing.position)
            {
                missing.insert(at, Missing { position, ack: Ack::OutputMissing });
            }
        }
    }

    /// Says something to a worker. One that reads too slowly is cut off: its sink is dropped.
    fn say(&mut self, session: Session, message: ToWorker) {
        let last = matches!(message, ToWorker::Replaced);
        let Some(sink) = self.sinks.get(&session) else { return };
        if !sink.send(message) || last {
            self.sinks.remove(&session);
        }
    }

    /// Finds out whether the disk is full, and says so once.
    fn look_at_disk(&mut self) {
        let reserve = self.config.reserve_bytes;
        let free = self.config.store.free_bytes().unwrap_or(u64::MAX);
        let full = (free < reserve).then(|| {
            format!("the coordinator's disk is full: {free} bytes are free, {reserve} are kept in reserve; make room, it goes on by itself")
        });
        match (&self.full, &full) {
            (None, Some(why)) => tracing::error!(%why, "nothing more is taken in"),
            (Some(_), None) => tracing::info!("there is room on the disk again"),
            _ => {}
        }
        if self.full != full {
            *self.trouble.write().unwrap_or_else(PoisonError::into_inner) =
                full.clone().unwrap_or_default();
            self.full = full;
        }
    }
}

/// The answer to an event that takes room on the disk, while there is none.
fn refuse(full: &str, event: &Event, effects: &mut Effects) -> Option<Reply> {
    match event {
        Event::Connected(_) => Some(Reply::Connected(Err(Refused::DiskFull(full.to_owned())))),
        Event::Want(session, _) => {
            let (reason, retry_after_ms) = (full.to_owned(), FULL_DISK_RETRY_MS);
            effects.messages.push((*session, ToWorker::Idle { reason, retry_after_ms }));
            Some(Reply::Done)
        }
        Event::Submit(_) => Some(Reply::Submitted(Err(SubmitRefused::DiskFull(full.to_owned())))),
        _ => None,
    }
}

/// The answer to an event once nothing is decided any more.
fn halt(why: &str, event: &Event, effects: &mut Effects) -> Reply {
    match event {
        Event::Connected(_) => Reply::Connected(Err(Refused::Halted(why.to_owned()))),
        Event::Want(..) => refuse(why, event, effects).unwrap_or(Reply::Done),
        Event::Gone(_) | Event::Goodbye { .. } | Event::Heartbeat(..) | Event::Tick => Reply::Done,
        _ => Reply::Halted(why.to_owned()),
    }
}

#[cfg(test)]
mod tests;
