//! What is had of a worker that was started: it is asked, listened to and stopped by it.

use super::{AgentTask, Config};
use crate::control::{Ask, Report};
use crate::folder::{self, Folder};
use iroh_metrics::RwLockRegistry;
use std::io;
use std::path::PathBuf;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Notices that a slow listener may be behind before it loses some.
const NOTICES: usize = 1024;

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
        // The task sends before it goes.
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
