//! Kernels and inputs into the cache: from the swarm, where there is one, else from the coordinator.

use crate::blobs::{Blobs, Error, Partial};
use crate::coordinator::{Session, with_token};
use crate::exchange::Exchange;
use proto::bounds::MESSAGE_BYTES_MAX;
use proto::pb::blobs_client::BlobsClient;
use proto::pieces::Cut;
use proto::{Digest, pb};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use worker_core::agent::FetchTrouble;
use worker_core::exchange::Trouble;

/// Longest wait for the next chunk: far beyond any line, so that only a stall is cut.
const CHUNK_MAX: Duration = Duration::from_secs(60);
/// A smaller blob comes from the coordinator as a whole while it is there: asking around costs more than that. That is
/// one piece of a blob.
const SWARM_BYTES_MIN: u64 = proto::pieces::PIECE_BYTES_MIN;
/// Times that wrong bytes are dropped and asked for again.
const WRONG_MAX: u32 = 3;

/// Brings a blob here, verified and pinned.
pub(super) async fn fetch(
    blobs: Arc<Blobs>,
    session: watch::Receiver<Option<Session>>,
    exchange: Option<Exchange>,
    digest: Digest,
    len: Option<u64>,
) -> Result<(), FetchTrouble> {
    let cache = Arc::clone(&blobs);
    if !blocking(move || Ok(cache.pin(&digest)?)).await? {
        let session = session.borrow().clone();
        match (&exchange, session) {
            (None, None) => return Err(FetchTrouble::Later("the coordinator is away".into())),
            (None, Some(session)) => fetch_alone(&blobs, &session, digest, len).await?,
            (Some(exchange), None) => bring(exchange, digest, len).await?,
            (Some(exchange), Some(session)) => {
                let len = match len {
                    Some(len) => Some(len),
                    None => length(&session, digest).await?,
                };
                match len {
                    Some(len) if SWARM_BYTES_MIN <= len && Cut::of(len).is_some() => {
                        bring(exchange, digest, Some(len)).await?;
                    }
                    len => fetch_alone(&blobs, &session, digest, len).await?,
                }
            }
        }
    }
    if let (Some(exchange), Some(len)) = (exchange, blobs.len_of(&digest)) {
        exchange.offer(digest, len).await;
    }
    Ok(())
}

/// By way of the swarm.
async fn bring(exchange: &Exchange, digest: Digest, len: Option<u64>) -> Result<(), FetchTrouble> {
    use crate::exchange::Error as E;
    exchange.bring(digest, len).await.map_err(|error| match error {
        E::Swarm(Trouble::Later(reason)) => FetchTrouble::Later(reason),
        E::Swarm(Trouble::Never(reason)) => FetchTrouble::Never(reason),
        E::Blobs(error) => match Fault::from(error) {
            Fault::Trouble(trouble) => trouble,
            Fault::Wrong => FetchTrouble::Later("wrong bytes".into()),
        },
        E::Closed => FetchTrouble::Later(E::Closed.to_string()),
    })
}

/// From the coordinator alone.
async fn fetch_alone(
    blobs: &Arc<Blobs>,
    session: &Session,
    digest: Digest,
    len: Option<u64>,
) -> Result<(), FetchTrouble> {
    for _ in 0..WRONG_MAX {
        match fetch_once(blobs, session, digest, len).await {
            Err(Fault::Wrong) => tracing::warn!(
                "the bytes that came are not those of blob {digest}: dropped, asked for again"
            ),
            Err(Fault::Trouble(trouble)) => return Err(trouble),
            Ok(()) => return Ok(()),
        }
    }
    Err(FetchTrouble::Never(format!("wrong bytes came {WRONG_MAX} times")))
}

enum Fault {
    Wrong,
    Trouble(FetchTrouble),
}

impl From<FetchTrouble> for Fault {
    fn from(trouble: FetchTrouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Wrong => Self::Wrong,
            Error::TooLarge { .. } => Self::Trouble(FetchTrouble::Never(error.to_string())),
            Error::NoRoom(reason) => {
                tracing::error!("{reason}");
                Self::Trouble(FetchTrouble::NoRoom(reason))
            }
            Error::Io(_) => Self::Trouble(FetchTrouble::Later(error.to_string())),
        }
    }
}

/// Runs what waits for the disk where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, FetchTrouble> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| FetchTrouble::Later(error.to_string()))?;
    done.map_err(|error| match Fault::from(error) {
        Fault::Trouble(trouble) => trouble,
        Fault::Wrong => FetchTrouble::Later("wrong bytes".into()),
    })
}

fn refused(status: &Status) -> FetchTrouble {
    let text = crate::coordinator::printable(status.message());
    match status.code() {
        Code::NotFound | Code::PermissionDenied | Code::InvalidArgument | Code::OutOfRange => {
            FetchTrouble::Never(text)
        }
        _ => FetchTrouble::Later(text),
    }
}

async fn fetch_once(
    blobs: &Arc<Blobs>,
    session: &Session,
    digest: Digest,
    len: Option<u64>,
) -> Result<(), Fault> {
    let Some(len) = (match len {
        Some(len) => Some(len),
        None => length(session, digest).await.map_err(Fault::from)?,
    }) else {
        return Err(FetchTrouble::Later(
            "the coordinator did not tell the length of the blob".into(),
        )
        .into());
    };
    let cache = Arc::clone(blobs);
    let mut partial = blocking(move || cache.begin(digest, len)).await?;
    let mut chunks = None;
    while partial.len() < len {
        let stream = match &mut chunks {
            Some(stream) => stream,
            None => match get(session, digest, partial.len(), 0).await {
                Ok((_, stream)) => chunks.insert(stream),
                Err(trouble) => return leave(blobs, &partial, trouble),
            },
        };
        let data = match timeout(CHUNK_MAX, stream.message()).await {
            Ok(Ok(Some(chunk))) if !chunk.data.is_empty() => chunk.data,
            // A chunk that tells the length and no more.
            Ok(Ok(Some(_))) => continue,
            Ok(Ok(None)) => {
                return leave(blobs, &partial, FetchTrouble::Later("the blob ended early".into()));
            }
            Ok(Err(status)) => return leave(blobs, &partial, refused(&status)),
            Err(_) => {
                return leave(
                    blobs,
                    &partial,
                    FetchTrouble::Later("the blob stalled half way".into()),
                );
            }
        };
        if len < partial.len() + data.len() as u64 {
            let cache = Arc::clone(blobs);
            // More bytes than the blob has are wrong bytes.
            let partial = blocking(move || cache.restart(partial)).await?;
            blobs.leave(&partial);
            return Err(Fault::Wrong);
        }
        partial = write(blobs, partial, data).await?;
    }
    let cache = Arc::clone(blobs);
    let finished = tokio::task::spawn_blocking(move || cache.finish(partial)).await;
    finished.map_err(|error| FetchTrouble::Later(error.to_string()))?.map_err(Fault::from)
}

fn leave(blobs: &Blobs, partial: &Partial, trouble: FetchTrouble) -> Result<(), Fault> {
    blobs.leave(partial);
    Err(trouble.into())
}

async fn write(blobs: &Arc<Blobs>, partial: Partial, data: bytes::Bytes) -> Result<Partial, Fault> {
    let blobs = Arc::clone(blobs);
    let written = tokio::task::spawn_blocking(move || {
        let mut partial = partial;
        let written = partial.write(&data);
        if written.is_err() {
            blobs.leave(&partial);
        }
        written.map(|()| partial)
    });
    written.await.map_err(|error| FetchTrouble::Later(error.to_string()))?.map_err(Fault::from)
}

/// The length of a blob whose job does not tell it.
async fn length(session: &Session, digest: Digest) -> Result<Option<u64>, FetchTrouble> {
    let (total_len, _) = get(session, digest, 0, 1).await?;
    Ok(total_len)
}

/// Opens a blob from `offset`; with a `len` waits for the first chunk and tells the blob's length.
async fn get(
    session: &Session,
    digest: Digest,
    offset: u64,
    len: u64,
) -> Result<(Option<u64>, Streaming<pb::Chunk>), FetchTrouble> {
    let mut client =
        BlobsClient::new(session.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let request =
        pb::GetRequest { digest: digest.0.to_vec().into(), offset, len, ..Default::default() };
    let request = with_token(request, session).map_err(|status| refused(&status))?;
    let stalled = |_| FetchTrouble::Later("no answer to the request for a blob".into());
    let answer = timeout(CHUNK_MAX, client.get(request)).await.map_err(stalled)?;
    let mut stream = answer.map_err(|status| refused(&status))?.into_inner();
    if len == 0 {
        return Ok((None, stream));
    }
    let first = timeout(CHUNK_MAX, stream.message()).await.map_err(stalled)?;
    let total_len = first.map_err(|status| refused(&status))?.map(|chunk| chunk.total_len);
    Ok((total_len, stream))
}
