//! What peers say to each other about batches and the log: one talk for each request.

use super::Command;
use super::store::Books;
use crate::network::peer_table::Blame;
use crate::network::{Net, ProtocolViolation, RequestHandler, RequestStream, Served, frame};
use iroh::endpoint::{RecvStream, SendStream};
use proto::bounds::LOG_ENTRY_BYTES_MAX;
use proto::seal::{SEALED_BYTES_MAX, Sealed};
use proto::{WorkerKey, pb};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use worker_core::custody::{Name, Refusal};

/// Longest time for one step of a request.
const STEP_MAX: Duration = Duration::from_secs(10);
/// Largest request, bytes: so many released batches.
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// Batches released in one request.
pub(super) const RELEASED_MAX: usize = 1024;
/// Largest reply, bytes.
const REPLY_BYTES_MAX: usize = 512;
/// Bytes of entries in one message, about: a last one may be large.
const ENTRIES_BYTES: usize = 256 << 10;
const ENTRIES_FRAME_MAX: usize = ENTRIES_BYTES + LOG_ENTRY_BYTES_MAX + 4096;
/// Slowest line on which a batch is still taken, bytes per second: one byte now and then is not enough.
const BYTES_PER_SECOND_MIN: u64 = 16 << 10;

/// What a peer asks.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// To hold a batch of its own; the sealed bytes follow a [`Reply::Send`].
    HandOver { sequence: u64, bytes: u32 },
    /// The coordinator has these batches of its own.
    Release { sequences: Vec<u64> },
    /// To hear of a signed head of the project's log.
    Head { payload: Vec<u8>, signature: Vec<u8> },
    /// For entries of the log, `from` to before `to`; they come in [`Entries`], as many as there are.
    Entries { from: u64, to: u64 },
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    /// Send it.
    Send,
    /// It is held here, durably.
    Held,
    /// It is not taken.
    No(String),
}

/// Some entries of the log, in order; none: there are no more here.
#[derive(Debug, Serialize, Deserialize)]
struct Entries(Vec<Vec<u8>>);

/// What went wrong with a request.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Frame(#[from] frame::Error),
    #[error("what came is not a batch of its sender: {0}")]
    Forged(String),
    #[error("the program ends")]
    Ends,
}

/// Takes what peers hand over.
#[derive(Debug)]
pub(crate) struct Handler {
    net: Net,
    told: mpsc::Sender<Command>,
    books: Arc<Mutex<Books>>,
}

impl Handler {
    pub(super) fn new(net: Net, told: mpsc::Sender<Command>, books: Arc<Mutex<Books>>) -> Self {
        Self { net, told, books }
    }
}

impl RequestHandler for Handler {
    fn serve(&self, talk: RequestStream) -> Served<'_> {
        Box::pin(async move {
            let RequestStream { peer, mut send, mut receive } = talk;
            match self.serve(peer, &mut send, &mut receive).await {
                Err(trouble @ Trouble::Forged(_)) => {
                    Err(ProtocolViolation { blame: Blame::Forged, reason: trouble.to_string() })
                }
                Err(Trouble::Frame(error)) if error.is_rude() => {
                    Err(ProtocolViolation { blame: Blame::Garbage, reason: error.to_string() })
                }
                Ok(()) | Err(Trouble::Frame(_) | Trouble::Ends) => Ok(()),
            }
        })
    }
}

impl Handler {
    async fn serve(
        &self,
        peer: WorkerKey,
        send: &mut SendStream,
        receive: &mut RecvStream,
    ) -> Result<(), Trouble> {
        let reply = match frame::read(receive, REQUEST_BYTES_MAX, STEP_MAX).await? {
            Request::Release { sequences } => {
                if RELEASED_MAX < sequences.len() {
                    return Err(frame::Error::Garbage.into());
                }
                self.tell(Command::Released { peer, sequences }).await?;
                Reply::Held
            }
            Request::Head { payload, signature } => {
                let head = pb::SignedHead { payload: payload.into(), signature: signature.into() };
                self.tell(Command::Head { peer, head }).await?;
                Reply::Held
            }
            Request::Entries { from, to } => return self.give_entries(from, to, send).await,
            Request::HandOver { sequence, bytes } => {
                let name = Name { worker: peer, sequence };
                match self.offered(name, bytes).await? {
                    Ok(()) => self.take(name, bytes, send, receive).await?,
                    Err(Refusal::Held) => Reply::Held,
                    Err(why) => Reply::No(why.to_string()),
                }
            }
        };
        frame::write(send, &reply, STEP_MAX).await?;
        // The other side has gone when this fails.
        let _ = send.finish();
        Ok(())
    }

    async fn give_entries(&self, from: u64, to: u64, send: &mut SendStream) -> Result<(), Trouble> {
        let mut next = from;
        loop {
            let books = Arc::clone(&self.books);
            let read = tokio::task::spawn_blocking(move || {
                let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
                if next < to { books.entries(next, ENTRIES_BYTES) } else { Ok(Vec::new()) }
            });
            let mut entries = match read.await {
                Ok(Ok(entries)) => entries,
                _ => Vec::new(),
            };
            entries.truncate(usize::try_from(to.saturating_sub(next)).unwrap_or(usize::MAX));
            next += entries.len() as u64;
            let bytes: usize = entries.iter().map(Vec::len).sum();
            self.net.meter().up(bytes as u64).await;
            let last = entries.is_empty();
            let time = STEP_MAX + Duration::from_secs(bytes as u64 / BYTES_PER_SECOND_MIN);
            frame::write(send, &Entries(entries), time).await?;
            if last {
                // The other side has gone when this fails.
                let _ = send.finish();
                return Ok(());
            }
        }
    }

    async fn tell(&self, told: Command) -> Result<(), Trouble> {
        self.told.send(told).await.map_err(|_| Trouble::Ends)
    }

    async fn offered(&self, name: Name, bytes: u32) -> Result<Result<(), Refusal>, Trouble> {
        if self.net.meter().is_spent() {
            return Ok(Err(Refusal::NoRoom));
        }
        let (answer, answered) = oneshot::channel();
        self.tell(Command::Offered { name, bytes, answer }).await?;
        answered.await.map_err(|_| Trouble::Ends)
    }

    /// Receives a batch that is to be kept; whatever goes wrong, the task is told.
    async fn take(
        &self,
        name: Name,
        bytes: u32,
        send: &mut SendStream,
        receive: &mut RecvStream,
    ) -> Result<Reply, Trouble> {
        let sealed = match self.receive(name, bytes, send, receive).await {
            Ok(sealed) => sealed,
            Err(trouble) => {
                self.tell(Command::NotCome(name)).await?;
                return Err(trouble);
            }
        };
        let (kept, is_kept) = oneshot::channel();
        self.tell(Command::Came { name, sealed, kept }).await?;
        Ok(match is_kept.await {
            Ok(true) => Reply::Held,
            _ => Reply::No("its disk is in trouble".into()),
        })
    }

    async fn receive(
        &self,
        name: Name,
        bytes: u32,
        send: &mut SendStream,
        receive: &mut RecvStream,
    ) -> Result<Vec<u8>, Trouble> {
        frame::write(send, &Reply::Send, STEP_MAX).await?;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if SEALED_BYTES_MAX < bytes {
            return Err(frame::Error::TooLarge { len: bytes, max: SEALED_BYTES_MAX }.into());
        }
        self.net.meter().down(bytes as u64).await;
        let mut sealed = vec![0; bytes];
        let time = STEP_MAX + Duration::from_secs(bytes as u64 / BYTES_PER_SECOND_MIN);
        timeout(time, receive.read_exact(&mut sealed))
            .await
            .map_err(|_| frame::Error::Slow(time))?
            .map_err(|error| frame::Error::Broken(error.to_string()))?;
        let found = Sealed::verify(&sealed, &self.net.project())
            .map_err(|invalid| Trouble::Forged(invalid.to_string()))?;
        if found.worker != name.worker || found.sequence != name.sequence {
            return Err(Trouble::Forged("another worker's, or another sequence".into()));
        }
        Ok(sealed)
    }
}

/// Hands a batch to a peer; whether the peer holds it now.
pub(super) async fn hand_over(
    net: &Net,
    peer: &WorkerKey,
    sequence: u64,
    sealed: &[u8],
) -> Result<bool, frame::Error> {
    let bytes = u32::try_from(sealed.len()).map_err(|_| frame::Error::Garbage)?;
    let (mut send, mut receive) = open(net, peer).await?;
    frame::write(&mut send, &Request::HandOver { sequence, bytes }, STEP_MAX).await?;
    // The peer may have to ask its disk.
    match frame::read(&mut receive, REPLY_BYTES_MAX, STEP_MAX).await? {
        Reply::Send => {}
        Reply::Held => return Ok(true),
        Reply::No(why) => {
            tracing::debug!(%why, "a peer does not hold a batch");
            return Ok(false);
        }
    }
    net.meter().up(sealed.len() as u64).await;
    let time = STEP_MAX + Duration::from_secs(sealed.len() as u64 / BYTES_PER_SECOND_MIN);
    timeout(time, send.write_all(sealed))
        .await
        .map_err(|_| frame::Error::Slow(time))?
        .map_err(|error| frame::Error::Broken(error.to_string()))?;
    let reply = frame::read(&mut receive, REPLY_BYTES_MAX, time).await?;
    Ok(matches!(reply, Reply::Held))
}

/// Tells a peer that the coordinator has batches of one's own.
pub(super) async fn release(
    net: &Net,
    peer: &WorkerKey,
    sequences: Vec<u64>,
) -> Result<(), frame::Error> {
    let (mut send, mut receive) = open(net, peer).await?;
    frame::write(&mut send, &Request::Release { sequences }, STEP_MAX).await?;
    frame::read::<Reply>(&mut receive, REPLY_BYTES_MAX, STEP_MAX).await?;
    Ok(())
}

/// Tells a peer of a head of the project's log.
pub(super) async fn tell_head(
    net: &Net,
    peer: &WorkerKey,
    head: &pb::SignedHead,
) -> Result<(), frame::Error> {
    let (mut send, mut receive) = open(net, peer).await?;
    let request =
        Request::Head { payload: head.payload.to_vec(), signature: head.signature.to_vec() };
    frame::write(&mut send, &request, STEP_MAX).await?;
    frame::read::<Reply>(&mut receive, REPLY_BYTES_MAX, STEP_MAX).await?;
    Ok(())
}

/// Asks a peer for entries of the log, `from` to before `to`; at most `bytes_max` of them.
pub(super) async fn entries(
    net: &Net,
    peer: &WorkerKey,
    from: u64,
    to: u64,
    bytes_max: u64,
) -> Result<Vec<Vec<u8>>, frame::Error> {
    let (mut send, mut receive) = open(net, peer).await?;
    frame::write(&mut send, &Request::Entries { from, to }, STEP_MAX).await?;
    let (mut entries, mut bytes) = (Vec::new(), 0);
    loop {
        let time = STEP_MAX + Duration::from_secs(ENTRIES_FRAME_MAX as u64 / BYTES_PER_SECOND_MIN);
        let Entries(some) = frame::read(&mut receive, ENTRIES_FRAME_MAX, time).await?;
        bytes += some.iter().map(|entry| entry.len() as u64).sum::<u64>();
        if bytes_max < bytes || to - from < (entries.len() + some.len()) as u64 {
            return Err(frame::Error::Garbage);
        }
        net.meter().down(bytes).await;
        if some.is_empty() {
            return Ok(entries);
        }
        entries.extend(some);
    }
}

async fn open(net: &Net, peer: &WorkerKey) -> Result<(SendStream, RecvStream), frame::Error> {
    net.talk(peer).await.map_err(|error| frame::Error::Broken(error.to_string()))
}
