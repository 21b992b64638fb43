//! How the owner's commands reach the running worker: a socket in its folder, one JSON object per line each way.

use crate::network::{PeerView, PeersReport};
use proto::{AccountKey, ProjectKey, WorkerKey};
use sandbox::Walls;
use serde::{Deserialize, Serialize};
use std::fs::Permissions;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use worker_core::agent::Status;
use worker_core::custody::Numbers;
use worker_core::exchange;

/// Longest request, bytes.
const REQUEST_BYTES_MAX: u64 = 4096;
/// Longest wait for a request, and for its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Commands served at a time.
const CONNECTIONS_MAX: usize = 16;

/// What a command asks, as JSON: `{"ask": "pause", "seconds": 3600}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub enum Request {
    /// What the worker is doing.
    Status,
    /// The neighbourhood.
    Peers,
    /// Pause, with snapshots.
    Pause {
        /// For how long; until it is resumed when absent.
        seconds: Option<u64>,
    },
    /// Go on after a pause.
    Resume,
    /// Stop the program, with snapshots.
    Stop,
    /// Give everything back and leave the project.
    Leave,
}

/// The answer, as JSON: `{"report": {...}}`, `{"done": null}` or `{"error": "..."}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// To [`Request::Status`].
    Report(Box<Report>),
    /// To [`Request::Peers`]; absent when this worker takes no part in the peer network.
    Peers(Option<Vec<PeerView>>),
    /// It was done or begun.
    Done(()),
    /// Why not, and what to do.
    Error(String),
}

/// What a running worker tells its owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Address of the coordinator.
    pub coordinator: String,
    /// The project.
    pub project: ProjectKey,
    /// The machine's name.
    pub name: String,
    /// The worker.
    pub worker: WorkerKey,
    /// Its owner.
    pub account: AccountKey,
    /// Number of the process.
    pub process: u32,
    /// Since the program's start.
    pub uptime_seconds: u64,
    /// Bytes of kernels and inputs on disk.
    pub cache_bytes: u64,
    /// Bytes of traces, and of states on them, on disk.
    pub trace_bytes: u64,
    /// Reports held for others, and of its own.
    pub held: Numbers,
    /// What the peer network is and costs; absent when this worker takes no part in it.
    #[serde(default)]
    pub peers: Option<PeersReport>,
    /// The exchange of blobs with peers; absent when this worker takes no part in it, and for a seed.
    #[serde(default)]
    pub blobs: Option<exchange::Numbers>,
    /// The walls around the children; absent before the first has run, and for a seed.
    #[serde(default)]
    pub walls: Option<Walls>,
    /// What it is doing.
    #[serde(flatten)]
    pub status: Status,
}

/// A request on its way to the agent's task.
#[derive(Debug)]
pub(crate) enum Ask {
    Status(oneshot::Sender<Report>),
    Peers(oneshot::Sender<Option<Vec<PeerView>>>),
    Pause(Option<Duration>, oneshot::Sender<()>),
    Resume(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
    Leave(oneshot::Sender<()>),
}

/// Listens at `path`; the future serves until it is dropped. An old socket there is of a process that is gone: the folder
/// is locked by this one.
pub(crate) fn serve(
    path: &Path,
    driver: mpsc::Sender<Ask>,
) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    program::file::remove(path)?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(async move {
        let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            // Neither fails: the semaphore is not closed, and a listener that fails once may go on.
            let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else { continue };
            let driver = driver.clone();
            connections.spawn(async move {
                // Whoever asked and left does without.
                let _ = timeout(2 * PATIENCE, answer(stream, &driver)).await;
                drop(turn);
            });
            while connections.try_join_next().is_some() {}
        }
    })
}

async fn answer(stream: UnixStream, driver: &mpsc::Sender<Ask>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(reader.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            let pass_on = timeout(PATIENCE, pass_on(request, driver)).await.ok().flatten();
            pass_on.unwrap_or_else(|| {
                Answer::Error("the worker is busy or about to end: ask again".into())
            })
        }
        Err(error) => Answer::Error(format!(
            "not understood ({error}): use a starling-worker of the same release"
        )),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

async fn pass_on(request: Request, driver: &mpsc::Sender<Ask>) -> Option<Answer> {
    let (done, is_done) = oneshot::channel();
    let ask = match request {
        Request::Status => {
            let (report, reported) = oneshot::channel();
            driver.send(Ask::Status(report)).await.ok()?;
            return reported.await.ok().map(Box::new).map(Answer::Report);
        }
        Request::Peers => {
            let (peers, told) = oneshot::channel();
            driver.send(Ask::Peers(peers)).await.ok()?;
            return told.await.ok().map(Answer::Peers);
        }
        Request::Pause { seconds } => Ask::Pause(seconds.map(Duration::from_secs), done),
        Request::Resume => Ask::Resume(done),
        Request::Stop => Ask::Stop(done),
        Request::Leave => Ask::Leave(done),
    };
    driver.send(ask).await.ok()?;
    is_done.await.ok().map(Answer::Done)
}

/// Asks the worker that listens at `path`; `None` when none runs.
///
/// # Errors
/// When the answer does not come or makes no sense.
pub fn ask(path: &Path, request: Request) -> io::Result<Option<Answer>> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let mut stream = match BlockingStream::connect(path) {
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(None),
        connected => connected?,
    };
    stream.set_read_timeout(Some(2 * PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(Some(serde_json::from_str(&answer)?))
}
