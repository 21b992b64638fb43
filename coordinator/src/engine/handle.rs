//! The handle by which everybody speaks to the engine.

use crate::core::Core;
use crate::core::event::{Event, Hello, LogHead, Missing, Reply, Session, SignedBatch};
use crate::core::saved::log;
use crate::core::status::{Totals, WorkerStatus};
use crate::core::token::{Token, TokenId};
use crate::engine::Error;
use crate::engine::blobs::Blobs;
use crate::engine::reader::Reader;
use crate::engine::sink::Sink;
use crate::store::Store;
use proto::{AccountKey, Digest, ProjectKey, WorkerKey};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use tokio::sync::{mpsc, oneshot, watch};

mod content;
mod jobs;
mod workers;

/// What the engine's thread is asked to do.
pub(super) enum Command {
    /// Apply an event; answer after the commit.
    Apply(Event, oneshot::Sender<Reply>),
    /// Take in a batch of reports, some of whose outputs may be missing; answer after the commit.
    Report(Reporter, Box<SignedBatch>, Vec<Missing>, oneshot::Sender<Reply>),
    /// As `Apply`, for a worker's stream, whose messages go to the sink.
    Connect(Hello, Sink, oneshot::Sender<Reply>),
    /// Look at the core after the commit.
    Look(Box<dyn FnOnce(&Core) + Send>),
    /// Commit what is pending, then end.
    Stop(oneshot::Sender<()>),
}

/// Who brings a batch of reports.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reporter {
    /// Its worker.
    Itself(Session),
    /// Somebody who has held it for a worker of this account.
    Holder(AccountKey),
}

/// Speaks to the engine; cheap to clone. Methods answer after what they did is durable.
#[derive(Clone)]
pub struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) store: Arc<dyn Store>,
    pub(super) blobs: Arc<dyn Blobs>,
    pub(super) project: ProjectKey,
    pub(super) changes: watch::Receiver<u64>,
    pub(super) stopped: Arc<RwLock<Option<String>>>,
    /// What the operator must mend; empty when nothing.
    pub(super) trouble: Arc<RwLock<String>>,
    /// Why nothing is decided any more.
    pub(super) halted: Arc<OnceLock<String>>,
    pub(super) reader: Reader,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("project", &self.project).finish_non_exhaustive()
    }
}

impl Handle {
    /// Does what looking at a specification takes, after what others have to be looked at.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(crate) async fn look_at<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.reader.run(work).await
    }

    /// Changes after each commit, to know when to ask for a job's status or results again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// The head of the log as it is committed, to be signed with the project's key.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn log_head(&self) -> Result<LogHead, Error> {
        match self.apply(Event::Head).await? {
            Reply::Head(head) => Ok(head),
            _ => Err(self.stopped()),
        }
    }

    /// Reads the log from the disk.
    #[must_use]
    pub fn log(&self) -> log::Log<'_> {
        log::Log::of(self.store.as_ref())
    }

    /// At most `max` workers with keys above `after`, in order.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn workers(
        &self,
        after: Option<WorkerKey>,
        max: usize,
    ) -> Result<Vec<WorkerStatus>, Error> {
        self.look(move |core| core.workers(after, max)).await
    }

    /// The whole in numbers.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn totals(&self) -> Result<Totals, Error> {
        let mut totals = self.look(Core::totals).await?;
        totals.store_bytes = self.store.bytes()?;
        totals.trouble = match self.halted.get() {
            Some(why) => why.clone(),
            None => self.trouble.read().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        totals.halted = self.halted.get().is_some();
        Ok(totals)
    }

    /// Decides nothing any more, for the reason in `what`: lends and settles nothing, takes no job, signs no head. What is
    /// there can still be read. Whether it was this call that did it.
    pub fn halt(&self, what: &str) -> bool {
        let why = format!(
            "{what}. Nothing is lent, settled or signed any more. Stop the coordinator, then restore a backup, or start it \
             with --rebuild, which gathers from the workers what is missing, or with --accept-loss"
        );
        let first = self.halted.set(why).is_ok();
        if let Some(why) = self.halted.get().filter(|_| first) {
            tracing::error!("{why}");
        }
        first
    }

    /// Keeps a token.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn issue_token(&self, token: Token) -> Result<(), Error> {
        self.apply(Event::IssueToken(token)).await.map(drop)
    }

    /// Forgets a token; whether there was one.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn revoke_token(&self, token: TokenId) -> Result<bool, Error> {
        Ok(matches!(self.apply(Event::RevokeToken(token)).await?, Reply::Revoked(true)))
    }

    /// All tokens, by id.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.look(|core| core.tokens().cloned().collect()).await
    }

    /// The token whose text has this digest.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn token(&self, digest: Digest) -> Result<Option<Token>, Error> {
        self.look(move |core| core.tokens().find(|token| token.digest == digest).cloned()).await
    }

    /// Looks at the core between two commits.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Core) -> R + Send + 'static,
    ) -> Result<R, Error> {
        let (answer, answered) = oneshot::channel();
        let look = Box::new(move |core: &Core| {
            // Nobody waits any more when the asker was cancelled.
            let _ = answer.send(look(core));
        });
        self.send(Command::Look(look)).await?;
        answered.await.map_err(|_| self.stopped())
    }

    /// The store, for backups and checks.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Commits what is pending and ends the engine.
    pub async fn stop(&self) {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Stop(answer)).await.is_ok() {
            // An engine that has ended otherwise needs no stopping.
            let _ = answered.await;
        }
    }

    async fn apply(&self, event: Event) -> Result<Reply, Error> {
        self.answer_to(|answer| Command::Apply(event, answer)).await
    }

    async fn answer_to(
        &self,
        command: impl FnOnce(oneshot::Sender<Reply>) -> Command,
    ) -> Result<Reply, Error> {
        let (answer, answered) = oneshot::channel();
        self.send(command(answer)).await?;
        match answered.await {
            Ok(Reply::Halted(why)) => Err(Error::Halted(why)),
            Ok(reply) => Ok(reply),
            Err(_) => Err(self.stopped()),
        }
    }

    async fn send(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).await.map_err(|_| self.stopped())
    }

    fn stopped(&self) -> Error {
        Error::Stopped(self.stopped.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
